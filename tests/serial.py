"""Run a sweep in this process, shard by shard, without Prefect or Dask: the plain reference of the flows."""

from collections.abc import Callable

from isophase.sweeps.store import Shard, SweepStore, compute_shard, exclusive
from isophase.sweeps.sweep import Sweep


def run_serially(
    location: str, sweep: Sweep, retry_failed: bool = False, until: Callable[[int, Shard], bool] | None = None
) -> int:
    """Run what is missing; returns how many points ran. ``until(number, shard)`` true: die there, status unwritten."""
    ran = 0
    with exclusive(location):
        store = SweepStore.prepare(location, sweep)
        for number, shard in enumerate(store.pending(sweep, retry_failed)):
            outcomes = compute_shard(store.work(sweep, shard))
            if until is not None and until(number, shard):
                return ran
            store.finish(shard, outcomes)
            store.flush()
            ran += len(shard.points)
    return ran
