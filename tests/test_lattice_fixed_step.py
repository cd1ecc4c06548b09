"""The scheme with a time step converges to the exact kernels, switch by switch; the two share no arithmetic."""

import itertools
import re
import tracemalloc

import numpy as np
import pytest

from isophase.kernels.lattice import Network, pulse, ring_phase, simulate, simulate_fixed_step
from isophase.kernels.lattice.fixed_step import check_step

STEPS = 0.002, 0.001, 0.0005
DELAY = 0.02  # a multiple of every step
SCHEMES = [
    *(
        {"private": private, "orientation": orientation, "boundary": boundary}
        for private, orientation, boundary in itertools.product((0, 1, 2), ("co", "counter"), ("periodic", "open"))
    ),
    {"tiling": "triangular", "private": 1},
    {"tiling": "hexagonal", "private": 1},
    {"sharing": "corner", "private": 1},
]


def neuron_by_neuron(events):
    """(neuron, switch) [event, 2] and time [event], in order of neuron, then of time."""
    order = np.argsort(events.neuron, kind="stable")
    return np.stack([events.neuron, events.switch], axis=1)[order], events.time[order]


def delays_of_switches(net, state, delay, t_end):
    """How much later than the exact one each switch comes [step, event]; None where a step changes what happens."""
    exact, exact_time = neuron_by_neuron(simulate(net, **state, delay=delay, t_end=t_end).events)
    errors = []
    for dt in STEPS:
        run = simulate_fixed_step(net, **state, delay=delay, t_end=t_end, dt=dt)
        switched, time = neuron_by_neuron(run.events)
        if not np.array_equal(switched, exact):
            return None
        errors.append(time - exact_time)
    return np.array(errors)


def order_of_convergence(errors):
    return np.polyfit(np.log(STEPS), np.log(errors), 1)[0]


def switch_errors(net, delay):
    """Errors of all switches from ten initial states [step, event], but for states whose switches a step changes."""
    states = [dict(zip(("drive", "firing"), pulse(net, seed), strict=True)) for seed in range(10)]
    found = [delays_of_switches(net, state, delay, t_end=3.0) for state in states]
    assert sum(errors is not None for errors in found) >= 5
    return np.concatenate([errors for errors in found if errors is not None], axis=1)


@pytest.mark.parametrize("scheme", SCHEMES, ids=lambda scheme: "-".join(map(str, scheme.values())))
def test_every_switch_converges_to_the_exact_one_with_the_first_power_of_the_step(scheme):
    errors = switch_errors(Network.lattice(rows=4, cols=4, **scheme), DELAY)
    assert errors.shape[1] > 200
    assert 0.8 < order_of_convergence(np.abs(errors).mean(axis=1)) < 1.2
    assert (np.abs(errors).max(axis=1) < 10 * np.array(STEPS)).all()


def test_without_delay_it_converges_too_with_the_step_as_a_hidden_delay():
    net = Network.lattice(rows=4, cols=4, private=1)
    errors = switch_errors(net, 0.0)
    assert 0.8 < order_of_convergence(np.abs(errors).mean(axis=1)) < 1.2
    drive, firing = pulse(net, 1)
    none, hidden = (
        simulate_fixed_step(net, drive=drive, firing=firing, t_end=10.0, dt=0.01, delay=delay) for delay in (0.0, 0.01)
    )
    for part in ("time", "neuron", "switch"):
        np.testing.assert_array_equal(getattr(none.events, part), getattr(hidden.events, part))


