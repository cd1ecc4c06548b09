"""How neighbouring rings lock: the two orders, in phase and in anti-phase, and the walls between and within them.

Owns densities of orders and walls on a graph of neighbours; domains of one order are in ``domains``.
"""

import numpy as np
import scipy.sparse
import xarray as xr

from isophase.analysis.lattices.phase_field import CORE, check_phase, check_rings, slabs

LONG_NAMES = {
    "in_phase": "fraction of rings in phase with their neighbours",
    "anti_phase": "fraction of rings in anti-phase with their neighbours",
    "walls_in_phase": "fraction of neighbouring pairs that are a wall within the order in phase",
    "walls_anti_phase": "fraction of neighbouring pairs that are a wall within the order in anti-phase",
    "walls_between": "fraction of neighbouring pairs that part the two orders",
}
NAMES = tuple(LONG_NAMES)
LEAST = 0.25  # mean cosine; at a straight wall a ring of either order still has half of its own, or more
LOCKED = np.cos(np.pi / 4)  # as the tolerance of a domain


def locks(phase: xr.DataArray, neighbours: np.ndarray) -> xr.Dataset:
    """Densities of the two orders in which neighbours lock, and of the walls in them, of every map.

    A ring is in phase with its neighbours where the mean of cos(theta_neighbour - theta) over them exceeds 1/4, in
    anti-phase where it is below -1/4, and of neither order otherwise. Independent phases with four neighbours are of
    either in 25 % of cases each. A pair of two rings of one order is a wall within it where its phases are more than
    pi/4 off that order's difference (0, or pi); a pair of rings of different orders parts the two.

    Parameters
    ----------
    phase : (..., row, col), radians, NaN where undefined; numpy or Dask, whole maps in a chunk.
    neighbours : int array [pair, 2] of flat ring indices (``row * cols + col``), each pair of neighbours once.

    Returns
    -------
    Dataset over the other dimensions of ``phase``: ``in_phase`` and ``anti_phase``, fractions of the defined rings that
    have a defined neighbour; ``walls_in_phase``, ``walls_anti_phase`` and ``walls_between``, fractions of the pairs
    whose phases are both defined. NaN where there are none.

    Raises ValueError for an array that is not a phase field, or indices that are no rings.
    """
    rows, cols = check_phase(phase)
    pairs = check_rings("neighbours", neighbours, rows * cols, width=2)
    measured = xr.apply_ufunc(
        _locks,
        phase,
        kwargs={"pairs": pairs},
        input_core_dims=[CORE],
        output_core_dims=[[]] * len(NAMES),
        dask="parallelized",
        output_dtypes=[float] * len(NAMES),
        keep_attrs=False,
    )
    dataset = xr.Dataset(dict(zip(NAMES, measured, strict=True)))
    for name, long_name in LONG_NAMES.items():
        dataset[name].attrs = {"units": "1", "long_name": long_name}
    return dataset


def _locks(phase: np.ndarray, pairs: np.ndarray) -> tuple[np.ndarray, ...]:
    *loop, rows, cols = phase.shape
    n, maps = rows * cols, phase.reshape(-1, rows, cols)
    results = np.full((len(NAMES), len(maps)), np.nan)
    first, second = pairs[:, 0], pairs[:, 1]
    at_ends = scipy.sparse.csr_array(
        (np.ones(2 * len(pairs)), (pairs.T.ravel(), np.tile(np.arange(len(pairs)), 2))), shape=(n, len(pairs))
    )
    for part, z, where in slabs(maps, n + 4 * len(pairs)):
        z, where = z.reshape(len(z), -1), where.reshape(len(z), -1)
        joined = where[:, first] & where[:, second]
        cosine = np.where(joined, (z[:, first] * z[:, second].conj()).real, 0.0)
        number, total = (at_ends @ values.T.astype(float) for values in (joined, cosine))
        mean = (total / np.maximum(number, 1)).T
        in_phase, anti_phase = mean > LEAST, mean < -LEAST
        both = [order[:, first] & order[:, second] for order in (in_phase, anti_phase)]
        apart = (in_phase[:, first] & anti_phase[:, second]) | (anti_phase[:, first] & in_phase[:, second])
        walls = both[0] & (cosine < LOCKED), both[1] & (cosine > -LOCKED), apart
        found = (
            *((order.sum(axis=1), (number > 0).sum(axis=0)) for order in (in_phase, anti_phase)),
            *(((wall & joined).sum(axis=1), joined.sum(axis=1)) for wall in walls),
        )
        for result, (count, of) in zip(results, found, strict=True):
            np.divide(count, of, out=result[part], where=of > 0)
    return tuple(result.reshape(loop) for result in results)
