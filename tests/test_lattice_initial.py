"""Initial states against the definition of drive and input, closed forms, and rings advanced by a plain event loop."""

import heapq
import itertools
import re

import numpy as np
import pytest

from isophase.kernels.lattice import initial, simulate
from isophase.kernels.lattice.initial import (
    INITIALS,
    check_initial,
    plane_wave,
    pulse,
    pulse_orbit,
    quiescent,
    random,
    ring_phase,
    two_half_planes,
    uniform,
    vortex_pair,
)
from isophase.kernels.lattice.network import Network
from isophase.kernels.lattice.tilings import SIDES, check_scheme, plaquettes

V_HIGH, V_LOW = 0.49, 0.2
SHARED = Network.lattice(rows=6, cols=8, orientation="counter")


def ring(size):
    return Network.from_rings([list(range(size))])


def advance(drive, firing, t_end, delay):
    """One uncoupled ring, switch by switch: drive and firing at ``t_end``, and the onsets (time, neuron)."""
    drive, firing = np.array(drive), np.array(firing)
    size, now, order = len(drive), 0.0, itertools.count()
    flight, onsets = [], []

    def switch(neuron, starts):
        firing[neuron] = starts
        if starts:
            onsets.append((now, neuron))
        heapq.heappush(flight, (now + delay, next(order), (neuron + 1) % size, -1.0 if starts else 1.0))

    for neuron in range(size):
        if firing[neuron] != (drive[neuron] >= (V_LOW if firing[neuron] else V_HIGH)):
            switch(neuron, not firing[neuron])
    while True:
        stops = np.where(firing, now + np.log(np.maximum(drive, V_LOW) / V_LOW), np.inf)
        arrives = flight[0][0] if flight else np.inf
        then = min(stops.min(), arrives, t_end)
        drive *= np.exp(now - then)
        now = then
        if arrives <= stops.min() and arrives <= t_end:
            _, _, target, jump = heapq.heappop(flight)
            drive[target] += jump
            if firing[target] != (drive[target] >= (V_LOW if firing[target] else V_HIGH)):
                switch(target, not firing[target])
        elif stops.min() <= t_end:
            switch(int(stops.argmin()), False)
        else:
            return drive, firing, onsets


def settled(size, delay):
    """The orbit of one pulse, found without any closed form: state a chosen time after an onset of slot 0, period."""
    firing = np.arange(size) == 0
    onsets = advance(np.where(firing, 0.9, 0.1), firing, 60.0 * size, delay)[2]
    starts = [time for time, neuron in onsets if neuron == 0]
    period = starts[-1] - starts[-2]

    def state(fraction):
        start = np.arange(size) == 0
        return advance(np.where(start, 0.9, 0.1), start, starts[-2] + fraction * period, delay)[:2]

    return period, state


@pytest.mark.parametrize(("size", "z"), [(2, 0.25), (60, (1 - np.sqrt(0.2)) / 2)])
def test_a_firing_lasts_as_long_as_the_closed_form_says(size, z):
    assert pulse_orbit(size, delay=0.0) == pytest.approx(-np.log(z), abs=1e-12)


@pytest.mark.parametrize("delay", [0.0, 0.01, 0.3])
@pytest.mark.parametrize("size", [2, 3, 4, 8, 13])
def test_the_period_is_that_of_a_pulse_followed_switch_by_switch(size, delay):
    assert settled(size, delay)[0] == pytest.approx(size * (pulse_orbit(size, delay) + delay), abs=1e-10)


@pytest.mark.parametrize("size", [2, 3, 5, 8])
@pytest.mark.parametrize("fraction", [0.02, 0.13, 0.38, 0.61, 0.87, 0.98])
def test_without_delay_a_ring_starts_on_its_orbit_exactly(size, fraction):
    drive, firing = ring_phase(ring(size), np.array([2 * np.pi * fraction]), delay=0.0)
    expected, fires = settled(size, 0.0)[1](fraction)
    np.testing.assert_array_equal(firing, fires)
    np.testing.assert_allclose(drive, expected, atol=1e-9)


@pytest.mark.parametrize("size", [2, 3, 8, 50])
def test_phase_zero_is_the_onset_of_slot_zero(size):
    """There slot 0 has just started and the last slot just stopped: rounding must not leave both or neither firing."""
    drive, firing = ring_phase(ring(size), np.zeros(1), delay=0.0)
    assert firing.tolist() == [True] + [False] * (size - 1)
    assert drive[0] == pytest.approx(V_LOW * np.exp(pulse_orbit(size, 0.0)), abs=1e-9)
    around = ring_phase(ring(size), np.full(1, 2 * np.pi), delay=0.0)
    np.testing.assert_allclose(around[0], drive, atol=1e-9)


