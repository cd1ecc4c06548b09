"""Somebody else's function is a kind of sweep, without a change to this repository."""

import asyncio
import doctest
import json
import os
import re
import subprocess
import sys
import tomllib
from importlib import import_module
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import xarray as xr
from distributed import Client, LocalCluster

import isophase
from isophase.analysis.base import Summaries
from isophase.analysis.tables import Column, Table
from isophase.flows.cluster import ClusterError
from isophase.sweeps.kinds.base import fitted
from isophase.sweeps.store import StoreError, exclusive, read
from isophase.sweeps.sweep import SweepError, parse
from tests.serial import reduce_serially, run_serially

HERE = {"host": "127.0.0.1", "dashboard_address": "127.0.0.1:0"}
LOGISTIC = '''
import numpy as np
import isophase

@isophase.point(dims={"x": ["time"], "last": []}, coords={"time": np.arange(20)}, units={"x": "1", "last": "1"})
def logistic(*, r: float, x0: float = 0.5, seed: np.random.SeedSequence) -> dict:
    """The logistic map from a start close to x0."""
    x = [x0 + 1e-3 * np.random.default_rng(seed).random()]
    while len(x) < 20:
        x.append(r * x[-1] * (1 - x[-1]))
    return {"x": x, "last": x[-1]}
'''
SCRIPT = (
    LOGISTIC
    + """
import sys
axes = {"r": np.linspace(3, 4, 4), "seed": range(3)}
ran = isophase.run(logistic, axes=axes, store=sys.argv[1], workers=int(sys.argv[2]))
assert (ran.done, ran.failed, ran.pending) == (12, 0, 0), ran
isophase.reduce(ran.store, workers=1)
print(isophase.report(ran.store))
assert "prefect" not in sys.modules
"""
)


@isophase.point(dims={"x": ["time"], "n": []}, coords={"time": ([0.0, 0.5, 1.0], {"units": "s"})},
                units={"x": "mV", "n": "1"}, dtypes={"n": "int64"}, seconds=0.001)  # fmt: skip
def decay(*, rate: float, mode: Literal["plain", "fails", "long", "text", "more", "list"] = "plain",
          start: float = 1.0, seed: np.random.SeedSequence):  # fmt: skip
    """Decay with noise, which can go wrong in several ways."""
    noise = np.random.default_rng(seed).normal(size=3)
    x = start * np.exp(-rate * np.array([0.0, 0.5, 1.0])) + 0.1 * noise
    if mode == "fails":
        raise RuntimeError(f"no decay at rate {rate}")
    if mode == "list":
        return [x, 3]
    return {
        "plain": {"x": x, "n": 3},
        "long": {"x": np.append(x, 0.0), "n": 3},
        "text": {"x": x, "n": "three"},
        "more": {"x": x, "n": 3, "y": 0.0},
    }[mode]


@isophase.point(dims={"y": []})
def square(*, x: float):
    """Without a seed, and with the default type."""
    return {"y": x * x}


def sweep_of(kind, **sections):
    return parse({"kind": kind, **sections})


def equal_but_for_time(one, other):
    names = [name for name in one.data_vars if name not in ("wall_time", "traceback")]
    xr.testing.assert_identical(one[names].drop_attrs(), other[names].drop_attrs())


def run_script(folder, *arguments, text=SCRIPT):
    (folder / "script.py").write_text(text)
    return subprocess.run([sys.executable, "script.py", *map(str, arguments)], cwd=folder, capture_output=True,
                          text=True, check=False, timeout=250)  # fmt: skip


def test_a_script_without_a_guard_runs_reduces_and_reports_with_any_number_of_workers(tmp_path):
    for workers in (1, 2):
        answer = run_script(tmp_path, tmp_path / f"{workers}.zarr", workers)
        assert answer.returncode == 0, answer.stderr
        assert "logistic: mean over seeds" in answer.stdout
        assert "last" in answer.stdout
        assert answer.stderr.count("12 points to run") == 1
    one, two = (isophase.open(tmp_path / f"{n}.zarr")["logistic"].to_dataset() for n in (1, 2))
    equal_but_for_time(one, two)
    assert one.x.attrs == {"units": "1"}
    assert one.x.dims == ("r", "seed", "time")


