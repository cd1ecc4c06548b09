"""Deployments: what a file may say, what Prefect is told, and that a schedule fires by itself."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx
import psutil
import pytest

import isophase
from isophase.flows.cli import main
from isophase.flows.points import _with_more_seeds
from isophase.flows.serve import FLOWS, deployments
from isophase.sweeps.store import StoreError, SweepStore, exclusive
from isophase.sweeps.sweep import SweepError, load, parse
from tests.serial import run_serially

SMALL = {
    "kind": "lattice",
    "axes": {"private": [0, 1], "seed": {"start": 0, "count": 2}},
    "fixed": {"size": 6},
    "record": {"t_end": 40.0, "samples": 4},
}
SMALL_FILE = """
kind = "lattice"
[axes]
private = [0, 1]
seed = { start = 0, count = 2 }
[fixed]
size = 6
[record]
t_end = 40.0
samples = 4
"""


def write(path, text):
    path.write_text(text)
    return str(path)


def seeds(location):
    try:
        return sorted(int(seed) for seed in isophase.open(location)["square-6"].seed.values)
    except StoreError:  # it is being made
        return []


def grow(location, count, table=SMALL):
    """The sweep that a run with ``more_seeds=count`` would run."""
    sweep = parse(table)
    with exclusive(location):
        return _with_more_seeds(sweep, SweepStore.prepare(location, sweep), count)[0]


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("", ["declares no deployment"]),
        ("[night", ["not a readable TOML file"]),
        ("night = 3", ["night=3", "must be a table"]),
        ('["a/b"]\nflow = "sweep"', ["a/b", "/ % & > <"]),
        ("[night]\nsweep = 'small.toml'", ["flow=None", "sweep, reduce, study"]),
        ("[night]\nflow = 'report'", ["flow='report'", "sweep, reduce, study"]),
        ("[night]\nflow = ['sweep']", ["flow=['sweep']", "sweep, reduce, study"]),
        ("[night]\nflow = 'sweep'\nsweep = 'small.toml'", ["store", "must be given"]),
        ("[night]\nflow = 'sweep'\nstore = 's.zarr'\nsweep = 'quickstat'", ["quickstat", "neither a readable file"]),
        ("[night]\nflow = 'reduce'\nstore = 's.zarr'\nsweep = 'small.toml'", ["sweep", "unknown key", "store"]),
        ("[night]\nflow = 'reduce'\nstore = 's.zarr'\nwokers = 2", ["wokers", "did you mean 'workers'"]),
        ("[night]\nflow = 'reduce'\nstore = 's.zarr'\nworkers = 0", ["workers=0", "greater than or equal to 1"]),
        ("[night]\nflow = 'reduce'\nstore = 's.zarr'\nworkers = '2'", ["workers='2'", "must be a valid integer"]),
        ("[night]\nflow = 'reduce'\nstore = 's.zarr'\ncron = 'daily'", ["cron='daily'", "must be five fields"]),
        ("[night]\nflow = 'reduce'\nstore = 's.zarr'\ncron = '61 * * * *'", ["cron='61 * * * *'"]),
        *[
            (f"[night]\nflow = 'reduce'\nstore = 's.zarr'\ncron = {cron!r}", [f"cron={cron!r}", allowed])
            for cron, allowed in {
                "0 0 2 * * *": "must be five fields: minute, hour",  # meant as two o'clock, with seconds before
                "0 2 * * * * 2030": "must be five fields: minute, hour",
                "0 2 * *": "must be five fields: minute, hour",
                "": "must be five fields: minute, hour",
                "@daily": "must be five fields: minute, hour",
                "0 2 30 2 *": "must name a date that comes",
                "0 2 31 2,4,6,9,11 *": "must name a date that comes",
            }.items()
        ],
        ("[night]\nflow = 'reduce'\nstore = 's.zarr'\ninterval = 1", ["interval=1", "greater than or equal to 5"]),
        (
            "[night]\nflow = 'reduce'\nstore = 's.zarr'\ninterval = 60\ncron = '0 2 * * *'",
            ["interval=60", "must not stand beside cron='0 2 * * *'"],
        ),
        (
            "[a]\nflow = 'reduce'\nstore = 's.zarr'\n[b]\nflow = 'reduce'\nstore = './s.zarr'",
            ["store=", "[b]", "[a]", "must not overlap"],
        ),
        (
            "[night]\nflow = 'sweep'\nstore = 's.zarr'\nsweep = 'one.toml'\nmore_seeds = 2",
            ["more_seeds=2", "no axis `seed`"],
        ),
        ("[night]\nflow = 'reduce'\nstore = 'nowhere://s.zarr'", ["nowhere://s.zarr", "s3://BUCKET/NAME"]),
    ],
)
def test_a_wrong_deployment_is_refused_in_one_line_before_anything_starts(tmp_path, monkeypatch, capsys, text, names):
    monkeypatch.setenv("PREFECT_LOGGING_LOG_PRINTS", "true")  # which `serve` sets for its process
    write(tmp_path / "small.toml", SMALL_FILE)
    write(tmp_path / "one.toml", 'kind = "lattice"\n[fixed]\nsize = 6\n[record]\nt_end = 1.0\nsamples = 2\n')
    assert main(["serve", write(tmp_path / "d.toml", text)]) == 2
    error = capsys.readouterr().err
    assert len(error.splitlines()) == 1
    for name in names:
        assert name in error


def test_prefect_is_told_types_descriptions_schedules_and_that_runs_do_not_overlap(tmp_path):
    write(tmp_path / "small.toml", SMALL_FILE)
    text = (
        f"[night]\nflow = 'study'\nsweep = 'small.toml'\nstore = '{tmp_path}/s.zarr'\nmore_seeds = 2\n"
        "cron = '0 2 * * *'\n[often]\nflow = 'reduce'\nstore = 's3://bucket/s.zarr'\ninterval = 3600\n"
        "scheduler = 'tcp://elsewhere:8786'\n"
    )
    night, often = deployments(write(tmp_path / "d.toml", text), scheduler="tls://dask:8786")
    assert night.name == "night"
    assert night.parameters == {
        "sweep": str(tmp_path / "small.toml"),
        "store": f"{tmp_path}/s.zarr",
        "more_seeds": 2,
        "scheduler": "tls://dask:8786",
    }
    assert often.parameters == {"store": "s3://bucket/s.zarr", "scheduler": "tcp://elsewhere:8786"}
    assert night.schedules[0].schedule.cron == "0 2 * * *"
    assert often.schedules[0].schedule.interval.total_seconds() == 3600
    for deployment in (night, often):
        assert deployment.concurrency_limit == 1
        assert deployment.concurrency_options.collision_strategy == "CANCEL_NEW"


@pytest.mark.parametrize("cron", ["0 2 * * *", " */5  1-3 * jan mon ", "0 2 29 2 *", "0 2 13 * fri", "0 0 1 1 0"])
def test_a_cron_text_whose_date_comes_is_taken(tmp_path, cron):
    text = f"[night]\nflow = 'reduce'\nstore = 's.zarr'\ncron = {cron!r}"
    (night,) = deployments(write(tmp_path / "d.toml", text))
    assert night.schedules[0].schedule.cron == cron


def test_paths_are_relative_to_the_file_that_names_them(tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    (tmp_path / "elsewhere").mkdir()
    write(tmp_path / "here" / "small.toml", SMALL_FILE)
    text = ("[night]\nflow = 'study'\nsweep = 'small.toml'\nstore = 'results/s.zarr'\nfigures = '../f'\n"
            "performance_report = 'r.html'\n[day]\nflow = 'sweep'\nsweep = 'quickstart'\n"
            "store = 's3://bucket/s.zarr'\n")  # fmt: skip
    file = write(tmp_path / "here" / "d.toml", text)
    monkeypatch.chdir(tmp_path / "elsewhere")
    night, day = deployments(file)
    assert night.parameters == {
        "sweep": str(tmp_path / "here/small.toml"),
        "store": str(tmp_path / "here/results/s.zarr"),
        "figures": str(tmp_path / "here/../f"),
        "performance_report": str(tmp_path / "here/r.html"),
    }
    assert day.parameters == {"sweep": "quickstart", "store": "s3://bucket/s.zarr"}


@pytest.mark.parametrize("name", FLOWS)
def test_every_parameter_is_described_in_prefect(name):
    properties = FLOWS[name].parameters.properties
    assert all(len(known["description"]) > 20 for known in properties.values())
    assert properties["store"]["type"] == "string"
    assert any(choice.get("minimum") == 1 for choice in properties["workers"]["anyOf"])


def test_the_deployments_that_come_with_it_are_valid():
    (nightly,) = deployments("deployments/deployments.toml")
    assert nightly.parameters["more_seeds"] > 0


def test_each_scheduled_run_adds_seeds_beyond_those_of_the_store(tmp_path):
    location = str(tmp_path / "s.zarr")
    run_serially(location, parse(SMALL))
    for expected in (5, 8):
        run_serially(location, grow(location, 3))
        assert seeds(location) == list(range(expected))
    direct = parse(SMALL | {"axes": {"private": [0, 1], "seed": {"start": 0, "count": 8}}})
    run_serially(str(tmp_path / "direct.zarr"), direct)
    phases = [isophase.open(path)["square-6"].phase.values for path in (location, str(tmp_path / "direct.zarr"))]
    assert (phases[0] == phases[1]).all()


def test_seeds_that_are_still_pending_come_before_new_ones(tmp_path):
    location = str(tmp_path / "s.zarr")
    assert grow(location, 3).n_points == 2 * 2  # nothing has run yet
    run_serially(location, parse(SMALL))
    grow(location, 3)  # as a run that was killed before its first point was done
    assert seeds(location) == list(range(5))
    assert grow(location, 3).n_points == 2 * 5
    assert seeds(location) == list(range(5))


def test_a_sweep_that_gained_a_size_runs_it_with_all_the_seeds_of_its_store(tmp_path):
    location = str(tmp_path / "s.zarr")
    one, two = ({**SMALL, "axes": SMALL["axes"] | {"size": sizes}, "fixed": {}} for sizes in ([6], [6, 8]))
    run_serially(location, parse(one))
    run_serially(location, grow(location, 3, one))
    assert grow(location, 3, two).n_points == 2 * 2 * 5


def test_a_sweep_without_seeds_cannot_grow_by_them(tmp_path):
    with pytest.raises(SweepError, match=r"more_seeds=3: .* no axis `seed`"):
        grow(str(tmp_path / "s.zarr"), 3, SMALL | {"axes": {"private": [0, 1]}})


def listening(process):
    """Every address on which a process or one of its children accepts connections."""
    found = set()
    for each in (process, *process.children(recursive=True)):
        try:
            found |= {c.laddr.ip for c in each.net_connections("inet") if c.status == psutil.CONN_LISTEN}
        except psutil.NoSuchProcess:
            continue
    return found


def as_the_readme_says(port, folder):
    """The commands of the README's schedule that start its server, on another port and in the foreground."""
    readme = (Path(__file__).parent.parent / "README.md").read_text()
    commands = readme[readme.index("export PREFECT_API_URL=") : readme.index("isophase serve deployments/")]
    commands = commands.replace("4200", str(port)).replace("prefect server", f"{sys.executable} -m prefect server")
    start = f"\necho $PREFECT_API_AUTH_STRING >{folder}/auth\n"
    return commands.replace("\n", start, 1).replace("--background", f"--host 127.0.0.1 --port {port}")


