"""Prefect is told how every run ends: by a signal at once, by a kill as soon as the store or deployment runs again."""

import contextlib
import fcntl
import os
import signal
import subprocess
import time

import httpx
import psutil
import pytest

from isophase.flows.flow_runs import SILENT_SECONDS
from tests.test_command_line import command, write_sweep
from tests.test_serve import a_server, as_the_readme_says, wait_for, write

SECONDS = 120  # that a busy machine may take; the server itself keeps the place of a dead run for 300
pytestmark = pytest.mark.timeout(900)
OPEN = {"PENDING", "RUNNING", "CANCELLING"}


@pytest.fixture(scope="module")
def ask(tmp_path_factory):
    """What a Prefect server holds: ``ask("flow_runs")``. Processes that are started here use that server."""
    folder = tmp_path_factory.mktemp("server")
    with pytest.MonkeyPatch.context() as patch, a_server(folder, patch, as_the_readme_says):
        auth = (folder / "auth").read_text().strip()
        patch.setenv("PREFECT_API_AUTH_STRING", auth)

        def ask(what, **question):
            answer = httpx.post(
                f"{os.environ['PREFECT_API_URL']}/{what}/filter", json=question, auth=tuple(auth.split(":")), timeout=20
            )
            answer.raise_for_status()
            return answer.json()

        yield ask


@contextlib.contextmanager
def started(log, *arguments):
    """A command in a process; nothing of it is left."""
    with log.open("w") as output:
        process = subprocess.Popen(command(*arguments), stdout=output, stderr=output, start_new_session=True)
    try:
        yield process
    finally:
        kill(process)


def kill(process):
    with contextlib.suppress(psutil.NoSuchProcess):
        for each in [*psutil.Process(process.pid).children(recursive=True), psutil.Process(process.pid)]:
            with contextlib.suppress(psutil.NoSuchProcess):
                each.kill()
    process.wait()


def runs_of(ask, location):
    states = [*OPEN, "CRASHED", "FAILED", "CANCELLED", "COMPLETED"]
    begun = {"state": {"type": {"any_": states}}}  # not the hundreds that are to come
    return {run["id"]: run for run in ask("flow_runs", flow_runs=begun) if run["parameters"].get("store") == location}


def open_tasks(ask, flow_run):
    found = ask("task_runs", flow_runs={"id": {"any_": [flow_run]}})
    return [task for task in found if task["state_type"] in OPEN]


def running(ask, location, but=()):
    """The flow run of a store, beside others, that has tasks running."""
    for number, run in runs_of(ask, location).items():
        tasks = open_tasks(ask, number) if number not in but and run["state_type"] == "RUNNING" else []
        if any(task["state_type"] == "RUNNING" for task in tasks):
            return number
    return None


def wait_until_running(ask, location, process, log, but=()):
    def look():
        assert process.poll() is None, log.read_text()
        return running(ask, location, but)

    wait_for(look, SECONDS)
    return running(ask, location, but)


def test_a_run_that_a_signal_ends_is_closed_at_once_and_a_killed_one_by_the_next(tmp_path, ask):
    sweep = write_sweep(tmp_path / "long.toml", size=64, seeds=200, t_end=300.0)
    location, log = str(tmp_path / "s.zarr"), tmp_path / "log"
    run = ("run", sweep, "--store", location, "--workers", 1)
    with started(log, *run) as process:
        killed = wait_until_running(ask, location, process, log)
        kill(process)
    assert runs_of(ask, location)[killed]["state_type"] == "RUNNING"
    ended = {killed}
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        with started(log, *run) as process:
            this = wait_until_running(ask, location, process, log, ended)
            before = runs_of(ask, location)
            assert before[killed]["state"]["type"] == "CRASHED"
            assert before[killed]["state"]["message"] == "its process was killed"
            assert not open_tasks(ask, killed)
            if number == signal.SIGTERM:
                assert "its process was killed; it is closed in Prefect" in log.read_text()
                # another flow run of the store, which is refused, leaves the one that lives alone
                assert subprocess.run(command("reduce", location), capture_output=True, check=False).returncode == 3
                assert runs_of(ask, location)[this]["state_type"] == "RUNNING"
            process.send_signal(number)
            assert process.wait(SECONDS) == 130, log.read_text()
        assert runs_of(ask, location)[this]["state_type"] == "CRASHED", number
        assert not open_tasks(ask, this)
        ended.add(this)


def test_a_deployment_runs_again_as_soon_as_it_is_served_after_a_kill(tmp_path, ask):
    sweep = write_sweep(tmp_path / "long.toml", size=64, seeds=200, t_end=300.0)
    location, log = str(tmp_path / "s.zarr"), tmp_path / "log"
    table = f"[often]\nflow = 'sweep'\nsweep = '{sweep}'\nstore = '{location}'\nworkers = 1\ninterval = 5\n"
    serve = ("serve", write(tmp_path / "d.toml", table))
    with started(log, *serve) as process:
        killed = wait_until_running(ask, location, process, log)
        kill(process)
    assert runs_of(ask, location)[killed]["state_type"] == "RUNNING"
    with started(log, *serve) as process:
        wait_until_running(ask, location, process, log, {killed})
    assert runs_of(ask, location)[killed]["state"]["type"] == "CRASHED"
    assert not open_tasks(ask, killed)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can count processes as another machine does")
def test_a_study_on_another_machine_is_left_alone_when_it_holds_no_lock_and_closed_when_nothing_is_heard_of_it(
    tmp_path, ask
):
    """It is held while it prints its tables, into a full pipe that nobody reads."""
    sweep = write_sweep(tmp_path / "small.toml", size=6, seeds=1)
    location, log, (reading, writing) = str(tmp_path / "s.zarr"), tmp_path / "log", os.pipe()
    os.write(writing, bytes(fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, 4096)))
    elsewhere = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"]
    study = command("study", sweep, "--store", location, "--workers", 1)
    with log.open("w") as output:
        process = subprocess.Popen(
            [*elsewhere, *study], stdout=writing, stderr=output, start_new_session=True,
            env=os.environ | {"PYTHONUNBUFFERED": "1"},
        )  # fmt: skip
    os.close(writing)
    try:

        def is_printing():
            assert process.poll() is None, log.read_text()
            states = sorted(run["state_type"] for run in runs_of(ask, location).values())
            return states == ["COMPLETED", "COMPLETED", "RUNNING"]

        wait_for(is_printing, SECONDS)
        (printing,) = (number for number, run in runs_of(ask, location).items() if run["state_type"] == "RUNNING")
        time.sleep(1.5 * SILENT_SECONDS)  # it has begun that long ago, and beats
        reduce = command("reduce", location, "--workers", 1, "--figures", tmp_path / "g")
        assert subprocess.run(reduce, capture_output=True, check=False).returncode == 0
        assert runs_of(ask, location)[printing]["state_type"] == "RUNNING"
    finally:
        kill(process)
        os.close(reading)

    def is_closed():
        assert subprocess.run(reduce, capture_output=True, check=False).returncode == 0
        return runs_of(ask, location)[printing]["state_type"] == "CRASHED"

    wait_for(is_closed, 4 * SECONDS)
    assert "nobody writes its store" in runs_of(ask, location)[printing]["state"]["message"]
