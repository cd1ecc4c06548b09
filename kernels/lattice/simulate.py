"""Exact simulation of a network of differentiating neurons, event by event: inputs, choice of kernel, and results.

The compiled loops are in ``windowed`` (with a propagation delay; on a GPU: ``cuda``) and ``instant`` (without one).
Model and thresholds: arXiv 2506.07253 and 2507.21377.
"""

import difflib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from isophase.kernels.lattice.instant import MAX_GENERATIONS, advance_instantly
from isophase.kernels.lattice.network import Network, sum_by_target
from isophase.kernels.lattice.window_rules import TOLERANCE
from isophase.kernels.lattice.windowed import NEURON, Constants, Recording, advance

V_HIGH, V_LOW = 0.49, 0.2
MIN_DELAY = 1e-9  # in tau: shorter ones could not be told from the tolerance of an instant
MAX_DELAY = 500.0  # in tau: exp(delay / tau) must not overflow
MAX_DELAYS = 2**53  # in a run: windows are counted, and their number is multiplied as a float
MAX_DRIVE = 1e100  # in size: its ratio to v_low must not overflow
RECORDS = ("phase", "firing", "events")
DEVICES = ("cpu", "cuda")
DELAY_LIMITED = 10.0  # onsets of a neuron this many delays apart are "of the order of the delay"


@dataclass(frozen=True)
class Events:
    """Every switch, in order of time, then of neuron.

    ``time`` float64 [event], ``neuron`` int32 [event], ``switch`` int8 [event]: +1 starts firing, -1 stops.
    """

    time: np.ndarray
    neuron: np.ndarray
    switch: np.ndarray


@dataclass(frozen=True)
class Run:
    """Results of a simulation; what was not recorded is None.

    Attributes
    ----------
    n_switches : switches of all neurons up to ``t_end``: each charges or discharges one gate, an energy proxy.
    switching_rate : switches per neuron and unit time.
    delay_limited : whether the median interval between onsets of a neuron is at most 10 delays and shorter than any
        firing that ends by itself, ``tau ln(v_high / v_low)``: loops then switch at the delay's own scale, and phases
        are meaningless.
    events : :class:`Events`.
    phase : float64 [sample, ring], radians in [0, 2 pi): 2 pi times the fraction of the interval between successive
        onsets of firing of the ring's slot 0 that has passed; NaN before its first and after its last onset.
    firing : bool [sample, neuron]; a switch at the time of a sample counts as done.
    """

    n_switches: int
    switching_rate: float
    delay_limited: bool
    events: Events | None = None
    phase: np.ndarray | None = None
    firing: np.ndarray | None = None


