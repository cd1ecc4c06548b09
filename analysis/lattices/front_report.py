"""Tables and figures of fronts: their speeds, the scale beside them, their roughness, and the critical nucleus."""

from collections.abc import Iterator, Mapping
from functools import partial

import numpy as np
import xarray as xr

from isophase.analysis.base import Figures
from isophase.analysis.drawing import first_panels
from isophase.analysis.lattices import front_figures as plots
from isophase.analysis.lattices.fronts import patch_extent
from isophase.analysis.lattices.nucleus import Discs
from isophase.analysis.lattices.selection import Selected, labelled, prediction, selected
from isophase.analysis.schemes import parameters
from isophase.analysis.statistics import wilson
from isophase.analysis.tables import Cell, Column, Estimate, Table

SPACINGS = "ring spacings"
SPEED = f"{SPACINGS} / tau"
FRONTS = (
    Column("scheme", "scheme"),
    Column("group", "group"),
    Column("seeds", "seeds", "1"),
    Column("front_speed", "speed of the front", SPEED),
    Column("patch_first", "patch at first, of the lattice", "1"),
    Column("patch_last", "at last", "1"),
    Column("front_state", "the patch"),
    Column("patch_neighbour_correlation", "its neighbours' correlation", "1"),
    Column("patch_neighbour_correlation_modulo_pi", "of twice the phases", "1"),
    Column("patch_state", "what it becomes"),
    Column("roughness_exponent", "roughness exponent", "1"),
)
SELECTION = (
    Column("scheme", "scheme"),
    Column("group", "group"),
    Column("front_speed", "speed of disorder into order", SPEED),
    Column("front_state", "disorder"),
    Column("patch_state", "the patch becomes"),
    Column("xi", "xi from pulses", SPACINGS),
    Column("state", "state from pulses"),
)
SIGN = (
    Column("grows_not_coherent", "disorder grows, pulses not coherent", "1"),
    Column("grows_coherent", "grows, coherent", "1"),
    Column("shrinks_not_coherent", "shrinks, not coherent", "1"),
    Column("shrinks_coherent", "shrinks, coherent", "1"),
    Column("p_value", "Fisher's p", "1", ".2g", absent="one side empty"),
    Column("ranked", "schemes with speed and length", "1"),
    Column("rank_correlation", "Spearman's correlation of speed and length", "1", ".2f", absent="too few"),
    Column("rank_p_value", "its p", "1", ".2g"),
)
DISCS = (
    Column("scheme", "scheme"),
    Column("group", "group"),
    Column("diameter", "diameter", SPACINGS, ".1f"),
    Column("grown", "grown", "1"),
    Column("healed", "healed", "1"),
    Column("undecided", "neither", "1"),
    Column("fraction", "fraction grown (95 %)", "1", ".2f"),
)
CRITICAL = (
    Column("scheme", "scheme"),
    Column("group", "group"),
    Column("critical_nucleus", "half of the discs grow at a diameter of", SPACINGS, ".3g"),
    Column("low", "above", SPACINGS, ".3g"),
    Column("high", "below", SPACINGS, ".3g"),
    Column("state", "discs"),
)
SCHEMES_AS_TRIALS = (
    "Every scheme counts as one trial; those that differ in their delay alone are not quite independent. "
    "Speeds whose sign is not told are left out of the counts."
)


def tables(groups: Mapping[str, xr.Dataset]) -> list[Table]:
    """The tables that these summaries have."""
    found = []
    rows = tuple(row for group, summary in _with_fronts(groups).items() for row in _front_rows(group, summary))
    if rows:
        found.append(Table("fronts", "fronts between two states", FRONTS, rows))
    both = {group: pairs for group, summary in groups.items() if (pairs := selected(summary))}
    if both:
        rows = tuple(row for group, pairs in both.items() for row in _selection_rows(group, pairs))
        found.append(Table("fronts-and-scale", "fronts, and the scale from random pulses", SELECTION, rows))
        found.append(_sign([pair for pairs in both.values() for pair in pairs]))
    discs = [(group, disc) for group, summary in groups.items() for disc in discs_of(summary)]
    if discs:
        rows = tuple(row for group, disc in discs for row in _disc_rows(group, disc))
        found.append(Table("nucleus", "discs of one state in another", DISCS, rows))
        rows = tuple(_critical_row(group, disc) for group, disc in discs)
        found.append(Table("critical-nucleus", "the diameter from which discs grow", CRITICAL, rows))
    return found


