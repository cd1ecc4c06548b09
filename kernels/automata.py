"""Timed automata: finite automata in discrete time whose transition table depends on a hidden clock Theta(t).

``state(t) = table[Theta(t)][state(t - 1), symbol(t)]``. Time is never among the symbols, so who sees only these has to
keep it. Owns the automata, their reading from a table and the sampling of sequences with their exact answers; who
learns them is elsewhere. Source: DelMastro, Arora, Rietman, Siegelmann, arXiv 2306.07125.
"""

import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

CLOCKS = ("periodic", "relative")
KEYS = ("states", "symbols", "null", "initial", "clock", "probabilities", "theta0", "theta1")
REQUIRED = ("states", "symbols", "clock", "theta0", "theta1")
MAX_LETTERS = 127  # states or symbols; they are kept in 8 bits during training
SUM_TOLERANCE = 1e-9


class Batch(NamedTuple):
    """Sequences with their answers: ``symbols``, ``targets``, ``theta`` int32 [batch, time]; ``inputs`` float32 one-hot
    [batch, time, symbol]. ``targets`` is the state after the step's symbol, ``theta`` the Theta that the step used."""

    symbols: np.ndarray
    inputs: np.ndarray
    targets: np.ndarray
    theta: np.ndarray


@dataclass(frozen=True)
class PeriodicClock:
    """Time of day: Theta is 0 in the first half of every period and 1 in the second; the sequence starts at t = 0."""

    period: int

    def __post_init__(self) -> None:
        if not (_is_integer(self.period) and self.period >= 2 and self.period % 2 == 0):
            raise ValueError(f"period={self.period!r}: must be an even integer >= 2, in steps")
        object.__setattr__(self, "period", int(self.period))

    def theta(self, null: np.ndarray) -> np.ndarray:
        """Theta, int [batch, time], of sequences whose null steps are ``null`` (bool [batch, time])."""
        return np.broadcast_to(self._of_time(null.shape[-1]), null.shape)

    def base_rate(self, length: int, p_null: float) -> float:
        return float(self._of_time(length).mean())

    def _of_time(self, length: int) -> np.ndarray:
        return np.arange(length) % self.period // (self.period // 2)


@dataclass(frozen=True)
class RelativeClock:
    """Theta is 1 once more than ``threshold`` steps have passed since the last non-null symbol before this step.

    A symbol at step t is thus judged by the gap to the previous one, which it then resets. The start of a sequence
    counts as a non-null symbol at step -1: at step t without a symbol before it, t + 1 steps have passed.
    """

    threshold: int

    def __post_init__(self) -> None:
        if not (_is_integer(self.threshold) and self.threshold >= 1):
            raise ValueError(f"threshold={self.threshold!r}: must be an integer >= 1, in steps")
        object.__setattr__(self, "threshold", int(self.threshold))

    def theta(self, null: np.ndarray) -> np.ndarray:
        """Theta, int [batch, time], of sequences whose null steps are ``null`` (bool [batch, time])."""
        time = np.arange(null.shape[-1])
        last = np.maximum.accumulate(np.where(null, -1, time), axis=-1)
        before = np.concatenate([np.full_like(last[..., :1], -1), last[..., :-1]], axis=-1)
        return (time - before > self.threshold).astype(np.int64)

    def base_rate(self, length: int, p_null: float) -> float:
        return p_null**self.threshold * max(length - self.threshold, 0) / length


