"""The table and figures of orbits, and how many orbits there are where recorded spacings cannot tell."""

import math

import numpy as np
import pytest
import xarray as xr

from isophase.analysis.base import Summaries
from isophase.analysis.lattices.orbit_report import REPORT
from isophase.analysis.lattices.orbits import REDUCTION, summarise
from isophase.analysis.schemes import at_position
from isophase.analysis.tables import Estimate
from isophase.kernels.orbits import EVEN, NOT_SETTLED, UNEVEN
from tests.summaries import RINGS, axis, group, rings_point, summaries

DENSE = {"ring_size": 7, "delay": 0.3, "states": 300}  # limited by the delay, five pulses keep uneven spacings


def rings(*axes, seeds=2, failed=(), **fixed):
    """A group of kind ``rings``."""
    return {"states-12": group(rings_point, RINGS | fixed, axes, seeds, failed, "rings")}


def shown(groups, found=None):
    """The table as text, and every figure drawn to the end."""
    found = found or summaries(groups, REDUCTION)
    (table,) = REPORT.tables(found)
    assert all(isinstance(text, str) for row in table.texts() for text in row)
    drawn = {name: make() for name, make in REPORT.figures(found, xr.DataTree.from_dict(dict(groups))).items()}
    for figure in drawn.values():
        figure.canvas.draw()
    return found, table, drawn


@pytest.mark.parametrize("kept", [8, 2])
def test_the_table_holds_what_the_summary_says(kept):
    groups = rings(axis("ring_size", [4, 5]), intervals=kept)
    found, table, drawn = shown(groups)
    summary = found.groups["states-12"].sel(ring_size=4)
    assert table.key == "orbits"
    assert table.column("scheme") == ["ring_size 4", "ring_size 5"]
    assert table.column("states") == [24, 24]
    reached = summary.pulses.values[summary["count"].sum("outcome") > 0]
    assert table.column("pulses")[0] == tuple(reached)
    often = summary.sel(pulses=table.column("most_often")[0])
    assert often.share == summary.share.max()
    assert table.column("share")[0] == Estimate(
        100 * often.share.item(), low=100 * often.share_low.item(), high=100 * often.share_high.item()
    )
    for key, name in (("period", "period"), ("closed_form", "closed_form"), ("settles_in", "transient"),
                      ("settles_in_90", "transient_90")):  # fmt: skip
        assert table.column(key)[0] == often[name].item()
    assert table.column("settled")[0] == 100
    assert table.column("orbits")[0] == summary.coexisting.item()
    assert set(drawn) == {"orbits-period", "orbits-shares"}


def test_the_names_and_units_that_are_declared_are_those_that_come_out():
    groups = rings(axis("ring_size", [4, 5]))
    (summary,) = summaries(groups, REDUCTION).groups.values()
    template = rings_point(RINGS, 0)
    added = {*summary.variables, *summary.dims} - {*template.variables, *template.dims, "ring_size"}
    assert {name: summary.variables[name].attrs.get("units", "") for name in added} == dict(REDUCTION.names(template))


def test_orbits_counted_from_whole_spacings_are_those_that_the_kernel_finds():
    groups = rings(seeds=1, **DENSE)
    (summary,) = summaries(groups, REDUCTION).groups.values()
    assert summary.coexisting == groups["states-12"].orbits.item() == 7
    assert summary.coexisting_lower_bound == summary.coexisting
    assert summary.orbits.sum() == summary.coexisting


def test_uneven_orbits_with_more_pulses_than_recorded_intervals_are_not_counted_as_one():
    whole = summarise(rings(**DENSE)["states-12"])
    groups = rings(intervals=1, **DENSE)
    found, table, _ = shown(groups)
    (cut,) = found.groups.values()
    blurred = cut.pulses[np.isnan(cut.orbits)].values
    assert 5 in blurred
    assert whole.orbits.sel(pulses=5) == 5
    assert (cut.orbits_lower_bound.sel(pulses=blurred) <= whole.orbits.sel(pulses=blurred)).all()
    others = ~np.isin(cut.pulses, blurred)
    np.testing.assert_array_equal(cut.orbits[others], whole.orbits[others])
    assert np.isnan(cut.coexisting)
    # A seed counted its own from whole spacings.
    assert cut.coexisting_lower_bound == groups["states-12"].orbits.max() <= whole.coexisting
    at_least = int(cut.coexisting_lower_bound)
    assert table.column("orbits") == [Estimate(at_least - 1, bound=True)]
    assert table.texts()[0][-1] == f"> {at_least - 1}"


def test_of_one_seed_the_kernels_own_count_is_known_whatever_was_recorded():
    groups = rings(seeds=1, intervals=1, **DENSE)
    (summary,) = summaries(groups, REDUCTION).groups.values()
    assert summary.coexisting == groups["states-12"].orbits.item()
    assert np.isnan(summary.orbits).any()


def recorded(outcome, pulses, spacing):
    """States of one seed that was done, with the spacing that fitted."""
    states = len(outcome)
    dataset = group(rings_point, RINGS | {"states": states, "intervals": 2, "ring_size": 8}, seeds=1, kind="rings")
    for name, values in (("outcome", outcome), ("pulses", pulses), ("spacing", spacing)):
        dataset[name].values[0] = values
    return summarise(dataset.drop_vars("orbits"))


NOT_KEPT = [math.nan, math.nan]


