"""What ``parse`` accepts can be run, reduced and reported; what cannot be is refused by ``parse``."""

import os
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

import isophase
from isophase.flows.report import report_of
from isophase.sweeps.store import FAILED, read
from isophase.sweeps.sweep import SweepError, parse
from tests.serial import reduce_serially, run_serially

EXAMPLES = int(os.environ.get("ISOPHASE_SWEEP_EXAMPLES", "25"))
SETTINGS = {"deadline": None, "suppress_health_check": list(HealthCheck), "phases": [Phase.explicit, Phase.generate],
            "database": None, "derandomize": True}  # fmt: skip
EXPECTED = ("DivergedError", "RuntimeError: ")  # that a point may fail with: it is what it computes

TOGGLE = {
    "states": ["off", "on"],
    "symbols": ["wait", "press"],
    "null": "wait",
    "clock": {"kind": "relative", "threshold": 2},
    "theta0": {"off": {"wait": "off", "press": "on"}, "on": {"wait": "on", "press": "off"}},
    "theta1": {"off": {"wait": "off", "press": "off"}, "on": {"wait": "on", "press": "on"}},
}
LAMP = {
    "states": ["red", "green", "blue"],
    "symbols": ["go"],
    "clock": {"kind": "periodic", "period": 4},
    "theta0": {"red": {"go": "green"}, "green": {"go": "blue"}, "blue": {"go": "red"}},
    "theta1": {"red": {"go": "red"}, "green": {"go": "green"}, "blue": {"go": "blue"}},
}


def some(values, most=2):
    return st.lists(st.sampled_from(values), min_size=1, max_size=most, unique_by=repr)


@st.composite
def sweeps(draw, kind, values, record, zipped=None):
    """The table of a sweep: each parameter left out, fixed or an axis, perhaps a zipped axis, with seeds or without."""
    table = {"kind": kind, "seed": draw(st.integers(0, 3)), "axes": {}, "fixed": {}, "record": draw(record)}
    if zipped and draw(st.booleans()):
        columns = draw(st.sampled_from(zipped))
        number = draw(st.integers(1, len(next(iter(columns.values())))))
        table["axes"]["case"] = {name: column[:number] for name, column in columns.items()}
    taken = {name for axis in table["axes"].values() for name in axis}
    n_points = 1
    for name, choices in values.items():
        how = draw(st.sampled_from(["left out", "fixed", "fixed", "axis"]))
        if name in taken or how == "left out":
            continue
        if how == "fixed" or n_points > 4:
            table["fixed"][name] = draw(st.sampled_from(choices))
        else:
            table["axes"][name] = draw(some(choices))
            n_points *= len(table["axes"][name])
    if draw(st.booleans()):
        table["axes"]["seed"] = list(range(draw(st.integers(1, 2))))
    return table


SCHEMES = [
    {"sharing": ["side", "corner", "none", "weak"], "shared": [1, 2, 0, 1], "private": [1, 0, 2, 1]},
    {"dt": [0.0, 0.01, 0.05], "delay": [0.01, 0.0, 0.0]},
    {"dt": [0.02, 0.05], "v_low": [0.2, 0.1]},
    {"label": ["a", "b"], "initial": ["uniform", "vortex_pair"]},
]
TIMES = st.fixed_dictionaries(
    {"t_end": st.sampled_from([3.0, 25.0])},
    optional={"samples": st.sampled_from([1, 2, 7]), "spacing": st.sampled_from(["linear", "log"]),
              "t_start": st.sampled_from([1.0, 3.0])},
)  # fmt: skip
LATTICES = sweeps(
    "lattice",
    {
        "size": [1, 2, 3, 4, 5, 6],
        "tiling": ["chain", "triangular", "square", "hexagonal"],
        "sharing": ["side", "corner", "none", "weak"],
        "shared": [0, 1, 2],
        "private": [0, 1],
        "boundary": ["periodic", "open"],
        "orientation": ["co", "counter"],
        "combine": ["sum", "mean"],
        "initial": ["pulse", "random", "uniform", "plane_wave", "vortex_pair", "two_half_planes"],
        "delay": [0.0, 0.01, 0.3],
        "dt": [0.0, 0.0, 0.01, 30.0],
        "v_low": [0.05, 0.2, 0.4],
        "graph": ["tiling", "tiling", "tiling", "small_world"],
        "neighbours": [2, 4],
        "size_spread": [0, 0, 0, 1],
    },
    TIMES,
    SCHEMES,
)
DYNAMICS = sweeps(
    "dynamics",
    {
        "size": [1, 2, 5],
        "tiling": ["chain", "triangular", "square", "hexagonal"],
        "sharing": ["side", "corner", "none", "weak"],
        "shared": [0, 1, 2],
        "private": [0, 1],
        "boundary": ["periodic", "open"],
        "initial": ["pulse", "random", "uniform", "vortex_pair"],
        "delay": [0.0, 0.01, 0.3],
        "v_low": [0.05, 0.2, 0.4],
        "slot": [0, 1],
    },
    st.one_of(
        st.fixed_dictionaries({"t_start": st.just(start), "t_end": st.just(end), "samples": st.just(samples)},
                              optional={"twins": st.sampled_from([1, 3])})
        for start, end, samples in ((1.0, 3.0, 5), (30.0, 50.0, 41), (2.0, 42.0, 101))
    ),
    [SCHEMES[0], SCHEMES[3]],
)  # fmt: skip
SMALL_WORLDS = sweeps(
    "lattice",
    {"size": [5, 8], "private": [1, 3], "neighbours": [2, 4], "rewire": [0.0, 0.5], "size_spread": [0, 1],
     "initial": ["pulse", "uniform", "two_half_planes"], "delay": [0.0, 0.01]},
    TIMES,
).map(lambda t: t | {"fixed": t["fixed"] | {"graph": "small_world", "tiling": "chain", "sharing": "weak"}})  # fmt: skip
KURAMOTO = sweeps(
    "kuramoto",
    {
        "size": [2, 3, 5],
        "tiling": ["chain", "triangular", "square", "hexagonal"],
        "boundary": ["periodic", "open"],
        "coupling": [-1.0, 0.0, 1.0],
        "frequencies": ["identical", "normal", "uniform", "lorentz"],
        "width": [0.0, 0.5],
    },
    TIMES,
    [{"coupling": [0.5, 2.0], "width": [0.1, 0.2], "frequencies": ["normal", "lorentz"]}],
)
RINGS = sweeps(
    "rings",
    {
        "ring_size": [2, 3, 5, 9],
        "delay": [0.0, 0.01, 0.5],
        "v_low": [0.1, 0.2, 0.4],
        "v_high": [0.3, 0.49],
        "sampling": ["random", "necklaces"],
        "states": [1, 9, 60],
    },
    st.fixed_dictionaries({"t_end": st.sampled_from([5.0, 200.0])}, optional={"intervals": st.sampled_from([1, 2, 8])}),
    [{"ring_size": [3, 4], "delay": [0.01, 0.1]}],
)
TRAINED = {
    "cell": ["rnn", "gru", "lstm"],
    "n_hidden": [1, 3],
    "length": [5, 9],
    "learning_rate": [0.01, 1e30],
    "loss_on": ["all", "non-null"],
}


