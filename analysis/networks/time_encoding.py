"""How a network's state tells the time: angle in the eigenplane against the clock, restricted readout, and counting.

Owns the measures; the fixed points and their Jacobians come from ``fixed_points``, states and targets from training.
"""

from typing import Any

import numpy as np
import scipy.stats
import xarray as xr

REAL = 1e-9  # imaginary parts below are rounding
TIE = 1e-9
SHIFTS = 999  # random clocks in the permutation test
FOLDS = 5
RIDGE = 1e-6  # penalty of the probe, relative to the mean variance of a state variable; keeps it from being singular


def eigenplane(jacobian: np.ndarray, dimensions: int = 2) -> np.ndarray:
    """Orthonormal basis [dimension, hidden] of the leading eigenvectors of ``jacobian`` [hidden, hidden_from].

    Eigenvectors by modulus of the eigenvalue from the largest, a complex pair as the real and the negative imaginary
    part of that of positive imaginary eigenvalue, so that the map turns from the first axis to the second; then
    orthonormalised in this order. With ``dimensions`` 3, the plane of a leading pair and the real part of the next
    eigenvector. Raises ValueError where there are fewer dimensions than asked for.
    """
    values, vectors = np.linalg.eig(jacobian)
    if not 1 <= dimensions <= len(values):
        raise ValueError(f"dimensions={dimensions}: must lie between 1 and {len(values)}")
    columns = []
    for index in np.lexsort((-values.imag, -np.abs(values))):
        if values[index].imag > REAL:
            columns += [vectors[:, index].real, -vectors[:, index].imag]
        elif abs(values[index].imag) <= REAL:
            columns.append(vectors[:, index].real)
    basis, upper = np.linalg.qr(np.stack(columns[:dimensions], axis=1))
    return (basis * np.where(np.diag(upper) < 0, -1.0, 1.0)).T


def plane_angle(h: np.ndarray, centre: np.ndarray, plane: np.ndarray) -> np.ndarray:
    """Angle (rad) of states [..., hidden] about ``centre`` [hidden] in ``plane`` [2, hidden]."""
    x, y = np.moveaxis((h - centre) @ np.asarray(plane).T, -1, 0)
    return np.arctan2(y, x)


def circular_correlation(alpha: np.ndarray, beta: np.ndarray) -> np.ndarray:
    """Fisher and Lee's T-linear circular correlation over the last axis, -1 to 1 (Biometrika 70, 327 (1983)).

    1 where ``alpha - beta`` is constant, -1 where ``alpha + beta`` is. Over all pairs of samples, it needs no mean
    direction, and so holds for angles that are uniform, as those of a clock are. NaN where an angle is constant.
    """
    n = alpha.shape[-1]

    def resultant(angle: np.ndarray) -> np.ndarray:
        return np.square(np.abs(np.exp(1j * angle).sum(axis=-1)))

    # sum over all pairs of sin(a_i - a_j) sin(b_i - b_j), and of the squares
    product = (resultant(alpha - beta) - resultant(alpha + beta)) / 4
    squares = [(n**2 - resultant(2 * angle)) / 4 for angle in (alpha, beta)]
    norm = np.sqrt(np.maximum(squares[0] * squares[1], 0))
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(norm > REAL * n**2, product / norm, np.nan)


