"""The worker's side: compute the points of a shard, and write their data as one whole shard."""

import platform
import time
import traceback
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import xarray as xr
import zarr
from zarr.core.buffer import default_buffer_prototype
from zarr.core.sync import sync
from zarr.errors import GroupNotFoundError

from isophase.sweeps.kinds import Kind, Parcel
from isophase.sweeps.kinds.base import arrays_of, fitted, scalars_of
from isophase.sweeps.seeds import point_seed
from isophase.sweeps.store.layout import WHOLE, Shard, chunk_keys, fill_of, region_of
from isophase.sweeps.store.location import DamagedError, StoreRefusedError, one_line, zarr_store
from isophase.sweeps.store.metadata import ROOT

OPEN_ARRAYS = 256  # that a worker keeps at hand
UNKNOWN = 0  # checksum of points that an older version has written


@dataclass(frozen=True)
class Work:
    """A shard with all that a worker needs to compute and write it; a few hundred bytes per point.

    ``keep`` are other points whose finished data the shard holds, with their checksums: they are read back, compared
    and written again unchanged.
    """

    location: str
    store_id: str
    parcel: Parcel
    sweep_seed: int
    streams: int
    record: dict[str, Any]
    shard: Shard
    grid_shape: tuple[int, ...]
    shard_shape: tuple[int, ...]
    keep: Mapping[tuple[int, ...], int]
    parameters: tuple[dict[str, Any], ...]

    @property
    def region(self) -> tuple[slice, ...]:
        """Where on the grid the shard lies."""
        return region_of(self.shard.origin, self.shard_shape, self.grid_shape)


@dataclass(frozen=True)
class Outcome:
    """What became of one grid point: its numbers, or the error that it raised, with its traceback; its time in s;
    the checksum of its arrays.
    """

    scalars: Mapping[str, Any] = field(default_factory=dict)
    error: str = ""
    traceback: str = ""
    wall_time: float = 0.0
    crc32: int = UNKNOWN


def compute_shard(work: Work) -> tuple[list[Outcome], int]:
    """Compute the points of a shard and write their data as one whole shard. Runs on a worker.

    Returns
    -------
    The outcomes in the order of the points, and the bytes that the shard takes in the store, compressed.

    Raises
    ------
    DamagedError : finished data of other points in the same shard, to be written again, are not what they were.
    StoreError : the store cannot be written.
    """
    kind, shard = work.parcel.kind(), work.shard
    record = kind.record.model_validate(work.record)
    models = [kind.parameters.model_validate(values) for values in work.parameters]
    template = kind.template(models[0], record)
    variables = arrays_of(template)
    extent = tuple(along.stop - along.start for along in work.region)
    blocks = {name: np.full(extent + v.shape, fill_of(v.dtype), v.dtype) for name, v in variables.items()}
    with one_line(work.location, "written"):
        arrays = {name: _array(work, f"{shard.group}/{name}") for name in variables}
        for index in work.keep:
            at = tuple(i - o for i, o in zip(index, shard.origin, strict=True))
            for name, value in _kept_point(work, arrays, index).items():
                blocks[name][at] = value
    outcomes = []
    for index, model in zip(shard.points, models, strict=True):
        at = tuple(i - o for i, o in zip(index, shard.origin, strict=True))
        outcome, values = _compute_point(kind, model, record, template, work)
        for name, variable in variables.items():
            blocks[name][at] = values.get(name, fill_of(variable.dtype))
        if not outcome.error:
            outcome = replace(outcome, crc32=crc32_of({name: block[at] for name, block in blocks.items()}))
        outcomes.append(outcome)
    empty = not work.keep and all(outcome.error for outcome in outcomes)
    with one_line(work.location, "written"):
        return outcomes, sum(
            write_shard(arrays[name], work.region, None if empty else block) for name, block in blocks.items()
        )


