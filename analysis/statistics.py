"""Uncertainty over seeds and trials, and the coding of states: what every science here uses.

Jackknife, Student's t, Wilson's interval and means over seeds; CF flags for variables that hold a state.
"""

import warnings
from typing import Any

import numpy as np
import scipy.special
import scipy.stats
import xarray as xr

RESAMPLES = 4999
NORMAL_95 = 1.959963984540054  # quantile of the normal distribution at 97.5 %


def flags(states: tuple[str, ...]) -> dict[str, Any]:
    """CF attributes of a variable that holds the position of a state in ``states``."""
    return {"flag_values": np.arange(len(states), dtype=np.int8), "flag_meanings": " ".join(states)}


def is_flag(variable: xr.DataArray, meaning: str) -> xr.DataArray:
    """Where a variable with CF flags holds the value of a meaning."""
    values, meanings = np.atleast_1d(variable.attrs["flag_values"]), variable.attrs["flag_meanings"].split()
    return variable == values[meanings.index(meaning)]


def present_seeds(without: np.ndarray) -> np.ndarray:
    """Which seeds of [..., seed, time] are there at all, [..., seed]."""
    return np.isfinite(without).any(axis=-1)


def jackknife_error(without: np.ndarray, present: np.ndarray) -> np.ndarray:
    """Standard error from the estimates without each seed, [..., seed]; NaN for one seed, or where one is NaN."""
    seeds = present.sum(axis=-1)
    values = np.where(present, without, 0.0)
    mean = values.sum(axis=-1) / np.maximum(seeds, 1)
    spread = np.where(present, np.square(values - mean[..., None]), 0.0).sum(axis=-1)
    return np.where(seeds > 1, np.sqrt(spread * np.maximum(seeds - 1, 0) / np.maximum(seeds, 1)), np.nan)


def student(confidence: float, seeds: np.ndarray) -> np.ndarray:
    """Half width of the two-sided interval of ``confidence``, in standard errors from so many seeds."""
    return scipy.special.stdtrit(np.maximum(seeds - 1, 1), (1 + confidence) / 2)


def welch(variance: np.ndarray, freedom: np.ndarray) -> np.ndarray:
    """Degrees of freedom of a sum of variances [..., part] with some each, inf where known (Welch, Satterthwaite)."""
    square = (np.square(variance) / freedom).sum(axis=-1)
    return np.divide(np.square(variance.sum(axis=-1)), square, out=np.full(square.shape, np.inf), where=square > 0)


def trapezoid_weights(x: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """The interval that each sample of ``inside`` [..., x] stands for: half the gaps to its neighbours inside."""
    gaps = np.diff(x) * (inside[..., 1:] & inside[..., :-1]) / 2
    nothing = np.zeros((*inside.shape[:-1], 1))
    return np.concatenate([gaps, nothing], axis=-1) + np.concatenate([nothing, gaps], axis=-1)


def wilson(successes: int, number: int, z: float = NORMAL_95) -> tuple[float, float]:
    """Wilson's score interval of a fraction; NaN, NaN for no trial. It lies in 0 to 1 and is not empty at 0 or 1."""
    if number == 0:
        return np.nan, np.nan
    p, shrink = successes / number, 1 / (1 + z**2 / number)
    middle = (p + z**2 / (2 * number)) * shrink
    half = z * np.sqrt(p * (1 - p) / number + z**2 / (4 * number**2)) * shrink
    # rounding would leave 1e-17 at the ends
    return 0.0 if successes == 0 else middle - half, 1.0 if successes == number else middle + half


def mean_over_seeds(dataset: xr.Dataset, seed_dim: str = "seed") -> xr.Dataset:
    """Mean of every variable over the seeds that have it, and as ``_error`` its standard error (NaN for one seed)."""
    number = dataset.notnull().sum(seed_dim)
    mean = dataset.mean(seed_dim, keep_attrs=True)
    error = dataset.std(seed_dim, ddof=1) / np.sqrt(number.where(number > 1))
    for name, variable in dataset.data_vars.items():
        long_name = f"standard error over seeds of the {variable.attrs.get('long_name', name)}"
        mean[f"{name}_error"] = error[name].assign_attrs({**variable.attrs, "long_name": long_name})
    return mean


def bootstrap(samples: Any, statistic: Any, confidence: float, seed: int, method: str,
               **options: Any) -> tuple[float, float]:  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", scipy.stats.DegenerateDataWarning)
        warnings.simplefilter("ignore", RuntimeWarning)
        found = scipy.stats.bootstrap(samples, statistic, confidence_level=confidence, n_resamples=RESAMPLES,
                                      method=method, rng=np.random.default_rng(seed), **options)  # fmt: skip
    return float(found.confidence_interval.low), float(found.confidence_interval.high)
