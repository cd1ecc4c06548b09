"""Run what is missing of a sweep into its store: blocks of the grid, and inside each Dask tasks of a second or two."""

import contextlib
import logging
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

from distributed import Client, KilledWorker

from isophase.flows import artifacts
from isophase.flows.blocks import Blocks, RunBlocks
from isophase.flows.cluster import fan_out, nthreads, threads
from isophase.flows.errors import SettingsError
from isophase.flows.progress import Meter
from isophase.flows.provenance import provenance
from isophase.flows.threads import alongside
from isophase.sweeps.kinds import Kind, UnknownKindError
from isophase.sweeps.store import (
    Damage,
    Outcome,
    Shard,
    StoreError,
    SweepStore,
    Work,
    compute_shard,
    exclusive,
    lines,
    lost,
    resolve,
    tasks,
)
from isophase.sweeps.sweep import Sweep, SweepError, from_definition, load

TASKS_PER_THREAD = 64  # of a block, a few minutes of work: what is shown, repeated and cancelled as one
TASKS_PER_BLOCK = 512  # at least: an adaptive cluster has few threads until it sees many tasks
FLUSH_SECONDS = 1.0  # of status that a kill of the flow may cost

Connect = Callable[[], AbstractContextManager[Client]]
log = logging.getLogger("distributed.worker.points")  # on the dashboard a part of the worker's log


@dataclass(frozen=True)
class SweepSummary:
    """What a run of a sweep did: points in each state after it, points that it ran, its times in seconds, and how many
    of the points that are done have lost their data.
    """

    store: str
    done: int
    failed: int
    pending: int
    ran: int
    wall_time: float
    kernel_time: float
    lost: int = 0


def run_points(
    sweep: Sweep | str,
    store: str,
    connect: Connect,
    run_blocks: RunBlocks,
    retry_failed: bool = False,
    more_seeds: int = 0,
) -> SweepSummary:
    """Run the points of a sweep that its store lacks.

    Parameters
    ----------
    sweep : a sweep, the path of its TOML file, or the name of a preset.
    store : local path or URL; created, resumed or extended.
    connect : context of a Dask client, entered only if there is something to run.
    run_blocks : how the blocks are run: :func:`isophase.flows.blocks.in_threads`, or as Prefect's tasks.
    retry_failed : run points that failed before once more.
    more_seeds : go on with the seeds that the store holds beyond those of the sweep, and add this many new ones once
        none of them is pending.

    Raises
    ------
    SweepError, StoreError, ClusterError : before or instead of work that cannot be done.
    """
    started = time.perf_counter()
    sweep, store = load(sweep) if isinstance(sweep, str) else sweep, resolve(store)
    check_packages(sweep.kind)
    with exclusive(store):
        results = SweepStore.prepare(store, sweep)
        if more_seeds:
            sweep, results = _with_more_seeds(sweep, results, more_seeds)
        shards = results.pending(sweep, retry_failed)
        kernel_time = 0.0
        if shards:
            with connect() as client:
                results.add_run(provenance(client))
                try:
                    kernel_time = _run_shards(sweep, results, shards, client, run_blocks)
                finally:
                    results.flush()
        count = results.count(sweep)
        damages = lost(results)
    n_lost = say_lost(results, damages)
    artifacts.link(
        f"{sweep.name}-store",
        store,
        f"{count['done']:,} points done, {count['failed']:,} failed, {count['pending']:,} pending",
    )
    ran = sum(len(shard.points) for shard in shards)
    spent = time.perf_counter() - started
    return SweepSummary(store, **count, ran=ran, wall_time=spent, kernel_time=kernel_time, lost=n_lost)


def say_lost(results: SweepStore, damages: Sequence[Damage]) -> int:
    """Say what is lost of finished points, and which command has them run again; returns their number."""
    number = len({(damage.group, point) for damage in damages for point in damage.points})
    if damages:
        hint = f"`isophase verify {results.location} --repair` sets them to be run again"
        print(*lines(results, damages), f"{number:,} finished points are lost; {hint}", sep="\n", file=sys.stderr)
    return number


def check_packages(kind: Kind) -> None:
    """Refuse a kind that lacks a package here, before every point of it fails."""
    try:
        kind.check_packages()
    except UnknownKindError as error:
        raise SettingsError(str(error)) from None


def cannot_run(error: UnknownKindError) -> SettingsError:
    """What it means that a worker answers so."""
    return SettingsError(f"a worker cannot run the sweep's {error}; install it there too, or upload its module")


def _with_more_seeds(sweep: Sweep, results: SweepStore, count: int) -> tuple[Sweep, SweepStore]:
    """The sweep with every seed that its store holds, and ``count`` new ones where none of these is pending."""
    if all(axis.name != "seed" for axis in sweep.axes):
        raise SweepError(f"more_seeds={count}: sweep {sweep.name} has no axis `seed` to extend")
    stored = [axis for group in results.groups.values() for axis in group.group.axes if axis.name == "seed"]
    seeds = list(dict.fromkeys(seed for axis in stored for seed in axis.labels))
    for new in (0, count):
        seeds += range(max(seeds) + 1, max(seeds) + 1 + new)
        definition = sweep.definition()
        for axis in definition["axes"]:
            if axis["name"] == "seed":
                axis |= {"labels": seeds, "values": {"seed": seeds}}
        sweep = from_definition(definition)
        results = SweepStore.prepare(results.location, sweep)
        if results.pending(sweep):
            break
    return sweep, results


