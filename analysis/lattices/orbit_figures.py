"""Figures of the orbits of uncoupled rings: period against pulses per neuron, and basin shares."""

from collections.abc import Iterator, Mapping
from typing import Any

import matplotlib as mpl
import numpy as np
import xarray as xr
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

from isophase.analysis.drawing import MARKERS, MAX_PANELS, say, say_first
from isophase.analysis.schemes import parameters, schemes, told_apart
from isophase.kernels.orbits import firing_time

CURVE_POINTS = 600
LEAST_DENSITY = 1 / 40  # pulses per neuron where the axis begins; below, the period is that of a lone pulse
COLUMNS = 3
LEAST_SHARE = 1e-3
NEURON = ("delay", "v_high", "v_low")


def period(summaries: Mapping[str, xr.Dataset]) -> Figure:
    """Period of a neuron against pulses per neuron: closed form (lines), measured (markers by ring size).

    Open markers are of states that have not settled. A panel per delay and thresholds, shaded where no evenly spaced
    orbit exists.
    """
    panels = _neurons(summaries)
    sizes = sorted({size for part in panels.values() for size in part})
    wanted = np.geomspace(sizes[0], sizes[-1], len(MARKERS))
    marked = sorted({sizes[int(np.abs(np.array(sizes) - size).argmin())] for size in wanted})
    figure, axes = _grid(min(len(panels), MAX_PANELS), 3.1, 2.8)
    say_first(figure, len(axes), len(panels), "panels")
    if len(marked) < len(sizes):
        say(figure, f"{len(marked)} of {len(sizes)} ring sizes")
    density = np.linspace(LEAST_DENSITY, 1, CURVE_POINTS)
    for axis, (title, ((delay, v_high, v_low), parts)) in zip(axes, _titled(panels), strict=False):
        curve = np.array([firing_time(1 / x, delay, v_high, v_low)[1] for x in density])
        axis.plot(density, curve, color="0.35", label="closed form", zorder=1)
        axis.fill_between(density, 0, 1, where=np.isnan(curve), transform=axis.get_xaxis_transform(),
                          color="0.5", alpha=0.15, linewidth=0, label="no evenly spaced orbit")  # fmt: skip
        for number, size in enumerate(marked):
            if size in parts:
                at = parts[size]["pulses"] / size
                axis.plot(at, parts[size]["period"], MARKERS[number], color=f"C{number}", markersize=3.5,
                          label=f"ring of {size}")  # fmt: skip
                axis.plot(at, parts[size]["period_unsettled"], MARKERS[number], color=f"C{number}", markersize=5,
                          markerfacecolor="none", markeredgewidth=0.7)  # fmt: skip
        axis.set(title=title, yscale="log", xlim=(LEAST_DENSITY, 1.03))
    _outer_labels(axes, "pulses per neuron, k/N", "period of a neuron (tau)")
    by_label = {text: line for axis in axes for line, text in zip(*axis.get_legend_handles_labels(), strict=True)}
    figure.legend(by_label.values(), by_label.keys(), loc="outside right upper")
    return figure


def shares(summaries: Mapping[str, xr.Dataset]) -> Figure:
    """Basin share of every number of pulses (columns add up to 1) against the ring size; a panel per neuron."""
    panels = _neurons(summaries)
    sizes = sorted({size for part in panels.values() for size in part})
    with mpl.rc_context({"axes.grid": False}):
        figure, axes = _grid(min(len(panels), MAX_PANELS), 3.1, 2.8)
        say_first(figure, len(axes), len(panels), "panels")
        top = max(
            int(part["pulses"].values[part["share"].values >= LEAST_SHARE].max(initial=0))
            for parts in panels.values() for part in parts.values()
        )  # fmt: skip
        for axis, (title, (_, parts)) in zip(axes, _titled(panels), strict=False):
            image = np.full((top + 1, len(sizes)), np.nan)
            for column, size in enumerate(sizes):
                if size in parts:
                    share = parts[size]["share"].reindex(pulses=range(top + 1)).values
                    image[:, column] = np.where(share >= LEAST_SHARE, share, np.nan)
            drawn = axis.pcolormesh(image, cmap="viridis", norm=LogNorm(1e-2, 1), rasterized=True)
            half = np.array(sizes) // 2 + 1
            axis.step(np.arange(len(sizes) + 1), np.append(half, half[-1]), where="post", color="C3", linewidth=1,
                      label="k = N // 2")  # fmt: skip
            shown = np.unique(np.linspace(0, len(sizes) - 1, min(len(sizes), 8)).astype(int))
            axis.set_xticks(shown + 0.5, [str(sizes[i]) for i in shown])
            step = max(1, (top + 1) // 7)
            axis.set_yticks(np.arange(0, top + 1, step) + 0.5, [str(k) for k in range(0, top + 1, step)])
            axis.set(title=title, ylim=(0, top + 1))
        _outer_labels(axes, "ring size N (neurons)", "pulses k")
        figure.colorbar(drawn, ax=axes, label="fraction of initial states", extend="min")
        axes[0].legend(loc="upper left")
        return figure


Neuron = tuple[float, float, float]  # delay, v_high, v_low
Panels = dict[tuple[Neuron, str], dict[int, xr.Dataset]]


def _neurons(summaries: Mapping[str, xr.Dataset]) -> Panels:
    """Summaries by neuron and by what else tells its rings of a size apart, then by ring size."""
    found = [(parameters(part), part) for summary in summaries.values() for _, part in schemes(summary)]
    alike: dict[Any, list[dict[str, Any]]] = {}
    for scheme, _ in found:
        alike.setdefault(tuple(scheme[name] for name in (*NEURON, "ring_size")), []).append(scheme)
    differ = dict.fromkeys(
        name for rings in alike.values() for name in rings[0] if len({scheme[name] for scheme in rings}) > 1
    )
    panels: Panels = {}
    for scheme, part in found:
        delay, v_high, v_low = (scheme[name] for name in NEURON)
        rest = ", ".join(f"{name} {scheme[name]}" for name in differ)
        panels.setdefault(((delay, v_high, v_low), rest), {})[scheme["ring_size"]] = part
    return panels


def _titled(panels: Panels) -> Iterator[tuple[str, tuple[Neuron, dict[int, xr.Dataset]]]]:
    """The panels with titles that tell them apart."""
    texts = [dict(zip(values, told_apart(values), strict=True)) for values in
             (sorted({neuron[i] for neuron, _ in panels}) for i in range(len(NEURON)))]  # fmt: skip
    for (neuron, rest), parts in panels.items():
        delay, v_high, v_low = (text[value] for text, value in zip(texts, neuron, strict=True))
        title = f"delay {delay} tau\nv_high {v_high}, v_low {v_low}"
        yield f"{title}\n{rest}" if rest else title, (neuron, parts)


def _grid(number: int, width: float, height: float) -> tuple[Figure, list[Any]]:
    columns = min(number, COLUMNS)
    lines = -(-number // columns)
    figure = Figure(figsize=(width * columns + 1.4, height * lines), layout="constrained")
    axes = figure.subplots(lines, columns, squeeze=False, sharex=True, sharey=True)
    for axis in axes.flat[number:]:
        axis.remove()
    return figure, list(axes.flat[:number])


def _outer_labels(axes: list[Any], x: str, y: str) -> None:
    for number, axis in enumerate(axes):
        if number % COLUMNS == 0:
            axis.set_ylabel(y)
        if number + COLUMNS >= len(axes):
            axis.set_xlabel(x)
            axis.tick_params(labelbottom=True)
