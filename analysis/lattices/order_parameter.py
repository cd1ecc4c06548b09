"""Order parameters of the ring phases, global and local, and phases taken relative to an order's wavevector.

Owns |<exp(i theta)>| of each map; clusters of locked rings are in ``domains``, vortices in ``defects``.
"""

import numpy as np
import scipy.sparse
import xarray as xr

from isophase.analysis.lattices.phase_field import CORE, check_phase, check_rings, slabs


def relative_to_wave(phase: xr.DataArray, wavenumber_row: xr.DataArray, wavenumber_col: xr.DataArray) -> xr.DataArray:
    """Phases relative to a plane wave, ``theta(r) - Q . r`` in [0, 2 pi): order at Q becomes order in phase.

    Neighbouring rings may lock in anti-phase (Q = pi) or with a lag. There the difference of neighbours is no small
    angle: near pi it is as well +pi as -pi, so winding numbers are ambiguous, and every pair of neighbours looks like
    a boundary. With Q from :func:`structure_factor.structure_factor` (``wavenumber_row`` and ``_col``:
    a mode of the lattice, so nothing breaks at a periodic boundary), differences are small again wherever the rings are
    locked, and what remains are the defects of that order. In phase, Q = 0 and nothing changes.

    Parameters
    ----------
    phase : (..., row, col), radians, NaN where undefined.
    wavenumber_row, wavenumber_col : radians per ring spacing, over any of the other dimensions of ``phase``. NaN, as of
        a map without defined rings, leaves that map undefined.
    """
    rows, cols = check_phase(phase)
    r = xr.DataArray(np.arange(rows), dims="row")
    c = xr.DataArray(np.arange(cols), dims="col")
    relative = (phase - wavenumber_row * r - wavenumber_col * c).transpose(*phase.dims) % (2 * np.pi)
    # The remainder of a tiny negative number rounds to 2 pi.
    return xr.where(relative >= 2 * np.pi, 0.0, relative).assign_attrs(phase.attrs)


def order_parameter(phase: xr.DataArray, neighbours: np.ndarray | None = None) -> xr.Dataset:
    """Global and local order of every map: 1 in phase; about ``sqrt(pi / (4 n))`` for n independent phases.

    Parameters
    ----------
    phase : (..., row, col), radians, NaN where undefined; numpy or Dask, whole maps in a chunk.
    neighbours : int array [pair, 2] of flat ring indices (``row * cols + col``), each pair of neighbours once.

    Returns
    -------
    Dataset over the other dimensions of ``phase``, NaN where no ring is defined:

    - ``order``: R = |<exp(i theta)>| over the defined rings (Kuramoto 1984).
    - ``mean_phase``: its argument, the circular mean of the phases, radians in [0, 2 pi).
    - ``local_order`` (with ``neighbours``): |<exp(i theta)>| over each ring with its neighbours, averaged over the
      defined rings that have a defined neighbour. Independent phases do not make it 0: with four neighbours it is 0.40.

    Raises ValueError for an array that is not a phase field, or indices that are no rings.
    """
    rows, cols = check_phase(phase)
    names = ["order", "mean_phase"]
    around = None
    if neighbours is not None:
        pairs = check_rings("neighbours", neighbours, rows * cols, width=2)
        around = _with_neighbours(pairs, rows * cols)
        names.append("local_order")
    measured = xr.apply_ufunc(
        _order,
        phase,
        kwargs={"around": around},
        input_core_dims=[CORE],
        output_core_dims=[[]] * len(names),
        dask="parallelized",
        output_dtypes=[float] * len(names),
        keep_attrs=False,
    )
    dataset = xr.Dataset(dict(zip(names, measured, strict=True)))
    dataset["order"].attrs = {"units": "1", "long_name": "global order parameter"}
    dataset["mean_phase"].attrs = {"units": "rad", "long_name": "circular mean of the phases"}
    if around is not None:
        dataset["local_order"].attrs = {"units": "1", "long_name": "local order parameter, a ring and its neighbours"}
    return dataset


def _with_neighbours(pairs: np.ndarray, n_rings: int) -> scipy.sparse.csr_array:
    """Matrix [ring, ring] that sums over a ring and its neighbours."""
    own = np.arange(n_rings)
    first, second = np.concatenate([pairs[:, 0], pairs[:, 1], own]), np.concatenate([pairs[:, 1], pairs[:, 0], own])
    return scipy.sparse.csr_array((np.ones(len(first)), (first, second)), shape=(n_rings, n_rings))


def _order(phase: np.ndarray, around: scipy.sparse.csr_array | None) -> tuple[np.ndarray, ...]:
    *loop, rows, cols = phase.shape
    maps = phase.reshape(-1, rows, cols)
    results = np.full((2 if around is None else 3, len(maps)), np.nan)
    for part, z, where in slabs(maps, rows * cols):
        z, where = z.reshape(len(z), -1), where.reshape(len(z), -1)
        rings = where.sum(axis=1)
        mean = np.divide(z.sum(axis=1), rings, out=np.full(len(z), np.nan, complex), where=rings > 0)
        results[0, part] = np.abs(mean)
        results[1, part] = np.mod(np.angle(mean), 2 * np.pi)
        if around is None:
            continue
        number = around @ (np.ones((rows * cols, 1)) if where.all() else where.T.astype(float))
        local = np.abs(around @ np.ascontiguousarray(z.T)) / np.maximum(number, 1)
        counted = where.T & (number > 1)
        rings = counted.sum(axis=0)
        total = np.where(counted, local, 0).sum(axis=0)
        np.divide(total, rings, out=results[2, part], where=rings > 0)
    return tuple(result.reshape(loop) for result in results)
