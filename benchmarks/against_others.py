"""The exact kernel side by side with what one would use instead, on one lattice from one initial state.

python -m benchmarks.against_others [SIDE]

SIDE x SIDE rings of 8 that share one neuron on each side (24 if not given), delay 0.01, 20 tau, every switch recorded.
The others advance in time steps: ``simulate_fixed_step`` (NumPy and a SciPy sparse matrix, as the code of
arXiv 2507.21377 does) with finer and finer steps, and Brian2 (``make bench``; left out where it is
missing) with code generated for NumPy and, where there is gcc, for Cython. Brian2 is given the scheme of
``simulate_fixed_step`` and must make the same switches, event by event, here and on a small lattice. Timed are its
steps alone, and with what its first run generates and compiles.

The error is the mean distance in time between the n-th switch of a neuron and the exact one, up to t = 4: later the
trajectories separate. A neuron that is ever 0.1 tau or more from the exact one counts as off, and not in the mean.
"""

import gc
import importlib.util
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial

import numpy as np

from isophase.kernels.lattice import Events, Network, pulse, simulate, simulate_fixed_step
from isophase.kernels.lattice.simulate import V_HIGH, V_LOW

DELAY, T_END = 0.01, 20.0
HORIZON = 4.0  # tau, for the error
OFF = 0.1  # tau
STEPS = (0.01, 0.005, 0.002, 0.001, 0.0005, 0.0002, 0.0001)  # delays are whole numbers of them
TARGET, BEYOND = 1e-4, 1e-6  # tau: errors to reach, and to extrapolate to
MODEL = """
dv/dt = (u - v) / second : 1
u : 1
firing : boolean
"""


def by_neuron(events: Events) -> tuple[np.ndarray, np.ndarray]:
    """Neurons and times of the switches, by neuron and then by time; the order in which a neuron switches is fixed."""
    order = np.lexsort((events.time, events.neuron))
    return events.neuron[order], events.time[order]


def error(exact: Events, other: Events, n_neurons: int) -> tuple[float, float]:
    """Mean absolute error of switch times up to the horizon, in tau, and the share of neurons that are off."""
    neuron, time_of = by_neuron(exact)
    other_neuron, other_time = by_neuron(other)
    nth = np.arange(len(neuron)) - np.searchsorted(neuron, neuron)
    matching = np.searchsorted(other_neuron, neuron) + nth
    exists = matching < np.searchsorted(other_neuron, neuron, side="right")
    distance = np.full(len(neuron), np.inf)
    distance[exists] = np.abs(other_time[matching[exists]] - time_of[exists])
    early = time_of <= HORIZON
    off = np.zeros(n_neurons, bool)
    off[neuron[early & (distance >= OFF)]] = True
    return float(distance[early & ~off[neuron]].mean()), float(off.mean())


class Brian:
    """The lattice in Brian2, with the scheme of ``simulate_fixed_step``: within a step first what arrives, then the
    thresholds, then the decay to the next step. What Brian2 delivers after D steps then arrives after D + 1."""

    def __init__(self, network: Network, drive: np.ndarray, firing: np.ndarray, dt: float, target: str) -> None:
        b = import_brian()
        b.prefs.codegen.target = target
        clock = b.Clock(dt * b.second)
        neurons = b.NeuronGroup(
            network.n_neurons,
            MODEL,
            method="exact",
            events={"start": "not firing and u - v >= v_high", "stop": "firing and u - v < v_low"},
            clock=clock,
            namespace={"v_high": V_HIGH, "v_low": V_LOW},
        )
        neurons.run_on_event("start", "firing = True")
        neurons.run_on_event("stop", "firing = False")
        neurons.u = np.bincount(
            network.successors, network.weights * ~np.repeat(firing, np.diff(network.indptr)), network.n_neurons
        )
        neurons.v = neurons.u[:] - drive
        neurons.firing = firing
        synapses = b.Synapses(
            neurons,
            neurons,
            "w : 1",
            on_pre={"starts": "u_post -= w", "stops": "u_post += w"},
            on_event={"starts": "start", "stops": "stop"},
            clock=clock,
        )
        synapses.connect(i=np.repeat(np.arange(network.n_neurons), np.diff(network.indptr)), j=network.successors)
        synapses.w = network.weights
        for path in (synapses.starts, synapses.stops):
            path.delay = (round(DELAY / dt) - 1) * dt * b.second
        self.monitors = {+1: b.EventMonitor(neurons, "start"), -1: b.EventMonitor(neurons, "stop")}
        self.steps: list[float] = []  # when each began, on the wall clock
        watch = b.NetworkOperation(lambda: self.steps.append(time.perf_counter()), clock=clock, when="start")
        self.network = b.Network(neurons, synapses, watch, *self.monitors.values())
        self.network.schedule = ["start", "synapses", "thresholds", "resets", "groups", "end"]
        self.network.store()
        self.second = b.second

    def run(self, t_end: float) -> Events:
        self.network.restore()
        self.steps.clear()
        self.network.run(t_end * self.second)
        time_of = np.concatenate([np.asarray(monitor.t / self.second) for monitor in self.monitors.values()])
        neuron = np.concatenate([np.asarray(monitor.i) for monitor in self.monitors.values()])
        switch = np.concatenate([np.full(monitor.num_events, sign) for sign, monitor in self.monitors.items()])
        order = np.lexsort((neuron, time_of))
        return Events(time_of[order], neuron[order], switch[order])


