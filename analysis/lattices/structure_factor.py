"""Structure factor of the ring phases, S(q) = |FT exp(i theta)|^2 / n: the full map, its radial mean, and its peak.

Owns S of each map; the correlation length by its second moment is in ``correlation_length``.
"""

from functools import lru_cache
from typing import NamedTuple

import numpy as np
import scipy.fft
import scipy.sparse
import xarray as xr

from isophase.analysis.lattices.phase_field import CORE, check_phase, slabs

NAMES = ("structure_factor", "radial", "centred", "round_order", "wavenumber_row", "wavenumber_col", "defined")


def structure_factor(phase: xr.DataArray) -> xr.Dataset:
    """Structure factor of every map; the transform runs over the n defined rings and is 0 elsewhere.

    White noise has S = 1 at every q, defined or not; a plane wave has S = n at its own wavevector and 0 elsewhere; the
    mean of S over all q is 1 where all rings are defined. On open boundaries S is the same periodogram: that of C(d)
    times the triangular taper (1 - |d_row|/rows)(1 - |d_col|/cols).

    Parameters
    ----------
    phase : (..., row, col), radians, NaN where undefined; numpy or Dask, whole maps in a chunk. A chain has one row.

    Returns
    -------
    Dataset over the other dimensions of ``phase`` with

    - ``structure_factor`` over ``q_row``, ``q_col``: wavenumbers from -pi to pi, radians per ring spacing;
    - ``radial`` over ``q``: mean over the shell of width 2 pi / (longer side) round its mean wavenumber ``q``, up to
      pi;
    - ``wavenumber_row``, ``wavenumber_col``: the order's wavevector Q, the mode of the lattice nearest to the
      circular mean of q weighted by S. That is the argument of C at one spacing, so it is 0 in phase and pi in
      anti-phase, and does not chase the highest of many noisy modes;
    - ``centred`` over ``shell``: mean of S over the shells round Q, each one mode of the shorter side wide, ``shell``
      = 0 being Q alone; with the coordinates ``shell_modes``, their number of modes, ``shell_wavenumber``, the mean
      of their |q - Q|, and ``shell_k2``, the mean over them of 4 sin^2(k_row / 2) + 4 sin^2(k_col / 2), k = q - Q;
    - ``round_order`` over ``shell``: the same round the wavevector of the nearest order in phase or in anti-phase,
      whose components are 0 or pi: waves go out from it in all directions, so it is the centre of their ring in S;
    - ``defined``: fraction of rings whose phase is defined. S is NaN where there is none.

    Raises ValueError for an array that is not a phase field.
    """
    rows, cols = check_phase(phase)
    wavenumber, around = _shells(rows, cols).wavenumber, _centred_shells(rows, cols)
    measured = xr.apply_ufunc(
        _transform,
        phase,
        input_core_dims=[CORE],
        output_core_dims=[["q_row", "q_col"], ["q"], ["shell"], ["shell"], [], [], []],
        dask="parallelized",
        output_dtypes=[float] * 7,
        dask_gufunc_kwargs={
            "output_sizes": {"q_row": rows, "q_col": cols, "q": len(wavenumber), "shell": len(around.modes)}
        },
        keep_attrs=False,
    )
    dataset = xr.Dataset(dict(zip(NAMES, measured, strict=True)))
    per_spacing = {"units": "rad per ring spacing"}
    dataset = dataset.assign_coords(
        q_row=("q_row", scipy.fft.fftshift(_modes(rows)), {**per_spacing, "long_name": "wavenumber along row"}),
        q_col=("q_col", scipy.fft.fftshift(_modes(cols)), {**per_spacing, "long_name": "wavenumber along col"}),
        q=("q", wavenumber, {**per_spacing, "long_name": "mean |q| of the shell"}),
        shell_modes=("shell", around.modes, {"units": "1", "long_name": "modes in the shell round the peak"}),
        shell_wavenumber=(
            "shell",
            around.wavenumber,
            {**per_spacing, "long_name": "mean |q - Q| of the shell round the peak"},
        ),
        shell_k2=("shell", around.k2, {"units": "1", "long_name": "mean lattice k^2 of the shell round the peak"}),
    )
    for name in ("structure_factor", "radial", "centred", "round_order"):
        dataset[name].attrs = {"units": "1", "long_name": "structure factor"}
    for axis in CORE:
        dataset[f"wavenumber_{axis}"].attrs = {**per_spacing, "long_name": f"wavenumber of the order along {axis}"}
    dataset["defined"].attrs = {"units": "1", "long_name": "fraction of rings whose phase is defined"}
    dataset.attrs = {"rows": rows, "cols": cols}
    return dataset


def _modes(side: int) -> np.ndarray:
    return 2 * np.pi * scipy.fft.fftfreq(side)


