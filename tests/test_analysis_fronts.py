"""Fronts: patches that grow and shrink at a known speed, and initial states that hold one."""

import numpy as np
import pytest
import xarray as xr

from isophase.analysis.lattices.fronts import CANNOT_TELL, GROWS, NOT_DEFINED, SHRINKS, fronts
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


def scheme(shape="band", inside="disordered", around="coherent"):
    return {"initial": "patch", "patch_shape": shape, "patch": inside, "patch_around": around}


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
    assert fronts(phase, scheme()).front_speed == pytest.approx(0.125, abs=0.04)
