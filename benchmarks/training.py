"""Training of ``kernels.rnn`` side by side with what one would write instead: updates (iterations x seeds) per second.

python -m benchmarks.training [SEEDS [ITERATIONS]]

The time-of-day flipflop (period 10), ``rnn`` with 32 hidden units, 60 steps, batches of 128, Adam at 3e-3; 6 seeds of
1,000 iterations if not given. All get the same initial weights and the same sequences, and run on one core:

- ours: ``train``, with its checkpoints every 10 iterations and their evaluation on 512 held-out sequences;
- a JAX loop: one jitted update per call, the cell in a scan, sequences as batch-major one-hot arrays;
- PyTorch, eager: the same cell written as a loop over time steps, and ``torch.nn.RNN``, which does that loop in C++
  (``pip install torch``; left out where it is missing).

Seconds are the process's CPU time, which on an idle machine is the time that one waits; compilation is timed apart.
Loss curves have to agree, to rounding at first, and closely at the end.
"""

import importlib.util
import os
import sys
import time
from collections.abc import Callable, Iterator

from isophase.kernels.automata import temporal_flipflop
from isophase.kernels.rnn import Weights, train, weights_at

import jax  # isort: skip - after isophase.kernels.rnn, which bounds its threads
import jax.numpy as jnp  # isort: skip
import numpy as np
import optax

HIDDEN, LENGTH, BATCH, RATE = 32, 60, 128, 3e-3
TASK = temporal_flipflop(clock="periodic", period=10)
WARM_UP = 20  # updates, not timed
EARLY, EARLY_TOLERANCE = 20, 1e-4  # iterations in which loss curves agree to this, in nats
LATE_TOLERANCE = 0.03  # nats, of the mean over seeds at the end

Losses = list[float]


def sequences(seed: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The inputs (one-hot float32) and targets that ``train`` draws for a seed."""
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(1,)))
    one_hot = np.eye(len(TASK.symbols), dtype=np.float32)
    while True:
        symbols = TASK.draw(rng, (BATCH, LENGTH))
        yield one_hot[symbols], TASK.run(symbols)[0].astype(np.float32)


def jax_loop(start: Weights, seed: int, iterations: int) -> Losses:
    optimizer = _OPTIMIZER
    weights = jax.tree.map(jnp.asarray, start)
    memory, losses = optimizer.init(weights), []
    for _, (inputs, targets) in zip(range(iterations), sequences(seed), strict=False):
        weights, memory, loss = _jax_update(weights, memory, inputs, targets)
        losses.append(float(loss))
    return losses


_OPTIMIZER = optax.adam(RATE)


@jax.jit
def _jax_update(weights, memory, inputs, targets):
    def loss_of(weights):
        def step(h, u):
            h = jnp.tanh(h @ weights.recurrent[0].T + u @ weights.input[0].T + weights.bias[0])
            return h, h @ weights.readout[0] + weights.readout_bias[0]

        _, logits = jax.lax.scan(step, jnp.zeros((BATCH, HIDDEN)), inputs.swapaxes(0, 1))
        return optax.sigmoid_binary_cross_entropy(logits, targets.T).mean()

    loss, gradient = jax.value_and_grad(loss_of)(weights)
    change, memory = _OPTIMIZER.update(gradient, memory)
    return optax.apply_updates(weights, change), memory, loss


def torch_eager(start: Weights, seed: int, iterations: int, fused: bool = False) -> Losses:
    import torch

    torch.set_num_threads(1)
    w, u, b, c, d = (torch.tensor(np.array(part)) for part in (*(part[0] for part in start[:3]), *start[3:]))
    parameters = [torch.nn.Parameter(part) for part in (u, w, b, c, d)]
    u, w, b, c, d = parameters
    cell = torch.nn.RNN(len(TASK.symbols), HIDDEN, batch_first=True)
    if fused:
        cell.weight_ih_l0, cell.weight_hh_l0, cell.bias_ih_l0 = parameters[:3]
        cell.bias_hh_l0 = torch.nn.Parameter(torch.zeros(HIDDEN), requires_grad=False)
    optimizer = torch.optim.Adam(parameters, lr=RATE)
    losses = []
    for _, (inputs, targets) in zip(range(iterations), sequences(seed), strict=False):
        x = torch.from_numpy(inputs)
        if fused:
            states = cell(x)[0]
        else:
            h, seen = torch.zeros(BATCH, HIDDEN), []
            for t in range(LENGTH):
                h = torch.tanh(h @ w.T + x[:, t] @ u.T + b)
                seen.append(h)
            states = torch.stack(seen, 1)
        logits = states @ c[0] + d[0]
        loss = torch.nn.functional.binary_cross_entropy_with_logits(logits, torch.from_numpy(targets))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def main(seeds: int = 6, iterations: int = 1000) -> None:
    setting = {"n_hidden": HIDDEN, "length": LENGTH, "batch": BATCH, "learning_rate": RATE}
    started = time.process_time()
    train(TASK, seeds=[0], iterations=WARM_UP, **setting)
    compiled = time.process_time() - started
    started = time.process_time()
    run = train(TASK, seeds=range(seeds), iterations=iterations, **setting)
    ours = time.process_time() - started
    curves = run.loss.values
    print(f"training, {seeds} seeds of {iterations:,} iterations, PJRT_NPROC={os.environ.get('PJRT_NPROC')}")
    report = "  {:34} {:7.0f} updates/s, {:5.1f} s; {}".format
    print(report("ours", seeds * iterations / ours, ours, f"before it {compiled:.1f} s to compile"))

    others: dict[str, Callable[[Weights, int, int], Losses]] = {"JAX, one jitted update per call": jax_loop}
    if importlib.util.find_spec("torch"):
        others["PyTorch eager, loop over steps"] = torch_eager
        others["PyTorch eager, torch.nn.RNN"] = lambda *given: torch_eager(*given, fused=True)
    else:
        print("  PyTorch is not installed: pip install torch")
    for name, other in others.items():
        other(weights_at(run, 0, 0), 0, WARM_UP)
        started = time.process_time()
        theirs = np.array([other(weights_at(run, seed, 0), seed, iterations) for seed in range(seeds)])
        took = time.process_time() - started
        early = abs(theirs - curves)[:, :EARLY].max()
        late = abs(theirs - curves)[:, -EARLY:].mean(1).max()
        agreement = f"loss differs by {early:.0e} at first, {late:.0e} at the end"
        print(report(name, seeds * iterations / took, took, f"ours is {took / ours:.1f} times as fast; {agreement}"))
        assert early < EARLY_TOLERANCE, early
        assert late < LATE_TOLERANCE, late


if __name__ == "__main__":
    main(*(int(argument) for argument in sys.argv[1:3]))
