"""Periodic orbits of one uncoupled ring: what many initial states of it settle on, and the closed forms beside.

A **pulse** is a firing neuron, or the end of a firing on its way to the next neuron. After t = 0 a neuron starts firing
only where such an end reaches it, so the number ``k`` of pulses never grows; it falls by one where an end arrives and
the drive stays below ``v_high``. So ``k`` is a whole number at any time, and a constant once the ring has settled.

Owns initial states, the search, and the closed forms; the simulation is ``isophase.kernels.lattice``'s.
"""

import math

import numpy as np

from isophase.kernels.lattice import Network, simulate
from isophase.kernels.lattice.initial import pulse_orbit, random
from isophase.kernels.lattice.simulate import V_HIGH, V_LOW

OUTCOMES = ("not_settled", "quiescent", "even", "uneven", "undefined")
NOT_SETTLED, QUIESCENT, EVEN, UNEVEN, UNDEFINED = range(5)
SETTLED = (QUIESCENT, EVEN, UNEVEN)

# In periods of a neuron. Spacing relaxes geometrically, and one multiplier governs the distance from the orbit and its
# change per revolution alike, so 14 e-foldings reach the first tolerance. A spacing that is not even yet may change so
# slowly that it passes for an orbit: at 1e-9 a revolution (1e4 times the rounding of times up to 1e4 tau) it would
# take 1e9 revolutions, longer than any run here, and ``relaxation_time`` says how long.
EVEN_TOLERANCE = 1e-6
REPEAT_TOLERANCE = 1e-9
SAME_SPACING = 1e-4  # in fractions of the pattern; apart from these, two orbits are one
OFF_BEAT = 1 / math.pi  # of a delay; rings that switch in unison do so at multiples of it, where rounding would decide
CAUSED = 1e-9  # in tau; an onset this close to the arrival of the end before it is its effect

FIRST_HORIZON = 8.0  # tau per neuron of the ring: some six revolutions of a pulse; what has not settled runs on,
LEAST_HORIZON = 64.0  # tau; durations of a firing forget their beginning to 1e-9 in half of it
NEXT_HORIZON = 4.0
EVENTS_AT_ONCE = 2**20  # some 15 MB while they are sorted
MAX_SWITCHING_RATE = 0.75  # switches per neuron and tau of the densest pulses; delay-limited rings make more
NECKLACE_FIRING, NECKLACE_RESTING = 0.1, 0.9  # voltages, as in ``initial.pulse`` without its spread
MAX_NECKLACE = 16  # 4116 necklaces


def random_states(ring_size: int, states: int, seed: int | np.random.SeedSequence) -> tuple[np.ndarray, np.ndarray]:
    """Drive and firing [state, slot] of :func:`isophase.kernels.lattice.initial.random` for independent rings."""
    return tuple(part.reshape(states, ring_size) for part in random(_rings(states, ring_size), seed))  # type: ignore[return-value]


def n_necklaces(ring_size: int) -> int:
    """Firing patterns of a ring up to rotation: the mean over rotations of the patterns that each keeps (Burnside)."""
    return sum(2 ** math.gcd(ring_size, turn) for turn in range(ring_size)) // ring_size


