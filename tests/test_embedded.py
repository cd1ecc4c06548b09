"""Prefect's embedded server: it starts on whatever machine, says why where it cannot, and answers its own run alone."""

import contextlib
import os
import sqlite3
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from tests.test_command_line import command, run, write_sweep

NOWHERE = "http://127.0.0.1:9"
START = "import sys; from isophase.flows import embedded; embedded.start(sys.argv[1]); print('started', flush=True); "
HOLD = """
import sqlite3, sys
database = sqlite3.connect(sys.argv[1], isolation_level=None)
database.execute("CREATE TABLE kept (number INTEGER)")
database.execute("BEGIN EXCLUSIVE")
print("held", flush=True)
sys.stdin.read()
"""


def started(store, code="", **environment):
    """A process that has an embedded server."""
    return subprocess.Popen(
        [sys.executable, "-c", START + code, str(store)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True, env=os.environ | environment,
    )  # fmt: skip


def corrupt(file):
    file.write_bytes(os.urandom(100_000))


def newer(file):
    with contextlib.closing(sqlite3.connect(file)) as database:
        database.execute("CREATE TABLE alembic_version (version_num VARCHAR)")
        database.execute("INSERT INTO alembic_version VALUES ('ffffffffffff')")
        database.commit()


def locked(file):
    """By another process: this one would let go of it as soon as it reads the file."""
    holder = subprocess.Popen([sys.executable, "-c", HOLD, file], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert holder.stdout.readline() == b"held\n"
    return holder


def content(file):
    """All but the header, in which Prefect says how it would write."""
    return file.read_bytes()[100:] if file.exists() else None


def no_folder(file):
    file.parent.rmdir()
    file.parent.write_text("")


@pytest.mark.parametrize(
    ("break_it", "cause"),
    [
        (corrupt, "file is not a database"),
        (newer, "it was made by a newer version of Prefect"),
        (locked, "database is locked"),
        (no_folder, "File exists"),
    ],
)
def test_a_database_that_cannot_be_used_is_left_as_it_is_and_a_fresh_one_taken(tmp_path, break_it, cause):
    """Whatever the user's settings silence."""
    file = tmp_path / "home" / "prefect.db"
    file.parent.mkdir()
    held = break_it(file)
    before = content(file)
    silent = {"PREFECT_LOGGING_LEVEL": "CRITICAL", "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL"}
    process = started(tmp_path / "s.zarr", PREFECT_HOME=str(file.parent), **silent)
    printed, said = process.communicate(timeout=250)
    assert printed == "started\n", said
    (line,) = [line for line in said.splitlines() if line.startswith(f"Prefect's database {file}: cannot be used: ")]
    assert cause in line
    assert line.endswith(f"flow runs are kept in {tmp_path}/s.zarr.prefect.db")
    assert (tmp_path / "s.zarr.prefect.db").stat().st_size > 100_000
    assert content(file) == before
    if held is not None:
        held.communicate()


def full(folder):
    """A small disk of which nothing is left."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", folder], check=True)
    with contextlib.suppress(OSError), (folder / "full").open("wb", buffering=0) as file:
        while file.write(bytes(4096)):
            pass


def full_beside_a_database(folder):
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=32m", "tmpfs", folder], check=True)
    with started(folder.parent / "first.zarr", PREFECT_HOME=str(folder)) as process:
        printed, said = process.communicate(timeout=250)
    assert printed == "started\n", said
    assert (folder / "prefect.db").stat().st_size > 100_000
    with contextlib.suppress(OSError), (folder / "full").open("wb", buffering=0) as file:
        while file.write(bytes(4096)):
            pass


def read_only(folder):
    subprocess.run(["mount", "--bind", folder, folder], check=True)
    subprocess.run(["mount", "-o", "remount,bind,ro", folder], check=True)


@pytest.mark.timeout(900)
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a disk that is full or read-only")
@pytest.mark.parametrize(
    ("mount", "cause"),
    [(full, "No space left"), (full_beside_a_database, "No space left"), (read_only, "Read-only file system")],
)
def test_a_run_whose_home_cannot_be_written_keeps_its_flow_runs_beside_the_store(tmp_path, mount, cause):
    home = tmp_path / "home"
    home.mkdir()
    sweep = write_sweep(tmp_path / "small.toml", seeds=1)
    try:
        mount(home)
    except subprocess.CalledProcessError:
        pytest.skip("no file system can be mounted here")
    try:
        answer = subprocess.run(
            command("run", sweep, "--store", tmp_path / "s.zarr", "--workers", 1), capture_output=True, text=True,
            timeout=800, check=False, env=os.environ | {"PREFECT_HOME": str(home)},
        )  # fmt: skip
    finally:
        subprocess.run(["umount", home], check=True)
    assert answer.returncode == 0, answer.stderr
    (line,) = [line for line in answer.stderr.splitlines() if "cannot be used" in line]
    assert line.startswith(f"Prefect's database {home}/prefect.db: cannot be used: ")
    assert cause in line
    assert line.endswith(f"flow runs are kept in {tmp_path}/s.zarr.prefect.db")
    assert "Traceback" not in answer.stderr


def test_a_server_without_any_database_is_one_line_with_the_cause(tmp_path):
    for place in (tmp_path / "prefect.db", tmp_path / "s.zarr.prefect.db"):
        newer(place)
    sweep = write_sweep(tmp_path / "small.toml", seeds=1)
    answer = subprocess.run(
        command("run", sweep, "--store", tmp_path / "s.zarr"), capture_output=True, text=True, timeout=250, check=False,
        env=os.environ | {"PREFECT_HOME": str(tmp_path)},
    )  # fmt: skip
    assert answer.returncode == 3, answer.stderr
    last = answer.stderr.splitlines()[-1]
    assert last.startswith("isophase: error: Prefect's embedded server: does not start: it was made by a newer version")


@pytest.mark.timeout(900)
def test_three_runs_that_start_at_once_share_one_new_database(tmp_path):
    sweep = write_sweep(tmp_path / "small.toml", seeds=1)
    runs = [command("run", sweep, "--store", tmp_path / f"{number}.zarr", "--workers", 1) for number in range(3)]
    home = os.environ | {"PREFECT_HOME": str(tmp_path / "home")}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    processes = [subprocess.Popen(run, env=home, **pipes) for run in runs]
    for process in processes:
        printed, said = process.communicate(timeout=800)
        assert process.returncode == 0, said
        assert "2 done, 0 failed, 0 pending" in printed
        assert "cannot be used" not in said
    assert not list(tmp_path.glob("*.prefect.db"))


@pytest.mark.parametrize("name", ["HTTP_PROXY", "http_proxy", "ALL_PROXY"])
def test_this_machine_is_not_reached_through_a_proxy(tmp_path, name):
    code = """
from prefect.client.orchestration import get_client
with get_client(sync_client=True) as client:
    print(client.api_version())
"""
    process = started(tmp_path / "s.zarr", code, **{name: NOWHERE, "NO_PROXY": "localhost"})
    printed, said = process.communicate(timeout=250)
    assert process.returncode == 0, said
    assert printed.startswith("started\n")


def test_a_server_of_this_machine_is_not_checked_through_a_proxy(monkeypatch):
    from isophase.flows.prefect_server import check_server

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_):
            pass

    asked = []
    for variable, value in {"HTTP_PROXY": NOWHERE, "NO_PROXY": "elsewhere", "no_proxy": "elsewhere"}.items():
        monkeypatch.setenv(variable, value)
    with HTTPServer(("127.0.0.1", 0), Answer) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        check_server(f"http://127.0.0.1:{server.server_address[1]}/api")
        server.shutdown()
    assert asked == ["/api/admin/version"]
    assert os.environ["NO_PROXY"].startswith("elsewhere,127.0.0.1")


def test_a_proxy_of_which_no_client_can_be_made_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "nonsense://127.0.0.1:9")
    answer = run("run", write_sweep(tmp_path / "small.toml"), "--store", tmp_path / "s.zarr")
    assert answer.returncode == 2
    (line,) = answer.stderr.splitlines()
    assert "HTTP_PROXY='nonsense://127.0.0.1:9'" in line
