"""The flow ``sweep``: run what is missing of a sweep into its store.

A Prefect task is a block of the grid; inside it a Dask task is a run of shards that takes about a second or two.
"""

import datetime
import os
import platform
import subprocess
import sys
import time
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Annotated, Any

from distributed import Client, KilledWorker
from prefect import flow, task
from prefect.cache_policies import NO_CACHE
from prefect.task_runners import ThreadPoolTaskRunner
from pydantic import Field

from flows import artifacts
from flows.cluster import ClusterError, Workers, cluster, fan_out
from flows.progress import Meter
from sweeps.kinds import Outcome
from sweeps.store import Shard, StoreError, SweepStore, Work, compute_shard, exclusive, resolve, tasks
from sweeps.sweep import Sweep, SweepError, from_definition, load

TASKS_PER_BLOCK = 128  # a few minutes of work: what Prefect shows, retries and cancels as one
BLOCKS_AT_ONCE = 2  # so that workers stay busy while one block ends
FLUSH_SECONDS = 1.0  # of status that a kill of the flow may cost
PACKAGES = ("isochron", "dask", "distributed", "xarray", "zarr", "numpy", "numba", "prefect", "jax", "optax")

NonNegative = Annotated[int, Field(ge=0)]


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
            with cluster(scheduler, workers) as client:
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
    seconds = {group.name: group.seconds() / group.n_points for group in sweep.groups()}
    runs = tasks(shards, seconds)
    n_points = sum(len(shard.points) for shard in shards)
    n_workers = len(client.scheduler_info(n_workers=-1)["workers"])
    print(f"{sweep.name}: {n_points:,} points to run on {n_workers} workers, into {results.location}", file=sys.stderr)
    print(f"Dask dashboard: {client.dashboard_link}", file=sys.stderr)
    blocks = [runs[i : i + TASKS_PER_BLOCK] for i in range(0, len(runs), TASKS_PER_BLOCK)]
    finished: set[Shard] = set()
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
        def run_block(number: int) -> float:
            """Fan a block out over Dask and take in its outcomes; returns the time spent in kernels, in seconds."""
            kernel_time, flushed = 0.0, time.monotonic()
            waiting = [run for run in blocks[number] if not finished.issuperset(run)]
            calls = (([results.work(sweep, shard) for shard in run],) for run in waiting)
            for position, answer in fan_out(client, compute_run, calls):
                for shard, outcomes in zip(
                    waiting[position], _outcomes(answer, waiting[position], results), strict=True
                ):
                    results.finish(shard, outcomes)
                    finished.add(shard)
                    kernel_time += sum(outcome.wall_time for outcome in outcomes)
                    meter.add(len(outcomes), sum(bool(outcome.error) for outcome in outcomes))
                if time.monotonic() - flushed > FLUSH_SECONDS:
                    results.flush()
                    flushed = time.monotonic()
            results.flush()
            return kernel_time

        futures = [run_block.submit(number) for number in range(len(blocks))]
        for future in futures:
            future.wait()
        return sum(future.result() for future in futures)


def _worth_retrying(_task: Any, _run: Any, state: Any) -> bool:
    return not isinstance(state.result(raise_on_failure=False), StoreError | ClusterError)


def _outcomes(answer: Any, run: tuple[Shard, ...], results: SweepStore) -> list[list[Outcome]]:
    """What a Dask task returned, or what its end means for its points."""
    if isinstance(answer, KilledWorker):
        error = f"KilledWorker: {answer.allowed_failures + 1} workers died while computing it"
        return [[Outcome(error=error)] * len(shard.points) for shard in run]
    if isinstance(answer, OSError):
        raise StoreError(f"store {results.location}: cannot be written: {answer}")
    if isinstance(answer, BaseException):
        raise answer
    return answer


def compute_run(run: list[Work]) -> list[list[Outcome]]:
    """Compute and write the shards of one Dask task, one after another. Runs on a worker."""
    return [compute_shard(work) for work in run]


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
    here = Path(__file__).parent
    return subprocess.run(["git", "-C", here, *arguments], capture_output=True, text=True, check=True).stdout.strip()
