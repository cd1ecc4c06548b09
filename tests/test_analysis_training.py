"""What is drawn from training runs: against NumPy, on every cell, and on a network that learned the time."""

import numpy as np
import pytest
import xarray as xr

import isophase
from isophase.analysis.networks import training
from isophase.analysis.networks.attractors import CYCLE, FIXED_POINT, QUASI_PERIODIC
from isophase.analysis.networks.automaton_diagram import transitions
from isophase.analysis.networks.bifurcations import CANNOT_TELL, FOLD, NEIMARK_SACKER
from isophase.flows.reduction import Part, kind_of, reduce_part
from isophase.kernels.automata import temporal_flipflop
from isophase.sweeps.kinds import parcel
from isophase.sweeps.sweep import parse
from tests.serial import run_serially


def trained(location, fixed, record, seeds=(0,)):
    sweep = parse({"kind": "flipflop", "seed": 7, "axes": {"seed": list(seeds)}, "fixed": fixed, "record": record})
    run_serially(location, sweep)
    (group,) = sweep.groups()
    return isophase.open(location)[group.name].to_dataset(), group, location


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
    def lost_and_back(number_stable, number=(1,) * 7, number_marginal=(0,) * 7, dimension=(0,) * 7):
        counts = {"number": number, "number_stable": number_stable, "number_marginal": number_marginal,
                  "dimension": dimension}  # fmt: skip
        counts = {name: ("checkpoint", list(values)) for name, values in counts.items()}
        lost, back = training._orbit_lost_and_back(xr.Dataset(counts, {"checkpoint": np.arange(0, 70, 10)}), 20)
        return float(lost), float(back)

    assert lost_and_back([1, 1, 0, 0, 1, 0, 0]) == (20, 30)
    np.testing.assert_equal(lost_and_back([1, 1, 0, 0, 0, 0, 0]), (np.nan, np.nan))
    np.testing.assert_equal(lost_and_back([1, 1, 1, 1, 0, 1, 1]), (np.nan, 20))
    np.testing.assert_equal(lost_and_back([1, 1, 0, 1, 1, 1, 1]), (10, np.nan))
    np.testing.assert_equal(lost_and_back([0] * 7, number=[0] * 7), (np.nan, np.nan))  # none found is none known
    for undecided in ("number_marginal", "dimension"):  # nor is a marginal point, or a line of them, an oscillation
        got = lost_and_back([1, 1, 1, 0, 0, 0, 0], **{undecided: [0, 0, 0, 1, 0, 0, 0]})
        np.testing.assert_equal(got, (np.nan, 20))


def test_refined_bifurcations_are_those_of_a_run_with_a_checkpoint_at_every_update(clockwork, measured, tmp_path):
    _, group, location = clockwork
    fixed = {name: value for name, value in group.fixed.items() if name != "automaton"}
    every_update = dict(group.record) | {"checkpoints": 200}
    run, _, _ = trained(str(tmp_path / "a.zarr"), fixed, every_update, seeds=(0, 1))
    for seed, coarse in enumerate(measured):
        fine = reduce_part(Part(location, group.name, {"seed": seed}, parcel(kind_of(location)), refine=True)).isel(
            seed=0
        )
        wanted = training.measure(run.isel(seed=seed)).isel(seed=0)
        assert fine["refined"].values.tolist() == [1, 1]
        assert float(fine["first_bifurcation"]) == float(fine["bifurcation"].min())
        for name in ("bifurcation", "bifurcation_low", "bifurcation_high", "bifurcation_type", "bifurcation_angle",
                     "first_bifurcation", "first_bifurcation_symbol"):  # fmt: skip
            np.testing.assert_allclose(fine[name], wanted[name], rtol=1e-6, err_msg=name)
        assert float(coarse["bifurcation_high"][0, 0] - coarse["bifurcation_low"][0, 0]) == 10
        untouched = ["eigenvalue_real", "td_halfway", "attractor"]
        xr.testing.assert_identical(fine[untouched], coarse[untouched].isel(seed=0))


def test_networks_that_come_out_otherwise_when_trained_again_are_refused(clockwork):
    run, _, _ = clockwork

    def another_seed(checkpoints):
        return run.isel(seed=1).interp(checkpoint=checkpoints)

    with pytest.raises(ValueError, match="seed 0: trained again it has other weights at checkpoint"):
        training.measure(run.isel(seed=0), another_seed)


def test_a_refined_second_stable_point_is_the_one_that_stays(monkeypatch):
    """Of folds at 41, 43 and 45 the first two points vanish again."""
    at = np.arange(40, 46)
    branches = xr.Dataset({"number_stable": ("checkpoint", [1, 2, 1, 2, 1, 2])}, {"checkpoint": at})
    folds = {name: ("event", values) for name, values in (
        ("checkpoint", [40.5, 42.5, 44.5]), ("checkpoint_low", [40.0, 42.0, 44.0]),
        ("checkpoint_high", [41.0, 43.0, 45.0]),
        ("type", [FOLD] * 3), ("angle", [0.0] * 3), ("changes_attractors", [True] * 3),
    )}  # fmt: skip
    monkeypatch.setattr(training, "_follow", lambda *_: ([branches], [xr.Dataset(folds)], None))
    monkeypatch.setattr(training, "network", lambda *_: None)
    monkeypatch.setattr(training, "_check_same_networks", lambda *_: None)
    of_symbol = {"bifurcation": 42.5, "bifurcation_low": 40.0, "bifurcation_high": 45.0,
                 "bifurcation_type": CANNOT_TELL, "bifurcation_angle": np.nan}  # fmt: skip
    found = xr.Dataset({name: ("symbol", np.array([value])) for name, value in of_symbol.items()})
    dataset = xr.Dataset(
        {"then_from": 100, "probe_symbols": (("probe", "time"), np.zeros((1, 2)))},
        attrs={"parameters": '{"cell": "rnn"}'},
    )
    training._refine(found, dataset, 0, lambda checkpoints: xr.Dataset(coords={"checkpoint": checkpoints}))
    assert found["bifurcation"].item() == 44.5
    assert (found["bifurcation_low"].item(), found["bifurcation_high"].item()) == (44, 45)
    assert found["bifurcation_type"].item() == FOLD
    assert found["refined"].item() == 1


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