def phase_encoding(h: xr.DataArray, period: int, centre: np.ndarray, plane: np.ndarray, confidence: float = 0.95,
                   seed: int = 0, skip: int = 0) -> xr.Dataset:  # fmt: skip
    """Does the angle in the eigenplane follow ``2 pi (t mod period) / period``?

    States of one sequence depend on one another, so sequences are the samples: the interval is the percentile bootstrap
    over sequences, the p value is that of 999 draws in which every sequence has a clock of its own, shifted at random
    (two-sided; one sequence more, the measured one, is counted with them).

    Parameters
    ----------
    h : states (``sequence``, ``time``, ``hidden``), in any order of dimensions; ``time`` counts steps from 0.
    period : of the clock, steps. centre : [hidden], the fixed point. plane : [2, hidden], of :func:`eigenplane`.
    skip : steps at the beginning to leave out.

    Returns a Dataset of ``correlation`` (:func:`circular_correlation`), ``correlation_low`` and ``_high``, ``p_value``,
    ``n_sequences``; NaN for the interval of fewer than 3 sequences, and for the p value of one, which no shift changes.
    """
    if period < 2 or not 0 < confidence < 1:
        raise ValueError(f"period={period}, confidence={confidence}: must be >= 2, and between 0 and 1")
    values = h.transpose("sequence", "time", "hidden").values[:, skip:]
    n, length = values.shape[:2]
    angle = plane_angle(values, centre, plane)
    clock = np.broadcast_to(2 * np.pi * ((np.arange(length) + skip) % period) / period, angle.shape)
    measured = float(circular_correlation(angle.ravel(), clock.ravel()))
    rng = np.random.default_rng(seed)
    low = high = p_value = np.nan
    if n > 1:
        shifts = 2 * np.pi * rng.integers(period, size=(SHIFTS, n)) / period
        null = np.array([circular_correlation(angle.ravel(), (clock + shift[:, None]).ravel()) for shift in shifts])
        # shifts that are the same for all sequences change nothing, and rounding must not decide whether they count
        p_value = (1 + (np.abs(null) >= abs(measured) * (1 - TIE)).sum()) / (1 + SHIFTS)
    if n > 2:
        draws = rng.integers(n, size=(SHIFTS, n))
        drawn = [circular_correlation(angle[draw].ravel(), clock[draw].ravel()) for draw in draws]
        low, high = np.nanquantile(drawn, [(1 - confidence) / 2, (1 + confidence) / 2])
    label = f"{confidence:.0%} confidence, bootstrap over sequences"
    return xr.Dataset({
        "correlation": ((), measured, {"long_name": "circular correlation of angle and clock (Fisher and Lee)"}),
        "correlation_low": ((), low, {"long_name": f"lower end of its interval ({label})"}),
        "correlation_high": ((), high, {"long_name": f"upper end of its interval ({label})"}),
        "p_value": ((), p_value, {"long_name": "share of randomly shifted clocks that correlate as much"}),
        "n_sequences": ((), n, {"long_name": "sequences"}),
    })  # fmt: skip


def restricted_accuracy(h: np.ndarray, targets: np.ndarray, readout: np.ndarray, readout_bias: np.ndarray,
                        centre: np.ndarray, basis: np.ndarray) -> xr.Dataset:  # fmt: skip
    """Accuracy of the readout that sees only the subspace ``centre + span(basis)``, beside that of the full one.

    States are replaced by their orthogonal projection; the readout keeps its weights. With the three dimensions of
    ``eigenplane(jacobian, 3)`` these are the plane of the leading pair at the fixed point and the next real direction.

    Parameters
    ----------
    h : [..., hidden] (of an lstm: h without c, and ``centre`` and ``basis`` likewise orthonormal). targets : [...].
    readout : [output, hidden]; readout_bias : [output]. One output is a logit of state 1, several are one per state.
    centre : [hidden]. basis : [dimension, hidden], orthonormal.

    Returns a Dataset of ``accuracy``, ``accuracy_restricted`` (NaN of no state), ``dimensions``. Raises ValueError for
    another basis.
    """
    basis = np.atleast_2d(basis)
    if not np.allclose(basis @ basis.T, np.eye(len(basis)), atol=1e-8):
        raise ValueError("basis: its rows must be orthonormal")
    away = np.asarray(h) - centre

    def accuracy(states: np.ndarray) -> float:
        logits = states @ np.asarray(readout).T + readout_bias
        answer = logits[..., 0] > 0 if logits.shape[-1] == 1 else logits.argmax(axis=-1)
        return float((answer == np.asarray(targets)).mean()) if answer.size else np.nan

    full, restricted = accuracy(centre + away), accuracy(centre + away @ basis.T @ basis)
    return xr.Dataset({
        "accuracy": ((), full, {"long_name": "accuracy with all dimensions", "units": "1"}),
        "accuracy_restricted": ((), restricted, {"long_name": "accuracy within the subspace", "units": "1"}),
        "dimensions": ((), len(basis), {"long_name": "dimensions of the subspace"}),
    })  # fmt: skip