@contextlib.contextmanager
def a_server(folder, monkeypatch, script):
    """A Prefect server on SQLite; its port and the script that starts it."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    monkeypatch.setenv("PREFECT_HOME", str(folder / "prefect"))
    monkeypatch.setenv("PREFECT_SERVER_SERVICES_SCHEDULER_LOOP_SECONDS", "2")
    monkeypatch.setenv("PREFECT_RUNNER_POLL_FREQUENCY", "1")
    process = subprocess.Popen(
        ["bash", "-ec", script(port, folder)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        start_new_session=True,
    )  # fmt: skip
    try:
        wait_for(lambda: answers(f"http://127.0.0.1:{port}/api/health"), 120)
        monkeypatch.setenv("PREFECT_API_URL", f"http://127.0.0.1:{port}/api")
        yield process
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@pytest.fixture
def server(tmp_path, monkeypatch):
    with a_server(tmp_path, monkeypatch, as_the_readme_says) as process:
        monkeypatch.setenv("PREFECT_API_AUTH_STRING", (tmp_path / "auth").read_text().strip())
        yield process


def answers(url):
    try:
        return httpx.get(url, timeout=2).status_code == 200
    except httpx.HTTPError:
        return False


def wait_for(condition, seconds):
    limit = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < limit, "waited in vain"
        time.sleep(0.2)


def test_without_a_server_that_keeps_schedules_nothing_is_served(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("PREFECT_LOGGING_LOG_PRINTS", "true")  # which `serve` sets for its process
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    file = write(tmp_path / "d.toml", "[a]\nflow = 'reduce'\nstore = 's.zarr'")
    assert main(["serve", file]) == 2
    assert "prefect server start" in capsys.readouterr().err


def served(file):
    """`isophase serve`, as a process: Prefect reads its settings once in each."""
    command = [sys.executable, "-m", "isophase.flows.cli", "serve", file]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ("", "answers anybody, who could run code as you: set PREFECT_SERVER_API_AUTH_STRING"),
        ("PREFECT_SERVER_API_AUTH_STRING=me:secret", "lets web pages of any origin ask (*): set PREFECT_SERVER_CORS"),
    ],
)
def test_a_server_that_lets_strangers_in_is_refused(tmp_path, monkeypatch, settings, said):
    monkeypatch.setenv("PREFECT_API_AUTH_STRING", "me:secret")
    file = write(tmp_path / "d.toml", f"[a]\nflow = 'reduce'\nstore = '{tmp_path}/s.zarr'")

    def script(port, _):
        return f"{settings} exec {sys.executable} -m prefect server start --host 127.0.0.1 --port {port}"

    with a_server(tmp_path, monkeypatch, script):
        answer = served(file)
    assert answer.returncode == 2, answer.stderr
    (line,) = answer.stderr.splitlines()
    assert said in line


def test_another_password_than_the_server_s_is_refused(tmp_path, server, monkeypatch, capsys):
    """The server's address is in a profile, where `run` and `serve` both find it."""
    monkeypatch.setenv("PREFECT_LOGGING_LOG_PRINTS", "true")  # which `serve` sets for its process
    url = os.environ["PREFECT_API_URL"]
    monkeypatch.delenv("PREFECT_API_URL")
    write(
        tmp_path / "profiles.toml",
        f'active = "there"\n[profiles.there]\nPREFECT_API_URL = "{url}"\nPREFECT_API_AUTH_STRING = "me:wrong"\n',
    )
    monkeypatch.delenv("PREFECT_API_AUTH_STRING")
    monkeypatch.setenv("PREFECT_PROFILES_PATH", str(tmp_path / "profiles.toml"))
    sweep = write(tmp_path / "small.toml", SMALL_FILE)
    file = write(tmp_path / "d.toml", f"[a]\nflow = 'reduce'\nstore = '{tmp_path}/s.zarr'")
    for arguments in (["serve", file], ["run", sweep, "--store", f"{tmp_path}/s.zarr"]):
        answer = subprocess.run(
            [sys.executable, "-m", "isophase.flows.cli", *arguments], capture_output=True, text=True, check=False
        )
        assert answer.returncode == 2
        (line,) = answer.stderr.splitlines()
        assert line.startswith(f"isophase: error: Prefect server {url} (PREFECT_API_URL): refuses these credentials")


