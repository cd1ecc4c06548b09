"""Training: many seeds of one setting, on fresh sequences every iteration, into one labelled dataset.

**Same seed, same bits.** Everything random of a seed derives from it alone, and every seed is trained by the same
compiled program: a batch of batches is not, since XLA orders the sums of a product by its shape. So a seed's result
does not depend on the seeds beside it, on where the run is cut into pieces, or on the number of processes or threads.
It is also faster on a CPU, where the hidden states of one seed stay in the cache. What may change bits is another kind
of processor or another version of JAX.
"""

import functools
import json
import math
import time
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import xarray as xr
from jax.flatten_util import ravel_pytree

from isophase.kernels.automata import RelativeClock, TimedAutomaton
from isophase.kernels.rnn.cells import Weights, advance, check_cell, initial_weights, readout, state_size
from isophase.kernels.rnn.modulus import continued_points, hold_below, scale_to_modulus
from isophase.kernels.training_run import COORDINATES, CURVES, EVALUATIONS, GATES, PIECE, RECORDED, WEIGHTS

OPTIMIZERS = ("adam", "sgd", "rmsprop")
LOSSES = ("all", "non-null")
HELDOUT_ENTROPY, PROBE_ENTROPY = 0x68656C64, 0x70726F62  # sequences that all seeds share, far from any seed in use
UNROLL = 4  # steps per turn of the compiled loop over time; 1 to 10 differ by a tenth
SECONDS_BETWEEN_REPORTS = 0.3
COMPILER_OPTIONS = {"xla_cpu_multi_thread_eigen": False}  # a product split over threads has other bits


class Setting(NamedTuple):
    """What a training program is compiled for, besides its shapes; hashable."""

    cell: str
    outputs: int
    time_dependent: tuple[bool, ...]
    time_independent: tuple[bool, ...]
    in_loss: tuple[bool, ...]
    optimizer: str
    momentum: float
    clip: float | None
    held_symbols: tuple[int, ...]  # whose fixed points' modulus is bounded,
    bound: float | None  # by this


class Curves(NamedTuple):
    """Per iteration: loss, TI and TD accuracy."""

    loss: Any
    ti_accuracy: Any
    td_accuracy: Any


