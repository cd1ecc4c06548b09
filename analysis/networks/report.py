"""What people see of reduced training runs: tables that hold values, and the figures of ``figures``."""

from collections.abc import Mapping

import numpy as np
import xarray as xr

from isophase.analysis.base import Report, Summaries
from isophase.analysis.networks.attractors import CYCLE
from isophase.analysis.networks.attractors import STATES as ATTRACTORS
from isophase.analysis.networks.bifurcations import TYPES
from isophase.analysis.networks.coincidence import OUTCOMES
from isophase.analysis.networks.figures import figures
from isophase.analysis.networks.finished import (
    first_symbol,
    has_second_task,
    last_clock,
    parts,
    quantiles,
    without_seeds,
)
from isophase.analysis.networks.training import oscillates_under
from isophase.analysis.statistics import wilson
from isophase.analysis.tables import Cell, Column, Estimate, Table

ENTRAINED = ("entrained", *ATTRACTORS[1:])  # a fixed point of the map over a word has the input's period
PHASES = {"ti_learned": "TI learned", "td_leaves_base": "TD leaves base", "td_halfway": "TD halfway",
          "td_transition": "TD 0.75", "td_learned": "TD 0.9", "plateau": "plateau"}  # fmt: skip
NAMED = 5  # schemes of which nothing can be shown
COUNTED = ("counting_rank_correlation", "counting_probe_r2", "counting_probe_error")


def tables(summaries: Summaries) -> list[Table]:
    """Learning phases, bifurcations, what the last networks do, and where there is a second task of the periodic clock,
    what becomes of its oscillations. Of groups, a line for each scheme with a finished seed."""
    found = [learning_table(summaries.groups), bifurcation_table(summaries.groups), last_table(summaries.groups)]
    second = second_task_table(summaries.groups)
    return [*found, second] if second.rows else found


def learning_table(groups: Mapping[str, xr.Dataset]) -> Table:
    """Learning phases, a row for each task of a scheme: medians over seeds with quartiles.

    ``learned``: seeds that get four fifths of the way from the base rate to 1 at time-dependent symbols; its share with
    Wilson's interval of 95 %. The final accuracy is that of the last task.
    """
    columns = (
        Column("scheme", "scheme"),
        Column("task", "task"),
        Column("seeds", "seeds"),
        Column("learned", "learned time"),
        Column("learned_share", "their share", "%", ".0f"),
        *(Column(name, title, "updates", ".0f", "never") for name, title in PHASES.items()),
        Column("final_td_accuracy", "final TD accuracy", "%", ".1f"),
    )
    rows: list[tuple[Cell, ...]] = []
    notes: list[str] = []
    for label, _, part in parts(groups):
        number = int(part["n_seeds"])
        final = _spread(100 * part["final_td_accuracy"])
        tasks = {"first": "", "second": "then_"} if has_second_task(part) else {"first": ""}
        for task, prefix in tasks.items():
            learned = int(np.isfinite(part[f"{prefix}td_four_fifths"]).sum())
            low, high = wilson(learned, number)
            share = Estimate(100 * learned / number, low=100 * low, high=100 * high)
            phases = (_spread(part[f"{prefix}{name}"]) for name in PHASES)
            rows.append((label, task, number, learned, share, *phases, final if task == list(tasks)[-1] else None))
        notes += _left_out(label, part)
    if missing := without_seeds(groups):
        more = f" and {len(missing) - NAMED} more" if len(missing) > NAMED else ""
        notes.append(f"without a finished seed, and not shown: {'; '.join(missing[:NAMED])}{more}")
    title = "learning phases: median over seeds (quartiles), share with its 95 % interval"
    return Table("learning-phases", title, columns, tuple(rows), tuple(notes))


