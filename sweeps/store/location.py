"""Where a store is, and how it is opened: addresses, and the tree that people query."""

import asyncio
import contextlib
import errno
import json
import os
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
import zarr
from zarr.abc.store import OffsetByteRequest, RangeByteRequest
from zarr.errors import GroupNotFoundError

from isophase.sweeps.store.metadata import ROOT, is_digest_wrong
from isophase.sweeps.sweep import SweepError

PARTIAL = ".partial"  # end of the name of a file that is being written
LASTING = (errno.EROFS, errno.ENAMETOOLONG, errno.ELOOP, errno.EINVAL)  # beside those that have a class of their own


class StoreError(RuntimeError):
    """A store that cannot be used: the message names its path and the reason."""


class StoreRefusedError(StoreError):
    """A store that no repetition makes usable: it is not there, is another one's, contradicts, or is forbidden."""


class DamagedError(StoreRefusedError):
    """A store of which something is lost or has changed: the message names the file and what mends it."""


def unusable(message: str, error: BaseException) -> StoreError:
    """The StoreError of what the operating system says: whether it can go away by itself."""
    lasting = PermissionError, FileNotFoundError, FileExistsError, NotADirectoryError, IsADirectoryError
    is_refusal = isinstance(error, lasting) or getattr(error, "errno", None) in LASTING
    return StoreRefusedError(message) if is_refusal else StoreError(message)


def is_url(location: str) -> bool:
    return "://" in location


def resolve(location: str | os.PathLike[str]) -> str:
    """The location as every process understands it: a URL as it is, a local path (or ``file://``) made absolute."""
    text = str(location).removeprefix("file://")
    return text if is_url(text) else str(Path(text).expanduser().absolute())


@contextlib.contextmanager
def one_line(location: str, what: str = "read") -> Iterator[None]:
    """Whatever a damaged or foreign store raises becomes one line that names it."""
    try:
        yield
    except (StoreError, SweepError):
        raise
    except Exception as error:
        reason = (str(error).strip().splitlines() or [""])[0]
        message = f"store {location}: cannot be {what}: {type(error).__name__}: {reason}"
        if not is_url(location) and not isinstance(error, OSError | MemoryError):  # what is there makes no sense
            raise StoreRefusedError(message) from error
        raise unusable(message, error) from error


def zarr_store(location: str, read_only: bool = False) -> Any:
    """The Zarr store at a local path or at any URL that obstore opens (``s3://``, ``gs://``, ``az://``)."""
    if not is_url(location):
        return _LocalStore(location, read_only=read_only)
    try:
        from obstore.exceptions import BaseError
        from obstore.store import from_url
    except ImportError:
        raise StoreRefusedError(f"store {location}: URLs need obstore: pip install 'isophase[s3]'") from None
    try:
        if location.startswith("memory:"):
            raise ValueError("every process would have a store of its own, which ends with it")
        return _ObjectStore(from_url(location), read_only=read_only)
    except (BaseError, ValueError) as error:
        reason = str(error).splitlines()[0]
        allowed = "must be a path, or a URL such as s3://BUCKET/NAME, gs://BUCKET/NAME or az://CONTAINER/NAME"
        raise StoreRefusedError(f"store {location}: no store can be opened there: {reason}; {allowed}") from None


class _LocalStore(zarr.storage.LocalStore):
    """What it says is written lies on the disk, not in the memory of the system: a status never outlives its data."""

    async def set(self, key: str, value: Any) -> None:
        """Write beside, bring to the disk, and put in place; of a store that was removed nothing is made anew."""
        self._check_writable()
        await asyncio.to_thread(_put, self.root, key, value.as_buffer_like())


def _put(root: Path, key: str, value: Any) -> None:
    path = root / key
    if key != ROOT and not (root / ROOT).exists():
        raise FileNotFoundError(f"{root / ROOT} is gone: the store was removed or moved while it was written")
    missing = [path.parent, *path.parent.parents]
    missing = [folder for folder in missing if folder.is_relative_to(root) and not folder.exists()]
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.{uuid.uuid4().hex}{PARTIAL}")
    try:
        with partial.open("wb") as file:
            file.write(value)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    for folder in {path.parent, *(folder.parent for folder in missing)}:
        sync_folder(folder)


