"""What a person sees of a reduced store: the table in the terminal, the figures, and the line that opens it."""

import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import xarray as xr
from matplotlib.figure import Figure
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from isophase.analysis import schemes
from isophase.analysis.lattices import figures as plots
from isophase.analysis.lattices import orbit_figures as orbit_plots
from isophase.analysis.networks import figures as training_plots
from isophase.flows import artifacts
from isophase.flows.reduce import FINITE_SIZE
from isophase.sweeps.store import SUMMARY, StoreError, is_stale, is_url, open_store, resolve

LENGTH_TITLE = "correlation length xi (ring spacings), with standard error over seeds"
Rows = tuple[tuple[str, ...], Iterable[tuple[str, ...]]]  # the header of a table and its rows


def report(store: str, figures: str | None = None) -> list[Path]:
    """Print the tables of a reduced store, draw its figures, and say where everything is; returns the figures' paths.

    Parameters
    ----------
    store : local path or URL of a store that ``reduce`` has run on.
    figures : folder of the figures; None: the store's path with ``.figures``, in this folder for a URL.
    """
    store = resolve(store)
    tree, summaries = open_store(store), read_summaries(store)
    kind = next(iter(summaries.values())).attrs["kind"]
    if kind == "flipflop":
        drawn = training_plots.figures(summaries)
        print_table(
            "learning phases: median over seeds (quartiles), in updates", training_plots.learning_rows(summaries)
        )
        print_table("bifurcations of the fixed points, in updates", training_plots.bifurcation_rows(summaries))
        print_table("what the last networks do, and how they keep the time", training_plots.time_rows(summaries))
        if (second := training_plots.retraining_rows(summaries))[1]:
            print_table("oscillation in the second task, in updates since it began", second)
    elif kind == "rings":
        drawn = orbit_plots.figures(summaries)
        print_table("periodic orbits of uncoupled rings", orbit_plots.rows(summaries))
    else:
        extrapolated = tree[SUMMARY].children.get(FINITE_SIZE)
        sizes = {name: n.to_dataset().load() for name, n in extrapolated.children.items()} if extrapolated else {}
        drawn = lattice_figures(summaries, sizes)
        drawn |= {f"phases-{name}": plots.phase_maps(tree[name].to_dataset()) for name in summaries}
        print_table(LENGTH_TITLE, length_rows(summaries))
        if sizes:
            print_table("correlation length of an infinite lattice, xi + slope / L", size_rows(sizes))
    paths = save(drawn, Path(figures) if figures else figures_folder(store))
    for path in paths:
        print(f"figure  {path}")
    print("open the results with")
    print(f'  import isophase; tree = isophase.open("{store}"); print(tree)')
    return paths


def compare(stores: Sequence[str], figures: str) -> list[Path]:
    """One table and one set of figures of several reduced stores side by side, as rings beside Kuramoto oscillators.

    Parameters
    ----------
    stores : reduced stores of kind ``lattice`` or ``kuramoto``.
    figures : folder of the figures.
    """
    summaries = {}
    locations = list(dict.fromkeys(resolve(store) for store in stores))
    stems = [Path(location).stem for location in locations]
    for store, stem in zip(locations, stems, strict=True):
        title = stem if stems.count(stem) == 1 else store
        for name, summary in read_summaries(store).items():
            if "xi_inf" not in summary:
                raise StoreError(f"store {store}: holds kind {summary.attrs['kind']!r}; lattices can be compared")
            summaries[f"{title}: {name}"] = summary
    print_table(LENGTH_TITLE, length_rows(summaries))
    drawn = {
        "compare-growth": plots.growth(summaries),
        "compare-evolution": plots.evolution(summaries),
        "compare-correlations": plots.correlations(summaries),
    }
    paths = save(drawn, Path(figures))
    for path in paths:
        print(f"figure  {path}")
    return paths


def read_summaries(store: str) -> dict[str, xr.Dataset]:
    """The summary of every group of a reduced store, in memory; StoreError where there is none."""
    tree = open_store(store)
    if SUMMARY not in tree:
        raise StoreError(f"store {store}: not reduced yet; run `isophase reduce {store}`")
    summaries = {name: n.to_dataset().load() for name, n in tree[SUMMARY].children.items() if name != FINITE_SIZE}
    if not summaries:
        raise StoreError(f"store {store}: its summary holds no group; run `isophase reduce {store}`")
    if is_stale(store):
        print(f"note: store {store} has grown since it was reduced; run `isophase reduce {store}`", file=sys.stderr)
    return summaries


def lattice_figures(summaries: Mapping[str, xr.Dataset], sizes: Mapping[str, xr.Dataset]) -> dict[str, Figure]:
    """The figures of lattices of rings or of Kuramoto oscillators, by name."""
    drawn = {
        "growth": plots.growth(summaries),
        "steady": plots.steady(summaries),
        "correlations": plots.correlations(summaries),
        "evolution": plots.evolution(summaries),
    }
    axes = dict.fromkeys(axis for summary in summaries.values() for axis in schemes.numeric_axes(summary))
    drawn |= {f"against-{axis}": plots.along_axis(summaries, axis) for axis in axes}
    along_hops = {name: s for name, s in summaries.items() if "dt" in s.coords and s["dt"].ndim == 1}
    if along_hops:
        drawn["against-hop"] = plots.against_hop(along_hops)
    if sizes:
        drawn["sizes"] = plots.sizes(sizes)
    return drawn


