"""Slow points of maps: local minima of q = |F(h) - h|^2 / 2 that are no fixed points.

A trajectory lingers near them; some are ghosts, left where two fixed points met in a fold. After Sussillo and Barak,
Neural Computation 25, 626 (2013). Fixed points are the matter of ``fixed_points``.
"""

from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import numpy as np

from isophase.analysis.networks.fixed_points import (
    TOLERANCE,
    Step,
    double_precision,
    in_double,
    padded,
    sorted_eigenvalues,
)

DESCENT, POLISH = 300, 30  # iterations at most
HALVINGS = 30  # of a step, before a start is given up
SUFFICIENT = 1e-4  # Armijo's: of the decrease that the gradient promises
LEVEL = 1e-6  # gradient of |F - h| over the norm of its Jacobian, below which the descent has arrived
MINIMUM = 1e-8  # the same after Newton's method
CURVED = 1e-10  # least over largest second derivative of q at what counts as a minimum
DISTANCE = 1e-4  # times 1 + |h|: slow points closer than this are one
FARTHEST = 1.0  # times 1 + |h|: of one step
FEWEST = 4  # candidates in a batch: 4, 16, 64 ... as second derivatives of padding cost more than those of maps


class SlowPoints(NamedTuple):
    """``h`` [point, hidden]; ``speed`` [point], the Euclidean norm of F(h) - h; ``eigenvalues`` [point, hidden] of the
    Jacobian; the slowest first."""

    h: np.ndarray
    speed: np.ndarray
    eigenvalues: np.ndarray


def find_slow_points(step: Step, parameters: Any, starts: Any, tol: float = TOLERANCE) -> tuple[SlowPoints, ...]:
    """Slow points of ``h -> step(parameters, h)`` for every map.

    From every start q is descended by the method of Broyden, Fletcher, Goldfarb and Shanno, then by Newton's with the
    exact second derivatives, which are all that bends q at a ghost (Nocedal and Wright, Numerical Optimization (2006),
    chapters 3 and 6). A minimum counts where the gradient of |F(h) - h| is below 1e-8 of the norm of its Jacobian, the
    second derivatives of q are positive, and the speed is above ``tol``.

    Parameters
    ----------
    step : (parameters of one map, h [hidden]) -> h' [hidden], made of JAX operations.
    parameters : arrays, each with a leading axis [map, ...].
    starts : [map, n, hidden], finite. What no start leads to is not found.
    """
    starts = np.asarray(starts, float)
    n_maps, _, hidden = starts.shape
    parameters = in_double(parameters, n_maps)
    with double_precision():
        h, speed, level = (np.asarray(part) for part in _descent()(step, parameters, np.arange(n_maps), starts, tol))
        candidates = np.isfinite(level) & (speed > tol) & (level <= np.sqrt(LEVEL))
        of_map, of_start = np.nonzero(candidates)
        kept = [(m, s) for m in range(n_maps) for s in _distinct(h[m], speed[m], of_start[of_map == m])]
        owner = np.array([m for m, _ in kept], int)
        x = np.array([h[m, s] for m, s in kept]).reshape(-1, hidden)
        batch = (padded(part, 0, FEWEST, FEWEST) for part in (owner, x))
        polished = (
            _polish()(step, parameters, *batch) if len(x) else (x, *np.empty((3, 0)), np.empty((0, hidden, hidden)))
        )
        x, speed, level, curvature, jacobian = (np.asarray(part)[: len(owner)] for part in polished)
    minimum = (level <= MINIMUM) & (curvature > CURVED) & (speed > tol)
    found = []
    for m in range(n_maps):
        own = _distinct(x, speed, np.flatnonzero(minimum & (owner == m)))
        found.append(SlowPoints(x[own], speed[own], sorted_eigenvalues(jacobian[own])))
    return tuple(found)


