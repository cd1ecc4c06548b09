"""Cells, loss and gradient in JAX against an independent NumPy implementation, in double precision."""

import jax
import numpy as np
import pytest

from isophase.kernels.automata import PeriodicClock, RelativeClock, TimedAutomaton, temporal_flipflop
from isophase.kernels.rnn import CELLS, GATES, Weights, readout, state_size, step
from isophase.kernels.rnn.cells import initial_weights
from isophase.kernels.rnn.train import _setting, loss_and_accuracy

N = 3
FLIPFLOP = temporal_flipflop(clock="relative", threshold=2, p=0.5)
THREE_STATES = TimedAutomaton(
    symbols=("up", "reset"),
    states=("0", "1", "2"),
    table=(((1, 0), (2, 0), (0, 0)), ((1, 0), (1, 0), (2, 0))),
    clock=PeriodicClock(4),
)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def numpy_network(cell, weights, word):
    """States and logits after every symbol, written out gate by gate; complex weights are fine."""
    gate = {name: (weights.recurrent[i], weights.input[i], weights.bias[i]) for i, name in enumerate(GATES[cell])}
    h = c = np.zeros(weights.bias.shape[1], weights.bias.dtype)
    states, logits = [], []
    for symbol in word:
        hidden = {name: w @ h for name, (w, _, _) in gate.items()}
        driven = {name: u[:, symbol] + b for name, (_, u, b) in gate.items()}
        if cell == "rnn":
            h = np.tanh(hidden["h"] + driven["h"])
        elif cell == "gru":
            r, z = (sigmoid(hidden[name] + driven[name]) for name in "rz")
            h = (1 - z) * np.tanh(r * hidden["n"] + driven["n"]) + z * h
        else:
            i, f, o = (sigmoid(hidden[name] + driven[name]) for name in "ifo")
            c = f * c + i * np.tanh(hidden["g"] + driven["g"])
            h = o * np.tanh(c)
        states.append(np.concatenate([h, c]) if cell == "lstm" else h)
        logits.append(weights.readout @ h + weights.readout_bias)
    return np.array(states), np.array(logits)


def numpy_loss(cell, weights, symbols, targets, counted):
    """Mean of -log P(target) over the steps that count."""
    losses = []
    for word, answers in zip(symbols, targets, strict=True):
        _, logits = numpy_network(cell, weights, word)
        for symbol, logit, answer in zip(word, logits, answers, strict=True):
            if counted[symbol]:
                logit = np.concatenate([[0 * logit[0]], logit]) if len(logit) == 1 else logit
                losses.append(np.log(np.exp(logit).sum()) - logit[answer])
    return np.mean(losses)


def complex_step_gradient(loss, weights, tiny=1e-30):
    """dL/dx = Im L(x + i tiny) / tiny, exact to rounding (Squire and Trapp, SIAM Rev. 40, 110 (1998))."""
    gradient = []
    for field, part in zip(Weights._fields, weights, strict=True):
        slope = np.empty(part.shape)
        for index in np.ndindex(part.shape):
            moved = part.astype(complex)
            moved[index] += 1j * tiny
            others = weights._replace(**{field: moved})
            slope[index] = loss(Weights(*(np.asarray(other, complex) for other in others))).imag / tiny
        gradient.append(slope)
    return Weights(*gradient)


def double(weights):
    return Weights(*(np.asarray(part, np.float64) for part in weights))


@pytest.mark.parametrize("task", [FLIPFLOP, THREE_STATES], ids=["flipflop", "three states"])
@pytest.mark.parametrize("cell", CELLS)
def test_loss_and_gradient_agree_with_numpy(cell, task):
    loss_on = "non-null" if task is FLIPFLOP else "all"
    setting = _setting(task, cell, "adam", 0.0, None, loss_on, None)
    rng = np.random.default_rng(1)
    weights = double(initial_weights(cell, N, len(task.symbols), setting.outputs, 1.5, rng))
    sample = task.sample(2, 3, 5)

    def reference(weights):
        return numpy_loss(cell, weights, sample.symbols, sample.targets, setting.in_loss)

    with jax.enable_x64(True):
        function = jax.value_and_grad(lambda *given: loss_and_accuracy(setting, *given), has_aux=True)
        (loss, (ti, td)), gradient = jax.jit(function)(weights, sample.symbols.T, sample.targets.T)
    np.testing.assert_allclose(loss, reference(weights), rtol=1e-13)
    for ours, exact in zip(gradient, complex_step_gradient(reference, weights), strict=True):
        np.testing.assert_allclose(ours, exact, rtol=1e-10, atol=1e-14)
    logits = np.array([numpy_network(cell, weights, word)[1] for word in sample.symbols])
    answers = logits[..., 0] > 0 if setting.outputs == 1 else logits.argmax(-1)
    for accuracy, symbols in ((ti, task.time_independent), (td, task.time_dependent)):
        chosen = symbols[sample.symbols]
        right = (answers == sample.targets)[chosen]
        np.testing.assert_allclose(accuracy, right.mean() if chosen.any() else np.nan, rtol=1e-6)


