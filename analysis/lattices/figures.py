"""Figures of lattice summaries and trajectories: one style, every axis with its unit, every curve in a legend."""

import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from isophase.analysis.drawing import (
    MARKERS,
    MAX_CURVES,
    PANELS_PER_ROW,
    axis_label,
    coloured,
    first_schemes,
    in_legend,
    legend,
    logarithmic,
    panel_grid,
    say,
    say_first,
)
from isophase.analysis.schemes import grid_axes, labels_along, number_of, parameters, schemes
from isophase.analysis.statistics import is_flag
from isophase.analysis.tables import with_error

MAX_MAPS = 6
MAX_SCHEMES = 40  # beside one another
MAX_LEVEL = 16  # characters of a label of a scheme that needs no slope
PHASES: dict[str, Any] = {"cmap": "twilight", "vmin": 0, "vmax": 2 * np.pi, "interpolation": "nearest"}
LEAST_S = 1e-3
SPACINGS = "correlation length (ring spacings)"
EVOLUTION = {
    "order": "global order |⟨exp iθ⟩|",
    "largest_domain": "largest domain / lattice",
    "boundary_density": "pairs out of phase",
    "defects": "defects per plaquette",
}


def growth(summaries: Mapping[str, xr.Dataset]) -> Figure:
    """Correlation length against time, a panel per group, a curve per scheme with its band of one standard error.

    Dashed: the fitted power law, over its window, where there is one.
    """
    figure, panels = panel_grid(len(summaries), 4.2, 3.4, sharey=True)
    for panel, (name, summary) in zip(panels, summaries.items(), strict=True):
        for colour, (label, part) in coloured(figure, summary):
            time, xi, error = (np.asarray(part[key], float) for key in ("time", "xi", "xi_error"))
            exponent, its_error = float(part["growth_exponent"]), float(part["growth_exponent_error"])
            fitted = np.isfinite(exponent)
            law = f": t^({with_error(exponent, its_error)})" if fitted else ""
            panel.plot(time, xi, color=colour, label=label + law)
            panel.fill_between(time, xi - error, xi + error, color=colour, alpha=0.2, linewidth=0)
            if fitted:
                inside = (time >= float(part["growth_t_min"])) & (time <= float(part["growth_t_max"]))
                scale = np.exp(np.mean(np.log(xi[inside]) - exponent * np.log(time[inside])))
                panel.plot(time[inside], scale * time[inside] ** exponent, "--", color="0.25", linewidth=1)
        panel.set(title=name, xlabel="time (tau)")
        logarithmic(panel, "xy")
        legend(panel)
    for panel in panels[::PANELS_PER_ROW]:
        panel.set_ylabel(SPACINGS)
    return figure


def steady(summaries: Mapping[str, xr.Dataset]) -> Figure:
    """Steady correlation length of every scheme, a marker per group; open markers are not shown to be steady."""
    at = {name: dict(itertools.islice(schemes(summary), MAX_SCHEMES)) for name, summary in summaries.items()}
    labels = list(dict.fromkeys(label for parts in at.values() for label in parts))
    total, labels = max(len(labels), *map(number_of, summaries.values())), labels[:MAX_SCHEMES]
    figure = Figure(figsize=(max(4.2, 0.55 * len(labels) + 2.5), 3.8), layout="constrained")
    axes = figure.add_subplot()
    for number, name in enumerate(summaries):
        x = np.array([i for i, label in enumerate(labels) if label in at[name]], float)
        x += 0.6 / len(summaries) * (number - (len(summaries) - 1) / 2)
        parts = [at[name][label] for label in labels if label in at[name]]
        _steady_points(axes, x, parts, f"C{number}", MARKERS[number % 8], name)
    crowded = len(labels) > 4 or max(map(len, labels), default=0) > MAX_LEVEL
    axes.set_xticks(range(len(labels)), labels, rotation=35 if crowded else 0, ha="right" if crowded else "center")
    axes.set(
        xlim=(-0.6, len(labels) - 0.4),
        ylabel=SPACINGS,
        title="last half of the run ± standard error\nopen: not shown to be steady; arrow: longer than L/2",
    )
    say_first(figure, len(labels), total, "schemes")
    logarithmic(axes, "y")
    legend(axes)
    return figure