def test_it_runs_on_clients_that_are_there_inside_a_running_event_loop(tmp_path):
    axes = {"rate": [0.5, 1.0], "seed": range(4)}

    async def in_a_notebook(client, store):
        done = isophase.run(decay, axes=axes, store=store, client=client).done
        return done, isophase.reduce(store, client=client).failures, isophase.report(store)

    with Client(processes=False, dashboard_address=None, set_as_default=False) as client:
        assert client.scheduler.address.startswith("inproc://")
        done, failures, report = asyncio.run(in_a_notebook(client, tmp_path / "a.zarr"))
        assert client.status == "running"
    assert (done, failures) == (8, ())
    assert [estimate.error > 0 for estimate in report.tables["decay"].column("n")] == [False, False]
    with LocalCluster(n_workers=1, threads_per_worker=2, **HERE) as local, Client(local) as client:
        assert isophase.run(decay, axes=axes, store=tmp_path / "b.zarr", client=client).done == 8
    run_serially(str(tmp_path / "c.zarr"), sweep_of(decay, axes={"rate": [0.5, 1.0], "seed": list(range(4))}))
    a, b, c = (isophase.open(tmp_path / f"{name}.zarr")["decay"].to_dataset() for name in "abc")
    equal_but_for_time(a, b)
    equal_but_for_time(a, c)


def test_a_function_by_value_reaches_workers_that_cannot_import_it(tmp_path):
    offset = 2.0

    @isophase.point(dims={"y": []})
    def shifted(*, x: float):
        return {"y": x + offset}

    with LocalCluster(n_workers=1, threads_per_worker=1, **HERE) as local, Client(local) as client:
        isophase.run(shifted, axes={"x": np.arange(3.0)}, store=tmp_path / "s.zarr", client=client)
    np.testing.assert_array_equal(isophase.open(tmp_path / "s.zarr")["shifted"].y, [2.0, 3.0, 4.0])


def test_a_worker_that_cannot_import_the_module_of_a_kind_ends_the_run_with_a_line(tmp_path, monkeypatch):
    (tmp_path / "only_here.py").write_text(LOGISTIC)
    with LocalCluster(n_workers=1, threads_per_worker=1, **HERE) as local, Client(local) as client:
        client.wait_for_workers(1)
        monkeypatch.syspath_prepend(tmp_path)
        sweep = {"kind": "only_here:logistic", "axes": {"r": [3.0, 3.5]}}
        with pytest.raises(ClusterError, match="cannot run the sweep's kind='only_here:logistic': cannot be imported"):
            isophase.run(sweep, store=tmp_path / "s.zarr", client=client)
    assert read(str(tmp_path / "s.zarr")).count()["pending"] == 2


def test_a_function_that_is_defined_anew_is_the_new_one_on_workers_that_knew_the_old_one(tmp_path):
    with LocalCluster(n_workers=1, threads_per_worker=1, **HERE) as local, Client(local) as client:
        for power in (1, 2):

            @isophase.point(dims={"y": []})
            def powers(*, x: float, power=power):
                return {"y": x**power}

            isophase.run(powers, axes={"x": [3.0]}, store=tmp_path / f"{power}.zarr", client=client)
    assert [float(isophase.open(tmp_path / f"{power}.zarr")["powers"].y[0]) for power in (1, 2)] == [3.0, 9.0]


