"""Learning phases: on curves whose crossings are known, and with answers that say never."""

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

from isophase.analysis.networks.learning_phases import TD_TRANSITION, TI_LEARNED, WINDOW, learning_phases, reaches


def curve(values, dims=("iteration",)):
    values = np.asarray(values, float)
    return xr.DataArray(values, dims=dims, coords={"iteration": np.arange(values.shape[-1])})


def step(at, low=0.5, high=1.0, length=200):
    return np.where(np.arange(length) < at, low, high)


def test_steps_at_known_iterations_are_found_there():
    phases = learning_phases(curve(step(12)), curve(step(90)), td_base_rate=0.5)
    assert float(phases["ti_learned"]) == 12
    assert {float(phases[name]) for name in ("td_leaves_base", "td_transition", "td_learned")} == {90.0}
    assert float(phases["plateau"]) == 78
    assert float(phases["plateau_share"]) == 1


def test_a_ramp_is_crossed_where_it_has_each_value():
    ramp = 0.5 + 0.5 * np.arange(500) / 499
    phases = learning_phases(curve(np.ones(500)), curve(ramp), td_base_rate=0.5)
    for name, value in (("td_leaves_base", 0.52), ("td_transition", 0.75), ("td_learned", 0.9)):
        assert float(phases[name]) == np.argmax(ramp >= value)


@pytest.mark.parametrize("base", [0.5, 0.7, 0.855])
def test_halfway_is_counted_from_the_base_rate_and_values_below_it_are_never_learned(base):
    ramp = base + (1 - base) * np.arange(1000) / 999
    phases = learning_phases(curve(np.ones(1000)), curve(ramp), td_base_rate=base)
    assert float(phases["td_halfway"]) == pytest.approx(500, abs=1)
    assert float(phases["td_four_fifths"]) == pytest.approx(799, abs=1)
    assert np.isfinite(float(phases["td_transition"])) == (base < TD_TRANSITION)


def test_every_seed_has_its_own_phases_and_never_is_an_answer():
    ti = curve([step(5), step(30), step(500)], ("seed", "iteration"))
    td = curve([step(60), step(500), step(80)], ("seed", "iteration"))
    phases = learning_phases(ti, td, td_base_rate=0.5)
    np.testing.assert_array_equal(phases["ti_learned"], [5, 30, np.nan])
    np.testing.assert_array_equal(phases["td_transition"], [60, np.nan, 80])
    np.testing.assert_array_equal(phases["plateau"], [55, np.nan, np.nan])


def test_one_lucky_batch_is_no_learning():
    lucky = step(150)
    lucky[40] = 1.0
    assert float(reaches(curve(lucky), TD_TRANSITION)) == 150


def test_time_can_be_learned_first():
    assert float(learning_phases(curve(step(90)), curve(step(12)), 0.5)["plateau"]) == -78


def test_a_run_that_diverged_or_is_shorter_than_the_window_has_reached_nothing():
    diverged = step(20)
    diverged[25:] = np.nan
    assert np.isnan(float(reaches(curve(diverged), TI_LEARNED)))
    assert np.isnan(float(reaches(curve(np.ones(WINDOW - 1)), TI_LEARNED)))


@given(
    st.lists(st.integers(0, 64), min_size=WINDOW, max_size=60),
    st.integers(1, 64),
)
def test_agrees_with_a_search_by_hand(values, value):
    values, value = [v / 64 for v in values], value / 64  # sums of these are exact
    found = float(reaches(curve(values), value))
    by_hand = [
        i for i in range(len(values) - WINDOW + 1) if values[i] >= value and np.mean(values[i : i + WINDOW]) >= value
    ]
    assert (found == by_hand[0]) if by_hand else np.isnan(found)


def test_a_base_rate_that_is_no_fraction_is_refused():
    with pytest.raises(ValueError, match=r"td_base_rate=1.5: must be between 0 and 1"):
        learning_phases(curve(step(5)), curve(step(5)), 1.5)


def test_works_chunk_by_chunk():
    td = curve([step(60), step(70)], ("seed", "iteration")).chunk(seed=1)
    found = learning_phases(td, td, 0.5)["td_transition"]
    assert found.chunks is not None
    np.testing.assert_array_equal(found, [60, 70])
