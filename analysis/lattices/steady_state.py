"""Steady state of the correlation length: xi_inf, the test by which it is called steady, and the time to reach it.

Owns the test on xi(t) of one lattice; what is steady may still be set by the lattice's size, see ``finite_size``.
"""

import numpy as np
import xarray as xr

from isophase.analysis.lattices.growth import FRACTION_OF_SIDE, check_times
from isophase.analysis.statistics import flags, jackknife_error, present_seeds, student, trapezoid_weights

STEADY, NOT_STEADY, CANNOT_TELL, NOT_DEFINED, BEYOND_HALF, WAVES = range(6)
STATES = ("steady", "not_steady", "cannot_tell", "not_defined", "beyond_half", "waves")
NAMES = (
    "xi_inf",
    "xi_inf_error",
    "drift",
    "drift_error",
    "time_to_steady",
    "time_to_steady_error",
    "seeds_to_tell",
    "beyond_quarter",
    "state",
    "xi_inf_without",
)
ERROR_RATE = 0.05  # of either verdict
COVERAGE = 0.9  # least part of the window in which xi must be defined: what is left out is not left out at random
SAMPLES = 5
POWER = 0.8
BAND = 0.05  # least relative width to either side of xi_inf that counts as having reached it


def steady_state(
    xi: xr.DataArray,
    without: xr.DataArray,
    side: int | None = None,
    beyond_half: xr.DataArray | bool = False,
    waves: xr.DataArray | bool = False,
    window: float = 0.5,
    tolerance: float = 0.1,
    seed_dim: str = "seed",
) -> xr.Dataset:
    """Whether xi(t) is steady over the last part of a run, at which length, and since when.

    The test is one of equivalence (two one-sided tests, Schuirmann, J. Pharmacokinet. Biopharm. 15, 657 (1987)). A
    straight line is fitted to xi against t over the last ``window`` of the run; ``drift`` is the line's change across
    that window, divided by its mean ``xi_inf``. With intervals of the drift over seeds (jackknife of the fit, Student's
    t with seeds - 1 degrees of freedom):

    - ``steady``: the 90 % interval lies within +- ``tolerance``. xi may drift, but by no more than that;
    - ``not_steady``: otherwise, the 95 % interval excludes 0;
    - ``cannot_tell``: otherwise: neither is shown. More seeds or a longer run would. So it is for one seed, or fewer
      than 5 samples in the window;
    - ``beyond_half``: xi is defined in less than 9/10 of the window, and longer than half of the lattice in most of it;
    - ``waves``: likewise, and in most of it the order is made of waves, which have a wavelength instead;
    - ``not_defined``: it is defined in less than 9/10 of the window otherwise.

    A drift beyond the tolerance is called steady in at most 5 % of cases, and no drift ``not_steady`` in at most 5 %.
    Growth as t^(1/z) drifts by about 0.7/z across the last half: below an exponent of 0.14 it counts as steady at the
    default tolerance. Samples count by the time that they stand for (trapezoidal weights), so linear and logarithmic
    spacing of times give the same average.

    Parameters
    ----------
    xi : over ``time`` (in its coordinate; increasing) and any other dimensions; ring spacings, NaN where not defined.
    without : over ``seed_dim`` too, xi without that seed (``xi_efold_without`` of ``correlation_length``). A seed that
        is NaN at all times is absent. Times at which some other seed decides whether xi is defined do not count.
    side : shorter side of the lattice, in ring spacings.
    beyond_half : over ``time``, whether xi is not defined because it is longer than half of the lattice
        (``xi_efold_reason`` of ``correlation_length`` says so).
    waves : over ``time``, whether the order is made of waves (``waves.waves``).
    window : part of the run, from its end, between 0 and 1; a run lasts from 0 to its last sample.
    tolerance : largest relative drift of a steady xi.

    Returns
    -------
    Dataset over the other dimensions of ``xi``:

    - ``xi_inf``, ``xi_inf_error``: mean over the window and its standard error (jackknife over seeds). Without
      ``steady`` it is that mean and no more. ``xi_inf_without``: over ``seed_dim`` too, without that seed.
    - ``drift``, ``drift_error``: relative change across the window.
    - ``time_to_steady``, ``time_to_steady_error``: since when xi has been where it is in the window: within 5 % of
      xi_inf, or within its largest deviation there if that is more. Interpolated between samples; the first sample
      where xi was never outside, and then an upper bound. NaN where not steady.
    - ``seeds_to_tell``: the number of seeds of the same scatter at which a length without drift would be called steady
      in 8 of 10 cases. Below it ``cannot_tell`` is what to expect. NaN for one seed.
    - ``beyond_quarter``: xi_inf > side / 4, where the size of the lattice enters, or ``beyond_half``. ``state``.

    Raises ValueError for times that do not increase, or a window or tolerance out of range.
    """
    time = check_times(xi)
    if not 0 < window < 1:
        raise ValueError(f"window={window}: must lie between 0 and 1, as a part of the run")
    if not tolerance > 0:
        raise ValueError(f"tolerance={tolerance}: must be > 0, as a relative drift")
    measured = xr.apply_ufunc(
        _steady,
        xi,
        without,
        xr.zeros_like(xi, bool) | beyond_half,
        xr.zeros_like(xi, bool) | waves,
        kwargs={"time": time, "side": side, "window": window, "tolerance": tolerance},
        input_core_dims=[["time"], [seed_dim, "time"], ["time"], ["time"]],
        output_core_dims=[[]] * (len(NAMES) - 1) + [[seed_dim]],
        dask="parallelized",
        output_dtypes=[float] * (len(NAMES) - 3) + [bool, np.int8, float],
        dask_gufunc_kwargs={"allow_rechunk": True},
        keep_attrs=False,
    )
    dataset = xr.Dataset(dict(zip(NAMES, measured, strict=True)))
    return _described(dataset, str(xi.time.attrs.get("units", "")), window, tolerance)


