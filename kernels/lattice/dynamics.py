"""Whether a lattice repeats itself: twins that differ from a run by a kick, the onsets behind recorded phases, the
autocorrelation of phases, and how many intervals a ring takes to recur.

Owns what is measured of one run and its twins; exponents and verdicts over seeds are the analysis's.
"""

import math
from typing import NamedTuple

import numpy as np

from isophase.kernels.lattice.network import Network

CLOCK = 200.0  # tau; longest firing of a clock: its drive at t = 0, v_low exp(200) = 1e86, has to be allowed
KICKING = 600.0  # tau; how long the kicking neuron goes on: the weight of v_low exp(600) = 1e260 is still a number
MOST_PULSES = 8  # intervals after which a ring is looked at for recurring
RECURS = 1e-3  # relative tolerance of a recurring interval
CONTINUES = 1e-6  # in steps; where one interval ends the next has to begin
ORIGINS = 20


class Twin(NamedTuple):
    """A network and its state at t = 0, neurons added behind those of the run that it is a twin of."""

    network: Network
    drive: np.ndarray
    firing: np.ndarray


def kicked_twin(
    network: Network, drive: np.ndarray, firing: np.ndarray, kick: np.ndarray, at: float, delay: float, v_low: float
) -> Twin:
    """The twin of a run: up to ``at`` the same to the last bit, and there its drives are lower by ``kick`` at once.

    A kernel starts at t = 0 alone, where switches on their way cannot be given. So the kick comes from within: a clock,
    a neuron that fires from the start with a drive of ``v_low exp(D)``, stops after D; the next clock, or the kicking
    neuron, then starts with the weight of its edge as drive. The kicking neuron drives every other one with the weight
    ``kick``, and its onset lowers their drives by it; when it stops, 600 tau later, it gives that back.

    Parameters
    ----------
    drive, firing : the run's state at t = 0 [neuron].
    kick : change of the drive of each neuron [neuron].
    at : time of the kick, in tau, above ``2 delay``.
    delay, v_low : those of the simulation, tau = 1.

    Raises ValueError for a time too early for the clock's deliveries.
    """
    n, links = network.n_neurons, max(1, math.ceil(at / CLOCK))
    duration = (at - (links + 1) * delay) / links
    if duration <= 0:
        raise ValueError(f"at={at}: must be above {links + 1} delays of {delay}")
    clock = v_low * math.exp(duration)
    weights = np.full(links, clock)
    weights[-1] = v_low * math.exp(KICKING)  # into the kicking neuron
    edges = network.indptr[-1] + np.concatenate([np.arange(1, links + 1), [links + n]])
    following = np.arange(n + 1, n + links + 1)
    twin = Network(
        network.rings,
        np.concatenate([network.indptr, edges]),
        np.concatenate([network.successors, following, np.arange(n)]).astype(np.int32),
        np.concatenate([network.weights, weights, kick]),
        network.shape,
    )
    first = np.arange(links + 1) == 0
    return Twin(twin, np.concatenate([drive, clock * first]), np.concatenate([firing, first]))


def separation(phase: np.ndarray, other: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """How far two runs are apart [sample]: root mean square, geometric mean and largest difference of phase, in rad.

    ``phase`` and ``other`` are [sample, ring]; rings without a phase in either are left out, and a difference of 0,
    equal to the last bit, of the geometric mean. NaN where no ring is left.
    """
    apart = np.abs(np.remainder(other - phase + np.pi, 2 * np.pi) - np.pi)
    known = np.isfinite(apart)
    number = known.sum(axis=1)
    square = np.divide(np.where(known, apart**2, 0).sum(axis=1), number, out=_nan(number), where=number > 0)
    differs = known & (apart > 0)
    number = differs.sum(axis=1)
    logarithm = np.log(np.where(differs, apart, 1.0)).sum(axis=1)
    typical = np.exp(np.divide(logarithm, number, out=_nan(number), where=number > 0))
    largest = np.where(known.any(axis=1), np.where(known, apart, 0).max(axis=1), np.nan)
    return np.sqrt(square), typical, largest


def autocorrelation(phase: np.ndarray, lags: int) -> np.ndarray:
    """``C(lag) = |< exp(i (theta_r(t + lag) - theta_r(t))) >|`` over rings r, mean over up to 20 origins t [lag].

    ``phase`` is [sample, ring] at evenly spaced times, ``lags`` at most the number of samples. The modulus takes out a
    rotation that all rings share. A ring without a phase at either time is left out.
    """
    z = np.exp(1j * phase)
    known = np.isfinite(z)
    z[~known] = 0
    starts = np.unique(np.linspace(0, len(phase) - lags, ORIGINS).astype(int))
    total = np.zeros((len(starts), lags))
    for row, start in zip(total, starts, strict=True):
        pairs = (known[start : start + lags] & known[start]).sum(axis=1)
        sums = z[start : start + lags] @ z[start].conj()
        np.divide(np.abs(sums), pairs, out=row, where=pairs > 0)
        row[pairs == 0] = np.nan
    return total.mean(axis=0)


def onset_intervals(phase: np.ndarray, step: float) -> list[np.ndarray | None]:
    """The intervals between successive onsets of slot 0 of each ring that hold samples, in units of time.

    ``phase`` is [sample, ring], ``step`` the time between samples. Between two onsets a phase grows linearly from 0 to
    2 pi, so two samples in an interval say both of its ends, exactly, and one says the end where the begin is known.
    None: an interval is shorter than a step, which shows in that the next one does not begin where the last one ended.
    A ring that does not fire has none, float64 [0].
    """
    return [_intervals(theta, step) for theta in np.ascontiguousarray(phase.T)]


def _intervals(theta: np.ndarray, step: float) -> np.ndarray | None:
    growth = np.diff(theta)
    inside = np.flatnonzero(growth > 0)  # both samples in one interval; NaN is in none
    if inside.size == 0:
        return np.empty(0) if np.isnan(theta).all() else None
    next_one = np.diff(np.cumsum(~(growth > 0))[inside]) > 0
    first = inside[np.concatenate([[True], next_one])]
    last = inside[np.concatenate([next_one, [True]])] + 1
    begins = first - theta[first] * (last - first) / (theta[last] - theta[first])
    ends = begins + 2 * np.pi * (last - first) / (theta[last] - theta[first])
    onsets = [begins[:1]]
    for number in range(len(first)):
        onset = float(onsets[-1][-1])
        if abs(onset - begins[number]) > CONTINUES:
            return None
        alone = np.arange(last[number] + 1, first[number + 1] if number + 1 < len(first) else 0)
        found = [float(ends[number])]
        for sample in alone:
            found.append(found[-1] + (sample - found[-1]) * 2 * np.pi / theta[sample])
        onsets.append(np.array(found))
    return np.diff(np.concatenate(onsets)) * step


def recurrence(intervals: np.ndarray) -> int:
    """The least m up to 8 such that every interval is that m before to 1e-3 of their mean; 0: none.

    -1 where fewer than two rounds of the one interval are there to tell. Two rounds of m intervals are needed for m.
    """
    if len(intervals) < 2:
        return -1
    within = RECURS * intervals.mean()
    for m in range(1, min(MOST_PULSES, len(intervals) // 2) + 1):
        if (np.abs(intervals[m:] - intervals[:-m]) <= within).all():
            return m
    return 0 if len(intervals) >= 2 * MOST_PULSES else -1


def _nan(like: np.ndarray) -> np.ndarray:
    return np.full(like.shape, np.nan)
