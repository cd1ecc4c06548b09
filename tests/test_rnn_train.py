"""Training: optimisers against NumPy, same seed same bits, checkpoints, divergence, and that it learns."""

import hashlib
import json
import os
import subprocess
import sys
from functools import partial

import numpy as np
import pytest

from isophase.kernels.automata import TimedAutomaton, temporal_flipflop
from isophase.kernels.rnn import Weights, train, weights_at
from isophase.kernels.training_run import log_spaced
from tests.test_rnn_cells import complex_step_gradient, double, numpy_loss, numpy_network

PERIODIC = temporal_flipflop(clock="periodic", period=10)
RELATIVE = temporal_flipflop(clock="relative", threshold=2, p=0.5)
SETTING = {"learning_rate": 3e-3, "length": 40, "batch": 64, "checkpoint_every": 20, "heldout": 128, "probe": 4}
TINY = {"n_hidden": 3, "length": 4, "batch": 3, "heldout": 8, "probe": 2, "checkpoint_every": 1}
BITS = """
import hashlib
from isophase.kernels.automata import temporal_flipflop
from isophase.kernels.rnn import train
run = train(temporal_flipflop(clock="periodic", period=10), seeds=[2], iterations=60, **{setting})
print(hashlib.sha256(run.recurrent_weights.isel(checkpoint=-1).values.tobytes()).hexdigest())
"""


@pytest.fixture(scope="module")
def run():
    return train(PERIODIC, seeds=range(3), iterations=120, probe_at=[0, 60, 120], **SETTING)


def same(one, other):
    assert set(one) == set(other)
    for name in one.variables:
        np.testing.assert_array_equal(one[name].values, other[name].values, err_msg=name)


def test_time_independent_symbols_are_learnt_first_and_then_the_time_dependent(run):
    assert (run.heldout_ti_accuracy.sel(checkpoint=60) > 0.99).all()
    assert (run.heldout_td_accuracy.sel(checkpoint=20) < 0.7).all()
    assert (run.heldout_td_accuracy.sel(checkpoint=120) > 0.75).all()
    assert (run.heldout_loss.diff("checkpoint") < 0).all()
    assert (run.diverged_at == -1).all()


def test_a_seed_has_the_same_bits_whatever_seeds_stand_beside_it(run):
    for chunk in ([2], [1, 2], [2, 7, 1]):
        other = train(PERIODIC, seeds=chunk, iterations=120, probe_at=[0, 60, 120], **SETTING)
        same(other.sel(seed=[2]), run.sel(seed=[2]))


def test_a_seed_has_the_same_bits_in_another_process_with_more_threads_and_double_precision_enabled(run):
    environment = os.environ | {"PJRT_NPROC": "4", "JAX_ENABLE_X64": "1"}
    code = BITS.format(setting=SETTING | {"checkpoint_every": 33})
    printed = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    weights = run.recurrent_weights.sel(seed=2, checkpoint=60)
    assert printed.stdout.strip() == hashlib.sha256(weights.values.tobytes()).hexdigest()


def test_a_checkpoint_is_where_a_shorter_run_ends_and_spacing_changes_nothing(run):
    shorter = train(PERIODIC, seeds=range(3), iterations=60, checkpoints=[7, 59], probe_at=[60], **SETTING)
    assert shorter.checkpoint.values.tolist() == [0, 7, 59, 60]
    assert run.checkpoint.values.tolist() == list(range(0, 121, 20))
    common = ["checkpoint", "hidden", "time"]
    for name in ("recurrent_weights", "input_weights", "bias", "readout_weights", "readout_bias", "heldout_loss"):
        np.testing.assert_array_equal(shorter[name].sel(checkpoint=60), run[name].sel(checkpoint=60), err_msg=name)
    np.testing.assert_array_equal(shorter.probe_state[:, 0], run.probe_state.sel(probe_checkpoint=60))
    for name in ("loss", "ti_accuracy", "td_accuracy"):
        np.testing.assert_array_equal(shorter[name], run[name][:, :60], err_msg=name)
    assert all(name in run.coords for name in common)


