"""Finite size: extrapolation in 1/L, the sizes that may take part, and the verdict whether the length saturates."""

import numpy as np
import pytest
import xarray as xr

from isophase.analysis.lattices.finite_size import CANNOT_TELL, NOT_SATURATED, SATURATED, finite_size

SIZES = np.array([32, 48, 64, 96, 128])


def lengths(sizes, values, error):
    coords = {"size": ("size", np.asarray(sizes), {"units": "ring spacings"})}
    values = np.asarray(values, float)
    xi = xr.DataArray(values, dims=("repeat", "size")[-values.ndim :], coords=coords)
    return xi, xr.full_like(xi, 1) * error


def test_a_line_in_one_over_size_is_extrapolated_to_its_intercept():
    got = finite_size(*lengths(SIZES, 5 - 20 / SIZES, 0.05))
    assert got.xi_infinite == pytest.approx(5, rel=1e-12)
    assert got.slope == pytest.approx(-20, rel=1e-12)
    assert got.chi2 == pytest.approx(0, abs=1e-12)
    assert got.dof == 3
    assert got.p_value == pytest.approx(1)
    assert got.state == SATURATED
    assert got.used.all()


def test_errors_and_probabilities_are_those_of_repeated_measurements():
    rng = np.random.default_rng(1)
    error = np.array([0.05, 0.1, 0.02, 0.08, 0.04])
    got = finite_size(*lengths(SIZES, 4 + 8 / SIZES + error * rng.standard_normal((4000, 5)), error))
    assert got.xi_infinite.mean() == pytest.approx(4, abs=4 * float(got.xi_infinite_error[0]) / np.sqrt(4000))
    assert got.xi_infinite.std() == pytest.approx(float(got.xi_infinite_error[0]), rel=0.05)
    assert got.slope.std() == pytest.approx(float(got.slope_error[0]), rel=0.05)
    np.testing.assert_allclose(got.p_value.quantile([0.05, 0.5, 0.95]), [0.05, 0.5, 0.95], atol=0.03)


def test_a_curve_that_is_no_line_has_a_small_probability():
    assert finite_size(*lengths(SIZES, 5 - 4e4 / SIZES**3, 0.02)).p_value < 0.01


def test_two_sizes_are_solved_exactly_and_one_tells_nothing():
    two = finite_size(*lengths([32, 64], [3.0, 3.5], np.array([0.1, 0.2])))
    assert two.xi_infinite == pytest.approx(4)
    assert two.xi_infinite_error == pytest.approx(np.hypot(0.1, 0.4))
    assert two.dof == 0
    assert np.isnan(two.p_value)
    one = finite_size(*lengths([32], [3.0], 0.1))
    assert one.state == CANNOT_TELL
    assert np.isnan(one.xi_infinite)
    assert one.used.item()


def test_a_length_in_proportion_to_the_lattice_is_not_saturated():
    got = finite_size(*lengths(SIZES, 0.2 * SIZES, 0.3))
    assert got.state == NOT_SATURATED
    assert got.size_exponent == pytest.approx(1)
    assert np.isnan(got.xi_infinite)
    assert finite_size(*lengths(SIZES, 0.4 * SIZES, 0.3)).beyond_quarter.all()


def test_large_errors_cannot_tell_and_the_verdict_is_seldom_wrong():
    rng = np.random.default_rng(2)
    assert finite_size(*lengths([64, 128], [4.0, 5.0], 2.0)).state == CANNOT_TELL
    for exponent, wrong in ((0.0, NOT_SATURATED), (1.0, SATURATED), (0.55, SATURATED), (0.45, NOT_SATURATED)):
        for relative in (0.03, 0.1):
            mean = 3 * (SIZES / 32) ** exponent
            values = mean * (1 + relative * rng.standard_normal((4000, 5)))
            assert (finite_size(*lengths(SIZES, values, relative * mean)).state == wrong).mean() < 0.03


