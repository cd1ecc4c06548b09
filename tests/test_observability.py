"""What a run tells: logs of the workers, Dask's report, the line of figures at its end, and what a store costs."""

import json
import re
import time
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
from distributed import Client, LocalCluster

import isophase
from isophase.sweeps.store import DONE, FAILED, SweepStore, exclusive, read, usage
from isophase.sweeps.store.location import _ObjectStore
from isophase.sweeps.sweep import load
from tests.serial import run_serially
from tests.test_command_line import run, write_sweep

FAILS = """
kind = "lattice"
[axes]
delay = [0.0, 0.01]
seed = { start = 3, count = 2 }
[fixed]
tiling = "triangular"
size = 12
private = 0
[record]
t_end = 20.0
samples = 2
"""
METRICS = re.compile(
    r"small: (\d+) points, (\d+) failed; [\d.e+]+ points/s, ([\d.e+]+) switches/s; ([\d.]+) MB written; "
    r"kernels ([\d.]+) s, overhead ([\d.]+) s of (\d+) threads x ([\d.]+) s"
)


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A sweep run by two local workers with a report: its store, the report, and what the command printed."""
    folder = tmp_path_factory.mktemp("small")
    sweep = write_sweep(folder / "small.toml", size=32, seeds=4, t_end=60.0)
    report = folder / "reports" / "run.html"
    answer = run("run", sweep, "--store", folder / "s.zarr", "--workers", 2, "--performance-report", report)
    assert answer.returncode == 0, answer.stderr
    return str(folder / "s.zarr"), report, answer


def test_a_run_ends_with_a_line_of_figures_that_the_store_confirms(small):
    location, _, answer = small
    points, failed, rate, megabytes, kernels, overhead, threads, seconds = map(
        float, METRICS.search(answer.stderr).groups()
    )
    group = read(location).groups["square-32"]
    chunks = Path(location, "square-32", "phase", "c").rglob("*")
    assert (points, failed, threads) == (8, 0, 2)
    assert megabytes == pytest.approx(sum(f.stat().st_size for f in chunks if f.is_file()) / 1e6, abs=0.051)
    assert kernels == pytest.approx(group.bookkeeping["wall_time"].sum(), abs=0.051)
    assert kernels + overhead == pytest.approx(threads * seconds, abs=0.3)
    assert rate * seconds == pytest.approx(group.bookkeeping["n_switches"].sum(), rel=0.1)


def test_the_performance_report_is_one_page_of_html(small):
    _, report, _ = small
    page = report.read_text()
    assert page.lstrip().startswith("<!DOCTYPE html>")
    assert "Dask Performance Report" in page
    assert "compute_run" in page


def test_a_study_reports_on_the_sweep_and_on_the_reduction(tmp_path):
    sweep = write_sweep(tmp_path / "small.toml", size=12, seeds=2)
    answer = run("study", sweep, "--store", tmp_path / "s.zarr", "--workers", 1,
                 "--performance-report", tmp_path / "r.html")  # fmt: skip
    assert answer.returncode == 0, answer.stderr
    assert "compute_run" in (tmp_path / "r.html").read_text()
    assert "reduce_part" in (tmp_path / "r-reduce.html").read_text()


def test_a_report_that_cannot_be_written_is_refused_at_once(tmp_path):
    sweep = write_sweep(tmp_path / "small.toml")
    answer = run("run", sweep, "--store", tmp_path / "s.zarr", "--performance-report", "/proc/none/r.html")
    assert answer.returncode == 2
    assert "performance report in /proc/none: cannot be written" in answer.stderr.strip().splitlines()[-1]
    assert "Traceback" not in answer.stderr


def test_the_log_of_a_worker_names_the_points_and_why_one_failed(tmp_path):
    sweep = tmp_path / "fails.toml"
    sweep.write_text(FAILS)
    with (
        LocalCluster(n_workers=1, threads_per_worker=1, host="127.0.0.1", dashboard_address="127.0.0.1:0") as elsewhere,
        Client(elsewhere) as client,
    ):
        answer = run("run", sweep, "--store", tmp_path / "s.zarr", "--scheduler", elsewhere.scheduler_address)
        ((_, lines),) = client.get_worker_logs().items()
    assert answer.returncode == 1
    assert "distributed.worker" not in answer.stderr
    failures = [line for level, line in lines if level == "WARNING" and "failed: RuntimeError" in line]
    assert len(failures) == 2
    assert "triangular-12: seed=4, tiling=triangular, size=12, private=0, delay=0.0: failed" in failures[0]
    assert any(level == "INFO" and "points from seed=3" in line for level, line in lines)


def test_the_terminal_of_a_local_run_shows_no_log_of_its_workers(tmp_path):
    sweep = tmp_path / "fails.toml"
    sweep.write_text(FAILS)
    answer = run("run", sweep, "--store", tmp_path / "s.zarr", "--workers", 1)
    assert answer.returncode == 1
    assert "distributed.worker" not in answer.stderr
    assert "fails: 4 points, 2 failed; " in answer.stderr


def test_status_shows_what_a_store_holds_and_costs(small):
    location, _, _ = small
    header, line, metadata, runs = run("status", location).stdout.splitlines()
    values = dict(zip(header.split(), re.split(r"  +", line.strip()), strict=True))
    held = [path.stat().st_size for path in Path(location, "square-32").rglob("*") if path.is_file()]
    assert (values["group"], values["grid"], values["done"]) == ("square-32", "private 2 x seed 4", "8")
    assert int(values["objects"]) == len(held)
    assert float(values["MB"]) == pytest.approx(sum(held) / 1e6, abs=0.051)
    assert float(values["core-s"]) > 0
    assert metadata.startswith("(metadata)")
    last = json.loads(isophase.open(location).attrs["runs"])[-1]
    assert runs == f"1 runs, the last on {last['host']} at {last['started']}"


def test_objects_are_counted_alike_on_a_disk_and_in_an_object_store(tmp_path, monkeypatch):
    obstore = pytest.importorskip("obstore.store")
    sweep = load(write_sweep(tmp_path / "small.toml"))
    location = str(tmp_path / "s.zarr")
    run_serially(location, sweep)
    on_disk = usage(location)
    assert on_disk.keys() == {"square-6", "(metadata)"}
    bucket = _ObjectStore(obstore.LocalStore(location), read_only=True)
    room = import_module("isophase.sweeps.store.usage")
    monkeypatch.setattr(room, "zarr_store", lambda _, read_only: bucket)
    assert usage("s3://bucket/s.zarr") == on_disk


def test_a_store_of_a_hundred_thousand_points_is_listed_in_seconds(tmp_path):
    """A mark of 3 s on a quiet machine (`python -m benchmarks.pipeline`); here the tests run beside each other."""
    sweep = load(write_sweep(tmp_path / "small.toml", size=4, seeds=50_000))
    location = str(tmp_path / "s.zarr")
    with exclusive(location):
        store = SweepStore.prepare(location, sweep)
        group = store.groups["square-4"]
        group.status[...] = DONE
        group.status[0, ::1000] = FAILED
        group.bookkeeping["error"][0, ::1000] = "RuntimeError: it did not settle [seed: 11, spawn key: (1, 2, 3)]"
        group.flush(["status", "error"])
    started = time.perf_counter()
    answer = run("status", location)
    assert time.perf_counter() - started < 10
    assert answer.returncode == 1
    assert re.search(r"100000 +0 +99950 +50 ", answer.stdout)
    assert "and 30 more" in answer.stdout


def test_a_shard_of_failed_points_alone_takes_no_bytes(tmp_path):
    sweep_file = tmp_path / "fails.toml"
    sweep_file.write_text(FAILS.replace("[0.0, 0.01]", "[0.0]"))
    location = str(tmp_path / "s.zarr")
    answer = run("run", sweep_file, "--store", location, "--workers", 1)
    assert "2 failed; " in answer.stderr
    assert "; 0.0 MB written; " in answer.stderr
    assert np.all(read(location).groups["triangular-12"].status == FAILED)