def test_without_prefect_nothing_of_it_is_imported_and_with_it_there_is_a_flow_run(tmp_path):
    answer = run_script(tmp_path, tmp_path / "p.zarr", text=LOGISTIC + """
import asyncio, sys, time
from prefect.client.orchestration import get_client
from prefect.testing.utilities import prefect_test_harness

async def in_a_notebook():
    isophase.run(logistic, axes={"r": [3.0, 3.5]}, store=sys.argv[1], workers=1, prefect=True)

with prefect_test_harness(server_startup_timeout=120):
    asyncio.run(in_a_notebook())
    isophase.reduce(sys.argv[1], workers=1, prefect=True)
    with get_client(sync_client=True) as client:
        limit = time.monotonic() + 60
        for what in ("flow", "task"):
            runs = []
            while len(runs) < 2 or any(run["state"]["type"] != "COMPLETED" for run in runs):
                # Prefect takes states of tasks from a queue
                assert time.monotonic() < limit, runs
                runs = client.request("POST", f"/{what}_runs/filter", json={}).json()
            print(what, [(run["name"], run["state"]["type"]) for run in runs])
""")  # fmt: skip
    assert answer.returncode == 0, answer.stderr
    assert "('logistic', 'COMPLETED')" in answer.stdout
    assert f"('{tmp_path / 'p.zarr'}', 'COMPLETED')" in answer.stdout
    assert (
        answer.stdout.count("('block-0', 'COMPLETED')") == answer.stdout.count("('block-logistic', 'COMPLETED')") == 1
    )


@pytest.fixture(scope="module")
def beside(tmp_path_factory):
    """A package installed beside ours: a module with its metadata on the path, and an entry point."""
    site = tmp_path_factory.mktemp("site-packages")
    (site / "chaos.py").write_text(LOGISTIC)
    info = site / "chaos-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: chaos\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[isophase.kinds]\nlogistic-map = chaos:logistic\n")
    (info / "RECORD").write_text("")
    return site


@pytest.mark.parametrize("kind", ["chaos:logistic", "logistic-map"])
def test_a_package_installed_beside_ours_brings_its_kind(kind, beside, tmp_path):
    sweep = tmp_path / "map.toml"
    sweep.write_text(f'kind = "{kind}"\n[axes]\nr = [3.0, 3.5]\nseed = {{ start = 0, count = 2 }}\n')
    environment = {**os.environ, "PYTHONPATH": str(beside)}
    command = [sys.executable, "-m", "isophase.flows.cli"]
    store = tmp_path / "s.zarr"
    answer = subprocess.run([*command, "study", sweep, "--store", store, "--workers", "1"], capture_output=True,
                            text=True, env=environment, check=False, timeout=250)  # fmt: skip
    assert answer.returncode == 0, answer.stderr
    assert "logistic: mean over seeds, with its standard error" in answer.stdout
    assert (tmp_path / "s.figures" / "logistic-x.png").stat().st_size > 5_000
    assert isophase.open(store)["logistic"].attrs["kind"] == "chaos:logistic"
    assert read(str(store)).count() == {"pending": 0, "done": 4, "failed": 0}  # without the package too
    with pytest.raises(StoreError, match="kind='chaos:logistic': cannot be imported"):
        isophase.reduce(store)
    unknown = subprocess.run([*command, "show", sweep], capture_output=True, text=True, check=False, timeout=60)
    assert unknown.returncode == 2
    assert unknown.stderr.startswith(f"isophase: error: kind='{kind}': ")


def test_the_command_line_finds_a_module_in_the_folder_where_it_is_called(tmp_path):
    (tmp_path / "mine.py").write_text(LOGISTIC)
    (tmp_path / "map.toml").write_text('kind = "mine:logistic"\naxes.r = [3.0, 3.5]\n')
    command = [Path(sys.executable).parent / "isophase", "study", "map.toml", "--store", "s.zarr", "--workers", "1"]
    answer = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=250)
    assert answer.returncode == 0, answer.stderr
    assert "2 done, 0 failed" in answer.stdout


