"""Fixed points h = F(h) of a map, of many maps at once, and their continuation from one checkpoint to the next.

Owns the search, the Jacobians' eigenvalues and the identities of points; where eigenvalues cross the unit circle is
the matter of ``bifurcations``, what is not a fixed point that of ``attractors``.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np
import xarray as xr

TOLERANCE = 1e-9  # Euclidean norm of F(h) - h
DISTANCE = 1e-6  # points closer than this times 1 + |h| are one ...
ERRORS = 8.0  # ... or closer than this many times their error: at a bifurcation, Newton ends anywhere near a point
MAX_ITERATIONS = 100
POLISH = 2  # Newton steps after the tolerance is met, as long as they lower the residual
HALVINGS = 12  # of a Newton step, before a start is given up
SUFFICIENT = 1e-4  # Armijo's: of the decrease that the step's linear model promises
PIECES = (1, 16, 128)  # into which the way between two checkpoints is divided, finer where a point is not followed
REACH = 2.0  # Kantorovich: the root that Newton converges to is within twice the first step
FEWEST, TIMES = 16, 8  # points in a batch: 16, 128, 1024 ... with padding that costs little, so that few are compiled
IN_MEMORY = 64_000_000  # numbers in the Jacobians of one batch

Step = Callable[[Any, Any], Any]  # (parameters, h [hidden]) -> h'


@dataclass(frozen=True)
class FixedPoints:
    """Distinct fixed points of one map, the best solved first.

    - ``h`` [point, hidden]; ``residual`` [point], the Euclidean norm of F(h) - h; ``error`` [point], the length of the
      last Newton step: rounding, but where I - J is nearly singular;
    - ``jacobian`` [point, hidden, hidden_from], dF/dh; ``eigenvalues`` [point, hidden], complex, by modulus from the
      largest, of a conjugate pair the one with positive imaginary part first;
    - ``starts``: from how many starts the search went out, and ``converged``: how many of them reached some fixed
      point. The others are only counted.
    """

    h: np.ndarray
    residual: np.ndarray
    error: np.ndarray
    jacobian: np.ndarray
    eigenvalues: np.ndarray
    starts: int
    converged: int

    @property
    def stable(self) -> np.ndarray:
        """[point], whether every eigenvalue lies inside the unit circle."""
        return (np.abs(self.eigenvalues) < 1).all(axis=-1)

    @property
    def share_converged(self) -> float:
        return self.converged / self.starts if self.starts else np.nan

    def __len__(self) -> int:
        return len(self.h)

    def select(self, points: Any) -> "FixedPoints":
        """The points of an index or mask [point]; the counts of starts stay."""
        names = ("h", "residual", "error", "jacobian", "eigenvalues")
        return replace(self, **{name: getattr(self, name)[points] for name in names})

    def distinct(self, distance: float = DISTANCE) -> "FixedPoints":
        """One of all points that are closer than ``distance`` times 1 + |h|, or than 8 times their error."""
        return self.select(_distinct(self.h, _radius(self.h, self.error, distance)))

    def to_dataset(self) -> xr.Dataset:
        """The same names over ``point``, ``hidden`` and ``hidden_from``."""
        point = {
            "h": (("point", "hidden"), self.h),
            "residual": (("point",), self.residual),
            "error": (("point",), self.error),
            "jacobian": (("point", "hidden", "hidden_from"), self.jacobian),
            "eigenvalues": (("point", "hidden"), self.eigenvalues),
            "stable": (("point",), self.stable),
        }
        return xr.Dataset(
            {name: (dims, values, ATTRS[name]) for name, (dims, values) in point.items()},
            attrs={"starts": self.starts, "converged": self.converged},
        )


ATTRS = {
    "h": {"long_name": "fixed point", "units": "1"},
    "residual": {"long_name": "Euclidean norm of F(h) - h", "units": "1"},
    "error": {"long_name": "length of the last Newton step", "units": "1"},
    "jacobian": {"long_name": "dF/dh at the fixed point", "units": "1"},
    "eigenvalues": {"long_name": "eigenvalues of the Jacobian, largest modulus first", "units": "1"},
    "stable": {"long_name": "every eigenvalue lies inside the unit circle"},
}


def find_fixed_points(
    step: Callable[[Any], Any],
    starts: Any,
    tol: float = TOLERANCE,
    distance: float = DISTANCE,
    max_iterations: int = MAX_ITERATIONS,
) -> FixedPoints:
    """Solutions of ``h = step(h)``: damped Newton from every start, in double precision, with the exact Jacobian.

    A Newton step is halved until the residual falls by Armijo's condition (Dennis and Schnabel, Numerical Methods for
    Unconstrained Optimization (1983), section 6.3). A start has converged when the Euclidean norm of F(h) - h is at
    most ``tol``; two more steps then bring it to rounding. It has not when 12 halvings do not lower the residual (a
    slow point, a local minimum of the residual, where I - J is singular) or after ``max_iterations``.

    Parameters
    ----------
    step : h [hidden] -> h' [hidden], made of JAX operations. It is compiled once for every function object and shape of
        starts: a ``lambda`` made anew for each call is compiled anew. For one map with many parameters use
        :func:`find_fixed_points_of_maps`.
    starts : [n, hidden], finite.
    distance : points closer than this times 1 + |h| are one; also those closer than 8 times their ``error``.

    Raises ValueError for starts of another shape, or that are not finite.
    """
    starts = check_starts(starts, ("n", "hidden"))
    return find_fixed_points_of_maps(Constant(step), (), starts[None], tol, distance, max_iterations)[0]


def find_fixed_points_of_maps(
    step: Step,
    parameters: Any,
    starts: Any,
    tol: float = TOLERANCE,
    distance: float = DISTANCE,
    max_iterations: int = MAX_ITERATIONS,
) -> tuple[FixedPoints, ...]:
    """:func:`find_fixed_points` of ``h -> step(parameters, h)`` for every map in one compiled call.

    Parameters
    ----------
    step : (parameters of one map, h [hidden]) -> h' [hidden], made of JAX operations; compiled once for every function
        object and shape.
    parameters : an array, or a tuple, dict or NamedTuple of arrays, each with a leading axis [map, ...].
    starts : [map, n, hidden], finite.

    Returns the fixed points of every map. Raises ValueError for shapes that do not fit, or starts that are not finite.
    """
    starts = check_starts(starts, ("map", "n", "hidden"))
    n_maps, n = starts.shape[:2]
    parameters = in_double(parameters, n_maps)
    owner = np.arange(n_maps)
    with double_precision():
        solved = _newton()(step, parameters, owner, starts, tol, max_iterations)
        h, residual, error = (np.array(part) for part in solved)
        radius = _radius(h, error, distance)
        found: list[tuple[int, np.ndarray]] = []
        converged = residual <= tol
        for of_map in range(n_maps):
            best = np.flatnonzero(converged[of_map])
            best = best[np.argsort(residual[of_map, best], kind="stable")]
            found.append((of_map, best[_distinct(h[of_map, best], radius[of_map, best])]))
        owner = np.concatenate([np.full(len(points), of_map) for of_map, points in found])
        point = np.concatenate([points for _, points in found])
        jacobian = _jacobians(step, parameters, owner, h[owner, point])
    eigenvalues = sorted_eigenvalues(jacobian)
    ends = np.cumsum([len(points) for _, points in found])
    return tuple(
        FixedPoints(
            h[of_map, points],
            residual[of_map, points],
            error[of_map, points],
            jacobian[end - len(points) : end],
            eigenvalues[end - len(points) : end],
            n,
            int(converged[of_map].sum()),
        )
        for (of_map, points), end in zip(found, ends, strict=True)
    )


def choose_starts(states: Any, number: int, seed: int = 0, random: float = 0.5) -> np.ndarray:
    """Starts of a search [number, hidden]: visited states, and a share ``random`` of random ones.

    Visited ones are drawn without replacement from ``states`` [..., hidden], where there are enough; random ones are
    uniform in the box that the states span, widened to -1 to 1 where that is wider.
    """
    states = np.asarray(states, float)
    states = states.reshape(-1, states.shape[-1])
    rng = np.random.default_rng(seed)
    n_random = round(random * number)
    visited = states[rng.choice(len(states), number - n_random, replace=len(states) < number - n_random)]
    low, high = np.minimum(states.min(axis=0), -1.0), np.maximum(states.max(axis=0), 1.0)
    return np.concatenate([visited, rng.uniform(low, high, (n_random, states.shape[-1]))])


def continue_fixed_points(
    step: Step,
    parameters: Any,
    starts: Any,
    checkpoint: Any,
    tol: float = TOLERANCE,
    distance: float = DISTANCE,
    max_iterations: int = MAX_ITERATIONS,
) -> tuple[xr.Dataset, ...]:
    """Fixed points along checkpoints, with their identities, births and deaths; many paths (seeds, symbols) at once.

    Every checkpoint is searched from its own starts. Then every point found is continued to the checkpoint after and to
    the one before, and a point that the search had missed there is added and continued in its turn.

    A point p and a point q of the next checkpoint are the same branch if Newton's method from p at the next checkpoint
    leads to q **and** from q at the checkpoint before leads back to p. Newton has to *follow* the point: the root is
    within twice the first Newton step, as Kantorovich's theorem has it (Ortega and Rheinboldt, Iterative Solution of
    Nonlinear Equations (1970), 12.6.2), else the point jumped. Points that find no partner so are followed again in 16
    and then in 128 pieces along the straight line between the parameters of the two checkpoints (through networks that
    training did not visit). A point without partner there too ends its branch or begins one: what only a jump connects
    is a death and a birth.

    Parameters
    ----------
    step, tol, distance, max_iterations : see :func:`find_fixed_points_of_maps`.
    parameters : arrays, each with leading axes [path, checkpoint, ...].
    starts : [path, checkpoint, n, hidden], finite.
    checkpoint : [checkpoint], increasing: updates done, or the value of a parameter that is varied.

    Returns
    -------
    For every path a Dataset over ``branch``, ``checkpoint`` and ``hidden``: ``h``, ``residual``, ``eigenvalues``
    (NaN where the branch does not exist), ``exists``, ``stable``; ``number`` and ``number_stable`` of points, and
    ``share_converged`` of the starts, over ``checkpoint``; ``born`` and ``died`` over ``branch``: the first checkpoint
    with the branch and the first without, NaN if it is there from the beginning or to the end.

    Raises ValueError for shapes that do not fit, or checkpoints that do not increase.
    """
    starts = check_starts(starts, ("path", "checkpoint", "n", "hidden"))
    n_paths, n_checkpoints, n, hidden = starts.shape
    checkpoint = np.asarray(checkpoint, float)
    if checkpoint.shape != (n_checkpoints,) or not (np.diff(checkpoint) > 0).all():
        raise ValueError(f"checkpoint={checkpoint}: must increase, one for each of the {n_checkpoints} of starts")
    flat = in_double(parameters, n_paths, n_checkpoints)
    found = find_fixed_points_of_maps(step, flat, starts.reshape(-1, n, hidden), tol, distance, max_iterations)
    with double_precision():
        sets = [list(points.h) for points in found]
        radii = [list(_radius(points.h, points.error, distance)) for points in found]
        links = _continue_all(step, flat, sets, radii, n_checkpoints, tol, distance, max_iterations)
        owner = np.repeat(np.arange(len(sets)), [len(points) for points in sets])
        h = np.concatenate([np.reshape(points, (-1, hidden)) for points in sets])
        residual = _residuals(step, flat, owner, h)
        eigenvalues = sorted_eigenvalues(_jacobians(step, flat, owner, h))
    where = {}
    for row, of_map in enumerate(owner):
        where[int(of_map), row - int(np.searchsorted(owner, of_map))] = row
    share = np.array([points.share_converged for points in found]).reshape(n_paths, n_checkpoints)
    return tuple(
        _branches(path, n_checkpoints, sets, links, where, h, residual, eigenvalues, checkpoint, share[path])
        for path in range(n_paths)
    )


def sorted_eigenvalues(jacobian: np.ndarray) -> np.ndarray:
    """Eigenvalues of [..., hidden, hidden], by modulus from the largest; of a pair, positive imaginary part first."""
    values = np.linalg.eigvals(jacobian).astype(complex)
    order = np.lexsort((-values.imag, -np.abs(values)), axis=-1)
    return np.take_along_axis(values, order, axis=-1)


@dataclass(frozen=True)
class Constant:
    """A step without parameters as one with; equal for the same step, so that JAX compiles it once."""

    step: Callable[[Any], Any]

    def __call__(self, parameters: Any, h: Any) -> Any:
        return self.step(h)


def check_starts(starts: Any, dims: tuple[str, ...]) -> np.ndarray:
    """``starts`` in double precision; ValueError where they have not these dimensions, or are not finite."""
    starts = np.asarray(starts, float)
    if starts.ndim != len(dims) or 0 in starts.shape:
        raise ValueError(f"starts has shape {starts.shape}: must be [{', '.join(dims)}], none of them empty")
    if not np.isfinite(starts).all():
        raise ValueError("starts has values that are not finite")
    return starts


def in_double(parameters: Any, *leading: int) -> Any:
    """Parameters in double precision (integers stay), their ``leading`` axes joined into one [map, ...]."""
    import jax

    def join(array: Any) -> np.ndarray:
        array = np.asarray(array)
        if array.shape[: len(leading)] != leading:
            raise ValueError(f"parameters have an array of shape {array.shape}: must begin with {leading}")
        array = array.reshape(-1, *array.shape[len(leading) :])
        return array.astype(float) if np.issubdtype(array.dtype, np.floating) else array

    return jax.tree.map(join, parameters)


def double_precision() -> Any:
    """A context in which JAX calculates in double precision; only in this thread, so training beside it does not."""
    import jax

    return jax.enable_x64(True)


def _radius(h: np.ndarray, error: np.ndarray, distance: float) -> np.ndarray:
    """Within which another point is the same, [...], for h [..., hidden]."""
    return distance * (1 + np.linalg.norm(h, axis=-1)) + ERRORS * error


def _distinct(h: np.ndarray, radius: np.ndarray) -> np.ndarray:
    """Indices of the first of all points that are the same."""
    kept: list[int] = []
    for index, point in enumerate(h):
        if _find(h[kept], radius[kept], point, radius[index]) < 0:
            kept.append(index)
    return np.array(kept, int)


def _find(h: Any, radius: Any, point: np.ndarray, point_radius: float) -> int:
    """Index of the nearest of the points ``h`` that is the same as ``point``, or -1."""
    if len(h) == 0:
        return -1
    away = np.linalg.norm(np.asarray(h) - point, axis=-1) / np.maximum(radius, point_radius)
    nearest = int(away.argmin())
    return nearest if away[nearest] <= 1 else -1


def _padded(number: int) -> int:
    padded = FEWEST
    while padded < number:
        padded *= TIMES
    return padded


def _pad(values: np.ndarray, fill: float) -> np.ndarray:
    padding = np.full((_padded(len(values)) - len(values), *values.shape[1:]), fill, values.dtype)
    return np.concatenate([values, padding])


def _solve(step: Callable[[Any], Any], h: Any, tol: float, max_iterations: int) -> tuple[Any, ...]:
    """Damped Newton from h [n, hidden]: where it ends, the residual, the lengths of the last and first step."""
    import jax
    import jax.numpy as jnp

    many = jax.vmap(step)
    jacobian_of = jax.vmap(jax.jacfwd(step))
    identity = jnp.eye(h.shape[-1])

    def shortened(h: Any, norm: Any, newton: Any) -> tuple[Any, Any, Any, Any]:
        part = 0.5 ** jnp.arange(HALVINGS + 1)
        trial = h + part[:, None, None] * newton
        residual = jax.vmap(many)(trial) - trial
        norms = jnp.linalg.norm(residual, axis=-1)
        falls = norms <= (1 - SUFFICIENT * part[:, None]) * norm
        first = falls.argmax(axis=0)
        at = (first, jnp.arange(h.shape[0]))
        return trial[at], residual[at], norms[at], falls.any(axis=0)

    def full(h: Any, norm: Any, newton: Any) -> tuple[Any, Any, Any, Any]:
        trial = h + newton
        residual = many(trial) - trial
        norms = jnp.linalg.norm(residual, axis=-1)
        return trial, residual, norms, norms <= (1 - SUFFICIENT) * norm

    def improve(state: Any) -> Any:
        iteration, h, residual, norm, polish, active, last, first = state
        newton = jnp.linalg.solve(identity - jacobian_of(h), residual[..., None])[..., 0]
        length = jnp.linalg.norm(newton, axis=-1)
        first = jnp.where(iteration == 0, length, first)
        last = jnp.where(active, length, last)
        whole = full(h, norm, newton)
        damp = (active & ~whole[3] & (norm > tol)).any()
        trial, trial_residual, trial_norm, falls = jax.lax.cond(damp, shortened, lambda *_: whole, h, norm, newton)
        polish = polish + (norm <= tol)
        take = active & falls
        h, residual = (jnp.where(take[:, None], a, b) for a, b in ((trial, h), (trial_residual, residual)))
        norm = jnp.where(take, trial_norm, norm)
        active = take & (polish < POLISH) & (norm > 0)
        return iteration + 1, h, residual, norm, polish, active, last, first

    residual = many(h) - h
    norm = jnp.linalg.norm(residual, axis=-1)
    nothing = jnp.zeros(h.shape[0], int)
    state = (0, h, residual, norm, nothing, jnp.isfinite(norm) & (norm > 0), 0.0 * norm, 0.0 * norm)
    state = jax.lax.while_loop(lambda s: s[5].any() & (s[0] < max_iterations), improve, state)
    return state[1], state[3], jnp.where(state[3] > 0, state[6], 0.0), state[7]


@cache
def _newton() -> Callable[..., Any]:
    """(step, parameters, owner [task], starts [task, n, hidden], tol, max_iterations) -> h, residual, error."""
    import jax

    def newton(step: Step, parameters: Any, owner: Any, starts: Any, tol: float, max_iterations: int) -> Any:
        def solve(task: Any) -> Any:
            of_map, h = task
            own = jax.tree.map(lambda part: part[of_map], parameters)
            return _solve(lambda h: step(own, h), h, tol, max_iterations)[:3]

        return jax.lax.map(solve, (owner, starts))

    return jax.jit(newton, static_argnums=0)


@cache
def _follow() -> Callable[..., Any]:
    """Points h [task, hidden] of maps ``owner``, followed to maps ``to``: where to, its error, and whether."""
    import jax
    import jax.numpy as jnp

    def follow(step: Step, pieces: int, parameters: Any, owner: Any, to: Any, h: Any, tol: float, distance: float,
               max_iterations: int) -> Any:  # fmt: skip
        def one(task: Any) -> Any:
            of_map, next_map, h = task

            def between(part: Any) -> Any:
                def mix(values: Any) -> Any:
                    if not jnp.issubdtype(values.dtype, jnp.floating):
                        return values[of_map]
                    return (1 - part) * values[of_map] + part * values[next_map]

                return jax.tree.map(mix, parameters)

            def advance(state: Any) -> Any:
                piece, h, _, follows = state
                own = between((piece + 1) / pieces)
                new, norm, last, first = _solve(lambda h: step(own, h), h[None], tol, max_iterations)
                away = jnp.linalg.norm(new[0] - h)
                near = away <= REACH * first[0] + distance * (1 + jnp.linalg.norm(h))
                return piece + 1, new[0], last[0], follows & near & (norm[0] <= tol)

            state = (0, h, 0.0 * h[0], jnp.isfinite(h).all())
            return jax.lax.while_loop(lambda state: (state[0] < pieces) & state[3], advance, state)[1:]

        return jax.lax.map(one, (owner, to, h))

    return jax.jit(follow, static_argnums=0)


@cache
def _at_every_point(what: Callable[[Step, Any, Any], Any]) -> Callable[..., Any]:
    """(step, parameters, owner [task], h [task, hidden]) -> ``what(step, own parameters, h)`` of every task."""
    import jax

    def evaluate(step: Step, parameters: Any, owner: Any, h: Any) -> Any:
        def one(task: Any) -> Any:
            of_map, h = task
            return what(step, jax.tree.map(lambda part: part[of_map], parameters), h)

        return jax.lax.map(one, (owner, h))

    return jax.jit(evaluate, static_argnums=0)


def _image(step: Step, own: Any, h: Any) -> Any:
    return step(own, h)


def _jacobian(step: Step, own: Any, h: Any) -> Any:
    import jax

    return jax.jacfwd(lambda h: step(own, h))(h)


def _jacobians(step: Step, parameters: Any, owner: np.ndarray, h: np.ndarray) -> np.ndarray:
    hidden = h.shape[-1]
    chunk = max(FEWEST, IN_MEMORY // hidden**2)
    parts = [np.empty((0, hidden, hidden))]
    for first in range(0, len(h), chunk):
        some, of_map = h[first : first + chunk], owner[first : first + chunk]
        jacobian = _at_every_point(_jacobian)(step, parameters, _pad(of_map, 0), _pad(some, 0.0))
        parts.append(np.asarray(jacobian)[: len(some)])
    return np.concatenate(parts)


def _residuals(step: Step, parameters: Any, owner: np.ndarray, h: np.ndarray) -> np.ndarray:
    images = np.asarray(_at_every_point(_image)(step, parameters, _pad(owner, 0), _pad(h, 0.0)))[: len(h)]
    return np.linalg.norm(images - h, axis=-1)


def _continue_all(
    step: Step,
    parameters: Any,
    sets: list[list[np.ndarray]],
    radii: list[list[float]],
    n_checkpoints: int,
    tol: float,
    distance: float,
    max_iterations: int,
) -> dict[tuple[int, int, int], int]:
    """Follow every point of every map both ways, adding what is new to ``sets``, until nothing is.

    Returns the links between successive maps, {(map, point, +1 or -1): point of the next or the previous map}.
    """
    leads: dict[tuple[int, int, int], int] = {}

    def both_ways(of_map: int, point: int) -> list[tuple[int, int, int]]:
        inside = ((1, of_map % n_checkpoints < n_checkpoints - 1), (-1, of_map % n_checkpoints > 0))
        return [(of_map, point, way) for way, there in inside if there]

    def mutual(of_map: int, point: int, way: int) -> bool:
        there = leads.get((of_map, point, way))
        return there is not None and leads.get((of_map + way, there, -way)) == point

    every = (both_ways(of_map, point) for of_map, points in enumerate(sets) for point in range(len(points)))
    level = {task: 0 for tasks in every for task in tasks}
    todo = list(level)
    while todo:
        now = level[todo[0]]
        todo = [task for task in todo if level[task] == now]
        owner = np.array([of_map for of_map, _, _ in todo])
        to = owner + np.array([way for _, _, way in todo])
        h = np.array([sets[of_map][point] for of_map, point, _ in todo])
        led, error, follows = _followed(step, PIECES[now], parameters, owner, to, h, tol, distance, max_iterations)
        radius = _radius(led, error, distance)
        for index, task in enumerate(todo):
            level[task] += 1
            leads.pop(task, None)
            if not follows[index]:
                continue
            next_map = int(to[index])
            there = _find(sets[next_map], radii[next_map], led[index], radius[index])
            if there < 0:
                there = len(sets[next_map])
                sets[next_map].append(led[index])
                radii[next_map].append(radius[index])
                level |= dict.fromkeys(both_ways(next_map, there), 0)
            leads[task] = there
        todo = sorted(
            (task for task in level if level[task] < len(PIECES) and not mutual(*task)), key=level.__getitem__
        )
    return {task: there for task, there in leads.items() if mutual(*task)}


def _followed(step: Step, pieces: int, parameters: Any, owner: np.ndarray, to: np.ndarray, h: np.ndarray, tol: float,
              distance: float, max_iterations: int) -> tuple[np.ndarray, ...]:  # fmt: skip
    padded = (_pad(owner, 0), _pad(to, 0), _pad(h, np.nan))
    followed = _follow()(step, pieces, parameters, *padded, tol, distance, max_iterations)
    return tuple(np.array(part)[: len(h)] for part in followed)


def _branches(path: int, n_checkpoints: int, sets: Sequence[Any], links: Any, where: Any,
              h: np.ndarray, residual: np.ndarray, eigenvalues: np.ndarray, checkpoint: np.ndarray,
              share: np.ndarray) -> xr.Dataset:  # fmt: skip
    """Chains of points that lead to each other, as one Dataset."""
    chains: list[dict[int, int]] = []  # checkpoint -> row of h
    chain_of: dict[tuple[int, int], int] = {}
    for k in range(n_checkpoints):
        of_map = path * n_checkpoints + k
        for point in range(len(sets[of_map])):
            before = links.get((of_map, point, -1))
            if before is not None:
                chain = chain_of[of_map - 1, before]
            else:
                chain = len(chains)
                chains.append({})
            chain_of[of_map, point] = chain
            chains[chain][k] = where[of_map, point]
    shape = (len(chains), n_checkpoints)
    rows = np.full(shape, -1)
    for branch, chain_rows in enumerate(chains):
        rows[branch, list(chain_rows)] = list(chain_rows.values())
    exists = rows >= 0
    hidden = h.shape[-1]
    values = {
        "h": np.full((*shape, hidden), np.nan),
        "residual": np.full(shape, np.nan),
        "eigenvalues": np.full((*shape, hidden), np.nan, complex),
    }
    for name, source in (("h", h), ("residual", residual), ("eigenvalues", eigenvalues)):
        values[name][exists] = source[rows[exists]]
    stable = exists & (np.abs(values["eigenvalues"]) < 1).all(axis=-1)
    dims = ("branch", "checkpoint")
    first, last = exists.argmax(axis=1), n_checkpoints - exists[:, ::-1].argmax(axis=1)
    born = np.where(first > 0, checkpoint[first], np.nan)
    died = np.where(last < n_checkpoints, np.append(checkpoint, np.nan)[last], np.nan)
    return xr.Dataset(
        {
            "h": ((*dims, "hidden"), values["h"], ATTRS["h"]),
            "residual": (dims, values["residual"], ATTRS["residual"]),
            "eigenvalues": ((*dims, "hidden"), values["eigenvalues"], ATTRS["eigenvalues"]),
            "exists": (dims, exists, {"long_name": "the branch has a point at this checkpoint"}),
            "stable": (dims, stable, ATTRS["stable"]),
            "number": (("checkpoint",), exists.sum(axis=0), {"long_name": "fixed points", "units": "1"}),
            "number_stable": (("checkpoint",), stable.sum(axis=0), {"long_name": "stable fixed points", "units": "1"}),
            "share_converged": (
                ("checkpoint",), share, {"long_name": "share of the starts that converged", "units": "1"},
            ),
            "born": (("branch",), born, {"long_name": "first checkpoint with the branch, if not the first of all"}),
            "died": (("branch",), died, {"long_name": "first checkpoint without the branch"}),
        },
        coords={"checkpoint": ("checkpoint", checkpoint), "branch": np.arange(len(chains))},
    )  # fmt: skip
