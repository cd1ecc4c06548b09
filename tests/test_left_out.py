"""What fails of a reduction or of a report is left out and said; the rest is there, and the exit code says so."""

from pathlib import Path

import numpy as np
import pytest

import isophase
from isophase.analysis.tables import Column, Table
from isophase.flows import report
from isophase.flows.reduction import Refined, finished, kind_of, parts_of
from isophase.flows.report import StoreReport, show
from isophase.sweeps.sweep import parse
from tests.serial import run_serially, study_serially
from tests.test_command_line import run

SWEEP = {"kind": "kuramoto", "axes": {"coupling": [0.5, 1.0], "seed": [0, 1]}, "fixed": {"size": 4},
         "record": {"t_end": 20.0, "samples": 4}}  # fmt: skip


def spoil(location, group, index):
    """Change a byte in the shard of one point, which keeps its size."""
    (shard,) = (path for path in Path(location, group, "phase", "c", *map(str, index)).rglob("*") if path.is_file())
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 1
    shard.write_bytes(content)


def test_a_scheme_whose_data_are_damaged_is_left_out_and_the_others_are_reduced(tmp_path):
    location = str(tmp_path / "s.zarr")
    run_serially(location, parse(SWEEP))
    spoil(location, "square-4", (0, 1))
    answer = run("reduce", location, "--workers", 1)
    assert answer.returncode == 1
    assert "left out: square-4: coupling=0.5: store " in answer.stderr
    assert f"store {location}: cannot be read: " in answer.stderr
    assert "left out: 1 parts of the reduction, 0 figures" in answer.stderr
    assert "coupling 1 " in answer.stdout
    assert "coupling 0.5" not in answer.stdout
    summary = isophase.open(location)["summary/square-4"]
    assert np.isfinite(summary.order.sel(coupling=1.0)).all()
    assert summary.order.sel(coupling=0.5).isnull().all()
    assert "cannot be read" in summary.reduction_error.values[0]
    for command in ("report", "compare"):  # whoever looks later is told as well
        again = run(command, location, "--figures", tmp_path / command)
        assert again.returncode == 1
        assert "left out: " in again.stderr
        assert ": coupling 0.5: store " in again.stderr
        assert "left out: 1 parts of the reduction, 0 figures" in again.stderr


def test_a_store_of_which_nothing_can_be_reduced_is_an_error(tmp_path):
    location = str(tmp_path / "s.zarr")
    run_serially(location, parse(SWEEP))
    for coupling in (0, 1):
        spoil(location, "square-4", (coupling, 0))
    answer = run("reduce", location, "--workers", 1)
    assert answer.returncode == 1
    assert (
        answer.stderr.strip()
        .splitlines()[-1]
        .startswith(f"isophase: error: store {location}: nothing could be reduced: square-4: coupling=0.5: ")
    )


def test_a_study_of_which_every_point_failed_exits_as_its_help_says(tmp_path):
    sweep = tmp_path / "fails.toml"
    sweep.write_text(
        'kind = "flipflop"\naxes.seed = [0, 1]\nfixed = {optimizer = "sgd", learning_rate = 1e38, n_hidden = 4}\n'
        "record = {iterations = 4, checkpoints = 1, heldout = 4, probe = 1}\n"
    )
    answer = run("study", sweep, "--store", tmp_path / "s.zarr", "--workers", 1)
    assert answer.returncode == 1, answer.stderr
    assert "no point is done: there is nothing to reduce" in answer.stderr
    assert "0 done, 2 failed, 0 pending" in answer.stdout


def test_a_figure_that_fails_costs_neither_the_tables_nor_the_other_figures(tmp_path, capsys):
    from matplotlib.figure import Figure

    def fails():
        raise ZeroDivisionError("no such hop")

    table = Table("t", "a table", (Column("x", "x"),), ((1,),))
    figures = {"bad": fails, "good": Figure}
    paths, failed = show(StoreReport("s.zarr", {"t": table}, lambda: figures), str(tmp_path / "f"))
    assert failed == 1
    assert [path.name for path in paths] == ["good.png"]
    captured = capsys.readouterr()
    assert "a table" in captured.out
    assert "figure bad could not be drawn" in captured.err
    assert "ZeroDivisionError: no such hop" in captured.err


def test_figures_that_cannot_even_be_chosen_cost_no_table(tmp_path, capsys):
    def fails():
        raise ZeroDivisionError("no such axis")

    table = Table("t", "a table", (Column("x", "x"),), ((1,),))
    assert show(StoreReport("s.zarr", {"t": table}, fails), str(tmp_path / "f")) == ([], 1)
    captured = capsys.readouterr()
    assert "a table" in captured.out
    assert "ZeroDivisionError: no such axis" in captured.err


def test_tables_are_printed_before_a_figure_is_drawn(tmp_path, capsys, monkeypatch):
    seen = []
    monkeypatch.setattr(report, "draw", lambda figures, folder: (seen.append(capsys.readouterr().out), ([], 0))[1])
    location = str(tmp_path / "s.zarr")
    show(study_serially(location, parse(SWEEP)))
    assert "correlation length" in seen[0]


@pytest.mark.parametrize("form", ["csv", "json", "markdown", "html"])
def test_the_tables_of_a_store_are_written_in_every_format(form, tmp_path):
    location = str(tmp_path / "s.zarr")
    study_serially(location, parse(SWEEP))
    answer = run("report", location, "--format", form)
    assert answer.returncode == 0, answer.stderr
    assert "coupling 0.5" in answer.stdout
    assert not (tmp_path / "s.figures").exists()


def test_schemes_named_by_text_are_looked_for_among_those_that_were_refined(tmp_path):
    location = str(tmp_path / "s.zarr")
    run_serially(location, parse(SWEEP | {"axes": {"arm": {"label": ["a", "b"], "coupling": [0.5, 1.0]}}}))
    (dataset,) = finished(location).values()
    parts = list(parts_of(dataset, kind_of(location).reduction))
    assert len(parts) == 2
    assert list(Refined().of("square-4", dataset, parts)) == []
