"""What a sweep file may say, and what a wrong one is answered."""

import hashlib
import json
import tomllib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from isophase.sweeps.kinds import BUILT_IN, kind_named
from isophase.sweeps.seeds import point_seed
from isophase.sweeps.sweep import SweepError, from_definition, load, parse, presets

MINIMAL = {"kind": "lattice", "fixed": {"size": 4}, "record": {"t_end": 10.0}}


def sweep_with(**sections):
    return parse({**MINIMAL, **sections}, where="x.toml")


@pytest.mark.parametrize("name", presets())
def test_every_preset_is_valid_and_names_its_cost(name):
    sweep = load(name)
    assert sweep.n_points > 0
    assert sweep.title
    assert "on 2 cores" in sweep.cost


def test_points_of_one_shape_share_a_group_and_other_shapes_are_siblings():
    sweep = sweep_with(fixed={}, axes={"size": [4, 6], "private": [0, 1, 2], "seed": {"start": 0, "count": 3}})
    groups = {group.name: group for group in sweep.groups()}
    assert sorted(groups) == ["square-4", "square-6"]
    assert [axis.name for axis in groups["square-4"].axes] == ["private", "seed"]
    assert sum(group.n_points for group in groups.values()) == sweep.n_points == 18


def test_a_zipped_axis_moves_its_parameters_together():
    sweep = sweep_with(axes={"scheme": {"label": ["a", "b"], "private": [0, 2], "orientation": ["co", "counter"]}})
    (group,) = sweep.groups()
    points = [group.point((i,)) for i in range(2)]
    assert [(p.private, p.orientation) for p in points] == [(0, "co"), (2, "counter")]


def test_a_zipped_axis_that_carries_a_shape_parameter_is_cut_by_it():
    sweep = sweep_with(fixed={}, axes={"case": {"label": ["a", "b", "c"], "size": [4, 6, 4], "private": [0, 1, 2]}})
    groups = {group.name: group for group in sweep.groups()}
    assert {name: group.axes[0].labels for name, group in groups.items()} == {
        "square-4": ("a", "c"),
        "square-6": ("b",),
    }


def test_ranges_hold_the_values_that_a_reader_expects():
    sweep = sweep_with(axes={"delay": {"start": 0.1, "stop": 0.3, "step": 0.1}, "seed": {"start": 5, "count": 2}})
    assert [axis.labels for axis in sweep.axes] == [(0.1, 0.2, 0.3), (5, 6)]


