"""Sweeps of kind ``flipflop``: training on the grid, its store, and what it refuses."""

import numpy as np
import pytest
import xarray as xr
import zarr

import isophase
from isophase.kernels.automata import temporal_flipflop
from isophase.kernels.rnn import train, weights_at
from isophase.sweeps.kinds import kind_named
from isophase.sweeps.seeds import point_seed
from isophase.sweeps.sweep import SweepError, load, parse
from tests.serial import run_serially, study_serially
from tests.test_command_line import run

TINY = {"length": 12, "batch": 4, "n_hidden": 6}
BRIEF = {"iterations": 20, "checkpoints": 2, "heldout": 16, "probe": 2}
TOGGLE = {
    "states": ["off", "dim", "on"],
    "symbols": ["wait", "press"],
    "null": "wait",
    "clock": {"kind": "relative", "threshold": 2},
    "theta0": {"off": {"wait": "off", "press": "dim"}, "dim": {"wait": "dim", "press": "on"},
               "on": {"wait": "on", "press": "off"}},
    "theta1": {"off": {"wait": "off", "press": "on"}, "dim": {"wait": "dim", "press": "off"},
               "on": {"wait": "on", "press": "on"}},
}  # fmt: skip


def sweep(axes, fixed=(), record=()):
    return parse(
        {"kind": "flipflop", "seed": 7, "axes": axes, "fixed": TINY | dict(fixed), "record": BRIEF | dict(record)}
    )


def test_curves_checkpoints_and_probe_have_labelled_dimensions(tmp_path):
    location = str(tmp_path / "a.zarr")
    run_serially(location, sweep({"period": [4, 6], "seed": [0, 1]}))
    found = isophase.open(location)["periodic-rnn-6-T12"]
    assert (found.status == 1).all(), found.error.values
    assert found.loss.dims == ("period", "seed", "iteration")
    assert found.recurrent_weights.dims == ("period", "seed", "checkpoint", "gate", "hidden", "hidden_from")
    assert found.probe_state.sizes == {"period": 2, "seed": 2, "probe": 2, "time": 12, "state": 6}
    assert found.checkpoint.values.tolist() == [0, 10, 20]
    assert found.symbol.values.tolist() == ["a", "b"]
    assert np.isfinite(found.loss).all()
    assert (found.td_base_accuracy == 0.5).all()


def test_same_seed_same_bits_for_any_chunking_of_seeds_and_beside_any_settings(tmp_path):
    together, alone = str(tmp_path / "together.zarr"), str(tmp_path / "alone.zarr")
    run_serially(together, sweep({"learning_rate": [1e-3, 3e-3], "seed": [0, 1, 2]}))
    run_serially(alone, sweep({"seed": [2]}, {"learning_rate": 3e-3}))
    one = isophase.open(alone)["periodic-rnn-6-T12"].sel(seed=2)
    same = isophase.open(together)["periodic-rnn-6-T12"].sel(seed=2, learning_rate=3e-3)
    for name in ("loss", "td_accuracy", "heldout_loss", "recurrent_weights", "probe_state"):
        np.testing.assert_array_equal(one[name].values, same[name].values)


def test_same_seed_same_bits_on_dask_workers(tmp_path):
    file = tmp_path / "small.toml"
    file.write_text(
        'kind = "flipflop"\nseed = 7\n[axes]\nlearning_rate = [1e-3, 3e-3]\nseed = [0, 1, 2]\n'
        "[fixed]\nlength = 12\nbatch = 4\nn_hidden = 6\n[record]\niterations = 20\ncheckpoints = 2\n"
    )
    answer = run("run", file, "--store", tmp_path / "dask.zarr", "--workers", 2)
    assert answer.returncode == 0, answer.stderr
    run_serially(str(tmp_path / "alone.zarr"), load(file))
    found, wanted = (isophase.open(tmp_path / name)["periodic-rnn-6-T12"].to_dataset() for name in
                     ("dask.zarr", "alone.zarr"))  # fmt: skip
    xr.testing.assert_identical(found.drop_vars("wall_time"), wanted.drop_vars("wall_time"))


def test_a_diverging_run_is_a_failure_with_its_iteration_and_the_rest_finishes(tmp_path):
    location = str(tmp_path / "a.zarr")
    run_serially(location, sweep({"learning_rate": [1e-3, 1e38], "seed": [0, 1]}, {"optimizer": "sgd"}))
    found = isophase.open(location)["periodic-rnn-6-T12"]
    assert (found.status.sel(learning_rate=1e-3) == 1).all()
    assert (found.status.sel(learning_rate=1e38) == 2).all()
    for error in found.error.sel(learning_rate=1e38).values:
        assert "DivergedError: the loss of iteration" in error


