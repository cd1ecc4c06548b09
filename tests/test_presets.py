"""Every preset, shrunk: the whole study of it runs, from the grid to the table and the figures."""

import numpy as np
import pytest

import isophase
from isophase.flows.report import compare, report_of, show
from isophase.sweeps.sweep import SUMMARISED, from_definition, load, parse, presets
from tests.serial import run_serially, study_serially

FEW = {"size": [6, 8], "seed": [0, 1], "ring_size": [4, 5], "length": [12], "cell": ["rnn"], "patch_size": [0.2, 0.5]}
MANY = 6  # schemes; of more every fourth
SHORT = {"t_end": 60.0, "samples": 8}
WINDOW = {"t_start": 40.0, "t_end": 80.0, "samples": 81}
BRIEF = {"checkpoints": 2, "heldout": 16, "probe": 2}


def every_fourth(axis):
    return {key: values[::4] if len(values) > MANY else values for key, values in axis.items()}


def small(name):
    """A preset with few of its schemes on small lattices, few seeds and short runs."""
    definition = load(name).definition()
    axes = {axis["name"]: {"label": axis["labels"], **axis["values"]} for axis in definition["axes"]}
    axes = {key: every_fourth(axis) for key, axis in axes.items()}
    axes |= {key: values for key, values in FEW.items() if key in axes}
    for axis in axes.values():
        if isinstance(axis, dict) and "clock" in axis:  # every clock costs a compilation per cell
            axis |= {key: [values[0], values[-1]] for key, values in axis.items()}
    fixed = {key: FEW[key][0] if key in FEW else value for key, value in definition["fixed"].items()}
    record = dict(definition["record"])
    if definition["kind"] == "flipflop":
        fixed |= {"n_hidden": 6, "batch": 4}
        record |= {**BRIEF, "iterations": 20, "then_iterations": min(record["then_iterations"], 20)}
    elif definition["kind"] == "dynamics":
        fixed["size"] = 6
        record |= WINDOW
    elif definition["kind"] != "rings":
        record |= {**SHORT, "t_start": None}
    else:
        fixed["states"] = 8
    return parse(
        {**{k: definition[k] for k in ("kind", "title", "seed")}, "axes": axes, "fixed": fixed, "record": record}
    )


@pytest.mark.parametrize("name", presets())
def test_the_study_of_a_preset_ends_with_tables_and_figures(name, tmp_path, capsys):
    location = str(tmp_path / f"{name}.zarr")
    sweep = small(name)
    report = study_serially(location, sweep)
    figures, failed = show(report)
    printed = capsys.readouterr().out
    assert failed == 0
    assert len(figures) == len(report.figures) >= 2
    for path in figures:
        assert path.stat().st_size > 5_000
        assert str(path) in printed
    for table in report.tables.values():
        assert table.title in printed
        assert table.rows
    tree = isophase.open(location)
    for group in sweep.groups():
        assert (tree[group.name].status == 1).all(), tree[group.name].error.values
        summary = tree[f"summary/{group.name}"]
        for axis in group.axes:
            if axis.name != "seed":
                np.testing.assert_array_equal(summary[axis.name].values, tree[group.name][axis.name].values)


@pytest.mark.parametrize("name", ["quickstart", "sharing", "kuramoto", "orbits", "dynamics", "relative", "retrain"])
def test_what_a_summary_adds_is_declared_with_its_units(name, tmp_path):
    """A zipped axis cannot take a name that is declared."""
    location = str(tmp_path / f"{name}.zarr")
    sweep = small(name)
    study_serially(location, sweep)
    tree = isophase.open(location)
    for group in sweep.groups():
        declared = group.kind.reduction.names(group.template)
        own = {*group.kind.parameters.model_fields, *group.template.variables, *group.template.dims,
               *(axis.name for axis in group.axes), *SUMMARISED}  # fmt: skip
        summary = tree[f"summary/{group.name}"].to_dataset()
        added = {str(name) for name in (*summary.variables, *summary.dims)} - own
        assert added <= set(declared)
        for variable in added & set(summary.data_vars):
            assert summary[variable].attrs.get("units", "") == declared[variable], variable


def test_rings_and_kuramoto_oscillators_stand_side_by_side_in_one_table(tmp_path, capsys):
    stores = [str(tmp_path / f"{name}.zarr") for name in ("growth", "kuramoto")]
    for store, name in zip(stores, ("growth", "kuramoto"), strict=True):
        study_serially(store, small(name))
    capsys.readouterr()
    figures, _, failed = compare(stores, str(tmp_path / "compare"))
    assert failed == 0
    printed = capsys.readouterr().out
    assert "growth: square-6" in printed
    assert "kuramoto: square-8" in printed
    assert all(path.stat().st_size > 5_000 for path in figures)


def test_compared_stores_of_one_name_stay_apart(tmp_path, capsys):
    for folder in "AB":
        (tmp_path / folder).mkdir()
        study_serially(str(tmp_path / folder / "x.zarr"), small("kuramoto"))
    capsys.readouterr()
    (tmp_path / "link.zarr").symlink_to(tmp_path / "A" / "x.zarr")
    compare([str(tmp_path / folder / "x.zarr") for folder in "AB"], str(tmp_path / "compare"))
    printed = capsys.readouterr().out
    twice = [f"{tmp_path}/{place}" for place in ("link.zarr", "A/../A/x.zarr", "A/x.zarr", "B/x.zarr/")]
    compare(twice, str(tmp_path / "compare"))
    assert capsys.readouterr().out == printed  # of the same two
    for folder in "AB":
        assert f"{tmp_path / folder / 'x.zarr'}: square-8" in printed


def test_a_store_that_has_grown_since_it_was_reduced_is_shown_with_a_note(tmp_path, capsys):
    location = str(tmp_path / "domains.zarr")
    sweep = small("domains")
    study_serially(location, sweep)
    assert "has grown" not in capsys.readouterr().err
    definition = sweep.definition()
    definition["axes"] = [a if a["name"] != "seed" else {**a, "labels": [0, 1, 2], "values": {"seed": [0, 1, 2]}}
                          for a in definition["axes"]]  # fmt: skip
    run_serially(location, from_definition(definition))
    report_of(location)
    assert "domains.zarr has grown since it was reduced" in capsys.readouterr().err
    compare([location], str(tmp_path / "compare"))
    assert "domains.zarr has grown since it was reduced" in capsys.readouterr().err
