"""What a map settles on: a fixed point, an n-cycle, a quasi-periodic orbit or a chaotic one, or what cannot be told.

Owns the orbit, its Lyapunov exponents, rotation number and return distance, and the decision; unstable fixed points are
found by ``fixed_points``.
"""

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import xarray as xr

from isophase.analysis.networks.fixed_points import Step, check_starts, double_precision, in_double
from isophase.analysis.statistics import flags

STATES = ("fixed_point", "cycle", "quasi_periodic", "chaotic", "undetermined", "diverged")
FIXED_POINT, CYCLE, QUASI_PERIODIC, CHAOTIC, UNDETERMINED, DIVERGED = range(6)
RETURN = 1e-7  # times 1 + |h|: an orbit that comes this close to where it was has returned
BLOCKS = 16  # of the orbit, whose scatter gives the standard error of an exponent
ERRORS = 3.0  # standard errors that an exponent must be from zero to have a sign
RESOLUTION = 4.0  # an exponent below this over the number of steps is zero: the stretching of one turn does not cancel
REGULAR = 1e-3  # difference of the weighted averages over halves of an orbit, below which they have converged
CHANCE = 0.02  # about that of a fraction within the error of a rotation number by accident
ROUNDING = 1e-14  # of a rotation number
TINY = 1e-300  # stretching by less is no stretching at all
CHANGES = 10.0  # differences between halves, within which the exponent of a quasi-periodic orbit is zero
BATCH = 16  # maps that advance together


def classify_attractors(
    step: Step,
    parameters: Any,
    starts: Any,
    transient: int = 2000,
    length: int = 4096,
    exponents: int = 2,
    rounds: int = 3,
    plane: Any = None,
    centre: Any = None,
) -> xr.Dataset:
    """The attractor that every map ``h -> step(parameters, h)`` reaches from its start.

    From ``length`` steps after ``transient`` steps:

    - ``lyapunov``: the leading exponents, by QR decomposition of the products of Jacobians at every step (Benettin et
      al., Meccanica 15, 9 (1980)), as weighted Birkhoff averages; standard error from 16 blocks. An exponent within 3
      standard errors, or within 4 / ``length``, of zero counts as zero.
    - ``return_distance``: of the best period up to ``length / 4``, the largest distance of an orbit's point to the mean
      of its phase of the cycle, over the last half of the orbit, divided by 1 + |h|.
    - ``rotation_number``: mean turn per step, as a share of a full turn, about ``centre`` (the orbit's mean if not
      given) in ``plane`` (if not given, that of the two leading principal components). A plane has no front: it lies
      between 0 and 1/2. It is a weighted Birkhoff average, which converges faster than any power on a quasi-periodic
      orbit and like 1/sqrt(length) on a chaotic one (Das, Saiki, Sander and Yorke, Nonlinearity 30, 4111 (2017)); its
      error is the difference between the two halves of the orbit (Sander and Meiss, Physica D 411, 132569 (2020)). NaN
      where there is no turn to speak of: a fixed point, or a map of one variable.

    The decision: ``diverged`` (not finite); ``fixed_point`` or ``cycle``: returns within 1e-7, and the leading exponent
    is not above zero (where it is zero, as in a rotation by a rational angle, the cycle does not attract);
    ``chaotic``: does not return, and the leading exponent is above zero; ``quasi_periodic``: does not return, the
    leading exponent is zero also within 10 times the difference between its averages over both halves of the orbit,
    which agree to 1e-3, as does the mean square distance from the orbit's mean, relatively, and no fraction with a
    denominator between ``length / 4`` and ``length`` lies within the error of the rotation number, which would be a
    cycle too long to return twice (asked only where that error is below 0.02 / length^2; with a larger one some
    fraction always fits); else ``undetermined``, as close to a bifurcation, where nothing settles in the time
    given. These are followed for further rounds, each four times as long as the last. A cycle longer than the orbit
    cannot be told from a quasi-periodic orbit, and is called that.

    Parameters
    ----------
    step : (parameters, h [hidden]) -> h', made of JAX operations, compiled once for every function object and shape.
        For a periodic input, the composition of the steps of one period (:func:`compose`).
    parameters : arrays with a leading axis [map, ...].
    starts : [map, hidden].
    exponents : how many Lyapunov exponents; at most hidden are computed.
    rounds : at most.
    plane : [map, 2, hidden] orthonormal, such as ``time_encoding.eigenplane``; ``centre`` : [map, hidden].

    Returns a Dataset over ``map`` (and ``exponent``): ``attractor``, ``period`` (of cycles and fixed points, else 0),
    ``lyapunov`` and ``lyapunov_error`` (nats per application of the map), ``lyapunov_change`` (between halves),
    ``rotation_number``, ``rotation_error``, ``return_distance``, ``steps`` (with transient), ``last`` [map, hidden] (a
    state on the attractor).

    Raises ValueError for shapes that do not fit, or fewer than 64 steps.
    """
    starts = check_starts(starts, ("map", "hidden"))
    if length < 4 * BLOCKS or transient < 0 or rounds < 1:
        raise ValueError(f"length={length}, transient={transient}, rounds={rounds}: must be >= {4 * BLOCKS}, 0, 1")
    n_maps, hidden = starts.shape
    parameters = in_double(parameters, n_maps)
    exponents = min(exponents, hidden)
    rows: list[dict[str, Any]] = [{} for _ in range(n_maps)]
    state, todo, done = starts.copy(), np.arange(n_maps), 0
    for turn in range(rounds):
        steps, settle = length * 4**turn, transient * 4**turn
        done += steps + settle
        for first in range(0, len(todo), BATCH):
            some = todo[first : first + BATCH]
            orbits, stretches = _followed(step, parameters, some, state, settle, steps, exponents)
            for of_map, orbit, stretch in zip(some, orbits, stretches, strict=True):
                own_plane = None if plane is None else np.asarray(plane)[of_map]
                own_centre = None if centre is None else np.asarray(centre)[of_map]
                rows[of_map] = {**_classify(orbit, stretch, own_plane, own_centre), "steps": done, "last": orbit[-1]}
                state[of_map] = orbit[-1]
        todo = np.array([of_map for of_map in todo if rows[of_map]["attractor"] == UNDETERMINED], int)
        if len(todo) == 0:
            break
    return _dataset(rows)


