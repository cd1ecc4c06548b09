"""Tables and figures of trained networks: values against summaries written by hand, and no case that ends a report."""

import json
import warnings

import numpy as np
import pytest
import xarray as xr
from matplotlib.figure import Figure

import isophase
from isophase.analysis.base import Summaries
from isophase.analysis.networks import last_network, training
from isophase.analysis.networks.attractors import CYCLE, FIXED_POINT, QUASI_PERIODIC, classify_attractors
from isophase.analysis.networks.automaton_diagram import clock_text
from isophase.analysis.networks.bifurcations import FLIP, NEIMARK_SACKER, NONE
from isophase.analysis.networks.figures import automata
from isophase.analysis.networks.report import REPORT
from isophase.analysis.networks.training import REDUCTION
from isophase.analysis.schemes import at_position, grid_axes, schemes
from isophase.analysis.tables import Estimate
from isophase.kernels.automata import task_from
from isophase.sweeps.sweep import parse
from tests.serial import run_serially
from tests.test_flipflop import TOGGLE

TINY = {"length": 12, "batch": 4, "n_hidden": 3}
BRIEF = {"iterations": 12, "checkpoints": 2, "heldout": 8, "probe": 6}
FORMULAS = {
    "states": ["$x", "$y^", "_"],
    "symbols": ["$a", "$^"],
    "clock": {"kind": "periodic", "period": 4},
    "theta0": {state: {"$a": "$y^", "$^": "_"} for state in ("$x", "$y^", "_")},
    "theta1": {state: {"$a": "$y^", "$^": "_"} for state in ("$x", "$y^", "_")},
}
OF_NETWORKS = {"learning", "modulus", "spectrum", "coincidence"}


def trained(location, fixed=(), record=(), axes=None):
    """The only group of a sweep, run."""
    axes = {"seed": [0, 1]} if axes is None else axes
    table = {"kind": "flipflop", "seed": 7, "axes": axes, "fixed": TINY | dict(fixed), "record": BRIEF | dict(record)}
    sweep = parse(table)
    run_serially(str(location), sweep)
    (group,) = sweep.groups()
    return isophase.open(str(location))[group.name].to_dataset()


def joined(measured):
    return xr.concat(measured, "seed", coords="minimal", compat="override", join="exact")


def measured_of(scheme):
    """What is measured of every seed of a scheme."""
    if "seed" not in scheme.dims:
        return REDUCTION.measure(scheme)
    return joined([REDUCTION.measure(scheme.isel(seed=seed)) for seed in range(scheme.sizes["seed"])])


def summary_of(scheme, measured=None, finished=None):
    """The summary of a scheme, or of the first so many ``finished`` seeds of it, where the others failed."""
    measured = measured_of(scheme) if measured is None else measured
    finished = measured.sizes["seed"] if finished is None else finished
    summary = REDUCTION.summarise(measured.isel(seed=slice(finished)))
    summary["n_failed"] = ((), measured.sizes["seed"] - finished, {"units": "1"})
    summary["n_unmeasured"] = ((), 0, {"units": "1"})
    return summary.assign_attrs(scheme.attrs)


def summarised(dataset):
    """The summary of a group with at most one axis besides the seeds, as the flow joins it."""
    axes = grid_axes(dataset)
    if not axes:
        return summary_of(dataset)
    (axis,) = axes
    parts = [summary_of(at_position(dataset, {axis: number})) for number in range(dataset.sizes[axis])]
    found = xr.concat(parts, axis, data_vars="all", coords="minimal", compat="override", join="outer",
                      combine_attrs="override")  # fmt: skip
    return found.assign_coords({axis: dataset[axis]}).assign_attrs(dataset.attrs)


def reported(*summaries):
    """Tables by key, and figures, drawn and laid out, by name; a warning is an error."""
    of = Summaries({f"group{number}" if number else "group": one for number, one in enumerate(summaries)})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tables = {table.key: table for table in REPORT.tables(of)}
        for table in tables.values():
            assert len(table.texts()) == len(table.rows)
        drawn = {name: draw() for name, draw in REPORT.figures(of, xr.DataTree()).items()}
        for figure in drawn.values():
            assert isinstance(figure, Figure)
            figure.draw_without_rendering()
    return tables, drawn