def train(
    task: TimedAutomaton,
    *,
    cell: str = "rnn",
    n_hidden: int = 32,
    seeds: Iterable[int | np.random.SeedSequence],
    iterations: int,
    length: int = 60,
    batch: int = 128,
    optimizer: str = "adam",
    learning_rate: float,
    momentum: float = 0.0,
    clip: float | None = None,
    initial_gain: float = 1.0,
    loss_on: str = "all",
    checkpoint_every: int | None = 10,
    checkpoints: Iterable[int] | None = None,
    heldout: int = 512,
    probe: int = 8,
    probe_at: Iterable[int] | None = None,
    start: Weights | None = None,
    start_optimizer: Any = None,
    start_modulus: float | None = None,
    hold_modulus: float | None = None,
    progress: Callable[[int], None] | None = None,
) -> xr.Dataset:
    """Train one network per seed on ``task``, to predict the state after every symbol.

    The loss is the cross-entropy of the states, averaged over steps. Every iteration draws ``batch`` sequences of
    ``length`` steps. Initial weights are uniform in ``+-1 / sqrt(n_hidden)``.

    Parameters
    ----------
    seeds : integers >= 0, or SeedSequences; all of them different. The held-out and the probe sequences are the same
        for all seeds.
    iterations : number of updates; 0 records the initial networks.
    optimizer : ``adam`` (0.9, 0.999, 1e-8), ``sgd`` or ``rmsprop`` (decay 0.9, 1e-8), as in optax.
    momentum : of ``sgd`` and ``rmsprop``.
    clip : largest global norm of the gradient; None: any.
    initial_gain : factor of the initial recurrent weights.
    loss_on : ``all`` steps, or ``non-null`` ones.
    checkpoint_every : updates from one checkpoint to the next; the initial and the last network are always among them.
    checkpoints : numbers of updates to have checkpoints at, instead; :func:`kernels.training_run.log_spaced` makes
        such.
    heldout, probe : number of sequences for evaluation at checkpoints, and of those whose states are recorded.
    probe_at : checkpoints to record the probe's states at; None: the last one.
    start : weights to start from instead, with the seeds in front; as ``weights_at(run, slice(None), -1)`` gives them.
        The optimizer starts anew, and a seed draws the same random numbers for its sequences as it would at first.
    start_optimizer : ``optimizer_state`` of a run with the same cell, optimizer and seeds, for the optimizer to go on
        with that; only with ``start``.
    start_modulus : scale the initial recurrent weights so that the largest modulus of the Jacobian's eigenvalues, over
        the fixed points of the constant symbols, is this; cell ``rnn`` only. Under the relative clock only the null
        symbol's counts. The fixed point is the one that ``isophase.kernels.rnn.modulus`` defines.
    hold_modulus : after every update, scale the recurrent weights so that this modulus is at most this.
    progress : called with the number of updates done so far, of all seeds together, a few times per second.

    Returns
    -------
    Dataset with these variables; accuracies and loss are NaN where no step of the kind occurred.

    ``loss``, ``ti_accuracy``, ``td_accuracy`` [seed, iteration] : of the training batch, before its update; loss in
        nats. TI and TD are the symbols as ``TimedAutomaton`` tells them apart.
    ``heldout_loss``, ``heldout_ti_accuracy``, ``heldout_td_accuracy``, ``heldout_td_balanced_accuracy`` [seed,
        checkpoint] : balanced is the mean over Theta = 0 and Theta = 1 of the accuracy at TD steps.
    ``recurrent_weights`` [seed, checkpoint, gate, hidden, hidden_from], ``input_weights`` [.., gate, hidden, symbol],
        ``bias`` [.., gate, hidden], ``readout_weights`` [.., output, hidden], ``readout_bias`` [.., output] :
        ``isophase.kernels.rnn.weights_at`` reads them. ``checkpoint`` is the number of updates done.
    ``probe_symbols``, ``probe_theta`` [probe, time], ``probe_state`` [seed, probe_checkpoint, probe, time, state].
    ``optimizer_state`` [seed, optimizer] : after the last update, flattened; for ``start_optimizer``.
    ``diverged_at`` [seed] : first iteration whose loss is not finite, or -1. What comes later is NaN for this seed.

    Raises
    ------
    ValueError : names the argument, its value and what is allowed.
    """
    seeds = list(seeds)
    setting = _setting(task, cell, optimizer, momentum, clip, loss_on, hold_modulus)
    for name, value, least in (("n_hidden", n_hidden, 1), ("iterations", iterations, 0), ("length", length, 1),
                               ("batch", batch, 1), ("heldout", heldout, 1), ("probe", probe, 1)):  # fmt: skip
        _check_integer(name, value, least)
    _check_positive("learning_rate", learning_rate)
    _check_positive("initial_gain", initial_gain, zero=True)
    if start_modulus is not None:
        _check_modulus("start_modulus", start_modulus, cell)
    sequences, labels = _check_seeds(seeds)
    if start is not None:
        _check_start(start, Weights(*_shapes(task, cell, n_hidden)), len(seeds))
    if start_optimizer is not None:
        start_optimizer = _check_start_optimizer(start_optimizer, start, setting, len(seeds))
    at = _checkpoints(iterations, checkpoint_every, checkpoints)
    recorded = np.array([iterations] if probe_at is None else sorted(set(probe_at)), dtype=np.int64)
    if not np.isin(recorded, at).all():
        raise ValueError(f"probe_at={recorded.tolist()}: must be among the checkpoints, {at.tolist()}")

    evaluation = _fixed_sequences(task, HELDOUT_ENTROPY, heldout, length)
    probing = _fixed_sequences(task, PROBE_ENTROPY, probe, length)
    plan = _Plan(at, recorded, (batch, length), float(learning_rate), evaluation, probing)
    report = _Report(progress)
    runs = []
    for i, sequence in enumerate(sequences):
        initial, sampling = (np.random.default_rng(child) for child in _children(sequence, 2))
        if start is None:
            weights = initial_weights(cell, n_hidden, len(task.symbols), setting.outputs, initial_gain, initial)
        else:
            weights = Weights(*(np.asarray(part[i], np.float32) for part in start))
        if start_modulus is not None:
            weights = scale_to_modulus(weights, setting.held_symbols, start_modulus)
        with jax.enable_x64(False):  # whatever the caller uses; optax computes in double precision where it is on
            memory = None if start_optimizer is None else start_optimizer[i]
            runs.append(_train_one(setting, task, plan, weights, memory, sampling, report))
    report(final=True)
    attrs = {
        "task": json.dumps(task.to_table()),
        "cell": cell,
        "n_hidden": n_hidden,
        "length": length,
        "batch": batch,
        "optimizer": optimizer,
        "learning_rate": float(learning_rate),
        "momentum": float(momentum),
        "clip": "none" if clip is None else float(clip),
        "initial_gain": float(initial_gain),
        "loss_on": loss_on,
        "start_modulus": "none" if start_modulus is None else float(start_modulus),
        "hold_modulus": "none" if hold_modulus is None else float(hold_modulus),
        "heldout": heldout,
        "started_from_weights": int(start is not None),
    }
    return _dataset(task, setting, runs, labels, at, recorded, probing, attrs)


