"""What must fail, by real processes: one clear line, an exit code, nothing half-written called done, and a rerun that
completes with the same bits. `make failure-test`; see also tests/test_command_line.py, tests/test_malformed.py and
soak.py here.
"""

import contextlib
import itertools
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest

import isophase
from isophase.sweeps.store import DONE, FAILED, StoreError, SweepStore, compute_shard, read
from isophase.sweeps.sweep import load
from tests.damage import assert_same_contents, contents, copy_of
from tests.failures.services import Services, free_port, wait_for
from tests.failures.soak import assert_same_results
from tests.serial import reduce_serially, run_serially
from tests.test_command_line import command, dask_workers, is_alive, long_sweep, shard_files, write_sweep

pytestmark = pytest.mark.timeout(1800)
ENOUGH_SECONDS = 300  # the rest of the points, and two calls to a server that is gone, half a minute each


def start(*arguments, **environment):
    return subprocess.Popen(
        command(*arguments), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
        env={**os.environ, **environment},
    )  # fmt: skip


def run(*arguments, timeout=600, **environment):
    process = start(*arguments, **environment)
    try:
        output, errors = process.communicate(timeout=timeout)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    return process.returncode, output, errors


def assert_one_line(errors, *names):
    """The last line says what is wrong; before it stand only the lines of a run that began."""
    *before, last = errors.strip().splitlines()
    assert last.startswith("isophase: error: "), errors
    for name in names:
        assert name in last, errors
    assert "Traceback" not in errors
    assert not any(line.startswith("isophase: error") for line in before), errors


def assert_done_are_right(location, reference):
    """Whatever the store calls done is what an undisturbed run wrote."""
    found, wanted = isophase.open(location), isophase.open(reference)
    for name in found.children:
        done = (found[name].status == DONE).values
        np.testing.assert_array_equal(found[name].phase.values[done], wanted[name].phase.values[done])
    return sum(int((found[name].status == DONE).sum()) for name in found.children)


sweep = long_sweep  # the fixture, by the name that it has here


@pytest.fixture
def small_disk(tmp_path):
    """A file system of a few megabytes."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", folder], capture_output=True, text=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"a disk to fill needs the right to mount one: {mounted.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


PAGE = 4096  # bytes, by which a tmpfs gives room


def fill(disk, but=0):
    """Leave no more room than that many pages."""
    with (disk / "ballast").open("wb", buffering=0) as file:
        with contextlib.suppress(OSError):
            while True:
                file.write(b"x" * PAGE)
        file.truncate(max(0, file.tell() - but * PAGE))


def test_a_disk_that_fills_up_is_named_and_the_run_goes_on_once_there_is_room(small_disk, sweep):
    path, reference = sweep
    location = str(small_disk / "s.zarr")
    process = start("run", path, "--store", location, "--workers", 1)
    wait_for(lambda: shard_files(location))
    fill(small_disk)
    _, errors = process.communicate(timeout=600)
    assert process.returncode == 3, errors
    assert_one_line(errors, location, "No space left on device")
    (small_disk / "ballast").unlink()
    assert assert_done_are_right(location, reference) < 16
    fill(small_disk)
    code, _, errors = run("run", path, "--store", location, "--workers", 1)
    assert code == 3, errors
    assert_one_line(errors, location)
    (small_disk / "ballast").unlink()
    code, _, errors = run("run", path, "--store", location, "--workers", 2)
    assert code == 0, errors
    assert_same_results(location, reference)


def summary_of(location):
    return {name: value for name, value in contents(location).items() if name.startswith("/summary")}


@pytest.fixture
def reduced(small_disk, tmp_path):
    """On a small disk a store that was reduced, and then got more seeds: it, its summary, and what it is to come to."""
    location, more = str(small_disk / "s.zarr"), tmp_path / "more"
    more.mkdir()
    path = write_sweep(tmp_path / "s.toml", size=6, seeds=3)
    run_serially(location, load(path))
    reduce_serially(location)
    summary = summary_of(location)
    run_serially(location, load(write_sweep(more / "s.toml", size=6, seeds=5)))
    reference = copy_of(location, tmp_path / "reference.zarr")
    reduce_serially(reference)
    return location, summary, contents(reference)


def test_a_reduction_that_fills_the_disk_keeps_the_old_summary_and_can_be_done_again(small_disk, tmp_path, reduced):
    location, summary, wanted = reduced
    line = ("reduce", location, "--workers", 1, "--figures", tmp_path / "figures")
    process = start(*line)
    wait_for(lambda: dask_workers(process))
    fill(small_disk, but=60)  # a part of the new summary
    _, errors = process.communicate(timeout=600)
    assert process.returncode == 3, errors
    assert_one_line(errors, location, "No space left on device")
    assert_same_contents(summary_of(location), summary)
    code, output, errors = run("report", location, "--figures", tmp_path / "figures")
    assert code == 0, errors
    assert "correlation length" in output
    (small_disk / "ballast").unlink()
    code, _, errors = run(*line)
    assert code == 0, errors
    assert_same_contents(contents(location), wanted)


def test_whatever_room_a_disk_has_a_reduction_that_fails_keeps_the_old_summary(small_disk, tmp_path, reduced):
    """The last that is written are the store's metadata, when the new summary is in place."""
    location, summary, wanted = reduced
    before = copy_of(location, tmp_path / "before.zarr")
    for room in itertools.count(40, 8):
        copy_of(before, location)
        fill(small_disk, but=room)
        reason = ""
        try:
            reduce_serially(location)
        except StoreError as error:
            reason = str(error)
        if not reason:
            break
        assert "No space left on device" in reason
        assert_same_contents(summary_of(location), summary)
        (small_disk / "ballast").unlink()
    assert room > 80
    assert_same_contents(contents(location), wanted)


