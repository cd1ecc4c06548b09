"""The GPU's kernel on Numba's CUDA simulator against the CPU's kernel, to the bit; room that runs out; refusals.

The simulator must be chosen before Numba is imported. So one other process runs every case there, and the tests look
at what it hands back. Nothing here needs a GPU, and nothing is skipped without one.
"""

import os
import pickle
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from isophase.kernels.lattice import Network, pulse, random, simulate
from isophase.kernels.lattice.window_rules import window_length
from tests.lattice_reference import assert_same_events, reference_events
from tests.near_ties import CIRCUITS, end_of_run, expected_side_by_side, side_by_side

ROOT = Path(__file__).parent.parent
TIGHT = {"FIRST_ROOM": 1, "ROUNDS": 3}
FEW_LISTS = {"MAX_STRANDS": 2, "MAX_BUCKETS": 5}
ONE_THREAD = {"_grid": lambda: (1, 1)}
ONE_BLOCK = {"_grid": lambda: (1, 5)}


def case(net, state, t_end, delay, n_samples=7, **parameters):
    drive, firing = state
    times = np.linspace(0, t_end, n_samples)
    return net, {
        "drive": drive, "firing": firing, "t_end": t_end, "delay": delay, "sample_times": times, **parameters
    }  # fmt: skip


def lattice_case(t_end, delay, seed=1, start=pulse, parameters=None, **scheme):
    net = Network.lattice(**{"rows": 3, "cols": 3, **scheme})
    return case(net, start(net, seed), t_end, delay, **(parameters or {}))


def alike(net, _seed):
    """All neurons in one state, so that all of them switch at one instant."""
    return np.full(net.n_neurons, 0.8), np.ones(net.n_neurons, bool)


def small_world_case():
    net = Network.small_world([3, 4, 5, 6, 4], neighbours=2, rewire=0.3, coupling=0.3, seed=1)
    return case(net, random(net, 2), 8.0, 0.3)


def rings_that_start_at_one_neuron():
    net = Network.from_rings(np.array([[0, 1, 2], [0, 3, 4], [5, 6, 7], [0, 6, 8]]))
    return case(net, random(net, 4), 12.0, 0.2, n_samples=25)


def coincidence(seed):
    """Any graph whose firings end whole numbers of delays after 0, as deliveries arrive and windows end."""
    rng = np.random.default_rng(seed)
    n = int(rng.integers(3, 11))
    source, target = np.nonzero(rng.random((n, n)) < 0.4)
    weights = [rng.uniform(-1, 2, source.size), rng.choice([-1.0, 0.5, 1.0], source.size)][seed % 2]
    indptr = np.concatenate([[0], np.cumsum(np.bincount(source, minlength=n))])
    net = Network(np.arange(n, dtype=np.int32)[None], indptr, target.astype(np.int32), weights, (1, 1))
    delay = float(rng.choice([1e-3, 0.1, 0.25, 1 / 3, 1.0]))
    ends = rng.integers(0, 4, n) * delay + rng.choice([0.0, 0.0, 3e-13, -3e-13], n)
    firing = rng.random(n) < 0.6
    drive = np.where(firing, 0.2 * np.exp(ends), rng.choice([0.0, -0.3, -1.0, 2.0], n))
    return case(net, (drive, firing), 6 * delay, delay, v_high=0.3)


def near_ties(kind, delay):
    """Circuits in which times nearly tie, side by side; those of the CPU's kernels, but for the longest rows."""
    circuits = near_ties_of(kind, delay)
    net, drive, firing, _ = side_by_side(circuits)
    return case(net, (drive, firing), end_of_run(delay), delay)


def near_ties_of(kind, delay):
    return [circuit for circuit in CIRCUITS[kind](delay) if len(circuit.drive) < 150][:: 5 if kind == "crafted" else 2]


NEAR_TIES = {f"near ties, {kind}, {delay:g}": (kind, delay) for kind in CIRCUITS for delay in (1e-9, 1e-3, 0.01, 0.5)}


def one_instant_in_two_windows(first, second):
    """Two neurons stop ``first`` and ``second`` picotau before a window ends; what they deliver to a third may cancel.

    Where the two deliveries are one instant nothing changes for the third; apart they start and stop it.
    """
    delay = 0.25
    drive = np.append(0.2 * np.exp(window_length(delay) - 1e-12 * np.array([first, second])), 0.0)
    net = Network(
        np.arange(3, dtype=np.int32)[None], np.array([0, 1, 2, 2]), np.array([2, 2], np.int32), np.array([0.6, -0.6]),
        (1, 1),
    )  # fmt: skip
    return case(net, (drive, np.array([True, True, False])), 4 * delay, delay)


