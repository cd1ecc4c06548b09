"""Growth of the correlation length: the exponent of xi ~ t^(1/z) in a window of times, with its confidence interval.

Owns the window, the fit and its jackknife over seeds; xi(t) comes from ``correlation_length``.
"""

from typing import Any

import numpy as np
import xarray as xr

from isophase.analysis.base import Measurement
from isophase.analysis.lattices import figures as plots
from isophase.analysis.statistics import flags, is_flag, jackknife_error, present_seeds, student, trapezoid_weights

POWER_LAW, CURVED, NO_UNCERTAINTY, NO_WINDOW, NOT_DEFINED = range(5)
STATES = ("power_law", "curved", "no_uncertainty", "no_window", "not_defined")
NAMES = (
    "growth_exponent",
    "growth_exponent_error",
    "growth_exponent_low",
    "growth_exponent_high",
    "growth_exponent_change",
    "growth_exponent_change_error",
    "growth_t_min",
    "growth_t_max",
    "growth_state",
)
FIRST_LENGTH = 1.0  # ring spacings; below one the lattice, not the growth, sets how xi depends on time
FRACTION_OF_STEADY = 0.5  # half of where it settles, growth is not yet bent by settling
FRACTION_OF_SIDE = 0.25  # beyond a quarter of the lattice, xi feels its size
SAMPLES = 5  # a line takes two and a bend one; two more are left to show it
TIME_RATIO = 4.0  # the least t_max / t_min of a window that is chosen here: diffusive growth doubles xi


def growth_exponent(
    xi: xr.DataArray,
    without: xr.DataArray,
    window: tuple[float, float] | None = None,
    side: int | None = None,
    xi_inf: xr.DataArray | float = np.nan,
    confidence: float = 0.95,
    seed_dim: str = "seed",
) -> xr.Dataset:
    """Exponent 1/z of ``xi ~ t^(1/z)``: least squares of ln xi against ln t in a window of times.

    Samples count by the ln t that they stand for (trapezoidal weights), so linear and logarithmic spacing of times give
    the same exponent. xi at successive times comes from the same seeds and is correlated: the residuals about the line
    understate the error. So the error is the delete-one jackknife over seeds of the whole fit, and the interval is
    Student's t with seeds - 1 degrees of freedom.

    The window, where not given: from the first time with xi >= 1 ring spacing, up to the last before xi first exceeds
    ``xi_inf / 2`` or ``side / 4`` or is not defined. It needs 5 samples and ``t_max >= 4 t_min``; else there is no
    window, and no exponent. A given window needs 5 samples with a defined xi.

    No window is a power law because it was fitted: ``growth_exponent_change`` is how much the local exponent
    d ln xi / d ln t changes across the window, from a parabola through the same points.

    Parameters
    ----------
    xi : over ``time`` (in its coordinate; increasing) and any other dimensions; ring spacings, NaN where not defined.
    without : over ``seed_dim`` too, xi without that seed (``xi_efold_without`` of ``correlation_length``). A seed that
        is NaN at all times is absent.
    window : (t_min, t_max), both included.
    side : shorter side of the lattice, in ring spacings.
    xi_inf : where xi settles, ring spacings; NaN where it does not, or nobody knows.
    confidence : of the interval, between 0 and 1.

    Returns
    -------
    Dataset over the other dimensions of ``xi``:

    - ``growth_exponent``, ``growth_exponent_error`` (one standard error), ``growth_exponent_low`` and ``_high``;
    - ``growth_exponent_change``, ``growth_exponent_change_error``;
    - ``growth_t_min``, ``growth_t_max``: the samples at the ends of the window;
    - ``growth_state``: ``power_law`` (no change of the exponent is seen at this confidence), ``curved`` (one is: the
      exponent is an average over the window), ``no_uncertainty`` (fewer than two seeds, or one that decides whether xi
      is defined), ``no_window``, ``not_defined`` (xi is NaN at all times). NaN in the last two.

    Raises ValueError for times that do not increase, an empty window, or a confidence that is none.
    """
    time = check_times(xi)
    if window is not None and not 0 < window[0] < window[1]:
        raise ValueError(f"window={window}: must be (t_min, t_max) with 0 < t_min < t_max")
    if not 0 < confidence < 1:
        raise ValueError(f"confidence={confidence}: must lie between 0 and 1")
    measured = xr.apply_ufunc(
        _growth,
        xi,
        without,
        xi_inf,
        kwargs={"time": time, "window": window, "side": side, "confidence": confidence},
        input_core_dims=[["time"], [seed_dim, "time"], []],
        output_core_dims=[[]] * len(NAMES),
        dask="parallelized",
        output_dtypes=[float] * (len(NAMES) - 1) + [np.int8],
        dask_gufunc_kwargs={"allow_rechunk": True},
        keep_attrs=False,
    )
    dataset = xr.Dataset(dict(zip(NAMES, measured, strict=True)))
    return _described(dataset, str(xi.time.attrs.get("units", "")), confidence)


