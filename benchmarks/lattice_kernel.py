"""Speed and memory of the exact kernel beside the project's marks, a second design, and two threads.

python -m benchmarks.lattice_kernel [NEURONS]

One core, lattices of 10^3 neurons to NEURONS (10^7 if not given): rings of 8 that share one neuron on each side, one
pulse per ring at the start, delay 0.01. Compared are runs that record nothing with runs that record phases, a first
call that compiles with one that finds the code on disk, the kernel (windows about as long as the delay) with the design
that was tried beside it (event after event, from a heap of firings that end and a queue of deliveries), and one lattice
in one thread with the same in two. Memory is that of a fresh process.
"""

import json
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numba
import numpy as np

from isophase.kernels.lattice import Network, pulse, simulate
from isophase.kernels.lattice.instant import _pop, _push
from isophase.kernels.lattice.simulate import V_HIGH, V_LOW
from isophase.kernels.lattice.window_rules import TOLERANCE
from isophase.kernels.lattice.windowed import _larger

DELAY = 0.01
SWITCHES = 2e7  # of a run, about: the first 10 tau, when pulses still settle, are then a small part of it
RATE = 0.5  # switches per neuron and tau, about
SHORTEST = 20.0  # tau; rounding grows e-fold in about 4, so that after some 100 any two designs go different ways
BETWEEN_SAMPLES = 5.0  # tau, denser than in the presets
NEURONS_PER_RING = 6  # 8 slots, 4 of them shared by two rings
SPEED_MARKS = {10**4: 12.0, 10**6: 6.0}  # million switches/s
MEMORY_MARK = 150  # bytes per neuron
PHASE_MARK = 25  # % of the time of a run without


def network_and_state(neurons: float) -> tuple[Network, dict[str, np.ndarray]]:
    """A square lattice of about so many neurons, and its initial state as arguments of ``simulate``."""
    side = round(math.sqrt(neurons / NEURONS_PER_RING))
    network = Network.lattice("square", rows=side, cols=side, sharing="side", shared=1, private=1)
    drive, firing = pulse(network, seed=1)
    return network, {"drive": drive, "firing": firing}


def shortest(repeats: int, *runs: Callable) -> tuple[list[float], list]:
    """Shortest wall time of each run in s, while the runs take turns, and the last result of each."""
    walls, results = [math.inf] * len(runs), [None] * len(runs)
    for _ in range(repeats):
        for i, run in enumerate(runs):
            started = time.perf_counter()
            results[i] = run()
            walls[i] = min(walls[i], time.perf_counter() - started)
    return walls, results


def speed(sizes: list[int]) -> None:
    print(f"switches/s on one core, delay {DELAY}, compile time apart; phases every {BETWEEN_SAMPLES:g} tau")
    print(f"   neurons   t_end   switches   million/s   mark   with phases (mark: +{PHASE_MARK} %)")
    for size in sizes:
        network, state = network_and_state(size)
        t_end = max(SHORTEST, SWITCHES / (RATE * network.n_neurons))
        run = partial(simulate, network, **state, t_end=t_end, delay=DELAY)
        times = np.arange(BETWEEN_SAMPLES, t_end, BETWEEN_SAMPLES)
        (bare, phases), (result, _) = shortest(
            3 if size <= 10**6 else 1, partial(run, record=()), partial(run, sample_times=times, record=("phase",))
        )
        mark = f"{SPEED_MARKS[size]:g}" if size in SPEED_MARKS else ""
        print(
            f"{network.n_neurons:10,} {t_end:7.0f} {result.n_switches / 1e6:8.1f} M "
            f"{result.n_switches / bare / 1e6:11.1f} {mark:>6} {(phases / bare - 1) * 100:+11.1f} %"
        )


def compile_time() -> None:
    with tempfile.TemporaryDirectory() as cache:
        first, cached = (
            float(in_fresh_process("measure_first_call()", NUMBA_CACHE_DIR=cache)) for _ in ("compiles", "loads")
        )
    print(f"first call in a process: {first:.1f} s where it compiles, {cached:.2f} s where the disk has it")


def measure_first_call() -> None:
    network, state = network_and_state(100)
    started = time.perf_counter()
    simulate(network, **state, t_end=1.0, delay=DELAY)
    print(time.perf_counter() - started)


