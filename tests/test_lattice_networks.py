"""Rings, tilings and the graph of neurons they make, against geometry in the plane and slow constructions."""

import itertools
import pickle
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from isophase.kernels.lattice.network import Network, small_world_neighbours
from isophase.kernels.lattice.tilings import (
    SIDES,
    check_scheme,
    lattice_rings,
    plaquettes,
    ring_neighbours,
    tile_centres,
)

SIZES = {"chain": (1, 6), "triangular": (4, 6), "square": (4, 6), "hexagonal": (4, 5)}
FIRST_SIDE = {"chain": 0.0, "triangular": np.pi / 6, "square": 0.0, "hexagonal": 0.0}  # angle of its normal
INRADIUS = 0.5
RINGS_PER_CORNER = {"chain": 2, "triangular": 6, "square": 4, "hexagonal": 3}
LATTICES = [*itertools.product(SIDES, ("periodic", "open"))]
PARTS = ("tiling", "sharing", "shared", "private", "orientation", "boundary")
SCHEMES = [
    dict(zip(PARTS, (tiling, sharing, shared, private, orientation, boundary), strict=True))
    for tiling, boundary in LATTICES
    for orientation in (("co",) if tiling == "hexagonal" else ("co", "counter"))
    for sharing, shared, private in [
        *(("side", shared, private) for shared in (1, 2, 3) for private in (0, 1, 2)),
        *(("corner", 1, private) for private in (0, 1, 2)),
        *((sharing, shared, private) for sharing in ("none", "weak") for shared, private in ((1, 1), (0, 2))),
    ]
]  # fmt: skip


def lattice(tiling, **scheme):
    rows, cols = SIZES[tiling]
    if tiling == "square" and scheme.get("boundary") == "open" and scheme.get("orientation") == "counter":
        cols += 1  # open lattices two-colour at any size
    return Network.lattice(tiling, rows=rows, cols=cols, **scheme)


def edges(net):
    return set(
        zip(np.repeat(np.arange(net.n_neurons), np.diff(net.indptr)).tolist(), net.successors.tolist(), strict=True)
    )


def turned(net, tiling, orientation):
    """Which rings turn clockwise, by the definition of a two-colouring of rows and columns."""
    rows, cols = net.shape
    return (
        np.add.outer(np.arange(rows), np.arange(cols)).ravel() % 2 == 1
        if orientation == "counter"
        else np.zeros(rows * cols, bool)
    )


def periods(tiling, rows, cols):
    row, col = {
        "chain": ((0, 1), (1, 0)),
        "square": ((0, -1), (1, 0)),
        "triangular": ((0, -1.5), (np.sqrt(0.75), 0)),
        "hexagonal": ((0.5, -np.sqrt(0.75)), (1, 0)),
    }[tiling]
    return np.array([np.multiply(row, rows), np.multiply(col, cols)])


def places(tiling, rows, cols, boundary, at):
    """Middles of sides, or corners, of the tiles as drawn in the plane: numbers [tile, side], equal where they meet."""
    n = SIDES[tiling]
    pointing_down = (np.indices((rows, cols)).sum(0).ravel() % 2 == 1) & (tiling == "triangular")
    start = np.where(pointing_down, -FIRST_SIDE[tiling], FIRST_SIDE[tiling])
    angle = start[:, None] + 2 * np.pi * (np.arange(n) - (0.5 if at == "corner" else 0.0)) / n
    radius = INRADIUS / np.cos(np.pi / n) if at == "corner" else INRADIUS
    points = tile_centres(tiling, rows, cols)[:, None] + radius * np.stack([np.cos(angle), np.sin(angle)], -1)
    if boundary == "periodic":
        fraction = points @ np.linalg.inv(periods(tiling, rows, cols))
        points = (fraction + 1e-6) % 1.0
    return np.unique(points.round(4).reshape(-1, 2), axis=0, return_inverse=True)[1].reshape(rows * cols, n)


def displacements(tiling, rows, cols, boundary, pairs):
    """Vectors from the first to the second tile of each pair, the shortest of all periodic images."""
    centres = tile_centres(tiling, rows, cols)
    apart = (centres[pairs[..., 1]] - centres[pairs[..., 0]])[..., None, :]
    if boundary == "periodic":
        images = np.array(list(itertools.product((-1, 0, 1), repeat=2))) @ periods(tiling, rows, cols)
        apart = apart + images
    return np.take_along_axis(apart, np.linalg.norm(apart, axis=-1).argmin(-1)[..., None, None], -2)[..., 0, :]


