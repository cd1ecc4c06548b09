"""What the pipeline adds to the kernels, per point and in all, beside xyzpy on the same points.

python -m benchmarks.pipeline [POINTS ...]    # default 100 1000 10000 100000
python -m benchmarks.pipeline flow [POINTS ...]       # what the flow's own process does: grid, status, tasks
python -m benchmarks.pipeline scheduler [WORKERS ...] # what Dask's scheduler does: processor time and memory
python -m benchmarks.pipeline xyzpy [POINTS]  # beside xyzpy: smallest points and a real grid, and a kill -9 halfway

The points are lattices of 16 rings run for 20 tau, which take about a millisecond; the time in kernels is subtracted.
"""

import asyncio
import contextlib
import json
import os
import pickle
import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from distributed import Worker

WORKERS = 2
MARK_MS, MARK_RERUN = 5.0, 5.0
SWEEP = """
kind = "lattice"
[axes]
private = [0, 1, 2, 3]
delay = {{ start = 0.01, stop = 0.05, step = 0.01 }}
seed = {{ start = 0, count = {seeds} }}
[fixed]
size = {size}
[record]
t_end = {t_end}
samples = 3
"""
SMALLEST = {"size": 4, "t_end": 20.0}
REAL = {"size": 48, "t_end": 200.0}
REAL_POINTS = 60
TASKS = 10_000
METRICS = re.compile(r"kernels ([\d.]+) s, overhead ([\d.]+) s of (\d+) threads x ([\d.]+) s")


def main(counts: list[int]) -> None:
    print(
        f"pipeline, lattices of 16 rings, {WORKERS} workers; marks: {MARK_MS:g} ms per point, {MARK_RERUN:g} s re-run"
    )
    print(f"{'points':>8}{'command s':>11}{'fan-out s':>11}{'kernels s':>11}{'overhead ms/point':>19}{'peak MB':>9}"
          f"{'re-run s':>10}{'status s':>10}{'files':>7}{'MB':>8}")  # fmt: skip
    for points in counts:
        with tempfile.TemporaryDirectory() as folder:
            store = Path(folder) / "tiny.zarr"
            sweep = write_sweep(folder, points, **SMALLEST)
            whole, text, peak = timed("run", sweep, "--store", store, "--workers", WORKERS)
            kernels, _, threads, fan_out = map(float, METRICS.search(text).groups())  # type: ignore[union-attr]
            again, text, _ = timed("run", sweep, "--store", store)
            assert "nothing left to run" in text, text
            status, _, _ = timed("status", store)
            count, size = files(store)
        overhead = (fan_out - kernels / threads) / points * 1e3
        print(f"{points:>8}{whole:>11.1f}{fan_out:>11.1f}{kernels:>11.1f}{overhead:>19.2f}{peak:>9.0f}"
              f"{again:>10.2f}{status:>10.2f}{count:>7}{size:>8.1f}", flush=True)  # fmt: skip


def flow_alone(counts: list[int]) -> None:
    """The parts of a run that grow with the grid and not with the kernels, each in seconds, without running a point."""
    from isophase.sweeps.store import Outcome, SweepStore, exclusive, read, tasks
    from isophase.sweeps.sweep import load

    print("the flow's own process, lattices of 16 rings")
    names = ("load", "prepare", "pending", "tasks", "work", "finish", "flush", "read", "status")
    print(f"{'points':>9}" + "".join(f"{name + ' s':>11}" for name in names) + f"{'bytes/point':>13}{'MB':>8}")
    for points in counts:
        with tempfile.TemporaryDirectory() as folder:
            location = str(Path(folder) / "s.zarr")
            path = write_sweep(folder, points, **SMALLEST)
            spent = []

            def step(started: float, spent: list[float] = spent) -> float:
                spent.append(time.perf_counter() - started)
                return time.perf_counter()

            at = time.perf_counter()
            sweep = load(str(path))
            at = step(at)
            with exclusive(location):
                store = SweepStore.prepare(location, sweep)
                at = step(at)
                shards = store.pending(sweep)
                at = step(at)
                runs = tasks(shards, {"square-4": 0.02})
                at = step(at)
                sent = sum(len(pickle.dumps([store.work(sweep, shard) for shard in run])) for run in runs)
                at = step(at)
                scalars = {"n_switches": 1000, "switching_rate": 0.5, "delay_limited": False, "n_neurons": 96}
                times = iter(np.random.default_rng(0).random(points).tolist())  # as hard to compress as real ones
                for shard in shards:
                    store.finish(shard, [Outcome(scalars, wall_time=next(times)) for _ in shard.points])
                at = step(at)
                store.flush()
                at = step(at)
                read(location)
                step(at)
            spent.append(timed("status", location)[0])
            print(f"{points:>9}" + "".join(f"{seconds:>11.2f}" for seconds in spent)
                  + f"{sent / points:>13.0f}{files(Path(location))[1]:>8.1f}", flush=True)  # fmt: skip