@pytest.mark.parametrize("when", ["before", "during"])
def test_a_store_that_cannot_be_written_is_named(small_disk, sweep, when):
    path, reference = sweep
    location = str(small_disk / "s.zarr")
    read_only, writable = (["mount", "-o", f"remount,{mode}", small_disk] for mode in ("ro", "rw"))
    if when == "before":
        subprocess.run(read_only, check=True)
        process = start("run", path, "--store", location, "--workers", 1)
    else:
        process = start("run", path, "--store", location, "--workers", 1)
        wait_for(lambda: shard_files(location))
        wait_for(lambda: subprocess.run(read_only, capture_output=True, check=False).returncode == 0)
    _, errors = process.communicate(timeout=600)
    assert process.returncode == 2, errors  # no repetition makes it writable
    assert_one_line(errors, location, "annot be written", "Read-only" if when == "during" else "")
    subprocess.run(writable, check=True)
    code, _, errors = run("run", path, "--store", location, "--workers", 2)
    assert code == 0, errors
    assert_same_results(location, reference)


def test_an_object_store_that_does_not_answer_is_named_within_a_minute(sweep):
    nowhere = {
        "AWS_ENDPOINT_URL": "http://127.0.0.1:1", "AWS_ALLOW_HTTP": "true", "AWS_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret",
    }  # fmt: skip
    for arguments in (("run", sweep[0], "--store", "s3://nowhere/s.zarr"), ("status", "s3://nowhere/s.zarr")):
        code, _, errors = run(*arguments, timeout=60, **nowhere)
        assert code == 3, errors
        assert len(errors.splitlines()) == 1
        assert_one_line(errors, "s3://nowhere/s.zarr")


@pytest.mark.parametrize("seed", range(4))
def test_two_runs_of_one_sweep_without_a_lock_call_no_wrong_point_done(tmp_path, seed):
    """As where an object store was taken over: whatever their order, what is done is right; a run does what is not."""
    chance, location, reference = random.Random(seed), str(tmp_path / "s.zarr"), str(tmp_path / "reference.zarr")
    small = load(write_sweep(tmp_path / "small.toml", seeds=6))
    run_serially(reference, small)

    def steps():
        store = SweepStore.prepare(location, small)
        yield
        for shard in store.pending(small):
            outcomes, nbytes = compute_shard(store.work(small, shard))
            yield
            store.finish(shard, outcomes, nbytes)
            store.flush()
            yield

    running = [steps(), steps()]
    while running:
        one = chance.choice(running)
        if next(one, "ended") == "ended" or chance.random() < 0.02:  # or died
            running.remove(one)
        assert_done_are_right(location, reference)
    run_serially(location, small)
    assert_same_results(location, reference)


