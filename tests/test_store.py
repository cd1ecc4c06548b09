"""What the store promises: every point once, the same bits however it came there, nothing lost."""

import asyncio
import json
import os
import shutil
import subprocess
import threading
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
import zarr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from zarr.core.sync import sync

import isophase
from isophase.flows.reduction import kind_of
from isophase.sweeps.seeds import point_seed
from isophase.sweeps.store import (
    DONE,
    StoreError,
    SweepStore,
    compute_shard,
    exclusive,
    is_stale,
    read,
    shard_shape,
    tasks,
    verify,
    write_summaries,
)
from isophase.sweeps.store.location import _LocalStore, _ObjectStore
from isophase.sweeps.store.lock import this_process
from isophase.sweeps.sweep import parse
from tests.damage import assert_same_contents, contents
from tests.serial import run_serially


def small_sweep(size=(4,), private=(0, 1), seed=(0, 1, 2), sweep_seed=7, **sections):
    axes = {"size": list(size), "private": list(private), "seed": list(seed)}
    record = {"t_end": 30.0, "samples": 3}
    return parse({"kind": "lattice", "seed": sweep_seed, "axes": axes, "record": record, **sections})


def subsets(values):
    return st.lists(st.sampled_from(values), min_size=1, max_size=len(values), unique=True)


small_sweeps = st.builds(small_sweep, subsets([3, 4]), subsets([0, 1, 2]), subsets(range(5)))


def computed_alone(sweep):
    """Every point of a sweep computed by itself, without any store: {labels: phase}."""
    results = {}
    for group in sweep.groups():
        for index in np.ndindex(group.shape):
            point = group.point(index)
            outcome = sweep.kind.run_point(point, point_seed(sweep.seed, "lattice", point), sweep.record)
            results[point.size, point.private, point.seed] = outcome["phase"].values
    return results


def assert_holds(location, sweep):
    tree = isophase.open(location)
    for (size, private, seed), phase in computed_alone(sweep).items():
        stored = tree[f"square-{size}"].phase.sel(private=private, seed=seed).values
        np.testing.assert_array_equal(stored, phase)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(sweeps=st.lists(small_sweeps, min_size=1, max_size=3))
def test_a_point_does_not_depend_on_the_grids_that_brought_it(tmp_path_factory, sweeps):
    location = str(tmp_path_factory.mktemp("store") / "grown.zarr")
    for sweep in sweeps:
        run_serially(location, sweep)
        assert run_serially(location, sweep) == 0
    for sweep in sweeps:
        assert_holds(location, sweep)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(sweep=small_sweeps, deaths=st.lists(st.integers(0, 8), max_size=3))
def test_a_sweep_that_dies_between_data_and_status_ends_with_the_same_bits(tmp_path_factory, sweep, deaths):
    location = str(tmp_path_factory.mktemp("store") / "killed.zarr")
    ran = sum(run_serially(location, sweep, until=lambda number, shard, at=at: number == at) for at in deaths)
    ran += run_serially(location, sweep)
    assert ran == sweep.n_points
    assert_holds(location, sweep)


def test_extending_an_axis_runs_only_what_is_new(tmp_path):
    location = str(tmp_path / "s.zarr")
    assert run_serially(location, small_sweep()) == 6
    assert run_serially(location, small_sweep(private=(0, 1, 5), seed=(0, 1, 2, 3), size=(3, 4))) == 6 + 12
    assert set(isophase.open(location)["square-4"].private.values) == {0, 1, 5}


def test_an_extension_that_shares_a_shard_keeps_what_is_there(tmp_path):
    location = str(tmp_path / "s.zarr")
    wide = small_sweep(private=(0,), seed=range(64))
    assert shard_shape(wide.groups()[0])[-1] > 1
    run_serially(location, wide)
    longer = small_sweep(private=(0,), seed=range(67))
    assert run_serially(location, longer) == 3
    assert_holds(location, longer)