def cells(table, row=0):
    return dict(zip((column.key for column in table.columns), table.rows[row], strict=True))


@pytest.fixture(scope="module")
def periodic(tmp_path_factory):
    """Three networks, and a second task."""
    fixed = {"period": 4, "then_period": 6}
    location = tmp_path_factory.mktemp("periodic") / "a.zarr"
    return trained(location, fixed, {"then_iterations": 12}, {"seed": [0, 1, 2]}).load()


@pytest.fixture(scope="module")
def relative(tmp_path_factory):
    location = tmp_path_factory.mktemp("relative") / "a.zarr"
    return trained(location, {"clock": "relative", "threshold": 2, "p": 0.5}).load()


@pytest.fixture(scope="module")
def summary(periodic):
    return summarised(periodic)


@pytest.fixture(scope="module")
def of_relative(relative):
    return summarised(relative)


def known(summary, **values):
    """A summary in which some variables have other values."""
    return summary.assign({name: summary[name].copy(data=np.broadcast_to(value, summary[name].shape))
                           for name, value in values.items()})  # fmt: skip


# The reduction.


@pytest.mark.parametrize("task", ["periodic", "relative"])
def test_every_name_that_a_summary_adds_is_declared_with_its_units(task, request):
    template = request.getfixturevalue(task).isel(seed=0)
    found = request.getfixturevalue("summary" if task == "periodic" else "of_relative")
    declared = REDUCTION.names(template)
    held = {*template.variables, *template.dims, "seed"}
    added = {str(name) for name in {*found.variables, *found.dims} if name not in held}
    assert added <= set(declared)
    for name in added & set(found.variables):
        assert found[name].attrs.get("units", "") == declared[name], name
        assert found[name].attrs.get("long_name") or name in ("n_failed", "n_unmeasured"), name
    assert not held & set(declared)
    assert declared["n_failed"] == declared["n_unmeasured"] == "1"


def test_no_name_is_declared_that_no_summary_adds(periodic, relative, summary, of_relative):
    refined = {"refined"}
    added = {*summary.variables, *summary.dims, *of_relative.variables, *of_relative.dims} | refined
    assert set(REDUCTION.names(periodic.isel(seed=0))) <= added
    assert set(REDUCTION.names(relative.isel(seed=0))) <= added


def test_refining_adds_no_other_name(relative, monkeypatch):
    monkeypatch.setattr(training, "_check_same_networks", lambda *_: None)
    found = REDUCTION.measure(relative.isel(seed=0), lambda checkpoints: relative.isel(seed=0))
    plain = REDUCTION.measure(relative.isel(seed=0))
    assert set(found.variables) - set(plain.variables) == {"refined"}
    assert found["refined"].attrs["units"] == REDUCTION.names(relative.isel(seed=0))["refined"]


def test_a_point_without_an_axis_of_seeds_is_measured_along_its_own_seed(periodic):
    one = periodic.isel(seed=2)
    wanted = REDUCTION.measure(one)
    assert wanted["seed"].values.tolist() == [2]
    parameters = json.loads(periodic.attrs["parameters"]) | {"seed": 2}
    bare = one.drop_vars("seed").assign_attrs(parameters=json.dumps(parameters))
    xr.testing.assert_identical(REDUCTION.measure(bare).drop_attrs(), wanted.drop_attrs())


def test_a_sweep_without_an_axis_of_seeds_is_reported(tmp_path):
    run = trained(tmp_path / "a.zarr", {"seed": 5}, axes={"learning_rate": [0.003, 0.01]})
    assert "seed" not in run.dims
    found = summarised(run)
    assert found["seed"].values.tolist() == [5]
    tables, drawn = reported(found)
    assert tables["learning-phases"].column("seeds") == [1, 1]
    assert OF_NETWORKS.issubset(drawn)


