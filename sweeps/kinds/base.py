"""The contract between a kind of sweep and the grid, the store and the flows.

A kind owns its parameters, its recorded variables and the call into ``kernels``; it knows nothing of grids or files.
"""

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field


class Strict(BaseModel):
    """A model that refuses unknown keys, text or truth values for numbers, non-finite numbers and later changes."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, strict=True)


class Parameters(Strict):
    """The parameters of one grid point. Every one of them can be a grid axis or a fixed value."""

    seed: int = Field(0, ge=0, lt=2**63, description="label of the random realisation")


class Record(Strict):
    """What is recorded at every grid point of a sweep; the same for all points."""


@dataclass(frozen=True)
class Variable:
    """An array that every point of a group records: its dimensions, shape and attributes."""

    dims: tuple[str, ...]
    shape: tuple[int, ...]
    dtype: str
    attrs: Mapping[str, Any]
    chunk: tuple[int, ...]

    @property
    def nbytes(self) -> int:
        return math.prod(self.shape) * np.dtype(self.dtype).itemsize


def recorded_floats(variables: Mapping[str, Variable]) -> int:
    """Bytes of a point's recorded arrays while it runs: float64, whatever type the store keeps."""
    return sum(8 * math.prod(variable.shape) for variable in variables.values())


@dataclass(frozen=True)
class Scalar:
    """A number that every point yields; kept beside its status."""

    dtype: str
    attrs: Mapping[str, Any]


@dataclass(frozen=True)
class Outcome:
    """What became of one grid point: its arrays and scalars, or the error that it raised."""

    arrays: Mapping[str, np.ndarray] = field(default_factory=dict)
    scalars: Mapping[str, float] = field(default_factory=dict)
    error: str = ""
    wall_time: float = 0.0


def negligible(parameters: Any, record: Any) -> int:
    """Memory of a point that no machine lacks."""
    return 0


Points = Sequence[tuple[Any, np.random.SeedSequence]]


def one_by_one(run_point: Callable[[Any, np.random.SeedSequence, Any], Outcome]) -> Callable[..., Iterator[Outcome]]:
    """A kind's ``run`` from how it computes one point: each is timed, and an exception is the outcome of its point."""

    def run(points: Points, record: Any) -> Iterator[Outcome]:
        for parameters, seed in points:
            started = time.perf_counter()
            try:
                outcome = run_point(parameters, seed, record)
            except Exception as error:
                outcome = Outcome(error=f"{type(error).__name__}: {error}")
            yield replace(outcome, wall_time=time.perf_counter() - started)

    return run


@dataclass(frozen=True)
class Kind:
    """One kind of sweep.

    Attributes
    ----------
    name : the value of ``kind`` in a sweep file.
    parameters, record : the models that validate a grid point and what it records.
    shape_parameters : the parameters that set the shape of the recorded arrays; points that agree in them share a
        group of the store.
    group_name : ``parameters -> name`` of that group.
    check_record : ``record ->``, raises ValueError for a combination of values that cannot run.
    check : ``(parameters, record) ->`` does so for a grid point.
    variables : ``(parameters, record) -> {name: Variable}``.
    coordinates : ``(parameters, record) -> {dim: (values, attrs)}`` of the recorded dimensions.
    scalars : the numbers that every point yields.
    estimate : ``(parameters, record) -> seconds`` of one core for one point.
    run : ``(points, record) -> outcomes``, one for each ``(parameters, numpy.random.SeedSequence)``, in order; an
        exception of one point is its outcome, not the end of the others.
    memory : ``(parameters, record) -> bytes`` that one point takes while it runs.
    seed_free : parameters that do not enter a point's random stream, because they say how long or with what the same
        realisation is followed.
    """

    name: str
    parameters: type[Parameters]
    record: type[Record]
    shape_parameters: tuple[str, ...]
    group_name: Callable[[Any], str]
    check: Callable[[Any, Any], None]
    check_record: Callable[[Any], None]
    variables: Callable[[Any, Any], dict[str, Variable]]
    coordinates: Callable[[Any, Any], dict[str, tuple[np.ndarray, dict[str, Any]]]]
    scalars: Mapping[str, Scalar]
    estimate: Callable[[Any, Any], float]
    run: Callable[[Points, Any], Iterator[Outcome]]
    memory: Callable[[Any, Any], int] = negligible
    seed_free: tuple[str, ...] = ()