@pytest.mark.parametrize("delay", [0.0, 0.01, 0.1])
@pytest.mark.parametrize("theta", [0.3, 1.0, 2.5, 4.0, 6.2])
@pytest.mark.parametrize("size", [2, 4, 8])
def test_slot_zero_starts_next_when_its_phase_has_reached_two_pi(size, theta, delay):
    period = size * (pulse_orbit(size, delay) + delay)
    drive, firing = ring_phase(ring(size), np.array([theta]), delay=delay)
    onsets = advance(drive, firing, 1.2 * period, delay)[2]
    first = next(time for time, neuron in onsets if neuron == 0)
    assert first == pytest.approx(period * (1 - theta / (2 * np.pi)), abs=1e-8 + delay)


def test_rings_of_mixed_sizes_each_follow_their_own_orbit():
    phases = np.array([0.7, 3.0, 5.0])
    mixed = Network.from_rings([[0, 1, 2, -1], [3, 4, -1, -1], [5, 6, 7, 8]])
    drive, firing = ring_phase(mixed, phases)
    alone = [ring_phase(ring(size), phases[k : k + 1]) for k, size in enumerate((3, 2, 4))]
    np.testing.assert_array_equal(drive, np.concatenate([state[0] for state in alone]))
    np.testing.assert_array_equal(firing, np.concatenate([state[1] for state in alone]))


def test_a_shared_neuron_takes_the_state_of_the_lowest_ring_that_has_it():
    phases = np.random.default_rng(1).uniform(0, 2 * np.pi, SHARED.shape)
    drive, firing = ring_phase(SHARED, phases)
    alone = Network.lattice(rows=6, cols=8, sharing="none")
    own_drive, own_firing = ring_phase(alone, phases)
    first = np.unique(SHARED.rings, return_index=True)[1]
    np.testing.assert_array_equal(firing, own_firing[first])
    own_voltage = incoming(alone, own_firing) - own_drive
    np.testing.assert_allclose(voltage(SHARED, drive, firing), (own_voltage[first] * SHARED.resting_input), atol=1e-14)


def test_where_no_pulse_goes_round_the_phase_is_refused():
    for v_high, v_low in ((0.8, 0.2), (1.2, 0.2), (0.45, 0.4)):
        with pytest.raises(ValueError, match="a pulse to go round a ring of 8"):
            pulse_orbit(8, 0.01, v_high, v_low)
    with pytest.raises(ValueError, match=r"v_low=0\.5, v_high=0\.4"):
        pulse_orbit(8, 0.01, 0.4, 0.5)
    with pytest.raises(ValueError, match=r"delay=-0\.1"):
        pulse_orbit(8, -0.1)
    with pytest.raises(ValueError, match="ring_size=1"):
        pulse_orbit(1)
    with pytest.raises(ValueError, match=r"phases: shape \(3,\), must be \(6, 8\) or \(48,\)"):
        ring_phase(SHARED, np.zeros(3))
    with pytest.raises(ValueError, match="phases: must be finite"):
        ring_phase(SHARED, np.full(48, np.nan))


def test_an_orbit_holds_for_thresholds_where_the_equation_has_two_solutions():
    """v_low / z = 1 - z has z = (1 +- sqrt(1 - 4 v_low)) / 2, and both exceed v_high = 0.25: the smaller is stable."""
    assert pulse_orbit(80, 0.0, v_high=0.25, v_low=0.2) == pytest.approx(-np.log((1 - np.sqrt(0.2)) / 2), abs=1e-12)


def incoming(net, firing):
    dense = np.zeros((net.n_neurons, net.n_neurons))
    dense[np.repeat(np.arange(net.n_neurons), np.diff(net.indptr)), net.successors] = net.weights
    return (~firing).astype(float) @ dense


def voltage(net, drive, firing):
    return incoming(net, firing) - drive


@pytest.mark.parametrize("combine", ["sum", "mean"])
def test_a_pulse_state_charges_every_neuron_but_one_in_each_ring(combine):
    net = Network.lattice(rows=20, cols=20, combine=combine)
    drive, firing = pulse(net, 3)
    fires = firing[net.rings].sum(1)
    assert fires.min() == 1
    assert firing.sum() <= net.n_rings
    v = voltage(net, drive, firing)
    assert 0.05 <= v[firing].min() < 0.06 < 0.14 < v[firing].max() <= 0.15
    charged = (v / net.resting_input)[~firing]
    assert 0.85 - 1e-12 <= charged.min() < 0.851
    assert 0.949 < charged.max() <= 0.95 + 1e-12


