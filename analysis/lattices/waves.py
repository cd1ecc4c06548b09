"""Waves: lattices whose structure factor is a ring, with a wavelength and a coherence length.

Owns the test by which they are told from lattices that coarsen, and both lengths, with their errors over seeds.
"""

from typing import NamedTuple

import numpy as np
import xarray as xr

from isophase.analysis.statistics import jackknife_error, student

CONFIDENCE = 0.95
HOLLOW = 0.5  # of the ring's height: more than this inside the ring is no ring
HALF_WAY = np.pi / 2  # between the wavevectors of two orders in phase or in anti-phase
LEAST_SHELL = 2  # a ring of one shell has no inside
NAMES = {
    "waves": "",
    "wavelength": "ring spacings",
    "wavelength_error": "ring spacings",
    "coherence_length": "ring spacings",
    "coherence_length_error": "ring spacings",
}


def waves(structure: xr.Dataset, seed_dim: str = "seed") -> xr.Dataset:
    """Whether the order is made of waves, how long they are, and how far they are coherent, for every map.

    Rings in phase (or in anti-phase) within regions have a structure factor S that falls from the order's wavevector
    on. Waves, as spirals make them, have a ring round it: S(k) has its peak at the wavenumber k* of the waves, k the
    distance from that wavevector, up to pi/2 (waves of 4 ring spacings). Seeds are pooled by their defined rings before
    anything is read from S. With the mean of S over the modes up to k*/2 divided by that over the peak's shells (the
    highest and its two neighbours) the order is ``waves`` where the ratio is below 1/2 with 95 % confidence (jackknife
    over seeds, Student's t, one-sided); a single seed tells of none.

    - ``wavelength``: 2 pi over the mean wavenumber of the ring, weighted by S, of the shells round k* in which S is
      above half of its height there;
    - ``coherence_length``: one over half of the ring's width at half of its height, interpolated between shells: C(d)
      decays as exp(-d / coherence_length) under its oscillation where the ring is a Lorentzian. A ring as narrow as a
      shell of the lattice, 2 pi / L, gives no more than L / pi.

    Parameters
    ----------
    structure : ``round_order`` (seed, ..., shell), ``defined``, ``shell_modes`` and ``shell_wavenumber`` of
        :func:`isophase.analysis.lattices.structure_factor.structure_factor`.

    Returns
    -------
    Dataset over the other dimensions: ``waves``, ``wavelength``, ``coherence_length`` with their ``_error``, in ring
    spacings of the array (of row and col), NaN where there are no waves.
    """
    measured = xr.apply_ufunc(
        _waves,
        structure["round_order"],
        structure["defined"],
        structure["shell_modes"],
        structure["shell_wavenumber"],
        input_core_dims=[[seed_dim, "shell"], [seed_dim], ["shell"], ["shell"]],
        output_core_dims=[[]] * len(NAMES),
        output_dtypes=[bool] + [float] * (len(NAMES) - 1),
        dask="parallelized",
        dask_gufunc_kwargs={"allow_rechunk": True},
        keep_attrs=False,
    )
    found = xr.Dataset(dict(zip(NAMES, measured, strict=True)))
    for name, text in {
        "waves": "the structure factor is a ring: the order is made of waves",
        "wavelength": "wavelength",
        "coherence_length": "coherence length of the waves",
    }.items():
        found[name].attrs = {"long_name": text} | ({"units": NAMES[name]} if NAMES[name] else {})
    for name in ("wavelength", "coherence_length"):
        long_name = f"standard error of the {found[name].attrs['long_name']} (jackknife over seeds)"
        found[f"{name}_error"].attrs = {"long_name": long_name, "units": NAMES[name]}
    return found


class _Ring(NamedTuple):
    hollow: np.ndarray
    wavelength: np.ndarray
    coherence: np.ndarray