def figures(groups: Mapping[str, xr.Dataset]) -> Figures:
    """The figures of fronts that these summaries have."""
    found: Figures = {}
    panels = {
        name: parts for group, summary in _with_fronts(groups).items()
        for name, parts in plots.in_panels(group, list(_schemes_with_fronts(summary))).items()
    }  # fmt: skip
    if panels:
        found["fronts"] = partial(first_panels, plots.fronts, panels, "panels")
    rough = {
        name: kept for name, parts in panels.items()
        if (kept := [(label, part) for label, part in parts if part["front_roughness"].notnull().any()])
    }  # fmt: skip
    if rough:
        found["roughness"] = partial(first_panels, plots.roughness, rough, "panels")
    both = [pair for summary in groups.values() for pair in selected(summary)]
    if both:
        found["fronts-and-scale"] = partial(plots.fronts_and_scale, both)
    discs = {group: of_group for group, summary in groups.items() if (of_group := list(discs_of(summary)))}
    if discs:
        found["nucleus"] = partial(first_panels, plots.nucleus, discs, "groups")
    return found


def _with_fronts(groups: Mapping[str, xr.Dataset]) -> dict[str, xr.Dataset]:
    return {name: summary for name, summary in groups.items() if _has_fronts(summary)}


def _has_fronts(summary: xr.Dataset) -> bool:
    """Whether some scheme started with a patch; summaries of older versions say less of them."""
    return "patch_state" in summary and bool(summary["patch_fraction"].notnull().any())


def _schemes_with_fronts(summary: xr.Dataset) -> Iterator[tuple[str, xr.Dataset]]:
    return ((label, part) for label, part in labelled(summary, frozenset({"initial"})) if _has_fronts(part))


def _front_rows(group: str, summary: xr.Dataset) -> Iterator[tuple[Cell, ...]]:
    for label, part in _schemes_with_fronts(summary):
        first, last = (_estimate(part.isel(time=at), "patch_fraction") for at in (0, -1))
        correlations = (_estimate(part, f"patch_neighbour_correlation{kind}") for kind in ("", "_modulo_pi"))
        yield (
            label, group, int(part["front_seeds"]), _estimate(part, "front_speed"), first, last,
            _meaning(part["front_state"]), *correlations, _meaning(part["patch_state"]),
            _estimate(part, "roughness_exponent"),
        )  # fmt: skip


def _selection_rows(group: str, pairs: list[Selected]) -> Iterator[tuple[Cell, ...]]:
    for pair in pairs:
        xi: Cell = _estimate(pair.pulses, "xi_inf")
        if pair.coherent:
            xi = Estimate(float(pair.pulses["xi_inf_lower_bound"]), bound=True)
        speed = Estimate(pair.speed if np.isfinite(pair.speed) else np.nan, pair.error)
        states = (_meaning(pair.front[name]) for name in ("front_state", "patch_state"))
        yield pair.label, group, speed, *states, xi, _meaning(pair.pulses["state"])


def _sign(pairs: list[Selected]) -> Table:
    found = prediction(pairs)
    rank = Estimate(found.rank_correlation, low=found.low, high=found.high)
    row = (*found[:5], found.ranked, rank, found.rank_p_value)
    title = "does the sign of the speed tell whether random pulses end coherent"
    return Table("sign-and-scale", title, SIGN, (row,), (SCHEMES_AS_TRIALS,))


def discs_of(summary: xr.Dataset) -> Iterator[Discs]:
    """Discs of several sizes, for every combination of the other axes; summaries of older versions count none."""
    if "patches_grown" not in summary:
        return
    found: dict[str, list[tuple[float, ...]]] = {}
    for label, part in labelled(summary, frozenset({"patch_size"})):
        scheme = parameters(part)
        if scheme.get("initial") == "patch" and scheme["patch_shape"] == "disc":
            counts = (int(part[f"patches_{name}"]) for name in ("grown", "healed", "undecided"))
            diameter = float(patch_extent(scheme, int(summary.attrs["cols"])))
            found.setdefault(label, []).append((diameter, *counts))
    for label, rows in found.items():
        columns = np.array(sorted(rows)).T
        if len(rows) > 1 and (np.diff(columns[0]) > 0).all():
            yield Discs(label, columns[0], *columns[1:].astype(int))


def _disc_rows(group: str, discs: Discs) -> Iterator[tuple[Cell, ...]]:
    counts = zip(discs.diameter, discs.grown, discs.healed, discs.undecided, discs.number, strict=True)
    for diameter, grown, healed, undecided, number in counts:
        low, high = wilson(int(grown), int(number))
        fraction = Estimate(grown / number if number else np.nan, low=low, high=high)
        yield discs.label, group, float(diameter), int(grown), int(healed), int(undecided), fraction


def _critical_row(group: str, discs: Discs) -> tuple[Cell, ...]:
    found = discs.critical()
    return discs.label, group, found.critical, found.low, found.high, found.state


def _estimate(part: xr.Dataset, name: str) -> Estimate:
    return Estimate(float(part[name]), float(part[f"{name}_error"]))


def _meaning(variable: xr.DataArray) -> str:
    """What a variable with CF flags says, in words."""
    return str(variable.attrs["flag_meanings"].split()[int(variable)]).replace("_", " ")
