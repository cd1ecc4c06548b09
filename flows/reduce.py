"""The flow ``reduce``: finished points of a store to a summary of every scheme, kept in the store's group ``summary``.

A Dask task is one scheme: all of its seeds, read once, a seed at a time, and reduced on the worker. Of kinds in
``MEASURE`` it is one seed; what was measured of the seeds is then summarised here.
"""

import functools
import itertools
from collections.abc import Callable, Iterator
from typing import Any

import dask
import numpy as np
import xarray as xr
from prefect import flow, task
from prefect.cache_policies import NO_CACHE

from isophase.analysis.lattices import orbits
from isophase.analysis.lattices.finite_size import finite_size
from isophase.analysis.lattices.summary import summarise
from isophase.analysis.networks import training
from isophase.flows.cluster import Workers, cluster, fan_out
from isophase.flows.progress import Meter
from isophase.sweeps.kinds.flipflop import train_again
from isophase.sweeps.seeds import point_seed
from isophase.sweeps.store import (
    DONE,
    FAILED,
    SUMMARY,
    StoreError,
    exclusive,
    one_line,
    open_store,
    read,
    resolve,
    stored_sweep,
    write_summaries,
)
from isophase.sweeps.sweep import SweepError

FINITE_SIZE = "finite_size"  # in the store's summary, the extrapolation over the sizes of a tiling
SUMMARISE: dict[str, Callable[[xr.Dataset], xr.Dataset]] = {
    "lattice": summarise,
    "kuramoto": summarise,
    "rings": orbits.summarise,
    "flipflop": training.summarise,
}
MEASURE: dict[str, Callable[..., xr.Dataset]] = {"flipflop": training.measure}
RUN_AGAIN: dict[str, Callable[..., xr.Dataset]] = {"flipflop": train_again}  # of kinds that can be refined


@flow(name="reduce", flow_run_name="{store}")
def run_reduce(
    store: str,
    scheduler: str | None = None,
    workers: Workers = None,
    performance_report: str | None = None,
    refine: bool = False,
) -> list[str]:
    """Reduce the finished points of a store; returns the names of the reduced groups.

    Args:
        store: Local path or URL of a store.
        scheduler: Address of a Dask scheduler; none starts local worker processes.
        workers: Number of local worker processes; none: one per core.
        performance_report: File for Dask's performance report of the run, HTML.
        refine: Train networks again to their bifurcations, to locate these between two updates.

    Raises:
        StoreError: Nothing is there, or nothing is done yet.
        SweepError: There is nothing to refine in stores of this kind.
    """
    store = resolve(store)
    with exclusive(store):
        groups, parts = finished(store)
        check_refine(refine, store, groups)
        unit = "seeds" if all(dataset.attrs["kind"] in MEASURE for dataset in groups.values()) else "schemes"
        summaries: dict[str, xr.Dataset] = {}
        with (
            cluster(scheduler, workers, performance_report) as client,
            Meter("reduce", sum(map(len, parts.values())), unit) as meter,
        ):

            @task(name="reduce-group", task_run_name="reduce-{name}", cache_policy=NO_CACHE, persist_result=False)
            def reduce_group(name: str) -> None:
                found: dict[int, xr.Dataset] = {}
                calls = ((store, name, part, refine) for part in parts[name])
                for number, answer in fan_out(client, reduce_part, calls):
                    if isinstance(answer, BaseException):
                        raise answer
                    found[number] = answer
                    meter.add(1)
                summaries[name] = gather(groups[name], [found[i] for i in range(len(found))])

            for name in groups:
                reduce_group(name)
        extrapolated = {f"{FINITE_SIZE}/{name}": dataset for name, dataset in over_sizes(summaries).items()}
        write_summaries(store, summaries | extrapolated)
    return list(groups)


def finished(store: str) -> tuple[dict[str, xr.Dataset], dict[str, list[dict[str, int]]]]:
    """The groups of a store that hold finished points, and the :func:`parts_of` each."""
    with one_line(store):
        tree = open_store(store)
        groups = {name: node.to_dataset() for name, node in tree.children.items() if name != SUMMARY}
        groups = {name: dataset for name, dataset in groups.items() if (dataset["status"] == DONE).any()}
        if not groups:
            raise StoreError(f"store {store}: no point is done, there is nothing to reduce")
        return groups, {name: list(parts_of(dataset)) for name, dataset in groups.items()}


def parts_of(dataset: xr.Dataset) -> Iterator[dict[str, int]]:
    """What is reduced at a time: the positions of all schemes, or of all finished seeds of kinds in ``MEASURE``."""
    for position in positions_of(dataset):
        if dataset.attrs["kind"] in MEASURE:
            done = (dataset["status"].isel(position) == DONE).values
            yield from (position | {"seed": int(seed)} for seed in np.flatnonzero(done))
        else:
            yield position


