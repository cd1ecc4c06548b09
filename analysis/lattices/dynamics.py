"""The summary of one scheme of a ``dynamics`` sweep: is its lattice frozen, periodic or chaotic?

Autocorrelation of the phases, periods of the rings, and the Lyapunov exponent from twins, over seeds.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import xarray as xr

from isophase.analysis.base import Reduction
from isophase.analysis.statistics import flags, is_flag, jackknife_error, student

STATES = ("cannot_tell", "frozen", "periodic", "chaotic")
CANNOT_TELL, FROZEN, PERIODIC, CHAOTIC = range(len(STATES))

SETTLING = 5.0  # tau after a kick; phases nearer to it are of intervals that began before
SATURATION = 0.05  # rad; once one ring is so far from its twin, differences are no longer small
ALIGNED = 1e3  # growth after which a difference points where differences grow fastest
LEAST_FIT = 10.0  # growth that has to be left for a fit beyond ``ALIGNED``
LEAST_SAMPLES = 10
FLOOR = 1e-14  # rad; below the rounding of phases, so that logarithms exist

GREW, STAYED = 100.0, 10.0  # growth of a difference above and below which it is told to grow or not
RECUR = 0.95  # share of rings that have to repeat themselves in a frozen or periodic lattice
KEPT = 0.95  # autocorrelation that a frozen one keeps
ALIKE = 0.01  # relative difference of periods, and of intervals of a ring

PERIOD_EDGES = np.geomspace(0.5, 64.0, 488)  # tau; bins of 1 %

SEPARATIONS = ("separation", "separation_typical", "separation_largest")
EXPONENT = "Lyapunov exponent, of the root mean square difference of twins"
MEANS = {  # of the seeds' own values, with their standard errors
    "lyapunov_exponent": ("1/tau", EXPONENT),
    "lyapunov_exponent_typical": ("1/tau", "Lyapunov exponent, of the geometric mean of the differences of twins"),
    "fit_start": ("tau", "time after the kick from which the exponent is fitted"),
    "fit_end": ("tau", "time after the kick up to which the exponent is fitted"),
    "autocorrelation_last": ("1", "autocorrelation of the phases at the longest lag"),
    "periodic_fraction": ("1", "share of the rings that repeat themselves within 8 intervals, to 1e-3"),
    "regular_fraction": ("1", "share of the rings whose intervals have a standard deviation below 1 %"),
    "unknown_fraction": ("1", "share of the rings of which it is not known whether they repeat themselves"),
    "period_mean": ("tau", "mean over rings of the period"),
    "period_spread_over_rings": ("1", "standard deviation over rings of the period, relative to its mean"),
    "period_common": ("tau", "period that most rings have to 1 %"),
    "period_common_fraction": ("1", "share of the rings within 1 % of the commonest period"),
}
OTHERS = {
    "lyapunov_exponent_low": ("1/tau", "lower end of the 95 % interval of the Lyapunov exponent"),
    "lyapunov_exponent_high": ("1/tau", "upper end of the 95 % interval of the Lyapunov exponent"),
    "growth": ("1", "growth of the difference of twins while it is small, geometric mean"),
    "growth_largest": ("1", "growth of the difference of twins while it is small, largest"),
    "autocorrelation_time": ("tau", "lag at which the autocorrelation falls below 1/e"),
    "autocorrelation_time_error": ("tau", "standard error over seeds of the lag at which it falls below 1/e"),
    "autocorrelation_time_lower_bound": ("tau", "longest lag, where the autocorrelation is above 1/e up to there"),
    "n_grew": ("1", "seeds in which the difference of twins grew by more than 100, geometric mean over their twins"),
    "n_stayed": ("1", "seeds in which the difference of no twin grew by 10"),
    "n_seeds": ("1", "seeds that are done"),
}
CURVES = {
    "autocorrelation": ("lag", "1", "autocorrelation of the phases, mean over seeds"),
    "autocorrelation_error": ("lag", "1", "standard error over seeds of the autocorrelation of the phases"),
    "separation": ("lag", "rad", "root mean square difference of twins, geometric mean over twins and seeds"),
    "separation_low": ("lag", "rad", "root mean square difference of twins, least of all twins"),
    "separation_high": ("lag", "rad", "root mean square difference of twins, largest of all twins"),
    "separation_typical": ("lag", "rad", "geometric mean of the differences of twins over rings, twins and seeds"),
    "period_share": ("period_bin", "1", "share of the rings with a period in each bin of 1 %, mean over seeds"),
}


class Fit(NamedTuple):
    """The exponents of one twin, the lags that they are fitted to, and the growth while differences are small."""

    exponent: float
    typical: float
    start: float
    end: float
    growth: float


def summarise(dataset: xr.Dataset) -> xr.Dataset:
    """What the seeds of one scheme say together.

    Parameters
    ----------
    dataset : a group of a ``dynamics`` store after selecting one position on each of its axes but ``seed``: the
        variables that the kind records. Seeds that are not done are left out.

    Returns
    -------
    Dataset, in memory; everything in ``MEANS`` with ``_error``, the standard error over seeds (NaN for one), and:

    - ``autocorrelation`` (lag) with its error; ``autocorrelation_time``: where the mean falls below 1/e, with the
      jackknife error over seeds; ``_lower_bound`` where it never does.
    - ``lyapunov_exponent``: :func:`fit` of every twin, mean over the twins of a seed, then over seeds; ``_low``,
      ``_high``: the 95 % interval of Student's t. ``_typical``: the same of the geometric mean over rings.
    - ``period_share`` (period_bin).
    - ``dynamics_state``: ``chaotic``: the interval of the exponent is above 0, and differences grew by more than 100.
      ``frozen`` or ``periodic``: no difference grew by 10, and 95 % of the rings repeat themselves; frozen where the
      autocorrelation stays above 0.95 too: the pattern of phases keeps its shape. Else ``cannot_tell``, as where
      loops switch at the scale of the delay.
    """
    dataset = dataset.load(scheduler="sync")
    if "seed" not in dataset["period"].dims:
        dataset = dataset.expand_dims("seed")
    seeds = dataset.isel(seed=np.flatnonzero(is_flag(dataset["status"], "done").transpose("seed").values))
    number, lag = seeds.sizes["seed"], seeds["lag"].values
    found: dict[str, np.ndarray | float] = {"n_seeds": number}

    apart = {name: seeds[name].transpose("seed", "twin", "lag").values.reshape(-1, len(lag)) for name in SEPARATIONS}
    fits = [fit(lag, *curves) for curves in zip(*apart.values(), strict=True)]
    twins = np.array(fits, float).reshape(number, seeds.sizes["twin"], len(Fit._fields))
    exponent, typical, start, end = (_mean(twins[..., i], axis=1) for i in range(4))
    growth = twins[..., 4]
    of_seed = np.exp(_mean(np.log(growth), axis=1))
    found["n_grew"] = int((of_seed > GREW).sum())
    found["n_stayed"] = int((growth < STAYED).all(axis=1).sum()) if growth.size else 0
    found["growth"] = float(np.exp(_mean(np.log(growth).ravel())))
    found["growth_largest"] = float(np.max(growth, initial=-np.inf, where=np.isfinite(growth)))
    if not np.isfinite(growth).any():
        found["growth_largest"] = np.nan
    with np.errstate(divide="ignore"):
        logarithm = {name: np.log(values) for name, values in apart.items()}
    for name in ("separation", "separation_typical"):
        found[name] = np.exp(_mean(logarithm[name], axis=0))
    found["separation_low"], found["separation_high"] = _ends(apart["separation"])

    correlation = seeds["autocorrelation"].transpose("seed", "lag").values
    found["autocorrelation"], found["autocorrelation_error"] = _mean(correlation, axis=0), _error(correlation)
    found |= _autocorrelation_time(lag, correlation)

    rings = [_of_rings(seeds.isel(seed=i)) for i in range(number)]
    shares = np.array([_period_share(seeds["period"].isel(seed=i).values) for i in range(number)])
    found["period_share"] = _mean(shares.reshape(number, len(PERIOD_EDGES) - 1), axis=0)
    of_seeds = {
        "lyapunov_exponent": exponent, "lyapunov_exponent_typical": typical, "fit_start": start, "fit_end": end,
        "autocorrelation_last": correlation[:, -1],
        **{name: np.array([ring[name] for ring in rings], float) for name in (rings[0] if rings else ())},
    }  # fmt: skip
    for name in MEANS:
        values = of_seeds.get(name, np.empty(0))
        found[name], found[f"{name}_error"] = float(_mean(values)), float(_error(values))
    half = float(student(0.95, np.isfinite(exponent).sum())) * float(found["lyapunov_exponent_error"])
    found["lyapunov_exponent_low"] = found["lyapunov_exponent"] - half
    found["lyapunov_exponent_high"] = found["lyapunov_exponent"] + half
    return _named(found, lag, CANNOT_TELL if bool(seeds["delay_limited"].any()) else _state(found))


def fit(lag: np.ndarray, separation: np.ndarray, typical: np.ndarray, largest: np.ndarray) -> Fit:
    """The slopes of ``ln`` of two measures of the difference of twins while it is small; all are [lag].

    Least squares from where the first has grown by 1e3 since it settled, 5 tau after the kick, up to where the largest
    difference of a ring reaches 0.05 rad. Where it does not grow by 1e4 until then, from a third of these lags on. NaN
    where fewer than 10 samples are left.
    """
    over = np.flatnonzero(~(largest < SATURATION) & (lag >= SETTLING))
    begin, end = int(np.searchsorted(lag, SETTLING)), int(over[0]) if over.size else len(lag)
    if end - begin < LEAST_SAMPLES:
        return Fit(np.nan, np.nan, np.nan, np.nan, np.nan)
    logarithm = np.log(np.maximum(separation, FLOOR))
    grown = logarithm[begin:end] - logarithm[begin]
    if grown.max() >= np.log(ALIGNED * LEAST_FIT):
        start = begin + int(np.argmax(grown >= np.log(ALIGNED)))
    else:
        start = begin + (end - begin) // 3
    if end - start < LEAST_SAMPLES:
        return Fit(np.nan, np.nan, np.nan, np.nan, float(np.exp(grown.max())))
    fitted = slice(start, end)
    exponent, slope = (
        float(np.polyfit(lag[fitted], values[fitted], 1)[0]) for values in (logarithm, np.log(np.fmax(typical, FLOOR)))
    )
    return Fit(exponent, slope, float(lag[start]), float(lag[end - 1]), float(np.exp(grown.max())))


def commonest(periods: np.ndarray) -> tuple[float, float]:
    """The period that the largest share of rings has to within 1 %, and that share; NaN, NaN for no ring."""
    ordered = np.sort(periods[np.isfinite(periods)])
    if not ordered.size:
        return np.nan, np.nan
    number = np.searchsorted(ordered, ordered * (1 + ALIKE), "right") - np.searchsorted(ordered, ordered * (1 - ALIKE))
    most = np.flatnonzero(number == number.max())  # the middle one of those that are as good
    return float(ordered[most[len(most) // 2]]), float(number.max() / ordered.size)


def names(template: xr.Dataset) -> Mapping[str, str]:
    """Units of every variable and dimension that a summary adds to what a point records."""
    added = {name: units for name, (units, _) in (MEANS | OTHERS).items()}
    added |= {f"{name}_error": units for name, (units, _) in MEANS.items()}
    added |= {name: units for name, (_, units, _) in CURVES.items()}
    added |= {"period_bin": "tau", "dynamics_state": ""}
    return {name: units for name, units in added.items() if name not in template.variables}


REDUCTION = Reduction(summarise=summarise, names=names)


def _named(found: Mapping[str, np.ndarray | float], lag: np.ndarray, state: int) -> xr.Dataset:
    bins = np.sqrt(PERIOD_EDGES[1:] * PERIOD_EDGES[:-1])
    summary = xr.Dataset(
        coords={
            "lag": ("lag", lag, {"units": "tau", "long_name": "lag"}),
            "period_bin": ("period_bin", bins, {"units": "tau", "long_name": "period, middle of the bin"}),
        }
    )
    for name, (dim, units, long_name) in CURVES.items():
        summary[name] = ((dim,), found[name], {"units": units, "long_name": long_name})
    for name, (units, long_name) in (MEANS | OTHERS).items():
        summary[name] = ((), found[name], {"units": units, "long_name": long_name})
    for name, (units, long_name) in MEANS.items():
        about = {"units": units, "long_name": f"standard error over seeds of the {long_name}"}
        summary[f"{name}_error"] = ((), found[f"{name}_error"], about)
    summary["dynamics_state"] = ((), np.int8(state), {"long_name": "what the lattice does in the end", **flags(STATES)})
    return summary


def _state(found: Mapping[str, np.ndarray | float]) -> int:
    if found["lyapunov_exponent_low"] > 0 and found["growth"] > GREW:
        return CHAOTIC
    if found["growth_largest"] < STAYED and found["periodic_fraction"] >= RECUR:
        return FROZEN if found["autocorrelation_last"] >= KEPT else PERIODIC
    return CANNOT_TELL


def _of_rings(seed: xr.Dataset) -> dict[str, float]:
    period, spread = (seed[name].values.ravel() for name in ("period", "period_spread"))
    recurs, known = seed["recurrence"].values.ravel(), np.isfinite(period)
    told = recurs >= 0
    middle, share = commonest(period)
    mean = float(_mean(period))
    with np.errstate(invalid="ignore"):
        regular = spread[np.isfinite(spread)] < ALIKE * period[np.isfinite(spread)]
    return {
        "periodic_fraction": float(_mean(np.where(told, recurs > 0, np.nan))),
        "regular_fraction": float(regular.mean()) if regular.size else np.nan,
        "unknown_fraction": 1 - float(told.mean()),
        "period_mean": mean,
        "period_spread_over_rings": float(period[known].std() / mean) if known.any() else np.nan,
        "period_common": middle,
        "period_common_fraction": share,
    }


def _period_share(period: np.ndarray) -> np.ndarray:
    known = period[np.isfinite(period)]
    count = np.histogram(known, PERIOD_EDGES)[0]
    return count / known.size if known.size else np.full(count.shape, np.nan)


def _autocorrelation_time(lag: np.ndarray, correlation: np.ndarray) -> dict[str, float]:
    """Where the mean over seeds falls below 1/e, interpolated; its jackknife error; the bound where it does not."""
    seeds = len(correlation)
    mean = _mean(correlation, axis=0)
    without = np.array([_crossing(lag, _mean(np.delete(correlation, i, axis=0), axis=0)) for i in range(seeds)])
    time = _crossing(lag, mean)
    bound = np.isnan(time) and np.isfinite(mean).any() and np.nanmin(mean) > np.exp(-1)
    return {
        "autocorrelation_time": time,
        "autocorrelation_time_error": float(jackknife_error(without, np.ones(seeds, bool))) if seeds > 1 else np.nan,
        "autocorrelation_time_lower_bound": float(lag[-1]) if bound else np.nan,
    }


def _crossing(lag: np.ndarray, curve: np.ndarray) -> float:
    below = np.flatnonzero(curve < np.exp(-1))
    if not below.size or below[0] == 0:
        return np.nan
    after = below[0]
    step = (curve[after - 1] - np.exp(-1)) / (curve[after - 1] - curve[after])
    return float(lag[after - 1] + step * (lag[after] - lag[after - 1]))


def _mean(values: np.ndarray, axis: int | None = None) -> np.ndarray:
    """Mean of what is finite, NaN of nothing."""
    known = np.isfinite(values)
    number = known.sum(axis=axis)
    total = np.where(known, values, 0.0).sum(axis=axis)
    return np.divide(total, number, out=np.full(np.shape(number), np.nan), where=number > 0)


def _error(values: np.ndarray) -> np.ndarray:
    """Standard error of the mean over seeds [seed, ...], NaN for one."""
    number = np.isfinite(values).sum(axis=0)
    square = np.square(values - _mean(values, axis=0))
    total = np.where(np.isfinite(square), square, 0.0).sum(axis=0)
    return np.sqrt(np.divide(total, number * (number - 1.0), out=np.full(np.shape(number), np.nan), where=number > 1))


def _ends(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Least and largest of what is finite [lag], NaN of nothing."""
    known = np.isfinite(values)
    low = np.min(values, axis=0, initial=np.inf, where=known)
    high = np.max(values, axis=0, initial=-np.inf, where=known)
    some = known.any(axis=0)
    return np.where(some, low, np.nan), np.where(some, high, np.nan)
