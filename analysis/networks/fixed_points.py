"""Fixed points h = F(h) of a map, of many maps at once, and their continuation from one checkpoint to the next.

Owns the search, the Jacobians' eigenvalues and the identities of points; where eigenvalues cross the unit circle is
the matter of ``bifurcations``, what is not a fixed point that of ``attractors``.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, NamedTuple

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
EPSILON = float(np.finfo(float).eps)
NEAR = 1e-2  # of its modulus to 1, within which an eigenvalue is set against its error
BESIDE = 1e-4  # times 1 + |h|: over which the change of the Jacobian is measured
ASIDE = 1e-2  # times 1 + |h|: how far along the null space of I - J more fixed points are looked for
ALONG = 0.1  # of that way: what is moved less came back
STEEP = 1e9  # Newton steps this many times longer than their residual tell that I - J is singular

Step = Callable[[Any, Any], Any]  # (parameters, h [hidden]) -> h'


@dataclass(frozen=True)
class FixedPoints:
    """Distinct fixed points of one map: the isolated ones first, of these the best solved.

    - ``h`` [point, hidden]; ``residual`` [point], the Euclidean norm of F(h) - h; ``error`` [point], the length of the
      last Newton step: rounding, but where I - J is nearly singular;
    - ``jacobian`` [point, hidden, hidden_from], dF/dh; ``eigenvalues`` [point, hidden], complex, by modulus from the
      largest, of a conjugate pair the one with positive imaginary part first;
    - ``starts``: from how many starts the search went out, and ``converged``: how many of them reached some fixed
      point. The others are only counted;
    - ``isolated`` [point]: I - J is regular to its error, so that no other fixed point is near;
    - ``marginal`` [point]: some eigenvalue cannot be told from the unit circle, or is unknown as the Jacobian is not
      finite: no linear answer to whether the point is stable. An eigenvalue 1 makes the point not isolated as well;
    - ``dimension`` [point]: of the continuum of fixed points (line, ring, plane ...) that the point is a sample of; 0
      for none. A point that is neither isolated nor of a continuum is a multiple one, or several too close to tell.
      The ``error`` of a sample is its distance to the continuum; that of a multiple point is how well it is known.

    The criterion: an eigenvalue lies on the unit circle, at z, where the least singular value of z I - J is below the
    error of J (distance to instability, Byers, SIAM J. Sci. Stat. Comput. 9, 875 (1988)), an answer that a change of
    basis does not change but by rounding. The error of J is its rounding and, times its Lipschitz constant K near the
    point, the error of h, (r + rounding of F) / s with s the least singular value of I - J. At z = 1 this is Newton's
    own condition K (r + rounding) / s^2 < 1/2 (Kantorovich; Ortega and Rheinboldt, 12.6.2), here with 1/8 for 1/2. A
    continuum is told by a step of 0.01 (1 + |h|) each way along the null space of I - J and a corrector, as in the
    continuation of solution manifolds (Krauskopf, Osinga and Galan-Vioque, Numerical Continuation Methods for
    Dynamical Systems (2007), chapter 1): its dimension is that of the fixed points then found, but at most that of
    their null spaces. Smaller continua count as a multiple point.
    """

    h: np.ndarray
    residual: np.ndarray
    error: np.ndarray
    jacobian: np.ndarray
    eigenvalues: np.ndarray
    starts: int
    converged: int
    isolated: np.ndarray
    marginal: np.ndarray
    dimension: np.ndarray

    @property
    def stable(self) -> np.ndarray:
        """[point], whether every eigenvalue lies inside the unit circle, by more than its error."""
        return (np.abs(self.eigenvalues) < 1).all(axis=-1) & ~self.marginal

    @property
    def share_converged(self) -> float:
        return self.converged / self.starts if self.starts else np.nan

    def __len__(self) -> int:
        return len(self.h)

    def select(self, points: Any) -> "FixedPoints":
        """The points of an index or mask [point]; the counts of starts stay."""
        return replace(self, **{name: getattr(self, name)[points] for name in OF_POINT})

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
            **{name: (("point",), getattr(self, name)) for name in ("stable", "isolated", "marginal", "dimension")},
        }
        return xr.Dataset(
            {name: (dims, values, ATTRS[name]) for name, (dims, values) in point.items()},
            attrs={"starts": self.starts, "converged": self.converged},
        )


OF_POINT = ("h", "residual", "error", "jacobian", "eigenvalues", "isolated", "marginal", "dimension")
ATTRS = {
    "h": {"long_name": "fixed point", "units": "1"},
    "residual": {"long_name": "Euclidean norm of F(h) - h", "units": "1"},
    "error": {"long_name": "length of the last Newton step", "units": "1"},
    "jacobian": {"long_name": "dF/dh at the fixed point", "units": "1"},
    "eigenvalues": {"long_name": "eigenvalues of the Jacobian, largest modulus first", "units": "1"},
    "stable": {"long_name": "every eigenvalue lies inside the unit circle"},
    "isolated": {"long_name": "I - dF/dh is regular to its error"},
    "marginal": {"long_name": "an eigenvalue cannot be told from the unit circle"},
    "dimension": {"long_name": "dimension of the continuum of fixed points, 0 for none", "units": "1"},
}
NUMBERS = {
    "number": {"long_name": "fixed points, but for those of a continuum", "units": "1"},
    "number_stable": {"long_name": "stable fixed points", "units": "1"},
    "number_marginal": {"long_name": "fixed points whose stability is marginal", "units": "1"},
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

    Where I - J is singular at a fixed point, a Newton step has no direction but that of rounding. Starts that end so
    are solved anew by least squares, and kept where the residual falls to rounding, as nothing less tells a fixed point
    from slow drift; see :class:`FixedPoints` for what is said of them. From every start on a line attractor that is
    the point of the line near it (a sample), and a map has ``points.isolated.sum()`` isolated fixed points.

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
        flat, near = _described(step, parameters, owner, h[owner, point], residual[owner, point], error[owner, point])
        alone = flat.isolated & ~(near.least < near.lipschitz * _radius(flat.h, np.zeros(len(owner)), distance))
        ends = np.cumsum([len(points) for _, points in found])
        every = [
            replace(flat.select(slice(end - len(points), end)), starts=n, converged=int(converged[of_map].sum()))
            for (of_map, points), end in zip(found, ends, strict=True)
        ]
        steep = np.isfinite(residual) & ~converged & ~(error < STEEP * residual)
        for of_map in range(n_maps):
            known = alone[owner == of_map] | ~np.isfinite(every[of_map].eigenvalues).all(axis=-1)
            if known.all() and not steep[of_map].any():
                continue
            points = every[of_map].select(known)
            reached = converged[of_map] & _same(h[of_map], radius[of_map], points, distance)
            again = ~reached & (steep[of_map] if known.all() else np.isfinite(residual[of_map]))
            ended = ~reached & converged[of_map]
            start = np.concatenate([np.flatnonzero(again), np.flatnonzero(ended)])
            x = np.concatenate([starts[of_map, again], h[of_map, ended]])
            from_end = np.arange(len(start)) >= again.sum()
            points = replace(points, converged=int(reached.sum()))
            every[of_map] = _with_degenerate(
                step, parameters, of_map, points, start, x, from_end, tol, distance, max_iterations
            )
    return tuple(every)


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
    (NaN where the branch does not exist), ``exists``, ``stable``, ``marginal``; ``number``, ``number_stable`` and
    ``number_marginal`` of points, ``dimension`` of the largest continuum of fixed points (its points are in no number,
    and on no branch but one that comes from elsewhere), and ``share_converged`` of the starts, over ``checkpoint``;
    ``born`` and ``died`` over ``branch``: the first checkpoint with the branch and the first without, NaN if it is
    there from the beginning or to the end.

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
        single = [points.select(points.dimension == 0) for points in found]
        sets = [list(points.h) for points in single]
        radii = [list(_radius(points.h, points.error, distance)) for points in single]
        links = _continue_all(step, flat, sets, radii, n_checkpoints, tol, distance, max_iterations)
        owner = np.repeat(np.arange(len(sets)), [len(points) for points in sets])
        h = np.concatenate([np.reshape(points, (-1, hidden)) for points in sets])
        residual = np.linalg.norm(_changes(step, flat, owner, h), axis=-1)
        every, degeneracy = _described(step, flat, owner, h, residual, np.zeros(len(h)))
        every = _with_dimension(step, flat, owner, every, degeneracy, max_iterations)
    where = {}
    for row, of_map in enumerate(owner):
        where[int(of_map), row - int(np.searchsorted(owner, of_map))] = row
    shape = (n_paths, n_checkpoints)
    share = np.array([points.share_converged for points in found]).reshape(shape)
    dimension = np.array([points.dimension.max(initial=0) for points in found]).reshape(shape)
    return tuple(
        _branches(path, n_checkpoints, sets, links, where, every, checkpoint, share[path], dimension[path])
        for path in range(n_paths)
    )


def sorted_eigenvalues(jacobian: np.ndarray) -> np.ndarray:
    """Eigenvalues of [..., hidden, hidden], by modulus from the largest; of a pair, positive imaginary part first; NaN
    of what is not finite."""
    finite = np.isfinite(jacobian).all(axis=(-2, -1))
    values = np.full(jacobian.shape[:-1], np.nan, complex)
    values[finite] = np.linalg.eigvals(jacobian[finite])
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


class _Degeneracy(NamedTuple):
    """Of points near the unit circle, what :func:`_described` found on the way; NaN and empty for the others."""

    null_space: list[np.ndarray]  # [dimension, hidden] of I - J
    rounding: np.ndarray  # of the residual, at most
    off_root: np.ndarray  # the residual and its rounding
    lipschitz: np.ndarray  # constant of the Jacobian near the point
    least: np.ndarray  # singular value of I - J outside its null space


def _described(step: Step, parameters: Any, owner: np.ndarray, h: np.ndarray, residual: np.ndarray, error: np.ndarray
               ) -> tuple[FixedPoints, _Degeneracy]:  # fmt: skip
    """Points of many maps with their Jacobians and labels, ``dimension`` not yet known; see :class:`FixedPoints`."""
    hidden = h.shape[-1]
    jacobian = jacobians(step, parameters, owner, h)
    eigenvalues = sorted_eigenvalues(jacobian)
    off = np.abs(np.abs(eigenvalues) - 1)
    marginal = ~np.isfinite(eigenvalues).all(axis=-1)
    isolated = ~marginal
    null_space = [np.empty((0, hidden))] * len(h)
    rounding, off_root, lipschitz, least = np.full((4, len(h)), np.nan)
    rows = np.flatnonzero((off <= NEAR).any(axis=-1))
    if rows.size:
        _, singular_values, right = np.linalg.svd(np.eye(hidden) - jacobian[rows])
        size = 1 + np.linalg.norm(h[rows], axis=-1)
        relative = np.sqrt(hidden) * EPSILON * (1 + singular_values[:, 0])
        beside = BESIDE * size[:, None] * right[:, -1]
        with np.errstate(over="ignore", invalid="ignore"):
            changes = [jacobians(step, parameters, owner[rows], x) - jacobian[rows]
                       for x in (h[rows] + beside, h[rows] - beside)]  # fmt: skip
            change = np.linalg.norm(changes, axis=(-2, -1)).max(axis=0)
        bend = np.where(np.isfinite(change), change, np.inf) / (BESIDE * size)
        off_root[rows] = residual[rows] + relative * size
        bound = ERRORS * relative + np.sqrt(ERRORS * bend * off_root[rows])
        nullity = (singular_values <= bound[:, None]).sum(axis=-1)
        rounding[rows], lipschitz[rows] = ERRORS * relative * size, bend
        marginal[rows] = nullity > 0
        isolated[rows] = nullity == 0
        for row, space, values, k in zip(rows, right, singular_values, nullity, strict=True):
            null_space[row] = space[hidden - k :]
            least[row] = values[hidden - k - 1] if k < hidden else np.inf
        with np.errstate(invalid="ignore"):
            of_jacobian = ERRORS * (relative + bend * off_root[rows] / least[rows])
        at, which = np.nonzero((off[rows] <= NEAR) & (nullity == 0)[:, None])
        z = eigenvalues[rows[at], which]
        z = z / np.abs(z)
        distance = np.linalg.svd(z[:, None, None] * np.eye(hidden) - jacobian[rows[at]], compute_uv=False)[:, -1]
        marginal[rows[at[distance <= of_jacobian[at]]]] = True
    points = FixedPoints(h, residual, error, jacobian, eigenvalues, 0, 0, isolated, marginal, np.zeros(len(h), int))
    return points, _Degeneracy(null_space, rounding, off_root, lipschitz, least)


def _with_degenerate(step: Step, parameters: Any, of_map: int, known: FixedPoints, start: np.ndarray, x: np.ndarray,
                     from_end: np.ndarray, tol: float, distance: float, max_iterations: int
                     ) -> FixedPoints:  # fmt: skip
    """The ``known`` points of a map, which Newton can tell apart, and those that its other starts lead to: tasks ``x``
    [task, hidden], of the numbered ``start``, are these themselves and ``from_end`` where Newton ended."""
    owner = np.full(len(start), of_map)
    x, off = _least_squares(step, parameters, owner, x, max_iterations)
    more, near = _described(step, parameters, owner, x, off, np.zeros(len(x)))
    solved = (off <= near.rounding) & (near.rounding <= tol)  # where h is so large that rounding hides any drift: not
    solved &= ~more.isolated | np.isin(start, start[from_end])
    spare = from_end & np.isin(start, start[solved & ~from_end])  # the sample near the start is the one to keep
    best = np.flatnonzero(solved)
    best = best[np.argsort(off[best], kind="stable")]
    best = best[_distinct(x[best], _apart(more.isolated, x, near.off_root / near.least, distance)[best])]
    more, near = _described(step, parameters, owner[best], x[best], off[best], np.zeros(len(best)))
    more = _with_dimension(step, parameters, owner[best], more, near, max_iterations)
    more = more.select((more.dimension == 0) | ~spare[best])
    more = more.select(_distinct(more.h, _apart(more.isolated, more.h, more.error, distance)))
    more = more.select(~_same(more.h, ERRORS * more.error, known, distance))
    joined: dict[str, Any] = {name: np.concatenate([getattr(known, name), getattr(more, name)]) for name in OF_POINT}
    return replace(known, converged=known.converged + len(np.unique(start[solved])), **joined)


def _same(h: np.ndarray, radius: np.ndarray, known: FixedPoints, distance: float) -> np.ndarray:
    """Whether each of ``h`` is one of the known points."""
    known_radius = _radius(known.h, known.error, distance)
    return np.array([_find(known.h, known_radius, *end) >= 0 for end in zip(h, radius, strict=True)], bool)


def _apart(isolated: np.ndarray, h: np.ndarray, error: np.ndarray, distance: float) -> np.ndarray:
    """Within which another point is the same: of points that are isolated and solved to rounding their error alone."""
    return np.where(isolated, ERRORS * error, _radius(h, np.where(isolated, 0.0, error), distance))


def _with_dimension(step: Step, parameters: Any, owner: np.ndarray, points: FixedPoints, degeneracy: _Degeneracy,
                    max_iterations: int) -> FixedPoints:  # fmt: skip
    """The points with the dimension of the continuum that they are on, and with an error that goes with it."""
    size = 1 + np.linalg.norm(points.h, axis=-1)
    ways = [np.concatenate([space, -space]) for space in degeneracy.null_space]
    of_point = np.repeat(np.arange(len(ways)), [len(way) for way in ways])
    dimension, back = points.dimension.copy(), np.zeros(len(points))
    if of_point.size:
        starts = points.h[of_point] + ASIDE * size[of_point, None] * np.concatenate(ways)
        x, off = _least_squares(step, parameters, owner[of_point], starts, max_iterations)
        moved = (x - points.h[of_point]) / (ASIDE * size[of_point, None])
        way = np.linalg.norm(moved, axis=-1)
        way[~(off <= degeneracy.rounding[of_point]) | ~(way <= 2)] = 0.0
        groups = np.split(np.arange(len(of_point)), np.cumsum([len(of_one) for of_one in ways])[:-1])
        some = [point for point, group in enumerate(groups) if len(group)]
        far = np.array([groups[point][way[groups[point]].argmax()] for point in some])
        _, there = _described(step, parameters, owner[some], x[far], off[far], np.zeros(len(far)))
        for point, space in zip(some, there.null_space, strict=True):
            reached = moved[groups[point]][way[groups[point]] > 0]
            rank = int((np.linalg.svd(reached, compute_uv=False) > ALONG).sum()) if len(reached) else 0
            dimension[point] = min(rank, len(space))
            back[point] = ASIDE * size[point] * way[groups[point]].max()
    with np.errstate(divide="ignore"):
        multiple = np.sqrt(
            ERRORS * degeneracy.off_root / np.where(np.isfinite(degeneracy.lipschitz), degeneracy.lipschitz, 0.0)
        )
    known = points.isolated | (dimension > 0)
    multiple = np.minimum(np.maximum(multiple, back), ASIDE * size)
    error = np.where(known, degeneracy.off_root / degeneracy.least, multiple)
    return replace(points, dimension=dimension, error=error)


def _least_squares(step: Step, parameters: Any, owner: np.ndarray, h: np.ndarray, max_iterations: int
                   ) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """Where |F(h) - h| is least, from h [task, hidden], and how large it is: Levenberg and Marquardt's method with the
    square of the residual as its parameter, which converges to sets of solutions as Newton does to one (Yamashita and
    Fukushima, Computing Suppl. 15, 239 (2001)). It goes on as long as the residual falls."""
    hidden = h.shape[-1]
    h = h.copy()
    with np.errstate(over="ignore", invalid="ignore"):
        change = _changes(step, parameters, owner, h)
        norm = np.linalg.norm(change, axis=-1)
        active = np.isfinite(norm) & (norm > 0)
        for _ in range(max_iterations):
            rows = np.flatnonzero(active)
            active[:] = False
            jacobian = jacobians(step, parameters, owner[rows], h[rows])
            finite = np.isfinite(jacobian).all(axis=(-2, -1))
            rows, jacobian = rows[finite], jacobian[finite]
            if not rows.size:
                break
            left, s, right = np.linalg.svd(np.eye(hidden) - jacobian)
            along = (change[rows, None] @ left)[:, 0]  # a component below its rounding has nothing to say
            rounding = EPSILON * (1 + s[:, :1]) * (1 + np.linalg.norm(h[rows], axis=-1, keepdims=True))
            tells = (s > ERRORS * np.sqrt(hidden) * EPSILON * (1 + s[:, :1])) & (np.abs(along) > rounding)
            along *= tells * s / (s**2 + np.minimum(norm[rows], 1.0)[:, None] ** 2)
            on = tells.any(axis=-1) & (norm[rows] > np.sqrt(hidden) * rounding[:, 0])
            rows, along = rows[on], (along[:, None] @ right)[on, 0]
            for part in 0.5 ** np.arange(HALVINGS + 1):
                trial = h[rows] + part * along
                trial_change = _changes(step, parameters, owner[rows], trial)
                trial_norm = np.linalg.norm(trial_change, axis=-1)
                falls = trial_norm <= (1 - SUFFICIENT * part) * norm[rows]
                taken = rows[falls]
                h[taken], change[taken], norm[taken] = trial[falls], trial_change[falls], trial_norm[falls]
                active[taken] = trial_norm[falls] > 0
                rows, along = rows[~falls], along[~falls]
                if not rows.size:
                    break
    return h, norm


def padded(values: np.ndarray, fill: float, fewest: int = FEWEST, times: int = TIMES) -> np.ndarray:
    """A batch [point, ...] made as long as one of ``fewest``, ``fewest * times`` ... points, for few compilations."""
    number = fewest
    while number < len(values):
        number *= times
    return np.concatenate([values, np.full((number - len(values), *values.shape[1:]), fill, values.dtype)])


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


def jacobians(step: Step, parameters: Any, owner: np.ndarray, h: np.ndarray) -> np.ndarray:
    """Of the map of each point, [point, hidden, hidden_from]; within :func:`double_precision`.

    ``parameters`` [map, ...], ``owner`` [point] the map of each, ``h`` [point, hidden].
    """
    hidden = h.shape[-1]
    chunk = max(FEWEST, IN_MEMORY // hidden**2)
    parts = [np.empty((0, hidden, hidden))]
    for first in range(0, len(h), chunk):
        some, of_map = h[first : first + chunk], owner[first : first + chunk]
        jacobian = _at_every_point(_jacobian)(step, parameters, padded(of_map, 0), padded(some, 0.0))
        parts.append(np.asarray(jacobian)[: len(some)])
    return np.concatenate(parts)


def images(step: Step, parameters: Any, owner: np.ndarray, h: np.ndarray) -> np.ndarray:
    """F(h) [point, hidden] under the map of each point; arguments as of :func:`jacobians`."""
    return np.asarray(_at_every_point(_image)(step, parameters, padded(owner, 0), padded(h, 0.0)))[: len(h)]


def _changes(step: Step, parameters: Any, owner: np.ndarray, h: np.ndarray) -> np.ndarray:
    """F(h) - h."""
    return images(step, parameters, owner, h) - h


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
    batch = (padded(owner, 0), padded(to, 0), padded(h, np.nan))
    followed = _follow()(step, pieces, parameters, *batch, tol, distance, max_iterations)
    return tuple(np.array(part)[: len(h)] for part in followed)


def _branches(path: int, n_checkpoints: int, sets: Sequence[Any], links: Any, where: Any, every: FixedPoints,
              checkpoint: np.ndarray, share: np.ndarray, dimension: np.ndarray) -> xr.Dataset:  # fmt: skip
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
    hidden = every.h.shape[-1]
    values = {
        "h": np.full((*shape, hidden), np.nan),
        "residual": np.full(shape, np.nan),
        "eigenvalues": np.full((*shape, hidden), np.nan, complex),
        "stable": np.zeros(shape, bool),
        "marginal": np.zeros(shape, bool),
        "dimension": np.zeros(shape, int),
    }
    for name, of_branch in values.items():
        of_branch[exists] = getattr(every, name)[rows[exists]]
    single = exists & (values["dimension"] == 0)
    counts = {"number": single, "number_stable": values["stable"], "number_marginal": single & values["marginal"]}
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
            "stable": (dims, values["stable"], ATTRS["stable"]),
            "marginal": (dims, values["marginal"], ATTRS["marginal"]),
            **{name: (("checkpoint",), counts[name].sum(axis=0), about) for name, about in NUMBERS.items()},
            "dimension": (
                ("checkpoint",), np.maximum(dimension, values["dimension"].max(axis=0, initial=0)), ATTRS["dimension"],
            ),
            "share_converged": (
                ("checkpoint",), share, {"long_name": "share of the starts that converged", "units": "1"},
            ),
            "born": (("branch",), born, {"long_name": "first checkpoint with the branch, if not the first of all"}),
            "died": (("branch",), died, {"long_name": "first checkpoint without the branch"}),
        },
        coords={"checkpoint": ("checkpoint", checkpoint), "branch": np.arange(len(chains))},
    )  # fmt: skip
