"""What the version before the move to ``isophase`` wrote (commit dbcd4e2): it opens, is extended and reduced, and the
same points come out of this version with the same bits, or to rounding. ``tests/old`` holds data, no code."""

import json
import re
import tarfile
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

import isophase
from isophase.kernels.lattice import Network, initial, simulate
from isophase.sweeps.store import read
from isophase.sweeps.sweep import parse
from tests.lattice_reference import Reference, assert_same_events
from tests.serial import reduce_serially, run_serially

OLD = Path(__file__).parent / "old"
LATTICES = ("lattice", "kuramoto")
KINDS = ("lattice", "kuramoto", "rings", "flipflop")
GOLDEN = {"square": ("side", 1, 0.01), "hexagonal": ("corner", 1, 0.01), "chain": ("weak", 1, 0.05),
          "triangular": ("side", 2, 0.0)}  # fmt: skip
# Of training in single precision, between kinds of processor; and of the times of switches, as the windows of the exact
# kernel begin elsewhere than in that version.
ROUNDING = {"flipflop": {"rtol": 2e-4, "atol": 2e-5}, "rings": {"rtol": 1e-13, "atol": 1e-13}}


@pytest.fixture(scope="module")
def old(tmp_path_factory):
    folder = tmp_path_factory.mktemp("old")
    with tarfile.open(OLD / "stores.tar.xz") as archive:
        archive.extractall(folder, filter="data")
    return folder


def copy_of(old, kind, tmp_path):
    target = tmp_path / f"{kind}.zarr"
    for path in (old / f"{kind}.zarr").rglob("*"):
        if path.is_file():
            copy = target / path.relative_to(old / f"{kind}.zarr")
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(path.read_bytes())
    return str(target), json.loads((old / f"{kind}.json").read_text())


def assert_same(kind, new, old_dataset, names=None):
    """Equal bits of every array, or equal to the rounding that the kind has."""
    for name in names or old_dataset.data_vars:
        if name in ("wall_time", "error"):
            continue
        have, want = new[name], old_dataset[name]
        assert have.dims == want.dims
        if kind in ROUNDING and want.dtype.kind == "f":
            np.testing.assert_allclose(have.values, want.values, err_msg=name, **ROUNDING[kind])
        else:
            np.testing.assert_array_equal(have.values, want.values, err_msg=name)
        assert {**want.attrs, **have.attrs} == have.attrs


@pytest.mark.parametrize("tiling", GOLDEN)
def test_event_lists_are_those_of_the_version_before(tiling):
    golden = np.load(OLD / "events.npz")
    sharing, shared, delay = GOLDEN[tiling]
    net = Network.lattice(tiling=tiling, rows=1 if tiling == "chain" else 4, cols=4, sharing=sharing, shared=shared,
                          private=1, orientation="co", combine="sum", boundary="periodic")  # fmt: skip
    drive, firing = initial.pulse(net, np.random.SeedSequence(7))
    run = simulate(net, drive=drive, firing=firing, t_end=30.0, delay=delay, v_high=0.49, v_low=0.2,
                   sample_times=np.linspace(3, 30, 10), record=("phase", "firing", "events"))  # fmt: skip
    assert len(run.events.time) > 100
    before = Reference(*(golden[f"{tiling}/{name}"] for name in ("time", "neuron", "switch")), 30.0, np.inf, 0)
    assert_same_events(run.events, before, tolerance=3e-14)
    np.testing.assert_allclose(run.phase, golden[f"{tiling}/phase"], rtol=0, atol=1e-13)


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_sweep_makes_the_same_arrays(kind, old, tmp_path):
    location = str(tmp_path / "new.zarr")
    run_serially(location, parse(json.loads((old / f"{kind}.json").read_text()), name=kind))
    before, now = isophase.open(old / f"{kind}.zarr"), isophase.open(location)
    groups = [name for name in before.children if name != "summary"]
    assert sorted(now.children) == sorted(groups)
    for name in groups:
        assert (before[name].status == 1).all()
        assert_same(kind, now[name].to_dataset(), before[name].to_dataset())
        for coordinate in before[name].coords:
            xr.testing.assert_equal(now[name][coordinate].variable, before[name][coordinate].variable)


@pytest.mark.parametrize("kind", KINDS)
def test_an_old_store_opens_is_extended_and_reduced(kind, old, tmp_path):
    location, table = copy_of(old, kind, tmp_path)
    before = isophase.open(old / f"{kind}.zarr")
    assert read(location).count()["failed"] == 0
    assert run_serially(location, parse(table, name=kind)) == 0
    axis = "seed" if "seed" in table["axes"] else "delay"
    more = {"seed": [7], "delay": [0.02]}[axis]
    table["axes"][axis] = table["axes"][axis] + more
    assert run_serially(location, parse(table, name=kind)) > 0
    assert reduce_serially(location) == []
    after = isophase.open(location)
    for name in before.children:
        if name == "summary":
            continue
        old_part = before[name].to_dataset()
        assert (after[name].status == 1).all()
        assert_same("all bits", after[name].to_dataset().sel({axis: old_part[axis]}), old_part)
        assert name in after["summary"]


@pytest.mark.parametrize("kind", KINDS)
def test_the_summary_of_an_old_store_is_the_same_again(kind, old, tmp_path):
    location, _ = copy_of(old, kind, tmp_path)
    before = isophase.open(old / f"{kind}.zarr")["summary"]
    assert reduce_serially(location) == []
    now = isophase.open(location)["summary"]
    for node in before.subtree:
        if not node.data_vars:
            continue
        path = node.path.removeprefix("/")
        want = node.to_dataset().load()
        assert_same_summary(now[path.removeprefix("summary/")].to_dataset().load(), want)


# since then the correlation length is drawn from levels of |C| (CHANGELOG), and all of these from it
LENGTHS = re.compile("xi|drift|steady|state|beyond_quarter|growth|exponent|slope|chi2|dof|p_value|used")


def assert_same_summary(now, before):
    is_lattice = before.attrs.get("kind") in LATTICES
    # rounding decided in that p value, until ties counted, whether shifts that change nothing count
    names = [n for n in before.data_vars if n != "encoding_p_value" and not (is_lattice and LENGTHS.search(n))]
    for name, want in before[names].data_vars.items():
        have = now[name].transpose(*want.dims)
        if want.dtype.kind in "fc":
            np.testing.assert_allclose(have.values, want.values, rtol=1e-9, atol=1e-12, err_msg=name)
        else:
            np.testing.assert_array_equal(have.values, want.values, err_msg=name)