class _Plan(NamedTuple):
    """What all seeds of a run have in common besides its setting."""

    at: np.ndarray  # checkpoints, in updates; the last one is the end
    recorded: np.ndarray  # those of them at which the probe's states are recorded
    shape: tuple[int, int]  # of a batch: sequences, steps
    learning_rate: float
    evaluation: tuple[np.ndarray, ...]  # as _fixed_sequences gives them
    probing: tuple[np.ndarray, ...]


class _OneSeed(NamedTuple):
    curves: Curves
    evaluations: list[list[float]]
    weights: list[Weights]
    probe_state: list[np.ndarray]
    optimizer_state: np.ndarray
    diverged_at: int


def _train_one(
    setting: Setting,
    task: TimedAutomaton,
    plan: _Plan,
    weights: Weights,
    optimizer_state: np.ndarray | None,
    rng: np.random.Generator,
    report: "_Report",
) -> _OneSeed:
    run_piece, evaluate, states = _programs(setting)
    rate = np.float32(plan.learning_rate)
    points = None if setting.bound is None else continued_points(weights, setting.held_symbols)
    memory = _optimizer(setting, rate).init(weights)
    if optimizer_state is not None:
        memory = ravel_pytree(memory)[1](jnp.asarray(optimizer_state))
    carry = (jax.tree.map(jnp.asarray, weights), memory, points)
    iterations, done, diverged_at = int(plan.at[-1]), 0, -1
    curves = Curves(*np.full((3, iterations), np.nan, np.float32))
    evaluations, checkpoints, probe_state = [], [], []
    nothing = Weights(*(np.full_like(part, np.nan) for part in weights))
    for checkpoint in plan.at.tolist():
        while done < checkpoint and diverged_at < 0:
            count = min(PIECE, checkpoint - done)
            symbols, targets = _piece(task, rng, count, *plan.shape)
            carry, piece = run_piece(carry, rate, symbols, targets, np.int32(count))
            for curve, values in zip(curves, piece, strict=True):
                curve[done : done + count] = values[:count]
            finite = np.isfinite(curves.loss[done : done + count])
            if not finite.all():
                diverged_at = done + int(finite.argmin())
                for curve in curves:
                    curve[diverged_at:] = np.nan
            done += count
            report(count)
        alive = diverged_at < 0 or checkpoint <= diverged_at
        checkpoints.append(jax.tree.map(np.asarray, carry[0]) if alive else nothing)
        evaluated = [float(value) for value in evaluate(checkpoints[-1], *plan.evaluation)]
        evaluations.append(evaluated if math.isfinite(evaluated[0]) else [math.nan] * len(evaluated))
        if checkpoint in plan.recorded:
            probe_state.append(np.asarray(states(checkpoints[-1], plan.probing[0])).transpose(2, 0, 1))
    report(iterations - done)
    memory = np.asarray(ravel_pytree(carry[1])[0], np.float32)
    return _OneSeed(curves, evaluations, checkpoints, probe_state, memory, diverged_at)


