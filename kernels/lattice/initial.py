"""Initial states of a network: the drive and the firing of every neuron at t = 0, and fields of ring phases.

Every state is ``(drive, firing)``: float64 [neuron] and bool [neuron]. The drive is ``u - v`` with the input ``u``
that the neuron sees at t = 0, every firing neuron included: ``u_j = sum_i w_ij y_i`` with ``y_i = 0`` while ``i`` fires
and 1 at rest. The states are written without regard to the thresholds: the simulation tests them at t = 0, where a
firing neuron with a drive below ``v_low`` stops and a resting one with a drive of ``v_high`` or more starts.
"""

import math

import numpy as np
from scipy.optimize import brentq

from isophase.kernels.lattice.network import Network
from isophase.kernels.lattice.tilings import BLOCK

State = tuple[np.ndarray, np.ndarray]

PULSE_FIRING, PULSE_RESTING, PULSE_SPREAD = 0.1, 0.9, 0.05  # arXiv 2507.21377: about 0.1 and 0.9
FIRING_PROBABILITY = 0.25
TIE = 1e-10  # in tau; a slot this close before a switch has made it, so that rounding never decides an equality
INITIALS = ("pulse", "random", "uniform", "plane_wave", "vortex_pair", "two_half_planes")
LEAST_SIDE = 4  # rows and columns of a field with two vortices
THETA_FACTORS = 6  # the next one differs from 1 by exp(-2 pi (7 - 3/4)) at most, below the rounding of a double


def pulse(net: Network, seed: int | np.random.SeedSequence) -> State:
    """One firing neuron in a slot drawn at random in every ring; two rings may draw the same one.

    Voltages are independent: uniform on [0.05, 0.15] where firing, uniform on [0.85, 0.95] times the resting input
    elsewhere. Source: arXiv 2507.21377. Where four or more predecessors rest, 0.05 to 0.15 of their input may reach
    ``v_high``, and such a neuron starts firing at t = 0 by itself.
    """
    rng = np.random.default_rng(seed)
    firing = np.zeros(net.n_neurons, bool)
    firing[net.rings[np.arange(net.n_rings), rng.integers(net.ring_sizes)]] = True
    # In place, for the sake of large lattices.
    voltage = rng.uniform(-PULSE_SPREAD, PULSE_SPREAD, net.n_neurons)
    np.add(voltage, PULSE_FIRING, out=voltage, where=firing)
    np.add(voltage, PULSE_RESTING, out=voltage, where=~firing)
    np.multiply(voltage, net.resting_input, out=voltage, where=~firing)
    drive = _input(net, firing)
    drive -= voltage
    return drive, firing


def random(net: Network, seed: int | np.random.SeedSequence) -> State:
    """Every neuron fires with probability 1/4; voltages uniform on [0, resting input], all independent."""
    rng = np.random.default_rng(seed)
    firing = rng.random(net.n_neurons) < FIRING_PROBABILITY
    return _input(net, firing) - rng.random(net.n_neurons) * net.resting_input, firing


def quiescent(net: Network, firing: np.ndarray | list[int] | tuple[int, ...] = ()) -> State:
    """All neurons at rest with v = their resting input, but those numbered in ``firing`` fire, with v = 0.

    Raises ValueError for a number that is not a neuron's.
    """
    numbers = np.asarray(firing)
    if numbers.size and (numbers.dtype.kind not in "iu" or numbers.ndim != 1):
        raise ValueError(f"firing: must be a list of neuron numbers, got {numbers.dtype} {numbers.shape}")
    if (wrong := numbers[(numbers < 0) | (numbers >= net.n_neurons)]).size:
        raise ValueError(f"firing: neuron {wrong[0]}, must lie in 0 to {net.n_neurons - 1}")
    fires = np.zeros(net.n_neurons, bool)
    fires[numbers.astype(np.int64)] = True
    return _input(net, fires) - np.where(fires, 0.0, net.resting_input), fires