def _waves(
    centred: np.ndarray, defined: np.ndarray, modes: np.ndarray, wavenumber: np.ndarray
) -> tuple[np.ndarray, ...]:
    """[..., seed, shell] to what is said of each."""
    # beyond, another order than the nearest is nearer: rings in anti-phase beside rings in phase are no wave
    near = wavenumber <= HALF_WAY
    centred, modes, wavenumber = centred[..., near], modes[near], wavenumber[near]
    present = (defined > 0) & np.isfinite(centred).all(axis=-1)
    weight = np.where(present, defined, 0.0)
    sums = np.where(present[..., None], centred, 0.0) * weight[..., None]
    total, number = sums.sum(axis=-2), weight.sum(axis=-1)
    without = total[..., None, :] - sums
    others = (number[..., None] - weight)[..., None]
    S = total / np.where(number > 0, number, np.nan)[..., None]
    S_without = without / np.where(others > 1e-12, others, np.nan)

    peak = _peak(S, modes)
    found = _ring(S, peak, modes, wavenumber)
    each = _ring(S_without, np.broadcast_to(peak[..., None], S_without.shape[:-1]), modes, wavenumber)
    seeds = present.sum(axis=-1)
    reach = student(2 * CONFIDENCE - 1, seeds) * jackknife_error(each.hollow, present)
    is_ring = (peak >= LEAST_SHELL) & (found.hollow + reach < HOLLOW)
    errors = (jackknife_error(part, present) for part in (each.wavelength, each.coherence))
    lengths = (found.wavelength, next(errors), found.coherence, next(errors))
    return is_ring, *(np.where(is_ring, part, np.nan) for part in lengths)


def _peak(S: np.ndarray, modes: np.ndarray) -> np.ndarray:
    """The shell of the ring: the highest of S smoothed over three shells, each by its number of modes."""
    smooth = _of_three(np.nan_to_num(S) * modes) / _of_three(np.broadcast_to(modes.astype(float), S.shape))
    return np.argmax(smooth, axis=-1)


def _of_three(values: np.ndarray) -> np.ndarray:
    total = values.copy()
    total[..., 1:] += values[..., :-1]
    total[..., :-1] += values[..., 1:]
    return total


def _ring(S: np.ndarray, peak: np.ndarray, modes: np.ndarray, wavenumber: np.ndarray) -> _Ring:
    shell, at = np.arange(len(modes)), peak[..., None]
    height = _mean(S, np.where(np.abs(shell - at) <= 1, modes, 0))
    inside = _mean(S, np.where(2 * shell <= at, modes, 0))
    half = height[..., None] / 2
    above = np.greater_equal(S, half)
    # the shells from the peak on outwards, and inwards, as long as S is above half of its height
    right = np.logical_and.accumulate(above | (shell <= at), axis=-1) & (shell >= at)
    left = np.logical_and.accumulate((above | (shell >= at))[..., ::-1], axis=-1)[..., ::-1] & (shell <= at)
    ring = right | left
    mean = (np.where(ring, S, 0.0) * wavenumber).sum(axis=-1) / np.where(ring, S, 0.0).sum(axis=-1)
    high = _crossing(S, height / 2, np.where(ring, shell, -1).max(axis=-1), 1, wavenumber)
    low = _crossing(S, height / 2, np.where(ring, shell, len(shell)).min(axis=-1), -1, wavenumber)
    return _Ring(inside / height, _over(2 * np.pi, mean), _over(2.0, high - low))


def _over(number: float, by: np.ndarray) -> np.ndarray:
    return np.divide(number, by, out=np.full(by.shape, np.nan), where=by > 0)


def _crossing(S: np.ndarray, level: np.ndarray, last: np.ndarray, step: int, wavenumber: np.ndarray) -> np.ndarray:
    """Wavenumber at which S falls through the level, between the last shell above it and the next one."""
    last = np.clip(last, 0, len(wavenumber) - 1)
    beyond = np.clip(last + step, 0, len(wavenumber) - 1)
    above, below = (np.take_along_axis(S, k[..., None], -1)[..., 0] for k in (last, beyond))
    fall = above - below
    part = np.clip((above - level) / np.where(fall > 0, fall, np.inf), 0.0, 1.0)
    return wavenumber[last] + part * (wavenumber[beyond] - wavenumber[last])


def _mean(values: np.ndarray, modes: np.ndarray) -> np.ndarray:
    return (values * modes).sum(axis=-1) / modes.sum(axis=-1)
