"""The contract between a science and the flows: how a kind's points become a summary, and a summary what people see."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import xarray as xr
from matplotlib.figure import Figure

from isophase.analysis.schemes import grid_axes, labels_along
from isophase.analysis.tables import Table

Figures = dict[str, Callable[[], Figure]]
"""Figures by name, each drawn when it is called."""


@dataclass(frozen=True)
class Summaries:
    """What a reduction left in a store: of every group by its name, and of several groups together."""

    groups: Mapping[str, xr.Dataset]
    across: Mapping[str, xr.Dataset] = field(default_factory=dict)

    def left_out(self) -> Iterator[str]:
        """A line for each scheme that could not be reduced, and stands in no table and no figure."""
        for name, summary in self.groups.items():
            if "reduction_error" not in summary:
                continue
            errors, dims = summary["reduction_error"], grid_axes(summary)
            for label, error in zip(labels_along(summary, dims), errors.transpose(*dims).values.ravel(), strict=True):
                if error:
                    yield f"{name}: {label or 'its one scheme'}: {error}"


@dataclass(frozen=True)
class Measurement:
    """One measurement with all that it brings; a science's reduction and report go over a list of them.

    Attributes
    ----------
    measure : ``(dataset, summary) -> variables to add``: the recorded scheme (or seed, where these are measured one by
        one), and what was measured of it before.
    names : units of every variable and dimension that it adds; "" where a unit makes no sense, "time" for those of the
        sample times.
    figures : ``{name: draw}``, each from the summaries of all groups by name.
    """

    measure: Callable[[xr.Dataset, xr.Dataset], xr.Dataset]
    names: Mapping[str, str]
    figures: Mapping[str, Callable[[Mapping[str, xr.Dataset]], Figure]] = field(default_factory=dict)


def _no_names(template: xr.Dataset) -> Mapping[str, str]:
    return {}


@dataclass(frozen=True)
class Reduction:
    """From the finished points of a group to its summary.

    Every dataset that it is given carries in ``attrs`` the ``kind`` and, as JSON, the ``parameters`` of its own point
    or scheme, seed apart; ``status`` says with its CF flags which seeds are done.

    Attributes
    ----------
    summarise : a group after one position is chosen on each of its axes but ``seed`` -> the summary of that scheme.
        With ``measure``: what was measured of the finished seeds, along ``seed`` -> the summary.
    names : ``template of a point -> {name: units}`` of every variable and dimension that a summary adds, so that an
        axis cannot take one of them; "" where a unit makes no sense.
    measure : ``(group at one seed, again) -> measured``, along a ``seed`` of length 1. ``again`` is None, or
        ``checkpoints -> dataset``: the kind's ``run_again`` for this point, to look between what was recorded.
    across : ``{group: summary} -> {name: dataset}`` from several groups together, as the extrapolation over sizes.
    """

    summarise: Callable[[xr.Dataset], xr.Dataset]
    names: Callable[[xr.Dataset], Mapping[str, str]] = _no_names
    measure: Callable[..., xr.Dataset] | None = None
    across: Callable[[Mapping[str, xr.Dataset]], dict[str, xr.Dataset]] | None = None


def _no_tables(summaries: Summaries) -> list[Table]:
    return []


def _no_figures(summaries: Summaries, tree: Any) -> Figures:
    return {}


@dataclass(frozen=True)
class Report:
    """What people see of a reduced store.

    Attributes
    ----------
    tables : ``summaries -> tables``.
    figures : ``(summaries, tree) -> figures``; the tree is the whole store, lazily.
    beside : ``summaries -> figures`` of groups of several stores of kinds with this report; None: not to be compared.
    """

    tables: Callable[[Summaries], list[Table]] = _no_tables
    figures: Callable[[Summaries, xr.DataTree], Figures] = _no_figures
    beside: Callable[[Summaries], Figures] | None = None
