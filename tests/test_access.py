"""Another user of the machine gets nothing of a run and into none of it: no code run, no page, no file, no key."""

import contextlib
import ipaddress
import json
import os
import re
import signal
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import dask
import httpx
import psutil
import pytest
from distributed import LocalCluster

from isophase.flows.cluster import _warn_of, cluster
from isophase.flows.local_cluster import scratch_folder
from tests.test_command_line import command, shard_files, wait_for, write_sweep

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="to be another user needs the right to become one")


@pytest.fixture
def hidden(tmp_path):
    """A folder in which nobody else can write."""
    tmp_path.chmod(0o755)
    return tmp_path


def attack(processes, folders, marker):
    """What a stranger gets of some processes but the embedded Prefect server, which :func:`ask_as_nobody` asks."""
    listening = {
        connection.laddr.port
        for process in processes
        if "embedded_process.py" not in " ".join(process.cmdline())
        for connection in process.net_connections("tcp")
        if connection.status == psutil.CONN_LISTEN
    }
    target = {
        "ports": sorted(listening), "pids": [process.pid for process in processes], "folders": folders,
        "marker": str(marker),
    }  # fmt: skip
    answer = subprocess.run(
        [sys.executable, "-m", "tests.stranger", json.dumps(target)],
        capture_output=True, text=True, check=False, timeout=250,
    )  # fmt: skip
    assert answer.returncode == 0, answer.stderr
    told = json.loads(answer.stdout.splitlines()[-1])
    assert told["seen"] == sorted(listening)  # finding them is no art
    return told


ASK = """
import json, sys, httpx
from tests.stranger import become_nobody
address, questions = json.loads(sys.argv[1])
with httpx.Client(base_url=address, trust_env=False, timeout=60) as client:
    become_nobody()
    answers = [client.request(method, path, headers=headers) for method, path, headers in questions]
print(json.dumps([[a.status_code, a.headers.get("access-control-allow-origin"), a.text] for a in answers]))
"""


def ask_as_nobody(address, questions):
    """Status, allowed origin and text of what a server answers to another user."""
    command = [sys.executable, "-c", ASK, json.dumps([address, questions])]
    return json.loads(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, timeout=200).stdout)


@contextlib.contextmanager
def a_run(folder):
    """A run that goes on, and what it has printed by then."""
    sweep = write_sweep(folder / "long.toml", size=64, seeds=500, t_end=300.0)
    log = folder / "log"
    with log.open("w") as output:
        process = subprocess.Popen(
            command("run", sweep, "--store", folder / "s.zarr", "--workers", 2),
            stdout=output, stderr=output, start_new_session=True,
        )  # fmt: skip
    try:
        wait_for(lambda: shard_files(folder / "s.zarr"), seconds=120)
        yield psutil.Process(process.pid), log.read_text()
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(30)


@as_root
@pytest.mark.timeout(400)
def test_another_user_gets_nothing_of_a_run(hidden):
    with a_run(hidden) as (run, printed):
        processes = [run, *run.children(recursive=True)]
        (link,) = re.findall(r"Dask dashboard: (http://127\.0\.0\.1:\d+/[\w-]{22}/status)$", printed, re.MULTILINE)
        assert "Dask" in httpx.get(link, timeout=60).text
        for process in processes:
            for connection in process.net_connections("inet"):
                if connection.status == psutil.CONN_LISTEN:
                    assert ipaddress.ip_address(connection.laddr.ip).is_loopback, (process.cmdline(), connection)
            told_to_everybody = " ".join(process.cmdline())
            assert link.split("/")[3] not in told_to_everybody
            assert "PRIVATE KEY" not in told_to_everybody
        told = attack(processes, [str(scratch_folder())], hidden / "marker")
        (server,) = (process for process in processes if "embedded_process.py" in " ".join(process.cmdline()))
        (port,) = (c.laddr.port for c in server.net_connections("tcp") if c.status == psutil.CONN_LISTEN)
        asked = [
            ["GET", "/api/admin/settings", {}],
            ["POST", "/api/flow_runs/filter", {}],
            ["POST", "/api/deployments/filter", {"Authorization": "Basic aXNvcGhhc2U6"}],
            ["POST", "/api/flows/filter", {"Authorization": "Basic " + "x" * 40}],
            ["OPTIONS", "/api/flow_runs/", {"Origin": "http://a.invalid", "Access-Control-Request-Method": "POST"}],
        ]
        *closed, preflight = ask_as_nobody(f"http://127.0.0.1:{port}", asked)
        assert run.is_running()
    assert closed == [[401, None, '{"exception_message":"Unauthorized"}']] * 4
    assert preflight[:2] == [400, None]
    assert len(told["seen"]) == 6  # scheduler, two nannies, two workers, the dashboard
    assert not (hidden / "marker").exists()
    assert told["pages"] == []
    assert not told["taken"]
    assert told["greeted"] == []
    assert told["readable"] == []


