"""Correlation length: the three estimators on fields of known length, their errors, and when there is no answer."""

import hypothesis
import hypothesis.extra.numpy
import numpy as np
import pytest
import scipy.special
import xarray as xr
from hypothesis import assume
from hypothesis import strategies as st

from isophase.analysis.lattices.correlation import phase_correlation
from isophase.analysis.lattices.correlation_length import (
    BEYOND_HALF,
    DEFINED,
    NO_PAIRS,
    NOISE,
    TOO_FEW,
    UPPER_BOUND,
    _efold,
    correlation_length,
)
from isophase.analysis.lattices.structure_factor import structure_factor
from tests.phase_fields import exact_efold, field, gaussian_fields, plane_wave, random_walk_chains, white_noise


def measure(phase, boundary="periodic", **options):
    return correlation_length(phase_correlation(phase, boundary), structure_factor(phase), **options)


def with_correlation(values, side=64):
    """A correlation of many rings that has the given values along both axes."""
    like = phase_correlation(white_noise(np.random.default_rng(0), 1, side, side))
    values = np.asarray(values, complex)
    like["along_row"], like["along_col"] = (like[name].copy(data=values[None]) for name in ("along_row", "along_col"))
    for name in ("pairs_row", "pairs_col"):
        like[name] = like[name] * 10**8
    return like


@pytest.mark.parametrize("xi", [0.05, 0.4, 1.0, 3.7, 12.0, 31.9])
@pytest.mark.parametrize("sign", [1, -1])
def test_an_exponential_gives_its_own_length_exactly_also_in_anti_phase(xi, sign):
    d = np.arange(33)
    got = correlation_length(with_correlation(float(sign) ** d * np.exp(-d / xi)))
    assert got.xi_efold == pytest.approx(xi, rel=1e-12)
    if xi >= 1:
        assert got.xi_fit == pytest.approx(xi, rel=1e-9)


def test_the_efold_length_grows_with_the_correlation_of_neighbours_below_one_spacing():
    values = np.linspace(0.0, 0.99, 100)
    got = [float(correlation_length(with_correlation([1, c, 0.3 * c] + [0] * 30)).xi_efold) for c in values]
    assert got[0] == 0
    assert np.all(np.diff(got) > 0)


@pytest.mark.parametrize("xi", [0.7, 2.0, 6.0])
def test_all_three_estimators_find_the_length_of_random_walks_on_open_chains(xi):
    got = measure(random_walk_chains(np.random.default_rng(1), 200, 256, xi), "open")
    assert abs(got.xi_efold - xi) < 4 * got.xi_efold_error
    assert got.xi_efold_error < 0.05 * xi
    if xi > 1:
        assert abs(got.xi_fit - xi) < 4 * got.xi_fit_error
    on_a_lattice = 1 / (2 * np.sinh(1 / (2 * xi)))
    # The triangular taper of an open chain lowers the second moment by the order of xi / L.
    assert abs(got.xi_second_moment - on_a_lattice) < 4 * got.xi_second_moment_error + xi * xi / 256


