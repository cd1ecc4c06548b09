"""What was reduced of a store, kept in its group ``summary``."""

from collections.abc import Mapping

import numpy as np
import xarray as xr
import zarr

from isophase.sweeps.store.location import StoreError, one_line, open_store, open_tree, zarr_store
from isophase.sweeps.store.lock import check_writer
from isophase.sweeps.store.status import consolidate, done

SUMMARY = "summary"  # the group of what was reduced from the others


def write_summaries(location: str, summaries: Mapping[str, xr.Dataset]) -> None:
    """Keep summaries in the store, each in ``summary/NAME``, in place of all that were there.

    A death in between leaves a store that is not reduced, never one that is half.
    Raises StoreError where the store cannot be written.
    """
    check_writer(location)
    with one_line(location, "written"):
        store = zarr_store(location)
        root = zarr.open_group(store, mode="r+", use_consolidated=False)
        if SUMMARY in root:
            del root[SUMMARY]
        consolidate(store)
        root.create_group(SUMMARY).attrs["done"] = done(location)
        for name, summary in summaries.items():
            texts = [key for key, variable in summary.variables.items() if variable.dtype.kind == "U"]
            # Text of fixed length has no specification in Zarr v3.
            summary = summary.assign({key: summary[key].astype(np.dtypes.StringDType()) for key in texts})
            for variable in summary.variables.values():
                variable.encoding.clear()
            summary.to_zarr(store, group=f"{SUMMARY}/{name}", mode="w", zarr_format=3, consolidated=False)
        consolidate(store)


def read_summaries(location: str) -> dict[str, xr.Dataset]:
    """What was reduced of a store, in memory: by the name of a group, or ``NAME/PART`` where groups were joined.

    Raises
    ------
    StoreError : the store is not reduced.
    """
    tree = open_tree(location, chunks=None)
    if SUMMARY not in tree:
        raise StoreError(f"store {location}: not reduced yet; run `isophase reduce {location}`")
    with one_line(location):
        top = tree[SUMMARY]
        found = {
            node.path.removeprefix(f"{top.path}/"): node.to_dataset(inherit=False).load()
            for node in top.subtree
            if node is not top and len(node.variables)
        }
    if not found:
        raise StoreError(f"store {location}: its summary holds no group; run `isophase reduce {location}`")
    return found


def is_stale(location: str) -> bool:
    """Whether points were done after the store was reduced."""
    return open_store(location)[SUMMARY].attrs.get("done") != done(location)
