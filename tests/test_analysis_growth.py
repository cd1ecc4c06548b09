"""Exponent of growth: on power laws with noise, on fields and chains that coarsen as told, and when there is none."""

import numpy as np
import pytest
import xarray as xr

from isophase.analysis.lattices.correlation import phase_correlation
from isophase.analysis.lattices.correlation_length import correlation_length
from isophase.analysis.lattices.growth import CURVED, NO_UNCERTAINTY, NO_WINDOW, NOT_DEFINED, POWER_LAW, growth_exponent
from tests.phase_fields import exact_efold, gaussian_fields, random_walk_chains, series

TIME = np.geomspace(2, 200, 24)


def contains(got, exponent):
    return (got.growth_exponent_low <= exponent) & (exponent <= got.growth_exponent_high)


def one_length(time, mean):
    """A length without noise, of two equal seeds."""
    xi, without = series(np.random.default_rng(0), time, mean, 0.0, seeds=2)
    return xi[0], without[0]


@pytest.mark.parametrize("exponent", [0.2, 1 / 3, 0.5, 1.0])
@pytest.mark.parametrize("time", [TIME, np.linspace(2, 200, 60)])
def test_a_power_law_has_its_exponent(exponent, time):
    got = growth_exponent(*one_length(time, 1.5 * time**exponent))
    assert got.growth_exponent == pytest.approx(exponent, rel=1e-12)
    assert got.growth_exponent_change == pytest.approx(0, abs=1e-10)
    assert (got.growth_t_min, got.growth_t_max) == (2, 200)


def test_gaussian_fields_that_coarsen_as_the_root_of_time_are_found_to():
    rng = np.random.default_rng(1)
    time = np.geomspace(4, 64, 10)
    fields, exact = zip(*(gaussian_fields(rng, 6, 96, 1.5 * t**0.5, 6.0) for t in time), strict=True)
    phase = xr.concat(fields, "time").assign_coords(time=time)
    lengths = correlation_length(phase_correlation(phase))
    got = growth_exponent(lengths.xi_efold, lengths.xi_efold_without, side=96)
    known = growth_exponent(*one_length(time, np.array([exact_efold(C[0, :48]) for C in exact])), side=96)
    assert known.growth_exponent == pytest.approx(0.5, abs=0.02)
    assert contains(got, float(known.growth_exponent))
    assert got.growth_exponent_error < 0.03
    assert got.growth_state == POWER_LAW


def test_the_interval_of_measured_chains_covers_their_exponent_in_95_of_100_cases():
    rng = np.random.default_rng(2)
    time, repeats, seeds = np.geomspace(2, 32, 8), 300, 5
    walks = [random_walk_chains(rng, repeats * seeds, 160, t**0.5).values.reshape(repeats, seeds, 1, 160) for t in time]
    phase = xr.DataArray(np.stack(walks), dims=("time", "repeat", "seed", "row", "col"), coords={"time": time})
    lengths = correlation_length(phase_correlation(phase, "open"))
    got = growth_exponent(lengths.xi_efold, lengths.xi_efold_without, window=(1, 100))
    assert 0.92 <= contains(got, 0.5).mean() <= 0.98
    assert got.growth_exponent.mean() == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize("memory", [0.0, 0.95])
@pytest.mark.parametrize("seeds", [2, 4, 10])
def test_the_interval_covers_the_exponent_also_where_successive_times_are_correlated(memory, seeds):
    xi, without = series(np.random.default_rng(3), TIME, 2 * TIME**0.5, 0.1, seeds, 3000, memory)
    got = growth_exponent(xi, without, window=(1, 1000))
    assert contains(got, 0.5).mean() == pytest.approx(0.95, abs=0.015)
    assert (got.growth_state == CURVED).mean() == pytest.approx(0.05, abs=0.015)
    if memory and seeds == 10:
        # What the scatter of the points about their own line would have said is too small.
        log_t = np.log(TIME) - np.log(TIME).mean()
        log_xi = np.log(xi.values) - np.log(xi.values).mean(axis=1, keepdims=True)
        slope = log_xi @ log_t / (log_t**2).sum()
        naive = np.sqrt(((log_xi - slope[:, None] * log_t) ** 2).sum(axis=1) / (len(TIME) - 2) / (log_t**2).sum())
        assert (abs(slope - 0.5) < 2.07 * naive).mean() < 0.8