def test_the_second_task_drives_the_last_network_by_its_own_clock(summary, of_relative):
    assert summary["driven_word"].values.tolist() == [6] * 3  # two symbols, three steps each
    assert of_relative["driven_word"].values.tolist() == [9] * 2  # three symbols, one step more than the threshold


def test_without_a_fixed_point_nothing_is_said_of_eigenvalues():
    at = np.arange(0, 30, 10.0)
    branches = xr.Dataset(
        {
            "eigenvalues": (("branch", "checkpoint", "hidden"), np.zeros((0, 3, 2), complex)),
            "exists": (("branch", "checkpoint"), np.zeros((0, 3), bool)),
            "h": (("branch", "checkpoint", "hidden"), np.zeros((0, 3, 2))),
            "number": ("checkpoint", [0, 0, 0]),
            "number_stable": ("checkpoint", [0, 0, 0]),
            "number_marginal": ("checkpoint", [0, 0, 0]),
            "dimension": ("checkpoint", [0, 0, 0]),
            "share_converged": ("checkpoint", [0.0, 0.0, 0.0]),
        },
        {"checkpoint": at, "branch": np.arange(0)},
    )
    found = training._path(branches, training.find_bifurcations(branches), False, 30)
    assert np.isnan(found["leading_modulus"]).all()
    assert found["eigenvalue_real"].sizes == {"checkpoint": 3, "eigenvalue": 2}
    assert int(found["bifurcation_type"]) == NONE


def test_with_a_relative_clock_only_the_null_symbol_has_the_first_bifurcation(relative):
    """Under phi the network is saturated; under a, where no input comes, it flips as the recurrent weight passes -1."""
    one = relative.isel(seed=0).load()
    weights = {name: np.zeros(one[name].shape) for name in ("recurrent_weights", "input_weights", "bias")}
    weights["recurrent_weights"][:, 0, 0, 0] = [-0.5, -0.5, -1.5]
    weights["input_weights"][:, 0, 0, 0] = 3.0
    one = one.assign({name: one[name].copy(data=values.astype(np.float32)) for name, values in weights.items()})
    found = REDUCTION.measure(one).isel(seed=0)
    assert one["symbol"].values.tolist() == ["phi", "a", "b"]
    assert found["bifurcation_type"].values.tolist() == [NONE, FLIP, FLIP]
    assert found["bifurcation"].values[1:].tolist() == pytest.approx([9.0, 9.0])
    assert int(found["first_bifurcation_symbol"]) == 0
    assert np.isnan(found["first_bifurcation"])
    assert int(found["first_bifurcation_type"]) == NONE


# Values in tables.


def test_learning_phases_are_medians_with_quartiles_and_the_share_has_wilsons_interval(summary):
    made = known(summary, td_four_fifths=[30.0, np.nan, 50.0], td_halfway=[10.0, 20.0, 40.0], ti_learned=np.nan,
                 final_td_accuracy=[0.5, 0.6, 0.9], then_td_halfway=[1.0, 2.0, np.nan],
                 then_td_four_fifths=[5.0, np.nan, np.nan])  # fmt: skip
    tables, _ = reported(made)
    first, second = (cells(tables["learning-phases"], row) for row in (0, 1))
    assert (first["task"], second["task"]) == ("first", "second")
    assert (first["seeds"], first["learned"], second["learned"]) == (3, 2, 1)
    share = first["learned_share"]
    assert (share.value, share.low, share.high) == pytest.approx((100 * 2 / 3, 20.77, 93.85), abs=0.01)
    assert first["td_halfway"] == Estimate(20.0, low=15.0, high=30.0)
    assert second["td_halfway"] == Estimate(1.5, low=1.25, high=1.75)
    assert np.isnan(first["ti_learned"].value)
    assert first["final_td_accuracy"] is None  # the last network is that of the second task
    final = second["final_td_accuracy"]
    assert (final.value, final.low, final.high) == pytest.approx((60, 55, 75), abs=1e-5)
    assert tables["learning-phases"].texts()[0][5] == "never"