@as_root
@pytest.mark.timeout(400)
def test_the_same_stranger_takes_over_a_cluster_without_certificates(hidden):
    """Else the test above would prove nothing."""
    with LocalCluster(n_workers=1, threads_per_worker=1, host="127.0.0.1", dashboard_address="127.0.0.1:0") as open_one:
        own = psutil.Process()
        told = attack([own, *own.children(recursive=True)], [], hidden / "marker")
        assert open_one.scheduler_address in told["greeted"]
    assert told["taken"]
    assert (hidden / "marker").exists()
    assert {"/status", "/info/main/workers.html", "/health"} <= {path for _, path, *_ in told["pages"]}


def test_workers_have_no_web_server_and_the_dashboard_answers_its_own_path_alone():
    with cluster(workers=1) as client:
        link = client.dashboard_link
        (worker,) = client.scheduler_info(n_workers=-1)["workers"].values()
        assert worker["services"] == {}
        assert worker["id"] is not None
        root, secret = re.fullmatch(r"(http://127\.0\.0\.1:\d+)/([\w-]{22})/status", link).groups()
        assert httpx.get(f"{root}/{secret}/health").text == "ok"
        for path in ("", "status", "health", "sitemap.json", f"{secret}x/health", secret[:-1], f"x/{secret}/health"):
            answer = httpx.get(f"{root}/{path}")
            assert (answer.status_code, answer.text) == (404, ""), path


def test_scratch_files_lie_where_only_their_owner_looks(tmp_path):
    with dask.config.set({"temporary-directory": str(tmp_path)}):
        own = tmp_path / f"isophase-{os.getuid()}"
        assert scratch_folder() == own
        own.chmod(0o777)
        assert scratch_folder() == own
        assert stat.S_IMODE(own.stat().st_mode) == 0o700
        own.rmdir()
        (tmp_path / "elsewhere").mkdir()
        own.symlink_to(tmp_path / "elsewhere")  # as somebody may have made it before
        other = scratch_folder()
        assert other.parent == tmp_path
        assert other not in (own, tmp_path / "elsewhere")
        assert stat.S_IMODE(other.stat().st_mode) == 0o700


@as_root
def test_a_scratch_folder_that_another_user_has_made_is_not_used(tmp_path):
    with dask.config.set({"temporary-directory": str(tmp_path)}):
        theirs = tmp_path / f"isophase-{os.getuid()}"
        theirs.mkdir(mode=0o700)
        os.chown(theirs, 65534, 65534)
        assert scratch_folder() != theirs


def test_a_scheduler_elsewhere_without_certificates_is_said_to_be_open_to_anybody(capsys):
    address = "tcp://192.0.2.1:8786"
    _warn_of(address)
    _warn_of(address)
    said = capsys.readouterr().err
    assert len(said.splitlines()) == 1
    assert said.startswith(f"scheduler {address}: is not encrypted")
    assert "tls://HOST:PORT" in said


def test_the_temporary_folder_of_the_machine_is_the_default():
    assert scratch_folder() == Path(tempfile.gettempdir()) / f"isophase-{os.getuid()}"
