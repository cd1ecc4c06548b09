"""Phase correlation of the rings, C(d) = < exp(i (theta(r + d) - theta(r))) >, along both axes and radially, by FFT.

Owns C of each map and its number of pairs; averages over seeds and lengths drawn from C are in ``correlation_length``.
"""

from functools import lru_cache

import numpy as np
import scipy.fft
import scipy.sparse
import xarray as xr

from isophase.analysis.lattices.phase_field import CORE, check_boundary, check_phase, slabs

NAMES = ("along_row", "along_col", "radial", "pairs_row", "pairs_col", "pairs_radial", "correlated_rings", "defined")


def phase_correlation(phase: xr.DataArray, boundary: str = "periodic") -> xr.Dataset:
    """Correlation of ``exp(i phase)`` between rings, as a function of their displacement, for every map.

    A pair counts where both of its rings are defined: ``C(d) = sum_r conj(z(r)) z(r + d) / pairs(d)``. Periodic: r + d
    wraps (circular FFT). Open: it does not (zero-padded FFT), so the number of pairs falls with d. Both equal the
    direct sum to rounding (Wiener-Khinchin).

    Parameters
    ----------
    phase : (..., row, col), radians, NaN where undefined; numpy or Dask, whole maps in a chunk. A chain has one row.
    boundary : ``periodic`` or ``open``, as the lattice's.

    Returns
    -------
    Dataset over the other dimensions of ``phase`` and ``distance`` = 0, 1, ..., half the longer side (ring spacings):

    - ``along_row``, ``along_col``: C for displacements of ``distance`` in the dimension of that name (complex128);
      NaN beyond half that side and where there is no pair.
    - ``radial``: mean of C over all displacements with ``distance - 1/2 <= |d| < distance + 1/2`` weighted by pairs;
      real, because C(-d) = conj(C(d)). Its bin's mean |d| is the coordinate ``radial_distance``; NaN beyond half
      the shorter side. The mean is signed: on a lattice with anti-phase order it cancels, and the axes are to be
      read. Distances are those of a square tiling (or a chain); other tilings have meaningful axes only.
    - ``pairs_row``, ``pairs_col``, ``pairs_radial``: ordered pairs behind each value.
    - ``correlated_rings``: A = sum_d |C(d)|^2, the number of rings correlated with one. The noise of C(d) between
      uncorrelated rings is ``sqrt(A / pairs(d))`` (Bartlett 1946). Measured as ``sum_d |sum_r conj(z) z|^2 / (2 n^2)``:
      half of the sum is that noise itself, as long as A is small against the n rings.
    - ``defined``: fraction of rings whose phase is defined.

    Raises ValueError for an array that is not a phase field, or another boundary.
    """
    rows, cols = check_phase(phase)
    check_boundary(boundary)
    n = _n_distances(rows, cols)
    measured = xr.apply_ufunc(
        _correlate,
        phase,
        kwargs={"boundary": boundary},
        input_core_dims=[CORE],
        output_core_dims=[["distance"]] * 6 + [[], []],
        dask="parallelized",
        output_dtypes=[complex, complex, float, np.int64, np.int64, np.int64, float, float],
        dask_gufunc_kwargs={"output_sizes": {"distance": n}},
        keep_attrs=False,
    )
    dataset = xr.Dataset(dict(zip(NAMES, measured, strict=True)))
    spacing = {"units": "ring spacings"}
    dataset = dataset.assign_coords(
        distance=("distance", np.arange(n), {**spacing, "long_name": "displacement"}),
        radial_distance=(
            "distance",
            _bins(rows, cols, boundary)[1],
            {**spacing, "long_name": "mean |d| of the radial bin"},
        ),
    )
    for axis in CORE:
        dataset[f"along_{axis}"].attrs = {"units": "1", "long_name": f"phase correlation of rings apart in {axis}"}
    dataset["radial"].attrs = {"units": "1", "long_name": "phase correlation averaged over directions"}
    for name in ("pairs_row", "pairs_col", "pairs_radial"):
        dataset[name].attrs = {"units": "1", "long_name": "ordered pairs of defined rings"}
    dataset["correlated_rings"].attrs = {"units": "1", "long_name": "number of rings correlated with one, sum of |C|^2"}
    dataset["defined"].attrs = {"units": "1", "long_name": "fraction of rings whose phase is defined"}
    dataset.attrs = {"boundary": boundary, "rows": rows, "cols": cols}
    return dataset


def _n_distances(rows: int, cols: int) -> int:
    return max(rows, cols) // 2 + 1


