"""Whatever a sweep file or a store holds: a sweep, or one line that says what is wrong. No traceback, no hang, and no
file outside the store. `make failure-test` looks much longer than `make test` does.
"""

import contextlib
import copy
import datetime
import json
import os
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st

import isophase
from isophase.flows.cli import main
from isophase.sweeps.store import SUMMARY, StoreError, is_complete, read
from isophase.sweeps.sweep import Sweep, SweepError, from_definition, load, parse, presets
from tests.serial import reduce_serially, run_serially

EXAMPLES = int(os.environ.get("ISOPHASE_FUZZ_EXAMPLES", "100"))
LONGEST = 20.0  # seconds that one answer may take on a busy machine
HYPOTHESIS = {"deadline": None, "suppress_health_check": list(HealthCheck), "phases": [Phase.explicit, Phase.generate]}

AUTOMATON = {
    "states": ["day", "night"],
    "symbols": ["wait", "go"],
    "null": "wait",
    "initial": "day",
    "clock": {"kind": "periodic", "period": 4},
    "probabilities": {"wait": 0.5, "go": 0.5},
    "theta0": {"day": {"wait": "day", "go": "night"}, "night": {"wait": "night", "go": "day"}},
    "theta1": {"day": {"wait": "day", "go": "day"}, "night": {"wait": "night", "go": "night"}},
}
FLIPFLOP_RECORD = {"iterations": 2, "checkpoints": 1, "heldout": 2, "probe": 2}
TABLES = [
    {
        "kind": "lattice",
        "title": "small",
        "seed": 3,
        "axes": {
            "private": [0, 1],
            "delay": {"start": 0.01, "stop": 0.03, "step": 0.01},
            "scheme": {"label": ["a", "b"], "sharing": ["side", "none"], "shared": [1, 1]},
            "seed": {"start": 0, "count": 2},
        },
        "fixed": {"size": 4, "tiling": "square", "v_low": 0.2},
        "record": {"t_end": 5.0, "samples": 2},
    },
    {
        "kind": "kuramoto",
        "axes": {"size": [2, 3], "coupling": [1.0, -0.5]},
        "fixed": {"frequencies": "normal", "width": 0.1},
        "record": {"t_end": 2.0, "samples": 2, "spacing": "log"},
    },
    {
        "kind": "rings",
        "axes": {"ring_size": {"start": 3, "count": 2}},
        "fixed": {"states": 8, "sampling": "random"},
        "record": {"t_end": 50.0},
    },
    {
        "kind": "flipflop",
        "axes": {"period": [4, 6], "seed": {"start": 0, "count": 2}},
        "fixed": {"cell": "gru", "n_hidden": 3, "length": 6, "batch": 2},
        "record": {**FLIPFLOP_RECORD, "then_iterations": 2, "spacing": "log"},
    },
    {
        "kind": "flipflop",
        "axes": {"learning_rate": [0.1, 0.2]},
        "fixed": {"automaton": AUTOMATON, "length": 6, "batch": 2, "n_hidden": 3},
        "record": FLIPFLOP_RECORD,
    },
]


def leaf_texts():
    known = [name for table in TABLES for section in ("axes", "fixed", "record") for name in table[section]]
    tricks = [
        "",
        ".",
        "..",
        "../x",
        "/etc/passwd",
        "a/b",
        "a\\b",
        "zarr.json",
        "c",
        "__class__",
        "label",
        "start",
        "stop",
    ]
    odd = ["step", "count", "\0", "\u202e", "é", "ﬁ", "１", "İ", "status", "summary", "x" * 300, "a\nb", "[red]", "nan"]
    return st.sampled_from([*known, *tricks, *odd]) | st.text(max_size=8)


numbers = (
    st.integers(-3, 70)
    | st.integers()
    | st.sampled_from([2**31, 2**53 + 1, 2**63 - 1, 2**63, 2**64, 2**128, 10**400])
    | st.floats()
    | st.sampled_from([0.0, -0.0, 5e-324, 1e-9, 1e16, 1e300, 1.7e308])
)
when = st.sampled_from(
    [datetime.date(2026, 1, 1), datetime.time(1, 2), datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)]
)
leaves = numbers | leaf_texts() | st.booleans() | when
values = st.recursive(
    leaves, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(leaf_texts(), inner, max_size=4), max_leaves=8
)


def places(node):
    """Every table and list inside, with their keys."""
    found = []
    if isinstance(node, dict):
        found += [(node, key) for key in node]
    elif isinstance(node, list):
        found += [(node, i) for i in range(len(node))]
    for parent, key in list(found):
        found += places(parent[key])
    return found


@st.composite
def mutated_tables(draw):
    table = copy.deepcopy(draw(st.sampled_from(TABLES)))
    for _ in range(draw(st.integers(1, 3))):
        parent, key = draw(st.sampled_from(places(table) or [({}, "")]))
        how = draw(st.sampled_from(["replace", "replace", "delete", "rename", "add", "double"]))
        if how == "replace":
            parent[key] = draw(values)
        elif how == "delete" and parent:
            del parent[key]
        elif how == "rename" and isinstance(parent, dict) and parent:
            parent[draw(leaf_texts())] = parent.pop(key)
        elif how == "add" and isinstance(parent, dict):
            parent[draw(leaf_texts())] = draw(values)
        elif how == "double" and isinstance(parent, list):
            parent.append(copy.deepcopy(parent[key]))
    return table


