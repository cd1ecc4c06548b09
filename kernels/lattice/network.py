"""The network that a set of rings makes: neurons, the edges between them and their weights.

Owns the graph and its checks; where the rings of a lattice share neurons is in ``tilings``.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from isophase.kernels.lattice.tilings import (
    BLOCK,
    COMBINES,
    MAX_INT32,
    SIDES,
    check_scheme,
    lattice_rings,
    ring_neighbours,
)

Edges = tuple[np.ndarray, np.ndarray, np.ndarray | float]  # source, target, weight [edge]; or one weight for all


@dataclass(frozen=True, slots=True, eq=False)
class Network:
    """Rings of neurons and the graph they make, as compressed rows by source neuron (CSR). Arrays are read-only.

    rings : int32 [ring, slot], the neurons of each ring in the order of travel; -1 pads rings shorter than the longest.
    indptr, successors, weights : neuron ``i`` drives ``successors[indptr[i]:indptr[i + 1]]`` (int32, increasing) with
        ``weights`` (float64) of the same positions; ``indptr`` is int64 [n_neurons + 1].
    shape : rows and columns of the rings; ring ``row * cols + col`` sits at (row, col).

    Build one with :meth:`from_rings`, :meth:`lattice` or :meth:`small_world`.
    """

    rings: np.ndarray
    indptr: np.ndarray
    successors: np.ndarray
    weights: np.ndarray
    shape: tuple[int, int]

    @classmethod
    def from_rings(
        cls, rings: np.ndarray, weights: str = "sum", shape: tuple[int, int] | None = None, extra: Edges | None = None
    ) -> "Network":
        """Network of the given rings: neuron ``rings[r, k - 1]`` drives ``rings[r, k]``, and the last slot slot 0.

        An edge that several rings have counts once.

        Parameters
        ----------
        rings : integers [ring, slot], >= 2 neurons in each ring, numbered 0 to n - 1 without gaps; rings shorter than
            the longest are padded with -1 at their end.
        weights : ``sum``: every ring edge has weight 1; ``mean``: the weights into a neuron are divided by their sum,
            so a neuron without extra edges has 1/in-degree on each.
        shape : (rows, cols) of the rings; None is (1, n_rings).
        extra : further edges (source [edge], target [edge], weight [edge] or one for all, finite and >= 0). One that
            repeats a ring edge or another extra edge is refused: its weight would be ambiguous.

        Raises
        ------
        ValueError : anything else than the above, by name, value and what is allowed.
        """
        if weights not in COMBINES:
            raise ValueError(f"weights={weights!r}: must be one of {', '.join(COMBINES)}")
        checked = _check_rings(rings)
        if shape is None:
            shape = (1, len(checked))
        elif (
            len(shape) != 2
            or not all(side >= 1 and side == int(side) for side in shape)
            or np.prod(shape) != len(checked)
        ):
            raise ValueError(f"shape={tuple(shape)}: must be (rows, cols) with rows * cols = {len(checked)} rings")
        if extra is not None:
            _check_edges(extra, int(checked.max()) + 1)
        return cls._assemble(checked, weights, (int(shape[0]), int(shape[1])), extra)

    @classmethod
    def lattice(
        cls,
        tiling: str = "square",
        *,
        rows: int,
        cols: int,
        sharing: str = "side",
        shared: int = 1,
        private: int = 1,
        orientation: str = "co",
        combine: str = "sum",
        boundary: str = "periodic",
        coupling: float = 0.1,
    ) -> "Network":
        """Lattice of rings that are the tiles of a tiling and share neurons; ring size ``sides * (shared + private)``.

        Source: DelMastro et al., arXiv 2506.07253.

        Parameters
        ----------
        tiling : ``chain`` (2 sides, ``rows=1``), ``triangular`` (3), ``square`` (4) or ``hexagonal`` (6, axial rows).
        rows, cols : rings along each side of the lattice.
        sharing : ``side``: adjacent rings share ``shared`` neurons on their common side; ``corner``: every ring that
            meets at a corner shares the one neuron there (on a chain: as ``side``); ``none``: uncoupled;
            ``weak``: nothing is shared, and slot 0 of a ring drives slot 1 of each neighbour with weight ``coupling``.
        shared, private : neurons per side; see :func:`isophase.kernels.lattice.tilings.lattice_rings` for their order.
        orientation : ``co``: every ring turns the same way; ``counter``: neighbours turn in opposite ways.
        combine : ``sum`` or ``mean``, as ``weights`` of :meth:`from_rings`.
        boundary : ``periodic`` or ``open``.
        coupling : weight of the edges of ``weak``; no other sharing uses it.

        Raises
        ------
        ValueError : a combination that does not exist, with the reason and what is allowed (``check_scheme``).
        """
        check_scheme(
            tiling, rows=rows, cols=cols, sharing=sharing, shared=shared, private=private, orientation=orientation,
            combine=combine, boundary=boundary, coupling=coupling,
        )  # fmt: skip
        rows, cols, shared, private = int(rows), int(cols), int(shared), int(private)
        rings = lattice_rings(
            tiling, rows=rows, cols=cols, sharing=sharing, shared=shared, private=private, orientation=orientation,
            boundary=boundary,
        )  # fmt: skip
        weak = None
        if sharing == "weak":
            starts = np.arange(rows * cols) * SIDES[tiling] * (shared + private)
            weak = _weak_edges(ring_neighbours(tiling, rows, cols, boundary), starts, coupling)
        return cls._assemble(rings, combine, (rows, cols), weak)

    @classmethod
    def small_world(
        cls,
        ring_sizes: Sequence[int] | np.ndarray,
        neighbours: int,
        rewire: float,
        coupling: float,
        seed: int | np.random.SeedSequence,
        combine: str = "sum",
    ) -> "Network":
        """Rings that share nothing, weakly coupled along the edges of a small world.

        Ring ``a`` is joined to its ``neighbours`` nearest rings ``a +- 1, a +- 2, ...`` round a circle; each of these
        edges moves its far end with probability ``rewire`` to a ring drawn at random, never ``a`` itself nor one that
        ``a`` is joined to already. Along every edge slot 0 of either ring drives slot 1 of the other with weight
        ``coupling``. Source: Watts and Strogatz, Nature 393, 440 (1998).

        Parameters
        ----------
        ring_sizes : neurons of each ring [ring], >= 2; sizes may differ. Their number is the number of rings.
        neighbours : even, at least 2 and less than the number of rings.
        rewire : probability, 0 (regular) to 1 (random).
        coupling : finite, >= 0.
        combine : ``sum`` or ``mean``, as ``weights`` of :meth:`from_rings`.

        Raises
        ------
        ValueError : an argument that is not as above, by name, value and what is allowed.
        """
        sizes = np.asarray(ring_sizes)
        if sizes.ndim != 1 or sizes.dtype.kind not in "iu" or sizes.size == 0 or sizes.min() < 2:
            raise ValueError(f"ring_sizes={ring_sizes!r}: must be whole numbers >= 2, one for each ring")
        n_rings, n_neurons = len(sizes), int(sizes.sum(dtype=np.int64))
        if n_neurons > MAX_INT32:
            raise ValueError(f"ring_sizes: {n_neurons} neurons, must be at most {MAX_INT32} (int32)")
        _check_small_world(n_rings, neighbours, rewire)
        if not (np.isfinite(coupling) and coupling >= 0):
            raise ValueError(f"coupling={coupling}: must be finite and >= 0")
        if combine not in COMBINES:
            raise ValueError(f"combine={combine!r}: must be one of {', '.join(COMBINES)}")
        starts = np.cumsum(sizes, dtype=np.int64) - sizes
        slot = np.arange(sizes.max())
        rings = np.where(slot < sizes[:, None], starts[:, None] + slot, -1).astype(np.int32)
        pairs = _watts_strogatz(n_rings, int(neighbours), rewire, np.random.default_rng(seed))
        return cls._assemble(rings, combine, (1, n_rings), _weak_edges(pairs, starts, coupling))

    @classmethod
    def _assemble(cls, rings: np.ndarray, combine: str, shape: tuple[int, int], extra: Edges | None) -> "Network":
        n = int(rings.max()) + 1
        # One number per edge, source * n + target: sorting them is sorting by source and then by target.
        edges = _ring_edges(rings, n)
        edges.sort()
        first = np.ones(len(edges), bool)
        np.not_equal(edges[1:], edges[:-1], out=first[1:])
        if not first.all():
            edges = edges[first]
        weights = None
        if extra is not None:
            weights = np.ones(len(edges))
            source, target, weight = extra
            edges = np.concatenate([edges, np.asarray(source, np.int64) * n + target])
            order = np.argsort(edges, kind="stable")
            edges, weights = edges[order], np.concatenate([weights, np.broadcast_to(weight, len(source))])[order]
            if (repeated := edges[1:][edges[1:] == edges[:-1]]).size:
                raise ValueError(f"extra: the edge {repeated[0] // n} -> {repeated[0] % n} exists already, must be new")
        # In place, and the weights last: what is taken meanwhile adds to the peak of memory of a large lattice.
        successors = np.empty(len(edges), np.int32)
        np.remainder(edges, n, out=successors, casting="unsafe")
        edges //= n
        edges += 1
        indptr = np.bincount(edges, minlength=n + 1)
        np.cumsum(indptr, out=indptr)
        del edges, first
        if weights is None:
            weights = np.ones(len(successors))
        if combine == "mean":
            weights /= sum_by_target(successors, weights, n)[successors]
        for array in (rings, indptr, successors, weights):
            array.flags.writeable = False
        return cls(rings, indptr, successors, weights, shape)

    @property
    def n_neurons(self) -> int:
        return len(self.indptr) - 1

    @property
    def n_rings(self) -> int:
        return len(self.rings)

    @property
    def ring_sizes(self) -> np.ndarray:
        """Neurons of each ring, int64 [ring]."""
        return np.count_nonzero(self.rings >= 0, axis=1)

    @property
    def in_degree(self) -> np.ndarray:
        """Predecessors of each neuron, int64 [neuron]."""
        return np.bincount(self.successors, minlength=self.n_neurons)

    @property
    def resting_input(self) -> np.ndarray:
        """Input of each neuron while all its predecessors rest, the sum of the weights into it, float64 [neuron]."""
        return sum_by_target(self.successors, self.weights, self.n_neurons)


def small_world_neighbours(
    n_rings: int, neighbours: int, rewire: float, seed: int | np.random.SeedSequence
) -> np.ndarray:
    """Rings that each ring of :meth:`Network.small_world` is joined to, int32 [ring, neighbour], increasing.

    Of the same number of rings, ``neighbours``, ``rewire`` and ``seed`` it is the graph of that network, whatever its
    ring sizes and coupling. Rings are joined to different numbers of others: -1 pads the shorter rows at their end.
    Raises ValueError as :meth:`Network.small_world` does.
    """
    _check_small_world(n_rings, neighbours, rewire)
    pairs = _watts_strogatz(n_rings, int(neighbours), rewire, np.random.default_rng(seed))
    ends = np.concatenate([pairs, pairs[:, ::-1]])
    ring, other = ends[np.lexsort((ends[:, 1], ends[:, 0]))].T
    degree = np.bincount(ring, minlength=n_rings)
    joined = np.full((n_rings, degree.max()), -1, np.int32)
    joined[np.arange(joined.shape[1]) < degree[:, None]] = other
    return joined


def _check_small_world(n_rings: int, neighbours: int, rewire: float) -> None:
    if neighbours % 2 or not 2 <= neighbours < n_rings:
        raise ValueError(f"neighbours={neighbours}: must be even, >= 2 and less than the {n_rings} rings")
    if not 0 <= rewire <= 1:
        raise ValueError(f"rewire={rewire}: must be a probability, 0 to 1")


def sum_by_target(successors: np.ndarray, values: np.ndarray, n: int) -> np.ndarray:
    """Sum of the values of the edges into each of ``n`` neurons, in the order of the edges, float64 [neuron].

    As ``np.bincount``, which would copy all ``successors`` to int64.
    """
    total = np.zeros(n)
    for start in range(0, len(successors), BLOCK):
        np.add.at(total, successors[start : start + BLOCK], values[start : start + BLOCK])
    return total


def _ring_edges(rings: np.ndarray, n: int) -> np.ndarray:
    """source * n + target of every edge of every ring, int64, in no particular order and with repetitions."""
    last = np.count_nonzero(rings >= 0, axis=1) - 1
    keys = np.empty(rings.shape, np.int64)
    keys[:, 1:] = rings[:, :-1]
    keys[:, 0] = np.take_along_axis(rings, last[:, None], axis=1)[:, 0]
    keys *= n
    keys += rings
    return keys.ravel() if last.min() == rings.shape[1] - 1 else keys[rings >= 0]


def _weak_edges(pairs: np.ndarray, starts: np.ndarray, coupling: float) -> Edges:
    """Slot 0 of either ring of a pair drives slot 1 of the other; ``starts`` are the neurons in slot 0 [ring]."""
    one, other = starts[pairs].T
    return np.concatenate([one, other]), np.concatenate([other, one]) + 1, coupling


def _watts_strogatz(n: int, neighbours: int, rewire: float, rng: np.random.Generator) -> np.ndarray:
    """Edges of a small world of ``n`` nodes, int64 [edge, 2]."""
    near = np.tile(np.arange(n), neighbours // 2)
    far = (near + np.repeat(np.arange(1, neighbours // 2 + 1), n)) % n
    moving = np.flatnonzero(rng.random(len(near)) < rewire)
    # A move depends on the edges that the moves before it left, so they go one by one.
    joined = set((np.minimum(near, far) * n + np.maximum(near, far)).tolist())
    degree = np.bincount(np.concatenate([near, far]), minlength=n).tolist()
    for edge in moving.tolist():
        a, b = int(near[edge]), int(far[edge])
        if degree[a] == n - 1:
            continue
        while True:
            c = int(rng.integers(n))
            key = min(a, c) * n + max(a, c)
            if c != a and key not in joined:
                break
        joined.remove(min(a, b) * n + max(a, b))
        joined.add(key)
        degree[b] -= 1
        degree[c] += 1
        far[edge] = c
    return np.stack([near, far], axis=1)


def _check_rings(rings: np.ndarray) -> np.ndarray:
    """``rings`` as a new int32 array; ValueError where it is not a set of rings."""
    try:
        array = np.asarray(rings)
    except ValueError:
        raise ValueError("rings: must be equally long, pad the shorter ones with -1 at the end") from None
    if array.dtype.kind not in "iu":
        raise ValueError(f"rings: must hold integers, got {array.dtype}")
    if array.ndim != 2 or array.size == 0:
        raise ValueError(f"rings: must have shape (rings, slots) with at least one ring, got {array.shape}")
    top = int(array.max())
    if top >= MAX_INT32:
        raise ValueError(f"rings: neuron {top}, must be below {MAX_INT32} (int32)")
    real = array >= 0
    if (array < -1).any():
        raise ValueError(f"rings: neuron {array.min()}, must be >= 0, or -1 at the end of a short ring")
    if (gap := (real[:, 1:] > real[:, :-1]).any(axis=1)).any():
        raise ValueError(f"rings: -1 inside ring {gap.argmax()}, must only pad its end")
    sizes = np.count_nonzero(real, axis=1)
    if (short := sizes < 2).any():
        raise ValueError(f"rings: ring {short.argmax()} has {sizes[short.argmax()]} neurons, must have at least 2")
    ordered = np.sort(array, axis=1)
    if (twice := ((ordered[:, 1:] == ordered[:, :-1]) & (ordered[:, 1:] >= 0)).any(axis=1)).any():
        raise ValueError(f"rings: ring {twice.argmax()} visits a neuron twice, must visit each once")
    # Among the numbers up to that of all slots one is missing if the highest neuron lies above it.
    present = np.zeros(min(top, array.size) + 1, bool)
    present[array[real & (array < len(present))]] = True
    if not present.all():
        raise ValueError(f"rings: neuron {present.argmin()} is missing, neurons must be numbered 0 to n - 1")
    return array.astype(np.int32, order="C")


def _check_edges(extra: Edges, n: int) -> None:
    source, target, weight = extra
    for name, ends in (("sources", np.asarray(source)), ("targets", np.asarray(target))):
        if ends.ndim != 1 or ends.dtype.kind not in "iu" or len(ends) != len(source):
            raise ValueError(
                f"extra: {name} must be as many integers as there are edges, got {ends.dtype} {ends.shape}"
            )
        if ends.size and not (ends.min() >= 0 and ends.max() < n):
            raise ValueError(f"extra: {name} {ends.min()} to {ends.max()}, must lie in 0 to {n - 1}")
    weights = np.asarray(weight, np.float64)
    if weights.shape not in ((), (len(source),)) or not (np.isfinite(weights) & (weights >= 0)).all():
        raise ValueError(f"extra: weight={weight}, must be finite and >= 0, one for all edges or one for each")