def test_a_point_that_does_not_fit_what_was_said_of_it_fails_alone_with_its_reason(tmp_path):
    location = str(tmp_path / "s.zarr")
    modes = ["plain", "fails", "long", "text", "more", "list"]
    run_serially(location, sweep_of(decay, axes={"mode": modes}, fixed={"rate": 1.0}))
    store = read(location).groups["decay"]
    errors = dict(zip(modes, store.bookkeeping["error"], strict=True))
    traces = dict(zip(modes, store.bookkeeping["traceback"], strict=True))
    assert list(store.status) == [1, 2, 2, 2, 2, 2]
    assert errors["plain"] == traces["plain"] == ""
    assert errors["fails"].startswith("RuntimeError: no decay at rate 1.0 [seed: 0, spawn key: (")
    assert 'raise RuntimeError(f"no decay at rate {rate}")' in traces["fails"]
    assert errors["long"].startswith("ValueError: conflicting sizes") or "x has shape (4,)" in errors["long"]
    assert "n is <U5: must be int64" in errors["text"]
    assert "returned 'y': must be one of x, n" in errors["more"]
    assert "returned list: must be a dict" in errors["list"]
    assert read(location).count() == {"pending": 0, "done": 1, "failed": 5}


def test_its_store_is_resumed_and_extended_without_computing_a_point_twice(tmp_path):
    store = tmp_path / "s.zarr"
    first = sweep_of(decay, axes={"rate": [0.5], "seed": [0, 1]})
    assert run_serially(str(store), first) == 2
    before = isophase.open(store)["decay"].to_dataset().load()
    assert run_serially(str(store), first) == 0
    assert run_serially(str(store), sweep_of(decay, axes={"rate": [0.5, 2.0], "seed": [0, 1, 2]})) == 4
    after = isophase.open(store)["decay"].to_dataset().load()
    equal_but_for_time(after.sel(rate=[0.5], seed=[0, 1]), before)
    assert len(np.unique(after.x)) == after.x.size
    with pytest.raises(StoreError, match="contradicts this one"):
        run_serially(str(store), sweep_of(decay, axes={"rate": [0.5], "seed": [0]}, fixed={"start": 2.0}))


def test_a_summary_is_the_mean_over_seeds_with_its_standard_error(tmp_path):
    location = str(tmp_path / "s.zarr")
    run_serially(location, sweep_of(decay, axes={"rate": [0.5, 1.0], "seed": list(range(5))}))
    assert reduce_serially(location) == []
    tree = isophase.open(location)
    points, summary = tree["decay"].to_dataset().load(), tree["summary/decay"].to_dataset().load()
    np.testing.assert_allclose(summary.x, points.x.mean("seed"))
    np.testing.assert_allclose(summary.x_error, points.x.std("seed", ddof=1) / np.sqrt(5))
    assert summary.x.attrs["units"] == summary.x_error.attrs["units"] == "mV"
    assert (summary.n_seeds == 5).all()
    report = isophase.report(location)
    np.testing.assert_allclose([cell.value for cell in report.tables["decay"].column("n")], 3)
    assert list(report.figures) == ["decay-x"]
    lines = report.figures["decay-x"]().axes[0].get_lines()
    np.testing.assert_allclose([line.get_ydata() for line in lines], summary.x.transpose("rate", "time"))


def half_of_it(dataset):
    """A reduction of the user's, which one scheme breaks."""
    if dataset["rate"] > 1:
        raise ZeroDivisionError("this rate is too fast")
    return xr.Dataset({"half": dataset["x"].mean() / 2, "label": "ok", "number": 7})


def halves(summaries: Summaries):
    rows = tuple((float(v),) for v in summaries.groups["halved"]["half"].values)
    return [Table("halves", "half of it", (Column("half", "half", "mV"),), rows)]


@isophase.point(dims={"x": []}, reduction=isophase.Reduction(half_of_it), report=isophase.Report(tables=halves))
def halved(*, rate: float):
    return {"x": rate}


