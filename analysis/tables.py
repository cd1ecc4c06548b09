"""Tables that hold values: numbers with their uncertainty and units. ``flows.formats`` renders them.

A kind's report makes them from summaries; nothing becomes text before a renderer asks for it.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

MOST_DIGITS = 9  # behind the point of a number with its error


@dataclass(frozen=True)
class Estimate:
    """A number with its uncertainty.

    Attributes
    ----------
    value : NaN where there is none.
    error : its standard error; NaN: not known (one seed); None: not of this kind.
    low, high : ends of its interval, or its quartiles, as the column says; NaN: not known; None: not of this kind.
    bound : the value is a lower bound.
    """

    value: float
    error: float | None = None
    low: float | None = None
    high: float | None = None
    bound: bool = False


Cell = str | int | float | None | Estimate | Mapping[str, int] | tuple[int, ...]
"""Text, a number, None (nothing to say), an estimate, numbers by name, or a set of whole numbers."""


@dataclass(frozen=True)
class Column:
    """What a column holds.

    Attributes
    ----------
    key : its name in CSV and JSON.
    title : what a person reads above it, units apart.
    units : of its numbers; "1" for none.
    form : how a number is written where no standard error says its digits, as ``format`` takes it.
    absent : what a person reads where a number is NaN.
    """

    key: str
    title: str
    units: str = ""
    form: str = ".4g"
    absent: str = ""

    @property
    def heading(self) -> str:
        """Title with units."""
        return f"{self.title} ({self.units})" if self.units not in ("", "1") else self.title


@dataclass(frozen=True)
class Table:
    """A titled table. ``rows`` hold one :data:`Cell` for each of ``columns``.

    Attributes
    ----------
    key : its name as a file; letters, digits and dashes.
    notes : sentences below it.
    """

    key: str
    title: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row) != len(self.columns):
                raise ValueError(f"table {self.key}: a row of {len(row)} cells under {len(self.columns)} columns")

    def column(self, key: str) -> list[Cell]:
        """The cells of a column, by its key."""
        number = [column.key for column in self.columns].index(key)
        return [row[number] for row in self.rows]

    def texts(self) -> list[tuple[str, ...]]:
        """The rows as a person reads them."""
        return [tuple(map(text, self.columns, row)) for row in self.rows]


def text(column: Column, cell: Cell) -> str:
    """A cell as a person reads it."""
    if cell is None:
        return ""
    if isinstance(cell, str):
        return cell
    if isinstance(cell, Estimate):
        return _estimate(column, cell)
    if isinstance(cell, Mapping):
        return ", ".join(f"{name.replace('_', ' ')} {number}" for name, number in cell.items())
    if isinstance(cell, tuple):
        return _ranges(cell)
    return column.absent if math.isnan(cell) else str(cell) if isinstance(cell, int) else f"{cell:{column.form}}"


def _estimate(column: Column, cell: Estimate) -> str:
    if math.isnan(cell.value):
        return column.absent
    if cell.bound:
        return f"> {cell.value:g}"
    if cell.error is not None:
        return with_error(cell.value, cell.error)
    shown = f"{cell.value:{column.form}}"
    if cell.low is None or cell.high is None:
        return shown
    if math.isnan(cell.low) or math.isnan(cell.high):
        return f"{shown} (?)"
    return f"{shown} ({cell.low:{column.form}} to {cell.high:{column.form}})"


def with_error(value: float, error: float) -> str:
    """``1.23 ± 0.04``, with two digits of the error; empty where there is no value."""
    if not math.isfinite(value):
        return ""
    if not (math.isfinite(error) and error > 0):
        return f"{value:.4g} (one seed)" if not math.isfinite(error) else f"{value:.4g}"
    digits = 1 - math.floor(math.log10(error))
    if digits > MOST_DIGITS:
        return f"{value:.10g} ± {error:.1g}"
    digits = max(0, digits)
    return f"{value:.{digits}f} ± {error:.{digits}f}"


def _ranges(numbers: tuple[int, ...]) -> str:
    """``1-3, 5`` for 1, 2, 3, 5."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ", ".join(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs)
