"""Frozen, periodic or chaotic: twins, autocorrelation, recurrence, the fit of exponents, and the kind that has them."""

import math

import numpy as np
import pytest
import xarray as xr

from isophase.analysis.lattices.dynamics import REDUCTION, STATES, commonest, fit, summarise
from isophase.analysis.lattices.dynamics_report import REPORT
from isophase.kernels.lattice import Network, initial, simulate
from isophase.kernels.lattice.dynamics import (
    Twin,
    autocorrelation,
    kicked_twin,
    onset_intervals,
    recurrence,
    separation,
)
from isophase.sweeps.kinds import kind_named
from isophase.sweeps.kinds.dynamics import Dynamics, DynamicsParameters, DynamicsRecord
from isophase.sweeps.sweep import parse
from tests.lattice_reference import reference_events
from tests.summaries import axis, group, summaries

RECORD = DynamicsRecord(t_start=100.0, t_end=300.0, samples=401)
NEURON = {"delay": 0.01, "v_high": 0.49, "v_low": 0.2}


def point(scheme, seed, record=RECORD):
    kind, parameters = Dynamics(), DynamicsParameters(**scheme)
    kind.check(parameters, record)
    found = kind.run_point(parameters, np.random.SeedSequence([11, seed]), record)
    template = kind.template(parameters, record)
    for name, variable in template.data_vars.items():
        assert found[name].sizes == variable.sizes
        found[name].attrs = variable.attrs
    return found.assign_coords(template.coords)


def summary_of(seeds=3, failed=(), record=RECORD, **scheme):
    (found,) = summaries(
        {"square": group(lambda s, seed: point(s, seed, record), scheme, (), seeds, failed, "dynamics")}, REDUCTION
    ).groups.values()
    return found


def state(summary):
    return STATES[int(summary.dynamics_state)]


@pytest.mark.parametrize("delay", [0.0, 0.01, 0.3])
@pytest.mark.parametrize("at", [7.3, 210.0])
def test_a_twin_is_the_same_to_the_last_bit_until_its_kick_and_then_differs_by_it(at, delay):
    """The clock of the later kick is two neurons."""
    net = Network.lattice(rows=4, cols=4, sharing="none", private=1)
    drive, firing = initial.pulse(net, 1)
    size, options = 1e-6, {"t_end": at + 3, "v_high": 0.49, "v_low": 0.2, "delay": delay, "record": ("events",)}
    kick = np.zeros(net.n_neurons)
    run = simulate(net, drive=drive, firing=firing, **options).events
    # a neuron that fires at the kick: its firing is shorter by size / x
    before = run.time <= at
    last = {int(n): s for n, s in zip(run.neuron[before], run.switch[before], strict=True)}
    chosen = next(n for n, switch in last.items() if switch > 0)
    kick[chosen] = size
    twin = kicked_twin(net, drive, firing, kick, at, delay, 0.2)
    assert isinstance(twin, Twin)
    other = simulate(twin.network, drive=twin.drive, firing=twin.firing, **options).events
    own = other.neuron < net.n_neurons
    n = int(before.sum())
    for name in ("time", "neuron", "switch"):
        np.testing.assert_array_equal(getattr(other, name)[own][:n], getattr(run, name)[:n])
    ends = [
        events.time[(events.neuron == chosen) & (events.switch < 0) & (events.time > at)][0] for events in (run, other)
    ]
    # x = v_low exp(end - at) at the kick, less the kick: it ends earlier by their ratio
    assert ends[0] - ends[1] == pytest.approx(size / (0.2 * math.exp(ends[0] - at)), rel=1e-3)


def test_a_kick_needs_time_for_the_deliveries_of_its_clock():
    net = Network.lattice(rows=1, cols=1, sharing="none")
    with pytest.raises(ValueError, match=r"at=0\.5: must be above 2 delays of 0\.3"):
        kicked_twin(net, *initial.pulse(net, 1), np.zeros(net.n_neurons), 0.5, 0.3, 0.2)


