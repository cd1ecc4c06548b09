"""The one plotting style: panels, colours, markers and legends."""

import contextlib
import itertools
import math
import re
import textwrap
import unicodedata
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import matplotlib as mpl
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.ticker import FixedFormatter, Formatter, FuncFormatter, LogFormatterMathtext

from isophase.analysis.fonts import FONT, code_point, fonts_with, lacking, spelled
from isophase.analysis.schemes import number_of, others, schemes

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
    "axes.formatter.min_exponent": 4,  # 20 and 0.01 rather than 2×10¹ and 10⁻²
    "text.parse_math": False,  # labels are the user's text: a dollar is a dollar
}
MARKERS = "osD^vP*X"
GROWTHS = 20
MAX_CURVES = 10  # more in one panel cannot be told apart
PANELS_PER_ROW = 3
MAX_PANELS = 12  # or rows of them
LEAST_PANEL = 0.5  # of its share of the figure, in width and in height
LEGEND_LINE = 40  # characters
CHARACTER = 0.6  # width of one, as a share of the size of its font; of a wide one of East Asia 1
POWERS = str.maketrans("0123456789-", "⁰¹²³⁴⁵⁶⁷⁸⁹⁻")


@contextlib.contextmanager
def style() -> Iterator[None]:
    """Our style, in which a figure is drawn and saved; a matplotlibrc of the user changes nothing."""
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(STYLE)
        yield


def drawn(function: Callable[[], Figure]) -> Figure:
    """The figure of a function in our style, its long text in lines, its letters from fonts that have them, and as
    large as its panels need."""
    with style():
        figure = function()
        letters = lacking("".join(text.get_text() for text in _texts(figure)))
        fonts, unknown = fonts_with(letters) if letters else ((), frozenset())
        for text in _texts(figure) if unknown else ():
            text.set_text(spelled(text.get_text(), unknown))
        for axes in figure.axes:
            _wrap_ticks(axes, unknown)
        for axes, count in _panels(figure):
            _wrap_labels(axes, *(figure.get_size_inches() / count))
        for shown in (*figure.legends, *filter(None, (axes.get_legend() for axes in figure.axes))):
            for text in shown.get_texts():
                text.set_text(_lines(text.get_text(), LEGEND_LINE))
        if unknown:
            say(figure, f"letters that no installed font has stand as {code_point(min(unknown))}")
        for text in _texts(figure) if fonts else ():
            if lacking(text.get_text()):
                text.set_fontfamily([FONT, *fonts])
        _make_room(figure)
        return figure


def _texts(figure: Figure) -> list[Text]:
    return [text for text in figure.findobj(Text) if isinstance(text, Text)]


def _wrap_ticks(axes: Axes, unknown: frozenset[str]) -> None:
    for axis in (axes.xaxis, axes.yaxis):
        if isinstance(axis.get_major_formatter(), LogFormatterMathtext):
            axis.set_major_formatter(_Powers(axis.get_major_formatter()))
        if isinstance(axis.get_minor_formatter(), LogFormatterMathtext):
            axis.set_minor_formatter(_Powers(axis.get_minor_formatter()))
        if isinstance(axis.get_major_formatter(), FixedFormatter | FuncFormatter):  # as set_xticks leaves them
            texts = [spelled(text.get_text(), unknown) for text in axis.get_ticklabels()]  # as the formatter has them
            axis.set_ticklabels([_lines(text, LEGEND_LINE) for text in texts])


def _wrap_labels(axes: Axes, width: float, height: float) -> None:
    for text, inches in ((axes.title, width), (axes.xaxis.label, width), (axes.yaxis.label, height)):
        text.set_text(_lines(text.get_text(), int(72 * inches / (CHARACTER * float(text.get_fontsize())))))


def _lines(text: str, characters: int) -> str:
    if any(unicodedata.east_asian_width(letter) in "WF" for letter in text):
        characters = max(1, int(CHARACTER * characters))
    whole = (textwrap.fill(line, characters, break_on_hyphens=False) for line in text.split("\n"))
    return "\n".join(whole) if max(map(len, text.split("\n"))) > characters else text