@pytest.mark.parametrize(
    ("change", "names"),
    [
        ({"kind": "latice"}, ["kind='latice'", "lattice"]),
        ({"kind": 3}, ["kind=3"]),
        ({"kind": "kuramoto", "fixed": {"size": 4, "coupling": 1e7}}, ["coupling=10000000.0", "1000000"]),
        ({"kind": "kuramoto", "fixed": {"size": 4, "width": 1e7}}, ["width=10000000.0", "1000000"]),
        ({"kind": "kuramoto", "fixed": {"size": 10**6}}, ["square-1000000", "bytes of memory"]),
        ({"kind": "rings", "fixed": {"ring_size": 4, "v_low": 1e-300}}, ["v_low=1e-300", "0.000001"]),
        ({"fixed": {"size": 4, "v_low": 1e-300}}, ["v_low=1e-300", "0.000001"]),
        ({"fixed": {"size": 4, "dt": 1e-300}}, ["dt=1e-300", "0 or at least 1e-06"]),
        (
            {"fixed": {"size": 10_000}, "record": {"t_end": 9.0, "samples": 100_000}},
            ["square-10000", "bytes of memory", "this machine"],
        ),
        ({"fixed": {"size": 10**400}}, ["size=1", "below 2**63"]),
        ({"fixed": {"size": True}}, ["size=True", "integer"]),
        ({"fixed": {"size": 4, "delay": "0.1"}}, ["delay='0.1'", "number"]),
        ({"fixed": {"size": 4, "delay": 10**400}}, ["delay=1", "number"]),
        ({"fixed": {"size": 4, "seed": 2**63}}, ["seed=9223372036854775808", "less than"]),
        ({"fixed": {}, "axes": {"size": {"start": 3, "count": 1001}}}, ["1,001 shapes", "at most 1,000"]),
        ({"fixed": {}, "axes": {"size": {"start": 3}}}, ["axes.size", "{start, count} or {start, stop, step}"]),
        ({"axes": {"private": ["1", "01"]}}, ["private='1'", "integer"]),
        ({"axes": {"delay": ["0.1", "0.10"]}}, ["delay='0.1'", "number"]),
        ({"axes": {"delay": [2**53, 2**53 + 1]}}, ["axes.delay", "twice"]),
        ({"axes": {"delay": {"start": 0.0, "stop": 1e308, "step": 1e-308}}}, ["axes.delay", "stop=1e+308", "2**63"]),
        ({"axes": {"delay": {"start": 0.0, "stop": 1e18, "step": 1e-308}}}, ["axes.delay", "at most 1,000,000"]),
        ({"axes": {"delay": {"start": 0, "stop": 10**400, "step": 1}}}, ["axes.delay", "stop=1", "2**63"]),
        ({"axes": {"seed": {"start": 10**400, "count": 2}}}, ["axes.seed", "start=1", "2**63"]),
        ({"axes": {"case": {"label": [True, 2], "private": [0, 1]}}}, ["axes.case", "all numbers"]),
        ({"axes": {"case": {"label": [1, 2**63], "private": [0, 1]}}}, ["axes.case=9223372036854775808", "2**63 - 1"]),
        ({"axes": {"case": {"seed": [0, 1], "private": [0, 1]}}}, ["axes.case.seed", "an axis of its own"]),
        (
            {"fixed": {}, "axes": {"case": {"label": ["a", "b"], "size": [4, 4]}}},
            ["axes.case", "2 positions are 1 points", "must differ in size"],
        ),
        *(
            ({"axes": {name: {"private": [1, 2]}}}, [f"axes.{name}", "named like"])
            for name in (
                "delay",
                "phase",
                "row",
                "n_switches",
                "status",
                "distance",
                "state",
                "summary",
                "xi_fit_error",
            )
        ),
        ({"axis": {}}, ["axis", "did you mean 'axes'"]),
        ({"seed": -1}, ["seed=-1", "0 to 2**128 - 1"]),
        ({"fixed": {"size": 4, "prvate": 1}}, ["fixed.prvate", "did you mean 'private'"]),
        ({"fixed": {"size": 4, "private": -1}}, ["private=-1", "greater than or equal to 0"]),
        ({"fixed": {"size": 4, "private": "two"}}, ["private='two'", "integer"]),
        ({"fixed": {"size": 4, "delay": float("nan")}}, ["delay=nan", "finite"]),
        ({"fixed": {"size": 4, "v_high": 0.1}}, ["v_low=0.2", "v_high=0.1"]),
        ({"fixed": {"size": 4, "tiling": "pentagonal"}}, ["tiling='pentagonal'", "square"]),
        ({"fixed": {}}, ["size", "must be given"]),
        ({"record": {}}, ["t_end", "must be given"]),
        ({"record": {"t_end": 5.0, "sample": 3}}, ["sample", "did you mean 'samples'"]),
        ({"record": {"t_end": 5.0, "t_start": 6.0}}, ["t_start=6.0", "t_end=5.0"]),
        ({"axes": {"private": []}}, ["axes.private", "at least one value"]),
        ({"axes": {"private": [0, 1, 0]}}, ["axes.private", "twice"]),
        ({"axes": {"private": [0, "x"]}}, ["axes.private"]),
        ({"axes": {"private": 3}}, ["axes.private", "list"]),
        ({"axes": {"size": [4, 6]}}, ["size", "fixed", "axes.size"]),
        ({"axes": {"seed": {"start": 0, "count": 10**12}}}, ["axes.seed", "1,000,000"]),
        (
            {"axes": {"seed": {"start": 0, "count": 5000}, "private": {"start": 0, "count": 5000}}},
            ["25,000,000 points"],
        ),
        ({"axes": {"seed": {"start": 0, "stop": 5, "step": 0}}}, ["axes.seed", "step=0"]),
        ({"axes": {"delay": {"start": 0.0, "stop": float("inf"), "step": 0.1}}}, ["axes.delay", "stop=inf"]),
        ({"axes": {"case": {"private": [1, 2], "shared": [1]}}}, ["axes.case", "equal length"]),
        ({"axes": {"time": {"private": [1, 2]}}}, ["axes.time"]),
        ({"fixed": {"size": 4, "shared": 0}}, ["shared=0"]),
    ],
)
def test_a_wrong_sweep_is_refused_by_key_value_and_what_is_allowed(change, names):
    with pytest.raises(SweepError) as refusal:
        sweep_with(**change)
    for name in names:
        assert name in str(refusal.value)
    assert "x.toml" in str(refusal.value)


