"""Domains of rings in phase: on fields whose domains can be counted by eye, and against a flood fill."""

import numpy as np
import pytest
import xarray as xr

from isophase.analysis.lattices.domains import domains
from isophase.analysis.lattices.order_parameter import relative_to_wave
from isophase.kernels.lattice.tilings import ring_neighbours
from tests.phase_fields import checkerboard, field, half_planes, plane_wave, white_noise


def square(side, boundary="periodic"):
    return ring_neighbours("square", side, side, boundary)


def flood_fill(phase, pairs, tolerance):
    """Sizes of the domains of one map, by walking from ring to ring."""
    theta = phase.values.ravel()
    joined = {r: [] for r in range(theta.size) if np.isfinite(theta[r])}
    for a, b in pairs:
        if a in joined and b in joined and abs(np.angle(np.exp(1j * (theta[b] - theta[a])))) <= tolerance:
            joined[a].append(b)
            joined[b].append(a)
    sizes, left = [], set(joined)
    while left:
        stack, size = [left.pop()], 0
        while stack:
            size += 1
            for other in joined[stack.pop()]:
                if other in left:
                    left.remove(other)
                    stack.append(other)
        sizes.append(size)
    return np.array(sizes)


def test_two_half_planes_are_two_domains_with_a_boundary_of_twice_the_side():
    got = domains(half_planes(16, 16), square(16))
    assert got.domains == 2
    assert got.domain_size == got.domain_size_weighted == 128
    assert got.largest_domain == 0.5
    assert got.boundary_density == pytest.approx(2 * 16 / (2 * 16**2), rel=1e-12)


def test_an_open_lattice_has_one_boundary_between_two_half_planes():
    got = domains(half_planes(16, 16), square(16, "open"))
    assert got.domains == 2
    assert got.boundary_density == pytest.approx(16 / (2 * 16 * 15), rel=1e-12)


def test_a_domain_goes_on_across_a_periodic_boundary_and_ends_at_an_open_one():
    phase = half_planes(8, 16).roll(col=4)
    assert domains(phase, ring_neighbours("square", 8, 16, "periodic")).domains == 2
    assert domains(phase, ring_neighbours("square", 8, 16, "open")).domains == 3


def test_differences_are_circular():
    phase = field(np.where(np.arange(6) % 2, 0.1, 2 * np.pi - 0.1) * np.ones((6, 1)), ("row", "col"))
    got = domains(phase, square(6))
    assert got.domains == 1
    assert got.boundary_density == 0


def test_a_slow_plane_wave_is_one_domain_and_a_fast_one_is_cut_at_every_step():
    pairs = square(32)
    assert domains(plane_wave(32, 32, 0, 3), pairs).domains == 1
    cut = domains(plane_wave(32, 32, 0, 5), pairs)
    assert cut.domains == 32
    assert cut.boundary_density == 0.5


@pytest.mark.parametrize("tiling", ["square", "hexagonal", "triangular"])
@pytest.mark.parametrize("boundary", ["periodic", "open"])
def test_domains_are_those_of_a_flood_fill(tiling, boundary):
    rng = np.random.default_rng(1)
    pairs = ring_neighbours(tiling, 10, 12, boundary)
    phase = white_noise(rng, 6, 10, 12)
    phase = phase.where(rng.random(phase.shape) > 0.2)
    for tolerance in (0.0, 0.8, 1.6, 3.0):
        got = domains(phase, pairs[:, ::-1], tolerance)
        for k in range(6):
            sizes = flood_fill(phase[k], pairs, tolerance)
            assert got.domains[k] == len(sizes)
            assert got.domain_size[k] == pytest.approx(sizes.mean())
            assert got.domain_size_weighted[k] == pytest.approx((sizes**2).sum() / sizes.sum())
            assert got.largest_domain[k] == pytest.approx(sizes.max() / sizes.sum())


@pytest.mark.parametrize("tiling", ["square", "hexagonal", "triangular", "chain"])
@pytest.mark.parametrize("symmetry", [1, 2])
def test_independent_phases_join_a_quarter_of_the_pairs_and_percolate_on_no_tiling(tiling, symmetry):
    rows = 1 if tiling == "chain" else 96
    pairs = ring_neighbours(tiling, rows, 96, "periodic")
    phase = white_noise(np.random.default_rng(2), 20, rows, 96)
    got = domains(phase, pairs, symmetry=symmetry).mean()
    assert got.boundary_density == pytest.approx(0.75, abs=0.02 if tiling == "chain" else 0.005)
    assert got.largest_domain < 0.1


def test_anti_phase_neighbours_are_one_domain_relative_to_their_wavevector_or_modulo_pi():
    phase, pairs = checkerboard(12, 12), square(12)
    plain = domains(phase, pairs)
    assert plain.domains == 144
    assert plain.boundary_density == 1
    Q = xr.DataArray(np.pi)
    assert domains(relative_to_wave(phase, Q, Q), pairs).domains == 1
    assert domains(phase, pairs, symmetry=2).domains == 1


def test_regions_of_opposite_sublattices_are_apart_relative_to_the_wavevector_and_not_modulo_pi():
    phase, pairs = (checkerboard(12, 12) + half_planes(12, 12)) % (2 * np.pi), square(12)
    Q = xr.DataArray(np.pi)
    assert domains(relative_to_wave(phase, Q, Q), pairs).domains == 2
    assert domains(phase, pairs, symmetry=2).domains == 1


def test_rings_without_phase_are_in_no_domain():
    phase = half_planes(8, 8, 0.0).copy()
    phase[:, 3] = np.nan
    phase[2, 2] = np.nan
    got = domains(phase, square(8, "open"))
    assert got.domains == 2
    assert got.domain_size == (64 - 9) / 2
    assert got.largest_domain == 32 / 55
    assert got.boundary_density == 0
    nothing = domains(phase * np.nan, square(8))
    assert nothing.domains == 0
    assert np.isnan(nothing.domain_size)
    assert np.isnan(nothing.largest_domain)
    assert np.isnan(nothing.boundary_density)


def test_dask_gives_the_bits_of_memory_lazily():
    phase = white_noise(np.random.default_rng(3), 3, 4, 8, 8, dims=("seed", "time", "row", "col"))
    lazy = domains(phase.chunk(seed=1, time=2), square(8))
    assert all(variable.chunks is not None for variable in lazy.data_vars.values())
    xr.testing.assert_identical(lazy.compute(scheduler="synchronous"), domains(phase, square(8)))


def test_wrong_arguments_are_refused():
    phase = checkerboard(4, 4)
    with pytest.raises(ValueError, match="neighbours holds 0 to 24: must be flat ring indices from 0 to 15"):
        domains(phase, square(5))
    with pytest.raises(ValueError, match=r"tolerance=3\.2: must be >= 0 and < pi"):
        domains(phase, square(4), tolerance=3.2)
    with pytest.raises(ValueError, match="symmetry=3: must be 1, or 2"):
        domains(phase, square(4), symmetry=3)