class _Shells(NamedTuple):
    """``mean`` [shell, mode] averages over each shell; ``wavenumber``, ``k2`` are such means, ``modes`` numbers."""

    mean: scipy.sparse.csr_array
    wavenumber: np.ndarray
    k2: np.ndarray
    modes: np.ndarray


def _make_shells(rows: int, cols: int, side: int, limit: float) -> _Shells:
    """Shells of width 2 pi / ``side`` up to the wavenumber ``limit``; those without a mode are left out."""
    k_row, k_col = _modes(rows)[:, None], _modes(cols)[None, :]
    modulus = np.hypot(k_row, k_col).ravel()
    inside = np.flatnonzero(modulus <= limit)
    index = np.rint(modulus[inside] * side / (2 * np.pi)).astype(np.int64)
    number = np.bincount(index)
    label = np.cumsum(number > 0) - 1
    modes = number[number > 0]
    mean = scipy.sparse.csr_array((1.0 / number[index], (label[index], inside)), shape=(len(modes), rows * cols))
    k2 = (4 * np.sin(k_row / 2) ** 2 + 4 * np.sin(k_col / 2) ** 2).ravel()
    return _Shells(mean, mean @ modulus, mean @ k2, modes)


@lru_cache(maxsize=8)
def _shells(rows: int, cols: int) -> _Shells:
    return _make_shells(rows, cols, max(rows, cols), np.pi * (1 + 1e-12))


@lru_cache(maxsize=8)
def _centred_shells(rows: int, cols: int) -> _Shells:
    return _make_shells(rows, cols, min((side for side in (rows, cols) if side > 1), default=1), np.inf)


def _transform(phase: np.ndarray) -> tuple[np.ndarray, ...]:
    *loop, rows, cols = phase.shape
    maps = phase.reshape(-1, rows, cols)
    shells, around = _shells(rows, cols).mean, _centred_shells(rows, cols).mean
    full = np.empty(maps.shape)
    radial = np.empty((len(maps), shells.shape[0]))
    centred, round_order = np.empty((2, len(maps), around.shape[0]))
    wave_row, wave_col, defined = np.full((3, len(maps)), np.nan)
    for part, z, where in slabs(maps, rows * cols):
        transform = scipy.fft.fft2(z, workers=1)
        power = np.square(transform.real) + np.square(transform.imag)
        rings = where.sum(axis=(1, 2))
        power /= np.where(rings > 0, rings, np.nan)[:, None, None]
        full[part] = scipy.fft.fftshift(power, axes=(1, 2))
        radial[part] = (shells @ power.reshape(len(z), -1).T).T
        defined[part] = rings / (rows * cols)
        i, j = _central_mode(power, 1), _central_mode(power, 2)
        centred[part] = _round(power, i, j, around)
        i_order, j_order = _nearest_order(i, rows), _nearest_order(j, cols)
        others = (i != i_order) | (j != j_order)
        of_part = centred[part].copy()
        of_part[others] = _round(power[others], i_order[others], j_order[others], around)
        round_order[part] = of_part
        wave_row[part] = np.where(rings > 0, _modes(rows)[i], np.nan)
        wave_col[part] = np.where(rings > 0, _modes(cols)[j], np.nan)
    waves = (np.where(w == -np.pi, np.pi, w).reshape(loop) for w in (wave_row, wave_col))
    shelled = (a.reshape(*loop, -1) for a in (radial, centred, round_order))
    return (full.reshape(phase.shape), *shelled, *waves, defined.reshape(loop))


def _round(power: np.ndarray, i: np.ndarray, j: np.ndarray, shells: scipy.sparse.csr_array) -> np.ndarray:
    """Means over the shells round the modes i, j of each map, [map, shell]."""
    rows, cols = power.shape[1:]
    from_i = (i[:, None, None] + np.arange(rows)[None, :, None]) % rows
    from_j = (j[:, None, None] + np.arange(cols)[None, None, :]) % cols
    moved = power[np.arange(len(power))[:, None, None], from_i, from_j]
    return (shells @ moved.reshape(len(power), rows * cols).T).T


def _nearest_order(mode: np.ndarray, side: int) -> np.ndarray:
    """The mode of wavenumber 0 or pi (as near as there is one), whichever is nearer."""
    return np.where(np.abs(_modes(side)[mode]) < np.pi / 2, 0, side // 2)


def _central_mode(power: np.ndarray, axis: int) -> np.ndarray:
    """Index of the mode along ``axis`` nearest to the circular mean of its wavenumber, weighted by ``power``."""
    side = power.shape[axis]
    marginal = np.nan_to_num(power.sum(axis=3 - axis))
    turn = np.angle(marginal @ np.exp(1j * _modes(side))) / (2 * np.pi)
    return np.rint(turn * side).astype(np.int64) % side