def test_the_firing_slot_of_a_pulse_state_is_uniform_over_the_ring():
    net = Network.lattice(rows=60, cols=60, sharing="none")
    firing = pulse(net, 4)[1][net.rings]
    assert (firing.sum(1) == 1).all()
    np.testing.assert_allclose(firing.mean(0), 1 / 8, atol=4 * np.sqrt(7 / 64 / 3600))
    mixed = Network.small_world([2, 5] * 40, 2, 0.0, 0.1, seed=1)
    slots = np.array([pulse(mixed, seed)[1][np.maximum(mixed.rings, 0)] & (mixed.rings >= 0) for seed in range(50)])
    assert (slots.sum(-1) == 1).all()


def test_a_random_state_fires_in_a_quarter_of_the_neurons_at_any_voltage():
    net = Network.lattice(rows=20, cols=20)
    drive, firing = random(net, 5)
    assert firing.mean() == pytest.approx(0.25, abs=4 * np.sqrt(0.1875 / net.n_neurons))
    level = voltage(net, drive, firing) / net.resting_input
    np.testing.assert_allclose(np.quantile(level, [0.25, 0.5, 0.75]), [0.25, 0.5, 0.75], atol=0.05)
    assert level.min() > -1e-12
    assert level.max() < 1 + 1e-12


def test_a_quiescent_network_has_no_drive():
    drive, firing = quiescent(SHARED)
    assert not drive.any()
    assert not firing.any()
    drive, firing = quiescent(SHARED, [3, 10])
    assert np.flatnonzero(firing).tolist() == [3, 10]
    v = voltage(SHARED, drive, firing)
    np.testing.assert_array_equal(v, np.where(firing, 0, SHARED.resting_input))
    with pytest.raises(ValueError, match=f"neuron {SHARED.n_neurons}, must lie in 0 to"):
        quiescent(SHARED, [0, SHARED.n_neurons])
    with pytest.raises(ValueError, match="neuron -1"):
        quiescent(SHARED, [-1])
    with pytest.raises(ValueError, match="float64"):
        quiescent(SHARED, [0.5])


@pytest.mark.parametrize("state", [pulse, random])
def test_a_state_is_that_of_its_seed(state):
    sequence = np.random.SeedSequence(11)
    first = state(SHARED, sequence)
    for again in (state(SHARED, sequence), state(SHARED, 11)):
        np.testing.assert_array_equal(first[0], again[0])
        np.testing.assert_array_equal(first[1], again[1])
    assert (state(SHARED, 12)[0] != first[0]).any()
    assert (first[0].dtype, first[1].dtype) == ("float64", "bool")


def winding(phase, boundary="periodic"):
    corner = phase.ravel()[plaquettes("square", *phase.shape, boundary)]
    return np.angle(np.exp(1j * (np.roll(corner, -1, 1) - corner))).sum(1) / (2 * np.pi)


