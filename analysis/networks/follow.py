"""Everybody's networks: fixed points, their bifurcations and slow points through the checkpoints of any step.

Owns the checks of what a user hands over, continuous time, and the test for completeness; the searches are those of
``fixed_points``, ``bifurcations`` and ``slow_points``. What is shown of the result is the matter of ``followed``.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from isophase.analysis.networks.bifurcations import TYPES, find_bifurcations
from isophase.analysis.networks.fixed_points import (
    BESIDE,
    EPSILON,
    ERRORS,
    NEAR,
    continue_fixed_points,
    double_precision,
    images,
    jacobians,
)
from isophase.analysis.networks.slow_points import find_slow_points
from isophase.analysis.statistics import flags

Cell = Callable[[Any, Any, Any], Any]  # (parameters, h [hidden], u) -> h' [hidden], or dh/dt
COMPLETE, INCOMPLETE, NOT_KNOWN = "complete", "incomplete", "not known"
OWN = "own"
PAIRS = 128  # of points, between which more are looked for at a checkpoint
FAR = 1e4  # times the largest eigenvalue of a flow: where it goes to infinity in the plane of multipliers
CONTINUOUS_TYPES = tuple("hopf" if kind == "neimark_sacker" else kind for kind in TYPES)
OF_FLOW = {
    "h": {"long_name": "fixed point", "units": "1"},
    "residual": {"long_name": "Euclidean norm of dh/dt", "units": "1"},
    "eigenvalues": {"long_name": "eigenvalues of the Jacobian, largest real part first", "units": "1"},
    "stable": {"long_name": "every eigenvalue has a negative real part"},
    "marginal": {"long_name": "an eigenvalue cannot be told from the imaginary axis"},
}
ABSENT: dict[str, Any] = {"exists": False, "stable": False, "marginal": False}  # where an input has fewer branches


@dataclass(frozen=True)
class _UnderInput:
    """A cell as a map of its state alone, with the input among its parameters; equal for the same cell, so that JAX
    compiles it once. Of a flow it is h + dh/dt, whose fixed points are those of the flow.

    ``width`` is the half-width of a cube that the cell takes into itself; ``OWN``: the cell knows a box; None: not
    known. A map sees of a state its nearest point in there, which leaves the fixed points there are in there, and no
    others: far outside, a gated cell stands still to rounding.
    """

    cell: Cell
    continuous: bool
    width: float | str | None

    def __call__(self, parameters: Any, h: Any) -> Any:
        import jax.numpy as jnp

        own, u = parameters
        if self.continuous:
            return h + self.cell(own, h, u)
        if self.width is not None:
            box = self.box(own, u)
            h = jnp.clip(h, -box, box)
        return self.cell(own, h, u)

    def box(self, own: Any, u: Any) -> Any:
        """Half-widths, [hidden] or of all."""
        return self.cell.box(own, u) if self.width == OWN else self.width  # type: ignore[attr-defined]


@dataclass(frozen=True)
class Networks:
    """What is followed, checked: ``parameters`` and inputs with leading axes [input, checkpoint], ``starts``
    [input, checkpoint, n, hidden], ``names`` of the inputs (None: one input, which was not named)."""

    step: _UnderInput
    parameters: Any
    starts: np.ndarray
    checkpoint: np.ndarray
    names: tuple[str, ...] | None
    tol: float

    def under(self, number: int) -> str:
        return "" if self.names is None else f" under input {self.names[number]!r}"


def networks(
    step: Cell,
    checkpoints: Any,
    starts: Any,
    inputs: Mapping[str, Any] | None,
    checkpoint: Any,
    bounded: bool | float | None,
    continuous: bool,
    tol: float,
) -> Networks:
    """The arguments of :func:`isophase.follow`, checked. Raises ValueError, TypeError in one line each."""
    if not callable(step):
        raise TypeError(f"step={step!r}: must be a function (parameters, h, u) -> h', or isophase.torch_cell(...)")
    try:
        hash(step)
    except TypeError:
        raise TypeError(f"step={step!r}: must be hashable, as functions are, so that JAX compiles it once") from None
    if not (isinstance(tol, int | float) and 0 < tol < np.inf):
        raise ValueError(f"tol={tol!r}: must be finite and > 0")
    if continuous and hasattr(step, "parameters_of"):
        raise ValueError(f"continuous=True: {step!r} is a map, in discrete time")
    stacked, number = _stacked(step, checkpoints)
    at = np.arange(float(number)) if checkpoint is None else np.asarray(checkpoint, float)
    if at.shape != (number,) or not np.isfinite(at).all() or not (np.diff(at) > 0).all():
        raise ValueError(f"checkpoint={np.asarray(checkpoint)}: must be {number} finite numbers that increase")
    x = _starts(starts, number)
    names, u = _inputs(inputs)
    if hasattr(step, "sizes"):
        width, n_inputs = step.sizes(_pick(stacked, 0))
        if x.shape[-1] != width:
            raise ValueError(f"starts: their last axis has {x.shape[-1]} states; must be {width}, as the network has")
        if inputs is None:
            u = np.zeros((1, n_inputs))
        elif u.shape[1:] != (n_inputs,):
            raise ValueError(f"inputs: have shape {u.shape[1:]}; must be ({n_inputs},), as the network takes")
    own, n_paths = _UnderInput(step, bool(continuous), _width(step, bounded)), len(u)
    parameters = (
        _map(lambda part: np.broadcast_to(part, (n_paths, *part.shape)), stacked),
        np.broadcast_to(u[:, None], (n_paths, number, *u.shape[1:])),
    )
    found = Networks(own, parameters, np.broadcast_to(x, (n_paths, *x.shape)), at, names, float(tol))
    _check_step(found, inputs is None)
    _check_bounded(found)
    return found


def follow_networks(given: Networks) -> tuple[xr.Dataset, xr.Dataset, xr.Dataset, xr.DataArray]:
    """Branches, events, slow points and completeness; see :class:`isophase.networks.Followed`."""
    branches, complete = _branches(given, range(len(given.starts)), given.starts)
    missing = [path for path, verdict in enumerate(complete) if (verdict == INCOMPLETE).any()]
    between = {path: _between(branches[path], complete[path], given.starts[path]) for path in missing}
    again = [path for path in missing if between[path].shape[1] > given.starts.shape[2]]
    if again:
        most = max(between[path].shape[1] for path in again)
        starts = np.stack([between[path][:, np.arange(most) % between[path].shape[1]] for path in again])
        for path, of_path, verdict in zip(again, *_branches(given, again, starts), strict=True):
            branches[path], complete[path] = of_path, verdict
    events = [_events(path, given.step.continuous) for path in branches]
    slow = _slow_points(given, branches)
    if given.names is None:
        return branches[0], events[0], slow, complete[0]
    name = xr.DataArray(list(given.names), dims="input", attrs={"long_name": "input"})
    most = np.arange(max(path.sizes["branch"] for path in branches))
    every = [path.reindex(branch=most, fill_value=_absent(path)) for path in branches]
    marked = [
        path.assign_coords(input=("event", np.full(path.sizes["event"], given.names[number], name.dtype)))
        for number, path in enumerate(events)
    ]
    joined = xr.concat(every, "input").assign_coords(input=name)
    return joined, xr.concat(marked, "event"), slow, xr.concat(complete, "input").assign_coords(input=name)


def _branches(given: Networks, paths: Sequence[int], starts: np.ndarray) -> tuple[list[xr.Dataset], list[xr.DataArray]]:
    """Branches under some of the inputs, from starts [path, checkpoint, n, hidden], and whether they are complete."""
    branches, complete = [], []
    own = _map(lambda part: part[list(paths)], given.parameters)
    found = continue_fixed_points(given.step, own, starts, given.checkpoint, given.tol)
    for number, of_path in zip(paths, found, strict=True):
        path = _of_flow(given, number, of_path) if given.step.continuous else of_path
        sums, verdict = _completeness(path, given)
        branches.append(path.assign(index_sum=sums))
        complete.append(verdict)
    return branches, complete


def _between(branches: xr.Dataset, complete: xr.DataArray, starts: np.ndarray) -> np.ndarray:
    """Starts [checkpoint, start, hidden] with more of them where points are missing: halfway between any two points
    that were found. The nearest pairs come first; elsewhere starts are repeated."""
    more = []
    for k in range(len(starts)):
        h = branches["h"].values[branches["exists"].values[:, k], k]
        one, two = np.triu_indices(len(h), 1)
        nearest = np.argsort(np.linalg.norm(h[one] - h[two], axis=-1), kind="stable")[:PAIRS]
        here = (h[one] + h[two])[nearest] / 2
        more.append(here if complete.values[k] == INCOMPLETE else here[:0])
    most = max(map(len, more))
    padded = [np.concatenate([x, *[of[:1]] * (most - len(x))]) for x, of in zip(more, starts, strict=True)]
    return np.concatenate([starts, np.stack(padded)], axis=1)


def _absent(path: xr.Dataset) -> dict[Any, Any]:
    return {name: ABSENT.get(str(name), np.nan) for name in path.data_vars if "branch" in path[name].dims}


# Checks.


def _map(function: Callable[[Any], Any], tree: Any) -> Any:
    import jax

    return jax.tree.map(function, tree)


def _pick(stacked: Any, k: int) -> Any:
    return _map(lambda part: part[k], stacked)


def _stacked(step: Cell, checkpoints: Any) -> tuple[Any, int]:
    """Parameters with a leading checkpoint axis, in double precision, and the number of checkpoints."""
    import jax

    of_torch = getattr(step, "parameters_of", None)
    if of_torch is not None and isinstance(checkpoints, Mapping):
        parts = {name: np.asarray(value) for name, value in checkpoints.items()}
        number = _leading({f"[{name!r}]": value for name, value in parts.items()})
        checkpoints = [{name: value[k] for name, value in parts.items()} for k in range(number)]
    if not isinstance(checkpoints, list) and not (of_torch is not None and isinstance(checkpoints, tuple)):
        leaves = {
            jax.tree_util.keystr(path): _number(f"checkpoints{jax.tree_util.keystr(path)}", leaf)
            for path, leaf in jax.tree_util.tree_flatten_with_path(checkpoints)[0]
        }
        number = _leading(leaves)
        for name, leaf in leaves.items():
            if leaf.dtype.kind == "f" and not (good := np.isfinite(leaf).reshape(number, -1).all(axis=1)).all():
                raise ValueError(f"checkpoints{name}: is not finite at checkpoint {int(good.argmin())}")
        return jax.tree.unflatten(jax.tree.structure(checkpoints), list(leaves.values())), number
    if not checkpoints:
        raise ValueError("checkpoints=[]: must be one checkpoint at least")
    every = [_one(k, tree, of_torch) for k, tree in enumerate(checkpoints)]
    for k, tree in enumerate(every):
        _check_alike(k, tree, every[0])
    return jax.tree.map(lambda *parts: np.stack(parts), *every), len(every)


def _one(k: int, tree: Any, of_torch: Callable[[Any], Any] | None) -> Any:
    """The parameters of checkpoint ``k``, as arrays that are finite."""
    import jax

    where = f"checkpoints[{k}]"
    if of_torch is not None:
        try:
            tree = of_torch(tree)
        except ValueError as error:
            raise ValueError(f"{where}: {error}") from None
    paths, structure = jax.tree_util.tree_flatten_with_path(tree)
    leaves = []
    for path, leaf in paths:
        name = f"{where}{jax.tree_util.keystr(path)}"
        leaves.append(_number(name, leaf))
        if not np.isfinite(leaves[-1]).all():
            raise ValueError(f"{name}: has values that are not finite")
    if not leaves:
        raise ValueError(f"{where}: has no parameters")
    return jax.tree.unflatten(structure, leaves)


def _check_alike(k: int, tree: Any, first: Any) -> None:
    import jax

    structures: list[Any] = [jax.tree.structure(one) for one in (tree, first)]
    if structures[0] != structures[1]:
        raise ValueError(
            f"checkpoints[{k}]: has another structure than checkpoints[0]: {_names(tree)}, not {_names(first)}"
        )
    for (path, leaf), other in zip(jax.tree_util.tree_flatten_with_path(tree)[0], jax.tree.leaves(first), strict=True):
        if leaf.shape != other.shape:
            name = jax.tree_util.keystr(path)
            raise ValueError(
                f"checkpoints[{k}]{name}: has shape {leaf.shape}; must be {other.shape}, as of checkpoints[0]"
            )


def _names(tree: Any) -> str:
    import jax

    return ", ".join(
        jax.tree_util.keystr(path) or "one array" for path, _ in jax.tree_util.tree_flatten_with_path(tree)[0]
    )


def _number(name: str, leaf: Any) -> np.ndarray:
    """A leaf as an array: floating ones in double precision, integers as they are."""
    try:
        array = np.asarray(leaf)
        if array.dtype.kind in "biu":
            return array
        if array.dtype.kind == "c":
            raise TypeError("it is complex")
        return array.astype(float)
    except (TypeError, ValueError, RuntimeError) as error:
        line = (str(error).splitlines() or [type(error).__name__])[0]
        raise ValueError(f"{name}: is a {type(leaf).__name__}; must be an array of real numbers: {line}") from None


def _leading(leaves: Mapping[str, np.ndarray]) -> int:
    """Length of the leading axis that all leaves share."""
    if not leaves:
        raise ValueError("checkpoints: has no parameters")
    first, of_first = next(iter(leaves.items()))
    for name, leaf in leaves.items():
        if leaf.ndim == 0:
            raise ValueError(f"checkpoints{name}: is a single number; must have a leading checkpoint axis")
        if not len(leaf):
            raise ValueError(f"checkpoints{name}: has shape {leaf.shape}; must have one checkpoint at least")
        if len(leaf) != len(of_first):
            raise ValueError(
                f"checkpoints{name}: has {len(leaf)} checkpoints along its leading axis; must be {len(of_first)}, "
                f"as checkpoints{first}"
            )
    return len(of_first)


def _starts(starts: Any, number: int) -> np.ndarray:
    """[checkpoint, n, hidden]."""
    x = _number("starts", starts)
    if x.ndim == 2:
        x = np.broadcast_to(x, (number, *x.shape))
    if x.ndim != 3 or 0 in x.shape or len(x) != number:
        raise ValueError(
            f"starts: has shape {np.shape(starts)}; must be [n, hidden], or [{number} checkpoints, n, hidden]"
        )
    if not np.isfinite(x).all():
        raise ValueError("starts: has values that are not finite")
    return np.asarray(x, float)


def _inputs(inputs: Mapping[str, Any] | None) -> tuple[tuple[str, ...] | None, np.ndarray]:
    """Names, and values [input, ...]; the input zero has no name."""
    if inputs is None:
        return None, np.zeros(1)
    if not isinstance(inputs, Mapping) or not inputs:
        raise ValueError(f"inputs={inputs!r}: must be a dict of one input or more, {{name: values}}")
    every = {str(name): _number(f"inputs[{name!r}]", values) for name, values in inputs.items()}
    first = next(iter(every))
    for name, values in every.items():
        if not np.isfinite(values).all():
            raise ValueError(f"inputs[{name!r}]: has values that are not finite")
        if values.shape != every[first].shape:
            shape = every[first].shape
            raise ValueError(f"inputs[{name!r}]: has shape {values.shape}; must be {shape}, as inputs[{first!r}]")
    return tuple(every), np.stack([np.asarray(values, float) for values in every.values()])


def _width(step: Cell, bounded: bool | float | None) -> float | str | None:
    if bounded is None:
        return OWN if getattr(step, "bounded", False) else None
    if not isinstance(bounded, bool | int | float | np.number) or not 0 <= bounded < np.inf:
        raise ValueError(f"bounded={bounded!r}: must be the half-width of a cube, True for 1, or False")
    return float(bounded) or None


def _check_bounded(given: Networks) -> None:
    """That the step takes the starts, brought into the cube, into the cube, or the flow points into it: there, with the
    largest of their states at its border."""
    if not isinstance(width := given.step.width, float):
        return
    x = np.clip(given.starts, -width, width)
    if given.step.continuous:
        largest = np.abs(x).argmax(axis=-1)[..., None]
        side = np.where(np.take_along_axis(x, largest, -1) < 0, -1.0, 1.0)
        np.put_along_axis(x, largest, width * side, -1)
        image = _images(given, x)
        reached = width + (np.take_along_axis(image - x, largest, -1) * side)[..., 0]
    else:
        image = _images(given, x)
        reached = np.abs(image).max(axis=-1)
    out = reached > width * (1 + ERRORS * EPSILON)
    if out.any():
        path, k, _ = np.argwhere(out)[0]
        what = "the flow points out of" if given.step.continuous else "the step leaves"
        raise ValueError(
            f"bounded={width:g}: {what} the cube from -{width:g} to {width:g} at checkpoint {given.checkpoint[k]:g}"
            f"{given.under(path)}; must be the half-width of one that it stays in, or False"
        )


def _check_step(given: Networks, without_inputs: bool) -> None:
    """That the step runs, keeps shape and precision, and is finite at some start of every network."""
    import jax

    h, (own, u) = given.starts[0, 0, 0], _pick(_pick(given.parameters, 0), 0)
    with jax.enable_x64(True):
        try:
            image = jax.eval_shape(given.step.cell, own, h, u)
        except Exception as error:
            line = (str(error).splitlines() or [""])[0]
            hint = (
                "; the input zero is the number 0.0: give inputs={name: values}"
                if without_inputs and not u.ndim
                else ""
            )
            raise ValueError(
                f"step(parameters, h, u): fails for h of shape {h.shape} and u of shape {u.shape}: "
                f"{type(error).__name__}: {line}{hint}"
            ) from error
        shape, kind = getattr(image, "shape", None), getattr(image, "dtype", None)
        if shape != h.shape:
            got = f"shape {shape}" if shape is not None else f"a {type(image).__name__}"
            raise ValueError(f"step(parameters, h, u): returns {got} for h of shape {h.shape}; must be the same shape")
        if kind != np.float64:
            raise ValueError(f"step(parameters, h, u): returns {kind} for h in float64; must keep double precision")
    finite = np.isfinite(_images(given, given.starts)).all(axis=-1).any(axis=-1)
    if not finite.all():
        path, k = np.argwhere(~finite)[0]
        raise ValueError(
            f"step(parameters, h, u): is not finite at any of the {given.starts.shape[2]} starts "
            f"at checkpoint {given.checkpoint[k]:g}{given.under(path)}"
        )


def _images(given: Networks, x: np.ndarray) -> np.ndarray:
    """Where the step leads from x [input, checkpoint, n, hidden]."""
    owner = np.repeat(np.arange(x.shape[0] * x.shape[1]), x.shape[2])
    with double_precision():
        return images(given.step, _of_maps(given), owner, x.reshape(-1, x.shape[-1])).reshape(x.shape)


def _of_maps(given: Networks) -> Any:
    """Parameters and inputs [input and checkpoint, ...]."""
    return _map(lambda part: part.reshape(-1, *part.shape[2:]), given.parameters)


# Continuous time.


def _of_flow(given: Networks, number: int, branches: xr.Dataset) -> xr.Dataset:
    """Branches of h + dh/dt as those of the flow: its eigenvalues are one less, and stable to the left of 0."""
    of_map, exists = branches["eigenvalues"].values - 1, branches["exists"].values
    order = np.lexsort((-of_map.imag, -of_map.real), axis=-1)
    eigenvalues = np.take_along_axis(of_map, order, axis=-1)
    marginal = np.zeros(exists.shape, bool)
    branch, k = np.nonzero(exists)
    own = _map(lambda part: part[number], given.parameters)
    marginal[branch, k] = _on_axis(given.step, own, k, branches["h"].values[branch, k], eigenvalues[branch, k])
    stable = exists & (eigenvalues.real < 0).all(axis=-1) & ~marginal
    dims = branches["exists"].dims
    single = exists & ~_on_continuum(branches)
    found = branches.assign(
        eigenvalues=(branches["eigenvalues"].dims, eigenvalues),
        stable=(dims, stable),
        marginal=(dims, marginal),
        number_stable=branches["number_stable"].copy(data=stable.sum(axis=0)),
        number_marginal=branches["number_marginal"].copy(data=(single & marginal).sum(axis=0)),
    )
    for name, attrs in OF_FLOW.items():
        found[name].attrs = attrs
    return found


def _on_continuum(branches: xr.Dataset) -> np.ndarray:
    """Whether a point [branch, checkpoint] may be of a continuum, none of which are in ``number``."""
    exists = branches["exists"].values
    none = exists.sum(axis=0) == branches["number"].values
    return exists & ~none & branches["marginal"].values


def _on_axis(step: _UnderInput, own: Any, k: np.ndarray, h: np.ndarray, eigenvalues: np.ndarray) -> np.ndarray:
    """Whether an eigenvalue of each point [point] cannot be told from the imaginary axis: i w I - J is singular to the
    error of J, as :class:`isophase.analysis.networks.fixed_points.FixedPoints` has it for the unit circle."""
    marginal = ~np.isfinite(eigenvalues).all(axis=-1)
    hidden = h.shape[-1]
    size = 1 + np.abs(np.nan_to_num(eigenvalues)).max(axis=-1, initial=0.0)
    rows = np.flatnonzero(~marginal & (np.abs(eigenvalues.real).min(axis=-1, initial=np.inf) <= NEAR * size))
    with double_precision():
        jacobian = jacobians(step, own, k[rows], h[rows])
        right = [np.linalg.svd(part - np.eye(hidden))[2][-1] for part in jacobian]
        ways = np.reshape(right, (-1, hidden)) * BESIDE * (1 + np.linalg.norm(h[rows], axis=-1, keepdims=True))
        beside = [jacobians(step, own, k[rows], h[rows] + side * ways) for side in (1, -1)]
        change = images(step, own, k[rows], h[rows]) - h[rows]
    bends = np.linalg.norm(np.subtract(beside, jacobian), axis=(-2, -1)).max(axis=0) / np.linalg.norm(ways, axis=-1)
    for row, of_map, bend, off in zip(rows, jacobian, bends, change, strict=True):
        of_flow = of_map - np.eye(hidden)
        relative = np.sqrt(hidden) * EPSILON * (1 + np.linalg.norm(of_flow, 2))
        off_root = np.linalg.norm(off) + relative * (1 + np.linalg.norm(h[row]))
        least = np.linalg.svd(of_flow, compute_uv=False)[-1]
        if least <= ERRORS * relative + np.sqrt(ERRORS * bend * off_root):
            marginal[row] = True
            continue
        near = eigenvalues[row][np.abs(eigenvalues[row].real) <= NEAR * size[row]]
        off_axis = [np.linalg.svd(1j * z.imag * np.eye(hidden) - of_flow, compute_uv=False)[-1] for z in near]
        marginal[row] = min(off_axis) <= ERRORS * (relative + bend * off_root / least)
    return marginal


def _events(branches: xr.Dataset, continuous: bool) -> xr.Dataset:
    """Bifurcations. The eigenvalues of a flow are taken to multipliers (a + z) / (a - z), with ``a`` real and far
    beyond them (Cayley): the imaginary axis becomes the unit circle, real ones near 0 go near 1; there is no flip."""
    if not continuous:
        return find_bifurcations(branches)
    z = branches["eigenvalues"]
    far = FAR * max(1e-300, float(np.abs(np.nan_to_num(z.values)).max(initial=0.0)))
    events = find_bifurcations(branches.assign(eigenvalues=(far + z) / (far - z)))
    rest = events.drop_vars(["resonance", "modulus_low", "modulus_high", "angle"])
    rest["type"].attrs |= flags(CONTINUOUS_TYPES)
    for end in ("low", "high"):
        rest[f"unstable_{end}"].attrs["long_name"] = (
            rest[f"unstable_{end}"].attrs["long_name"].replace("outside the unit circle", "with a positive real part")
        )
    about = {"long_name": "imaginary part of the crossing eigenvalue", "units": "rad"}
    return rest.assign(angular_frequency=("event", far * np.tan(events["angle"].values / 2), about))


# Completeness and slow points.


def _completeness(branches: xr.Dataset, given: Networks) -> tuple[xr.DataArray, xr.DataArray]:
    """Over checkpoints: the sum of the indices, NaN where one is not known, and the verdict.

    The index of an isolated fixed point is the sign of det(I - J), of a flow of det(-J). Over all fixed points of a map
    of a compact convex set into itself they add up to 1 (Lefschetz and Hopf; Granas and Dugundji, Fixed Point Theory
    (2003), chapter 12).
    """
    exists, z = branches["exists"].values, branches["eigenvalues"].values
    if given.step.continuous and isinstance(given.step.width, float):
        exists = exists & (np.abs(branches["h"].values) <= given.step.width).all(axis=-1)
    off = -z if given.step.continuous else 1 - z
    size = np.abs(off)
    with np.errstate(invalid="ignore", divide="ignore"):
        sign = np.where(exists, np.prod(off / size, axis=-1).real.round(), 0.0)
    doubtful = exists & (branches["marginal"].values & (size.min(axis=-1, initial=np.inf) <= NEAR) | ~np.isfinite(sign))
    sums = np.where(doubtful.any(axis=0) | (branches["dimension"].values > 0), np.nan, sign.sum(axis=0))
    verdict = np.where(sums == 1, COMPLETE, INCOMPLETE)
    verdict = np.where(np.isnan(sums) | (given.step.width is None), NOT_KNOWN, verdict)
    coords = {"checkpoint": branches["checkpoint"]}
    return (
        xr.DataArray(sums, coords, "checkpoint", attrs={"long_name": "sum of the fixed points' indices", "units": "1"}),
        xr.DataArray(verdict, coords, "checkpoint", name="complete",
                     attrs={"long_name": "the indices of the fixed points add up to 1, as they must"}),
    )  # fmt: skip


def _slow_points(given: Networks, branches: list[xr.Dataset]) -> xr.Dataset:
    """Slow points of all inputs and checkpoints, from the starts and from where a fixed point is next door."""
    n_paths, number, _, hidden = given.starts.shape
    maps = [[_beside(path, k, given.starts[p, k]) for k in range(number)] for p, path in enumerate(branches)]
    most = max(len(x) for of_path in maps for x in of_path)
    padded = np.array([[np.concatenate([x, np.repeat(x[:1], most - len(x), 0)]) for x in of_path] for of_path in maps])
    found = find_slow_points(given.step, _of_maps(given), padded.reshape(-1, most, hidden), given.tol)
    count = [len(points.h) for points in found]
    speed = np.concatenate([points.speed for points in found])
    unit = "per unit of time" if given.step.continuous else "per step"
    z = np.concatenate([points.eigenvalues for points in found]).reshape(-1, hidden)
    if given.step.continuous:
        z = z - 1
        z = np.take_along_axis(z, np.lexsort((-z.imag, -z.real), axis=-1), axis=-1)
    what = "dh/dt" if given.step.continuous else "F(h) - h"
    dataset = xr.Dataset(
        {
            "h": (("slow_point", "hidden"), np.concatenate([points.h for points in found]).reshape(-1, hidden),
                  {"long_name": "slow point", "units": "1"}),
            "speed": ("slow_point", speed, {"long_name": f"|{what}|, {unit}", "units": "1"}),
            "q": ("slow_point", speed**2 / 2, {"long_name": f"|{what}|^2 / 2, at a local minimum", "units": "1"}),
            "eigenvalues": (("slow_point", "hidden"), z, {"long_name": "eigenvalues of the Jacobian", "units": "1"}),
        },
        coords={
            "checkpoint": ("slow_point", np.repeat(np.tile(given.checkpoint, n_paths), count),
                           {"long_name": "checkpoint of the network"}),
        },
    )  # fmt: skip
    if given.names is not None:
        path = np.repeat(np.repeat(np.arange(n_paths), number), count)
        dataset = dataset.assign_coords(input=("slow_point", np.array(given.names)[path]))
    return dataset


def _beside(branches: xr.Dataset, k: int, starts: np.ndarray) -> np.ndarray:
    """The starts [n, hidden] and the fixed points of the checkpoints next to ``k`` that are not there at ``k``."""
    exists, h = branches["exists"].values, branches["h"].values
    near = [there for there in (k - 1, k + 1) if 0 <= there < exists.shape[1]]
    return np.concatenate([starts, *(h[exists[:, there] & ~exists[:, k], there] for there in near)])
