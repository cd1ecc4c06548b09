"""Orbits of uncoupled rings: closed forms, what is conserved, uneven spacing against a plain event loop, the store."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from isophase.analysis.lattices.orbits import summarise
from isophase.analysis.schemes import at_position
from isophase.analysis.statistics import wilson
from isophase.kernels.lattice import Network, simulate
from isophase.kernels.orbits import (
    EVEN,
    NOT_SETTLED,
    OUTCOMES,
    QUIESCENT,
    UNDEFINED,
    UNEVEN,
    classify,
    find_orbits,
    firing_time,
    n_necklaces,
    necklace_states,
    random_states,
    relaxation_time,
)
from isophase.sweeps.store import open_store, read
from isophase.sweeps.sweep import SweepError, load, parse
from tests.lattice_reference import reference_events
from tests.serial import run_serially


def orbits(ring_size, delay, states=60, t_end=1200.0, seed=3, **thresholds):
    return find_orbits(*random_states(ring_size, states, seed), t_end=t_end, delay=delay, **thresholds)


@pytest.mark.parametrize("delay", [0.0, 0.01, 0.1])
@pytest.mark.parametrize("ring_size", [2, 3, 5, 6, 7])
def test_random_states_reach_the_period_of_the_closed_form(ring_size, delay):
    found = orbits(ring_size, delay)
    even = found[found["outcome"] == EVEN]
    assert len(even) > 40
    expected = [firing_time(ring_size / k, delay)[1] for k in even["pulses"]]
    np.testing.assert_allclose(even["period"], expected, rtol=1e-8)
    assert (found["outcome"] != NOT_SETTLED).all()


def test_two_pulses_in_a_ring_of_four_repeat_every_two_ln_four():
    found = orbits(4, 0.0)
    two = found[found["pulses"] == 2]
    assert len(two) > 15
    np.testing.assert_allclose(two["period"], 2 * math.log(4), rtol=1e-12)
    assert firing_time(2, 0.0) == pytest.approx((math.log(4), 2 * math.log(4)), abs=1e-12)


@pytest.mark.parametrize(("v_high", "v_low"), [(0.49, 0.2), (0.49, 0.3), (0.75, 0.2)])
def test_the_number_of_pulses_never_grows_and_stays_after_the_last_death(v_high, v_low):
    """Counted here from the events, one by one."""
    delay, ring_size, t_end = 0.1, 7, 400.0
    drive, firing = random_states(ring_size, 20, 8)
    found = find_orbits(drive, firing, t_end=t_end, delay=delay, v_high=v_high, v_low=v_low)
    assert found["pulses"].max() <= ring_size
    for state, one in enumerate(found):
        run = simulate(
            Network.from_rings(np.arange(ring_size)[None]), drive=drive[state], firing=firing[state], t_end=t_end,
            delay=delay, v_high=v_high, v_low=v_low, record=("events",),
        )  # fmt: skip
        changes = [(t, 1) for t in run.events.time[run.events.switch > 0]]
        changes += [(t + delay, -1) for t in run.events.time[run.events.switch < 0]]
        number, died = int(firing[state].sum()), 0.0
        times, steps = np.array(sorted(changes)).T.reshape(2, -1)
        groups = np.split(np.arange(len(times)), np.flatnonzero(np.diff(times) > 1e-9) + 1) if len(times) else []
        for group in groups:
            change = int(steps[group].sum())
            if times[group[0]] > t_end - delay:
                break
            assert change <= 0 or times[group[0]] == 0.0
            number += change
            died = times[group[0]] if change < 0 else died
        assert number == one["pulses"]
        assert died == pytest.approx(one["captured"], abs=1e-8)


def test_without_delay_a_ring_holds_at_most_one_pulse_for_two_neurons():
    for ring_size in (5, 8):
        found = orbits(ring_size, 0.0, states=100, t_end=60.0)
        assert found["pulses"].max() == ring_size // 2


@pytest.mark.parametrize(("ring_size", "pulses"), [(3, 2), (4, 3), (9, 5), (2, 2), (5, 5)])
def test_a_delay_lets_more_pulses_in_whose_period_is_a_number_of_delays(ring_size, pulses):
    found = orbits(ring_size, 0.1, states=400, t_end=60.0)
    dense = found[(found["pulses"] == pulses) & (found["outcome"] == EVEN)]
    assert len(dense)
    np.testing.assert_allclose(dense["period"], 2 * 0.1 * ring_size / (2 * pulses - ring_size), rtol=1e-12)


def test_five_neurons_space_two_pulses_evenly_in_time():
    """The first guess would be 2 and 3 neurons apart; followed switch by switch the spacings become equal."""
    ring_size, delay = 5, 0.1
    drive, firing = random_states(ring_size, 20, 3)
    found = find_orbits(drive, firing, t_end=250.0, delay=delay)
    state = int(np.flatnonzero(found["pulses"] == 2)[0])
    plain = reference_events(
        Network.from_rings(np.arange(ring_size)[None]), drive[state], firing[state], 250.0, delay, 0.49, 0.2
    )
    onsets = plain.time[(plain.neuron == 0) & (plain.switch > 0)]
    intervals = np.diff(onsets)
    np.testing.assert_allclose(intervals[-2:], found["period"][state], rtol=1e-7)
    np.testing.assert_allclose(intervals[-2:], firing_time(2.5, delay)[1], rtol=1e-7)
    assert np.ptp(intervals[1:3]) > 0.01
    last_off = onsets[1:][np.abs(intervals / found["period"][state] - 1) > 1e-6][-1]
    assert abs(last_off - found["transient"][state]) < 2 * found["period"][state]


@pytest.mark.parametrize(("ring_size", "pulses", "delay"), [(6, 2, 0.0), (5, 2, 0.1), (8, 3, 0.01), (6, 3, 0.1)])
def test_spacing_relaxes_as_fast_as_linear_stability_says(ring_size, pulses, delay):
    drive, firing = random_states(ring_size, 30, 3)
    first = find_orbits(drive, firing, t_end=2000.0, delay=delay)
    state = int(np.flatnonzero(first["pulses"] == pulses)[0])
    tau = relaxation_time(ring_size, pulses, delay)
    run = simulate(
        Network.from_rings(np.arange(ring_size)[None]), drive=drive[state], firing=firing[state], t_end=12 * tau,
        delay=delay, record=("events",),
    )  # fmt: skip
    onsets = run.events.time[(run.events.neuron == 0) & (run.events.switch > 0)]
    off = np.abs(np.diff(onsets) / firing_time(ring_size / pulses, delay)[1] - 1)

    def amplitude(time):
        return off[(onsets[1:] > time - tau) & (onsets[1:] <= time)].max()

    assert math.log(amplitude(6 * tau) / amplitude(11 * tau)) == pytest.approx(5, rel=0.1)


def test_lone_pulses_need_a_lower_threshold_than_dense_ones():
    """v_low / z = 1 - z has no root above v_low = 1/4, while M = 2 lasts up to v_low = 1 - v_high."""
    assert math.isnan(firing_time(100, 0.0, 0.49, 0.26)[1])
    assert math.isnan(firing_time(2, 0.0, 0.75, 0.26)[1])
    assert firing_time(2, 0.0, 0.75, 0.24)[0] == pytest.approx(math.log(0.76 / 0.24), abs=1e-12)
    assert firing_time(2, 0.0, 0.49, 0.3)[0] == pytest.approx(math.log(7 / 3), abs=1e-12)
    found = orbits(16, 0.01, v_low=0.3, t_end=200.0)
    assert (found["outcome"] == QUIESCENT).mean() > 0.9
    assert set(found["pulses"].tolist()) <= {0, 8}


def test_evenly_spaced_pulses_may_be_unstable_and_then_never_settle():
    assert relaxation_time(8, 4, 0.01, 0.49, 0.3) < 0 < relaxation_time(8, 4, 0.01, 0.49, 0.2)
    found = orbits(8, 0.01, states=100, v_low=0.3, t_end=2000.0)
    four = found[found["pulses"] == 4]
    assert len(four) > 5
    assert (four["outcome"] == NOT_SETTLED).all()
    assert (four["unevenness"] > 0.005).all()


def test_a_ring_may_die_and_then_has_no_period():
    found = orbits(6, 0.01, v_high=0.9, t_end=100.0)
    assert (found["outcome"] == QUIESCENT).all()
    assert (found["pulses"] == 0).all()
    assert np.isnan(found["period"]).all()
    assert 0 < found["captured"].max() < 50
    still = find_orbits(np.zeros((1, 4)), np.zeros((1, 4), bool), t_end=10.0)[0]
    assert (still["outcome"], still["transient"], still["captured"]) == (QUIESCENT, 0.0, 0.0)


def test_not_settled_is_an_answer():
    found = orbits(16, 0.01, states=20, t_end=100.0)
    assert (found["outcome"] == NOT_SETTLED).all()
    assert np.isnan(found["transient"]).all()
    assert (found["pulses"] > 0).all()
    assert (found["unevenness"] > 1e-6).all()


def test_an_instant_without_end_is_an_answer_at_delay_zero_alone():
    firing = np.array([[True, True, True], [True, False, False]])
    drive = np.where(np.roll(firing, 1, 1), 0.0, 1.0) - np.where(firing, -0.5, 0.9)
    drive[0] = 0.5
    found = find_orbits(drive, firing, t_end=100.0, delay=0.0)
    assert found["outcome"].tolist() == [UNDEFINED, EVEN]
    assert found["pulses"].tolist() == [-1, 1]
    assert find_orbits(drive, firing, t_end=100.0, delay=0.1)["pulses"].tolist() == [3, 1]


def test_orbits_limited_by_the_delay_keep_their_uneven_spacing():
    found = orbits(5, 0.1, states=400, t_end=100.0)
    uneven = found[found["outcome"] == UNEVEN]
    assert len(uneven)
    assert (2 * uneven["pulses"] > 5).all()
    assert (uneven["unevenness"] > 0.01).all()
    np.testing.assert_allclose(uneven["pattern_period"], uneven["onsets"] * uneven["period"], rtol=1e-12)
    np.testing.assert_allclose(np.nansum(uneven["spacing"], axis=1), 1, rtol=1e-12)


@settings(max_examples=15, deadline=None)
@given(turn=st.integers(1, 6), seed=st.integers(0, 1000))
def test_an_orbit_is_the_same_from_whichever_neuron_it_is_counted(turn, seed):
    drive, firing = random_states(7, 4, seed)
    one = find_orbits(drive, firing, t_end=500.0, delay=0.1)
    other = find_orbits(np.roll(drive, turn, 1), np.roll(firing, turn, 1), t_end=500.0, delay=0.1)
    for name in ("outcome", "pulses", "onsets"):
        np.testing.assert_array_equal(one[name], other[name])
    for name in ("period", "captured", "transient"):
        np.testing.assert_allclose(one[name], other[name], atol=1e-9)
    both = np.concatenate([one, other])
    label = classify(both["pulses"], both["spacing"])
    settled = one["outcome"] != NOT_SETTLED
    np.testing.assert_array_equal(label[:4][settled], label[4:][settled])


@given(spacing=st.lists(st.floats(0.1, 1.0), min_size=1, max_size=6), turn=st.integers(0, 5))
def test_spacings_are_one_orbit_up_to_rotation_and_not_up_to_pulses(spacing, turn):
    pattern = np.array(spacing) / sum(spacing)
    turned = np.roll(pattern, turn)
    padded = np.full((3, 8), np.nan)
    padded[:, : len(pattern)] = [pattern, turned, turned]
    assert classify(np.array([3, 3, 4]), padded).tolist() == [0, 0, 1]


def test_mirrored_spacings_are_two_orbits():
    assert classify(np.array([3, 3]), np.array([[0.2, 0.3, 0.5], [0.5, 0.3, 0.2]])).tolist() == [0, 1]


@pytest.mark.parametrize(
    ("ring_size", "number"), [(2, 3), (3, 4), (4, 6), (5, 8), (6, 14), (8, 36), (12, 352), (16, 4116)]
)
def test_there_are_as_many_firing_patterns_as_binary_necklaces(ring_size, number):
    """OEIS A000031."""
    assert n_necklaces(ring_size) == number
    if ring_size <= 12:
        drive, firing, multiplicity = necklace_states(ring_size)
        assert len(firing) == len(drive) == number
        assert multiplicity.sum() == 2**ring_size
        turns = {tuple(np.roll(pattern, turn)) for pattern in firing for turn in range(ring_size)}
        assert len(turns) == 2**ring_size


def test_states_and_parameters_that_cannot_run_are_refused():
    with pytest.raises(ValueError, match=r"drive \(2, 3\), firing \(2, 4\)"):
        find_orbits(np.zeros((2, 3)), np.zeros((2, 4), bool), t_end=1.0)
    with pytest.raises(ValueError, match="ring_size=17"):
        necklace_states(17)
    for value, text in (
        ({"ring_size": 1}, "ring_size=1"),
        ({"ring_size": 20, "sampling": "necklaces"}, "at most 16"),
        ({"ring_size": 12, "sampling": "necklaces", "states": 351}, "states=351: must be at least 352"),
        ({"ring_size": 4, "delay": 1e-4}, "delay=0.0001"),
        ({"ring_size": 4, "v_low": 0.5}, "v_low=0.5: must be below"),
    ):
        with pytest.raises(SweepError, match=text):
            parse({"kind": "rings", "fixed": value, "record": {"t_end": 10.0}})


def test_a_wilson_interval_is_that_of_the_textbook():
    """Newcombe, Statist. Med. 17, 857 (1998): 81/263 has 0.2553 to 0.3662; 0/20 has 0 to 0.1611."""
    assert wilson(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert wilson(0, 20) == pytest.approx((0.0, 0.1611), abs=5e-5)


@pytest.fixture(scope="module")
def preset_store(tmp_path_factory):
    """The preset, with its axes cut to five ring sizes and 24 states."""
    preset = load("orbits")
    table = {key: preset.definition()[key] for key in ("kind", "seed")}
    regime = next(axis for axis in preset.axes if axis.name == "regime")
    table["axes"] = {
        "ring_size": [2, 3, 4, 5, 6],
        "regime": {"label": list(regime.labels), **{name: list(values) for name, values in regime.values}},
        "seed": {"start": 0, "count": 2},
    }
    table["fixed"] = dict(preset.fixed) | {"states": 24}
    table["fixed"].pop("seed", None)
    table["record"] = {"t_end": 500.0, "intervals": 8}
    location = str(tmp_path_factory.mktemp("orbits") / "store")
    assert run_serially(location, parse(table, name="orbits")) == 5 * 6 * 2
    return location


def test_what_is_stored_is_what_the_kernel_finds(preset_store):
    assert read(preset_store).count() == {"pending": 0, "done": 60, "failed": 0}
    dataset = open_store(preset_store)["states-24"].to_dataset().load()
    assert dict(dataset.sizes) == {"ring_size": 5, "regime": 6, "seed": 2, "state": 24, "interval": 8}
    assert dataset.outcome.attrs["flag_meanings"] == " ".join(OUTCOMES)
    assert dataset.period.attrs["units"] == "tau"
    four = dataset.sel(ring_size=4, regime="no delay")
    periods = four.period.values[four.pulses.values == 2]
    assert len(periods)
    np.testing.assert_allclose(periods, 2 * math.log(4), rtol=1e-9)
    spacing = dataset.spacing.sum("interval").where(dataset.pulses > 0).values
    np.testing.assert_allclose(spacing[np.isfinite(spacing)], 1)


def test_the_same_initial_states_are_followed_under_every_delay_and_thresholds(preset_store):
    dataset = open_store(preset_store)["states-24"].to_dataset().load()
    pulses = dataset.pulses.sel(ring_size=5)
    same = (pulses.sel(regime="standard") == pulses.sel(regime="no delay")).mean()
    assert same > 0.8
    assert (pulses.isel(seed=0) != pulses.isel(seed=1)).any()


def test_the_summary_of_every_scheme_adds_up(preset_store):
    dataset = open_store(preset_store)["states-24"].to_dataset()
    standard = dataset.regime.values.tolist().index("standard")
    for number in range(dataset.sizes["ring_size"]):
        part = summarise(at_position(dataset, {"ring_size": number, "regime": standard}))
        assert int(part.n_states) == 48
        assert int(part.n_seeds) == 2
        assert float(part.share.sum() + part.undefined) == pytest.approx(1)
        assert int(part["count"].sum()) == 48
        assert (part.share_low <= part.share).all()
        assert (part.share <= part.share_high).all()
        assert float(part.deviation.max()) < 1e-8
        reached = part.pulses[part["count"].sum("outcome") > 0]
        assert int(part.coexisting) >= len(reached)


def test_every_firing_pattern_counts_once_in_an_exhaustive_basin_share(tmp_path):
    table = {"kind": "rings", "axes": {"ring_size": [4, 6]}, "record": {"t_end": 300.0}}
    table["fixed"] = {"sampling": "necklaces", "states": 14}
    run_serially(str(tmp_path / "store"), parse(table))
    dataset = open_store(str(tmp_path / "store"))["states-14"].to_dataset()
    assert dataset.weight.sum("state").values.tolist() == [16, 64]
    four = summarise(at_position(dataset, {"ring_size": 0}))
    assert int(four.n_states) == 6
    # 0000 rests; 1000 and 1100 are one pulse, 1010 two; see the kernel for 1110 and 1111
    drive, firing, multiplicity = necklace_states(4)
    found = find_orbits(drive, firing, t_end=300.0)
    for k in range(5):
        assert float(four.share.sel(pulses=k)) == multiplicity[found["pulses"] == k].sum() / 16
        assert float(four.share_low.sel(pulses=k)) == float(four.share_high.sel(pulses=k))