def test_a_scheduler_without_workers_is_named(tmp_path, sweep):
    services = Services(tmp_path)
    try:
        services.start("scheduler")
        waiting = {"DASK_DISTRIBUTED__SCHEDULER__NO_WORKERS_TIMEOUT": "2s"}
        arguments = ("run", sweep[0], "--store", tmp_path / "s.zarr", "--scheduler", services.scheduler)
        wait_for(lambda: psutil.Process(services.processes["scheduler"].pid).net_connections("tcp"))
        code, _, errors = run(*arguments, **waiting)
    finally:
        services.__exit__()
    assert code == 3, errors
    assert_one_line(errors, services.scheduler, "no worker within 2s")


@pytest.mark.parametrize(("dies", "named"), [("scheduler", "scheduler"), ("server", "PREFECT_API_URL")])
def test_a_scheduler_or_a_server_that_dies_for_good_is_named_and_the_run_goes_on_elsewhere(
    tmp_path, sweep, dies, named
):
    path, reference = sweep
    location = str(tmp_path / "s.zarr")
    with Services(tmp_path) as services:
        arguments = ("run", path, "--store", location, "--scheduler", services.scheduler)
        process = start(*arguments, PREFECT_API_URL=services.prefect, PREFECT_HOME=str(tmp_path / "home"))
        try:
            wait_for(lambda: shard_files(location))
            services.kill(dies)
            died = time.monotonic()
            _, errors = process.communicate(timeout=ENOUGH_SECONDS)
            print(f"{dies}: the run ended {time.monotonic() - died:.0f} s later with {process.returncode}: {errors}")
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == 3, errors
    address = {"scheduler": services.scheduler, "server": services.prefect}[dies]
    (line,) = (line for line in errors.splitlines() if "isophase: error: " in line)  # among Prefect's logs
    assert named in line
    assert address in line
    assert "Traceback" not in line
    assert_done_are_right(location, reference)
    code, _, errors = run("run", path, "--store", location, "--workers", 2)
    assert code == 0, errors
    assert_same_results(location, reference)


def test_a_point_that_exceeds_the_memory_of_its_worker_fails_and_the_others_finish(tmp_path):
    path = tmp_path / "large.toml"
    path.write_text('kind = "lattice"\n[axes]\nsize = [2200, 8]\nseed = [0]\n[record]\nt_end = 1.0\nsamples = 1\n')
    services = Services(tmp_path)
    try:
        services.start("scheduler")
        for name in ("worker-0", "worker-1"):
            services.spawn(name, [*services.command(name), "--memory-limit", "900MB"], services.environment)
        arguments = ("run", path, "--store", tmp_path / "s.zarr", "--scheduler", services.scheduler)
        code, output, errors = run(*arguments)
    finally:
        services.__exit__()
    assert code == 1, errors
    assert "1 done, 1 failed, 0 pending" in output
    found = isophase.open(tmp_path / "s.zarr")
    assert (found["square-2200"].status == FAILED).all()
    assert "workers died while computing it" in str(found["square-2200"].error.values.flat[0])
    assert (found["square-8"].status == DONE).all()
    code, output, _ = run("status", tmp_path / "s.zarr")
    assert code == 1
    assert "failed: square-2200: seed=0: KilledWorker" in output


@pytest.fixture(scope="module")
def locales(tmp_path_factory):
    """A folder with a Turkish and a German locale: a dotless i, a decimal comma."""
    folder = tmp_path_factory.mktemp("locales")
    for name in ("tr_TR", "de_DE"):
        made = ["localedef", "-i", name, "-f", "UTF-8", folder / f"{name}.UTF-8"]
        try:
            subprocess.run(made, check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError) as error:
            pytest.skip(f"no locales to make: {error}")
    return str(folder)


