"""Fixed points of 100 checkpoints x 2 symbols x 6 networks from 8 starts each, beside what one would use instead.

python -m benchmarks.fixed_points [CHECKPOINTS]

The networks (tanh, 32 units, weights uniform in +-1/sqrt(32)) move along a line that takes their spectral radius from
0.6 to 1.6, as training does; half of the starts are states that the network visits, half random. On one core, after
compilation. The others take every 50th map, and their time is per start: ``scipy.optimize.root`` (hybr, exact Jacobian,
xtol 1e-12), and gradient descent on the speed |F(h) - h|^2 / 2 (Sussillo and Barak, Neural Computation 25, 626 (2013))
with Adam, 0.01, 5,000 steps, in double precision and in one vectorised call. A start has converged when |F(h) - h| <=
1e-9, for all three.
"""

import os
import sys
import time

import numpy as np
import scipy.optimize

os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false")
if hasattr(os, "sched_setaffinity"):
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})

import jax
import jax.numpy as jnp
import optax

from isophase.analysis.networks.fixed_points import continue_fixed_points, double_precision, find_fixed_points_of_maps

HIDDEN, SYMBOLS, NETWORKS, STARTS, EVERY = 32, 2, 6, 8, 50
TOLERANCE, MARK = 1e-9, 10.0
ADAM, STEPS = 0.01, 5000


def network(parameters, h):
    weights, drive = parameters
    return jnp.tanh(weights @ h + drive)


def maps(checkpoints, rng):
    """Weights and drives [network, symbol, checkpoint, ...] and starts."""
    bound = 1 / np.sqrt(HIDDEN)
    weights, more = rng.uniform(-bound, bound, (2, NETWORKS, HIDDEN, HIDDEN))
    radius = 0.6 + np.linspace(0, 1, checkpoints)
    path = weights[:, None] + 0.3 * np.linspace(0, 1, checkpoints)[:, None, None] * more[:, None]
    path *= (radius / np.abs(np.linalg.eigvals(path)).max(axis=-1))[..., None, None]
    drive = rng.uniform(-bound, bound, (NETWORKS, SYMBOLS, 1, HIDDEN))
    shape = (NETWORKS, SYMBOLS, checkpoints)
    weights = np.broadcast_to(path[:, None], (*shape, HIDDEN, HIDDEN))
    drive = np.broadcast_to(drive, (*shape, HIDDEN))
    starts = rng.uniform(-1, 1, (*shape, STARTS, HIDDEN))
    for _ in range(20):
        starts[..., ::2, :] = np.tanh(
            np.einsum("nskij,nskpj->nskpi", weights, starts[..., ::2, :]) + drive[..., None, :]
        )
    return weights, drive, starts


def newton(weights, drive, starts):
    points = find_fixed_points_of_maps(network, (weights, drive), starts, TOLERANCE)
    return np.mean([p.share_converged for p in points]), np.median(np.concatenate([p.residual for p in points]))


def hybrid(weights, drive, starts):
    residual = np.empty(starts.shape[:2])
    for of_map, start in np.ndindex(*starts.shape[:2]):
        w, d = weights[of_map], drive[of_map]
        solved = scipy.optimize.root(
            lambda h, w=w, d=d: np.tanh(w @ h + d) - h,
            starts[of_map, start],
            jac=lambda h, w=w, d=d: (1 - np.tanh(w @ h + d) ** 2)[:, None] * w - np.eye(HIDDEN),
            options={"xtol": 1e-12},
        )
        residual[of_map, start] = np.linalg.norm(solved.fun)
    return share_and_median(residual)


@jax.jit
def descend(weights, drive, starts):
    def speed(h):
        return (jnp.square(jnp.tanh(jnp.einsum("mij,mpj->mpi", weights, h) + drive[:, None]) - h) / 2).sum()

    adam = optax.adam(ADAM)

    def improve(state, _):
        h, moments = state
        change, moments = adam.update(jax.grad(speed)(h), moments)
        return (optax.apply_updates(h, change), moments), None

    h, _ = jax.lax.scan(improve, (starts, adam.init(starts)), None, STEPS)[0]
    return jnp.linalg.norm(jnp.tanh(jnp.einsum("mij,mpj->mpi", weights, h) + drive[:, None]) - h, axis=-1)


def gradient(weights, drive, starts):
    with double_precision():
        return share_and_median(np.asarray(descend(*(jnp.asarray(part) for part in (weights, drive, starts)))))


def share_and_median(residual):
    converged = residual <= TOLERANCE
    return converged.mean(), np.median(residual[converged]) if converged.any() else np.nan


def timed(function, *arguments):
    function(*arguments)  # compiles
    started = time.perf_counter()
    result = function(*arguments)
    return time.perf_counter() - started, result


def main(checkpoints: int = 100) -> None:
    weights, drive, starts = maps(checkpoints, np.random.default_rng(0))
    flat = [part.reshape(-1, *part.shape[3:]) for part in (weights, drive, starts)]
    some = [part[::EVERY] for part in flat]
    n = flat[2].shape[0] * STARTS
    print(f"fixed points, {flat[2].shape[0]:,} maps of {HIDDEN} units, {n:,} starts, one core")
    paths = [part.reshape(-1, *part.shape[2:]) for part in (weights, drive, starts)]

    def followed():
        return continue_fixed_points(network, (paths[0], paths[1]), paths[2], np.arange(checkpoints), TOLERANCE)

    whole, (share, residual) = timed(newton, *flat)
    of_starts = whole / n
    print(f"  {'':32}{'s':>9}{'ms a start':>12}{'ratio':>9}{'converged':>11}{'residual':>10}")
    print(f"  {'batched Newton':32}{whole:9.2f}{of_starts * 1e3:12.3f}{1:9.0f}{share:11.1%}{residual:10.1e}")
    few = some[2].shape[0] * STARTS
    for name, function in (
        ("batched Newton", newton),
        ("scipy.optimize.root", hybrid),
        (f"speed, Adam {STEPS:,} steps", gradient),
    ):
        seconds, (share, residual) = timed(function, *some)
        each = seconds / few
        label = f"{name} ({few} starts)"
        print(f"  {label:32}{each * n:8.1f}*{each * 1e3:12.3f}{each / of_starts:9.1f}{share:11.1%}{residual:10.1e}")
    print("  * extrapolated to all starts; converged and residual (median, of those converged) are of the starts taken")
    seconds, branches = timed(followed)
    print(f"  with continuation along the checkpoints {seconds:.2f} s (mark: {MARK:.0f} s), "
          f"{sum(path.sizes['branch'] for path in branches)} branches on {len(branches)} paths")  # fmt: skip


if __name__ == "__main__":
    main(*(int(argument) for argument in sys.argv[1:2]))