def _distinct(h: np.ndarray, speed: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Of some rows those that are different, the slowest first."""
    kept: list[int] = []
    for row in rows[np.argsort(speed[rows], kind="stable")]:
        if not kept or np.linalg.norm(h[kept] - h[row], axis=-1).min() > DISTANCE * (1 + np.linalg.norm(h[row])):
            kept.append(int(row))
    return np.array(kept, int)


def _of_map(step: Step, parameters: Any, of_map: Any) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """F(h) - h and q of one of many maps."""
    import jax

    own = jax.tree.map(lambda part: part[of_map], parameters)

    def change(h: Any) -> Any:
        return step(own, h) - h

    return change, lambda h: (change(h) ** 2).sum() / 2


def _shortened(q: Callable[..., Any], h: Any, value: Any, gradient: Any, direction: Any) -> tuple[Any, Any]:
    """Where q has fallen enough along a direction that is halved until it has, and whether."""
    import jax
    import jax.numpy as jnp

    longest = FARTHEST * (1 + jnp.linalg.norm(h))
    direction = direction * jnp.minimum(1.0, longest / jnp.maximum(jnp.linalg.norm(direction), 1e-300))
    slope = SUFFICIENT * (direction @ gradient)

    def falls(part: Any) -> Any:
        return q(h + part * direction) <= value + part * slope

    def halve(state: Any) -> Any:
        count, part, _ = state
        return count + 1, part / 2, falls(part / 2)

    state = jax.lax.while_loop(lambda s: ~s[2] & (s[0] < HALVINGS), halve, (0, 1.0 + 0 * value, falls(1.0 + 0 * value)))
    return jnp.where(state[2], h + state[1] * direction, h), state[2]


def _level(change: Callable[..., Any], h: Any, gradient: Any) -> Any:
    """Gradient of |F(h) - h|, over a norm of its Jacobian: that of h -> h."""
    import jax.numpy as jnp

    speed = jnp.linalg.norm(change(h))
    return jnp.where(speed > 0, jnp.linalg.norm(gradient) / jnp.where(speed > 0, speed, 1.0), 0.0)


@cache
def _descent() -> Callable[..., Any]:
    """(step, parameters, owner [task], starts [task, n, hidden], tol) -> h, speed, level of the gradient."""
    import jax
    import jax.numpy as jnp

    def descend(step: Step, parameters: Any, owner: Any, starts: Any, tol: float) -> Any:
        def of_task(task: Any) -> Any:
            change, q = _of_map(step, parameters, task[0])
            gradient_of = jax.grad(q)
            identity = jnp.eye(starts.shape[-1])

            def improve(state: Any) -> Any:
                iteration, h, gradient, inverse, _ = state
                direction = -inverse @ gradient
                down = direction @ gradient < 0
                direction = jnp.where(down, direction, -gradient)
                inverse = jnp.where(down, inverse, identity)
                new, fell = _shortened(q, h, q(h), gradient, direction)
                new_gradient = gradient_of(new)
                s, y = new - h, new_gradient - gradient
                along = s @ y
                good = along > 1e-12 * jnp.linalg.norm(s) * jnp.linalg.norm(y)
                safe = jnp.where(good, along, 1.0)
                first = jnp.where(iteration == 0, safe / jnp.where(good, y @ y, 1.0), 1.0)
                inverse = inverse * jnp.where(good, first, 1.0)
                image = inverse @ y
                update = (1 + y @ image / safe) * jnp.outer(s, s) - jnp.outer(image, s) - jnp.outer(s, image)
                inverse = inverse + jnp.where(good, update / safe, 0.0)
                # without any decrease from the gradient itself, the descent is over
                return iteration + 1, new, new_gradient, jnp.where(fell, inverse, identity), fell | down

            def goes_on(state: Any) -> Any:
                iteration, h, gradient, _, fell = state
                far = (jnp.linalg.norm(change(h)) > tol) & (_level(change, h, gradient) > LEVEL)
                return far & fell & (iteration < DESCENT)

            def one(h: Any) -> Any:
                state = (0, h, gradient_of(h), identity, jnp.isfinite(q(h)))
                _, h, gradient, _, _ = jax.lax.while_loop(goes_on, improve, state)
                return h, jnp.linalg.norm(change(h)), _level(change, h, gradient)

            return jax.vmap(one)(task[1])

        return jax.lax.map(of_task, (owner, starts))

    return jax.jit(descend, static_argnums=0)


@cache
def _polish() -> Callable[..., Any]:
    """(step, parameters, owner [task], h [task, hidden]) -> h, speed, level, least curvature over largest, Jacobian."""
    import jax
    import jax.numpy as jnp

    def polish(step: Step, parameters: Any, owner: Any, h: Any) -> Any:
        def of_task(task: Any) -> Any:
            change, q = _of_map(step, parameters, task[0])
            gradient_of = jax.grad(q)
            hessian_of = jax.jacfwd(gradient_of)

            def improve(state: Any) -> Any:
                iteration, h, _ = state
                gradient = gradient_of(h)
                curvature, axes = jnp.linalg.eigh(hessian_of(h))
                size = jnp.maximum(jnp.abs(curvature), 1e-14 * jnp.abs(curvature).max() + 1e-300)
                return iteration + 1, *_shortened(q, h, q(h), gradient, -axes @ ((axes.T @ gradient) / size))

            def goes_on(state: Any) -> Any:
                iteration, h, fell = state
                return fell & (iteration < POLISH) & (_level(change, h, gradient_of(h)) > MINIMUM * 1e-2)

            _, h, _ = jax.lax.while_loop(goes_on, improve, (0, task[1], jnp.isfinite(q(task[1]))))
            curvature = jnp.linalg.eigvalsh(hessian_of(h))
            jacobian = jax.jacfwd(change)(h) + jnp.eye(h.size)
            level = _level(change, h, gradient_of(h))
            return h, jnp.linalg.norm(change(h)), level, curvature[0] / jnp.abs(curvature).max(), jacobian

        return jax.lax.map(of_task, (owner, h))

    return jax.jit(polish, static_argnums=0)