def memory(sizes: list[int]) -> None:
    print(f"peak memory of a fresh process besides imports and compiled code, bytes/neuron (mark: {MEMORY_MARK})")
    print("   neurons   building network and state   running, all of it   simulate alone")
    for size in sizes:
        neurons, building, running, alone, _ = json.loads(in_fresh_process(f"measure_memory({size}, 0)"))
        print(f"{neurons:10,} {building / neurons:28.0f} {running / neurons:20.0f} {alone / neurons:16.0f}")
    rings = 10**6 if sizes[-1] >= 10**7 else sizes[-1] // 10
    _, *peaks, _, recorded = json.loads(in_fresh_process(f"measure_memory({rings * NEURONS_PER_RING}, 60)"))
    mark = " (mark: 4 GB)" if rings == 10**6 else ""
    print(f"  {rings:,} rings, 60 samples of phases: {max(peaks) / 1e9:.3f} GB{mark}, recorded {recorded / 1e9:.3f}")


def measure_memory(neurons: float, samples: int) -> None:
    """Print [neurons, peak bytes while building, peak while running, of it ``simulate``, bytes recorded].

    For a process of its own: the first two are what it holds besides what it held after a small run.
    """
    network, state = network_and_state(100)
    simulate(network, **state, t_end=1.0, delay=DELAY, sample_times=[0.5], record=("phase",))
    at_start, _ = resident_bytes()
    network, state = network_and_state(neurons)
    before, building = resident_bytes()
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts again from here
    times = np.linspace(SHORTEST / 2, SHORTEST - 1, samples)
    run = simulate(network, **state, t_end=SHORTEST, delay=DELAY, sample_times=times, record=("phase",) * bool(samples))
    _, running = resident_bytes()
    recorded = 0 if run.phase is None else run.phase.nbytes
    print(json.dumps([network.n_neurons, building - at_start, running - at_start, running - before, recorded]))


