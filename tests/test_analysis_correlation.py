"""Phase correlation and structure factor, against direct sums and fields with a known answer."""

import itertools

import numpy as np
import pytest
import xarray as xr

from isophase.analysis.lattices.correlation import phase_correlation
from isophase.analysis.lattices.structure_factor import structure_factor
from tests.phase_fields import field, gaussian_fields, plane_wave, white_noise


def direct_sums(phase, boundary):
    """Sum of conj(z(r)) z(r + d) and number of pairs for every displacement of one map, by visiting every pair."""
    rows, cols = phase.shape
    sums, pairs = {}, {}
    for r, c, e, f in itertools.product(range(rows), range(cols), range(rows), range(cols)):
        d = (e - r, f - c) if boundary == "open" else ((e - r) % rows, (f - c) % cols)
        if np.isfinite(phase[r, c]) and np.isfinite(phase[e, f]):
            sums[d] = sums.get(d, 0) + np.exp(1j * (float(phase[e, f]) - float(phase[r, c])))
            pairs[d] = pairs.get(d, 0) + 1
    return sums, pairs


def with_holes(rng, phase, share=0.2):
    return phase.where(rng.random(phase.shape) > share)


@pytest.mark.parametrize("boundary", ["periodic", "open"])
@pytest.mark.parametrize("shape", [(6, 9), (8, 8), (1, 11), (5, 2)])
@pytest.mark.parametrize("holes", [False, True])
def test_fft_equals_the_sum_over_all_pairs(boundary, shape, holes):
    rng = np.random.default_rng(1)
    phase = white_noise(rng, 3, *shape)
    if holes:
        phase = with_holes(rng, phase)
        phase[1] = np.nan
    got = phase_correlation(phase, boundary)
    rows, cols = shape
    for s in range(3):
        sums, pairs = direct_sums(phase.values[s], boundary)
        for axis, side in (("row", rows), ("col", cols)):
            for d in range(got.sizes["distance"]):
                key = (d, 0) if axis == "row" else (0, d)
                number = pairs.get(key, 0) if d <= side // 2 else 0
                assert got[f"pairs_{axis}"].values[s, d] == number
                value = got[f"along_{axis}"].values[s, d]
                assert abs(value - sums[key] / number) < 1e-12 if number else np.isnan(value)


@pytest.mark.parametrize("boundary", ["periodic", "open"])
def test_radial_mean_equals_the_sum_over_pairs_within_half_a_spacing(boundary):
    rng = np.random.default_rng(2)
    phase = with_holes(rng, white_noise(rng, 7, 8, dims=("row", "col")))
    got = phase_correlation(phase, boundary)
    sums, pairs = direct_sums(phase.values, boundary)
    wrap = (lambda d, side: min(d, side - d)) if boundary == "periodic" else (lambda d, side: abs(d))
    total, number, reach = np.zeros(5, complex), np.zeros(5), np.zeros(5)
    for (dr, dc), value in sums.items():
        distance = np.hypot(wrap(dr, 7), wrap(dc, 8))
        if distance <= 3:
            total[int(distance + 0.5)] += value
            number[int(distance + 0.5)] += pairs[dr, dc]
            reach[int(distance + 0.5)] = max(reach[int(distance + 0.5)], distance)
    np.testing.assert_allclose(got.radial.values[:4], (total / np.where(number, number, 1)).real[:4], atol=1e-12)
    assert got.pairs_radial.values.tolist() == number.tolist()
    assert np.isnan(got.radial.values[4])
    assert got.radial_distance.values[0] == 0
    assert (got.radial_distance.values[1:4] <= reach[1:4]).all()


def test_white_noise_does_not_correlate_beyond_its_standard_error():
    phase = white_noise(np.random.default_rng(3), 200, 32, 32)
    got = phase_correlation(phase)
    standard_error = 1 / np.sqrt(200 * 32 * 32)
    np.testing.assert_allclose(got.along_row[:, 0], 1, atol=1e-12)
    assert abs(got.along_row.mean("seed")[1:]).max() < 4 * standard_error
    assert abs(got.radial.mean("seed")[1:]).max() < 4 * standard_error
    # One ring correlates with itself only, and the noise of C is that of independent pairs.
    assert got.correlated_rings.mean() == pytest.approx(1, abs=0.02)
    assert got.along_col[:, 1:16].std() == pytest.approx(1 / 32, rel=0.05)


@pytest.mark.parametrize("boundary", ["periodic", "open"])
def test_a_plane_wave_correlates_fully_with_the_phase_of_its_wavevector(boundary):
    got = phase_correlation(plane_wave(16, 24, 3, -2), boundary)
    d = got.distance.values
    np.testing.assert_allclose(got.along_row[:9], np.exp(2j * np.pi * 3 * d[:9] / 16), atol=1e-12)
    np.testing.assert_allclose(got.along_col, np.exp(-2j * np.pi * 2 * d / 24), atol=1e-12)


def test_anti_phase_neighbours_alternate_in_sign():
    r, c = np.mgrid[:8, :8]
    got = phase_correlation(field(np.pi * ((r + c) % 2), ("row", "col"), "float64"))
    np.testing.assert_allclose(got.along_row, (-1.0) ** got.distance, atol=1e-12)


@pytest.mark.parametrize("boundary", ["periodic", "open"])
def test_gaussian_phases_correlate_as_the_exponential_of_their_covariance(boundary):
    phase, exact = gaussian_fields(np.random.default_rng(4), 60, 48, 4.0, 4.0)
    if boundary == "open":
        phase = phase.isel(row=slice(24), col=slice(24))
    got = phase_correlation(phase, boundary)
    n = got.sizes["distance"]
    for values, known in ((got.along_row, exact[:n, 0]), (got.along_col, exact[0, :n])):
        error = values.std("seed") / np.sqrt(60)
        assert (abs(values.mean("seed") - known) < 4 * error + 1e-6).all()