def sync_folder(folder: str | os.PathLike[str]) -> None:
    """Bring the names in a folder to the disk, as ``fsync`` does with the bytes of a file."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class _ObjectStore(zarr.storage.ObjectStore):
    """Gets along with servers that understand less of S3 than they should; ``rclone serve s3`` is one."""

    async def set_if_not_exists(self, key: str, value: Any) -> None:
        """Look, and then create: some servers ignore "only if it is not there" and overwrite.

        Zarr creates missing parents so; an overwritten root has lost the sweep. A store has one writer, who may look.
        """
        if not await self.exists(key):
            await self.set(key, value)

    async def get(self, key: str, prototype: Any, byte_range: Any = None) -> Any:
        """Some servers send the bytes that were asked for as if they were the whole, which obstore refuses."""
        from obstore.exceptions import GenericError

        try:
            return await super().get(key, prototype, byte_range)
        except GenericError as error:
            if byte_range is None or "non-partial" not in str(error):
                raise
        whole = await super().get(key, prototype)
        if whole is None:
            return None
        if isinstance(byte_range, RangeByteRequest):
            return whole[byte_range.start : byte_range.end]
        if isinstance(byte_range, OffsetByteRequest):
            return whole[byte_range.offset :]
        return whole[len(whole) - byte_range.suffix :]


def open_store(location: str | os.PathLike[str]) -> xr.DataTree:
    """The whole store as a lazy tree: a node per shape with labelled grid axes, and ``summary`` once it is reduced.

    Parameters
    ----------
    location : local path or URL of a store.

    Returns
    -------
    xarray.DataTree of Dask arrays; nothing but coordinates is read. Points that have not run are NaN. Numeric grid axes
    increase, whatever the order in which their values were added.

    Raises
    ------
    StoreError : nothing is there, or it is no store of a sweep.
    """
    tree = open_tree(location, chunks={})
    for node in tree.subtree:
        own = node.to_dataset(inherit=False)
        if (increasing := in_order(own)) is not own:
            node.dataset = increasing
    return tree


def in_order(dataset: xr.Dataset) -> xr.Dataset:
    """A group, or its summary, with increasing numbers along its numeric grid axes; the seeds stay where they are.

    A store keeps values in the order in which they were added.
    """
    axes = json.loads(dataset.attrs.get("axes", "[]"))
    for axis in axes:
        name = axis["name"]
        if name == "seed" or name not in dataset.dims or dataset[name].dtype.kind not in "iuf":
            continue
        if (np.diff(dataset[name].values) > 0).all():
            continue
        dataset = dataset.isel({name: np.argsort(dataset[name].values, kind="stable")})
        order = np.argsort(axis["labels"], kind="stable")
        axis["labels"] = [axis["labels"][i] for i in order]
        axis["values"] = {key: [column[i] for i in order] for key, column in axis["values"].items()}
        dataset = dataset.assign_attrs(axes=json.dumps(axes))
    return dataset


def open_tree(location: str | os.PathLike[str], chunks: dict[str, int] | None) -> xr.DataTree:
    """As :func:`open_store`, as it is kept: positions on its axes are those of the points.

    ``chunks`` None: arrays that are read in this thread when their values are asked for.
    """
    location = resolve(location)
    with one_line(location):
        root = open_root(location)
        definition_of(location, root)
        consolidated = root.metadata.consolidated_metadata is not None
        store = zarr_store(location, read_only=True)
        return xr.open_datatree(store, engine="zarr", chunks=chunks, consolidated=consolidated)


def check_there(location: str) -> None:
    """Raise StoreError where a local store has no folder."""
    if not is_url(location) and not Path(location).exists():
        raise StoreRefusedError(f"store {location}: there is nothing at this path")


def damage(location: str, file: str, what: str) -> DamagedError:
    """The error of who finds a file of a store damaged."""
    hint = f"`isophase verify {location} --repair` mends what can be mended"
    return DamagedError(f"store {location}: {file} {what}; {hint}")


def open_root(location: str) -> zarr.Group:
    check_there(location)
    store = zarr_store(location, read_only=True)
    try:
        if is_digest_wrong(store):
            raise damage(location, ROOT, "is damaged, or was changed by another program")
        return zarr.open_group(store, mode="r")
    except GroupNotFoundError:
        raise StoreRefusedError(f"store {location}: not a Zarr group") from None


def definition_of(location: str, root: zarr.Group) -> dict[str, Any]:
    """The sweep's definition in a store's attributes."""
    if "sweep" not in root.attrs:
        raise StoreRefusedError(f"store {location}: a Zarr group, but not the store of a sweep")
    definition = json.loads(str(root.attrs["sweep"]))
    if not isinstance(definition, dict) or not isinstance(definition.get("kind"), str):
        raise StoreRefusedError(f"store {location}: its attribute `sweep` is not the definition of a sweep")
    return definition


def streams_of(root: zarr.Group) -> int:
    """How the random streams of a store's points are derived (``sweeps.seeds``); older stores do not say."""
    return int(str(root.attrs.get("streams", 1)))


def stored_streams(location: str) -> int:
    """The same of the store at a location."""
    location = resolve(location)
    with one_line(location):
        return streams_of(open_root(location))


def stored_sweep(location: str) -> dict[str, Any]:
    """The definition of the sweep that last ran into a store."""
    location = resolve(location)
    with one_line(location):
        return definition_of(location, open_root(location))
