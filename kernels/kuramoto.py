"""The Kuramoto model on a graph of neighbours: phase oscillators with natural frequencies, coupled by sines.

It is the model that arXiv 2506.07253 names beside the ring lattices; it takes the same neighbour pairs as they do.
"""

import math
from dataclasses import dataclass

import numba
import numpy as np
from scipy.special import erfcinv

DISTRIBUTIONS = ("identical", "normal", "uniform", "lorentz")
STEPS_PER_UNIT_RATE = 20  # RK4 at this resolution of the fastest rate is good to about 1e-7 rad per unit of 1/rate


@dataclass(frozen=True)
class KuramotoRun:
    """Phases at the sample times: ``phase`` [sample, oscillator], radians in [0, 2 pi); ``dt`` is the step used."""

    phase: np.ndarray
    dt: float


def natural_frequencies(distribution: str, width: float, n: int, seed: int | np.random.SeedSequence) -> np.ndarray:
    """Natural frequencies of ``n`` oscillators, in radians per unit time, with mean (Lorentz: centre) 0.

    Parameters
    ----------
    distribution : ``identical`` (all 0), ``normal`` (``width`` is the standard deviation), ``uniform`` (on
        ``[-width, width]``) or ``lorentz`` (``width`` is the half width at half maximum).
    """
    _check_distribution(distribution, width)
    rng = np.random.default_rng(seed)
    if distribution == "identical":
        return np.zeros(n)
    if distribution == "normal":
        return width * rng.standard_normal(n)
    if distribution == "uniform":
        return rng.uniform(-width, width, n)
    return width * rng.standard_cauchy(n)


def _check_distribution(distribution: str, width: float) -> None:
    if distribution not in DISTRIBUTIONS:
        raise ValueError(f"frequencies={distribution!r}: must be one of {', '.join(DISTRIBUTIONS)}")
    if not (math.isfinite(width) and width >= 0):
        raise ValueError(f"width={width}: must be finite and >= 0")


def expected_rate(frequencies: str, width: float, n: int, coupling: float, sides: int) -> float:
    """Largest rate that :func:`simulate_kuramoto` meets, in radians per unit time; its step is :func:`step_of` it.

    ``max_i |omega_i| + 2 |K| sides`` with the median of the first term over draws of :func:`natural_frequencies`:
    the largest of ``n`` lies below ``m`` with probability ``P(|omega| < m)^n = 1/2`` (David and Nagaraja, Order
    Statistics, 3rd ed., 2003, section 2.1). With ``p = 1 - 2^(-1/n)``, in units of ``width``,

    - ``normal``: ``erfc(m / sqrt 2) = p``, which grows as ``sqrt(2 ln n)``;
    - ``uniform``: ``m = 1 - p``;
    - ``lorentz``: ``m = cot(pi p / 2)``, some ``0.92 n``. Its mean does not exist: over S draws that is about ``ln S``
      times as large.

    Parameters
    ----------
    frequencies, width, n : ``distribution``, ``width`` and ``n`` of :func:`natural_frequencies`.
    coupling : K, radians per unit time.
    sides : neighbours of an oscillator.

    Raises ValueError for an unknown distribution, a width that is negative or not finite, and ``n`` below 1.
    """
    _check_distribution(frequencies, width)
    if n < 1:
        raise ValueError(f"n={n}: must be >= 1")
    p = -math.expm1(-math.log(2) / n)
    largest = {
        "identical": 0.0,
        "normal": math.sqrt(2) * float(erfcinv(p)),
        "uniform": 1 - p,
        "lorentz": 1 / math.tan(math.pi * p / 2),
    }
    return width * largest[frequencies] + 2 * abs(coupling) * sides


def step_of(rate: float) -> float:
    """Step of :func:`simulate_kuramoto` where the largest rate is ``rate``, in units of time; 1 where nothing moves."""
    return 1.0 / (STEPS_PER_UNIT_RATE * rate / 2) if rate else 1.0