@pytest.mark.parametrize(
    ("axes", "message"),
    [
        ({"delay": [0.1, 0.2, -0.5, -1.0]}, "delay=-0.5 in axes.delay of x.toml: must be greater than or equal to 0"),
        ({"delay": [0.1, 2, "0.3"]}, "axes.delay in x.toml: labels must be all numbers, all text or all truth values"),
        ({"private": [0, 1, 1.5]}, "private=1.5 in axes.private of x.toml: must be a valid integer"),
        ({"pair": {"private": [1, 2], "shared": [1, 2**63]}},
         "shared=9223372036854775808 in axes.pair of x.toml: must be below 2**63"),
        ({"pair": {"private": [1, 2, 3], "boundary": ["open", "open", "ajar"]}},
         "boundary='ajar' in axes.pair of x.toml: must be 'periodic' or 'open'"),
    ],
)  # fmt: skip
def test_a_wrong_value_is_named_wherever_on_its_axis_it_stands(axes, message):
    with pytest.raises(SweepError) as refused:
        sweep_with(axes=axes)
    assert str(refused.value) == message


@pytest.mark.parametrize("kind", [kind_named(name) for name in BUILT_IN], ids=BUILT_IN)
def test_every_parameter_is_checked_by_its_field_alone(kind):
    """The values of a long axis are checked by their field, without the model; combinations are for ``check``."""
    decorators = kind.parameters.__pydantic_decorators__
    assert not decorators.validators
    assert not decorators.field_validators
    assert not decorators.model_validators
    assert not decorators.root_validators
    assert not decorators.field_serializers
    assert not decorators.model_serializers


def test_the_kind_must_be_given():
    with pytest.raises(SweepError, match=r"kind in x\.toml: must be given: one of lattice, "):
        parse({"fixed": {"size": 4}}, where="x.toml")


def test_a_file_may_begin_with_a_byte_order_mark(tmp_path):
    path = tmp_path / "marked.toml"
    path.write_bytes(b"\xef\xbb\xbf" + b'kind = "lattice"\nfixed = {size = 4}\nrecord = {t_end = 10}\n')
    assert load(path).record.t_end == 10.0


def test_an_integer_of_thousands_of_digits_is_refused(tmp_path):
    path = tmp_path / "long.toml"
    path.write_text(f"seed = {'9' * 5000}\n")
    with pytest.raises(SweepError, match=r"long\.toml: not valid TOML"):
        load(path)


def zipped(**columns):
    (axis,) = sweep_with(axes={"case": columns}).axes
    return axis


def test_labels_of_whole_and_broken_numbers_are_all_floats():
    assert [type(label) for label in zipped(label=[1, 2.5], private=[0, 1]).labels] == [float, float]


def test_an_extended_zipped_axis_keeps_its_parameters_by_name():
    stored = zipped(label=["a"], private=[1], shared=[2])
    axis = stored.union(zipped(label=["b"], shared=[3], private=[4]))
    assert axis.at(0) == {"private": 1, "shared": 2}
    assert axis.at(1) == {"private": 4, "shared": 3}


@pytest.mark.parametrize(
    ("stored", "more", "allowed"),
    [
        (1, "x", "integers"),
        (1, 2.5, "integers"),
        (0.5, 2, "numbers with a fraction"),
        ("x", 1, "text"),
        (True, 2, "truth"),
    ],
)
def test_an_axis_is_extended_by_labels_of_its_own_kind_alone(stored, more, allowed):
    with pytest.raises(SweepError, match=rf"axes\.case={more!r} in the sweep: labels must be {allowed}"):
        zipped(label=[stored], private=[1]).union(zipped(label=[more], private=[2]))


