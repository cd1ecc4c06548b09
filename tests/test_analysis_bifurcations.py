"""Bifurcations: at their known parameters, to 1e-6; told apart; and no answer where there is none to give."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize

from isophase.analysis.networks.bifurcations import (
    CANNOT_TELL,
    FLIP,
    FOLD,
    LOSES,
    NEIMARK_SACKER,
    NONE,
    PITCHFORK,
    TYPES,
    find_bifurcations,
    first_bifurcation,
    refine,
    straight_path,
)
from isophase.analysis.networks.fixed_points import continue_fixed_points

PHI = 2 * np.pi / 10
GRID = np.linspace(0.83, 1.43, 13)  # 1.0 lies between two of them
ROOT = 0.5 * np.array([[1.0], [-1.3], [0.1]])


def rotate(parameters, h):
    g, phi = parameters
    c, s = jnp.cos(phi), jnp.sin(phi)
    return jnp.tanh(g * jnp.array([c * h[0] - s * h[1], s * h[0] + c * h[1]]))


def scaled(g, h):
    return jnp.tanh(g * h)


def shifted(parameters, h):
    g, c = parameters
    return jnp.tanh(g * h + c)


def branches_of(step, parameters, starts, checkpoint):
    parameters = jax.tree.map(lambda part: np.asarray(part, float)[None], parameters)
    starts = np.broadcast_to(starts, (1, len(checkpoint), *starts.shape))
    (branches,) = continue_fixed_points(step, parameters, starts, checkpoint)
    return branches, find_bifurcations(branches)


def rotations(phi, grid=GRID):
    return branches_of(rotate, (grid, np.full(len(grid), phi)), np.array([[0.3, -0.2], [0.9, 0.7]]), grid)


def fold_of(g):
    return np.sqrt(g) * np.sqrt(g - 1) - np.arccosh(np.sqrt(g))


def test_the_scaled_rotation_has_a_neimark_sacker_bifurcation_at_one():
    branches, events = rotations(PHI)
    expected = GRID[:, None] * np.exp(1j * PHI * np.array([1, -1]))
    np.testing.assert_allclose(branches.eigenvalues[0], expected, rtol=0, atol=1e-12)
    assert events.sizes["event"] == 1
    event = first_bifurcation(events)
    assert event.type == NEIMARK_SACKER
    assert event.direction == LOSES
    assert event.checkpoint_low < 1 < event.checkpoint_high
    assert event.checkpoint == pytest.approx(1, abs=1e-9)  # its modulus is linear
    assert event.angle == pytest.approx(PHI, abs=1e-9)
    assert event.resonance == 0
    assert (event.unstable_low, event.unstable_high) == (0, 2)
    assert event.changes_attractors
    found = refine(rotate, lambda s: (s, PHI + 0 * s), branches, event)
    assert found.type == "neimark_sacker"
    assert found.checkpoint == pytest.approx(1, abs=1e-6)
    assert found.angle == pytest.approx(PHI, abs=1e-9)


@pytest.mark.parametrize(("phi", "resonance"), [(2 * np.pi / 3, 3), (np.pi / 2, 4), (2 * np.pi / 3 + 0.1, 0)])
def test_strong_resonances_are_noted(phi, resonance):
    _, events = rotations(phi)
    event = first_bifurcation(events)
    assert event.type == NEIMARK_SACKER
    assert event.resonance == resonance


def test_the_scaled_tanh_has_a_pitchfork_at_one():
    branches, events = branches_of(scaled, GRID, ROOT, GRID)
    assert list(branches.number) == [1] * 4 + [3] * 9
    outer = branches.h.values[1:, 4:, 0]
    for h, g in zip(np.abs(outer).T, GRID[4:], strict=True):
        root = scipy.optimize.brentq(lambda x, g=g: x - np.tanh(g * x), 1e-3, 1)
        np.testing.assert_allclose(h, root, rtol=0, atol=1e-11)
    assert events.sizes["event"] == 1
    event = first_bifurcation(events)
    assert event.type == PITCHFORK
    assert list(event.branches) == [0, 1, 2]
    assert event.checkpoint == pytest.approx(1, abs=1e-9)
    found = refine(scaled, lambda s: s, branches, event)
    assert found.type == "pitchfork"
    assert found.checkpoint == pytest.approx(1, abs=1e-6)


def test_a_pitchfork_run_backwards_is_one_too():
    branches, events = branches_of(scaled, 2 - GRID, ROOT, GRID)
    event = first_bifurcation(events)
    assert list(events.type) == [PITCHFORK]
    assert event.changes_attractors
    assert refine(scaled, lambda s: 2 - s, branches, event).checkpoint == pytest.approx(1, abs=1e-6)


def test_the_reversed_tanh_flips_at_one():
    branches, events = branches_of(scaled, -GRID, ROOT, GRID)
    event = first_bifurcation(events)
    assert events.sizes["event"] == 1
    assert event.type == FLIP
    assert event.angle == np.pi
    found = refine(scaled, lambda s: -s, branches, event)
    assert found.type == "flip"
    assert found.checkpoint == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("g", [1.2, 2.0])
def test_the_shifted_tanh_has_two_folds(g):
    c = np.linspace(-1.1, 1.1, 30) * fold_of(g) * 1.3
    branches, events = branches_of(shifted, (np.full(30, g), c), np.array([[0.95], [-0.95], [0.05]]), c)
    assert list(events.type) == [FOLD, FOLD]
    assert events.changes_attractors.all()
    spacing = c[1] - c[0]
    for index, exact in enumerate((-fold_of(g), fold_of(g))):
        event = events.isel(event=index)
        assert event.checkpoint_low < exact < event.checkpoint_high
        assert event.checkpoint == pytest.approx(exact, abs=0.25 * spacing)
        found = refine(shifted, lambda s, g=g: (g + 0 * s, s), branches, event)
        assert found.type == "fold"
        assert found.checkpoint == pytest.approx(exact, abs=1e-6)
        assert found.eigenvalues[0] == pytest.approx(1, abs=1e-6)
        assert found.residual < 1e-9


def test_two_folds_in_a_row_are_told_from_a_jump_of_one_point():
    """Beyond the fold Newton leads from the vanished point to the far one, which has a past of its own."""
    c = np.linspace(-0.5, 1.5, 9)
    branches, events = branches_of(shifted, (np.full(9, 2.0), c), np.array([[0.95], [-0.95], [0.05]]), c)
    top = branches.isel(branch=int(np.nanargmax(branches.h[:, -1, 0])))
    assert top.exists[c > -fold_of(2.0)].all()
    assert np.isnan(top.died)
    assert list(events.type) == [FOLD]


def test_an_imperfect_pitchfork_is_a_fold_beside_a_branch_where_checkpoints_are_fine():
    g = np.linspace(1.0, 1.5, 30)
    _, events = branches_of(shifted, (g, np.full(30, 0.02)), ROOT, g)
    assert list(events.type) == [FOLD]


def test_a_crossing_at_one_without_new_points_cannot_be_told():
    def transcritical(r, h):
        return h + (r - 1) * h - h**2

    _, events = branches_of(transcritical, GRID, np.array([[0.0], [0.2], [-0.2]]), GRID)
    assert events.sizes["event"] > 0
    assert (events.type == CANNOT_TELL).all()


def test_no_bifurcation_is_an_answer():
    _, events = rotations(PHI, np.linspace(0.5, 0.9, 13))
    assert events.sizes["event"] == 0
    first = first_bifurcation(events)
    assert first.type == NONE
    assert TYPES[NONE] == "none"
    assert np.isnan(first.checkpoint)


def test_a_straight_path_between_checkpoints_has_its_own_crossing():
    coarse, events = rotations(PHI)
    low, high = GRID[3], GRID[4]
    path = straight_path(low, high, (low, np.array(PHI)), (high, np.array(PHI)))
    assert refine(rotate, path, coarse, first_bifurcation(events)).checkpoint == pytest.approx(1, abs=1e-6)
