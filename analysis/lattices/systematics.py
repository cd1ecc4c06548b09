"""Systematic errors of the steady correlation length: what it depends on beside the seeds.

Owns axis, estimator and window; the slot whose onsets give a ring its phase is a parameter (preset ``slots``).
"""

import numpy as np
import xarray as xr

from isophase.analysis.lattices.correlation_length import correlation_length
from isophase.analysis.lattices.steady_state import steady_state

SOURCES = {
    "axis": "half of the difference between the lengths along row and along col",
    "estimator": "length by the exponential fit less that by e-folding",
    "window": "length in the last quarter of the run less that in its last half",
}
NAMES = ("xi_inf_systematic", *(f"systematic_{source}" for source in SOURCES))
LATE = 0.25  # of the run, beside the half that is averaged


def systematics(summary: xr.Dataset, correlation: xr.Dataset, alternates: bool) -> xr.Dataset:
    """What is to stand beside the statistical error of ``xi_inf``, in ring spacings.

    None of these is corrected for the statistical error that it has itself, so where that is the larger they say no
    more than it does.

    Parameters
    ----------
    summary : with ``xi``, ``xi_without``, ``xi_inf``, ``xi_inf_fit``, and ``along``, ``side`` in ``attrs``.
    correlation : C of its seeds, of :func:`correlation.phase_correlation`.
    alternates : as in :func:`correlation_length.correlation_length`.

    Returns
    -------
    Dataset over the other dimensions of ``xi_inf``, NaN where there is no ``xi_inf``: ``systematic_axis``, half of what
    xi along row differs from xi along col (NaN where C is read along one alone); ``systematic_estimator``, the
    exponential fit less the e-folding; ``systematic_window``, the last quarter of the run less its last half; and
    ``xi_inf_systematic``, all that there are, in quadrature.
    """
    side, xi_inf = summary.attrs["side"], summary["xi_inf"]
    late = steady_state(summary["xi"], summary["xi_without"], side, window=LATE)["xi_inf"]
    found = xr.Dataset({
        "systematic_axis": xr.full_like(xi_inf, np.nan),
        "systematic_estimator": summary["xi_inf_fit"] - xi_inf,
        "systematic_window": late - xi_inf,
    })  # fmt: skip
    if summary.attrs["along"] == "axes" and min(correlation.attrs["rows"], correlation.attrs["cols"]) > 1:
        row, col = (_steady_along(axis, correlation, side, alternates) for axis in ("row", "col"))
        found["systematic_axis"] = np.abs(row - col) / 2
    found = found.where(xi_inf.notnull())
    parts = found.to_dataarray("source")
    found["xi_inf_systematic"] = ((parts**2).sum("source") ** 0.5).where(parts.notnull().any("source"))
    for source, text in SOURCES.items():
        found[f"systematic_{source}"].attrs = {"units": "ring spacings", "long_name": text}
    text = "systematic error of the steady correlation length: axis, estimator and window, in quadrature"
    found["xi_inf_systematic"].attrs = {"units": "ring spacings", "long_name": text}
    return found.reset_coords(drop=True)


def _steady_along(axis: str, correlation: xr.Dataset, side: int, alternates: bool) -> xr.DataArray:
    lengths = correlation_length(correlation, along=axis, alternates=alternates)
    return steady_state(lengths["xi_efold"], lengths["xi_efold_without"], side)["xi_inf"]
