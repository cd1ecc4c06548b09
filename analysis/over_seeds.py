"""What is made of points whose kind says nothing else: means over seeds with their standard errors."""

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from isophase.analysis.base import Figures, Reduction, Report, Summaries
from isophase.analysis.drawing import MAX_CURVES, axis_label, coloured, first_schemes, legend, panel_grid
from isophase.analysis.schemes import numeric_axes, schemes
from isophase.analysis.statistics import is_flag, mean_over_seeds
from isophase.analysis.tables import Cell, Column, Estimate, Table


def summarise(dataset: xr.Dataset) -> xr.Dataset:
    """Mean of every number over the finished seeds, and as ``NAME_error`` its standard error (NaN for one seed).

    Text is left out. ``n_seeds``: the seeds that are done.
    """
    dataset = dataset.load(scheduler="sync")
    if "seed" not in dataset["status"].dims:
        dataset = dataset.expand_dims("seed")
    done = is_flag(dataset["status"], "done")
    numbers = [name for name, v in dataset.data_vars.items() if name != "status" and v.dtype.kind in "biufc"]
    found = mean_over_seeds(dataset[numbers].where(done))
    found["n_seeds"] = done.sum().assign_attrs(units="1", long_name="seeds that are done")
    return found


def names(template: xr.Dataset) -> Mapping[str, str]:
    """The standard errors, each in the units of its variable."""
    errors = {f"{name}_error": v.attrs.get("units", "") for name, v in template.data_vars.items()}
    return errors | {"n_seeds": "1", "seed": ""}


def tables(summaries: Summaries) -> list[Table]:
    """Every number without dimension, a row per scheme."""
    found = []
    for group, summary in summaries.groups.items():
        shown = _shown(summary, lambda v: not v)
        columns = (
            Column("scheme", "scheme"),
            Column("n_seeds", "seeds", "1"),
            *(Column(name, name, str(summary[name].attrs.get("units", "")), absent="not known") for name in shown),
        )
        rows = tuple((label, int(part["n_seeds"]), *(_mean(part, name) for name in shown))
                     for label, part in schemes(summary))  # fmt: skip
        found.append(Table(group, f"{group}: mean over seeds, with its standard error", columns, rows))
    return found


def _mean(part: xr.Dataset, name: str) -> Cell:
    return Estimate(float(part[name].real), float(part[f"{name}_error"].real))


def _shown(summary: xr.Dataset, wanted: Any) -> list[str]:
    """Names of means over the dimensions that are wanted, grid axes apart."""
    _, part = next(schemes(summary), ("", summary))
    return [
        str(name) for name in summary.data_vars
        if f"{name}_error" in summary and wanted([dim for dim in part[name].dims if dim != "seed"])
    ]  # fmt: skip


def figures(summaries: Summaries, tree: xr.DataTree) -> Figures:
    """Every number along its one numeric dimension, and those without dimension against each numeric axis."""
    found: Figures = {}
    for group, summary in summaries.groups.items():
        for name in _shown(summary, partial(_one_numeric, summary)):
            found[f"{group}-{name}"] = partial(along_dimension, summary, name)
        for axis in numeric_axes(summary):
            for name in _shown(summary, lambda dims: not dims):
                found[f"{group}-{name}-against-{axis}"] = partial(along_axis, summary, name, axis)
    return found


def _one_numeric(summary: xr.Dataset, dims: list[str]) -> bool:
    if len(dims) != 1 or dims[0] not in summary.coords:
        return False
    return summary[dims[0]].dtype.kind in "iuf" and summary.sizes[dims[0]] > 1


def along_dimension(summary: xr.Dataset, name: str) -> Figure:
    """A mean along its dimension with its band of one standard error, a curve per scheme."""
    figure, (panel,) = panel_grid(1, 5.2, 3.4)
    for colour, (label, part) in coloured(figure, summary):
        dim = str(part[name].dims[0])
        mean, error = (np.asarray(part[key].real, float) for key in (name, f"{name}_error"))
        panel.plot(part[dim], mean, color=colour, label=label)
        panel.fill_between(np.asarray(part[dim], float), mean - error, mean + error, color=colour, alpha=0.2)
        panel.set(xlabel=_label(summary, dim), ylabel=_label(summary, name))
    legend(panel)
    return figure


def along_axis(summary: xr.Dataset, name: str, axis: str) -> Figure:
    """A mean with its standard error against a numeric axis of the grid, a curve per other scheme."""
    figure, (panel,) = panel_grid(1, 5.2, 3.4)
    for number, (label, part) in enumerate(first_schemes(figure, summary, axis, MAX_CURVES)):
        mean, error = (np.asarray(part[key].real, float) for key in (name, f"{name}_error"))
        panel.errorbar(np.asarray(part[axis], float), mean, error, fmt="o-", markersize=3, color=f"C{number}",
                       label=label)  # fmt: skip
    panel.set(xlabel=axis_label(summary, axis), ylabel=_label(summary, name))
    legend(panel)
    return figure


def _label(summary: xr.Dataset, name: str) -> str:
    units = summary[name].attrs.get("units", "")
    return f"{name} ({units})" if units not in ("", "1") else name


REDUCTION = Reduction(summarise=summarise, names=names)
REPORT = Report(tables=tables, figures=figures)
