"""Correlation length of the ring phases by three estimators, each with its uncertainty over seeds.

Owns the pooling over seeds, the jackknife, and "not defined" with its reason; C and S come from their own modules.

The estimators, of the |C| or the S of all seeds together:

- ``xi_efold``: where |C| falls to 1/e, as a mean over the levels of |C| from exp(-3/4) to exp(-5/4): how much
  distance has |C| above a level, divided by what it is for an exponential of length 1. ln |C| is linear in
  between; at odd distances it is no lower than half way between the even ones beside (``alternates``); beyond half
  of the lattice |C| goes on as the exponential through 1 and its last value. Exact for an exponential of any
  length, also below one spacing; a Gaussian exp(-(d/a)^2) has 0.997 a. It is continuous in C, no |C(d)| that rises
  lowers it, and no estimate of the noise enters it.
- ``xi_fit``: weighted least squares of ln |C| = ln A - d/xi from d = 1 to the last distance before |C| falls
  below 3 standard deviations of its noise (``noise``) for two distances in a row, and not beyond half of the
  lattice; weights pairs |C|^2, the inverse variance of ln |C|. At least 3 distances; those from which |C| rises
  again by more than 2 standard deviations are passed over.
- ``xi_second_moment`` (with ``structure``): curvature of S at its peak Q, wherever it lies, averaged over modes
  (:func:`_second_moment`). S = S0 / (1 + xi^2 k^2) (Ornstein and Zernike) gives xi; C = exp(-d/xi) gives xi on a
  chain and about 1.3 xi in the plane.
"""

from typing import Any, NamedTuple

import numpy as np
import scipy.special
import xarray as xr

DEFINED, NO_PAIRS, BEYOND_HALF, NOISE, TOO_FEW, UPPER_BOUND, NO_WAVEVECTOR, WAVES = range(8)
REASONS = (
    "defined",
    "no_pairs_of_defined_rings",
    "longer_than_half_the_lattice",
    "not_above_the_noise",
    "too_few_distances_above_the_noise",
    "upper_bound_neighbours_correlate_no_more_than_noise",
    "no_wavevector_on_a_graph",
    "waves_have_a_wavelength",
)
ESTIMATORS = ("efold", "fit", "second_moment")
PARTS = ("", "_error", "_reason", "_without")
ALONG = ("axes", "row", "col", "radial", "graph")
FIT_ABOVE = 3.0  # in standard deviations of the noise: there noise raises |C| by 1/18 and biases ln |C| by as little
RISES_BY = 2.0  # in standard deviations of the noise
FIT_POINTS = 3  # two points always lie on an exponential
BAND = 0.25  # to either side of -ln |C| = 1
CHANCE = 0.01  # with which uncorrelated rings may pass for coherent ones


