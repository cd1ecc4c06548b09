"""Which state is selected: fronts beside the scale from random pulses, of crafted summaries and small lattices."""

import json

import numpy as np
import pytest
import scipy.stats
import xarray as xr

from isophase.analysis.lattices.fronts import PATCH_STATES
from isophase.analysis.lattices.fronts import STATES as FRONTS
from isophase.analysis.lattices.selection import Selected, prediction, selected
from isophase.analysis.lattices.steady_state import STATES as STEADY
from isophase.analysis.statistics import flags
from tests.summaries import LATTICE, axis

PATCH = {"patch": "disordered", "patch_around": "coherent", "patch_shape": "band", "patch_size": 0.25}


def summary(speeds, states, lengths, fixed=None):
    """A summary of schemes that differ in their private neurons, each from a patch and from pulses."""
    number = len(speeds)
    nothing = np.full(number, np.nan)
    front_state = [FRONTS.index("heals" if np.isnan(v) else "grows" if v > 0 else "shrinks") for v in speeds]
    both = {
        "front_speed": (np.array(speeds), nothing),
        "front_speed_error": (np.full(number, 0.01), nothing),
        "front_state": (np.array(front_state), np.full(number, FRONTS.index("not_defined"))),
        "state": (np.full(number, STEADY.index("steady")), np.array([STEADY.index(s) for s in states])),
        "xi_inf": (np.full(number, 99.0), np.array(lengths)),
        "xi_inf_error": (np.full(number, 9.0), np.full(number, 0.1)),
        "xi_inf_lower_bound": (nothing, np.where(np.array(states) == "beyond_half", 32.0, np.nan)),
        "patch_state": (np.full(number, 7), np.zeros(number)),
    }
    found = xr.Dataset({name: (("initial", "private"), np.stack(values)) for name, values in both.items()})
    for name, meanings in (("front_state", FRONTS), ("state", STEADY), ("patch_state", PATCH_STATES)):
        found[name] = found[name].astype(np.int8).assign_attrs(flags(meanings))
    private = list(range(number))
    found = found.assign_coords(initial=["patch", "pulse"], private=private)
    described = [axis("initial", ["patch", "pulse"]), axis("private", private)]
    return found.assign_attrs(
        kind="lattice", axes=json.dumps(described), parameters=json.dumps(LATTICE | PATCH | (fixed or {}))
    )


def test_a_scheme_from_a_patch_stands_beside_the_same_one_from_pulses():
    found = selected(summary([0.1, -0.2, np.nan], ["steady", "beyond_half", "waves"], [2.0, np.nan, np.nan]))
    assert [one.label for one in found] == ["private 0", "private 1", "private 2"]
    assert [one.speed for one in found] == [0.1, -0.2, -np.inf]
    assert [one.sign for one in found] == [1, -1, -1]
    assert [one.coherent for one in found] == [False, True, False]
    np.testing.assert_equal([one.scale for one in found], [2.0, np.inf, np.nan])


def test_an_ordered_patch_that_disorder_takes_counts_as_disorder_that_grows():
    turned = {"patch": "coherent", "patch_around": "disordered"}
    (one,) = selected(summary([-0.1], ["steady"], [2.0], fixed=turned))
    assert (one.speed, one.sign) == (0.1, 1)
    assert selected(summary([0.1], ["steady"], [2.0], fixed={"patch": "staggered"})) == []


def schemes(*rows):
    """Schemes by speed, sign, whether coherent, and scale."""
    nothing = xr.Dataset()
    return [Selected("", nothing, nothing, speed, 0.01, sign, coherent, scale) for speed, sign, coherent, scale in rows]


def test_the_sign_of_the_speed_is_counted_against_what_pulses_end_as():
    found = prediction(schemes(
        (0.1, 1, False, 2.0), (0.2, 1, False, 3.0), (0.3, 1, False, np.nan), (0.4, 1, True, np.inf),
        (-0.1, -1, True, np.inf), (-np.inf, -1, True, np.inf), (0.0, 0, False, 5.0), (0.1, 1, None, np.nan),
    ))  # fmt: skip
    assert found[:4] == (3, 1, 0, 2)
    # hypergeometric: of the C(6, 3) ways to choose which three are coherent, those as unlikely as what was found
    assert found.p_value == pytest.approx(2 * 4 / 20)
    assert found.ranked == 6


def test_the_rank_correlation_is_that_of_all_schemes_with_a_speed_and_a_length():
    rng = np.random.default_rng(3)
    speed = rng.normal(size=14)
    scale = np.exp(-speed + 0.4 * rng.normal(size=14))
    found = prediction(schemes(*((v, int(np.sign(v)), False, s) for v, s in zip(speed, scale, strict=True))))
    exact = scipy.stats.spearmanr(speed, scale)
    assert found.rank_correlation == pytest.approx(exact.statistic)
    assert found.low < exact.statistic < found.high < 0
    assert found.rank_p_value == pytest.approx(exact.pvalue, abs=0.002)
    assert np.isnan(found.p_value), "none is coherent"


def test_of_few_schemes_or_of_one_length_there_is_no_rank_correlation():
    few = [(0.1 * n, 1, False, float(n)) for n in range(1, 5)]
    assert np.isnan(prediction(schemes(*few)).rank_correlation)
    alike = [(0.1 * n, 1, True, np.inf) for n in range(1, 9)]
    assert np.isnan(prediction(schemes(*alike)).rank_correlation)


def test_where_speed_and_scale_have_nothing_to_do_with_one_another_p_is_uniform():
    rng = np.random.default_rng(4)
    small = sum(
        prediction(schemes(*((v, 1, False, s) for v, s in rng.normal(size=(8, 2)) + 10))).rank_p_value < 0.2
        for _ in range(30)
    )
    assert 1 <= small <= 13