def test_what_is_recorded_is_what_the_network_of_the_checkpoint_does(run):
    """Probe states, and the loss of the training batch, from the recorded weights by an independent network."""
    symbols, state = run.probe_symbols.values, run.probe_state.sel(probe_checkpoint=60)
    weights = double(weights_at(run, 1, 3))
    for word, recorded in zip(symbols, state[1], strict=True):
        np.testing.assert_allclose(numpy_network("rnn", weights, word)[0], recorded, atol=2e-5)
    np.testing.assert_array_equal(run.probe_theta, PERIODIC.run(symbols)[1])
    rng = np.random.default_rng(np.random.SeedSequence(1, spawn_key=(1,)))
    drawn = PERIODIC.draw(rng, (121 * 64, 40))[60 * 64 : 61 * 64]
    expected = numpy_loss("rnn", weights, drawn, PERIODIC.run(drawn)[0], (True, True))
    np.testing.assert_allclose(run.loss[1, 60], expected, rtol=1e-5)


def test_held_out_accuracies_are_those_of_an_independent_network():
    run = train(RELATIVE, seeds=[4], iterations=0, learning_rate=1.0, **TINY | {"heldout": 200})
    rng = np.random.default_rng(np.random.SeedSequence(0x68656C64))
    symbols = RELATIVE.draw(rng, (200, 4))
    targets, theta = RELATIVE.run(symbols)
    weights = double(weights_at(run, 0, 0))
    right = targets == [numpy_network("rnn", weights, word)[1][:, 0] > 0 for word in symbols]
    a, b = (symbols == RELATIVE.symbols.index(name) for name in "ab")
    balanced = (right[a & (theta == 0)].mean() + right[a & (theta == 1)].mean()) / 2
    for name, expected in (("ti", right[b].mean()), ("td", right[a].mean()), ("td_balanced", balanced)):
        np.testing.assert_allclose(run[f"heldout_{name}_accuracy"].item(), expected, rtol=1e-6, err_msg=name)
    assert run.sizes["iteration"] == 0


def numpy_updates(name, gradients, rate, clip=None, momentum=0.0):
    """Adam (Kingma and Ba, arXiv 1412.6980, algorithm 1), SGD, RMSprop with decay 0.9; the last two with momentum."""
    first, second, updates = 0.0, 0.0, []
    for t, gradient in enumerate(gradients, 1):
        norm = np.sqrt((gradient**2).sum())
        gradient = gradient * min(1, clip / norm) if clip else gradient
        if name == "adam":
            first, second = 0.9 * first + 0.1 * gradient, 0.999 * second + 0.001 * gradient**2
            updates.append(-rate * first / (1 - 0.9**t) / (np.sqrt(second / (1 - 0.999**t)) + 1e-8))
        elif name == "sgd":
            first = momentum * first + gradient
            updates.append(-rate * first)
        else:
            second = 0.9 * second + 0.1 * gradient**2
            first = momentum * first + rate * gradient / np.sqrt(second + 1e-8)
            updates.append(-first)
    return updates


@pytest.mark.parametrize(
    ("optimizer", "options"),
    [
        ("adam", {}),
        ("adam", {"clip": 0.05}),
        ("sgd", {}),
        ("sgd", {"momentum": 0.9}),
        ("rmsprop", {}),
        ("rmsprop", {"momentum": 0.9}),
    ],
)
def test_updates_are_those_of_the_optimizer_written_in_numpy(optimizer, options):
    run = train(
        RELATIVE,
        seeds=[5],
        iterations=3,
        optimizer=optimizer,
        learning_rate=0.01,
        loss_on="non-null",
        **TINY,
        **options,
    )
    rng = np.random.default_rng(np.random.SeedSequence(5, spawn_key=(1,)))
    counted, gradients, moves = (False, True, True), [], []
    for checkpoint in range(3):
        symbols = RELATIVE.draw(rng, (3, 4))
        targets = RELATIVE.run(symbols)[0]
        weights = double(weights_at(run, 0, checkpoint))
        loss = partial(numpy_loss, "rnn", symbols=symbols, targets=targets, counted=counted)
        gradient = complex_step_gradient(loss, weights)
        gradients.append(np.concatenate([part.ravel() for part in gradient]))
        after = double(weights_at(run, 0, checkpoint + 1))
        moves.append(np.concatenate([(new - old).ravel() for new, old in zip(after, weights, strict=True)]))
    expected = numpy_updates(optimizer, gradients, 0.01, **options)
    # Adam and RMSprop divide by the gradient's own size: where that is tiny, single precision shows in the quotient.
    np.testing.assert_allclose(moves, expected, rtol=2e-3, atol=2e-6)