def answered(question):
    """A sweep, or None where it was refused in one line; anything else fails the test."""
    started, refusal = time.monotonic(), ""
    try:
        sweep = question()
    except SweepError as error:
        sweep, refusal = None, str(error)
    assert len(refusal.splitlines()) == (sweep is None)
    assert time.monotonic() - started < LONGEST
    return sweep


def assert_consistent(sweep):
    """What validation let through can be stored, named, costed and read back."""
    assert isinstance(sweep, Sweep)
    groups = sweep.groups()
    names = [group.name for group in groups]
    assert len(set(names)) == len(names)
    assert all(name == Path(name).name and name not in (".", "..", SUMMARY) for name in names)
    assert sum(group.n_points for group in groups) == sweep.n_points
    assert all(np.isfinite(group.seconds()) and group.nbytes() >= 0 for group in groups)
    assert from_definition(json.loads(json.dumps(sweep.definition()))).definition() == sweep.definition()


def nested(depth):
    inner = {}
    for _ in range(depth):
        inner = {"a": inner}
    return inner


def lists(depth):
    inner = []
    for _ in range(depth):
        inner = [inner]
    return inner


@settings(max_examples=3 * EXAMPLES, **HYPOTHESIS)
@given(table=mutated_tables())
@example({**TABLES[4], "axes": {"automaton": [AUTOMATON, AUTOMATON]}, "fixed": {}})
@example({**TABLES[4], "axes": {"task": {"label": ["a", "b"], "automaton": [AUTOMATON, AUTOMATON]}}, "fixed": {}})
@example({**TABLES[4], "fixed": {"automaton": {**AUTOMATON, "symbols": 3}}})
@example({**TABLES[4], "fixed": {"automaton": {**AUTOMATON, "clock": {"kind": []}}}})
@example({**TABLES[4], "fixed": {"automaton": {**AUTOMATON, "null": datetime.date(2026, 1, 1)}}})
def test_a_table_of_anything_is_a_sweep_or_one_line(table):
    sweep = answered(lambda: parse(table))
    if sweep is not None:
        assert_consistent(sweep)


@pytest.mark.parametrize(
    "section",
    [
        {"seed": 16**5000},
        {"fixed": {"size": -(16**5000)}},
        {"axes": {"seed": {"start": 16**5000, "count": 2}}},
        {"fixed": {"automaton": nested(5000)}},
        {"axes": {"private": lists(5000)}},
    ],
    ids=["seed", "size", "start", "tables", "lists"],
)
def test_what_cannot_even_be_printed_is_refused_by_its_key(section):
    with pytest.raises(SweepError, match=next(iter(section))):
        parse({**TABLES[4], **section})


@st.composite
def mutated_texts(draw):
    text = draw(st.sampled_from([path.read_text(encoding="utf-8") for path in presets().values()]))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(text)))
        upto = min(len(text), at + draw(st.integers(0, 30)))
        insert = draw(
            st.text(max_size=6)
            | st.sampled_from(["[[", "]]", "{", "=", '"""', "'", "\n[axes]\n", "1e999", "nan", "0x" + "f" * 5000])
            | st.just(text[at:upto] * 2)
        )
        text = text[:at] + insert + text[upto:]
    return text.encode("utf-8", "surrogatepass")