def scheduler_alone(counts: list[int]) -> None:
    """Processor time of Dask's scheduler and of the flow for a task that does nothing.

    The workers of one thread each share a process, which is what limits tasks per second here; the scheduler and the
    flow have theirs, and sockets between all of them.
    """
    from isophase.flows.cluster import cluster, fan_out

    print("Dask's scheduler, tasks that do nothing")
    print(f"{'workers':>8}{'tasks/s':>10}{'scheduler us/task':>19}{'flow us/task':>14}{'idle %':>8}{'MB':>8}")
    for workers in counts:
        call = [sys.executable, "-m", "distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", "0",
                "--dashboard-address", "127.0.0.1:0"]  # fmt: skip
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "scheduler.json"
            quiet: Any = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
            scheduler = subprocess.Popen([*call, "--scheduler-file", str(file)], **quiet)
            while not file.exists():
                time.sleep(0.1)
            call = [sys.executable, "-m", "benchmarks.pipeline", "workers", str(file), str(workers)]
            worker = subprocess.Popen(call, **quiet)
            try:
                address = json.loads(file.read_text())["address"]
                with cluster(address) as client:
                    client.wait_for_workers(workers, timeout=120)
                    list(fan_out(client, nothing, ((n,) for n in range(1_000))))
                    process = psutil.Process(scheduler.pid)
                    before, own, started = cpu(process), time.process_time(), time.perf_counter()
                    number = sum(1 for _ in fan_out(client, nothing, ((n,) for n in range(TASKS))))
                    seconds = time.perf_counter() - started
                    used, own = cpu(process) - before, time.process_time() - own
                    before = cpu(process)
                    time.sleep(5.0)
                    idle = (cpu(process) - before) / 5.0
                    memory = process.memory_info().rss / 1e6
            finally:
                worker.kill()
                scheduler.kill()
                worker.wait()
                scheduler.wait()
        print(f"{workers:>8}{number / seconds:>10.0f}{used / number * 1e6:>19.0f}{own / number * 1e6:>14.0f}"
              f"{idle * 100:>8.1f}{memory:>8.0f}", flush=True)  # fmt: skip


async def many_workers(scheduler_file: str, number: int) -> None:
    async with contextlib.AsyncExitStack() as stack:
        for name in range(number):
            worker = Worker(scheduler_file=scheduler_file, nthreads=1, name=name, host="127.0.0.1", dashboard=False)
            await stack.enter_async_context(worker)
        await asyncio.Event().wait()


def nothing(number: int) -> int:
    return number


def cpu(process: psutil.Process) -> float:
    times = process.cpu_times()
    return times.user + times.system


