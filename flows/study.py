"""The flow ``study``: run a sweep, reduce it, and report on it."""

from pathlib import Path

from prefect import flow

from isophase.flows import artifacts
from isophase.flows.cluster import Workers
from isophase.flows.reduce import run_reduce
from isophase.flows.report import report
from isophase.flows.sweep import NonNegative, SweepSummary, run_sweep
from isophase.sweeps.sweep import load


@flow(name="study", flow_run_name="{sweep}")
def run_study(
    sweep: str,
    store: str,
    scheduler: str | None = None,
    workers: Workers = None,
    retry_failed: bool = False,
    figures: str | None = None,
    more_seeds: NonNegative = 0,
    performance_report: str | None = None,
) -> SweepSummary:
    """Run what a store lacks of a sweep, reduce the store, print the table and draw the figures.

    Args:
        sweep: Path of a TOML file, or name of a preset.
        store: Local path or URL; created, resumed or extended.
        scheduler: Address of a Dask scheduler; none starts local worker processes.
        workers: Number of local worker processes; none: one per core.
        retry_failed: Run points that failed before once more.
        figures: Folder of the figures; none: the store's path with .figures.
        more_seeds: Go on with the seeds that the store holds beyond those of the sweep, and add this many new ones
            once none of them is pending. For runs on a schedule.
        performance_report: File for Dask's performance report of the sweep, HTML; that of the reduction lies beside
            it, named with -reduce.

    Raises:
        SweepError, StoreError, ClusterError: As the flows ``sweep`` and ``reduce`` do.
    """
    of_reduction = None
    if performance_report is not None:
        path = Path(performance_report)
        of_reduction = str(path.with_stem(f"{path.stem}-reduce"))
    summary = run_sweep(sweep, store, scheduler, workers, retry_failed, more_seeds, performance_report)
    run_reduce(store, scheduler, workers, of_reduction)
    paths = report(store, figures)
    if paths:
        artifacts.link(f"{load(sweep).name}-figures", str(paths[0].parent), f"{len(paths)} figures")
    return summary
