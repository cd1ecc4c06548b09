"""Tables as text: one renderer for each format, from any number of tables to one document."""

import csv
import html
import io
import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table as Grid
from rich.text import Text

from isophase.analysis.tables import Cell, Estimate, Table

MARKUP = re.compile(r"[\\`*\[\]|~$]|(?<![^\W_])_|_(?![^\W_])")  # an _ inside a word is none


def terminal(tables: Sequence[Table]) -> str:
    """For a terminal: a title, columns under headings, the first to the left and the others to the right."""
    return "\n".join(map(_in_terminal, tables))


def _in_terminal(table: Table) -> str:
    grid = Grid(box=box.SIMPLE_HEAD)
    for number, column in enumerate(table.columns):
        grid.add_column(Text(column.heading), justify="left" if number == 0 else "right", no_wrap=True)
    for line in table.texts():
        grid.add_row(*map(Text, line))  # labels are the user's text, not markup
    plain: Any = {"force_jupyter": False, "force_terminal": False, "color_system": None}
    widest = Console(width=1000, **plain).measure(grid).maximum
    console = Console(width=max(Console(**plain).width, widest), **plain)
    with console.capture() as captured:
        console.print(Text(table.title), soft_wrap=True)
        console.print(grid)
        for note in table.notes:
            console.print(Text(note))
    return captured.get()


def markdown(tables: Sequence[Table]) -> str:
    """For a page in Markdown."""
    return "\n\n".join(map(_in_markdown, tables))


def _in_markdown(table: Table) -> str:
    header = [column.heading for column in table.columns]
    head, *rows = ["| " + " | ".join(map(of_markdown, row)) + " |" for row in (header, *table.texts())]
    lines = [head, "|" + " --- |" * len(header), *rows]
    return "\n".join([f"**{of_markdown(table.title)}**", "", *lines, *(f"\n{of_markdown(n)}" for n in table.notes)])


def of_markdown(text: str) -> str:
    """Text as it is, none of it markup: in a cell, in a link, or on a line of its own."""
    plain = MARKUP.sub(r"\\\g<0>", html.escape(text, quote=False).replace("\n", " "))
    return re.sub(r"^(\s*\d*)([-+#.)])(?=[\s#-]|$)", r"\1\\\2", plain)


def as_html(tables: Sequence[Table]) -> str:
    """For a page in HTML: a ``table`` with caption, headings and notes, for each."""
    return "\n".join(map(_in_html, tables))


def _in_html(table: Table) -> str:
    head = "".join(f"<th scope='col'>{html.escape(column.heading)}</th>" for column in table.columns)
    rows = "".join("<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>"
                   for row in table.texts())  # fmt: skip
    notes = "".join(f"<p>{html.escape(note)}</p>" for note in table.notes)
    caption = f"<caption>{html.escape(table.title)}</caption>"
    return f"<table>{caption}<thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>{notes}"


def as_csv(tables: Sequence[Table]) -> str:
    """Values, not what a person reads: an estimate takes a column for each of its numbers; NaN is empty.

    Of several tables each begins with a comment, ``# KEY: TITLE``, and they are parted by an empty line.
    """
    if len(tables) == 1:
        return _in_csv(tables[0])
    return "\n".join(f"# {table.key}: {table.title}\n{_in_csv(table)}" for table in tables)


def _in_csv(table: Table) -> str:
    flat = [[_flat(column.key, cell) for column, cell in zip(table.columns, row, strict=True)] for row in table.rows]
    names: list[str] = []
    for number, column in enumerate(table.columns):
        names += list(dict.fromkeys(name for row in flat for name in row[number])) or [column.key]
    out = io.StringIO()
    writer = csv.DictWriter(out, names, lineterminator="\n", restval="")
    writer.writeheader()
    writer.writerows([{name: value for cell in row for name, value in cell.items()} for row in flat])
    return out.getvalue()


def _flat(key: str, cell: Cell) -> dict[str, Any]:
    if isinstance(cell, Estimate):
        parts = {key: cell.value, f"{key}_error": cell.error, f"{key}_low": cell.low, f"{key}_high": cell.high}
        shown = {name: _number(value) for name, value in parts.items() if value is not None}
        return shown | ({f"{key}_is_lower_bound": True} if cell.bound else {})
    if isinstance(cell, Mapping):
        return {key: "; ".join(f"{name}: {number}" for name, number in cell.items())}
    if isinstance(cell, tuple):
        return {key: " ".join(map(str, cell))}
    return {key: _number(cell)}


def _number(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else ""
    return "" if value is None else value


def as_json(tables: Sequence[Table]) -> str:
    """Values with titles and units, a list of tables; NaN is null."""
    return json.dumps(list(map(_in_json, tables)), ensure_ascii=False, indent=1)


def _in_json(table: Table) -> dict[str, Any]:
    columns = [{"key": c.key, "title": c.title, "units": c.units} for c in table.columns]
    rows = [{c.key: _plain(cell) for c, cell in zip(table.columns, row, strict=True)} for row in table.rows]
    return {"table": table.key, "title": table.title, "columns": columns, "rows": rows, "notes": list(table.notes)}


def _plain(cell: Cell) -> Any:
    if isinstance(cell, Estimate):
        parts = {"value": cell.value, "error": cell.error, "low": cell.low, "high": cell.high}
        shown = {name: _plain(value) for name, value in parts.items() if name == "value" or value is not None}
        return shown | ({"lower_bound": True} if cell.bound else {})
    if isinstance(cell, Mapping):
        return dict(cell)
    if isinstance(cell, tuple):
        return list(cell)
    return None if isinstance(cell, float) and not math.isfinite(cell) else cell


FORMATS: dict[str, Callable[[Sequence[Table]], str]] = {
    "terminal": terminal,
    "markdown": markdown,
    "html": as_html,
    "csv": as_csv,
    "json": as_json,
}