# Switches where a stop `first` picotau before the end of a window is followed by one `second` before it.
GAPS = {
    (1.1, 0.9): 2, (1.4, 0.7): 2, (1.6, 0.7): 2, (1.9, 0.95): 2, (1.5, -0.7): 4, (1.9, 0.7): 4, (2.5, 0.9): 4,
    (2.5, 1.6): 2, (0.8, -0.1): 2, (0.8, -0.9): 4,
}  # fmt: skip


# Each with what is set in the kernel's module, so that room runs out, lists of the calendar are shared, and neurons
# are shared out among threads in several ways.
CASES = {
    "square": (lattice_case(8.0, 0.01), ONE_THREAD),
    "square, open, random": (lattice_case(6.0, 0.1, start=random, boundary="open"), FEW_LISTS),
    "square, counter, long delay": (lattice_case(30.0, 3.0, rows=2, cols=2, private=0, orientation="counter"), {}),
    "hexagonal, corners": (lattice_case(8.0, 0.3, tiling="hexagonal", sharing="corner"), TIGHT),
    "triangular, two private": (lattice_case(5.0, 0.1, tiling="triangular", rows=2, cols=4, private=2), ONE_BLOCK),
    "chain": (lattice_case(8.0, 0.3, tiling="chain", rows=1, cols=6, start=random), TIGHT | FEW_LISTS),
    "mean": (lattice_case(6.0, 0.1, start=random, combine="mean"), TIGHT),
    "weak": (lattice_case(6.0, 0.1, rows=2, cols=3, sharing="weak", parameters={"tau": 2.5}), {}),
    "all alike": (lattice_case(6.0, 0.3, start=alike), TIGHT),
    "small world": (small_world_case(), ONE_BLOCK),
    "first slots shared": (rings_that_start_at_one_neuron(), {}),
    "delay-limited": (lattice_case(0.6, 0.01, start=random, private=0, shared=2), TIGHT | ONE_THREAD),
    "tiny delay": (lattice_case(4.0, 1e-6, rows=2, cols=2), {}),
    "tiny delay, few lists": (lattice_case(2.0, 1e-4, start=random, rows=2, cols=2), FEW_LISTS | ONE_THREAD),
    **{name: (near_ties(*ties), TIGHT if ties[0] == "drawn" else {"ROUNDS": 1}) for name, ties in NEAR_TIES.items()},
    **{f"window ends {gap}": (one_instant_in_two_windows(*gap), ONE_THREAD | {"ROUNDS": 1}) for gap in GAPS},
    **{f"coincidence {seed}": (coincidence(seed), ONE_BLOCK | {"ROUNDS": 1}) for seed in range(24)},
}
RECORDED = ((), ("phase",), ("events",), ("firing",))


def simulate_all(path):
    """Run every case on the simulator; pickle the runs, what was found on the way, and what was refused."""
    from isophase.kernels.lattice import cuda

    sys.setswitchinterval(1e-5)  # or the simulator's waiting thread keeps the others from running
    found = Counter()
    grown, make_room = cuda._grown, cuda._Lists.make_room

    def count_growth(array, room):
        names = array.dtype.names
        found[f"longer {'/'.join(names[:2]) if names else array.dtype}"] += 1
        return grown(array, room)

    def count_deferred(lists, state):
        found["put off"] += int(state[cuda.DEFERRED])
        found["windows seen"] += 1
        return make_room(lists, state)

    def run(chosen, settings, **parameters):
        net, arguments = chosen
        before = {name: getattr(cuda, name) for name in settings}
        for name, value in settings.items():
            setattr(cuda, name, value)
        try:
            return simulate(net, device="cuda", **arguments, **parameters)
        except (MemoryError, ValueError) as error:
            return error
        finally:
            for name, value in before.items():
                setattr(cuda, name, value)

    cuda._grown, cuda._Lists.make_room = count_growth, count_deferred
    runs = {name: run(*chosen) for name, chosen in CASES.items()}
    for record in RECORDED:
        runs[record] = run(*CASES["small world"], record=record)
    full = run(CASES["all alike"][0], TIGHT | {"MAX_ROOM": 40})
    Path(path).write_bytes(pickle.dumps((runs, found, full)))


@pytest.fixture(scope="module")
def simulated(tmp_path_factory):
    path = tmp_path_factory.mktemp("cuda") / "runs"
    program = "import sys; from tests.test_lattice_cuda import simulate_all; simulate_all(sys.argv[1])"
    environment = {**os.environ, "NUMBA_ENABLE_CUDASIM": "1"}
    done = subprocess.run(
        [sys.executable, "-c", program, path], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=280
    )
    assert done.returncode == 0, done.stderr
    return pickle.loads(path.read_bytes())


def same_bits(one, other):
    return one.dtype == other.dtype and one.shape == other.shape and one.tobytes() == other.tobytes()