def bifurcation_table(groups: Mapping[str, xr.Dataset]) -> Table:
    """Bifurcations of the fixed points, a row for the first of every scheme; where several symbols have one, a row for
    each of these too.

    ``bifurcation``: median over seeds (quartiles). ``difference``: the median of its iteration minus that of the
    transition (``td_halfway``); it and Spearman's rank correlation have bootstrap intervals of 95 %. ``angle``: of the
    leading eigenvalue of the last network, as a share of what turns once in a period of the clock.
    """
    columns = (
        Column("scheme", "scheme"),
        Column("symbol", "under"),
        Column("seeds", "seeds"),
        Column("bifurcated", "with bifurcation"),
        Column("refined", "of them to the update"),
        Column("bifurcation", "bifurcation", "updates", ".0f", "never"),
        Column("types", "types"),
        Column("outcomes", "outcomes"),
        Column("difference", "minus halfway, 95 %", "updates", ".1f", "cannot tell"),
        Column("rank_correlation", "rank correlation, 95 %", "1", ".2f", "cannot tell"),
        Column("angle", "angle P / 2 pi", "1", ".2f"),
        Column("modulus_at_halfway", "modulus at halfway", "1", ".2f", "never"),
    )
    rows: list[tuple[Cell, ...]] = []
    for label, _, part in parts(groups):
        number = int(part["n_seeds"])
        first = part["first_bifurcation_symbol"].astype(int)
        rows.append(
            (
                label, None, number,
                *_bifurcated(part, part["first_bifurcation"], first),
                _counts(part["first_bifurcation_type"], TYPES),
                _counts(part["outcome"], OUTCOMES),
                _interval(part, "median_difference"),
                _interval(part, "rank_correlation"),
                *_angle_and_modulus(part, first_symbol(part)),
            )
        )  # fmt: skip
        happen = np.flatnonzero(part["bifurcation"].notnull().any("seed").values)
        for symbol in happen if len(happen) > 1 else ():
            one = part.isel(symbol=symbol)
            rows.append(
                (
                    label, str(one["symbol"].item()), number,
                    *_bifurcated(part, one["bifurcation"], int(symbol)),
                    _counts(one["bifurcation_type"], TYPES),
                    None,
                    _interval(one, "symbol_difference"),
                    None,
                    *_angle_and_modulus(part, int(symbol)),
                )
            )  # fmt: skip
    notes = ("a row without a symbol: the first bifurcation of every network; angle and modulus are those under the "
             "symbol that is most often the first",)  # fmt: skip
    return Table("bifurcations", "bifurcations of the fixed points: median over seeds (quartiles)", columns,
                 tuple(rows), notes if rows else ())  # fmt: skip


def last_table(groups: Mapping[str, xr.Dataset]) -> Table:
    """What the last networks do: a row for each scheme, and one for each of its symbols alone.

    Medians over seeds (quartiles), but means of accuracies. ``fixed_points``: how many of all seeds are stable,
    unstable and marginal (``fixed_points.FixedPoints``), and how many seeds have a continuum of them. ``driven``: under
    the periodic input of ``last_network.LastNetwork.driven``, whose period an entrained network takes on. Periodic
    clock: accuracy of the restricted readout beside the full one, and the circular correlation of the angle in the
    eigenplane with the clock. Relative clock: the iteration by which a second stable point of the null symbol is there
    to stay, and how the steps since the last symbol are kept, as rank correlation with the distance to the null point
    and by a linear probe.
    """
    columns = (
        Column("scheme", "scheme"),
        Column("symbol", "symbol"),
        Column("seeds", "seeds"),
        Column("attractors", "attractors under it alone"),
        Column("fixed_points", "fixed points under it alone"),
        Column("driven", "under all in turn"),
        Column("driven_periods", "their periods", "words"),
        Column("accuracy_restricted", "TD accuracy, 3 dims", "%", ".2f"),
        Column("accuracy_full", "TD accuracy, all dims", "%", ".2f"),
        Column("encoding_correlation", "angle and clock: correlation", "1", ".2f", "cannot tell"),
        Column("second_stable", "second stable null point", "updates", ".0f", "never"),
        Column("counting_rank_correlation", "distance and steps: correlation", "1", ".2f", "cannot tell"),
        Column("counting_probe_r2", "probe of elapsed steps: R2", "1", ".2f", "cannot tell"),
        Column("counting_probe_error", "its error", "steps", ".2f", "cannot tell"),
    )
    rows: list[tuple[Cell, ...]] = []
    for label, _, part in parts(groups):
        number = int(part["n_seeds"])
        cycles = part["driven_period"].values[part["driven_attractor"].values == CYCLE]
        periods = tuple(int(period) for period in np.unique(cycles.astype(int)))
        driven = _counts(part["driven_attractor"], ENTRAINED)
        rows.append((label, None, number, None, None, driven, periods or None, *_readout(part), *_counting(part)))
        for symbol, name in enumerate(part["symbol"].values):
            alone = _counts(part["attractor"].isel(symbol=symbol), ATTRACTORS)
            points = _stability(part.isel(symbol=symbol, checkpoint=-1))
            rows.append((label, str(name), number, alone, points, *[None] * (len(columns) - 5)))
    title = "what the last networks do, and how they keep the time: median over seeds (quartiles)"
    return Table("last-networks", title, columns, tuple(rows))


