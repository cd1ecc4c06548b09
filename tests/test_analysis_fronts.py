"""Fronts: patches that grow and shrink at a known speed, and initial states that hold one."""

import numpy as np
import pytest
import xarray as xr

from isophase.analysis.lattices.fronts import (
    CANNOT_TELL,
    GROWS,
    NOT_DEFINED,
    PATCH_STATES,
    SHRINKS,
    STATES,
    fronts,
)
from isophase.analysis.lattices.nucleus import Discs, critical_nucleus
from isophase.kernels.lattice import Network, initial, simulate

TIME = np.linspace(5, 200, 40)
SIDE = 64


def moving(speed, first=10.0, shape="band", inside="disordered", around="coherent", seeds=4, side=SIDE):
    """Phases of a patch whose front starts at ``first`` and moves at ``speed``; the ordered state turns with time."""
    rng = np.random.default_rng(1)
    row, col = np.indices((side, side))
    away = np.abs(col - (side - 1) / 2) if shape == "band" else np.hypot(row - side / 2 + 0.5, col - side / 2 + 0.5)
    phase = np.empty((seeds, len(TIME), side, side))
    for seed in range(seeds):
        for number, t in enumerate(TIME):
            states = {
                "coherent": np.full((side, side), 2.3 * t + seed),
                "staggered": 2.3 * t + seed + np.pi * ((row + col) % 2),
                "disordered": rng.uniform(0, 2 * np.pi, (side, side)),
            }
            is_patch = away < first + speed * t + 0.1 * rng.standard_normal()
            phase[seed, number] = np.where(is_patch, states[inside], states[around])
    return xr.DataArray(phase % (2 * np.pi), dims=("seed", "time", "row", "col"), coords={"time": TIME})


def scheme(shape="band", inside="disordered", around="coherent", size=20 / SIDE):
    patch = {"initial": "patch", "patch_shape": shape, "patch": inside, "patch_around": around, "patch_size": size}
    return {"tiling": "square", "boundary": "periodic", **patch}


@pytest.mark.parametrize("speed", [0.08, -0.02])
@pytest.mark.parametrize("shape", ["band", "disc"])
@pytest.mark.parametrize(
    ("inside", "around"),
    [("disordered", "coherent"), ("coherent", "disordered"), ("staggered", "coherent"), ("disordered", "staggered")],
)
def test_a_front_of_known_speed_is_measured(speed, shape, inside, around):
    got = fronts(moving(speed, shape=shape, inside=inside, around=around), scheme(shape, inside, around))
    assert got.front_speed == pytest.approx(speed, abs=0.005)
    assert got.front_state == (GROWS if speed > 0 else SHRINKS)
    np.testing.assert_allclose(got.front_position[8:20], 10 + speed * TIME[8:20], atol=1.0)
    assert got.front_seeds == 4


def test_a_front_that_rests_cannot_be_told_to_move_and_one_seed_has_no_error():
    assert fronts(moving(0.0), scheme()).front_state == CANNOT_TELL
    one = fronts(moving(0.08, seeds=1), scheme())
    assert one.front_state == CANNOT_TELL
    assert np.isnan(one.front_speed_error)
    assert one.front_speed == pytest.approx(0.08, abs=0.01)


def test_a_lattice_without_a_patch_has_no_front():
    got = fronts(moving(0.1), {"initial": "pulse"})
    assert got.front_state == NOT_DEFINED
    assert np.isnan(got.front_speed)
    assert np.isnan(got.front_position).all()


def test_a_patch_has_one_state_inside_and_the_other_around():
    net = Network.lattice(tiling="square", rows=12, cols=12, sharing="side", shared=1, private=1)
    inside, around = initial.pulse(net, 3), initial.ring_phase(net, initial.uniform(net.shape))
    where = initial.disc(net.shape, 6)
    _, firing = initial.patch(net, where, inside, around)
    within = np.unique(net.rings[where.ravel()])
    outside = np.setdiff1d(np.arange(net.n_neurons), within)
    np.testing.assert_array_equal(firing[within], inside[1][within])
    np.testing.assert_array_equal(firing[outside], around[1][outside])
    whole, nothing = np.ones(net.shape, bool), np.zeros(net.shape, bool)
    for marked, state in ((whole, inside), (nothing, around)):
        for got, want in zip(initial.patch(net, marked, inside, around), state, strict=True):
            np.testing.assert_allclose(got, want, atol=1e-14)
    with pytest.raises(ValueError, match="where: bool"):
        initial.patch(net, where[:4], inside, around)


