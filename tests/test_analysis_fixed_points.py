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
    assert not dataset.marginal.any()
    assert dataset.isolated.all()
    assert (dataset.dimension == 0).all()
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


# Points that are not isolated, or whose stability is marginal.

DIAGONAL = np.diag([1.0, 0.5, -0.3])


def bases(seed):
    """Names and matrices: the coordinates themselves, rotated, and sheared (a condition of some ten)."""
    rng = np.random.default_rng(seed)
    rotated = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    sheared = rotated @ (np.eye(3) + np.triu(rng.normal(size=(3, 3)), 1))
    return {"diagonal": np.eye(3), "rotated": rotated, "sheared": sheared}


def linear(matrix, h):
    return matrix @ h


def in_basis(of_y):
    """``of_y`` in other coordinates: the map of h = basis y + origin."""

    def step(parameters, h):
        basis, inverse, origin = parameters
        return basis @ of_y(inverse @ (h - origin)) + origin

    return step


def ring(y):
    return jnp.array([1.25, 1.25, 0.4]) * y - 0.25 * (y[0] ** 2 + y[1] ** 2) * y * jnp.array([1, 1, 0])


def plane(y):
    return y * jnp.array([1, 1, 0.4])


def semi_stable(y):
    return jnp.array([y[0] - y[0] ** 2, 0.5 * y[1], -0.3 * y[2]])


def pitchfork(y):
    return jnp.array([y[0] - y[0] ** 3, 0.5 * y[1], -0.3 * y[2]])


def line_of_semi_stable_points(y):
    return jnp.array([y[0], y[1] - y[1] ** 2, 0.4 * y[2]])


def ghost(y):
    return jnp.array([y[0] + y[0] ** 2 + 1e-12, 0.5 * y[1], -0.3 * y[2]])


def drift(y):
    return jnp.array([y[0] + 1e-6, 0.5 * y[1], -0.3 * y[2]])


def turning(y):
    return jnp.array([0.6 * y[0] - 0.8 * y[1], 0.8 * y[0] + 0.6 * y[1], 0.4 * y[2]])


def in_every_basis(of_y, seeds=range(3)):
    """(fixed points, their y) in three bases a seed, with the origin elsewhere, all in one search; from 24 starts."""
    matrices = np.array([basis for seed in seeds for basis in bases(seed).values()])
    rng = np.random.default_rng(len(of_y.__name__))
    origins, y = rng.normal(size=(len(matrices), 3)), rng.uniform(-1, 1, (len(matrices), 24, 3))
    y[:, 12:, 0] += 0.5
    inverses = np.linalg.inv(matrices)
    starts = np.einsum("mij,mpj->mpi", matrices, y) + origins[:, None]
    found = find_fixed_points_of_maps(in_basis(of_y), (matrices, inverses, origins), starts)
    return [(f, (f.h - o) @ i.T) for f, i, o in zip(found, inverses, origins, strict=True)]


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("seed", range(3))
def test_a_line_attractor_is_a_continuum_of_dimension_one_in_any_basis(seed):
    matrices = [basis @ DIAGONAL @ np.linalg.inv(basis) for basis in bases(seed).values()]
    starts = np.random.default_rng(seed).uniform(-1, 1, (3, 40, 3))
    found = find_fixed_points_of_maps(linear, np.array(matrices), starts)
    for points, matrix, basis in zip(found, matrices, bases(seed).values(), strict=True):
        assert (len(points), points.starts, points.converged) == (40, 40, 40)
        assert (points.dimension == 1).all()
        assert points.marginal.all()
        assert not points.isolated.any()
        assert not points.stable.any()
        off_line = points.h - np.outer(points.h @ basis[:, 0], basis[:, 0]) / (basis[:, 0] @ basis[:, 0])
        assert (np.linalg.norm(off_line, axis=1) <= points.error).all()
        assert (points.error < 1e-12).all()
        np.testing.assert_allclose(points.h @ matrix.T, points.h, atol=1e-13)


@pytest.mark.filterwarnings("error")
def test_one_start_is_enough_to_tell_a_line_from_a_point():
    rotated = bases(5)["rotated"]
    (points,) = find_fixed_points_of_maps(linear, (rotated @ DIAGONAL @ rotated.T)[None], np.ones((1, 1, 3)))
    assert (len(points), list(points.dimension), list(points.isolated)) == (1, [1], [False])


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(("of_y", "dimension"), [(ring, 1), (plane, 2), (line_of_semi_stable_points, 1)])
def test_rings_planes_and_lines_of_marginal_points_have_their_dimension_in_any_basis(of_y, dimension):
    numbers = []
    for points, y in in_every_basis(of_y, seeds=range(100, 125)):
        there = points.dimension > 0
        numbers.append(int(there.sum()))
        assert (points.dimension[there] == dimension).all()
        assert points.marginal[there].all()
        assert not points.isolated[there].any()
        if of_y is ring:
            np.testing.assert_allclose(np.hypot(*y[there, :2].T), 1, atol=1e-13)
            np.testing.assert_allclose(y[~there], 0, atol=1e-13)  # its centre, an isolated and unstable point
            assert points.isolated[~there].all()
            assert not points.marginal[~there].any()
        else:
            assert there.all()
    assert min(numbers) >= 2  # in skewed bases few starts end on it, and rounding decides which
    assert np.median(numbers) >= 5


@pytest.mark.filterwarnings("error")
def test_every_point_of_the_identity_is_fixed():
    points = find_fixed_points(lambda h: h, STARTS[0])
    assert (len(points), set(points.dimension), points.isolated.any()) == (12, {8}, False)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("of_y", [semi_stable, pitchfork])