def test_a_reduction_that_fails_for_one_scheme_leaves_it_out_and_says_so(tmp_path, capfd):
    store = tmp_path / "s.zarr"
    isophase.run(halved, axes={"rate": [0.5, 1.0, 2.0]}, store=store, workers=1)
    summary = isophase.reduce(store, workers=1)
    ((failure),) = summary.failures
    assert failure.part == "halved: rate=2.0"
    assert failure.error == "ZeroDivisionError: this rate is too fast"
    assert 'raise ZeroDivisionError("this rate is too fast")' in failure.traceback
    assert "left out: halved: rate=2.0: ZeroDivisionError" in capfd.readouterr().err
    kept = isophase.open(store)["summary/halved"]
    np.testing.assert_array_equal(kept.half, [0.25, 0.5, np.nan])
    np.testing.assert_array_equal(kept.number, [7, 7, 0])
    assert list(kept.label.values) == ["ok", "ok", ""]
    assert list(kept.reduction_error.values) == ["", "", "ZeroDivisionError: this rate is too fast"]
    assert isophase.report(store).tables["halves"].column("half")[:2] == [0.25, 0.5]


class Doubled(isophase.Kind):
    """A kind of somebody else's, whose shape follows a parameter."""

    name = f"{__name__}:Doubled"
    parameters = decay.parameters
    shape_parameters = ("rate",)

    def template(self, parameters, record):
        from isophase.sweeps.kinds.base import variable

        number = int(parameters.rate)
        return xr.Dataset({"y": variable(("item",), (number,), "float64", {"units": "1"})},
                          coords={"item": np.arange(number)})  # fmt: skip

    def cost(self, parameters, record):
        from isophase.sweeps.kinds.base import Cost

        return Cost(0.01, 1000)

    def run_point(self, parameters, seed, record):
        return xr.Dataset({"y": ("item", 2.0 * np.arange(int(parameters.rate)))})


def test_a_kind_of_somebody_elses_is_used_by_its_name(tmp_path):
    location = str(tmp_path / "s.zarr")
    run_serially(location, sweep_of(Doubled.name, axes={"rate": [2.0, 3.0]}))
    tree = isophase.open(location)
    np.testing.assert_array_equal(tree["2.0"].y, [0.0, 2.0])
    np.testing.assert_array_equal(tree["3.0"].y, [0.0, 2.0, 4.0])
    assert reduce_serially(location) == []


def test_what_a_point_yields_beside_its_template_is_named():
    template = xr.Dataset({"x": 0.0, "n": 0})
    with pytest.raises(ValueError, match=r"yielded x, y, z: must be x, n: lacks n; has y, z too many$"):
        fitted(xr.Dataset({"x": 1.0, "y": 1.0, "z": 2.0}), template)
    with pytest.raises(ValueError, match=r"yielded nothing: must be x, n: lacks n, x$"):
        fitted(xr.Dataset(), template)


def test_a_function_is_not_named_like_the_group_of_summaries():
    def summary(*, x: float):
        return {"y": x}

    with pytest.raises(ValueError, match="another name than the group"):
        isophase.point(dims={"y": []})(summary)


def value_of(dataset, again):
    """A measurement of one seed, which looks again where it is asked to."""
    return (dataset if again is None else again(np.array([1])))[["y"]].expand_dims(seed=[int(dataset["seed"])])


class Refined(Doubled):
    """A kind that can be run again, but not its second seed."""

    name = f"{__name__}:Refined"
    reduction = isophase.Reduction(lambda measured: measured, measure=value_of)

    def run_again(self, parameters, seed, record, checkpoints):
        if parameters.seed == 1:
            raise ValueError("another processor, other bits")
        return 10 * self.run_point(parameters, seed, record)


def test_a_store_that_cannot_be_refined_keeps_its_summary(tmp_path):
    location = str(tmp_path / "s.zarr")
    run_serially(location, sweep_of(Refined.name, fixed={"rate": 2.0}, axes={"seed": [0, 1]}))
    with Client(processes=False, dashboard_address=None, set_as_default=False) as client:
        assert isophase.reduce(location, client=client).failures == ()
        with pytest.raises(StoreError, match=r"could not be refined, and is as it was: 2\.0: seed=1: Val"):
            isophase.reduce(location, client=client, refine=True)
    np.testing.assert_array_equal(isophase.open(location)["summary/2.0"].y, [[0.0, 2.0], [0.0, 2.0]])


