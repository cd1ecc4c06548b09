"""The one plotting style: panels, colours, markers and legends."""

import itertools
import math
from collections.abc import Iterator
from typing import Any

import matplotlib as mpl
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from isophase.analysis.schemes import others, schemes

STYLE: dict[Any, Any] = {
    "figure.dpi": 130,
    "savefig.bbox": "tight",
    "font.size": 9,
    "axes.grid": True,
    "grid.alpha": 0.25,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    "lines.linewidth": 1.4,
}
MARKERS = "osD^vP*X"
MAX_CURVES = 10  # more in one panel cannot be told apart
PANELS_PER_ROW = 3


def logarithmic(panel: Axes, axis: str) -> None:
    """Logarithmic axes (``x``, ``y`` or ``xy``) where a point is drawn at all: matplotlib refuses an empty one."""
    points = np.concatenate(
        [np.column_stack(line.get_data()).astype(float) for line in panel.get_lines()] or [np.empty((0, 2))]
    )
    drawn = np.isfinite(points).all(axis=1)
    if "x" in axis and (points[drawn, 0] > 0).any():
        panel.set_xscale("log")
    if "y" in axis and (points[drawn, 1] > 0).any():
        panel.set_yscale("log")


def coloured(summary: xr.Dataset, without: str = "") -> Iterator[tuple[Any, tuple[str, xr.Dataset]]]:
    """At most ``MAX_CURVES`` schemes of a summary, each with a colour of its own."""
    found = others(summary, without) if without else schemes(summary)
    chosen = list(itertools.islice(found, MAX_CURVES))
    ordered = len(chosen) <= 5
    for number, entry in enumerate(chosen):
        yield (mpl.colormaps["viridis"](0.9 * number / max(len(chosen) - 1, 1)) if ordered else f"C{number}"), entry


def axis_label(summary: xr.Dataset, axis: str) -> str:
    return str(summary[axis].attrs.get("long_name", axis))


def panel_grid(number: int, width: float, height: float, **options: Any) -> tuple[Figure, list[Axes]]:
    """A figure of ``number`` panels of a width and height in inches, ``PANELS_PER_ROW`` in a row."""
    columns = min(number, PANELS_PER_ROW)
    rows = math.ceil(number / columns)
    figure = Figure(figsize=(width * columns + 1.2, height * rows), layout="constrained")
    panels = list(figure.subplots(rows, columns, squeeze=False, **options).flat)
    for unused in panels[number:]:
        unused.remove()
    return figure, panels[:number]


def legend(axes: Axes) -> None:
    if axes.get_legend_handles_labels()[1]:
        axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1.0), borderaxespad=0, fontsize=7.5)
