"""The promises of the command line, kept by real processes: Prefect's embedded server, Dask workers, files on disk."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
from distributed import LocalCluster

import isophase
from isophase.analysis.tables import Column, Table
from isophase.flows.cli import COMMANDS, main
from isophase.flows.provenance import git_commit
from isophase.flows.report import figures_folder, print_tables
from isophase.sweeps.store import DONE
from isophase.sweeps.sweep import load
from tests.serial import run_serially

SMALL = """
kind = "lattice"
seed = 11
[axes]
private = [0, 1]
seed = {{ start = 0, count = {seeds} }}
[fixed]
size = {size}
{fixed}
[record]
t_end = {t_end}
samples = 4
"""


def write_sweep(path, size=6, seeds=8, t_end=40.0, fixed=""):
    path.write_text(SMALL.format(size=size, seeds=seeds, t_end=t_end, fixed=fixed))
    return str(path)


def command(*arguments):
    return [sys.executable, "-m", "isophase.flows.cli", *map(str, arguments)]


def run(*arguments, timeout=120):
    return subprocess.run(command(*arguments), capture_output=True, text=True, timeout=timeout, cwd=Path.cwd())


def start(*arguments):
    return subprocess.Popen(
        command(*arguments), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )


def phases(location):
    tree = isophase.open(location)
    return {name: tree[name].phase.values for name in tree.children if name != "summary"}


def assert_same_bits(location, reference):
    found, wanted = phases(location), phases(reference)
    assert found.keys() == wanted.keys()
    for name in wanted:
        np.testing.assert_array_equal(found[name], wanted[name])


def wait_for(condition, seconds=60.0):
    limit = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < limit, "waited in vain"
        time.sleep(0.02)


def shard_files(location):
    return [path for path in Path(location).glob("*/phase/c/**/*") if path.is_file() and path.suffix != ".partial"]


def done(location):
    return (isophase.open(location)["square-64"].status == DONE).values


def dask_workers(process):
    return [
        c
        for c in psutil.Process(process.pid).children(recursive=True)
        if "distributed" in " ".join(c.cmdline()) or "spawn_main" in " ".join(c.cmdline())
    ]


def is_alive(process):
    """Whether it still runs; an orphan that has ended stays a zombie where nobody reaps it."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.fixture(scope="module")
def long_sweep(tmp_path_factory):
    """A sweep of 16 points that take about half a second each, and what it comes to when nothing disturbs it."""
    folder = tmp_path_factory.mktemp("long")
    sweep = write_sweep(folder / "long.toml", size=64, seeds=8, t_end=300.0)
    run_serially(str(folder / "reference.zarr"), load(sweep))
    return sweep, str(folder / "reference.zarr")


def test_a_study_ends_with_a_table_figures_and_the_line_that_opens_the_store(tmp_path):
    sweep = write_sweep(tmp_path / "small.toml", size=12, seeds=4, t_end=80.0)
    answer = run("study", sweep, "--store", tmp_path / "s.zarr", "--workers", 2)
    assert answer.returncode == 0, answer.stderr
    assert "Dask dashboard: http://127.0.0.1:" in answer.stderr
    assert "correlation length" in answer.stdout
    figures = sorted((tmp_path / "s.figures").glob("*.png"))
    assert len(figures) >= 3
    for figure in figures:
        assert str(figure) in answer.stdout
        assert figure.stat().st_size > 10_000
    line = next(line for line in answer.stdout.splitlines() if "isophase.open(" in line)
    assert "Traceback" not in answer.stderr
    opened = subprocess.run([sys.executable, "-c", line.strip()], capture_output=True, text=True, check=False)
    assert opened.returncode == 0, opened.stderr
    assert run("status", tmp_path / "s.zarr").returncode == 0


@pytest.mark.parametrize("workers", [1, 3])
def test_the_bits_do_not_depend_on_the_number_of_workers(tmp_path, workers):
    sweep = write_sweep(tmp_path / "small.toml")
    assert run("run", sweep, "--store", tmp_path / "s.zarr", "--workers", workers).returncode == 0
    run_serially(str(tmp_path / "reference.zarr"), load(sweep))
    assert_same_bits(str(tmp_path / "s.zarr"), str(tmp_path / "reference.zarr"))


def test_a_killed_worker_costs_nothing_but_time(tmp_path, long_sweep):
    sweep, reference = long_sweep
    location = str(tmp_path / "s.zarr")
    process = start("run", sweep, "--store", location, "--workers", 2)
    wait_for(lambda: shard_files(location))
    victim = dask_workers(process)[-1]
    os.kill(victim.pid, signal.SIGKILL)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 0, output
    assert_same_bits(location, reference)


def test_a_killed_flow_is_resumed_where_it_was(tmp_path, long_sweep):
    sweep, reference = long_sweep
    location = str(tmp_path / "s.zarr")
    process = start("run", sweep, "--store", location, "--workers", 2)
    wait_for(lambda: shard_files(location) and done(location).any())
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    wait_for(lambda: run("status", location).returncode == 0)
    before = done(location)
    assert 0 < before.sum() < 16
    answer = run("run", sweep, "--store", location, "--workers", 2)
    assert answer.returncode == 0, answer.stderr
    assert f"{16 - before.sum()} points run" in answer.stdout
    assert_same_bits(location, reference)
    again = run("run", sweep, "--store", location)
    assert "nothing left to run" in again.stdout


