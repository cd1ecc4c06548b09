"""What is one instant: every kernel for the CPU makes the switches of the slow reference where times nearly tie.

The GPU's kernel runs the same networks in ``test_lattice_cuda``.
"""

import pytest

from isophase.kernels.lattice import simulate
from isophase.kernels.lattice.window_rules import LONGEST, MARGIN, TOLERANCE, is_together, window_length
from tests import near_ties
from tests.lattice_reference import AT_MOST, TOGETHER, UnsettledError, assert_same_events, reference_events
from tests.near_ties import CIRCUITS, DELAYS, V_HIGH, V_LOW, end_of_run, graph, meeting, side_by_side


def switches(net, drive, firing, delay, **parameters):
    return simulate(
        net, drive=drive, firing=firing, t_end=end_of_run(delay), delay=delay, v_high=V_HIGH, v_low=V_LOW,
        record=("events",), **parameters,
    ).events  # fmt: skip


@pytest.mark.parametrize("delay", DELAYS[1:])
@pytest.mark.parametrize("kind", CIRCUITS)
def test_near_ties_are_decided_as_by_the_slow_reference_in_one_thread_and_in_two(kind, delay):
    circuits = CIRCUITS[kind](delay)
    net, drive, firing, numbers = side_by_side(circuits)
    expected = near_ties.expected_side_by_side(circuits, numbers, delay)
    assert expected.well_determined
    assert len(expected.time) > 2000
    for threads in (1, 2):
        assert_same_events(switches(net, drive, firing, delay, threads=threads), expected, tolerance=1e-13)


@pytest.mark.parametrize("kind", CIRCUITS)
def test_so_they_are_without_a_delay(kind):
    """Each by itself, as without a delay an instant is one of the whole network."""
    settled = 0
    for circuit in CIRCUITS[kind](0.0):
        net, drive, firing, _ = side_by_side([circuit])
        try:
            expected = reference_events(net, drive, firing, end_of_run(0.0), 0.0, V_HIGH, V_LOW)
        except UnsettledError as unsettled:
            if unsettled.args[2].well_determined:
                with pytest.raises(RuntimeError, match="does not settle"):
                    switches(net, drive, firing, 0.0)
            continue
        if kind == "crafted":
            assert expected.well_determined
        if expected.well_determined:
            assert_same_events(switches(net, drive, firing, 0.0), expected, tolerance=1e-13)
            settled += 1
    assert settled > 50


@pytest.mark.parametrize("delay", DELAYS)
def test_deliveries_that_cancel_are_nothing_where_each_is_within_a_picotau_of_the_one_before(delay):
    """Five within 3.6e-12 are one instant, without and with the sixth at another 0.9e-12; one 1.1e-12 later is not."""
    time = 3 * (window_length(delay) if delay else 0.25)
    for before in (0.0, 0.5, 1.4, 2.3, 4.1):
        for gaps, n_switches in (((0, 0.9, 1.8, 2.7, 3.6, 4.5), 6), ((0, 0.9, 1.8, 2.7, 3.6, 4.7), 8)):
            arrivals = [((gap - before) * near_ties.PICO, (-1.0) ** i, 1) for i, gap in enumerate(gaps)]
            circuit = meeting(delay, time, arrivals)
            net, drive, firing, _ = side_by_side([circuit])
            assert len(switches(net, drive, firing, delay).time) == n_switches


def test_a_pair_of_deliveries_before_a_whole_number_of_delays_starts_nothing_that_travels_on():
    """A stops at H - a and B at 2 H - b; A starts M at 2 H - a, which lowers the input of C as B raises it.

    C drives one more, up to shortly before M stops.
    """
    spurious = 0
    for delay in (0.01, 0.1, 0.5):
        for a in (1.2, 1.4, 1.6, 1.8, 1.97):
            for b in (2.05, 2.15, a + 0.95):
                circuit = meeting(delay, 3 * delay, [(-a * near_ties.PICO, -1.0, 2), (-b * near_ties.PICO, 1.0, 1)])
                edges = [*circuit.edges, (0, len(circuit.drive), 1.0)]
                net = graph(len(circuit.drive) + 1, *edges)
                events = simulate(
                    net, drive=[*circuit.drive, 0.0], firing=[*circuit.firing, False], t_end=1.6, delay=delay
                ).events
                spurious += int(((events.neuron == 0) | (events.neuron == net.n_neurons - 1)).sum())
    assert spurious == 0


def test_the_rules_of_the_kernels_are_those_of_the_reference_and_no_instant_is_longer_than_the_margin():
    assert (TOLERANCE, LONGEST) == (TOGETHER, AT_MOST)
    assert LONGEST + 2 * TOLERANCE < MARGIN
    assert is_together(0.0, LONGEST - TOLERANCE / 2, LONGEST)
    assert not is_together(0.0, LONGEST, LONGEST + TOLERANCE / 2)