def test_even_orbits_need_no_recorded_spacing():
    got = recorded([EVEN, EVEN, EVEN], [3, 3, 4], [NOT_KEPT] * 3)
    assert got.coexisting == 2
    assert got.orbits.sel(pulses=3) == 1


def test_one_uneven_orbit_without_spacing_is_one_and_two_are_one_at_least():
    alone = recorded([UNEVEN, EVEN, UNEVEN], [3, 3, 4], [NOT_KEPT] * 3)
    assert alone.orbits.sel(pulses=3) == 2
    assert alone.coexisting == 3
    two = recorded([UNEVEN, UNEVEN, EVEN], [3, 3, 3], [NOT_KEPT] * 3)
    assert np.isnan(two.orbits.sel(pulses=3))
    assert np.isnan(two.coexisting)
    assert two.orbits_lower_bound.sel(pulses=3) == two.coexisting_lower_bound == 2


def test_states_that_have_not_settled_are_on_no_orbit():
    got = recorded([NOT_SETTLED, NOT_SETTLED], [3, 3], [NOT_KEPT] * 2)
    assert got.coexisting == 0
    assert got.orbits.sel(pulses=3) == 0


AWKWARD = {
    "one scheme": {},
    "one seed": {"seeds": 1},
    "one state": {"states": 1, "seeds": 1},
    "one value": {"axes": [axis("delay", [0.1])]},
    "zipped": {"axes": [axis("regime", ["a", "b"], delay=[0.0, 0.1], v_low=[0.2, 0.3]), axis("ring_size", [3, 6])]},
    "every seed failed": {"failed": (0, 1)},
    "one failed": {"failed": (0,)},
    "all die": {"v_high": 0.9, "ring_size": 6},
    "two neurons": {"ring_size": 2},
}


@pytest.mark.parametrize("name", AWKWARD)
def test_a_small_summary_of_any_shape_has_its_table_and_its_figures(name):
    options = dict(AWKWARD[name])
    _, table, drawn = shown(rings(*options.pop("axes", ()), **options))
    assert len(table.rows) == (4 if name == "zipped" else 1)
    assert set(drawn) == {"orbits-period", "orbits-shares"}
    if name == "every seed failed":
        assert table.texts()[0] == ("rings", "0", *[""] * 10)


def panels(figure):
    return [axes for axes in figure.axes if axes.get_title()]


def test_schemes_that_differ_in_nothing_of_their_neuron_have_panels_of_their_own():
    axes = axis("sampling", ["random", "necklaces"]), axis("delay", [0.1, 0.1000000001]), axis("ring_size", [3, 4])
    found = summaries(rings(*axes), REDUCTION)
    found.groups["states-12"]["period"].loc[{"sampling": "random"}] = 7.0
    found.groups["states-12"]["period"].loc[{"sampling": "necklaces"}] = 8.0
    for name, figure in shown(rings(*axes), found)[2].items():
        titles = [axes.get_title().split("\n") for axes in panels(figure)]
        assert [title[-1] for title in titles] == ["sampling random"] * 2 + ["sampling necklaces"] * 2
        assert [title[0] for title in titles] == ["delay 0.1 tau", "delay 0.1000000001 tau"] * 2
        if name == "orbits-period":
            measured = [{y for line in axes.get_lines()[1:] for y in line.get_ydata()} for axes in panels(figure)]
            assert [7.0 in found for found in measured] == [8.0 not in found for found in measured]
            assert [7.0 in found for found in measured] == [True, True, False, False]


def test_rings_whose_size_and_states_go_together_share_a_panel():
    groups = {
        f"states-{states}": group(rings_point, RINGS | {"ring_size": size, "states": states}, [], 1, (), "rings")
        for size, states in ((3, 8), (4, 16))
    }
    for figure in shown(groups)[2].values():
        assert [axes.get_title() for axes in panels(figure)] == ["delay 0.1 tau\nv_high 0.49, v_low 0.2"]


def test_ring_sizes_that_have_no_marker_are_said():
    drawn = shown(rings(axis("ring_size", list(range(3, 13)))))[2]["orbits-period"]
    assert drawn.get_suptitle() == "7 of 10 ring sizes"


def test_schemes_that_could_not_be_reduced_are_left_out():
    groups = rings(axis("ring_size", [4, 5]))
    (summary,) = summaries(groups, REDUCTION).groups.values()
    broken = summary.where(summary.ring_size == 4)
    for name, variable in summary.variables.items():
        broken[name].attrs = variable.attrs
    broken["reduction_error"] = ("ring_size", ["", "ValueError: no"])
    _, table, drawn = shown(groups, Summaries({"states-12": broken}))
    assert table.column("scheme") == ["ring_size 4"]
    assert len(drawn) == 2
    broken["reduction_error"] = ("ring_size", ["ValueError: no", "ValueError: no"])
    _, table, drawn = shown(groups, Summaries({"states-12": broken}))
    assert (table.rows, drawn) == ((), {})


def test_the_parameters_of_a_scheme_are_those_of_its_position():
    groups = rings(axis("regime", ["a", "b"], delay=[0.0, 0.1], v_low=[0.2, 0.3]))
    for number, (delay, v_low) in enumerate(((0.0, 0.2), (0.1, 0.3))):
        got = summarise(at_position(groups["states-12"], {"regime": number}))
        alone = summarise(rings(delay=delay, v_low=v_low)["states-12"])
        xr.testing.assert_allclose(got.drop_vars("regime", errors="ignore"), alone)
