"""The Python entry: run, reduce and report from a script, a notebook or a flow of one's own."""

import os
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from distributed import Client

from isophase.flows.blocks import RunBlocks, in_threads
from isophase.flows.cluster import check_given, cluster
from isophase.flows.points import SweepSummary, run_points
from isophase.flows.reduction import ReduceSummary, reduce_points
from isophase.flows.report import StoreReport, report_of
from isophase.sweeps.kinds import Kind
from isophase.sweeps.sweep import Sweep, SweepError, from_definition, load, parse


def run(
    target: Any,
    *,
    axes: Mapping[str, Any] | None = None,
    fixed: Mapping[str, Any] | None = None,
    record: Mapping[str, Any] | None = None,
    seed: int | None = None,
    title: str | None = None,
    store: str | os.PathLike[str] | None = None,
    client: Client | None = None,
    scheduler: str | None = None,
    workers: int | None = None,
    prefect: bool = False,
    retry_failed: bool = False,
) -> SweepSummary:
    """Run what a store lacks of a sweep: start it, resume it, extend it.

    Parameters
    ----------
    target : a function under ``@isophase.point`` (or any kind), with ``axes``; or a sweep: the table that a TOML file
        holds, the path of one, or the name of a preset.
    axes, fixed, record, seed, title : the sweep of a function, as in a TOML file; arrays and ranges will do for lists.
    store : local path or URL of the result store [results/NAME.zarr].
    client : a Dask client to run on, of whatever cluster; it stays.
    scheduler, workers : without a client, the address of a scheduler, or the number of local worker processes [one per
        core].
    prefect : make a Prefect flow run of it, on the server of ``PREFECT_API_URL`` or on an embedded one. Without, the
        same fan-out runs and no server is needed.
    retry_failed : run points that failed before once more.

    Returns
    -------
    SweepSummary : points done, failed and pending, and times. Failed points are in the store with their errors.

    Raises
    ------
    SweepError, StoreError, ClusterError : before or instead of work that cannot be done.
    """
    sections = {"axes": axes, "fixed": fixed, "record": record, "seed": seed, "title": title}
    sweep = _sweep(target, {name: value for name, value in sections.items() if value is not None})
    location = os.fspath(store if store is not None else Path("results") / f"{sweep.name}.zarr")
    check_given(scheduler, workers, client)
    connect = partial(cluster, scheduler, workers, client=client)
    if prefect:
        return _in_flow(
            "sweep", sweep.name, location, lambda tasks: run_points(sweep, location, connect, tasks, retry_failed)
        )
    return run_points(sweep, location, connect, in_threads, retry_failed)


def _in_flow(name: str, run_name: str, store: str, work: Callable[[RunBlocks], Any]) -> Any:
    """The work as a Prefect flow run, its blocks as tasks."""
    from prefect import flow

    from isophase.flows import embedded, flow_runs
    from isophase.flows.tasks import RUNNER, as_tasks

    embedded.start(store)

    @flow(name=name, flow_run_name=lambda: run_name, task_runner=RUNNER, persist_result=False)
    def run_in_flow() -> Any:
        with flow_runs.entered(store):
            return work(as_tasks("block"))

    return run_in_flow()


def _sweep(target: Any, sections: dict[str, Any]) -> Sweep:
    if isinstance(target, Kind):
        name = target.name.partition(":")[2] or target.name
        return parse({"kind": target, **_plain(sections)}, name=name, where=f"the sweep of {name}")
    if callable(target):
        name = getattr(target, "__name__", repr(target))
        raise SweepError(f"{name}: is a plain function; must stand under @isophase.point, which says what it returns")
    if sections:
        raise SweepError(f"{next(iter(sections))}: must not be given beside a sweep, which has its own")
    if isinstance(target, Sweep):
        return target
    if isinstance(target, Mapping):
        return from_definition(target) if "name" in target else parse(_plain(target))
    return load(target)


def _plain(value: Any) -> Any:
    """Arrays, ranges and tuples as the lists of a TOML file, and NumPy's numbers as Python's."""
    if isinstance(value, Mapping):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    if isinstance(value, range | tuple | list):
        return [_plain(inner) for inner in value]
    return value


def reduce(
    store: str | os.PathLike[str],
    *,
    client: Client | None = None,
    scheduler: str | None = None,
    workers: int | None = None,
    refine: bool = False,
    prefect: bool = False,
) -> ReduceSummary:
    """Reduce the finished points of a store to a summary of every scheme, kept in its group ``summary``.

    Parameters
    ----------
    store : local path or URL.
    client, scheduler, workers : as of :func:`run`.
    refine : let the kind run points again, to look between what they recorded.
    prefect : make a Prefect flow run of it, as :func:`run` does.

    Returns
    -------
    ReduceSummary : the groups that were reduced, and with their errors the parts that had to be left out.

    Raises
    ------
    StoreError, SweepError, ClusterError : before or instead of work that cannot be done.
    """
    location, connect = os.fspath(store), partial(cluster, scheduler, workers, client=client)
    if prefect:
        return _in_flow("reduce", location, location, lambda tasks: reduce_points(location, connect, tasks, refine))
    return reduce_points(location, connect, in_threads, refine)


def report(store: str | os.PathLike[str]) -> StoreReport:
    """Tables and figures of a store that has been reduced.

    Printed, it is its tables; in a notebook too. ``report.tables`` hold values with units, ``report.figures`` functions
    that draw.

    Raises
    ------
    StoreError : the store is not there, or not reduced.
    """
    return report_of(store)