@pytest.mark.parametrize("boundary", ["periodic", "open"])
@pytest.mark.parametrize(("side", "length", "variance"), [(32, 4.0, 12.0), (64, 8.0, 16.0), (64, 4.0, 16.0)])
def test_gaussian_phases_give_the_length_of_their_exact_correlation(boundary, side, length, variance):
    sample = side if boundary == "periodic" else 2 * side
    phase, exact = gaussian_fields(np.random.default_rng(2), 24, sample, length, variance)
    got = measure(phase.isel(row=slice(side), col=slice(side)), boundary)
    known = exact_efold(exact[0, : side // 2])
    assert got.xi_efold_reason == DEFINED
    assert abs(got.xi_efold - known) < 4 * got.xi_efold_error
    assert got.xi_efold_error < 0.05 * known
    # C is nearly exp(-(d / known)^2), so S is nearly exp(-(k known)^2 / 4): the curvature of a length known / 2.
    assert abs(got.xi_second_moment - known / 2) < 4 * got.xi_second_moment_error + 0.05 * known
    assert got.xi_second_moment_error < 0.2 * known


def test_the_second_moment_of_an_ornstein_zernike_peak_is_its_length_wherever_the_peak_lies():
    phase = plane_wave(64, 64, 32, 0).expand_dims(seed=2)
    structure = structure_factor(phase)
    for xi in (0.5, 2.0, 8.0, 30.0):
        centred = xr.broadcast(100 / (1 + xi**2 * structure.shell_k2), structure.centred)[0].transpose("seed", "shell")
        got = correlation_length(phase_correlation(phase), structure.assign(centred=centred))
        assert got.xi_second_moment == pytest.approx(xi, rel=1e-9)


def test_radial_length_agrees_with_the_axes_where_the_field_is_isotropic():
    phase, exact = gaussian_fields(np.random.default_rng(3), 24, 64, 4.0, 4.0)
    assert measure(phase, along="radial").xi_efold == pytest.approx(exact_efold(exact[0, :32]), rel=0.04)


def test_each_axis_has_its_own_length_where_the_field_is_not_isotropic():
    rng = np.random.default_rng(4)
    walks = np.cumsum(rng.normal(0, np.sqrt(2 / 5.0), (40, 64, 64)), axis=2)
    got_row, got_col = (measure(field(walks), "open", along=axis) for axis in ("row", "col"))
    assert got_col.xi_efold == pytest.approx(5, rel=0.1)
    assert got_row.xi_efold < 0.7  # the square root of the noise of C(2), where C(1) is none


def test_coherence_over_half_the_lattice_is_a_lower_bound_and_no_number():
    got = measure(plane_wave(32, 32, 1, 0).expand_dims(seed=3))
    assert got.xi_efold_reason == BEYOND_HALF
    assert got.xi_second_moment_reason == BEYOND_HALF
    assert np.isnan(got.xi_efold)
    assert np.isnan(got.xi_second_moment)
    assert got.xi_lower_bound == 16


def test_white_noise_gives_an_upper_bound_and_no_fit():
    got = measure(white_noise(np.random.default_rng(5), 6, 48, 48))
    assert got.xi_efold_reason == UPPER_BOUND
    assert got.xi_efold < 0.5
    assert got.xi_fit_reason == TOO_FEW
    assert np.isnan(got.xi_lower_bound)
    assert not got.xi_second_moment > 0.3
    assert got.noise[1:].max() == pytest.approx(1 / np.sqrt(6 * 48 * 48), rel=0.1)


def test_rings_that_never_fire_have_no_length():
    got = measure(white_noise(np.random.default_rng(6), 4, 8, 8) * np.nan)
    for name in ("efold", "fit", "second_moment"):
        assert got[f"xi_{name}_reason"] == NO_PAIRS
        assert np.isnan(got[f"xi_{name}"])
        assert np.isnan(got[f"xi_{name}_error"])
    assert got.seeds == 0
    assert got.defined == 0


def test_one_seed_has_no_uncertainty_and_a_missing_seed_counts_as_absent():
    phase = random_walk_chains(np.random.default_rng(7), 5, 512, 4.0)
    one, five = measure(phase[:1], "open"), measure(phase, "open")
    assert np.isfinite(one.xi_efold)
    assert np.isnan(one.xi_efold_error)
    without_dim = measure(phase[0], "open")
    assert without_dim.xi_efold == one.xi_efold
    assert np.isnan(without_dim.xi_fit_error)
    padded = measure(xr.concat([phase, phase[:2] * np.nan], "seed"), "open")
    assert padded.seeds == 5
    for name in ("xi_efold", "xi_efold_error", "xi_second_moment", "xi_second_moment_error"):
        assert padded[name] == pytest.approx(float(five[name]), rel=1e-12)


def test_seeds_are_pooled_by_their_pairs():
    phase = random_walk_chains(np.random.default_rng(8), 2, 400, 4.0)
    phase[1, 0, 40:] = np.nan
    each = phase_correlation(phase, "open")
    got = correlation_length(each).correlation[3]
    sums = (each.along_col[:, 3] * each.pairs_col[:, 3]).sum() / each.pairs_col[:, 3].sum()
    assert got == pytest.approx(abs(complex(sums)), rel=1e-12)


@pytest.mark.parametrize("name", ["xi_efold", "xi_fit", "xi_second_moment"])
def test_two_jackknife_errors_cover_the_true_length_about_95_times_in_100(name):
    rng = np.random.default_rng(9)
    xi, trials, seeds = 3.0, 400, 10
    phase = random_walk_chains(rng, trials * seeds, 192, xi).values.reshape(trials, seeds, 1, 192)
    got = measure(xr.DataArray(phase, dims=("trial", "seed", "row", "col")), "open")
    true = 1 / (2 * np.sinh(1 / (2 * xi))) if name == "xi_second_moment" else xi
    centre = true if name != "xi_second_moment" else float(got[name].mean())  # its taper's bias is tested elsewhere
    covered = float((abs(got[name] - centre) < 2.26 * got[name + "_error"]).mean())  # t quantile of 9 degrees
    assert 0.90 <= covered <= 0.99
    # The error is the scatter of the estimate from trial to trial.
    assert np.sqrt((got[name + "_error"] ** 2).mean()) == pytest.approx(float(got[name].std()), rel=0.2)


def test_dask_gives_the_numbers_of_memory_lazily():
    phase = random_walk_chains(np.random.default_rng(10), 8, 64, 2.0).values.reshape(4, 2, 1, 64)
    phase = xr.DataArray(phase, dims=("seed", "time", "row", "col"))
    lazy = measure(phase.chunk(seed=1, time=1), "open")
    assert all(variable.chunks is not None for variable in lazy.data_vars.values())
    xr.testing.assert_allclose(lazy.compute(scheduler="synchronous"), measure(phase, "open"), rtol=1e-12)


def test_lengths_carry_units_and_the_meaning_of_their_flags():
    got = measure(random_walk_chains(np.random.default_rng(11), 3, 64, 2.0), "open")
    assert got.xi_efold.attrs["units"] == "ring spacings"
    assert len(got.xi_fit_reason.attrs["flag_meanings"].split()) == len(got.xi_fit_reason.attrs["flag_values"])


def test_wrong_arguments_are_refused():
    correlation = phase_correlation(white_noise(np.random.default_rng(12), 2, 4, 4))
    with pytest.raises(ValueError, match="along='diagonal': must be one of axes, row, col, radial"):
        correlation_length(correlation, along="diagonal")
    with pytest.raises(ValueError, match="correlation has no radial"):
        correlation_length(correlation.drop_vars("radial"))
    with pytest.raises(ValueError, match="structure has no centred"):
        correlation_length(correlation, correlation)


@pytest.mark.parametrize("xi", [2.0, 5.0, 11.0])
@pytest.mark.parametrize("odd", [0.0, 0.1, -0.3])
def test_patches_in_phase_and_in_anti_phase_have_the_length_of_the_even_distances(xi, odd):
    d = np.arange(33)
    values = np.exp(-d / xi) * np.where(d % 2 == 0, 1.0, odd)
    got = correlation_length(with_correlation(values))
    assert got.xi_efold == pytest.approx(xi, rel=1e-9)
    assert got.xi_fit == pytest.approx(xi, rel=1e-9)


def test_a_field_of_random_patches_in_phase_and_in_anti_phase_has_the_length_of_its_envelope():
    """A chain of walks whose sublattice turns by pi where a telegraph signal says so, half of the time."""
    rng = np.random.default_rng(13)
    walks = np.cumsum(rng.normal(0, np.sqrt(2 / 6.0), (100, 1, 400)), axis=-1)
    staggered = np.cumsum(rng.random((100, 1, 400)) < 0.01, axis=-1) % 2
    phase = field(walks + np.pi * staggered * (np.arange(400) % 2))
    got = measure(phase, "open")
    # At even distances the sublattice adds nothing, unless the patch has changed in between and an odd ring is met.
    assert 4.5 < got.xi_efold < 7


def test_coherent_lattices_that_are_twisted_differently_are_longer_than_half_of_them():
    phase = xr.concat([plane_wave(32, 32, 0, 0), plane_wave(32, 32, 1, 0), plane_wave(32, 32, 0, -1)], "seed")
    got = measure(phase)
    assert got.xi_efold_reason == got.xi_fit_reason == BEYOND_HALF
    assert got.xi_lower_bound == 16


PROFILES = hypothesis.extra.numpy.arrays(float, 24, elements=st.floats(0.0, 1.0))


def efold(profile, pairs=10**8):
    """The length of a C(d) that is measured between so many pairs, and why it is one."""
    d = np.arange(25)
    values = np.concatenate([[1.0], profile])[None]
    found = _efold(values, np.full((1, 25), pairs), np.full(25, pairs**-0.5), d.astype(float), 24, True)
    return np.nan_to_num(found.xi[0], nan=np.inf), found.reason[0]


@hypothesis.given(PROFILES, st.integers(0, 23), st.floats(0.0, 1.0))
def test_the_efold_length_never_falls_where_a_correlation_rises(profile, where, by):
    higher = profile.copy()
    higher[where] = max(higher[where], by)
    assert efold(higher)[0] >= efold(profile)[0] - 1e-9


@hypothesis.settings(deadline=None)
@hypothesis.given(PROFILES, PROFILES)
def test_the_efold_length_is_continuous(first, second):
    """On the way from one C to another it has no step that a finer walk would not make smaller."""
    assume(min(first[-1], second[-1]) < 0.3)
    first, second = np.maximum(first, 0.02), np.maximum(second, 0.02)

    def largest_step(number):
        walk = [efold(first + t * (second - first))[0] for t in np.linspace(0, 1, number + 1)]
        finite = np.array([xi for xi in walk if xi < 20])
        return np.abs(np.diff(finite)).max(initial=0.0)

    # d xi / d ln |C| is at most the distances that stand for a value, over the band's width
    rate = np.abs(second - first).max() / 0.02
    assert largest_step(400) <= 120 * rate / 400 + 1e-9


@hypothesis.given(PROFILES, st.integers(200, 10**8))
def test_the_efold_length_does_not_depend_on_the_noise(profile, pairs):
    found, reason = efold(profile, pairs)
    known, _ = efold(profile)
    assert found == pytest.approx(known, rel=1e-12) or reason == NOISE


@pytest.mark.parametrize("boundary", ["periodic", "open"])
def test_in_phase_and_staggered_order_have_the_same_length(boundary):
    phase, _ = gaussian_fields(np.random.default_rng(20), 6, 32, 4.0, 6.0)
    staggered = (phase + np.pi * checkerboard_of(32)) % (2 * np.pi)
    in_phase, anti = measure(phase, boundary), measure(staggered.astype("float64"), boundary)
    for name in ("xi_efold", "xi_efold_error"):
        assert anti[name] == pytest.approx(float(in_phase[name]), rel=1e-5)


def checkerboard_of(side):
    rows, cols = np.mgrid[:side, :side]
    return xr.DataArray((rows + cols) % 2, dims=("row", "col"))


def test_a_dip_at_an_odd_distance_makes_no_step():
    """Two times of the quickstart; where |C| first falls to 1/e there is a step from 1.6 to 0.8 between them."""
    lengths = [float(correlation_length(with_correlation([1, c1, c2] + [0.1] * 30)).xi_efold)
               for c1, c2 in np.linspace((0.224, 0.293), (0.298, 0.297), 20)]  # fmt: skip
    assert np.ptp(lengths) < 0.1
    assert np.all(np.diff(lengths) >= 0)


@pytest.mark.parametrize("share", [0.0005, 0.001, 0.01])
def test_nearly_silent_lattices_are_not_coherent(share):
    for number in range(20):
        rng = np.random.default_rng(number)
        phase = white_noise(rng, 1, 64, 64)
        active = rng.choice(64 * 64, max(1, round(share * 64 * 64)), replace=False)
        silent = np.ones(64 * 64, bool)
        silent[active] = False
        phase = phase.where(~silent.reshape(64, 64))
        got = measure(phase)
        assert got.xi_efold_reason in (NO_PAIRS, NOISE)
        assert np.isnan(got.xi_lower_bound)


def test_few_active_rings_and_one_have_no_length():
    phase = white_noise(np.random.default_rng(30), 1, 32, 32)
    few = phase.where(xr.DataArray(np.arange(32 * 32).reshape(32, 32) % 103 == 0, dims=("row", "col")))
    assert measure(few).xi_efold_reason in (NO_PAIRS, NOISE)
    one = phase.where(xr.DataArray(np.arange(32 * 32).reshape(32, 32) == 77, dims=("row", "col")))
    got = measure(one)
    assert got.xi_efold_reason == NO_PAIRS
    assert got.xi_second_moment_reason == NO_PAIRS
    assert np.isnan(got.xi_second_moment)


@pytest.mark.parametrize("seeds", [4, 5, 8])
@pytest.mark.parametrize("xi", [0.7, 1.5, 5.0])
def test_intervals_of_the_efold_length_cover_it_at_few_seeds(seeds, xi):
    rng = np.random.default_rng(round(100 * xi) + seeds)
    trials = 200
    phase = random_walk_chains(rng, trials * seeds, 384, xi).values.reshape(trials, seeds, 1, 384)
    got = measure(xr.DataArray(phase, dims=("trial", "seed", "row", "col")), "open")
    half = scipy.special.stdtrit(seeds - 1, 0.975) * got.xi_efold_error
    covered = float((abs(got.xi_efold - xi) < half).mean())
    assert 0.90 <= covered <= 0.98
