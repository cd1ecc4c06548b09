"""Timed automata against an interpreter that is written the slow way, and their base rates against long samples."""

import json
import subprocess
import sys
import tomllib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from isophase.kernels.automata import (
    PeriodicClock,
    RelativeClock,
    TimedAutomaton,
    load_automaton,
    task_from,
    temporal_flipflop,
)

PERIODIC = temporal_flipflop(clock="periodic", period=10)
RELATIVE = temporal_flipflop(clock="relative", threshold=5, p=0.2)
LAMP = """
states = ["off", "dim", "on"]
symbols = ["wait", "press", "reset"]
null = "wait"
initial = "dim"
clock = { kind = "relative", threshold = 3 }
probabilities = { wait = 0.5, press = 0.3, reset = 0.2 }

[theta0]
off = { wait = "off", press = "dim", reset = "off" }
dim = { wait = "dim", press = "on", reset = "off" }
on = { wait = "on", press = "off", reset = "off" }

[theta1]
off = { wait = "off", press = "on", reset = "off" }
dim = { wait = "dim", press = "on", reset = "off" }
on = { wait = "on", press = "off", reset = "off" }
"""


def interpret(table, initial, word, null, period=None, threshold=None):
    """States and Thetas of one word, symbol by symbol, keeping a stopwatch as a person would."""
    state, stopwatch, states, thetas = initial, 0, [], []
    for t, symbol in enumerate(word):
        stopwatch += 1
        late = stopwatch > threshold if period is None else t % period >= period / 2
        state = table[1 if late else 0][state][symbol]
        states.append(state)
        thetas.append(int(late))
        if symbol != null:
            stopwatch = 0
    return states, thetas


@st.composite
def automata(draw):
    n_states, n_symbols = draw(st.integers(2, 4)), draw(st.integers(2, 4))
    row = st.lists(st.integers(0, n_states - 1), min_size=n_symbols, max_size=n_symbols)
    table = draw(st.lists(st.lists(row, min_size=n_states, max_size=n_states), min_size=2, max_size=2))
    relative = draw(st.booleans())
    clock = RelativeClock(draw(st.integers(1, 6))) if relative else PeriodicClock(2 * draw(st.integers(1, 6)))
    null = draw(st.integers(0, n_symbols - 1) if relative else st.none() | st.integers(0, n_symbols - 1))
    weights = draw(st.lists(st.integers(1, 5), min_size=n_symbols, max_size=n_symbols))
    return TimedAutomaton(
        symbols=tuple("abcd"[:n_symbols]),
        states=tuple("wxyz"[:n_states]),
        table=table,
        clock=clock,
        initial=draw(st.integers(0, n_states - 1)),
        null=null,
        probabilities=tuple(weight / sum(weights) for weight in weights),
    )


@settings(deadline=None, max_examples=60)
@given(automata(), st.integers(0, 2**32), st.integers(1, 4), st.integers(1, 30))
def test_trajectories_are_those_of_the_direct_interpreter(task, seed, batch, length):
    sample = task.sample(seed, batch, length)
    for word, targets, theta, inputs in zip(sample.symbols, sample.targets, sample.theta, sample.inputs, strict=True):
        clock = vars(task.clock)
        assert (targets.tolist(), theta.tolist()) == interpret(task.table, task.initial, word, task.null, **clock)
        np.testing.assert_array_equal(inputs.argmax(-1), word)
        assert inputs.sum() == length


@settings(deadline=None, max_examples=30)
@given(automata())
def test_a_table_survives_being_written_and_read(task):
    again = TimedAutomaton.from_table(json.loads(json.dumps(task.to_table())))
    assert again == task
    assert hash(again) == hash(task)


@settings(deadline=None, max_examples=15)
@given(automata(), st.integers(2, 25))
def test_base_accuracy_of_any_automaton_is_that_of_the_most_frequent_answer(task, length):
    sample = task.sample(5, 4000, length)
    dependent = task.time_dependent[sample.symbols]
    answers = np.stack([((sample.targets == state) & dependent).sum(1) for state in range(len(task.states))], 1)
    if not task.time_dependent.any():
        assert np.isnan(task.td_base_accuracy(length))
        return
    total = answers.sum()
    measured = answers.sum(0).max() / total
    best = answers.sum(0).argmax()
    error = np.sqrt(((answers[:, best] - measured * answers.sum(1)) ** 2).sum()) / total
    assert abs(task.td_base_accuracy(length) - measured) < 5 * error + 0.02  # 0.02: another answer may be as frequent