def _panels(figure: Figure) -> Iterator[tuple[Axes, np.ndarray]]:
    """Every panel of a figure, colour bars apart, and how many there are beside and above one another."""
    for axes in figure.axes:
        place = axes.get_subplotspec()
        if place is not None:
            yield axes, np.array([place.get_gridspec().ncols, place.get_gridspec().nrows])


def _make_room(figure: Figure) -> None:
    """Enlarge a figure until what stands around its panels leaves them their share of it."""
    panels = list(_panels(figure))
    if not panels:  # it is laid out by whoever made it
        return
    wanted = LEAST_PANEL * figure.get_size_inches()
    for _ in range(GROWTHS):
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            figure.draw_without_rendering()
        size = figure.get_size_inches()
        if any("not applied" in str(warning.message) for warning in said):
            missing = 0.3 * size
        else:
            missing = np.max([wanted - count * size * axes.get_position(True).size for axes, count in panels], axis=0)
        if (missing < 0.05).all():
            return
        width, height = size + np.maximum(1.05 * missing, 0)
        figure.set_size_inches(width, height)


class _Powers(Formatter):
    """Powers of ten in characters, as 10⁻², of a formatter that writes formulas."""

    def __init__(self, formatter: Formatter):
        self._formatter = formatter

    def set_axis(self, axis: Any) -> None:
        super().set_axis(axis)
        self._formatter.set_axis(axis)

    def set_locs(self, locs: Any) -> None:
        super().set_locs(locs)
        self._formatter.set_locs(locs)

    def __call__(self, x: float, pos: int | None = None) -> str:
        formula = re.sub(r"\$\\mathdefault\{(.*)\}\$", r"\1", self._formatter(x, pos)).replace(r"\times", "×")
        return re.sub(r"\^\{(.*?)\}", lambda found: found[1].translate(POWERS), formula)


def in_legend(label: str) -> str:
    """A label that matplotlib shows in a legend: it leaves out those that begin with ``_``."""
    return f"\u200b{label}" if label.startswith("_") else label


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


def coloured(figure: Figure, summary: xr.Dataset, without: str = "") -> Iterator[tuple[Any, tuple[str, xr.Dataset]]]:
    """At most ``MAX_CURVES`` schemes of a summary, each with a colour of its own; the figure says how many it lacks."""
    chosen = first_schemes(figure, summary, without, MAX_CURVES)
    ordered = len(chosen) <= 5
    for number, entry in enumerate(chosen):
        colour = mpl.colormaps["viridis"](0.9 * number / max(len(chosen) - 1, 1)) if ordered else f"C{number}"
        yield colour, entry


def first_schemes(figure: Figure, summary: xr.Dataset, without: str, most: int) -> list[tuple[str, xr.Dataset]]:
    """The first schemes of a summary, or combinations of its axes but one, with labels for legends."""
    found = others(summary, without) if without else schemes(summary)
    chosen = [(in_legend(label), part) for label, part in itertools.islice(found, most)]
    say_first(figure, len(chosen), number_of(summary, without), "schemes")
    return chosen


def say_first(figure: Figure, drawn: int, number: int, what: str) -> None:
    """Say above a figure that it shows the first few of something alone."""
    if drawn < number:
        say(figure, f"the first {drawn} of {number} {what}")


def say(figure: Figure, line: str) -> None:
    """Say above a figure what of it is not as somebody expects; who draws it prints that too."""
    lines = figure.get_suptitle().splitlines()
    if line not in lines:
        figure.suptitle("\n".join([*lines, line]), fontsize=9)


def first_panels(draw: Callable[[Any], Figure], shown: Any, what: str) -> Figure:
    """A figure of the first ``MAX_PANELS`` of a list or mapping, which says so where there are more."""
    some = itertools.islice(shown.items() if isinstance(shown, dict) else shown, MAX_PANELS)
    figure = draw(type(shown)(some))
    say_first(figure, min(len(shown), MAX_PANELS), len(shown), what)
    return figure


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