def test_the_complex_step_agrees_with_finite_differences():
    weights = double(initial_weights("gru", N, 3, 1, 1.0, np.random.default_rng(0)))
    sample = FLIPFLOP.sample(0, 2, 6)

    def loss(weights):
        return numpy_loss("gru", weights, sample.symbols, sample.targets, (True,) * 3)

    exact = complex_step_gradient(loss, weights)
    moved = [weights.recurrent + sign * 1e-6 * np.eye(N)[0, :, None] * np.eye(N)[1] for sign in (1, -1)]
    slope = np.subtract(*(loss(weights._replace(recurrent=part)) for part in moved)) / 2e-6
    np.testing.assert_allclose(exact.recurrent[:, 0, 1].sum(), slope, rtol=1e-7)


@pytest.mark.parametrize("cell", CELLS)
def test_one_step_and_readout_agree_with_numpy_for_one_state_and_for_a_batch(cell):
    rng = np.random.default_rng(3)
    weights = double(initial_weights(cell, N, 3, 1, 1.0, rng))
    word = [0, 2, 1, 1]
    states, logits = numpy_network(cell, weights, word)
    with jax.enable_x64(True):
        state = np.zeros(state_size(cell, N))
        for t, symbol in enumerate(word):
            state = step(cell, weights, state, np.eye(3)[symbol])
            np.testing.assert_allclose(state, states[t], rtol=1e-13)
            np.testing.assert_allclose(readout(cell, weights, state), logits[t], rtol=1e-13)
        pair = step(cell, weights, np.stack([states[0], states[1]], 1), np.eye(3)[[2, 1]].T)
        np.testing.assert_allclose(pair.T, states[1:3], rtol=1e-13)
        np.testing.assert_allclose(readout(cell, weights, pair).T, logits[1:3], rtol=1e-13)


@pytest.mark.parametrize("cell", CELLS)
def test_the_jacobian_of_a_step_agrees_with_finite_differences(cell):
    """Also away from one-hot inputs, and in single precision when given so."""
    rng = np.random.default_rng(4)
    weights = double(initial_weights(cell, N, 2, 1, 1.0, rng))
    state, u = rng.uniform(-0.5, 0.5, state_size(cell, N)), np.array([0.3, -0.2])
    with jax.enable_x64(True):
        jacobian = jax.jacfwd(lambda h: step(cell, weights, h, u))(state)
        columns = [
            (step(cell, weights, state + 1e-6 * e, u) - step(cell, weights, state - 1e-6 * e, u)) / 2e-6
            for e in np.eye(len(state))
        ]
        np.testing.assert_allclose(jacobian, np.transpose(columns), atol=1e-9)
    single = Weights(*(part.astype(np.float32) for part in weights))
    assert step(cell, single, state.astype(np.float32), u.astype(np.float32)).dtype == np.float32


def test_initial_weights_are_uniform_in_one_over_the_root_of_the_size():
    weights = initial_weights("lstm", 64, 3, 1, 2.0, np.random.default_rng(0))
    assert [part.shape for part in weights] == [(4, 64, 64), (4, 64, 3), (4, 64), (1, 64), (1,)]
    for part, gain in zip(weights, (2, 1, 1, 1, 1), strict=True):
        assert part.dtype == np.float32
        assert abs(part).max() <= gain / 8
    np.testing.assert_allclose(weights.recurrent.std(), 2 / 8 / np.sqrt(3), rtol=0.02)


def test_an_unknown_cell_is_refused_by_name():
    with pytest.raises(ValueError, match="cell='elman': must be one of rnn, gru, lstm"):
        state_size("elman", 3)


def test_a_relative_clock_needs_a_null_symbol():
    with pytest.raises(ValueError, match="null=None"):
        TimedAutomaton(("a", "b"), ("0", "1"), (((0, 0),) * 2,) * 2, RelativeClock(2))
