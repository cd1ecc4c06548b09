"""Finite size: the steady correlation length against the side of the lattice, and its value for L -> infinity.

Owns the choice of sizes, the fit in 1/L and the verdict whether xi saturates; each xi_inf(L) is ``steady_state``'s.
"""

import numpy as np
import scipy.special
import xarray as xr

from isophase.analysis.lattices.growth import FRACTION_OF_SIDE
from isophase.analysis.statistics import flags

SATURATED, NOT_SATURATED, CANNOT_TELL = range(3)
STATES = ("saturated", "not_saturated", "cannot_tell")
FITTED = ("xi_infinite", "xi_infinite_error", "slope", "slope_error", "chi2", "dof", "p_value")
NAMES = (*FITTED, "size_exponent", "size_exponent_error", "state", "used", "beyond_quarter")
NORMAL_95 = 1.959964


def finite_size(xi: xr.DataArray, error: xr.DataArray, size_dim: str = "size") -> xr.Dataset:
    """Correlation length extrapolated to an infinite lattice, ``xi(L) = xi_infinite + slope / L``.

    Weighted least squares, weights 1/error^2; the errors of different sizes are independent (other seeds) and taken
    as known. 1/L is the leading correction of a boundary, the ratio of surface to volume (Fisher and Barber, Phys. Rev.
    Lett. 28, 1516 (1972)). On periodic lattices with xi << L it vanishes faster, so there ``slope`` should agree with
    0, and the fit is a check. It is meaningless for xi ~ L: sizes with xi > L/4 are left out and flagged.

    Three sizes or more give chi^2, its degrees of freedom and its probability; two are solved exactly; one, none: NaN.
    Errors from n seeds are themselves uncertain, which raises chi^2 by about (n - 1)/(n - 3): with few seeds a small
    ``p_value`` is no proof of a wrong law.

    Whether xi saturates is told from ``size_exponent``, p = d ln xi / d ln L between the two largest sizes at which xi
    is defined, also if it exceeds L/4. p is 0 for a length of its own, 1 for one in proportion to the lattice:

    - ``saturated``: the 95 % interval of p lies below 1/2, and xi <= L/4 at the largest of all sizes;
    - ``not_saturated``: it lies above 1/2, and xi_infinite is NaN;
    - ``cannot_tell``: otherwise, also for a single size.

    Parameters
    ----------
    xi, error : over ``size_dim``, whose coordinate is the side of the lattice L in ring spacings, and any other
        dimensions; ring spacings, NaN where not defined. Sizes without an error are left out.

    Returns
    -------
    Dataset over the other dimensions: ``xi_infinite``, ``slope`` with their ``_error``, ``chi2``, ``dof``, ``p_value``,
    ``size_exponent`` with its ``_error``, ``state``; and over ``size_dim`` ``used`` and ``beyond_quarter`` (xi > L/4).

    Raises ValueError for arrays without that dimension and its coordinate, or sizes that are not positive and distinct.
    """
    for name, array in (("xi", xi), ("error", error)):
        if size_dim not in array.dims or size_dim not in array.coords:
            raise ValueError(f"{name} has dimensions {array.dims}: must include {size_dim}, with a coordinate")
    size = np.asarray(xi[size_dim].values, float)
    if not (size > 0).all() or len(np.unique(size)) < len(size):
        raise ValueError(f"{size_dim}={size}: must be positive and distinct")
    measured = xr.apply_ufunc(
        _extrapolate,
        xi,
        error,
        kwargs={"size": size},
        input_core_dims=[[size_dim], [size_dim]],
        output_core_dims=[[]] * (len(NAMES) - 2) + [[size_dim]] * 2,
        dask="parallelized",
        output_dtypes=[float] * 5 + [np.int64] + [float] * 3 + [np.int8, bool, bool],
        dask_gufunc_kwargs={"allow_rechunk": True},
        keep_attrs=False,
    )
    dataset = xr.Dataset(dict(zip(NAMES, measured, strict=True)))
    spacing = "ring spacings"
    for name, attrs in {
        "xi_infinite": {"units": spacing, "long_name": "correlation length of an infinite lattice"},
        "xi_infinite_error": {"units": spacing, "long_name": "standard error of the extrapolated correlation length"},
        "slope": {"units": "ring spacings^2", "long_name": "coefficient of 1/L"},
        "slope_error": {"units": "ring spacings^2", "long_name": "standard error of the coefficient of 1/L"},
        "chi2": {"units": "1", "long_name": "sum of squared residuals in units of their errors"},
        "dof": {"units": "1", "long_name": "degrees of freedom, sizes less two"},
        "p_value": {"units": "1", "long_name": "probability of a chi^2 at least as large"},
        "size_exponent": {"units": "1", "long_name": "d ln xi / d ln L between the two largest sizes"},
        "size_exponent_error": {"units": "1", "long_name": "standard error of d ln xi / d ln L"},
        "state": {"long_name": "whether the correlation length saturates with size", **flags(STATES)},
        "used": {"long_name": "the size is in the fit"},
        "beyond_quarter": {"long_name": "the correlation length exceeds a quarter of the lattice"},
    }.items():
        dataset[name].attrs = attrs
    return dataset