def test_discs_and_bands_lie_in_the_middle():
    assert initial.disc((9, 9), 3).sum() == 9
    assert initial.disc((9, 9), 1).sum() == 1
    assert initial.disc((64, 64), 20).sum() == pytest.approx(np.pi * 100, rel=0.03)
    band = initial.band((4, 10), 4)
    assert np.flatnonzero(band[0]).tolist() == [3, 4, 5, 6]


def test_a_disordered_band_invades_a_coherent_lattice_of_rings_of_8():
    """The coherent state of these is metastable: 0.136 +- 0.005 ring spacings per tau were found at L = 96."""
    net = Network.lattice(tiling="square", rows=48, cols=48, sharing="side", shared=1, private=1)
    phases = []
    for seed in range(2):
        coherent = initial.ring_phase(net, initial.uniform(net.shape, seed))
        drive, firing = initial.patch(net, initial.band(net.shape, 12), initial.pulse(net, seed), coherent)
        run = simulate(
            net, drive=drive, firing=firing, t_end=140.0, delay=0.01, sample_times=np.arange(10.0, 110.0, 4.0)
        )
        phases.append(run.phase.reshape(-1, *net.shape))
    phase = xr.DataArray(
        np.stack(phases), dims=("seed", "time", "row", "col"), coords={"time": np.arange(10.0, 110.0, 4.0)}
    )
    assert fronts(phase, scheme(size=12 / 48)).front_speed == pytest.approx(0.125, abs=0.04)


def bands(height, inside=np.pi, seeds=4):
    """Phases of a band in a coherent lattice, with fronts at ``height(rng)`` [front, time, row] from the middle."""
    phases = []
    for seed in range(seeds):
        left, right = height(np.random.default_rng(seed))
        rows, half = left.shape[1], 60
        col = np.arange(2 * half) - half + 0.5
        within = (col > -left[..., None]) & (col < right[..., None])
        turning = 0.7 * TIME[:, None, None] + seed
        phases.append(np.where(within, turning + inside, turning))
        assert phases[-1].shape == (len(TIME), rows, 2 * half)
    return xr.DataArray(np.stack(phases) % (2 * np.pi), dims=("seed", "time", "row", "col"), coords={"time": TIME})


def deposited(rng):
    """Uncorrelated rows, of a variance that grows as the time: the width grows with its root."""
    steps = rng.normal(0, 1, (2, len(TIME), 300)) * np.sqrt(0.15 * np.diff(TIME, prepend=0.0))[:, None]
    return 12 + 0.1 * TIME[:, None] + np.cumsum(steps, axis=1)


def smoothed(rng):
    """Edwards and Wilkinson's fronts, each mode exactly: a width that grows as the fourth root of the time."""
    k = 2 * np.pi * np.fft.rfftfreq(300)
    rate = 4 * (1 - np.cos(k))  # of the discrete Laplacian
    modes = np.zeros((2, len(k)), complex)
    found, previous = [], 0.0
    for t in TIME:
        decay = np.exp(-rate * (t - previous))
        variance = np.where(rate > 0, (1 - decay**2) / np.where(rate > 0, 2 * rate, 1), 0.0)
        kick = (rng.normal(size=modes.shape) + 1j * rng.normal(size=modes.shape)) * np.sqrt(variance / 2)
        modes, previous = decay * modes + kick, t
        found.append(12 + 0.1 * t + 3 * np.fft.irfft(modes, 300) * np.sqrt(300))
    return np.stack(found, axis=1)


