"""Steady state: the verdict on constructed series, how often it is wrong, and the numbers that come with it."""

import numpy as np
import pytest
import xarray as xr

from isophase.analysis.lattices.steady_state import (
    BEYOND_HALF,
    CANNOT_TELL,
    NOT_DEFINED,
    NOT_STEADY,
    STEADY,
    WAVES,
    steady_state,
)
from tests.phase_fields import series

TIME = np.linspace(5, 200, 40)


def share(state, code):
    return float((state == code).mean())


def drifting(relative):
    """A length whose straight line changes by so much of its mean across the last half of ``TIME``."""
    last = TIME[TIME >= 100]
    return 1 + relative * (TIME - last.mean()) / np.ptp(last)


def test_a_steady_series_with_noise_is_called_steady_at_its_length():
    got = steady_state(*series(np.random.default_rng(1), TIME, np.full(40, 4.0), 0.02, repeats=500))
    assert share(got.state, STEADY) > 0.95
    assert got.xi_inf.mean() == pytest.approx(4, abs=0.01)
    assert (abs(got.xi_inf - 4) < 3.18 * got.xi_inf_error).mean() == pytest.approx(0.95, abs=0.03)


@pytest.mark.parametrize("exponent", [0.5, 0.25, -0.3])
def test_a_length_that_grows_or_shrinks_as_a_power_is_not_steady(exponent):
    got = steady_state(*series(np.random.default_rng(2), TIME, TIME**exponent, 0.03, repeats=500))
    assert share(got.state, NOT_STEADY) > 0.95
    assert share(got.state, STEADY) == 0
    assert np.isnan(got.time_to_steady.where(got.state == NOT_STEADY)).all()


def test_a_short_noisy_series_cannot_tell():
    time = np.linspace(5, 60, 12)
    got = steady_state(*series(np.random.default_rng(3), time, np.ones(12), 0.5, seeds=3, repeats=1000))
    assert share(got.state, CANNOT_TELL) > 0.93
    assert share(got.state, NOT_STEADY) < 0.07


@pytest.mark.parametrize("seeds", [2, 4, 12])
@pytest.mark.parametrize("memory", [0.0, 0.95])
def test_a_series_without_drift_is_called_not_steady_in_five_cases_of_a_hundred_at_most(seeds, memory):
    drawn = series(np.random.default_rng(4), TIME, np.ones(40), 0.3, seeds, 4000, memory)
    # The drift is that of a ratio, and so not quite Student's: allow for it and for three errors of 4000 cases.
    assert share(steady_state(*drawn).state, NOT_STEADY) < 0.065


@pytest.mark.parametrize("seeds", [2, 4, 12])
@pytest.mark.parametrize("scatter", [0.03, 0.1, 0.3])
def test_a_drift_just_beyond_the_tolerance_is_called_steady_in_five_cases_of_a_hundred_at_most(seeds, scatter):
    drawn = series(np.random.default_rng(5), TIME, drifting(0.101), scatter, seeds, 4000)
    assert share(steady_state(*drawn).state, STEADY) < 0.05 + 3 * np.sqrt(0.05 / 4000)


def test_a_drift_that_is_seen_but_small_is_steady():
    xi, without = series(np.random.default_rng(6), TIME, drifting(0.05), 0.001)
    got = steady_state(xi, without)
    assert got.state == STEADY
    assert got.drift == pytest.approx(0.05, abs=0.005)
    assert got.drift > 5 * got.drift_error
    assert steady_state(xi, without, tolerance=0.02).state == NOT_STEADY


def test_the_mean_is_over_time_however_the_samples_are_spaced():
    for time in (np.linspace(10, 1000, 100), np.geomspace(10, 1000, 100)):
        got = steady_state(*series(np.random.default_rng(7), time, 2 + time / 1000, 0.0))
        first = time[time >= 500][0]
        assert got.xi_inf == pytest.approx(2 + (first + 1000) / 2000, rel=1e-12)
        assert got.drift == pytest.approx((1000 - first) / 1000 / got.xi_inf, rel=1e-9)


def test_the_time_to_steady_is_where_an_exponential_approach_enters_five_percent():
    time = np.linspace(1, 400, 400)
    got = steady_state(*series(np.random.default_rng(8), time, 5 * (1 - np.exp(-time / 20)), 1e-5))
    assert got.state == STEADY
    assert got.time_to_steady == pytest.approx(20 * np.log(20), abs=0.1)
    assert got.time_to_steady_error < 0.1


def test_the_time_to_steady_of_an_overshoot_is_its_last_entry():
    time = np.arange(1.0, 101.0)
    mean = np.where(time <= 20, time / 10, np.where(time <= 40, 2 - (time - 20) / 20, 1.0))
    assert steady_state(*series(np.random.default_rng(9), time, mean, 0.0)).time_to_steady == pytest.approx(
        39, abs=1e-9
    )


def test_what_was_never_elsewhere_is_steady_since_the_first_sample():
    assert steady_state(*series(np.random.default_rng(10), TIME, np.ones(40), 0.0)).time_to_steady == 5


def test_undefined_lengths_before_the_steady_state_count_as_elsewhere():
    xi, without = series(np.random.default_rng(11), TIME, np.ones(40), 0.0)
    got = steady_state(xi.where(xi.time > 20), without)
    assert got.time_to_steady == 25


