"""How the points of a group lie in arrays, chunks and shards, and which of them are computed together."""

import dataclasses
import itertools
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import zarr
from zarr.codecs import ZstdCodec

from isophase.sweeps.kinds.base import arrays_of
from isophase.sweeps.store.location import StoreRefusedError
from isophase.sweeps.sweep import Axis, Group

SHARD_SECONDS = 2.0  # cheap points share a shard (and a Dask task) that takes about this long
SHARD_BYTES = 64 * 2**20  # a worker holds one shard in memory while it computes it
SHARDS_PER_GROUP = 16  # but leave that many shards to share among workers
CODECS = (ZstdCodec(level=0, checksum=True),)  # a flipped bit is an error where it is read, not another number
WHOLE: Any = {"write_empty_chunks": True}  # so that what is not there has been lost
BOOKKEEPING_CELLS = 4096  # least size of a chunk of status, so that growing a grid does not scatter it


@dataclasses.dataclass(frozen=True)
class Shard:
    """The unit of writing: the points of one group whose data lie in one shard, and which of them to compute."""

    group: str
    origin: tuple[int, ...]
    points: tuple[tuple[int, ...], ...]


def fill_of(dtype: Any) -> Any:
    """What an array holds where no point has written: NaN, or 0 of a type without it."""
    return np.dtype(dtype).type(np.nan) if np.dtype(dtype).kind in "fc" else np.dtype(dtype).type(0)


def prepare_group(
    location: str, root: zarr.Group, wanted: Group, kept: Mapping[str, tuple[str, dict[str, Any]]]
) -> tuple[Group, zarr.Group, tuple[int, ...], list[str]]:
    """Create the arrays of a group, or grow those that are there by what is wanted of it.

    ``kept`` gives type and attributes of the arrays that hold one number or text per point. Returns the group as it
    then is, its node, the shape of its shards in points, and which of ``kept`` have cells that were never written:
    they are to be written before :func:`describe` makes the group known as it is now, so that a death in between
    leaves it as it was.
    """
    group = wanted
    node = root.require_group(wanted.name)
    shape: tuple[int, ...] | None = None
    if "axes" in node.attrs:
        stored = [Axis.from_json(axis) for axis in json.loads(str(node.attrs["axes"]))]
        axes = tuple(have.union(more) for have, more in zip(stored, wanted.axes, strict=True))
        group = dataclasses.replace(wanted, axes=axes)
        shard, shape = stored_shard(node), tuple(len(axis.labels) for axis in stored)
    else:
        shard = shard_shape(group)
    coordinates = _coordinates(group)
    for name, (_, values, _) in coordinates.items():
        if name in node and (member(node, name).dtype.kind in "iufb") != (np.asarray(values).dtype.kind in "iufb"):
            raise StoreRefusedError(f"store {location}: {name} in {group.name}: numbers and text cannot be on one axis")
    dims = tuple(axis.name for axis in group.axes)
    cells = _bookkeeping_chunk(group.shape)
    fresh = [name for name in kept if name not in node or shape != group.shape]
    for name, (type_name, attrs) in kept.items():
        _require_array(node, name, group.shape, type_name, dims, attrs, cells)
    for name, variable in arrays_of(group.template).items():
        chunk = variable.encoding["chunks"]
        inner = (1,) * len(dims) + chunk
        whole = shard + tuple(math.ceil(n / c) * c for n, c in zip(variable.shape, chunk, strict=True))
        _require_array(
            node, name, group.shape + variable.shape, str(variable.dtype), (*dims, *map(str, variable.dims)),
            variable.attrs, inner, shards=None if inner == whole else whole,
        )  # fmt: skip
    write_coordinates(node, group)
    return group, node, shard, fresh


def describe(node: zarr.Group, group: Group, shard: tuple[int, ...]) -> None:
    """Write what a group is to its attributes, all at once."""
    node.update_attributes(
        {
            **{name: value for name, value in group.fixed.items() if isinstance(value, str | int | float)},
            "kind": group.kind_name,
            "coordinates": " ".join(_coordinates(group)),
            "axes": json.dumps([axis.to_json() for axis in group.axes]),
            "parameters": json.dumps(dict(group.fixed)),
            "shard": json.dumps(shard),
        }
    )


def _require_array(
    node: zarr.Group, name: str, shape: tuple[int, ...], dtype: Any, dims: tuple[str, ...], attrs: Mapping[str, Any],
    chunks: tuple[int, ...], shards: tuple[int, ...] | None = None,
) -> zarr.Array:  # fmt: skip
    if name in node:
        array = member(node, name)
        if array.shape != shape:
            array.resize(shape)
        return array
    fill = "" if dtype == "str" else fill_of(dtype)
    return node.create_array(
        name, shape=shape, dtype=str if dtype == "str" else dtype, chunks=chunks, shards=shards, fill_value=fill,
        dimension_names=dims, attributes=dict(attrs), compressors=CODECS,
    )  # fmt: skip


