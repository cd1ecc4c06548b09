"""The leading eigenvalue modulus of an ``rnn`` at its fixed points, set at the start or bounded through training.

For interventions: does learning need the fixed points to lose their stability? Each symbol's fixed point is the one
that continues ``h = tanh(U u + b)``, the only one without recurrent weights, as these grow from 0 to what they are.
Other fixed points, which may appear elsewhere, are not looked at.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from isophase.kernels.rnn.cells import Weights

GAIN_STEP = 0.02  # of the continuation in the gain of the recurrent weights
LARGEST_GAIN = 50.0
NEWTON_STEPS = 3  # from a point that moved little: the error squares at each
BISECTIONS = 40
TOLERANCE = 1e-4  # of the modulus held: float32 cannot hold it much closer
MAX_PASSES = 10
ELASTICITY = (0.5, 5.0)  # of the modulus in the gain; 1 at points that stay


def scale_to_modulus(weights: Weights, symbols: tuple[int, ...], modulus: float) -> Weights:
    """``weights`` with the recurrent ones scaled so that the largest modulus at the symbols' fixed points is this.

    Raises ValueError where no gain up to ``LARGEST_GAIN`` reaches it.
    """
    recurrent, drives = _recurrent_and_drives(weights, symbols)
    low, points = 0.0, np.tanh(drives)
    while True:
        high = low + GAIN_STEP
        following = _track(np, high * recurrent, drives, points)
        if _leading_modulus(np, high * recurrent, following) >= modulus:
            break
        low, points = high, following
        if low > LARGEST_GAIN:
            raise ValueError(f"start_modulus={modulus}: not reached by any gain up to {LARGEST_GAIN}")
    for _ in range(BISECTIONS):
        gain = (low + high) / 2
        following = _track(np, gain * recurrent, drives, points)
        if _leading_modulus(np, gain * recurrent, following) >= modulus:
            high = gain
        else:
            low, points = gain, following
    return weights._replace(recurrent=(low * recurrent[None]).astype(np.float32))


def continued_points(weights: Weights, symbols: tuple[int, ...]) -> np.ndarray:
    """The fixed points of the symbols, float32 [symbol, hidden]."""
    recurrent, drives = _recurrent_and_drives(weights, symbols)
    points = np.tanh(drives)
    for gain in np.linspace(0, 1, round(1 / GAIN_STEP) + 1)[1:]:
        points = _track(np, gain * recurrent, drives, points)
    return points.astype(np.float32)


def hold_below(weights: Weights, points: Any, symbols: tuple[int, ...], bound: float) -> tuple[Weights, Any]:
    """Weights whose modulus at the fixed points that continue ``points`` is at most ``bound``, and these; for ``jit``.

    Where it was above, the recurrent weights are scaled so that it is ``bound``. As the points move along, the modulus
    is not proportional to the gain; the secant of their logarithms finds the gain in two or three passes.
    """
    drives = (weights.input[0][:, jnp.array(symbols)] + weights.bias[0][:, None]).T

    def off(state: Any) -> Any:
        _, _, modulus, _, passes = state
        return (abs(modulus / bound - 1) > TOLERANCE) & (passes < MAX_PASSES)

    def scaled(state: Any) -> Any:
        recurrent, points, before, elasticity, passes = state
        gain = (bound / before) ** (1 / elasticity)
        recurrent = gain * recurrent
        points = _track(jnp, recurrent, drives, points)
        modulus = _leading_modulus(jnp, recurrent, points)
        elasticity = jnp.clip(jnp.log(modulus / before) / jnp.log(gain), *ELASTICITY)
        return recurrent, points, modulus, elasticity, passes + 1

    recurrent = weights.recurrent[0]
    points = _track(jnp, recurrent, drives, points)
    modulus = _leading_modulus(jnp, recurrent, points)
    passes = jnp.where(modulus > bound, 0, MAX_PASSES)
    state = (recurrent, points, modulus, jnp.ones_like(modulus), passes)
    recurrent, points, *_ = jax.lax.while_loop(off, scaled, state)
    return weights._replace(recurrent=recurrent[None]), points


def _recurrent_and_drives(weights: Weights, symbols: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """In double precision: W [hidden, hidden_from], and U u + b [symbol, hidden]."""
    drives = np.asarray(weights.input[0], np.float64)[:, list(symbols)].T + np.asarray(weights.bias[0], np.float64)
    return np.asarray(weights.recurrent[0], np.float64), drives


def _track(xp: Any, recurrent: Any, drives: Any, points: Any) -> Any:
    """Fixed points near ``points`` [symbol, hidden]: Newton's steps, or the map's own where Newton's leads away."""

    def image(points: Any) -> Any:
        return xp.tanh(points @ recurrent.T + drives)

    identity = xp.eye(recurrent.shape[0], dtype=recurrent.dtype)
    for _ in range(NEWTON_STEPS):
        mapped = image(points)
        jacobian = (1 - mapped**2)[:, :, None] * recurrent
        newton = points + xp.linalg.solve(identity - jacobian, (mapped - points)[:, :, None])[:, :, 0]
        newton = xp.clip(newton, -1, 1)
        closer = abs(image(newton) - newton).max(1) <= abs(mapped - points).max(1)
        points = xp.where(closer[:, None], newton, mapped)
    return points


def _leading_modulus(xp: Any, recurrent: Any, points: Any) -> Any:
    """Largest modulus of the Jacobians' eigenvalues over all points; at a fixed point tanh' is 1 - h^2."""
    return abs(xp.linalg.eigvals((1 - points**2)[:, :, None] * recurrent)).max()