@pytest.mark.parametrize(("tiling", "boundary"), LATTICES)
def test_neighbours_are_the_tiles_at_unit_distance(tiling, boundary):
    rows, cols = SIZES[tiling]
    pairs = np.array(list(itertools.combinations(range(rows * cols), 2)))
    distance = np.linalg.norm(displacements(tiling, rows, cols, boundary, pairs), axis=1)
    assert distance.min() > 1 - 1e-9
    np.testing.assert_array_equal(ring_neighbours(tiling, rows, cols, boundary), pairs[distance < 1 + 1e-9])


@pytest.mark.parametrize("tiling", [tiling for tiling in SIDES if tiling != "chain"])
@pytest.mark.parametrize("boundary", ["periodic", "open"])
def test_plaquettes_go_counter_clockwise_round_every_corner_where_all_tiles_meet(tiling, boundary):
    rows, cols = SIZES[tiling]
    found = plaquettes(tiling, rows, cols, boundary)
    per_corner = RINGS_PER_CORNER[tiling]
    corners = places(tiling, rows, cols, boundary, "corner")
    tiles = np.repeat(np.arange(rows * cols), SIDES[tiling])
    whole = np.flatnonzero(np.bincount(corners.ravel()) == per_corner)
    assert sorted(map(sorted, found.tolist())) == sorted(sorted(tiles[corners.ravel() == k].tolist()) for k in whole)
    legs = displacements(tiling, rows, cols, boundary, np.stack([found, np.roll(found, -1, 1)], -1))
    np.testing.assert_allclose(np.linalg.norm(legs, axis=-1), 1.0)
    directions = legs[..., 0] + 1j * legs[..., 1]
    np.testing.assert_allclose(np.angle(np.roll(directions, -1, 1) / directions), 2 * np.pi / per_corner)
    assert (found[:, 0] == found.min(1)).all()


def test_a_chain_has_no_plaquettes():
    assert plaquettes("chain", 1, 8, "periodic").shape == (0, 0)


@pytest.mark.parametrize("scheme", SCHEMES, ids=lambda scheme: "-".join(map(str, scheme.values())))
def test_a_lattice_of_rings(scheme):
    """What every scheme promises; the names of the assertions' functions say what."""
    net = lattice(**scheme)
    every_ring_is_a_cycle_of_the_graph_and_nothing_else_is(net, scheme)
    rings_share_the_neurons_that_the_drawing_shows(net, scheme)
    rings_travel_the_way_round_that_their_orientation_says(net, scheme)
    neurons_are_numbered_by_their_first_appearance(net)


def every_ring_is_a_cycle_of_the_graph_and_nothing_else_is(net, scheme):
    around = set(zip(np.roll(net.rings, 1, 1).ravel().tolist(), net.rings.ravel().tolist(), strict=True))
    weak = set()
    if scheme["sharing"] == "weak":
        pairs = ring_neighbours(scheme["tiling"], *net.shape, scheme["boundary"])
        weak = {(net.rings[a, 0], net.rings[b, 1]) for a, b in np.concatenate([pairs, pairs[:, ::-1]])}
    assert edges(net) == around | weak
    assert (np.sort(net.rings, 1)[:, 1:] > np.sort(net.rings, 1)[:, :-1]).all()


def rings_share_the_neurons_that_the_drawing_shows(net, scheme):
    tiling, sharing, shared, private = (scheme[name] for name in ("tiling", "sharing", "shared", "private"))
    n_sides = SIDES[tiling]
    assert net.rings.shape == (net.n_rings, n_sides * (shared + private))
    blocks = net.rings.reshape(net.n_rings, n_sides, shared + private)
    rings_of = np.bincount(net.rings.ravel())
    if sharing in ("none", "weak"):
        assert (rings_of == 1).all()
        return
    assert (rings_of[blocks[:, :, shared:]] == 1).all()
    drawn = places(tiling, *net.shape, scheme["boundary"], sharing if tiling != "chain" else "side")
    clockwise = turned(net, tiling, scheme["orientation"])
    drawn[clockwise] = drawn[clockwise][:, -np.arange(n_sides) % n_sides]
    # The neurons of a place are the same whichever of its tiles is asked, and those of two places differ.
    sets = np.sort(blocks[:, :, :shared], axis=-1).reshape(-1, shared)
    per_place = np.unique(np.column_stack([drawn.ravel(), sets]), axis=0)
    assert len(per_place) == drawn.max() + 1
    assert len(np.unique(per_place[:, 1:])) == per_place[:, 1:].size
    assert (rings_of[sets] == np.bincount(drawn.ravel())[drawn.ravel()][:, None]).all()


