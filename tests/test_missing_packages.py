"""A kind that lacks a package, here or on a worker, is refused before the first of its points, and none is failed."""

import contextlib
import os
import subprocess
import sys

import pytest

from isophase.flows.cluster import cluster
from isophase.sweeps.kinds import kind_named
from isophase.sweeps.store import read
from tests.failures.services import free_port
from tests.test_command_line import command

TRAINED = """
kind = "flipflop"
axes.seed = [0, 1]
fixed = { n_hidden = 4, batch = 4, length = 12 }
record = { iterations = 4, checkpoints = 1, heldout = 4, probe = 1 }
"""
INSTALL = "pip install 'isophase[train]'"


@pytest.fixture
def without_jax(tmp_path):
    """An environment in which JAX is installed, and cannot be imported."""
    folder = tmp_path / "broken"
    folder.mkdir()
    (folder / "jax.py").write_text("raise ImportError('libcuda.so: not on this machine')\n")
    return os.environ | {"PYTHONPATH": os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")])}


def trained(folder):
    (folder / "trained.toml").write_text(TRAINED)
    return folder / "trained.toml"


def test_what_a_kind_needs_is_installed_by_an_extra_and_imported_by_its_points():
    assert kind_named("flipflop").needs == {"jax": "train", "optax": "train"}
    assert dict(kind_named("lattice").needs) == {}


@pytest.mark.parametrize("name", ["run", "study"])
def test_a_flow_without_jax_is_refused_before_anything_is_made(tmp_path, without_jax, name):
    store = tmp_path / "s.zarr"
    answer = subprocess.run(
        command(name, trained(tmp_path), "--store", store), capture_output=True, text=True, check=False, env=without_jax
    )
    assert answer.returncode == 2
    (line,) = answer.stderr.splitlines()
    assert line == (
        "isophase: error: kind='flipflop': needs jax, which cannot be imported "
        f"(ImportError: libcuda.so: not on this machine): {INSTALL}"
    )
    assert not store.exists()


def test_a_worker_without_jax_ends_the_run_and_fails_no_point(tmp_path, without_jax):
    address, store = f"tcp://127.0.0.1:{free_port()}", tmp_path / "s.zarr"
    own = ["--host", "127.0.0.1", "--no-dashboard"]
    starts = (
        (["dask_scheduler", *own, "--port", address.rpartition(":")[2]], dict(os.environ)),
        (["dask_worker", address, *own, "--nthreads", "1", "--local-directory", str(tmp_path)], without_jax),
    )
    with contextlib.ExitStack() as stack:
        for (module, *arguments), environment in starts:
            process = subprocess.Popen(
                [sys.executable, "-m", f"distributed.cli.{module}", *arguments], env=environment,
                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            )  # fmt: skip
            stack.callback(process.wait)
            stack.callback(process.terminate)
        with cluster(address):  # both are there
            pass
        answer = subprocess.run(
            command("run", trained(tmp_path), "--store", store, "--scheduler", address),
            capture_output=True, text=True, check=False,
        )  # fmt: skip
    assert answer.returncode == 2, answer.stderr
    last = answer.stderr.strip().splitlines()[-1]
    assert "a worker cannot run the sweep's kind='flipflop': needs jax, which cannot be imported" in last
    assert INSTALL in last
    assert read(str(store)).count() == {"pending": 2, "done": 0, "failed": 0}
