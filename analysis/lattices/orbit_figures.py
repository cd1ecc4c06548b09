"""Figures and table of the orbits of uncoupled rings: period against pulses per neuron, and basin shares."""

from collections.abc import Iterator, Mapping
from typing import Any

import matplotlib as mpl
import numpy as np
import xarray as xr
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

from isophase.analysis.drawing import MARKERS, STYLE
from isophase.analysis.lattices.orbits import PARAMETERS
from isophase.analysis.schemes import grid_axes, schemes
from isophase.kernels.orbits import NOT_SETTLED, UNDEFINED, firing_time

CURVE_POINTS = 600
LEAST_DENSITY = 1 / 40  # pulses per neuron where the axis begins; below, the period is that of a lone pulse
COLUMNS = 3
LEAST_SHARE = 1e-3
STACKED = "all grid axes"  # not a name that an axis can have
HEADER = ("scheme", "states", "pulses", "most often", "share (95 %)", "period (tau)", "closed form", "deviation",
          "settled", "settles in (tau)", "orbits")  # fmt: skip


def figures(summaries: Mapping[str, xr.Dataset]) -> dict[str, Figure]:
    """Both figures of the summaries of a ``rings`` store, by name."""
    return {"orbits-period": period(summaries), "orbits-shares": shares(summaries)}


def period(summaries: Mapping[str, xr.Dataset]) -> Figure:
    """Period of a neuron against pulses per neuron: closed form (lines), measured (markers by ring size).

    Open markers are of states that have not settled. A panel per delay and thresholds, shaded where no evenly spaced
    orbit exists.
    """
    panels = _neurons(summaries)
    sizes = sorted({size for part in panels.values() for size in part})
    wanted = np.geomspace(sizes[0], sizes[-1], len(MARKERS))
    marked = sorted({sizes[int(np.abs(np.array(sizes) - size).argmin())] for size in wanted})
    with mpl.rc_context(STYLE):
        figure, axes = _grid(len(panels), 3.1, 2.8)
        density = np.linspace(LEAST_DENSITY, 1, CURVE_POINTS)
        for axis, ((delay, v_high, v_low), parts) in zip(axes, panels.items(), strict=True):
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
            axis.set(title=_title(delay, v_high, v_low), yscale="log", xlim=(LEAST_DENSITY, 1.03))
        _outer_labels(axes, "pulses per neuron, k/N", "period of a neuron (tau)")
        by_label = {text: line for axis in axes for line, text in zip(*axis.get_legend_handles_labels(), strict=True)}
        figure.legend(by_label.values(), by_label.keys(), loc="outside right upper")
        return figure


def shares(summaries: Mapping[str, xr.Dataset]) -> Figure:
    """Basin share of every number of pulses (columns add up to 1) against the ring size; a panel per neuron."""
    panels = _neurons(summaries)
    sizes = sorted({size for part in panels.values() for size in part})
    with mpl.rc_context(STYLE | {"axes.grid": False}):
        figure, axes = _grid(len(panels), 3.1, 2.8)
        top = max(
            int(part["pulses"].values[part["share"].values >= LEAST_SHARE].max(initial=0))
            for parts in panels.values() for part in parts.values()
        )  # fmt: skip
        for axis, (neuron, parts) in zip(axes, panels.items(), strict=True):
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
            axis.set(title=_title(*neuron), ylim=(0, top + 1))
        _outer_labels(axes, "ring size N (neurons)", "pulses k")
        figure.colorbar(drawn, ax=axes, label="fraction of initial states", extend="min")
        axes[0].legend(loc="upper left")
        return figure


def rows(summaries: Mapping[str, xr.Dataset]) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Header and lines of the table of orbits, one line for each scheme.

    ``pulses``: all numbers of pulses that states ended with; the next four columns are those of the commonest.
    ``deviation``: largest relative difference of a period from the closed form, over all numbers of pulses;
    ``settled``: fraction of the states that did; ``settles in``: median and 90 % quantile of the most frequent number;
    ``orbits``: distinct ones that coexist, rest included.
    """
    lines = []
    for summary in summaries.values():
        for label, at in schemes(summary[["n_states"]]):
            lines.append((label, *_line(summary.sel({dim: at[dim] for dim in grid_axes(summary[["n_states"]])}))))
    return HEADER, lines


def _line(part: xr.Dataset) -> tuple[str, ...]:
    count = part["count"].fillna(0)
    reached = part["pulses"].values[count.sum("outcome").values > 0]
    if not reached.size:
        return (str(int(part["n_states"])), *[""] * (len(HEADER) - 2))
    often = part.sel(pulses=reached[np.argmax(part["share"].sel(pulses=reached).values)])
    share, low, high = (100 * float(often[name]) for name in ("share", "share_low", "share_high"))
    unsettled = float(count.isel(outcome=[NOT_SETTLED, UNDEFINED]).sum()) / float(count.sum())
    median, late = float(often["transient"]), float(often["transient_90"])
    deviation = part["deviation"].max().item()
    return (
        str(int(part["n_states"])),
        _ranges(reached.tolist()),
        str(int(often["pulses"])),
        f"{share:.0f} % ({low:.0f} to {high:.0f})",
        _number(often["period"].item(), ".6f"),
        _number(often["closed_form"].item(), ".6f"),
        _number(deviation, ".0e"),
        f"{100 * (1 - unsettled):.0f} %",
        f"{median:.4g} (90 %: {late:.4g})" if np.isfinite(median) else "not settled",
        str(int(part["coexisting"])),
    )


def _number(value: float, form: str) -> str:
    return f"{value:{form}}" if np.isfinite(value) else ""


def _ranges(numbers: list[int]) -> str:
    """``1-3, 5`` for 1, 2, 3, 5."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ", ".join(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs)


def _neurons(summaries: Mapping[str, xr.Dataset]) -> dict[tuple[float, float, float], dict[int, xr.Dataset]]:
    """Summaries by (delay, v_high, v_low), then by ring size; of doubles the last."""
    found: dict[tuple[float, float, float], dict[int, xr.Dataset]] = {}
    for part in _parts(summaries):
        size, *neuron = (_value(part, name) for name in PARAMETERS)
        found.setdefault(tuple(neuron), {})[int(size)] = part  # type: ignore[arg-type]
    return found


def _parts(summaries: Mapping[str, xr.Dataset]) -> Iterator[xr.Dataset]:
    for summary in summaries.values():
        dims = grid_axes(summary[["n_states"]])
        flat = summary.stack({STACKED: dims}, create_index=False) if dims else summary.expand_dims(STACKED)
        yield from (flat.isel({STACKED: i}) for i in range(flat.sizes[STACKED]))


def _value(part: xr.Dataset, name: str) -> float:
    return float(part[name] if name in part.coords else part.attrs[name])


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


def _title(delay: float, v_high: float, v_low: float) -> str:
    return f"delay {delay:g} tau\nv_high {v_high:g}, v_low {v_low:g}"
