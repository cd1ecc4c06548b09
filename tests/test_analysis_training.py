"""What is drawn from training runs: against NumPy, on every cell, and on a network that learned the time."""

import numpy as np
import pytest
import xarray as xr

import isochron
from analysis import training
from analysis.attractors import CYCLE, FIXED_POINT, QUASI_PERIODIC
from analysis.automaton_diagram import transitions
from analysis.bifurcations import NEIMARK_SACKER, find_bifurcations, first_bifurcation, refine_with_checkpoints
from analysis.fixed_points import continue_fixed_points
from flows.reduce import reduce_part
from kernels.automata import temporal_flipflop
from kernels.rnn import Weights
from sweeps.seeds import point_seed
from sweeps.sweep import parse
from tests.serial import run_serially


def trained(location, fixed, record, seeds=(0,)):
    sweep = parse({"kind": "flipflop", "seed": 7, "axes": {"seed": list(seeds)}, "fixed": fixed, "record": record})
    run_serially(location, sweep)
    (group,) = sweep.groups()
    return isochron.open(location)[group.name].to_dataset(), group, location


@pytest.fixture(scope="module")
def clockwork(tmp_path_factory):
    """Two networks that learn a period of 6."""
    location = str(tmp_path_factory.mktemp("clockwork") / "a.zarr")
    fixed = {"period": 6, "length": 30, "batch": 32, "n_hidden": 12, "learning_rate": 0.01}
    record = {"iterations": 200, "checkpoints": 20, "heldout": 64, "probe": 8}
    return trained(location, fixed, record, seeds=(0, 1))


@pytest.fixture(scope="module")
def measured(clockwork):
    return [training.measure(clockwork[0].isel(seed=seed)) for seed in (0, 1)]


def test_eigenvalues_are_those_of_the_jacobian_written_out_in_numpy(clockwork, measured):
    run, found = clockwork[0].isel(seed=0).load(), measured[0].isel(seed=0)
    for checkpoint in (0, 10, 20):
        at = run.isel(checkpoint=checkpoint)
        W, U, b = (at[name].values[0].astype(float) for name in ("recurrent_weights", "input_weights", "bias"))
        for symbol in (0, 1):
            modulus = float(found["leading_modulus"].isel(symbol=symbol, checkpoint=checkpoint))
            h = np.zeros(len(b))
            for _ in range(200):  # Newton from the origin: these networks have one fixed point
                J = (1 - np.tanh(W @ h + U[:, symbol] + b) ** 2)[:, None] * W
                h = h + np.linalg.solve(np.eye(len(b)) - J, np.tanh(W @ h + U[:, symbol] + b) - h)
            assert found["fixed_points"].isel(symbol=symbol, checkpoint=checkpoint) == 1
            assert modulus == pytest.approx(np.abs(np.linalg.eigvals(J)).max(), rel=1e-9)


def test_learning_the_time_goes_with_a_neimark_sacker_bifurcation(measured):
    for seed in measured:
        seed = seed.isel(seed=0)
        assert seed["ti_learned"] < seed["td_transition"]
        assert seed["first_bifurcation_type"] == NEIMARK_SACKER
        assert seed["first_bifurcation_low"] <= seed["first_bifurcation"] <= seed["first_bifurcation_high"]
        assert abs(seed["first_bifurcation"] - seed["td_transition"]) < 25
        assert seed["leading_angle"].isel(symbol=0, checkpoint=-1) * 6 / (2 * np.pi) == pytest.approx(1, abs=0.15)
        assert seed["encoding_correlation"] > 0.3
        assert seed["encoding_p_value"] < 0.01
        assert seed["accuracy_restricted"] > 0.9
        assert seed["modulus_at_halfway"].max() > 0.9


def test_a_network_that_keeps_time_oscillates_alone_and_is_entrained_by_an_input_of_its_period(measured):
    for seed in measured:
        seed = seed.isel(seed=0)
        assert set(seed["attractor"].values.tolist()) <= {CYCLE, QUASI_PERIODIC}
        assert int(seed["driven_attractor"]) == FIXED_POINT  # of the map over a word
        assert int(seed["driven_word"]) == 6
        orbit = seed["plane_orbit"].transpose("orbit_step", "axis").values
        turns = np.unwrap(np.angle(orbit @ [1, 1j])) / (2 * np.pi)
        assert abs(turns[-1] - turns[0]) / (len(turns) - 1) == pytest.approx(1 / 6, abs=0.02)
        own = seed["plane_fixed_points"].isel(symbol=int(seed["first_bifurcation_symbol"]))
        np.testing.assert_allclose(own, 0, atol=1e-9)


def test_the_orbit_is_lost_where_a_fixed_point_becomes_stable_and_is_back_where_none_is():
    def lost_and_back(number_stable, number=(1,) * 7):
        at = ("checkpoint", np.arange(0, 70, 10))
        counts = {"number": ("checkpoint", list(number)), "number_stable": ("checkpoint", number_stable)}
        lost, back = training._orbit_lost_and_back(xr.Dataset(counts, {"checkpoint": at}), 20)
        return float(lost), float(back)

    assert lost_and_back([1, 1, 0, 0, 1, 0, 0]) == (20, 30)
    np.testing.assert_equal(lost_and_back([1, 1, 0, 0, 0, 0, 0]), (np.nan, np.nan))
    np.testing.assert_equal(lost_and_back([1, 1, 1, 1, 0, 1, 1]), (np.nan, 20))
    np.testing.assert_equal(lost_and_back([1, 1, 0, 1, 1, 1, 1]), (10, np.nan))
    np.testing.assert_equal(lost_and_back([0] * 7, number=[0] * 7), (np.nan, np.nan))  # none found is none known


