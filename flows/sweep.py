"""The flow ``sweep``: run what is missing of a sweep into its store.

A Prefect task is a block of the grid; inside it a Dask task is a run of shards that takes about a second or two.
"""

import datetime
import logging
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Annotated, Any

from distributed import Client, KilledWorker
from prefect import flow, task
from prefect.cache_policies import NO_CACHE
from prefect.task_runners import ThreadPoolTaskRunner
from pydantic import Field

from isophase.flows import artifacts
from isophase.flows.cluster import ClusterError, Workers, cluster, fan_out, threads
from isophase.flows.progress import Meter
from isophase.sweeps.kinds import KINDS, Outcome
from isophase.sweeps.store import (
    Shard,
    StoreError,
    SweepStore,
    Work,
    compute_shard,
    exclusive,
    resolve,
    shard_bytes,
    tasks,
)
from isophase.sweeps.sweep import Sweep, SweepError, from_definition, load

TASKS_PER_THREAD = 64  # of a block, a few minutes of work: what Prefect shows, retries and cancels as one
TASKS_PER_BLOCK = 512  # at least: an adaptive cluster has few threads until it sees many tasks
BLOCKS_AT_ONCE = 2  # so that workers stay busy while one block ends
FLUSH_SECONDS = 1.0  # of status that a kill of the flow may cost
PACKAGES = ("isophase", "dask", "distributed", "xarray", "zarr", "numpy", "numba", "prefect", "jax", "optax")

WORK: dict[str, tuple[str, Callable[[Any, Mapping[str, float]], float]]] = {  # of a point, from its record and scalars
    "lattice": ("switches", lambda record, scalars: scalars["n_switches"]),
    "kuramoto": ("steps", lambda record, scalars: record.t_end / scalars["dt"]),
    "rings": ("orbits", lambda record, scalars: scalars["orbits"]),
    "flipflop": ("iterations", lambda record, scalars: record.iterations + record.then_iterations),
}

NonNegative = Annotated[int, Field(ge=0)]
log = logging.getLogger("distributed.worker.points")  # on the dashboard a part of the worker's log


@dataclass(frozen=True)
class SweepSummary:
    """What a run of a sweep did: points in each state after it, points that it ran, and its times in seconds."""

    store: str
    done: int
    failed: int
    pending: int
    ran: int
    wall_time: float
    kernel_time: float


BLOCK_RUNNER: Any = ThreadPoolTaskRunner(max_workers=BLOCKS_AT_ONCE)


@flow(name="sweep", flow_run_name="{sweep}", task_runner=BLOCK_RUNNER)
def run_sweep(
    sweep: str,
    store: str,
    scheduler: str | None = None,
    workers: Workers = None,
    retry_failed: bool = False,
    more_seeds: NonNegative = 0,
    performance_report: str | None = None,
) -> SweepSummary:
    """Run the points of a sweep that its store lacks.

    Args:
        sweep: Path of a TOML file, or name of a preset.
        store: Local path or URL; created, resumed or extended.
        scheduler: Address of a Dask scheduler; none starts local worker processes.
        workers: Number of local worker processes; none: one per core.
        retry_failed: Run points that failed before once more.
        more_seeds: Go on with the seeds that the store holds beyond those of the sweep, and add this many new ones
            once none of them is pending. For runs on a schedule.
        performance_report: File for Dask's performance report of the run, HTML.

    Raises:
        SweepError, StoreError, ClusterError: Before or instead of work that cannot be done.
    """
    started = time.perf_counter()
    definition, store = load(sweep), resolve(store)
    with exclusive(store):
        results = SweepStore.prepare(store, definition)
        if more_seeds:
            definition, results = _with_more_seeds(definition, results, more_seeds)
        shards = results.pending(definition, retry_failed)
        kernel_time = 0.0
        if shards:
            with cluster(scheduler, workers, performance_report) as client:
                results.add_run(provenance(client))
                try:
                    kernel_time = _run_blocks(definition, results, shards, client)
                finally:
                    results.flush()
        count = results.count(definition)
    artifacts.link(
        f"{definition.name}-store",
        store,
        f"{count['done']:,} points done, {count['failed']:,} failed, {count['pending']:,} pending",
    )
    ran = sum(len(shard.points) for shard in shards)
    return SweepSummary(store, **count, ran=ran, wall_time=time.perf_counter() - started, kernel_time=kernel_time)


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


