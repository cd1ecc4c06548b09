"""A sweep: the TOML file that declares it, its validation, and the grid of points that it stands for.

The store (``sweeps.store``) decides what of the grid is still to run; kinds (``sweeps.kinds``) know what a point is.
"""

import difflib
import itertools
import json
import math
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from importlib import resources
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import psutil
import xarray as xr
from pydantic import BaseModel, FailFast, TypeAdapter, ValidationError

from isophase.sweeps.kinds import Kind, Parcel, UnknownKindError, kind_named, names, parcel, register
from isophase.sweeps.kinds.base import KEPT, Parameters, Record, arrays_of, recorded_floats

MAX_POINTS = 1_000_000  # the status of a group is held in memory by the flow, and a million is 11 days at one a second
MAX_GROUPS = 1000  # every group is a folder of arrays that the flow opens when it starts
INT64 = 2**63  # integers of a grid are kept as int64
MAX_FILE = 1_000_000  # characters of a sweep file
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")  # a terminal obeys them
MAX_DOTS = 1000  # of one key in it; tomllib takes time as their square
MAX_MESSAGE = 1000  # characters of an error that shows a value
MAX_DEPTH = 32  # of tables and lists in a sweep file; what walks them would end in a RecursionError
MAX_DIGITS = 1000  # of an integer in a sweep file; Python refuses to print those of more than 4300
LABELS = {"i": "integers", "f": "numbers with a fraction", "U": "text", "b": "truth values"}  # by kind of numpy dtype
SUMMARISED = ("summary", "n_failed", "n_unmeasured", "reduction_error")  # what every summary holds of its scheme
RANGE = {"start", "count", "stop", "step"}  # keys of a range; with lists under them they are parameters
SECTIONS = ("kind", "title", "cost", "seed", "axes", "fixed", "record")


class SweepError(ValueError):
    """A sweep that cannot run: the message names the key, the value and what is allowed.

    One line that a terminal can show, whatever the key and the value are.
    """

    def __init__(self, message: str):
        shown = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in message)
        if len(shown) > MAX_MESSAGE:
            shown = f"{shown[: MAX_MESSAGE // 2]} ... {shown[-MAX_MESSAGE // 2 :]}"
        super().__init__(shown)


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
        have, want = _label_kind(self.labels), _label_kind(new.labels or self.labels)
        if have != want:
            raise SweepError(
                f"axes.{self.name}={new.labels[0]!r} in the sweep: labels must be {LABELS[have]}, as in the store"
            )
        more = dict(new.values)
        values = tuple((name, stored + more[name]) for name, stored in self.values)
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

    kind_name: str
    name: str
    axes: tuple[Axis, ...]
    fixed: Mapping[str, Any]
    recorded: Mapping[str, Any]

    @cached_property
    def kind(self) -> Kind:
        """UnknownKindError where this process does not know it."""
        return kind_named(self.kind_name)

    @cached_property
    def record(self) -> Record:
        return self.kind.record.model_validate(self.recorded)

    @cached_property
    def template(self) -> xr.Dataset:
        """What a point of the group yields."""
        return self.kind.template(self.first(), self.record)

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
        return self.n_points * sum(array.nbytes for array in arrays_of(self.template).values())

    def seconds(self) -> float:
        """Estimated time of all points on one core."""
        return sum(
            self.kind.cost(self.point(index), self.record).seconds * repeats
            for index, repeats in self.distinct_points()
        )

    def warnings(self) -> dict[str, list[str]]:
        """What the kind says of its points before they run, and the labels of those of which it says so."""
        found: dict[str, list[str]] = {}
        for index, _ in self.distinct_points():
            labels = [
                str(axis.labels[i]) if isinstance(axis.labels[i], str) else f"{axis.name} {axis.labels[i]}"
                for axis, i in zip(self.axes, index, strict=True)
                if axis.parameters != ("seed",)
            ]
            for text in self.kind.warnings(self.point(index), self.record):
                found.setdefault(text, []).append(", ".join([self.name, *labels]))
        return found

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

    @cached_property
    def parcel(self) -> Parcel:
        """The kind, as workers are sent it."""
        return parcel(self.kind)

    def cuts(self) -> list[list[tuple[dict[str, Any], Axis | None]]]:
        """For every axis its parts that lie in different groups: values that they fix, and what is left of the axis.

        Axes that carry shape parameters are cut by them; an axis of nothing else leaves the group's dimensions.
        """
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
        return cuts

    def groups(self) -> list[Group]:
        """The points by shape, see :meth:`cuts`."""
        groups = []
        for combination in itertools.product(*self.cuts()):
            fixed = dict(self.fixed)
            for values, _ in combination:
                fixed |= values
            axes = tuple(axis for _, axis in combination if axis)
            group = Group(self.kind.name, "", axes, fixed, self.record.model_dump(mode="json"))
            groups.append(replace(group, name=self.kind.group_name(group.first())))
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
    folder = Path(str(resources.files("isophase.sweeps.presets")))
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
        with path.open(encoding="utf-8-sig") as file:
            text = file.read(MAX_FILE + 1)
    except (OSError, UnicodeDecodeError, ValueError) as error:
        near = _nearest(str(source), known)
        raise SweepError(f"sweep {str(source)!r}: neither a readable file ({error}) nor a preset{near}") from None
    if len(text) > MAX_FILE:
        raise SweepError(f"{path}: more than {MAX_FILE:,} characters; no sweep is that long")
    try:
        if any(key.count(".") > MAX_DOTS for key in re.split(r"[=,{}\[\]\n#]", text)):
            raise RecursionError
        table = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # ValueError: not TOML, or an integer of too many digits
        raise SweepError(f"{path}: not valid TOML: {error or 'nested too deeply'}") from None
    return parse(table, name=path.stem, where=path.name)


