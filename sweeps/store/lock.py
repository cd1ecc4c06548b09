"""Who may change a store: one process at a time, of a local folder or of an object store."""

import contextlib
import datetime
import fcntl
import json
import os
import platform
import threading
import time
import uuid
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from isophase.sweeps.store.location import StoreError, is_url, one_line, unusable, zarr_store

WRITER = ".writer"  # the object that says who writes an object store
STALE_SECONDS, RENEW_SECONDS, SETTLE_SECONDS = 60.0, 15.0, 1.0

warnings.filterwarnings("ignore", message=r"Object at \.\w+ is not recognized")  # by Zarr, which lists them


@dataclass
class _Writer:
    """This process as the writer of an object store."""

    objects: Any
    name: bytes
    renewed: float  # on the monotonic clock


_WRITING: dict[str, _Writer] = {}  # by location


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
        raise unusable(f"store {location}: cannot be written: {error}", error) from None
    try:
        try:
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StoreError(
                f"store {location}: another run is writing to it; wait for it to end, or stop it"
            ) from None
        except OSError as error:
            raise StoreError(
                f"store {location}: cannot be locked: {error}; its file system must have flock (Lustre has it where it "
                "is mounted with -o flock): put the store on another one, or into an object store (s3://)"
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
    ours = json.dumps({**this_process(), "id": uuid.uuid4().hex}).encode()
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


def this_process() -> dict[str, Any]:
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
    name, own = _named(objects), this_process()
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
