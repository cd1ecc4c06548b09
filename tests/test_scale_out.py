"""Clusters elsewhere: workers of other versions, workers that come and go, and what passes through the scheduler."""

import contextlib
import os
import pickle
import subprocess
import sys
import time

import pytest
from distributed import Client, LocalCluster

from isophase.flows.cluster import ClusterError, cluster, fan_out, versions
from isophase.flows.points import compute_run
from isophase.sweeps.store import SweepStore, exclusive, tasks
from isophase.sweeps.sweep import load
from tests.serial import run_serially
from tests.test_command_line import assert_same_bits, run, wait_for, write_sweep

HERE = {"host": "127.0.0.1", "protocol": "tcp", "dashboard_address": "127.0.0.1:0", "worker_dashboard_address": None}


@contextlib.contextmanager
def worker_with_other_numpy(address, folder):
    """A Dask worker process that finds the metadata of another numpy first."""
    metadata = folder / "numpy-0.0.1.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: numpy\nVersion: 0.0.1\n")
    process = subprocess.Popen(
        [sys.executable, "-m", "distributed.cli.dask_worker", address, "--host", "127.0.0.1", "--no-dashboard"],
        env=os.environ | {"PYTHONPATH": str(folder)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield
    finally:
        process.kill()
        process.wait()


def slow_square(number):
    time.sleep(0.05)
    return number**2


def test_a_worker_of_other_versions_is_named_before_anything_runs(tmp_path):
    with LocalCluster(n_workers=0, **HERE) as local, worker_with_other_numpy(local.scheduler_address, tmp_path):
        sweep = write_sweep(tmp_path / "small.toml")
        answer = run("run", sweep, "--store", tmp_path / "s.zarr", "--scheduler", local.scheduler_address)
        assert answer.returncode == 2
        last = answer.stderr.strip().splitlines()[-1]
        assert last.startswith("isophase: error: worker tcp://127.0.0.1:")
        assert "has numpy 0.0.1, the flow has " in last


def test_a_worker_of_other_versions_that_joins_later_computes_nothing(tmp_path):
    with (
        LocalCluster(n_workers=1, threads_per_worker=1, **HERE) as local,
        cluster(local.scheduler_address) as client,
    ):
        answers = fan_out(client, slow_square, ((number,) for number in range(2_000)))
        assert next(answers)[1] == 0
        with worker_with_other_numpy(local.scheduler_address, tmp_path):
            found = [next(answer for _, answer in answers if isinstance(answer, BaseException))]
            answers.close()
    assert isinstance(found[0], ClusterError)
    assert "has numpy 0.0.1" in str(found[0])


def test_an_adaptive_cluster_without_workers_grows_for_a_run_and_shrinks_after_it(tmp_path):
    sweep = write_sweep(tmp_path / "long.toml", size=32, seeds=16, t_end=100.0)
    run_serially(str(tmp_path / "reference.zarr"), load(sweep))
    with LocalCluster(n_workers=0, threads_per_worker=1, **HERE) as local:
        local.adapt(minimum=0, maximum=3, interval="200ms", target_duration="100ms")
        most = []
        with Client(local) as watcher:
            process = subprocess.Popen(
                [sys.executable, "-m", "isophase.flows.cli", "run", sweep, "--store", str(tmp_path / "s.zarr"),
                 "--scheduler", local.scheduler_address],
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            )  # fmt: skip
            while process.poll() is None:
                most.append(len(watcher.nthreads()))
                time.sleep(0.1)
            assert process.returncode == 0, process.stdout.read()
            assert max(most) >= 2
            wait_for(lambda: not watcher.nthreads(), seconds=10)
    assert_same_bits(str(tmp_path / "s.zarr"), str(tmp_path / "reference.zarr"))


def test_more_calls_are_out_once_more_workers_have_joined(monkeypatch):
    monkeypatch.setattr("isophase.flows.cluster.LEAST_IN_FLIGHT", 1)
    monkeypatch.setattr("isophase.flows.cluster.GROWTH_SECONDS", 0.0)
    with LocalCluster(n_workers=1, threads_per_worker=1, processes=False, **HERE) as local, Client(local) as client:
        out = []

        def calls():
            for number in range(200):
                out.append(number)
                yield (number,)

        answers = fan_out(client, slow_square, calls())
        next(answers)
        assert len(out) == 4
        local.scale(4)
        client.wait_for_workers(4)
        next(answers)
        next(answers)
        assert len(out) == 2 + 4 * 4  # two had ended when the last was submitted
        answers.close()


def test_a_scheduler_that_gets_no_worker_is_refused_when_the_time_is_over(monkeypatch):
    monkeypatch.setenv("DASK_DISTRIBUTED__SCHEDULER__NO_WORKERS_TIMEOUT", "1s")
    with LocalCluster(n_workers=0, **HERE) as local:
        code = (
            f"from isophase.flows.cluster import cluster, ClusterError\n"
            f"try:\n    cluster({local.scheduler_address!r}).__enter__()\n"
            f"except ClusterError as error:\n    print(error)"
        )
        answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "no worker within 1s" in answer.stdout


def test_neither_the_scheduler_nor_the_client_sees_a_trajectory(tmp_path, monkeypatch):
    """A point records 2 MB here; its task and its answer are less than a thousandth of that."""
    sweep_file = tmp_path / "wide.toml"
    sweep_file.write_text(
        'kind = "lattice"\n[axes]\nseed = {start = 0, count = 8}\n[fixed]\nsize = 64\n'
        "[record]\nt_end = 20.0\nsamples = 128\n"
    )
    sweep, location = load(str(sweep_file)), str(tmp_path / "s.zarr")
    point_bytes = sweep.groups()[0].nbytes() // sweep.n_points
    assert point_bytes > 2_000_000
    with (
        exclusive(location),
        LocalCluster(n_workers=1, threads_per_worker=1, processes=False, **HERE) as local,
        Client(local) as client,
    ):
        store = SweepStore.prepare(location, sweep)
        calls = [([store.work(sweep, s) for s in run],) for run in tasks(store.pending(sweep), {"square-64": 1.0})]
        answers = list(fan_out(client, compute_run, calls))
        left_the_worker = next(iter(local.workers.values())).transfer_outgoing_bytes_total
    assert sum(len(outcomes) for _, run in answers for outcomes, _ in run) == sweep.n_points
    assert sum(nbytes for _, run in answers for _, nbytes in run) > 500_000
    most = point_bytes / 1000
    assert len(pickle.dumps(calls)) / sweep.n_points < most
    assert len(pickle.dumps(answers)) / sweep.n_points < most
    assert left_the_worker / sweep.n_points < most


@pytest.mark.parametrize("name", ["isophase", "numpy", "numba", "jax", "zarr"])
def test_versions_that_can_change_bits_are_compared(name):
    assert name in versions()