def _described(dataset: xr.Dataset, unit: str, confidence: float) -> xr.Dataset:
    label = f"{confidence:.0%} confidence, Student's t of the jackknife over seeds"
    for name, attrs in {
        "growth_exponent": {"long_name": "exponent 1/z of xi ~ t^(1/z)"},
        "growth_exponent_error": {"long_name": "standard error of the exponent (jackknife over seeds)"},
        "growth_exponent_low": {"long_name": f"lower end of the exponent's interval ({label})"},
        "growth_exponent_high": {"long_name": f"upper end of the exponent's interval ({label})"},
        "growth_exponent_change": {"long_name": "change of the local exponent across the window"},
        "growth_exponent_change_error": {"long_name": "standard error of the change of the local exponent"},
        "growth_t_min": {"long_name": "first sample of the window of growth", "units": unit},
        "growth_t_max": {"long_name": "last sample of the window of growth", "units": unit},
        "growth_state": {"long_name": "whether there is a power law", **flags(STATES)},
    }.items():
        dataset[name].attrs = {"units": "1", **attrs} if name != "growth_state" else attrs
    return dataset


def check_times(xi: xr.DataArray) -> np.ndarray:
    """The sample times of ``xi``; ValueError where there are none, or they do not increase from 0 on."""
    if "time" not in xi.dims or "time" not in xi.coords:
        raise ValueError(f"xi has dimensions {xi.dims}: must include time, with a coordinate")
    time = np.asarray(xi.time.values, float)
    if not (time >= 0).all() or not (np.diff(time) > 0).all():
        raise ValueError(f"time={time}: must be >= 0 and increase")
    return time


def _growth(xi: np.ndarray, without: np.ndarray, xi_inf: Any, time: np.ndarray, window: tuple[float, float] | None,
            side: int | None, confidence: float) -> tuple[np.ndarray, ...]:  # fmt: skip
    present = present_seeds(without)
    usable = np.isfinite(xi) & (xi > 0) & (time > 0)
    inside = usable & _window(xi, usable, np.asarray(xi_inf, float), time, window, side)
    first, last = (np.where(inside, time, fill) for fill in (np.inf, -np.inf))
    t_min, t_max = first.min(axis=-1), last.max(axis=-1)
    enough = inside.sum(axis=-1) >= SAMPLES
    if window is None:
        enough &= t_max >= TIME_RATIO * t_min
    inside &= enough[..., None]
    log_t = np.log(np.where(time > 0, time, 1.0))
    weight = trapezoid_weights(log_t, inside)
    slope, change = _fit(xi, weight, log_t, t_max, t_min)
    wide = (weight[..., None, :], log_t, t_max[..., None], t_min[..., None])
    slope_without, change_without = _fit(np.where(present[..., None], without, 1.0), *wide)
    error, change_error = (jackknife_error(part, present) for part in (slope_without, change_without))
    reach = student(confidence, present.sum(axis=-1))
    state = np.where(np.abs(change) > reach * change_error, CURVED, POWER_LAW)
    state = np.where(np.isfinite(error), state, NO_UNCERTAINTY)
    state = np.where(enough, state, NO_WINDOW)
    state = np.where(np.isfinite(xi).any(axis=-1), state, NOT_DEFINED)
    results = (slope, error, slope - reach * error, slope + reach * error, change, change_error, t_min, t_max)
    return (*(np.where(enough, result, np.nan) for result in results), state.astype(np.int8))


