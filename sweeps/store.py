"""The result store: one Zarr v3 hierarchy per sweep, a group per shape, status beside the data.

One process (the flow) prepares the store and owns every status; workers write whole shards of data and nothing else.
A point is done when its data and then its status are written, so whatever dies, the next run does what is missing.
"""

import contextlib
import datetime
import fcntl
import json
import math
import os
import platform
import re
import shutil
import threading
import time
import uuid
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import xarray as xr
import zarr
from zarr.abc.store import OffsetByteRequest, RangeByteRequest
from zarr.core.sync import sync
from zarr.errors import GroupNotFoundError

from isophase.sweeps.kinds import KINDS, Outcome
from isophase.sweeps.seeds import point_seed
from isophase.sweeps.sweep import Axis, Group, Sweep, SweepError

PENDING, DONE, FAILED = 0, 1, 2
SUMMARY = "summary"  # the group of what was reduced from the others
STATES = {"pending": PENDING, "done": DONE, "failed": FAILED}
SHARD_SECONDS = 2.0  # cheap points share a shard (and a Dask task) that takes about this long
SHARD_BYTES = 64 * 2**20  # a worker holds one shard in memory while it computes it
SHARDS_PER_GROUP = 16  # but leave that many shards to share among workers
OPEN_ARRAYS = 256  # that a worker keeps at hand
WRITER = ".writer"  # the object that says who writes an object store
STALE_SECONDS, RENEW_SECONDS, SETTLE_SECONDS = 60.0, 15.0, 1.0
BOOKKEEPING_CELLS = 4096  # least size of a chunk of status, so that growing a grid does not scatter it


warnings.filterwarnings(
    "ignore", message=rf"Object at {re.escape(WRITER)} is not recognized"
)  # by Zarr, which lists it


@dataclass
class _Writer:
    """This process as the writer of an object store."""

    objects: Any
    name: bytes
    renewed: float  # on the monotonic clock


_WRITING: dict[str, _Writer] = {}  # by location


@dataclass(frozen=True)
class Shard:
    """The unit of writing: the points of one group whose data lie in one shard, and which of them to compute."""

    group: str
    origin: tuple[int, ...]
    points: tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class Work:
    """A shard with all that a worker needs to compute and write it; a few hundred bytes per point.

    ``keep`` says that the shard holds finished data of other points, which are read back and written again unchanged.
    """

    location: str
    store_id: str
    kind: str
    sweep_seed: int
    record: dict[str, Any]
    shard: Shard
    grid_shape: tuple[int, ...]
    shard_shape: tuple[int, ...]
    keep: bool
    parameters: tuple[dict[str, Any], ...]


class StoreError(RuntimeError):
    """A store that cannot be used: the message names its path and the reason."""


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
        raise StoreError(f"store {location}: cannot be {what}: {type(error).__name__}: {reason}") from error