@pytest.mark.parametrize("shape", [(4, 4), (6, 6), (12, 8), (8, 12), (5, 9), (64, 64), (4, 300)])
def test_a_vortex_pair_winds_once_each_way_and_nowhere_else_round_the_torus(shape):
    field = vortex_pair(shape)
    turns = winding(field)
    np.testing.assert_allclose(turns, np.rint(turns), atol=1e-9)
    assert sorted(turns[np.rint(turns) != 0].round()) == [-1, 1]
    corners = plaquettes("square", *shape, "periodic")
    plus, minus = (np.unravel_index(corners[np.rint(turns) == sign][0], shape) for sign in (1, -1))
    apart = np.array([np.abs(plus[0].min() - minus[0].min()), np.abs(plus[1].min() - minus[1].min())])
    assert sorted(apart) == [0, max(shape) // 2]


def test_a_vortex_pair_is_harmonic_away_from_its_cores():
    """On a large lattice the sum of differences to the four neighbours vanishes, across the boundaries as well."""
    field = vortex_pair((48, 40))
    laplacian = sum(np.angle(np.exp(1j * (np.roll(field, s, a) - field))) for a in (0, 1) for s in (-1, 1))
    rows, cols = np.indices(field.shape)
    away = np.minimum(np.hypot(rows - 11.5, cols - 19.5), np.hypot(rows - 35.5, cols - 19.5)) > 8
    assert np.abs(laplacian[away]).max() < 5e-4


def test_a_plane_wave_turns_as_often_as_it_says_without_winding_anywhere():
    field = plane_wave((8, 12), 2, -3)
    along = [np.angle(np.exp(1j * (np.roll(field, -1, axis) - field))) for axis in (0, 1)]
    np.testing.assert_allclose(along[0], 2 * np.pi * 2 / 8)
    np.testing.assert_allclose(along[1], -2 * np.pi * 3 / 12)
    np.testing.assert_allclose(winding(field), 0, atol=1e-12)
    assert field.min() >= 0
    assert field.max() < 2 * np.pi


def test_half_planes_and_uniform_fields_have_the_phases_they_name():
    assert two_half_planes((2, 5), 1.5).tolist() == [[0, 0, 1.5, 1.5, 1.5]] * 2
    assert two_half_planes((1, 4)).tolist() == [[0, 0, np.pi, np.pi]]
    assert uniform((2, 2), -1.0).tolist() == [[2 * np.pi - 1] * 2] * 2
    with pytest.raises(ValueError, match="at least 4 rows"):
        vortex_pair((3, 8))


def start(net, name, delay, v_high, v_low):
    """The initial state of that name, as a sweep makes it."""
    if name in ("pulse", "random"):
        return getattr(initial, name)(net, 1)
    field = getattr(initial, name)(net.shape, *((1, 1) if name == "plane_wave" else ()))
    return ring_phase(net, field + 0.3, delay, v_high, v_low)


THRESHOLDS = [
    (0.49, 0.2),
    (0.725, 0.2),
    (0.74, 0.2),
    (0.78, 0.2),
    (0.8, 0.2),
    (1.2, 0.2),
    (0.45, 0.4),
    (0.3, 0.26),
    (0.6, 0.24),
    (0.3, 1e-6),
]
DELAYS = 0.0, 0.01, 3.0


def networks(tiling):
    """Lattices of every size and sharing that there are, with what is to be known of them beforehand."""
    schemes = itertools.product(
        range(1, 7), ("side", "corner", "none", "weak"), (0, 1), ("co", "counter"), ("periodic", "open")
    )
    for size, sharing, private, orientation, boundary in schemes:
        scheme = {
            "tiling": tiling, "rows": 1 if tiling == "chain" else size, "cols": size, "sharing": sharing,
            "private": private, "orientation": orientation, "boundary": boundary,
        }  # fmt: skip
        try:
            check_scheme(**scheme)
        except ValueError:
            continue
        shape = {name: scheme[name] for name in ("tiling", "rows", "cols")}
        yield Network.lattice(**scheme), shape | {"ring_size": SIDES[tiling] * (1 + private)}


def checked_and_built(net, known, name, delay, v_high, v_low):
    """Whether the state passes the check, and whether it can be made."""
    answers = []
    for attempt in (
        lambda: check_initial(name, **known, delay=delay, v_high=v_high, v_low=v_low),
        lambda: start(net, name, delay, v_high, v_low),
    ):
        try:
            attempt()
        except ValueError:
            answers.append(False)
        else:
            answers.append(True)
    return answers


@pytest.mark.parametrize("tiling", SIDES)
def test_an_initial_state_passes_its_check_where_it_can_be_made_and_nowhere_else(tiling):
    """Every state on every lattice; thresholds and delays, which matter by the size of a ring, once for each size."""
    answers, seen = [], set()
    for net, known in networks(tiling):
        new = (known["ring_size"], net.shape[1] >= 4) not in seen
        seen.add((known["ring_size"], net.shape[1] >= 4))
        cases = itertools.product(THRESHOLDS, DELAYS) if new else [((0.49, 0.2), 0.01), ((0.8, 0.2), 0.0)]
        for ((v_high, v_low), delay), name in itertools.product(cases, INITIALS):
            passes, is_made = checked_and_built(net, known, name, delay, v_high, v_low)
            assert passes == is_made, (known, name, delay, v_high, v_low)
            answers.append(passes)
    assert 0.1 < np.mean(answers) < 0.9


@pytest.mark.parametrize("name", INITIALS)
def test_a_small_world_is_checked_with_the_largest_ring_that_it_may_have(name):
    answers = []
    for mean, spread, delay in itertools.product((2, 3, 8), (0, 1, 3, 6), DELAYS):
        if spread > mean - 2:
            continue
        net = Network.small_world(np.arange(mean - spread, mean + spread + 1).repeat(3), 2, 0.1, 0.1, seed=1)
        known = {"tiling": "chain", "rows": 1, "cols": net.n_rings, "ring_size": mean, "size_spread": spread}
        for v_high, v_low in THRESHOLDS:
            passes, is_made = checked_and_built(net, known, name, delay, v_high, v_low)
            assert passes == is_made, (mean, spread, delay, v_high, v_low)
            answers.append(passes)
    assert all(answers) if name in ("pulse", "random") else not all(answers)
    assert any(answers) == (name != "vortex_pair")


def test_of_two_rings_the_longer_one_needs_the_lower_thresholds():
    """There are thresholds at which a ring of 2 has an orbit and one of 3 has none; never the other way round."""
    for (v_high, v_low), delay in itertools.product([*THRESHOLDS, (0.725, 0.2), (0.78, 0.2)], DELAYS):
        exist = []
        for size in range(2, 20):
            try:
                exist.append(pulse_orbit(size, delay, v_high, v_low) > 0)
            except ValueError:
                exist.append(False)
        assert exist == sorted(exist, reverse=True)
    assert pulse_orbit(2, 0.0, 0.78, 0.2) > 0
    with pytest.raises(ValueError, match="a ring of 3"):
        pulse_orbit(3, 0.0, 0.78, 0.2)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"initial": "vortex"}, "initial='vortex': must be one of pulse, random, uniform"),
        ({"rows": 3}, "initial='vortex_pair': must not be given for tiling='square' with rows=3, cols=6"),
        ({"initial": "uniform", "v_high": 0.8}, "v_high=0.8, v_low=0.2: must be low enough for a pulse to go round"),
        ({"initial": "uniform", "v_high": 0.8}, "on which initial='uniform' would start"),
        ({"initial": "plane_wave", "size_spread": 3, "v_high": 0.8}, "a ring of 11"),
    ],
)
def test_an_initial_state_that_a_network_does_not_have_is_refused_by_name(change, named):
    good = {
        "initial": "vortex_pair", "tiling": "square", "rows": 6, "cols": 6, "ring_size": 8, "delay": 0.01,
        "v_high": 0.49, "v_low": 0.2,
    }  # fmt: skip
    check_initial(**good)
    with pytest.raises(ValueError, match=re.escape(named)):
        check_initial(**good | change)