def write_coordinates(node: zarr.Group, group: Group) -> None:
    """Write the coordinates of a group, all of them."""
    for name, (dim, values, attrs) in _coordinates(group).items():
        shape = np.shape(values)
        kind = np.asarray(values).dtype
        dtype: Any = "str" if kind.kind == "U" else kind
        coordinate: Any = _require_array(
            node, name, shape, dtype, dim, attrs, tuple(max(n, BOOKKEEPING_CELLS) for n in shape)
        ).with_config(WHOLE)
        coordinate[...] = np.asarray(values, dtype=object) if dtype == "str" and shape else values


def region_of(origin: Sequence[int], shard: Sequence[int], grid: Sequence[int]) -> tuple[slice, ...]:
    """Where on a grid a shard lies, cut off at its end."""
    return tuple(slice(o, min(o + s, n)) for o, s, n in zip(origin, shard, grid, strict=True))


def chunks_of(array: Any, region: Sequence[slice] = ()) -> Iterator[tuple[str, tuple[slice, ...]]]:
    """The objects, whole shards or chunks, that hold an array, or a region of its first axes: with their regions."""
    sizes = array.shards or array.chunks
    whole = [*region, *(slice(0, n) for n in array.shape[len(region) :])]
    ranges = [range(r.start // size, math.ceil(r.stop / size)) for r, size in zip(whole, sizes, strict=True)]
    for at in itertools.product(*ranges):
        origin = [i * size for i, size in zip(at, sizes, strict=True)]
        yield f"{array.path}/{array.metadata.encode_chunk_key(at)}", region_of(origin, sizes, array.shape)


def chunk_keys(array: Any, region: Sequence[slice] = ()) -> list[str]:
    """Paths in the store of the objects that hold an array, or a region of its first axes."""
    return [key for key, _ in chunks_of(array, region)]


def member(node: zarr.Group, name: str) -> Any:
    """An array of a group (to the type checker it could be a group too)."""
    return node[name]


def _coordinates(group: Group) -> dict[str, tuple[tuple[str, ...], Any, dict[str, Any]]]:
    """Every coordinate of a group: labels of the axes, parameters along zipped ones, and the group's own scalars."""
    found: dict[str, tuple[tuple[str, ...], Any, dict[str, Any]]] = {}
    for axis in group.axes:
        found[axis.name] = ((axis.name,), list(axis.labels), _parameter_attrs(group, axis.name))
        for parameter, values in axis.values:
            if parameter != axis.name and all(isinstance(v, str | int | float) for v in values):
                found[parameter] = ((axis.name,), list(values), _parameter_attrs(group, parameter))
    for parameter in group.kind.shape_parameters:
        if isinstance(group.fixed.get(parameter), str | int | float):
            found[parameter] = ((), group.fixed[parameter], _parameter_attrs(group, parameter))
    for name, coordinate in group.template.coords.items():
        found[str(name)] = (tuple(map(str, coordinate.dims)), coordinate.values, dict(coordinate.attrs))
    return found


def _parameter_attrs(group: Group, parameter: str) -> dict[str, Any]:
    known = group.kind.parameters.model_fields.get(parameter)
    return {"long_name": known.description} if known is not None and known.description else {}


def stored_shard(node: zarr.Group) -> tuple[int, ...]:
    """The shape of a group's shards, in points, as its attributes hold it.

    Raises
    ------
    ValueError : they hold something else.
    """
    shard = json.loads(str(node.attrs["shard"]))
    number = len(json.loads(str(node.attrs["axes"])))
    if not isinstance(shard, list) or len(shard) != number or not all(type(n) is int and n > 0 for n in shard):
        raise ValueError(f"shard={shard!r} of {node.path}: must be {number} whole numbers above 0")
    return tuple(shard)


def _bookkeeping_chunk(shape: tuple[int, ...]) -> tuple[int, ...]:
    if not shape:
        return ()
    return (*shape[:-1], max(shape[-1], BOOKKEEPING_CELLS // math.prod(shape[:-1])))


def shard_shape(group: Group) -> tuple[int, ...]:
    """Points per shard along each grid axis: last axes first, as many as make a task of a second or two.

    It depends on the group alone, never on the number of workers: the same sweep makes the same files.
    """
    seconds = max(group.seconds() / group.n_points, 1e-9)
    point_bytes = max(group.nbytes() // group.n_points, 1)
    room = min(SHARD_SECONDS / seconds, SHARD_BYTES / point_bytes, group.n_points / SHARDS_PER_GROUP)
    shape = []
    for length in reversed(group.shape):
        shape.append(max(1, min(length, math.floor(room))))
        room = room / shape[-1] if shape[-1] == length else 1
    return tuple(reversed(shape))


def tasks(shards: list[Shard], seconds: Mapping[str, float]) -> list[tuple[Shard, ...]]:
    """Shards in runs that take about ``SHARD_SECONDS`` together, given the time of a point of each group."""
    runs: list[list[Shard]] = []
    filled = math.inf
    for shard in shards:
        cost = seconds[shard.group] * len(shard.points)
        if filled + cost > SHARD_SECONDS or runs[-1][-1].group != shard.group:
            runs.append([])
            filled = 0.0
        runs[-1].append(shard)
        filled += cost
    return [tuple(run) for run in runs]
