"""Icechunk's transactional commits against plain Zarr: writers that write different shards at once, and a kill -9.

python -m benchmarks.icechunk [SHARDS]    # needs: pip install icechunk
"""

import contextlib
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import zarr

POINTS, SAMPLES = 16, 16_384  # of a shard: 1 MB of float32, an inner chunk for each point
MODES = {
    "plain": "plain Zarr, each writer its own shards",
    "commit": "Icechunk, a commit per shard, rebased on conflict, one at a time under a lock",
    "unlocked": "Icechunk, a commit per shard, rebased on conflict, no lock",
    "fork": "Icechunk, forked sessions merged into one commit",
}
KILL_AFTER = 0.5  # of the undisturbed time


def main(shards: int = 400) -> None:
    print(f"{shards} shards of {POINTS * SAMPLES * 4 / 1e6:.1f} MB")
    for writers in (1, 2, 8):
        for mode, text in MODES.items():
            folder = Path(tempfile.mkdtemp())
            try:
                seconds = timed(mode, folder, shards, writers)
            except RuntimeError as error:
                print(f"{text}, {writers} writers: fails: {error}; {state(mode, folder, shards)[0]} whole", flush=True)
                shutil.rmtree(folder)
                continue
            whole, damaged = state(mode, folder, shards)
            count, size = files(folder)
            print(f"{text}, {writers} writers: {seconds:.2f} s, {seconds / shards * 1e3:.1f} ms/shard; "
                  f"{whole} whole, {damaged} damaged; {count} files, {size:.1f} MB", flush=True)  # fmt: skip
            shutil.rmtree(folder)
            if writers == 2 and mode != "unlocked":
                killed(mode, Path(tempfile.mkdtemp()), shards, seconds)


def killed(mode: str, folder: Path, shards: int, seconds: float) -> None:
    """What is left of a run whose writers and coordinator all got SIGKILL halfway."""
    process = start(mode, folder, shards, 2)
    assert process.stdout is not None
    while "writing" not in process.stdout.readline():
        pass
    time.sleep(seconds * KILL_AFTER)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    whole, damaged = state(mode, folder, shards)
    count, size = files(folder)
    started = time.perf_counter()
    left = shards - whole
    rewrite = start(mode, folder, shards, 2).wait()
    print(f"  killed after {seconds * KILL_AFTER:.1f} s: {whole} whole, {damaged} damaged, {left} to do; "
          f"{count} files, {size:.1f} MB; run again {time.perf_counter() - started:.2f} s, exit code {rewrite}, "
          f"then {state(mode, folder, shards)[0]} whole in {files(folder)[1]:.1f} MB", flush=True)  # fmt: skip
    shutil.rmtree(folder)


def timed(mode: str, folder: Path, shards: int, writers: int) -> float:
    """Seconds of the writing alone, as the coordinator measured them."""
    process = start(mode, folder, shards, writers)
    assert process.stdout is not None
    text = process.stdout.read()
    if process.wait():
        raise RuntimeError(next(line for line in text.splitlines() if line.startswith("icechunk.")).split(" at loc")[0])
    return float(text.split()[-1])


def start(mode: str, folder: Path, shards: int, writers: int) -> subprocess.Popen[str]:
    call = [sys.executable, "-m", "benchmarks.icechunk", mode, str(folder), str(shards), str(writers)]
    return subprocess.Popen(call, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True)


def files(folder: Path) -> tuple[int, float]:
    sizes = [path.stat().st_size for path in folder.rglob("*") if path.is_file()]
    return len(sizes), sum(sizes) / 1e6


def state(mode: str, folder: Path, shards: int) -> tuple[int, int]:
    """How many shards are whole, and how many neither whole nor absent."""
    array = zarr.open_array(reading(mode, folder), mode="r")
    whole = damaged = 0
    for number in range(shards):
        found = array[number * POINTS : (number + 1) * POINTS]
        if np.array_equal(found, content(number)):
            whole += 1
        elif not np.isnan(found).all():
            damaged += 1
    return whole, damaged


def content(number: int) -> np.ndarray:
    return np.random.default_rng(number).standard_normal((POINTS, SAMPLES), np.float32)


def repository(folder: Path) -> Any:
    import icechunk

    icechunk.set_logs_filter("error")  # it warns on every start that commits to a local folder may not be concurrent
    return icechunk.Repository.open_or_create(icechunk.local_filesystem_storage(str(folder)))


def reading(mode: str, folder: Path) -> Any:
    return folder if mode == "plain" else repository(folder).readonly_session("main").store


def create(store: Any, shards: int) -> None:
    zarr.create_array(store, shape=(shards * POINTS, SAMPLES), dtype="float32", fill_value=np.nan,
                      chunks=(1, SAMPLES), shards=(POINTS, SAMPLES), overwrite=False)  # fmt: skip


def write(mode: str, folder: Path, session: Any, numbers: list[int], ready: Any, lock: Any) -> Any:
    """What one writer does: its shards, one after another. Returns the session that is to be merged, if any."""
    import icechunk

    repo = repository(folder) if mode in ("commit", "unlocked") else None
    contents = {number: content(number) for number in numbers}
    ready.wait()  # so that neither imports nor random numbers are timed
    if mode == "plain":
        array = zarr.open_array(folder, mode="r+")
    elif mode == "fork":
        array = zarr.open_array(session.store, mode="r+")
    for number in numbers:
        if repo is not None:
            session = repo.writable_session("main")
            array = zarr.open_array(session.store, mode="r+")
        array[number * POINTS : (number + 1) * POINTS] = contents[number]
        if repo is not None:
            with lock if mode == "commit" else contextlib.nullcontext():
                session.commit(f"shard {number}", rebase_with=icechunk.ConflictDetector(), rebase_tries=1_000)
    return session if mode == "fork" else None


def coordinate(mode: str, folder: Path, shards: int, writers: int) -> None:
    """Run what is missing with that many writers."""
    session = None
    if mode == "plain":
        if not (folder / "zarr.json").exists():
            create(folder, shards)
    else:
        session = repository(folder).writable_session("main")
        if not exists(session):
            create(session.store, shards)
            session.commit("create")
            session = repository(folder).writable_session("main")
    array = zarr.open_array(reading(mode, folder), mode="r")
    missing = [n for n in range(shards) if np.isnan(array[n * POINTS]).any()]
    with multiprocessing.Manager() as manager, multiprocessing.Pool(writers) as pool:
        ready = manager.Barrier(writers + 1)
        lock = manager.Lock()
        forked = session.fork() if mode == "fork" and session is not None else None
        calls = [(mode, folder, forked, missing[rank::writers], ready, lock) for rank in range(writers)]
        answer = pool.starmap_async(write, calls, chunksize=1)
        ready.wait()
        started = time.perf_counter()
        print("writing", flush=True)
        found = answer.get()
        if mode == "fork" and session is not None:
            session.merge(*found)
            session.commit("all shards")
        print(time.perf_counter() - started)


def exists(session: Any) -> bool:
    try:
        zarr.open_array(session.store, mode="r")
    except FileNotFoundError:
        return False
    return True


if __name__ == "__main__":
    multiprocessing.set_start_method("spawn")
    match sys.argv[1:]:
        case [mode, folder, shards, writers]:
            coordinate(mode, Path(folder), int(shards), int(writers))
        case rest:
            main(*map(int, rest))
