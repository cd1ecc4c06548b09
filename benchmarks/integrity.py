"""What checksums and fsync cost a sweep of small points, and how long it takes to look at every byte of a store.

python -m benchmarks.integrity [POINTS] [PAIRS]     # default 10000 3
python -m benchmarks.integrity verify [MB]          # default 1000

The points are the smallest of ``benchmarks.pipeline``, in one process and without Dask, where nothing else hides the
cost. Each pair is the sweep as it is and the sweep without one of the three, one after the other, in turns.
"""

import contextlib
import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextvars import ContextVar
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
from zarr.codecs import ZstdCodec

import isophase
from benchmarks.pipeline import SMALLEST, files, write_sweep
from isophase.flows.points import FLUSH_SECONDS
from isophase.flows.threads import alongside
from isophase.sweeps.store import SweepStore, compute_shard, exclusive, layout, verify, worker
from isophase.sweeps.sweep import Sweep, load

UNCHECKED = (ZstdCodec(level=0, checksum=False),)
PARTS: dict[str, Callable[[], contextlib.AbstractContextManager]] = {
    "Zstandard's checksum": lambda: patch.object(layout, "CODECS", UNCHECKED),
    "crc32 of points": lambda: patch.object(worker, "crc32_of", lambda values: 1),
    "fsync": lambda: patch.object(os, "fsync", lambda descriptor: None),
}
WITHOUT = {"all three": list(PARTS.values()), **{name: [part] for name, part in PARTS.items()}}
MARK = 3.0  # per cent
FOLDER = Path.cwd()  # on a disk; where temporary files are, there may be none
POINT_MB, VERIFY_MB = 8, 1000
_beside = ContextVar("_beside", default=False)  # no point waits for it


def main(points: int = 10_000, pairs: int = 3) -> None:
    print(f"{points:,} lattices of 16 rings in one process, {pairs} pairs; mark: {MARK:g} % for all three")
    print(f"{'what':<22}{'with s':>9}{'without s':>11}{'costs %':>9}{'of CPU %':>10}"
          f"{'in fsync %':>12}{'in crc32 %':>12}   each pair %")  # fmt: skip
    sweep_of = _once(points)
    _once(100)([])  # compiles the kernel
    for name, parts in WITHOUT.items():
        found = []
        for pair in range(pairs):
            both = {bool(given): sweep_of(given) for given in ([[], parts] if pair % 2 else [parts, []])}
            found.append([both[False], both[True]])
        whole, less = np.array(found).transpose(1, 0, 2)
        wall, cpu = 100 * (whole[:, :2] / less[:, :2] - 1).T
        fsync, crc32 = 100 * np.median(whole[:, 2:] / whole[:, :1], axis=0)
        print(f"{name:<22}{np.median(whole[:, 0]):>9.2f}{np.median(less[:, 0]):>11.2f}{np.median(wall):>9.1f}"
              f"{np.median(cpu):>10.1f}{fsync:>12.2f}{crc32:>12.2f}   {' '.join(f'{w:.1f}' for w in wall)}",
              flush=True)  # fmt: skip


def _once(points: int) -> Callable[[list], np.ndarray]:
    """A function that runs the sweep into a store of its own. It returns its seconds: by the clock, of the processor,
    inside fsync while points wait for it, inside crc32.
    """

    def run(without: list) -> np.ndarray:
        spent = np.zeros(2)

        def timed(number: int, function: Callable) -> Callable:
            def call(*arguments: Any) -> Any:
                started = time.perf_counter()
                try:
                    return function(*arguments)
                finally:
                    if not _beside.get():
                        spent[number] += time.perf_counter() - started

            return call

        with tempfile.TemporaryDirectory(dir=FOLDER) as folder, contextlib.ExitStack() as stack:
            stack.enter_context(patch.object(os, "fsync", timed(0, os.fsync)))
            stack.enter_context(patch.object(worker, "crc32_of", timed(1, worker.crc32_of)))
            for part in without:
                stack.enter_context(part())
            sweep = load(str(write_sweep(folder, points, **SMALLEST)))
            before = np.array([time.perf_counter(), time.process_time()])
            _run(str(Path(folder) / "s.zarr"), sweep)
            return np.append(np.array([time.perf_counter(), time.process_time()]) - before, spent)

    return run


def _run(location: str, sweep: Sweep) -> None:
    """What a worker does of a sweep, and beside it the flow's record of what is finished."""
    with exclusive(location):
        store = SweepStore.prepare(location, sweep)

        def flush(ended: threading.Event) -> None:
            _beside.set(True)
            while not ended.wait(FLUSH_SECONDS):
                if store.is_ahead:
                    store.flush()

        with alongside("flush", flush):
            for shard in store.pending(sweep):
                store.finish(shard, *compute_shard(store.work(sweep, shard)))
        store.flush()


@isophase.point(dims={"x": ["row", "col"]}, coords={"row": np.arange(1000), "col": np.arange(1000)}, seconds=0.1)
def noise(*, seed: np.random.SeedSequence) -> dict:
    """8 MB of numbers that hardly compress."""
    return {"x": np.random.default_rng(seed).standard_normal((1000, 1000))}


def time_verify(megabytes: int = VERIFY_MB) -> None:
    with tempfile.TemporaryDirectory(dir=FOLDER) as folder:
        location = str(Path(folder) / "s.zarr")
        isophase.run(noise, axes={"seed": range(megabytes // POINT_MB)}, store=location, workers=2)
        count, size = files(Path(location))
        for name, prepare in {"read from the disk": _forget, "in the system's memory": lambda _: None}.items():
            prepare(Path(location))
            started = time.perf_counter()
            assert verify(location) == []
            seconds = time.perf_counter() - started
            print(f"verify, {size:.0f} MB in {count} files, {name}: {seconds:.1f} s, {size / seconds:.0f} MB/s")


def _forget(folder: Path) -> None:
    """Have the system drop what it holds of the files of a folder."""
    for path in (path for path in folder.rglob("*") if path.is_file()):
        with path.open("rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["verify", *rest]:
            time_verify(*map(int, rest))
        case rest:
            main(*map(int, rest))
