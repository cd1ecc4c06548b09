"""Many small points, and many flow runs on one server: what they take grows by what is kept of them, and no more; what
is temporary is gone afterwards. `make failure-test`; `ISOPHASE_POINTS` and `ISOPHASE_FLOW_RUNS` for how many.
"""

import math
import os
import signal
import statistics
import subprocess
import time
from collections import defaultdict
from pathlib import Path

import httpx
import psutil
import pytest

from isophase.sweeps.store import read
from isophase.sweeps.sweep import load
from tests.failures.services import Services, wait_for
from tests.serial import run_serially
from tests.test_command_line import command, dask_workers
from tests.test_prefect_states import OPEN
from tests.test_serve import a_server, as_the_readme_says

POINTS = int(os.environ.get("ISOPHASE_POINTS", "20000"))
FLOW_RUNS = int(os.environ.get("ISOPHASE_FLOW_RUNS", "15"))
SAMPLE_SECONDS = 0.1
NOISE = 32 * 2**20  # bytes of resident memory by which one process differs from another that does the same
SPARE_FILES = 16  # open ones, of connections that come and go
pytestmark = pytest.mark.timeout(7200)

MODULE = """
import numpy as np
import isophase

@isophase.point(dims={"x": ["time"], "mean": []}, coords={"time": np.arange(4)}, seconds=0.005)
def walk(*, step: float, seed: np.random.SeedSequence) -> dict:
    '''A random walk.'''
    x = step * np.random.default_rng(seed).standard_normal(4).cumsum()
    return {"x": x, "mean": x.mean()}
"""
SWEEP = """
kind = "walks:walk"
[axes]
step = {{ start = 0.1, stop = 1.0, step = 0.1 }}
seed = {{ start = 0, count = {seeds} }}
"""
STEPS = 10
# Of a point the flow keeps a number or a pointer in each of seven arrays (45), its position as a tuple of two numbers
# (130), and a tenth of a seed: its label, in lists, tables and texts (100). Parts are copied while they are written.
FLOW_BYTES = 1000
# A point has 40 bytes of numbers here, 25 that say what became of it, and 35 of Zstandard's frame and of its place in
# the shard.
STORE_BYTES = 150


class Watched:
    """A command, and the peaks of what its own process and the largest of its workers take while it runs."""

    def __init__(self, *arguments, folder):
        self.peak = defaultdict(int)
        started = time.monotonic()
        with (folder / "output").open("w+") as output:
            process = subprocess.Popen(command(*arguments), stdout=output, stderr=subprocess.STDOUT, cwd=folder)
            try:
                while process.poll() is None:
                    self._look(process)
                    time.sleep(SAMPLE_SECONDS)
            finally:
                process.kill()
                process.wait()
            output.seek(0)
            self.output = output.read()
        self.code, self.seconds = process.returncode, time.monotonic() - started

    def _look(self, process):
        try:
            self._take("flow", psutil.Process(process.pid))
            for worker in dask_workers(process):
                self._take("worker", worker)
        except psutil.NoSuchProcess:
            pass  # it has ended in between

    def _take(self, name, process):
        for what, amount in (("bytes", process.memory_info().rss), ("files", process.num_fds())):
            self.peak[name, what] = max(self.peak[name, what], amount)

    def __str__(self):
        shown = {"bytes": lambda n: f"{n / 1e6:.0f} MB", "files": lambda n: f"{n} open files"}
        return f"{self.seconds:.1f} s; " + ", ".join(f"{who} {shown[what](n)}" for (who, what), n in self.peak.items())


def files_of(folder):
    return {str(path.relative_to(folder)): path.stat().st_size for path in Path(folder).rglob("*") if path.is_file()}


def assert_nothing_temporary(folder):
    """But Dask's locks, which are empty files of fixed names, and their folders."""
    own = f"isophase-{os.getuid()}"
    scratch = {
        f"{parent}dask-scratch-space{name}"
        for parent in ("", f"{own}/")
        for name in ("", "/purge.lock", "/global.lock")
    }
    assert {str(path.relative_to(folder)) for path in folder.rglob("*")} <= {own} | scratch


