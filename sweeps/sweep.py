"""A sweep: the TOML file that declares it, its validation, and the grid of points that it stands for.

The store (``sweeps.store``) decides what of the grid is still to run; kinds (``sweeps.kinds``) know what a point is.
"""

import difflib
import itertools
import json
import math
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from sweeps.kinds import KINDS, Kind, Parameters, Record

MAX_POINTS = 1_000_000  # the status of a group is held in memory by the flow, and a million is 11 days at one a second
SECTIONS = ("kind", "title", "cost", "seed", "axes", "fixed", "record")


class SweepError(ValueError):
    """A sweep that cannot run: the message names the key, the value and what is allowed."""


@dataclass(frozen=True)
class Axis:
    """One axis of the grid: its labels, and the value of each of its parameters at every position.

    A plain axis moves one parameter and is labelled by its values. A zipped axis moves several together.
    """

    name: str
    labels: tuple[Any, ...]
    values: tuple[tuple[str, tuple[Any, ...]], ...]

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def parameters(self) -> tuple[str, ...]:
        return tuple(name for name, _ in self.values)

    def at(self, position: int) -> dict[str, Any]:
        return {name: values[position] for name, values in self.values}

    def take(self, positions: list[int]) -> "Axis":
        values = tuple((name, tuple(values[i] for i in positions)) for name, values in self.values)
        return Axis(self.name, tuple(self.labels[i] for i in positions), values)

    def union(self, other: "Axis") -> "Axis":
        """This axis, then the positions of ``other`` whose labels it lacks."""
        known = {label: position for position, label in enumerate(self.labels)}
        for position, label in enumerate(other.labels):
            if label in known and self.at(known[label]) != other.at(position):
                raise SweepError(
                    f"axes.{self.name}: label {label!r} stands for {self.at(known[label])} in the store and for "
                    f"{other.at(position)} in the sweep; give the new position a label of its own"
                )
        new = other.take([i for i, label in enumerate(other.labels) if label not in known])
        values = tuple((name, have + more) for (name, have), (_, more) in zip(self.values, new.values, strict=True))
        return Axis(self.name, self.labels + new.labels, values)

    def to_json(self) -> dict[str, Any]:
        return {"name": self.name, "labels": list(self.labels), "values": {n: list(v) for n, v in self.values}}

    @classmethod
    def from_json(cls, text: Mapping[str, Any]) -> "Axis":
        values = tuple((name, tuple(values)) for name, values in text["values"].items())
        return cls(text["name"], tuple(text["labels"]), values)


@dataclass(frozen=True)
class Group:
    """The points of one shape: grid axes, and the parameters that all of its points have in common."""

    kind: Kind
    name: str
    axes: tuple[Axis, ...]
    fixed: Mapping[str, Any]
    record: Record

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(len(axis) for axis in self.axes)

    @property
    def n_points(self) -> int:
        return math.prod(self.shape)

    def point(self, index: tuple[int, ...]) -> Parameters:
        values = dict(self.fixed)
        for axis, position in zip(self.axes, index, strict=True):
            values |= axis.at(position)
        return self.kind.parameters.model_validate(values)

    def first(self) -> Parameters:
        return self.point((0,) * len(self.axes))

    def nbytes(self) -> int:
        """Bytes that the group's recorded arrays take before compression."""
        return self.n_points * sum(v.nbytes for v in self.kind.variables(self.first(), self.record).values())

    def seconds(self) -> float:
        """Estimated time of all points on one core."""
        return sum(
            self.kind.estimate(self.point(index), self.record) * repeats for index, repeats in self.distinct_points()
        )

    def distinct_points(self) -> Iterator[tuple[tuple[int, ...], int]]:
        """Index of one point of each combination that differs in more than the seed, and how many it stands for."""
        ranges = [range(1) if axis.parameters == ("seed",) else range(len(axis)) for axis in self.axes]
        repeats = math.prod(len(axis) for axis in self.axes if axis.parameters == ("seed",))
        for index in itertools.product(*ranges):
            yield index, repeats