def test_a_length_that_settles_is_not_taken_for_a_power_law():
    mean = 12 * (1 - np.exp(-TIME / 30))
    got = growth_exponent(*series(np.random.default_rng(4), TIME, mean, 0.02, repeats=200), window=(2, 200))
    assert (got.growth_state == CURVED).mean() > 0.95
    assert (got.growth_exponent_change < 0).all()


def test_the_window_runs_from_one_spacing_to_half_of_the_steady_length_or_a_quarter_of_the_lattice():
    xi, without = one_length(TIME, 0.5 * TIME**0.5)
    settled = growth_exponent(xi, without, xi_inf=9.0, side=64)
    inside = TIME[(TIME >= 4) & (TIME <= 81)]
    assert (settled.growth_t_min, settled.growth_t_max) == (inside[0], inside[-1])
    small = growth_exponent(xi, without, side=20)
    assert small.growth_t_max == TIME[TIME <= 100][-1]
    assert growth_exponent(xi, without, xi_inf=np.nan, side=400).growth_t_max == 200


def test_the_window_ends_where_the_length_is_not_defined():
    xi, without = one_length(TIME, TIME**0.5)
    got = growth_exponent(xi.where((TIME < 45) | (TIME > 65)), without)
    assert got.growth_t_max == TIME[TIME < 45][-1]
    assert got.growth_exponent == pytest.approx(0.5)


def test_without_a_window_there_is_no_exponent_and_a_reason():
    xi, without = one_length(TIME, TIME**0.5)
    for got in (
        growth_exponent(xi / 100, without / 100),
        growth_exponent(xi, without, side=10),
        growth_exponent(xi, without, window=(150, 300)),
    ):
        assert got.growth_state == NO_WINDOW
        assert np.isnan(got.growth_exponent)
        assert np.isnan(got.growth_t_min)
    got = growth_exponent(xi * np.nan, without * np.nan)
    assert got.growth_state == NOT_DEFINED
    assert np.isnan(got.growth_exponent)


def test_one_seed_has_an_exponent_and_no_interval():
    got = growth_exponent(*series(np.random.default_rng(5), TIME, TIME**0.5, 0.0, seeds=1))
    assert got.growth_state == NO_UNCERTAINTY
    assert got.growth_exponent == pytest.approx(0.5)
    assert np.isnan(got.growth_exponent_low)


def test_absent_seeds_change_nothing_and_one_that_decides_takes_the_error():
    xi, without = series(np.random.default_rng(6), TIME, 2 * TIME**0.5, 0.05, absent=2)
    expected = growth_exponent(*series(np.random.default_rng(6), TIME, 2 * TIME**0.5, 0.05))
    xr.testing.assert_identical(growth_exponent(xi, without), expected)
    decides = growth_exponent(xi, without.where((without.seed != 1) | (without.time < 20)))
    assert decides.growth_state == NO_UNCERTAINTY
    assert decides.growth_exponent == expected.growth_exponent


def test_dask_gives_the_numbers_of_memory_lazily():
    drawn = series(np.random.default_rng(7), TIME, 2 * TIME**0.5, 0.05, repeats=4)
    lazy = growth_exponent(*(part.chunk(repeat=2, time=6) for part in drawn))
    assert lazy.chunks
    xr.testing.assert_identical(lazy.compute(scheduler="synchronous"), growth_exponent(*drawn))


def test_wrong_arguments_are_refused():
    xi, without = one_length(TIME, TIME**0.5)
    with pytest.raises(ValueError, match=r"window=\(5, 2\): must be \(t_min, t_max\)"):
        growth_exponent(xi, without, window=(5, 2))
    with pytest.raises(ValueError, match="confidence=95: must lie between 0 and 1"):
        growth_exponent(xi, without, confidence=95)
