"""The flow ``reduce``: finished points of a store to a summary of every scheme, kept in the store's group ``summary``.

A Dask task is one scheme: all of its seeds, read once, a seed at a time, and reduced on the worker.
"""

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import xarray as xr
from prefect import flow, task
from prefect.cache_policies import NO_CACHE

from analysis import orbits
from analysis.finite_size import finite_size
from analysis.summary import summarise
from flows.cluster import cluster, fan_out
from flows.progress import Meter
from sweeps.store import DONE, SUMMARY, StoreError, exclusive, open_store, resolve, write_summaries

FINITE_SIZE = "finite_size"  # in the store's summary, the extrapolation over the sizes of a tiling
SUMMARISE: dict[str, Callable[[xr.Dataset], xr.Dataset]] = {
    "lattice": summarise,
    "kuramoto": summarise,
    "rings": orbits.summarise,
}


@flow(name="reduce", flow_run_name="{store}")
def run_reduce(store: str, scheduler: str | None = None, workers: int | None = None) -> list[str]:
    """Reduce the finished points of a store; returns the names of the reduced groups.

    Parameters
    ----------
    store : local path or URL of a store.
    scheduler, workers : as for the flow ``sweep``.

    Raises
    ------
    StoreError : nothing is there, or nothing is done yet.
    """
    store = resolve(store)
    with exclusive(store):
        tree = open_store(store)
        groups = {name: node.to_dataset() for name, node in tree.children.items() if name != SUMMARY}
        groups = {name: dataset for name, dataset in groups.items() if (dataset["status"] == DONE).any()}
        if not groups:
            raise StoreError(f"store {store}: no point is done, there is nothing to reduce")
        total = sum(len(list(positions_of(dataset))) for dataset in groups.values())
        summaries: dict[str, xr.Dataset] = {}
        with cluster(scheduler, workers) as client, Meter("reduce", total, "schemes") as meter:

            @task(name="reduce-group", task_run_name="reduce-{name}", cache_policy=NO_CACHE, persist_result=False)
            def reduce_group(name: str) -> None:
                positions = list(positions_of(groups[name]))
                found: dict[int, xr.Dataset] = {}
                calls = ((store, name, position) for position in positions)
                for number, answer in fan_out(client, reduce_scheme, calls):
                    if isinstance(answer, BaseException):
                        raise answer
                    found[number] = answer
                    meter.add(1)
                summaries[name] = join(groups[name], [found[i] for i in range(len(positions))])

            for name in groups:
                reduce_group(name)
        extrapolated = {f"{FINITE_SIZE}/{name}": dataset for name, dataset in over_sizes(summaries).items()}
        write_summaries(store, summaries | extrapolated)
    return list(groups)


def reduce_scheme(store: str, group: str, position: dict[str, int]) -> xr.Dataset:
    """Summary of one scheme over its finished seeds. Runs on a worker."""
    dataset = open_store(store)[group].to_dataset().isel(position)
    return SUMMARISE[dataset.attrs["kind"]](dataset)


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
