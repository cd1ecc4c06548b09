"""The state of every point, its error and its numbers: what the one process that may change a store keeps of it.

A point is done when its data and then its status are written, so whatever dies, the next run does what is missing.
"""

import asyncio
import json
import os
import shutil
import threading
import uuid
from collections.abc import Iterable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from zarr.core.sync import sync

from isophase.sweeps.kinds.base import scalars_of
from isophase.sweeps.seeds import STREAMS
from isophase.sweeps.store.layout import (
    WHOLE,
    Shard,
    chunk_keys,
    describe,
    member,
    prepare_group,
    region_of,
    stored_shard,
)
from isophase.sweeps.store.location import (
    PARTIAL,
    StoreError,
    StoreRefusedError,
    damage,
    definition_of,
    is_url,
    one_line,
    open_root,
    resolve,
    stored_sweep,
    streams_of,
    zarr_store,
)
from isophase.sweeps.store.lock import check_writer
from isophase.sweeps.store.metadata import ROOT, changed_nodes, is_digest_wrong, publish, unpublish
from isophase.sweeps.store.usage import objects
from isophase.sweeps.store.worker import Outcome, Work
from isophase.sweeps.sweep import Axis, Group, Sweep

PENDING, DONE, FAILED = 0, 1, 2
STATES = {"pending": PENDING, "done": DONE, "failed": FAILED}


def bookkeeping(group: Group) -> dict[str, tuple[str, dict[str, Any]]]:
    """Type and attributes of the arrays that hold one number or text per point."""
    flags = {"flag_values": list(STATES.values()), "flag_meanings": " ".join(STATES)}
    return {
        "status": ("uint8", {"long_name": "state of the point", **flags}),
        "error": ("str", {"long_name": "error of a failed point, with its seed"}),
        "traceback": ("str", {"long_name": "where a failed point raised its error"}),
        "wall_time": ("float64", {"long_name": "time spent on the point", "units": "s"}),
        "crc32": ("uint32", {"long_name": "checksum of the point's arrays as they are stored, by name"}),
        "shard_bytes": ("int64", {"long_name": "size in the store of the shard that holds the point", "units": "byte"}),
        **{name: (str(scalar.dtype), dict(scalar.attrs)) for name, scalar in scalars_of(group.template).items()},
    }


class GroupStore:
    """One group of the store: its grid as stored, and the status of every point."""

    def __init__(self, location: str, group: Group, node: zarr.Group, shard: tuple[int, ...], kept: Iterable[str]):
        self.group = group
        self.zarr = node
        self.shard = shard
        self.bookkeeping = {}
        for name in kept:
            array = member(node, name)
            if array.shape != group.shape:  # before it is read: a damaged shape can be of any size
                raise ValueError(f"{name} in {group.name} has shape {array.shape}, its grid {group.shape}")
            try:
                values = np.array(array[...])
            except Exception as error:
                raise damage(location, f"{group.name}/{name}", f"is damaged: {error}") from error
            self.bookkeeping[name] = values if values.dtype.kind in "biufc" else values.astype(object)

    @cached_property
    def arrays(self) -> dict[str, Any]:
        """What points recorded, by name; of any kind and version."""
        kept = coordinates_of(self.zarr) | set(kept_of(self.zarr))
        return {name: array for name, array in self.zarr.arrays() if name not in kept}

    @property
    def status(self) -> np.ndarray:
        return self.bookkeeping["status"]

    def positions(self, part: Group) -> list[list[int]]:
        """Where along each stored axis the labels of ``part`` are."""
        places = [{label: i for i, label in enumerate(axis.labels)} for axis in self.group.axes]
        return [[at[label] for label in axis.labels] for at, axis in zip(places, part.axes, strict=True)]

    def region(self, origin: tuple[int, ...]) -> tuple[slice, ...]:
        """Where on the grid the shard at an origin lies."""
        return region_of(origin, self.shard, self.group.shape)

    def kept(self, shard: Shard) -> dict[tuple[int, ...], int]:
        """Other points whose finished data lie in the same shard, with their checksums."""
        inside = np.argwhere(self.status[self.region(shard.origin)] == DONE) + np.array(shard.origin, int)
        done = {tuple(int(i) for i in index) for index in inside}
        return {index: int(self.bookkeeping["crc32"][index]) for index in sorted(done - set(shard.points))}

    def flush(self, names: Iterable[str]) -> None:
        """Write the named bookkeeping arrays, status last."""
        for name in sorted(names, key=lambda name: name == "status"):
            member(self.zarr, name).with_config(WHOLE)[...] = self.bookkeeping[name]