def rings_travel_the_way_round_that_their_orientation_says(net, scheme):
    if scheme["sharing"] != "side":
        return
    tiling, shared, private = scheme["tiling"], scheme["shared"], scheme["private"]
    links = edges(net)
    blocks = net.rings.reshape(net.n_rings, SIDES[tiling], shared + private)[:, :, :shared]
    owners = [[] for _ in range(net.n_neurons)]
    for ring, side in itertools.product(range(net.n_rings), range(SIDES[tiling])):
        owners[blocks[ring, side, 0]].append(blocks[ring, side].tolist())
        owners[blocks[ring, side, -1]].append(blocks[ring, side].tolist())
    for blocks_here in owners:
        for one, other in itertools.combinations(blocks_here, 2):
            if shared > 1 and one is not other:
                assert other == (one if scheme["orientation"] == "counter" else one[::-1])
                assert ((one[1], one[0]) in links) == (scheme["orientation"] == "co")


def neurons_are_numbered_by_their_first_appearance(net):
    numbers, first = np.unique(net.rings, return_index=True)
    np.testing.assert_array_equal(numbers, np.arange(net.n_neurons))
    assert (np.diff(first) > 0).all()


@pytest.mark.parametrize("tiling", SIDES)
@pytest.mark.parametrize("shared", [1, 2])
def test_neighbouring_rings_share_as_many_neurons_as_the_scheme_says_and_others_none(tiling, shared):
    net = lattice(tiling, shared=shared)
    holds = np.zeros((net.n_rings, net.n_neurons), int)
    np.put_along_axis(holds, net.rings.astype(int), 1, axis=1)
    common = np.triu(holds @ holds.T, 1)
    assert np.array_equal(np.argwhere(common), ring_neighbours(tiling, *net.shape, "periodic"))
    assert set(common[common > 0]) == {shared}


@pytest.mark.parametrize("private", [0, 2])
@pytest.mark.parametrize(("tiling", "boundary"), LATTICES)
def test_sides_and_corners_are_as_many_as_euler_says(tiling, boundary, private):
    """Corners - sides + tiles is 0 on a torus and 1 on a sheet; a chain's corners are its sides."""
    rows, cols = SIZES[tiling]
    tiles = rows * cols
    sides = SIDES[tiling] * tiles - len(ring_neighbours(tiling, rows, cols, boundary))
    corners = sides if tiling == "chain" else sides - tiles + (boundary == "open")
    own = tiles * SIDES[tiling] * private
    scheme = {"rows": rows, "cols": cols, "boundary": boundary, "private": private}
    assert Network.lattice(tiling, sharing="side", shared=3, **scheme).n_neurons == 3 * sides + own
    assert Network.lattice(tiling, sharing="corner", **scheme).n_neurons == corners + own


@pytest.mark.parametrize(
    "scheme", [s for s in SCHEMES if s["boundary"] == "periodic"], ids=lambda s: "-".join(map(str, s.values()))
)
def test_a_periodic_lattice_is_the_same_seen_from_every_equivalent_ring(scheme):
    net = lattice(**scheme)
    alike = scheme["tiling"] != "triangular" and scheme["orientation"] == "co"
    index = np.arange(net.n_rings).reshape(net.shape)
    steps = ((0, 1), (1, 0)) if alike else ((0, 2), (1, 1))
    for shift in steps if scheme["tiling"] != "chain" else ((0, steps[0][1]),):
        moved = net.rings[np.roll(index, shift, (0, 1)).ravel()]
        image = np.full(net.n_neurons, -1)
        image[net.rings] = moved
        np.testing.assert_array_equal(image[net.rings], moved)
        assert len(set(image.tolist())) == net.n_neurons
        assert {(image[a], image[b]) for a, b in edges(net)} == edges(net)