def necklace_states(ring_size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Every firing pattern up to rotation: drive and firing [necklace, slot], and the patterns each stands for.

    A firing neuron has v = 0.1, a resting one v = 0.9. The numbers of patterns add up to ``2 ** ring_size``.
    """
    if not 2 <= ring_size <= MAX_NECKLACE:
        raise ValueError(f"ring_size={ring_size}: must be 2 to {MAX_NECKLACE} to take every firing pattern")
    patterns = np.arange(2**ring_size, dtype=np.int64)
    smallest, rotated = patterns.copy(), patterns
    for _ in range(ring_size - 1):
        rotated = (rotated >> 1) | ((rotated & 1) << (ring_size - 1))
        np.minimum(smallest, rotated, out=smallest)
    necklaces, multiplicity = np.unique(smallest, return_counts=True)
    firing = (necklaces[:, None] >> np.arange(ring_size)) & 1 == 1
    drive = ~np.roll(firing, 1, axis=1) - np.where(firing, NECKLACE_FIRING, NECKLACE_RESTING)
    return drive, firing, multiplicity


def find_orbits(
    drive: np.ndarray, firing: np.ndarray, *, t_end: float, delay: float = 0.01, v_high: float = V_HIGH,
    v_low: float = V_LOW,
) -> np.ndarray:  # fmt: skip
    """What every initial state of a ring settles on, found by exact simulation; structured array [state], tau = 1.

    A ring is periodic when, for some number ``onsets`` of firings, that many onsets further on **every** neuron is one
    and the same time later, over the last 2 ``pulses`` onsets of each. All states run at once as rings that share
    nothing, to a first horizon, and those that have not settled again to longer ones up to ``t_end``.

    Parameters
    ----------
    drive, firing : [state, slot], the state at t = 0 as :func:`isophase.kernels.lattice.simulate` takes it.
    t_end : in tau; what has not settled by then is ``not_settled``.
    delay, v_high, v_low : as in :func:`isophase.kernels.lattice.simulate`, which also checks them.

    Returns
    -------
    Fields, NaN (numbers of onsets: 0) where there is no such thing:

    ``outcome`` : index into :data:`OUTCOMES`. ``even``: the intervals between a neuron's onsets are equal to 1e-6 of
        the period; ``uneven``: they are not, but the pattern changes by at most 1e-9 of the period as it repeats;
        ``not_settled``: it changes faster; ``quiescent``: no pulse is left; ``undefined``: with delay 0, an instant
        that does not end (see ``simulate``).
    ``pulses`` : number of pulses at the end of the run; -1 where undefined.
    ``period`` : mean interval between onsets of a neuron, tau; if not settled, over the last two revolutions.
    ``onsets``, ``pattern_period`` : onsets of a neuron after which the ring repeats itself, and the time they take.
    ``spacing`` [interval] : successive intervals between onsets of slot 0 as fractions of their sum, NaN beyond: those
        of one revolution, which are ``pulses`` many; of one pattern where a revolution is not a number of patterns.
    ``unevenness`` : longest minus shortest of the last ``pulses`` intervals of any neuron, in periods.
    ``drift`` : largest change of the time that ``onsets`` (not settled: ``pulses``) onsets take, in periods.
    ``captured`` : time at which the last pulse died, 0 if none did, tau: ``pulses`` is the same ever since.
    ``transient`` : time from which every neuron repeats with the final pattern to 1e-6 of the period, tau;
        of a quiescent ring the time of its last switch.

    Raises ValueError for states of another shape, and for parameters that ``simulate`` refuses.
    """
    drive, firing = np.asarray(drive, np.float64), np.asarray(firing)
    if firing.ndim != 2 or drive.shape != firing.shape or firing.shape[1] < 2:
        raise ValueError(f"drive {drive.shape}, firing {firing.shape}: must both be [state, slot] with >= 2 slots")
    states, ring_size = firing.shape
    found = np.zeros(states, _fields(ring_size))
    left, horizon = np.arange(states), min(max(FIRST_HORIZON * ring_size, LEAST_HORIZON), t_end)
    while left.size:
        at_once = max(1, int(EVENTS_AT_ONCE / (ring_size * (horizon + 1) * MAX_SWITCHING_RATE)))
        for start in range(0, left.size, at_once):
            some = left[start : start + at_once]
            found[some] = _settle(drive[some], firing[some], horizon, delay, v_high, v_low)
        if horizon >= t_end:
            break
        left = left[found["outcome"][left] == NOT_SETTLED]
        horizon = min(NEXT_HORIZON * horizon, t_end)
    return found


def classify(pulses: np.ndarray, spacing: np.ndarray, tolerance: float = SAME_SPACING) -> np.ndarray:
    """Number of the orbit of every state, int64 [state], counted from 0 in order of appearance.

    Two states are on one orbit if they have as many pulses and their spacings [state, interval], which start at any
    interval, agree to ``tolerance`` after some rotation.
    """
    label = np.zeros(len(pulses), np.int64)
    orbits: list[tuple[int, np.ndarray]] = []
    for state, number in enumerate(np.asarray(pulses).tolist()):
        intervals = spacing[state][np.isfinite(spacing[state])]
        turned = intervals[(np.arange(len(intervals))[:, None] + np.arange(len(intervals))) % max(len(intervals), 1)]
        for orbit, (known, representative) in enumerate(orbits):
            if known == number and len(representative) == len(intervals):
                if len(intervals) and np.abs(turned - representative).max(axis=1).min() > tolerance:
                    continue
                label[state] = orbit
                break
        else:
            label[state] = len(orbits)
            orbits.append((number, intervals))
    return label


def firing_time(
    neurons_per_pulse: float, delay: float = 0.01, v_high: float = V_HIGH, v_low: float = V_LOW
) -> tuple[float, float]:
    """Duration of a firing and period of a neuron on the evenly spaced orbit, tau; NaN, NaN where there is none.

    With ``M`` neurons per pulse, any real number > 1, there are two kinds, and never both:

    - **pulses**: a firing ends by itself after ``T`` (:func:`kernels.lattice.initial.pulse_orbit`), a pulse takes
      ``T + delay`` from neuron to neuron, the period is ``P = M (T + delay)``. The derivation needs that a neuron has
      stopped before its predecessor's next firing reaches it, ``P >= 2 T``: that is ``M >= 2`` at delay 0, and
      somewhat less with a delay.
    - **delay-limited**: the predecessor's onset ends the firing. Then a switch is handed on ``delay`` later, inverted:
      a firing and a rest last ``P/2`` each, a pulse takes ``P/2 + delay`` per neuron, so ``P = 2 delay / (2/M - 1)``.
      The drive, ``1 / (1 + exp(-P/2))`` at the onset, must be at least ``v_high`` there and ``v_low`` at its end.
    """
    try:
        T = pulse_orbit(neurons_per_pulse, delay, v_high, v_low)
    except ValueError:
        if not (neurons_per_pulse >= 1 and 0 <= delay < math.inf and 0 < v_low < v_high < math.inf):
            raise
        T = math.nan
    period = neurons_per_pulse * (T + delay)
    if period >= 2 * T * (1 - 1e-12):
        return T, period
    if neurons_per_pulse < 2 and delay > 0:
        half = delay / (2 / neurons_per_pulse - 1)
        onset = 1 / (1 + math.exp(-half))
        if onset >= v_high and onset * math.exp(-half) >= v_low:
            return half, 2 * half
    return math.nan, math.nan


def relaxation_time(
    ring_size: int, pulses: int, delay: float = 0.01, v_high: float = V_HIGH, v_low: float = V_LOW
) -> float:
    """Time in which small differences between the spacings of pulses fall to 1/e, tau, near the even spacing.

    The onset ``t[p, j]`` of pulse ``p`` at neuron ``j`` obeys, with ``T`` the times between them less the delay,
    ``v_low exp(T[p, j+1]) = 1 - exp(-T[p, j]) + v_low exp(-(t[p, j+1] - t[p-1, j+2] + delay))``. Linear in a
    displacement ``exp(i phi p) lambda^j``, with ``A = v_low e^T``, ``c = v_low exp(-(P - T))`` and ``M = N/k``::

        A lambda^2 - lambda + e^-T = c lambda^(2-M) exp(-i phi),   phi = 2 pi m / k,   m = 1 .. k-1

    so the slowest mode decays by about ``c (1 - cos(2 pi / k)) / (2 A - 1)`` per neuron: exponentially slowly in the
    time ``P - T`` between pulses, and as 1/k^2 in their number. NaN for one pulse (nothing to relax), where there is no
    orbit of pulses, and where neurons stop at the moment at which the next firing reaches them (k = N/2 at delay 0):
    there the map has a corner. Negative were it unstable.
    """
    M = ring_size / pulses
    T, period = firing_time(M, delay, v_high, v_low)
    if pulses < 2 or not period > 2 * T * (1 + 1e-9):
        return math.nan
    A, c = v_low * math.exp(T), v_low * math.exp(T - period)
    phi = 2 * np.pi * np.arange(1, pulses) / pulses
    eta = np.zeros(pulses - 1, complex)  # lambda - 1: it may be far below the rounding of 1
    for _ in range(50):
        power = (2 - M) * np.log1p(eta) - 1j * phi
        excess = (2 * A - 1) * eta + A * eta**2 - c * np.expm1(power)
        eta -= excess / (2 * A - 1 + 2 * A * eta - c * (2 - M) * np.exp(power) / (1 + eta))
    decay = -0.5 * np.log1p(2 * eta.real + np.abs(eta) ** 2)
    return float((T + delay) / decay.min())


def _fields(ring_size: int) -> np.dtype:
    times = ("period", "pattern_period", "unevenness", "drift", "captured", "transient")
    return np.dtype(
        [("outcome", "i1"), ("pulses", "i4"), ("onsets", "i4"), *((name, "f8") for name in times),
         ("spacing", "f8", (ring_size,))]
    )  # fmt: skip


def _rings(states: int, ring_size: int) -> Network:
    return Network.from_rings(np.arange(states * ring_size).reshape(states, ring_size))


def _settle(
    drive: np.ndarray, firing: np.ndarray, t_end: float, delay: float, v_high: float, v_low: float
) -> np.ndarray:
    """``find_orbits`` for one horizon."""
    states, ring_size = firing.shape
    found = np.zeros(states, _fields(ring_size))
    for name in found.dtype.names or ():
        if found.dtype[name].base.kind == "f":
            found[name] = np.nan
    try:
        run = simulate(
            _rings(states, ring_size), drive=drive.ravel(), firing=firing.ravel(), t_end=t_end, delay=delay,
            v_high=v_high, v_low=v_low, record=("events",),
        )  # fmt: skip
    except RuntimeError:  # an instant without end, in one of the rings
        if states == 1:
            found["outcome"], found["pulses"] = UNDEFINED, -1
            return found
        half = states // 2
        parts = ((drive[:half], firing[:half]), (drive[half:], firing[half:]))
        return np.concatenate([_settle(*part, t_end, delay, v_high, v_low) for part in parts])
    assert run.events is not None
    event_time, event_neuron = run.events.time, run.events.neuron
    order = np.argsort(event_neuron, kind="stable")  # and by time within a neuron
    seen = t_end - OFF_BEAT * delay
    starts = order[(run.events.switch[order] > 0) & (event_time[order] <= seen)]
    arrives = order[(run.events.switch[order] < 0) & (event_time[order] <= seen - delay)]
    time, neuron = event_time[starts], event_neuron[starts]
    stop_time, stop_neuron = event_time[arrives], event_neuron[arrives]
    number = np.bincount(neuron, minlength=states * ring_size).reshape(states, ring_size)
    stops = np.bincount(stop_neuron, minlength=states * ring_size).reshape(states, ring_size)

    found["pulses"] = pulses = (firing + number - stops).sum(1)
    found["captured"] = _last_death(time, number, stop_time + delay, stop_neuron, stops)
    quiet = pulses == 0
    found["outcome"][quiet] = QUIESCENT
    found["transient"][quiet] = 0.0
    of_quiet = np.flatnonzero(quiet[event_neuron // ring_size])
    np.maximum.at(found["transient"], event_neuron[of_quiet] // ring_size, event_time[of_quiet])

    end = np.cumsum(number).reshape(number.shape)
    for k in np.unique(pulses[~quiet]):
        rings = np.flatnonzero((pulses == k) & (number.min(1) > 2 * k))
        if rings.size:
            tail = time[end[rings][..., None] + np.arange(-2 * k - 1, 0)]
            found[rings] = _repeats(found[rings], tail, int(k))
    settled = np.isin(found["outcome"], (EVEN, UNEVEN))
    found["transient"][settled] = _transient(time, neuron, ring_size, found)[settled]
    return found


def _last_death(
    onset: np.ndarray, onsets: np.ndarray, arrival: np.ndarray, source: np.ndarray, stops: np.ndarray
) -> np.ndarray:
    """Time at which the last pulse of every ring died [ring], 0 if none did.

    Of each neuron the ends that arrive and the onsets they cause are matched from the last one backwards: they are
    equally many after the last death. ``onset``, ``arrival`` and ``source`` are sorted by neuron, then by time.
    """
    ring, slot = np.divmod(source, stops.shape[1])
    following = (slot + 1) % stops.shape[1]
    onset_end = np.cumsum(onsets).reshape(onsets.shape)[ring, following]
    effect = onset_end - (np.cumsum(stops)[source] - np.arange(len(source)))
    caused = effect >= onset_end - onsets[ring, following]
    caused &= np.abs(onset[np.where(caused, effect, 0)] - arrival) <= CAUSED if onset.size else False
    death = np.zeros(len(stops))
    np.maximum.at(death, ring[~caused], arrival[~caused])
    return death


def _repeats(found: np.ndarray, tail: np.ndarray, k: int) -> np.ndarray:
    """Outcome of rings with ``k`` pulses from the last 2 k + 1 onsets of their neurons, tail [ring, slot, onset]."""
    of_last = np.diff(tail[..., -k - 1 :])
    per_revolution = _lag(tail, k)
    found["period"] = per_revolution[0] / k
    found["drift"] = per_revolution[1]
    found["unevenness"] = np.ptp(of_last, axis=(1, 2)) / found["period"]
    even = (_lag(tail, 1)[1] <= EVEN_TOLERANCE) & (found["unevenness"] <= EVEN_TOLERANCE)
    found["outcome"][even], found["onsets"][even] = EVEN, 1
    for onsets in range(2, k + 1):
        if not (open_ := found["onsets"] == 0).any():
            break
        mean, change = _lag(tail, onsets)
        repeats = open_ & (change <= REPEAT_TOLERANCE)
        found["outcome"][repeats], found["onsets"][repeats] = UNEVEN, onsets
        found["period"][repeats], found["drift"][repeats] = mean[repeats] / onsets, change[repeats]
    settled = found["onsets"] > 0
    found["pattern_period"][settled] = (found["onsets"] * found["period"])[settled]
    for one, intervals in zip(found, of_last[:, 0], strict=True):
        shown = k if one["onsets"] == 0 or k % one["onsets"] == 0 else one["onsets"]
        one["spacing"][:shown] = intervals[-shown:] / intervals[-shown:].sum()
    return found


def _lag(tail: np.ndarray, onsets: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean time of that many onsets [ring], and its largest deviation from it over all neurons, in periods."""
    taken = tail[..., onsets:] - tail[..., :-onsets]
    mean = taken.mean(axis=(1, 2))
    return mean, np.abs(taken - mean[:, None, None]).max(axis=(1, 2)) * onsets / mean


def _transient(time: np.ndarray, neuron: np.ndarray, ring_size: int, found: np.ndarray) -> np.ndarray:
    """Time of the first onset from which every neuron repeats with its ring's pattern [ring]."""
    ring = neuron // ring_size
    here = np.flatnonzero(found["onsets"][ring] > 0)
    later = here + found["onsets"][ring[here]]
    inside = later < len(time)
    here, later = here[inside], later[inside]
    same = neuron[here] == neuron[later]
    here, later = here[same], later[same]
    off = np.abs(time[later] - time[here] - found["pattern_period"][ring[here]])
    wrong = here[off > EVEN_TOLERANCE * found["period"][ring[here]]]
    settled_at = np.zeros(len(found))
    np.maximum.at(settled_at, ring[wrong], time[wrong + 1])
    return settled_at