@pytest.mark.parametrize(("height", "beta"), [(deposited, 1 / 2), (smoothed, 1 / 4)])
def test_fronts_that_roughen_by_a_known_law_have_its_exponent_and_their_speed(height, beta):
    got = fronts(bands(height), scheme(size=20 / 120))
    assert got.roughness_exponent == pytest.approx(beta, abs=0.03)
    assert got.roughness_exponent_low < beta + 0.01
    assert got.roughness_exponent_high > beta - 0.01
    assert got.front_speed == pytest.approx(0.1, abs=0.005)
    exact = np.sqrt(
        np.mean([height(np.random.default_rng(seed)).var(axis=2).mean(axis=0) for seed in range(4)], axis=0)
    )
    inside = np.isfinite(got.front_roughness)
    assert inside.sum() > 30
    np.testing.assert_allclose(got.front_roughness[inside], np.hypot(exact, np.sqrt(1 / 12))[inside], rtol=0.05)


def test_a_lattice_that_a_patch_of_another_order_has_taken_is_not_healed():
    for state in ("staggered", "in_phase"):
        assert fronts(becoming(state), scheme()).patch_fraction[-1] > 0.9


def test_patches_without_a_moving_front_have_no_roughness():
    for phase in (moving(-2.0), moving(5.0), moving(0.0)):
        got = fronts(phase, scheme())
        assert np.isnan(got.front_roughness).all()
        assert np.isnan(got.roughness_exponent)


def test_straight_fronts_have_no_roughness_and_discs_none_that_is_defined():
    got = fronts(
        bands(lambda _: np.full((2, len(TIME), 30), 1.0) * (10.2 + 0.1 * TIME)[:, None]), scheme(size=20 / 120)
    )
    inside = np.isfinite(got.front_roughness)
    assert (got.front_roughness[inside] == 0).all()
    assert np.isfinite(fronts(moving(0.08), scheme()).roughness_exponent)
    assert np.isnan(fronts(moving(0.08, shape="disc"), scheme("disc")).roughness_exponent)


def test_a_front_on_triangles_that_lag_behind_one_another_is_where_their_own_order_ends():
    """Up and down triangles of a coherent lattice differ in phase; R of the raw phases is far from 1."""
    phase = moving(0.08)
    up = xr.DataArray(np.indices((SIDE, SIDE)).sum(axis=0) % 2, dims=("row", "col"))
    lag = xr.DataArray(2.0 + np.pi * (np.arange(len(TIME)) % 2), dims="time") * up  # and alternates
    lagging = ((phase + lag) % (2 * np.pi)).transpose(*phase.dims)
    got = fronts(lagging, scheme() | {"tiling": "triangular"})
    assert got.front_speed == pytest.approx(0.08, abs=0.005)
    np.testing.assert_allclose(got.patch_fraction[8:20], 2 * (10 + 0.08 * TIME[8:20]) / SIDE, atol=0.05)