@pytest.mark.parametrize("tiling", ["chain", "triangular", "square"])
@pytest.mark.parametrize("boundary", ["periodic", "open"])
def test_neighbours_of_a_counter_rotating_lattice_turn_in_opposite_ways(tiling, boundary):
    """The sense is read from the angles at which a ring meets its neighbours; the two sides of a chain have none."""
    net = lattice(tiling, orientation="counter", boundary=boundary)
    if tiling != "chain":
        apart = displacements(tiling, *net.shape, boundary, np.argwhere(np.ones((net.n_rings, net.n_rings))))
        apart = (apart[:, 0] + 1j * apart[:, 1]).reshape(net.n_rings, net.n_rings)
        sense = np.zeros(net.n_rings)
        for ring in range(net.n_rings):
            met = [
                other
                for neuron in net.rings[ring, ::2]
                for other in np.flatnonzero((net.rings == neuron).any(1))
                if other != ring
            ]
            if len(met) == SIDES[tiling]:
                sense[ring] = np.angle(np.roll(apart[ring, met], -1) / apart[ring, met]).sum() / (2 * np.pi)
        np.testing.assert_allclose(np.abs(sense[sense != 0]), 1.0)
        one, other = sense[ring_neighbours(tiling, *net.shape, boundary)].T
        assert (one * other <= 0).all()
        assert (one * other < 0).any()
    both = Network.lattice(
        tiling, rows=net.shape[0], cols=net.shape[1], orientation="counter", boundary=boundary, shared=2
    )
    assert not any((b, a) in edges(both) for a, b in edges(both))


@pytest.mark.parametrize("tiling", SIDES)
def test_every_ring_of_a_lattice_that_shares_sides_has_a_slot_zero_of_its_own(tiling):
    """Its phase is that of slot 0: two rings with the same neuron there would be in phase by construction."""
    for private, orientation in itertools.product((0, 1), ("co",) if tiling == "hexagonal" else ("co", "counter")):
        net = lattice(tiling, private=private, orientation=orientation)
        assert len(np.unique(net.rings[:, 0])) == net.n_rings


@pytest.mark.parametrize(("rows", "cols"), list(itertools.product((1, 2, 3, 4), repeat=2)))
def test_a_small_lattice_is_built_or_refused_with_the_reason(rows, cols):
    """The check before a sweep and the construction agree, and what is built is a valid set of rings."""
    built = 0
    for scheme in SCHEMES:
        arguments = scheme | {"rows": rows, "cols": cols}
        try:
            check_scheme(**arguments)
        except ValueError as reason:
            with pytest.raises(ValueError, match=re.escape(str(reason))):
                Network.lattice(**arguments)
            continue
        net = Network.lattice(**arguments)
        built += 1
        if scheme["sharing"] != "weak":
            again = Network.from_rings(net.rings, shape=net.shape)
            assert np.array_equal(again.indptr, net.indptr)
            assert np.array_equal(again.successors, net.successors)
        if scheme["boundary"] == "periodic" and scheme["sharing"] in ("side", "corner"):
            uses = np.bincount(net.rings.ravel())
            most = 2 if scheme["sharing"] == "side" else RINGS_PER_CORNER[scheme["tiling"]]
            assert set(uses[net.rings.reshape(net.n_rings, SIDES[scheme["tiling"]], -1)[:, :, 0]].ravel()) == {most}
    assert built


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"tiling": "kagome"}, "tiling='kagome': must be one of chain, triangular"),
        ({"sharing": "edge"}, "sharing='edge'"),
        ({"orientation": "left"}, "orientation='left'"),
        ({"combine": "max"}, "combine='max'"),
        ({"boundary": "closed"}, "boundary='closed'"),
        ({"rows": 0}, "rows=0"),
        ({"cols": 2.5}, "cols=2.5"),
        ({"cols": True}, "cols=True"),
        ({"shared": 0}, "shared=0"),
        ({"private": -1}, "private=-1"),
        ({"sharing": "corner", "shared": 2}, "shared=2: must be 1 for sharing='corner'"),
        ({"sharing": "none", "shared": 0, "private": 0}, "shared=0, private=0: together must be >= 1"),
        ({"sharing": "weak", "coupling": -0.1}, "coupling=-0.1"),
        ({"sharing": "weak", "coupling": np.nan}, "coupling=nan"),
        ({"tiling": "chain"}, "rows=4: must be 1 for tiling='chain'"),
        ({"tiling": "chain", "rows": 1, "cols": 1}, "cols=1: must be >= 2"),
        ({"rows": 1}, "rows=1: must be >= 2 on periodic boundaries"),
        ({"tiling": "hexagonal", "orientation": "counter"}, "must be 'co' for tiling='hexagonal'"),
        (
            {"rows": 3, "orientation": "counter"},
            "rows=3: must be even for orientation='counter' on periodic boundaries",
        ),
        ({"cols": 5, "orientation": "counter"}, "cols=5: must be even for orientation='counter'"),
        (
            {"tiling": "chain", "rows": 1, "cols": 5, "orientation": "counter"},
            "cols=5: must be even for orientation='counter'",
        ),
        ({"tiling": "triangular", "rows": 3}, "rows=3: must be even for tiling='triangular'"),
        ({"tiling": "triangular", "sharing": "corner", "cols": 2}, "cols=2: must be >= 4 for sharing='corner'"),
        ({"rows": 50_000, "cols": 50_000}, "20000000000 slots of rings, must be at most 2147483647"),
    ],
)
def test_an_impossible_scheme_is_refused_by_name(change, named):
    scheme = {"rows": 4, "cols": 4} | change
    for build in (check_scheme, Network.lattice):
        with pytest.raises(ValueError, match=re.escape(named)):
            build(**scheme)