def second_task_table(groups: Mapping[str, xr.Dataset]) -> Table:
    """Oscillation in the second task of the periodic clock, a row for each scheme that has one.

    Seeds that oscillate, without a stable fixed point under the symbol whose fixed point bifurcates first most often;
    those of them that have one in the second task, and by which checkpoint; those without one (again). Updates since it
    began: medians (quartiles).
    """
    columns = (
        Column("scheme", "scheme"),
        Column("seeds", "seeds"),
        Column("before", "oscillate before"),
        Column("stop", "stop"),
        Column("stop_by", "by checkpoint", "updates", ".0f", "never"),
        Column("again", "oscillate again"),
        Column("again_by", "by checkpoint", "updates", ".0f", "never"),
        Column("learned", "learned second task"),
        Column("halfway", "halfway", "updates", ".0f", "never"),
        Column("end", "oscillate at the end"),
    )
    rows: list[tuple[Cell, ...]] = []
    for label, _, part in parts(groups):
        if not has_second_task(part) or not last_clock(part):
            continue
        one = part.isel(symbol=first_symbol(part))
        oscillating = oscillates_under(one).transpose("checkpoint", "seed")
        at = int(np.searchsorted(part["checkpoint"].values, int(part["then_from"].max())))
        lost, back = one["then_orbit_lost"], one["then_orbit_returns"]
        rows.append((label, int(part["n_seeds"]), int(oscillating[at].sum()), _number(lost), _spread(lost),
                     _number(back), _spread(back), _number(part["then_td_four_fifths"]),
                     _spread(part["then_td_halfway"]), int(oscillating[-1].sum())))  # fmt: skip
    return Table("second-task", "oscillation in the second task, since it began: median over seeds (quartiles)",
                 columns, tuple(rows))  # fmt: skip


def _left_out(label: str, part: xr.Dataset) -> list[str]:
    """What a reader has to know of seeds that are in no number."""
    why = {"n_failed": "failed", "n_unmeasured": "could not be measured"}
    counts = {text: int(part[name]) for name, text in why.items() if name in part and part[name] > 0}
    return [f"{label}: {count} seeds {text} and are left out" for text, count in counts.items()]


def _bifurcated(part: xr.Dataset, place: xr.DataArray, symbol: xr.DataArray | int) -> tuple[Cell, ...]:
    """Seeds with a bifurcation, those of them in which it was located between two updates (None where that was not
    tried), and where it is."""
    refined = int(part["refined"].isel(symbol=symbol).sum()) if "refined" in part else None
    return _number(place), refined, _spread(place)


def _angle_and_modulus(part: xr.Dataset, symbol: int) -> tuple[Cell, ...]:
    """Under a symbol: the angle of the leading eigenvalue of the last network times P / 2 pi, with P the period of the
    clock (None without one), and the modulus where half is learned."""
    one, period = part.isel(symbol=symbol), part["last_period"]
    turns = one["leading_angle"].isel(checkpoint=-1) * period / (2 * np.pi)
    return _spread(turns) if last_clock(part) else None, _spread(one["modulus_at_halfway"])


def _readout(part: xr.Dataset) -> tuple[Cell, ...]:
    if "accuracy_restricted" not in part or not np.isfinite(part["accuracy_restricted"]).any():
        return None, None, None
    accuracies = (100 * float(part[f"accuracy_{name}"].mean()) for name in ("restricted", "full"))
    return *accuracies, _spread(part["encoding_correlation"])


def _counting(part: xr.Dataset) -> tuple[Cell, ...]:
    null = -1 if last_clock(part) else int(part["null_symbol"].max())
    if null < 0:
        return None, None, None, None
    counted = (_spread(part[name]) if name in part else None for name in COUNTED)
    return _spread(part["second_stable"].isel(symbol=null)), *counted


def _number(values: xr.DataArray) -> int:
    return int(np.isfinite(values).sum())


def _counts(kinds: xr.DataArray, names: tuple[str, ...]) -> dict[str, int]:
    """How often each of the names occurs, the most frequent first."""
    known = kinds.values[np.isfinite(kinds.values)]
    often = np.bincount(known.astype(int), minlength=len(names))
    return {names[i]: int(often[i]) for i in np.argsort(-often, kind="stable") if often[i]}


def _stability(one: xr.Dataset) -> dict[str, int]:
    """Fixed points of all seeds by their stability, and seeds with a continuum of them by its dimension."""
    stable = int(one["stable_fixed_points"].sum())
    marginal = int(one["marginal_fixed_points"].sum()) if "marginal_fixed_points" in one else 0
    counts = {"stable": stable, "unstable": int(one["fixed_points"].sum()) - stable - marginal, "marginal": marginal}
    if "fixed_point_dimension" in one:
        dimension = one["fixed_point_dimension"].values
        for d in np.unique(dimension[dimension > 0]):
            counts[f"continuum of dimension {int(d)}"] = int((dimension == d).sum())
    return {label: count for label, count in counts.items() if count}


def _interval(part: xr.Dataset, name: str) -> Estimate:
    value, low, high = (float(part[f"{name}{end}"]) for end in ("", "_low", "_high"))
    return Estimate(value, low=low, high=high)


def _spread(values: xr.DataArray) -> Estimate:
    """Median and quartiles of what is known."""
    low, middle, high = (float(value) for value in quantiles(values))
    return Estimate(middle, low=low, high=high)


REPORT = Report(tables=tables, figures=figures)