def test_onsets_from_samples_of_the_phase_are_those_of_the_events():
    net = Network.lattice(rows=6, cols=6, shared=1, private=2)
    drive, firing = initial.pulse(net, 3)
    times = np.arange(80.0, 160.0, 0.5)
    options = {"drive": drive, "firing": firing, "t_end": 220.0, "sample_times": times}
    run = simulate(net, record=("phase", "events"), **options)
    known = 0
    for ring, got in enumerate(onset_intervals(run.phase, 0.5)):
        onsets = run.events.time[(run.events.neuron == net.rings[ring, 0]) & (run.events.switch > 0)]
        if got is None:
            assert np.diff(onsets[(onsets > 79) & (onsets < 161)]).min() < 0.5
            continue
        intervals = np.diff(onsets)
        at = np.argmin(np.abs(intervals - got[0]))
        np.testing.assert_allclose(got, intervals[at : at + len(got)], rtol=0, atol=1e-9)
        assert got.sum() >= 80 - 2 * intervals.max()
        known += 1
    assert known > 30


def test_one_sample_in_an_interval_is_enough_between_intervals_with_two():
    onsets = np.array([-0.3, 2.1, 4.4, 5.45, 6.6, 9.0, 12.7])
    times = np.arange(0.0, 12.0, 1.0)
    at = np.searchsorted(onsets, times, "right")
    theta = 2 * np.pi * (times - onsets[at - 1]) / (onsets[at] - onsets[at - 1])
    np.testing.assert_allclose(onset_intervals(theta[:, None], 1.0)[0], np.diff(onsets), rtol=1e-12)
    hidden = np.array([-0.3, 2.1, 4.2, 4.8, 9.0, 12.7])  # no sample between 4.2 and 4.8
    at = np.searchsorted(hidden, times, "right")
    theta = 2 * np.pi * (times - hidden[at - 1]) / (hidden[at] - hidden[at - 1])
    assert onset_intervals(theta[:, None], 1.0) == [None]


def test_a_silent_ring_has_no_interval():
    (got,) = onset_intervals(np.full((9, 1), np.nan), 0.5)
    assert got.shape == (0,)