def test_uncoupled_rings_need_no_neighbours():
    assert Network.lattice(rows=1, cols=1, sharing="none", private=0).n_neurons == 4
    assert lattice_rings("triangular", rows=3, cols=1, sharing="none").shape == (3, 6)


def test_corners_of_a_chain_are_its_sides():
    side, corner = (Network.lattice("chain", rows=1, cols=5, sharing=sharing) for sharing in ("side", "corner"))
    np.testing.assert_array_equal(side.rings, corner.rings)


def test_rings_that_meet_along_two_sides_are_neighbours_once():
    assert ring_neighbours("square", 2, 2, "periodic").tolist() == [[0, 1], [0, 2], [1, 3], [2, 3]]
    with pytest.raises(ValueError, match="rows=1"):
        ring_neighbours("square", 1, 4, "periodic")


@given(st.data())
def test_the_graph_of_any_rings_is_that_of_a_slow_construction(data):
    neurons = data.draw(st.integers(2, 12))
    ring = st.permutations(range(neurons)).flatmap(lambda order: st.integers(2, neurons).map(lambda size: order[:size]))
    drawn = data.draw(st.lists(ring, min_size=1, max_size=6))
    number = {old: new for new, old in enumerate(sorted({neuron for ring in drawn for neuron in ring}))}
    rings = [[number[neuron] for neuron in ring] for ring in drawn]
    combine = data.draw(st.sampled_from(["sum", "mean"]))
    longest = max(map(len, rings))
    net = Network.from_rings([ring + [-1] * (longest - len(ring)) for ring in rings], weights=combine)
    graph = {neuron: set() for neuron in number.values()}
    for ring in rings:
        for source, target in zip([ring[-1], *ring[:-1]], ring, strict=True):
            graph[source].add(target)
    into = {neuron: sum(neuron in targets for targets in graph.values()) for neuron in graph}
    assert (net.n_neurons, net.n_rings, net.shape) == (len(graph), len(rings), (1, len(rings)))
    assert net.ring_sizes.tolist() == list(map(len, rings))
    assert net.in_degree.tolist() == [into[neuron] for neuron in range(len(graph))]
    for source, targets in graph.items():
        row = slice(net.indptr[source], net.indptr[source + 1])
        assert net.successors[row].tolist() == sorted(targets)
        assert net.weights[row].tolist() == [
            1.0 if combine == "sum" else 1.0 / into[target] for target in sorted(targets)
        ]


@pytest.mark.parametrize("sharing", ["side", "corner", "none", "weak"])
def test_mean_weights_into_every_neuron_sum_to_one(sharing):
    net = Network.lattice(rows=4, cols=4, sharing=sharing, combine="mean", boundary="open", coupling=0.3)
    np.testing.assert_allclose(net.resting_input, 1.0, rtol=1e-14)


