"""The flow ``study``: run a sweep, reduce it, and report on it."""

import sys
from dataclasses import dataclass
from pathlib import Path

from prefect import flow

from isophase.flows import artifacts, flow_runs
from isophase.flows.cluster import Workers
from isophase.flows.points import SweepSummary
from isophase.flows.reduce import run_reduce
from isophase.flows.reduction import ReduceSummary
from isophase.flows.report import report_of, show
from isophase.flows.sweep import NonNegative, run_sweep


@dataclass(frozen=True)
class StudySummary:
    """What a study did: its run, its reduction (None where no point was done), and how many figures failed."""

    run: SweepSummary
    reduction: ReduceSummary | None
    figures_failed: int

    @property
    def complete(self) -> bool:
        """Whether no point and no part of the reduction or of the figures failed."""
        reduced = self.reduction is not None and not self.reduction.failures
        return reduced and not self.run.failed and not self.run.lost and not self.figures_failed


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
) -> StudySummary:
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
    with flow_runs.entered(store):
        return _study(sweep, store, scheduler, workers, retry_failed, figures, more_seeds, performance_report)


def _study(
    sweep: str,
    store: str,
    scheduler: str | None,
    workers: Workers,
    retry_failed: bool,
    figures: str | None,
    more_seeds: NonNegative,
    performance_report: str | None,
) -> StudySummary:
    of_reduction = None
    if performance_report is not None:
        path = Path(performance_report)
        of_reduction = str(path.with_stem(f"{path.stem}-reduce"))
    summary = run_sweep(sweep, store, scheduler, workers, retry_failed, more_seeds, performance_report)
    if not summary.done:
        print("no point is done: there is nothing to reduce", file=sys.stderr)
        return StudySummary(summary, None, 0)
    reduction = run_reduce(store, scheduler, workers, of_reduction)
    report = report_of(store)
    paths, failed = show(report, figures)
    if paths:
        artifacts.link(f"{Path(sweep).stem}-figures", str(paths[0].parent), f"{len(paths)} figures")
    return StudySummary(summary, reduction, failed)