def test_small_points_take_memory_and_files_by_what_is_kept_of_them(tmp_path, monkeypatch):
    few, many = POINTS // 20, POINTS
    watched, files = {}, {}
    for points in (few, many):
        folder, temporary = tmp_path / str(points), tmp_path / f"{points}-tmp"
        folder.mkdir()
        temporary.mkdir()
        monkeypatch.setenv("TMPDIR", str(temporary))
        (folder / "walks.py").write_text(MODULE)
        sweep, store = folder / "walks.toml", folder / "s.zarr"
        sweep.write_text(SWEEP.format(seeds=points // STEPS))
        for name, said, line in (
            ("run", f"{points:,} done, 0 failed, 0 pending", ("run", sweep, "--store", store, "--workers", 2)),
            ("status", str(points), ("status", store)),
            ("reduce", f"{points // STEPS}", ("reduce", store, "--workers", 2, "--figures", folder / "figures")),
            ("verify", "", ("verify", store)),
            ("again", "nothing left to run", ("run", sweep, "--store", store)),
        ):
            before = files_of(store)
            found = watched[name, points] = Watched(*line, folder=folder)
            print(f"{points:,} points, {name}: {found}")
            assert found.code == 0, found.output
            assert said in found.output
            assert name not in ("status", "verify", "again") or files_of(store) == before
        files[points] = files_of(store)
        print(f"{points:,} points, store: {len(files[points])} files, {sum(files[points].values()) / 1e6:.2f} MB")
        assert_nothing_temporary(temporary)
    for name in ("run", "status", "reduce", "verify", "again"):
        before, after = watched[name, few].peak, watched[name, many].peak
        for who in ("flow", "worker"):
            kept = FLOW_BYTES * (many - few) if who == "flow" else 0
            assert after[who, "bytes"] <= before[who, "bytes"] + NOISE + kept, (name, who)
            assert after[who, "files"] <= before[who, "files"] + SPARE_FILES, (name, who)
    group = read(str(tmp_path / str(many) / "s.zarr")).groups["walk"]
    shards = math.prod(math.ceil(n / s) for n, s in zip(group.group.shape, group.shard, strict=True))
    data = {points: {name for name in found if name.startswith("walk/x/c/")} for points, found in files.items()}
    assert len(data[many]) == shards
    assert files[many].keys() - data[many] == files[few].keys() - data[few]
    assert sum(files[many].values()) <= sum(files[few].values()) + STORE_BYTES * (many - few)


DEPLOYMENTS = """
[local]
flow = "sweep"
sweep = "{sweep}"
store = "{folder}/local.zarr"
workers = 1
more_seeds = 1
[elsewhere]
flow = "sweep"
sweep = "{sweep}"
store = "{folder}/elsewhere.zarr"
scheduler = "{scheduler}"
more_seeds = 1
[reduce]
flow = "reduce"
store = "{folder}/reduced.zarr"
scheduler = "{scheduler}"
"""
SMALL = """
kind = "kuramoto"
[axes]
width = [0.1, 0.2]
seed = { start = 0, count = 2 }
[fixed]
size = 4
frequencies = "normal"
[record]
t_end = 2.0
samples = 2
"""
RUN_BYTES = 100_000  # of memory that a process may keep of a flow run that has ended
DATABASE_BYTES = 250_000  # of a flow run: its states and events, those of its tasks, its log and its artifacts
ENDED = {"COMPLETED", "FAILED", "CRASHED", "CANCELLED"}


class Prefect:
    """What a server with a password says."""

    def __init__(self, url, auth):
        self._client = httpx.Client(base_url=url, auth=tuple(auth.split(":")), timeout=60)

    def post(self, what, **question):
        return self._asked("POST", what, json=question)

    def state_of(self, run):
        return self._asked("GET", f"flow_runs/{run}")["state_type"]

    def count(self, what, states):
        return self.post(f"{what}/count", **{what: {"state": {"type": {"any_": sorted(states)}}}})

    def _asked(self, method, what, **question):
        answer = None

        def is_answered():  # a database that others write is busy at times, and Prefect's own client asks again
            nonlocal answer
            answer = self._client.request(method, f"/{what}", **question)
            return answer.status_code != 503

        wait_for(is_answered, pause=0.5)
        answer.raise_for_status()
        return answer.json()


class Usage:
    """Memory and open files of processes, and the size of a database, after every flow run."""

    def __init__(self, processes, database):
        self.processes, self.database = processes, database
        self.rows = []

    def take(self):
        row = {"database bytes": sum(p.stat().st_size for p in self.database.parent.glob(f"{self.database.name}*"))}
        for name, process in self.processes.items():
            row |= {f"{name} bytes": process.memory_info().rss, f"{name} files": process.num_fds()}
        self.rows.append(row)

    def growth(self):
        """Of everything: what it was after a quarter of the runs, at the end, and the difference per run.

        Both are medians over a tenth of the runs, as files that are open come and go.
        """
        width, first = max(1, len(self.rows) // 10), len(self.rows) // 4
        found = {}
        for name in self.rows[0]:
            values = [row[name] for row in self.rows]
            before, after = statistics.median(values[first : first + width]), statistics.median(values[-width:])
            found[name] = before, after, (after - before) / (len(values) - width - first)
        return found


def run_them(prefect, usage, log):
    """Have every deployment run again as soon as it has ended, ``FLOW_RUNS`` in all."""
    numbers = {deployment["name"]: deployment["id"] for deployment in prefect.post("deployments/filter")}
    going, started = {}, 0
    while going or started < FLOW_RUNS:
        for name, run in list(going.items()):
            if (state := prefect.state_of(run)) in ENDED:
                assert state == "COMPLETED", log()[-3000:]
                del going[name]
                usage.take()
        for name in sorted(numbers.keys() - going.keys())[: FLOW_RUNS - started]:
            question = {"idempotency_key": f"number-{started}"}
            going[name] = prefect.post(f"deployments/{numbers[name]}/create_flow_run", **question)["id"]
            started += 1
        time.sleep(0.2)


def test_flow_runs_leave_nothing_open_and_nothing_temporary(tmp_path, monkeypatch):
    temporary, stores = tmp_path / "tmp", tmp_path / "stores"
    for folder in (temporary, stores):
        folder.mkdir()
    sweep, file = tmp_path / "small.toml", tmp_path / "deployments.toml"
    sweep.write_text(SMALL)
    run_serially(str(stores / "reduced.zarr"), load(str(sweep)))
    services = Services(tmp_path)
    monkeypatch.setenv("TMPDIR", str(temporary))  # of the server, the runner and the flow runs
    with a_server(tmp_path, monkeypatch, as_the_readme_says) as shell:
        tree = [psutil.Process(shell.pid), *psutil.Process(shell.pid).children(recursive=True)]
        server = max(tree, key=lambda process: process.memory_info().rss)
        auth = (tmp_path / "auth").read_text().strip()
        prefect = Prefect(os.environ["PREFECT_API_URL"], auth)
        monkeypatch.setenv("PREFECT_API_AUTH_STRING", auth)
        try:
            for name in ("scheduler", "worker-0", "worker-1"):
                services.start(name)
            file.write_text(DEPLOYMENTS.format(sweep=sweep, folder=stores, scheduler=services.scheduler))
            services.spawn("runner", command("serve", file), os.environ)
            wait_for(lambda: len(prefect.post("deployments/filter")) == 3)
            processes = {name: psutil.Process(process.pid) for name, process in services.processes.items()}
            usage = Usage(processes | {"server": server}, tmp_path / "prefect" / "prefect.db")
            started = time.monotonic()
            run_them(prefect, usage, lambda: services.log("runner"))
            print(f"{FLOW_RUNS} flow runs in {time.monotonic() - started:.0f} s")
            assert prefect.count("flow_runs", {"COMPLETED"}) == FLOW_RUNS
            assert prefect.count("flow_runs", OPEN | {"SCHEDULED"}) == 0
            wait_for(lambda: prefect.count("task_runs", OPEN) == 0)  # which Prefect takes from a queue
            services.processes["runner"].send_signal(signal.SIGTERM)
            wait_for(lambda: services.processes["runner"].poll() is not None)
            assert services.processes["runner"].returncode == 0, services.log("runner")[-3000:]
        finally:
            services.__exit__()
    assert_nothing_temporary(temporary)
    assert {path.name for path in stores.iterdir()} == {"local.zarr", "elsewhere.zarr", "reduced.zarr"}
    assert [name for name in files_of(stores) if name.endswith(".partial")] == []
    for name, (before, after, each) in usage.growth().items():
        print(f"{name}: {before:,.0f} after a quarter, {after:,.0f} at the end, {each:,.0f} per run")
        noise, per_run = (SPARE_FILES, 0) if name.endswith("files") else (NOISE, RUN_BYTES)
        if name == "database bytes":
            noise, per_run = 0, DATABASE_BYTES
        assert after - before <= noise + per_run * FLOW_RUNS, name