@pytest.mark.parametrize(
    ("rings", "named"),
    [
        ([[0.0, 1.0]], "float64"),
        ([[True, False]], "bool"),
        ([[0, 1], [2]], "pad the shorter"),
        ([0, 1], "shape (rings, slots)"),
        (np.empty((0, 4), int), "shape (rings, slots)"),
        ([[0, 1, 2], [3, -1, -1]], "ring 1 has 1 neurons, must have at least 2"),
        ([[0, 1], [-1, -1]], "ring 1 has 0 neurons"),
        ([[0, 1, 2], [3, -1, 4]], "-1 inside ring 1"),
        ([[0, 1, 2], [3, 4, -2]], "neuron -2"),
        ([[0, 1, 2, 3], [4, 5, 4, -1]], "ring 1 visits a neuron twice"),
        ([[0, 1], [3, 4]], "neuron 2 is missing"),
        ([[1, 2]], "neuron 0 is missing"),
        ([[0, 2_000_000_000]], "neuron 1 is missing"),
        ([[0, 2**31 - 1]], "must be below 2147483647"),
    ],
)
def test_what_is_not_a_set_of_rings_is_refused_by_name(rings, named):
    with pytest.raises(ValueError, match=re.escape(named)):
        Network.from_rings(rings)


def test_a_shape_or_weights_that_do_not_fit_are_refused():
    rings = [[0, 1], [2, 3], [4, 5]]
    for shape in ((2, 2), (3,), (-1, -3), (1.5, 2)):
        with pytest.raises(ValueError, match="= 3 rings"):
            Network.from_rings(rings, shape=shape)
    with pytest.raises(ValueError, match="weights='max'"):
        Network.from_rings(rings, weights="max")


def test_extra_edges_join_rings_and_may_not_repeat_an_edge():
    rings = [[0, 1], [2, 3]]
    net = Network.from_rings(rings, extra=([0, 2], [3, 1], [0.5, 0.25]))
    assert edges(net) == {(0, 1), (1, 0), (2, 3), (3, 2), (0, 3), (2, 1)}
    assert net.resting_input.tolist() == [1, 1.25, 1, 1.5]
    for extra, named in [
        (([0], [1], 0.5), "0 -> 1 exists already"),
        (([0, 0], [2, 2], 0.5), "0 -> 2 exists already"),
        (([0], [4], 0.5), "targets 4 to 4, must lie in 0 to 3"),
        (([0], [2, 3], 0.5), "targets must be as many"),
        (([0], [2], -0.5), "weight=-0.5"),
    ]:
        with pytest.raises(ValueError, match=named):
            Network.from_rings(rings, extra=extra)


def test_a_network_is_read_only_and_survives_the_way_to_a_worker():
    net = Network.lattice(rows=2, cols=2)
    for array in (net.rings, net.indptr, net.successors, net.weights):
        assert array.flags.c_contiguous
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 0
    assert (net.rings.dtype, net.indptr.dtype, net.successors.dtype, net.weights.dtype) == (
        "int32",
        "int64",
        "int32",
        "float64",
    )
    again = pickle.loads(pickle.dumps(net))
    assert again.shape == (2, 2)
    np.testing.assert_array_equal(again.successors, net.successors)


def graph_of_rings(net, sizes):
    """Edges of the graph of rings, read from the weak edges of the network."""
    starts = np.cumsum(sizes) - sizes
    ring_of = np.repeat(np.arange(len(sizes)), sizes)
    between = [(a, b) for a, b in edges(net) if ring_of[a] != ring_of[b]]
    assert all(a == starts[ring_of[a]] and b == starts[ring_of[b]] + 1 for a, b in between)
    pairs = {(int(ring_of[a]), int(ring_of[b])) for a, b in between}
    assert pairs == {(b, a) for a, b in pairs}
    return {(a, b) for a, b in pairs if a < b}