def correlation_length(
    correlation: xr.Dataset,
    structure: xr.Dataset | None = None,
    seed_dim: str = "seed",
    along: str = "axes",
    alternates: bool = True,
) -> xr.Dataset:
    """Correlation length, in ring spacings, of the seed-averaged correlation, for every map.

    Seeds are pooled before anything is drawn from C: ``C(d) = sum_s pairs_s C_s / sum_s pairs_s``, and S likewise by
    defined rings. The length comes from ``|C|``. Neighbouring rings may lock in phase or in anti-phase, where C
    alternates in sign, and patches of both may lie side by side, which cancel at odd distances: there |C| tells how
    much there is of either order, and at even distances how far it reaches.

    ``xi_efold``, ``xi_fit`` and (with ``structure``) ``xi_second_moment`` are described at the head of this module.

    Where every seed by itself has |C| > 1/e up to half of the lattice, the length is ``longer_than_half_the_lattice``
    whatever the pooled C is: lattices that are coherent but twisted by different whole turns cancel there.

    Each ``xi_*`` is NaN where not defined, and ``xi_*_reason`` says why (``flag_meanings``); where it is longer than
    half of the lattice, ``xi_lower_bound`` says so much; that |C| is so high there for want of pairs must have less
    than 1 % of chance, and no distance may be without pairs. With |C| of neighbours inside its noise ``xi_efold`` is
    kept and flagged: the length is no more than about that. ``noise`` is the standard deviation of C(d) between
    uncorrelated rings, from the number of pairs and of rings correlated with one (Bartlett 1946): |C| of n rings never
    falls below it.

    Uncertainty: delete-one jackknife over seeds of the whole estimate, one standard error. Seeds are the independent
    units, they are few, and the estimate is a smooth function of means: there the jackknife is deterministic, while a
    bootstrap of few seeds is biased low by 1 - 1/seeds. ``xi_*_without`` (over seeds) is the estimate that leaves
    that seed out, for errors of what is drawn from xi later. One seed has no uncertainty: NaN; so has an estimate
    that some seed decides about. A seed without defined rings counts as absent.

    Parameters
    ----------
    correlation : from :func:`isophase.analysis.lattices.correlation.phase_correlation`, with or without ``seed_dim``.
    structure : from :func:`isophase.analysis.lattices.structure_factor.structure_factor` of the same phases.
    along : ``axes`` (mean of |C| along both axes; a chain has one), ``row``, ``col`` or ``radial``; it also names the
        ``correlation`` that is returned. The second moment is that of the whole plane. ``graph``: ``correlation`` is
        :func:`graph_correlation.graph_correlation`'s, lengths are hops, half of the lattice is the farthest that any
        two rings are apart, and there is no second moment.
    alternates : whether the rings have two sublattices, so that neighbours can lock in anti-phase.

    Returns
    -------
    Dataset over the other dimensions: for each estimator ``xi_E``, ``xi_E_error``, ``xi_E_reason``, ``xi_E_without``;
    ``xi_lower_bound``, ``seeds`` (those with defined rings), ``defined`` (fraction of rings, over all seeds), and over
    ``distance`` the pooled ``correlation`` = |C| and its ``noise``.

    Raises ValueError for a dataset that lacks the variables, or another ``along``.
    """
    if along not in ALONG:
        raise ValueError(f"along={along!r}: must be one of {', '.join(ALONG)}")
    directions = () if along == "graph" else ("along_row", "along_col")
    _require("correlation", correlation, (*directions, "radial", "correlated_rings", "defined"))
    correlation = _with_seeds(correlation, seed_dim)
    rows, cols = correlation.attrs["rows"], correlation.attrs["cols"]
    half = correlation.sizes["distance"] - 1 if along == "graph" else min(_sides(along, rows, cols)) // 2
    distance = correlation["radial_distance" if along == "radial" else "distance"].variable
    axis = xr.DataArray(distance.values.astype(float), dims="distance")
    result = _efold_and_fit(correlation, axis, half, along, alternates, seed_dim)
    estimators: tuple[str, ...] = ESTIMATORS
    if structure is not None:
        _require("structure", structure, ("centred", "defined", "shell_modes", "shell_k2"))
        side = min(_sides("axes", rows, cols))
        result.update(_second_moments(_with_seeds(structure, seed_dim), result["xi_efold"], side, seed_dim))
    elif along == "graph":
        for part in ("", "_error", "_without"):
            result[f"xi_second_moment{part}"] = xr.full_like(result[f"xi_fit{part}"], np.nan)
        result["xi_second_moment_reason"] = xr.full_like(result["xi_fit_reason"], NO_WAVEVECTOR)
    else:
        estimators = ESTIMATORS[:2]
    result["xi_lower_bound"] = xr.where(result["xi_efold_reason"] == BEYOND_HALF, axis.isel(distance=half), np.nan)
    result["defined"] = correlation["defined"].mean(seed_dim)
    described = _described(result, estimators, along, correlation.attrs["boundary"])
    return described.assign_coords(distance=distance)


def _efold_and_fit(
    correlation: xr.Dataset, axis: xr.DataArray, half: int, along: str, alternates: bool, seed_dim: str
) -> xr.Dataset:
    """The estimates from C, their errors, and what C they were drawn from."""
    names = _profiles(along, correlation.attrs["rows"], correlation.attrs["cols"])
    values = xr.concat([correlation[c] for c, _ in names], "profile")
    per_distance = ["profile", seed_dim, "distance"]
    measured = xr.apply_ufunc(
        _from_correlation,
        values.real,
        values.imag,
        xr.concat([correlation[p] for _, p in names], "profile"),
        correlation["correlated_rings"],
        axis,
        kwargs={"half": half, "alternates": alternates, "radial": along in ("radial", "graph")},
        input_core_dims=[per_distance, per_distance, per_distance, [seed_dim], ["distance"]],
        output_core_dims=[[], [], [], [seed_dim]] * 2 + [[], ["distance"], ["distance"]],
        dask="parallelized",
        output_dtypes=[float, float, np.int8, float] * 2 + [np.int64, float, float],
        keep_attrs=False,
    )
    names_out = [f"xi_{e}{part}" for e in ESTIMATORS[:2] for part in PARTS]
    return xr.Dataset(dict(zip([*names_out, "seeds", "correlation", "noise"], measured, strict=True)))


