"""Phase defects: the winding number of the ring phase round every plaquette, and the density of vortices.

Owns winding numbers; which rings lie round a plaquette, and in what order, is the tiling's to say.
"""

import numpy as np
import xarray as xr

from isophase.analysis.lattices.phase_field import CORE, SLAB, check_phase, check_rings

NAMES = ("defects", "defects_positive", "defects_negative", "charge", "defined_plaquettes")
LONG_NAMES = (
    "defects per plaquette",
    "defects of positive winding per plaquette",
    "defects of negative winding per plaquette",
    "sum of the winding numbers",
    "plaquettes whose rings all have a phase",
)


def winding_numbers(phase: xr.DataArray, plaquettes: np.ndarray) -> xr.DataArray:
    """Winding number of the phase round every plaquette: sum of the wrapped differences along its rings, over 2 pi.

    Each difference is the one in [-pi, pi], and the same with opposite sign whichever way it is walked, so that on a
    periodic lattice, where the plaquettes tile a torus and share every side, the winding numbers sum to exactly 0.

    A difference near pi is as well +pi as -pi. Where neighbours lock in anti-phase that is every one, and the winding
    numbers are noise: use ``winding_numbers(relative_to_wave(phase, Q_row, Q_col), plaquettes)``
    (:func:`order_parameter.relative_to_wave`), which gives the vortices of the order at wavevector Q; or twice
    the phases, whose winding number 1 is half a turn of a phase that is defined up to its opposite.

    Parameters
    ----------
    phase : (..., row, col), radians, NaN where undefined; numpy or Dask, whole maps in a chunk.
    plaquettes : int array [plaquette, ring] of flat ring indices (``row * cols + col``) in cyclic order, all
        plaquettes the same way round.

    Returns
    -------
    (..., plaquette), whole numbers as float32, NaN where a ring of the plaquette has no phase.

    Raises ValueError for an array that is not a phase field, indices that are no rings, or plaquettes of fewer than 3.
    """
    rows, cols = check_phase(phase)
    around = _check_plaquettes(plaquettes, rows * cols)
    winding = xr.apply_ufunc(
        _winding,
        phase,
        kwargs={"around": around},
        input_core_dims=[CORE],
        output_core_dims=[["plaquette"]],
        dask="parallelized",
        output_dtypes=[np.float32],
        dask_gufunc_kwargs={"output_sizes": {"plaquette": len(around)}},
        keep_attrs=False,
    )
    return winding.assign_attrs(units="1", long_name="winding number of the phase round a plaquette")


def defects(phase: xr.DataArray, plaquettes: np.ndarray) -> xr.Dataset:
    """Density of phase defects of every map, from :func:`winding_numbers`, whose note on anti-phase holds here too.

    Independent phases have plenty: 1/4 per plaquette of three rings, 1/3 of four, 7/15 of six.

    Returns
    -------
    Dataset over the dimensions of ``phase`` but row and col; densities are per plaquette whose rings are all defined,
    NaN where there is none:

    - ``defects``: sum of |winding|; ``defects_positive``, ``defects_negative``: its two parts.
    - ``charge``: sum of the winding numbers, 0 on a periodic lattice without undefined rings.
    - ``defined_plaquettes``: their number.
    """
    rows, cols = check_phase(phase)
    around = _check_plaquettes(plaquettes, rows * cols)
    measured = xr.apply_ufunc(
        _defects,
        phase,
        kwargs={"around": around},
        input_core_dims=[CORE],
        output_core_dims=[[]] * len(NAMES),
        dask="parallelized",
        output_dtypes=[float, float, float, float, np.int64],
        keep_attrs=False,
    )
    dataset = xr.Dataset(dict(zip(NAMES, measured, strict=True)))
    for name, long_name in zip(NAMES, LONG_NAMES, strict=True):
        dataset[name].attrs = {"units": "1", "long_name": long_name}
    return dataset


def _check_plaquettes(plaquettes: np.ndarray, n_rings: int) -> np.ndarray:
    around = check_rings("plaquettes", plaquettes, n_rings)
    if len(around) and around.shape[1] < 3:
        raise ValueError(f"plaquettes has {around.shape[1]} rings in a plaquette: must be at least 3")
    return around


def _winding(phase: np.ndarray, around: np.ndarray) -> np.ndarray:
    *loop, rows, cols = phase.shape
    maps = phase.reshape(-1, rows * cols)
    winding = np.zeros((len(maps), len(around)), np.float32)
    step = max(1, SLAB // max(len(around), rows * cols))
    for start in range(0, len(maps), step):
        turns = maps[start : start + step] * (1 / (2 * np.pi))
        for i in range(around.shape[1]):
            # The unwrapped differences of a closed walk cancel; what is left is the whole turns taken off each. rint
            # rounds halves to even, so it is odd, and a side walked both ways takes off opposite turns.
            winding[start : start + step] -= np.rint(turns[:, around[:, i]] - turns[:, around[:, i - 1]])
    return winding.reshape(*loop, len(around)) + np.float32(0)  # -0 to 0


def _defects(phase: np.ndarray, around: np.ndarray) -> tuple[np.ndarray, ...]:
    winding = _winding(phase, around)
    defined = np.isfinite(winding)
    number = defined.sum(axis=-1)
    positive, negative = (np.where(s * winding > 0, s * winding, 0).sum(axis=-1, dtype=float) for s in (1, -1))
    densities = (
        np.divide(count, number, out=np.full(number.shape, np.nan), where=number > 0)
        for count in (positive + negative, positive, negative)
    )
    charge = np.where(number > 0, positive - negative, np.nan)
    return (*densities, charge, number)