@settings(max_examples=EXAMPLES // 2, **HYPOTHESIS)
@given(text=mutated_texts() | st.binary(max_size=200))
@example(b"a." * 20_000 + b"a = 1")
@example(b"a = " + b"[" * 20_000)
@example(b"kind = 'lattice'\nfixed." + b"a." * 300_000 + b"a = 1")
@example(b"#" * 2_000_000)
@example(b"seed = 0x" + b"f" * 50_000)
@example(b"kind = 'lattice'\n[fixed]\nsize = 4\nseed = -0x" + b"f" * 50_000)
def test_a_file_of_anything_is_a_sweep_or_one_line(tmp_path_factory, text):
    path = tmp_path_factory.getbasetemp() / "fuzzed.toml"
    path.write_bytes(text)
    answered(lambda: load(path))


@pytest.mark.parametrize(
    "text",
    [
        "seed = 0x" + "f" * 50_000,
        "fixed." + "a." * 20_000 + "a = 1",
        'kind = "lattice"\n[axes."../outside"]\nprivate = [0, 1]\n[fixed]\nsize = 4\n[record]\nt_end = 1.0',
        'kind = "lattice"\n[axes."a/b"]\nprivate = [0, 1]\n[fixed]\nsize = 4\n[record]\nt_end = 1.0',
    ],
)
def test_a_malicious_file_is_one_line_of_the_command_and_makes_no_file(tmp_path, capsys, text):
    path = tmp_path / "s.toml"
    path.write_text(text)
    assert main(["run", str(path), "--store", str(tmp_path / "s.zarr")]) == 2
    error = capsys.readouterr().err
    assert error.startswith("isophase: error: ")
    assert len(error.splitlines()) == 1
    assert len(error) < 2000
    assert [found.name for found in tmp_path.iterdir()] == ["s.toml"]


STORED = {
    "kind": "lattice",
    "axes": {
        "size": [3, 4],
        "scheme": {"label": ["a", "b"], "private": [0, 1]},
        "seed": {"start": 0, "count": 2},
    },
    "record": {"t_end": 20.0, "samples": 2},
}


@pytest.fixture(scope="module")
def sound_store(tmp_path_factory):
    """A store with a pending shard, so that running it writes."""
    location = tmp_path_factory.mktemp("sound") / "s.zarr"
    run_serially(str(location), parse(STORED), until=lambda number, shard: number == 3)
    return location


small = st.integers(-2, 9) | st.sampled_from([10**5, 2**63, 10**400, -1.5]) | leaf_texts() | st.booleans() | st.none()
stored_values = st.recursive(
    small, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(leaf_texts(), inner, max_size=3), max_leaves=5
)


def texts_of(node):
    """The attributes that hold JSON of their own."""
    found = []
    for parent, key in places(node):
        with contextlib.suppress(TypeError, ValueError):
            found += [(parent, key)] if isinstance(json.loads(parent[key]), dict | list) else []
    return found


def damaged(draw, content):
    """Bytes of a file, cut, spoiled, or, where they are JSON, with some other value in them."""
    how = draw(st.sampled_from(["json", "json", "json", "inner", "inner", "cut", "spoil", "garbage"]))
    if how in ("json", "inner"):
        try:
            node = json.loads(content)
        except ValueError:
            return draw(st.binary(max_size=64))
        inner = texts_of(node) if how == "inner" else []
        if inner:
            parent, key = draw(st.sampled_from(inner))
            text = json.loads(parent[key])
            at, name = draw(st.sampled_from(places(text) or [([0], 0)]))
            at[name] = draw(stored_values)
            parent[key] = json.dumps(text)
        elif found := places(node):
            at, name = draw(st.sampled_from(found))
            if draw(st.booleans()):
                at[name] = draw(stored_values)
            else:
                del at[name]
        return json.dumps(node).encode()
    at = draw(st.integers(0, max(0, len(content) - 1)))
    if how == "cut":
        return content[:at]
    if how == "spoil":
        return content[:at] + draw(st.binary(min_size=1, max_size=4)) + content[at + 1 :]
    return draw(st.binary(max_size=64))


@settings(max_examples=EXAMPLES // 10, **HYPOTHESIS)
@given(data=st.data())
def test_a_store_of_anything_is_read_or_named_in_one_line(tmp_path_factory, sound_store, data):
    folder = tmp_path_factory.getbasetemp() / "fuzzed"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(sound_store, folder / "s.zarr")
    location = str(folder / "s.zarr")
    files = sorted(path for path in (folder / "s.zarr").rglob("*") if path.is_file())
    for _ in range(data.draw(st.integers(1, 2))):
        path = data.draw(st.sampled_from(files))
        how = data.draw(st.sampled_from(["damage", "damage", "damage", "delete", "another's"]))
        if how == "delete":
            path.unlink(missing_ok=True)
        elif how == "another's":
            path.write_bytes(data.draw(st.sampled_from(files)).read_bytes() if all(f.exists() for f in files) else b"")
        elif path.exists():
            path.write_bytes(damaged(data.draw, path.read_bytes()))
    for use in (
        lambda: isophase.open(location),
        lambda: read(location).count(),
        lambda: is_complete(location, parse(STORED)),
        lambda: reduce_serially(location),
        lambda: main(["status", location]),
        lambda: run_serially(location, parse(STORED)),
    ):
        started, lines = time.monotonic(), [location]
        try:
            use()
        except (StoreError, SweepError) as error:
            lines = str(error).splitlines()
        assert len(lines) == 1 or "contradicts this one" in lines[0]
        assert location in lines[0] or " in the sweep" in lines[0]
        assert time.monotonic() - started < LONGEST
    assert [path.name for path in folder.iterdir()] == ["s.zarr"]


@pytest.mark.parametrize("shard", [[{"a": 1}, 1], [1], [0, 1], 3, [True, 1], ["1", 1]])
def test_a_group_whose_shards_have_no_shape_is_named(tmp_path, sound_store, shard):
    location = tmp_path / "s.zarr"
    shutil.copytree(sound_store, location)
    file = location / "square-3" / "zarr.json"
    metadata = json.loads(file.read_text())
    metadata["attributes"]["shard"] = json.dumps(shard)
    file.write_text(json.dumps(metadata))
    with pytest.raises(StoreError, match=r"s\.zarr: square-3/zarr\.json is damaged or missing"):
        run_serially(str(location), parse(STORED))