def _second_moments(structure: xr.Dataset, efold: xr.DataArray, side: int, seed_dim: str) -> xr.Dataset:
    """The estimate from S, and its error."""
    measured = xr.apply_ufunc(
        _from_structure,
        structure["centred"],
        structure["defined"],
        structure["shell_modes"],
        structure["shell_k2"],
        efold,
        kwargs={"half": side / 2, "side": side},
        input_core_dims=[[seed_dim, "shell"], [seed_dim], ["shell"], ["shell"], []],
        output_core_dims=[[], [], [], [seed_dim]],
        dask="parallelized",
        output_dtypes=[float, float, np.int8, float],
        keep_attrs=False,
    )
    return xr.Dataset({f"xi_second_moment{part}": found for part, found in zip(PARTS, measured, strict=True)})


def _require(name: str, dataset: xr.Dataset, variables: tuple[str, ...]) -> None:
    missing = [v for v in variables if v not in dataset] + [a for a in ("rows", "cols") if a not in dataset.attrs]
    if missing:
        raise ValueError(f"{name} has no {', '.join(missing)}: must come from the measurement of that name in analysis")


def _with_seeds(dataset: xr.Dataset, seed_dim: str) -> xr.Dataset:
    """The dataset with a seed dimension, whole in a chunk."""
    if seed_dim not in dataset.dims:
        dataset = dataset.expand_dims(seed_dim)
    return dataset.chunk({seed_dim: -1}) if dataset.chunks else dataset


def _sides(along: str, rows: int, cols: int) -> list[int]:
    """Sides of the lattice that bound a distance; a side of one ring has no distances."""
    sides = {"row": [rows], "col": [cols]}.get(along, [side for side in (rows, cols) if side > 1])
    return sides or [1]


def _profiles(along: str, rows: int, cols: int) -> list[tuple[str, str]]:
    if along in ("radial", "graph"):
        return [("radial", "pairs_radial")]
    if along in ("row", "col"):
        return [(f"along_{along}", f"pairs_{along}")]
    axes = [axis for axis, side in (("row", rows), ("col", cols)) if side > 1] or ["col"]
    return [(f"along_{axis}", f"pairs_{axis}") for axis in axes]


class _Estimate(NamedTuple):
    xi: np.ndarray
    reason: np.ndarray