def test_a_seed_that_diverges_is_recorded_and_disturbs_no_other(run):
    start = weights_at(run, slice(None), 0)
    start.recurrent[1, 0, 3, 3] = np.inf
    start.input[1] = 0
    other = train(PERIODIC, seeds=range(3), iterations=120, start=start, probe_at=[0, 60, 120], **SETTING)
    assert other.diverged_at.values.tolist() == [-1, 0, -1]
    same(other.isel(seed=[0, 2]), run.isel(seed=[0, 2]))
    for name in ("loss", "td_accuracy"):
        assert np.isnan(other[name][1]).all()
    for name in ("recurrent_weights", "readout_bias", "heldout_loss", "heldout_td_balanced_accuracy"):
        assert np.isnan(other[name][1, 1:]).all()
    assert np.isnan(other.probe_state[1, 1:]).all()


def test_a_huge_learning_rate_ends_as_a_divergence_at_a_known_iteration():
    run = train(PERIODIC, seeds=range(2), iterations=120, **SETTING | {"learning_rate": 1e38})
    for seed, at in enumerate(run.diverged_at.values.tolist()):
        assert 0 < at < 10
        assert np.isfinite(run.loss[seed, :at]).all()
        assert np.isnan(run.loss[seed, at:]).all()
        assert np.isnan(run.recurrent_weights[seed, 1:]).all()


def test_training_continues_from_given_weights_on_another_task(run):
    task = temporal_flipflop(clock="periodic", period=6)
    again = train(task, seeds=[10, 11, 12], iterations=20, start=weights_at(run, slice(None), -1), **SETTING)
    for field, part in zip(Weights._fields, weights_at(again, slice(None), 0), strict=True):
        np.testing.assert_array_equal(part, getattr(weights_at(run, slice(None), -1), field))
    assert (again.heldout_ti_accuracy[:, 0] > 0.99).all()
    assert (again.heldout_loss[:, -1] < again.heldout_loss[:, 0]).all()
    assert json.loads(again.attrs["task"])["clock"] == {"kind": "periodic", "period": 6}


def test_the_dataset_is_labelled_and_says_what_was_trained(run):
    sizes = {"seed": 3, "iteration": 120, "checkpoint": 7, "gate": 1, "symbol": 2, "output": 1, "hidden": 32,
             "hidden_from": 32, "probe": 4, "time": 40, "probe_checkpoint": 3, "state": 32,
             "optimizer": 2307}  # fmt: skip
    assert dict(run.sizes) == sizes
    for name in run.data_vars:
        assert run[name].attrs["long_name"], name
        assert run[name].attrs["units"], name
    assert run.symbol.values.tolist() == ["a", "b"]
    assert TimedAutomaton.from_table(json.loads(run.attrs["task"])) == PERIODIC
    assert (run.attrs["cell"], run.attrs["learning_rate"], run.attrs["optimizer"]) == ("rnn", 3e-3, "adam")
    assert run.loss.dtype == run.recurrent_weights.dtype == np.float32
    assert run.diverged_at.dtype == np.int64


def test_seed_sequences_do_as_well_and_are_left_as_they_were(run):
    sequence = np.random.SeedSequence(2)
    other = train(PERIODIC, seeds=[sequence], iterations=120, probe_at=[0, 60, 120], **SETTING)
    np.testing.assert_array_equal(other.loss[0], run.loss.sel(seed=2))
    assert sequence.n_children_spawned == 0
    assert other.seed.values.tolist() == [0]


