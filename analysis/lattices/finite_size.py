"""Finite size: the steady correlation length against the side of the lattice, and its value for L -> infinity.

Owns the choice of sizes, the fit in 1/L and the verdict whether xi saturates; each xi_inf(L) is ``steady_state``'s.
"""

from typing import NamedTuple

import numpy as np
import scipy.special
import xarray as xr

from isophase.analysis.lattices.growth import FRACTION_OF_SIDE
from isophase.analysis.statistics import NORMAL_95, flags, student, welch

SATURATED, NOT_SATURATED, CANNOT_TELL = range(3)
STATES = ("saturated", "not_saturated", "cannot_tell")
FITTED = (
    "xi_infinite",
    "xi_infinite_error",
    "xi_infinite_low",
    "xi_infinite_high",
    "slope",
    "slope_error",
    "chi2",
    "dof",
    "p_value",
)
NAMES = (*FITTED, "size_exponent", "size_exponent_error", "state", "used", "beyond_quarter")
FAR = 0.1  # least part of xi by which a saturated one can differ between the largest lattice and an infinite one


def finite_size(
    xi: xr.DataArray, error: xr.DataArray, size_dim: str = "size", seeds: xr.DataArray | None = None
) -> xr.Dataset:
    """Correlation length extrapolated to an infinite lattice, ``xi(L) = xi_infinite + slope / L``.

    Weighted least squares; the errors of different sizes are independent (other seeds). 1/L is the leading correction
    of a boundary, the ratio of surface to volume (Fisher and Barber, Phys. Rev. Lett. 28, 1516 (1972)). On periodic
    lattices with xi << L it vanishes faster, so there ``slope`` should agree with 0, and the fit is a check. It is
    meaningless for xi ~ L: sizes with xi > L/4 are left out and flagged.

    Errors that are known are the weights, 1/error^2. Errors that come from a few ``seeds`` are themselves uncertain,
    and as weights they would prefer the sizes at which they happen to be small; so then the weights are L^2, as errors
    fall with the area of a lattice, and intervals are Student's, with degrees of freedom by Welch and Satterthwaite
    (Biometrics Bull. 2, 110 (1946)).

    Three sizes or more give chi^2, its degrees of freedom and its probability; two are solved exactly; one, none: NaN.
    Errors of n seeds raise chi^2 by (n - 1)/(n - 3), which is taken out of it; up to three seeds have none.

    Whether xi saturates is told from ``size_exponent``, p = d ln xi / d ln L between the two largest sizes at which xi
    is defined, also if it exceeds L/4, and from the slope. p is 0 for a length of its own, 1 for one in proportion to
    the lattice:

    - ``saturated``: the 95 % interval of p lies below 1/2, xi <= L/4 at the largest of all sizes, and with two sizes
      or more in the fit that of slope / L at the largest lies within +- 10 % of its xi;
    - ``not_saturated``: that of p lies above 1/2, and xi_infinite is NaN;
    - ``cannot_tell``: otherwise, also for a single size.

    Parameters
    ----------
    xi, error : over ``size_dim``, whose coordinate is the side of the lattice L in ring spacings, and any other
        dimensions; ring spacings, NaN where not defined. Sizes without an error are left out.
    seeds : likewise, how many seeds an error comes from, at least 2; without, errors are known.

    Returns
    -------
    Dataset over the other dimensions: ``xi_infinite``, ``slope`` with their ``_error``, the 95 % interval
    ``xi_infinite_low`` to ``xi_infinite_high``, ``chi2``, ``dof``, ``p_value``,
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
        xr.full_like(xi, np.inf) if seeds is None else seeds.astype(float),
        kwargs={"size": size},
        input_core_dims=[[size_dim]] * 3,
        output_core_dims=[[]] * (len(NAMES) - 2) + [[size_dim]] * 2,
        dask="parallelized",
        output_dtypes=[float] * 7 + [np.int64] + [float] * 3 + [np.int8, bool, bool],
        dask_gufunc_kwargs={"allow_rechunk": True},
        keep_attrs=False,
    )
    dataset = xr.Dataset(dict(zip(NAMES, measured, strict=True)))
    spacing = "ring spacings"
    for name, attrs in {
        "xi_infinite": {"units": spacing, "long_name": "correlation length of an infinite lattice"},
        "xi_infinite_error": {"units": spacing, "long_name": "standard error of the extrapolated correlation length"},
        "xi_infinite_low": {"units": spacing, "long_name": "lower end of the 95 % interval of that length"},
        "xi_infinite_high": {"units": spacing, "long_name": "upper end of the 95 % interval of that length"},
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


def _extrapolate(xi: np.ndarray, error: np.ndarray, seeds: np.ndarray, size: np.ndarray) -> tuple[np.ndarray, ...]:
    order = np.argsort(size)
    xi, error, seeds, size = xi[..., order], error[..., order], seeds[..., order], size[order]
    known = (xi > 0) & (error > 0) & np.isfinite(xi) & np.isfinite(error) & (seeds > 1)
    beyond = xi > FRACTION_OF_SIDE * size
    used = known & ~beyond
    error = np.where(known, error, 1.0)
    freedom = np.where(known, seeds - 1, np.inf)
    exact = np.isinf(freedom).all(axis=-1, keepdims=True)
    weight = np.where(used, np.where(exact, 1 / error**2, size.astype(float) ** 2), 0.0)
    fit = _line(np.where(used, xi, 0.0), error, freedom, weight, 1 / size)

    exponent, reach, exponent_error = _size_exponent(xi, error, freedom, size, known)
    several = used.sum(axis=-1) >= 2
    far = (np.abs(fit.slope) + fit.slope_reach) / size[-1] > FAR * xi[..., -1]
    state = np.where(exponent - reach > 0.5, NOT_SATURATED, CANNOT_TELL)
    state = np.where((exponent + reach < 0.5) & used[..., -1] & ~(several & far), SATURATED, state)
    ends = (fit.intercept - fit.reach, fit.intercept + fit.reach)
    given = several & (state != NOT_SATURATED)
    parts = (fit.intercept, fit.error, *ends, fit.slope, fit.slope_error, fit.chi2)
    back = np.argsort(order)
    told = (np.where(given, part, np.nan) for part in parts)
    verdict = state.astype(np.int8)
    p_value = np.where(given, fit.p, np.nan)
    return *told, fit.dof, p_value, exponent, exponent_error, verdict, used[..., back], beyond[..., back]


class _Line(NamedTuple):
    """Intercept and slope with their errors and the half widths of their 95 % intervals; chi^2 and its probability."""

    intercept: np.ndarray
    error: np.ndarray
    reach: np.ndarray
    slope: np.ndarray
    slope_error: np.ndarray
    slope_reach: np.ndarray
    chi2: np.ndarray
    dof: np.ndarray
    p: np.ndarray


def _line(y: np.ndarray, error: np.ndarray, freedom: np.ndarray, weight: np.ndarray, x: np.ndarray) -> _Line:
    number = (weight > 0).sum(axis=-1)
    total = np.where(number > 0, weight.sum(axis=-1), 1.0)[..., None]
    offset = x - (weight * x).sum(axis=-1, keepdims=True) / total
    spread = np.where(number > 1, (weight * offset**2).sum(axis=-1), 1.0)[..., None]
    # both are linear in y, by these coefficients
    of_slope = weight * offset / spread
    of_intercept = weight / total - of_slope * ((weight * x).sum(axis=-1, keepdims=True) / total)
    values, reaches, errors = [], [], []
    for coefficients in (of_intercept, of_slope):
        variance = np.square(coefficients * error)
        values.append((coefficients * y).sum(axis=-1))
        errors.append(np.sqrt(variance.sum(axis=-1)))
        reaches.append(_quantile(welch(variance, freedom)) * errors[-1])
    residual = np.where(weight > 0, y - values[0][..., None] - values[1][..., None] * x, 0.0)
    # of a variance that n seeds give, the mean of 1 / s^2 is (n - 1) / (n - 3) / sigma^2
    inflation = np.where(np.isinf(freedom), 1.0, (freedom - 2) / np.where(np.isinf(freedom), 1.0, freedom))
    chi2 = (np.square(residual / error) * np.where(inflation > 0, inflation, np.nan)).sum(axis=-1, where=weight > 0)
    dof = np.maximum(number - 2, 0)
    chi2 = np.where(dof > 0, chi2, 0.0)  # two sizes: rounding
    p = np.where(dof > 0, scipy.special.chdtrc(np.maximum(dof, 1), chi2), np.nan)
    return _Line(values[0], errors[0], reaches[0], values[1], errors[1], reaches[1], chi2, dof, p)


def _quantile(freedom: np.ndarray) -> np.ndarray:
    """Half width of a 95 % interval in standard errors."""
    finite = np.isfinite(freedom)
    return np.where(finite, student(0.95, np.where(finite, freedom, 1.0) + 1), NORMAL_95)


def _size_exponent(
    xi: np.ndarray, error: np.ndarray, freedom: np.ndarray, size: np.ndarray, known: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The exponent between the two largest sizes, the half width of its 95 % interval, and its error."""
    if len(size) < 2:
        nothing = np.full(xi.shape[:-1], np.nan)
        return nothing, nothing, nothing
    largest = np.argsort(np.where(known, size, 0.0), axis=-1)[..., -2:]
    log_xi = np.log(np.where(known, xi, 1.0))
    variance = np.square(np.where(known, error, 0.0) / np.where(known, xi, 1.0))
    log_xi, variance, freedom = (np.take_along_axis(part, largest, -1) for part in (log_xi, variance, freedom))
    step = np.log(size[largest[..., 1]] / size[largest[..., 0]])
    enough = known.sum(axis=-1) >= 2
    step = np.where(enough, step, 1.0)
    exponent = np.where(enough, (log_xi[..., 1] - log_xi[..., 0]) / step, np.nan)
    found = np.where(enough, np.sqrt(variance.sum(axis=-1)) / step, np.nan)
    return exponent, _quantile(welch(variance, freedom)) * found, found
