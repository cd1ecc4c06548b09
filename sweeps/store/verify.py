"""Whether a store holds what was written into it, file by file; and what of it is set to be run again."""

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import zarr
from zarr.core.sync import sync

from isophase.sweeps.store.layout import WHOLE, chunk_keys, chunks_of, member, write_coordinates
from isophase.sweeps.store.location import (
    StoreRefusedError,
    check_there,
    definition_of,
    one_line,
    open_root,
    resolve,
    zarr_store,
)
from isophase.sweeps.store.lock import exclusive
from isophase.sweeps.store.metadata import (
    COPY,
    ROOT,
    changed_nodes,
    is_copy_wrong,
    publish,
    published_attributes,
    root_damage,
    write_node,
)
from isophase.sweeps.store.status import (
    DONE,
    FAILED,
    PENDING,
    STATES,
    GroupStore,
    SweepStore,
    coordinates_of,
    kept_of,
    read,
    stored_group,
)
from isophase.sweeps.store.summaries import COMPLETE, SUMMARY
from isophase.sweeps.store.usage import objects
from isophase.sweeps.store.worker import UNKNOWN, crc32_of, write_shard
from isophase.sweeps.sweep import Group

AT_ONCE = 4  # shards that are looked at together
ABOUT_RUNS = ("error", "traceback", "wall_time", "crc32", "shard_bytes")  # a result is as good without them
MISSING = "is missing"
MOST_LINES = 20
Index = tuple[int, ...]


@dataclass(frozen=True)
class Damage:
    """What is wrong with a file of a store, and the points of a group that have to be run again for it."""

    file: str
    what: str
    group: str = ""
    points: tuple[Index, ...] = ()


def lines(results: SweepStore | None, damages: Sequence[Damage]) -> list[str]:
    """A line for people of each of the first ``MOST_LINES`` damages, and one for the number of the others."""
    shown = [f"damaged: {_place(results, damage)}{damage.file} {damage.what}" for damage in damages[:MOST_LINES]]
    more = len(damages) - MOST_LINES
    return [*shown, f"damaged: {more:,} files more"] if more > 0 else shown


def _place(results: SweepStore | None, damage: Damage) -> str:
    if results is None or damage.group not in results.groups or not damage.points:
        return ""
    axes = results.groups[damage.group].group.axes
    label = ", ".join(f"{axis.name}={axis.labels[i]}" for axis, i in zip(axes, damage.points[0], strict=True))
    more = f" and {len(damage.points) - 1:,} points more" if len(damage.points) > 1 else ""
    return f"{damage.group}: {label or 'its one point'}{more}: "


@dataclass(frozen=True)
class _Finished:
    """The finished points of a shard."""

    store: GroupStore
    origin: Index
    points: tuple[Index, ...]

    @cached_property
    def keys(self) -> dict[str, str]:
        """Where the shard of each array lies, by the array's name."""
        region = self.store.region(self.origin)
        return {name: chunk_keys(array, region)[0] for name, array in self.store.arrays.items()}

    @property
    def is_known(self) -> bool:
        """Whether there are checksums. Older versions wrote none, and no shard that held nothing but fill values."""
        return all(self.crc32(point) != UNKNOWN for point in self.points)

    def crc32(self, point: Index) -> int:
        return int(self.store.bookkeeping["crc32"][point]) if "crc32" in self.store.bookkeeping else UNKNOWN

    def others(self) -> tuple[Index, ...]:
        """Failed points in the same shard."""
        region = self.store.region(self.origin)
        failed = np.argwhere(self.store.status[region] == FAILED) + np.array(self.origin, int)
        return tuple(tuple(map(int, index)) for index in failed)


def lost(results: SweepStore) -> list[Damage]:
    """Finished points whose data are not there, or are torn: of another size than was written, and not whole.

    Asks for names and sizes of files alone, unless a size is wrong; :func:`verify` reads them.
    """
    with one_line(results.location):
        sizes = dict(objects(results.location))
        return [damage for shard in _finished(results) for damage in _looks_lost(shard, sizes)]


def _looks_lost(shard: _Finished, sizes: Mapping[str, int]) -> list[Damage]:
    keys = shard.keys.values()
    missing = [key for key in keys if key not in sizes]
    if missing and (shard.is_known or len(missing) == len(keys)):
        return [Damage(key, MISSING, shard.store.group.name, shard.points) for key in missing]
    if missing or not shard.is_known:
        return []
    written = int(shard.store.bookkeeping["shard_bytes"][shard.points[0]])
    return _look(shard) if written != sum(sizes[key] for key in keys) else []


def damaged(results: SweepStore, group: str, points: Iterable[Index]) -> list[Damage]:
    """What is wrong with the data of some finished points of a group; reads them, and what shares a shard with them."""
    wanted = set(points)
    shards = (s for s in _finished(results) if s.store.group.name == group and not wanted.isdisjoint(s.points))
    return [damage for shard in shards for damage in _look(shard)]


Watch = Callable[[Iterable[list[Damage]], int], Iterable[list[Damage]]]