def test_seeds_that_are_left_out_are_noted(summary):
    made = known(summary, n_failed=2, n_unmeasured=1)
    notes = reported(made)[0]["learning-phases"].notes
    assert notes == ("group: 2 seeds failed and are left out", "group: 1 seeds could not be measured and are left out")
    assert reported(summary)[0]["learning-phases"].notes == ()


def test_the_angle_is_in_turns_per_period_of_the_clock_that_was_learned_last(summary):
    made = known(summary, leading_angle=2 * np.pi / 6)
    row = cells(reported(made)[0]["bifurcations"])
    assert row["angle"].value == pytest.approx(1.0)
    made = known(summary, leading_angle=np.array([1, 2, 4])[:, None, None] * 2 * np.pi / 6)
    assert cells(reported(made)[0]["bifurcations"])["angle"].high == pytest.approx(3.0)


def test_bifurcations_are_counted_by_type_and_a_row_is_for_each_symbol_that_has_some(summary):
    places = np.array([[10.0, np.nan], [20.0, 15.0], [np.nan, np.nan]])
    kinds = np.array([[NEIMARK_SACKER, NONE], [NEIMARK_SACKER, FLIP], [NONE, NONE]])
    made = known(summary, bifurcation=places, bifurcation_type=kinds, first_bifurcation=[10.0, 15.0, np.nan],
                 first_bifurcation_type=[NEIMARK_SACKER, FLIP, NONE], first_bifurcation_symbol=[0, 1, 0],
                 outcome=[0, 0, 3], median_difference=-3.0, median_difference_low=-5.0, median_difference_high=1.0,
                 rank_correlation=0.5, symbol_difference=[1.5, np.nan])  # fmt: skip
    made = made.assign(refined=(("seed", "symbol"), [[1, 0], [0, 1], [0, 0]]))
    table = reported(made)[0]["bifurcations"]
    first, of_a, of_b = (cells(table, row) for row in range(3))
    assert table.column("symbol") == [None, "a", "b"]
    assert first["bifurcation"] == Estimate(12.5, low=11.25, high=13.75)
    assert (first["bifurcated"], first["refined"]) == (2, 2)
    assert (of_a["bifurcated"], of_a["refined"], of_b["refined"]) == (2, 0 + 1, 1)
    assert first["types"] == {"none": 1, "neimark_sacker": 1, "flip": 1}
    assert of_a["types"] == {"neimark_sacker": 2, "none": 1}
    assert first["outcomes"] == {"both": 2, "neither": 1}
    assert first["difference"] == Estimate(-3.0, low=-5.0, high=1.0)
    assert of_a["difference"].value == 1.5
    assert first["rank_correlation"].value == 0.5
    assert of_a["outcomes"] is None
    texts = dict(zip((column.key for column in table.columns), table.texts()[2], strict=True))
    assert texts["difference"] == "cannot tell"


def test_bifurcations_that_were_not_refined_say_nothing_of_it(summary):
    assert cells(reported(summary)[0]["bifurcations"])["refined"] is None


def test_what_the_last_networks_do_is_counted_under_each_symbol_and_under_all_in_turn(summary):
    made = known(summary, attractor=[[CYCLE, FIXED_POINT]] * 2 + [[QUASI_PERIODIC, FIXED_POINT]],
                 driven_attractor=[CYCLE, CYCLE, FIXED_POINT], driven_period=[2, 5, 1],
                 accuracy_restricted=[0.5, 1.0, 0.75], accuracy_full=1.0,
                 encoding_correlation=[0.1, 0.2, 0.3])  # fmt: skip
    table = reported(made)[0]["last-networks"]
    every, of_a, of_b = (cells(table, row) for row in range(3))
    assert every["driven"] == {"cycle": 2, "entrained": 1}
    assert every["driven_periods"] == (2, 5)
    assert (every["accuracy_restricted"], every["accuracy_full"]) == (75.0, 100.0)
    assert every["encoding_correlation"].value == pytest.approx(0.2)
    assert every["second_stable"] is None
    assert (of_a["symbol"], of_a["attractors"]) == ("a", {"cycle": 2, "quasi_periodic": 1})
    assert (of_b["symbol"], of_b["attractors"]) == ("b", {"fixed_point": 3})


