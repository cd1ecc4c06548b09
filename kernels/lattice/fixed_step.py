"""The same network on a grid of time steps: the independent reference, and what one would write first.

Vectorised over neurons with NumPy and a SciPy sparse matrix; shares no code with the exact kernels but the checks.
"""

import math
from collections.abc import Sequence

import numpy as np
import scipy.sparse

from isophase.kernels.lattice.network import Network
from isophase.kernels.lattice.simulate import V_HIGH, V_LOW, Events, Run, check_state

MAX_STEPS = 2**53  # of a run: steps are counted, and their number is multiplied as a float


def check_step(dt: float, t_end: float, delay: float) -> None:
    """Refuse a step that no run can have: not a finite number > 0, beyond ``t_end`` > 0, or too small to be counted.

    The memory and time that a small one takes are no matter of this check; a step above ``delay`` hides the delay.
    Raises ValueError by name and value.
    """
    number = isinstance(dt, int | float | np.integer | np.floating) and not isinstance(dt, bool)
    if not (number and math.isfinite(dt) and 0 < dt <= t_end):
        raise ValueError(f"dt={dt}: must be > 0 and at most t_end={t_end}")
    for name, span in (("t_end", t_end), ("delay", delay)):
        if not span <= MAX_STEPS * dt:
            raise ValueError(f"dt={dt}: must be at least {name}={span} / {MAX_STEPS:.3g}")


def simulate_fixed_step(
    network: Network,
    *,
    drive: np.ndarray,
    firing: np.ndarray,
    t_end: float,
    dt: float,
    delay: float = 0.01,
    v_high: float = V_HIGH,
    v_low: float = V_LOW,
    tau: float = 1.0,
    sample_times: Sequence[float] | np.ndarray = (),
) -> Run:
    """Advance the network in steps of ``dt``; the times of its switches converge to the exact ones as ``dt`` goes to 0.

    In a step drives decay by ``exp(-dt / tau)``, then take what arrives, then the thresholds are tested, so a switch is
    seen up to ``dt`` late: an error of first order. A switch arrives ``max(1, round(delay / dt))`` steps later: a
    delay below ``dt`` is hidden by one of ``dt``.

    Parameters, errors and results are those of :func:`kernels.lattice.simulate`, with everything recorded; ``dt`` > 0
    is the step. ``delay_limited`` is not measured here and is False.
    """
    x, fires, times = check_state(network, drive, firing, t_end, delay, v_high, v_low, tau, sample_times)
    check_step(dt, t_end, delay)
    n = network.n_neurons
    into = scipy.sparse.csr_array((network.weights, network.successors, network.indptr), shape=(n, n)).T.tocsr()
    steps = math.ceil(t_end / dt * (1 - 1e-12))
    lag = min(max(1, round(delay / dt)), steps + 1)  # what is sent further ahead never arrives
    x, fires = x.copy(), fires.copy()
    under_way = [np.zeros(n)] * lag  # changes of input, by step of arrival modulo lag
    decay = math.exp(-dt / tau)
    found: list[tuple[float, np.ndarray, np.ndarray]] = []
    state_at = np.empty((times.size, n), bool)
    sample = 0
    for step in range(steps + 1):
        while sample < times.size and times[sample] < step * dt * (1 - 1e-12):
            state_at[sample] = fires
            sample += 1
        if step:
            x *= decay
            x += under_way[step % lag]
        switched = np.where(fires, x < v_low, x >= v_high)
        fires ^= switched
        under_way[step % lag] = into @ np.where(switched, np.where(fires, -1.0, 1.0), 0.0)
        which = np.flatnonzero(switched).astype(np.int32)
        if which.size and step * dt <= t_end:
            found.append((step * dt, which, np.where(fires[which], np.int8(1), np.int8(-1))))
    state_at[sample:] = fires
    time = np.concatenate([np.full(which.size, t) for t, which, _ in found] or [np.empty(0)])
    neuron = np.concatenate([which for _, which, _ in found] or [np.empty(0, np.int32)])
    switch = np.concatenate([s for _, _, s in found] or [np.empty(0, np.int8)])
    events = Events(time, neuron, switch)
    return Run(len(time), len(time) / (n * t_end), False, events, _phases(network, events, times), state_at)


def _phases(network: Network, events: Events, times: np.ndarray) -> np.ndarray:
    """Linear phase between successive onsets of each ring's slot 0, [sample, ring]; NaN outside them."""
    phase = np.full((times.size, network.n_rings), np.nan)
    onsets = events.switch > 0
    order = np.argsort(events.neuron[onsets], kind="stable")
    time, neuron = events.time[onsets][order], events.neuron[onsets][order]
    for ring, slot in enumerate(network.rings[:, 0]):
        own = time[slice(*np.searchsorted(neuron, [slot, slot + 1]))]
        if own.size > 1:
            at = np.searchsorted(own, times, side="right") - 1
            inside = (at >= 0) & (at < own.size - 1)
            start, stop = own[at[inside]], own[at[inside] + 1]
            phase[inside, ring] = 2 * np.pi * (times[inside] - start) / (stop - start)
    return phase