def test_what_was_refined_stays_until_its_points_are_others(tmp_path):
    location = str(tmp_path / "s.zarr")
    run_serially(location, sweep_of(Refined.name, fixed={"rate": 2.0}, axes={"seed": [0, 2]}))

    def reduced(**options):
        assert isophase.reduce(location, client=client, **options).failures == ()
        return isophase.open(location)["summary/2.0"].y.values[:, 1].tolist()

    with Client(processes=False, dashboard_address=None, set_as_default=False) as client:
        assert reduced() == [2.0, 2.0]
        assert reduced(refine=True) == [20.0, 20.0]
        about = isophase.open(location)["summary/2.0"].attrs
        assert reduced() == [20.0, 20.0]
        assert isophase.open(location)["summary/2.0"].attrs == about
        run_serially(location, sweep_of(Refined.name, fixed={"rate": 2.0}, axes={"seed": [0, 2, 3]}))
        assert reduced() == [20.0, 20.0, 2.0]
        with exclusive(location):
            results = read(location, writable=True)
            results.groups["2.0"].bookkeeping["crc32"][1] += 1
            results.touch("2.0", ["crc32"])
            results.flush()
        assert reduced() == [20.0, 2.0, 2.0]


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({"axes": {"rate": ["fast"]}}, "rate='fast' in the sweep: must be a valid number"),
        ({"fixed": {}}, "rate in the sweep: must be given"),
        ({"fixed": {"rate": 1.0, "mode": "odd"}}, "mode='odd' in the sweep: must be 'plain', 'fails'"),
        ({"fixed": {"rat": 1.0}}, "fixed.rat in the sweep: kind 'tests.test_function_kinds:decay' has no such"),
        ({"fixed": {"rate": 1.0}, "record": {"t_end": 3}}, "t_end in record of the sweep: unknown key"),
        ({"axes": {"x": {"rate": [1.0, 2.0], "start": [0.0, 1.0]}}}, "axes.x in the sweep: must not be named like"),
        ({"axes": {"x_error": {"rate": [1.0, 2.0], "start": [0.0, 1.0]}}}, "must not be named like what summaries of"),
        ({"axes": {"traceback": {"rate": [1.0, 2.0], "start": [0.0, 1.0]}}}, "axes.traceback in the sweep: must not"),
    ],
)  # fmt: skip
def test_its_sweeps_are_checked_against_its_signature(sections, message):
    with pytest.raises(SweepError) as refused:
        sweep_of(decay, **sections)
    assert str(refused.value).startswith(message) or message in str(refused.value)


def test_a_function_without_a_seed_takes_no_axis_of_seeds():
    with pytest.raises(
        SweepError, match=r"seed=1 in axes\.seed of the sweep: must not be given, as .*square takes no seed"
    ):
        sweep_of(square, axes={"seed": [0, 1]}, fixed={"x": 1.0})


@pytest.mark.parametrize(
    ("about", "signature", "message"),
    [
        ({"dims": {"x": ["time"]}}, "*, r: float", "coords must give the values of 'time'"),
        ({"dims": {"x": []}}, "*, r", "r of .*: must be annotated with its type, or have a default"),
        ({"dims": {"x": []}}, "*, r: object", "is no type of a grid"),
        ({"dims": {"x": []}}, "*rs", "parameters must be taken by keyword"),
        ({"dims": {"x": []}}, "*, x: float", "'x' of .*: must be another name than its parameters"),
        ({"dims": {"status": []}}, "*, r: float", "'status' of .*: must be another name"),
        ({"dims": {"x": []}, "units": {"y": "1"}}, "*, r: float", r"units\['y'\] of .*: must be one of x"),
        ({"dims": {}}, "*, r: float", "must name what the function returns"),
        ({"dims": {"x": ["t"]}, "coords": {"t": [[1]]}}, "*, r: float", r"coords\['t'\] of .*: must be values along"),
    ],
)  # fmt: skip
def test_what_cannot_be_a_kind_is_refused_where_it_is_defined(about, signature, message):
    scope = {"isophase": isophase, "about": about}
    with pytest.raises((TypeError, ValueError), match=message):
        exec(f"@isophase.point(**about)\ndef f({signature}): return {{}}", scope)