def _run_blocks(sweep: Sweep, results: SweepStore, shards: list[Shard], client: Client) -> float:
    """Run the shards, block by block; returns the time spent in kernels over all workers, in seconds."""
    seconds = {group.name: group.seconds() / group.n_points for group in sweep.groups()}
    runs = tasks(shards, seconds)
    n_points = sum(len(shard.points) for shard in shards)
    n_workers, n_threads = len(client.nthreads()), threads(client)
    print(f"{sweep.name}: {n_points:,} points to run on {n_workers} workers, into {results.location}", file=sys.stderr)
    print(f"Dask dashboard: {client.dashboard_link}", file=sys.stderr)
    size = max(TASKS_PER_BLOCK, TASKS_PER_THREAD * n_threads)
    blocks = [runs[i : i + size] for i in range(0, len(runs), size)]
    finished: set[Shard] = set()
    unit, work_of = WORK[sweep.kind.name]
    artifacts.link("dashboard", client.dashboard_link, "Dask dashboard of this run, while it goes on")

    with (
        Meter(sweep.name, n_points) as meter,
        artifacts.progress(sweep.name, lambda: len(finished) / len(shards)),
    ):

        @task(
            name="block",
            task_run_name="block-{number}",
            cache_policy=NO_CACHE,
            persist_result=False,
            retries=1,
            retry_condition_fn=_worth_retrying,
        )
        def run_block(number: int) -> None:
            """Fan a block out over Dask and take in its outcomes."""
            flushed = time.monotonic()
            waiting = [run for run in blocks[number] if not finished.issuperset(run)]
            calls = (([results.work(sweep, shard) for shard in run],) for run in waiting)
            for position, answer in fan_out(client, compute_run, calls):
                run = waiting[position]
                for shard, (outcomes, nbytes) in zip(run, _outcomes(answer, run, results), strict=True):
                    results.finish(shard, outcomes)
                    finished.add(shard)
                    meter.add(
                        len(outcomes),
                        failed=sum(bool(outcome.error) for outcome in outcomes),
                        kernels=sum(outcome.wall_time for outcome in outcomes),
                        work=sum(work_of(sweep.record, o.scalars) for o in outcomes if not o.error),
                        nbytes=nbytes,
                    )
                if time.monotonic() - flushed > FLUSH_SECONDS:
                    results.flush()
                    flushed = time.monotonic()
            results.flush()

        futures = [run_block.submit(number) for number in range(len(blocks))]
        for future in futures:
            future.wait()
        for future in futures:
            future.result()
    print(_metrics(sweep.name, meter, unit, max(n_threads, threads(client))), file=sys.stderr)
    return meter.amounts["kernels"]


def _metrics(name: str, meter: Meter, unit: str, n_threads: int) -> str:
    """One line on what a run came to; rates are per second of the fan-out, over all workers."""
    amounts, seconds = meter.amounts, meter.seconds
    return (
        f"{name}: {meter.done:,} points, {meter.failed:,} failed; {meter.done / seconds:.3g} points/s, "
        f"{amounts['work'] / seconds:.3g} {unit}/s; {amounts['nbytes'] / 1e6:.1f} MB written; "
        f"kernels {amounts['kernels']:.1f} s, overhead {n_threads * seconds - amounts['kernels']:.1f} s "
        f"of {n_threads} threads x {seconds:.1f} s"
    )


def _worth_retrying(_task: Any, _run: Any, state: Any) -> bool:
    return not isinstance(state.result(raise_on_failure=False), StoreError | ClusterError)


Computed = tuple[list[Outcome], int]  # outcomes of a shard's points, and the bytes that it takes in the store


def _outcomes(answer: Any, run: tuple[Shard, ...], results: SweepStore) -> list[Computed]:
    """What a Dask task returned, or what its end means for its points."""
    if isinstance(answer, KilledWorker):
        error = f"KilledWorker: {answer.allowed_failures + 1} workers died while computing it"
        return [([Outcome(error=error)] * len(shard.points), 0) for shard in run]
    if isinstance(answer, OSError):
        raise StoreError(f"store {results.location}: cannot be written: {answer}")
    if isinstance(answer, BaseException):
        raise answer
    return answer


def compute_run(run: list[Work]) -> list[Computed]:
    """Compute and write the shards of one Dask task, one after another. Runs on a worker.

    Its log has a line for every shard before it runs, since what kills a worker leaves no other trace, and for every
    point that fails.
    """
    computed = []
    for work in run:
        log.info("%s: %d points from %s", work.shard.group, len(work.parameters), point_label(work, 0))
        outcomes = compute_shard(work)
        for number, outcome in enumerate(outcomes):
            if outcome.error:
                log.warning("%s: %s: failed: %s", work.shard.group, point_label(work, number), outcome.error)
        computed.append((outcomes, shard_bytes(work)))
    return computed


def point_label(work: Work, number: int) -> str:
    """A point by its seed and the parameters that are not at their defaults."""
    fields = KINDS[work.kind].parameters.model_fields
    values = work.parameters[number].items()
    return ", ".join(f"{name}={value}" for name, value in values if name == "seed" or value != fields[name].default)


def provenance(client: Client) -> dict[str, Any]:
    """Where and with what a run was made."""
    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return {
        "started": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "host": platform.node(),
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        "workers": len(client.scheduler_info(n_workers=-1)["workers"]),
        "git_commit": _git_commit(),
        "versions": versions,
    }


def _git_commit() -> str:
    """Commit of the checkout that this code runs from; "unknown" for an installed package, or without git."""
    try:
        _git("ls-files", "--error-unmatch", Path(__file__).name)  # an installed package may lie in another repository
        return _git("describe", "--always", "--dirty", "--abbrev=40")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def _git(*arguments: str) -> str:
    here = Path(__file__).resolve().parent
    return subprocess.run(["git", "-C", here, *arguments], capture_output=True, text=True, check=True).stdout.strip()
