"""The schemes of a group of a store, or of its summary: positions on its grid axes, with labels and parameters."""

import itertools
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import xarray as xr


def schemes(dataset: xr.Dataset) -> Iterator[tuple[str, xr.Dataset]]:
    """Every scheme of a group or of its summary that was reduced: its label, and the dataset at its position.

    A scheme is a combination of positions on the grid axes, seeds apart. The dataset there says in
    ``attrs["parameters"]`` the parameters of that scheme. No two labels are equal.
    """
    dims = grid_axes(dataset)
    positions = itertools.product(*(range(dataset.sizes[dim]) for dim in dims))
    for position, label in zip(positions, labels_along(dataset, dims), strict=True):
        part = at_position(dataset, dict(zip(dims, position, strict=True)))
        if "reduction_error" in part and part["reduction_error"].item():
            continue
        yield label or str(dataset.attrs.get("kind", "all")), part


def labels_along(dataset: xr.Dataset, dims: Sequence[str]) -> list[str]:
    """The label of every combination of positions on some grid axes, the last one fastest.

    Text stands as it is, a number behind the name of its axis; where two labels would be equal, text does so too,
    in quotes.
    """
    columns = [(dim, dataset[dim].values.tolist()) for dim in dims]
    labels = [", ".join(row) for row in itertools.product(*(_texts(dim, values) for dim, values in columns))]
    if len(set(labels)) == len(labels):
        return labels
    quoted = ([f"{dim} {v!r}" for v in values] for dim, values in columns)
    return [", ".join(row) for row in itertools.product(*quoted)]


def _texts(dim: str, values: list[Any]) -> list[str]:
    if isinstance(values[0], str):
        return [value if value.strip() else repr(value) for value in values]
    return [f"{dim} {number}" for number in told_apart(values)]


def told_apart(numbers: Sequence[float]) -> list[str]:
    """Different numbers with as few digits as tell them apart, six at least; whole ones in full."""
    for digits in range(6, 17):
        texts = [str(v) if isinstance(v, int) else f"{v:.{15 if v.is_integer() else digits}g}" for v in numbers]
        if len(set(texts)) == len(texts):
            return texts
    return list(map(repr, numbers))


def at_position(dataset: xr.Dataset, position: Mapping[str, int]) -> xr.Dataset:
    """A dataset at a position on some of its grid axes, with the parameters that it has there."""
    part = dataset.isel(position)
    values = json.loads(dataset.attrs.get("parameters", "{}"))
    for axis in _axes(dataset):
        if axis["name"] in position:
            number = axis["labels"].index(part[axis["name"]].item())
            values |= {name: column[number] for name, column in axis["values"].items()}
    return part.assign_attrs(parameters=json.dumps(values))


def parameters(dataset: xr.Dataset) -> dict[str, Any]:
    """The parameters of a point or scheme, as the dataset of it says."""
    return json.loads(dataset.attrs["parameters"])


def _axes(dataset: xr.Dataset) -> list[dict[str, Any]]:
    return json.loads(dataset.attrs.get("axes", "[]"))


def grid_axes(dataset: xr.Dataset) -> list[str]:
    """Names of the grid axes of a group or of its summary, seeds apart."""
    return [axis["name"] for axis in _axes(dataset) if axis["name"] in dataset.dims and axis["name"] != "seed"]


def numeric_axes(summary: xr.Dataset) -> list[str]:
    """The grid axes along which a curve can be drawn: three numbers or more."""
    return [dim for dim in grid_axes(summary) if summary[dim].dtype.kind in "iuf" and summary.sizes[dim] >= 3]


def others(summary: xr.Dataset, axis: str) -> Iterator[tuple[str, xr.Dataset]]:
    """Every combination of the grid axes but one: its label, and the dataset along that one."""
    without = summary.isel({axis: 0}).drop_vars("reduction_error", errors="ignore")  # of one position says nothing
    for label, part in schemes(without):
        chosen = {dim: part[dim].item() for dim in grid_axes(without)}
        yield label, summary.sel(chosen)


def number_of(summary: xr.Dataset, without: str = "") -> int:
    """How many schemes a group or its summary has, or combinations of its grid axes but one."""
    if not without and "reduction_error" in summary:
        return int((summary["reduction_error"] == "").sum())
    return math.prod(summary.sizes[dim] for dim in grid_axes(summary) if dim != without)
