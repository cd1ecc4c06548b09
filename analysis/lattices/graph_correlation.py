"""Phase correlation of rings on a graph, C(d) = < cos(theta(s) - theta(r)) > over pairs of rings d hops apart.

For rings that lie in no plane, as those of a small world; on a tiling, displacements say more (``correlation``).
"""

import numpy as np
import scipy.sparse
import scipy.sparse.csgraph
import xarray as xr

from isophase.analysis.lattices.phase_field import CORE, check_phase, check_rings, slabs

HOPS_AT_ONCE = 2**22  # distances between rings that are found for one graph: all of them up to 2048 rings
LEAST_SOURCES = 16
NAMES = ("radial", "pairs_radial", "correlated_rings", "defined")


def graph_pairs(neighbours: np.ndarray) -> np.ndarray:
    """Pairs of joined rings, int64 [pair, 2], each once, from the neighbours of each [ring, neighbour], -1: none."""
    neighbours = np.asarray(neighbours)
    ring, place = np.nonzero(neighbours >= 0)
    ends = np.sort(np.stack([ring, neighbours[ring, place]], axis=1).astype(np.int64), axis=1)
    return np.unique(ends, axis=0).reshape(-1, 2)


def source_rings(n_rings: int) -> np.ndarray:
    """The rings from which hops are counted: all up to 2048 rings, else so many, evenly spaced, as 2^22 hops allow."""
    number = min(n_rings, max(LEAST_SOURCES, HOPS_AT_ONCE // n_rings))
    return np.arange(number) * n_rings // number


def graph_correlation(phase: xr.DataArray, pairs: np.ndarray) -> xr.Dataset:
    """Correlation of ``exp(i phase)`` between rings, as a function of the hops between them, for every map.

    Hops are those of the shortest way along the graph (breadth-first, from :func:`source_rings`); rings that no way
    joins are no pair. A pair counts where both of its rings are defined. On a chain, C is the real part of
    :func:`correlation.phase_correlation`: a graph has no direction that a wave could have.

    Parameters
    ----------
    phase : (..., row, col), radians, NaN where undefined; numpy or Dask, whole maps in a chunk.
    pairs : int array [pair, 2] of flat ring indices (``row * cols + col``), each pair of neighbours once.

    Returns
    -------
    Dataset over the other dimensions of ``phase`` and ``distance`` = 0, 1, ..., the most hops between any two rings:

    - ``radial``: C; NaN where there is no pair. ``pairs_radial``: ordered pairs behind it.
    - ``correlated_rings``: A = sum_d m(d) C(d)^2 with m(d) rings in d hops from one, less the part that is noise: with
      A rings correlated, that of C(d) raises the sum by A m(d) / pairs(d).
    - ``defined``: fraction of rings whose phase is defined.

    Raises ValueError for an array that is not a phase field, or indices that are no rings.
    """
    rows, cols = check_phase(phase)
    pairs = check_rings("pairs", pairs, rows * cols, width=2)
    sources = source_rings(rows * cols)
    hops = _hops(pairs, rows * cols, sources)
    n = int(hops.max()) + 1
    measured = xr.apply_ufunc(
        _correlate,
        phase,
        kwargs={"sources": sources, "hops": hops},
        input_core_dims=[CORE],
        output_core_dims=[["distance"], ["distance"], [], []],
        dask="parallelized",
        output_dtypes=[float, np.int64, float, float],
        dask_gufunc_kwargs={"output_sizes": {"distance": n}},
        keep_attrs=False,
    )
    dataset = xr.Dataset(dict(zip(NAMES, measured, strict=True)))
    distance = ("distance", np.arange(n), {"units": "ring spacings", "long_name": "hops along the graph"})
    dataset = dataset.assign_coords(distance=distance)
    dataset["radial"].attrs = {"units": "1", "long_name": "phase correlation of rings so many hops apart"}
    dataset["pairs_radial"].attrs = {"units": "1", "long_name": "ordered pairs of defined rings"}
    dataset["correlated_rings"].attrs = {"units": "1", "long_name": "number of rings correlated with one"}
    dataset["defined"].attrs = {"units": "1", "long_name": "fraction of rings whose phase is defined"}
    dataset.attrs = {"boundary": "periodic", "rows": rows, "cols": cols, "sources": len(sources)}
    return dataset


def _hops(pairs: np.ndarray, n_rings: int, sources: np.ndarray) -> np.ndarray:
    """Hops from every source to every ring, int32 [source, ring]; -1 where no way leads there."""
    graph = scipy.sparse.csr_array((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(n_rings, n_rings))
    hops = scipy.sparse.csgraph.dijkstra(graph, directed=False, indices=sources, unweighted=True)
    return np.where(np.isfinite(hops), hops, -1).astype(np.int32)


def _correlate(phase: np.ndarray, sources: np.ndarray, hops: np.ndarray) -> tuple[np.ndarray, ...]:
    *loop, rows, cols = phase.shape
    n_rings, n = rows * cols, int(hops.max()) + 1
    maps = phase.reshape(-1, rows, cols)
    sums, number, around = np.zeros((len(maps), n)), np.zeros((len(maps), n)), np.zeros((len(maps), n))
    defined, from_sources = np.empty(len(maps)), np.empty(len(maps))
    # A pair between two sources is met from both of its ends, every other one from one end only.
    twice = np.full(n_rings, 2.0)
    twice[sources] = 1.0
    for part, z, where in slabs(maps, n_rings):
        z, where = z.reshape(len(z), -1), where.reshape(len(z), -1).astype(float)
        defined[part], from_sources[part] = where.mean(axis=1), where[:, sources].sum(axis=1)
        for source, reach in zip(sources, hops, strict=True):
            ring = np.flatnonzero(reach >= 0)
            at = scipy.sparse.csr_array((np.ones(len(ring)), (reach[ring], ring)), shape=(n, n_rings))
            cosine = (z[:, source].conj()[:, None] * z).real * twice
            here = where[:, source, None] * where
            sums[part] += (at @ cosine.T).T
            number[part] += (at @ (here * twice).T).T
            around[part] += (at @ here.T).T
    C = np.divide(sums, number, out=np.full(sums.shape, np.nan), where=number > 0)
    rings = np.divide(around, from_sources[:, None], out=np.zeros(around.shape), where=from_sources[:, None] > 0)
    noise = np.divide(rings, number, out=np.zeros(rings.shape), where=number > 0)[:, 1:].sum(axis=1)
    correlated = (rings * np.nan_to_num(C) ** 2).sum(axis=1) / (1 + noise)
    correlated = np.where(number[:, 0] > 0, correlated, np.nan)
    shaped = (array.reshape(*loop, n) for array in (C, np.rint(number).astype(np.int64)))
    return (*shaped, correlated.reshape(loop), defined.reshape(loop))