@dataclass(frozen=True)
class Sweep:
    """A validated sweep. ``groups`` are its points, gathered by the shape of what they record."""

    name: str
    kind: Kind
    title: str
    cost: str
    seed: int
    axes: tuple[Axis, ...]
    fixed: Mapping[str, Any]
    record: Record

    @property
    def n_points(self) -> int:
        return math.prod(len(axis) for axis in self.axes)

    def groups(self) -> list[Group]:
        """Axes that carry shape parameters are cut by them; an axis of nothing else leaves the group's dimensions."""
        shaping = set(self.kind.shape_parameters)
        cuts: list[list[tuple[dict[str, Any], Axis | None]]] = []
        for axis in self.axes:
            if not shaping & set(axis.parameters):
                cuts.append([({}, axis)])
                continue
            positions: dict[str, list[int]] = {}
            for i in range(len(axis)):
                key = {name: value for name, value in axis.at(i).items() if name in shaping}
                positions.setdefault(json.dumps(key), []).append(i)
            if set(axis.parameters) <= shaping:
                cuts.append([(axis.at(i[0]), None) for i in positions.values()])
            else:
                cuts.append([({}, axis.take(i)) for i in positions.values()])
        groups = []
        for combination in itertools.product(*cuts):
            fixed = dict(self.fixed)
            for values, _ in combination:
                fixed |= values
            group = Group(self.kind, "", tuple(axis for _, axis in combination if axis), fixed, self.record)
            groups.append(Group(self.kind, self.kind.group_name(group.first()), group.axes, fixed, self.record))
        return groups

    def definition(self) -> dict[str, Any]:
        """The sweep as plain values: what the store keeps, and what a flow run is given."""
        return {
            "name": self.name,
            "kind": self.kind.name,
            "title": self.title,
            "cost": self.cost,
            "seed": self.seed,
            "axes": [axis.to_json() for axis in self.axes],
            "fixed": dict(self.fixed),
            "record": self.record.model_dump(mode="json"),
        }


def presets() -> dict[str, Path]:
    """Path of every preset that comes with the package, by name."""
    folder = Path(str(resources.files("sweeps.presets")))
    return {path.stem: path for path in sorted(folder.glob("*.toml"))}


def load(source: str | Path) -> Sweep:
    """Read and validate a sweep: the path of a TOML file, or the name of a preset.

    Raises
    ------
    SweepError : for anything in it that cannot run, before anything runs.
    """
    known = presets()
    path = known.get(str(source), Path(source))
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError, ValueError) as error:
        near = _nearest(str(source), known)
        raise SweepError(f"sweep {str(source)!r}: neither a readable file ({error}) nor a preset{near}") from None
    try:
        table = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise SweepError(f"{path}: not valid TOML: {error or 'nested too deeply'}") from None
    return parse(table, name=path.stem, where=path.name)