def simulate_kuramoto(
    neighbours: np.ndarray,
    frequencies: np.ndarray,
    coupling: float,
    phases: np.ndarray,
    sample_times: np.ndarray,
    dt: float | None = None,
) -> KuramotoRun:
    """Integrate ``d theta_i / dt = omega_i + K sum_j sin(theta_j - theta_i)`` over the neighbours ``j`` of ``i``.

    Classical Runge-Kutta of fourth order with a fixed step (a sample time is reached by a last, shorter step).
    Source: Kuramoto, Chemical Oscillations, Waves, and Turbulence (1984), on a graph instead of all-to-all.

    Parameters
    ----------
    neighbours : int array [pair, 2], each pair of coupled oscillators once.
    frequencies : natural frequencies [oscillator], radians per unit time.
    coupling : K, radians per unit time, of every pair; not divided by the number of neighbours.
    phases : initial phases [oscillator], radians.
    sample_times : increasing, >= 0.
    dt : step; None: ``STEPS_PER_UNIT_RATE`` steps in the time scale of the fastest oscillator.

    Raises
    ------
    ValueError : shapes that do not match, values that are not finite, indices out of range.
    """
    theta = np.array(phases, dtype=np.float64)
    omega = np.ascontiguousarray(frequencies, dtype=np.float64)
    pairs = np.asarray(neighbours)
    times = np.ascontiguousarray(sample_times, dtype=np.float64)
    n = theta.size
    if theta.shape != (n,) or omega.shape != (n,):
        raise ValueError(
            f"phases {theta.shape} and frequencies {omega.shape}: must be one-dimensional and of equal length"
        )
    for name, values in (("phases", theta), ("frequencies", omega), ("sample_times", times)):
        if not np.isfinite(values).all():
            raise ValueError(f"{name}: must be finite")
    if pairs.ndim != 2 or pairs.shape[1] != 2 or pairs.dtype.kind not in "iu":
        raise ValueError(f"neighbours: must be integers of shape (pairs, 2), got {pairs.dtype} {pairs.shape}")
    if pairs.size and not (pairs.min() >= 0 and pairs.max() < n):
        raise ValueError(f"neighbours: must lie in 0..{n - 1}, got {pairs.min()}..{pairs.max()}")
    if not math.isfinite(coupling):
        raise ValueError(f"coupling={coupling}: must be finite")
    if times.size and (times[0] < 0 or (np.diff(times) <= 0).any()):
        raise ValueError("sample_times: must be >= 0 and increase")
    ends = np.concatenate([pairs, pairs[:, ::-1]]).astype(np.int64)
    order = np.lexsort((ends[:, 1], ends[:, 0]))
    indptr = np.concatenate([[0], np.cumsum(np.bincount(ends[:, 0], minlength=n))]).astype(np.int64)
    if dt is None:
        fastest = float(np.abs(omega).max(initial=0.0)) + 2 * abs(coupling) * int(np.diff(indptr).max(initial=0))
        dt = step_of(fastest)
    elif not (math.isfinite(dt) and dt > 0):
        raise ValueError(f"dt={dt}: must be finite and > 0")
    samples = np.empty((times.size, n))
    _integrate(indptr, ends[order, 1].copy(), omega, float(coupling), theta, times, float(dt), samples)
    phase = np.mod(samples, 2 * np.pi)
    phase[phase >= 2 * np.pi] = 0.0  # np.mod of a tiny negative number rounds to 2 pi
    return KuramotoRun(phase, dt)


@numba.njit(nogil=True, cache=True)
def _integrate(indptr, neighbour, omega, coupling, theta, times, dt, samples):  # pragma: no cover - compiled
    n = theta.size
    slope, total, stage = np.empty(n), np.empty(n), np.empty(n)
    sine, cosine = np.empty(n), np.empty(n)
    now = 0.0
    for k in range(times.size):
        steps = math.ceil((times[k] - now) / dt - 1e-9)
        h = (times[k] - now) / steps if steps > 0 else 0.0
        for _ in range(steps):
            _velocity(indptr, neighbour, omega, coupling, theta, sine, cosine, slope)
            for i in range(n):
                total[i] = slope[i]
                stage[i] = theta[i] + 0.5 * h * slope[i]
            _velocity(indptr, neighbour, omega, coupling, stage, sine, cosine, slope)
            for i in range(n):
                total[i] += 2.0 * slope[i]
                stage[i] = theta[i] + 0.5 * h * slope[i]
            _velocity(indptr, neighbour, omega, coupling, stage, sine, cosine, slope)
            for i in range(n):
                total[i] += 2.0 * slope[i]
                stage[i] = theta[i] + h * slope[i]
            _velocity(indptr, neighbour, omega, coupling, stage, sine, cosine, slope)
            for i in range(n):
                theta[i] += h / 6.0 * (total[i] + slope[i])
        now = times[k]
        samples[k] = theta


@numba.njit(nogil=True, cache=True)
def _velocity(indptr, neighbour, omega, coupling, theta, sine, cosine, slope):  # pragma: no cover - compiled
    # sin(b - a) = sin b cos a - cos b sin a: two trigonometric calls per oscillator instead of one per neighbour
    for i in range(theta.size):
        sine[i] = math.sin(theta[i])
        cosine[i] = math.cos(theta[i])
    for i in range(theta.size):
        s, c = 0.0, 0.0
        for edge in range(indptr[i], indptr[i + 1]):
            s += sine[neighbour[edge]]
            c += cosine[neighbour[edge]]
        slope[i] = omega[i] + coupling * (s * cosine[i] - c * sine[i])
