"""Interventions on the leading eigenvalue modulus, checked by NumPy in double precision."""

import numpy as np
import pytest

from isophase.kernels.automata import temporal_flipflop
from isophase.kernels.rnn import Weights, train, weights_at
from isophase.kernels.rnn.modulus import scale_to_modulus

PERIODIC = temporal_flipflop(clock="periodic", period=10)
SETTING = {"learning_rate": 3e-3, "length": 40, "batch": 64, "heldout": 64, "iterations": 150, "checkpoint_every": 30}
BOUND = 0.8


def modulus(weights, symbol):
    """Leading modulus at the fixed point that plain iteration finds, which needs it to be stable."""
    h, drive = np.zeros(weights.bias.shape[1]), weights.input[0, :, symbol] + weights.bias[0]
    recurrent = weights.recurrent[0].astype(np.float64)
    for _ in range(2000):
        h = np.tanh(recurrent @ h + drive)
    return abs(np.linalg.eigvals((1 - h**2)[:, None] * recurrent)).max()


def largest(run, seed, checkpoint, symbols=(0, 1)):
    return max(modulus(weights_at(run, seed, checkpoint), symbol) for symbol in symbols)


@pytest.fixture(scope="module")
def held():
    return train(PERIODIC, seeds=[0, 1], hold_modulus=BOUND, **SETTING)


def test_a_held_modulus_stays_at_its_bound_and_the_network_still_learns_what_needs_no_time(held):
    free = train(PERIODIC, seeds=[0], **SETTING)
    assert largest(free, 0, 2) > BOUND
    for seed in range(2):
        values = [largest(held, seed, checkpoint) for checkpoint in range(held.sizes["checkpoint"])]
        assert max(values) < BOUND * 1.001
        assert values[-1] == pytest.approx(BOUND, rel=1e-3)
    assert (held.heldout_ti_accuracy[:, -1] > 0.99).all()
    assert (held.heldout_td_accuracy[:, -1] < free.heldout_td_accuracy[0, -1] - 0.1).all()
    assert held.attrs["hold_modulus"] == BOUND


def test_a_held_seed_has_the_same_bits_alone(held):
    alone = train(PERIODIC, seeds=[1], hold_modulus=BOUND, **SETTING | {"checkpoint_every": 75})
    np.testing.assert_array_equal(alone.loss[0], held.loss[1])
    np.testing.assert_array_equal(alone.recurrent_weights[0, -1], held.recurrent_weights[1, -1])


def test_training_can_start_from_a_given_modulus():
    setting = SETTING | {"iterations": 0}
    low, high = (train(PERIODIC, seeds=[3], start_modulus=value, **setting) for value in (0.9, 1.2))
    assert largest(low, 0, 0) == pytest.approx(0.9, rel=1e-5)
    ratio = high.recurrent_weights / low.recurrent_weights
    np.testing.assert_allclose(ratio, ratio.mean().item(), rtol=1e-5)
    assert ratio.mean() > 1
    np.testing.assert_array_equal(high.input_weights, low.input_weights)


def test_under_the_relative_clock_the_null_symbol_counts():
    task = temporal_flipflop(clock="relative", threshold=5, p=0.2)
    run = train(task, seeds=[0], start_modulus=0.9, **SETTING | {"iterations": 0})
    assert largest(run, 0, 0, symbols=[task.null]) == pytest.approx(0.9, rel=1e-5)


def test_without_inputs_the_modulus_is_that_of_the_recurrent_weights():
    """At the fixed point 0, where tanh' = 1."""
    rng = np.random.default_rng(0)
    weights = Weights(rng.normal(size=(1, 5, 5)), np.zeros((1, 5, 2)), np.zeros((1, 5)), np.zeros((1, 5)), np.zeros(1))
    scaled = scale_to_modulus(weights, (0, 1), 1.5)
    assert abs(np.linalg.eigvals(scaled.recurrent[0])).max() == pytest.approx(1.5, rel=1e-6)


def test_a_modulus_out_of_reach_is_refused():
    weights = Weights(*(np.zeros(shape) for shape in ((1, 5, 5), (1, 5, 2), (1, 5), (1, 5), (1,))))
    with pytest.raises(ValueError, match=r"start_modulus=1\.0: not reached"):
        scale_to_modulus(weights, (0,), 1.0)
