"""``isophase.follow`` of a network of 256 units from 64 starts: python -m benchmarks.follow [CHECKPOINTS]

The network (tanh, weights normal, without input) moves along a line that takes its spectral radius from 0.8 to 1.3, as
training does; half of the starts are states that it visits, half uniform in the cube. On the cores there are, with
compilation, in the parts that ``follow`` does one after another: fixed points and their branches, then slow points.
"""

import sys
import time

import jax.numpy as jnp
import numpy as np

from isophase.analysis.networks import follow as parts
from isophase.analysis.networks.fixed_points import choose_starts

HIDDEN, STARTS, CHECKPOINTS = 256, 64, 10


def step(recurrent, h, u):
    return jnp.tanh(recurrent @ h + u)


def main() -> None:
    number = int(sys.argv[1]) if len(sys.argv) > 1 else CHECKPOINTS
    rng = np.random.default_rng(1)
    one = rng.normal(size=(HIDDEN, HIDDEN)) / np.sqrt(HIDDEN)
    weights = np.linspace(0.8, 1.3, number)[:, None, None] * one
    visited = [rng.uniform(-1, 1, (STARTS, HIDDEN))]
    for _ in range(30):
        visited.append(np.tanh(visited[-1] @ weights[-1].T))
    starts = choose_starts(np.stack(visited), STARTS)
    seconds = {}
    for name in ("continue_fixed_points", "find_slow_points"):
        setattr(parts, name, _timed(getattr(parts, name), name, seconds))
    begin = time.perf_counter()
    given = parts.networks(step, weights, starts, None, None, 1.0, False, 1e-9)
    branches, events, slow, complete = parts.follow_networks(given)
    total = time.perf_counter() - begin
    print(f"{number} checkpoints of {HIDDEN} units from {STARTS} starts: {total:.1f} s")
    print(", ".join(f"{name} {part:.1f} s" for name, part in seconds.items()))
    print(f"fixed points {branches['number'].values}, slow points {slow.sizes['slow_point']}, "
          f"events {events.sizes['event']}, complete at {int((complete == 'complete').sum())}")  # fmt: skip


def _timed(function, name, seconds):
    def call(*args):
        begin = time.perf_counter()
        found = function(*args)
        seconds[name] = time.perf_counter() - begin
        return found

    return call


if __name__ == "__main__":
    main()
