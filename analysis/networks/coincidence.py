"""Does learning coincide with the bifurcation? Over seeds: how often each occurs, their difference and correlation.

Takes iterations, NaN for never; finding them is the matter of ``bifurcations`` and of the learning phases.
"""

import numpy as np
import scipy.special
import scipy.stats
import xarray as xr

from isophase.analysis.statistics import bootstrap, flags, wilson

OUTCOMES = ("both", "bifurcation_only", "transition_only", "neither")
STATES = ("measured", "cannot_tell")
MEASURED, CANNOT_TELL = range(2)
SHARE = {"long_name": "share of the seeds in which it happened", "units": "1"}


def coincidence(
    bifurcation: xr.DataArray, transition: xr.DataArray, confidence: float = 0.95, seed: int = 0
) -> xr.Dataset:
    """Iteration of the bifurcation against that of the transition, over ``seed``; NaN where one did not happen.

    - The fraction of seeds with the bifurcation, with the transition, and with both, with Wilson's interval.
    - Of seeds with both: the median of bifurcation minus transition with its bootstrap interval, bias-corrected and
      accelerated (percentile where that is not defined, as with many ties; Efron, J. Am. Stat. Assoc. 82, 171 (1987)),
      and Spearman's rank correlation with the percentile bootstrap over seeds.
    - ``difference_state`` and ``rank_state`` are ``cannot_tell``, and the intervals NaN, with too few seeds: of n seeds
      even the range holds the median with probability 1 - 2^(1 - n) only, which takes 6 seeds for 95 %; also where the
      ranks of one do not vary. The correlation of 6 seeds is hardly ever distinct from zero: see its interval.
    - No seed is dropped: ``outcome`` says of each what happened.

    Returns a Dataset: over ``seed`` ``outcome``, ``difference``, ``bifurcation``, ``transition``; over ``event``
    (bifurcation, transition, both) ``count``, ``fraction``, ``fraction_low``, ``fraction_high``; ``number`` of seeds;
    ``median_difference``, ``rank_correlation``, each with ``_low``, ``_high``; the states. Raises ValueError for
    seeds that differ, or a confidence that is none.
    """
    if bifurcation.dims != ("seed",) or transition.dims != ("seed",) or bifurcation.shape != transition.shape:
        raise ValueError(
            f"bifurcation {dict(bifurcation.sizes)} and transition {dict(transition.sizes)}: must be over the same seed"
        )
    if "seed" in bifurcation.coords and "seed" in transition.coords and not bifurcation.seed.equals(transition.seed):
        raise ValueError(f"bifurcation has seeds {bifurcation.seed.values}, transition {transition.seed.values}")
    if not 0 < confidence < 1:
        raise ValueError(f"confidence={confidence}: must lie between 0 and 1")
    first, second = bifurcation.values.astype(float), transition.values.astype(float)
    has = np.stack([np.isfinite(first), np.isfinite(second)])
    both = has.all(axis=0)
    outcome = np.select([both, has[0], has[1]], [0, 1, 2], 3).astype(np.int8)
    number = len(first)
    counts = np.array([has[0].sum(), has[1].sum(), both.sum()])
    z = float(scipy.special.ndtri((1 + confidence) / 2))
    intervals = np.array([wilson(int(count), number, z) for count in counts])
    difference = np.where(both, first - second, np.nan)
    fewest = int(np.ceil(1 - np.log2(1 - confidence)))
    median = _median(difference[both], fewest, confidence, seed)
    rank = _rank(first[both], second[both], fewest, confidence, seed)

    unit = transition.attrs.get("units", "iterations")
    boot = f"{confidence:.0%} confidence, bootstrap over seeds"
    dataset = xr.Dataset(
        {
            "outcome": (("seed",), outcome, {"long_name": "which of the two happened", **flags(OUTCOMES)}),
            "bifurcation": (("seed",), first, {"long_name": "bifurcation, NaN for never", "units": unit}),
            "transition": (("seed",), second, {"long_name": "transition, NaN for never", "units": unit}),
            "difference": (("seed",), difference, {"long_name": "bifurcation minus transition", "units": unit}),
            "count": (("event",), counts, {"long_name": "seeds in which it happened"}),
            "fraction": (("event",), counts / number if number else np.full(3, np.nan), SHARE),
            "fraction_low": (("event",), intervals[:, 0], {"long_name": f"Wilson, {confidence:.0%}", "units": "1"}),
            "fraction_high": (("event",), intervals[:, 1], {"long_name": f"Wilson, {confidence:.0%}", "units": "1"}),
            "number": ((), number, {"long_name": "seeds"}),
        },
        coords={"event": ["bifurcation", "transition", "both"]},
    )
    for name, values, label in (
        ("median_difference", median, {"long_name": "median of bifurcation minus transition", "units": unit}),
        ("rank_correlation", rank, {"long_name": "Spearman's rank correlation", "units": "1"}),
    ):
        for suffix, value in zip(("", "_low", "_high"), values, strict=True):
            dataset[name + suffix] = ((), value, label if not suffix else {**label, "interval": boot})
        state = MEASURED if np.isfinite(values).all() else CANNOT_TELL
        state_name = name.split("_")[-1] if name.startswith("median") else "rank"
        dataset[f"{state_name}_state"] = ((), np.int8(state), {"long_name": f"of {name}", **flags(STATES)})
    if "seed" in bifurcation.coords:
        dataset = dataset.assign_coords(seed=bifurcation.seed)
    return dataset


def _median(difference: np.ndarray, fewest: int, confidence: float, seed: int) -> tuple[float, float, float]:
    if len(difference) == 0:
        return np.nan, np.nan, np.nan
    middle = float(np.median(difference))
    if len(difference) < fewest:
        return middle, np.nan, np.nan
    if np.ptp(difference) == 0:
        return middle, middle, middle
    low, high = bootstrap((difference,), np.median, confidence, seed, "BCa", vectorized=True)
    if not np.isfinite([low, high]).all():
        low, high = bootstrap((difference,), np.median, confidence, seed, "percentile", vectorized=True)
    return middle, low, high


def _rank(first: np.ndarray, second: np.ndarray, fewest: int, confidence: float, seed: int) -> tuple[float, ...]:
    if len(first) < 3 or np.ptp(first) == 0 or np.ptp(second) == 0:
        return np.nan, np.nan, np.nan
    rank = float(_spearman(first, second))
    if len(first) < fewest:
        return rank, np.nan, np.nan
    return rank, *bootstrap((first, second), _spearman, confidence, seed, "percentile", vectorized=True, paired=True)


def _spearman(x: np.ndarray, y: np.ndarray, axis: int = -1) -> np.ndarray:
    """Rank correlation along an axis; 0 where the ranks of one do not vary, as in a resample of one seed."""
    ranks = [scipy.stats.rankdata(values, axis=axis) for values in (x, y)]
    ranks = [values - values.mean(axis=axis, keepdims=True) for values in ranks]
    norm = np.sqrt((ranks[0] ** 2).sum(axis=axis) * (ranks[1] ** 2).sum(axis=axis))
    return (ranks[0] * ranks[1]).sum(axis=axis) / np.where(norm > 0, norm, 1.0)