def along_axis(summaries: Mapping[str, xr.Dataset], axis: str) -> Figure:
    """Steady correlation length against a numeric axis of the grid, a panel per group, a curve per other scheme."""
    figure, panels = panel_grid(len(summaries), 4.2, 3.4, sharey=True)
    for panel, (name, summary) in zip(panels, summaries.items(), strict=True):
        values = np.asarray(summary[axis], float)
        for number, (label, part) in enumerate(first_schemes(figure, summary, axis, MAX_CURVES)):
            colour, marker = f"C{number}", MARKERS[number % 8]
            panel.plot(values, np.asarray(part["xi_inf"], float), "-", color=colour, linewidth=0.8, alpha=0.6)
            _steady_points(panel, values, [part.isel({axis: i}) for i in range(len(values))], colour, marker, label)
        positive = values[values > 0]
        if positive.size and positive.max() > 20 * positive.min():
            panel.set_xscale("symlog", linthresh=positive.min())
        panel.set(title=name, xlabel=axis_label(summary, axis))
        legend(panel)
    for panel in panels[::PANELS_PER_ROW]:
        panel.set_ylabel(SPACINGS)
    return figure


def hop_axes(summary: xr.Dataset, names: tuple[str, ...] = ("delay", "dt")) -> list[str]:
    """The grid axes of a summary along which one of these parameters moves, alone or with others."""
    moved = {axis["name"]: set(axis["values"]) for axis in json.loads(summary.attrs.get("axes", "[]"))}
    return [dim for dim in grid_axes(summary) if moved[dim] & set(names)]


def against_hop(summaries: Mapping[str, xr.Dataset]) -> Figure:
    """Steady length against the time that a switch takes to the next neuron: the delay, or a fixed-step scheme's dt.

    A curve per position on the axes that move neither; of the exact kernel, and of the fixed-step scheme, where a
    switch takes the delay and its step.
    """
    figure, panels = panel_grid(len(summaries), 4.4, 3.4, sharey=True)
    for panel, (name, summary) in zip(panels, summaries.items(), strict=True):
        found = list(_hops(summary).items())
        curves = found[:MAX_CURVES]
        say_first(figure, len(curves), len(found), "curves")
        for number, (label, points) in enumerate(curves):
            hop, parts = np.array([at for at, _ in points]), [part for _, part in points]
            colour, marker = f"C{number}", MARKERS[number % 8]
            panel.plot(hop, [float(part["xi_inf"]) for part in parts], color=colour, linewidth=0.8)
            _steady_points(panel, hop, parts, colour, marker, label)
        positive = [hop for _, points in curves for hop, _ in points if hop > 0]
        if positive:
            panel.set_xscale("symlog", linthresh=min(positive))
        panel.set(title=name, xlabel="delay or dt (tau)")
        legend(panel)
    for panel in panels[::PANELS_PER_ROW]:
        panel.set_ylabel(SPACINGS)
    return figure


def _hops(summary: xr.Dataset) -> dict[str, list[tuple[float, xr.Dataset]]]:
    """Schemes by what they have in common but delay and dt, each with its time of a hop, in increasing order."""
    along = hop_axes(summary)
    across = [dim for dim in grid_axes(summary) if dim not in along]
    values = itertools.product(*(summary[dim].values.tolist() for dim in across))
    labels = dict(zip(values, labels_along(summary, across), strict=True))
    found: dict[str, list[tuple[float, xr.Dataset]]] = {}
    for _, part in schemes(summary):
        scheme = parameters(part)
        delay, dt = float(scheme.get("delay", 0.0)), float(scheme.get("dt", 0.0))
        method = "fixed step, against delay + dt" if dt else "exact, against the delay"
        label = labels[tuple(part[dim].item() for dim in across)]
        found.setdefault(f"{label}, {method}" if label else method, []).append((delay + dt, part))
    return {label: sorted(points, key=lambda point: point[0]) for label, points in found.items()}


def correlations(summaries: Mapping[str, xr.Dataset]) -> Figure:
    """Modulus of the phase correlation at the last time against distance, a panel per group, a curve per scheme."""
    figure, panels = panel_grid(len(summaries), 4.2, 3.4, sharey=True)
    for panel, (name, summary) in zip(panels, summaries.items(), strict=True):
        last = summary.isel(time=-1)
        for colour, (label, part) in coloured(figure, last):
            panel.plot(part["distance"], part["correlation"], "o-", markersize=2.5, color=colour, label=label)
        panel.axhline(np.exp(-1), color="0.5", linewidth=0.8, linestyle=":", label="1/e")
        panel.set(title=f"{name}, t = {float(last.time):g} tau", xlabel="distance (ring spacings)")
        panel.set(yscale="log", ylim=(5e-3, 1.2))
        legend(panel)
    for panel in panels[::PANELS_PER_ROW]:
        panel.set_ylabel("phase correlation |C(d)|")
    return figure


