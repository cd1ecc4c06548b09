"""Winding numbers and densities of defects: vortices put by hand, closed lattices, and noise of known density."""

import numpy as np
import pytest
import xarray as xr

from isophase.analysis.lattices.defects import defects, winding_numbers
from isophase.analysis.lattices.order_parameter import relative_to_wave
from isophase.kernels.lattice.tilings import plaquettes, tile_centres
from tests.phase_fields import checkerboard, field, plane_wave, vortices, white_noise

TILINGS = ("square", "hexagonal", "triangular")


def middles(tiling, rows, cols, around):
    return tile_centres(tiling, rows, cols)[around].mean(axis=1)


def apart(middle):
    """Two plaquettes about a third and two thirds along the diagonal."""
    low, span = middle.min(axis=0), np.ptp(middle, axis=0)
    return [int(np.argmin(np.hypot(*(middle - (low + span * part)).T))) for part in (1 / 3, 2 / 3)]


@pytest.mark.parametrize("tiling", TILINGS)
def test_a_vortex_pair_winds_once_each_way_and_nowhere_else(tiling):
    around = plaquettes(tiling, 16, 16, "open")
    middle = middles(tiling, 16, 16, around)
    plus, minus = apart(middle)
    phase = vortices(tile_centres(tiling, 16, 16), 16, 16, middle[[plus, minus]], (1, -1))
    winding = winding_numbers(phase, around).values
    assert winding[plus] == 1
    assert winding[minus] == -1
    assert np.abs(winding).sum() == 2
    got = defects(phase, around)
    assert got.charge == 0
    assert got.defects_positive == got.defects_negative == 1 / len(around)
    assert got.defects == 2 / len(around)
    assert got.defined_plaquettes == len(around)


@pytest.mark.parametrize("tiling", TILINGS)
def test_a_vortex_winds_the_same_for_any_offset_of_its_phase(tiling):
    around = plaquettes(tiling, 8, 8, "open")
    middle = middles(tiling, 8, 8, around)
    phase = vortices(tile_centres(tiling, 8, 8), 8, 8, middle[apart(middle)[:1]], (-1,))
    for offset in np.linspace(0, 7, 8):
        assert winding_numbers((phase + offset) % (2 * np.pi), around).sum() == -1


@pytest.mark.parametrize(("tiling", "density"), [("hexagonal", 1 / 4), ("square", 1 / 3), ("triangular", 7 / 15)])
def test_independent_phases_have_the_defects_of_their_plaquettes_and_no_charge_on_a_torus(tiling, density):
    around = plaquettes(tiling, 64, 64, "periodic")
    got = defects(white_noise(np.random.default_rng(1), 50, 64, 64), around)
    assert (got.charge == 0).all()
    error = float(got.defects.std()) / np.sqrt(50)
    assert got.defects.mean() == pytest.approx(density, abs=4 * error)
    assert error < 0.002
    xr.testing.assert_allclose(got.defects_positive, got.defects_negative)


@pytest.mark.parametrize("tiling", TILINGS)
def test_differences_of_exactly_half_a_turn_leave_a_torus_without_charge(tiling):
    phase = field(np.pi / 2 * np.random.default_rng(2).integers(0, 4, (20, 12, 12)), dtype="float64")
    assert (defects(phase, plaquettes(tiling, 12, 12, "periodic")).charge == 0).all()


def test_a_plane_wave_has_no_defects():
    assert defects(plane_wave(24, 24, 3, -2), plaquettes("square", 24, 24, "periodic")).defects == 0


def test_vortices_of_an_anti_phase_order_are_found_relative_to_its_wavevector():
    rng = np.random.default_rng(3)
    around = plaquettes("square", 24, 24, "open")
    middle = middles("square", 24, 24, around)
    plus, minus = apart(middle)
    smooth = vortices(tile_centres("square", 24, 24), 24, 24, middle[[plus, minus]], (1, -1))
    phase = (smooth + checkerboard(24, 24) + rng.normal(0, 0.1, (24, 24))) % (2 * np.pi)
    assert defects(phase, around).defects > 0.1  # half turns between neighbours: noise decides
    Q = xr.DataArray(np.pi)
    winding = winding_numbers(relative_to_wave(phase, Q, Q), around).values
    assert (winding[plus], winding[minus], np.abs(winding).sum()) == (1, -1, 2)


def test_plaquettes_with_a_ring_without_phase_are_undefined():
    around = plaquettes("square", 8, 8, "periodic")
    phase = plane_wave(8, 8, 1, 0).copy()
    phase[2, 5] = np.nan
    assert np.isnan(winding_numbers(phase, around)).sum() == 4
    got = defects(phase, around)
    assert got.defined_plaquettes == 60
    assert got.defects == 0
    nothing = defects(phase * np.nan, around)
    assert nothing.defined_plaquettes == 0
    assert np.isnan(nothing.defects)
    assert np.isnan(nothing.charge)


def test_a_chain_has_no_plaquettes_and_so_no_density():
    got = defects(white_noise(np.random.default_rng(4), 3, 1, 16), plaquettes("chain", 1, 16, "periodic"))
    assert np.isnan(got.defects).all()
    assert (got.defined_plaquettes == 0).all()


@pytest.mark.parametrize("measure", [winding_numbers, defects])
def test_dask_gives_the_bits_of_memory_lazily(measure):
    around = plaquettes("square", 8, 8, "periodic")
    phase = white_noise(np.random.default_rng(5), 3, 4, 8, 8, dims=("seed", "time", "row", "col"))
    lazy = measure(phase.chunk(seed=1, time=2), around)
    assert lazy.chunks
    xr.testing.assert_identical(lazy.compute(scheduler="synchronous"), measure(phase, around))


def test_wrong_plaquettes_are_refused():
    phase = checkerboard(4, 4)
    with pytest.raises(ValueError, match="plaquettes holds 0 to 24: must be flat ring indices from 0 to 15"):
        defects(phase, plaquettes("square", 5, 5, "periodic"))
    with pytest.raises(ValueError, match="plaquettes has 2 rings in a plaquette: must be at least 3"):
        winding_numbers(phase, np.array([[0, 1]]))
