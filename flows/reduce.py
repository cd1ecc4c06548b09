"""The flow ``reduce``: finished points of a store to a summary of every scheme, kept in the store's group ``summary``.

A Prefect task is a group of the store.
"""

from functools import partial

from prefect import flow
from prefect.task_runners import ThreadPoolTaskRunner

from isophase.flows import flow_runs
from isophase.flows.cluster import Workers, cluster
from isophase.flows.reduction import ReduceSummary, reduce_points
from isophase.flows.tasks import as_tasks


@flow(name="reduce", flow_run_name="{store}", task_runner=ThreadPoolTaskRunner(max_workers=1))  # type: ignore[arg-type]
def run_reduce(
    store: str,
    scheduler: str | None = None,
    workers: Workers = None,
    performance_report: str | None = None,
    refine: bool = False,
) -> ReduceSummary:
    """Reduce the finished points of a store.

    Args:
        store: Local path or URL of a store.
        scheduler: Address of a Dask scheduler; none starts local worker processes.
        workers: Number of local worker processes; none: one per core.
        performance_report: File for Dask's performance report of the run, HTML.
        refine: Run points again, to look between what they recorded; of kinds that can.

    Raises:
        StoreError: Nothing is there, or nothing is done yet, or nothing of it could be reduced.
        SweepError: There is nothing to refine in stores of this kind.
    """
    with flow_runs.entered(store):
        connect = partial(cluster, scheduler, workers, performance_report)
        return reduce_points(store, connect, as_tasks("reduce"), refine)
