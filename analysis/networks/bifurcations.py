"""Bifurcations of fixed points along a path of checkpoints: where, of which type, and refined on a finer path.

Takes the branches of ``fixed_points.continue_fixed_points``; which orbits arise is the matter of ``attractors``.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import scipy.optimize
import xarray as xr

from isophase.analysis.networks.fixed_points import Step, find_fixed_points_of_maps, sorted_eigenvalues
from isophase.analysis.statistics import flags

TYPES = ("none", "neimark_sacker", "flip", "fold", "pitchfork", "cannot_tell")
NONE, NEIMARK_SACKER, FLIP, FOLD, PITCHFORK, CANNOT_TELL = range(6)
DIRECTIONS = ("loses_stability", "gains_stability", "born", "died")
LOSES, GAINS, BORN, DIED = range(4)
INTERPOLATIONS = ("modulus", "square_root", "midpoint")
MODULUS, SQUARE_ROOT, MIDPOINT = range(3)
RESONANCE = 0.05  # rad, within which of 2 pi / 3 or 2 pi / 4 a crossing angle counts as a strong resonance
REAL = 1e-9  # imaginary parts below are rounding
PATH_TOLERANCE = 1e-10  # of the refined place, in brackets


def find_bifurcations(branches: xr.Dataset) -> xr.Dataset:
    """Crossings of the unit circle and changes of the number of fixed points, between successive checkpoints.

    On a branch that exists at both checkpoints, eigenvalues are paired so that the sum of their distances is least, and
    a pair with one inside and one outside the unit circle is a crossing. Its type (Kuznetsov, Elements of Applied
    Bifurcation Theory, chapter 4):

    - complex at both ends, with its conjugate: ``neimark_sacker``; the angle is arg lambda, between 0 and pi, and
      ``resonance`` is 3 or 4 where it is within 0.05 rad of 2 pi / 3 or 2 pi / 4 (the invariant circle may then not
      arise as in the theorem), else 0;
    - real and negative: ``flip``; real and positive: ``pitchfork`` if two points appear or vanish in the same bracket,
      one on each side of the branch, as stable as the branch is on the other side of the bifurcation. Without such
      two ``cannot_tell`` (a transcritical bifurcation, or a search that missed points);
    - conjugates at one end and both real at the other: ``cannot_tell``.

    Two branches that begin (or end) in one bracket, with one unstable direction more in one than in the other, are a
    ``fold``; the nearest two are taken together. Any other beginning or end is ``cannot_tell``. Where checkpoints are
    too coarse to see the gap, a fold close beside a branch looks like a pitchfork: refine with finer ones.

    The checkpoint of a crossing is interpolated linearly in the modulus; that of a fold by ``(lambda - 1)^2``, which is
    linear in the parameter, from the next two checkpoints on the branch, or else it is the middle of the bracket.

    Parameters
    ----------
    branches : one Dataset of :func:`isophase.analysis.networks.fixed_points.continue_fixed_points`.

    Returns
    -------
    Dataset over ``event``, ordered by checkpoint, of no event where there is none:

    - ``type``, ``direction`` (of a crossing: the eigenvalues leave or enter the unit circle; else the points are born
      or die) and ``interpolation``, as numbers with their meaning in the attributes;
    - ``checkpoint``, and its bracket ``checkpoint_low`` and ``checkpoint_high``;
    - ``branches`` [event, role]: the branch that crosses, then those that begin or end with it; -1 for no further;
    - ``angle`` (rad) of the crossing eigenvalue, ``resonance``, ``modulus_low`` and ``modulus_high`` at the ends of the
      bracket (NaN for folds);
    - ``unstable_low`` and ``unstable_high``: eigenvalues outside the unit circle of the first branch at the ends, -1
      where it does not exist;
    - ``changes_attractors``: a stable fixed point appears, vanishes, or gains or loses its stability.
    """
    eigenvalues, exists = branches["eigenvalues"].values, branches["exists"].values
    h, checkpoint = branches["h"].values, branches["checkpoint"].values
    outside = np.where(exists, (np.abs(eigenvalues) >= 1).sum(axis=-1), -1)
    events: list[dict[str, Any]] = []
    for k in range(len(checkpoint) - 1):
        left = {
            BORN: [int(branch) for branch in np.flatnonzero(~exists[:, k] & exists[:, k + 1])],
            DIED: [int(branch) for branch in np.flatnonzero(exists[:, k] & ~exists[:, k + 1])],
        }
        here = []
        for branch in np.flatnonzero(exists[:, k] & exists[:, k + 1]).tolist():
            for crossing in _crossings(eigenvalues[branch, k], eigenvalues[branch, k + 1]):
                members = [branch]
                if crossing["type"] == PITCHFORK:
                    two = _arms(branch, k, h, outside, left)
                    members += two
                    crossing["type"] = PITCHFORK if two else CANNOT_TELL
                crossing["checkpoint"] = checkpoint[k] + crossing.pop("part") * (checkpoint[k + 1] - checkpoint[k])
                before, after = outside[branch, k], outside[branch, k + 1]
                stable_arms = outside[members[1:], k : k + 2].max(axis=-1) == 0
                changes = (before == 0) != (after == 0) or bool(stable_arms.any())
                here.append({**crossing, "branches": members, "changes_attractors": changes})
        for way, k_there in ((BORN, k + 1), (DIED, k)):
            for members, kind in _folds(left[way], h[:, k_there], outside[:, k_there]):
                place, how = _fold_place(members[0], k, way, eigenvalues, exists, checkpoint)
                if kind == CANNOT_TELL:
                    place, how = (checkpoint[k] + checkpoint[k + 1]) / 2, MIDPOINT
                here.append({
                    "type": kind, "direction": way, "interpolation": how, "checkpoint": place, "branches": members,
                    "angle": 0.0 if kind == FOLD else np.nan, "resonance": 0, "modulus_low": np.nan,
                    "modulus_high": np.nan, "changes_attractors": bool((outside[members, k_there] == 0).any()),
                })  # fmt: skip
        for event in here:
            first = event["branches"][0]
            event["branches"] = (event["branches"] + [-1, -1])[:3]
            event |= {"checkpoint_low": checkpoint[k], "checkpoint_high": checkpoint[k + 1],
                      "unstable_low": outside[first, k], "unstable_high": outside[first, k + 1]}  # fmt: skip
        events += sorted(here, key=lambda event: event["checkpoint"])
    return _dataset(events)


def first_bifurcation(events: xr.Dataset, changes_attractors: bool = True) -> xr.Dataset:
    """The first event, without dimension; ``type`` is ``none`` and the numbers are NaN (or -1, 0) where there is none.

    ``changes_attractors``: count only events in which a stable fixed point appears, vanishes, or changes its stability.
    """
    if changes_attractors:
        events = events.isel(event=np.flatnonzero(events["changes_attractors"].values))
    return (events if events.sizes["event"] else _dataset([NOTHING])).isel(event=0)


@dataclass(frozen=True)
class Refined:
    """A bifurcation located on a continuous path: ``checkpoint``, ``type`` (of :data:`TYPES`), ``h`` [hidden],
    ``eigenvalues`` [hidden], ``angle`` of the critical one (rad), ``residual`` (Euclidean norm of F(h) - h)."""

    type: str
    checkpoint: float
    h: np.ndarray
    eigenvalues: np.ndarray
    angle: float
    residual: float


def straight_path(low: float, high: float, parameters_low: Any, parameters_high: Any) -> Callable[[Any], Any]:
    """``parameters_at(s)`` on the straight line between the parameters of two checkpoints ``low`` and ``high``.

    Training takes another way: a bifurcation refined on this line lies in the right bracket, but not at the iteration.
    """
    import jax

    def parameters_at(s: Any) -> Any:
        part = (s - low) / (high - low)
        return jax.tree.map(lambda a, b: (1 - part) * a + part * b, parameters_low, parameters_high)

    return parameters_at


def refine(step: Step, parameters_at: Callable[[Any], Any], branches: xr.Dataset, event: xr.Dataset) -> Refined:
    """Locate an event within its bracket, to 1e-10 of the bracket, on a continuous path of parameters.

    A crossing: Brent's method on the modulus, minus one, of the largest of the crossing eigenvalues, on the branch
    followed by Newton. A fold: Newton on the extended system F(h, s) = h, (J(h, s) - 1) v = 0, |v| = 1 for h, v and s
    (Moore and Spence, SIAM J. Numer. Anal. 17, 567 (1980)), which is regular at a fold.

    Parameters
    ----------
    step : (parameters, h) -> h', made of JAX operations.
    parameters_at : s -> parameters, of JAX operations; ``s`` in the units of ``checkpoint``. Of training there is no
        such path: take :func:`straight_path`, or train again with finer checkpoints (``training.measure``).
    branches, event : what :func:`find_bifurcations` was given, and one of its events, ``events.isel(event=i)``.

    ``type`` is ``cannot_tell``, with NaN, where the branch is lost within the bracket, or the event is a beginning or
    end that is no fold.
    """
    low, high = float(event["checkpoint_low"]), float(event["checkpoint_high"])
    members = event["branches"].values
    kind = int(event["type"])
    on = branches["h"].values[:, np.searchsorted(branches["checkpoint"].values, [low, high])]  # [branch, end, hidden]
    if int(event["direction"]) in (LOSES, GAINS):
        return _refine_crossing(step, parameters_at, low, high, on[members[0]], event)
    if kind == FOLD:
        end = 1 if int(event["direction"]) == BORN else 0
        return _refine_fold(step, parameters_at, low, high, on[members[:2], end], float(event["checkpoint"]))
    return _unknown(on.shape[-1])


NOTHING = {
    "type": NONE, "direction": -1, "interpolation": -1, "checkpoint": np.nan, "checkpoint_low": np.nan,
    "checkpoint_high": np.nan, "branches": [-1, -1, -1], "angle": np.nan, "resonance": 0, "modulus_low": np.nan,
    "modulus_high": np.nan, "unstable_low": -1, "unstable_high": -1, "changes_attractors": False,
}  # fmt: skip


def _dataset(events: list[dict[str, Any]]) -> xr.Dataset:
    attrs: dict[str, dict[str, Any]] = {
        "type": {"long_name": "type of the bifurcation", **flags(TYPES)},
        "direction": {"long_name": "what happens as the checkpoint increases", **flags(DIRECTIONS)},
        "interpolation": {"long_name": "how the checkpoint was interpolated", **flags(INTERPOLATIONS)},
        "checkpoint": {"long_name": "interpolated checkpoint"},
        "checkpoint_low": {"long_name": "last checkpoint before"},
        "checkpoint_high": {"long_name": "first checkpoint after"},
        "branches": {"long_name": "branches that take part, -1 for no further"},
        "angle": {"long_name": "argument of the crossing eigenvalue", "units": "rad"},
        "resonance": {"long_name": "strong resonance 1:3 or 1:4, else 0"},
        "modulus_low": {"long_name": "modulus of the crossing eigenvalue before", "units": "1"},
        "modulus_high": {"long_name": "modulus of the crossing eigenvalue after", "units": "1"},
        "unstable_low": {"long_name": "eigenvalues outside the unit circle before, -1 without branch", "units": "1"},
        "unstable_high": {"long_name": "eigenvalues outside the unit circle after, -1 without branch", "units": "1"},
        "changes_attractors": {"long_name": "a stable fixed point appears, vanishes, or changes its stability"},
    }
    dataset = xr.Dataset()
    for name, about in attrs.items():
        kind = np.asarray(NOTHING[name]).dtype if "flag_values" not in about else np.dtype(np.int8)
        values = np.array([event[name] for event in events], kind)
        if name == "branches":
            dataset[name] = (("event", "role"), values.reshape(-1, 3), about)
        else:
            dataset[name] = (("event",), values, about)
    return dataset


def _crossings(low: np.ndarray, high: np.ndarray) -> list[dict[str, Any]]:
    """Crossings of the unit circle between two spectra [hidden], pairs once."""
    rows, columns = scipy.optimize.linear_sum_assignment(np.abs(low[:, None] - high))
    pairs = [(low[i], high[j]) for i, j in zip(rows, columns, strict=True) if (abs(low[i]) < 1) != (abs(high[j]) < 1)]
    crossings = []
    while pairs:
        before, after = pairs.pop(0)
        complex_low, complex_high = abs(before.imag) > REAL, abs(after.imag) > REAL
        mate = _conjugate(pairs, before, after, complex_low, complex_high)
        if mate is not None:
            pairs.pop(mate)
        real = after.real if not complex_high else before.real
        if complex_low and complex_high:
            kind = NEIMARK_SACKER
        elif mate is not None:
            kind = CANNOT_TELL
        else:
            kind = FLIP if real < 0 else PITCHFORK
        part = (1 - abs(before)) / (abs(after) - abs(before))
        angle = abs(np.angle(before + part * (after - before))) if kind == NEIMARK_SACKER else np.nan
        angle = {FLIP: np.pi, PITCHFORK: 0.0}.get(kind, angle)
        crossings.append({
            "type": kind, "direction": LOSES if abs(after) >= 1 else GAINS, "interpolation": MODULUS, "part": part,
            "angle": angle, "resonance": _resonance(angle) if kind == NEIMARK_SACKER else 0,
            "modulus_low": abs(before), "modulus_high": abs(after),
        })  # fmt: skip
    return crossings


def _conjugate(pairs: Any, before: complex, after: complex, complex_low: bool, complex_high: bool) -> int | None:
    """Where among ``pairs`` the conjugate crosses too."""
    for index, (low, high) in enumerate(pairs):
        same_low = complex_low and abs(low - np.conj(before)) <= REAL
        same_high = complex_high and abs(high - np.conj(after)) <= REAL
        if same_low or same_high:
            return index
    return None


def _resonance(angle: float) -> int:
    return next((q for q in (3, 4) if abs(angle - 2 * np.pi / q) <= RESONANCE), 0)


def _arms(branch: int, k: int, h: np.ndarray, outside: np.ndarray, left: dict[int, list[int]]) -> list[int]:
    """The two branches that begin or end at a pitchfork of ``branch``; they are taken from ``left``."""
    best: tuple[float, int, list[int]] | None = None
    for way, there, other in ((BORN, k + 1, k), (DIED, k, k + 1)):
        for one, two in combinations(left[way], 2):
            if not outside[one, there] == outside[two, there] == outside[branch, other]:
                continue
            off = np.linalg.norm((h[one, there] + h[two, there]) / 2 - h[branch, there])
            if off < np.linalg.norm(h[one, there] - h[two, there]) / 2 and (best is None or off < best[0]):
                best = (float(off), way, [int(one), int(two)])
    if best is None:
        return []
    for arm in best[2]:
        left[best[1]].remove(arm)
    return best[2]


def _folds(branches: list[int], h: np.ndarray, outside: np.ndarray) -> list[tuple[list[int], int]]:
    """Nearest pairs whose unstable directions differ by one, and the branches that remain; h [branch, hidden]."""
    pairs = sorted(
        (float(np.linalg.norm(h[one] - h[two])), int(one), int(two))
        for one, two in combinations(branches, 2)
        if abs(outside[one] - outside[two]) == 1
    )
    found: list[tuple[list[int], int]] = []
    taken: set[int] = set()
    for _, one, two in pairs:
        if not {one, two} & taken:
            taken |= {one, two}
            found.append((sorted([one, two], key=lambda branch: outside[branch]), FOLD))
    return found + [([int(branch)], CANNOT_TELL) for branch in branches if branch not in taken]


def _fold_place(branch: int, k: int, way: int, eigenvalues: np.ndarray, exists: np.ndarray,
                checkpoint: np.ndarray) -> tuple[float, int]:  # fmt: skip
    near, far = (k + 1, k + 2) if way == BORN else (k, k - 1)
    if 0 <= far < len(checkpoint) and exists[branch, far]:
        x_near, x_far = (np.abs(eigenvalues[branch, at] - 1).min() ** 2 for at in (near, far))
        if x_far > x_near:
            place = checkpoint[near] - x_near * (checkpoint[far] - checkpoint[near]) / (x_far - x_near)
            if checkpoint[k] <= place <= checkpoint[k + 1]:
                return float(place), SQUARE_ROOT
    return float(checkpoint[k] + checkpoint[k + 1]) / 2, MIDPOINT


def _unknown(hidden: int) -> Refined:
    nothing = np.full(hidden, np.nan)
    return Refined(TYPES[CANNOT_TELL], np.nan, nothing, nothing.astype(complex), np.nan, np.nan)


class _LostError(Exception):
    """Newton found no point on the branch."""


def _refine_crossing(step: Step, parameters_at: Callable[[Any], Any], low: float, high: float, ends: np.ndarray,
                     event: xr.Dataset) -> Refined:  # fmt: skip
    critical = int(min(event["unstable_low"], event["unstable_high"]))
    solved = {low: ends[0], high: ends[1]}

    def at(s: float) -> Any:
        import jax

        left, right = max(x for x in solved if x <= s), min(x for x in solved if x >= s)
        part = (s - left) / (right - left) if right > left else 0.0
        start = (1 - part) * solved[left] + part * solved[right]
        with jax.enable_x64(True):
            own = jax.tree.map(lambda value: np.asarray(value, float)[None], parameters_at(s))
        (points,) = find_fixed_points_of_maps(step, own, start[None, None])
        if len(points) == 0:
            raise _LostError
        solved[s] = points.h[0]
        return points

    def excess(s: float) -> float:
        return float(abs(at(s).eigenvalues[0, critical]) - 1)

    try:
        place = scipy.optimize.brentq(excess, low, high, xtol=PATH_TOLERANCE * (high - low))
        points = at(place)
    except (_LostError, ValueError):  # ValueError: the ends have the same sign
        return _unknown(ends.shape[-1])
    crossing = points.eigenvalues[0, critical]
    if abs(crossing.imag) > REAL:
        kind = NEIMARK_SACKER
    else:
        kind = FLIP if crossing.real < 0 else int(event["type"]) if int(event["type"]) == PITCHFORK else CANNOT_TELL
    angle = float(abs(np.angle(crossing)))
    return Refined(TYPES[kind], place, points.h[0], points.eigenvalues[0], angle, float(points.residual[0]))


@dataclass(frozen=True)
class _FoldSystem:
    """The extended system of Moore and Spence as a map whose fixed points (h, v, s) are folds; s from 0 to 1."""

    step: Step
    parameters_at: Callable[[Any], Any]

    def __call__(self, parameters: Any, x: Any) -> Any:
        import jax
        import jax.numpy as jnp

        direction, low, high = parameters
        hidden = direction.shape[0]
        h, v, s = x[:hidden], x[hidden:-1], x[-1]
        own = self.parameters_at(low + s * (high - low))
        image, along = jax.jvp(lambda h: self.step(own, h), (h,), (v,))
        return x + jnp.concatenate([image - h, along - v, (direction @ v - 1)[None]])


def _refine_fold(step: Step, parameters_at: Callable[[Any], Any], low: float, high: float, two: np.ndarray,
                 place: float) -> Refined:  # fmt: skip
    middle, direction = two.mean(axis=0), two[1] - two[0]
    direction = direction / np.linalg.norm(direction)
    hidden = len(middle)
    parts = np.array([(place - low) / (high - low), 0.0, 0.25, 0.5, 0.75, 1.0])
    starts = np.stack([np.concatenate([middle, direction, [part]]) for part in parts])
    parameters = (direction[None], np.array([low]), np.array([high]))
    (folds,) = find_fixed_points_of_maps(_FoldSystem(step, parameters_at), parameters, starts[None])
    inside = folds.select((folds.h[:, -1] >= 0) & (folds.h[:, -1] <= 1))
    if len(inside) == 0:
        return _unknown(hidden)
    nearest = np.linalg.norm(inside.h[:, :hidden] - middle, axis=-1).argmin()
    h, s = inside.h[nearest, :hidden], low + inside.h[nearest, -1] * (high - low)
    import jax

    with jax.enable_x64(True):
        own = jax.tree.map(lambda value: np.asarray(value, float), parameters_at(s))
        jacobian = np.asarray(jax.jacfwd(lambda h: step(own, h))(h))
        residual = float(np.linalg.norm(np.asarray(step(own, h)) - h))
    return Refined(TYPES[FOLD], float(s), h, sorted_eigenvalues(jacobian), 0.0, residual)
