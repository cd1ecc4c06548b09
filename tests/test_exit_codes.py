"""What an exit code says is true: refused for good, gave way, or all is there although nobody reads what is printed."""

import os
import subprocess
from pathlib import Path

import dask
import pytest

import isophase
from isophase.flows.cluster import ClusterError, cluster
from isophase.flows.errors import SettingsError
from isophase.flows.settings import check_settings
from isophase.sweeps.store import SUMMARY, read
from isophase.sweeps.sweep import load
from tests.serial import run_serially
from tests.test_command_line import command, run, write_sweep


def run_with(*arguments, **environment):
    return subprocess.run(
        command(*arguments), capture_output=True, text=True, timeout=120, check=False, env=os.environ | environment
    )


def the_line(answer):
    """The one line that a refused command prints."""
    assert answer.stdout == ""
    (line,) = answer.stderr.splitlines()
    assert line.startswith("isophase: error: ")
    return line


@pytest.fixture
def finished(tmp_path):
    """A sweep all of whose points are done."""
    sweep = write_sweep(tmp_path / "small.toml", size=12, seeds=2)
    run_serially(str(tmp_path / "s.zarr"), load(sweep))
    return sweep, str(tmp_path / "s.zarr")


def to_a_reader_that_leaves(*arguments, errors_too=False):
    """The exit code of ``COMMAND | true``, or of ``COMMAND 2>&1 | true``."""
    reading, writing = os.pipe()
    os.close(reading)
    try:
        errors = writing if errors_too else subprocess.DEVNULL
        return subprocess.run(command(*arguments), stdout=writing, stderr=errors, timeout=120, check=False).returncode
    finally:
        os.close(writing)


def test_a_reduction_whose_tables_nobody_reads_is_kept_and_drawn(finished, tmp_path):
    _, store = finished
    assert to_a_reader_that_leaves("reduce", store, "--workers", 1, "--figures", tmp_path / "figures") == 0
    assert len(list((tmp_path / "figures").glob("*.png"))) >= 3
    assert SUMMARY in dict(read(store).root.groups())


def test_a_run_of_whose_progress_nobody_reads_runs_all_points(tmp_path):
    sweep, store = write_sweep(tmp_path / "small.toml", seeds=2), str(tmp_path / "s.zarr")
    assert to_a_reader_that_leaves("run", sweep, "--store", store, "--workers", 1, errors_too=True) == 0
    assert read(store).count() == {"pending": 0, "done": 4, "failed": 0}


def test_commands_that_only_show_end_well_without_a_reader(finished):
    assert to_a_reader_that_leaves("status", finished[1]) == 0
    assert to_a_reader_that_leaves("presets") == 0


def test_a_table_that_could_not_be_written_is_an_error(finished):
    with Path("/dev/full").open("w") as full:
        answer = subprocess.run(
            command("status", finished[1]), stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert answer.returncode == 3
    assert answer.stderr == "isophase: error: standard output: cannot be written: [Errno 28] No space left on device\n"


@pytest.mark.parametrize("name", ["bad.yaml", "nowhere.yaml"])
def test_a_configuration_that_dask_cannot_read_is_refused_by_its_path(tmp_path, name):
    (tmp_path / "bad.yaml").write_text("distributed: [1\n scheduler: 2")
    answer = run_with("presets", DASK_CONFIG=str(tmp_path / name))
    assert answer.returncode == 2
    assert str(tmp_path / name) in the_line(answer)


def test_settings_that_mean_nothing_are_refused_before_anything_starts(tmp_path):
    sweep = write_sweep(tmp_path / "small.toml")
    for key, value in {
        "DASK_DISTRIBUTED__WORKER__MEMORY__TARGET": "junk",
        "DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT": "abc",
        "PREFECT_CLIENT_MAX_RETRIES": "many",
    }.items():
        answer = run_with("run", sweep, "--store", tmp_path / "s.zarr", **{key: value})
        assert answer.returncode == 2
        line = answer.stderr.splitlines()[-1]
        assert f"={value!r}" in line
        assert key in line or key.startswith("PREFECT")
    assert [path.name for path in tmp_path.iterdir()] == ["small.toml"]


def test_what_a_cluster_cannot_use_is_refused_before_there_is_a_store(tmp_path):
    sweep, store = write_sweep(tmp_path / "small.toml"), tmp_path / "s.zarr"
    with pytest.raises(SettingsError, match="workers=0"):
        isophase.run(sweep, store=store, workers=0)
    with dask.config.set({"distributed.comm.shard": "many"}), pytest.raises(SettingsError, match="shard"):
        isophase.run(sweep, store=store)
    answer = run_with(
        "study", sweep, "--store", store, "--performance-report", tmp_path / "r" / "r.html",
        PREFECT_SERVER_DATABASE_CONNECTION_URL="nonsense",
    )  # fmt: skip
    assert answer.returncode == 2
    assert "'nonsense'" in answer.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["small.toml"]


@pytest.mark.parametrize(
    ("name", "value", "allowed"),
    [
        ("distributed.worker.memory.target", "junk", "number > 0 and <= 1 or False"),
        ("distributed.worker.memory.spill", 7, "number > 0 and <= 1 or False"),
        ("distributed.comm.timeouts.connect", "abc", "a time, as 30s or 5 minutes"),
        ("distributed.scheduler.no-workers-timeout", "soon", "a time, as 30s or 5 minutes"),
        ("distributed.comm.shard", "many", "a number of bytes, as 64MiB"),
        ("distributed.scheduler.allowed-failures", -1, "integer >= 0"),
        ("distributed.worker.daemon", "perhaps", "boolean"),
        ("distributed.comm.tls.min-version", 1.1, "None, 1.2, 1.3"),
    ],
)
def test_a_setting_of_dask_is_refused_with_its_name_value_and_what_is_allowed(name, value, allowed):
    with dask.config.set({name: value}), pytest.raises(SettingsError) as refused:
        check_settings()
    assert f"{name}={value!r}" in str(refused.value)
    assert str(refused.value).endswith(f"must be {allowed}")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("distributed.comm.timeouts.connect", 30),
        ("distributed.scheduler.no-workers-timeout", "12h"),
        ("distributed.scheduler.idle-timeout", None),
        ("distributed.worker.memory.target", False),
        ("distributed.worker.memory.max-spill", "10 GB"),
        ("distributed.scheduler.preload", "module"),
        ("distributed.comm.compression", "lz4"),
        ("somebody.else", "anything"),
    ],
)
def test_a_setting_that_dask_takes_is_taken(name, value):
    with dask.config.set({name: value}):
        check_settings()


def test_workers_that_do_not_start_say_why(tmp_path):
    with (
        dask.config.set({"distributed.worker.preload": ["no_module_of_this_name"]}),
        pytest.raises(ClusterError, match=r"local workers: cannot be started: .*no_module_of_this_name"),
        cluster(workers=1),
    ):
        pass


def test_a_store_that_contradicts_the_sweep_is_refused_for_good(finished, tmp_path):
    _, store = finished
    other = write_sweep(tmp_path / "other.toml", size=12, seeds=2, t_end=41.0)
    before = set(tmp_path.iterdir())
    for name in ("run", "study"):
        answer = run(name, other, "--store", store)
        assert answer.returncode == 2
        assert "contradicts this one" in answer.stderr
    assert set(tmp_path.iterdir()) == before