def verify(location: str, watch: Watch = lambda found, total: found) -> list[Damage]:
    """Everything that is wrong with a store: its metadata, then status and coordinates, then data and summary.

    What depends on metadata or status that are damaged is not looked at before they are mended.

    Parameters
    ----------
    location : local path or URL.
    watch : is given what is found in each shard, as it is found, and the number of shards; gives it on.

    Raises
    ------
    StoreError : there is no store, or it cannot be read.
    """
    location = resolve(location)
    check_there(location)
    if not (damages := _metadata(location)):
        with one_line(location):
            root = open_root(location)
            definition_of(location, root)
            damages = [damage for _, node in _groups(root) for damage in _kept(node)]
            if not damages:
                results = read(location)
                shards = list(_finished(results))
                with ThreadPoolExecutor(AT_ONCE) as pool:
                    for found in watch(pool.map(_look, shards), len(shards)):
                        damages += found
                damages += _leftovers(results)
            damages += _summary(root)
    return damages


def repair(location: str, watch: Watch = lambda found, total: found) -> tuple[list[Damage], list[Damage], int]:
    """Mend what can be mended of a store, and set the points to pending whose results are lost.

    Returns
    -------
    What was found, what of it is left, and the number of points that were done and are pending.

    Raises
    ------
    StoreError : there is no store, another run is writing to it, or its own attributes are lost with their copy.
    """
    location = resolve(location)
    check_there(location)
    with exclusive(location), one_line(location, "written"):
        return _repair(location, watch)


def _repair(location: str, watch: Watch) -> tuple[list[Damage], list[Damage], int]:
    found = _metadata(location)
    if found:
        _mend_metadata(location)
    files = zarr_store(location)
    definition = definition_of(location, open_root(location))
    pending = 0
    for name, node in _groups(zarr.open_group(files, mode="r+", use_consolidated=False)):
        if damages := _kept(node):
            found += damages
            pending += _mend_kept(stored_group(definition, name, node), node, damages)
    damages = verify(location, watch)
    results = read(location, writable=True)
    for damage in damages:
        if damage.group:
            pending += results.set_pending(damage.group, damage.points)
    damaged = {damage.file for damage in damages if damage.group}
    for shard in _finished(results):
        if not damaged.isdisjoint(shard.keys.values()):
            _write_again(shard)
            damaged -= set(shard.keys.values())
    for file in damaged:
        sync(files.delete(file))
    _count_again(results)
    results.flush()
    return found + damages, [damage for damage in damages if not damage.group], pending


def _metadata(location: str) -> list[Damage]:
    with one_line(location):
        files = zarr_store(location, read_only=True)
        if what := root_damage(files):
            return [Damage(ROOT, what)]
        changed = [
            Damage(f"{path}/{ROOT}", "is missing, or holds other metadata than were published")
            for path in changed_nodes(files)
        ]
        return changed + [Damage(COPY, "is damaged")] * is_copy_wrong(files)


def _mend_metadata(location: str) -> None:
    """The metadata of nodes from those published, where these are whole; otherwise these from those of the nodes."""
    files = zarr_store(location)
    if not root_damage(files):
        for path, metadata in changed_nodes(files).items():
            write_node(files, path, metadata)
        publish(files)
        return
    try:
        write_node(files, "", {"attributes": published_attributes(files), "zarr_format": 3, "node_type": "group"})
    except ValueError as error:
        raise StoreRefusedError(f"store {location}: {ROOT} cannot be mended: {error}") from None
    publish(files)


def _groups(root: zarr.Group) -> Iterator[tuple[str, zarr.Group]]:
    return ((name, node) for name, node in root.groups() if "axes" in node.attrs)


def _unreadable(array: Any, region: Any) -> str:
    """Why a region of an array cannot be read; empty where it can."""
    try:
        array[region]
    except Exception as error:
        return f"is damaged: {type(error).__name__}: {(str(error).strip().splitlines() or [''])[0]}"
    return ""


def _kept(node: zarr.Group) -> list[Damage]:
    """What is wrong with the coordinates of a group and with what was kept of its points."""
    damages = []
    coordinates = coordinates_of(node)
    for name in (*coordinates, *kept_of(node)):
        array = member(node, name)
        for key, region in chunks_of(array):
            what = _unreadable(array, region)
            if not what and "crc32" in node and not sync(array.store.exists(key)):
                what = MISSING
            if not what and name == "status" and not np.isin(array[region], list(STATES.values())).all():
                what = "holds states that there are not"
            if what:
                points = () if name in coordinates or name in ABOUT_RUNS else tuple(_inside(region))
                damages.append(Damage(key, what, str(node.basename), points))
    return damages


def _inside(region: Iterable[slice]) -> Iterator[Index]:
    return itertools.product(*(range(along.start, along.stop) for along in region))


def _mend_kept(group: Group, node: zarr.Group, damages: list[Damage]) -> int:
    """Write anew what is damaged of what was kept of points; those that it leaves in doubt are pending."""
    damaged = {damage.file for damage in damages}
    pending = {point for damage in damages for point in damage.points}
    for name in kept_of(node):
        array = member(node, name).with_config(WHOLE)
        for key, region in chunks_of(array):
            if key in damaged:
                array[region] = array.fill_value
    write_coordinates(node, group)
    status = member(node, "status").with_config(WHOLE)
    values = np.array(status[...])
    for point in pending:
        values[point] = PENDING
    status[...] = values
    return len(pending)