def test_the_store_reads_with_xarray_alone_and_without_a_warning(tmp_path):
    location = str(tmp_path / "s.zarr")
    run_serially(location, small_sweep())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tree = xr.open_datatree(location)
    dataset = tree["square-4"].to_dataset()
    assert dataset.phase.dims == ("private", "seed", "time", "row", "col")
    assert dataset.phase.attrs["units"] == "rad"
    assert dataset.time.attrs["units"] == "tau"
    assert dataset.attrs["tiling"] == "square"
    assert (dataset.status == DONE).all()
    assert (dataset.wall_time > 0).all()
    assert json.loads(tree.attrs["sweep"])["seed"] == 7


def test_opening_reads_no_trajectory(tmp_path):
    location = tmp_path / "s.zarr"
    run_serially(str(location), small_sweep())
    for chunk in (location / "square-4" / "phase" / "c").rglob("*"):
        if chunk.is_file():
            chunk.write_bytes(b"not a chunk")
    assert isophase.open(location)["square-4"].phase.shape == (2, 3, 3, 4, 4)


def test_points_that_have_not_run_are_nan_and_pending(tmp_path):
    location = str(tmp_path / "s.zarr")
    run_serially(location, small_sweep(), until=lambda number, shard: number == 2)
    dataset = isophase.open(location)["square-4"]
    done = (dataset.status == DONE).values
    assert 0 < done.sum() < done.size
    assert np.isnan(dataset.phase.values[~done][-1]).all()


def test_a_point_that_raises_is_recorded_with_its_error_and_seed_and_the_others_finish(tmp_path):
    """At delay 0 rings of 3 that share every neuron never settle: the kernel says so."""
    location = str(tmp_path / "s.zarr")
    sweep = small_sweep(size=(12,), private=(0,), seed=range(4), fixed={"tiling": "triangular", "delay": 0.0})
    run_serially(location, sweep)
    dataset = isophase.open(location)["triangular-12"].load()
    assert (dataset.status == 2).all()
    assert "generations" in str(dataset.error.values.flat[0])
    assert "seed: 7" in str(dataset.error.values.flat[0])
    assert np.isnan(dataset.phase).all()
    assert run_serially(location, sweep) == 0
    assert run_serially(location, sweep, retry_failed=True) == 4


@pytest.mark.parametrize(
    ("section", "names"),
    [
        ({"fixed": {"delay": 0.02}}, ["fixed.delay", "0.01", "0.02"]),
        ({"record": {"t_end": 31.0, "samples": 3}}, ["record.t_end", "30.0", "31.0"]),
        ({"sweep_seed": 8}, ["seed", "7", "8"]),
        ({"axes": {"size": [4], "seed": [0]}}, ["axes"]),
    ],
)
def test_a_store_that_contradicts_the_sweep_is_refused_with_the_difference(tmp_path, section, names):
    location = str(tmp_path / "s.zarr")
    run_serially(location, small_sweep())
    with pytest.raises(StoreError) as refusal:
        run_serially(location, small_sweep(**section))
    for name in ["s.zarr", *names]:
        assert name in str(refusal.value)
    assert run_serially(location, small_sweep()) == 0


def test_a_second_writer_is_refused_while_the_first_is_alive(tmp_path):
    location = str(tmp_path / "s.zarr")
    with exclusive(location), pytest.raises(StoreError, match="another run is writing"), exclusive(location):
        pass
    with exclusive(location):
        pass


@pytest.fixture
def bucket(monkeypatch):
    """An object store in memory, behind every URL."""
    objects = pytest.importorskip("obstore.store").MemoryStore()
    for room in ("location", "lock", "status", "summaries", "worker"):
        monkeypatch.setattr(f"isophase.sweeps.store.{room}.zarr_store", lambda *_, **__: _ObjectStore(objects))
    monkeypatch.setattr("isophase.sweeps.store.lock.SETTLE_SECONDS", 0.3)
    return objects


def writer(bucket):
    return json.loads(bytes(bucket.get(".writer").bytes()))