def ring_phase(
    net: Network,
    phases: np.ndarray,
    delay: float = 0.01,
    v_high: float = 0.49,
    v_low: float = 0.2,
    latest: bool = False,
) -> State:
    """Every ring at the given phase of the orbit that it has by itself: one pulse, going round in one period.

    Phase 0 is the onset of firing of slot 0, and the phase grows by 2 pi in a period ``N (T + delay)``; slot ``k`` lags
    slot 0 by ``k (T + delay)``. At a time ``s`` after its onset a neuron fires if ``s < T``, and its voltage is
    ``1 - x_0 exp(-s)`` until its predecessor fires, then decays to 0 (``x_0 = v_low exp(T)``, see :func:`pulse_orbit`).

    A shared neuron takes the state of the ring with the lowest number that has it; with ``latest``, that of the ring in
    which it fired last. By the lowest number rings in phase are not all alike: across a periodic boundary the other one
    of two neighbours decides, and from that seam disorder may spread. By the latest they are, for ever.

    Voltages are in units of the neuron's resting input, which is 1 in an uncoupled ring: so a neuron with two resting
    predecessors waits near 2.

    A switch on its way cannot be represented: the inputs at t = 0 include switches made less than ``delay`` ago, so
    the neurons behind them are up to ``delay`` early. Without delay an uncoupled ring is on its orbit exactly.

    Parameters
    ----------
    phases : radians, one for each ring: shape [ring] or ``net.shape``.
    latest : which state a shared neuron takes.
    delay, v_high, v_low : those of the simulation (delay in tau).

    Raises
    ------
    ValueError : phases of another shape or not finite; thresholds or a delay that do not exist; no such orbit.
    """
    theta = np.asarray(phases, np.float64)
    if theta.shape not in (net.shape, (net.n_rings,)):
        raise ValueError(f"phases: shape {theta.shape}, must be {net.shape} or ({net.n_rings},)")
    if not np.isfinite(theta).all():
        raise ValueError("phases: must be finite")
    sizes, which = np.unique(net.ring_sizes, return_inverse=True)
    duration = np.array([pulse_orbit(int(size), delay, v_high, v_low) for size in sizes])[which][:, None]
    hop = duration + delay
    period = sizes[which][:, None] * hop
    since = np.mod(theta.reshape(-1, 1) / (2 * np.pi) * period - np.arange(net.rings.shape[1]) * hop + TIE, period)
    peak, resting = v_low * np.exp(duration), period - duration
    charging = 1.0 - peak * np.exp(-since)
    discharging = (1.0 - peak * np.exp(-resting)) * np.exp(-np.maximum(since - resting, 0.0))
    # Of repeated indices the last assignment holds: backwards the lowest ring, by falling ``since`` the latest firing.
    order = np.argsort(-since, axis=None, kind="stable") if latest else np.arange(since.size)[::-1]
    order = order[net.rings.ravel()[order] >= 0]
    slots = net.rings.ravel()[order]
    voltage, firing = np.empty(net.n_neurons), np.empty(net.n_neurons, bool)
    voltage[slots] = np.where(since < resting, charging, discharging).ravel()[order]
    firing[slots] = (since < duration).ravel()[order]
    return _input(net, firing) - voltage * net.resting_input, firing


def patch(net: Network, where: np.ndarray, inside: State, around: State) -> State:
    """One state of the network in the rings marked by ``where``, another in those around them.

    A neuron that a ring inside shares with one outside takes the state inside. Firing and voltages are those of the
    two states; the drive follows from the inputs that all neurons together make.

    Raises ValueError for marks that are not one for each ring.
    """
    marked = np.asarray(where)
    if marked.dtype != bool or marked.shape not in (net.shape, (net.n_rings,)):
        raise ValueError(f"where: {marked.dtype} {marked.shape}, must be bool {net.shape} or ({net.n_rings},)")
    slots = net.rings[marked.ravel()]
    within = np.zeros(net.n_neurons, bool)
    within[slots[slots >= 0]] = True
    firing = np.where(within, inside[1], around[1])
    voltages = [_input(net, fires) - drive for drive, fires in (inside, around)]
    return _input(net, firing) - np.where(within, *voltages), firing


