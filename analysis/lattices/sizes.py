"""Lattices of a store that differ in their size alone: their steady lengths together, and the limit of large ones.

Owns which groups are one family; the extrapolation itself is ``finite_size``'s.
"""

import json
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import xarray as xr

from isophase.analysis.lattices.finite_size import finite_size
from isophase.analysis.schemes import grid_axes, parameters, schemes

FAMILIES = "finite_size/"  # before a family's name: where a store keeps its extrapolation


def over_sizes(summaries: Mapping[str, xr.Dataset]) -> dict[str, xr.Dataset]:
    """Steady lengths of lattices that differ in their size alone, with the extrapolation to an infinite one.

    Small worlds are left out: xi + slope / L is a law of lattices, whose diameter grows as the number of their rings.

    Parameters
    ----------
    summaries : summary of every group, by its name; ``tiling``, ``boundary`` and ``cols`` in ``attrs``.

    Returns
    -------
    By ``finite_size/`` and the family's name (the tiling, with ``-open`` on open boundaries), for families of more
    than one size: ``xi_inf`` and ``xi_inf_error`` over ``size`` and the grid axes of the groups, and all that
    :func:`finite_size.finite_size` gives, its ``state`` as ``finite_size_state``. ``attrs`` are those of a summary.
    """
    families: dict[str, dict[int, xr.Dataset]] = {}
    for summary in summaries.values():
        families.setdefault(family_name(summary), {})[int(summary.attrs["cols"])] = summary
    return {f"{FAMILIES}{name}": _extrapolated(parts) for name, parts in families.items() if len(parts) > 1}


def family_name(summary: xr.Dataset) -> str:
    """The tiling, and whether its boundaries are open: what lattices of one family have in common."""
    return f"{summary.attrs['tiling']}{'-open' if summary.attrs['boundary'] == 'open' else ''}"


def _extrapolated(parts: Mapping[int, xr.Dataset]) -> xr.Dataset:
    lengths = [_steady_lengths(summary).expand_dims(size=[size]) for size, summary in sorted(parts.items())]
    joined = xr.concat(lengths, "size", join="outer", coords="minimal", compat="override", combine_attrs="override")
    attrs = _attrs(list(parts.values()))
    order = {axis["name"]: axis["labels"] for axis in json.loads(attrs["axes"]) if axis["name"] in joined.dims}
    joined = joined.reindex(order)  # an outer join sorts labels that differ
    joined["size"].attrs.update(units="ring spacings", long_name="side of the lattice")
    seeds = joined.get("n_seeds")
    found = finite_size(joined["xi_inf"], joined["xi_inf_error"], seeds=seeds).rename(state="finite_size_state")
    joined = joined.drop_vars("n_seeds", errors="ignore")
    return joined.merge(found).assign_attrs(attrs)


def _steady_lengths(summary: xr.Dataset) -> xr.Dataset:
    """The headline length and its error along the grid axes; NaN where the rings are those of a small world."""
    names = [name for name in ("xi_inf", "xi_inf_error", "n_seeds") if name in summary]
    lengths = summary[names].reset_coords(drop=True).astype(float)
    dims = grid_axes(summary)
    for _, part in schemes(summary):
        if parameters(part).get("graph") == "small_world":
            at = {dim: part[dim].item() for dim in dims}
            for variable in lengths.values():
                variable.loc[at] = np.nan
    return lengths


def _attrs(summaries: list[xr.Dataset]) -> dict[str, Any]:
    """Kind, axes and parameters of all groups together: zipped axes are cut by size, so each has labels of its own."""
    fixed = parameters(summaries[0])
    fixed.pop("size", None)
    axes = [json.loads(summary.attrs["axes"]) for summary in summaries]
    return {
        "kind": summaries[0].attrs["kind"],
        "parameters": json.dumps(fixed),
        "axes": json.dumps([_union(same) for same in zip(*axes, strict=True)]),
    }


def _union(axes: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """One axis with the labels of all, each with the values that it has where it comes first; size is no longer one."""
    labels: list[Any] = []
    values: dict[str, list[Any]] = {}
    name = ""
    for axis in axes:
        name = axis["name"]
        new = [number for number, label in enumerate(axis["labels"]) if label not in labels]
        labels += [axis["labels"][number] for number in new]
        for parameter, column in axis["values"].items():
            if parameter != "size":
                values.setdefault(parameter, []).extend(column[number] for number in new)
    return {"name": name, "labels": labels, "values": values}