def test_what_python_calls_are_given_is_checked(tmp_path):
    with pytest.raises(SweepError, match=r"plain: is a plain function; must stand under @isophase\.point"):
        isophase.run(plain)
    with pytest.raises(SweepError, match="axes: must not be given beside a sweep"):
        isophase.run("quickstart", axes={"size": [4]})


def plain():
    return {}


def test_the_example_of_the_docstring_runs():
    found = doctest.testmod(import_module("isophase.sweeps.kinds.function"))
    assert (found.attempted, found.failed) == (3, 0)


def test_a_decorated_function_can_still_be_called():
    assert square(x=3.0) == {"y": 9.0}
    assert square.__doc__ == "Without a seed, and with the default type."


def test_a_sweep_from_a_table_a_path_and_a_preset_are_one(tmp_path):
    text = 'kind = "rings"\n[axes]\nring_size = [4, 5]\n[fixed]\nstates = 4\n[record]\nt_end = 50.0\nintervals = 4\n'
    path = tmp_path / "small.toml"
    path.write_text(text)
    with Client(processes=False, dashboard_address=None, set_as_default=False) as client:
        by_path = isophase.run(path, store=tmp_path / "a.zarr", client=client)
        by_table = isophase.run(tomllib.loads(text), store=tmp_path / "b.zarr", client=client)
    assert by_path.done == by_table.done == 2
    a, b = (isophase.open(tmp_path / f"{name}.zarr")["states-4"].to_dataset() for name in "ab")
    equal_but_for_time(a, b)


@pytest.mark.parametrize(
    ("where", "message"),
    [({"workers": 0}, "workers=0: must be at least 1"), ({"workers": -2}, "workers=-2: must be at least 1"),
     ({"scheduler": "tcp://127.0.0.1:1"}, "scheduler='tcp://127.0.0.1:1': must not be given beside a client"),
     ({"workers": 2}, "workers=2: must not be given beside a client")],
)  # fmt: skip
def test_where_to_run_must_not_contradict_itself(where, message, tmp_path):
    with Client(processes=False, dashboard_address=None, set_as_default=False) as client:
        where = where if "at least" in message else {**where, "client": client}
        with pytest.raises(ClusterError, match=re.escape(message)):
            isophase.run(square, axes={"x": [1.0]}, store=tmp_path / "s.zarr", **where)


def test_a_module_that_cannot_be_imported_is_refused_in_one_line(tmp_path, monkeypatch):
    (tmp_path / "broken.py").write_text("def f(:\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(SweepError, match=r"kind='broken:f': cannot be imported: SyntaxError: "):
        parse({"kind": "broken:f"})
    with pytest.raises(SweepError, match=r"kind='\.broken:f': cannot be imported: TypeError: "):
        parse({"kind": ".broken:f"})


def test_a_client_that_is_asynchronous_is_refused(tmp_path):
    async def run():
        async with Client(processes=False, dashboard_address=None, asynchronous=True) as client:
            isophase.run(square, axes={"x": [1.0]}, store=tmp_path / "s.zarr", client=client)

    with pytest.raises(RuntimeError, match="client: is asynchronous"):
        asyncio.run(run())


def test_the_folder_beside_the_clone_does_not_hide_the_package(tmp_path):
    (tmp_path / "isophase").symlink_to(Path(isophase.__file__).resolve().parents[2])
    code = "import isophase, json; print(json.dumps([isophase.__file__, sorted(isophase.__all__)]))"
    answer = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    file, names = json.loads(answer.stdout)
    assert Path(file).name == "__init__.py"
    assert {"open", "run", "reduce", "report", "point"} <= set(names)
