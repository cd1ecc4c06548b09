"""The recurrent cells of PyTorch as steps in JAX, from the arrays of a ``state_dict``; PyTorch itself is not needed.

``rnn``, ``lstm`` and ``gru`` are ``torch.nn.RNN``, ``LSTM`` and ``GRU`` (or ``RNNCell``, ``LSTMCell``, ``GRUCell``), of
one direction and one or more layers, as PyTorch documents them. With ``x`` the input of a layer, ``W`` its
``weight_ih``, ``U`` its ``weight_hh``, ``b`` and ``d`` its two biases, ``*`` elementwise::

    rnn    h' = tanh(W x + b + U h + d)                     or max(0, ...)
    lstm   i, f, g, o = W x + b + U h + d, in this order of rows
           c' = sigmoid(f) * c + sigmoid(i) * tanh(g)
           h' = sigmoid(o) * tanh(c')
    gru    r, z, n in this order of rows; r and z are sigmoid(W x + b + U h + d)
           n = tanh(W_n x + b_n + r * (U_n h + d_n))        the hidden bias inside the product with the reset gate
           h' = (1 - z) * n + z * h

The input of a further layer is h' of the one below. The state is h of all layers, the first layer first; of ``lstm``
then c of all layers.
"""

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from isophase.kernels.rnn.cells import gated
from isophase.kernels.training_run import GATES

NONLINEARITIES = ("tanh", "relu")
PARTS = {"recurrent": "weight_hh", "input": "weight_ih", "bias": "bias_ih", "recurrent_bias": "bias_hh"}
ROOM = 1.25  # between the fixed points of a cell and the border of its box, so that none is at it
OTHER = {"_reverse": "bidirectional", "weight_hr_l0": "proj_size"}  # what a key tells that is not known here


class Layer(NamedTuple):
    """``recurrent`` [gates * hidden, hidden], ``input`` [gates * hidden, input], ``bias`` and ``recurrent_bias``
    [gates * hidden]."""

    recurrent: Any
    input: Any
    bias: Any
    recurrent_bias: Any


