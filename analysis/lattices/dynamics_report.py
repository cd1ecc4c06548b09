"""What people see of reduced ``dynamics`` stores: the table of final states, and which figures there are."""

import math
from functools import partial

import numpy as np
import xarray as xr

from isophase.analysis.base import Figures, Report, Summaries
from isophase.analysis.lattices import dynamics_figures as plots
from isophase.analysis.lattices.dynamics import STATES
from isophase.analysis.schemes import schemes
from isophase.analysis.tables import Cell, Column, Estimate, Table

COLUMNS = (
    Column("scheme", "scheme"),
    Column("n_seeds", "seeds", "1"),
    Column("state", "state"),
    Column("lyapunov_exponent", "Lyapunov exponent", "1/tau", absent="not known"),
    Column("lyapunov_interval", "95 % interval", "1/tau", ".3f", absent="not known"),
    Column("lyapunov_exponent_typical", "of the geometric mean", "1/tau", absent="not known"),
    Column("fitted", "fitted", "tau", ".0f", absent="not known"),
    Column("growth", "growth", "1", ".0e", absent="not known"),
    Column("n_grew", "seeds it grew in", "1"),
    Column("n_stayed", "stayed in", "1"),
    Column("autocorrelation_last", "C at the longest lag", "1", absent="not known"),
    Column("autocorrelation_time", "C = 1/e at", "tau", absent="not known"),
    Column("periodic", "periodic rings", "%", absent="not known"),
    Column("regular", "steady rings", "%", absent="not known"),
    Column("period_mean", "period", "tau", absent="not known"),
    Column("period_spread", "spread over rings", "%", absent="not known"),
    Column("common", "of one period", "%", absent="not known"),
)
NOTES = (
    "Lyapunov exponent: growth rate of the root mean square difference of phase of twins, made up by the rings where it"
    " grows fastest; of the geometric mean: that of a typical ring; fitted: the times after the kick.",
    "growth: of that difference while every ring's is below 0.05 rad; it grew: by more than 100, mean over the twins of"
    " a seed; stayed: by less than 10 in all of them. C: autocorrelation of the phases.",
    "periodic rings: intervals between onsets recur after 8 or fewer, to 1e-3; steady rings: intervals differ by less"
    " than 1 % (standard deviation); of one period: rings within 1 % of the commonest period.",
)


def tables(summaries: Summaries) -> list[Table]:
    """What every scheme does in the end, a row each; a table per group."""
    found = []
    for group, summary in summaries.groups.items():
        rows = tuple((label, *_row(part)) for label, part in schemes(summary))
        found.append(Table(f"dynamics-{group}", f"{group}: frozen, periodic or chaotic", COLUMNS, rows, NOTES))
    return found


def figures(summaries: Summaries, tree: xr.DataTree) -> Figures:
    """Autocorrelation, twins and periods of every group where any scheme was reduced."""
    found: Figures = {}
    for group, summary in summaries.groups.items():
        if any(True for _ in schemes(summary)):
            found[f"autocorrelation-{group}"] = partial(plots.autocorrelation, summary)
            found[f"twins-{group}"] = partial(plots.twins, summary)
            found[f"periods-{group}"] = partial(plots.periods, summary)
    return found


REPORT = Report(tables=tables, figures=figures)


def _row(part: xr.Dataset) -> tuple[Cell, ...]:
    low, high = float(part["lyapunov_exponent_low"]), float(part["lyapunov_exponent_high"])
    interval = Estimate(float(part["lyapunov_exponent"]), low=low, high=high)
    start, end = float(part["fit_start"]), float(part["fit_end"])
    return (
        int(part["n_seeds"]),
        STATES[int(np.nan_to_num(float(part["dynamics_state"])))].replace("_", " "),
        _with_error(part, "lyapunov_exponent"),
        interval,
        _with_error(part, "lyapunov_exponent_typical"),
        "not known" if math.isnan(start) else f"{start:.0f} to {end:.0f}",
        float(part["growth"]),
        int(part["n_grew"]),
        int(part["n_stayed"]),
        _with_error(part, "autocorrelation_last"),
        _time(part),
        _with_error(part, "periodic_fraction", 100),
        _with_error(part, "regular_fraction", 100),
        _with_error(part, "period_mean"),
        _with_error(part, "period_spread_over_rings", 100),
        _with_error(part, "period_common_fraction", 100),
    )


def _with_error(part: xr.Dataset, name: str, factor: float = 1) -> Estimate:
    return Estimate(factor * float(part[name]), factor * float(part[f"{name}_error"]))


def _time(part: xr.Dataset) -> Estimate:
    bound = float(part["autocorrelation_time_lower_bound"])
    if not math.isnan(bound):
        return Estimate(bound, bound=True)
    return _with_error(part, "autocorrelation_time")