def test_training_again_with_a_finer_interval_finds_the_bifurcation_within_its_bracket(clockwork, measured):
    run, group, _ = clockwork
    symbol = int(measured[0]["first_bifurcation_symbol"][0])
    dataset = run.isel(seed=0).load()
    step = training.step_of("rnn")

    def parameters(dataset):
        weights = training.network(dataset)
        u = np.broadcast_to(np.eye(2)[symbol], (dataset.sizes["checkpoint"], 2))
        return weights, u

    def finer(low, high):
        """The same training once more, with a checkpoint at every update; its last part."""
        fixed = {name: value for name, value in group.fixed.items() if name != "automaton"}
        record = dict(group.record) | {"iterations": int(high), "checkpoints": int(high)}
        (again,) = parse(
            {"kind": "flipflop", "seed": 7, "axes": {"seed": [0]}, "fixed": fixed, "record": record}
        ).groups()
        point, kind = again.first(), again.kind
        (outcome,) = kind.run([(point, point_seed(7, kind.name, point, kind.seed_free))], again.record)
        variables = kind.variables(point, again.record)
        fine = xr.Dataset({name: (variables[name].dims, values) for name, values in outcome.arrays.items()})
        return np.arange(low, high + 1), parameters(fine.isel(checkpoint=slice(int(low), None)))

    one_path = tuple(type(part)(*(x[None] for x in part)) if isinstance(part, Weights) else part[None]
                     for part in parameters(dataset))  # fmt: skip
    starts = np.zeros((1, dataset.sizes["checkpoint"], 1, 12))
    (branches,) = continue_fixed_points(step, one_path, starts, dataset["checkpoint"].values)
    coarse = first_bifurcation(find_bifurcations(branches))
    _, events = refine_with_checkpoints(step, finer, branches, coarse)
    fine = first_bifurcation(events)
    assert int(fine["type"]) == int(coarse["type"]) == NEIMARK_SACKER
    assert float(fine["checkpoint_high"] - fine["checkpoint_low"]) == 1
    assert float(coarse["checkpoint_low"]) <= float(fine["checkpoint"]) <= float(coarse["checkpoint_high"])


def test_a_refined_reduction_locates_every_bifurcation_between_two_updates(clockwork, measured):
    _, group, location = clockwork
    for seed, coarse in enumerate(measured):
        fine = reduce_part(location, group.name, {"seed": seed}, refine=True)
        assert fine["refined"].values.tolist() == np.isfinite(coarse["bifurcation"]).values.astype(int).tolist()
        there = fine["refined"] == 1
        assert ((fine["bifurcation_high"] - fine["bifurcation_low"]).where(there, 1) == 1).all()
        assert (fine["bifurcation_low"].where(there, 1e9) >= coarse["bifurcation_low"].fillna(0)).all()
        assert (fine["bifurcation_high"].where(there, 0) <= coarse["bifurcation_high"].fillna(0)).all()
        assert (fine["bifurcation_type"] == coarse["bifurcation_type"]).all()
        symbol = int(fine["first_bifurcation_symbol"][0])
        assert float(fine["first_bifurcation"][0]) == float(fine["bifurcation"].isel(symbol=symbol, seed=0))
        untouched = [name for name in coarse if "bifurcation" not in str(name)]
        xr.testing.assert_identical(fine[untouched], coarse[untouched])


def test_the_seeds_of_a_scheme_are_summarised_together(measured):
    summary = training.summarise(xr.concat(measured, "seed"))
    assert int(summary["n_seeds"]) == int(summary["learned"]) == 2
    assert float(summary["learned_low"]) == pytest.approx(0.342, abs=1e-3)  # Wilson's interval of 2 in 2
    assert float(summary["both"]) == 1
    halfway = xr.concat(measured, "seed")["td_halfway"]
    difference = (xr.concat(measured, "seed")["bifurcation"] - halfway).median("seed")
    xr.testing.assert_allclose(summary["symbol_difference"].drop_vars("symbol"), difference.drop_vars("symbol"))
    assert np.isnan(float(summary["median_difference_low"]))  # two seeds cannot tell


@pytest.mark.parametrize(("cell", "state"), [("gru", 4), ("lstm", 8)])
def test_other_cells_are_measured_alike(cell, state, tmp_path):
    fixed = {"cell": cell, "clock": "relative", "threshold": 2, "length": 12, "batch": 4, "n_hidden": 4}
    run, _, _ = trained(str(tmp_path / "a.zarr"), fixed, {"iterations": 4, "checkpoints": 2, "heldout": 8, "probe": 6})
    found = training.measure(run.isel(seed=0)).isel(seed=0)
    assert found["eigenvalue_real"].sizes == {"symbol": 3, "checkpoint": 3, "eigenvalue": state}
    assert (found["fixed_points"] >= 1).all()
    assert (found["leading_modulus"] < 1).all()
    assert np.isfinite(found["counting_probe_error"])


def test_the_state_diagram_has_an_arrow_for_every_transition():
    found = transitions(temporal_flipflop("relative", threshold=5, p=0.2))
    assert found == {
        (0, 0): [("phi", None), ("a", 0), ("b", None)],
        (0, 1): [("a", 1)],
        (1, 1): [("phi", None), ("a", 1)],
        (1, 0): [("a", 0), ("b", None)],
    }


def test_no_second_stable_point_is_called_lasting_at_the_end_of_a_run():
    at = np.arange(100)

    def second(number):
        return float(training._second_stable(xr.Dataset({"number_stable": ("checkpoint", number)}, {"checkpoint": at})))

    assert np.isnan(second(np.where(at < 99, 1, 2)))
    assert second(np.where(at < 40, 1, 2)) == 40
    assert second(np.where((at < 40) & (at != 10), 1, 2)) == 40