def test_a_multiple_point_is_one_marginal_point_and_known_to_its_error(of_y):
    for points, y in in_every_basis(of_y):
        assert (len(points), points.converged) == (1, 24)
        assert (points.marginal[0], points.isolated[0], points.stable[0], points.dimension[0]) == (
            True,
            False,
            False,
            0,
        )
        assert np.linalg.norm(y[0]) < 8 * points.error[0] < 1e-3


@pytest.mark.filterwarnings("error")
def test_a_turn_without_growth_and_a_flip_are_isolated_points_of_marginal_stability():
    for points, y in in_every_basis(turning):
        assert (len(points), points.isolated[0], points.marginal[0], points.stable[0]) == (1, True, True, False)
        np.testing.assert_allclose(y, 0, atol=1e-12)
    points = find_fixed_points(lambda h: -h, STARTS[0])
    assert (len(points), points.isolated[0], points.marginal[0], points.stable[0]) == (1, True, True, False)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("of_y", [ghost, drift])
def test_slow_points_are_no_fixed_points(of_y):
    for points, _ in in_every_basis(of_y):
        assert (len(points), points.converged) == (0, 0)


@pytest.mark.filterwarnings("error")
def test_a_drift_below_the_tolerance_is_no_fixed_point():
    """The residual is met and Newton's step is infinite."""
    points = find_fixed_points(lambda h: h + 1e-10, STARTS[0])
    assert (len(points), points.converged) == (0, 0)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(("half", "number"), [(3e-5, 2), (3e-6, 2), (1e-6, 2), (3e-9, 1), (1e-10, 1)])
def test_two_points_are_told_apart_where_their_error_lets_them(half, number):
    """A saddle and a node, or one marginal point: never one point that is stable by chance."""

    def pair(y):
        return jnp.array([y[0] + y[0] ** 2 - half**2, 0.5 * y[1], -0.3 * y[2]])

    for points, y in in_every_basis(pair, seeds=[1]):
        assert len(points) == number
        if number == 2:
            order = np.argsort(y[:, 0])
            np.testing.assert_allclose(y[order, 0], [-half, half], rtol=0.02)
            assert list(points.stable[order]) == [True, False]
            assert points.isolated.all()
            assert not points.marginal.any()
        else:
            assert (points.marginal[0], points.isolated[0], points.stable[0]) == (True, False, False)


@pytest.mark.filterwarnings("error")
def test_regular_points_are_all_isolated_and_none_is_marginal():
    points = find_fixed_points(double_tanh, RNG.uniform(-1.2, 1.2, (2000, 3)))
    assert (len(points), points.stable.sum()) == (27, 8)
    assert points.isolated.all()
    assert not points.marginal.any()
    assert (points.dimension == 0).all()


@pytest.mark.filterwarnings("error")
def test_maps_that_leave_the_numbers_are_searched_without_a_warning():
    """Beside a NaN, at an infinite slope, and through overflow."""
    starts = np.random.default_rng(0).uniform(-1, 1, (16, 3))
    assert len(find_fixed_points(lambda h: h * jnp.nan, starts)) == 0
    assert len(find_fixed_points(lambda h: jnp.log(h) - 1, starts)) == 0
    assert len(find_fixed_points(lambda h: jnp.exp(800 * h) + 2, 100 * starts)) == 0
    touching = find_fixed_points(lambda h: jnp.log(h) + 1, np.abs(starts))  # h = 1, where log h + 1 touches h
    assert (len(touching), list(touching.marginal), list(touching.isolated)) == (1, [True], [False])
    roots = find_fixed_points(jnp.sqrt, np.concatenate([np.zeros((1, 3)), np.ones((1, 3))]))
    order = np.argsort(roots.h[:, 0])
    np.testing.assert_array_equal(roots.h[order, 0], [0, 1])
    assert list(roots.stable[order]) == [False, True]
    assert list(roots.marginal[order]) == [True, False]  # the slope at 0 is infinite


@pytest.mark.filterwarnings("error")
def test_a_path_through_a_line_attractor_counts_no_point_of_it():
    """h' = diag(g, 0.5, -0.3) h: one point on one branch, and at g = 1 a line."""
    g = np.array([0.8, 0.9, 1.0, 1.1])
    rotated = bases(2)["rotated"]
    matrices = rotated @ (np.eye(3) * np.stack([g, 0 * g + 0.5, 0 * g - 0.3], axis=1)[:, None]) @ rotated.T
    starts = np.random.default_rng(1).uniform(-1, 1, (1, 4, 8, 3))
    (branches,) = continue_fixed_points(linear, matrices[None], starts, g)
    assert branches["dimension"].values.tolist() == [0, 0, 1, 0]
    assert branches["number"].values.tolist() == [1, 1, 0, 1]
    assert branches["number_stable"].values.tolist() == [1, 1, 0, 0]
    assert branches["number_marginal"].values.tolist() == [0, 0, 0, 0]


@pytest.mark.filterwarnings("error")
def test_a_pitchfork_at_a_checkpoint_is_one_marginal_point_there():
    g = np.array([0.9, 1.0, 1.1])

    def scaled(g, h):
        return jnp.tanh(g * h)

    (branches,) = continue_fixed_points(scaled, g[None], np.broadcast_to([[0.9], [-0.4], [0.2]], (1, 3, 3, 1)), g)
    assert branches["number"].values.tolist() == [1, 1, 3]
    assert branches["number_stable"].values.tolist() == [1, 0, 2]
    assert branches["number_marginal"].values.tolist() == [0, 1, 0]
    assert branches["dimension"].values.tolist() == [0, 0, 0]


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
