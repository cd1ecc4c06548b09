"""Waves: rings in the structure factor of fields of known wavelength, and none in fields that coarsen."""

import numpy as np
import pytest
import xarray as xr

from isophase.analysis.lattices.structure_factor import structure_factor
from isophase.analysis.lattices.waves import waves
from tests.phase_fields import field, gaussian_fields, plane_wave, white_noise


def spirals(rng, side, wavelength, seeds=4, number=3):
    """Regions of spirals, each point in the region of the spiral nearest to it."""
    row, col = np.mgrid[:side, :side]
    phases = []
    for _ in range(seeds):
        points = rng.uniform(0, side, (number, 2))
        away = [((row - r + side / 2) % side - side / 2, (col - c + side / 2) % side - side / 2) for r, c in points]
        nearest = np.argmin([np.hypot(*d) for d in away], axis=0)
        each = [2 * np.pi * np.hypot(*d) / wavelength + np.arctan2(*d) + rng.uniform(0, 6) for d in away]
        phases.append(np.choose(nearest, each))
    return field(np.stack(phases))


def rings_of_spectrum(rng, side, wavelength, width, seeds=4):
    """Arguments of complex Gaussian fields whose spectrum is a ring."""
    k = 2 * np.pi * np.fft.fftfreq(side)
    spectrum = np.exp(-((np.hypot(k[:, None], k[None, :]) - 2 * np.pi / wavelength) ** 2) / (2 * width**2))
    noise = rng.standard_normal((2, seeds, side, side))
    return field(np.angle(np.fft.ifft2(np.sqrt(spectrum) * (noise[0] + 1j * noise[1]))))


def staggered(phase):
    row, col = np.mgrid[: phase.sizes["row"], : phase.sizes["col"]]
    return field(phase.values.astype(float) + np.pi * ((row + col) % 2))


def measure(phase):
    return waves(structure_factor(phase))


@pytest.mark.parametrize(
    ("side", "wavelength", "number"), [(64, 9.0, 1), (96, 16.0, 2), (128, 12.0, 2), (192, 24.0, 2)]
)
@pytest.mark.parametrize("anti_phase", [False, True])
def test_spirals_are_waves_of_their_wavelength(side, wavelength, number, anti_phase):
    phase = spirals(np.random.default_rng(side), side, wavelength, number=number)
    got = measure(staggered(phase) if anti_phase else phase)
    assert got.waves
    assert got.wavelength == pytest.approx(wavelength, rel=0.02)
    assert got.wavelength_error < 0.02 * wavelength


@pytest.mark.parametrize(("side", "wavelength", "width"), [(96, 9.1, 0.1), (192, 9.1, 0.05), (256, 30.0, 0.03)])
def test_fields_with_a_ring_for_a_spectrum_are_waves(side, wavelength, width):
    got = measure(rings_of_spectrum(np.random.default_rng(1), side, wavelength, width))
    assert got.waves
    assert got.wavelength == pytest.approx(wavelength, rel=0.02)
    # the shells of the lattice widen the ring
    assert got.coherence_length == pytest.approx(1 / (width * np.sqrt(2 * np.log(2))), rel=0.25)


@pytest.mark.parametrize("length", [2.0, 4.0, 8.0, 16.0])
def test_fields_that_coarsen_are_no_waves(length):
    rng = np.random.default_rng(round(length))
    fields = [gaussian_fields(rng, 4, 64, length, variance)[0] for variance in (2.0, 8.0) for _ in range(20)]
    got = measure(xr.concat(fields, "time"))
    assert got.waves.mean() < 0.03
    assert np.isnan(got.wavelength.where(~got.waves)).all()


def test_noise_a_uniform_field_and_one_seed_are_no_waves():
    rng = np.random.default_rng(2)
    assert not measure(white_noise(rng, 4, 64, 64)).waves
    assert not measure(plane_wave(64, 64, 0, 0).expand_dims(seed=4)).waves
    assert not measure(spirals(rng, 64, 9.0, seeds=1)).waves
    silent = measure(white_noise(rng, 4, 16, 16) * np.nan)
    assert not silent.waves
    assert np.isnan(silent.wavelength)


def test_a_missing_seed_counts_as_absent():
    phase = spirals(np.random.default_rng(3), 64, 9.0, seeds=4)
    padded = xr.concat([phase, phase[:1] * np.nan], "seed")
    got, want = measure(padded), measure(phase)
    for name in want.data_vars:
        assert got[name] == pytest.approx(float(want[name]), rel=1e-9)


@pytest.mark.parametrize("share", [0.3, 0.5, 0.7])
def test_order_in_anti_phase_beside_order_in_phase_is_no_wave(share):
    """S has a peak at (pi, pi) then, far from (0, 0): a ring, but of a wavelength below two spacings."""
    rng = np.random.default_rng(4)
    row, col = np.mgrid[:64, :64]
    phases = []
    for _ in range(4):
        smooth = np.fft.ifft2(
            np.fft.fft2(rng.standard_normal((64, 64)))
            * np.exp(
                -2 * (np.fft.fftfreq(64)[:, None] ** 2 + np.fft.fftfreq(64)[None, :] ** 2) * (2 * np.pi * 4) ** 2 / 2
            )
        ).real
        is_anti = smooth > np.quantile(smooth, 1 - share)
        phases.append(np.where(is_anti, np.pi * ((row + col) % 2), 0.0) + 0.3 * rng.standard_normal((64, 64)))
    assert not measure(field(np.stack(phases))).waves