def _extrapolate(xi: np.ndarray, error: np.ndarray, size: np.ndarray) -> tuple[np.ndarray, ...]:
    order = np.argsort(size)
    xi, error, size = xi[..., order], error[..., order], size[order]
    known = (xi > 0) & (error > 0) & np.isfinite(xi) & np.isfinite(error)
    beyond = xi > FRACTION_OF_SIDE * size
    used = known & ~beyond
    exponent, exponent_error = _size_exponent(xi, error, size, known)
    reach = NORMAL_95 * exponent_error
    state = np.where(exponent - reach > 0.5, NOT_SATURATED, CANNOT_TELL)
    state = np.where((exponent + reach < 0.5) & used[..., -1], SATURATED, state)
    *fit, dof, p = _line(np.where(used, xi, 0.0), np.where(used, 1 / np.where(used, error, 1.0) ** 2, 0.0), 1 / size)
    fit = [np.where((used.sum(axis=-1) >= 2) & (state != NOT_SATURATED), part, np.nan) for part in fit]
    back = np.argsort(order)
    return (*fit, dof, np.where(np.isfinite(fit[-1]), p, np.nan), exponent, exponent_error, state.astype(np.int8),
            used[..., back], beyond[..., back])  # fmt: skip


def _line(y: np.ndarray, weight: np.ndarray, x: np.ndarray) -> tuple[np.ndarray, ...]:
    """Intercept, slope, their errors, chi^2, its degrees of freedom and probability, by weighted least squares."""
    number = (weight > 0).sum(axis=-1)
    total = np.where(number > 0, weight.sum(axis=-1), 1.0)
    mean_x, mean_y = (weight * x).sum(axis=-1) / total, (weight * y).sum(axis=-1) / total
    offset = x - mean_x[..., None]
    spread = np.where(number > 1, (weight * offset**2).sum(axis=-1), 1.0)
    slope = (weight * offset * y).sum(axis=-1) / spread
    intercept = mean_y - slope * mean_x
    intercept_error = np.sqrt(1 / total + mean_x**2 / spread)
    chi2 = (weight * np.square(y - intercept[..., None] - slope[..., None] * x)).sum(axis=-1)
    dof = np.maximum(number - 2, 0)
    chi2 = np.where(dof > 0, chi2, 0.0)  # two sizes: rounding
    p = np.where(dof > 0, scipy.special.chdtrc(np.maximum(dof, 1), chi2), np.nan)
    return intercept, intercept_error, slope, 1 / np.sqrt(spread), chi2, dof, p


def _size_exponent(
    xi: np.ndarray, error: np.ndarray, size: np.ndarray, known: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    if len(size) < 2:
        nothing = np.full(xi.shape[:-1], np.nan)
        return nothing, nothing
    largest = np.argsort(np.where(known, size, 0.0), axis=-1)[..., -2:]
    log_xi = np.log(np.where(known, xi, 1.0))
    relative = np.where(known, error, 0.0) / np.where(known, xi, 1.0)
    log_xi, relative = (np.take_along_axis(part, largest, -1) for part in (log_xi, relative))
    step = np.log(size[largest[..., 1]] / size[largest[..., 0]])
    enough = known.sum(axis=-1) >= 2
    step = np.where(enough, step, 1.0)
    exponent = np.where(enough, (log_xi[..., 1] - log_xi[..., 0]) / step, np.nan)
    return exponent, np.where(enough, np.hypot(relative[..., 0], relative[..., 1]) / step, np.nan)