def test_sizes_below_four_lengths_are_left_out_and_flagged():
    xi = 5 - 20 / SIZES
    xi[0] = 8.5
    got = finite_size(*lengths(SIZES, xi, 0.05))
    assert got.beyond_quarter.values.tolist() == [True, False, False, False, False]
    assert got.used.values.tolist() == [False, True, True, True, True]
    assert got.xi_infinite == pytest.approx(5)


def test_the_largest_lattice_has_to_hold_the_length_for_it_to_be_saturated():
    xi = np.full(5, 5.0)
    xi[-1] = np.nan
    got = finite_size(*lengths(SIZES, xi, 0.05))
    assert got.state == CANNOT_TELL
    assert not got.used[-1]


def test_the_order_of_the_sizes_does_not_matter_and_undefined_ones_are_left_out():
    rng = np.random.default_rng(3)
    values = 5 - 20 / SIZES + 0.05 * rng.standard_normal((50, 5))
    values[:, 1] = np.nan
    forward = finite_size(*lengths(SIZES, values, 0.05))
    order = [3, 0, 4, 1, 2]
    shuffled = finite_size(*lengths(SIZES[order], values[:, order], 0.05))
    xr.testing.assert_allclose(shuffled.sortby("size"), forward)
    assert not forward.used[:, 1].any()
    assert (forward.dof == 2).all()


def test_no_size_at_all_is_no_answer():
    got = finite_size(*lengths(SIZES, np.full(5, np.nan), 0.1))
    assert got.state == CANNOT_TELL
    assert np.isnan(got.xi_infinite)
    assert got.dof == 0


def test_dask_gives_the_numbers_of_memory_lazily():
    values = 5 - 20 / SIZES + 0.05 * np.random.default_rng(4).standard_normal((6, 5))
    drawn = lengths(SIZES, values, 0.05)
    lazy = finite_size(*(part.chunk(repeat=2, size=1) for part in drawn))
    assert lazy.chunks
    xr.testing.assert_identical(lazy.compute(scheduler="synchronous"), finite_size(*drawn))


def test_wrong_arguments_are_refused():
    xi, error = lengths(SIZES, 5 - 20 / SIZES, 0.05)
    with pytest.raises(ValueError, match=r"xi has dimensions \('size',\): must include L, with a coordinate"):
        finite_size(xi, error, size_dim="L")
    with pytest.raises(ValueError, match="must be positive and distinct"):
        finite_size(*lengths([32, 32], [1, 1], 0.1))


@pytest.mark.parametrize("seeds", [4, 5, 8])
def test_intervals_cover_where_errors_come_from_few_seeds(seeds):
    rng = np.random.default_rng(seeds)
    each = 4 + 8 / SIZES + 40 / SIZES * rng.standard_normal((4000, seeds, 5))
    xi, error = lengths(SIZES, each.mean(axis=1), 1.0)
    error = error.copy(data=each.std(axis=1, ddof=1) / np.sqrt(seeds))
    got = finite_size(xi, error, seeds=xr.full_like(xi, seeds))
    assert 0.94 <= ((got.xi_infinite_low < 4) & (got.xi_infinite_high > 4)).mean() <= 0.975
    assert got.xi_infinite.std() == pytest.approx(float(np.sqrt((got.xi_infinite_error**2).mean())), rel=0.05)
    if seeds > 4:  # of fewer the tail of chi^2 is another one
        assert (got.p_value < 0.05).mean() < 0.12


def test_a_length_that_still_changes_by_more_than_a_tenth_is_not_called_saturated():
    """The exponent alone called -24.7 +- 6.9 saturated."""
    values = 2.1 - 24.7 / np.array([48, 64, 96])
    got = finite_size(*lengths([48, 64, 96], values, np.array([0.08, 0.05, 0.04])))
    assert got.state != SATURATED
    flat = finite_size(*lengths([48, 64, 96], [2.1, 2.1, 2.1], np.array([0.02, 0.02, 0.02])))
    assert flat.state == SATURATED