def parse(table: Mapping[str, Any], name: str = "sweep", where: str = "the sweep") -> Sweep:
    """Validate a sweep given as the table that a TOML file holds. See :func:`load`."""
    _refuse_unprintable("name", [name, *table], where)
    unknown = set(table) - set(SECTIONS)
    if unknown:
        key = sorted(unknown)[0]
        raise SweepError(f"{key} in {where}: unknown key{_nearest(key, SECTIONS)}")
    for key, value in table.items():
        _refuse_unprintable(key, value, where)
    if "kind" not in table:
        raise SweepError(f"kind in {where}: must be given: one of {', '.join(names())}, or module:function")
    kind = _kind(table["kind"], where)
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
        have = psutil.virtual_memory().total
        _check_groups(sweep, where)
        _check_names(sweep, where)
        for group in sweep.groups():
            records = recorded_floats(group.template)
            for index, _ in group.distinct_points():
                point = group.point(index)
                kind.check(point, record)
                if (need := kind.cost(point, record).nbytes + records) > have:
                    raise ValueError(
                        f"{group.name}: a point takes about {need:,} bytes of memory; must be at most the {have:,} of "
                        "this machine"
                    )
    except SweepError:
        raise
    except ValueError as error:
        raise SweepError(f"{error} (in {where})") from None
    return sweep


def _refuse_unprintable(key: str, value: Any, where: str) -> None:
    """Refuse what no error could show and no store could keep, however it is nested."""
    nodes = [(value, 1)]
    while nodes:
        node, depth = nodes.pop()
        if depth > MAX_DEPTH:
            raise SweepError(f"{key} in {where}: nested more than {MAX_DEPTH} deep")
        if isinstance(node, int) and abs(node) >= 10**MAX_DIGITS:
            raise SweepError(f"{key} in {where}: holds an integer of more than {MAX_DIGITS:,} digits")
        if isinstance(node, str) and (found := CONTROL.search(node)):
            where = where if where.isprintable() else ascii(where)
            raise SweepError(f"{key} in {where}: holds the control character {found[0]!a}; must be text of one line")
        if isinstance(node, Mapping):
            nodes += [(inner, depth + 1) for pair in node.items() for inner in pair]
        elif isinstance(node, list):
            nodes += [(inner, depth + 1) for inner in node]


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
    elif isinstance(value, Mapping) and set(value) & RANGE and not any(isinstance(v, list) for v in value.values()):
        if set(value) not in ({"start", "count"}, {"start", "stop", "step"}):
            raise SweepError(f"{at}: {value!r} must be a range {{start, count}} or {{start, stop, step}}")
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
        if "seed" in values and (name, *values) != ("seed", "seed"):
            raise SweepError(f"axes.{name}.seed in {where}: must be an axis of its own, which summaries average over")
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
    if not name.isidentifier():
        raise SweepError(f"{at}: an axis is named by letters, digits and _")
    if tuple(values) != (name,) and name in kind.parameters.model_fields:
        raise SweepError(f"{at}: a zipped axis must not be named like a parameter")
    for label in labels:
        if not isinstance(label, str | int | float | bool) or (isinstance(label, float) and not math.isfinite(label)):
            raise SweepError(f"axes.{name}={label!r} in {where}: must be a finite number, text or a truth value")
        if isinstance(label, int) and not -INT64 <= label < INT64:
            raise SweepError(f"axes.{name}={label!r} in {where}: must be from -2**63 to 2**63 - 1")
    types = {type(label) for label in labels}
    if types == {int, float}:
        labels = [float(label) for label in labels]
    elif len(types) > 1:
        raise SweepError(f"{at}: labels must be all numbers, all text or all truth values")
    _refuse_doubles(labels, at)
    return Axis(name, tuple(labels), tuple((key, tuple(v)) for key, v in values.items()))


def _label_kind(labels: tuple[Any, ...]) -> str:
    return np.asarray(labels).dtype.kind.replace("u", "i")


def _refuse_doubles(labels: Any, at: str) -> None:
    seen = set()
    for label in labels:
        if label in seen:
            raise SweepError(f"{at}: value {label!r} stands there twice")
        seen.add(label)