def resident_bytes() -> tuple[int, int]:
    """Memory of this process, now and at its peak (Linux)."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return tuple(int(status[name].split()[0]) * 1024 for name in ("VmRSS", "VmHWM"))


def in_fresh_process(call: str, **environment: str) -> str:
    command = [sys.executable, "-c", f"from benchmarks import lattice_kernel; lattice_kernel.{call}"]
    return subprocess.run(command, env=os.environ | environment, capture_output=True, text=True, check=True).stdout


NEURON = np.dtype(
    [
        ("drive", "f8"),  # at the time `since`
        ("since", "f8"),
        ("end", "f8"),  # of its firing, inf at rest
        ("jump", "f8"),  # of its input, summed over the deliveries of an instant
        ("edge", "i4"),
        ("degree", "i4"),
        ("firing", "i1"),
        ("marked", "i1"),
    ],
    align=True,
)
SWITCH = np.dtype([("time", "f8"), ("neuron", "i4"), ("change", "i4")], align=True)


@numba.njit(nogil=True, cache=True)
def _append(queue, head, tail, time, n, change):
    """Put a delivery at the end of the circular queue, which grows when full."""
    if tail - head == queue.size:
        grown = np.empty(2 * queue.size, queue.dtype)
        for i in range(head, tail):
            grown[i % grown.size] = queue[i % queue.size]
        queue = grown
    new = queue[tail % queue.size]
    new.time, new.neuron, new.change = time, n, change
    return queue, tail + 1


@numba.njit(nogil=True, cache=True)
def advance_by_heap(neurons, successors, weights, delay, v_high, v_low, t_end):
    """The same network event by event; returns the number of switches up to ``t_end``. A touch leaves its old end of
    firing in the heap, where it is recognised as out of date when it comes up."""
    heap_time, heap_neuron, size = np.empty(256), np.empty(256, np.int32), 0
    queue, head, tail = np.empty(256, SWITCH), 0, 0
    touched = np.empty(256, np.int32)
    switches = 0
    for n in range(neurons.size):
        neuron = neurons[n]
        if (neuron.firing and neuron.drive < v_low) or (not neuron.firing and neuron.drive >= v_high):
            neuron.firing = not neuron.firing
            queue, tail = _append(queue, head, tail, delay, n, -1 if neuron.firing else 1)
            switches += 1
        if neuron.firing:
            neuron.end = math.log(neuron.drive / v_low)
            heap_time, heap_neuron = _larger(heap_time, size + 1), _larger(heap_neuron, size + 1)
            size = _push(heap_time, heap_neuron, size, neuron.end, n)
    while True:
        delivery = queue[head % queue.size].time if head < tail else np.inf
        end = heap_time[0] if size else np.inf
        if min(delivery, end) > t_end:
            return switches
        if end < delivery - TOLERANCE:
            n = heap_neuron[0]
            size = _pop(heap_time, heap_neuron, size)
            neuron = neurons[n]
            if neuron.end == end:
                neuron.firing, neuron.drive, neuron.since, neuron.end = 0, v_low, end, np.inf
                queue, tail = _append(queue, head, tail, end + delay, n, 1)
                switches += 1
            continue
        n_touched, now = 0, delivery
        while head < tail and queue[head % queue.size].time - now <= TOLERANCE:
            arriving = queue[head % queue.size]
            now = arriving.time
            source = neurons[arriving.neuron]
            touched = _larger(touched, n_touched + source.degree)
            for edge in range(source.edge, source.edge + source.degree):
                neuron = neurons[successors[edge]]
                neuron.jump += arriving.change * weights[edge]
                if not neuron.marked:
                    neuron.marked = 1
                    touched[n_touched] = successors[edge]
                    n_touched += 1
            head += 1
        for i in range(n_touched):
            n = touched[i]
            neuron = neurons[n]
            neuron.drive = neuron.drive * math.exp(neuron.since - now) + neuron.jump
            neuron.since, neuron.jump, neuron.marked, neuron.end = now, 0.0, 0, np.inf
            if (neuron.firing and neuron.drive < v_low) or (not neuron.firing and neuron.drive >= v_high):
                neuron.firing = not neuron.firing
                queue, tail = _append(queue, head, tail, now + delay, n, -1 if neuron.firing else 1)
                switches += 1
            if neuron.firing:
                neuron.end = now + math.log(neuron.drive / v_low)
                heap_time, heap_neuron = _larger(heap_time, size + 1), _larger(heap_neuron, size + 1)
                size = _push(heap_time, heap_neuron, size, neuron.end, n)


def simulate_by_heap(network: Network, drive: np.ndarray, firing: np.ndarray, t_end: float) -> int:
    neurons = np.zeros(network.n_neurons, NEURON)
    neurons["drive"], neurons["firing"], neurons["end"] = drive, firing, np.inf
    neurons["edge"], neurons["degree"] = network.indptr[:-1], np.diff(network.indptr)
    return advance_by_heap(neurons, network.successors, network.weights, DELAY, V_HIGH, V_LOW, t_end)


def two_designs(sizes: list[int]) -> None:
    small, state = network_and_state(100)
    simulate_by_heap(small, **state, t_end=1.0)  # compiles
    print(f"two designs that make the same switches up to t = {SHORTEST:g}, million/s")
    print("   neurons   switches   windows   heap   ratio of times")
    for size in sizes:
        network, state = network_and_state(size)
        (windows, heap), (run, switches) = shortest(
            3,
            partial(simulate, network, **state, t_end=SHORTEST, delay=DELAY, record=()),
            partial(simulate_by_heap, network, **state, t_end=SHORTEST),
        )
        assert switches == run.n_switches, (switches, run.n_switches)
        print(
            f"{network.n_neurons:10,} {switches / 1e6:8.2f} M {switches / windows / 1e6:9.1f} "
            f"{switches / heap / 1e6:6.1f} {heap / windows:16.1f}"
        )


def two_threads(size: int) -> None:
    network, state = network_and_state(size)
    t_end = max(SHORTEST, SWITCHES / (RATE * network.n_neurons))

    def run(_) -> None:
        simulate(network, **state, t_end=t_end, delay=DELAY, record=())

    with ThreadPoolExecutor(2) as threads:
        (in_turn, at_once), _ = shortest(
            3, lambda: [run(which) for which in range(2)], lambda: list(threads.map(run, range(2)))
        )
    print(
        f"two runs of {network.n_neurons:,} neurons in two threads, {os.cpu_count()} cores: "
        f"{in_turn / at_once:.2f} times as fast as one after the other (ideal: 2)"
    )


def blocks_of_one_lattice(sizes: list[int]) -> None:
    print("one lattice in one thread and in two, each with a block of it, million switches/s")
    print("   neurons   one   two   ratio (ideal: 2)")
    for size in sizes:
        network, state = network_and_state(size)
        t_end = max(SHORTEST, SWITCHES / 4 / (RATE * network.n_neurons))
        run = partial(simulate, network, **state, t_end=t_end, delay=DELAY, record=())
        (one, two), (result, _) = shortest(3 if size <= 10**6 else 1, run, partial(run, threads=2))
        switches = result.n_switches / 1e6
        print(f"{network.n_neurons:10,} {switches / one:5.1f} {switches / two:5.1f} {one / two:7.2f}")


def main(largest: int = 10**7) -> None:
    sizes = [size for size in (10**3, 10**4, 10**5, 10**6, 10**7) if size <= largest]
    network, state = network_and_state(100)
    simulate(network, **state, t_end=1.0, delay=DELAY, sample_times=[0.5], record=("phase",))  # compiles
    speed(sizes)
    compile_time()
    two_designs([size for size in sizes if 10**4 <= size <= 10**6] or sizes[-1:])
    two_threads(min(largest, 10**5))
    blocks_of_one_lattice([size for size in sizes if size >= 10**4] or sizes[-1:])
    memory([size for size in sizes if size >= 10**5] or sizes[-1:])


if __name__ == "__main__":
    main(*(int(argument) for argument in sys.argv[1:2]))
