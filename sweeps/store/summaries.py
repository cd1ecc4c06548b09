"""What was reduced of a store, kept in its group ``summary``."""

import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
import zarr
from zarr.core.buffer import default_buffer_prototype
from zarr.core.sync import sync

from isophase.sweeps.store.layout import CODECS
from isophase.sweeps.store.location import (
    DamagedError,
    StoreRefusedError,
    in_order,
    is_url,
    one_line,
    open_store,
    open_tree,
    sync_folder,
    zarr_store,
)
from isophase.sweeps.store.lock import check_writer
from isophase.sweeps.store.metadata import ROOT, publish, unpublish
from isophase.sweeps.store.status import done, missing_chunks

SUMMARY = "summary"  # the group of what was reduced from the others
BESIDE = ".new"  # where a summary is made that is then put in place as a whole
REFINED = ".refined"  # in it: what was measured of seeds with a second look, which later reductions keep
COMPLETE = "complete"  # attribute: every chunk was written, so that one that is not there has been lost


def write_summaries(
    location: str, summaries: Mapping[str, xr.Dataset], refined: Mapping[str, Sequence[xr.Dataset]] | None = None
) -> None:
    """Keep summaries in the store, each in ``summary/NAME``, in place of all that were there.

    They are written beside the old ones, which stay until all is on the disk, and swapped in. A death while they are
    swapped leaves a store that is not reduced, never one that is half.
    ``refined`` is what :func:`read_refined` gives back. Raises StoreError where the store cannot be written.
    """
    check_writer(location)
    with one_line(location, "written"):
        _remove(location, BESIDE)
        beside = zarr_store(f"{location}/{BESIDE}/{SUMMARY}")
        top = zarr.open_group(beside, mode="w", zarr_format=3)
        for name, summary in summaries.items():
            _write(beside, name, in_order(summary))
        for name, parts in (refined or {}).items():
            for number, part in enumerate(parts):
                _write(beside, f"{REFINED}/{name}/{number}", part)
        top.attrs.update({"done": done(location), COMPLETE: True})
        check_writer(location)
        store = zarr_store(location)
        unpublish(store)
        _swap(location)
        _remove(location, BESIDE)  # first, as on a full disk the metadata take the room of the old summary
        publish(store)


def _write(store: Any, group: str, summary: xr.Dataset) -> None:
    texts = [key for key, variable in summary.variables.items() if variable.dtype.kind == "U"]
    # Text of fixed length has no specification in Zarr v3.
    summary = summary.assign({key: summary[key].astype(np.dtypes.StringDType()) for key in texts})
    for variable in summary.variables.values():
        variable.encoding = {"compressors": CODECS}
    summary.to_zarr(store, group=group, mode="w", zarr_format=3, consolidated=False, write_empty_chunks=True)


def _swap(location: str) -> None:
    """Put the summary that lies beside in place of the old one."""
    if not is_url(location):
        place, made = Path(location) / SUMMARY, Path(location) / BESIDE / SUMMARY
        if place.exists():
            place.rename(made.with_name("old"))
        made.rename(place)
        sync_folder(location)
        return
    store = zarr_store(location)  # whose objects have no other name to be given; without its metadata it is no group
    sync(store.delete(f"{SUMMARY}/{ROOT}"))
    sync(store.delete_dir(SUMMARY))
    new = f"{BESIDE}/{SUMMARY}/"
    keys = [key for page in store.store.list(new) for key in (entry["path"] for entry in page)]
    for key in sorted(keys, key=lambda key: key == new + ROOT):
        content = sync(store.get(key, default_buffer_prototype()))
        sync(store.set(f"{SUMMARY}/{key.removeprefix(new)}", content))


def _remove(location: str, folder: str) -> None:
    if is_url(location):
        sync(zarr_store(location).delete_dir(folder))
    elif os.path.lexists(path := Path(location) / folder):
        shutil.rmtree(path)


def read_summaries(location: str) -> dict[str, xr.Dataset]:
    """What was reduced of a store, in memory: by the name of a group, or ``NAME/PART`` where groups were joined.

    Raises
    ------
    StoreError : the store is not reduced.
    """
    tree = open_tree(location, chunks=None)
    if SUMMARY not in tree:
        raise StoreRefusedError(f"store {location}: not reduced yet; run `isophase reduce {location}`")
    with one_line(location):
        parts = _parts(location, tree).items()
        found = {name: in_order(dataset) for name, dataset in parts if not name.startswith(REFINED)}
    if not found:
        raise StoreRefusedError(f"store {location}: its summary holds no group; run `isophase reduce {location}`")
    return found


def read_refined(location: str) -> dict[str, list[xr.Dataset]]:
    """What was measured with a second look of the seeds of each group, scheme by scheme; nothing where nothing was."""
    found: dict[str, list[xr.Dataset]] = {}
    with one_line(location):
        tree = open_tree(location, chunks=None)
        for name, dataset in _parts(location, tree).items() if SUMMARY in tree else ():
            if name.startswith(f"{REFINED}/"):
                group = name.removeprefix(f"{REFINED}/").rpartition("/")[0]
                found.setdefault(group, []).append(dataset)
    return found


def _parts(location: str, tree: xr.DataTree) -> dict[str, xr.Dataset]:
    top = tree[SUMMARY]
    if top.attrs.get(COMPLETE):
        group = zarr.open_group(zarr_store(location, read_only=True), mode="r", path=SUMMARY)
        arrays = {path: array for path, array in group.members(max_depth=None) if isinstance(array, zarr.Array)}
        if missing := missing_chunks(group, arrays):
            raise DamagedError(f"store {location}: {missing[0]} is missing; run `isophase reduce {location}` again")
    return {
        node.path.removeprefix(f"{top.path}/"): node.to_dataset(inherit=False).load()
        for node in top.subtree
        if node is not top and len(node.variables)
    }


def is_stale(location: str) -> bool:
    """Whether points were done after the store was reduced."""
    return open_store(location)[SUMMARY].attrs.get("done") != done(location)