def test_a_pulse_comes_late_by_a_step_or_more_at_every_hop_where_the_delay_is_hidden():
    """One step until a switch arrives, up to one until an end is seen, and the next neuron fires longer for that."""
    ring = Network.from_rings(np.arange(8)[None])
    drive, firing = ring_phase(ring, np.zeros(1), delay=0.0)
    periods = []
    for step in (None, 0.02, 0.01):
        state = {"drive": drive, "firing": firing, "t_end": 300.0, "delay": 0.0}
        run = simulate(ring, **state) if step is None else simulate_fixed_step(ring, **state, dt=step)
        onsets = run.events.time[(run.events.neuron == 0) & (run.events.switch > 0)]
        periods.append((onsets[-1] - onsets[5]) / (len(onsets) - 6))
    exact, coarse, fine = periods
    assert 8 * 0.02 <= coarse - exact <= 3 * 8 * 0.02
    assert 8 * 0.01 <= fine - exact <= 3 * 8 * 0.01


def test_its_records_are_those_of_the_exact_run_up_to_the_step():
    net = Network.lattice(rows=4, cols=4, private=1)
    drive, firing = pulse(net, 2)
    times = np.linspace(0.5, 8.0, 30)
    state = {"drive": drive, "firing": firing, "t_end": 8.0, "delay": DELAY, "sample_times": times}
    exact, run = simulate(net, **state), simulate_fixed_step(net, **state, dt=0.001)
    assert run.n_switches == exact.n_switches == len(run.events.time)
    assert (run.firing == exact.firing).mean() > 0.99
    both = ~np.isnan(exact.phase)
    np.testing.assert_array_equal(np.isnan(run.phase), ~both)
    assert np.abs(np.angle(np.exp(1j * (run.phase - exact.phase)[both]))).max() < 0.05


@pytest.mark.parametrize("dt", [0.0, -0.1, np.nan, np.inf, 6.0])
def test_a_step_that_is_not_positive_or_longer_than_the_run_is_refused(dt):
    ring = Network.from_rings(np.arange(3)[None])
    with pytest.raises(ValueError, match=r"dt=.*: must be > 0 and at most t_end=5.0"):
        simulate_fixed_step(ring, drive=np.zeros(3), firing=np.zeros(3, bool), t_end=5.0, dt=dt)


@pytest.mark.parametrize(
    "dt", [0.0, 1e-320, 0.001, 0.5, 5.0, 5.0000001, 1e9, -1.0, np.nan, np.inf, True, "0.1", np.float64(0.1)]
)
@pytest.mark.parametrize("delay", [0.0, 0.01, 5.0, 400.0])
def test_a_step_is_refused_beforehand_where_a_run_refuses_it(dt, delay):
    ring = Network.from_rings(np.arange(3)[None])
    state = {"drive": np.array([0.9, 0.1, 0.0]), "firing": np.array([True, False, False])}
    try:
        check_step(dt, 5.0, delay)
    except ValueError as refused:
        with pytest.raises(ValueError, match=re.escape(str(refused))):
            simulate_fixed_step(ring, **state, t_end=5.0, dt=dt, delay=delay)
    else:
        assert simulate_fixed_step(ring, **state, t_end=5.0, dt=dt, delay=delay).n_switches >= 0


def test_the_reason_for_refusing_a_step_is_given():
    for dt, named in (
        (7.5, "dt=7.5: must be > 0 and at most t_end=5.0"),
        (1e-320, "must be at least t_end=5.0 / 9.01e"),
    ):
        with pytest.raises(ValueError, match=re.escape(named)):
            check_step(dt, 5.0, 0.01)
    with pytest.raises(ValueError, match=re.escape("must be at least delay=400 / 9.01e")):
        check_step(2e-14, 5.0, 400)


def test_what_a_delay_beyond_the_end_puts_under_way_is_not_kept():
    """4 million steps of delay, of which the run is 50: a list of as many would be 32 MB of pointers alone."""
    ring = Network.from_rings(np.arange(3)[None])
    state = {"drive": np.array([0.9, 0.1, 0.0]), "firing": np.array([True, False, False])}
    tracemalloc.start()
    try:
        run = simulate_fixed_step(ring, **state, t_end=5e-3, dt=1e-4, delay=400.0)
        assert tracemalloc.get_traced_memory()[1] < 2e6
    finally:
        tracemalloc.stop()
    assert run.n_switches == 0