def test_a_second_writer_of_an_object_store_is_refused_until_the_first_ends_or_falls_silent(bucket, monkeypatch):
    location = "s3://bucket/s.zarr"
    with exclusive(location):
        with pytest.raises(StoreError, match=rf"{location}: another run is writing .*process {os.getpid()}"):
            exclusive(location).__enter__()
        assert writer(bucket)["pid"] == os.getpid()
    with pytest.raises(FileNotFoundError):
        writer(bucket)
    bucket.put(".writer", b'{"host": "elsewhere", "pid": 7}')
    with pytest.raises(StoreError, match="process 7 on elsewhere"):
        exclusive(location).__enter__()
    killed = subprocess.Popen(["true"])
    killed.wait()
    here = this_process() | {"pid": killed.pid}
    bucket.put(".writer", json.dumps(here).encode())
    with exclusive(location):
        assert writer(bucket)["pid"] == os.getpid()
    for unknown in (here | {"machine": "a container of that host's name"}, [1], {}):
        bucket.put(".writer", json.dumps(unknown).encode())
        with pytest.raises(StoreError, match="another run is writing"):
            exclusive(location).__enter__()
    monkeypatch.setattr("isophase.sweeps.store.lock.STALE_SECONDS", 0.0)
    with exclusive(location):
        assert writer(bucket)["pid"] == os.getpid()


def test_of_writers_that_begin_at_once_on_an_object_store_one_goes_on(bucket, monkeypatch):
    monkeypatch.setattr("isophase.sweeps.store.lock.SETTLE_SECONDS", 1.0)
    both = threading.Barrier(4)

    def begin(_):
        both.wait()
        try:
            with exclusive("s3://bucket/s.zarr"):
                time.sleep(2.0)
        except StoreError:
            return 0
        return 1

    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(begin, range(4))) == 1


def test_a_writer_whose_object_store_was_taken_over_writes_no_status_and_leaves_the_lock(bucket, monkeypatch):
    monkeypatch.setattr("isophase.sweeps.store.lock.RENEW_SECONDS", 0.05)
    location = "s3://bucket/s.zarr"
    with exclusive(location):
        store = SweepStore.prepare(location, small_sweep())
        time.sleep(0.3)
        store.flush()
        bucket.put(".writer", b'{"pid": 7}')
        time.sleep(0.3)
        with pytest.raises(StoreError, match="another run has taken it over"):
            store.flush()
        for write in (lambda: store.add_run({}), store.consolidate, lambda: write_summaries(location, {})):
            with pytest.raises(StoreError, match="another run has taken it over"):
                write()
    assert writer(bucket) == {"pid": 7}


def test_a_writer_that_could_not_say_for_too_long_that_it_lives_writes_no_status(bucket, monkeypatch):
    with exclusive("s3://bucket/s.zarr"):
        store = SweepStore.prepare("s3://bucket/s.zarr", small_sweep())
        store.flush()
        monkeypatch.setattr("isophase.sweeps.store.lock.STALE_SECONDS", 0.0)
        with pytest.raises(StoreError, match="another run has taken it over"):
            store.flush()


def test_paths_that_cannot_be_stores_are_named(tmp_path):
    with pytest.raises(StoreError, match="nothing at this path"):
        isophase.open(tmp_path / "none.zarr")
    (tmp_path / "text").write_text("hello")
    with pytest.raises(StoreError, match="text"):
        run_serially(str(tmp_path / "text"), small_sweep())
    xr.Dataset({"x": 1}).to_zarr(tmp_path / "other.zarr")
    with pytest.raises(StoreError, match="not the store of a sweep"):
        run_serially(str(tmp_path / "other.zarr"), small_sweep())
    with pytest.raises(StoreError, match="not the store of a sweep"):
        isophase.open(tmp_path / "other.zarr")


def test_a_sweep_larger_than_the_disk_is_refused_before_it_starts(tmp_path):
    record = {"t_end": 1e5, "samples": 20_000}
    sweep = small_sweep(size=(100,), private=range(50), seed=range(50), record=record)
    with pytest.raises(StoreError, match=r"bytes and .* are free"):
        run_serially(str(tmp_path / "s.zarr"), sweep)