def compose(step: Step, inputs: Any) -> Callable[[Any, Any], Any]:
    """The map over one period of ``inputs`` [time, symbol]: ``step((parameters, u), h)`` for one u after another.

    It is a new function; keep it, so that it is compiled once.
    """
    inputs = np.asarray(inputs, float)

    def over_period(parameters: Any, h: Any) -> Any:
        import jax

        return jax.lax.scan(lambda h, u: (step((parameters, u), h), None), h, inputs)[0]

    return over_period


def birkhoff_weights(length: int) -> np.ndarray:
    """Weights [length] of a weighted Birkhoff average: ``exp(-1 / (s (1 - s)))`` at s inside 0 to 1, of sum 1."""
    s = np.arange(1, length + 1) / (length + 1)
    weights = np.exp(-1 / (s * (1 - s)))
    return weights / weights.sum()


def rotation_number(x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """Mean turn per step about the origin, as a share of a full turn (-1/2 to 1/2), and its error; x and y [time].

    The weighted Birkhoff average of the turns, each taken within half a turn of their circular mean; the error is the
    difference between the averages of both halves. Weights as in :func:`birkhoff_weights`.
    """
    z = x + 1j * y
    turn = np.angle(z[1:] * np.conj(z[:-1]))
    middle = np.angle(np.exp(1j * turn).mean())
    turn = middle + np.angle(np.exp(1j * (turn - middle)))
    mean, change = _average(turn)
    return float(mean / (2 * np.pi)), float(change / (2 * np.pi))


def _followed(step: Step, parameters: Any, maps: np.ndarray, state: np.ndarray, transient: int, length: int,
              exponents: int) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """:func:`_orbits` of some ``maps`` [map], each from its ``state`` [every map, hidden]."""
    padded = np.resize(maps, min(BATCH, len(state)))  # one shape, one compilation
    with double_precision():
        orbits, stretches = _orbits()(step, transient, length, exponents, parameters, padded, state[padded])
        return np.asarray(orbits)[: len(maps)], np.asarray(stretches)[: len(maps)]


@cache
def _orbits() -> Callable[..., Any]:
    """Orbits [map, time, hidden] after the transient, and log stretching of every step [map, time, exponent]."""
    import jax
    import jax.numpy as jnp

    def orbits(
        step: Step, transient: int, length: int, exponents: int, parameters: Any, which: Any, starts: Any
    ) -> Any:
        def one(of_map: Any, h: Any) -> Any:
            own = jax.tree.map(lambda part: part[of_map], parameters)
            tangent = jnp.eye(h.shape[0])[:, :exponents] + 0.1 / h.shape[0]

            def advance(state: Any, _: Any) -> Any:
                h, tangent = state
                new, push = jax.linearize(lambda h: step(own, h), h)
                tangent, stretch = _orthonormal(jax.vmap(push, 1, 1)(tangent))
                return (new, tangent), (new, stretch)

            state = jax.lax.fori_loop(0, transient, lambda _, state: advance(state, None)[0], (h, tangent))
            return jax.lax.scan(advance, state, None, length)[1]

        return jax.vmap(one)(which, starts)

    return jax.jit(orbits, static_argnums=(0, 2, 3))


def _orthonormal(vectors: Any) -> tuple[Any, Any]:
    """Q of the QR decomposition of few columns [hidden, k], by Gram and Schmidt, and the logs of R's diagonal [k]."""
    import jax.numpy as jnp

    columns: list[Any] = []
    logs = []
    for column in vectors.T:
        for earlier in columns * 2:  # twice is enough (Giraud et al., Numer. Math. 101, 87 (2005))
            column = column - earlier * (earlier @ column)
        norm = jnp.linalg.norm(column)
        logs.append(jnp.log(jnp.maximum(norm, TINY)))
        fallback = jnp.zeros_like(column).at[len(columns)].set(1.0)
        columns.append(jnp.where(norm > TINY, column / jnp.maximum(norm, TINY), fallback))
    return jnp.stack(columns, 1), jnp.stack(logs)


def _average(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Weighted Birkhoff average over the first axis, and the difference of those over the first and second half."""
    half = len(values) // 2
    first, second = (birkhoff_weights(half) @ part for part in (values[:half], values[half : 2 * half]))
    return birkhoff_weights(len(values)) @ values, np.abs(first - second)


def _classify(orbit: np.ndarray, stretch: np.ndarray, plane: np.ndarray | None, centre: np.ndarray | None) -> Any:
    """Everything about one orbit [time, hidden] with its log stretching [time, exponent]."""
    if not np.isfinite(orbit).all():
        nothing = np.full(stretch.shape[1], np.nan)
        return {"attractor": DIVERGED, "period": 0, "lyapunov": nothing, "lyapunov_error": nothing,
                "lyapunov_change": nothing, "rotation_number": np.nan, "rotation_error": np.nan,
                "return_distance": np.nan}  # fmt: skip
    exponent, change = _average(stretch)
    blocks = stretch[: len(stretch) // BLOCKS * BLOCKS].reshape(BLOCKS, -1, stretch.shape[1]).mean(axis=1)
    error = blocks.std(axis=0, ddof=1) / np.sqrt(BLOCKS)
    zero = max(ERRORS * error[0], RESOLUTION / len(orbit))
    period, distance = _return(orbit)
    returned = distance <= RETURN
    rotation, rotation_error = _rotation(orbit, plane, centre) if not (returned and period == 1) else (np.nan, np.nan)
    away = np.square(orbit - orbit.mean(axis=0)).sum(axis=-1)
    spread, spread_change = _average(away)
    regular = change[0] <= REGULAR and spread_change <= REGULAR * spread
    if returned and exponent[0] <= zero:
        attractor = FIXED_POINT if period == 1 else CYCLE
    elif not returned and exponent[0] > zero:
        attractor = CHAOTIC
    elif (
        not returned
        and abs(exponent[0]) <= min(zero, CHANGES * change[0] + RETURN)
        and regular
        and not _long_cycle(rotation, rotation_error, len(orbit))
    ):
        attractor = QUASI_PERIODIC
    else:
        attractor = UNDETERMINED
    return {"attractor": attractor, "period": period if attractor in (FIXED_POINT, CYCLE) else 0,
            "lyapunov": exponent, "lyapunov_error": error, "lyapunov_change": change, "rotation_number": rotation,
            "rotation_error": rotation_error, "return_distance": distance}  # fmt: skip


def _long_cycle(rotation: float, error: float, length: int) -> bool:
    """Whether the rotation number may be that of a cycle with a period between a quarter and all of the orbit."""
    error = max(error, ROUNDING)
    if not np.isfinite(rotation) or error * length**2 > CHANCE:
        return False
    denominators = np.arange(length // 4 + 1, length + 1)
    return bool((np.abs(denominators * rotation - np.rint(denominators * rotation)) <= denominators * error).any())


def _return(orbit: np.ndarray) -> tuple[int, float]:
    """The least period that the orbit has within :data:`RETURN`, else the best, and its return distance."""
    late = orbit[len(orbit) // 2 :]
    away = np.linalg.norm(late[-len(late) // 2 - 1 : -1][::-1] - late[-1], axis=-1)  # 1, 2, ... steps before the last
    scale = 1 + np.linalg.norm(late, axis=-1).max()
    near = np.flatnonzero(away <= 2 * RETURN * scale)
    best = (int(away.argmin()) + 1, float(_drift(late, int(away.argmin()) + 1) / scale))
    for index in near:
        distance = float(_drift(late, int(index) + 1) / scale)
        if distance <= RETURN:
            return int(index) + 1, distance
    return best


def _drift(orbit: np.ndarray, period: int) -> float:
    """The largest distance of a point to the mean of those with its phase."""
    cycles = orbit[: len(orbit) // period * period].reshape(-1, period, orbit.shape[-1])
    return float(np.linalg.norm(cycles - cycles.mean(axis=0), axis=-1).max())


def _rotation(orbit: np.ndarray, plane: np.ndarray | None, centre: np.ndarray | None) -> tuple[float, float]:
    away = orbit - (orbit.mean(axis=0) if centre is None else centre)
    if plane is None:
        if orbit.shape[-1] < 2:
            return np.nan, np.nan
        plane = np.linalg.eigh(away.T @ away)[1][:, :-3:-1].T
    x, y = plane @ away.T
    if not (np.hypot(x, y) > 0).all():
        return np.nan, np.nan
    number, error = rotation_number(x, y)
    return abs(number), error


def _dataset(rows: list[dict[str, Any]]) -> xr.Dataset:
    about: dict[str, tuple[tuple[str, ...], dict[str, Any]]] = {
        "attractor": ((), {"long_name": "what the orbit settles on", **flags(STATES)}),
        "period": ((), {"long_name": "period, 0 where there is none", "units": "1"}),
        "lyapunov": (("exponent",), {"long_name": "Lyapunov exponents, from the largest", "units": "nats per step"}),
        "lyapunov_error": (("exponent",), {"long_name": "standard error of the exponents", "units": "nats per step"}),
        "lyapunov_change": (("exponent",), {"long_name": "exponents of halves, difference", "units": "nats per step"}),
        "rotation_number": ((), {"long_name": "mean turn per step, in full turns", "units": "1"}),
        "rotation_error": ((), {"long_name": "rotation number of halves, difference", "units": "1"}),
        "return_distance": ((), {"long_name": "largest distance to the best cycle, over 1 + |h|", "units": "1"}),
        "steps": ((), {"long_name": "steps taken, with transient", "units": "1"}),
        "last": (("hidden",), {"long_name": "a state on the attractor", "units": "1"}),
    }
    columns = {
        name: (("map", *dims), np.array([row[name] for row in rows]), attrs) for name, (dims, attrs) in about.items()
    }
    return xr.Dataset(columns).assign(attractor=lambda dataset: dataset["attractor"].astype(np.int8))
