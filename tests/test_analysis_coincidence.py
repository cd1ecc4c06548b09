"""Coincidence over seeds: with known differences, seeds where one event is missing, and too few seeds."""

import numpy as np
import pytest
import scipy.stats
import xarray as xr

from isophase.analysis.networks.coincidence import CANNOT_TELL, MEASURED, OUTCOMES, coincidence
from isophase.analysis.statistics import wilson


def seeds(values):
    return xr.DataArray(np.array(values, float), dims="seed", coords={"seed": np.arange(len(values))})


def test_events_that_happen_together_have_a_difference_around_zero_and_a_high_rank_correlation():
    rng = np.random.default_rng(0)
    transition = rng.uniform(60, 200, 30)
    bifurcation = transition + rng.normal(5, 4, 30)
    got = coincidence(seeds(bifurcation), seeds(transition))
    assert got.median_difference == pytest.approx(np.median(bifurcation - transition))
    assert got.median_difference_low < 5 < got.median_difference_high
    assert got.rank_correlation == pytest.approx(scipy.stats.spearmanr(bifurcation, transition).statistic)
    assert got.rank_correlation_low > 0.9
    assert got.difference_state == got.rank_state == MEASURED
    np.testing.assert_array_equal(got["count"], [30, 30, 30])
    assert got.fraction_high[2] == 1
    assert got.fraction_low[2] == pytest.approx(wilson(30, 30)[0])


def test_seeds_where_one_is_missing_are_listed_and_not_in_the_difference():
    got = coincidence(seeds([10, np.nan, 30, np.nan] + [50] * 6), seeds([12, 20, np.nan, np.nan] + [51] * 6))
    assert [OUTCOMES[code] for code in got.outcome.values[:4]] == [
        "both", "transition_only", "bifurcation_only", "neither",
    ]  # fmt: skip
    np.testing.assert_array_equal(got["count"], [8, 8, 7])
    assert np.isnan(got.difference[1:4]).all()
    assert got.number == 10
    assert got.median_difference == -1


@pytest.mark.parametrize("n", [0, 1, 2, 5])
def test_too_few_seeds_cannot_tell(n):
    values = np.arange(n, dtype=float)
    got = coincidence(seeds(values), seeds(values + 1))
    assert got.difference_state == got.rank_state == CANNOT_TELL
    assert np.isnan(got.median_difference_low)
    assert np.isnan(got.rank_correlation_high)


def test_ranks_that_do_not_vary_have_no_correlation():
    got = coincidence(seeds([5.0] * 8), seeds(np.arange(8)))
    assert got.rank_state == CANNOT_TELL
    assert got.difference_state == MEASURED


def test_the_interval_of_the_median_covers_it():
    rng = np.random.default_rng(1)
    found = [coincidence(seeds(rng.normal(3, 1, 15)), seeds(np.zeros(15)), seed=k) for k in range(60)]
    covered = np.mean([float(got.median_difference_low) <= 3 <= float(got.median_difference_high) for got in found])
    assert covered >= 0.85


def test_wrong_arguments_are_refused():
    with pytest.raises(ValueError, match="must be over the same seed"):
        coincidence(seeds([1, 2]), seeds([1]))
    with pytest.raises(ValueError, match=r"bifurcation has seeds \[0 1\], transition \[1 2\]"):
        coincidence(seeds([1, 2]), seeds([1, 2]).assign_coords(seed=[1, 2]))