def _check_groups(sweep: Sweep, where: str) -> None:
    shaping = set(sweep.kind.shape_parameters)
    cuts = sweep.cuts()
    for axis, parts in zip(sweep.axes, cuts, strict=True):
        if set(axis.parameters) <= shaping and len(parts) < len(axis):
            raise SweepError(
                f"axes.{axis.name} in {where}: {len(axis)} positions are {len(parts)} points: must differ in "
                f"{', '.join(axis.parameters)}, as a point is known by its shape and not by this axis's label"
            )
    n_groups = math.prod(len(parts) for parts in cuts)
    if n_groups > MAX_GROUPS:
        raise SweepError(f"axes in {where}: {n_groups:,} shapes of point; a sweep has at most {MAX_GROUPS:,}")


def _check_names(sweep: Sweep, where: str) -> None:
    """Refuse a zipped axis that is named like anything that the kind records, or that its summaries hold."""
    zipped = [axis.name for axis in sweep.axes if axis.parameters != (axis.name,)]
    if not zipped:
        return
    kind, template = sweep.kind, sweep.groups()[0].template
    recorded = {*map(str, template.variables), *map(str, template.dims), *KEPT}
    summarised = {*kind.reduction.names(template), *SUMMARISED}
    for name in zipped:
        if name in recorded:
            raise SweepError(f"axes.{name} in {where}: must not be named like what kind {kind.name!r} records")
        if name in summarised:
            raise SweepError(f"axes.{name} in {where}: must not be named like what summaries of {kind.name!r} hold")


def _kind(value: Any, where: str) -> Kind:
    if isinstance(value, Kind):
        register(value)
        return value
    try:
        if isinstance(value, str):
            return kind_named(value)
    except UnknownKindError as error:
        raise SweepError(f"{error} (in {where})") from None
    raise SweepError(f"kind={value!r} in {where}: must be one of {', '.join(names())}, or module:function")


def _range(table: Mapping[str, Any], at: str) -> list[Any]:
    for key, value in table.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < INT64:
            raise SweepError(f"{at}: {key}={value!r} must be a finite number below 2**63")
    start = table["start"]
    if "count" in table:
        count, step = table["count"], 1
        if not isinstance(count, int) or count < 1:
            raise SweepError(f"{at}: count={count!r} must be an integer of at least 1")
    else:
        step = table["step"]
        steps = (table["stop"] - start) / step * (1 + 1e-12) if step else -1
        if steps < 0:
            raise SweepError(f"{at}: step={step!r} does not lead from start={start!r} to stop={table['stop']!r}")
        count = math.floor(min(steps, INT64)) + 1  # steps may be infinite
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
        columns = _validated_columns(kind, first, axis, f"in axes.{axis.name} of {where}")
        plain = axis.parameters == (axis.name,)
        labels = columns[axis.name] if plain else axis.labels
        _refuse_doubles(labels, f"axes.{axis.name} in {where}")
        checked.append(Axis(axis.name, labels, tuple(columns.items())))
    return complete, tuple(checked)


def _validated_columns(kind: Kind, first: dict[str, Any], axis: Axis, where: str) -> dict[str, tuple[Any, ...]]:
    """The values of an axis, each checked by its parameter's field alone: what combines is up to ``kind.check``.

    A column at once, since a long axis of whole points would take a second per 10^5.
    """
    columns = {}
    for parameter, values in axis.values:
        field = kind.parameters.model_fields[parameter]
        entries: Any = list[Annotated[field.annotation, field]]  # type: ignore[name-defined]
        column = TypeAdapter(Annotated[entries, FailFast()], config=kind.parameters.model_config)
        try:
            checked = column.validate_python(list(values))
        except ValidationError as error:
            _validated(kind.parameters, first | axis.at(int(error.errors()[0]["loc"][0])), where)  # names the value
            raise
        for position, value in enumerate(checked):
            if isinstance(value, int) and not -INT64 <= value < INT64:
                _validated(kind.parameters, first | axis.at(position), where)
        columns[parameter] = tuple(column.dump_python(checked, mode="json"))
    return columns


def _validated(model: type[BaseModel], values: dict[str, Any], where: str) -> Any:
    try:
        validated = model.model_validate(values)
    except ValidationError as errors:
        raise refusal(errors, model.model_fields, where) from None
    for key, value in validated:
        if isinstance(value, int) and not -INT64 <= value < INT64:
            raise SweepError(f"{key}={value!r} {where}: must be below 2**63")
    return validated


def refusal(errors: ValidationError, known: Iterable[str], where: str) -> SweepError:
    """The first thing that is wrong with a table whose keys may be those ``known``: key, value and what is allowed."""
    first = errors.errors()[0]
    key = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        return SweepError(f"{key} {where}: unknown key{_nearest(key, known)}")
    if first["type"] == "missing":
        return SweepError(f"{key} {where}: must be given")
    message = first["msg"].replace("Input should be", "must be").replace("Value error, ", "")
    return SweepError(f"{key}={first['input']!r} {where}: {message}")


def _nearest(name: str, known: Any) -> str:
    near = difflib.get_close_matches(str(name), [str(k) for k in known], n=1, cutoff=0.5)
    return f"; did you mean {near[0]!r}?" if near else f"; known are {', '.join(str(k) for k in known)}"