def test_progress_counts_the_updates_of_all_seeds():
    told = []
    train(PERIODIC, seeds=range(2), iterations=60, progress=told.append, **SETTING)
    assert told == sorted(told)
    assert told[-1] == 120


def test_log_spaced_checkpoints_go_from_the_first_to_the_last():
    assert log_spaced(1000, 5).tolist() == [0, 1, 10, 100, 1000]
    assert log_spaced(0, 5).tolist() == [0]
    assert log_spaced(3, 30).tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"cell": "elman"}, "cell='elman': must be one of rnn, gru, lstm"),
        ({"optimizer": "lion"}, "optimizer='lion': must be one of adam, sgd, rmsprop"),
        ({"loss_on": "some"}, "loss_on='some': must be one of all, non-null"),
        ({"n_hidden": 0}, "n_hidden=0: must be an integer >= 1"),
        ({"iterations": -1}, "iterations=-1"),
        ({"length": 2.5}, "length=2.5"),
        ({"batch": True}, "batch=True"),
        ({"learning_rate": 0.0}, "learning_rate=0.0: must be finite and > 0"),
        ({"learning_rate": np.inf}, "learning_rate=inf"),
        ({"momentum": 0.5}, "momentum=0.5: optimizer='adam' has its own"),
        ({"momentum": 1.0, "optimizer": "sgd"}, "momentum=1.0: must be >= 0 and < 1"),
        ({"clip": -1.0}, "clip=-1.0"),
        ({"initial_gain": np.nan}, "initial_gain=nan"),
        ({"checkpoint_every": 0}, "checkpoint_every=0"),
        ({"checkpoints": [3, 500]}, "checkpoints: 500: must be <= iterations=10"),
        ({"probe_at": [3]}, r"probe_at=\[3\]: must be among the checkpoints"),
        ({"seeds": []}, r"seeds=\[\]"),
        ({"seeds": [1, 1]}, r"seeds=\[1, 1\]: must be different"),
        ({"seeds": [-1]}, "seeds=-1: must be an integer >= 0"),
        ({"start_modulus": 1.0, "cell": "gru"}, "start_modulus=1.0: only for cell='rnn', not 'gru'"),
        ({"hold_modulus": -0.5}, "hold_modulus=-0.5: must be finite and > 0"),
        ({"start": Weights(*(np.zeros(2),) * 5)}, r"start.recurrent: must have shape \(1, 1, 32, 32\)"),
    ],
)
def test_bad_settings_are_refused_by_name(change, named):
    good = {"seeds": [0], "iterations": 10, "learning_rate": 1e-3, "checkpoint_every": 10}
    with pytest.raises(ValueError, match=named):
        train(PERIODIC, **good | change)


def test_adam_goes_on_from_its_state():
    task = temporal_flipflop("periodic", period=4)
    setting = {"n_hidden": 3, "length": 6, "batch": 4, "learning_rate": 3e-3, "seeds": [0, 1]}
    first = train(task, iterations=10, **setting)
    start = weights_at(first, slice(None), -1)
    again = {"iterations": 1, "start": start, **setting}
    anew, on = (train(task, **again, start_optimizer=state) for state in (None, first.optimizer_state))
    size = (first.sizes["optimizer"] - 1) // 2
    assert on.optimizer_state[:, 0].values.tolist() == [11, 11]  # its count, its first moments, its second moments
    for moments, decay in ((slice(1, 1 + size), 0.9), (slice(1 + size, None), 0.999)):
        old, new, went_on = (run.optimizer_state[:, moments].values for run in (first, anew, on))
        np.testing.assert_allclose(went_on, decay * old + new, rtol=1e-5, atol=1e-9)
    for wrong, message in ((None, "must be given with start"), (start, "must have shape")):
        with pytest.raises(ValueError, match=f"start_optimizer: {message}"):
            train(task, iterations=1, start=wrong, start_optimizer=np.zeros((2, 3)), **setting)
