"""Reduce the finished points of a store: a Dask task per scheme, or per seed where seeds are measured one by one first.

What of it fails is left out and said, and the rest is kept.
"""

import functools
import itertools
import json
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import xarray as xr
from distributed import KilledWorker

from isophase.analysis.base import Reduction, Summaries
from isophase.analysis.schemes import at_position, grid_axes, parameters
from isophase.flows.blocks import Blocks, RunBlocks
from isophase.flows.cluster import fan_out
from isophase.flows.errors import ClusterError, NothingReducedError, StoreError, StoreRefusedError
from isophase.flows.points import Connect, cannot_run, check_packages
from isophase.flows.progress import Meter
from isophase.sweeps.kinds import Kind, Parcel, UnknownKindError, kind_named, parcel
from isophase.sweeps.seeds import point_seed
from isophase.sweeps.store import (
    DONE,
    FAILED,
    SUMMARY,
    DamagedError,
    damaged,
    exclusive,
    lines,
    lost,
    one_line,
    open_tree,
    read,
    read_refined,
    read_summaries,
    resolve,
    stored_streams,
    stored_sweep,
    write_summaries,
)
from isophase.sweeps.sweep import SweepError

LOST = 255  # in memory alone: the status of a point that is done and whose data are lost
AT, CRC32 = "refined_scheme", "crc32"  # of measurements that are kept: their labels, and whose points they were
PADDING = -1  # of what a kind makes again of its seeds, where it is longer for some
ABOUT_RUNS = ("error", "traceback", "wall_time", "crc32", "shard_bytes")  # kept of a point, and no result of it
READING = {"zarr", "obstore", "numcodecs"}  # packages that raise what a store, a disk or a network has done


@dataclass(frozen=True)
class Failure:
    """A part of a reduction that failed: which one, its error, and where that was raised."""

    part: str
    error: str
    traceback: str = ""


@dataclass(frozen=True)
class ReduceSummary:
    """What a reduction did: the groups that it reduced, and what of them had to be left out."""

    store: str
    groups: tuple[str, ...]
    failures: tuple[Failure, ...]


@dataclass(frozen=True)
class Part:
    """What one Dask task reduces: the position of a scheme, or of one seed, in a group of a store.

    ``lost`` are positions on the axis ``seed`` whose finished data are not there any more.
    """

    store: str
    group: str
    position: Mapping[str, int]
    parcel: Parcel
    refine: bool = False
    lost: tuple[int, ...] = ()


def reduce_points(store: str, connect: Connect, run_blocks: RunBlocks, refine: bool = False) -> ReduceSummary:
    """Reduce the finished points of a store into its group ``summary``.

    Parameters
    ----------
    store : local path or URL.
    connect : context of a Dask client.
    run_blocks : how the groups are run: in threads, or as Prefect's tasks.
    refine : let the kind run points again, to look between what was recorded.

    Raises
    ------
    StoreError : nothing is there, nothing is done yet, nothing of it could be reduced, or a part could not be refined.
    SweepError : points of this kind cannot be refined.
    """
    store = resolve(store)
    with exclusive(store):
        kind = kind_of(store)
        check_packages(kind)
        sent = parcel(kind)
        if refine and kind.run_again is None:
            raise SweepError(f"refine: store {store} is of kind {kind.name!r}, whose points cannot be refined")
        reduction: Reduction = kind.reduction
        groups, failures = _without_lost(store, finished(store))
        with one_line(store):
            parts = {name: list(parts_of(dataset, reduction)) for name, dataset in groups.items()}
        kept = Refined() if refine else Refined.read(store)
        summaries: dict[str, xr.Dataset] = {}
        refined: dict[str, list[xr.Dataset]] = {}
        unit = "schemes" if reduction.measure is None else "seeds"
        with connect() as client, Meter("reduce", sum(map(len, parts.values())), unit) as meter:

            def reduce_group(number: int) -> None:
                name = list(groups)[number]
                dataset = groups[name]
                found: dict[int, xr.Dataset | Failure] = dict(kept.of(name, dataset, parts[name]))
                meter.add(len(found))
                left = [i for i in range(len(parts[name])) if i not in found]
                calls = ((_part(store, name, dataset, parts[name][i], sent, refine),) for i in left)
                for number, answer in fan_out(client, reduce_part, calls):
                    blocks.check()
                    found[left[number]] = _answer(answer, parts[name][left[number]])
                    meter.add(1)
                again = range(len(parts[name])) if refine else [i for i in found if i not in left]
                refined[name] = together(dataset, [(parts[name][i], found[i]) for i in again])
                summary, failed = gather(dataset, [found[i] for i in range(len(found))], reduction)
                failures.extend(_in_group(name, failed))
                if summary is not None:
                    summaries[name] = summary

            blocks = Blocks(list(groups), reduce_group)
            run_blocks(blocks)
        summaries = {name: summaries[name] for name in groups if name in summaries}
        for failure in failures:
            print(f"left out: {failure.part}: {failure.error}\n{failure.traceback}", file=sys.stderr)
        if not summaries or (refine and failures):  # a refined summary that lacks parts would be a loss
            what = "could not be refined, and is as it was" if refine else "nothing could be reduced"
            raise NothingReducedError(f"store {store}: {what}: {failures[0].part}: {failures[0].error}")
        across, failed_across = reduce_across(reduction, summaries)
        write_summaries(store, summaries | across, refined)
    return ReduceSummary(store, tuple(summaries), (*failures, *failed_across))