def beside_xyzpy(points: int = 10_000) -> None:
    """The same points by isophase and by xyzpy: time, files, and what a kill -9 halfway loses."""
    for name, count, grid in (("smallest", points, SMALLEST), ("real", REAL_POINTS, REAL)):
        with tempfile.TemporaryDirectory() as folder:
            sweep, store = write_sweep(folder, count, **grid), Path(folder) / "s.zarr"
            whole, text, _ = timed("run", sweep, "--store", store, "--workers", WORKERS)
            kernels = float(METRICS.search(text).group(1))  # type: ignore[union-attr]
            report(name, count, "isophase", whole, f"{kernels:.1f} s in kernels", files(store))
            shards = sum(path.is_file() for path in store.glob("*/phase/c/**/*"))
            killed = Path(folder) / "killed.zarr"
            call = command("run", sweep, "--store", killed, "--workers", WORKERS)
            after = run_and_kill(call, killed, "*/phase/c/**/*", shards // 2, whole)
            on_disk = sum(path.is_file() for path in killed.glob("*/phase/c/**/*"))
            found = done(timed("status", killed)[1])
            again, text, _ = timed("run", sweep, "--store", killed, "--workers", WORKERS)
            print(f"    killed after {after:.1f} s: {on_disk} of {shards} shards on disk, {found:,} points done; "
                  f"re-run {again:.1f} s: {text.strip().splitlines()[-1].split(';')[0]}", flush=True)  # fmt: skip
        for how in ("harvest", "crop"):
            with tempfile.TemporaryDirectory() as folder:
                call = [sys.executable, "-m", "benchmarks.pipeline", f"xyzpy-{how}", folder, str(count),
                        str(grid["size"]), str(grid["t_end"])]  # fmt: skip
                started = time.perf_counter()
                subprocess.run(call, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
                whole = time.perf_counter() - started
                report(name, count, f"xyzpy {how}", whole, "", files(Path(folder)))
            with tempfile.TemporaryDirectory() as folder:
                call[4] = folder
                pattern = "**/results/*" if how == "crop" else ""  # a harvest leaves no trace before its end
                after = run_and_kill(call, Path(folder), pattern, 50, whole * 0.75)
                left = subprocess.run([*call, "count"], check=True, stdout=subprocess.PIPE, text=True).stdout
                started = time.perf_counter()
                ended = subprocess.run(call, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
                last = "" if ended.returncode == 0 else f", fails: {ended.stderr.strip().splitlines()[-1]}"
                print(f"    killed after {after:.1f} s: then {left.strip()}; "
                      f"re-run {time.perf_counter() - started:.1f} s{last}", flush=True)  # fmt: skip


def report(name: str, points: int, tool: str, seconds: float, note: str, stored: tuple[int, float]) -> None:
    print(
        f"{name} grid, {points:,} points, {tool}: {seconds:.1f} s {note}, {stored[0]} files, {stored[1]:.1f} MB",
        flush=True,
    )


def write_sweep(folder: str, points: int, size: int, t_end: float) -> Path:
    path = Path(folder) / "tiny.toml"
    path.write_text(SWEEP.format(seeds=points // 20, size=size, t_end=t_end))
    return path


def command(*arguments: Any) -> list[str]:
    return [sys.executable, "-m", "isophase.flows.cli", *map(str, arguments)]


def timed(*arguments: Any) -> tuple[float, str, float]:
    """Seconds, output and peak memory in MB (of the flow's process or its largest child) of a command."""
    started = time.perf_counter()
    process = subprocess.Popen(command(*arguments), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert process.stdout is not None
    text = process.stdout.read()
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode in (0, 1), text
    return time.perf_counter() - started, text, used.ru_maxrss / 1024


def run_and_kill(call: list[str], folder: Path, pattern: str, number: int, seconds: float) -> float:
    """Kill a command and its children with SIGKILL once so many files fit the pattern, or after so many seconds."""
    process = subprocess.Popen(call, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    started = time.perf_counter()
    while time.perf_counter() - started < seconds:
        if pattern and sum(path.is_file() for path in folder.glob(pattern)) >= number:
            break
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    killed_after = time.perf_counter() - started
    time.sleep(2.0)  # workers that were children of others end, and the system drops the lock of the store
    return killed_after


def done(status: str) -> int:
    header, line = status.splitlines()[:2]
    return int(line[: header.index("done") + len("done")].split()[-1])


def files(folder: Path) -> tuple[int, float]:
    sizes = [path.stat().st_size for path in folder.rglob("*") if path.is_file()]
    return len(sizes), sum(sizes) / 1e6


def lattice_point(private: int, delay: float, seed: int, size: int, t_end: float) -> np.ndarray:
    """The point that the sweep above runs, for xyzpy."""
    from isophase.sweeps.kinds.lattice import Lattice, LatticeParameters, LatticeRecord
    from isophase.sweeps.seeds import point_seed

    record = LatticeRecord(t_end=t_end, samples=3)
    parameters = LatticeParameters(private=private, delay=delay, seed=seed, size=size)
    return Lattice().run_point(parameters, point_seed(0, "lattice", parameters, ()), record)["phase"].values


def xyzpy(how: str, folder: str, points: int, size: int, t_end: float, count_only: bool) -> None:
    """Run or resume the grid as xyzpy's manual does: a harvester into one file, or a crop of batches on disk."""
    import xyzpy

    runner = xyzpy.Runner(lattice_point, "phase", var_dims={"phase": ["time", "row", "col"]},
                          constants={"size": size, "t_end": t_end})  # fmt: skip
    path = Path(folder) / "phase.h5"
    harvester = xyzpy.Harvester(runner, data_name=str(path))
    combos = {"private": [0, 1, 2, 3], "delay": [0.01, 0.02, 0.03, 0.04, 0.05], "seed": list(range(points // 20))}
    if how == "harvest":
        if count_only:
            stored = int(harvester.full_ds.phase.notnull().any(["time", "row", "col"]).sum()) if path.exists() else 0
            print(f"{stored:,} points done")
            return
        harvester.harvest_combos(combos, missing_only=path.exists(), num_workers=WORKERS)
        return
    crop = harvester.Crop(name="grid", parent_dir=folder, batchsize=max(1, points // 100))
    if count_only:
        batches = len(crop.missing_results()) if crop.is_prepared() else 100
        print(f"{100 - batches} of 100 batches done")
        return
    if not crop.is_prepared():
        crop.sow_combos(combos)
    crop.grow_missing(num_workers=WORKERS)
    crop.reap()


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["flow", *rest]:
            flow_alone([int(points) for points in rest] or [10_000, 100_000, 1_000_000])
        case ["workers", file, number]:
            asyncio.run(many_workers(file, int(number)))
        case ["scheduler", *rest]:
            scheduler_alone([int(workers) for workers in rest] or [2, 50, 200])
        case ["xyzpy", *rest]:
            beside_xyzpy(*map(int, rest))
        case [how, folder, points, size, t_end, *rest] if how.startswith("xyzpy-"):
            xyzpy(how.removeprefix("xyzpy-"), folder, int(points), int(size), float(t_end), bool(rest))
        case rest:
            main([int(points) for points in rest] or [100, 1_000, 10_000, 100_000])
