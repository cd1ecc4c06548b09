"""What people see of reduced ``rings`` stores: the table of orbits, and which figures there are."""

import math
from functools import partial

import numpy as np
import xarray as xr

from isophase.analysis.base import Figures, Report, Summaries
from isophase.analysis.lattices import orbit_figures as plots
from isophase.analysis.schemes import schemes
from isophase.analysis.tables import Cell, Column, Estimate, Table
from isophase.kernels.orbits import NOT_SETTLED, UNDEFINED

COLUMNS = (
    Column("scheme", "scheme"),
    Column("states", "states", "1"),
    Column("pulses", "pulses", "1"),
    Column("most_often", "most often", "1"),
    Column("share", "share, 95 % interval", "%", ".0f"),
    Column("period", "period", "tau", ".6f"),
    Column("closed_form", "closed form", "tau", ".6f"),
    Column("deviation", "deviation", "1", ".0e"),
    Column("settled", "settled", "%", ".0f"),
    Column("settles_in", "settles in", "tau", absent="not settled"),
    Column("settles_in_90", "90 % within", "tau"),
    Column("orbits", "orbits", "1", "g"),
)
NOTE = (
    "pulses: all numbers that states ended with; share to closed form, settles in and 90 % within: of the most frequent"
    " number; deviation: largest of a period from the closed form; orbits: distinct ones that coexist, rest included."
)


def tables(summaries: Summaries) -> list[Table]:
    """The orbits of every scheme, a row each."""
    found = [(label, part) for summary in summaries.groups.values() for label, part in schemes(summary)]
    rows = tuple((label, *_row(part)) for label, part in found)
    return [Table("orbits", "periodic orbits of uncoupled rings", COLUMNS, rows, (NOTE,))]


def figures(summaries: Summaries, tree: xr.DataTree) -> Figures:
    """Periods and basin shares, where any scheme was reduced."""
    groups = dict(summaries.groups)
    if not any(True for summary in groups.values() for _ in schemes(summary)):
        return {}
    return {"orbits-period": partial(plots.period, groups), "orbits-shares": partial(plots.shares, groups)}


REPORT = Report(tables=tables, figures=figures)


def _row(part: xr.Dataset) -> tuple[Cell, ...]:
    count = part["count"].fillna(0)
    reached = part["pulses"].values[count.sum("outcome").values > 0]
    if not reached.size:
        return (int(part["n_states"]), *[None] * (len(COLUMNS) - 2))
    often = part.sel(pulses=reached[np.argmax(part["share"].sel(pulses=reached).values)])
    share, low, high = (100 * float(often[name]) for name in ("share", "share_low", "share_high"))
    unsettled = float(count.isel(outcome=[NOT_SETTLED, UNDEFINED]).sum()) / float(count.sum())
    return (
        int(part["n_states"]),
        tuple(int(number) for number in reached),
        int(often["pulses"]),
        Estimate(share, low=low, high=high),
        float(often["period"]),
        float(often["closed_form"]),
        float(part["deviation"].max()),
        100 * (1 - unsettled),
        float(often["transient"]),
        float(often["transient_90"]),
        _orbits(part),
    )


def _orbits(part: xr.Dataset) -> Cell:
    number, at_least = float(part["coexisting"]), float(part["coexisting_lower_bound"])
    return Estimate(at_least - 1, bound=True) if math.isnan(number) else int(number)
