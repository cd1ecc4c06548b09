"""Constructed fields of ring phases whose correlation is known in closed form."""

import numpy as np
import xarray as xr


def field(phase, dims=("seed", "row", "col"), dtype="float32"):
    """Phases as they are stored: wrapped to [0, 2 pi)."""
    wrapped = np.mod(np.asarray(phase, float), 2 * np.pi).astype(dtype)
    wrapped[wrapped >= 2 * np.pi] = 0.0  # float32 rounds the last ones up to 2 pi
    return xr.DataArray(wrapped, dims=dims, attrs={"units": "rad"})


def white_noise(rng, *shape, dims=("seed", "row", "col")):
    return field(rng.uniform(0, 2 * np.pi, shape), dims)


def plane_wave(rows, cols, turns_row, turns_col):
    """A phase that turns whole times along each axis."""
    r, c = np.mgrid[:rows, :cols]
    return field(2 * np.pi * (turns_row * r / rows + turns_col * c / cols), ("row", "col"), "float64")


def random_walk_chains(rng, seeds, length, xi):
    """Open chains with C(d) = exp(-d / xi) exactly: normal steps of variance 2 / xi."""
    return field(np.cumsum(rng.normal(0, np.sqrt(2 / xi), (seeds, 1, length)), axis=-1))


def gaussian_fields(rng, number, side, length, variance):
    """Periodic Gaussian phases with covariance G(d), and their exact C(d) = exp(G(d) - G(0)) [row, col].

    The spectrum is exp(-k^2 length^2 / 2), so that C(d) is near exp(-variance d^2 / (2 length^2)) at short distance.
    """
    k = 2 * np.pi * np.fft.fftfreq(side)
    spectrum = np.exp(-(k[:, None] ** 2 + k[None, :] ** 2) * length**2 / 2)
    spectrum *= variance * side**2 / spectrum.sum()
    noise = np.fft.fft2(rng.standard_normal((number, side, side)))
    theta = np.fft.ifft2(noise * np.sqrt(spectrum)).real
    covariance = np.fft.ifft2(spectrum).real
    return field(theta), np.exp(covariance - covariance[0, 0])


def exact_efold(correlation_along):
    """First crossing of 1/e by linear interpolation of the logarithm, written out as a loop."""
    for d in range(1, len(correlation_along)):
        if correlation_along[d] <= np.exp(-1):
            high, low = np.log(correlation_along[d - 1]), np.log(correlation_along[d])
            return d - 1 + (high + 1) / (high - low)
    return np.nan


def half_planes(rows, cols, phase=np.pi):
    """Phase 0 in the left half, ``phase`` in the right one."""
    return field(np.where(np.arange(cols) < cols // 2, 0.0, phase) * np.ones((rows, 1)), ("row", "col"), "float64")


def checkerboard(rows, cols):
    """Neighbours in anti-phase on a square tiling."""
    r, c = np.mgrid[:rows, :cols]
    return field(np.pi * ((r + c) % 2), ("row", "col"), "float64")


def vortices(centres, rows, cols, points, signs):
    """Sum of the angles round ``points``, at the tiles' ``centres`` [tile, (x, y)]: a vortex of each sign at each."""
    angle = sum(s * np.arctan2(centres[:, 1] - y, centres[:, 0] - x) for (x, y), s in zip(points, signs, strict=True))
    return field(angle.reshape(rows, cols), ("row", "col"), "float64")


def series(rng, time, mean, scatter, seeds=4, repeats=1, memory=0.7, absent=0):
    """Lengths xi [repeat, time] = mean(t) times the mean over seeds of 1 + noise, and xi without each seed.

    The noise of a seed is normal with standard deviation ``scatter`` and keeps ``memory`` of its last value (AR(1)).
    """
    noise = rng.standard_normal((repeats, seeds, len(time)))
    for k in range(1, len(time)):
        noise[..., k] = memory * noise[..., k - 1] + np.sqrt(1 - memory**2) * noise[..., k]
    each = mean * (1 + scatter * noise)
    xi, without = each.mean(axis=1), (each.sum(axis=1, keepdims=True) - each) / max(seeds - 1, 1)
    if seeds == 1:
        without[:] = np.nan
    without = np.concatenate([without, np.full((repeats, absent, len(time)), np.nan)], axis=1)
    time = ("time", time, {"units": "tau"})
    return (
        xr.DataArray(xi, dims=("repeat", "time"), coords={"time": time}),
        xr.DataArray(without, dims=("repeat", "seed", "time"), coords={"time": time}),
    )
