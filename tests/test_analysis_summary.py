"""The summary of a scheme: all measurements with their errors, for every kind, tiling and state of the seeds."""

import numpy as np
import pytest
import xarray as xr

from isophase.analysis.lattices import summary
from isophase.analysis.lattices.correlation import phase_correlation
from isophase.analysis.lattices.correlation_length import DEFINED, correlation_length
from isophase.analysis.lattices.domains import domains
from isophase.analysis.lattices.growth import NOT_DEFINED as NO_GROWTH
from isophase.analysis.lattices.steady_state import BEYOND_HALF, CANNOT_TELL, NOT_DEFINED, STEADY, WAVES
from isophase.analysis.lattices.structure_factor import _centred_shells, structure_factor
from isophase.analysis.lattices.summary import SECOND_MOMENT_SCALE, summarise
from isophase.analysis.statistics import mean_over_seeds
from isophase.kernels.lattice.tilings import ring_neighbours, tile_centres
from tests.phase_fields import checkerboard, exact_efold, field, gaussian_fields, white_noise
from tests.summaries import point_of_grid
from tests.test_analysis_waves import spirals

TIME = np.linspace(10, 240, 24)


def scheme(phase, tiling="square", boundary="periodic", **seeds):
    """A group of the store at one position of its grid: ``phase`` [seed, time, row, col]."""
    number = phase.sizes["seed"]
    variables = {name: ("seed", np.array(values), {"units": "1", "long_name": name}) for name, values in seeds.items()}
    status = variables.pop("status", ("seed", [1] * number))[1]
    return point_of_grid(
        xr.Dataset({"phase": phase, **variables}, {"seed": np.arange(number)}),
        TIME[: phase.sizes["time"]],
        status,
        tiling=tiling,
        boundary=boundary,
    )