def test_retraining_goes_on_from_the_first_task_s_last_network(tmp_path):
    both, first = str(tmp_path / "both.zarr"), str(tmp_path / "first.zarr")
    run_serially(both, sweep({"seed": [3]}, {"period": 4, "then_period": 6}, {"then_iterations": 10}))
    run_serially(first, sweep({"seed": [3]}, {"period": 4}))
    group = "periodic-rnn-6-T12"
    both, first = (isophase.open(location)[group].isel(seed=0) for location in (both, first))
    assert both.checkpoint.values.tolist() == [0, 10, 20, 25, 30]
    assert both.sizes["iteration"] == 30
    np.testing.assert_array_equal(both.loss[:20], first.loss)
    np.testing.assert_array_equal(both.recurrent_weights[:3], first.recurrent_weights)
    assert (both.recurrent_weights[3] != both.recurrent_weights[2]).any()
    assert int(both.then_from) == 20


def test_the_second_task_is_learned_from_sequences_of_its_own(tmp_path):
    location = str(tmp_path / "a.zarr")
    wanted = sweep({"seed": [3]}, {"period": 4}, {"then_iterations": 10})
    run_serially(location, wanted)
    both = isophase.open(location)["periodic-rnn-6-T12"].isel(seed=slice(0, 1))
    (group,) = wanted.groups()
    first, second = point_seed(7, "flipflop", group.first(), group.kind.seed_free).spawn(2)
    start = weights_at(both.to_dataset(), slice(None), 2)
    again, other = (
        train(temporal_flipflop("periodic", period=4), n_hidden=6, length=12, batch=4, learning_rate=3e-3, start=start,
              seeds=[seed], iterations=10).loss.values
        for seed in (second, first)
    )  # fmt: skip
    np.testing.assert_array_equal(both.loss[:, 20:], again)
    assert (both.loss[:, 20:].values != other).all()


def test_the_optimizer_goes_on_where_it_is_kept(tmp_path):
    location = str(tmp_path / "a.zarr")
    run_serially(location, sweep({"seed": [3], "keep_optimizer": [False, True]}, record={"then_iterations": 10}))
    new, kept = (isophase.open(location)["periodic-rnn-6-T12"].isel(seed=0, keep_optimizer=i) for i in (0, 1))
    np.testing.assert_array_equal(new.loss[:21], kept.loss[:21])
    assert (new.loss[21:].values != kept.loss[21:].values).all()


def test_an_automaton_of_the_user_s_is_learned_like_any_other(tmp_path):
    location = str(tmp_path / "a.zarr")
    run_serially(location, sweep({"seed": [0]}, {"automaton": TOGGLE}))
    found = next(iter(isophase.open(location).children.values()))
    assert (found.status == 1).all(), found.error.values
    assert found.symbol.values.tolist() == ["wait", "press"]
    assert found.sizes["output"] == 3


def test_log_spaced_checkpoints_begin_dense():
    record = sweep({"seed": [0]}, record={"iterations": 1000, "checkpoints": 20, "spacing": "log"}).record
    at = record.checkpoint()
    assert at[:3].tolist() == [0, 1, 2]
    assert at[-1] == 1000
    assert (np.diff(at) > 0).all()


@pytest.mark.parametrize(
    ("fixed", "record", "message"),
    [
        ({"period": 5}, {}, "period=5: must be an even integer >= 2"),
        ({"then_period": 6}, {}, "then_period=6: must be 0 with then_iterations=0"),
        ({"keep_optimizer": True}, {}, "keep_optimizer=True: must be false with then_iterations=0"),
        ({"clock": "relative", "then_period": 6}, {"then_iterations": 10}, "then_period=6: must be 0 without clock"),
        ({"momentum": 0.9}, {}, "momentum=0.9: must be 0 with optimizer='adam'"),
        ({"cell": "gru", "hold_modulus": 0.9}, {}, "hold_modulus=0.9: must be 0 with cell='gru'"),
        ({"cell": "elman"}, {}, "cell='elman'"),
        ({"learning_rate": 0.0}, {}, "learning_rate=0.0"),
        ({"automaton": {**TOGGLE, "null": "nothing"}}, {}, "null='nothing': must be one of wait, press"),
        ({"automaton": {"states": ["a", "b"]}}, {}, "key 'symbols': missing"),
        ({"automaton": TOGGLE, "period": 6}, {}, "period=6: must not be given with automaton, which has its own clock"),
        ({"keep_optimizer": True, "optimizer": "sgd"}, {"then_iterations": 10}, "'sgd' without momentum"),
        ({}, {"checkpoints": 3}, "checkpoints=3: must divide iterations=20"),
    ],
)  # fmt: skip
def test_what_cannot_be_trained_is_refused_before_it_starts(fixed, record, message):
    with pytest.raises(SweepError) as refusal:
        sweep({"seed": [0]}, fixed, record)
    assert message in str(refusal.value)