class _Report:
    """Adds up updates and tells of them, not too often."""

    def __init__(self, progress: Callable[[int], None] | None) -> None:
        self.progress, self.done, self.last = progress, 0, time.monotonic()

    def __call__(self, updates: int = 0, final: bool = False) -> None:
        self.done += updates
        if self.progress and (final or time.monotonic() - self.last > SECONDS_BETWEEN_REPORTS):
            self.last = time.monotonic()
            self.progress(self.done)


# Compiled programs. Arrays are [time, ..., batch]: the long axis last, as vector instructions want it.


@functools.lru_cache(maxsize=32)
def _programs(setting: Setting) -> tuple[Any, Any, Any]:
    """Training for up to ``PIECE`` iterations; evaluation; and hidden states: compiled once per setting and shapes."""

    def run_piece(carry: Any, rate: Any, symbols: Any, targets: Any, count: Any) -> Any:
        def iterate(i: Any, state: Any) -> Any:
            (weights, memory, points), curves = state
            gradient_of = jax.value_and_grad(functools.partial(loss_and_accuracy, setting), has_aux=True)
            (loss, accuracy), gradient = gradient_of(weights, symbols[i], targets[i])
            change, memory = _optimizer(setting, rate).update(gradient, memory, weights)
            weights = optax.apply_updates(weights, change)
            if setting.bound is not None:
                weights, points = hold_below(weights, points, setting.held_symbols, setting.bound)
            curves = Curves(*(c.at[i].set(v) for c, v in zip(curves, (loss, *accuracy), strict=True)))
            return (weights, memory, points), curves

        curves = Curves(*(jnp.full(symbols.shape[0], jnp.nan, jnp.float32),) * 3)
        return jax.lax.fori_loop(0, count, iterate, (carry, curves))

    def evaluate(weights: Weights, symbols: Any, targets: Any, theta: Any) -> Any:
        logits = network_logits(setting, weights, network_states(setting, weights, symbols))
        right = _answers(logits) == targets
        dependent = _flags(setting.time_dependent, symbols)
        loss, (ti, td) = _loss_and_accuracy(setting, logits, symbols, targets)
        halves = [_mean(right, dependent * (theta == value)) for value in (0, 1)]
        return loss, ti, td, (halves[0] + halves[1]) / 2

    def states(weights: Weights, symbols: Any) -> Any:
        return network_states(setting, weights, symbols)

    compiled = functools.partial(jax.jit, compiler_options=COMPILER_OPTIONS)
    return compiled(run_piece), compiled(evaluate), compiled(states)


def network_states(setting: Setting, weights: Weights, symbols: Any) -> Any:
    """States after every step, [time, state, batch], for ``symbols`` [time, batch]."""
    gates, n, n_symbols = weights.input.shape
    drives = (weights.input + weights.bias[:, :, None]).reshape(gates * n, n_symbols)

    def forward(state: Any, symbol: Any) -> Any:
        # The drive is made where it is used: reading it from memory takes longer than this small product.
        one_hot = (symbol == jnp.arange(n_symbols, dtype=symbol.dtype)[:, None]).astype(drives.dtype)
        state = advance(setting.cell, weights.recurrent, state, drives @ one_hot)
        return state, state

    zero = jnp.zeros((state_size(setting.cell, n), symbols.shape[1]), drives.dtype)
    return jax.lax.scan(forward, zero, symbols, unroll=UNROLL)[1]


