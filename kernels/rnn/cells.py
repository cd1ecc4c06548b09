"""The cells: one step of a recurrent network and its readout, as pure functions in JAX.

With ``u`` the one-hot symbol, ``W``, ``U``, ``b`` a gate's recurrent and input weights and its bias, ``*`` elementwise:

``rnn`` (Elman, Cognitive Science 14, 179 (1990))::

    h' = tanh(W h + U u + b)

``gru`` (Cho et al., arXiv 1406.1078, in the form that resets after the product, as in cuDNN)::

    r = sigmoid(W_r h + U_r u + b_r)
    z = sigmoid(W_z h + U_z u + b_z)
    n = tanh(r * (W_n h) + U_n u + b_n)
    h' = (1 - z) * n + z * h

``lstm`` (Hochreiter and Schmidhuber, Neural Computation 9, 1735 (1997), with the forget gate of Gers et al., Neural
Computation 12, 2451 (2000))::

    i, f, o = sigmoid(W h + U u + b), each with its own;  g = tanh(W_g h + U_g u + b_g)
    c' = f * c + i * g
    h' = o * tanh(c')

The state of ``lstm`` is h, then c; of the others it is h. Every network starts with the state 0.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

from isophase.kernels.training_run import GATES, WEIGHTS

CELLS = tuple(GATES)


class Weights(NamedTuple):
    """Parameters of a network: ``recurrent`` [gate, hidden, hidden_from], ``input`` [gate, hidden, symbol],
    ``bias`` [gate, hidden], ``readout`` [output, hidden], ``readout_bias`` [output]; gates as in ``GATES``."""

    recurrent: Any
    input: Any
    bias: Any
    readout: Any
    readout_bias: Any


def state_size(cell: str, n_hidden: int) -> int:
    """Number of state variables: ``lstm`` 2 n (h, then c), else n."""
    check_cell(cell)
    return 2 * n_hidden if cell == "lstm" else n_hidden


def step(cell: str, weights: Weights, state: Any, u: Any) -> Any:
    """The state after one symbol.

    Parameters
    ----------
    cell : ``rnn``, ``gru`` or ``lstm``; the equations are in this module's docstring.
    state : [state]; or [state, batch], with ``u`` [symbol, batch].
    u : input [symbol], one-hot for a symbol, of the dtype of the weights.

    Raises
    ------
    ValueError : an unknown cell.
    """
    check_cell(cell)
    gates, n, symbols = weights.input.shape
    bias = weights.bias.reshape(-1, *[1] * (jnp.ndim(u) - 1))
    return advance(cell, weights.recurrent, state, weights.input.reshape(gates * n, symbols) @ u + bias)


def advance(cell: str, recurrent: Any, state: Any, drive: Any) -> Any:
    """The state after ``drive`` = U u + b of all gates, [gate and hidden] or [gate and hidden, batch]; see ``step``."""
    gates, n, _ = recurrent.shape
    return gated(cell, recurrent.reshape(gates * n, n) @ state[:n], drive, state)


def gated(cell: str, product: Any, drive: Any, state: Any) -> Any:
    """The state after what the recurrent weights and what the input bring to all gates; see ``step``."""
    n = len(product) // len(GATES[cell])
    if cell == "rnn":
        return jnp.tanh(product + drive)
    if cell == "gru":
        r, z = jnp.split(jax.nn.sigmoid(product[: 2 * n] + drive[: 2 * n]), 2)
        candidate = jnp.tanh(r * product[2 * n :] + drive[2 * n :])
        return (1 - z) * candidate + z * state
    i, f, g, o = jnp.split(product + drive, 4)
    c = jax.nn.sigmoid(f) * state[n:] + jax.nn.sigmoid(i) * jnp.tanh(g)
    return jnp.concatenate([jax.nn.sigmoid(o) * jnp.tanh(c), c])


def readout(cell: str, weights: Weights, state: Any) -> Any:
    """Logits [output] of a state [state]; or [output, batch] of [state, batch].

    One output stands for two states, ``P(state 1) = sigmoid(logit)``; more for one state each, by softmax.
    """
    check_cell(cell)
    bias = weights.readout_bias.reshape(-1, *[1] * (jnp.ndim(state) - 1))
    return weights.readout @ state[: weights.readout.shape[-1]] + bias


def weights_at(run: xr.Dataset, seed: int | slice, checkpoint: int | slice) -> Weights:
    """Weights from the dataset that ``train`` returns, as NumPy arrays.

    ``seed`` and ``checkpoint`` are positions; a slice keeps its dimension, in front: ``weights_at(run, slice(None),
    -1)`` are the last weights of all seeds, as ``train(start=...)`` takes them.
    """
    return Weights(*(run[name].isel(seed=seed, checkpoint=checkpoint).values for name in WEIGHTS))


def initial_weights(
    cell: str, n_hidden: int, symbols: int, outputs: int, gain: float, rng: np.random.Generator
) -> Weights:
    """Weights uniform in ``+-1 / sqrt(n_hidden)``, the recurrent ones times ``gain``; float32."""
    gates, bound = len(GATES[cell]), 1 / np.sqrt(n_hidden)
    shapes = Weights((gates, n_hidden, n_hidden), (gates, n_hidden, symbols), (gates, n_hidden), (outputs, n_hidden),
                     (outputs,))  # fmt: skip
    drawn = Weights(*(rng.uniform(-bound, bound, shape) for shape in shapes))
    return Weights(*(part.astype(np.float32) for part in drawn._replace(recurrent=gain * drawn.recurrent)))


def check_cell(cell: str) -> None:
    if cell not in GATES:
        raise ValueError(f"cell={cell!r}: must be one of {', '.join(GATES)}")
