"""Every preset, shrunk: the whole study of it runs, from the grid to the table and the figures."""

import numpy as np
import pytest

import isophase
from isophase.flows.reduce import gather, over_sizes, parts_of, reduce_part
from isophase.flows.report import compare, read_summaries, report
from isophase.sweeps.store import write_summaries
from isophase.sweeps.sweep import DERIVED, RESERVED, from_definition, load, parse, presets
from tests.serial import run_serially

FEW = {"size": [6, 8], "seed": [0, 1], "ring_size": [4, 5], "length": [12], "cell": ["rnn"]}
SHORT = {"t_end": 60.0, "samples": 8}
BRIEF = {"checkpoints": 2, "heldout": 16, "probe": 2}


def small(name):
    """A preset with the same schemes on small lattices, few seeds and short runs."""
    definition = load(name).definition()
    axes = {axis["name"]: {"label": axis["labels"], **axis["values"]} for axis in definition["axes"]}
    axes |= {key: values for key, values in FEW.items() if key in axes}
    for axis in axes.values():
        if isinstance(axis, dict) and "clock" in axis:  # every clock costs a compilation per cell
            axis |= {key: [values[0], values[-1]] for key, values in axis.items()}
    fixed = {key: FEW[key][0] if key in FEW else value for key, value in definition["fixed"].items()}
    record = dict(definition["record"])
    if definition["kind"] == "flipflop":
        fixed |= {"n_hidden": 6, "batch": 4}
        record |= {**BRIEF, "iterations": 20, "then_iterations": min(record["then_iterations"], 20)}
    elif definition["kind"] != "rings":
        record |= {**SHORT, "t_start": None}
    else:
        fixed["states"] = 8
    return parse(
        {**{k: definition[k] for k in ("kind", "title", "seed")}, "axes": axes, "fixed": fixed, "record": record}
    )


def study(location, sweep):
    """What the flow ``study`` does, in this process."""
    run_serially(location, sweep)
    tree, summaries = isophase.open(location), {}
    for group in tree.children:
        dataset = tree[group].to_dataset()
        summaries[group] = gather(dataset, [reduce_part(location, group, at) for at in parts_of(dataset)])
    write_summaries(location, summaries | {f"finite_size/{name}": d for name, d in over_sizes(summaries).items()})
    return report(location)


@pytest.mark.parametrize("name", presets())
def test_the_study_of_a_preset_ends_with_a_table_and_figures(name, tmp_path, capsys):
    location = str(tmp_path / f"{name}.zarr")
    sweep = small(name)
    figures = study(location, sweep)
    printed = capsys.readouterr().out
    assert len(figures) >= 2
    for path in figures:
        assert path.stat().st_size > 5_000
        assert str(path) in printed
    tree = isophase.open(location)
    for group in sweep.groups():
        assert (tree[group.name].status == 1).all(), tree[group.name].error.values
        summary = tree[f"summary/{group.name}"]
        own = {*group.kind.parameters.model_fields, *group.kind.variables(group.first(), group.record),
               *group.kind.coordinates(group.first(), group.record), *group.kind.scalars,
               *(axis.name for axis in group.axes)}  # fmt: skip
        names = {DERIVED.sub("", str(name)) for name in (*summary.variables, *summary.dims) if name not in own}
        assert names <= set(RESERVED), "a zipped axis could take a name of the summary"
        for axis in group.axes:
            if axis.name != "seed":
                np.testing.assert_array_equal(summary[axis.name].values, tree[group.name][axis.name].values)


def test_rings_and_kuramoto_oscillators_stand_side_by_side_in_one_table(tmp_path, capsys):
    stores = [str(tmp_path / f"{name}.zarr") for name in ("growth", "kuramoto")]
    for store, name in zip(stores, ("growth", "kuramoto"), strict=True):
        study(store, small(name))
    capsys.readouterr()
    figures = compare(stores, str(tmp_path / "compare"))
    printed = capsys.readouterr().out
    assert "growth: square-6" in printed
    assert "kuramoto: square-8" in printed
    assert all(path.stat().st_size > 5_000 for path in figures)


def test_compared_stores_of_one_name_stay_apart(tmp_path, capsys):
    for folder in "AB":
        (tmp_path / folder).mkdir()
        study(str(tmp_path / folder / "x.zarr"), small("kuramoto"))
    capsys.readouterr()
    compare([str(tmp_path / folder / "x.zarr") for folder in "AB"], str(tmp_path / "compare"))
    printed = capsys.readouterr().out
    for folder in "AB":
        assert f"{tmp_path / folder / 'x.zarr'}: square-8" in printed


def test_a_store_that_has_grown_since_it_was_reduced_is_shown_with_a_note(tmp_path, capsys):
    location = str(tmp_path / "domains.zarr")
    sweep = small("domains")
    study(location, sweep)
    assert "has grown" not in capsys.readouterr().err
    definition = sweep.definition()
    definition["axes"] = [a if a["name"] != "seed" else {**a, "labels": [0, 1, 2], "values": {"seed": [0, 1, 2]}}
                          for a in definition["axes"]]  # fmt: skip
    run_serially(location, from_definition(definition))
    read_summaries(location)
    assert "domains.zarr has grown since it was reduced" in capsys.readouterr().err
