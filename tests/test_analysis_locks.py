"""Orders in phase and in anti-phase, and walls between and within them, on fields whose densities can be counted."""

import numpy as np
import pytest

from isophase.analysis.lattices.locks import NAMES, locks
from isophase.kernels.lattice.tilings import ring_neighbours
from tests.phase_fields import checkerboard, field, half_planes, white_noise

SIDE = 12
SQUARE = ring_neighbours("square", SIDE, SIDE, "periodic")


def of(phase, neighbours=SQUARE):
    found = locks(phase, neighbours)
    return {name: float(found[name]) for name in NAMES}


def test_one_order_alone_has_no_walls():
    assert of(field(np.zeros((SIDE, SIDE)), ("row", "col"))) == pytest.approx(dict.fromkeys(NAMES, 0) | {"in_phase": 1})
    assert of(checkerboard(SIDE, SIDE)) == pytest.approx(dict.fromkeys(NAMES, 0) | {"anti_phase": 1}, abs=1e-6)


def test_a_wall_within_an_order_is_a_wall_of_that_order():
    """Two straight walls of 12 pairs, of 288 in all."""
    wall = 2 * SIDE / (2 * SIDE * SIDE)
    in_phase = of(half_planes(SIDE, SIDE))
    assert in_phase == pytest.approx({**dict.fromkeys(NAMES, 0), "in_phase": 1, "walls_in_phase": wall})
    shifted = checkerboard(SIDE, SIDE) + half_planes(SIDE, SIDE)
    assert of(shifted % (2 * np.pi)) == pytest.approx(
        {**dict.fromkeys(NAMES, 0), "anti_phase": 1, "walls_anti_phase": wall}, abs=1e-6
    )


def test_pairs_between_the_two_orders_are_counted_by_hand():
    left = np.arange(SIDE) < SIDE // 2
    mixed = np.where(left, 0.0, checkerboard(SIDE, SIDE).values)
    found = of(field(mixed, ("row", "col"), "float64"))
    assert found["in_phase"] == found["anti_phase"] == 0.5
    assert found["walls_between"] == pytest.approx(2 * SIDE / (2 * SIDE * SIDE))
    assert found["walls_in_phase"] == found["walls_anti_phase"] == 0


def test_densities_are_those_of_a_loop_over_rings_with_undefined_ones():
    phase = white_noise(np.random.default_rng(5), 3, SIDE, SIDE)
    phase = phase.where(np.random.default_rng(6).random(phase.shape) > 0.2)
    found = locks(phase, SQUARE)
    for seed in range(3):
        theta = phase[seed].values.astype(float).ravel()
        around = {ring: [] for ring in range(SIDE * SIDE)}
        for a, b in SQUARE:
            around[a].append(b)
            around[b].append(a)
        known = np.isfinite(theta)
        mean = np.array([np.nan_to_num(np.cos(theta[around[ring]] - theta[ring])).sum() for ring in around])
        mean[~known | ~np.array([known[around[ring]].any() for ring in around])] = np.nan
        mean /= np.array([max(known[around[ring]].sum(), 1) for ring in around])
        assert float(found["in_phase"][seed]) == pytest.approx(np.mean(mean[np.isfinite(mean)] > 0.25))
        joined = [(a, b) for a, b in SQUARE if known[a] and known[b]]
        between = sum(min(mean[a], mean[b]) < -0.25 and max(mean[a], mean[b]) > 0.25 for a, b in joined)
        within = sum(
            mean[a] < -0.25 and mean[b] < -0.25 and np.cos(theta[a] - theta[b]) > -np.sqrt(0.5) for a, b in joined
        )
        assert float(found["walls_between"][seed]) == pytest.approx(between / len(joined))
        assert float(found["walls_anti_phase"][seed]) == pytest.approx(within / len(joined))


def test_independent_phases_are_of_either_order_in_a_quarter_of_cases():
    """Of the mean of four independent cosines, by direct sampling."""
    cosines = np.cos(np.random.default_rng(0).uniform(0, 2 * np.pi, (200_000, 4))).mean(axis=1)
    found = of(white_noise(np.random.default_rng(1), 1, 128, 128)[0], ring_neighbours("square", 128, 128, "periodic"))
    assert np.mean(cosines > 0.25) == pytest.approx(0.25, abs=0.005)
    assert found["in_phase"] == pytest.approx(np.mean(cosines > 0.25), abs=0.02)


def test_no_pair_no_density():
    assert np.isnan(list(of(field(np.zeros((1, 1)), ("row", "col")), np.empty((0, 2), np.int64)).values())).all()