@pytest.mark.parametrize(
    ("scheme", "delay"),
    [({"private": 0}, 0.1), ({"private": 1}, 0.01), ({"private": 2}, 0.01),
     ({"private": 1, "tiling": "hexagonal"}, 0.01),
     ({"private": 1, "tiling": "triangular"}, 0.01), ({"private": 1, "orientation": "counter"}, 0.01)],
)  # fmt: skip
def test_rings_in_phase_by_the_latest_firing_are_all_alike_and_stay_so(scheme, delay):
    """By the lowest ring a seam along the periodic boundary is not, and 1 + 2 leaves the order at some phases."""
    net = Network.lattice(**{"tiling": "square", "rows": 8, "cols": 8, "sharing": "side", "shared": 1, **scheme})
    drive, firing = ring_phase(net, uniform(net.shape, 0.3), delay, latest=True)
    run = simulate(net, drive=drive, firing=firing, t_end=140.0, delay=delay, sample_times=np.array([100.0]))
    phase = run.phase.reshape(8, 8)
    alike = phase.reshape(4, 2, 4, 2)  # up and down triangles need not be in phase
    np.testing.assert_allclose(np.abs(np.exp(1j * alike).mean(axis=(0, 2))), 1.0, atol=1e-6)


def test_a_shared_neuron_takes_the_latest_of_the_states_that_its_rings_give_it():
    phases = np.random.default_rng(1).uniform(0, 2 * np.pi, SHARED.shape)
    drive, firing = ring_phase(SHARED, phases, latest=True)
    alone = Network.lattice(rows=6, cols=8, sharing="none")
    own_drive, own_firing = ring_phase(alone, phases)
    own_voltage = incoming(alone, own_firing) - own_drive
    v = voltage(SHARED, drive, firing)
    for neuron in range(SHARED.n_neurons):
        copies = np.flatnonzero(SHARED.rings.ravel() == neuron)
        of_copies = alone.rings.ravel()[copies]
        assert firing[neuron] == own_firing[of_copies].any()
        among = of_copies[own_firing[of_copies]] if firing[neuron] else of_copies

        wanted = own_voltage[among] * SHARED.resting_input[neuron]
        assert np.abs(wanted - v[neuron]).min() < 1e-12
        if firing[neuron]:
            assert v[neuron] == pytest.approx(wanted.min(), abs=1e-12)