@pytest.mark.parametrize("length", [7, 60])
@pytest.mark.parametrize("task", [PERIODIC, RELATIVE, temporal_flipflop(clock="periodic", period=24)])
def test_base_rates_agree_with_long_samples(task, length):
    sample = task.sample(3, 20_000, length)
    dependent = task.time_dependent[sample.symbols]
    for steps in (np.ones_like(dependent), dependent):
        late, counted = (sample.theta * steps).sum(1), steps.sum(1)
        rate = late.sum() / counted.sum()
        error = np.sqrt(((late - rate * counted) ** 2).sum()) / counted.sum()
        assert abs(rate - task.base_rate(length)) < 4 * error + 1e-12
    assert task.td_base_accuracy(length) == pytest.approx(max(task.base_rate(length), 1 - task.base_rate(length)))


def test_base_rates_in_closed_form():
    assert PERIODIC.base_rate(60) == 0.5
    assert PERIODIC.base_rate(7) == pytest.approx(2 / 7)
    assert RELATIVE.base_rate(60) == pytest.approx(0.8**5 * 55 / 60)
    assert RELATIVE.base_rate(5) == 0


def test_the_temporal_flipflop_answers_a_by_the_clock_and_b_by_zero():
    for task in (PERIODIC, RELATIVE):
        sample = task.sample(0, 50, 60)
        a, b = (sample.symbols == task.symbols.index(name) for name in "ab")
        np.testing.assert_array_equal(sample.targets[a], sample.theta[a])
        assert not sample.targets[b].any()
        assert [task.symbols[i] for i in np.flatnonzero(task.time_dependent)] == ["a"]
        assert [task.symbols[i] for i in np.flatnonzero(task.time_independent)] == ["b"]
    held = sample.symbols[:, 1:] == RELATIVE.null
    np.testing.assert_array_equal(sample.targets[:, 1:][held], sample.targets[:, :-1][held])


def test_a_relative_clock_counts_from_the_symbol_before_and_first_from_the_start():
    quiet, symbol = True, False
    null = np.array([[quiet, quiet, quiet, symbol, symbol, quiet, quiet, symbol, quiet]])
    np.testing.assert_array_equal(RelativeClock(2).theta(null), [[0, 0, 1, 1, 0, 0, 0, 1, 0]])


def test_symbols_have_the_probabilities_given_and_follow_the_seed():
    symbols = RELATIVE.sample(1, 2000, 60).symbols
    shares = np.bincount(symbols.ravel()) / symbols.size
    np.testing.assert_allclose(shares, [0.8, 0.1, 0.1], atol=5 * np.sqrt(0.16 / symbols.size))
    np.testing.assert_array_equal(symbols, RELATIVE.sample(np.random.SeedSequence(1), 2000, 60).symbols)
    assert (symbols != RELATIVE.sample(2, 2000, 60).symbols).any()


