"""What the store promises: every point once, the same bits however it came there, nothing lost."""

import json
import warnings

import numpy as np
import pytest
import xarray as xr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import isochron
from sweeps.seeds import point_seed
from sweeps.store import DONE, StoreError, SweepStore, exclusive, read, shard_shape, tasks
from sweeps.sweep import parse
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
            (outcome,) = sweep.kind.run([(point, point_seed(sweep.seed, "lattice", point))], sweep.record)
            results[point.size, point.private, point.seed] = outcome.arrays["phase"]
    return results


def assert_holds(location, sweep):
    tree = isochron.open(location)
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
    assert set(isochron.open(location)["square-4"].private.values) == {0, 1, 5}


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
    assert isochron.open(location)["square-4"].phase.shape == (2, 3, 3, 4, 4)


def test_points_that_have_not_run_are_nan_and_pending(tmp_path):
    location = str(tmp_path / "s.zarr")
    run_serially(location, small_sweep(), until=lambda number, shard: number == 2)
    dataset = isochron.open(location)["square-4"]
    done = (dataset.status == DONE).values
    assert 0 < done.sum() < done.size
    assert np.isnan(dataset.phase.values[~done][-1]).all()


def test_a_point_that_raises_is_recorded_with_its_error_and_seed_and_the_others_finish(tmp_path):
    """At delay 0 rings of 3 that share every neuron never settle: the kernel says so."""
    location = str(tmp_path / "s.zarr")
    sweep = small_sweep(size=(12,), private=(0,), seed=range(4), fixed={"tiling": "triangular", "delay": 0.0})
    run_serially(location, sweep)
    dataset = isochron.open(location)["triangular-12"].load()
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


def test_paths_that_cannot_be_stores_are_named(tmp_path):
    with pytest.raises(StoreError, match="nothing at this path"):
        isochron.open(tmp_path / "none.zarr")
    (tmp_path / "text").write_text("hello")
    with pytest.raises(StoreError, match="text"):
        run_serially(str(tmp_path / "text"), small_sweep())
    xr.Dataset({"x": 1}).to_zarr(tmp_path / "other.zarr")
    with pytest.raises(StoreError, match="not the store of a sweep"):
        run_serially(str(tmp_path / "other.zarr"), small_sweep())
    with pytest.raises(StoreError, match="not the store of a sweep"):
        isochron.open(tmp_path / "other.zarr")


def test_a_sweep_larger_than_the_disk_is_refused_before_it_starts(tmp_path):
    record = {"t_end": 1e5, "samples": 100_000}
    sweep = small_sweep(size=(1000,), private=range(50), seed=range(50), record=record)
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