def counting(h: xr.DataArray, elapsed: xr.DataArray, null_point: np.ndarray, folds: int = FOLDS,
             seed: int = 0) -> xr.Dataset:  # fmt: skip
    """How the state counts steps since the last symbol: by its distance to the null fixed point, and linearly.

    Parameters
    ----------
    h : states (``sequence``, ``time``, ``hidden``). elapsed : steps (``sequence``, ``time``), NaN or negative where not
        to be counted (before the first symbol). null_point : [hidden], fixed point under the null symbol.
    folds : into which the sequences are divided at random, by ``seed``, for the probe.

    Returns a Dataset:

    - ``distance`` (``elapsed``): mean Euclidean distance to the point by elapsed steps; ``distance_rank_correlation``:
      Spearman's of distance and elapsed steps (-1: it falls with every step).
    - ``probe_r2``: share of the variance of elapsed steps in left-out sequences that a linear function of the state
      explains (least squares with a ridge of 1e-6 of the mean variance; below 0: worse than the mean);
      ``probe_error``: root mean square, steps.
    - ``n_states``. NaN where there are too few: 3 states, or fewer sequences than folds.
    """
    values = h.transpose("sequence", "time", "hidden").values
    steps = elapsed.transpose("sequence", "time").values.astype(float)
    used = np.isfinite(steps) & (steps >= 0)
    distance = np.linalg.norm(values - null_point, axis=-1)
    x, y = distance[used], steps[used]
    counts = np.unique(y)
    rank = np.nan
    if len(y) >= 3 and len(counts) > 1 and np.ptp(x) > 0:
        rank = float(scipy.stats.spearmanr(x, y).statistic)
    r2, error = _probe(values, steps, used, folds, seed)
    means = np.array([x[y == count].mean() for count in counts])
    return xr.Dataset(
        {
            "distance": (("elapsed",), means, {"long_name": "mean distance to the null fixed point", "units": "1"}),
            "distance_rank_correlation": ((), rank, {"long_name": "Spearman's, of distance and elapsed steps"}),
            "probe_r2": ((), r2, {"long_name": "variance of elapsed steps explained in left-out sequences"}),
            "probe_error": ((), error, {"long_name": "error of the linear probe, root mean square", "units": "steps"}),
            "n_states": ((), len(y), {"long_name": "states"}),
        },
        coords={"elapsed": ("elapsed", counts, {"long_name": "steps since the last symbol", "units": "steps"})},
    )


def _probe(h: np.ndarray, steps: np.ndarray, used: np.ndarray, folds: int, seed: int) -> tuple[float, float]:
    n = len(h)
    if n < folds or folds < 2 or used.sum() < 3:
        return np.nan, np.nan
    fold = np.random.default_rng(seed).permutation(n) % folds
    off: list[np.ndarray] = []
    spread: list[np.ndarray] = []
    for left_out in range(folds):
        train, test = used & (fold != left_out)[:, None], used & (fold == left_out)[:, None]
        if train.sum() < 2 or not test.any():
            continue
        x, y = h[train], steps[train]
        x_mean, y_mean = x.mean(axis=0), y.mean()
        covariance = (x - x_mean).T @ (x - x_mean)
        penalty = RIDGE * max(np.trace(covariance) / len(covariance), np.finfo(float).tiny)
        weights = np.linalg.solve(covariance + penalty * np.eye(len(covariance)), (x - x_mean).T @ (y - y_mean))
        off.append(steps[test] - y_mean - (h[test] - x_mean) @ weights)
        spread.append(steps[test] - y_mean)
    if not off:
        return np.nan, np.nan
    wrong, variance = np.square(np.concatenate(off)).mean(), np.square(np.concatenate(spread)).mean()
    return (float(1 - wrong / variance) if variance > 0 else np.nan), float(np.sqrt(wrong))


def elapsed_steps(symbols: Any, null: int) -> np.ndarray:
    """Steps since the last symbol that is not ``null``, [batch, time] of ``symbols``; NaN before the first."""
    symbols = np.asarray(symbols)
    time = np.arange(symbols.shape[-1])
    last = np.maximum.accumulate(np.where(symbols != null, time, -1), axis=-1)
    return np.where(last >= 0, time - last, np.nan)
