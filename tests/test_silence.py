"""Nothing waits without a word or without a bound: schedulers and workers that are stopped, gone, or only busy."""

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import time

import pytest

from isophase.flows.cluster import ClusterError, cluster, fan_out
from isophase.flows.progress import Meter
from tests.failures.services import free_port
from tests.test_command_line import wait_for

CALLS = 30


@pytest.fixture
def impatient(monkeypatch):
    """Seconds where a run waits for a minute."""
    for name, seconds in {
        "LOOK_SECONDS": 0.3,
        "SAY_SECONDS": 1.0,
        "SILENT_SECONDS": 5.0,
        "ANSWER_SECONDS": 2.0,
    }.items():
        monkeypatch.setattr(f"isophase.flows.watch.{name}", seconds)
    monkeypatch.setattr("isophase.flows.progress.SAY_SECONDS", 0.5)
    monkeypatch.setattr("isophase.flows.cluster.SILENT_SECONDS", 5.0)
    monkeypatch.setattr("isophase.flows.cluster.CLOSE_SECONDS", 2.0)


def slow_square(number):
    time.sleep(0.1)
    return number**2


def with_the_lock(number):
    """For many seconds: one loop of Python's own C code, which lets no other thread run."""
    started = time.monotonic()
    sum(range(number))
    return time.monotonic() - started


def pids(client):
    return client.run(os.getpid)


def squares(client, after_first):
    """The squares of all calls; something happens once the first has come."""
    answers = fan_out(client, slow_square, ((number,) for number in range(CALLS)))
    found = [next(answers)]
    after_first()
    return dict([*found, *answers])


@contextlib.contextmanager
def elsewhere(folder, *options):
    """A scheduler and a worker in processes of their own, as on other machines: their addresses and processes."""
    address = f"tcp://127.0.0.1:{free_port()}"
    host = ["--host", "127.0.0.1", "--no-dashboard"]
    commands = {
        "scheduler": ["dask_scheduler", *host, "--port", address.rpartition(":")[2]],
        "worker": ["dask_worker", address, *host, "--nthreads", "1", "--local-directory", str(folder), *options],
    }
    started = {
        name: subprocess.Popen(
            [sys.executable, "-m", f"distributed.cli.{module}", *arguments],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
        )
        for name, (module, *arguments) in commands.items()
    }  # fmt: skip
    try:
        yield address, started
    finally:
        for process in started.values():
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def test_a_scheduler_that_takes_connections_and_never_answers_is_named(impatient, monkeypatch, capsys):
    monkeypatch.setattr("isophase.flows.cluster.GREET_SECONDS", 2.0)
    with socket.create_server(("127.0.0.1", 0)) as mute:
        address = f"tcp://127.0.0.1:{mute.getsockname()[1]}"
        started = time.monotonic()
        with pytest.raises(ClusterError, match=f"{address}: takes connections, and does not answer"), cluster(address):
            pass
    assert time.monotonic() - started < 15
    assert f"scheduler {address}: connecting" in capsys.readouterr().err


@pytest.mark.parametrize("stopped", [1, 2])
def test_stopped_workers_are_named_and_their_calls_go_elsewhere(impatient, capsys, stopped):
    with cluster(workers=2) as client:
        before = pids(client)
        victims = list(before)[:stopped]

        def stop():
            for address in victims:
                os.kill(before[address], signal.SIGSTOP)

        found = squares(client, stop)
        wait_for(lambda: len(client.nthreads()) == 2 and not set(victims) & set(client.nthreads()))
    assert found == {number: number**2 for number in range(CALLS)}
    said = capsys.readouterr().err
    for address in victims:
        assert f"worker {address}: gives no sign for " in said
        assert re.search(f"worker {address}: gave no sign for .* s: restarted; its .* calls go elsewhere", said)


def test_a_worker_whose_call_keeps_python_s_lock_is_left_alone(impatient, capsys):
    number = 20_000_000
    while (took := with_the_lock(number)) < 1:
        number *= 2
    number = int(number * 12 / took)
    with cluster(workers=1) as client:
        before = pids(client)
        ((_, seconds),) = fan_out(client, with_the_lock, [(number,)])
        assert pids(client) == before
    assert isinstance(seconds, float), seconds
    assert seconds > 7  # than SILENT_SECONDS by far
    said = capsys.readouterr().err
    assert "computes, and lets nothing else run" in said
    assert "restarted" not in said


def test_a_scheduler_that_stops_while_calls_run_is_named_and_given_up(impatient, tmp_path, capsys):
    with elsewhere(tmp_path) as (address, processes), contextlib.ExitStack() as stack:
        client = stack.enter_context(cluster(address))
        with pytest.raises(ClusterError, match=f"scheduler {address}: no answer for "):
            squares(client, lambda: os.kill(processes["scheduler"].pid, signal.SIGSTOP))
        assert f"scheduler {address}: no answer" in capsys.readouterr().err
        ended = time.monotonic()
        stack.close()
        assert time.monotonic() - ended < 20


def test_a_cluster_that_has_lost_its_workers_is_given_up_in_time(impatient, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("isophase.flows.watch.NO_WORKERS", "4s")
    with (
        elsewhere(tmp_path, "--no-nanny") as (address, processes),
        cluster(address) as client,
        pytest.raises(ClusterError, match=f"scheduler {address}: no worker for 4s"),
    ):
        squares(client, processes["worker"].kill)
    assert f"scheduler {address}: no worker for " in capsys.readouterr().err


def test_a_stopped_worker_without_a_nanny_is_named_and_left_out(impatient, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("isophase.flows.watch.UNKNOWN_SECONDS", 5.0)
    monkeypatch.setattr("isophase.flows.watch.NO_WORKERS", "4s")
    with (
        elsewhere(tmp_path, "--no-nanny") as (address, processes),
        cluster(address) as client,
        pytest.raises(ClusterError, match="no worker for 4s"),
    ):
        squares(client, lambda: os.kill(processes["worker"].pid, signal.SIGSTOP))
    assert "given up; its " in capsys.readouterr().err


def test_long_work_says_now_and_then_that_nothing_has_finished(monkeypatch, capsys):
    monkeypatch.setattr("isophase.flows.progress.QUIET_SECONDS", 0.3)
    with Meter("long", 4) as meter:
        meter.add(1)
        time.sleep(1.1)
        lines = capsys.readouterr().err.splitlines()
    assert 2 <= len(lines) <= 3
    assert all(line.startswith("long: 1/4 points in ") for line in lines)
    assert all("none finished for" in line and "left" not in line for line in lines)