def network_logits(setting: Setting, weights: Weights, states: Any) -> Any:
    """Logits [time, output, batch] of states [time, state, batch]."""
    return jax.vmap(functools.partial(readout, setting.cell, weights))(states)


def loss_and_accuracy(setting: Setting, weights: Weights, symbols: Any, targets: Any) -> Any:
    """Loss in nats, and (TI, TD) accuracy, for ``symbols`` and ``targets`` int [time, batch]."""
    logits = network_logits(setting, weights, network_states(setting, weights, symbols))
    return _loss_and_accuracy(setting, logits, symbols, targets)


def _loss_and_accuracy(setting: Setting, logits: Any, symbols: Any, targets: Any) -> Any:
    if setting.outputs == 1:
        losses = optax.sigmoid_binary_cross_entropy(logits[:, 0], targets.astype(logits.dtype))
    else:
        losses = optax.softmax_cross_entropy_with_integer_labels(logits, targets.astype(jnp.int32), axis=1)
    right = _answers(logits) == targets
    if all(setting.in_loss):
        loss = losses.mean()
    else:  # a batch of null symbols alone has nothing to learn from; it is no divergence
        counted = _flags(setting.in_loss, symbols)
        loss = (losses * counted).sum() / jnp.maximum(counted.sum(), 1)
    return loss, tuple(_mean(right, _flags(which, symbols)) for which in (setting.time_independent,
                                                                          setting.time_dependent))  # fmt: skip


def _answers(logits: Any) -> Any:
    return logits[:, 0] > 0 if logits.shape[1] == 1 else logits.argmax(axis=1)


def _flags(of_symbol: tuple[bool, ...], symbols: Any) -> Any:
    """Whether each symbol is one of those, as numbers; comparisons are faster than a look-up."""
    chosen = jnp.zeros(symbols.shape, bool)
    for symbol, flag in enumerate(of_symbol):
        if flag:
            chosen |= symbols == symbol
    return chosen.astype(jnp.float32)


def _mean(values: Any, weight: Any) -> Any:
    return (values * weight).sum() / weight.sum()


def _optimizer(setting: Setting, rate: Any) -> optax.GradientTransformation:
    momentum = setting.momentum or None
    if setting.optimizer == "adam":
        chosen = optax.adam(rate)
    elif setting.optimizer == "sgd":
        chosen = optax.sgd(rate, momentum=momentum)
    else:
        chosen = optax.rmsprop(rate, momentum=momentum)
    return chosen if setting.clip is None else optax.chain(optax.clip_by_global_norm(setting.clip), chosen)


# Sequences.


def _piece(task: TimedAutomaton, rng: np.random.Generator, count: int, batch: int, length: int) -> Any:
    """Symbols and targets, int8 [iteration, time, batch], for ``count`` iterations; zeros up to ``PIECE``."""
    symbols = task.draw(rng, (count * batch, length))
    targets, _ = task.run(symbols)
    padded = np.zeros((2, PIECE, length, batch), np.int8)
    for into, sequences in zip(padded, (symbols, targets), strict=True):
        into[:count] = sequences.reshape(count, batch, length).transpose(0, 2, 1)
    return padded


def _fixed_sequences(task: TimedAutomaton, entropy: int, number: int, length: int) -> tuple[np.ndarray, ...]:
    """Symbols, targets and Theta, int8 [time, sequence]."""
    symbols = task.draw(np.random.default_rng(np.random.SeedSequence(entropy)), (number, length))
    return tuple(np.ascontiguousarray(part.T, np.int8) for part in (symbols, *task.run(symbols)))


def _children(sequence: np.random.SeedSequence, count: int) -> list[np.random.SeedSequence]:
    """What ``spawn`` gives at its first call, at every call."""
    return [
        np.random.SeedSequence(sequence.entropy, spawn_key=(*sequence.spawn_key, child), pool_size=sequence.pool_size)
        for child in range(count)
    ]


# Checks of arguments.


