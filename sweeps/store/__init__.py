"""The result store: one Zarr v3 hierarchy per sweep, a group per shape, status beside the data.

One process (the flow) prepares the store and owns every status; workers write whole shards of data and nothing else.
"""

from isophase.sweeps.store.layout import Shard, shard_shape, tasks
from isophase.sweeps.store.location import (
    DamagedError,
    StoreError,
    StoreRefusedError,
    is_url,
    one_line,
    open_store,
    open_tree,
    resolve,
    stored_streams,
    stored_sweep,
    unusable,
    zarr_store,
)
from isophase.sweeps.store.lock import exclusive
from isophase.sweeps.store.status import DONE, FAILED, PENDING, STATES, SweepStore, is_complete, read
from isophase.sweeps.store.summaries import SUMMARY, is_stale, read_refined, read_summaries, write_summaries
from isophase.sweeps.store.usage import usage
from isophase.sweeps.store.verify import Damage, damaged, lines, lost, repair, verify
from isophase.sweeps.store.worker import Outcome, Work, compute_shard

__all__ = [
    "DONE",
    "FAILED",
    "PENDING",
    "STATES",
    "SUMMARY",
    "Damage",
    "DamagedError",
    "Outcome",
    "Shard",
    "StoreError",
    "StoreRefusedError",
    "SweepStore",
    "Work",
    "compute_shard",
    "damaged",
    "exclusive",
    "is_complete",
    "is_stale",
    "is_url",
    "lines",
    "lost",
    "one_line",
    "open_store",
    "open_tree",
    "read",
    "read_refined",
    "read_summaries",
    "repair",
    "resolve",
    "shard_shape",
    "stored_streams",
    "stored_sweep",
    "tasks",
    "unusable",
    "usage",
    "verify",
    "write_summaries",
    "zarr_store",
]