def _kept_point(work: Work, arrays: Mapping[str, Any], index: tuple[int, ...]) -> dict[str, np.ndarray]:
    """The finished data of a point that shares the shard. One by one: what lies beside them may be damaged."""
    try:
        found = {name: array[index] for name, array in arrays.items()}
        whole = work.keep[index] in (UNKNOWN, crc32_of(found))
    except Exception:
        whole = False
    if not whole:
        files = ", ".join(
            key for array in arrays.values() for key in chunk_keys(array, [slice(i, i + 1) for i in index])
        )
        raise DamagedError(
            f"store {work.location}: {work.shard.group}: data of the finished point at {list(index)} are damaged or "
            f"missing ({files}); `isophase verify {work.location} --repair` sets it to be run again"
        )
    return found


def crc32_of(values: Mapping[str, np.ndarray]) -> int:
    """Checksum of a point's arrays as they are stored, by name; never ``UNKNOWN``."""
    found = 0
    for name in sorted(values):
        found = zlib.crc32(np.ascontiguousarray(values[name]).tobytes(), found)
    return found or 1


def write_shard(array: Any, region: tuple[slice, ...], block: np.ndarray | None) -> int:
    """Put a whole shard in place of what lies there, which is not looked at; None: nothing. Returns its bytes.

    Zarr itself reads a shard before it replaces all of it, and fails at one that is torn.
    """
    (key,) = chunk_keys(array, region)
    if block is None:
        sync(array.store.delete(key))
        return 0
    memory = zarr.storage.MemoryStore({f"{array.path}/{ROOT}": _metadata(array)})
    beside = zarr.open_array(memory, path=array.path, mode="r+", zarr_format=3).with_config(WHOLE)
    beside[region] = block
    encoded = sync(memory.get(key, default_buffer_prototype()))
    assert encoded is not None
    sync(array.store.set(key, encoded))
    return len(encoded)


def _metadata(array: Any) -> Any:
    return array.metadata.to_buffer_dict(default_buffer_prototype())[ROOT]


def _compute_point(
    kind: Kind, parameters: Any, record: Any, template: xr.Dataset, work: Work
) -> tuple[Outcome, dict[str, np.ndarray]]:
    """What became of a point, and its arrays; none where it failed."""
    seed_free = kind.seed_free_of(parameters, work.streams)
    seed = point_seed(work.sweep_seed, kind.stream, parameters, seed_free, work.streams)
    entropy, key = seed.entropy, seed.spawn_key  # before the point spawns from it
    started = time.perf_counter()
    try:
        values = fitted(kind.run_point(parameters, seed, record), template)
    except Exception as error:
        text = f"{type(error).__name__}: {error} [seed: {entropy}, spawn key: {key}]"
        return Outcome({}, text, traceback.format_exc(), time.perf_counter() - started), {}
    scalars = {name: values.pop(name).item() for name in scalars_of(template)}
    return Outcome(scalars, wall_time=time.perf_counter() - started), values


_ARRAYS: dict[tuple[str, str, str, tuple[int, ...]], zarr.Array] = {}


def _array(work: Work, path: str) -> Any:
    """An array of the store, opened once per process and grid shape: opening costs more than writing a small shard.

    Raises StoreError where this process does not see the store that the flow prepared, but another or none.
    """
    key = (work.location, work.store_id, path, work.grid_shape)  # a copy of a store has its id
    if key not in _ARRAYS:
        if len(_ARRAYS) >= OPEN_ARRAYS:
            _ARRAYS.clear()
        try:
            store = zarr_store(work.location, read_only=True)
            seen = zarr.open_group(store, mode="r", use_consolidated=False).attrs.get("id")
        except (OSError, GroupNotFoundError):
            seen = None
        if seen != work.store_id:
            there = "another store" if seen else "no store"
            raise StoreRefusedError(
                f"store {work.location}: worker on {platform.node()} sees {there} there; share the path"
            )
        _ARRAYS[key] = zarr.open_array(zarr_store(work.location), path=path, mode="r+")
    return _ARRAYS[key]