def _run_shards(sweep: Sweep, results: SweepStore, shards: list[Shard], client: Client, run_blocks: RunBlocks) -> float:
    """Run the shards, block by block; returns the time spent in kernels over all workers, in seconds."""
    runs = tasks(shards, {group.name: group.seconds() / group.n_points for group in sweep.groups()})
    n_left = sum(len(shard.points) for shard in shards)
    n_workers, n_threads = len(nthreads(client)), threads(client)
    print(f"{sweep.name}: {n_left:,} points to run on {n_workers} workers, into {results.location}", file=sys.stderr)
    print(f"Dask dashboard: {client.dashboard_link}", file=sys.stderr)
    artifacts.link("dashboard", client.dashboard_link, "Dask dashboard of this run, while it goes on")
    size = max(TASKS_PER_BLOCK, TASKS_PER_THREAD * n_threads)
    finished: set[Shard] = set()
    with (
        Meter(sweep.name, n_left) as meter,
        artifacts.progress(sweep.name, lambda: len(finished) / len(shards)),
    ):

        def run_block(number: int) -> None:
            """Fan a block out over Dask and take in its outcomes."""
            waiting = [run for run in runs[number * size : (number + 1) * size] if not finished.issuperset(run)]
            calls = (([results.work(sweep, shard) for shard in run],) for run in waiting)
            for position, answer in fan_out(client, compute_run, calls):
                blocks.check()
                run = waiting[position]
                for shard, (outcomes, nbytes) in zip(run, _outcomes(answer, run, results), strict=True):
                    results.finish(shard, outcomes, nbytes)
                    finished.add(shard)
                    _count(meter, sweep, outcomes, nbytes)
            results.flush()

        blocks = Blocks([str(number) for number in range(-(-len(runs) // size))], run_block)
        with _flushed(results, blocks):
            run_blocks(blocks)
    print(_metrics(sweep, meter, max(n_threads, threads(client))), file=sys.stderr)
    return meter.amounts["kernels"]


@contextlib.contextmanager
def _flushed(results: SweepStore, blocks: Blocks) -> Iterator[None]:
    """Record what is finished every ``FLUSH_SECONDS``, whether or not another point finishes."""

    def flush(ended: threading.Event) -> None:
        while not ended.wait(FLUSH_SECONDS):
            try:
                if results.is_ahead:
                    results.flush()
            except Exception as error:
                blocks.stop(error)
                return

    with alongside("flush", flush):
        yield


def _count(meter: Meter, sweep: Sweep, outcomes: list[Outcome], nbytes: int) -> None:
    meter.add(
        len(outcomes),
        failed=sum(bool(outcome.error) for outcome in outcomes),
        kernels=sum(outcome.wall_time for outcome in outcomes),
        work=sum(sweep.kind.work(sweep.record, outcome.scalars) for outcome in outcomes if not outcome.error),
        nbytes=nbytes,
    )


def _metrics(sweep: Sweep, meter: Meter, n_threads: int) -> str:
    """One line on what a run came to; rates are per second of the fan-out, over all workers."""
    amounts, seconds = meter.amounts, meter.seconds
    return (
        f"{sweep.name}: {meter.done:,} points, {meter.failed:,} failed; {meter.done / seconds:.3g} points/s, "
        f"{amounts['work'] / seconds:.3g} {sweep.kind.work_unit}/s; {amounts['nbytes'] / 1e6:.1f} MB written; "
        f"kernels {amounts['kernels']:.1f} s, overhead {n_threads * seconds - amounts['kernels']:.1f} s "
        f"of {n_threads} threads x {seconds:.1f} s"
    )


Computed = tuple[list[Outcome], int]  # outcomes of a shard's points, and the bytes that it takes in the store


def _outcomes(answer: Any, run: tuple[Shard, ...], results: SweepStore) -> list[Computed]:
    """What a Dask task returned, or what its end means for its points."""
    if isinstance(answer, KilledWorker):
        error = f"KilledWorker: {answer.allowed_failures + 1} workers died while computing it"
        return [([Outcome(error=error)] * len(shard.points), 0) for shard in run]
    if isinstance(answer, UnknownKindError):
        raise cannot_run(answer)
    if isinstance(answer, OSError):
        raise StoreError(f"store {results.location}: cannot be written: {answer}")
    if isinstance(answer, BaseException):
        raise answer
    return answer


def compute_run(run: list[Work]) -> list[Computed]:
    """Compute and write the shards of one Dask task, one after another. Runs on a worker.

    Its log has a line for every shard before it runs, since what kills a worker leaves no other trace, and for every
    point that fails its error and traceback.
    """
    computed = []
    run[0].parcel.kind().check_packages()
    for work in run:
        log.info("%s: %d points from %s", work.shard.group, len(work.parameters), point_label(work, 0))
        outcomes, nbytes = compute_shard(work)
        for number, outcome in enumerate(outcomes):
            if outcome.error:
                label = point_label(work, number)
                log.warning("%s: %s: failed: %s\n%s", work.shard.group, label, outcome.error, outcome.traceback)
        computed.append((outcomes, nbytes))
    return computed


def point_label(work: Work, number: int) -> str:
    """A point by its seed and the parameters that are not at their defaults."""
    fields = work.parcel.kind().parameters.model_fields
    values = work.parameters[number].items()
    return ", ".join(f"{name}={value}" for name, value in values if name == "seed" or value != fields[name].default)