@dataclass(frozen=True)
class TimedAutomaton:
    """A timed automaton with independent random symbols; immutable and hashable.

    Parameters
    ----------
    symbols, states : names, each once.
    table : next state, as its index, ``[Theta][state][symbol]``.
    clock : what sets Theta.
    initial : index of the state before the first symbol.
    null : index of the symbol that stands for "nothing happens", or None; the relative clock needs one.
    probabilities : of the symbols, independent from step to step; None: all equal.

    Raises
    ------
    ValueError : names the field, its value and what is allowed.
    """

    symbols: tuple[str, ...]
    states: tuple[str, ...]
    table: tuple[tuple[tuple[int, ...], ...], ...]
    clock: PeriodicClock | RelativeClock
    initial: int = 0
    null: int | None = None
    probabilities: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        for name in ("symbols", "states"):
            object.__setattr__(self, name, _names(name, getattr(self, name)))
        shape = (2, len(self.states), len(self.symbols))
        table = np.asarray(self.table)
        if table.shape != shape or table.dtype.kind not in "iu":
            raise ValueError(f"table: must be integers of shape {shape} (Theta, state, symbol), got {table.shape}")
        if table.min() < 0 or table.max() >= len(self.states):
            raise ValueError(f"table: must lie in 0..{len(self.states) - 1}, got {table.min()}..{table.max()}")
        object.__setattr__(self, "table", tuple(tuple(map(tuple, rows)) for rows in table.tolist()))
        if not (_is_integer(self.initial) and 0 <= self.initial < len(self.states)):
            raise ValueError(f"initial={self.initial!r}: must be an index of a state, 0..{len(self.states) - 1}")
        if self.null is not None and not (_is_integer(self.null) and 0 <= self.null < len(self.symbols)):
            raise ValueError(f"null={self.null!r}: must be None or an index of a symbol, 0..{len(self.symbols) - 1}")
        if not isinstance(self.clock, PeriodicClock | RelativeClock):
            raise ValueError(f"clock={self.clock!r}: must be a PeriodicClock or a RelativeClock")
        if isinstance(self.clock, RelativeClock) and self.null is None:
            raise ValueError(f"null=None: the relative clock needs a null symbol, one of {', '.join(self.symbols)}")
        given = self.probabilities or (1 / len(self.symbols),) * len(self.symbols)
        object.__setattr__(self, "probabilities", _distribution(given, self.symbols))

    @classmethod
    def from_table(cls, mapping: Mapping[str, Any]) -> "TimedAutomaton":
        """An automaton from a mapping with names, as :func:`load_automaton` reads it from TOML.

        Raises ValueError for keys that are unknown or missing, and for states and symbols that are.
        """
        _check_keys("key", mapping, KEYS, REQUIRED)
        symbols, states = _names("symbols", mapping["symbols"]), _names("states", mapping["states"])
        table = tuple(_read_table(theta, mapping[theta], states, symbols) for theta in ("theta0", "theta1"))
        probabilities = mapping.get("probabilities")
        if probabilities is not None:
            _check_keys("symbol of probabilities", probabilities, symbols, symbols)
            probabilities = tuple(probabilities[symbol] for symbol in symbols)
        null = mapping.get("null")
        return cls(
            symbols=symbols,
            states=states,
            table=table,
            clock=_read_clock(mapping["clock"]),
            initial=states.index(_member("initial", mapping.get("initial", states[0]), states)),
            null=None if null is None else symbols.index(_member("null", null, symbols)),
            probabilities=probabilities,
        )

    def to_table(self) -> dict[str, Any]:
        """The mapping that :meth:`from_table` takes, ready for JSON or TOML."""
        assert self.probabilities is not None
        kind, value = ("period", "threshold")[isinstance(self.clock, RelativeClock)], vars(self.clock)
        mapping: dict[str, Any] = {"states": list(self.states), "symbols": list(self.symbols)}
        if self.null is not None:
            mapping["null"] = self.symbols[self.null]
        mapping["initial"] = self.states[self.initial]
        mapping["clock"] = {"kind": "periodic" if kind == "period" else "relative", **value}
        mapping["probabilities"] = dict(zip(self.symbols, self.probabilities, strict=True))
        for theta, rows in enumerate(self.table):
            named = [[self.states[state] for state in row] for row in rows]
            mapping[f"theta{theta}"] = {
                state: dict(zip(self.symbols, row, strict=True)) for state, row in zip(self.states, named, strict=True)
            }
        return mapping

    @property
    def time_dependent(self) -> np.ndarray:
        """TD symbols, bool [symbol]: those where the two tables differ in some state."""
        early, late = np.asarray(self.table)
        return (early != late).any(axis=0)

    @property
    def time_independent(self) -> np.ndarray:
        """TI symbols, bool [symbol]: neither TD nor null. The answer to the null symbol is that to the one before."""
        return ~self.time_dependent & (np.arange(len(self.symbols)) != self.null)

    def base_rate(self, length: int) -> float:
        """Expected fraction of steps with Theta = 1 in sequences of ``length`` steps, exactly.

        It is also that of TD steps: a step's symbol says nothing about its Theta. Periodic clock: a count; relative
        clock: ``P(null) ** threshold`` from step ``threshold`` on and 0 before.
        """
        assert self.probabilities is not None
        _check_count("length", length)
        return self.clock.base_rate(length, 0.0 if self.null is None else self.probabilities[self.null])

    def td_base_accuracy(self, length: int) -> float:
        """Accuracy at TD steps of the best constant answer, over sequences of ``length`` steps; NaN without TD symbols.

        Exact: the joint distribution of state and clock is carried from step to step. For a temporal flipflop it is
        ``max(r, 1 - r)`` with r its :meth:`base_rate`.
        """
        assert self.probabilities is not None
        _check_count("length", length)
        probability, dependent = np.asarray(self.probabilities), self.time_dependent
        table = np.asarray(self.table)
        null = np.arange(len(self.symbols)) == self.null
        relative = isinstance(self.clock, RelativeClock)
        longest = self.clock.threshold + 1 if isinstance(self.clock, RelativeClock) else 1
        weight = np.zeros((longest + 1, len(self.states)))  # [steps since the last symbol, state]; longest: or more
        weight[1, self.initial] = 1.0
        answers = np.zeros(len(self.states))
        of_time = self.clock.theta(np.zeros((1, length), bool))[0]
        for t in range(length):
            following = np.zeros_like(weight)
            for passed in range(1, longest + 1):
                theta = int(passed == longest) if relative else of_time[t]
                for symbol, p in enumerate(probability):
                    after = np.bincount(table[theta, :, symbol], p * weight[passed], len(self.states))
                    following[min(passed + 1, longest) if relative and null[symbol] else 1] += after
                    if dependent[symbol]:
                        answers += after
            weight = following
        return float(answers.max() / answers.sum()) if answers.sum() > 0 else math.nan

    def sample(self, seed: int | np.random.SeedSequence, batch: int, length: int) -> Batch:
        """``batch`` random sequences of ``length`` steps; the same seed gives the same sequences."""
        _check_count("batch", batch)
        _check_count("length", length)
        symbols = self.draw(np.random.default_rng(seed), (batch, length))
        targets, theta = self.run(symbols)
        inputs = np.eye(len(self.symbols), dtype=np.float32)[symbols]
        return Batch(symbols.astype(np.int32), inputs, targets.astype(np.int32), theta.astype(np.int32))

    def draw(self, rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
        """Independent random symbols, int8 of ``shape``; one uniform number each, in C order."""
        assert self.probabilities is not None
        uniform = rng.random(shape)
        symbols = np.zeros(shape, np.int8)
        for bound in np.cumsum(self.probabilities)[:-1]:
            symbols += uniform >= bound
        return symbols

    def run(self, symbols: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """State after every step, and the Theta that it used, int8 [batch, time], for ``symbols`` [batch, time]."""
        theta = self.clock.theta(symbols == (-1 if self.null is None else self.null)).astype(np.int8)
        flat = np.asarray(self.table, dtype=np.int8).ravel()
        column = symbols.T.astype(np.intp)
        column += theta.T * np.intp(len(self.states) * len(self.symbols))
        state = np.full(symbols.shape[0], self.initial, np.int8)
        targets = np.empty(column.shape, np.int8)
        for t, offset in enumerate(column):
            state = targets[t] = flat[offset + state * np.intp(len(self.symbols))]
        return targets.T, theta


def temporal_flipflop(
    clock: str, *, period: int | None = None, threshold: int | None = None, p: float | None = None
) -> TimedAutomaton:
    """The temporal flipflop: ``b`` (TI) leads to state 0, ``a`` (TD) to state Theta, from either state.

    Parameters
    ----------
    clock : ``periodic``: ``a`` and ``b`` with probability 1/2 each. ``relative``: there is a null symbol ``phi`` too,
        which holds the state.
    period : of the periodic clock, in steps.
    threshold : of the relative clock, in steps.
    p : probability of a non-null symbol under the relative clock, in (0, 1]; half of it each for ``a`` and ``b``.

    Raises
    ------
    ValueError : an unknown clock, a parameter out of its range, missing, or of the other clock.
    """
    if clock not in CLOCKS:
        raise ValueError(f"clock={clock!r}: must be one of {', '.join(CLOCKS)}")
    needed = {"periodic": ("period",), "relative": ("threshold", "p")}[clock]
    for name, value in {"period": period, "threshold": threshold, "p": p}.items():
        if value is None and name in needed:
            raise ValueError(f"{name}=None: clock={clock!r} needs it")
        if value is not None and name not in needed:
            raise ValueError(f"{name}={value!r}: not a parameter of clock={clock!r}, which takes {', '.join(needed)}")
    if clock == "periodic":
        return TimedAutomaton(
            symbols=("a", "b"),
            states=("0", "1"),
            table=tuple(((theta, 0), (theta, 0)) for theta in (0, 1)),
            clock=PeriodicClock(period),  # type: ignore[arg-type]
            probabilities=(0.5, 0.5),
        )
    if not (isinstance(p, int | float) and 0 < p <= 1):
        raise ValueError(f"p={p!r}: must be > 0 and <= 1")
    return TimedAutomaton(
        symbols=("phi", "a", "b"),
        states=("0", "1"),
        table=tuple(tuple((state, theta, 0) for state in (0, 1)) for theta in (0, 1)),
        clock=RelativeClock(threshold),  # type: ignore[arg-type]
        null=0,
        probabilities=(1 - p, p / 2, p / 2),
    )


def task_from(parameters: Mapping[str, Any]) -> TimedAutomaton:
    """The automaton that the parameters of a training run describe.

    Parameters
    ----------
    parameters : ``automaton``, a table as :meth:`TimedAutomaton.from_table` takes it, or without one (missing or None)
        the temporal flipflop of ``clock``, with ``period``, or ``threshold`` and ``p``. Others are not looked at.

    Raises ValueError where they make no automaton, KeyError where one that is needed is missing.
    """
    if parameters.get("automaton") is not None:
        return TimedAutomaton.from_table(parameters["automaton"])
    if parameters["clock"] == "periodic":
        return temporal_flipflop("periodic", period=parameters["period"])
    return temporal_flipflop(parameters["clock"], threshold=parameters["threshold"], p=parameters["p"])


def load_automaton(path: str | Path) -> TimedAutomaton:
    """The automaton of a TOML file. Left out may be ``null``, ``initial`` (the first state) and ``probabilities``
    (equal)::

        states = ["off", "on"]
        symbols = ["wait", "press"]
        null = "wait"
        initial = "off"
        clock = { kind = "relative", threshold = 5 }     # or { kind = "periodic", period = 10 }
        probabilities = { wait = 0.8, press = 0.2 }

        [theta0]                                         # next states while Theta = 0
        off = { wait = "off", press = "on" }
        on = { wait = "on", press = "off" }

        [theta1]                                         # and while Theta = 1
        off = { wait = "off", press = "on" }
        on = { wait = "on", press = "on" }

    Raises
    ------
    ValueError : with the path, what was found there and what is allowed.
    OSError : the file cannot be read.
    """
    try:
        return TimedAutomaton.from_table(tomllib.loads(Path(path).read_text(encoding="utf-8")))
    except ValueError as error:  # tomllib's and Unicode's are ValueErrors as well
        raise ValueError(f"{path}: {error}") from error


def _is_integer(value: object) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def _check_count(name: str, value: object) -> None:
    if not (_is_integer(value) and value >= 1):  # type: ignore[operator]
        raise ValueError(f"{name}={value!r}: must be an integer >= 1")


def _names(name: str, given: Any) -> tuple[str, ...]:
    if not isinstance(given, list | tuple) or not all(isinstance(part, str) and part for part in given):
        raise ValueError(f"{name}={given!r}: must be a list of names")
    if not 2 <= len(given) <= MAX_LETTERS:
        raise ValueError(f"{name}={list(given)!r}: must be 2 to {MAX_LETTERS} names")
    if len(set(given)) < len(given):
        raise ValueError(f"{name}={list(given)!r}: must be different names")
    return tuple(given)


def _distribution(given: Any, symbols: tuple[str, ...]) -> tuple[float, ...]:
    if len(given) != len(symbols):
        raise ValueError(f"probabilities={given!r}: must be one for each of {', '.join(symbols)}")
    for symbol, p in zip(symbols, given, strict=True):
        if not isinstance(p, int | float | np.floating) or isinstance(p, bool) or not 0 <= p <= 1:
            raise ValueError(f"probabilities: {symbol}={p!r}: must be >= 0 and <= 1")
    if abs(math.fsum(given) - 1) > SUM_TOLERANCE:
        raise ValueError(f"probabilities={given!r}: must add up to 1, not {math.fsum(given)}")
    return tuple(float(p) for p in given)


def _check_keys(what: str, mapping: Any, allowed: tuple[str, ...], required: tuple[str, ...]) -> None:
    if not isinstance(mapping, Mapping):
        raise ValueError(f"{what}: must be a table with {', '.join(allowed)}, got {mapping!r}")
    for key in mapping:
        if key not in allowed:
            raise ValueError(f"{what} {key!r}: unknown, must be one of {', '.join(allowed)}")
    for key in required:
        if key not in mapping:
            raise ValueError(f"{what} {key!r}: missing")


def _member(name: str, value: Any, allowed: tuple[str, ...]) -> str:
    if value not in allowed:
        raise ValueError(f"{name}={value!r}: must be one of {', '.join(allowed)}")
    return value


def _read_table(
    theta: str, rows: Any, states: tuple[str, ...], symbols: tuple[str, ...]
) -> tuple[tuple[int, ...], ...]:
    _check_keys(f"state of {theta}", rows, states, states)
    for state in states:
        _check_keys(f"symbol of {theta}.{state}", rows[state], symbols, symbols)
    return tuple(
        tuple(states.index(_member(f"{theta}.{state}.{symbol}", rows[state][symbol], states)) for symbol in symbols)
        for state in states
    )


def _read_clock(clock: Any) -> PeriodicClock | RelativeClock:
    if not isinstance(clock, Mapping) or clock.get("kind") not in CLOCKS:
        kind = clock.get("kind") if isinstance(clock, Mapping) else clock
        raise ValueError(f"clock: kind={kind!r}: must be one of {', '.join(CLOCKS)}")
    name = {"periodic": "period", "relative": "threshold"}[clock["kind"]]
    _check_keys("key of clock", clock, ("kind", name), ("kind", name))
    return PeriodicClock(clock[name]) if name == "period" else RelativeClock(clock[name])