def _padded(rows: int, cols: int, boundary: str) -> tuple[int, int]:
    """Shape of the transform: open boundaries need room so that no displacement up to the whole lattice wraps."""
    if boundary == "periodic":
        return rows, cols
    return tuple(1 if side == 1 else scipy.fft.next_fast_len(2 * side - 1) for side in (rows, cols))  # type: ignore[return-value]


@lru_cache(maxsize=8)
def _bins(rows: int, cols: int, boundary: str) -> tuple[scipy.sparse.csr_array, np.ndarray]:
    """Radial bins: the matrix [bin, displacement] that sums over them, and their mean distance (NaN where empty)."""
    shape = _padded(rows, cols, boundary)
    along = [np.minimum(np.arange(side), side - np.arange(side)) for side in shape]
    distance = np.hypot(along[0][:, None], along[1][None, :]).ravel()
    limit = (max(rows, cols) if min(rows, cols) == 1 else min(rows, cols)) // 2
    index = np.floor(distance + 0.5).astype(np.int64)
    inside = np.flatnonzero(distance <= limit)
    n = _n_distances(rows, cols)
    matrix = scipy.sparse.csr_array((np.ones(len(inside)), (index[inside], inside)), shape=(n, distance.size))
    # On open boundaries a displacement is held by fewer pairs the longer it is, and counts by them.
    weight = np.ones(distance.size)
    if boundary == "open":
        room = [np.maximum(side - a, 0) for side, a in zip((rows, cols), along, strict=True)]
        weight = (room[0][:, None] * room[1][None, :]).ravel().astype(float)
    total, moment = matrix @ weight, matrix @ (weight * distance)
    mean = np.divide(moment, total, out=np.full(n, np.nan), where=total > 0)
    return matrix, mean


def _correlate(phase: np.ndarray, boundary: str) -> tuple[np.ndarray, ...]:
    *loop, rows, cols = phase.shape
    maps = phase.reshape(-1, rows, cols)
    shape = _padded(rows, cols, boundary)
    n = _n_distances(rows, cols)
    matrix = _bins(rows, cols, boundary)[0]
    along = [np.full((len(maps), n), np.nan, complex) for _ in CORE]
    pairs_along = [np.zeros((len(maps), n), np.int64) for _ in CORE]
    radial, pairs_radial = np.full((len(maps), n), np.nan), np.zeros((len(maps), n), np.int64)
    correlated, defined = np.full(len(maps), np.nan), np.empty(len(maps))
    reach = (slice(rows // 2 + 1), slice(cols // 2 + 1))
    for part, z, where in slabs(maps, shape[0] * shape[1]):
        power = _power(scipy.fft.fft2(z, shape, workers=1))
        sums = scipy.fft.ifft2(power, workers=1)
        pairs = _pairs(where, shape)
        columns = ((sums[:, reach[0], 0], pairs[:, reach[0], 0]), (sums[:, 0, reach[1]], pairs[:, 0, reach[1]]))
        for axis, (values, number) in enumerate(columns):
            width = values.shape[1]
            pairs_along[axis][part, :width] = number
            np.divide(values, number, out=along[axis][part, :width], where=number > 0)
        radial_sum = (matrix @ sums.real.reshape(len(sums), -1).T).T
        number = np.rint((matrix @ pairs.reshape(len(pairs), -1).T).T)
        pairs_radial[part] = number
        np.divide(radial_sum, number, out=radial[part], where=number > 0)
        rings = where.sum(axis=(1, 2))
        defined[part] = rings / (rows * cols)
        # Parseval: the sum over displacements of |sum_r conj(z) z|^2.
        squares = np.square(power).sum(axis=(1, 2)) / (shape[0] * shape[1])
        np.divide(squares, 2.0 * rings.astype(float) ** 2, out=correlated[part], where=rings > 0)
    results = (*along, radial, *pairs_along, pairs_radial)
    return (*(a.reshape(*loop, n) for a in results), correlated.reshape(loop), defined.reshape(loop))


def _power(transform: np.ndarray) -> np.ndarray:
    return np.square(transform.real) + np.square(transform.imag)


def _pairs(where: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Ordered pairs of defined rings at every displacement, [map (or 1 for all), *shape]; whole numbers as floats."""
    if where.all():
        where = where[:1]
    transform = scipy.fft.rfft2(where.astype(float), shape, workers=1)
    return np.rint(scipy.fft.irfft2(_power(transform), shape, workers=1))