def structure(summaries: Mapping[str, xr.Dataset]) -> Figure:
    """Structure factor at the last time against the distance from the order's wavevector, with its error over seeds.

    Up to half way to the opposite order, and down to a thousandth of what independent phases have, which is 1.
    """
    figure, panels = panel_grid(len(summaries), 4.2, 3.4, sharey=True)
    for panel, (name, summary) in zip(panels, summaries.items(), strict=True):
        last = summary.isel(time=-1)
        for colour, (label, part) in coloured(figure, last):
            k, S, error = (
                np.asarray(part[key], float)[1:]
                for key in ("shell_wavenumber", "structure_factor", "structure_factor_error")
            )
            panel.plot(k, S, "o-", markersize=2.5, color=colour, label=label)
            panel.fill_between(k, np.maximum(S - error, LEAST_S), S + error, color=colour, alpha=0.2, linewidth=0)
        panel.axhline(1, color="0.5", linewidth=0.8, linestyle=":", label="independent phases")
        panel.set(title=f"{name}, t = {float(last.time):g} tau", xlabel="|q - Q| (rad per ring spacing)")
        logarithmic(panel, "xy")
        panel.set_xlim(right=np.pi)
        legend(panel)
    for panel in panels:
        panel.set_ylim(LEAST_S, max(10.0, panel.get_ylim()[1]))
    for panel in panels[::PANELS_PER_ROW]:
        panel.set_ylabel("structure factor S")
    return figure


def evolution(summaries: Mapping[str, xr.Dataset]) -> Figure:
    """Order, domains, boundaries and defects against time, a row per group, a curve per scheme with its error."""
    figure = Figure(figsize=(2.7 * len(EVOLUTION) + 1.8, 2.5 * len(summaries)), layout="constrained")
    grid = figure.subplots(len(summaries), len(EVOLUTION), squeeze=False)
    for row, (line, (name, summary)) in enumerate(zip(grid, summaries.items(), strict=True)):
        for panel, (quantity, title) in zip(line, EVOLUTION.items(), strict=True):
            for colour, (label, part) in coloured(figure, summary):
                time, value, error = (np.asarray(part[k], float) for k in ("time", quantity, f"{quantity}_error"))
                panel.plot(time, value, color=colour, label=label)
                panel.fill_between(time, value - error, value + error, color=colour, alpha=0.2, linewidth=0)
            panel.set(title="" if row else title)
            logarithmic(panel, "x")
            if row == len(grid) - 1:
                panel.set_xlabel("time (tau)")
        line[0].set_ylabel(f"{name}\n(fraction)")
        legend(line[-1])
    return figure


def sizes(finite_size: Mapping[str, xr.Dataset]) -> Figure:
    """Steady correlation length against the size of the lattice and its extrapolation, a panel per tiling."""
    figure, panels = panel_grid(len(finite_size), 4.2, 3.4)
    for panel, (name, dataset) in zip(panels, finite_size.items(), strict=True):
        size = np.asarray(dataset["size"], float)
        for colour, (label, part) in coloured(figure, dataset, without="size"):
            xi, error = (np.asarray(part[key], float) for key in ("xi_inf", "xi_inf_error"))
            panel.errorbar(1 / size, xi, error, fmt="o", color=colour, capsize=3, label=label)
            limit = float(part["xi_infinite"])
            if np.isfinite(limit):
                x = np.array([0.0, 1 / size.min()])
                panel.plot(x, limit + float(part["slope"]) * x, "--", color=colour, linewidth=0.8)
                panel.errorbar(0, limit, float(part["xi_infinite_error"]), fmt="s", color=colour, capsize=3)
        inverse = np.linspace(1 / size.max(), 1 / size.min(), 50)
        panel.plot(inverse, 0.25 / inverse, ":", color="0.5", linewidth=0.8, label="L/4: feels the size")
        panel.set(title=name, xlabel="1 / L (per ring spacing); squares: L → ∞", ylabel=SPACINGS)
        logarithmic(panel, "y")
        legend(panel)
    return figure


