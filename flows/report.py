"""What a person sees of a reduced store: its tables, then its figures, and the line that opens it."""

import os
import sys
import traceback
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path

import xarray as xr

from isophase.analysis.base import Figures, Report, Summaries
from isophase.analysis.drawing import drawn, style
from isophase.analysis.tables import Table
from isophase.flows import artifacts
from isophase.flows.errors import StoreRefusedError
from isophase.flows.formats import FORMATS, as_html, terminal
from isophase.flows.reduction import kind_of, summaries_of
from isophase.sweeps.store import is_stale, is_url, open_store, resolve, unusable


@dataclass(frozen=True)
class StoreReport:
    """The tables and figures of a reduced store.

    Attributes
    ----------
    store : its location.
    tables : by their keys.
    choose_figures : gives ``figures``.
    left_out : a line for each scheme that could not be reduced.
    """

    store: str
    tables: dict[str, Table]
    choose_figures: Callable[[], Figures]
    left_out: tuple[str, ...] = ()

    @cached_property
    def figures(self) -> Figures:
        """Figures by name; each is drawn, as a matplotlib figure, when it is called."""
        return {name: partial(drawn, function) for name, function in self.choose_figures().items()}

    def __str__(self) -> str:
        return terminal(list(self.tables.values()))

    def _repr_html_(self) -> str:
        return as_html(list(self.tables.values()))


def report_of(store: str | os.PathLike[str]) -> StoreReport:
    """The report of a store that has been reduced; draws nothing.

    Raises
    ------
    StoreError : there is none, it is not reduced, or its kind is not known here.
    """
    location = resolve(store)
    report: Report = kind_of(location).report
    summaries = _read(location)
    tables = {table.key: table for table in report.tables(summaries)}
    return StoreReport(
        location, tables, lambda: report.figures(summaries, open_store(location)), tuple(summaries.left_out())
    )


def _read(location: str) -> Summaries:
    """The summaries of a store, with a note where they are older than its points."""
    summaries = summaries_of(location)
    if is_stale(location):
        note = f"note: store {location} has grown since it was reduced; run `isophase reduce {location}`"
        print(note, file=sys.stderr)
    return summaries


def show(report: StoreReport, figures: str | None = None) -> tuple[list[Path], int]:
    """Print the tables of a report, draw its figures, and say where everything is.

    Parameters
    ----------
    figures : folder of the figures; None: see :func:`figures_folder`.

    Returns
    -------
    Paths of the figures, and the number of those that could not be drawn.
    """
    print_tables(list(report.tables.values()))
    folder = Path(figures) if figures else figures_folder(report.store)
    paths, failed = draw(report.choose_figures, folder)
    for path in paths:
        print(f"figure  {path}")
    print("open the results with")
    print(f'  import isophase; tree = isophase.open("{report.store}"); print(tree)')
    return paths, failed


def compare(stores: Sequence[str], figures: str) -> tuple[list[Path], int, int]:
    """One set of tables and of figures of several reduced stores side by side, as rings beside Kuramoto oscillators.

    Parameters
    ----------
    stores : reduced stores, of kinds that share a report which can set groups side by side.
    figures : folder of the figures.

    Returns
    -------
    Paths of the figures, how many schemes are left out as they could not be reduced, and how many figures as they could
    not be drawn.
    """
    named = map(resolve, stores)
    locations = list({name if is_url(name) else os.path.realpath(name): name for name in named}.values())
    stems = [Path(location).name.removesuffix(".zarr") for location in locations]
    reports: list[Report] = [kind_of(location).report for location in locations]
    groups: dict[str, xr.Dataset] = {}
    for location, stem, report in zip(locations, stems, reports, strict=True):
        if report.beside is None or report is not reports[0]:
            raise StoreRefusedError(
                f"store {location}: holds kind {kind_of(location).name!r}, which cannot be set beside "
                f"kind {kind_of(locations[0]).name!r} of {locations[0]}"
            )
        title = stem if stems.count(stem) == 1 else location
        groups |= {f"{title}: {name}": summary for name, summary in _read(location).groups.items()}
    beside = reports[0].beside
    assert beside is not None
    print_tables(reports[0].tables(Summaries(groups)))
    left_out = say_left_out(Summaries(groups).left_out())
    paths, failed = draw(lambda: beside(Summaries(groups)), Path(figures))
    for path in paths:
        print(f"figure  {path}")
    return paths, left_out, failed


def say_left_out(lines: Iterable[str]) -> int:
    """Say what a reduction had to leave out; returns how much that is."""
    found = list(lines)
    for line in found:
        print(f"left out: {line}", file=sys.stderr)
    return len(found)


def print_tables(tables: Sequence[Table], form: str = "terminal") -> None:
    """Print tables; in a flow run they are artifacts too."""
    for table in tables:
        artifacts.table(table)
    print(FORMATS[form](tables))


def draw(choose: Callable[[], Figures], folder: Path) -> tuple[list[Path], int]:
    """Draw figures into a folder that is made where it is missing, as PNG; returns their paths, and how many failed.

    A figure that fails is said with its traceback, and costs no other; so does choosing them, which counts as one.
    """
    paths, failed = [], 0
    try:
        figures = choose()
    except Exception:
        print(f"the figures could not be chosen:\n{traceback.format_exc()}", file=sys.stderr)
        return [], 1
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, function in figures.items():
            try:
                figure = drawn(function)
                with style():
                    figure.savefig(folder / f"{name}.png")
            except OSError:
                raise
            except Exception:
                failed += 1
                print(f"figure {name} could not be drawn:\n{traceback.format_exc()}", file=sys.stderr)
                continue
            if note := figure.get_suptitle():
                print(f"note: figure {name}: {'; '.join(note.splitlines())}", file=sys.stderr)
            paths.append(folder / f"{name}.png")
    except OSError as error:
        raise unusable(f"figures {folder}: cannot be written: {error}", error) from None
    return paths, failed


def figures_folder(store: str) -> Path:
    """Beside the store: ``NAME.figures`` of ``NAME.zarr``, else ``NAME-figures``; of a URL below this folder."""
    place = Path(store.rstrip("/").replace("://", "/", 1) if is_url(store) else os.path.normpath(resolve(store)))
    name = place.name.removesuffix(".zarr")
    return place.parent / (f"{name or 'store'}-figures" if name == place.name else f"{name}.figures")