def import_brian():
    """Brian2 2.9, the last for Python 3.11, wraps ``ndarray.ptp``, which NumPy 2.4 no longer has: put it back first."""
    if "ptp" not in vars(np.ndarray):
        gc.get_referents(np.ndarray.__dict__)[0]["ptp"] = np.ptp
    import brian2

    return brian2


def check_brian() -> None:
    """Brian2 follows the scheme of ``simulate_fixed_step``: on a small lattice, at two steps, or AssertionError."""
    network = Network.lattice(rows=3, cols=3)
    drive, firing = pulse(network, seed=2)
    for dt in (DELAY, DELAY / 5):
        theirs = Brian(network, drive, firing, dt, "numpy").run(T_END)
        ours = simulate_fixed_step(network, drive=drive, firing=firing, t_end=T_END, dt=dt, delay=DELAY).events
        check_same_switches(theirs, ours, dt)


def check_same_switches(theirs: Events, ours: Events, dt: float) -> None:
    """AssertionError unless they are the same, event by event; Brian2 does not take the step at ``T_END``."""
    n = int(np.searchsorted(ours.time, T_END - dt / 2))
    assert len(theirs.time) == n > 100, (len(theirs.time), n)
    for name in ("time", "neuron", "switch"):
        np.testing.assert_allclose(getattr(theirs, name), getattr(ours, name)[:n], rtol=0, atol=dt / 2)


def wall(run: Callable, repeats: int = 1) -> tuple[float, object]:
    """Shortest wall time in s, and the result."""
    best = np.inf
    for _ in range(repeats):
        started = time.perf_counter()
        result = run()
        best = min(best, time.perf_counter() - started)
    return best, result


def main(side: int = 24) -> None:
    network = Network.lattice(rows=side, cols=side)
    drive, firing = pulse(network, seed=1)
    state = {"drive": drive, "firing": firing, "t_end": T_END, "delay": DELAY}
    simulate(network, **state, record=("events",))  # compiles
    exact_wall, exact = wall(partial(simulate, network, **state, record=("events",)), repeats=10)
    done = network.n_neurons * T_END

    def row(simulator: str, settings: str, seconds: float, accuracy: str) -> None:
        speed, slower = done / seconds / 1e6, seconds / exact_wall
        print(f"{simulator:20} {settings:22} {seconds:9.3g} {speed:15.3g} {slower:13.3g}  {accuracy}")

    print(f"{network.n_rings} rings of 8, {network.n_neurons:,} neurons, delay {DELAY}, {T_END:g} tau, ", end="")
    print(f"{exact.n_switches:,} switches, all recorded")
    print(
        f"{'simulator':20} {'settings':22} {'time, s':>9} {'M neuron tau/s':>15} {'times slower':>13}  error, tau (off)"
    )
    row("exact kernel", "", exact_wall, "none")
    for dt in STEPS:
        seconds, run = wall(partial(simulate_fixed_step, network, **state, dt=dt), repeats=3 if dt >= 0.001 else 1)
        mean, off = error(exact.events, run.events, network.n_neurons)
        row("simulate_fixed_step", f"dt {dt:g}", seconds, f"{mean:.1e} ({off:.2%})")
        if mean <= TARGET:
            break
    finer = mean / BEYOND  # the error is of first order in dt
    row("simulate_fixed_step", f"dt {dt / finer:.1e}", seconds * finer, f"{BEYOND:.1e} extrapolated")
    if importlib.util.find_spec("brian2") is None:
        print("Brian2 is not installed: make bench")
        return
    check_brian()
    for target in ("numpy", "cython") if shutil.which("gcc") else ("numpy",):
        brian(target, network, state, exact.events, row)


def brian(target: str, network: Network, state: dict, exact: Events, row: Callable) -> None:
    b = import_brian()
    b.BrianLogger.log_level_error()
    with tempfile.TemporaryDirectory() as cache:
        b.prefs.codegen.runtime.cython.cache_dir = cache
        simulation = Brian(network, state["drive"], state["firing"], DELAY, target)
        generation, _ = wall(partial(simulation.run, DELAY))
        stepping = np.inf
        for _ in range(3):
            events = simulation.run(T_END)
            stepping = min(stepping, simulation.steps[-1] - simulation.steps[0])
    check_same_switches(events, simulate_fixed_step(network, **state, dt=DELAY).events, DELAY)
    mean, off = error(exact, events, network.n_neurons)
    row(f"Brian2 {b.__version__} {target}", f"dt {DELAY:g}", stepping, f"{mean:.1e} ({off:.2%})")
    row("", "+ code generation", generation + stepping, "")


if __name__ == "__main__":
    main(*(int(argument) for argument in sys.argv[1:2]))