def _finished(results: SweepStore) -> Iterator[_Finished]:
    for store in results.groups.values():
        if not store.arrays:
            continue
        shards: dict[Index, list[Index]] = {}
        for index in np.argwhere(store.status == DONE).tolist():
            origin = tuple(i // s * s for i, s in zip(index, store.shard, strict=True))
            shards.setdefault(origin, []).append(tuple(index))
        for origin, points in shards.items():
            yield _Finished(store, origin, tuple(points))


def _look(shard: _Finished) -> list[Damage]:
    """What is wrong with the shard of some finished points: read as a whole, and point by point where that fails."""
    arrays, keys, group = shard.store.arrays, shard.keys, shard.store.group.name
    region = shard.store.region(shard.origin)
    try:
        blocks = {name: array[region] for name, array in arrays.items()}
    except Exception:
        blocks = None
    if blocks is not None:
        within = [(point, tuple(i - o for i, o in zip(point, shard.origin, strict=True))) for point in shard.points]
        if all(shard.crc32(p) in (UNKNOWN, crc32_of({n: b[at] for n, b in blocks.items()})) for p, at in within):
            return [] if shard.is_known else _missing_of_old(shard)
    missing = {name for name, key in keys.items() if not sync(arrays[name].store.exists(key))}
    wrong: dict[tuple[str, str], list[Index]] = {}
    for point in shard.points:
        reasons = {name: MISSING if name in missing else _unreadable(arrays[name], point) for name in arrays}
        reasons = {name: reason for name, reason in reasons.items() if reason}
        if not reasons and shard.crc32(point) not in (UNKNOWN, crc32_of({n: a[point] for n, a in arrays.items()})):
            reasons = dict.fromkeys(arrays, "holds other data than were written")
        for name, reason in reasons.items():
            wrong.setdefault((keys[name], reason), []).append(point)
    if not wrong:  # the damage is where points are not done
        reasons = {name: _unreadable(array, region) for name, array in arrays.items()}
        return [Damage(keys[name], reason, group, shard.others()) for name, reason in reasons.items() if reason]
    return [Damage(file, reason, group, tuple(points)) for (file, reason), points in wrong.items()]


def _write_again(shard: _Finished) -> None:
    """Leave nothing in a shard but its finished points."""
    region = shard.store.region(shard.origin)
    for array in shard.store.arrays.values():
        shape = tuple(along.stop - along.start for along in region) + array.shape[len(region) :]
        block = np.full(shape, array.fill_value, array.dtype)
        for point in shard.points:
            block[tuple(i - o for i, o in zip(point, shard.origin, strict=True))] = array[point]
        write_shard(array, region, block)


def _missing_of_old(shard: _Finished) -> list[Damage]:
    """A shard of which nothing is there; of a part alone it cannot be told, where there are no checksums."""
    arrays = shard.store.arrays
    keys = shard.keys
    if any(sync(arrays[name].store.exists(key)) for name, key in keys.items()):
        return []
    return [Damage(key, MISSING, shard.store.group.name, shard.points) for key in keys.values()]


def _leftovers(results: SweepStore) -> list[Damage]:
    """Shards of which no point is done and that cannot be read: whoever reads a whole array stumbles over them."""
    there = {path for path, _ in objects(results.location)}
    there -= {key for shard in _finished(results) for key in shard.keys.values()}
    damages = []
    for store in results.groups.values():
        for array in store.arrays.values():
            for key, region in chunks_of(array):
                if key in there and (what := _unreadable(array, region)):
                    damages.append(Damage(key, what, store.group.name))
    return damages


def _summary(root: zarr.Group) -> list[Damage]:
    if SUMMARY not in root:
        return []
    damages = []
    top: Any = root[SUMMARY]
    for _, array in top.members(max_depth=None):
        for key, region in chunks_of(array) if isinstance(array, zarr.Array) else ():
            what = _unreadable(array, region)
            if not what and top.attrs.get(COMPLETE) and not sync(array.store.exists(key)):
                what = MISSING
            if what:
                damages.append(Damage(key, f"{what}; `isophase reduce` makes it again"))
    return damages


def _count_again(results: SweepStore) -> None:
    """Sizes of shards as they are, and checksums where older versions wrote none."""
    sizes = dict(objects(results.location))
    for shard in _finished(results):
        kept = shard.store.bookkeeping
        if not {"crc32", "shard_bytes"} <= kept.keys():
            continue
        nbytes = sum(sizes.get(key, 0) for key in shard.keys.values())
        for point in shard.points:
            kept["shard_bytes"][point] = nbytes
            if kept["crc32"][point] == UNKNOWN:
                kept["crc32"][point] = crc32_of({name: array[point] for name, array in shard.store.arrays.items()})
        results.touch(shard.store.group.name, ("crc32", "shard_bytes"))
