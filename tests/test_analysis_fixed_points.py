"""Fixed points: in closed form, of many maps at once, and with identities along checkpoints."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize

from isophase.analysis.networks.fixed_points import (
    choose_starts,
    continue_fixed_points,
    find_fixed_points,
    find_fixed_points_of_maps,
)

RNG = np.random.default_rng(0)
W, B = RNG.normal(size=(6, 8, 8)) * 1.5 / np.sqrt(8), RNG.normal(size=(6, 8)) * 0.3
STARTS = RNG.uniform(-1, 1, (6, 12, 8))


def network(parameters, h):
    weights, bias = parameters
    return jnp.tanh(weights @ h + bias)


def double_tanh(h):
    return jnp.tanh(2 * h)


def saddle_free(h):
    return h + 1 + h**2  # no fixed point: the residual is 1 or more


@pytest.fixture(scope="module")
def networks():
    return find_fixed_points_of_maps(network, (W, B), STARTS)


def test_a_bistable_map_has_its_three_points_and_their_multipliers():
    points = find_fixed_points(double_tanh, np.linspace(-1.5, 1.5, 13)[:, None])
    outer = scipy.optimize.brentq(lambda h: h - np.tanh(2 * h), 0.1, 1)
    order = np.argsort(points.h[:, 0])
    np.testing.assert_allclose(points.h[order, 0], [-outer, 0, outer], rtol=0, atol=1e-12)
    edge = 2 * (1 - outer**2)
    np.testing.assert_allclose(points.eigenvalues[order, 0], [edge, 2, edge], atol=1e-12)
    assert list(points.stable[order]) == [True, False, True]
    assert (points.starts, points.converged, points.share_converged) == (13, 13, 1.0)


def test_starts_that_find_nothing_are_counted_and_not_returned():
    points = find_fixed_points(saddle_free, np.linspace(-2, 2, 13)[:, None])
    assert len(points) == 0
    assert (points.starts, points.converged) == (13, 0)
    assert points.eigenvalues.shape == (0, 1)


def test_points_of_networks_are_solved_to_rounding_and_distinct(networks):
    assert sum(len(points) for points in networks) >= 6
    for points, w, b in zip(networks, W, B, strict=True):
        np.testing.assert_allclose(np.tanh(points.h @ w.T + b), points.h, rtol=0, atol=1e-13)
        assert (points.residual <= 1e-9).all()
        for h, jacobian, eigenvalues in zip(points.h, points.jacobian, points.eigenvalues, strict=True):
            exact = (1 - h**2)[:, None] * w
            np.testing.assert_allclose(jacobian, exact, atol=1e-12)
            np.testing.assert_allclose(np.sort(np.abs(eigenvalues)), np.sort(np.abs(np.linalg.eigvals(exact))))
            assert (np.diff(np.abs(eigenvalues)) <= 0).all()
        away = np.linalg.norm(points.h[:, None] - points.h, axis=-1) + np.eye(len(points))
        assert (away > 1e-6).all()


def test_one_map_at_a_time_gives_the_points_of_all_at_once(networks):
    alone = find_fixed_points(lambda h: network((W[1], B[1]), h), STARTS[1])
    np.testing.assert_allclose(alone.h, networks[1].h, atol=1e-12)
    assert alone.converged == networks[1].converged


def test_single_precision_outside_stays_single(networks):
    assert jnp.ones(3).dtype == jnp.float32
    assert not jax.config.jax_enable_x64
    assert networks[0].h.dtype == np.float64


def test_a_second_search_compiles_nothing(networks):
    traced = []

    def step(parameters, h):
        traced.append(1)
        return network(parameters, h)

    find_fixed_points_of_maps(step, (W, B), STARTS)
    once = len(traced)
    find_fixed_points_of_maps(step, (W + 0.01, B), STARTS)
    assert len(traced) == once


def test_results_can_be_selected_and_labelled(networks):
    points = networks[0]
    assert len(points.select([0])) == 1
    assert len(points.distinct(distance=10.0)) == 1
    dataset = points.to_dataset()
    assert dataset.eigenvalues.dims == ("point", "hidden")
    assert dataset.attrs == {"starts": 12, "converged": points.converged}


def test_identities_do_not_depend_on_which_starts_found_the_points():
    """Every checkpoint is searched from one start only: the rest is found by continuation from the others."""
    weights = W[0] + np.linspace(0, 0.2, 6)[:, None, None] * W[1]
    parameters = (weights[None], np.broadcast_to(B[0], (1, 6, 8)))
    (many,) = continue_fixed_points(network, parameters, STARTS[None, [0] * 6], np.arange(6))
    (few,) = continue_fixed_points(network, parameters, many.h.values[None, 0][:, :, None], np.arange(6))
    assert int(few.exists[:, 0].sum()) >= 1
    np.testing.assert_allclose(few.h[0], many.h[0], atol=1e-10)
    assert many.exists[0].all()
    assert np.isnan(many.born[0])
    np.testing.assert_array_equal(many.number, many.exists.sum("branch"))
    assert (many.share_converged > 0).all()


def test_starts_are_visited_states_and_random_ones():
    states = RNG.normal(size=(4, 5, 3))
    starts = choose_starts(states, 10, seed=1)
    assert starts.shape == (10, 3)
    flat = states.reshape(-1, 3)
    assert all((flat == start).all(axis=1).any() for start in starts[:5])
    np.testing.assert_array_equal(starts, choose_starts(states, 10, seed=1))


def test_wrong_arguments_are_refused():
    with pytest.raises(ValueError, match=r"starts has shape \(3,\): must be \[n, hidden\]"):
        find_fixed_points(double_tanh, np.ones(3))
    with pytest.raises(ValueError, match="not finite"):
        find_fixed_points(double_tanh, [[np.nan]])
    with pytest.raises(ValueError, match=r"parameters have an array of shape \(6, 8\): must begin with \(5,\)"):
        find_fixed_points_of_maps(network, (W[:5], B), STARTS[:5])
    with pytest.raises(ValueError, match="must increase"):
        continue_fixed_points(network, (W[None], B[None]), STARTS[None], np.zeros(6))
