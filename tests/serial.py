"""Run and reduce a sweep in this process, without Prefect or Dask: the plain reference of the flows."""

from collections.abc import Callable

from isophase.flows.reduction import Failure, Part, finished, gather, kind_of, parts_of, reduce_across, reduce_part
from isophase.flows.report import report_of
from isophase.sweeps.kinds import parcel
from isophase.sweeps.store import Shard, SweepStore, compute_shard, exclusive, write_summaries
from isophase.sweeps.sweep import Sweep


def run_serially(
    location: str, sweep: Sweep, retry_failed: bool = False, until: Callable[[int, Shard], bool] | None = None
) -> int:
    """Run what is missing; returns how many points ran. ``until(number, shard)`` true: die there, status unwritten."""
    ran = 0
    with exclusive(location):
        store = SweepStore.prepare(location, sweep)
        for number, shard in enumerate(store.pending(sweep, retry_failed)):
            outcomes, nbytes = compute_shard(store.work(sweep, shard))
            if until is not None and until(number, shard):
                return ran
            store.finish(shard, outcomes, nbytes)
            store.flush()
            ran += len(shard.points)
    return ran


def reduce_serially(location: str) -> list[Failure]:
    """Reduce the finished points of a store; returns what had to be left out."""
    kind = kind_of(location)
    reduction, sent = kind.reduction, parcel(kind)
    summaries, failures = {}, []
    for name, dataset in finished(location).items():
        found = [reduce_part(Part(location, name, part, sent)) for part in parts_of(dataset, reduction)]
        summary, failed = gather(dataset, found, reduction)
        failures += failed
        if summary is not None:
            summaries[name] = summary
    across, failed = reduce_across(reduction, summaries)
    write_summaries(location, summaries | across)
    return failures + failed


def study_serially(location: str, sweep: Sweep):
    """What the flow ``study`` does up to its report, which is returned; nothing may be left out."""
    run_serially(location, sweep)
    assert reduce_serially(location) == []
    return report_of(location)