def coarsening(noise, seeds=4, side=48, variance=8.0):
    """Gaussian fields of one noise, whose length grows as the root of time and stops at t = 60; and their exact xi."""
    fields, exact = zip(
        *(gaussian_fields(np.random.default_rng(noise), seeds, side, min(t, 60) ** 0.5, variance) for t in TIME),
        strict=True,
    )
    phase = xr.concat(fields, "time").transpose("seed", "time", "row", "col")
    return phase, np.array([exact_efold(C[0, : side // 2]) for C in exact])


@pytest.fixture(scope="module")
def rings():
    phase, exact = coarsening(1, seeds=6)
    return scheme(phase, switching_rate=[0.5, 0.6, 0.5, 0.6, 0.5, 0.6], delay_limited=[False] * 6), exact


def test_a_scheme_that_coarsens_and_settles_is_summed_up_as_such(rings):
    dataset, exact = rings
    got = summarise(dataset)
    assert (abs(got.xi - exact) < 4.5 * got.xi_error).all()
    assert got.state == STEADY
    assert got.steady
    assert got.xi_inf == pytest.approx(exact[-1], abs=4 * float(got.xi_inf_error))
    assert got.xi_inf_error < 0.1 * exact[-1]
    assert got.time_to_steady == pytest.approx(0.95**2 * 60, abs=3)
    assert got.n_seeds == 6
    assert got.switching_rate == pytest.approx(0.55)
    assert got.switching_rate_error == pytest.approx(np.std([0.5, 0.6] * 3, ddof=1) / np.sqrt(6))
    assert not got.delay_limited
    assert not got.beyond_quarter
    assert (got.defects[-12:] == 0).all()
    assert got.domain_size[0] < got.domain_size[-1]
    assert (got.attrs["tiling"], got.attrs["boundary"], got.attrs["rows"]) == ("square", "periodic", 48)


def test_the_measurements_in_the_summary_are_those_of_their_own_modules(rings):
    dataset, _ = rings
    got = summarise(dataset)
    lengths = correlation_length(phase_correlation(dataset.phase))
    np.testing.assert_array_equal(got.xi, lengths.xi_efold)
    np.testing.assert_array_equal(got.xi_fit_without, lengths.xi_fit_without)
    np.testing.assert_array_equal(got.correlation, lengths.correlation)
    sizes = domains(dataset.phase, ring_neighbours("square", 48, 48, "periodic")).domain_size
    np.testing.assert_allclose(got.domain_size, sizes.mean("seed"))
    np.testing.assert_allclose(got.domain_size_error, sizes.std("seed", ddof=1) / np.sqrt(6))


def test_a_summary_holds_numbers_and_flags_with_units_or_meanings_and_no_maps(rings):
    got = summarise(rings[0])
    assert set(got.dims) == {"time", "seed", "distance", "shell"}
    assert got.nbytes < 0.1 * rings[0].nbytes
    for name, variable in got.data_vars.items():
        assert variable.attrs.get("long_name"), name
        assert "units" in variable.attrs or "flag_meanings" in variable.attrs or variable.dtype == bool, name
    for suffix in ("", "_fit", "_second_moment"):
        for name in ("xi", "xi_inf", "drift", "time_to_steady"):
            assert {f"{name}{suffix}", f"{name}{suffix}_error"} <= set(got.data_vars)
        assert {f"state{suffix}", f"beyond_quarter{suffix}", f"xi{suffix}_reason", f"xi{suffix}_without"} <= set(got)


def test_chunks_and_blocks_change_nothing(rings, monkeypatch):
    dataset, _ = rings
    expected = summarise(dataset)
    xr.testing.assert_identical(summarise(dataset.chunk(seed=1, time=5)), expected)
    monkeypatch.setattr(summary, "BLOCK", 7 * 48 * 48)
    xr.testing.assert_allclose(summarise(dataset), expected, rtol=1e-12)


def test_phase_oscillators_have_the_same_summary_without_switches():
    phase = white_noise(np.random.default_rng(2), 3, 4, 12, 12, dims=("seed", "time", "row", "col"))
    got = summarise(scheme(phase))
    assert "switching_rate" not in got
    assert "delay_limited" not in got
    assert got.order[0] == pytest.approx(0.07, abs=0.08)
    assert got.state == CANNOT_TELL


def test_seeds_that_are_not_done_are_left_out():
    phase, _ = coarsening(3, seeds=5, side=24)
    rates = {"switching_rate": [0.5, 0.7, np.nan, 0.6, 9.0], "delay_limited": [False, False, False, False, True]}
    got = summarise(scheme(phase, status=[1, 1, 0, 1, 2], **rates))
    expected = summarise(scheme(phase.isel(seed=[0, 1, 3])))
    assert got.n_seeds == 3
    assert got.switching_rate == pytest.approx(0.6)
    assert not got.delay_limited
    for name in ("xi", "xi_error", "xi_inf", "xi_inf_error", "domains", "domains_error", "defects", "order"):
        np.testing.assert_allclose(got[name], expected[name], rtol=1e-12)
    assert (got.seeds == 3).all()
    assert np.isnan(got.xi_without.isel(seed=[2, 4])).all()


def test_a_delay_limited_scheme_has_no_length_no_domains_and_its_switching_rate():
    phase, _ = coarsening(4, seeds=2, side=16)
    got = summarise(scheme(phase, switching_rate=[40.0, 41.0], delay_limited=[False, True]))
    assert got.delay_limited
    assert got.switching_rate == 40.5
    assert (got.xi_reason != DEFINED).all()
    assert got.state == NOT_DEFINED
    assert not got.steady
    assert got.growth_state == NO_GROWTH
    for name in ("xi", "xi_inf", "xi_inf_fit", "growth_exponent", "domains", "defects", "order", "local_order"):
        assert np.isnan(got[name]).all(), name


def test_one_seed_gives_values_without_errors():
    phase, exact = coarsening(5, seeds=1)
    one = scheme(phase, switching_rate=[0.5], delay_limited=[False]).isel(seed=0)
    got = summarise(one)
    assert got.xi_inf == pytest.approx(exact[-1], rel=0.2)
    assert got.state == CANNOT_TELL
    for name in ("xi_error", "xi_inf_error", "domains_error", "switching_rate_error"):
        assert np.isnan(got[name]).all(), name


def test_anti_phase_neighbours_are_one_domain_without_defects():
    rng = np.random.default_rng(6)
    noisy = field(checkerboard(16, 16).values + rng.normal(0, 0.15, (3, 6, 16, 16)), ("seed", "time", "row", "col"))
    got = summarise(scheme(noisy))
    assert (got.wavenumber_row == np.pi).all()
    assert (got.wavenumber_col == np.pi).all()
    assert (got.domains == 1).all()
    assert (got.defects == 0).all()
    assert (got.order > 0.97).all()


def test_patches_in_phase_and_in_anti_phase_are_one_domain_modulo_pi():
    patches = np.where(np.arange(16) < 8, 0.0, checkerboard(16, 16).values)
    noisy = field(patches + np.random.default_rng(6).normal(0, 0.1, (3, 6, 16, 16)), ("seed", "time", "row", "col"))
    got = summarise(scheme(noisy))
    assert (got.domains > 100).all()
    assert (got.domains_modulo_pi == 1).all()
    assert (got.defects_modulo_pi == 0).all()
    assert (got.order_modulo_pi > 0.95).all()


def test_a_coherent_lattice_has_a_lower_bound_of_its_length():
    noisy = field(np.random.default_rng(6).normal(0, 0.3, (3, 12, 16, 16)), ("seed", "time", "row", "col"))
    got = summarise(scheme(noisy))
    assert got.state == BEYOND_HALF
    assert got.xi_inf_lower_bound == 8
    assert got.beyond_quarter
    assert np.isnan(got.xi_inf)
    assert np.isnan(got.growth_exponent)


@pytest.mark.parametrize("boundary", ["periodic", "open"])
@pytest.mark.parametrize(("tiling", "rows"), [("chain", 1), ("triangular", 12), ("hexagonal", 12), ("square", 13)])
def test_every_tiling_has_a_summary(tiling, rows, boundary):
    cols = 256 if tiling == "chain" else 16
    phase = white_noise(np.random.default_rng(7), 3, 6, rows, cols, dims=("seed", "time", "row", "col"))
    got = summarise(scheme(phase, tiling, boundary))
    assert got.attrs["along"] == ("col" if tiling == "triangular" else "axes")
    assert got.boundary_density.mean() == pytest.approx(0.75, abs=0.08)
    assert np.isnan(got.defects).all() == (tiling == "chain")


def test_the_second_moment_of_an_isotropic_correlation_is_the_same_length_on_every_tiling():
    # Steps (x, y) of row and col, in units of the step along col.
    steps = {"square": ((0, 1), (1, 0)), "hexagonal": ((0.5, 0.75**0.5), (1, 0)), "triangular": ((0, 3**0.5), (1, 0))}
    side, length = 128, 6.0
    index = (np.arange(side) + side // 2) % side - side // 2
    found = {}
    for tiling, step in steps.items():
        assert_steps_are_those_of_the_tiling(tiling, step)
        position = index[:, None, None] * np.array(step[0]) + index[None, :, None] * np.array(step[1])
        S = np.fft.fft2(np.exp(-(position**2).sum(axis=-1) / length**2)).real
        phase = white_noise(np.random.default_rng(8), 2, side, side)
        correlation, structure = phase_correlation(phase), structure_factor(phase)
        C = np.exp(-((correlation.distance / length) ** 2)).astype(complex)
        correlation["along_col"] = correlation["along_row"] = xr.zeros_like(correlation.along_col) + C
        centred = _centred_shells(side, side).mean @ S.ravel()
        structure["centred"] = xr.zeros_like(structure.centred) + xr.DataArray(centred, dims="shell")
        lengths = correlation_length(correlation, structure, along="col")
        assert lengths.xi_efold == pytest.approx(length, abs=0.05)
        found[tiling] = float(lengths.xi_second_moment) * SECOND_MOMENT_SCALE[tiling]
    assert found["square"] == pytest.approx(length / 2, rel=0.06)
    assert found["hexagonal"] == pytest.approx(found["square"], rel=0.03)
    assert found["triangular"] == pytest.approx(found["square"], rel=0.03)


def assert_steps_are_those_of_the_tiling(tiling, step):
    """Two rows and two cols on, a tile of each tiling is the same again; the step along col is the unit."""
    x, y = tile_centres(tiling, 3, 3).reshape(3, 3, 2).transpose(2, 0, 1)
    unit = (x[0, 2] - x[0, 0]) / 2
    np.testing.assert_allclose(np.abs([x[2, 0] - x[0, 0], y[2, 0] - y[0, 0]]) / 2 / unit, step[0], atol=1e-12)
    np.testing.assert_allclose([(y[0, 2] - y[0, 0]) / unit], [0], atol=1e-12)


def test_the_mean_over_seeds_leaves_out_what_is_missing():
    values = xr.Dataset({"x": (("seed", "time"), [[1.0, 2.0, np.nan], [3.0, np.nan, np.nan], [5.0, np.nan, np.nan]])})
    got = mean_over_seeds(values)
    np.testing.assert_allclose(got.x, [3, 2, np.nan])
    np.testing.assert_allclose(got.x_error, [2 / np.sqrt(3), np.nan, np.nan])


def test_the_structure_factor_and_susceptibility_are_those_of_their_module(rings):
    dataset, _ = rings
    got, S = summarise(dataset), structure_factor(dataset.phase).round_order
    np.testing.assert_allclose(got.structure_factor, S.mean("seed").transpose("time", "shell"))
    np.testing.assert_allclose(got.susceptibility, S.isel(shell=0).mean("seed"))
    z = np.exp(1j * dataset.phase.astype(float))
    np.testing.assert_allclose(got.susceptibility, (48 * 48 * abs(z.mean(("row", "col"))) ** 2).mean("seed"), rtol=1e-5)
    assert got.shell_wavenumber.attrs["units"] == "rad per ring spacing"


def test_waves_have_a_wavelength_and_no_correlation_length():
    rng = np.random.default_rng(9)
    maps = [spirals(rng, 64, 9.0, seeds=4, number=1) for _ in TIME[:12]]
    got = summarise(scheme(xr.concat(maps, "time").transpose("seed", "time", "row", "col")))
    assert got.waves.all()
    np.testing.assert_allclose(got.wavelength, 9.0, rtol=0.02)
    for name in ("xi", "xi_fit", "xi_second_moment", "xi_inf", "xi_lower_bound"):
        assert np.isnan(got[name]).all()
    assert got.state == WAVES
    assert got.xi_reason.attrs["flag_meanings"].split()[int(got.xi_reason[0])] == "waves_have_a_wavelength"


def test_the_distance_between_defects_grows_as_it_was_made_to():
    rng = np.random.default_rng(10)
    time = TIME[:12]
    maps = []
    for t in time:
        k = 2 * np.pi * np.fft.fftfreq(96)
        spectrum = np.exp(-(k[:, None] ** 2 + k[None, :] ** 2) * t / 8)  # correlated over a distance of t^(1/2)
        noise = rng.standard_normal((2, 6, 96, 96))
        maps.append(field(np.angle(np.fft.ifft2(np.sqrt(spectrum) * (noise[0] + 1j * noise[1])))))
    got = summarise(scheme(xr.concat(maps, "time").transpose("seed", "time", "row", "col")))
    assert got.defect_distance_exponent == pytest.approx(0.5, abs=3 * float(got.defect_distance_exponent_error) + 0.03)