def save(figures: Mapping[str, Figure], folder: Path) -> list[Path]:
    """Write the figures as PNG into a folder that is made where it is missing; returns their paths."""
    paths = [folder / f"{name}.png" for name in figures]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for path, figure in zip(paths, figures.values(), strict=True):
            figure.savefig(path)
    except OSError as error:
        raise StoreError(f"figures {folder}: cannot be written: {error}") from None
    return paths


def figures_folder(store: str) -> Path:
    path = Path(store.rstrip("/").split("/")[-1]) if is_url(store) else Path(os.path.normpath(resolve(store)))
    return path.parent / f"{path.stem or 'store'}.figures"


def print_table(title: str, rows: Rows) -> None:
    """Print a table with a title; columns of numbers are aligned to the right. In a flow run it is an artifact too."""
    header, lines = rows[0], list(rows[1])
    artifacts.table(title, header, lines)
    table = Table(title=title, box=box.SIMPLE_HEAD, title_justify="left")
    for number, column in enumerate(header):
        table.add_column(column, justify="left" if number == 0 else "right", no_wrap=True)
    for line in lines:
        table.add_row(*map(Text, line))  # labels are the user's text, not markup
    wide = Console(width=1000)
    Console(width=max(Console().width, wide.measure(table).maximum)).print(table)


def length_rows(summaries: Mapping[str, xr.Dataset]) -> Rows:
    """Steady correlation length and growth of every scheme and size, with the standard error over seeds."""
    header = (
        "scheme",
        "group",
        "seeds",
        "xi: e-folding",
        "exp. fit",
        "2nd moment",
        "state",
        "since (tau)",
        "growth exponent",
    )
    return header, _length_lines(summaries)


def _length_lines(summaries: Mapping[str, xr.Dataset]) -> Iterable[tuple[str, ...]]:
    for group, summary in summaries.items():
        states = summary["state"].attrs["flag_meanings"].split()
        growth_states = summary["growth_state"].attrs["flag_meanings"].split()
        for label, part in schemes.schemes(summary):
            lengths = [_length(part, suffix) for suffix in ("", "_fit", "_second_moment")]
            state = states[int(part["state"])].replace("_", " ")
            if bool(part.get("delay_limited", False)):
                state = "delay-limited"
            elif bool(part["beyond_quarter"]):
                state += ", > L/4"
            since = float(part["time_to_steady"])
            exponent = with_error(float(part["growth_exponent"]), float(part["growth_exponent_error"]))
            growth = exponent or growth_states[int(part["growth_state"])].replace("_", " ")
            yield (
                label,
                group,
                str(int(part["n_seeds"])),
                *lengths,
                state,
                f"{since:.0f}" if np.isfinite(since) else "",
                growth,
            )


def _length(part: xr.Dataset, suffix: str) -> str:
    text = with_error(float(part[f"xi_inf{suffix}"]), float(part[f"xi_inf{suffix}_error"]))
    bound = float(part["xi_inf_lower_bound"])
    return text or (f"> {bound:g}" if np.isfinite(bound) else "not defined")


def size_rows(sizes: Mapping[str, xr.Dataset]) -> Rows:
    """The extrapolation of every scheme to an infinite lattice."""
    header = (
        "scheme",
        "tiling",
        "sizes",
        "xi of L -> infinity",
        "slope",
        "chi2/dof (p)",
        "d ln xi / d ln L",
        "verdict",
    )
    return header, _size_lines(sizes)


def _size_lines(sizes: Mapping[str, xr.Dataset]) -> Iterable[tuple[str, ...]]:
    for name, dataset in sizes.items():
        verdicts = dataset["finite_size_state"].attrs["flag_meanings"].split()
        for label, part in schemes.schemes(dataset.drop_dims("size")):
            used = dataset["used"].sel({dim: part[dim] for dim in schemes.grid_axes(dataset) if dim != "size"})
            dof = int(part["dof"])
            yield (
                label,
                name,
                f"{int(used.sum())} of {used.size}",
                with_error(float(part["xi_infinite"]), float(part["xi_infinite_error"])) or "not defined",
                with_error(float(part["slope"]), float(part["slope_error"])),
                f"{float(part['chi2']) / dof:.2f} ({float(part['p_value']):.2f})" if dof else "",
                with_error(float(part["size_exponent"]), float(part["size_exponent_error"])),
                verdicts[int(part["finite_size_state"])].replace("_", " "),
            )


def with_error(value: float, error: float) -> str:
    """``1.23 ± 0.04``, with two digits of the error; empty where there is no value."""
    if not np.isfinite(value):
        return ""
    if not (np.isfinite(error) and error > 0):
        return f"{value:.4g} (one seed)" if not np.isfinite(error) else f"{value:.4g}"
    digits = max(0, min(6, 1 - int(np.floor(np.log10(error)))))
    return f"{value:.{digits}f} ± {error:.{digits}f}"
