"""What every measurement of ring phases takes: dimensions (..., row, col), in radians, NaN where undefined.

Owns the check of that contract and the walk over maps in slabs; the measurements own the physics.
"""

from collections.abc import Iterator

import numpy as np
import xarray as xr

CORE = ("row", "col")
BOUNDARIES = ("periodic", "open")
SLAB = 2**19  # complex numbers worked on at once: 8 MB, which stays near the cache and far below a chunk's copies


def check_phase(phase: xr.DataArray) -> tuple[int, int]:
    """Number of rows and columns of rings; ValueError where ``phase`` is not a field of ring phases."""
    if not isinstance(phase, xr.DataArray):
        raise ValueError(f"phase={type(phase).__name__}: must be an xarray.DataArray with dimensions (..., row, col)")
    missing = [dim for dim in CORE if dim not in phase.dims]
    if missing:
        raise ValueError(f"phase has dimensions {phase.dims}: must include {' and '.join(missing)}")
    if not np.issubdtype(phase.dtype, np.floating):
        raise ValueError(f"phase has dtype {phase.dtype}: must be a floating type, in radians, NaN where undefined")
    for dim in CORE:
        if phase.sizes[dim] < 1:
            raise ValueError(f"phase has {phase.sizes[dim]} rings along {dim}: must be >= 1")
        if phase.chunks is not None and len(phase.chunksizes[dim]) > 1:
            raise ValueError(
                f"phase has {len(phase.chunksizes[dim])} chunks along {dim}: must be 1, a whole map to a chunk"
            )
    return phase.sizes["row"], phase.sizes["col"]


def check_boundary(boundary: str) -> None:
    if boundary not in BOUNDARIES:
        raise ValueError(f"boundary={boundary!r}: must be one of {', '.join(BOUNDARIES)}")


def check_rings(name: str, indices: np.ndarray, n_rings: int, width: int | None = None) -> np.ndarray:
    """``indices`` as an int64 array [item, ring of the item]; ValueError where an entry is not a ring's flat index."""
    array = np.asarray(indices)
    if array.ndim != 2 or not np.issubdtype(array.dtype, np.integer) or (width is not None and array.shape[1] != width):
        wanted = f"[item, {width or 'ring'}]"
        raise ValueError(f"{name} has shape {array.shape} and dtype {array.dtype}: must be an integer array {wanted}")
    if array.size and not (array.min() >= 0 and array.max() < n_rings):
        raise ValueError(
            f"{name} holds {array.min()} to {array.max()}: must be flat ring indices from 0 to {n_rings - 1}"
        )
    return array.astype(np.int64)


def slabs(phase: np.ndarray, per_map: int) -> Iterator[tuple[slice, np.ndarray, np.ndarray]]:
    """Walk over the maps of ``phase`` [map, row, col] in slabs of about ``SLAB`` numbers at ``per_map`` numbers a map.

    Yields the slice of maps, ``exp(i phase)`` with 0 where undefined (complex128), and where it is defined (bool).
    """
    step = max(1, SLAB // per_map)
    for start in range(0, len(phase), step):
        part = slice(start, min(start + step, len(phase)))
        angle = phase[part].astype(np.float64)
        defined = np.isfinite(angle)
        angle[~defined] = 0.0
        z = np.empty(angle.shape, np.complex128)
        np.cos(angle, out=z.real)
        np.sin(angle, out=z.imag)
        z *= defined
        yield part, z, defined