def test_leftovers_of_writes_cut_short_are_removed(tmp_path):
    location = tmp_path / "s.zarr"
    run_serially(str(location), small_sweep())
    leftover = location / "square-4" / "phase" / "c.1234.partial"
    leftover.write_bytes(b"half")
    run_serially(str(location), small_sweep())
    assert not leftover.exists()


@pytest.mark.parametrize("seeds", [1, 7, 100, 1000])
def test_shards_divide_the_grid_whatever_its_length(tmp_path, seeds):
    sweep = small_sweep(private=(0,), seed=range(seeds))
    location = str(tmp_path / "s.zarr")
    with exclusive(location):
        store = SweepStore.prepare(location, sweep)
        shards = store.pending(sweep)
    points = [point for shard in shards for point in shard.points]
    assert sorted(points) == list(np.ndindex(1, seeds))
    runs = tasks(shards, {"square-4": 0.01})
    assert [shard for run in runs for shard in run] == shards


def test_status_is_read_back_as_it_was_written(tmp_path):
    location = str(tmp_path / "s.zarr")
    run_serially(location, small_sweep())
    assert read(location).count() == {"pending": 0, "done": 6, "failed": 0}


def damage(path, how):
    text = path.read_bytes()
    path.write_bytes({"truncated": text[: len(text) // 2], "empty": b"", "binary": b"\xff\x00\xfe", "list": b"[]"}[how])


@pytest.mark.parametrize(
    "name", ["zarr.json", "square-4/zarr.json", "square-4/status/zarr.json", "square-4/status/c/0/0"]
)
@pytest.mark.parametrize("how", ["truncated", "empty", "binary", "list"])
def test_a_damaged_store_is_one_line_that_names_it_and_is_never_called_done(tmp_path, name, how):
    location = str(tmp_path / "s.zarr")
    run_serially(location, small_sweep())
    damage(tmp_path / "s.zarr" / name, how)
    lines = []
    for use in (lambda: run_serially(location, small_sweep()), lambda: read(location), lambda: isophase.open(location)):
        try:
            use()
        except StoreError as refusal:
            lines.append(str(refusal))
    assert all("s.zarr" in line and "\n" not in line for line in lines)
    assert lines or name.endswith("c/0/0") or how == "list"


def test_a_store_of_an_unknown_kind_opens_and_tells_its_kind_where_that_is_needed(tmp_path):
    location = str(tmp_path / "s.zarr")
    run_serially(location, small_sweep())
    root = zarr.open_group(location, mode="r+", use_consolidated=False)
    root.attrs["sweep"] = json.dumps({**json.loads(root.attrs["sweep"]), "kind": "perceptron"})
    assert (isophase.open(location)["square-4"].status == DONE).all()
    assert read(location).count() == {"pending": 0, "done": 6, "failed": 0}
    with pytest.raises(StoreError, match="kind: the store has 'perceptron', the sweep 'lattice'"):
        run_serially(location, small_sweep())
    with pytest.raises(StoreError, match=r"kind='perceptron': must be one of lattice, .*, or module:function"):
        kind_of(location)


def test_a_parameter_that_a_store_is_older_than_counts_as_its_default(tmp_path):
    location = str(tmp_path / "s.zarr")
    run_serially(location, small_sweep())
    root = zarr.open_group(location, mode="r+", use_consolidated=False)
    definition = json.loads(root.attrs["sweep"])
    del definition["fixed"]["rewire"]
    root.attrs["sweep"] = json.dumps(definition)
    assert run_serially(location, small_sweep()) == 0
    with pytest.raises(StoreError, match="rewire"):
        run_serially(location, small_sweep(fixed={"rewire": 0.5}))


def test_a_folder_of_other_files_is_refused_and_left_as_it_is(tmp_path):
    film = tmp_path / "Downloads" / "film.partial"
    film.parent.mkdir()
    film.write_text("half of it")
    with pytest.raises(StoreError, match="a folder with other files in it"):
        run_serially(str(film.parent), small_sweep())
    assert [path.name for path in film.parent.iterdir()] == ["film.partial"]


def test_a_worker_that_sees_another_store_at_the_path_says_so_instead_of_writing_into_it(tmp_path):
    here, there = str(tmp_path / "here.zarr"), str(tmp_path / "there.zarr")
    run_serially(there, small_sweep())
    with exclusive(here):
        store = SweepStore.prepare(here, small_sweep())
        work = store.work(small_sweep(), store.pending(small_sweep())[0])
    with pytest.raises(StoreError, match=r"there\.zarr: worker on .* sees another store there"):
        compute_shard(replace(work, location=there))
    with pytest.raises(StoreError, match="sees no store there"):
        compute_shard(replace(work, location=str(tmp_path / "nowhere.zarr")))


def test_a_store_made_anew_at_the_same_path_is_written_as_it_is_now(tmp_path):
    location = str(tmp_path / "s.zarr")
    run_serially(location, small_sweep(private=(0,), seed=range(64)))
    shutil.rmtree(location)
    record = {"t_end": 60.0, "samples": 3}
    again = small_sweep(private=(0,), seed=range(64), record=record)
    run_serially(location, again)
    assert_holds(location, again)


def test_a_death_while_summaries_are_written_leaves_the_old_ones(tmp_path, monkeypatch):
    location = str(tmp_path / "s.zarr")
    run_serially(location, small_sweep(size=(3, 4)))
    summaries = {f"square-{size}": xr.Dataset({"n_seeds": 3}) for size in (3, 4)}
    write_summaries(location, summaries)
    assert not is_stale(location)
    wrong = {**summaries, "square-4": xr.Dataset({"n_seeds": ("x", np.array([object()]))})}
    with pytest.raises(StoreError):
        write_summaries(location, wrong)
    assert int(isophase.open(location)["summary/square-4"].n_seeds) == 3
    assert verify(location) == []
    write_summaries(location, {"square-4": xr.Dataset({"n_seeds": 4})})
    assert list(isophase.open(location)["summary"].children) == ["square-4"]
    assert not Path(location, ".new").exists()


def test_a_store_that_has_grown_since_it_was_reduced_is_known_to_be_stale(tmp_path):
    location = str(tmp_path / "s.zarr")
    run_serially(location, small_sweep())
    write_summaries(location, {"square-4": xr.Dataset({"n_seeds": 3})})
    run_serially(location, small_sweep(seed=range(5)))
    assert is_stale(location)


class Death(BaseException):
    """What no `except Exception` survives, as a kill."""


async def others_are_dead() -> None:
    """Zarr writes several files at once, and a kill ends them all."""
    if others := asyncio.all_tasks() - {asyncio.current_task()}:
        await asyncio.wait(others)


@pytest.mark.parametrize("extends", [False, True])
def test_a_death_while_a_store_is_prepared_costs_nothing(tmp_path, monkeypatch, extends):
    """At every write of it; the next run ends with what an undisturbed one leaves."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)  # of a process, not of the machine
    small, large = small_sweep(size=(3,), seed=(0,)), small_sweep(size=(3, 4), seed=(0, 1, 2))
    undisturbed = str(tmp_path / "undisturbed.zarr")
    if extends:
        run_serially(undisturbed, small)
    run_serially(undisturbed, large)
    wanted = contents(undisturbed)
    put, deaths = _LocalStore.set, 0
    for number in range(200):
        location = str(tmp_path / f"{number}.zarr")
        if extends:
            run_serially(location, small)
        left = [number]

        async def dies(self, *arguments, left=left, **options):
            left[0] -= 1
            if left[0] < 0:
                raise Death
            return await put(self, *arguments, **options)

        with monkeypatch.context() as patched:
            patched.setattr(_LocalStore, "set", dies)
            try:
                with exclusive(location):
                    SweepStore.prepare(location, large)
                break
            except Death:
                deaths += 1
                sync(others_are_dead())
        run_serially(location, large)
        assert verify(location) == []
        assert_same_contents(contents(location), wanted)
    assert deaths > 10