def kind_of(store: str) -> Kind:
    """The kind of a store's points; StoreError where it is not known here."""
    try:
        return kind_named(stored_sweep(store)["kind"])
    except UnknownKindError as error:
        raise StoreRefusedError(f"store {store}: {error}") from None


def summaries_of(store: str) -> Summaries:
    """What a reduction left in a store; StoreError where there is nothing."""
    found = read_summaries(store)
    return Summaries(
        {name: dataset for name, dataset in found.items() if "/" not in name},
        {name: dataset for name, dataset in found.items() if "/" in name},
    )


def finished(store: str) -> dict[str, xr.Dataset]:
    """The groups of a store that hold finished points."""
    with one_line(store):
        tree = open_tree(store, chunks=None)
        groups = {name: node.to_dataset() for name, node in tree.children.items() if name != SUMMARY}
        for dataset in groups.values():  # what every part needs of it is read here, where a damage has one line
            for name in ("status", *dataset.coords):
                dataset[name].load()
        groups = {name: dataset for name, dataset in groups.items() if (dataset["status"] == DONE).any()}
    if not groups:
        raise StoreRefusedError(f"store {store}: no point is done, there is nothing to reduce")
    return groups


def _without_lost(store: str, groups: dict[str, xr.Dataset]) -> tuple[dict[str, xr.Dataset], list[Failure]]:
    """The groups without the finished points whose data are not there any more, and what these are."""
    results = read(store)
    failures = []
    for damage in lost(results):
        (line,) = lines(results, [damage])
        failures.append(Failure(line, f"`isophase verify {store} --repair` sets its points to be run again"))
        for point in damage.points if damage.group in groups else ():
            groups[damage.group]["status"].values[point] = LOST
    groups = {name: dataset for name, dataset in groups.items() if (dataset["status"] == DONE).any()}
    if not groups:
        raise NothingReducedError(f"store {store}: nothing could be reduced: {failures[0].part}; {failures[0].error}")
    return groups, failures


def _part(store: str, group: str, dataset: xr.Dataset, position: Mapping[str, int], sent: Parcel, refine: bool) -> Part:
    status = dataset["status"].isel(position)
    lost_seeds = np.flatnonzero(status == LOST) if "seed" in status.dims else ()
    return Part(store, group, position, sent, refine, tuple(map(int, lost_seeds)))


def parts_of(dataset: xr.Dataset, reduction: Reduction) -> Iterator[dict[str, int]]:
    """What is reduced at a time: the positions of all schemes, or of all finished seeds where these are measured."""
    status = dataset["status"].load()
    for position in positions_of(dataset):
        if reduction.measure is None:
            yield position
        elif "seed" in status.dims:
            done = (status.isel(position) == DONE).values
            yield from (position | {"seed": int(seed)} for seed in np.flatnonzero(done))
        elif status.isel(position).item() == DONE:
            yield position


def positions_of(dataset: xr.Dataset) -> Iterator[dict[str, int]]:
    """Every position on the grid axes of a group, seeds apart."""
    dims = grid_axes(dataset)
    for position in itertools.product(*(range(dataset.sizes[dim]) for dim in dims)):
        yield dict(zip(dims, position, strict=True))