def _setting(
    task: TimedAutomaton,
    cell: str,
    optimizer: str,
    momentum: float,
    clip: float | None,
    loss_on: str,
    bound: float | None,
) -> Setting:
    check_cell(cell)
    for name, value, allowed in (("optimizer", optimizer, OPTIMIZERS), ("loss_on", loss_on, LOSSES)):
        if value not in allowed:
            raise ValueError(f"{name}={value!r}: must be one of {', '.join(allowed)}")
    if not (isinstance(momentum, int | float) and 0 <= momentum < 1):
        raise ValueError(f"momentum={momentum!r}: must be >= 0 and < 1")
    if momentum and optimizer == "adam":
        raise ValueError(f"momentum={momentum}: optimizer='adam' has its own; give it to sgd or rmsprop")
    if clip is not None:
        _check_positive("clip", clip)
    if bound is not None:
        _check_modulus("hold_modulus", bound, cell)
    everything = tuple(range(len(task.symbols)))
    counted = [loss_on == "all" or symbol != task.null for symbol in range(len(task.symbols))]
    return Setting(
        cell=cell,
        outputs=_outputs(task),
        time_dependent=tuple(task.time_dependent.tolist()),
        time_independent=tuple(task.time_independent.tolist()),
        in_loss=tuple(counted),
        optimizer=optimizer,
        momentum=float(momentum),
        clip=None if clip is None else float(clip),
        held_symbols=(task.null,) if isinstance(task.clock, RelativeClock) and task.null is not None else everything,
        bound=None if bound is None else float(bound),
    )


def _outputs(task: TimedAutomaton) -> int:
    return 1 if len(task.states) == 2 else len(task.states)


def _check_integer(name: str, value: Any, least: int) -> None:
    if not isinstance(value, int | np.integer) or isinstance(value, bool) or value < least:
        raise ValueError(f"{name}={value!r}: must be an integer >= {least}")


def _check_positive(name: str, value: Any, zero: bool = False) -> None:
    good = isinstance(value, int | float | np.number) and math.isfinite(value) and (value > 0 or (zero and value == 0))
    if not good:
        raise ValueError(f"{name}={value!r}: must be finite and {'>=' if zero else '>'} 0")


def _check_modulus(name: str, value: Any, cell: str) -> None:
    _check_positive(name, value)
    if cell != "rnn":
        raise ValueError(f"{name}={value}: only for cell='rnn', not {cell!r}")


def _check_seeds(seeds: list[Any]) -> tuple[list[np.random.SeedSequence], np.ndarray]:
    """As SeedSequences, and their labels: the integers, or 0, 1, ... for SeedSequences."""
    if not seeds:
        raise ValueError("seeds=[]: must be one seed at least")
    if all(isinstance(seed, np.random.SeedSequence) for seed in seeds):
        return seeds, np.arange(len(seeds), dtype=np.int64)
    for seed in seeds:
        _check_integer("seeds", seed, 0)
    if len(set(seeds)) < len(seeds):
        raise ValueError(f"seeds={seeds}: must be different")
    return [np.random.SeedSequence(int(seed)) for seed in seeds], np.array(seeds, dtype=np.int64)


def _checkpoints(iterations: int, every: int | None, chosen: Iterable[int] | None) -> np.ndarray:
    if chosen is None:
        _check_integer("checkpoint_every", every, 1)
        inner = set(range(0, iterations, every))  # type: ignore[arg-type]
    else:
        inner = set(chosen)
        for checkpoint in inner:
            _check_integer("checkpoints", checkpoint, 0)
            if checkpoint > iterations:
                raise ValueError(f"checkpoints: {checkpoint}: must be <= iterations={iterations}")
    return np.array(sorted({int(checkpoint) for checkpoint in inner} | {0, iterations}), dtype=np.int64)


def _shapes(task: TimedAutomaton, cell: str, n_hidden: int) -> tuple[tuple[int, ...], ...]:
    gates, outputs = len(GATES[cell]), _outputs(task)
    return (
        (gates, n_hidden, n_hidden),
        (gates, n_hidden, len(task.symbols)),
        (gates, n_hidden),
        (outputs, n_hidden),
        (outputs,),
    )


