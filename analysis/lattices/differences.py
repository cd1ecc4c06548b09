"""Differences between schemes that follow the same networks and initial states, seed by seed.

Owns the paired difference of steady lengths; the kind says which parameters leave a seed's realisation as it is.
"""

import json
import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import xarray as xr

from isophase.analysis.schemes import grid_axes, schemes
from isophase.analysis.statistics import jackknife_error, student

FOLLOWED = {"delay", "dt", "v_high", "v_low", "slot"}
"""Parameters of a lattice under which one realisation is followed: kind ``lattice`` leaves them out of its streams."""


class Difference(NamedTuple):
    """Of the steady lengths of two schemes, in ring spacings.

    scheme, reference : their labels. value : xi_inf less that of the reference. error : its standard error, from what
    each seed left out does to the difference; unpaired : what it would be of independent seeds; low, high : its 95 %
    interval, Student's t with seeds - 1 degrees of freedom.
    """

    scheme: str
    reference: str
    value: float
    error: float
    unpaired: float
    low: float
    high: float


def paired_axes(summary: xr.Dataset) -> list[str]:
    """Grid axes along which nothing moves but what leaves a seed's network and initial state as they are."""
    moved = {axis["name"]: set(axis["values"]) for axis in json.loads(summary.attrs.get("axes", "[]"))}
    return [dim for dim in grid_axes(summary) if moved[dim] <= FOLLOWED and summary.sizes[dim] > 1]


def paired_differences(summary: xr.Dataset) -> Iterator[Difference]:
    """xi_inf of every scheme less that at the first position of each of its paired axes, where both are defined.

    A seed is left out of both at once (delete-one jackknife): what both owe to its network and initial state cancels.
    Schemes of which some seed is missing in one alone are not compared.
    """
    found = list(schemes(summary))
    for axis in paired_axes(summary):
        rest = [dim for dim in grid_axes(summary) if dim != axis]
        first = summary[axis].values[0]
        references = {tuple(p[dim].item() for dim in rest): (label, p) for label, p in found if p[axis].item() == first}
        for label, part in found:
            reference = references.get(tuple(part[dim].item() for dim in rest))
            if part[axis].item() != first and reference is not None:
                difference = _difference(label, part, *reference)
                if not math.isnan(difference.value):
                    yield difference


def _difference(label: str, part: xr.Dataset, reference: str, other: xr.Dataset) -> Difference:
    value = float(part["xi_inf"] - other["xi_inf"])
    here, there = (np.asarray(p["xi_inf_without"].transpose("seed"), float) for p in (part, other))
    present = np.isfinite(here)
    if not np.array_equal(present, np.isfinite(there)):
        return Difference(label, reference, *[math.nan] * 5)
    error = float(jackknife_error(here - there, present))
    unpaired = math.hypot(float(part["xi_inf_error"]), float(other["xi_inf_error"]))
    reach = float(student(0.95, present.sum())) * error
    return Difference(label, reference, value, error, unpaired, value - reach, value + reach)
