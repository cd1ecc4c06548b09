"""Domains of rings in phase: neighbours whose phases agree to a tolerance, joined into connected components.

Owns domains and their boundaries on a graph of neighbours; which rings are neighbours is the tiling's to say.
"""

import numpy as np
import scipy.sparse
import scipy.sparse.csgraph
import xarray as xr

from isophase.analysis.lattices.phase_field import CORE, check_phase, check_rings

NAMES = ("domains", "domain_size", "domain_size_weighted", "largest_domain", "boundary_density")
LONG_NAMES = (
    "number of domains of rings in phase",
    "mean rings per domain, averaged over domains",
    "mean size of the domain that a ring is in",
    "fraction of the defined rings in the largest domain",
    "fraction of neighbouring pairs out of phase",
)


def domains(phase: xr.DataArray, neighbours: np.ndarray, tolerance: float = np.pi / 4, symmetry: int = 1) -> xr.Dataset:
    """Domains of every map: rings joined wherever neighbours differ in phase by no more than ``tolerance``.

    Differences are circular, and the joining follows the pairs, so it wraps where they do. A domain is a set of rings
    locked to their neighbours; across a large one the phase may still turn, if it does so slowly. Independent
    phases join a fraction ``tolerance / pi`` of the pairs: at the default a quarter, below the bond percolation
    threshold of every tiling (0.35 with six neighbours, 0.5 with four), so a lattice without order is not one domain.

    Order in anti-phase. Where it has a wavevector Q, use ``domains(relative_to_wave(phase, Q_row, Q_col), ...)``
    (:func:`analysis.lattices.order_parameter.relative_to_wave`): a domain is then a region of one order, and two
    regions of opposite sublattices stay apart. Where locks in and out of phase are mixed without a pattern,
    ``symmetry=2`` compares twice the phases: opposite phases count as equal (as the director of a nematic), and what
    remains as boundary is neither.

    Parameters
    ----------
    phase : (..., row, col), radians, NaN where undefined; numpy or Dask, whole maps in a chunk.
    neighbours : int array [pair, 2] of flat ring indices (``row * cols + col``), each pair of neighbours once.
    tolerance : radians, of the phases times ``symmetry``; from 0 up to, but not including, pi.
    symmetry : 1, or 2 to compare phases modulo pi.

    Returns
    -------
    Dataset over the other dimensions of ``phase``. A ring without phase is in no domain, and a pair with it is none.

    - ``domains``: their number; 0 where no ring is defined.
    - ``domain_size``: rings per domain, mean over domains.
    - ``domain_size_weighted``: mean over rings of the size of their domain, sum s^2 / sum s.
    - ``largest_domain``: fraction of the defined rings that are in the largest domain.
    - ``boundary_density``: fraction of the neighbouring pairs, both defined, that differ by more than ``tolerance``.

    Raises ValueError for an array that is not a phase field, indices that are no rings, or a tolerance or symmetry out
    of range.
    """
    rows, cols = check_phase(phase)
    pairs = check_rings("neighbours", neighbours, rows * cols, width=2)
    if not 0 <= tolerance < np.pi:
        raise ValueError(f"tolerance={tolerance}: must be >= 0 and < pi, in radians")
    if symmetry not in (1, 2):
        raise ValueError(f"symmetry={symmetry}: must be 1, or 2 to compare phases modulo pi")
    measured = xr.apply_ufunc(
        _domains,
        phase,
        kwargs={"pairs": pairs[np.argsort(pairs[:, 0], kind="stable")], "tolerance": tolerance, "symmetry": symmetry},
        input_core_dims=[CORE],
        output_core_dims=[[]] * len(NAMES),
        dask="parallelized",
        output_dtypes=[np.int64, float, float, float, float],
        keep_attrs=False,
    )
    dataset = xr.Dataset(dict(zip(NAMES, measured, strict=True)))
    for name, long_name in zip(NAMES, LONG_NAMES, strict=True):
        dataset[name].attrs = {"units": "1", "long_name": long_name}
    dataset.attrs = {"tolerance": tolerance, "symmetry": symmetry}
    return dataset


def _domains(phase: np.ndarray, pairs: np.ndarray, tolerance: float, symmetry: int) -> tuple[np.ndarray, ...]:
    *loop, rows, cols = phase.shape
    n = rows * cols
    maps = phase.reshape(-1, n)
    number = np.zeros(len(maps), np.int64)
    size, weighted, largest, boundary = np.full((4, len(maps)), np.nan)
    first, second = pairs[:, 0], pairs[:, 1].astype(np.int32)
    for k, angle in enumerate(maps):
        turns = angle * (symmetry / (2 * np.pi))
        apart = turns[second] - turns[first]
        np.abs(apart - np.rint(apart), out=apart)
        joined = apart <= tolerance / (2 * np.pi)
        n_pairs = np.isfinite(apart).sum()
        if n_pairs:
            boundary[k] = 1 - joined.sum() / n_pairs
        defined = np.isfinite(angle)
        rings = defined.sum()
        if not rings:
            continue
        start = np.concatenate([[0], np.cumsum(np.bincount(first[joined], minlength=n))]).astype(np.int32)
        graph = scipy.sparse.csr_array((np.ones(start[-1]), second[joined], start), shape=(n, n))
        _, label = scipy.sparse.csgraph.connected_components(graph, directed=False)
        sizes = np.bincount(label[defined])
        number[k] = np.count_nonzero(sizes)
        size[k] = rings / number[k]
        weighted[k] = np.square(sizes.astype(float)).sum() / rings
        largest[k] = sizes.max() / rings
    return tuple(result.reshape(loop) for result in (number, size, weighted, largest, boundary))
