"""The memory that a simulation is said to take, against the largest resident size of the process that runs it."""

import json
import os
import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from isophase.kernels.lattice import Network, memory_bytes, pulse, simulate_fixed_step

ROOT = Path(__file__).parent.parent
MEASURE = """
import ctypes, gc, json, sys
import numpy as np
from isophase.kernels.lattice import Network, initial, simulate, simulate_fixed_step

def run(side, private, sharing, start, delay, dt, t_end, samples):
    net = Network.lattice(rows=side, cols=side, private=private, sharing=sharing)
    drive, firing = getattr(initial, start)(net, 1)
    times = np.linspace(t_end / samples, t_end, samples) if samples else ()
    state = dict(drive=drive, firing=firing, t_end=t_end, delay=delay, sample_times=times)
    if dt:
        simulate_fixed_step(net, dt=dt, **state)
    else:
        simulate(net, record=("phase",), **state)
    return net.n_neurons, 8 * samples * net.n_rings

def resident(name):
    return next(int(line.split()[1]) * 1024 for line in open("/proc/self/status") if line.startswith(name))

found = []
for case in json.loads(sys.argv[1]):
    run(4, *case[1:6], 3 * case[5] or 0.5, 1)  # compiled before it is measured
    gc.collect()
    getattr(ctypes.CDLL(None), "malloc_trim", lambda _: None)(0)
    open("/proc/self/clear_refs", "w").write("5")  # the largest resident size is that of now
    before = resident("VmRSS")
    neurons, phases = run(*case)
    found.append((neurons, resident("VmHWM") - before - phases))
print(json.dumps(found))
"""
# side, private, sharing, initial state; delay, dt, t_end, samples
CASES = [
    (150, 1, "side", "pulse", 0.0, 0.0, 3.0, 1),
    (150, 1, "side", "pulse", 0.01, 0.0, 10.0, 1),
    (150, 1, "side", "random", 0.01, 0.0, 10.0, 10),
    (250, 0, "side", "pulse", 0.1, 0.0, 5.0, 1),
    (150, 1, "corner", "random", 1.0, 0.0, 10.0, 1),
    (150, 1, "side", "pulse", 1.0, 0.0, 10.0, 1),
    (150, 0, "weak", "random", 3.0, 0.0, 10.0, 1),
    (250, 0, "side", "random", 3.0, 0.0, 10.0, 1),
    (10, 1, "side", "pulse", 1e-6, 0.0, 0.5, 1),
    (40, 1, "side", "pulse", 0.01, 0.01, 10.0, 1),
    (40, 1, "side", "pulse", 0.01, 0.05, 100.0, 1),
    (40, 1, "side", "random", 1.0, 0.01, 10.0, 1),
    (40, 1, "side", "pulse", 10.0, 0.01, 12.0, 1),
    (40, 1, "side", "pulse", 10.0, 0.01, 5.0, 1),
    (60, 1, "side", "pulse", 0.05, 0.05, 10.0, 2000),
]


@pytest.fixture(scope="module")
def measured():
    if not os.access("/proc/self/clear_refs", os.W_OK):
        pytest.skip("the largest resident size of a part of a process is known on Linux only")
    # Whatever is freed goes back to the system at once, so that one run is not measured with what another has left.
    environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, json.dumps(CASES)], cwd=ROOT, env=environment, capture_output=True, text=True,
        timeout=200,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("number", range(len(CASES)), ids=["-".join(map(str, case)) for case in CASES])
def test_a_run_takes_the_memory_that_it_is_said_to_take_to_a_factor_of_two(number, measured):
    *_, delay, dt, t_end, samples = CASES[number]
    neurons, taken = measured[number]
    said = memory_bytes(neurons, delay, dt, t_end, samples if dt else 0)
    assert 0.5 < said / taken < 2, (said, taken)


def test_the_steps_of_a_delay_take_eight_bytes_of_a_neuron_each():
    """A delay of 10 in steps of 1e-3 is 10^4 vectors of all neurons, which a formula of neurons alone leaves out."""
    net = Network.lattice(rows=4, cols=4)
    drive, firing = pulse(net, 1)
    tracemalloc.start()
    try:
        simulate_fixed_step(net, drive=drive, firing=firing, t_end=11.0, delay=10.0, dt=1e-3)
        taken = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert taken > 8 * net.n_neurons * 10_000
    assert 0.5 < memory_bytes(net.n_neurons, 10.0, 1e-3) / taken < 2
    assert memory_bytes(net.n_neurons, 10.0, 1e-3) > 30 * memory_bytes(net.n_neurons, 0.01, 1e-3)


def test_memory_is_that_of_each_neuron_and_more_with_the_length_and_samples_of_a_fixed_step_run():
    assert memory_bytes(2000, 0.01, 0.01) == pytest.approx(2 * memory_bytes(1000, 0.01, 0.01), rel=1e-3)
    assert memory_bytes(1000, 0.01, 0.01, samples=50) - memory_bytes(1000, 0.01, 0.01) == 50_000
    longer = memory_bytes(1000, 0.0, 0.01, t_end=1000.0) - memory_bytes(1000, 0.0, 0.01)
    assert longer == pytest.approx(1000 * 1000 * 0.65 * 45, rel=1e-3)
    assert memory_bytes(1000, 10.0, 0.01, t_end=1.0) < memory_bytes(1000, 10.0, 0.01) / 5
    assert memory_bytes(0, 0.0, 0.0) == 0


@pytest.mark.parametrize(
    ("arguments", "named"),
    [((-1, 0.1, 0.0), "n_neurons=-1"), ((1, np.nan, 0.0), "delay=nan"), ((1, 0.1, -0.1), "dt=-0.1"),
     ((1, 0.1, 0.1, np.inf), "t_end=inf"), ((1, 0.1, 0.1, 1.0, -1), "samples=-1: must be finite and >= 0")],
)  # fmt: skip
def test_memory_of_what_cannot_be_is_refused_by_name(arguments, named):
    with pytest.raises(ValueError, match=named):
        memory_bytes(*arguments)