@dataclass(frozen=True)
class TorchCell:
    """``(layers, h [state], x [input]) -> h'``; equal for the same cell, so that JAX compiles it once.

    Attributes
    ----------
    cell : ``rnn``, ``lstm`` or ``gru``.
    prefix : of the keys of its parameters; None: that of the only recurrent layers in the ``state_dict``.
    nonlinearity : of ``rnn``, ``tanh`` or ``relu``.
    """

    cell: str
    prefix: str | None = None
    nonlinearity: str = "tanh"

    @property
    def bounded(self) -> bool:
        """Whether a step takes the box of ``box`` into itself."""
        return self.nonlinearity == "tanh"

    def box(self, layers: tuple[Layer, ...], x: Any) -> Any:
        """Half-widths [state] of a box around 0 that a step takes into itself, with room at its border: 1.25 for h,
        which a step takes below 1, and for c of ``lstm`` 1.25 / (1 - the largest that its forget gate can be)."""
        hidden, cells = [], []
        for layer in layers:
            n = layer.recurrent.shape[-1]
            hidden.append(jnp.full(n, ROOM))
            if self.cell == "lstm":
                largest = ROOM * jnp.abs(layer.recurrent).sum(axis=1) + jnp.abs(layer.input) @ jnp.abs(x)
                forget = largest + layer.bias + layer.recurrent_bias
                cells.append(ROOM * (1 + jnp.exp(forget[n : 2 * n])))  # 1 / (1 - sigmoid(a)) = 1 + exp(a)
                x = jnp.ones(n)
        return jnp.concatenate([*hidden, *cells])

    def __call__(self, layers: tuple[Layer, ...], h: Any, x: Any) -> Any:
        sizes = np.cumsum([layer.recurrent.shape[-1] for layer in layers])
        states = jnp.split(h, [*sizes, *(sizes[-1] + sizes[:-1])] if self.cell == "lstm" else sizes[:-1])
        hidden: list[Any] = []
        cells: list[Any] = []
        for number, layer in enumerate(layers):
            drive = layer.input @ x + layer.bias
            product = layer.recurrent @ states[number] + layer.recurrent_bias
            own = jnp.concatenate(states[number :: len(layers)])  # h, and c of lstm
            if self.nonlinearity == "relu":
                x = jax.nn.relu(drive + product)
            else:
                x, *c = jnp.split(gated(self.cell, product, drive, own), len(states) // len(layers))
                cells += c
            hidden.append(x)
        return jnp.concatenate([*hidden, *cells])

    def sizes(self, layers: tuple[Layer, ...]) -> tuple[int, int]:
        """Numbers of state variables and of inputs."""
        hidden = sum(np.shape(layer.recurrent)[-1] for layer in layers)
        return 2 * hidden if self.cell == "lstm" else hidden, np.shape(layers[0].input)[-1]

    def parameters_of(self, state_dict: Any) -> tuple[Layer, ...]:
        """The layers of a ``state_dict``: a mapping from names to arrays, or to tensors on the CPU.

        Raises ValueError, naming the key, where it holds no such layers, or of another shape or kind.
        """
        if not isinstance(state_dict, Mapping):
            raise ValueError(f"is a {type(state_dict).__name__}: must be a state_dict, a mapping from names to arrays")
        keys = [str(key) for key in state_dict]
        prefix, suffix = self._place(keys)
        own = [key.removeprefix(prefix) for key in keys if key.startswith(prefix)]
        for mark, what in OTHER.items():
            if found := [key for key in own if mark in key]:
                raise ValueError(f"{prefix}{found[0]}: {what} must be off: one direction and no projection are known")
        endings = map(suffix.format, itertools.count()) if suffix else [suffix]
        layers: list[Layer] = []
        for ending in itertools.takewhile(lambda ending: f"weight_hh{ending}" in own, endings):
            layers.append(self._layer(state_dict, prefix, ending, layers))
        return tuple(layers)

    def _place(self, keys: list[str]) -> tuple[str, str]:
        """Prefix of the keys, and the ending of those of a layer."""
        firsts = [key for key in keys if key.endswith(("weight_hh_l0", "weight_hh"))]
        prefixes = {key[: key.rindex("weight_hh")]: "_l{}" if key.endswith("_l0") else "" for key in firsts}
        if not prefixes:
            raise ValueError(f"has no weight_hh_l0 of a recurrent layer; it has {', '.join(keys) or 'nothing'}")
        named = ", ".join(map(repr, prefixes))
        if self.prefix is None:
            if len(prefixes) > 1:
                raise ValueError(f"has recurrent layers under {named}: must be told which, torch_cell(..., prefix=...)")
            return next(iter(prefixes.items()))
        if self.prefix not in prefixes:
            raise ValueError(f"prefix={self.prefix!r}: must be one of {named}, as keys of the state_dict begin")
        return self.prefix, prefixes[self.prefix]

    def _layer(self, state_dict: Any, prefix: str, ending: str, below: list[Layer]) -> Layer:
        names = {part: f"{prefix}{name}{ending}" for part, name in PARTS.items()}
        recurrent = _array(state_dict, names["recurrent"])
        n, gates = recurrent.shape[-1] if recurrent.ndim == 2 else 0, len(GATES[self.cell])
        if recurrent.ndim != 2 or recurrent.shape[0] != gates * n:
            shape = f"[{gates} n, n]" if gates > 1 else "[n, n]"
            raise ValueError(f"{names['recurrent']} has shape {recurrent.shape}: must be {shape} for {self.cell!r}")
        given = _array(state_dict, names["input"])
        width = below[-1].recurrent.shape[-1] if below else given.shape[-1] if given.ndim else 0
        if given.shape != (gates * n, width):
            size = str(width) if below else "input"
            raise ValueError(f"{names['input']} has shape {given.shape}: must be [{gates * n}, {size}]")
        biases = [
            _array(state_dict, names[part]) if names[part] in state_dict else np.zeros(gates * n)
            for part in ("bias", "recurrent_bias")
        ]  # bias=False has none
        for part, bias in zip(("bias", "recurrent_bias"), biases, strict=True):
            if bias.shape != (gates * n,):
                raise ValueError(f"{names[part]} has shape {bias.shape}: must be [{gates * n}]")
        return Layer(recurrent, given, *biases)


def torch_cell(cell: str, *, prefix: str | None = None, nonlinearity: str = "tanh") -> TorchCell:
    """The step of a recurrent network of PyTorch, for :func:`isophase.follow` with ``state_dict``s as checkpoints.

    Parameters
    ----------
    cell : ``rnn``, ``lstm`` or ``gru``.
    prefix : of the keys of the ``state_dict`` that belong to it, as ``"encoder.rnn."``; needed only where there are
        several recurrent networks in it.
    nonlinearity : of ``rnn``, ``tanh`` or ``relu``.

    Raises ValueError for an unknown cell or nonlinearity.
    """
    if cell not in GATES:
        raise ValueError(f"cell={cell!r}: must be one of {', '.join(GATES)}")
    if nonlinearity not in NONLINEARITIES:
        raise ValueError(f"nonlinearity={nonlinearity!r}: must be one of {', '.join(NONLINEARITIES)}")
    if nonlinearity != "tanh" and cell != "rnn":
        raise ValueError(f"nonlinearity={nonlinearity!r}: only for cell='rnn', not {cell!r}")
    return TorchCell(cell, prefix, nonlinearity)


def _array(state_dict: Any, name: str) -> np.ndarray:
    if name not in state_dict:
        raise ValueError(f"has no {name}")
    try:
        return np.asarray(state_dict[name], float)
    except (TypeError, ValueError, RuntimeError) as error:  # on a GPU, or of a type that NumPy does not know
        line = (str(error).splitlines() or [type(error).__name__])[0]
        raise ValueError(f"{name} cannot be made a NumPy array: {line}") from None
