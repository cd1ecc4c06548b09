"""What maps settle on: maps whose attractor, exponent or rotation number is known in closed form."""

import jax.numpy as jnp
import numpy as np
import pytest

from isophase.analysis.networks.attractors import (
    CHAOTIC,
    CYCLE,
    DIVERGED,
    FIXED_POINT,
    QUASI_PERIODIC,
    UNDETERMINED,
    birkhoff_weights,
    classify_attractors,
    compose,
    rotation_number,
)

GOLDEN = (5**0.5 - 1) / 2


def logistic(r, h):
    return r * h * (1 - h)


def rotate(parameters, h):
    angle, g, squash = parameters
    c, s = jnp.cos(angle), jnp.sin(angle)
    turned = g * jnp.array([c * h[0] - s * h[1], s * h[0] + c * h[1]])
    return jnp.where(squash, jnp.tanh(turned), turned)


def rotations(angles, g, squash):
    n = len(angles)
    parameters = (2 * np.pi * np.array(angles), np.broadcast_to(g, n).astype(float), np.full(n, squash))
    return classify_attractors(rotate, parameters, np.tile([0.3, 0.1], (n, 1)))


def test_the_logistic_map_has_its_fixed_point_its_cycles_and_its_chaos():
    r = np.array([2.8, 3.2, 3.5, 3.83, 4.0])
    got = classify_attractors(logistic, r, np.full((5, 1), 0.3123))
    assert list(got.attractor.values) == [FIXED_POINT, CYCLE, CYCLE, CYCLE, CHAOTIC]
    assert list(got.period.values) == [1, 2, 4, 3, 0]
    exponent = got.lyapunov.values[:, 0]
    assert exponent[0] == pytest.approx(np.log(0.8), abs=1e-9)  # F' = 2 - r at the fixed point
    assert exponent[1] == pytest.approx(np.log(0.16) / 2, abs=1e-9)  # 4 + 2 r - r^2 over the cycle of two
    assert exponent[4] == pytest.approx(np.log(2), abs=4 * float(got.lyapunov_error[4, 0]))
    assert exponent[4] == pytest.approx(np.log(2), abs=0.01)
    assert np.isnan(got.rotation_number).all()


def test_where_a_cycle_is_born_nothing_can_be_told():
    """At r = 3 the orbit approaches the fixed point as one over the root of time."""
    got = classify_attractors(logistic, np.full(5, 3.0), np.full((5, 1), 0.3123), rounds=1)
    assert (got.attractor == UNDETERMINED).all()


def test_a_rotation_by_a_rational_angle_returns_and_by_an_irrational_one_does_not():
    angles = [0.3, 1 / 7, 0.101, GOLDEN, np.sqrt(2) - 1, 1 / np.pi]
    got = rotations(angles, 1.0, False)
    assert list(got.attractor.values) == [CYCLE] * 3 + [QUASI_PERIODIC] * 3
    assert list(got.period.values) == [10, 7, 1000, 0, 0, 0]
    np.testing.assert_allclose(got.rotation_number, np.minimum(angles, 1 - np.array(angles)), rtol=0, atol=1e-12)
    np.testing.assert_allclose(got.lyapunov, 0, atol=1e-12)


def test_a_cycle_too_long_to_return_twice_is_followed_for_longer_before_it_is_named():
    angles = [100 / 2053, GOLDEN]
    first = classify_attractors(rotate, (2 * np.pi * np.array(angles), np.ones(2), np.zeros(2, bool)),
                                np.tile([0.3, 0.1], (2, 1)), rounds=1)  # fmt: skip
    assert list(first.attractor.values) == [UNDETERMINED, QUASI_PERIODIC]
    got = rotations([*angles], 1.0, False)
    assert list(got.attractor.values) == [CYCLE, QUASI_PERIODIC]
    assert got.period[0] == 2053


def test_the_scaled_rotation_has_an_invariant_circle_above_one_with_nearly_its_angle():
    got = rotations([0.1, 0.1, 0.1, GOLDEN, 0.1, 0.25], [0.9, 1.01, 1.05, 1.05, 1.3, 1.05], True)
    assert list(got.attractor.values) == [FIXED_POINT] + [QUASI_PERIODIC] * 4 + [CYCLE]
    rotation = got.rotation_number.values
    assert np.isnan(rotation[0])
    assert rotation[1] == pytest.approx(0.1, abs=2e-6)
    assert rotation[2] == pytest.approx(0.1, abs=5e-5)
    assert rotation[3] == pytest.approx(1 - GOLDEN, abs=5e-5)
    assert (got.rotation_error[1:] < 1e-9).all()
    np.testing.assert_allclose(got.lyapunov[1:5, 0], 0, atol=1e-9)
    assert (got.lyapunov[1:5, 1] < -0.01).all()
    assert got.period[5] == 4  # 1:4 resonance: locked
    np.testing.assert_allclose(got.lyapunov[0], np.log(0.9), atol=1e-9)


def test_a_given_plane_and_centre_give_the_same_rotation():
    parameters = (np.full(6, 0.2 * np.pi), np.full(6, 1.05), np.full(6, True))
    starts, plane = np.tile([0.3, 0.1], (6, 1)), np.tile(np.eye(2), (6, 1, 1))
    got = classify_attractors(rotate, parameters, starts, plane=plane, centre=np.zeros((6, 2)))
    assert float(got.rotation_number[0]) == pytest.approx(float(rotations([0.1], 1.05, True).rotation_number[0]))


def test_under_periodic_input_the_map_is_that_of_one_period():
    def driven(parameters, h):
        _, u = parameters
        return 0.5 * h + u

    got = classify_attractors(compose(driven, [[1.0], [0.0]]), (), [[0.2]]).isel(map=0)
    assert got.attractor == FIXED_POINT
    assert got["last"].item() == pytest.approx(0.5 / 0.75)  # h = (h / 2 + 1) / 2
    assert got.lyapunov[0] == pytest.approx(2 * np.log(0.5))


def test_an_orbit_that_diverges_is_called_so():
    assert classify_attractors(logistic, np.full(5, 4.5), np.full((5, 1), 0.3), rounds=1).attractor[0] == DIVERGED


def test_the_circle_map_below_its_critical_line_has_the_known_rotation_number_of_its_tongue():
    theta, turns = 0.1, [0.1]
    for _ in range(4096):
        theta = theta + 0.5 - 0.9 / (2 * np.pi) * np.sin(2 * np.pi * theta)
        turns.append(theta)
    angle = 2 * np.pi * np.array(turns)
    number, error = rotation_number(np.cos(angle), np.sin(angle))
    assert abs(number) == pytest.approx(0.5, abs=1e-9)  # by symmetry
    assert error < 1e-9


def test_birkhoff_weights_converge_faster_than_the_mean():
    values = np.cos(2 * np.pi * GOLDEN * np.arange(4096) + 1)
    assert abs(birkhoff_weights(4096) @ values) < 1e-12
    assert abs(values.mean()) > 1e-5


def test_wrong_arguments_are_refused():
    with pytest.raises(ValueError, match=r"starts has shape \(3,\): must be \[map, hidden\]"):
        classify_attractors(logistic, np.ones(3), np.ones(3))
    with pytest.raises(ValueError, match=r"parameters have an array of shape \(2,\): must begin with \(3,\)"):
        classify_attractors(logistic, np.ones(2), np.ones((3, 1)))
    with pytest.raises(ValueError, match="length=10, transient=2000, rounds=3: must be >= 64, 0, 1"):
        classify_attractors(logistic, np.ones(3), np.ones((3, 1)), length=10)
