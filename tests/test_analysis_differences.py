"""Paired differences of steady lengths: of the same seeds under another delay or slot."""

import json

import numpy as np
import pytest
import xarray as xr

from isophase.analysis.lattices.differences import FOLLOWED, paired_axes, paired_differences
from isophase.sweeps.kinds.lattice import Lattice, LatticeParameters
from tests.summaries import axis


def summary_of(xi, axes, without=None):
    """A summary with lengths xi [..., seed] of single seeds, whose mean is xi_inf."""
    dims = [a["name"] for a in axes]
    xi = np.asarray(xi, float)
    seeds = xi.shape[-1]
    each = (xi.sum(-1, keepdims=True) - xi) / (seeds - 1) if without is None else without
    coords = {a["name"]: a["labels"] for a in axes}
    return xr.Dataset(
        {
            "xi_inf": (dims, xi.mean(-1)),
            "xi_inf_error": (dims, xi.std(-1, ddof=1) / np.sqrt(seeds)),
            "xi_inf_without": ((*dims, "seed"), each),
        },
        coords,
        {"axes": json.dumps([*axes, axis("seed", list(range(seeds)))]), "parameters": "{}", "kind": "lattice"},
    )


def test_what_both_owe_to_a_seed_cancels():
    common = np.array([1.0, -1.0, 2.0, 0.5])
    xi = 5 + common + np.array([[0.0] * 4, [0.3, 0.32, 0.28, 0.3]])
    (found,) = paired_differences(summary_of(xi, [axis("delay", [0.0, 0.1])]))
    assert (found.scheme, found.reference) == ("delay 0.1", "delay 0")
    assert found.value == pytest.approx(0.3)
    assert found.error == pytest.approx(np.std([0.3, 0.32, 0.28, 0.3], ddof=1) / 2)
    assert found.unpaired > 40 * found.error
    assert found.low < 0.3 < found.high
    assert found.high - found.value == pytest.approx(3.182 * found.error, rel=1e-3)


def test_the_interval_holds_the_difference_in_95_of_100_cases():
    rng = np.random.default_rng(3)
    held = 0
    for _ in range(400):
        xi = 4 + rng.normal(0, 1, 5) + rng.normal([[0.0], [0.5]], 0.2, (2, 5))
        (found,) = paired_differences(summary_of(xi, [axis("slot", [0, 1])]))
        held += found.low < 0.5 < found.high
    assert 0.92 < held / 400 < 0.98


def test_only_axes_that_leave_the_realisation_are_paired():
    xi = np.arange(12.0).reshape(2, 2, 3)
    hop = axis("hop", ["exact", "step"], delay=[0.01, 0.0], dt=[0.0, 0.01])
    summary = summary_of(xi, [axis("private", [0, 1]), hop])
    assert paired_axes(summary) == ["hop"]
    assert [(d.scheme, d.reference) for d in paired_differences(summary)] == [
        ("private 0, step", "private 0, exact"),
        ("private 1, step", "private 1, exact"),
    ]


def test_a_scheme_that_lacks_a_seed_is_not_compared():
    each = np.array([[4.0, 4.1, 3.9], [5.0, np.nan, 5.1]])
    assert list(paired_differences(summary_of(np.ones((2, 3)), [axis("delay", [0.0, 0.1])], each))) == []


def test_what_is_paired_leaves_the_random_stream_of_the_kind_alone():
    parameters = LatticeParameters(size=4, sharing="weak")
    assert set(Lattice().seed_free_of(parameters, 2)) == FOLLOWED