def reduce_part(part: Part) -> xr.Dataset | Failure:
    """Summary of one scheme over its finished seeds, or what is measured of one seed. Runs on a worker."""
    kind = part.parcel.kind()
    kind.check_packages()
    try:
        reduction: Reduction = kind.reduction
        group = open_tree(part.store, chunks=None)[part.group].to_dataset()
        if part.lost:
            group = group.isel(seed=[i for i in range(group.sizes["seed"]) if i not in part.lost])
        dataset = at_position(group.drop_vars(ABOUT_RUNS, errors="ignore"), part.position)
        dataset = _with_context(part, kind, dataset)
        if reduction.measure is None:
            return _distinct(reduction.summarise(dataset), dataset)
        return reduction.measure(dataset, _run_again(part, kind, dataset) if part.refine else None)
    except Exception as error:
        text = f"{type(error).__name__}: {error}"
        if _is_read(error):
            text = f"store {part.store}: cannot be read: {_damage_of(part) or text}"
        return Failure("", text, "" if isinstance(error, StoreError) else traceback.format_exc())


def _damage_of(part: Part) -> str:
    """The files that keep a part from being read; empty where they can be read after all."""
    results = read(part.store)
    store = results.groups[part.group]
    dims = [axis.name for axis in store.group.axes]
    points = [
        tuple(index) for index in np.argwhere(store.status == DONE).tolist()
        if all(index[dims.index(dim)] == i for dim, i in part.position.items())
    ]  # fmt: skip
    found = damaged(results, part.group, points)
    hint = f"; `isophase verify {part.store} --repair` sets its points to be run again"
    return "; ".join(lines(results, found)) + hint if found else ""


def _is_read(error: BaseException) -> bool:
    """Whether the store, the disk or the network raised it, and not a measurement."""
    frame = error.__traceback__
    while frame is not None:
        if frame.tb_frame.f_globals.get("__name__", "").split(".")[0] in READING:
            return True
        frame = frame.tb_next
    return False


def _with_context(part: Part, kind: Kind, dataset: xr.Dataset) -> xr.Dataset:
    """A scheme with what its kind makes again of each of its seeds."""
    if type(kind).context is Kind.context:
        return dataset
    seeds = dataset["seed"].values if "seed" in dataset.dims else [parameters(dataset).get("seed", 0)]
    entropy, streams = stored_sweep(part.store)["seed"], stored_streams(part.store)
    made = []
    for seed in seeds:
        model = kind.parameters.model_validate(parameters(dataset) | {"seed": int(seed)})
        seed_free = kind.seed_free_of(model, streams)
        made.append(kind.context(model, point_seed(entropy, kind.stream, model, seed_free, streams)))
    if not any(len(of_seed.variables) for of_seed in made):
        return dataset
    joined = xr.concat(made, "seed", join="outer", fill_value=PADDING) if "seed" in dataset.dims else made[0]
    return dataset.merge(joined)


def _run_again(part: Part, kind: Kind, dataset: xr.Dataset) -> Callable[[np.ndarray], xr.Dataset]:
    assert kind.run_again is not None
    sweep = stored_sweep(part.store)
    record = kind.record.model_validate(sweep["record"])
    model = kind.parameters.model_validate(parameters(dataset))
    streams = stored_streams(part.store)
    seed = point_seed(sweep["seed"], kind.stream, model, kind.seed_free_of(model, streams), streams)
    return functools.partial(kind.run_again, model, seed, record)


def _distinct(summary: xr.Dataset, dataset: xr.Dataset) -> xr.Dataset:
    """A summary none of whose variables is named like an axis of the grid."""
    for axis in grid_axes(dataset) + [name for name in dataset.coords if not dataset[name].dims]:
        if axis in summary.data_vars or axis in summary.dims:
            raise ValueError(f"the reduction calls a variable or dimension {axis!r}, which is an axis of the grid")
    return summary


