"""What is said of C(d) beside its modulus: of each seed alone, its error, of the order in anti-phase, of both orders.

Owns C against distance as it is kept in a summary; lengths are drawn from it in ``correlation_length``.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import xarray as xr

from isophase.analysis.statistics import jackknife_error

LONG_NAMES = {
    "correlation_of_seed": "modulus of the phase correlation of that seed",
    "correlation_error": "standard error of the modulus of the phase correlation (jackknife over seeds)",
    "staggered_correlation": "staggered phase correlation, (-1)^d Re C",
    "staggered_correlation_error": "standard error of the staggered phase correlation (jackknife over seeds)",
    "doubled_correlation": "modulus of the correlation of twice the phases",
    "doubled_correlation_error": "standard error of that modulus (jackknife over seeds)",
}
NAMES = dict.fromkeys(LONG_NAMES, "1")


def profiles(correlation: xr.Dataset, doubled: xr.Dataset, along: str) -> xr.Dataset:
    """C against distance of each seed, with errors, staggered, and of twice the phases.

    As in :func:`correlation_length.correlation_length` seeds are pooled by their pairs of rings, and axes averaged
    after that. ``staggered_correlation`` is (-1)^d Re C(d): 1 everywhere in anti-phase, where Re C alternates.
    Of twice the phases opposite ones are the same, so ``doubled_correlation`` is that of both orders, and walls between
    them do not lower it.

    Parameters
    ----------
    correlation, doubled : of :func:`correlation.phase_correlation` (or :func:`graph_correlation.graph_correlation`), of
        the phases and of twice the phases, over ``seed``.
    along : ``axes``, ``col``, or ``graph``, whose distances are hops.

    Returns
    -------
    Dataset over the other dimensions: ``correlation_of_seed`` over ``seed`` and ``distance``, and over ``distance``
    ``correlation_error``, ``staggered_correlation``, ``doubled_correlation`` and their ``_error``; NaN without pairs,
    errors NaN for one seed.
    """
    names = {"graph": ["radial"], "col": ["col"]}.get(along, ["row", "col"])
    sizes = {"row": correlation.attrs["rows"], "col": correlation.attrs["cols"]}
    if along == "axes":
        names = [name for name in names if sizes[name] > 1] or ["col"]
    plain, twice = (
        [(part["radial" if name == "radial" else f"along_{name}"], part[f"pairs_{name}"]) for name in names]
        for part in (correlation, doubled)
    )
    sign = xr.DataArray((-1.0) ** np.arange(correlation.sizes["distance"]), dims="distance")
    modulus, staggered, of_both = (
        _pooled(plain, np.abs),
        _pooled(plain, lambda C: sign * C.real),
        _pooled(twice, np.abs),
    )
    each = sum(np.abs(values) for values, _ in plain) / len(plain)
    found = xr.Dataset({
        "correlation_of_seed": each,
        "correlation_error": modulus[1],
        "staggered_correlation": staggered[0],
        "staggered_correlation_error": staggered[1],
        "doubled_correlation": of_both[0],
        "doubled_correlation_error": of_both[1],
    })  # fmt: skip
    for name, long_name in LONG_NAMES.items():
        found[name].attrs = {"units": "1", "long_name": long_name}
    return found.drop_vars("radial_distance", errors="ignore")


def _pooled(
    axes: list[tuple[xr.DataArray, xr.DataArray]], of: Callable[[Any], Any]
) -> tuple[xr.DataArray, xr.DataArray]:
    """A function of C of all seeds, averaged over axes, and its jackknife error."""
    whole, without = [], []
    for values, pairs in axes:
        sums = (values * pairs).where(pairs > 0, 0)
        total, number = sums.sum("seed"), pairs.sum("seed")
        whole.append(of(total / number.where(number > 0)))
        others = number - pairs
        without.append(of((total - sums) / others.where(others > 0)))
    estimate, each = (sum(parts) / len(parts) for parts in (whole, without))
    present = sum(pairs for _, pairs in axes) > 0
    return estimate, xr.apply_ufunc(jackknife_error, each, present, input_core_dims=[["seed"], ["seed"]])