def _check_start(start: Weights, shapes: Weights, seeds: int) -> None:
    for name, part, shape in zip(Weights._fields, start, shapes, strict=True):
        if np.shape(part) != (seeds, *shape):
            raise ValueError(f"start.{name}: must have shape {(seeds, *shape)}, seeds first, got {np.shape(part)}")


def _check_start_optimizer(state: Any, start: Weights | None, setting: Setting, seeds: int) -> np.ndarray:
    """State of the optimizer [seed, optimizer]."""
    if start is None:
        raise ValueError("start_optimizer: must be given with start, the weights that it belongs to")
    one = Weights(*(np.asarray(part[0], np.float32) for part in start))
    size = ravel_pytree(_optimizer(setting, np.float32(0)).init(one))[0].size
    if np.shape(state) != (seeds, size):
        raise ValueError(f"start_optimizer: must have shape {(seeds, size)}, seeds first, got {np.shape(state)}")
    if not np.isfinite(state).all():
        raise ValueError("start_optimizer: must be finite; that of a run that diverged is not")
    return np.asarray(state, np.float32)


# The dataset.


def _dataset(task: TimedAutomaton, setting: Setting, runs: list[_OneSeed], labels: np.ndarray, at: np.ndarray,
             recorded: np.ndarray, probing: Any, attrs: dict[str, Any]) -> xr.Dataset:  # fmt: skip
    arrays: dict[str, Any] = {}
    for i, name in enumerate(CURVES):
        arrays[name] = np.stack([run.curves[i] for run in runs])
    for i, name in enumerate(EVALUATIONS):
        arrays[name] = np.array([[part[i] for part in run.evaluations] for run in runs], np.float32)
    for i, name in enumerate(WEIGHTS):
        arrays[name] = np.stack([np.stack([weights[i] for weights in run.weights]) for run in runs])
    arrays["probe_state"] = np.stack([np.stack(run.probe_state) for run in runs])
    shared = {"probe_symbols": probing[0].T.astype(np.int64), "probe_theta": probing[2].T.astype(np.int64)}
    variables: dict[str, Any] = {}
    for name, (dims, text, unit) in RECORDED.items():
        attrs_of = {"long_name": text, "units": unit}
        variables[name] = (
            (dims, shared[name], attrs_of) if name in shared else (("seed", *dims), arrays[name], attrs_of)
        )
    about = {"long_name": "state of the optimizer after the last update, flattened", "units": "1"}
    variables["optimizer_state"] = (("seed", "optimizer"), np.stack([run.optimizer_state for run in runs]), about)
    variables["diverged_at"] = (
        "seed",
        np.array([run.diverged_at for run in runs], np.int64),
        {"long_name": "first iteration whose loss is not finite, -1 for none", "units": "iteration"},
    )
    n_hidden = runs[0].weights[0].bias.shape[-1]
    outputs = [f"P({task.states[1]})"] if setting.outputs == 1 else list(task.states)
    values: dict[str, Any] = {
        "iteration": np.arange(at[-1]),
        "checkpoint": at,
        "gate": np.array(GATES[setting.cell], np.str_),
        "hidden": np.arange(n_hidden),
        "hidden_from": np.arange(n_hidden),
        "symbol": np.array(task.symbols, np.str_),
        "output": np.array(outputs, np.str_),
        "probe": np.arange(probing[0].shape[1]),
        "time": np.arange(probing[0].shape[0]),
        "state": np.arange(state_size(setting.cell, n_hidden)),
        "probe_checkpoint": recorded,
    }
    coords: dict[str, Any] = {"seed": ("seed", labels, {"long_name": "seed", "units": "1"})}
    for dim, (text, unit) in COORDINATES.items():
        coords[dim] = (dim, values[dim], {"long_name": text} | ({"units": unit} if unit else {}))
    return xr.Dataset(variables, coords, attrs)