def training(**then):
    choices = {"iterations": [4], "heldout": [4], "probe": [1, 2], **then}
    return st.fixed_dictionaries(
        {name: st.sampled_from(values) for name, values in choices.items()},
        optional={"checkpoints": st.sampled_from([1, 2, 4]), "spacing": st.sampled_from(["linear", "log"])},
    )


def flipflops(values, zipped=None, record=None, **fixed):
    drawn = sweeps("flipflop", TRAINED | values, training() if record is None else record, zipped)
    small = {"batch": 3, "length": 5, "n_hidden": 2}
    return drawn.map(lambda t: t | {"fixed": small | t["fixed"] | fixed, "record": {"checkpoints": 2} | t["record"]})


FLIPFLOPS = st.one_of(
    flipflops({"period": [2, 4, 5], "optimizer": ["adam", "sgd", "rmsprop"]}),
    flipflops({"threshold": [1, 3], "p": [0.01, 0.5]}, clock="relative"),
    flipflops({}, [{"label": ["toggle", "lamp"], "automaton": [TOGGLE, LAMP], "learning_rate": [0.01, 0.02]},
                   {"automaton": [LAMP, TOGGLE], "n_hidden": [2, 2]}, {"clock": ["periodic", "relative"]}]),
    flipflops({"automaton": [TOGGLE, LAMP]}),
    flipflops({"then_period": [0, 6, 7], "keep_optimizer": [False, True]},
              record=training(then_iterations=[0, 2, 4]), period=4),
    flipflops({"hold_modulus": [0.0, 0.8], "start_modulus": [0.0, 0.5], "cell": ["rnn"]}),
    flipflops({"optimizer": ["sgd", "rmsprop"], "momentum": [0.0, 0.9], "clip": [0.0, 1.0]}),
)  # fmt: skip


def check(table):
    """Refused by ``parse``, or run, reduced and reported; True where it was accepted."""
    table["fixed"] = {name: value for name, value in table["fixed"].items() if name not in table["axes"]}
    try:
        sweep = parse(table)
    except SweepError:
        return False
    with tempfile.TemporaryDirectory() as folder:
        location = str(Path(folder) / "s.zarr")
        ran = run_serially(location, sweep)
        assert ran == sweep.n_points
        failed = 0
        for group in read(location).groups.values():
            errors = group.bookkeeping["error"][group.status == FAILED]
            failed += len(errors)
            assert all(text.startswith(EXPECTED) for text in errors), (table, list(errors))
        if failed == ran:
            return True
        assert reduce_serially(location) == [], table
        report = report_of(location)
        assert str(report)
        for name, draw in report.figures.items():
            figure = draw()
            figure.savefig(Path(folder) / f"{name}.png", dpi=40)
        assert len(isophase.open(location)["summary"].children) > 0
    return True


@pytest.mark.parametrize(
    ("drawn", "examples"),
    [(LATTICES, 4 * EXAMPLES), (SMALL_WORLDS, EXAMPLES), (KURAMOTO, EXAMPLES), (RINGS, EXAMPLES),
     (DYNAMICS, EXAMPLES), (FLIPFLOPS, EXAMPLES)],
    ids=["lattice", "small world", "kuramoto", "rings", "dynamics", "flipflop"],
)  # fmt: skip
@pytest.mark.timeout(900)
def test_what_is_accepted_is_run_reduced_and_reported(drawn, examples):
    accepted = []

    @settings(max_examples=examples, **SETTINGS)
    @given(drawn)
    def over_sweeps(table):
        accepted.append(check(table))

    over_sweeps()
    assert np.mean(accepted) > 0.1, "too few of the sweeps that were drawn are accepted for this test to say anything"
