"""Blocks of a fan-out: repeated where that may help, given up at once where the store or the scheduler gave way."""

import subprocess
import sys
import threading

import pytest

from isophase.flows.blocks import AT_ONCE, Blocks, in_threads
from isophase.flows.cluster import ClusterError
from isophase.sweeps.store import StoreError


@pytest.mark.parametrize("fatal", [StoreError("store s: disk full"), ClusterError("scheduler tcp://a:1: lost")])
def test_an_error_of_store_or_scheduler_ends_all_blocks_before_they_have_tried(fatal):
    started, barrier = [], threading.Barrier(AT_ONCE)

    def block(number):
        started.append(number)
        if number < AT_ONCE:
            barrier.wait(timeout=10)
        raise fatal

    with pytest.raises(type(fatal), match=str(fatal)):
        in_threads(Blocks([str(i) for i in range(50)], block))
    assert sorted(started) == list(range(AT_ONCE))


def test_a_block_that_goes_on_ends_when_it_checks_after_another_one_failed():
    failed, checked = threading.Event(), []

    def block(number):
        if number == 0:
            failed.set()
            raise StoreError("store s: gone")
        failed.wait(timeout=10)
        while True:
            blocks.check()
            checked.append(number)

    blocks = Blocks(["0", "1"], block)
    with pytest.raises(StoreError, match="store s: gone"):
        in_threads(blocks)


def test_any_other_error_is_given_a_second_chance_and_no_third():
    tries = {0: 0, 1: 0}

    def once(number):
        tries[number] += 1
        if tries[number] == 1:
            raise RuntimeError("not now")

    in_threads(Blocks(["0", "1"], once))
    assert tries == {0: 2, 1: 2}

    def never(number):
        tries[number] += 1
        raise RuntimeError("never")

    tries = {0: 0}
    with pytest.raises(RuntimeError, match="never"):
        in_threads(Blocks(["0"], never))
    assert tries == {0: 2}


def test_as_prefect_tasks_the_failed_block_is_failed_and_the_others_are_cancelled(tmp_path):
    script = tmp_path / "flow.py"
    script.write_text(
        """
import time
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.testing.utilities import prefect_test_harness
from isophase.flows.blocks import Blocks
from isophase.flows.tasks import RUNNER, as_tasks
from isophase.sweeps.store import StoreError

started = []

def block(number):
    started.append(number)
    raise StoreError("store s: disk full")

@flow(task_runner=RUNNER)
def run():
    as_tasks("block")(Blocks([str(i) for i in range(8)], block))

with prefect_test_harness(server_startup_timeout=120):
    try:
        run()
    except StoreError as error:
        print("error", error)
    with get_client(sync_client=True) as client:
        limit, ended = time.monotonic() + 60, {"FAILED", "CANCELLED"}
        while True:  # Prefect takes states of tasks from a queue
            runs = client.request("POST", "/task_runs/filter", json={}).json()
            if len(runs) == 8 and all(run["state"]["type"] in ended for run in runs) or time.monotonic() > limit:
                break
            time.sleep(0.2)
    print("failed", len(started) == sum(run["state"]["type"] == "FAILED" for run in runs) < 8)
    print("cancelled", len(started) + sum(run["state"]["type"] == "CANCELLED" for run in runs))
"""
    )
    answer = subprocess.run([sys.executable, script], capture_output=True, text=True, check=False, timeout=200)
    assert answer.returncode == 0, answer.stderr
    assert "error store s: disk full" in answer.stdout
    assert "failed True" in answer.stdout
    assert "cancelled 8" in answer.stdout
