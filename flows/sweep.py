"""The flow ``sweep``: run what is missing of a sweep into its store. A Prefect task is a block of the grid."""

from functools import partial
from typing import Annotated

from prefect import flow
from pydantic import Field

from isophase.flows import flow_runs
from isophase.flows.cluster import Workers, cluster
from isophase.flows.points import SweepSummary, run_points
from isophase.flows.tasks import RUNNER, as_tasks

NonNegative = Annotated[int, Field(ge=0)]


@flow(name="sweep", flow_run_name="{sweep}", task_runner=RUNNER)
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
    with flow_runs.entered(store):
        connect = partial(cluster, scheduler, workers, performance_report)
        return run_points(sweep, store, connect, as_tasks("block"), retry_failed, more_seeds)