class SweepStore:
    """The store of one sweep in the hands of the one process that may change it.

    Use :meth:`prepare` inside :func:`exclusive`.
    """

    def __init__(self, location: str, root: zarr.Group, groups: dict[str, GroupStore]):
        self.location = location
        self.root = root
        self.groups = groups
        self._lock = threading.Lock()
        self._dirty: dict[str, set[str]] = {}

    @classmethod
    def prepare(cls, location: str, sweep: Sweep) -> "SweepStore":
        """Create the store of a sweep, or extend the one that is there by what the sweep adds to it.

        Raises
        ------
        StoreError : the path is taken by something else, cannot be written, or is too small; or it holds a sweep that
            contradicts this one, and then the message lists the differences.
        """
        with one_line(location, "written"):
            if not is_url(location):
                _check_room(location, sweep)
                _refuse_other_files(Path(location))
            files = zarr_store(location)
            refuse_damage(location, files)
            root = zarr.open_group(files, mode="a", zarr_format=3, use_consolidated=False)
            if "sweep" in root.attrs:
                _refuse_contradiction(location, definition_of(location, root), sweep)
            elif "id" not in root.attrs and len(list(root.keys())):
                raise StoreRefusedError(f"store {location}: holds a Zarr group that is not the store of a sweep")
            unpublish(files)
            root = zarr.open_group(files, mode="r+", use_consolidated=False)
            if "id" not in root.attrs:
                root.attrs["id"] = uuid.uuid4().hex
            if "sweep" not in root.attrs:
                root.attrs["streams"] = STREAMS
            groups = {group.name: _prepared(location, root, group) for group in sweep.groups()}
            root.attrs["sweep"] = json.dumps(sweep.definition())
            store = cls(location, root, groups)
            store.consolidate()
            if not is_url(location):
                for name in groups:
                    for leftover in (Path(location) / name).rglob(f"*{PARTIAL}"):  # of writes cut short by a kill
                        leftover.unlink(missing_ok=True)
            return store

    def pending(self, sweep: Sweep, retry_failed: bool = False) -> list[Shard]:
        """The shards that hold points of the sweep that are still to run, in grid order."""
        wanted_states = (PENDING, FAILED) if retry_failed else (PENDING,)
        shards: dict[tuple[str, tuple[int, ...]], list[tuple[int, ...]]] = {}
        for group in sweep.groups():
            store = self.groups[group.name]
            positions = store.positions(group)
            for cell in np.argwhere(np.isin(store.status[np.ix_(*positions)], wanted_states)):
                index = tuple(p[int(i)] for p, i in zip(positions, cell, strict=True))
                origin = tuple(i // s * s for i, s in zip(index, store.shard, strict=True))
                shards.setdefault((group.name, origin), []).append(index)
        return [Shard(name, origin, tuple(sorted(points))) for (name, origin), points in shards.items()]

    def work(self, sweep: Sweep, shard: Shard) -> Work:
        """What to send to a worker for a shard."""
        store = self.groups[shard.group]
        return Work(
            self.location,
            str(self.root.attrs["id"]),
            sweep.parcel,
            sweep.seed,
            streams_of(self.root),
            sweep.record.model_dump(mode="json"),
            shard,
            store.group.shape,
            store.shard,
            store.kept(shard),
            tuple(store.group.point(index).model_dump(mode="json") for index in shard.points),
        )

    def count(self, sweep: Sweep | None = None) -> dict[str, int]:
        """Number of points in each state: of the sweep, or of the whole store."""
        if sweep is None:
            parts = [store.status for store in self.groups.values()]
        else:
            stores = [(self.groups[group.name], group) for group in sweep.groups()]
            parts = [store.status[np.ix_(*store.positions(group))] for store, group in stores]
        return {name: sum(int((part == state).sum()) for part in parts) for name, state in STATES.items()}

    def finish(self, shard: Shard, outcomes: Iterable[Outcome], nbytes: int) -> None:
        """Take in what became of a shard whose data a worker has written. :meth:`flush` makes it last."""
        store = self.groups[shard.group]
        with self._lock:
            dirty = self._dirty.setdefault(shard.group, set())
            for index, outcome in zip(shard.points, outcomes, strict=True):
                if outcome.error or store.bookkeeping["error"][index]:
                    store.bookkeeping["error"][index] = outcome.error
                    store.bookkeeping["traceback"][index] = outcome.traceback
                    dirty |= {"error", "traceback"}
                for name, value in outcome.scalars.items():
                    store.bookkeeping[name][index] = value
                    dirty.add(name)
                store.bookkeeping["wall_time"][index] = outcome.wall_time
                store.bookkeeping["crc32"][index] = outcome.crc32
                store.status[index] = FAILED if outcome.error else DONE
            region = store.region(shard.origin)
            store.bookkeeping["shard_bytes"][region] = np.where(store.status[region] == DONE, nbytes, 0)
            dirty |= {"wall_time", "crc32", "shard_bytes", "status"}

    def flush(self) -> None:
        """Write the status of all that finished, and the scalars before it."""
        with self._lock:
            check_writer(self.location)
            if not is_url(self.location) and not Path(self.location, ROOT).exists():
                raise StoreError(f"store {self.location}: was removed or moved while it was written")
            with one_line(self.location, "written"):
                for name, dirty in self._dirty.items():
                    self.groups[name].flush(dirty)
            self._dirty.clear()

    def set_pending(self, group: str, points: Iterable[tuple[int, ...]]) -> int:
        """Have points run again; returns how many of them were done. :meth:`flush` makes it last."""
        status = self.groups[group].status
        was_done = 0
        for point in points:
            was_done += int(status[point] == DONE)
            status[point] = PENDING
        self.touch(group, ("status",))
        return was_done

    def touch(self, group: str, names: Iterable[str]) -> None:
        """Have what is kept of the points of a group written by the next :meth:`flush`."""
        with self._lock:
            self._dirty.setdefault(group, set()).update(names)

    @property
    def is_ahead(self) -> bool:
        """Whether points finished since the last :meth:`flush`."""
        return bool(self._dirty)

    def runs(self) -> list[dict[str, Any]]:
        """Provenance of every run, oldest first."""
        return json.loads(str(self.root.attrs.get("runs", "[]")))

    def add_run(self, provenance: Mapping[str, Any]) -> None:
        """Append a run's provenance to the store's attributes."""
        check_writer(self.location)
        self.root.attrs["runs"] = json.dumps([*self.runs(), provenance])
        self.consolidate()

    def consolidate(self) -> None:
        """Publish the metadata as it stands: readers see one consistent hierarchy, old or new, never half of one."""
        check_writer(self.location)
        publish(self.root.store)


def done(location: str) -> dict[str, int]:
    return {name: int((group.status == DONE).sum()) for name, group in sorted(read(location).groups.items())}


def is_complete(location: str, sweep: Sweep) -> bool:
    """Whether every point of the sweep is done in the store, or failed: nothing is left to run. Writes nothing."""
    try:
        with one_line(location):
            store = read(location)
            have = {name: [set(axis.labels) for axis in group.group.axes] for name, group in store.groups.items()}
            _refuse_contradiction(location, stored_sweep(location), sweep)
            grown = any(
                group.name not in have
                or not all(labels.issuperset(a.labels) for labels, a in zip(have[group.name], group.axes, strict=True))
                for group in sweep.groups()
            )
            return not grown and not store.pending(sweep)
    except StoreError:
        return False  # preparing the store says what is wrong, if anything is


def _prepared(location: str, root: zarr.Group, wanted: Group) -> GroupStore:
    kept = bookkeeping(wanted)
    if wanted.name in root and "axes" in root[wanted.name].attrs:
        refuse_missing(location, member(root, wanted.name))
    group, node, shard, fresh = prepare_group(location, root, wanted, kept)
    store = GroupStore(location, group, node, shard, kept)
    store.flush(kept if "crc32" in fresh else fresh)
    describe(node, group, shard)
    return store


def coordinates_of(node: zarr.Group) -> set[str]:
    """Names of the coordinates of a group."""
    return set(str(node.attrs.get("coordinates", "")).split())


def kept_of(node: zarr.Group) -> list[str]:
    """Names of the arrays that hold one number or text per point, of whatever kind and version the store is."""
    dims = tuple(axis["name"] for axis in json.loads(str(node.attrs["axes"])))
    return [
        name for name, array in node.arrays()
        if tuple(getattr(array.metadata, "dimension_names", None) or ()) == dims and name not in coordinates_of(node)
    ]  # fmt: skip


def stored_group(definition: Mapping[str, Any], name: str, node: zarr.Group) -> Group:
    """A group as it is stored, of the sweep by this definition."""
    axes = tuple(Axis.from_json(axis) for axis in json.loads(str(node.attrs["axes"])))
    fixed = json.loads(str(node.attrs["parameters"]))
    return Group(definition["kind"], name, axes, fixed, definition["record"])


def read(location: str, writable: bool = False) -> SweepStore:
    """An existing store, to look at: its groups as they are stored, with their status."""
    location = resolve(location)
    with one_line(location):
        root = open_root(location)
        definition = definition_of(location, root)
        if writable:
            root = zarr.open_group(zarr_store(location), mode="r+")
        groups = {}
        for name, node in root.groups():
            if "axes" in node.attrs:
                refuse_missing(location, node)
                group = stored_group(definition, name, node)
                groups[name] = GroupStore(location, group, node, stored_shard(node), kept_of(node))
        return SweepStore(location, root, groups)


def _refuse_other_files(folder: Path) -> None:
    if folder.is_dir() and any(folder.iterdir()) and not (folder / "zarr.json").exists():
        raise StoreRefusedError(f"store {folder}: a folder with other files in it; give a path of its own")


def _check_room(location: str, sweep: Sweep) -> None:
    folder = Path(location)
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    if not folder.is_dir():
        raise StoreRefusedError(f"store {location}: cannot be written: {folder} is not a directory")
    if not os.access(folder, os.W_OK):
        raise StoreRefusedError(f"store {location}: cannot be written: no permission to write in {folder}")
    have = sum(size for _, size in objects(location))
    need = sum(group.nbytes() for group in sweep.groups())
    free = shutil.disk_usage(folder).free
    if need > free + have:
        raise StoreError(f"store {location}: the sweep records {need:,} bytes and {free:,} are free there")


def _refuse_contradiction(location: str, stored: dict[str, Any], sweep: Sweep) -> None:
    """Points that are there must mean the same under the new definition; only axes may have grown or shrunk."""
    wanted = json.loads(json.dumps(sweep.definition()))
    models = {"fixed": sweep.kind.parameters, "record": sweep.kind.record}
    differences = [
        f"{key}: the store has {stored[key]!r}, the sweep {wanted[key]!r}"
        for key in ("kind", "seed")
        if stored[key] != wanted[key]
    ]
    for section in ("fixed", "record"):
        for key in sorted(stored[section].keys() | wanted[section].keys()):
            have, want = (table[section].get(key, "(not set)") for table in (stored, wanted))
            if key not in stored[section] and want == models[section].model_fields[key].default:
                continue  # a parameter that the store is older than
            if have != want:
                differences.append(f"{section}.{key}: the store has {have!r}, the sweep {want!r}")
    have, want = ([(a["name"], sorted(a["values"])) for a in table["axes"]] for table in (stored, wanted))
    if have != want:
        differences.append(f"axes: the store has {[n for n, _ in have]}, the sweep {[n for n, _ in want]}")
    if differences:
        raise StoreRefusedError(
            f"store {location}: holds a sweep that contradicts this one; use another --store, or change back:\n  "
            + "\n  ".join(differences)
        )


def refuse_damage(location: str, files: Any) -> None:
    """Refuse to go on from metadata that are not what was published; DamagedError names the file."""
    changed = [""] if is_digest_wrong(files) else sorted(changed_nodes(files))
    if changed:
        raise damage(location, f"{changed[0]}/{ROOT}".removeprefix("/"), "is damaged or missing")


def refuse_missing(location: str, node: zarr.Group) -> None:
    """Refuse a group that lacks what was kept of its points, or its coordinates; DamagedError names the file.

    Older versions wrote no chunk in which there was nothing to say; they wrote no checksums either.
    """
    names = [*kept_of(node), *sorted(coordinates_of(node))]
    if "crc32" in node and (missing := missing_chunks(node, names)):
        raise damage(location, missing[0], "is missing")


def missing_chunks(node: zarr.Group, names: Iterable[str]) -> list[str]:
    """Paths in the store of the chunks of arrays that are not there, where every one was written."""
    # of an extension that a death cut short arrays are longer than their group
    lengths = {axis["name"]: len(axis["labels"]) for axis in json.loads(str(node.attrs.get("axes", "[]")))}
    keys = []
    for name in names:
        array = member(node, name)
        dims = zip(getattr(array.metadata, "dimension_names", None) or (), array.shape, strict=False)
        region = [slice(0, min(n, lengths.get(dim, n))) for dim, n in dims]
        keys += chunk_keys(array, region)

    async def there() -> list[bool]:
        return await asyncio.gather(*(node.store.exists(key) for key in keys))

    return [key for key, exists in zip(keys, sync(there()), strict=True) if not exists]