def test_the_stability_of_the_last_fixed_points_has_a_third_label_and_continua_are_counted_apart(summary):
    last = np.zeros(summary["fixed_points"].shape)
    counts = {"fixed_points": 2 + last, "stable_fixed_points": 1 + last, "marginal_fixed_points": last.copy(),
              "fixed_point_dimension": last.copy()}  # fmt: skip
    counts["marginal_fixed_points"][0, 0, -1] = 1  # of three seeds with two points each, under a
    counts["fixed_point_dimension"][2, 0, -1] = 1
    counts["fixed_points"][2, 0, -1] = counts["stable_fixed_points"][2, 0, -1] = 0
    rows = reported(known(summary, **counts))[0]["last-networks"].column("fixed_points")
    assert rows == [
        None, {"stable": 2, "unstable": 1, "marginal": 1, "continuum of dimension 1": 1}, {"stable": 3, "unstable": 3},
    ]  # fmt: skip
    older = known(summary, **counts).drop_vars(["marginal_fixed_points", "fixed_point_dimension"])
    assert reported(older)[0]["last-networks"].column("fixed_points")[1] == {"stable": 2, "unstable": 2}


def test_how_a_relative_clock_is_kept_is_said_of_its_null_symbol(of_relative):
    made = known(of_relative, second_stable=[[np.nan, 3.0, 3.0], [10.0, 3.0, 3.0]], counting_probe_r2=[0.2, 0.4],
                 counting_probe_error=1.5, counting_rank_correlation=-1.0)  # fmt: skip
    tables, _ = reported(made)
    row = cells(tables["last-networks"])
    assert row["second_stable"] == Estimate(10.0, low=10.0, high=10.0)
    assert row["counting_probe_r2"].value == pytest.approx(0.3)
    assert (row["counting_probe_error"].value, row["counting_rank_correlation"].value) == (1.5, -1.0)
    assert row["accuracy_restricted"] is None
    assert cells(tables["bifurcations"])["angle"] is None
    assert "second-task" not in tables


def test_the_second_task_says_how_many_oscillate_before_in_between_and_at_the_end(summary):
    assert summary["checkpoint"].values.tolist() == [0, 6, 12, 18, 24]
    stable = np.ones(summary["stable_fixed_points"].shape)
    stable[:2, 0, 2] = 0  # two of three oscillate under a when the second task begins
    stable[0, 0, 4] = 0
    made = known(summary, stable_fixed_points=stable, fixed_points=1, first_bifurcation_symbol=0,
                 then_orbit_lost=[[6.0, 1.0], [12.0, 1.0], [np.nan, 1.0]],
                 then_orbit_returns=[[12.0, np.nan], [np.nan, np.nan], [np.nan, np.nan]],
                 then_td_four_fifths=[1.0, np.nan, np.nan], then_td_halfway=[4.0, 8.0, np.nan])  # fmt: skip
    row = cells(reported(made)[0]["second-task"])
    assert [row[key] for key in ("before", "stop", "again", "learned", "end")] == [2, 2, 1, 1, 1]
    assert row["stop_by"] == Estimate(9.0, low=7.5, high=10.5)
    assert row["again_by"].value == 12
    assert row["halfway"].value == 6


# Diagrams.


def two_automata(zipped):
    """A summary without seeds whose axis ``case`` zips automata and learning rates."""
    parameters = {"clock": "periodic", "period": 10, "threshold": 5, "p": 0.2, "automaton": None, "length": 12}
    axis = {"name": "case", "labels": ["x", "y"], "values": {"automaton": zipped, "learning_rate": [1e-3, 3e-3]}}
    return xr.Dataset(
        {"n_seeds": ("case", [0, 0])},
        {"case": ["x", "y"]},
        {"kind": "flipflop", "parameters": json.dumps(parameters), "axes": json.dumps([axis])},
    )