def becoming(state, noise=0.2, seeds=4):
    """A band that grows over the lattice and is in this state inside."""
    rng = np.random.default_rng(5)
    row, col = np.indices((SIDE, SIDE))
    fields = {
        "in_phase": 2 * np.pi * row / SIDE,
        "staggered": 2.0 + np.pi * ((row + col) % 2),
        "both_orders": 2.0 + np.pi * ((row + col) % 2) * (row < SIDE // 2),
        "disordered": rng.uniform(0, 2 * np.pi, (SIDE, SIDE)),
    }
    phase = moving(0.15, seeds=seeds)
    band = np.abs(col - (SIDE - 1) / 2) < (10 + 0.15 * TIME)[:, None, None]
    inside = fields[state] + noise * rng.standard_normal(phase.shape)
    return phase.copy(data=np.where(band, inside, phase) % (2 * np.pi))


@pytest.mark.parametrize(
    ("state", "correlation", "modulo_pi"),
    [("in_phase", 1, 1), ("staggered", -1, 1), ("both_orders", 0, 1), ("disordered", 0, 0)],
)
def test_what_a_patch_becomes_is_told_by_the_correlations_of_its_neighbours(state, correlation, modulo_pi):
    got = fronts(becoming(state), scheme())
    assert PATCH_STATES[int(got.patch_state)] == state
    assert got.patch_neighbour_correlation == pytest.approx(correlation * np.exp(-(0.2**2)), abs=0.05)
    assert got.patch_neighbour_correlation_modulo_pi == pytest.approx(modulo_pi * np.exp(-4 * 0.2**2), abs=0.05)
    assert (got.patches_grown, got.patches_healed, got.patches_undecided) == (4, 0, 0)
    assert PATCH_STATES[int(fronts(becoming(state), scheme(), waves=True).patch_state)] == "waves"
    one = fronts(becoming(state, seeds=1), scheme())
    assert PATCH_STATES[int(one.patch_state)] == "cannot_tell"


def test_seeds_whose_patches_heal_and_grow_are_counted_each():
    growing, healing, resting = moving(0.15), moving(-0.05), moving(0.0)
    mixed = xr.concat([growing.isel(seed=[0]), healing.isel(seed=[1, 2]), resting.isel(seed=[3])], "seed")
    got = fronts(mixed, scheme())
    assert (got.patches_grown, got.patches_healed, got.patches_undecided) == (1, 2, 1)
    missing = fronts(mixed.where(xr.DataArray([False, True, True, True], dims="seed")), scheme())
    assert (missing.patches_grown, missing.patches_healed, missing.patches_undecided) == (0, 2, 1)
    assert PATCH_STATES[int(fronts(healing, scheme()).patch_state)] == "healed"


def test_a_patch_that_is_gone_before_it_can_be_followed_heals():
    got = fronts(moving(-2.0), scheme())
    assert STATES[int(got.front_state)] == "heals"
    assert np.isnan(got.front_speed)
    assert got.patches_healed == 4
    got = fronts(moving(5.0), scheme())
    assert STATES[int(got.front_state)] == "takes_over"
    assert got.patches_grown == 4


DIAMETERS = np.array([2.0, 4.0, 8.0, 16.0])


@pytest.mark.parametrize(
    ("grown", "healed", "state", "low", "high"),
    [
        ([0, 1, 9, 10], [10, 9, 1, 0], "bracketed", 4, 8),
        ([0, 1, 5, 10], [10, 9, 5, 0], "bracketed", 4, 16),
        ([0, 1, 5, 10], [10, 9, 0, 0], "bracketed", 4, 16),  # half of one size are in neither state
        ([10, 10, 10, 9], [0, 0, 0, 1], "always grows", np.nan, 2),
        ([0, 0, 0, 1], [10, 10, 10, 9], "never grows", 16, np.nan),
        ([0, 3, 4, 5], [10, 7, 6, 5], "one bound", 2, np.nan),
        ([4, 10, 10, 10], [6, 0, 0, 0], "one bound", np.nan, 4),
        ([0, 0, 0, 0], [0, 0, 0, 0], "cannot tell", np.nan, np.nan),
    ],
)
def test_the_critical_nucleus_lies_between_sizes_that_heal_and_sizes_that_grow(grown, healed, state, low, high):
    undecided = 10 - np.array(grown) - np.array(healed) if sum(grown) else np.zeros(4, int)
    found = Discs("", DIAMETERS, np.array(grown), np.array(healed), undecided).critical()
    assert found.state == state
    np.testing.assert_equal((found.low, found.high), (low, high))
    if state == "bracketed":
        assert low < found.critical < high


def test_the_critical_nucleus_of_discs_with_a_known_threshold_is_covered():
    """Of discs that grow with a logistic probability, half at 7, nine brackets of ten hold 7."""
    rng = np.random.default_rng(2)
    diameter = np.arange(1.0, 16.0, 2.0)
    chance = 1 / (1 + np.exp(-(diameter - 7) / 0.7))
    covered, middles = 0, []
    for _ in range(200):
        grown = rng.binomial(10, chance)
        found = critical_nucleus(diameter, grown, 10 - grown, np.full(len(diameter), 10))
        assert found.state == "bracketed"
        covered += found.low < 7 < found.high
        middles.append(found.critical)
    assert covered >= 190
    assert np.mean(middles) == pytest.approx(7, abs=0.1)
    with pytest.raises(ValueError, match="must increase"):
        critical_nucleus(diameter[::-1], grown, grown, grown)