def test_a_small_world_without_rewiring_joins_each_ring_to_its_nearest():
    sizes = np.array([4, 8, 3, 2, 5, 6, 7, 9])
    net = Network.small_world(sizes, neighbours=4, rewire=0.0, coupling=0.2, seed=1)
    assert net.ring_sizes.tolist() == sizes.tolist()
    assert graph_of_rings(net, sizes) == {(min(a, b), max(a, b)) for a in range(8) for b in ((a + 1) % 8, (a + 2) % 8)}
    assert net.resting_input[1] == pytest.approx(1.8)


@pytest.mark.parametrize("rewire", [0.1, 1.0])
def test_rewiring_a_small_world_keeps_the_number_of_edges_and_one_end_of_each(rewire):
    sizes = np.full(400, 4)
    graph = graph_of_rings(Network.small_world(sizes, 6, rewire, 0.1, seed=2), sizes)
    assert len(graph) == 1200
    assert np.bincount(np.array(list(graph)).ravel(), minlength=400).min() >= 3
    regular = graph_of_rings(Network.small_world(sizes, 6, 0.0, 0.1, seed=2), sizes)
    kept = len(graph & regular) / 1200
    assert kept == pytest.approx(1 - rewire, abs=0.03)


def test_a_complete_graph_of_rings_has_nowhere_to_rewire_to():
    sizes = np.full(5, 3)
    assert len(graph_of_rings(Network.small_world(sizes, 4, 1.0, 0.1, seed=3), sizes)) == 10


def test_a_small_world_is_that_of_its_seed():
    one, same, other = (
        Network.small_world([4] * 50, 4, 0.5, 0.1, seed=seed) for seed in (7, np.random.SeedSequence(7), 8)
    )
    np.testing.assert_array_equal(one.successors, same.successors)
    assert edges(one) != edges(other)
    mean = Network.small_world([4] * 50, 4, 0.5, 0.1, seed=7, combine="mean")
    np.testing.assert_allclose(mean.resting_input, 1.0)


@pytest.mark.parametrize("rewire", [0.0, 0.1, 1.0])
@pytest.mark.parametrize(("n_rings", "neighbours"), [(3, 2), (5, 4), (40, 2), (60, 6), (300, 4)])
def test_the_neighbours_in_a_small_world_are_those_that_its_weak_edges_join(n_rings, neighbours, rewire):
    seed = np.random.SeedSequence(n_rings).spawn(3)[1]
    sizes = np.random.default_rng(n_rings).integers(2, 7, n_rings)
    network = Network.small_world(sizes, neighbours, rewire, 0.1, seed)
    joined = small_world_neighbours(n_rings, neighbours, rewire, seed)
    pairs = {(ring, int(other)) for ring in range(n_rings) for other in joined[ring] if other >= 0}
    assert (joined.dtype, len(pairs), np.count_nonzero(joined >= 0)) == (np.int32, *[n_rings * neighbours] * 2)
    assert {(b, a) for a, b in pairs} == pairs
    assert {(a, b) for a, b in pairs if a < b} == graph_of_rings(network, sizes)
    for row in joined:
        real = row[row >= 0]
        assert row[: len(real)].tolist() == sorted(real)
        assert (row[len(real) :] == -1).all()
    assert (joined >= 0).sum(1).max() == joined.shape[1]


def test_neighbours_in_a_small_world_that_does_not_exist_are_refused_as_the_network_is():
    for arguments, named in (((10, 3, 0.1), "neighbours=3: must be even"), ((4, 4, 0.1), "less than the 4 rings"),
                             ((10, 4, 1.5), "rewire=1.5: must be a probability")):  # fmt: skip
        with pytest.raises(ValueError, match=named):
            small_world_neighbours(*arguments, seed=1)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"ring_sizes": [4, 1, 4]}, "ring_sizes"),
        ({"ring_sizes": [4.0] * 9}, "ring_sizes"),
        ({"neighbours": 3}, "neighbours=3: must be even"),
        ({"neighbours": 10}, "neighbours=10"),
        ({"rewire": 1.5}, "rewire=1.5"),
        ({"coupling": np.inf}, "coupling=inf"),
        ({"combine": "max"}, "combine='max'"),
    ],
)
def test_an_impossible_small_world_is_refused_by_name(change, named):
    good = {"ring_sizes": [4] * 10, "neighbours": 4, "rewire": 0.1, "coupling": 0.1, "seed": 0}
    with pytest.raises(ValueError, match=named):
        Network.small_world(**(good | change))