def test_a_schedule_fires_by_itself_and_extends_the_sweep(tmp_path, server):
    """With SQLAlchemy 2.1 the server starts, looks healthy, and never fires. Nothing listens beyond loopback."""
    sweep = write(tmp_path / "small.toml", SMALL_FILE)
    location = str(tmp_path / "s.zarr")
    file = write(
        tmp_path / "d.toml",
        f"[often]\nflow = 'sweep'\nsweep = '{sweep}'\nstore = '{location}'\nmore_seeds = 1\nworkers = 1\n"
        "interval = 5\n",
    )
    log = (tmp_path / "log").open("w+")
    process = subprocess.Popen(
        [sys.executable, "-m", "isophase.flows.cli", "serve", file],
        stdout=log,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    addresses = set()
    try:
        limit = time.monotonic() + 90
        while not ((tmp_path / "s.zarr/square-6/seed/zarr.json").exists() and len(seeds(location)) >= 3):
            assert time.monotonic() < limit, (tmp_path / "log").read_text()[-4000:]
            assert process.poll() is None, (tmp_path / "log").read_text()[-4000:]
            addresses |= listening(psutil.Process(process.pid)) | listening(psutil.Process(server.pid))
            time.sleep(0.2)
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=40) == 0
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        log.close()
    assert addresses <= {"127.0.0.1", "::1"}
    assert addresses
    assert load(sweep).n_points == 4  # the file itself stays as it is