@pytest.mark.parametrize("m", range(1, 9))
def test_intervals_recur_after_as_many_as_their_pattern_has(m):
    pattern = 4 + 0.1 * np.arange(m)
    assert recurrence(np.tile(pattern, 6)[: 5 * m + m // 2]) == m
    jitter = 1 + 2e-4 * np.random.default_rng(0).uniform(-1, 1, 6 * m)
    assert recurrence(np.tile(pattern, 6) * jitter) == m


def test_intervals_that_do_not_recur_or_are_too_few_are_told_apart():
    rng = np.random.default_rng(1)
    assert recurrence(4 + rng.random(40)) == 0
    assert recurrence(4 + 0.1 * (np.arange(40) % 9)) == 0
    assert recurrence(4 + rng.random(9)) == -1
    assert recurrence(np.array([4.0])) == -1
    slow = 4 * (1 + 2e-3 * np.sin(np.arange(60) / 40))  # an interval is as the one before, to 1e-3
    assert recurrence(slow) == 1


def test_the_autocorrelation_of_phases_that_turn_together_is_one_and_of_diffusing_ones_exponential():
    rng = np.random.default_rng(2)
    start = rng.uniform(0, 2 * np.pi, 500)
    turning = (start + 0.3 * np.arange(60)[:, None]) % (2 * np.pi)
    np.testing.assert_allclose(autocorrelation(turning, 30), 1, rtol=1e-12)
    turning[:, :100] = np.nan
    np.testing.assert_allclose(autocorrelation(turning, 30), 1, rtol=1e-12)
    walk = np.cumsum(np.sqrt(0.1) * rng.standard_normal((60, 40_000)), axis=0)
    np.testing.assert_allclose(autocorrelation(walk, 30), np.exp(-0.05 * np.arange(30)), atol=0.02)


def test_the_separation_wraps_and_leaves_out_rings_without_phase():
    phase = np.array([[0.1, 1.0, np.nan], [np.nan, np.nan, np.nan]])
    other = np.array([[2 * np.pi - 0.1, 1.0, 2.0], [1.0, 1.0, 1.0]])
    rms, typical, largest = separation(phase, other)
    np.testing.assert_allclose(rms, [0.2 / np.sqrt(2), np.nan])
    np.testing.assert_allclose(typical, [0.2, np.nan])
    np.testing.assert_allclose(largest, [0.2, np.nan])


@pytest.mark.parametrize("rate", [0.05, 0.2, 0.4])
def test_a_known_exponent_is_found_within_its_error(rate):
    lag = np.arange(0, 200.5, 0.5)
    found = []
    for seed in range(24):
        noise = np.random.default_rng(seed).normal(0, 0.3, lag.size)
        rms = np.minimum(1e-11 * np.exp(rate * lag + noise), 1.8)
        typical = np.minimum(1e-12 * np.exp(rate * lag), 1.0)
        found.append(fit(lag, rms, typical, 5 * rms))
    exponents = np.array([one.exponent for one in found])
    error = exponents.std(ddof=1) / np.sqrt(len(exponents))
    assert abs(exponents.mean() - rate) < 4 * error
    assert error < 0.01 * rate + 1e-3
    np.testing.assert_allclose([one.typical for one in found], rate, rtol=1e-9)
    for one in found:
        assert 5.0 < one.start < one.end <= 200
        assert 5e-11 * math.exp(rate * one.end) < 0.2  # while small


def test_a_difference_that_stays_has_no_exponent_and_one_that_is_large_at_once_no_fit():
    lag = np.arange(0, 100.5, 0.5)
    flat = np.full(lag.size, 1e-11)
    got = fit(lag, flat, flat, flat)
    assert got.exponent == got.typical == pytest.approx(0, abs=1e-12)
    assert got.growth == 1
    assert np.isnan(fit(lag, flat, flat, np.full(lag.size, 0.1))).all()


def test_the_commonest_period_is_the_one_that_most_rings_share():
    period, share = commonest(np.array([4.0, 4.01, 4.02, 5.0, 7.0, np.nan]))
    assert period == 4.01
    assert share == pytest.approx(3 / 5)
    assert np.isnan(commonest(np.array([np.nan]))).all()


@pytest.mark.parametrize(
    "scheme", [{"sharing": "none"}, {"private": 0, "initial": "uniform"}], ids=["alone", "coherent"]
)
def test_uncoupled_rings_and_a_coherent_lattice_are_frozen(scheme):
    got = summary_of(size=6, **scheme)
    assert state(got) == "frozen"
    assert abs(got.lyapunov_exponent) < 0.02
    assert got.growth_largest < 10
    assert (got.n_grew, got.n_stayed) == (0, 3)
    assert got.periodic_fraction == 1
    np.testing.assert_allclose(got.autocorrelation, 1, atol=1e-3)
    assert got.autocorrelation_time_lower_bound == 100
    assert np.isnan(got.autocorrelation_time)
    assert got.period_common_fraction == 1


def test_rings_of_different_periods_are_periodic_and_lose_their_pattern():
    """Rings of 12 with one to five pulses each, uncoupled: 200 tau are enough for their numbers to stay."""
    record = DynamicsRecord(t_start=400.0, t_end=600.0, samples=401)
    got = summary_of(size=8, sharing="none", private=2, initial="random", record=record)
    assert got.growth_largest < 10
    assert got.period_common_fraction < 0.9
    assert got.autocorrelation_last < 0.9
    assert state(got) == ("periodic" if got.periodic_fraction >= 0.95 else "cannot_tell")


@pytest.fixture(scope="module")
def turbulent():
    return summary_of(seeds=4, size=16, private=2)


def test_rings_with_two_private_neurons_a_side_are_chaotic(turbulent):
    assert state(turbulent) == "chaotic"
    assert turbulent.lyapunov_exponent_low > 0
    assert turbulent.growth > 1e4
    assert (turbulent.n_grew, turbulent.n_stayed) == (4, 0)
    assert turbulent.periodic_fraction < 0.1
    assert 5 < turbulent.autocorrelation_time < 60
    # the exponent for rings of 12 that was measured on 64 x 64 by other code: 0.18
    assert 0.1 < turbulent.lyapunov_exponent_typical < 0.3


@pytest.mark.parametrize("seed", range(2))
def test_twins_part_as_those_of_the_slow_simulator_do(seed):
    """Events of another program, for both twins; phases by interpolation between its onsets."""
    net = Network.lattice(rows=5, cols=5, private=2)
    drive, firing = initial.pulse(net, seed)
    kick = 1e-9 * np.random.default_rng(seed).standard_normal(net.n_neurons)
    twin = kicked_twin(net, drive, firing, kick, 10.0, NEURON["delay"], NEURON["v_low"])
    times, t_end = np.arange(10.0, 50.0, 0.5), 60.0
    fast, slow = [], []
    for network, *begin in ((net, drive, firing), twin):
        options = {"t_end": t_end, "sample_times": times, "record": ("phase",), **NEURON}
        fast.append(simulate(network, drive=begin[0], firing=begin[1], **options).phase)
        events = reference_events(network, *begin, t_end, **NEURON)
        slow.append(phases_of(net, events, times))
    ours, theirs = (separation(*phases) for phases in (fast, slow))
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-12)
    fitted = [fit(times - 10, *curves) for curves in (ours, theirs)]
    np.testing.assert_allclose(fitted[0], fitted[1], rtol=1e-3)
    assert fitted[0].exponent > 0


def test_the_slot_is_whose_onsets_count_and_no_other_run():
    (zero, one) = (point({"size": 6, "slot": slot}, 5) for slot in (0, 1))
    assert zero.n_switches == one.n_switches
    np.testing.assert_allclose(zero.period, one.period, rtol=0.05)
    assert not np.array_equal(zero.separation, one.separation)


def test_same_seed_same_bits():
    xr.testing.assert_identical(*(point({"size": 6}, 5) for _ in range(2)))


def test_failed_seeds_are_left_out_and_no_seed_is_no_verdict():
    some = summary_of(size=4, failed=(1,))
    assert some.n_seeds == 2
    assert np.isfinite(some.autocorrelation).all()
    none = summary_of(size=4, failed=(0, 1, 2))
    assert none.n_seeds == 0
    assert state(none) == "cannot_tell"
    assert np.isnan(none.lyapunov_exponent)


def test_where_the_delay_limits_the_switching_nothing_is_told():
    groups = group(lambda s, seed: point(s, seed).assign(delay_limited=True), {"size": 4, "sharing": "none"})
    assert state(summarise(groups)) == "cannot_tell"


def test_what_a_summary_adds_is_declared_with_its_units():
    summary = summary_of(size=4)
    kind = kind_named("dynamics")
    template = kind.template(DynamicsParameters(size=4), RECORD)
    added = {*summary.variables, *summary.dims} - {*template.variables, *template.dims}
    assert {name: summary.variables[name].attrs.get("units", "") for name in added} == dict(REDUCTION.names(template))


def test_the_table_holds_what_the_summary_says_and_every_figure_is_drawn():
    groups = {"square-4": group(point, {"size": 4}, [axis("private", [0, 2])], 2, (), "dynamics")}
    found = summaries(groups, REDUCTION)
    summary = found.groups["square-4"]
    (table,) = REPORT.tables(found)
    assert table.column("scheme") == ["private 0", "private 2"]
    assert [cell.value for cell in table.column("lyapunov_exponent")] == summary.lyapunov_exponent.values.tolist()
    assert [cell.value for cell in table.column("periodic")] == (100 * summary.periodic_fraction).values.tolist()
    assert table.column("state") == [STATES[int(value)].replace("_", " ") for value in summary.dynamics_state.values]
    assert all(isinstance(text, str) for row in table.texts() for text in row)
    drawn = REPORT.figures(found, xr.DataTree.from_dict(groups))
    assert set(drawn) == {"autocorrelation-square-4", "twins-square-4", "periods-square-4"}
    for make in drawn.values():
        make().canvas.draw()


@pytest.mark.parametrize(
    ("fixed", "record", "said"),
    [
        ({"dt": 0.01}, {}, "dt"),
        ({}, {"samples": 400}, "samples=400: must be odd"),
        ({}, {"samples": 101}, "samples=101: must be at least 269"),
        ({}, {"t_start": 300.0}, "t_start=300.0: must be below t_end=300.0"),
        ({"delay": 40.0}, {"t_start": 60.0, "t_end": 90.0}, "t_start=60.0: must be above 80"),
        ({}, {"t_end": 101.0, "samples": 5, "twins": 4}, "twins=4: must be at most 3"),
    ],
)
def test_what_cannot_run_is_refused_by_name(fixed, record, said):
    table = {"kind": "dynamics", "fixed": {"size": 4, **fixed}, "record": {**RECORD.model_dump(), **record}}
    with pytest.raises(ValueError, match=said):
        parse(table)


def phases_of(net, events, times):
    """2 pi times the number of onsets of slot 0 that have passed, linear in between [sample, ring]; NaN beyond."""
    found = []
    for neuron in net.rings[:, 0]:
        onsets = events.time[(events.neuron == neuron) & (events.switch > 0)]
        found.append(2 * np.pi * np.interp(times, onsets, np.arange(len(onsets)), np.nan, np.nan))
    return np.mod(np.stack(found, axis=1), 2 * np.pi)