def _pooled(values: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Weighted mean over seeds (axis 0) of all of them, then without each; and the weights' sums. [1 + seed, ...]."""
    numerator = np.where(weights > 0, values, 0) * weights
    total, number = numerator.sum(axis=0), weights.sum(axis=0)
    # Sums without a seed are taken anew: a difference would leave rounding noise where they should be 0.
    keep = ~np.eye(len(values), dtype=bool)
    numerators = np.stack([total, *(numerator[k].sum(axis=0) for k in keep)])
    numbers = np.stack([number, *(weights[k].sum(axis=0) for k in keep)])
    mean = np.full(numerators.shape, np.nan, numerators.dtype)
    np.divide(numerators, numbers, out=mean, where=numbers > 0)
    return mean, numbers


def _from_correlation(
    real: np.ndarray,
    imaginary: np.ndarray,
    pairs: np.ndarray,
    correlated: np.ndarray,
    distance: np.ndarray,
    half: int,
    alternates: bool,
    radial: bool,
) -> tuple[np.ndarray, ...]:
    """Estimates from C [..., profile, seed, distance]; see :func:`correlation_length`."""
    values, pairs = np.moveaxis(real + 1j * imaginary, -2, 0), np.moveaxis(pairs, -2, 0).astype(float)
    correlated = np.moveaxis(correlated, -1, 0)[..., None, None]
    if radial:
        # Neighbouring displacements of a bin share their noise: about A of them count as one.
        correlated = correlated * np.minimum(correlated, np.maximum(pairs / np.maximum(pairs[..., :1], 1), 1))
    mean, number = _pooled(values, pairs)
    variance = np.where(pairs > 0, correlated, 0) * pairs
    variance = np.divide(
        variance.sum(axis=0), number[0] ** 2, out=np.full(number[0].shape, np.nan), where=number[0] > 0
    )
    profile, number = np.abs(mean).mean(axis=-2), number.sum(axis=-2)
    noise = np.sqrt(variance.mean(axis=-2))
    present = (pairs[..., 0] > 0).any(axis=-1)
    # Seeds that are coherent but twisted by different whole turns cancel in the pooled C: no length is shorter for it.
    alone = _above_cancelled(np.abs(values).mean(axis=-2)[..., : half + 1], alternates)
    high = (alone > np.exp(-1)).all(axis=-1) & _by_more_than_chance(alone, pairs.sum(axis=-2)[..., : half + 1])
    coherent = (half > 0) & present.any(axis=0) & (high | ~present).all(axis=0)
    efold, fit = (
        _Estimate(np.where(coherent, np.nan, xi), np.where(coherent, BEYOND_HALF, reason))
        for xi, reason in (
            _efold(profile, number, noise, distance, half, alternates),
            _fit(profile, number, noise, distance, half),
        )
    )
    seeds = present.sum(axis=0)
    results = (_with_errors(estimate, present) for estimate in (efold, fit))
    return (*(part for result in results for part in result), seeds, profile[0], noise)


def _from_structure(
    centred: np.ndarray,
    defined: np.ndarray,
    modes: np.ndarray,
    k2: np.ndarray,
    efold: np.ndarray,
    half: float,
    side: int,
) -> tuple[np.ndarray, ...]:
    """The second moment from S [..., seed, shell]."""
    centred, defined = np.moveaxis(centred, -2, 0), np.moveaxis(defined, -1, 0)
    defined = np.where(defined * modes.sum() > 1.5, defined, 0.0)  # a single ring has S = 1 everywhere, to rounding
    S, _ = _pooled(centred, np.broadcast_to(defined[..., None], centred.shape))
    present: np.ndarray = np.greater(defined, 0)
    return _with_errors(_second_moment(S, modes, k2, half, efold, side), present)


def _with_errors(estimate: _Estimate, present: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """The estimate of all seeds, its jackknife error and reason, and the estimates without each seed (seed last)."""
    without = np.where(present, estimate.xi[1:], np.nan)
    seeds = present.sum(axis=0)
    mean = np.where(present, without, 0).sum(axis=0) / np.maximum(seeds, 1)
    spread = np.where(present, np.square(without - mean), 0).sum(axis=0)
    error = np.sqrt(spread * np.maximum(seeds - 1, 0) / np.maximum(seeds, 1))
    error = np.where((seeds > 1) & np.isfinite(estimate.xi[0]), error, np.nan)
    return estimate.xi[0], error, estimate.reason[0].astype(np.int8), np.moveaxis(without, 0, -1)


def _by_more_than_chance(profile: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """Whether uncorrelated pairs would not reach such |C|: of the mean of n unit vectors n r^2 is exponential."""
    square = (pairs * np.square(profile))[..., 1:]
    return scipy.special.gammaincc(square.shape[-1], square.sum(axis=-1)) < CHANCE


def _above_cancelled(profile: np.ndarray, alternates: bool) -> np.ndarray:
    """|C| at 0, 1, 2, ..., at odd distances no lower than the geometric mean of its neighbours."""
    if not alternates or profile.shape[-1] < 3:
        return profile
    raised = profile.copy()
    odd = raised[..., 1:-1:2]
    np.maximum(odd, np.sqrt(profile[..., :-2:2] * profile[..., 2::2]), out=odd)
    return raised


def _efold(
    profile: np.ndarray, number: np.ndarray, noise: np.ndarray, distance: np.ndarray, half: int, alternates: bool
) -> _Estimate:
    if half == 0:
        return _Estimate(np.full(profile.shape[:-1], np.nan), np.full(profile.shape[:-1], NO_PAIRS))
    profile, number, noise, distance = (a[..., : half + 1] for a in (profile, number, noise, distance))
    no_more_than_noise = (profile < 2 * noise)[..., 1:3].all(axis=-1)
    profile = _above_cancelled(profile, alternates)
    with np.errstate(divide="ignore"):
        falls = -np.log(profile)  # inf where C vanishes: nothing of that interval is above any level
    xi = (_part_above(falls[..., :-1], falls[..., 1:]) * np.diff(distance)).sum(axis=-1)
    last = np.maximum(falls[..., -1], 1e-9)
    xi = xi + distance[-1] / last * _integral_above(last)
    crossing = np.clip(np.searchsorted(distance, np.where(np.isfinite(xi), xi, 0)), 1, half)
    noise_there = np.take_along_axis(np.broadcast_to(noise, profile.shape), crossing[..., None], -1)[..., 0]
    reason = np.where(no_more_than_noise, UPPER_BOUND, DEFINED)
    reason = np.where(noise_there >= np.exp(-1), NOISE, reason)
    beyond = np.where(_by_more_than_chance(profile, number), BEYOND_HALF, NOISE)
    reason = np.where(xi > distance[-1], beyond, reason)
    reason = np.where(np.isnan(xi), NO_PAIRS, reason)
    return _Estimate(np.where((reason == DEFINED) | (reason == UPPER_BOUND), xi, np.nan), reason)


def _part_above(at_start: np.ndarray, at_end: np.ndarray) -> np.ndarray:
    """Mean over an interval, along which -ln |C| is linear, of the part of the band of levels that |C| is above."""
    low, high = np.minimum(at_start, at_end), np.maximum(at_start, at_end)
    rise = high - np.where(np.isinf(low), 0.0, low)
    steep = rise > 1e-6  # else the ends are as good as equal, and the integral over -ln |C| is the share times the rise
    sloped = (_integral_above(low) - _integral_above(high)) / np.where(steep, rise, 1.0)
    return np.where(steep | np.isnan(rise), sloped, _share_above(low))


def _share_above(falls: np.ndarray) -> np.ndarray:
    """Share of the levels exp(-1 - BAND) to exp(-1 + BAND), even in their logarithm, that exp(-falls) is above."""
    return np.clip((1 + BAND - falls) / (2 * BAND), 0.0, 1.0)


def _integral_above(falls: np.ndarray) -> np.ndarray:
    """Integral of that share from ``falls`` on; 1 from 0 on."""
    inside = np.clip(1 + BAND - falls, 0.0, 2 * BAND)
    return np.square(inside) / (4 * BAND) + np.maximum(1 - BAND - falls, 0.0)


def _fit(profile: np.ndarray, number: np.ndarray, noise: np.ndarray, distance: np.ndarray, half: int) -> _Estimate:
    # One window, that of all seeds: a window that moved with each seed left out would make the estimate rough.
    with np.errstate(invalid="ignore"):
        above = (profile[0] > FIT_ABOVE * noise)[..., 1 : half + 1]
        passed_over = (profile[0][..., :-1] + RISES_BY * noise[..., :-1] < profile[0][..., 1:])[..., 1:half]
    reached = above.copy()
    reached[..., :-1] |= above[..., 1:]
    window = np.logical_and.accumulate(reached, axis=-1) & above
    window[..., :-1] &= ~passed_over
    C, d = profile[..., 1 : half + 1], distance[1 : half + 1]
    usable = window & (C > 0)
    weight = np.where(usable, number[..., 1 : half + 1] * np.where(usable, C, 0) ** 2, 0.0)
    log = np.log(np.where(usable, C, 1.0))
    total = weight.sum(axis=-1)
    total = np.where(total > 0, total, 1.0)
    mean_d, mean_log = (weight * d).sum(axis=-1) / total, (weight * log).sum(axis=-1) / total
    offset = d - mean_d[..., None]
    spread = (weight * offset**2).sum(axis=-1)
    slope = (weight * offset * (log - mean_log[..., None])).sum(axis=-1) / np.where(spread > 0, spread, 1.0)
    enough = np.broadcast_to(window.sum(axis=-1) >= FIT_POINTS, slope.shape)
    decays = slope * -(distance[half]) > 1
    xi = -1.0 / np.where(decays, slope, -1.0)
    reason = np.where(enough, np.where(decays, DEFINED, BEYOND_HALF), TOO_FEW)
    reason = np.where(np.isnan(profile[..., 0]), NO_PAIRS, reason)
    return _Estimate(np.where(reason == DEFINED, xi, np.nan), reason)


def _second_moment(
    S: np.ndarray, modes: np.ndarray, k2: np.ndarray, half: float, efold: np.ndarray, side: int
) -> _Estimate:
    """Second moment of S, the curvature at its peak Q.

    The textbook form on a periodic lattice is ``xi^2 = (S(Q)/S(Q + q1) - 1) / (4 sin^2(q1/2))``; one mode is one
    exponential random number a seed, so here S is averaged over the inner third (0) and the outer third (1) of the
    radius of the disc of modes |k| = |q - Q| <= 1 / xi_efold, and ``xi^2 = (<S>_0 - <S>_1) / (<S k^2>_1 - <S k^2>_0)``
    with k^2 = 4 sin^2(k/2). A disc of one shell, which is the least, is the textbook form. It measures a lattice:
    exp(-d/xi) on a chain has exactly 1 / (2 sinh(1 / (2 xi))), which is xi for xi >> 1. On open boundaries the taper
    in S lowers xi by a relative order xi/L.
    """
    if len(modes) == 1:  # of a single ring
        return _Estimate(np.full(S.shape[:-1], np.nan), np.full(S.shape[:-1], NO_PAIRS))
    # The disc comes from C, which averages over all rings; from S, the noise of single modes would choose it.
    reach = np.where(efold > 0, side / (2 * np.pi * np.where(efold > 0, efold, 1.0)), 1.0)
    outermost = np.clip(np.rint(reach), 1, len(modes) - 1)[..., None]
    shell = np.arange(len(modes))
    inner = np.where(shell <= outermost // 3, modes, 0)
    outer = np.where((shell >= np.maximum(np.ceil(2 * outermost / 3), 1)) & (shell <= outermost), modes, 0)
    S0, S1 = _mode_mean(S, inner), _mode_mean(S, outer)
    moment0, moment1 = _mode_mean(S * k2, inner), _mode_mean(S * k2, outer)
    xi2 = np.divide(S0 - S1, moment1 - moment0, out=np.full(S0.shape, np.inf), where=moment1 > moment0)
    positive = xi2 > 0
    xi = np.sqrt(np.where(positive, xi2, 0.0))
    reason = np.where(positive, np.where(xi > half, BEYOND_HALF, DEFINED), NOISE)
    reason = np.where(np.isnan(S[..., 0]), NO_PAIRS, reason)
    return _Estimate(np.where(reason == DEFINED, xi, np.nan), reason)


def _mode_mean(values: np.ndarray, modes: np.ndarray) -> np.ndarray:
    return (values * modes).sum(axis=-1) / modes.sum(axis=-1)


def _described(result: xr.Dataset, estimators: tuple[str, ...], along: str, boundary: str) -> xr.Dataset:
    spacing = "ring spacings"
    flags = {"flag_values": np.arange(len(REASONS), dtype=np.int8), "flag_meanings": " ".join(REASONS)}
    for name in estimators:
        label = f"correlation length, {name.replace('_', ' ')}"
        result[f"xi_{name}"].attrs = {"units": spacing, "long_name": label}
        result[f"xi_{name}_error"].attrs = {
            "units": spacing,
            "long_name": f"standard error of the {label} (jackknife over seeds)",
        }
        result[f"xi_{name}_without"].attrs = {"units": spacing, "long_name": f"{label}, without that seed"}
        result[f"xi_{name}_reason"].attrs = {"long_name": f"why the {label} is or is not defined", **flags}
    result["xi_lower_bound"].attrs = {"units": spacing, "long_name": "the correlation length exceeds this"}
    result["seeds"].attrs = {"units": "1", "long_name": "seeds with defined rings"}
    result["correlation"].attrs = {"units": "1", "long_name": f"modulus of the phase correlation ({along})"}
    result["noise"].attrs = {"units": "1", "long_name": "standard deviation of the correlation of uncorrelated rings"}
    result["defined"].attrs = {"units": "1", "long_name": "fraction of rings whose phase is defined"}
    result.attrs = {"along": along, "boundary": boundary, "uncertainty": "delete-one jackknife over seeds"}
    return result
