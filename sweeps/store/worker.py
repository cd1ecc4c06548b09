"""The worker's side: compute the points of a shard, and write their data as one whole shard."""

import contextlib
import platform
import time
import traceback
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import xarray as xr
import zarr
from zarr.core.sync import sync
from zarr.errors import GroupNotFoundError

from isophase.sweeps.kinds import Kind, Parcel
from isophase.sweeps.kinds.base import arrays_of, fitted, scalars_of
from isophase.sweeps.seeds import point_seed
from isophase.sweeps.store.layout import Shard, fill_of
from isophase.sweeps.store.location import StoreError, one_line, zarr_store

OPEN_ARRAYS = 256  # that a worker keeps at hand


@dataclass(frozen=True)
class Work:
    """A shard with all that a worker needs to compute and write it; a few hundred bytes per point.

    ``keep`` says that the shard holds finished data of other points, which are read back and written again unchanged.
    """

    location: str
    store_id: str
    parcel: Parcel
    sweep_seed: int
    record: dict[str, Any]
    shard: Shard
    grid_shape: tuple[int, ...]
    shard_shape: tuple[int, ...]
    keep: bool
    parameters: tuple[dict[str, Any], ...]


@dataclass(frozen=True)
class Outcome:
    """What became of one grid point: its numbers, or the error that it raised, with its traceback; its time in s."""

    scalars: Mapping[str, Any] = field(default_factory=dict)
    error: str = ""
    traceback: str = ""
    wall_time: float = 0.0


def compute_shard(work: Work) -> list[Outcome]:
    """Compute the points of a shard and write their data as one whole shard. Runs on a worker.

    Returns
    -------
    The outcomes in the order of the points.
    """
    kind, shard = work.parcel.kind(), work.shard
    record = kind.record.model_validate(work.record)
    models = [kind.parameters.model_validate(values) for values in work.parameters]
    template = kind.template(models[0], record)
    variables = arrays_of(template)
    region = tuple(
        slice(o, min(o + s, n)) for o, s, n in zip(shard.origin, work.shard_shape, work.grid_shape, strict=True)
    )
    extent = tuple(along.stop - along.start for along in region)
    with one_line(work.location, "written"):
        arrays = {name: _array(work, f"{shard.group}/{name}") for name in variables}
        blocks = {
            name: arrays[name][region] if work.keep else np.full(extent + v.shape, fill_of(v.dtype), v.dtype)
            for name, v in variables.items()
        }
    outcomes = []
    for index, model in zip(shard.points, models, strict=True):
        at = tuple(i - o for i, o in zip(index, shard.origin, strict=True))
        outcome, values = _compute_point(kind, model, record, template, work.sweep_seed)
        for name, variable in variables.items():
            blocks[name][at] = values.get(name, fill_of(variable.dtype))
        outcomes.append(outcome)
    with one_line(work.location, "written"):
        for name, block in blocks.items():
            arrays[name][region] = block
    return outcomes


def _compute_point(
    kind: Kind, parameters: Any, record: Any, template: xr.Dataset, sweep_seed: int
) -> tuple[Outcome, dict[str, np.ndarray]]:
    """What became of a point, and its arrays; none where it failed."""
    seed = point_seed(sweep_seed, kind.stream, parameters, kind.seed_free)
    entropy, key = seed.entropy, seed.spawn_key  # before the point spawns from it
    started = time.perf_counter()
    try:
        values = fitted(kind.run_point(parameters, seed, record), template)
    except Exception as error:
        text = f"{type(error).__name__}: {error} [seed: {entropy}, spawn key: {key}]"
        return Outcome({}, text, traceback.format_exc(), time.perf_counter() - started), {}
    scalars = {name: values.pop(name).item() for name in scalars_of(template)}
    return Outcome(scalars, wall_time=time.perf_counter() - started), values


def shard_bytes(work: Work) -> int:
    """Bytes that a shard takes in the store, compressed; one of failed points alone takes none."""
    total = 0
    kind = work.parcel.kind()
    first = kind.parameters.model_validate(work.parameters[0])
    template = kind.template(first, kind.record.model_validate(work.record))
    for name, variable in arrays_of(template).items():
        array = _array(work, f"{work.shard.group}/{name}")
        at = tuple(o // s for o, s in zip(work.shard.origin, work.shard_shape, strict=True)) + (0,) * len(variable.dims)
        chunk = array.store_path / array.metadata.encode_chunk_key(at)
        with contextlib.suppress(FileNotFoundError):
            total += sync(array.store.getsize(chunk.path))
    return total


_ARRAYS: dict[tuple[str, str, tuple[int, ...]], zarr.Array] = {}


def _array(work: Work, path: str) -> Any:
    """An array of the store, opened once per process and grid shape: opening costs more than writing a small shard.

    Raises StoreError where this process does not see the store that the flow prepared, but another or none.
    """
    key = (work.store_id, path, work.grid_shape)
    if key not in _ARRAYS:
        if len(_ARRAYS) >= OPEN_ARRAYS:
            _ARRAYS.clear()
        try:
            seen = zarr.open_group(zarr_store(work.location), mode="r", use_consolidated=False).attrs.get("id")
        except (OSError, GroupNotFoundError):
            seen = None
        if seen != work.store_id:
            there = "another store" if seen else "no store"
            raise StoreError(f"store {work.location}: worker on {platform.node()} sees {there} there; share the path")
        _ARRAYS[key] = zarr.open_array(zarr_store(work.location), path=path, mode="r+")
    return _ARRAYS[key]