def test_an_automaton_is_read_from_a_file(tmp_path):
    path = tmp_path / "lamp.toml"
    path.write_text(LAMP)
    lamp = load_automaton(path)
    assert lamp.table == (((0, 1, 0), (1, 2, 0), (2, 0, 0)), ((0, 2, 0), (1, 2, 0), (2, 0, 0)))
    assert (lamp.initial, lamp.null, lamp.probabilities) == (1, 0, (0.5, 0.3, 0.2))
    assert lamp.clock == RelativeClock(3)
    assert lamp.time_dependent.tolist() == [False, True, False]


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ("initial", "inital", "key 'inital': unknown.*initial"),
        ('initial = "dim"', 'initial = "bright"', "initial='bright'.*off, dim, on"),
        ('null = "wait"', 'null = "pause"', "null='pause'.*wait, press, reset"),
        ('"on", reset = "off" }\ndim', '"up", reset = "off" }\ndim', "theta1.off.press='up'.*off, dim"),
        ('dim = { wait = "dim", press = "on", reset = "off" }\n', "", "state of theta0 'dim': missing"),
        ('off = { wait = "off", press = "dim",', 'off = { wait = "off",', r"symbol of theta0\.off 'press': missing"),
        ('off = { wait = "off",', 'off = { hold = "on", wait = "off",', "symbol of theta0.off 'hold': unknown.*press"),
        ("[theta1]", '[theta1]\nhalf = { wait = "off" }', "state of theta1 'half': unknown"),
        ("threshold = 3", "threshold = 0", "threshold=0.*>= 1"),
        ("threshold = 3", "period = 3", "key of clock 'period': unknown.*threshold"),
        ('"relative", threshold = 3', '"periodic", period = 7', "period=7.*even integer >= 2"),
        ('"relative"', '"lunar"', "kind='lunar'.*periodic, relative"),
        ('null = "wait"\n', "", "null=None: the relative clock needs a null symbol, one of wait"),
        ("wait = 0.5", "wait = 0.6", "must add up to 1"),
        ("wait = 0.5", "wait = -0.5", "wait=-0.5"),
        (", reset = 0.2", "", "symbol of probabilities 'reset': missing"),
        ('["off", "dim", "on"]', '["off", "off", "on"]', "states=.*different"),
        ('["off", "dim", "on"]', '"off"', "states='off'"),
        ("[theta0]", "[theta0", "lamp.toml"),
    ],
)  # fmt: skip
def test_a_bad_file_is_refused_by_path_and_name(tmp_path, old, new, named):
    path = tmp_path / "lamp.toml"
    assert old in LAMP
    path.write_text(LAMP.replace(old, new, 1) if "theta1" not in named else new.join(LAMP.rsplit(old, 1)))
    with pytest.raises(ValueError, match=f"(?s)lamp.toml: .*{named}" if named != "lamp.toml" else named):
        load_automaton(path)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"clock": "daily"}, "clock='daily'.*periodic, relative"),
        ({"clock": "periodic"}, "period=None"),
        ({"clock": "periodic", "period": 5}, "period=5.*even"),
        ({"clock": "periodic", "period": 0}, "period=0.*>= 2"),
        ({"clock": "periodic", "period": 10.0}, "period=10.0.*integer"),
        ({"clock": "periodic", "period": 10, "p": 0.2}, "p=0.2.*period"),
        ({"clock": "relative", "threshold": 5, "p": 0}, "p=0.*<= 1"),
        ({"clock": "relative", "threshold": 5, "p": float("nan")}, "p=nan"),
        ({"clock": "relative", "threshold": -1, "p": 0.1}, "threshold=-1"),
    ],
)
def test_bad_parameters_are_refused_by_name(arguments, named):
    with pytest.raises(ValueError, match=named):
        temporal_flipflop(**arguments)


@pytest.mark.parametrize("name", ["batch", "length"])
def test_an_empty_sample_is_refused(name):
    with pytest.raises(ValueError, match=f"{name}=0: must be an integer >= 1"):
        PERIODIC.sample(0, **({"batch": 1, "length": 1} | {name: 0}))


def test_automata_do_not_need_jax():
    code = "import isophase.kernels.automata, sys; sys.exit('jax' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_parameters_of_a_run_say_its_task_and_an_automaton_of_its_own_comes_first():
    parameters = {"clock": "periodic", "period": 6, "threshold": 3, "p": 0.4, "automaton": None, "n_hidden": 8}
    assert task_from(parameters) == temporal_flipflop("periodic", period=6)
    assert task_from(parameters | {"clock": "relative"}) == temporal_flipflop("relative", threshold=3, p=0.4)
    lamp = tomllib.loads(LAMP)
    assert task_from(parameters | {"automaton": lamp}) == TimedAutomaton.from_table(lamp)
    assert task_from({"automaton": lamp}).clock == RelativeClock(3)
    assert task_from({"clock": "periodic", "period": 6}) == temporal_flipflop("periodic", period=6)
    with pytest.raises(ValueError, match="key 'states': missing"):
        task_from(parameters | {"automaton": {}})
    with pytest.raises(ValueError, match="clock='lunar': must be one of periodic, relative"):
        task_from(parameters | {"clock": "lunar"})