def test_a_second_run_of_one_store_is_refused_while_the_first_goes_on(tmp_path, long_sweep):
    sweep, reference = long_sweep
    location = str(tmp_path / "s.zarr")
    first = start("run", sweep, "--store", location, "--workers", 1)
    wait_for(lambda: shard_files(location))
    os.killpg(first.pid, signal.SIGSTOP)  # it goes on for as long as the second takes
    try:
        second = run("run", sweep, "--store", location, "--workers", 1)
    finally:
        os.killpg(first.pid, signal.SIGCONT)
    assert second.returncode == 3
    assert (
        second.stderr.strip().splitlines()[-1].startswith(f"isophase: error: store {location}: another run is writing")
    )
    assert "Traceback" not in second.stderr
    output, _ = first.communicate(timeout=120)
    assert first.returncode == 0, output
    assert_same_bits(location, reference)


def test_points_that_fail_are_counted_in_the_exit_code_and_the_others_finish(tmp_path):
    """At delay 0 rings of 3 that share every neuron never settle."""
    sweep = tmp_path / "fails.toml"
    sweep.write_text(
        'kind = "lattice"\n[axes]\ndelay = [0.0, 0.01]\nseed = {start = 0, count = 2}\n'
        "[fixed]\ntiling = 'triangular'\nsize = 12\nprivate = 0\n[record]\nt_end = 20.0\nsamples = 2\n"
    )
    answer = run("run", sweep, "--store", tmp_path / "s.zarr", "--workers", 1)
    assert answer.returncode == 1, answer.stderr
    assert "2 done, 2 failed, 0 pending" in answer.stdout
    status = run("status", tmp_path / "s.zarr")
    assert status.returncode == 1
    assert "delay=0.0, seed=1" in status.stdout
    assert "generations" in status.stdout


def test_a_scheduler_elsewhere_runs_the_points(tmp_path):
    sweep = write_sweep(tmp_path / "small.toml", seeds=2)
    with LocalCluster(n_workers=1, threads_per_worker=2, host="127.0.0.1", dashboard_address=None) as elsewhere:
        answer = run("run", sweep, "--store", tmp_path / "s.zarr", "--scheduler", elsewhere.scheduler_address)
    assert answer.returncode == 0, answer.stderr
    assert "4 points run" in answer.stdout


@pytest.mark.parametrize(
    ("arguments", "code", "names"),
    [
        (("run", "quickstat"), 2, ["quickstat", "did you mean 'quickstart'"]),
        (
            ("run", "SWEEP", "--scheduler", "tcp://127.0.0.1:1", "--store", "STORE"),
            3,
            ["tcp://127.0.0.1:1", "not reachable"],
        ),
        (("run", "SWEEP", "--scheduler", "nonsense", "--store", "STORE"), 2, ["nonsense"]),
        (("run", "SWEEP", "--store", "/proc/none/s.zarr"), 2, ["/proc/none/s.zarr"]),
        (("run", "SWEEP", "--store", "nowhere://s.zarr"), 2, ["nowhere://s.zarr", "s3://BUCKET/NAME"]),
        (("run", "SWEEP", "--store", "s3://b d/s.zarr"), 2, ["s3://b d/s.zarr", "s3://BUCKET/NAME"]),
        (("run", "SWEEP", "--store", "memory://s.zarr"), 2, ["memory://s.zarr", "ends with it"]),
        (("status", "s3://"), 2, ["s3://", "s3://BUCKET/NAME"]),
        (("reduce", "nowhere.zarr"), 2, ["nowhere.zarr"]),
        (("status", "nowhere.zarr"), 2, ["nowhere.zarr"]),
        (("run", "SWEEP", "--workers", "0"), 2, ["--workers", "at least 1"]),
        (("run", "SWEEP", "--workers", "abc"), 2, ["--workers", "'abc'", "whole number"]),
        (("study", "SWEEP", "--store", "STORE", "--figures", "/proc/none"), 2, ["figures /proc/none"]),
        (("study", "SWEEP", "--store", f"{'n' * 250}.zarr"), 2, [".figures: cannot be written", "too long"]),
        (("show", "quickstat"), 2, ["quickstat"]),
    ],
)
def test_what_cannot_be_done_is_one_line_and_an_exit_code(tmp_path, monkeypatch, arguments, code, names):
    monkeypatch.chdir(tmp_path)
    sweep = write_sweep(tmp_path / "small.toml")
    filled = [{"SWEEP": sweep, "STORE": tmp_path / "s.zarr"}.get(argument, argument) for argument in arguments]
    answer = run(*filled)
    assert answer.returncode == code, answer.stderr
    last = answer.stderr.strip().splitlines()[-1]
    for name in names:
        assert name in last
    assert "Traceback" not in answer.stderr