def parse(table: Mapping[str, Any], name: str = "sweep", where: str = "the sweep") -> Sweep:
    """Validate a sweep given as the table that a TOML file holds. See :func:`load`."""
    unknown = set(table) - set(SECTIONS)
    if unknown:
        key = sorted(unknown)[0]
        raise SweepError(f"{key} in {where}: unknown key{_nearest(key, SECTIONS)}")
    kind = KINDS.get(table["kind"]) if isinstance(table.get("kind"), str) else None
    if kind is None:
        raise SweepError(f"kind={table.get('kind')!r} in {where}: must be one of {', '.join(KINDS)}")
    seed = table.get("seed", 0)
    if not isinstance(seed, int) or isinstance(seed, bool) or not 0 <= seed < 2**128:
        raise SweepError(f"seed={seed!r} in {where}: must be an integer from 0 to 2**128 - 1")
    for section in ("axes", "fixed", "record"):
        if not isinstance(table.get(section, {}), Mapping):
            raise SweepError(f"{section} in {where}: must be a table")
    for section in ("title", "cost"):
        if not isinstance(table.get(section, ""), str):
            raise SweepError(f"{section} in {where}: must be text")

    axes = tuple(_axis(key, value, kind, where) for key, value in table.get("axes", {}).items())
    fixed = dict(table.get("fixed", {}))
    owners: dict[str, str] = dict.fromkeys(fixed, "fixed")
    for axis in axes:
        for parameter in axis.parameters:
            if parameter in owners:
                raise SweepError(f"{parameter} in {where}: set both in {owners[parameter]} and in axes.{axis.name}")
            owners[parameter] = f"axes.{axis.name}"
    for parameter in fixed:
        _known_parameter(parameter, kind, f"fixed.{parameter} in {where}")
    n_points = math.prod(len(axis) for axis in axes)
    if n_points > MAX_POINTS:
        raise SweepError(f"axes in {where}: {n_points:,} points; a sweep has at most {MAX_POINTS:,}")

    record = _validated(kind.record, dict(table.get("record", {})), f"in record of {where}")
    fixed, axes = _validated_values(kind, fixed, axes, where)
    sweep = Sweep(name, kind, table.get("title", ""), table.get("cost", ""), seed, axes, fixed, record)
    try:
        kind.check_record(record)
        for group in sweep.groups():
            for index, _ in group.distinct_points():
                kind.check(group.point(index))
    except ValueError as error:
        raise SweepError(f"{error} (in {where})") from None
    return sweep


def from_definition(definition: Mapping[str, Any]) -> Sweep:
    """The sweep whose :meth:`Sweep.definition` this is."""
    table = {key: definition[key] for key in ("kind", "title", "cost", "seed", "fixed", "record")}
    table["axes"] = {axis["name"]: {"label": axis["labels"], **axis["values"]} for axis in definition["axes"]}
    return parse(table, name=definition["name"], where=f"sweep {definition['name']}")


def _axis(name: str, value: Any, kind: Kind, where: str) -> Axis:
    labels: Any
    at = f"axes.{name} in {where}"
    if isinstance(value, list):
        _known_parameter(name, kind, at)
        values = {name: value}
        labels = value
    elif isinstance(value, Mapping) and set(value) in ({"start", "count"}, {"start", "stop", "step"}):
        _known_parameter(name, kind, at)
        labels = _range(value, at)
        values = {name: labels}
    elif isinstance(value, Mapping):
        values = {key: v for key, v in value.items() if key != "label"}
        for parameter, entries in values.items():
            _known_parameter(parameter, kind, f"axes.{name}.{parameter} in {where}")
            if not isinstance(entries, list):
                raise SweepError(f"axes.{name}.{parameter}={entries!r} in {where}: must be a list")
        if not values:
            raise SweepError(f"{at}: a zipped axis needs at least one parameter with its list of values")
        if not isinstance(value.get("label", []), list):
            raise SweepError(f"axes.{name}.label={value['label']!r} in {where}: must be a list")
        lengths = {key: len(entries) for key, entries in value.items()}
        if len(set(lengths.values())) > 1:
            raise SweepError(f"{at}: zipped lists must have equal length, got {lengths}")
        rows = zip(*values.values(), strict=True)
        labels = value.get("label") or [", ".join(f"{k}={v}" for k, v in zip(values, row, strict=True)) for row in rows]
    else:
        raise SweepError(
            f"{at}: {value!r} must be a list, a range {{start, count}} or {{start, stop, step}}, "
            "or a table of zipped lists"
        )
    if not labels:
        raise SweepError(f"{at}: must have at least one value")
    if not (name.isidentifier() and name not in ("status", "error", "wall_time", "time", "row", "col")):
        raise SweepError(f"{at}: an axis is named by letters, digits and _ and not like a recorded variable")
    for label in labels:
        if not isinstance(label, str | int | float | bool) or (isinstance(label, float) and not math.isfinite(label)):
            raise SweepError(f"axes.{name}={label!r} in {where}: must be a finite number, text or a truth value")
    if len({type(label) for label in labels} - {int, float}) > 1 or (
        any(isinstance(label, str) for label in labels) and not all(isinstance(label, str) for label in labels)
    ):
        raise SweepError(f"{at}: labels must be all numbers or all text")
    doubled = [label for i, label in enumerate(labels) if label in labels[:i]] if len(labels) < 1000 else []
    if doubled or len(set(labels)) < len(labels):
        raise SweepError(f"{at}: value {doubled[0] if doubled else '(one of them)'!r} stands there twice")
    return Axis(name, tuple(labels), tuple((key, tuple(v)) for key, v in values.items()))