def _answer(answer: Any, position: Mapping[str, int]) -> xr.Dataset | Failure:
    """What a Dask task came to."""
    if isinstance(answer, KilledWorker):
        return Failure("", f"KilledWorker: {answer.allowed_failures + 1} workers died while reducing it")
    if isinstance(answer, UnknownKindError):
        raise cannot_run(answer)
    if isinstance(answer, ClusterError | KeyboardInterrupt):
        raise answer
    if isinstance(answer, BaseException):
        trace = "".join(traceback.format_exception(answer))
        return Failure("", f"{type(answer).__name__}: {answer}", trace)
    return answer


def gather(
    dataset: xr.Dataset, found: list[xr.Dataset | Failure], reduction: Reduction
) -> tuple[xr.Dataset | None, list[Failure]]:
    """The summary of a group from what became of its parts, in the order of :func:`parts_of`; and what was left out.

    None where nothing could be reduced.
    """
    parts = list(parts_of(dataset, reduction))
    labelled = [_labelled(dataset, *pair) for pair in zip(parts, found, strict=True)]
    failed = [part for part in labelled if isinstance(part, Failure)]
    schemes = labelled if reduction.measure is None else _summarised(dataset, parts, labelled, reduction, failed)
    good = [part for part in schemes if isinstance(part, xr.Dataset)]
    if not good:
        return None, failed
    complete = [
        _with_counts(dataset, position, scheme, good[0])
        for position, scheme in zip(positions_of(dataset), schemes, strict=True)
    ]
    return join(dataset, complete), failed


def _labelled(dataset: xr.Dataset, position: Mapping[str, int], answer: xr.Dataset | Failure) -> xr.Dataset | Failure:
    if isinstance(answer, xr.Dataset):
        return answer
    labels = ", ".join(f"{name}={dataset[name].values[i]}" for name, i in position.items())
    return Failure(labels or "its one scheme", answer.error, answer.traceback)


def _in_group(name: str, failures: list[Failure]) -> list[Failure]:
    return [Failure(f"{name}: {failure.part}", failure.error, failure.traceback) for failure in failures]


def _summarised(
    dataset: xr.Dataset,
    parts: list[dict[str, int]],
    measured: list[xr.Dataset | Failure],
    reduction: Reduction,
    failed: list[Failure],
) -> list[xr.Dataset | Failure]:
    """The summary of every scheme from what was measured of its seeds."""
    good = [part for part in measured if isinstance(part, xr.Dataset)]
    dims = grid_axes(dataset)
    of_scheme: dict[tuple[int, ...], list[xr.Dataset | Failure]] = {}
    for part, answer in zip(parts, measured, strict=True):
        of_scheme.setdefault(tuple(part[dim] for dim in dims), []).append(answer)
    summaries: list[xr.Dataset | Failure] = []
    for position in positions_of(dataset):
        own = of_scheme.get(tuple(position.values()), [])
        seeds = [answer for answer in own if isinstance(answer, xr.Dataset)]
        seeds = seeds or [part.isel(seed=slice(0)) for part in good[:1]]
        try:
            joined = xr.concat(seeds, "seed", coords="minimal", compat="override", join="exact")
            summary = _distinct(reduction.summarise(joined), dataset.isel(position))
            lost = sum(isinstance(answer, Failure) for answer in own)
            about = {"units": "1", "long_name": "seeds that are done and could not be measured, left out of everything"}
            summaries.append(summary.assign(n_unmeasured=((), lost, about)))
        except Exception as error:
            failure = Failure("", f"{type(error).__name__}: {error}", traceback.format_exc())
            labelled = _labelled(dataset, position, failure)
            assert isinstance(labelled, Failure)
            failed.append(labelled)
            summaries.append(labelled)
    return summaries


def _with_counts(
    dataset: xr.Dataset, position: Mapping[str, int], scheme: xr.Dataset | Failure, like: xr.Dataset
) -> xr.Dataset:
    """The summary of a scheme with its failed points, and its error where it could not be reduced."""
    error = scheme.error if isinstance(scheme, Failure) else ""
    summary = scheme if isinstance(scheme, xr.Dataset) else _nothing_of(like)
    number = int((dataset["status"].isel(position) == FAILED).sum())
    return summary.assign(
        n_failed=((), number, {"units": "1", "long_name": "points that failed, left out of everything"}),
        reduction_error=((), error, {"long_name": "error of a scheme that could not be reduced"}),
    )


