"""`run`, `reduce` and `reduce --refine` under `kill -9` at random moments: the same command ends with the bits of one
that nobody disturbed. Of all its processes, or of one of them. `make failure-test`; `ISOPHASE_KILLS` for more of them.
"""

import contextlib
import os
import random
import shutil
import signal
import subprocess
import time

import psutil
import pytest

from isophase.sweeps.store import verify
from tests.damage import assert_same_contents, contents, copy_of
from tests.failures.failures import run, start
from tests.test_command_line import dask_workers

KILLS = int(os.environ.get("ISOPHASE_KILLS", "20"))  # in all, and at least one of each command
SEED = int(os.environ.get("ISOPHASE_KILLS_SEED", random.SystemRandom().randrange(10**6)))
SWEEP = """
kind = "flipflop"
seed = 2306
[axes]
seed = { start = 0, count = 4 }
[fixed]
clock = "periodic"
period = 4
length = 30
n_hidden = 8
learning_rate = 0.01
[record]
iterations = 150
checkpoints = 15
"""
pytestmark = pytest.mark.timeout(7200)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """Of each command: what it finds, how long it takes, and what it leaves."""
    folder = tmp_path_factory.mktemp("undisturbed")
    sweep, store = folder / "networks.toml", folder / "s.zarr"
    sweep.write_text(SWEEP)
    found, before = {}, None
    for name, arguments in {"run": ("run", sweep), "reduce": ("reduce",), "refine": ("reduce", "--refine")}.items():
        started = time.monotonic()
        code, _, errors = run(*complete(arguments, store, folder), timeout=600)
        assert code == 0, errors
        after = copy_of(store, folder / f"{name}.zarr")
        found[name] = arguments, before, time.monotonic() - started, contents(after)
        before = after
    assert any((found["refine"][3][name] == 1).any() for name in found["refine"][3] if name.endswith("/refined"))
    return found


def complete(arguments, store, folder):
    name, *more = arguments
    if name == "run":
        return (name, *more, "--store", store, "--workers", 2)
    return (name, store, *more, "--workers", 2, "--figures", folder / "figures")


@pytest.mark.parametrize("number", range(max(KILLS, 3)))
def test_a_killed_command_ends_with_the_same_bits_when_it_is_called_again(undisturbed, tmp_path, number):
    chance = random.Random(f"{SEED}/{number}")
    arguments, before, seconds, wanted = undisturbed[("run", "reduce", "refine")[number % 3]]
    store = tmp_path / "s.zarr"
    if before is not None:
        shutil.copytree(before, store)
    line = complete(arguments, store, tmp_path)
    process = start(*line)
    moment = chance.uniform(0.0, seconds)
    victim = chance.choice(["all", "all", "flow", "worker"])
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(moment)
    killed = kill(process, victim, chance)
    print(f"ISOPHASE_KILLS_SEED={SEED} {number}: {arguments[0]} {arguments[-1]}: {killed} after {moment:.1f} s")
    process.communicate(timeout=600)
    code, _, errors = run(*line, timeout=600)
    assert code == 0, errors
    assert verify(str(store)) == []
    assert_same_contents(contents(store), wanted)


def kill(process, victim, chance):
    """Kill the group of a process, it alone, or one of its workers, where it has any; returns what was killed."""
    if process.poll() is not None:
        return "had ended, nothing killed"
    if victim == "worker":
        with contextlib.suppress(psutil.NoSuchProcess):
            workers = dask_workers(process)
            if workers:
                chance.choice(workers).kill()
                return "a worker killed"
        victim = "flow"
    with contextlib.suppress(ProcessLookupError):
        if victim == "all":
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()
    return f"{victim} killed"