def _described(dataset: xr.Dataset, unit: str, window: float, tolerance: float) -> xr.Dataset:
    spacing = "ring spacings"
    over_seeds = "(jackknife over seeds)"
    for name, attrs in {
        "xi_inf": {"units": spacing, "long_name": f"correlation length, mean over the last {window:.3g} of the run"},
        "xi_inf_error": {"units": spacing, "long_name": f"standard error of that mean {over_seeds}"},
        "drift": {"units": "1", "long_name": "relative change of the correlation length across that window"},
        "drift_error": {"units": "1", "long_name": f"standard error of the relative change {over_seeds}"},
        "time_to_steady": {"units": unit, "long_name": "time at which the correlation length has become steady"},
        "time_to_steady_error": {"units": unit, "long_name": f"standard error of that time {over_seeds}"},
        "seeds_to_tell": {"units": "1", "long_name": "seeds of which a length without drift would be called steady"},
        "beyond_quarter": {"long_name": "the correlation length exceeds a quarter of the lattice"},
        "state": {"long_name": "whether the correlation length is steady", **flags(STATES), "tolerance": tolerance},
        "xi_inf_without": {"units": spacing, "long_name": "that mean, without that seed"},
    }.items():
        dataset[name].attrs = attrs
    return dataset


def _steady(
    xi: np.ndarray,
    without: np.ndarray,
    beyond_half: np.ndarray,
    waves: np.ndarray,
    time: np.ndarray,
    side: int | None,
    window: float,
    tolerance: float,
) -> tuple[np.ndarray, ...]:
    present = present_seeds(without)
    seeds = present.sum(axis=-1)
    in_window = time >= (1 - window) * time[-1]
    inside = np.broadcast_to(in_window, xi.shape)
    decided = np.where(present[..., None], np.isfinite(without), True).all(axis=-2)
    usable = inside & np.isfinite(xi) & decided
    weight = trapezoid_weights(time, inside)
    # One sample in the window stands for all of it.
    weight = np.where(weight.sum(axis=-1, keepdims=True) > 0, weight, inside)
    total = weight.sum(axis=-1)
    longer, waving = (np.where(part, weight, 0.0).sum(axis=-1) > total / 2 for part in (beyond_half, waves))
    weight = np.where(usable, weight, 0.0)
    defined = weight.sum(axis=-1) >= COVERAGE * total

    span = np.ptp(time[in_window])
    mean, drift = _mean_and_drift(xi, weight, time, span)
    # Absent seeds get a value that no error is drawn from.
    without = np.where(present[..., None], without, 1.0)
    mean_without, drift_without = _mean_and_drift(without, weight[..., None, :], time, span)
    error, drift_error = (jackknife_error(part, present) for part in (mean_without, drift_without))

    # Two one-sided tests at the error rate are the interval that leaves it out on either side.
    from_zero, from_tolerance = (student(1 - k * ERROR_RATE, seeds) * drift_error for k in (1, 2))
    state = np.where(np.abs(drift) > from_zero, NOT_STEADY, CANNOT_TELL)
    state = np.where(np.abs(drift) + from_tolerance <= tolerance, STEADY, state)
    state = np.where(np.isfinite(drift_error) & (usable.sum(axis=-1) >= SAMPLES), state, CANNOT_TELL)
    state = np.where(defined, state, np.where(longer, BEYOND_HALF, np.where(waving, WAVES, NOT_DEFINED)))

    to_tell = np.where(defined, _seeds_to_tell(drift_error, seeds, tolerance), np.nan)
    reached = _time_to_reach(xi, mean, usable, time)
    reached_without = _time_to_reach(without, mean_without, np.broadcast_to(usable[..., None, :], without.shape), time)
    reached_error = jackknife_error(reached_without, present)
    known = [np.where(defined, part, np.nan) for part in (mean, error, drift, drift_error)]
    times = [np.where(state == STEADY, part, np.nan) for part in (reached, reached_error)]
    beyond = defined & (mean > FRACTION_OF_SIDE * side) if side is not None else np.zeros(defined.shape, bool)
    each = np.where(defined[..., None] & present, mean_without, np.nan)
    return (*known, *times, to_tell, beyond | (state == BEYOND_HALF), state.astype(np.int8), each)


