"""Global and local order parameters, and phases relative to the wavevector of their order."""

import numpy as np
import pytest
import xarray as xr

from isophase.analysis.lattices.order_parameter import order_parameter, relative_to_wave
from isophase.analysis.lattices.structure_factor import structure_factor
from isophase.kernels.lattice.tilings import ring_neighbours
from tests.phase_fields import checkerboard, field, half_planes, plane_wave, white_noise


def test_rings_in_phase_have_order_one_and_their_common_phase():
    got = order_parameter(
        field(np.full((4, 6), 1.25), ("row", "col"), "float64"), ring_neighbours("square", 4, 6, "open")
    )
    assert got.order == pytest.approx(1, abs=1e-12)
    assert got.local_order == pytest.approx(1, abs=1e-12)
    assert got.mean_phase == pytest.approx(1.25)


def test_the_mean_phase_is_circular():
    phase = field(np.where(np.arange(8) % 2, 0.3, -0.5) * np.ones((8, 1)), ("row", "col"), "float64")
    assert order_parameter(phase).mean_phase == pytest.approx(2 * np.pi - 0.1)
    assert order_parameter(phase).order == pytest.approx(np.cos(0.4))


def test_opposite_half_planes_cancel_globally_and_not_locally():
    got = order_parameter(half_planes(16, 16), ring_neighbours("square", 16, 16, "periodic"))
    assert got.order == pytest.approx(0, abs=1e-12)
    # One neighbour of five is opposite in the four columns at the two boundaries, so there |4 - 1| / 5.
    assert got.local_order == pytest.approx(1 - 4 / 16 * 2 / 5)


def test_independent_phases_have_the_order_of_random_walks():
    pairs = ring_neighbours("square", 32, 32, "periodic")
    got = order_parameter(white_noise(np.random.default_rng(1), 1000, 32, 32), pairs)
    assert got.order.mean() == pytest.approx(np.sqrt(np.pi / (4 * 1024)), rel=0.06)
    # Mean distance of five unit steps: W_5(1) = 2.00816 (Borwein, Nuyens, Straub, Wan, Ramanujan J. 26, 109 (2011)).
    assert got.local_order.mean() == pytest.approx(2.00816 / 5, rel=0.003)


@pytest.mark.parametrize("tiling", ["square", "hexagonal", "triangular"])
def test_local_order_is_the_mean_over_each_ring_and_its_defined_neighbours(tiling):
    rng = np.random.default_rng(2)
    phase = white_noise(rng, 6, 8, dims=("row", "col"))
    phase = phase.where(rng.random((6, 8)) > 0.5)
    pairs = ring_neighbours(tiling, 6, 8, "open")
    z = np.exp(1j * phase.values.ravel().astype(float))
    values = []
    for ring in np.flatnonzero(np.isfinite(z)):
        others = [b if a == ring else a for a, b in pairs if ring in (a, b)]
        others = [other for other in others if np.isfinite(z[other])]
        if others:
            values.append(abs(np.mean([z[ring], *z[others]])))
    assert order_parameter(phase, pairs).local_order == pytest.approx(np.mean(values), rel=1e-12)


def test_no_defined_ring_has_no_order():
    got = order_parameter(checkerboard(4, 4) * np.nan, ring_neighbours("square", 4, 4, "open"))
    assert all(np.isnan(got[name]) for name in ("order", "local_order", "mean_phase"))


@pytest.mark.parametrize(("rows", "cols"), [(16, 24), (15, 9), (1, 12)])
def test_a_plane_wave_is_in_phase_relative_to_its_wavevector_as_the_structure_factor_finds_it(rows, cols):
    phase = plane_wave(rows, cols, 3 if rows > 1 else 0, -2).expand_dims(time=2)
    S = structure_factor(phase)
    assert (order_parameter(phase).order < 1e-12).all()
    relative = relative_to_wave(phase, S.wavenumber_row, S.wavenumber_col)
    assert relative.dims == phase.dims
    assert (order_parameter(relative).order > 1 - 1e-12).all()
    assert ((relative >= 0) & (relative < 2 * np.pi)).all()


def test_phases_in_phase_stay_as_they_are_relative_to_their_wavevector():
    phase = field(np.random.default_rng(3).normal(2, 0.5, (5, 16, 16)))
    S = structure_factor(phase)
    np.testing.assert_array_equal(relative_to_wave(phase, S.wavenumber_row, S.wavenumber_col), phase)


def test_dask_gives_the_bits_of_memory_lazily():
    pairs = ring_neighbours("square", 8, 8, "periodic")
    phase = white_noise(np.random.default_rng(4), 3, 4, 8, 8, dims=("seed", "time", "row", "col"))
    lazy = order_parameter(phase.chunk(seed=1, time=2), pairs)
    assert all(variable.chunks is not None for variable in lazy.data_vars.values())
    xr.testing.assert_identical(lazy.compute(scheduler="synchronous"), order_parameter(phase, pairs))


def test_wrong_neighbours_are_refused():
    with pytest.raises(ValueError, match=r"neighbours has shape \(4,\) and dtype int64: must be an integer array"):
        order_parameter(checkerboard(4, 4), np.arange(4))