def simulate(
    network: Network,
    *,
    drive: np.ndarray,
    firing: np.ndarray,
    t_end: float,
    delay: float = 0.01,
    v_high: float = V_HIGH,
    v_low: float = V_LOW,
    tau: float = 1.0,
    sample_times: Sequence[float] | np.ndarray = (),
    record: Sequence[str] = RECORDS,
    device: str = "cpu",
    threads: int = 1,
) -> Run:
    """Advance a network from its state at t = 0 to ``t_end``, exactly: no time step, no step error.

    ``tau dv/dt = u - v``; a neuron starts firing when its drive ``x = u - v`` is at least ``v_high``, goes on while it
    is at least ``v_low``, and lowers the input of its successors by its weights meanwhile, ``delay`` later. Deliveries
    to a neuron within 1e-12 tau of each other are applied together before its thresholds are tested, in a row too, of
    at most 1e-10 tau; they count as of the time of the first. At delay 0 firings that end so close to each other are an
    instant of the whole network. Same input, same bits.

    Parameters
    ----------
    drive, firing : the state at t = 0, [neuron]: float ``x = u - v``, where ``u`` already counts every firing neuron,
        and bool. The thresholds are tested at t = 0: a state beyond them switches there.
    t_end : > 0, in units of time.
    delay : propagation delay, >= 0. At 0 the switches of an instant form generations.
    v_high, v_low : thresholds, ``0 < v_low < v_high``.
    tau : time constant, the unit of time unless it is given.
    sample_times : increasing, from 0 to ``t_end``; when to record ``phase`` and ``firing``.
    record : any of ``phase``, ``firing``, ``events``; what is left out costs nothing.
    device : ``cpu``, or ``cuda``: a GPU, for very large lattices with a delay > 0. The results are the same but for
        rounding. Phases and firing lie in the GPU's memory until the run is over.
    threads : >= 1, of the CPU, with a delay > 0: each advances a block of the neurons. The results are the same to the
        last bit. It pays from some 10^5 neurons on, on cores that nothing else uses and where neurons with
        neighbouring numbers are neighbours in the network, as in a lattice; several runs, each in one thread, make
        better use of the cores.

    Raises
    ------
    ValueError : a parameter or state that is not allowed, before any work.
    RuntimeError : ``device="cuda"`` without a CUDA GPU; at delay 0, an instant that does not settle within 1000
        generations; with its time and the number of neurons still switching.
    """
    drive, firing, times = check_state(network, drive, firing, t_end, delay, v_high, v_low, tau, sample_times)
    for name in record:
        if name not in RECORDS:
            near = difflib.get_close_matches(str(name), RECORDS, 1)
            raise ValueError(
                f"record={name!r}: must be among {', '.join(RECORDS)}"
                + (f"; did you mean {near[0]!r}?" if near else "")
            )
    advance_windows = _kernel(device, delay, threads)
    keeps_phase, keeps_firing, keeps_events = (name in record for name in RECORDS)
    phase = np.full((times.size, network.n_rings), np.nan) if keeps_phase else np.empty((0, 0))
    toggles = np.zeros((times.size, network.n_neurons), bool) if keeps_firing else np.empty((0, 0), bool)
    slot_ring, ring_next = _rings_by_slot(network) if keeps_phase else (None, np.empty(0, np.int32))
    recording = Recording(ring_next, times / tau, phase, keeps_events, keeps_firing, toggles)
    delay_limited = False
    if delay == 0:
        if slot_ring is None:
            slot_ring = np.full(network.n_neurons, -1, np.int32)
        n_switches, stuck, switching, *events = advance_instantly(
            drive.copy(), firing.copy(), network.indptr, network.successors, network.weights, v_high, v_low,
            t_end / tau, slot_ring, *recording,
        )  # fmt: skip
        if switching:
            raise RuntimeError(
                f"the instant t={stuck * tau:.12g} does not settle within {MAX_GENERATIONS} generations at delay=0: "
                f"{switching} neurons are still switching; a delay > 0 limits their rate"
            )
    else:
        weights = network.weights if network.weights.min(initial=0.0) >= 0 else np.abs(network.weights)
        arriving = sum_by_target(network.successors, weights, network.n_neurons).max(initial=0.0)
        # x = u - v, and v stays between its first value and the extremes of u
        largest = arriving + max(float(drive.max()), v_high)
        neurons = np.empty(network.n_neurons, NEURON)
        neurons["X"], neurons["firing"] = drive, firing
        neurons["base"] = neurons["ends"] = neurons["end"] = neurons["touched"] = neurons["borders"] = 0
        neurons["onset"], neurons["head"] = np.nan, -1
        neurons["ring"] = -1 if slot_ring is None else slot_ring
        short = min(DELAY_LIMITED * delay / tau, math.log(v_high / v_low))
        constants = Constants(delay / tau, v_high, v_low, t_end / tau, math.log(largest / v_low), short)
        graph = network.indptr, network.successors, network.weights
        counts, *events = advance_windows(neurons, graph, constants, recording)
        n_switches, intervals, short_ones = (int(count) for count in counts)
        delay_limited = 2 * short_ones > intervals
    if keeps_firing:
        toggles[:1] ^= firing
        np.logical_xor.accumulate(toggles, axis=0, out=toggles)
    return Run(
        n_switches,
        n_switches / (network.n_neurons * t_end),
        delay_limited,
        _in_order(events, tau) if keeps_events else None,
        phase if keeps_phase else None,
        toggles if keeps_firing else None,
    )


def _kernel(device: str, delay: float, threads: int) -> Callable:
    """The kernel for a propagation delay on ``device``."""
    if device not in DEVICES:
        raise ValueError(f"device={device!r}: must be one of {', '.join(DEVICES)}")
    if isinstance(threads, bool) or not isinstance(threads, int | np.integer) or threads < 1:
        raise ValueError(f"threads={threads!r}: must be a whole number >= 1")
    if threads > 1 and device == "cuda":
        raise ValueError(f"threads={threads}: must be 1 with device='cuda', which has a thread for every neuron")
    if threads > 1 and delay == 0:
        raise ValueError(f"threads={threads}: must be 1 at delay=0, whose instants are settled one after the other")
    if device == "cpu":
        return partial(advance, threads=int(threads))
    if delay == 0:
        raise ValueError("device='cuda': needs delay > 0, got delay=0, whose instants device='cpu' settles one by one")
    from isophase.kernels.lattice import cuda  # Numba's CUDA target is loaded only where it is asked for

    cuda.check_available()
    return cuda.advance