def test_a_file_that_is_not_there_or_not_toml_is_named(tmp_path):
    with pytest.raises(SweepError, match="did you mean 'quickstart'"):
        load("quickstat")
    bad = tmp_path / "bad.toml"
    bad.write_text("kind = [")
    with pytest.raises(SweepError, match=r"bad\.toml: not valid TOML"):
        load(bad)
    bad.write_bytes(b"\xff\xfe")
    with pytest.raises(SweepError, match=r"bad\.toml"):
        load(bad)


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
keys = st.sampled_from(
    ["kind", "seed", "axes", "fixed", "record", "title", "size", "private", "start", "count", "label"]
)


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(keys, values | st.dictionaries(keys, values, max_size=4), max_size=5))
def test_whatever_a_file_holds_it_is_valid_or_refused(table):
    try:
        sweep = parse({**MINIMAL, **table})
    except SweepError:
        return
    assert sweep.n_points >= 1


grids = st.fixed_dictionaries(
    {},
    optional={
        "size": st.lists(st.integers(3, 9), min_size=1, max_size=3, unique=True),
        "private": st.lists(st.integers(0, 9), min_size=1, max_size=3, unique=True),
        "delay": st.lists(st.floats(0.001, 1), min_size=1, max_size=3, unique=True),
        "orientation": st.lists(st.sampled_from(["co", "counter"]), min_size=1, max_size=2, unique=True),
        "seed": st.builds(lambda a, n: {"start": a, "count": n}, st.integers(0, 99), st.integers(1, 4)),
    },
)


@settings(max_examples=50, deadline=None)
@given(grids, st.integers(0, 2**128 - 1))
def test_a_definition_stands_for_the_same_sweep(axes, seed):
    fixed = {} if "size" in axes else {"size": 8}
    fixed |= {"boundary": "open"}
    sweep = sweep_with(axes=axes, fixed=fixed, seed=seed)
    assert from_definition(tomllib.loads("") | sweep.definition()) == sweep


def test_the_random_stream_of_a_point_depends_on_the_point_alone():
    as_axes = sweep_with(fixed={}, axes={"seed": [3, 4], "private": [1, 2], "size": [4, 8]})
    as_fixed = sweep_with(fixed={"size": 8, "private": 2, "seed": 4})
    one = next(g.point((1, 1)) for g in as_axes.groups() if g.name == "square-8")
    other = as_fixed.groups()[0].point(())
    assert (
        point_seed(1, "lattice", one).generate_state(4).tolist()
        == point_seed(1, "lattice", other).generate_state(4).tolist()
    )


def test_points_have_streams_of_their_own():
    sweep = sweep_with(fixed={}, axes={"size": [4, 8], "private": [0, 1, 2], "seed": {"start": 0, "count": 10}})
    states = [
        tuple(point_seed(sweep_seed, "lattice", group.point(index)).generate_state(2))
        for sweep_seed in (0, 1)
        for group in sweep.groups()
        for index in np.ndindex(group.shape)
    ]
    assert len(set(states)) == len(states) == 120


def stream(**values):
    kind = kind_named("lattice")
    return tuple(point_seed(7, "lattice", kind.parameters.model_validate({"size": 8, **values})).generate_state(2))


def test_one_realisation_is_followed_under_every_delay_threshold_and_step():
    plain = stream()
    assert stream(delay=0.0) == stream(delay=-0.0) == stream(delay=0.1) == plain
    assert stream(dt=0.001) == stream(v_high=0.5) == stream(v_low=0.1) == plain
    assert stream(coupling=0.3) == plain  # nothing has that weight
    assert stream(sharing="weak", coupling=0.3) != stream(sharing="weak")
    assert stream(sharing="weak", coupling=0.0) == stream(sharing="weak", coupling=-0.0)
    assert stream(private=2) != plain
    assert stream(initial="random") != plain


def test_older_stores_keep_their_streams():
    kind = kind_named("lattice")
    point, other = (kind.parameters.model_validate({"size": 8, "delay": delay}) for delay in (0.01, 0.02))
    old = [tuple(point_seed(7, "lattice", p, streams=1).generate_state(2)) for p in (point, other)]
    assert old[0] != old[1]
    text = json.dumps(["lattice", {"delay": 0.02, "seed": 0, "size": 8}], sort_keys=True, separators=(",", ":"))
    words = np.frombuffer(hashlib.sha256(text.encode()).digest(), dtype="<u4").tolist()
    assert old[1] == tuple(np.random.SeedSequence(7, spawn_key=words).generate_state(2))