def test_a_prefect_server_that_does_not_answer_is_named_in_one_line(tmp_path, monkeypatch):
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:1/api")
    answer = run("run", write_sweep(tmp_path / "small.toml"), "--store", tmp_path / "s.zarr")
    assert answer.returncode == 3
    assert len(answer.stderr.splitlines()) == 1
    assert "http://127.0.0.1:1/api (PREFECT_API_URL): not reachable" in answer.stderr


def test_a_failed_sweep_of_one_point_shows_its_error(tmp_path):
    sweep = tmp_path / "fails.toml"
    sweep.write_text(
        'kind = "lattice"\n[fixed]\ntiling = "triangular"\nsize = 12\nprivate = 0\ndelay = 0.0\n'
        "[record]\nt_end = 20.0\nsamples = 2\n"
    )
    run_serially(str(tmp_path / "s.zarr"), load(str(sweep)))
    status = run("status", tmp_path / "s.zarr")
    assert status.returncode == 1
    assert "failed: triangular-12: its one point: RuntimeError" in status.stdout
    assert "generations" in status.stdout


def test_an_unforeseen_error_is_one_line_too_and_called_a_fault_of_ours(monkeypatch, capsys):
    def broken(options):
        raise RuntimeError("first\nsecond")

    monkeypatch.setitem(COMMANDS, "presets", broken)
    assert main(["presets"]) == 4
    line = (
        "isophase: error: a fault of isophase, please report it: RuntimeError: first (ISOPHASE_DEBUG=1 shows where)\n"
    )
    assert capsys.readouterr().err == line
    monkeypatch.setenv("ISOPHASE_DEBUG", "1")
    assert main(["presets"]) == 4
    assert "Traceback" in capsys.readouterr().err


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
def test_the_commit_of_a_run_is_that_of_its_checkout(tmp_path):
    (tmp_path / "code.py").write_text("")
    assert git_commit(tmp_path / "code.py") == "unknown"
    git = ["git", "-C", tmp_path, "-c", "user.name=a", "-c", "user.email=a@b"]
    for command in (["init", "-q"], ["add", "code.py"], ["commit", "-q", "-m", "a"]):
        subprocess.run([*git, *command], check=True)
    assert re.fullmatch("[0-9a-f]{40}", git_commit(tmp_path / "code.py"))
    (tmp_path / "installed.py").write_text("")
    assert git_commit(tmp_path / "installed.py") == "unknown"


def test_without_git_the_commit_of_a_run_is_unknown(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", "/nowhere")
    assert git_commit(tmp_path / "code.py") == "unknown"


def test_labels_are_printed_as_they_are(capsys):
    columns = (Column("scheme", "scheme"), Column("xi", "xi"))
    print_tables([Table("t", "title", columns, (("a[/b]", "[red]x"),))])
    printed = capsys.readouterr().out
    assert "a[/b]" in printed
    assert "[red]x" in printed


@pytest.mark.parametrize(
    ("store", "folder"),
    [
        ("/a/b.zarr/", "/a/b.figures"),
        ("/a/b.c", "/a/b.c-figures"),
        ("/a/b.c.zarr", "/a/b.c.figures"),
        ("/a/b.d", "/a/b.d-figures"),
        ("s3://bucket/b.zarr", "s3/bucket/b.figures"),
        ("s3://other/b.zarr/", "s3/other/b.figures"),
        ("/a/c/..", "/a-figures"),
        ("/", "/store-figures"),
    ],
)
def test_figures_have_a_folder_beside_any_store(store, folder):
    assert str(figures_folder(store)) == folder


def test_presets_and_show_say_what_a_sweep_costs_before_it_runs():
    listed = run("presets")
    assert listed.returncode == 0
    assert "quickstart" in listed.stdout
    shown = run("show", "quickstart")
    assert shown.returncode == 0
    assert "core-s" in shown.stdout
    assert "[axes]" in shown.stdout


def test_help_of_every_command_has_an_example_and_the_exit_codes():
    for name in ("run", "reduce", "study", "status", "presets", "show"):
        answer = run(name, "--help")
        assert "example:\n  isophase " in answer.stdout
        assert "exit codes:" in answer.stdout


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_ends_in_seconds_leaves_nothing_behind_and_goes_on(tmp_path, long_sweep, sent):
    """To the whole process group, as a terminal sends Ctrl-C: Prefect's server gets it too."""
    sweep, reference = long_sweep
    location = str(tmp_path / "s.zarr")
    process = start("run", sweep, "--store", location, "--workers", 2)
    wait_for(lambda: shard_files(location) and done(location).any())
    children = psutil.Process(process.pid).children(recursive=True)
    os.killpg(process.pid, sent)
    output, _ = process.communicate(timeout=20)
    assert process.returncode == 130, output
    assert output.splitlines()[-1] == "isophase: error: interrupted; the same command goes on from here"
    assert "Traceback" not in output
    wait_for(lambda: not any(is_alive(child) for child in children), seconds=5)
    before = done(location).sum()
    assert 0 < before < 16
    answer = run("run", sweep, "--store", location, "--workers", 2)
    assert answer.returncode == 0, answer.stderr
    assert f"{16 - before} points run" in answer.stdout
    assert_same_bits(location, reference)