def check_state(
    network: Network, drive: np.ndarray, firing: np.ndarray, t_end: float, delay: float, v_high: float, v_low: float,
    tau: float, sample_times: Sequence[float] | np.ndarray,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:  # fmt: skip
    """State and sample times as contiguous arrays; ValueError by name for whatever a simulation cannot start from."""
    for name, value in {"t_end": t_end, "delay": delay, "v_high": v_high, "v_low": v_low, "tau": tau}.items():
        if isinstance(value, bool) or not isinstance(value, int | float | np.integer | np.floating):
            raise ValueError(f"{name}={value!r}: must be a number")
        if not (math.isfinite(value) and (value > 0 or (name == "delay" and value == 0))):
            raise ValueError(f"{name}={value}: must be finite and {'>= 0' if name == 'delay' else '> 0'}")
    if v_low >= v_high:
        raise ValueError(f"v_low={v_low}: must be below v_high={v_high}")
    if 0 < delay < MIN_DELAY * tau:
        raise ValueError(
            f"delay={delay}: must be 0 or at least {MIN_DELAY:g} tau; within {TOLERANCE:g} tau deliveries count as one"
        )
    if delay > MAX_DELAY * tau:
        raise ValueError(f"delay={delay}: must be at most {MAX_DELAY:g} tau")
    if delay and t_end / delay > MAX_DELAYS:
        raise ValueError(f"t_end={t_end}: must be at most {MAX_DELAYS:.3g} delays of {delay}")
    shape = (network.n_neurons,)
    x = np.ascontiguousarray(drive)
    if x.shape != shape or x.dtype.kind not in "fiu":
        raise ValueError(f"drive: must be numbers of shape {shape}, got {x.dtype} {x.shape}")
    x = x.astype(np.float64, copy=False)
    if not -MAX_DRIVE <= x.min() <= x.max() <= MAX_DRIVE:  # without a copy; a NaN fails too
        bad = int(np.flatnonzero(~(np.abs(x) <= MAX_DRIVE))[0])
        raise ValueError(f"drive[{bad}]={x[bad]}: must be finite and at most {MAX_DRIVE:g} in size")
    state = np.ascontiguousarray(firing)
    if state.shape != shape or state.dtype != bool:
        raise ValueError(f"firing: must be bool of shape {shape}, got {state.dtype} {state.shape}")
    times = np.ascontiguousarray(sample_times, dtype=np.float64)
    if times.ndim != 1 or not np.isfinite(times).all():
        raise ValueError(f"sample_times: must be a one-dimensional sequence of finite times, got shape {times.shape}")
    if times.size and (times[0] < 0 or times[-1] > t_end or (np.diff(times) <= 0).any()):
        raise ValueError(f"sample_times: must increase from 0 or later to t_end={t_end} at most, got {_brief(times)}")
    return x, state, times


def _brief(times: np.ndarray) -> str:
    return str(times.tolist()) if times.size <= 4 else f"[{times[0]:g}, {times[1]:g}, ..., {times[-1]:g}]"


def _rings_by_slot(network: Network) -> tuple[np.ndarray, np.ndarray]:
    """For every neuron the last ring whose slot 0 it is (-1: none), for every ring another one with the same slot 0."""
    slot = network.rings[:, 0]
    order = np.argsort(slot, kind="stable").astype(np.int32)
    following = np.full(network.n_rings, -1, np.int32)
    same = slot[order[1:]] == slot[order[:-1]]
    following[order[1:][same]] = order[:-1][same]
    ring = np.full(network.n_neurons, -1, np.int32)
    ring[slot[order]] = order
    return ring, following


def _in_order(events: Sequence[np.ndarray], tau: float) -> Events:
    time, neuron, switch = events
    order = np.lexsort((neuron, time))  # stable: two switches of a neuron at one time stay as they came
    return Events(time[order] * tau, neuron[order], switch[order])