def test_failed_seeds_and_schemes_without_any_are_reported_and_left_out(tmp_path):
    location = str(tmp_path / "a.zarr")
    wanted = sweep({"learning_rate": [1e-3, 1e38], "seed": [0, 1]}, {"optimizer": "sgd"})
    report = study_serially(location, wanted)
    assert "2 seeds failed" not in str(report)  # no line for a scheme of which nothing is left
    summary = isophase.open(location)["summary/periodic-rnn-6-T12"]
    assert summary.n_seeds.values.tolist() == [2, 0]
    assert summary.n_failed.values.tolist() == [0, 2]
    assert np.isnan(summary.leading_modulus.sel(learning_rate=1e38)).all()


def test_one_failed_seed_among_others_leaves_the_summary_of_the_others(tmp_path):
    location = str(tmp_path / "a.zarr")
    wanted = sweep({"learning_rate": [1e-3, 1e-2], "seed": [0, 1, 2]})
    run_serially(location, wanted)
    status = zarr.open_array(f"{location}/periodic-rnn-6-T12/status", mode="r+")
    status[0, 1] = 2
    assert "1 seeds failed" in str(study_serially(location, wanted))
    summary = isophase.open(location)["summary/periodic-rnn-6-T12"]
    assert summary.n_seeds.values.tolist() == [2, 3]
    assert np.isnan(summary.leading_modulus.isel(learning_rate=0, seed=1)).all()


@pytest.mark.parametrize(
    "fixed",
    [
        {"automaton": TOGGLE | {"theta1": TOGGLE["theta0"]}},
        {"initial_gain": 0.0},
        {"n_hidden": 1},
        {"period": 20},
        {"clock": "relative", "p": 0.05, "batch": 2, "loss_on": "non-null"},
    ],
    ids=[
        "no time-dependent symbol",
        "no recurrence",
        "one unit",
        "period beyond the sequence",
        "batches of null alone",
    ],
)
def test_odd_networks_and_tasks_end_with_a_table_and_figures(fixed, tmp_path):
    location = str(tmp_path / "a.zarr")
    report = study_serially(location, sweep({"seed": [0, 1]}, fixed))
    assert str(report)
    assert len([draw() for draw in report.figures.values()]) >= 4
    (group,) = (name for name in isophase.open(location).children if name != "summary")
    assert (isophase.open(location)[group].status == 1).all()


def test_two_automata_on_one_axis_stay_apart(tmp_path):
    other = TOGGLE | {"clock": {"kind": "periodic", "period": 4}}
    wanted = sweep({"task": {"label": ["x", "y"], "automaton": [TOGGLE, other]}, "seed": [0]})
    assert len({group.name for group in wanted.groups()}) == 2


def test_only_networks_can_be_refined(tmp_path):
    location = str(tmp_path / "a.zarr")
    run_serially(location, parse({"kind": "lattice", "fixed": {"size": 4}, "record": {"t_end": 1.0, "samples": 1}}))
    with pytest.raises(SweepError, match=r"refine: store .* is of kind 'lattice', whose points cannot be refined"):
        isophase.reduce(location, refine=True)


@pytest.mark.parametrize(
    "treatment",
    [
        {"then_period": 6},
        {"keep_optimizer": True},
        {"optimizer": "sgd"},
        {"learning_rate": 0.1},
        {"momentum": 0.5},
        {"clip": 1.0},
        {"initial_gain": 2.0},
        {"loss_on": "non-null"},
        {"hold_modulus": 0.9},
        {"start_modulus": 0.9},
    ],
    ids=lambda treatment: next(iter(treatment)),
)
def test_the_same_networks_and_sequences_are_under_every_treatment(treatment):
    """Comparisons of treatments are paired: the draws of a seed are those of the seed without it."""
    kind = kind_named("flipflop")
    plain, treated = (kind.parameters(seed=3, **values) for values in ({}, treatment))
    streams = [point_seed(1, kind.stream, model, kind.seed_free).spawn_key for model in (plain, treated)]
    assert streams[0] == streams[1]
    other = kind.parameters(seed=3, n_hidden=8)
    assert point_seed(1, kind.stream, other, kind.seed_free).spawn_key != streams[0]


@pytest.mark.parametrize("period", [5, 1])
def test_a_second_period_that_is_none_is_refused_by_its_own_name(period):
    with pytest.raises(SweepError, match=rf"^then_period={period}: must be an even integer"):
        sweep({"seed": [0]}, {"then_period": period}, {"then_iterations": 20})