def check_refine(refine: bool, store: str, groups: dict[str, xr.Dataset]) -> None:
    """Refuse to refine what has no bifurcation between checkpoints."""
    kinds = {str(dataset.attrs["kind"]) for dataset in groups.values()}
    if refine and not kinds <= set(RUN_AGAIN):
        raise SweepError(
            f"refine: store {store} is of kind {', '.join(kinds)}; only {', '.join(RUN_AGAIN)} can be refined"
        )


def reduce_part(store: str, group: str, position: dict[str, int], refine: bool = False) -> xr.Dataset:
    """Summary of one scheme over its finished seeds, or what is measured of one seed. Runs on a worker."""
    # In this thread: Dask would hand the chunks to the scheduler, and the worker would need a client of its own.
    with one_line(store, "reduced"), dask.config.set(scheduler="sync"):
        dataset = open_store(store)[group].to_dataset().isel(position)
        kind = dataset.attrs["kind"]
        if kind not in MEASURE:
            return SUMMARISE[kind](dataset)
        if not refine:
            return MEASURE[kind](dataset)
        sweep = stored_sweep(store)
        of_group = read(store).groups[group].group
        point = of_group.point(tuple(position[axis.name] for axis in of_group.axes))
        seed = point_seed(sweep["seed"], kind, point, of_group.kind.seed_free)
        return MEASURE[kind](dataset, functools.partial(RUN_AGAIN[kind], point, seed, of_group.record))


def gather(dataset: xr.Dataset, found: list[xr.Dataset]) -> xr.Dataset:
    """The summary of a group from those of its parts, in the order of :func:`parts_of`."""
    kind = dataset.attrs["kind"]
    if kind not in MEASURE:
        return join(dataset, found)
    schemes = []
    measured = iter(found)
    for position in positions_of(dataset):
        number = int((dataset["status"].isel(position) == DONE).sum())
        seeds = [next(measured) for _ in range(number)] or [found[0].isel(seed=slice(0))]
        summary = SUMMARISE[kind](xr.concat(seeds, "seed", coords="minimal", compat="override", join="exact"))
        failed = int((dataset["status"].isel(position) == FAILED).sum())
        summary["n_failed"] = ((), failed, {"units": "1", "long_name": "seeds that failed, left out of everything"})
        schemes.append(summary)
    return join(dataset, schemes)


def over_sizes(summaries: dict[str, xr.Dataset]) -> dict[str, xr.Dataset]:
    """Steady lengths of lattices that differ in their size alone, with the extrapolation to an infinite one.

    Keyed by the groups' name without the size; the lattices of one size have nothing to extrapolate from.
    """
    families: dict[str, list[xr.Dataset]] = {}
    for summary in summaries.values():
        if "xi_inf" in summary:
            family = f"{summary.attrs['tiling']}" + ("-open" if summary.attrs["boundary"] == "open" else "")
            lengths = summary[["xi_inf", "xi_inf_error"]].drop_vars("size").expand_dims(size=[summary.attrs["cols"]])
            families.setdefault(family, []).append(lengths)
    found = {}
    for family, parts in families.items():
        if len(parts) > 1:
            joined = xr.concat(
                parts, "size", join="outer", coords="minimal", compat="override", combine_attrs="override"
            )
            joined = joined.sortby("size")
            found[family] = joined.merge(
                finite_size(joined["xi_inf"], joined["xi_inf_error"]).rename(state="finite_size_state")
            )
    return found


def positions_of(dataset: xr.Dataset) -> Iterator[dict[str, int]]:
    """Every position on the grid axes of a group, seeds apart."""
    dims = scheme_dims(dataset)
    for position in itertools.product(*(range(dataset.sizes[dim]) for dim in dims)):
        yield dict(zip(dims, position, strict=True))


def scheme_dims(dataset: xr.Dataset) -> list[str]:
    return [str(dim) for dim in dataset["status"].dims if dim != "seed"]


def join(dataset: xr.Dataset, parts: list[xr.Dataset]) -> xr.Dataset:
    """The summaries of all schemes along the grid axes of their group, in the order of :func:`positions_of`."""
    dims = scheme_dims(dataset)
    joining: dict[str, Any] = {"data_vars": "all", "coords": "minimal", "compat": "override", "join": "outer"}
    for dim in reversed(dims):
        length = dataset.sizes[dim]
        runs = [parts[i : i + length] for i in range(0, len(parts), length)]
        parts = [xr.concat(run, dim, combine_attrs="override", **joining) for run in runs]
    own = {name: c for name, c in dataset.coords.items() if set(c.dims) <= set(dims)}
    return parts[0].assign_coords(own).assign_attrs({**dataset.attrs, **parts[0].attrs})