def _seeds_to_tell(error: np.ndarray, seeds: np.ndarray, tolerance: float) -> np.ndarray:
    """Seeds at which the interval of a drift that is nothing but its error lies within tolerance in 8 of 10 cases."""
    scatter = error * np.sqrt(seeds)
    number = np.where(np.isfinite(scatter), 2.0, np.nan)
    for _ in range(60):  # the quantile falls with the number that it asks for
        quantiles = student(1 - 2 * ERROR_RATE, number) + student(POWER, number)
        number = np.sqrt(number * np.maximum(np.square(quantiles * scatter / tolerance), 2.0))
    return np.ceil(number)


def _mean_and_drift(xi: np.ndarray, weight: np.ndarray, time: np.ndarray, span: float) -> tuple[np.ndarray, np.ndarray]:
    """Weighted mean over the window, and the change of the straight line across it relative to that mean."""
    values = np.where(weight > 0, xi, 0.0)
    total = weight.sum(axis=-1, keepdims=True)
    weight = weight / np.where(total > 0, total, 1.0)
    mean = (weight * values).sum(axis=-1)
    offset = time - (weight * time).sum(axis=-1, keepdims=True)
    variance = (weight * offset**2).sum(axis=-1)
    slope = (weight * offset * values).sum(axis=-1) / np.where(variance > 0, variance, 1.0)
    return mean, slope * span / np.where(mean > 0, mean, 1.0)


def _time_to_reach(xi: np.ndarray, level: np.ndarray, usable: np.ndarray, time: np.ndarray) -> np.ndarray:
    """Time of the last entry into the band round ``level`` that holds xi in the window."""
    deviation = xi - level[..., None]
    band = np.maximum(BAND * level, np.abs(np.where(usable, deviation, 0.0)).max(axis=-1))
    # Where xi is not defined in the window, the rest of the window speaks for it.
    passed = np.logical_or.accumulate(usable, axis=-1)
    outside = ~passed & ~(np.abs(deviation) <= band[..., None])
    never = ~outside.any(axis=-1)
    last = np.where(never, 0, len(time) - 1 - np.argmax(outside[..., ::-1], axis=-1))
    after = np.minimum(last + 1, len(time) - 1)
    here, there = (np.take_along_axis(deviation, k[..., None], -1)[..., 0] for k in (last, after))
    here, there = np.abs(here), there * np.sign(here)
    known = np.isfinite(here) & (here > there)
    crossing = np.where(known, (here - band) / np.where(known, here - there, 1.0), 1.0)  # 1 after a time without xi
    return np.where(never, time[0], time[last] + np.clip(crossing, 0, 1) * (time[after] - time[last]))