def pulse_orbit(ring_size: float, delay: float = 0.01, v_high: float = 0.49, v_low: float = 0.2) -> float:
    """Duration T of one firing while a single pulse goes round an uncoupled ring of ``ring_size`` >= 2 neurons, in tau.

    With z = exp(-T) it solves ``v_low / z = 1 - z + v_low exp(-(N (T + delay) - T))``: the drive ``v_low / z`` at the
    onset has fallen to ``v_low`` after T. The period of a neuron, and of the pulse, is ``N (T + delay)``. Of several
    solutions the longest is taken; in a long ring the others are unstable. ``k`` evenly spaced pulses in a ring of
    ``N`` follow the same equation with ``N / k``, which need not be whole (:func:`kernels.orbits.firing_time`).

    Raises ValueError for thresholds that are not ``0 < v_low < v_high``, a negative delay, a ``ring_size`` that is not
    above 1, and where there is no orbit (``v_low / z >= v_high`` has no solution).
    """
    if not 0 < v_low < v_high < math.inf:
        raise ValueError(f"v_low={v_low}, v_high={v_high}: must be 0 < v_low < v_high")
    if not 0 <= delay < math.inf:
        raise ValueError(f"delay={delay}: must be finite and >= 0")
    if not 1 < ring_size < math.inf:
        raise ValueError(f"ring_size={ring_size}: must be finite and > 1")

    def excess(T: float | np.ndarray) -> np.ndarray:
        return v_low * np.exp(T) - 1.0 + np.exp(-T) - v_low * np.exp(-((ring_size - 1) * T + ring_size * delay))

    # The drive at the onset lies between v_high and 1; excess is positive at 1, so its last change of sign is upwards.
    T = np.linspace(math.log(v_high / v_low), -math.log(v_low), 1025)
    below = np.flatnonzero(excess(T) <= 0.0)
    if v_high >= 1 or below.size == 0:
        raise ValueError(
            f"v_high={v_high}, v_low={v_low}: must be low enough for a pulse to go round a ring of {ring_size}; "
            f"there is no such orbit at delay={delay}"
        )
    return float(brentq(excess, T[below[-1]], T[below[-1] + 1], xtol=1e-15))


def check_initial(
    initial: str,
    tiling: str,
    rows: int,
    cols: int,
    ring_size: int,
    delay: float,
    v_high: float,
    v_low: float,
    size_spread: int = 0,
) -> None:
    """Refuse an initial state that a network does not have; builds nothing.

    ``pulse`` and ``random`` are states of every network. The others are fields of phase that :func:`ring_phase` takes:
    every ring must have an orbit of one pulse by itself, and ``vortex_pair`` needs room for two vortices.

    Parameters
    ----------
    initial : one of :data:`INITIALS`.
    tiling, rows, cols : of the lattice of rings; a small world is a chain.
    ring_size : neurons of each ring: ``sides * (shared + private)`` under every sharing, at the rim of open boundaries
        too.
    delay, v_high, v_low : those of the simulation, tau = 1.
    size_spread : ring sizes may be any within this of ``ring_size``. Only the largest is looked at: of two rings that
        differ in nothing else, the shorter one has an orbit if the longer one has (``excess`` in :func:`pulse_orbit`
        grows with the number of neurons).

    Raises
    ------
    ValueError : by name, value and what is allowed; also where :func:`pulse_orbit` does.
    """
    if initial not in INITIALS:
        raise ValueError(f"initial={initial!r}: must be one of {', '.join(INITIALS)}")
    if initial in ("pulse", "random"):
        return
    if initial == "vortex_pair" and min(rows, cols) < LEAST_SIDE:
        raise ValueError(
            f"initial={initial!r}: must not be given for tiling={tiling!r} with rows={rows}, cols={cols}; two vortices "
            f"need at least {LEAST_SIDE} rows and {LEAST_SIDE} columns"
        )
    try:
        pulse_orbit(ring_size + size_spread, delay, v_high, v_low)
    except ValueError as error:
        raise ValueError(f"{error}, on which initial={initial!r} would start") from None


def uniform(shape: tuple[int, int], phase: float = 0.0) -> np.ndarray:
    """The same phase everywhere, float64 [row, col], radians in [0, 2 pi)."""
    return _wrap(np.full(shape, float(phase)))


def plane_wave(shape: tuple[int, int], turns_row: float, turns_col: float) -> np.ndarray:
    """Phase that grows by ``turns_row`` turns over all rows and ``turns_col`` over all columns, radians in [0, 2 pi).

    Whole numbers of turns continue smoothly across periodic boundaries.
    """
    row, col = np.indices(shape)
    return _wrap(2 * np.pi * (turns_row * row / shape[0] + turns_col * col / shape[1]))