def test_one_seed_cannot_tell_but_has_its_mean():
    got = steady_state(*series(np.random.default_rng(12), TIME, np.full(40, 3.0), 0.0, seeds=1))
    assert got.state == CANNOT_TELL
    assert got.xi_inf == pytest.approx(3)
    assert np.isnan(got.xi_inf_error)
    assert np.isnan(got.time_to_steady)


def test_an_absent_seed_changes_nothing():
    five = series(np.random.default_rng(13), TIME, np.full(40, 3.0), 0.05, seeds=4, absent=2)
    four = series(np.random.default_rng(13), TIME, np.full(40, 3.0), 0.05, seeds=4)
    found, wanted = steady_state(*five), steady_state(*four)
    assert np.isnan(found["xi_inf_without"][:, 4:]).all()
    xr.testing.assert_identical(found.isel(seed=slice(4)), wanted)


def test_a_length_that_is_not_defined_over_the_window_has_no_steady_state():
    xi, without = series(np.random.default_rng(14), TIME, np.full(40, 3.0), 0.01)
    assert steady_state(xi.where(xi.time != 150), without).state == STEADY
    for hidden in (xi.where(xi.time < 180), xi * np.nan):
        got = steady_state(hidden, without)
        assert got.state == NOT_DEFINED
        for name in ("xi_inf", "xi_inf_error", "drift", "time_to_steady"):
            assert np.isnan(got[name])
        assert not got.beyond_quarter


def test_a_length_beyond_half_of_the_lattice_in_most_of_the_window_is_called_that():
    xi, without = series(np.random.default_rng(14), TIME, np.full(40, 3.0), 0.01)
    for since, state in ((0, BEYOND_HALF), (140, BEYOND_HALF), (160, NOT_DEFINED), (195, STEADY)):
        longer = xi.time >= since
        got = steady_state(xi.where(~longer), without, side=32, beyond_half=longer)
        assert got.state == state
        assert got.beyond_quarter == (state == BEYOND_HALF)
        assert np.isnan(got.xi_inf) == (state != STEADY)


def test_times_at_which_one_seed_decides_do_not_count():
    xi, without = series(np.random.default_rng(15), TIME, np.full(40, 3.0), 0.01)
    assert steady_state(xi, without.where((without.seed != 1) | (without.time != 150))).state == STEADY
    assert steady_state(xi, without.where((without.seed != 1) | (without.time < 150))).state == NOT_DEFINED


def test_a_length_beyond_a_quarter_of_the_lattice_is_flagged():
    drawn = series(np.random.default_rng(16), TIME, np.full(40, 9.0), 0.01)
    assert steady_state(*drawn, side=32).beyond_quarter
    assert not steady_state(*drawn, side=48).beyond_quarter


def test_too_few_samples_cannot_tell():
    time = np.array([10.0, 20, 30, 40, 80, 100])
    got = steady_state(*series(np.random.default_rng(17), time, np.full(6, 2.0), 0.0))
    assert got.state == CANNOT_TELL
    assert got.xi_inf == pytest.approx(2)
    only = steady_state(*series(np.random.default_rng(18), np.array([10.0]), np.array([2.0]), 0.0))
    assert only.state == CANNOT_TELL
    assert only.xi_inf == pytest.approx(2)


def test_dask_gives_the_numbers_of_memory_lazily():
    drawn = series(np.random.default_rng(19), TIME, np.full(40, 9.0), 0.1, repeats=6)
    lazy = steady_state(*(part.chunk(repeat=2, time=10) for part in drawn))
    assert lazy.chunks
    xr.testing.assert_identical(lazy.compute(scheduler="synchronous"), steady_state(*drawn))


def test_wrong_arguments_are_refused():
    xi, without = series(np.random.default_rng(20), TIME, np.ones(40), 0.1)
    with pytest.raises(ValueError, match=r"window=1\.5: must lie between 0 and 1"):
        steady_state(xi, without, window=1.5)
    with pytest.raises(ValueError, match=r"tolerance=-0\.1: must be > 0"):
        steady_state(xi, without, tolerance=-0.1)
    with pytest.raises(ValueError, match="must include time, with a coordinate"):
        steady_state(xi.drop_vars("time"), without)
    with pytest.raises(ValueError, match="must be >= 0 and increase"):
        steady_state(xi.isel(time=slice(None, None, -1)), without)


@pytest.mark.parametrize("scatter", [0.1, 0.3])
@pytest.mark.parametrize("memory", [0.7, 0.95])
def test_so_many_seeds_as_are_said_to_tell_call_no_drift_steady_in_8_of_10_cases(scatter, memory):
    rng = np.random.default_rng(30)
    few = steady_state(*series(rng, TIME, np.ones(40), scatter, seeds=5, repeats=400, memory=memory))
    wanted = round(float(np.sqrt((few.seeds_to_tell**2).mean())))
    told = steady_state(*series(rng, TIME, np.ones(40), scatter, seeds=wanted, repeats=400, memory=memory))
    assert 0.7 < share(told.state, STEADY) < 0.98
    half = steady_state(*series(rng, TIME, np.ones(40), scatter, seeds=max(wanted // 3, 2), repeats=400, memory=memory))
    assert share(half.state, STEADY) < 0.6


def test_waves_are_a_state_of_their_own():
    xi, without = series(np.random.default_rng(31), TIME, np.ones(40), 0.1)
    late = xr.DataArray(TIME > 90, dims="time")
    got = steady_state(xi.where(~late), without.where(~late), waves=late)
    assert got.state == WAVES
    assert np.isnan(got.xi_inf)