def test_a_users_automaton_on_a_zipped_axis_is_drawn_once_for_each_that_differs():
    other = TOGGLE | {"theta1": TOGGLE["theta0"]}
    drawn = dict(automata({"g": two_automata([TOGGLE, other])}))
    assert {name: [task.states for task in tasks] for name, tasks in drawn.items()} == {
        "automaton-g": [("off", "dim", "on")], "automaton-g-2": [("off", "dim", "on")],
    }  # fmt: skip
    assert drawn["automaton-g"] == [task_from({"automaton": TOGGLE})]
    assert drawn["automaton-g-2"] == [task_from({"automaton": other})]
    assert list(dict(automata({"g": two_automata([TOGGLE, TOGGLE])}))) == ["automaton-g"]
    tables, figures = reported(two_automata([TOGGLE, other]))
    assert set(figures) == {"automaton-group", "automaton-group-2"}
    assert all(not table.rows for table in tables.values())


def test_a_users_automaton_on_a_zipped_axis_is_what_the_last_network_is_driven_by(tmp_path):
    axes = {"case": {"label": ["x", "y"], "automaton": [TOGGLE, TOGGLE], "learning_rate": [1e-3, 3e-3]}, "seed": [0]}
    run = trained(tmp_path / "a.zarr", axes=axes)
    found = summarised(run)
    assert (found["driven_word"] == 2 * 3).all()  # two symbols, one step more than the threshold of 2 each
    _, figures = reported(found)
    assert [name for name in figures if name.startswith("automaton")] == ["automaton-group"]


def test_automata_that_differ_in_their_clock_alone_share_a_diagram_that_names_every_clock():
    tasks = [task_from({"clock": "periodic", "period": period}) for period in (4, 8, 6)]
    assert clock_text(tasks) == "Theta = 1 in the second half of every 4, 6 or 8 steps"
    assert clock_text([task_from({"automaton": TOGGLE})]).startswith("Theta = 1 once more than 2 steps")
    later = TOGGLE | {"clock": {"kind": "relative", "threshold": 4}}
    ((name, drawn),) = automata({"g": two_automata([TOGGLE, later])})
    assert (name, len(drawn)) == ("automaton-g", 2)


# Nothing ends a report.


def briefly(*arguments, **options):
    """Attractors by short orbits: what they are does not matter here."""
    return classify_attractors(*arguments, **options | {"transient": 32, "length": 64, "rounds": 1})


@pytest.mark.parametrize(
    ("fixed", "record"),
    [
        ({"n_hidden": 1}, {"iterations": 1, "checkpoints": 1}),
        ({"n_hidden": 2, "initial_gain": 0.0, "period": 4}, {"iterations": 2, "spacing": "log", "checkpoints": 2}),
        ({"length": 1, "period": 2}, {"probe": 1}),
        ({"period": 20}, {"then_iterations": 12, "spacing": "log", "checkpoints": 4}),
        ({"cell": "gru", "clock": "relative", "threshold": 2}, {}),
        ({"cell": "lstm", "n_hidden": 1, "period": 4}, {"checkpoints": 1}),
        ({"cell": "lstm", "n_hidden": 2, "clock": "relative", "p": 1.0}, {"checkpoints": 1}),
        ({"clock": "relative", "p": 0.02, "batch": 2, "loss_on": "non-null"}, {"probe": 1}),
        ({"automaton": TOGGLE}, {"then_iterations": 12}),
        ({"automaton": FORMULAS}, {}),
    ],
    ids=["one unit, one update", "two units, no recurrence", "sequences of one step", "a period beyond the sequence",
         "gru", "lstm of one unit", "a null symbol that never comes", "hardly a symbol", "three states",
         "no time-dependent symbol, names that look like formulas"],
)  # fmt: skip
def test_odd_networks_and_tasks_end_with_tables_and_figures(fixed, record, tmp_path, monkeypatch):
    monkeypatch.setattr(last_network, "classify_attractors", briefly)
    run = trained(tmp_path / "a.zarr", fixed, record)
    assert (run["status"] == 1).all(), run["error"].values
    measured = measured_of(run)
    for seeds in (2, 1, 0):
        tables, drawn = reported(summary_of(run, measured, seeds))
        assert tables["learning-phases"].column("seeds")[:1] == ([seeds] if seeds else [])
        assert OF_NETWORKS.issubset(drawn) == (seeds > 0)
        assert "automaton-group" in drawn