@pytest.mark.parametrize("name", CASES)
def test_events_phases_and_firing_are_those_of_the_cpu_to_the_bit(name, simulated):
    (net, arguments), _ = CASES[name]
    expected, run = simulate(net, **arguments), simulated[0][name]
    assert expected.n_switches > 0
    for part in ("time", "neuron", "switch"):
        assert same_bits(getattr(run.events, part), getattr(expected.events, part)), part
    np.testing.assert_array_equal(run.phase, expected.phase)
    np.testing.assert_array_equal(run.firing, expected.firing)
    assert (run.n_switches, run.switching_rate, run.delay_limited) == (
        expected.n_switches, expected.switching_rate, expected.delay_limited
    )  # fmt: skip


@pytest.mark.parametrize(("gap", "switches"), GAPS.items())
def test_deliveries_within_a_picotau_are_one_instant_across_the_end_of_a_window(gap, switches, simulated):
    """On the CPU, by the GPU's kernel, and by a simulator that knows no windows."""
    net, arguments = CASES[f"window ends {gap}"][0]
    plain = reference_events(net, *(arguments[name] for name in ("drive", "firing", "t_end", "delay")), 0.49, 0.2)
    cpu, gpu = simulate(net, **arguments), simulated[0][f"window ends {gap}"]
    assert (len(plain.time), cpu.n_switches, gpu.n_switches) == (switches, switches, switches)
    for run in (cpu, gpu):
        assert_same_events(run.events, plain, tolerance=1e-14)


@pytest.mark.parametrize("name", NEAR_TIES)
def test_near_ties_are_decided_as_by_a_simulator_that_knows_no_windows(name, simulated):
    circuits = near_ties_of(*NEAR_TIES[name])
    *_, numbers = side_by_side(circuits)
    expected = expected_side_by_side(circuits, numbers, NEAR_TIES[name][1])
    assert expected.well_determined
    assert len(expected.time) > 1000
    assert_same_events(simulated[0][name].events, expected, tolerance=1e-13)


def test_the_cases_switch_often_repeat_and_are_put_off_at_the_end_of_a_window(simulated):
    runs, found, _ = simulated
    assert sum(run.n_switches for run in runs.values()) > 2000
    assert found["put off"] >= 10
    assert runs["delay-limited"].delay_limited
    assert not runs["square"].delay_limited
    assert sum(np.isfinite(runs[name].phase).any() for name in CASES) >= 10


def test_windows_without_events_are_passed_over(simulated):
    """A delay of 1e-6 makes 4 million windows; the simulator takes milliseconds for one."""
    assert simulated[1]["windows seen"] < 5000


@pytest.mark.parametrize("record", RECORDED)
def test_what_is_left_out_is_none_and_changes_nothing(record, simulated):
    run, everything = simulated[0][record], simulated[0]["small world"]
    assert run.n_switches == everything.n_switches
    assert (run.phase is not None, run.events is not None, run.firing is not None) == tuple(
        name in record for name in ("phase", "events", "firing")
    )
    for name in {"phase", "firing"} & set(record):
        np.testing.assert_array_equal(getattr(run, name), getattr(everything, name))
    if "events" in record:
        assert same_bits(run.events.time, everything.events.time)


@pytest.mark.parametrize(
    "of", ["offset/factor", "neuron/next", "float64", "int8"], ids=["deliveries", "calendar", "times", "switches"]
)
def test_lists_that_were_too_short_were_made_longer(of, simulated):
    assert simulated[1][f"longer {of}"] > 0


def test_a_list_longer_than_can_be_numbered_is_refused(simulated):
    assert isinstance(simulated[2], MemoryError)
    assert "device='cuda'" in str(simulated[2])
    assert "at most 40" in str(simulated[2])


def test_without_a_delay_the_gpu_is_refused():
    net, arguments = CASES["square"][0]
    with pytest.raises(ValueError, match="device='cuda': needs delay > 0"):
        simulate(net, device="cuda", **{**arguments, "delay": 0})


def test_a_device_that_does_not_exist_is_refused():
    net, arguments = CASES["square"][0]
    with pytest.raises(ValueError, match="device='gpu': must be one of cpu, cuda"):
        simulate(net, device="gpu", **arguments)


def test_without_a_gpu_the_error_says_what_is_needed(monkeypatch):
    from numba import cuda

    monkeypatch.setattr(cuda, "is_available", lambda: False)
    net, arguments = CASES["square"][0]
    with pytest.raises(RuntimeError, match=r"device='cuda' needs an NVIDIA GPU, its driver and Numba's CUDA target"):
        simulate(net, device="cuda", **arguments)


def test_the_cuda_target_is_loaded_only_when_it_is_asked_for():
    program = """
import sys
import numpy as np
from isophase.kernels.lattice import Network, simulate
simulate(Network.from_rings([[0, 1]]), drive=np.ones(2), firing=np.ones(2, bool), t_end=1.0)
assert not {"numba.cuda", "isophase.kernels.lattice.cuda"} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True, timeout=100)