@pytest.mark.parametrize(
    "odd",
    [
        {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0", "PYTHONHASHSEED": "0"},
        {"LC_ALL": "tr_TR.UTF-8", "TZ": "Pacific/Kiritimati", "PYTHONHASHSEED": "1"},
        {"LC_ALL": "de_DE.UTF-8", "TZ": "Etc/GMT+12", "PYTHONHASHSEED": "4294967295"},
    ],
    ids=["C", "tr_TR", "de_DE"],
)
def test_the_bits_depend_on_no_locale_time_zone_or_hash_seed(tmp_path, locales, odd):
    path = write_sweep(tmp_path / "small.toml", size=12, seeds=3)
    with (tmp_path / "small.toml").open("r+", encoding="utf-8") as file:
        text = 'title = "ξ of İstanbul, ß"\n' + file.read()
        file.seek(0)
        file.write(text)
    run_serially(str(tmp_path / "reference.zarr"), load(path))
    code, output, errors = run("study", path, "--store", tmp_path / "s.zarr", "--workers", 2, LOCPATH=locales, **odd)
    assert code == 0, errors
    assert "correlation length" in output
    tree = isophase.open(tmp_path / "s.zarr")
    assert_same_results(tmp_path / "s.zarr", tmp_path / "reference.zarr", but="summary")
    assert tree.attrs["sweep"]
    for arguments in (("show", path), ("status", tmp_path / "s.zarr"), ("presets",)):
        code, _, errors = run(*arguments, LOCPATH=locales, **odd)
        assert code == 0, errors


def is_working(process):
    """Whether it has workers that have joined its scheduler."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return any(worker.net_connections("tcp") for worker in dask_workers(process))


def test_an_interrupted_reduction_leaves_nothing_behind_and_can_be_done_again(tmp_path):
    path = write_sweep(tmp_path / "sweep.toml", size=48, seeds=4, t_end=100.0)
    location = str(tmp_path / "s.zarr")
    run_serially(location, load(path))
    process = start("reduce", location, "--workers", 1)
    wait_for(lambda: is_working(process))
    children = psutil.Process(process.pid).children(recursive=True)
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=20)
    assert process.returncode == 130, errors
    assert errors.splitlines()[-1] == "isophase: error: interrupted; the same command goes on from here"
    assert "Traceback" not in errors
    wait_for(lambda: not any(is_alive(child) for child in children), seconds=5)
    code, output, errors = run("reduce", location, "--workers", 1)
    assert code == 0, errors
    assert "correlation length" in output


def test_what_a_killed_flow_started_ends_by_itself(tmp_path, sweep):
    """Killed alone, not with its group: its workers see that it is gone, Prefect's embedded server is told so."""
    location = str(tmp_path / "s.zarr")
    process = start("run", sweep[0], "--store", location, "--workers", 2)
    wait_for(lambda: shard_files(location))
    children = psutil.Process(process.pid).children(recursive=True)
    assert any("embedded_process.py" in " ".join(child.cmdline()) for child in children)
    try:
        process.kill()
        process.communicate()
        wait_for(lambda: not any(is_alive(child) for child in children), seconds=60)
    finally:
        for child in children:
            with contextlib.suppress(psutil.NoSuchProcess):
                child.kill()


@pytest.fixture
def object_store(tmp_path, monkeypatch):
    """The URL of a store on an S3 server that knows neither conditional writes nor status 206."""
    program = Path(sys.executable).with_name("rclone")
    (tmp_path / "objects" / "bucket").mkdir(parents=True)
    port = free_port()
    command = [program, "serve", "s3", "--addr", f"127.0.0.1:{port}", "--auth-key", "key,secret", tmp_path / "objects"]
    for name, value in {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}", "AWS_ALLOW_HTTP": "true", "AWS_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_for(lambda: psutil.Process(server.pid).net_connections("tcp"))
        yield "s3://bucket/s.zarr"
    finally:
        server.kill()
        server.wait()


def test_of_two_runs_on_one_object_store_one_is_refused_and_the_other_keeps_every_point(tmp_path, object_store):
    """Of one sweep, begun at once; then of one that has more seeds, whose last shard of points both would write."""
    path = write_sweep(tmp_path / "sweep.toml", size=16, seeds=23, t_end=2000.0)
    (tmp_path / "longer").mkdir()
    longer = write_sweep(tmp_path / "longer" / "sweep.toml", size=16, seeds=30, t_end=2000.0)
    both = [start("run", path, "--store", object_store, "--workers", 1) for _ in range(2)]
    wait_for(lambda: is_any_done(object_store))
    code, _, errors = run("run", longer, "--store", object_store, "--workers", 1)
    assert code == 3, errors
    assert_one_line(errors, object_store, "another run is writing to it")
    ends = [process.communicate(timeout=120) for process in both]
    assert sorted(process.returncode for process in both) == [0, 3], ends
    run_serially(str(tmp_path / "reference.zarr"), load(path))
    assert_same_results(object_store, str(tmp_path / "reference.zarr"))
    code, output, errors = run("run", longer, "--store", object_store, "--workers", 1)
    assert code == 0, errors
    assert "14 points run" in output
    run_serially(str(tmp_path / "longer.zarr"), load(longer))
    assert_same_results(object_store, str(tmp_path / "longer.zarr"))


def is_any_done(location):
    with contextlib.suppress(StoreError):
        return read(location).count()["done"]
