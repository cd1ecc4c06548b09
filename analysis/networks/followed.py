"""What is shown of networks that were followed: a table of their fixed points, one of their events, and figures."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from isophase.analysis.base import Figures
from isophase.analysis.drawing import first_panels, in_legend, legend, panel_grid
from isophase.analysis.networks.bifurcations import DIRECTIONS
from isophase.analysis.tables import Cell, Column, Table

Parts = list[tuple[str, xr.Dataset, xr.Dataset, xr.Dataset, xr.DataArray]]  # input, branches, events, slow, complete
SHOWN = 40  # events in a table
NOTE = (
    "complete: the indices of the fixed points add up to 1, as they must. "
    "Two missed points of opposite index do not show."
)


def parts(branches: xr.Dataset, events: xr.Dataset, slow: xr.Dataset, complete: xr.DataArray) -> Parts:
    """What belongs to each input, or everything, without a name."""
    if "input" not in branches.dims:
        return [("", branches, events, slow, complete)]
    found: Parts = []
    for name in branches["input"].values:
        own = branches.sel(input=name)
        own = own.isel(branch=np.flatnonzero(own["exists"].any("checkpoint").values))
        of_event, of_slow = (
            part.isel({dim: np.flatnonzero(part["input"].values == name)})
            for part, dim in ((events, "event"), (slow, "slow_point"))
        )
        found.append((str(name), own, of_event, of_slow, complete.sel(input=name)))
    return found


def types(events: xr.Dataset) -> list[str]:
    """The type of every event in words."""
    meanings = events["type"].attrs["flag_meanings"].split()
    return [
        meanings[int(kind)].replace("_", "-").replace("cannot-tell", "cannot tell") for kind in events["type"].values
    ]


def tables(of_inputs: Parts) -> dict[str, Table]:
    """``fixed-points``, a row for each input, and ``events``, by their keys."""
    named = [Column("input", "input")] if of_inputs[0][0] else []
    columns = (
        *named,
        Column("checkpoints", "checkpoints"),
        Column("branches", "branches"),
        Column("first", "points, first"),
        Column("last", "points, last"),
        Column("stable", "stable, last"),
        Column("complete", "complete"),
        Column("slow", "slow points"),
        Column("slowest", "slowest", form=".2g", absent="none"),
        Column("events", "events"),
    )
    rows: list[tuple[Cell, ...]] = []
    for name, own, events, slow, complete in of_inputs:
        number, stable = own["number"].values, own["number_stable"].values
        counts = {str(word): int((complete == word).sum()) for word in ("complete", "incomplete", "not known")}
        verdict = {word: count for word, count in counts.items() if count}
        slowest = float(slow["speed"].min()) if slow.sizes["slow_point"] else np.nan
        rows.append((*([name] if named else []), len(number), own.sizes["branch"], int(number[0]), int(number[-1]),
                     int(stable[-1]), verdict, slow.sizes["slow_point"], slowest, events.sizes["event"]))  # fmt: skip
    points = Table("fixed-points", "fixed points through the checkpoints", columns, tuple(rows), (NOTE,))
    return {table.key: table for table in (points, _events(of_inputs, named))}


def _events(of_inputs: Parts, named: list[Column]) -> Table:
    columns = (
        *named,
        Column("type", "type"),
        Column("checkpoint", "checkpoint", form=".6g"),
        Column("low", "after", form=".6g"),
        Column("high", "before", form=".6g"),
        Column("direction", "what happens"),
        Column("branches", "branches"),
        Column("attractors", "changes attractors"),
    )
    rows: list[tuple[Cell, ...]] = []
    for name, _, events, _, _ in of_inputs:
        for kind, event in zip(types(events), _each(events), strict=True):
            own = tuple(sorted(int(branch) for branch in event["branches"].values if branch >= 0))
            where = (float(event[f"checkpoint{end}"]) for end in ("", "_low", "_high"))
            rows.append((*([name] if named else []), kind, *where,
                         DIRECTIONS[int(event["direction"])].replace("_", " "), own,
                         "yes" if event["changes_attractors"] else "no"))  # fmt: skip
    notes = (f"the first {SHOWN} of {len(rows)} events",) if len(rows) > SHOWN else ()
    return Table("events", "bifurcations", columns, tuple(rows[:SHOWN]), notes)


def _each(events: xr.Dataset) -> Iterator[xr.Dataset]:
    return (events.isel(event=number) for number in range(events.sizes["event"]))


def figures(of_inputs: Parts, continuous: bool) -> Figures:
    """``branches``, ``eigenvalues`` and, where there are slow points, ``speed``; a panel for each input."""
    wanted: dict[str, tuple[Callable[[Parts], Figure], Parts]] = {
        "branches": (_branches, of_inputs),
        "eigenvalues": (partial(_eigenvalues, continuous), of_inputs),
        "speed": (_speed, [part for part in of_inputs if part[3].sizes["slow_point"]]),
    }
    return {name: partial(first_panels, draw, shown, "inputs") for name, (draw, shown) in wanted.items() if shown}


def _title(name: str) -> str:
    return in_legend(f"input {name}") if name else ""


def _branches(shown: Parts) -> Figure:
    """The fixed points, seen along the line on which they differ most, against the checkpoint; events as lines."""
    figure, panels = panel_grid(len(shown), 5.2, 3.4)
    every = np.concatenate([own["h"].values[own["exists"].values] for _, own, _, _, _ in shown])
    hidden = every.shape[-1]
    centre = every.mean(axis=0) if len(every) else np.zeros(hidden)
    axis = np.linalg.svd(every - centre)[2][0] if len(every) and hidden > 1 else np.ones(hidden)
    axis = axis * np.sign(axis[np.abs(axis).argmax()])
    for panel, (name, own, events, slow, _) in zip(panels, shown, strict=True):
        checkpoint, stable, marginal = own["checkpoint"].values, own["stable"].values, own["marginal"].values
        y = (own["h"].values - (centre if hidden > 1 else 0)) @ axis
        exists = own["exists"].values
        for of_branch in y:
            panel.plot(checkpoint, of_branch, color="0.7", linewidth=0.8, zorder=1)
        looks: tuple[tuple[np.ndarray, str, dict[str, Any]], ...] = (
            (stable, "stable", {"color": "C0"}),
            (exists & ~stable & ~marginal, "unstable", {"facecolors": "none", "edgecolors": "C3"}),
            (exists & marginal, "marginal", {"color": "0.4", "marker": "x"}),
        )
        for kind, label, style in looks:
            branch, k = np.nonzero(kind)
            if len(k):
                panel.scatter(checkpoint[k], y[branch, k], s=12, linewidths=0.9, label=label, zorder=2, **style)
        if slow.sizes["slow_point"]:
            at = (slow["h"].values - (centre if hidden > 1 else 0)) @ axis
            panel.scatter(slow["checkpoint"], at, s=6, color="C2", marker="d", label="slow point", zorder=1.5)
        kinds, place = np.array(types(events)), events["checkpoint"].values
        for number, kind in enumerate(sorted(set(kinds))):
            for first, x in enumerate(place[kinds == kind]):
                panel.axvline(x, color=f"C{number + 4}", linestyle=":", linewidth=1.0, label=None if first else kind)
        panel.set(title=_title(name), xlabel="checkpoint")
        legend(panel)
    panels[0].set_ylabel("state" if hidden == 1 else "fixed points along their first principal axis")
    return figure


def _eigenvalues(continuous: bool, shown: Parts) -> Figure:
    """The eigenvalues at all fixed points in the complex plane, coloured by checkpoint."""
    figure, panels = panel_grid(len(shown), 4.2, 3.6)
    angle = np.linspace(0, 2 * np.pi, 361)
    for panel, (name, own, _, _, _) in zip(panels, shown, strict=True):
        branch, k = np.nonzero(own["exists"].values)
        z = own["eigenvalues"].values[branch, k]
        if continuous:
            panel.axvline(0.0, color="0.4", linewidth=0.8, label="imaginary axis")
        else:
            panel.plot(np.cos(angle), np.sin(angle), color="0.4", linewidth=0.8, label="unit circle")
            panel.set_aspect("equal", adjustable="datalim")
        of_point = np.broadcast_to(own["checkpoint"].values[k][:, None], z.shape)
        drawn = panel.scatter(z.real, z.imag, c=of_point, s=5, cmap="viridis", rasterized=True)
        figure.colorbar(drawn, ax=panel, label="checkpoint")
        panel.set(title=_title(name), xlabel="real part")
        panel.legend(loc="lower left", fontsize=7)
    panels[0].set_ylabel("imaginary part")
    return figure


def _speed(shown: Parts) -> Figure:
    """Speed of the slow points against the checkpoint; events that begin or end fixed points as lines."""
    figure, panels = panel_grid(len(shown), 4.6, 3.2)
    for panel, (name, _, events, slow, _) in zip(panels, shown, strict=True):
        panel.scatter(slow["checkpoint"], slow["speed"], s=12, color="C2", label="slow point")
        kinds = types(events)
        for number, place in enumerate(events["checkpoint"].values):
            if kinds[number] == "fold":
                panel.axvline(place, color="0.4", linestyle=":", linewidth=1.0)
        panel.set(title=_title(name), xlabel="checkpoint", yscale="log")
    panels[0].set_ylabel(str(shown[0][3]["speed"].attrs["long_name"]))
    return figure