def _window(xi: np.ndarray, usable: np.ndarray, xi_inf: np.ndarray, time: np.ndarray,
            window: tuple[float, float] | None, side: int | None) -> np.ndarray:  # fmt: skip
    if window is not None:
        return np.broadcast_to((time >= window[0]) & (time <= window[1]), xi.shape)
    limit = np.fmin(FRACTION_OF_STEADY * xi_inf, np.inf if side is None else FRACTION_OF_SIDE * side)
    started = np.logical_or.accumulate(usable & (xi >= FIRST_LENGTH), axis=-1)
    ended = np.logical_or.accumulate(started & ~(usable & (xi <= limit[..., None])), axis=-1)
    return started & ~ended


def _fit(xi: np.ndarray, weight: np.ndarray, log_t: np.ndarray, t_max: np.ndarray,
         t_min: np.ndarray) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """Slope of ln xi against ln t, and the change of slope of the parabola across the window."""
    log_xi = np.log(np.where(weight > 0, np.where(xi > 0, xi, np.nan), 1.0))
    total = weight.sum(axis=-1, keepdims=True)
    weight = weight / np.where(total > 0, total, 1.0)
    line = log_t - (weight * log_t).sum(axis=-1, keepdims=True)
    line = np.where(weight > 0, line, 0.0)
    variance = (weight * line**2).sum(axis=-1, keepdims=True)
    safe = np.where(variance > 0, variance, 1.0)
    # The parabola orthogonal to the constant and the line, so that each coefficient is one projection.
    bend = line**2 - (weight * line**3).sum(axis=-1, keepdims=True) / safe * line - variance
    slope = (weight * line * log_xi).sum(axis=-1) / safe[..., 0]
    norm = (weight * bend**2).sum(axis=-1)
    curvature = (weight * bend * log_xi).sum(axis=-1) / np.where(norm > 0, norm, 1.0)
    spanned = weight.sum(axis=-1) > 0
    span = np.log(np.where(spanned, t_max, 1.0)) - np.log(np.where(spanned, t_min, 1.0))
    return slope, 2 * curvature * span


def _of_summary(dataset: xr.Dataset, summary: xr.Dataset) -> xr.Dataset:
    """The growth of the headline length, which has to settle for its window to end there, and its systematic error."""
    found, *others = (_growth_of(summary, suffix) for suffix in ("", "_fit", "_second_moment"))
    exponents = xr.concat([part["growth_exponent"] for part in (found, *others)], "estimator")
    spread = (exponents.max("estimator") - exponents.min("estimator")) / 2
    total = (spread**2 + (found["growth_exponent_change"] / 4) ** 2) ** 0.5
    text = "systematic error of the exponent: estimators, and the halves of the window, in quadrature"
    return found.assign(growth_exponent_systematic=total.assign_attrs(units="1", long_name=text))


def _growth_of(summary: xr.Dataset, suffix: str) -> xr.Dataset:
    """Of xi by one estimator."""
    xi, without = (summary[f"xi{suffix}{part}"] for part in ("", "_without"))
    settles_at = summary[f"xi_inf{suffix}"].where(~is_flag(summary[f"state{suffix}"], "not_steady"))
    return growth_exponent(xi, without, side=summary.attrs["side"], xi_inf=settles_at)


GROWTH = Measurement(
    _of_summary,
    names={
        "growth_exponent": "1",
        "growth_exponent_error": "1",
        "growth_exponent_low": "1",
        "growth_exponent_high": "1",
        "growth_exponent_change": "1",
        "growth_exponent_change_error": "1",
        "growth_exponent_systematic": "1",
        "growth_t_min": "time",
        "growth_t_max": "time",
        "growth_state": "",
    },
    figures={"growth": plots.growth},
)