def zarr_store(location: str, read_only: bool = False) -> Any:
    """The Zarr store at a local path or at any URL that obstore opens (``s3://``, ``gs://``, ``az://``)."""
    if not is_url(location):
        return zarr.storage.LocalStore(location, read_only=read_only)
    try:
        from obstore.store import from_url
    except ImportError:
        raise StoreError(f"store {location}: URLs need obstore: pip install 'isophase[s3]'") from None
    return _ObjectStore(from_url(location), read_only=read_only)


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
    xarray.DataTree of Dask arrays; nothing but coordinates is read. Points that have not run are NaN.

    Raises
    ------
    StoreError : nothing is there, or it is no store of a sweep.
    """
    location = resolve(location)
    with one_line(location):
        root = _open_root(location)
        _definition(location, root)
        consolidated = root.metadata.consolidated_metadata is not None
        store = zarr_store(location, read_only=True)
        return xr.open_datatree(store, engine="zarr", chunks={}, consolidated=consolidated)


def _open_root(location: str) -> zarr.Group:
    if not is_url(location) and not Path(location).exists():
        raise StoreError(f"store {location}: there is nothing at this path")
    try:
        return zarr.open_group(zarr_store(location, read_only=True), mode="r")
    except GroupNotFoundError:
        raise StoreError(f"store {location}: not a Zarr group") from None


def _definition(location: str, root: zarr.Group) -> dict[str, Any]:
    """The sweep's definition in a store's attributes."""
    if "sweep" not in root.attrs:
        raise StoreError(f"store {location}: a Zarr group, but not the store of a sweep")
    definition = json.loads(str(root.attrs["sweep"]))
    if not isinstance(definition, dict) or definition.get("kind") not in KINDS:
        kind = definition.get("kind") if isinstance(definition, dict) else definition
        raise StoreError(
            f"store {location}: holds kind {kind!r}, written by another version; known: {', '.join(KINDS)}"
        )
    return definition


class GroupStore:
    """One group of the store: its grid as stored, and the status of every point."""

    def __init__(self, group: Group, array_group: zarr.Group, shard: tuple[int, ...]):
        self.group = group
        self.zarr = array_group
        self.shard = shard
        self.bookkeeping = {}
        for name, (dtype, _) in _bookkeeping(group).items():
            array = _member(array_group, name)
            if array.shape != group.shape:  # before it is read: a damaged shape can be of any size
                raise ValueError(f"{name} in {group.name} has shape {array.shape}, its grid {group.shape}")
            self.bookkeeping[name] = np.array(array[...], dtype=object if dtype == "str" else dtype)

    @property
    def status(self) -> np.ndarray:
        return self.bookkeeping["status"]

    def positions(self, part: Group) -> list[list[int]]:
        """Where along each stored axis the labels of ``part`` are."""
        places = [{label: i for i, label in enumerate(axis.labels)} for axis in self.group.axes]
        return [[at[label] for label in axis.labels] for at, axis in zip(places, part.axes, strict=True)]

    def holds_other_points(self, shard: Shard) -> bool:
        """Whether finished data of other points lie in the same shard."""
        region = tuple(slice(o, o + s) for o, s in zip(shard.origin, self.shard, strict=True))
        done = int((self.status[region] == DONE).sum())
        return done > sum(int(self.status[index] == DONE) for index in shard.points)

    def flush(self, names: Iterable[str]) -> None:
        """Write the named bookkeeping arrays, status last."""
        for name in sorted(names, key=lambda name: name == "status"):
            _member(self.zarr, name)[...] = self.bookkeeping[name]


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
            root = zarr.open_group(zarr_store(location), mode="a", zarr_format=3, use_consolidated=False)
            if "sweep" in root.attrs:
                _refuse_contradiction(location, _definition(location, root), sweep)
            elif "id" not in root.attrs and len(list(root.keys())):
                raise StoreError(f"store {location}: holds a Zarr group that is not the store of a sweep")
            if "id" not in root.attrs:
                root.attrs["id"] = uuid.uuid4().hex
            groups = {group.name: _prepare_group(location, root, group) for group in sweep.groups()}
            root.attrs["sweep"] = json.dumps(sweep.definition())
            store = cls(location, root, groups)
            store.consolidate()
            if not is_url(location):
                for name in groups:
                    for leftover in (Path(location) / name).rglob("*.partial"):  # of writes cut short by a kill
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
            sweep.kind.name,
            sweep.seed,
            sweep.record.model_dump(mode="json"),
            shard,
            store.group.shape,
            store.shard,
            store.holds_other_points(shard),
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

    def finish(self, shard: Shard, outcomes: Iterable[Outcome]) -> None:
        """Take in what became of a shard whose data a worker has written. :meth:`flush` makes it last."""
        store = self.groups[shard.group]
        with self._lock:
            dirty = self._dirty.setdefault(shard.group, set())
            for index, outcome in zip(shard.points, outcomes, strict=True):
                if outcome.error or store.bookkeeping["error"][index]:
                    store.bookkeeping["error"][index] = outcome.error
                    dirty.add("error")
                for name, value in outcome.scalars.items():
                    store.bookkeeping[name][index] = value
                    dirty.add(name)
                store.bookkeeping["wall_time"][index] = outcome.wall_time
                store.status[index] = FAILED if outcome.error else DONE
            dirty |= {"wall_time", "status"}

    def flush(self) -> None:
        """Write the status of all that finished, and the scalars before it."""
        with self._lock:
            check_writer(self.location)
            with one_line(self.location, "written"):
                for name, dirty in self._dirty.items():
                    self.groups[name].flush(dirty)
            self._dirty.clear()

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
        _consolidate(self.root.store)


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
        _consolidate(store)
        root.create_group(SUMMARY).attrs["done"] = _done(location)
        for name, summary in summaries.items():
            texts = [key for key, variable in summary.variables.items() if variable.dtype.kind == "U"]
            # Text of fixed length has no specification in Zarr v3.
            summary = summary.assign({key: summary[key].astype(np.dtypes.StringDType()) for key in texts})
            for variable in summary.variables.values():
                variable.encoding.clear()
            summary.to_zarr(store, group=f"{SUMMARY}/{name}", mode="w", zarr_format=3, consolidated=False)
        _consolidate(store)


def is_stale(location: str) -> bool:
    """Whether points were done after the store was reduced."""
    return open_store(location)[SUMMARY].attrs.get("done") != _done(location)


def _done(location: str) -> dict[str, int]:
    return {name: int((group.status == DONE).sum()) for name, group in sorted(read(location).groups.items())}


def _consolidate(store: Any) -> None:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Consolidated metadata")
        zarr.consolidate_metadata(store)


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


@contextlib.contextmanager
def exclusive(location: str) -> Iterator[None]:
    """Hold the only right to change a store: of a local folder by the operating system's lock, which dies with the
    process, of an object store by :func:`_only_writer`.

    Raises
    ------
    StoreError : another run holds it, or the store cannot be written.
    """
    if is_url(location):
        with _only_writer(location):
            yield
        return
    try:
        Path(location).mkdir(parents=True, exist_ok=True)
        folder = os.open(location, os.O_RDONLY)
    except OSError as error:
        raise StoreError(f"store {location}: cannot be written: {error}") from None
    try:
        try:
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StoreError(
                f"store {location}: another run is writing to it; wait for it to end, or stop it"
            ) from None
        yield
    finally:
        os.close(folder)


@contextlib.contextmanager
def _only_writer(location: str) -> Iterator[None]:
    """Hold an object store by the object ``.writer`` in it, which names this process and is written again every
    ``RENEW_SECONDS``. A writer that died on another machine has left one, which counts for ``STALE_SECONDS``.

    Servers exist that ignore "only if it is not there", so who has written waits ``SETTLE_SECONDS`` and looks whether
    the name is still its own: of two that begin at once the later one stays. This is as good as the clocks (of host
    and server, to within ``STALE_SECONDS - RENEW_SECONDS``) and as the server's answers within ``SETTLE_SECONDS``; a
    writer that finds another's name there later has lost the store, and :meth:`SweepStore.flush` refuses.
    """
    objects = zarr_store(location).store
    ours = json.dumps({**_process(), "id": uuid.uuid4().hex}).encode()
    with one_line(location, "written"):
        if _fresh_writer(objects):
            raise _taken(location, objects)
        objects.put(WRITER, ours)
        time.sleep(SETTLE_SECONDS)
        if _writer(objects) != ours:
            raise _taken(location, objects)
    _WRITING[location] = _Writer(objects, ours, time.monotonic())
    ended = threading.Event()

    def renew() -> None:
        while not ended.wait(RENEW_SECONDS):
            with contextlib.suppress(Exception):  # a server that does not answer now may do so the next time
                if _writer(objects) != ours:
                    return
                started = time.monotonic()
                objects.put(WRITER, ours)
                _WRITING[location].renewed = started

    thread = threading.Thread(target=renew, name="writer", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        del _WRITING[location]
        with contextlib.suppress(Exception):  # it grows stale
            if _writer(objects) == ours:
                objects.delete(WRITER)


def check_writer(location: str) -> None:
    """Refuse to go on writing an object store that another run has taken over, or may have since this one was heard of.

    Shards that workers are writing at that moment are not held back: their bits are the same, whoever writes them.
    """
    if (writing := _WRITING.get(location)) is None:
        return
    with one_line(location, "written"):
        ours = _writer(writing.objects) == writing.name
    if not ours or time.monotonic() - writing.renewed > STALE_SECONDS:
        raise StoreError(f"store {location}: another run has taken it over; run it again to go on")


def _process() -> dict[str, Any]:
    """This process, and the machine whose process numbers it is counted by: a container counts its own."""
    machine = ""
    with contextlib.suppress(OSError):  # of Linux
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        machine = f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    return {"host": platform.node(), "machine": machine, "pid": os.getpid()}


def _writer(objects: Any) -> bytes | None:
    try:
        return bytes(objects.get(WRITER).bytes())
    except FileNotFoundError:
        return None


def _named(objects: Any) -> dict[str, Any]:
    """What the writer says of itself; nothing where it is damaged."""
    with contextlib.suppress(ValueError):
        name = json.loads(_writer(objects) or b"")
        if isinstance(name, dict):
            return name
    return {}


def _fresh_writer(objects: Any) -> bool:
    try:
        written = objects.head(WRITER)["last_modified"]
    except FileNotFoundError:
        return False
    name, own = _named(objects), _process()
    if own["machine"] and name.get("machine") == own["machine"] and not psutil.pid_exists(name.get("pid", -1)):
        return False  # killed on this machine: nobody to wait for
    return datetime.datetime.now(datetime.UTC) - written < datetime.timedelta(seconds=STALE_SECONDS)


def _taken(location: str, objects: Any) -> StoreError:
    name = _named(objects)
    who = f"process {name['pid']} on {name.get('host')}" if "pid" in name else "unnamed"
    return StoreError(
        f"store {location}: another run is writing to it ({who}); wait for it to end, or stop it; one that was killed "
        f"elsewhere is forgotten after {STALE_SECONDS:g} s"
    )


def stored_sweep(location: str) -> dict[str, Any]:
    """The definition of the sweep that last ran into a store."""
    location = resolve(location)
    with one_line(location):
        return _definition(location, _open_root(location))


def read(location: str) -> SweepStore:
    """An existing store, to look at: its groups as they are stored, with their status."""
    location = resolve(location)
    with one_line(location):
        root = _open_root(location)
        definition = _definition(location, root)
        kind = KINDS[definition["kind"]]
        record = kind.record.model_validate(definition["record"])
        groups = {}
        for name, node in root.groups():
            if "axes" in node.attrs:
                axes = tuple(Axis.from_json(axis) for axis in json.loads(str(node.attrs["axes"])))
                fixed = json.loads(str(node.attrs["parameters"]))
                group = Group(kind, name, axes, fixed, record)
                groups[name] = GroupStore(group, node, tuple(json.loads(str(node.attrs["shard"]))))
        return SweepStore(location, root, groups)


def usage(location: str) -> dict[str, tuple[int, int]]:
    """Objects and bytes that each group of a store takes; ``(metadata)`` is what belongs to no group."""
    found: Counter[str] = Counter()
    sizes: Counter[str] = Counter()
    with one_line(location):
        for path, size in _objects(resolve(location)):
            group, inside, _ = path.partition("/")
            name = group if inside else "(metadata)"
            found[name] += 1
            sizes[name] += size
    return {name: (count, sizes[name]) for name, count in found.items()}


def _objects(location: str) -> Iterator[tuple[str, int]]:
    """Path in the store and size of every object."""
    if is_url(location):
        for page in zarr_store(location, read_only=True).store.list():
            yield from ((entry["path"], entry["size"]) for entry in page)
        return
    for folder, _, files in os.walk(location):
        inside = os.path.relpath(folder, location)
        for file in files:
            path = file if inside == "." else f"{inside}/{file}"
            with contextlib.suppress(FileNotFoundError):  # a run is writing, and has renamed it
                yield path, Path(folder, file).stat().st_size


def compute_shard(work: Work) -> list[Outcome]:
    """Compute the points of a shard and write their data as one whole shard. Runs on a worker.

    Returns
    -------
    The outcomes in the order of the points, without their arrays.
    """
    kind = KINDS[work.kind]
    record = kind.record.model_validate(work.record)
    models = [kind.parameters.model_validate(values) for values in work.parameters]
    seeds = [point_seed(work.sweep_seed, work.kind, model, kind.seed_free) for model in models]
    variables = kind.variables(models[0], record)
    shard = work.shard
    region = tuple(
        slice(o, min(o + s, n)) for o, s, n in zip(shard.origin, work.shard_shape, work.grid_shape, strict=True)
    )
    extent = tuple(along.stop - along.start for along in region)
    with one_line(work.location, "written"):
        arrays = {name: _array(work, f"{shard.group}/{name}") for name in variables}
        blocks = {
            name: arrays[name][region] if work.keep else np.full(extent + v.shape, _fill(v.dtype), v.dtype)
            for name, v in variables.items()
        }
    outcomes = []
    computed = kind.run(list(zip(models, seeds, strict=True)), record)
    for index, seed, outcome in zip(shard.points, seeds, computed, strict=True):
        at = tuple(i - o for i, o in zip(index, shard.origin, strict=True))
        for name, variable in variables.items():
            blocks[name][at] = _fill(variable.dtype) if outcome.error else outcome.arrays[name]
        error = f"{outcome.error} [seed: {seed.entropy}, spawn key: {seed.spawn_key}]" if outcome.error else ""
        outcomes.append(Outcome({}, outcome.scalars, error, outcome.wall_time))
    with one_line(work.location, "written"):
        for name, block in blocks.items():
            arrays[name][region] = block
    return outcomes


def shard_bytes(work: Work) -> int:
    """Bytes that a shard takes in the store, compressed; one of failed points alone takes none."""
    total = 0
    kind = KINDS[work.kind]
    first = kind.parameters.model_validate(work.parameters[0])
    for name, variable in kind.variables(first, kind.record.model_validate(work.record)).items():
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


def _fill(dtype: str) -> Any:
    return np.dtype(dtype).type(np.nan) if np.dtype(dtype).kind in "fc" else np.dtype(dtype).type(0)


def _bookkeeping(group: Group) -> dict[str, tuple[str, dict[str, Any]]]:
    """Type and attributes of the arrays that hold one number or text per point."""
    flags = {"flag_values": list(STATES.values()), "flag_meanings": " ".join(STATES)}
    return {
        "status": ("uint8", {"long_name": "state of the point", **flags}),
        "error": ("str", {"long_name": "error of a failed point, with its seed"}),
        "wall_time": ("float64", {"long_name": "time spent on the point", "units": "s"}),
        **{name: (scalar.dtype, dict(scalar.attrs)) for name, scalar in group.kind.scalars.items()},
    }


def _refuse_other_files(folder: Path) -> None:
    if folder.is_dir() and any(folder.iterdir()) and not (folder / "zarr.json").exists():
        raise StoreError(f"store {folder}: a folder with other files in it; give a path of its own")


def _check_room(location: str, sweep: Sweep) -> None:
    folder = Path(location)
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    if not folder.is_dir():
        raise StoreError(f"store {location}: cannot be written: {folder} is not a directory")
    if not os.access(folder, os.W_OK):
        raise StoreError(f"store {location}: cannot be written: no permission to write in {folder}")
    have = sum(f.stat().st_size for f in Path(location).rglob("*") if f.is_file()) if Path(location).exists() else 0
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
        raise StoreError(
            f"store {location}: holds a sweep that contradicts this one; use another --store, or change back:\n  "
            + "\n  ".join(differences)
        )


def _prepare_group(location: str, root: zarr.Group, wanted: Group) -> GroupStore:
    group = wanted
    node = root.require_group(wanted.name)
    if "axes" in node.attrs:
        stored = [Axis.from_json(axis) for axis in json.loads(str(node.attrs["axes"]))]
        axes = tuple(have.union(more) for have, more in zip(stored, wanted.axes, strict=True))
        group = Group(wanted.kind, wanted.name, axes, wanted.fixed, wanted.record)
        shard = tuple(json.loads(str(node.attrs["shard"])))
    else:
        shard = shard_shape(group)
    coordinates = _coordinates(group)
    for name, (_, values, _) in coordinates.items():
        if name in node and (_member(node, name).dtype.kind in "iufb") != (np.asarray(values).dtype.kind in "iufb"):
            raise StoreError(f"store {location}: {name} in {group.name}: numbers and text cannot be on one axis")
    dims = tuple(axis.name for axis in group.axes)
    cells = _bookkeeping_chunk(group.shape)
    for name, (type_name, attrs) in _bookkeeping(group).items():
        _require_array(node, name, group.shape, type_name, dims, attrs, cells)
    for name, variable in group.kind.variables(group.first(), group.record).items():
        inner = (1,) * len(dims) + variable.chunk
        whole = shard + tuple(math.ceil(n / c) * c for n, c in zip(variable.shape, variable.chunk, strict=True))
        _require_array(
            node, name, group.shape + variable.shape, variable.dtype, dims + variable.dims, variable.attrs, inner,
            shards=None if inner == whole else whole,
        )  # fmt: skip
    for name, (dim, values, attrs) in coordinates.items():
        shape = np.shape(values)
        kind = np.asarray(values).dtype
        dtype: Any = "str" if kind.kind == "U" else kind
        coordinate: Any = _require_array(
            node, name, shape, dtype, dim, attrs, tuple(max(n, BOOKKEEPING_CELLS) for n in shape)
        )
        coordinate[...] = np.asarray(values, dtype=object) if dtype == "str" and shape else values
    # Last, so that an extension that fails leaves the group as it was.
    node.attrs.update(
        {
            "kind": group.kind.name,
            **{name: value for name, value in group.fixed.items() if isinstance(value, str | int | float)},
            "coordinates": " ".join(coordinates),
            "axes": json.dumps([axis.to_json() for axis in group.axes]),
            "parameters": json.dumps(dict(group.fixed)),
            "shard": json.dumps(shard),
        }
    )
    return GroupStore(group, node, shard)


def _require_array(
    node: zarr.Group, name: str, shape: tuple[int, ...], dtype: Any, dims: tuple[str, ...], attrs: Mapping[str, Any],
    chunks: tuple[int, ...], shards: tuple[int, ...] | None = None,
) -> zarr.Array:  # fmt: skip
    if name in node:
        array = _member(node, name)
        if array.shape != shape:
            array.resize(shape)
        return array
    fill = "" if dtype == "str" else _fill(dtype)
    return node.create_array(
        name, shape=shape, dtype=str if dtype == "str" else dtype, chunks=chunks, shards=shards, fill_value=fill,
        dimension_names=dims, attributes=dict(attrs),
    )  # fmt: skip


def _member(node: zarr.Group, name: str) -> Any:
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
    for dim, (marks, attrs) in group.kind.coordinates(group.first(), group.record).items():
        found[dim] = ((dim,), marks, attrs)
    return found


def _parameter_attrs(group: Group, parameter: str) -> dict[str, Any]:
    known = group.kind.parameters.model_fields.get(parameter)
    return {"long_name": known.description} if known is not None and known.description else {}


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
