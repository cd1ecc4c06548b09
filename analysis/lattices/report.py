"""What people see of reduced lattices, of rings or of phase oscillators: their tables, and which figures there are.

How a figure looks is in ``figures``; what a number means, in the measurements.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from isophase.analysis.base import Figures, Report, Summaries
from isophase.analysis.drawing import first_panels
from isophase.analysis.lattices import figures as plots
from isophase.analysis.lattices import front_report
from isophase.analysis.lattices.differences import paired_differences
from isophase.analysis.lattices.measurements import MEASUREMENTS
from isophase.analysis.lattices.sizes import FAMILIES
from isophase.analysis.schemes import numeric_axes, parameters, schemes
from isophase.analysis.tables import Cell, Column, Estimate, Table

SPACINGS = "ring spacings"
LENGTHS = (
    Column("scheme", "scheme"),
    Column("group", "group"),
    Column("seeds", "seeds", "1"),
    Column("xi", "xi: e-folding", SPACINGS, absent="not defined"),
    Column("xi_systematic", "systematic", SPACINGS, ".2g"),
    Column("xi_fit", "exp. fit", SPACINGS, absent="not defined"),
    Column("xi_second_moment", "2nd moment", SPACINGS, absent="not defined"),
    Column("state", "state"),
    Column("seeds_to_tell", "seeds to tell", "1", ".0f"),
    Column("since", "since", "tau", ".0f"),
    Column("growth_exponent", "growth exponent", "1"),
    Column("growth_systematic", "systematic", "1", ".2g"),
)
SIZES = (
    Column("scheme", "scheme"),
    Column("tiling", "tiling"),
    Column("used", "sizes used", "1"),
    Column("sizes", "of", "1"),
    Column("xi_infinite", "xi of L -> infinity", SPACINGS, absent="not defined"),
    Column("slope", "slope", f"{SPACINGS}^2"),
    Column("chi2_per_dof", "chi2/dof", "1", ".2f"),
    Column("p_value", "p", "1", ".2f"),
    Column("size_exponent", "d ln xi / d ln L", "1"),
    Column("verdict", "verdict"),
)
ORDERS = (
    Column("scheme", "scheme"),
    Column("group", "group"),
    Column("in_phase", "rings in phase", "1"),
    Column("anti_phase", "in anti-phase", "1"),
    Column("walls_between", "pairs between the two", "1"),
    Column("walls_in_phase", "walls in phase", "1"),
    Column("walls_anti_phase", "walls in anti-phase", "1"),
    Column("staggered", "staggered C(1)", "1"),
    Column("doubled", "C(L/4) of 2 theta", "1"),
    Column("time", "at", "tau", ".0f"),
)
DIFFERENCES = (
    Column("scheme", "scheme"),
    Column("group", "group"),
    Column("reference", "less"),
    Column("difference", "difference of xi", SPACINGS),
    Column("low", "95 % from", SPACINGS, ".3g"),
    Column("high", "to", SPACINGS, ".3g"),
    Column("unpaired", "error if unpaired", SPACINGS, ".2g"),
)
WAVES = (
    Column("scheme", "scheme"),
    Column("group", "group"),
    Column("wavelength", "wavelength", SPACINGS),
    Column("coherence_length", "coherence length", SPACINGS),
    Column("spirals", "spirals in the lattice", "1"),
    Column("time", "at", "tau", ".0f"),
)
QUOTE = (
    "Quote xi by e-folding with both errors: over seeds, and systematic, what axes, exponential fit and last quarter "
    "of the run differ by. The second moment is another length, about 1.3 xi where C is exponential."
)
SMALL_WORLD = "Lengths in a small world are hops along its graph; it has no wavevector, so no second moment."
UNCOUPLED = "Uncoupled rings are measured by their places, and where no tiling lies like that without neighbours."


def tables(summaries: Summaries) -> list[Table]:
    """Steady lengths and growth of every scheme and size; where several sizes were extrapolated, their limits too."""
    found = [lengths(summaries.groups)]
    for name, title, columns, rows_of in (
        (
            "orders",
            "how neighbours lock at the end: orders in phase and in anti-phase, walls between and in them",
            ORDERS,
            _order_rows,
        ),
        (
            "differences",
            "paired differences of xi: the same networks and initial states",
            DIFFERENCES,
            _difference_rows,
        ),
        ("waves", "waves, which have a wavelength instead of a correlation length", WAVES, _wave_rows),
    ):
        rows = tuple(row for group, summary in summaries.groups.items() for row in rows_of(group, summary))
        if rows:
            found.append(Table(name, title, columns, rows))
    found += front_report.tables(summaries.groups)
    families = _families(summaries)
    if families:
        found.append(finite_sizes(families))
    return found


def figures(summaries: Summaries, tree: xr.DataTree) -> Figures:
    """Every figure that these summaries have, by name; ``phases-GROUP`` draw the trajectories in ``tree``."""
    groups = dict(summaries.groups)
    found: Figures = {name: _of(draw, groups) for of in MEASUREMENTS for name, draw in of.figures.items()}
    found |= {
        "steady": _of(plots.steady, groups),
        "correlations": _of(plots.correlations, groups),
        "evolution": _of(plots.evolution, groups),
    }
    for axis in dict.fromkeys(axis for summary in groups.values() for axis in numeric_axes(summary)):
        having = {name: summary for name, summary in groups.items() if axis in summary.dims}
        found[f"against-{axis}"] = _of(partial(plots.along_axis, axis=axis), having)
    with_structure = {name: summary for name, summary in groups.items() if "structure_factor" in summary}
    if with_structure:  # summaries of older versions have none
        found["structure"] = _of(plots.structure, with_structure)
    found |= front_report.figures(groups)
    along_hops = {name: summary for name, summary in groups.items() if plots.hop_axes(summary, ("dt",))}
    if along_hops:
        found["against-hop"] = _of(plots.against_hop, along_hops)
    families = _families(summaries)
    if families:
        found["sizes"] = partial(first_panels, plots.sizes, families, "families")
    return found | {f"phases-{name}": partial(_phase_maps, tree, name) for name in groups}


def _of(draw: Callable[[Mapping[str, xr.Dataset]], Figure], groups: dict[str, xr.Dataset]) -> Callable[[], Figure]:
    return partial(first_panels, draw, groups, "groups")


def beside(summaries: Summaries) -> Figures:
    """Groups of several stores in common figures."""
    groups = dict(summaries.groups)
    return {
        "compare-growth": _of(plots.growth, groups),
        "compare-evolution": _of(plots.evolution, groups),
        "compare-correlations": _of(plots.correlations, groups),
    }


REPORT = Report(tables=tables, figures=figures, beside=beside)


def lengths(groups: Mapping[str, xr.Dataset]) -> Table:
    """Steady correlation length by each estimator and growth exponent of every scheme of every group."""
    rows = tuple(row for name, summary in groups.items() for row in _length_rows(name, summary))
    known = [parameters(part) for summary in groups.values() for _, part in schemes(summary)]
    notes = []
    if any(scheme.get("graph") == "small_world" for scheme in known):
        notes.append(SMALL_WORLD)
    if any(scheme.get("sharing") == "none" for scheme in known):
        notes.append(UNCOUPLED)
    notes.append(QUOTE)
    title = "correlation length xi, with standard error over seeds"
    return Table("correlation-length", title, LENGTHS, rows, tuple(notes))


def _length_rows(group: str, summary: xr.Dataset) -> Iterator[tuple[Cell, ...]]:
    for label, part in schemes(summary):
        state = _meaning(part["state"])
        if bool(part.get("delay_limited", False)):
            state = "delay-limited"
        elif bool(part["beyond_quarter"]):
            state += ", > L/4"
        growth = _estimate(part, "growth_exponent")
        xi, *others = (_length(part, suffix) for suffix in ("", "_fit", "_second_moment"))
        yield (
            label,
            group,
            int(part["n_seeds"]),
            xi,
            float(part.get("xi_inf_systematic", math.nan)),
            *others,
            state,
            float(part.get("seeds_to_tell", math.nan)),
            float(part["time_to_steady"]),
            _meaning(part["growth_state"]) if math.isnan(growth.value) else growth,
            float(part.get("growth_exponent_systematic", math.nan)),
        )


def _order_rows(group: str, summary: xr.Dataset) -> Iterator[tuple[Cell, ...]]:
    """Of schemes whose neighbours are known, at the last time at which rings have a phase."""
    if "in_phase" not in summary:  # summaries of older versions
        return
    for label, part in schemes(summary):
        known = np.flatnonzero(part["in_phase"].notnull())
        if len(known):
            last = part.isel(time=int(known[-1]))
            names = ("in_phase", "anti_phase", "walls_between", "walls_in_phase", "walls_anti_phase")
            quarter = last.sizes["distance"] // 2
            found = (_estimate(last, name) for name in names)
            staggered = _estimate(last.isel(distance=min(1, quarter)), "staggered_correlation")
            doubled = _estimate(last.isel(distance=quarter), "doubled_correlation")
            yield label, group, *found, staggered, doubled, float(last["time"])


def _difference_rows(group: str, summary: xr.Dataset) -> Iterator[tuple[Cell, ...]]:
    if "xi_inf_without" not in summary:  # summaries of older versions
        return
    for found in paired_differences(summary):
        difference = Estimate(found.value, found.error)
        yield found.scheme, group, found.reference, difference, found.low, found.high, found.unpaired


def _wave_rows(group: str, summary: xr.Dataset) -> Iterator[tuple[Cell, ...]]:
    """Schemes whose order is made of waves, at the last time at which it is."""
    for label, part in schemes(summary):
        if "waves" in part and _meaning(part["state"]) == "waves":
            last = part.isel(time=int(np.flatnonzero(part["waves"] == 1)[-1]))
            found = (_estimate(last, name) for name in ("wavelength", "coherence_length", "spirals"))
            yield label, group, *found, float(last["time"])


def _length(part: xr.Dataset, suffix: str) -> Estimate:
    found = _estimate(part, f"xi_inf{suffix}")
    bound = float(part["xi_inf_lower_bound"])
    on_a_graph = parameters(part).get("graph") == "small_world"
    if not math.isnan(found.value) or math.isnan(bound) or (on_a_graph and suffix == "_second_moment"):
        return found
    return Estimate(bound, bound=True)


def finite_sizes(families: Mapping[str, xr.Dataset]) -> Table:
    """The extrapolation of every scheme of every family to an infinite lattice."""
    rows = tuple(row for name, dataset in families.items() for row in _size_rows(name, dataset))
    return Table("finite-size", "correlation length of an infinite lattice, xi + slope / L", SIZES, rows)


def _size_rows(family: str, dataset: xr.Dataset) -> Iterator[tuple[Cell, ...]]:
    for label, part in schemes(dataset):
        dof = int(part["dof"])
        yield (
            label,
            family,
            int(part["used"].sum()),
            part.sizes["size"],
            _estimate(part, "xi_infinite"),
            _estimate(part, "slope"),
            float(part["chi2"]) / dof if dof else None,
            float(part["p_value"]) if dof else None,
            _estimate(part, "size_exponent"),
            _meaning(part["finite_size_state"]),
        )


def _estimate(part: xr.Dataset, name: str) -> Estimate:
    return Estimate(float(part[name]), float(part[f"{name}_error"]))


def _meaning(variable: xr.DataArray) -> str:
    """What a variable with CF flags says, in words."""
    return str(variable.attrs["flag_meanings"].split()[int(variable)]).replace("_", " ")


def _families(summaries: Summaries) -> dict[str, xr.Dataset]:
    """The extrapolations over sizes, by family of lattices."""
    found = summaries.across.items()
    return {name.removeprefix(FAMILIES): dataset for name, dataset in found if name.startswith(FAMILIES)}


def _phase_maps(tree: Any, group: str) -> Any:
    return plots.phase_maps(tree[group].to_dataset())