def phase_maps(dataset: xr.Dataset, times: tuple[float, ...] = ()) -> Figure:
    """Maps of the ring phases of one group: a row per scheme (its first finished seed), a column per time."""
    with mpl.rc_context({"axes.grid": False}):
        found = [(label, one) for label, part in schemes(dataset[["phase", "status"]]) for one in _first_seed(part)]
        rows = found[:MAX_MAPS]
        recorded = dataset.time.values
        spaced = {int(np.abs(recorded - t).argmin()) for t in np.geomspace(recorded[0], recorded[-1], 4)}
        wanted = times or tuple(float(recorded[i]) for i in sorted(spaced))
        flat = dataset.sizes["row"] == 1  # a chain: space against time in one picture
        columns = 1 if flat else len(wanted)
        height = 2.2 * max(len(rows), 1)
        figure = Figure(figsize=(7 if flat else 2.1 * columns + 0.8, height), layout="constrained")
        say_first(figure, len(rows), len(found), "schemes")
        if len(found) < number_of(dataset):
            say(figure, f"{number_of(dataset) - len(found)} schemes have no finished seed")
        if not rows:  # they were finished when the store was reduced
            return figure
        panels = figure.subplots(len(rows), columns, squeeze=False)
        for row, (line, (label, part)) in enumerate(zip(panels, rows, strict=True)):
            if flat:
                _space_and_time(line[0], part, label)
            else:
                _maps(line, part, label, wanted, first=row == 0, last=row == len(rows) - 1)
        image = panels[0, 0].images[0]
        bar = figure.colorbar(image, ax=panels, ticks=[0, np.pi, 2 * np.pi], label="phase (rad)", shrink=0.6)
        bar.ax.set_yticklabels(["0", "π", "2π"])
        return figure


def _first_seed(part: xr.Dataset) -> Iterator[xr.Dataset]:
    """A scheme at the first of its seeds that is done, if there is one."""
    done = np.flatnonzero(is_flag(part["status"], "done"))
    if done.size:
        yield part.isel(seed=done[0]) if "seed" in part.dims else part


def _named(label: str, part: xr.Dataset) -> str:
    return f"{label}: seed {part['seed'].item()}" if "seed" in part.coords else label


def _space_and_time(panel: Axes, part: xr.Dataset, label: str) -> None:
    time = part.time.values.astype(float)
    end = time[-1] if len(time) > 1 else time[0] + 1  # one sample is as wide as any
    values = part["phase"].isel(row=0).transpose("col", "time").values
    panel.imshow(values, **PHASES, origin="lower", aspect="auto", extent=(time[0], end, 0, part.sizes["col"]))
    panel.set(xlabel="time (tau)", ylabel=f"{_named(label, part)}\nring")


def _maps(
    line: Sequence[Axes], part: xr.Dataset, label: str, wanted: tuple[float, ...], first: bool, last: bool
) -> None:
    for panel, t in zip(line, wanted, strict=True):
        at = part["phase"].sel(time=t, method="nearest")
        panel.imshow(at.transpose("row", "col").values, **PHASES, origin="upper")
        panel.set_xticks([0, at.sizes["col"] - 1])
        panel.set_yticks([0, at.sizes["row"] - 1])
        if first:
            panel.set_title(f"t = {float(at.time):.4g} tau", fontsize=9)
        if last:
            panel.set_xlabel("column of rings")
    line[0].set_ylabel(f"{_named(label, part)}\nrow of rings")


def _steady_points(axes: Axes, x: np.ndarray, parts: list[xr.Dataset], colour: str, marker: str, label: str) -> None:
    """Closed markers: steady; open ones: not shown to be steady; arrows: longer than half of the lattice."""
    names = ("xi_inf", "xi_inf_error", "xi_inf_lower_bound")
    xi, error, bound = (np.array([float(part[name]) for part in parts]) for name in names)
    label = in_legend(label)
    steady = np.array([bool(part["steady"] == 1) for part in parts], bool)  # NaN where a scheme could not be reduced
    axes.errorbar(x, xi, error, fmt="none", ecolor=colour, capsize=3)
    longer = np.isfinite(bound)
    axes.errorbar(x[longer], bound[longer], 0.2 * bound[longer], fmt="none", color=colour, ecolor=colour, lolims=True)
    axes.plot(x[steady], xi[steady], marker, color=colour, label=label if steady.any() else None)
    heights, open_ones = np.where(longer, bound, xi), ~steady
    axes.plot(
        x[open_ones],
        heights[open_ones],
        marker,
        color=colour,
        markerfacecolor="none",
        label=None if steady.any() else label,
    )
