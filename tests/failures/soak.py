"""One sweep under many `kill -9`, at random moments, of everything that takes part in it: `make failure-test`."""

import os
import random
import sys
import time

import numpy as np
import pytest

import isophase
from isophase.sweeps.store import DONE, StoreError, read
from isophase.sweeps.sweep import load
from tests.failures.services import Services, wait_for
from tests.serial import run_serially

SEED = int(os.environ.get("ISOPHASE_SOAK_SEED", random.SystemRandom().randrange(10**6)))
VICTIMS = ["worker-0", "worker-1"] * 4 + ["scheduler", "flow", "server"] * 4
MORE_SEEDS = 60  # by which the sweep grows whenever it is complete before everything was killed
WAIT_SECONDS = 300.0  # for the next point to be done after a kill, on a busy machine
SWEEP = """
kind = "lattice"
seed = 5
[axes]
private = [0, 1]
seed = {{ start = 0, count = {seeds} }}
[fixed]
size = 64
[record]
t_end = 80.0
samples = 4
"""


class Soak:
    """The sweep with its store, and the command that runs it, started again whenever it has ended."""

    def __init__(self, services, folder):
        self.services = services
        self.sweep, self.store = folder / "sweep.toml", str(folder / "s.zarr")
        self.seeds = 0
        self.runs = 0
        self.grow()

    def grow(self):
        self.seeds += MORE_SEEDS
        self.sweep.write_text(SWEEP.format(seeds=self.seeds))

    def start_flow(self):
        command = [
            sys.executable,
            "-m",
            "isophase.flows.cli",
            "run",
            str(self.sweep),
            "--store",
            self.store,
            "--retry-failed",
        ]
        environment = {**self.services.environment, "PREFECT_API_URL": self.services.prefect}
        self.services.spawn("flow", [*command, "--scheduler", self.services.scheduler], environment)
        self.runs += 1

    def keep_running(self):
        """Start what has ended, as a supervisor does."""
        for name, process in list(self.services.processes.items()):
            if process.poll() is not None:
                self.services.kill(name)  # what it started
                if name != "flow":
                    self.services.start(name)
        if "flow" not in self.services.processes:
            self.start_flow()

    def done(self):
        try:
            return read(self.store).count()["done"]
        except StoreError:
            return 0

    def is_complete(self):
        return self.done() == 2 * self.seeds

    def wait_for_progress(self):
        before, limit = self.done(), time.monotonic() + WAIT_SECONDS
        while self.done() <= before and not self.is_complete():
            assert time.monotonic() < limit, "no point was done"
            self.keep_running()
            time.sleep(0.1)


@pytest.mark.timeout(1200)
def test_a_sweep_whose_every_part_is_killed_ends_with_the_bits_of_an_undisturbed_one(tmp_path):
    chance = random.Random(SEED)
    victims = chance.sample(VICTIMS, len(VICTIMS))
    print(f"ISOPHASE_SOAK_SEED={SEED}: {' '.join(victims)}")
    started = time.monotonic()
    with Services(tmp_path) as services:
        soak = Soak(services, tmp_path)
        for victim in victims:
            soak.keep_running()
            if soak.is_complete():
                soak.grow()
            if chance.random() < 0.7:  # otherwise in the middle of whatever starts
                soak.wait_for_progress()
            time.sleep(chance.uniform(0, 1.5))
            soak.keep_running()
            services.kill(victim)
            if victim != "flow":
                services.start(victim)
            print(
                f"{time.monotonic() - started:6.1f} s: killed {victim}, {soak.done()} of {2 * soak.seeds} points done"
            )
        while not soak.is_complete():
            soak.wait_for_progress()
        wait_for(lambda: services.processes["flow"].poll() is not None)
        print(f"{time.monotonic() - started:6.1f} s: complete after {len(victims)} kills and {soak.runs} runs")
    sweep, reference = load(soak.sweep), str(tmp_path / "reference.zarr")
    run_serially(reference, sweep)
    assert_same_results(soak.store, reference)
    print(f"{time.monotonic() - started:6.1f} s: compared")


def assert_same_results(location, reference, but=""):
    """The same groups and arrays with the same bits; but how long a point took is anybody's guess."""
    found, wanted = isophase.open(location), isophase.open(reference)
    assert set(found.children) - {but} == set(wanted.children)
    for name in wanted.children:
        assert set(found[name].variables) == set(wanted[name].variables)
        assert (found[name].status == DONE).all()
        for variable in set(wanted[name].variables) - {"wall_time"}:
            np.testing.assert_array_equal(found[name][variable].values, wanted[name][variable].values)