def _nothing_of(like: xr.Dataset) -> xr.Dataset:
    """A summary that says nothing: NaN, 0, no."""

    def nothing(variable: xr.DataArray) -> xr.DataArray:
        if variable.dtype.kind in "fc":
            return xr.full_like(variable, np.nan)
        return variable.copy(data=np.zeros(variable.shape, variable.dtype))

    return like.assign({name: nothing(variable) for name, variable in like.data_vars.items()})


def join(dataset: xr.Dataset, parts: list[xr.Dataset]) -> xr.Dataset:
    """The summaries of all schemes along the grid axes of their group, in the order of :func:`positions_of`."""
    dims = grid_axes(dataset)
    joining: dict[str, Any] = {"data_vars": "all", "coords": "minimal", "compat": "override", "join": "outer"}
    for dim in reversed(dims):
        length = dataset.sizes[dim]
        runs = [parts[i : i + length] for i in range(0, len(parts), length)]
        parts = [xr.concat(run, dim, combine_attrs="override", **joining) for run in runs]
    own = {name: c.load() for name, c in dataset.coords.items() if set(c.dims) <= set(dims)}
    attrs = {**parts[0].attrs, **{key: dataset.attrs[key] for key in ("kind", "axes", "parameters")}}
    return parts[0].assign_coords(own).assign_attrs({**dataset.attrs, **attrs})


@dataclass(frozen=True)
class Refined:
    """Measurements of an earlier ``reduce --refine``, by group: those of a scheme's seeds together."""

    groups: Mapping[str, Sequence[xr.Dataset]] = field(default_factory=dict)

    @classmethod
    def read(cls, store: str) -> "Refined":
        """Those that a store holds; none, with a line that says so, where they are damaged."""
        try:
            return cls(read_refined(store))
        except DamagedError as error:
            print(f"note: what was refined before is lost: {error}", file=sys.stderr)
            return cls()

    def of(
        self, group: str, dataset: xr.Dataset, parts: Sequence[Mapping[str, int]]
    ) -> Iterator[tuple[int, xr.Dataset]]:
        """Number and measurement of every part of a group whose point is still the one that was measured."""
        schemes = {scheme.attrs[AT]: scheme for scheme in self.groups.get(group, ())}
        for number, position in enumerate(parts):
            scheme = schemes.get(_labels(dataset, position))
            if scheme is None:
                continue
            wanted = dataset["seed"].values[position["seed"]] if "seed" in position else scheme["seed"].values[0]
            for seed in np.flatnonzero(scheme["seed"].values == wanted):
                if int(scheme[CRC32].values[seed]) == _crc32(dataset, position):
                    part = scheme.isel(seed=[seed]).drop_vars(CRC32)
                    del part.attrs[AT]
                    yield number, part


def together(dataset: xr.Dataset, measured: Iterable[tuple[Mapping[str, int], Any]]) -> list[xr.Dataset]:
    """Measurements of parts of a group as they are kept: a dataset for each scheme, over its seeds."""
    schemes: dict[str, list[xr.Dataset]] = {}
    for position, part in measured:
        if isinstance(part, xr.Dataset):
            crc32 = ("seed", np.array([_crc32(dataset, position)], np.uint32))
            schemes.setdefault(_labels(dataset, position), []).append(part.assign({CRC32: crc32}))
    return [
        xr.concat(parts, "seed", coords="minimal", compat="override", join="exact").assign_attrs({AT: at})
        for at, parts in schemes.items()
    ]


def _labels(dataset: xr.Dataset, position: Mapping[str, int]) -> str:
    return json.dumps({dim: dataset[dim][position[dim]].item() for dim in grid_axes(dataset)})


def _crc32(dataset: xr.Dataset, position: Mapping[str, int]) -> int:
    return int(dataset[CRC32].isel(position)) if CRC32 in dataset else 0


def reduce_across(
    reduction: Reduction, summaries: Mapping[str, xr.Dataset]
) -> tuple[dict[str, xr.Dataset], list[Failure]]:
    """What a reduction draws from several groups together."""
    if reduction.across is None:
        return {}, []
    try:
        return reduction.across(summaries), []
    except Exception as error:
        failure = Failure("groups together", f"{type(error).__name__}: {error}", traceback.format_exc())
        print(f"left out: {failure.part}: {failure.error}\n{failure.traceback}", file=sys.stderr)
        return {}, [failure]
