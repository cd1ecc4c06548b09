"""The flow ``study``: run a sweep, reduce it, and report on it."""

from prefect import flow

from flows.reduce import run_reduce
from flows.report import report
from flows.sweep import SweepSummary, run_sweep


@flow(name="study", flow_run_name="{sweep}")
def run_study(
    sweep: str,
    store: str,
    scheduler: str | None = None,
    workers: int | None = None,
    retry_failed: bool = False,
    figures: str | None = None,
) -> SweepSummary:
    """Run what a store lacks of a sweep, reduce the store, print the table and draw the figures.

    Parameters and errors are those of the flows ``sweep`` and ``reduce``; ``figures`` is the folder of the figures.
    """
    summary = run_sweep(sweep, store, scheduler, workers, retry_failed)
    run_reduce(store, scheduler, workers)
    report(store, figures)
    return summary