def two_half_planes(shape: tuple[int, int], difference: float = np.pi) -> np.ndarray:
    """Phase 0 in the left half of the columns, ``difference`` in the others, radians in [0, 2 pi)."""
    return _wrap(np.where(np.arange(shape[1]) < shape[1] // 2, 0.0, difference) * np.ones((shape[0], 1)))


def staggered(shape: tuple[int, int]) -> np.ndarray:
    """Phase 0 and pi in turn along both axes, as on a checkerboard, float64 [row, col], radians."""
    return np.pi * (np.indices(shape).sum(axis=0) % 2)


def disc(shape: tuple[int, int], diameter: float) -> np.ndarray:
    """Which rings lie in a disc in the middle of the lattice, bool [row, col]; diameter in ring spacings."""
    row, col = np.indices(shape)
    away = np.hypot(row - (shape[0] - 1) / 2, col - (shape[1] - 1) / 2)
    return 2 * away < diameter


def band(shape: tuple[int, int], width: int) -> np.ndarray:
    """Which rings lie in a band of columns in the middle of the lattice, bool [row, col]."""
    col = np.arange(shape[1]) - (shape[1] - width) // 2
    return np.broadcast_to((col >= 0) & (col < width), shape)


def vortex_pair(shape: tuple[int, int]) -> np.ndarray:
    """A vortex (+1, counter-clockwise with row 0 on top) and an antivortex half a lattice apart, radians in [0, 2 pi).

    They sit between rings, one above the other (side by side where there are fewer rows than columns), and the field
    solves Laplace's equation on the torus elsewhere: ``arg(theta_1(z - z_1) / theta_1(z - z_2))`` with the Jacobi theta
    function of the lattice as period, which is periodic in both directions for vortices that differ in one
    coordinate only. So it is the smoothest field with these two vortices, on a square lattice.

    Raises ValueError for fewer than 4 rows or columns.
    """
    rows, cols = shape
    if min(shape) < LEAST_SIDE:
        raise ValueError(
            f"shape={shape}: must be at least {LEAST_SIDE} rows and {LEAST_SIDE} columns to hold two vortices"
        )
    if rows < cols:
        return _wrap(-vortex_pair((cols, rows)).T)
    row, col = np.indices(shape)
    upper = rows // 4 - 0.5
    z = (col - cols // 2 + 0.5 + 1j * (row - upper)) / cols
    # Rows are counted downwards, which turns the sense of rotation round.
    vortex, antivortex = np.conj(_theta(z, rows / cols)), _theta(z - 1j * (rows // 2) / cols, rows / cols)
    return _wrap(np.angle(vortex) + np.angle(antivortex))


def _theta(z: np.ndarray, aspect: float) -> np.ndarray:
    """Jacobi's theta_1 with periods 1 and i ``aspect`` (>= 1), up to a positive factor; abs(Im z) <= 3/4 aspect.

    Product form, DLMF 20.5.1: ``sin(pi z) prod_n (1 - q^2n e^(2 pi i z)) (1 - q^2n e^(-2 pi i z))`` with
    ``q = e^(-pi aspect)``.
    """
    x, y = np.pi * z.real, np.pi * z.imag
    value = np.sin(x) + 1j * np.cos(x) * np.tanh(y)  # sin(pi z) / cosh(y), which cannot overflow
    for n in range(1, THETA_FACTORS + 1):
        for sign in (1, -1):
            value *= 1.0 - np.exp(2j * np.pi * sign * z - 2 * np.pi * n * aspect)
    return value


def _wrap(phase: np.ndarray) -> np.ndarray:
    wrapped = np.mod(phase, 2 * np.pi)
    wrapped[wrapped >= 2 * np.pi] = 0.0  # np.mod of a tiny negative number rounds to 2 pi
    return wrapped


def _input(net: Network, firing: np.ndarray) -> np.ndarray:
    """Input of every neuron while those marked in ``firing`` fire, float64 [neuron]."""
    arriving = np.zeros(net.n_neurons)
    for start in range(0, net.n_neurons, BLOCK):
        ends = net.indptr[start : start + BLOCK + 1]
        edges = slice(ends[0], ends[-1])
        from_resting = np.repeat(~firing[start : start + BLOCK], np.diff(ends))
        np.add.at(arriving, net.successors[edges], net.weights[edges] * from_resting)
    return arriving
