"""Time in the state: on states that turn with a clock, drift by count, or do neither."""

import numpy as np
import pytest
import xarray as xr

from isophase.analysis.networks.time_encoding import (
    circular_correlation,
    counting,
    eigenplane,
    elapsed_steps,
    phase_encoding,
    plane_angle,
    restricted_accuracy,
)

PERIOD, ANGLE = 10, 2 * np.pi / 10
ROTATION = np.array([[np.cos(ANGLE), -np.sin(ANGLE)], [np.sin(ANGLE), np.cos(ANGLE)]])
BASIS = np.linalg.qr(np.random.default_rng(0).normal(size=(6, 6)))[0]  # columns
BLOCKS = np.zeros((6, 6))
BLOCKS[:2, :2] = 1.05 * ROTATION
BLOCKS[range(2, 6), range(2, 6)] = [0.8, -0.5, 0.3, 0.1]
JACOBIAN = BASIS @ BLOCKS @ BASIS.T
CENTRE = np.full(6, 0.1)


def turning(rng, n=8, steps=40, noise=0.1):
    time = np.arange(steps)
    circle = np.stack([np.cos(ANGLE * time), np.sin(ANGLE * time)])
    h = CENTRE + (BASIS[:, :2] @ circle).T + noise * rng.normal(size=(n, steps, 6))
    return xr.DataArray(h, dims=("sequence", "time", "hidden"))


def test_the_eigenplane_is_that_of_the_leading_pair_and_turns_forward():
    plane = eigenplane(JACOBIAN)
    np.testing.assert_allclose(plane @ plane.T, np.eye(2), atol=1e-12)
    np.testing.assert_allclose(plane.T @ plane, BASIS[:, :2] @ BASIS[:, :2].T, atol=1e-12)
    turned = plane_angle(CENTRE + JACOBIAN @ plane[0], CENTRE, plane)
    assert turned == pytest.approx(ANGLE)
    three = eigenplane(JACOBIAN, 3)
    np.testing.assert_allclose(three.T @ three, BASIS[:, :3] @ BASIS[:, :3].T, atol=1e-12)
    with pytest.raises(ValueError, match="dimensions=7: must lie between 1 and 6"):
        eigenplane(JACOBIAN, 7)


def test_circular_correlation_is_the_sum_over_pairs_and_one_for_a_shifted_angle():
    rng = np.random.default_rng(1)
    a, b = rng.uniform(-np.pi, np.pi, (2, 30))
    i, j = np.triu_indices(30, 1)
    da, db = np.sin(a[i] - a[j]), np.sin(b[i] - b[j])
    assert circular_correlation(a, b) == pytest.approx((da * db).sum() / np.sqrt((da**2).sum() * (db**2).sum()))
    assert circular_correlation(a, a + 2) == pytest.approx(1)
    assert circular_correlation(a, 2 - a) == pytest.approx(-1)
    assert np.isnan(circular_correlation(a, np.ones(30)))


def test_states_that_turn_with_the_clock_correlate_and_others_do_not():
    rng = np.random.default_rng(2)
    got = phase_encoding(turning(rng), PERIOD, CENTRE, eigenplane(JACOBIAN))
    assert got.correlation > 0.9
    assert got.correlation_low < got.correlation < got.correlation_high
    assert got.p_value == pytest.approx(0.001)
    lost = turning(rng, n=8)
    lost = xr.concat([lost[k].roll(time=int(rng.integers(10))) for k in range(8)], "sequence")
    assert phase_encoding(lost, PERIOD, CENTRE, eigenplane(JACOBIAN)).p_value > 0.02
    alone = phase_encoding(turning(rng, n=1), PERIOD, CENTRE, eigenplane(JACOBIAN))
    assert np.isnan(alone.p_value)
    assert np.isnan(alone.correlation_low)


def test_a_readout_within_the_subspace_loses_nothing_and_one_outside_everything():
    h = turning(np.random.default_rng(3), noise=0.3).values
    for direction, kept in ((0, True), (5, False)):
        readout = BASIS[None, :, direction]
        bias = -readout @ CENTRE
        targets = (h @ readout[0] + bias[0]) > 0
        got = restricted_accuracy(h, targets, readout, bias, CENTRE, eigenplane(JACOBIAN, 3))
        assert got.accuracy == 1
        assert (got.accuracy_restricted == 1) == kept
        assert got.dimensions == 3
    assert got.accuracy_restricted < 0.6


def test_elapsed_steps_count_from_the_last_symbol():
    np.testing.assert_array_equal(elapsed_steps([[2, 0, 2, 2, 1, 2]], 2), [[np.nan, 0, 1, 2, 0, 1]])


def test_states_that_relax_count_by_distance_and_states_that_drift_linearly():
    rng = np.random.default_rng(4)
    steps = elapsed_steps(rng.choice([0, 1, 2], p=[0.1, 0.1, 0.8], size=(20, 60)), 2)
    known = np.nan_to_num(steps)
    relaxing = np.exp(-0.2 * known)[..., None] * np.ones(6)
    drifting = known[..., None] * BASIS[0] + 0.5 * rng.normal(size=(20, 60, 6))
    dims = ("sequence", "time", "hidden")
    elapsed = xr.DataArray(steps, dims=dims[:2])
    relax = counting(xr.DataArray(relaxing, dims=dims), elapsed, np.zeros(6))
    assert relax.distance_rank_correlation == pytest.approx(-1)
    np.testing.assert_allclose(relax.distance, np.sqrt(6) * np.exp(-0.2 * relax.elapsed))
    drift = counting(xr.DataArray(drifting, dims=dims), elapsed, np.zeros(6))
    assert drift.probe_r2 > 0.9
    assert drift.probe_error == pytest.approx(0.5, rel=0.1)
    nothing = counting(xr.DataArray(rng.normal(size=(20, 60, 6)), dims=dims), elapsed, np.zeros(6))
    assert nothing.probe_r2 < 0.05
    assert np.isnan(counting(xr.DataArray(drifting[:3], dims=dims), elapsed[:3], np.zeros(6)).probe_r2)


def test_rounding_does_not_decide_whether_equal_shifts_of_all_sequences_count():
    """Of two sequences and a period of 3 a third of the random clocks are the clock itself, later or not."""
    h = turning(np.random.default_rng(40), n=2, steps=20)
    found = set()
    for number in range(10):
        rounded = h + 1e-14 * np.random.default_rng(number).normal(size=h.shape)
        found.add(float(phase_encoding(rounded, 3, CENTRE, eigenplane(JACOBIAN)).p_value))
    assert len(found) == 1
    assert found.pop() > 0.28