def test_a_scheme_without_a_finished_seed_is_left_out_beside_others(summary, of_relative):
    nothing = REDUCTION.summarise(summary.isel(seed=slice(0))).assign_attrs(summary.attrs)
    tables, drawn = reported(nothing, summary, of_relative)
    assert tables["bifurcations"].column("scheme")[0] == "group1"
    assert tables["learning-phases"].notes == ("without a finished seed, and not shown: group",)
    assert {"schemes", "eigenplane", "retraining", "oscillator", "automaton-group2"} <= set(drawn)
    assert OF_NETWORKS.isdisjoint(reported(nothing)[1])


def test_networks_of_which_nothing_could_be_measured_end_with_tables_and_figures(summary, of_relative):
    for made in (summary, of_relative):
        floats = [name for name, variable in made.data_vars.items() if variable.dtype.kind == "f"]
        unknown = known(made, **dict.fromkeys(floats, np.nan))
        tables, _ = reported(unknown)
        assert tables["bifurcations"].texts()[0][5] == "never"


def test_a_network_that_no_eigenplane_was_found_of_stands_beside_one_that_has_it(periodic, summary):
    names = [name for name in summary if str(name).startswith(("plane_", "encoding_", "accuracy_"))]
    measured = [REDUCTION.measure(periodic.isel(seed=seed)) for seed in (0, 1)]
    for without in (0, 1):
        parts = [part.drop_vars(names) if seed == without else part for seed, part in enumerate(measured)]
        tables, drawn = reported(REDUCTION.summarise(joined(parts)).assign_attrs(periodic.attrs))
        assert "eigenplane" in drawn
        assert f"seed {1 - without}" in drawn["eigenplane"].axes[0].get_title()
        assert np.isfinite(cells(tables["last-networks"])["accuracy_full"])


def along_rates(summary, number):
    """A summary as of so many learning rates that all gave the same."""
    rates = [0.001 * (1 + rate) for rate in range(number)]
    axes = [{"name": "learning_rate", "labels": rates, "values": {"learning_rate": rates}},
            {"name": "seed", "labels": summary["seed"].values.tolist(), "values": {}}]  # fmt: skip
    found = xr.concat([summary] * number, "learning_rate", data_vars="all", coords="minimal", compat="override")
    return found.assign_coords(learning_rate=rates).assign_attrs(summary.attrs | {"axes": json.dumps(axes)})


def test_more_schemes_than_panels_are_said_to_be_the_first(of_relative):
    _, drawn = reported(along_rates(of_relative, 13))
    assert drawn["learning"].get_suptitle() == "the first 12 of 13 schemes"
    assert len(drawn["learning"].axes) == 12
    assert drawn["schemes"].axes[1].get_xticklabels()[12].get_text() == "learning_rate 0.013"
    assert reported(along_rates(of_relative, 12))[1]["learning"].get_suptitle() == ""


def test_a_scheme_that_could_not_be_reduced_is_left_out(of_relative):
    found = along_rates(of_relative, 2).assign(reduction_error=("learning_rate", ["", "ValueError: broken"]))
    assert len(list(schemes(found))) == 1
    tables, _ = reported(found)
    assert tables["learning-phases"].column("scheme") == ["learning_rate 0.001"]


def test_nothing_is_drawn_before_it_is_called(summary, monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("drawn")

    monkeypatch.setattr(Figure, "__init__", refuse)
    figures = REPORT.figures(Summaries({"group": summary}), xr.DataTree())
    assert set(figures) == OF_NETWORKS | {"eigenplane", "retraining", "oscillator", "automaton-group"}
    with pytest.raises(AssertionError, match="drawn"):
        figures["learning"]()