def _range(table: Mapping[str, Any], at: str) -> list[Any]:
    for key, value in table.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise SweepError(f"{at}: {key}={value!r} must be a finite number")
    start = table["start"]
    if "count" in table:
        count, step = table["count"], 1
        if not isinstance(count, int) or count < 1:
            raise SweepError(f"{at}: count={count!r} must be an integer of at least 1")
    else:
        step = table["step"]
        if step == 0 or (table["stop"] - start) / step < 0:
            raise SweepError(f"{at}: step={step!r} does not lead from start={start!r} to stop={table['stop']!r}")
        count = math.floor((table["stop"] - start) / step * (1 + 1e-12)) + 1
    if count > MAX_POINTS:
        raise SweepError(f"{at}: {count:,} values; a sweep has at most {MAX_POINTS:,} points")
    # 12 digits: 0.1 + 2 * 0.1 is the value 0.3 that a reader of the file means
    return [
        float(f"{start + i * step:.12g}") if isinstance(start + step, float) else start + i * step for i in range(count)
    ]


def _known_parameter(name: str, kind: Kind, at: str) -> None:
    if name not in kind.parameters.model_fields:
        raise SweepError(
            f"{at}: kind {kind.name!r} has no such parameter{_nearest(name, kind.parameters.model_fields)}"
        )


def _validated_values(kind: Kind, fixed: dict[str, Any], axes: tuple[Axis, ...], where: str):
    """Fixed values (defaults filled in) and axes with every value checked and brought to its parameter's type."""
    first = fixed | {key: value for axis in axes for key, value in axis.at(0).items()}
    model = _validated(kind.parameters, first, f"in {where}")
    moved = {parameter for axis in axes for parameter in axis.parameters}
    complete = {k: v for k, v in model.model_dump(mode="json").items() if k not in moved}
    checked = []
    for axis in axes:
        columns: dict[str, list[Any]] = {parameter: [] for parameter in axis.parameters}
        for position in range(len(axis)):
            values = axis.at(position)
            row = _validated(kind.parameters, first | values, f"in axes.{axis.name} of {where}").model_dump(mode="json")
            for parameter in columns:
                columns[parameter].append(row[parameter])
        plain = axis.parameters == (axis.name,)
        labels = tuple(columns[axis.name]) if plain else axis.labels
        checked.append(Axis(axis.name, labels, tuple((key, tuple(v)) for key, v in columns.items())))
    return complete, tuple(checked)


def _validated(model: type[BaseModel], values: dict[str, Any], where: str) -> Any:
    try:
        return model.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        if first["type"] == "extra_forbidden":
            raise SweepError(f"{key} {where}: unknown key{_nearest(key, model.model_fields)}") from None
        if first["type"] == "missing":
            raise SweepError(f"{key} {where}: must be given") from None
        message = first["msg"].replace("Input should be", "must be").replace("Value error, ", "")
        raise SweepError(f"{key}={first['input']!r} {where}: {message}") from None


def _nearest(name: str, known: Any) -> str:
    near = difflib.get_close_matches(str(name), [str(k) for k in known], n=1, cutoff=0.5)
    return f"; did you mean {near[0]!r}?" if near else f"; known are {', '.join(str(k) for k in known)}"