def test_bartlett_noise_is_the_scatter_of_the_correlation_of_correlated_rings():
    phase, _ = gaussian_fields(np.random.default_rng(5), 400, 64, 4.0, 6.0)
    got = phase_correlation(phase)
    noise = float(np.sqrt(got.correlated_rings.mean() / 64**2))
    assert got.correlated_rings.mean() > 4
    assert abs(got.along_row.isel(distance=slice(16, 32))).std() == pytest.approx(
        noise * np.sqrt(1 - np.pi / 4), rel=0.1
    )


def test_undefined_rings_are_counted_and_leave_the_rest_exact():
    phase = plane_wave(12, 12, 1, 0).copy()
    phase[3:6, 2:9] = np.nan
    got = phase_correlation(phase, "open")
    assert got.defined == pytest.approx(1 - 21 / 144)
    np.testing.assert_allclose(got.along_row, np.exp(2j * np.pi * got.distance / 12), atol=1e-12)
    nothing = phase_correlation(phase * np.nan)
    assert nothing.defined == 0
    assert np.isnan(nothing.along_row).all()
    assert np.isnan(nothing.correlated_rings)
    assert (nothing.pairs_radial == 0).all()


def test_structure_factor_of_white_noise_is_one_even_with_undefined_rings():
    rng = np.random.default_rng(6)
    got = structure_factor(with_holes(rng, white_noise(rng, 400, 16, 12), 0.3))
    assert got.structure_factor.mean("seed").std() == pytest.approx(1 / np.sqrt(400), rel=0.2)
    np.testing.assert_allclose(got.radial.mean("seed"), 1, atol=0.25)
    assert got.structure_factor.mean() == pytest.approx(1, abs=1e-3)


def test_structure_factor_of_a_plane_wave_is_a_single_peak():
    got = structure_factor(plane_wave(16, 24, 3, -2))
    at = got.structure_factor.sel(q_row=2 * np.pi * 3 / 16, q_col=-2 * np.pi * 2 / 24, method="nearest")
    assert at == pytest.approx(16 * 24)
    assert got.structure_factor.sum() == pytest.approx(16 * 24)
    assert got.wavenumber_row == pytest.approx(2 * np.pi * 3 / 16)
    assert got.wavenumber_col == pytest.approx(-2 * np.pi * 2 / 24)
    np.testing.assert_allclose(got.centred, np.where(got.centred.shell == 0, 16 * 24, 0), atol=1e-9)


def test_structure_factor_equals_the_direct_transform():
    rng = np.random.default_rng(7)
    phase = with_holes(rng, white_noise(rng, 5, 6, dims=("row", "col")))
    got = structure_factor(phase)
    z = np.where(np.isfinite(phase), np.exp(1j * np.nan_to_num(phase.values.astype(float))), 0)
    r, c = np.mgrid[:5, :6]
    for i, j in itertools.product(range(5), range(6)):
        wave = np.exp(-1j * (got.q_row.values[i] * r + got.q_col.values[j] * c))
        assert got.structure_factor.values[i, j] == pytest.approx(
            abs((z * wave).sum()) ** 2 / int(phase.count()), abs=1e-12
        )


def test_the_peak_lies_at_pi_in_anti_phase_with_noise_on_top():
    rng = np.random.default_rng(8)
    r, _ = np.mgrid[:32, :32]
    got = structure_factor(field(np.pi * (r % 2) + rng.normal(0, 1.0, (20, 32, 32))))
    assert (got.wavenumber_row == np.pi).all()
    assert (got.wavenumber_col == 0).all()
    assert got.centred.isel(shell=0).mean() == pytest.approx(32 * 32 * np.exp(-1), rel=0.05)


@pytest.mark.parametrize("measure", [phase_correlation, structure_factor])
def test_dask_gives_the_bits_of_memory_and_computes_nothing_before_it_is_asked(measure):
    rng = np.random.default_rng(9)
    phase = with_holes(rng, white_noise(rng, 4, 6, 10, 12, dims=("seed", "time", "row", "col")), 0.05)
    lazy = measure(phase.chunk(seed=1, time=4))
    assert all(variable.chunks is not None for variable in lazy.data_vars.values())
    xr.testing.assert_identical(lazy.compute(scheduler="synchronous"), measure(phase))


@pytest.mark.parametrize("measure", [phase_correlation, structure_factor])
def test_what_is_not_a_phase_field_is_refused(measure):
    phase = white_noise(np.random.default_rng(10), 4, 6, 6)
    with pytest.raises(ValueError, match="must include col"):
        measure(phase.isel(col=0))
    with pytest.raises(ValueError, match="dtype int64: must be a floating type"):
        measure(phase.astype(int))
    with pytest.raises(ValueError, match="3 chunks along row: must be 1"):
        measure(phase.chunk(row=2))
    with pytest.raises(ValueError, match=r"must be an xarray\.DataArray"):
        measure(phase.values)
    with pytest.raises(ValueError, match="0 rings along row: must be >= 1"):
        measure(phase.isel(row=slice(0)))


def test_an_unknown_boundary_is_refused():
    with pytest.raises(ValueError, match="boundary='reflecting': must be one of periodic, open"):
        phase_correlation(white_noise(np.random.default_rng(11), 1, 4, 4), boundary="reflecting")
