"""The contract of a kind of sweep: what a grid point's parameters are, what it records, costs and amounts to.

A kind owns everything about itself, and knows nothing of grids or files. Its reduction and its report are named here
and loaded when asked for; what they are is stated in ``isophase.analysis.base``.
"""

import abc
import math
from collections.abc import Callable, Iterable, Mapping
from importlib import import_module
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from pydantic import BaseModel, ConfigDict, Field

# by the store of every point: names that nothing else may have
KEPT = ("status", "error", "traceback", "wall_time", "crc32", "shard_bytes")


class UnknownKindError(LookupError):
    """A kind that is not known here, or cannot run here; the message names it and says why."""


class Strict(BaseModel):
    """A model that refuses unknown keys, text or truth values for numbers, non-finite numbers and later changes."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, strict=True)


class Parameters(Strict):
    """The parameters of one grid point. Every one of them can be a grid axis or a fixed value."""

    seed: int = Field(0, ge=0, lt=2**63, description="label of the random realisation")


class Record(Strict):
    """What is recorded at every grid point of a sweep; the same for all points."""


class Cost(NamedTuple):
    """What one point takes while it runs: seconds of one core, and bytes of memory beside what it records."""

    seconds: float
    nbytes: int


class Located:
    """An attribute of a kind that lies at ``"module:name"``, and is loaded when it is asked for."""

    def __init__(self, at: str):
        self.at = at

    def __get__(self, kind: Any, owner: Any = None) -> Any:
        module, _, name = self.at.partition(":")
        return getattr(import_module(module), name)


class Kind(abc.ABC):
    """One kind of sweep. A subclass sets the attributes and methods below; an instance of it is the kind.

    Attributes
    ----------
    name : the value of ``kind`` in a sweep file.
    parameters, record : the models that validate a grid point and what it records.
    shape_parameters : the parameters that set the shape of what is recorded; points that agree in them share a group
        of the store, and their templates are equal.
    seed_free : parameters that do not enter a point's random stream, because they say how long or with what the same
        realisation is followed.
    work_unit : what :meth:`work` counts.
    reduction, report : ``isophase.analysis.base.Reduction`` and ``Report``; :class:`Located` says where they are.
    needs : the packages beside isophase's own that its points import, each with the extra of isophase that installs it.
    run_again : ``(parameters, seed, record, checkpoints) -> dataset``, the same point followed at other checkpoints,
        for a reduction that can look between what was recorded; None: it cannot.
    """

    name: str
    parameters: type[Parameters]
    record: type[Record] = Record
    shape_parameters: tuple[str, ...] = ()
    seed_free: tuple[str, ...] = ()
    work_unit: str = "points"
    needs: Mapping[str, str] = MappingProxyType({})
    reduction: Any = Located("isophase.analysis.over_seeds:REDUCTION")
    report: Any = Located("isophase.analysis.over_seeds:REPORT")
    run_again: Callable[..., xr.Dataset] | None = None

    def seed_free_of(self, parameters: Any, streams: int) -> tuple[str, ...]:
        """The parameters that do not enter the random stream of this point, in stores of these ``streams``."""
        return self.seed_free

    @property
    def stream(self) -> str:
        """The name by which the kind enters the random stream of its points."""
        return self.name

    @property
    def importable(self) -> bool:
        """Whether other processes find the kind by its name; a script's or a notebook's reaches them by value."""
        return type(self).__module__ != "__main__"

    def check_packages(self) -> None:
        """Raise UnknownKindError where a package that its points need cannot be imported: every point would fail."""
        for package, extra in self.needs.items():
            try:
                import_module(package)
            except Exception as error:  # whatever somebody else's module raises
                reason = f"{type(error).__name__}: {(str(error).strip().splitlines() or [''])[0]}"
                raise UnknownKindError(
                    f"kind={self.name!r}: needs {package}, which cannot be imported ({reason}): "
                    f"pip install 'isophase[{extra}]'"
                ) from error

    @abc.abstractmethod
    def template(self, parameters: Any, record: Any) -> xr.Dataset:
        """What a point yields: dimensions, types, coordinates and attributes, with values that mean nothing.

        Made of :func:`variable`. Variables without a dimension are kept beside the point's status.
        """

    @abc.abstractmethod
    def cost(self, parameters: Any, record: Any) -> Cost:
        """What a point is estimated to take."""

    @abc.abstractmethod
    def run_point(self, parameters: Any, seed: np.random.SeedSequence, record: Any) -> xr.Dataset:
        """Compute a point: a dataset that fits the template. An exception is the point's failure, not the run's."""

    def group_name(self, parameters: Any) -> str:
        """Name of the group of the store that the points of this shape share."""
        return "-".join(str(getattr(parameters, name)) for name in self.shape_parameters) or "points"

    def check_record(self, record: Any) -> None:
        """Raise ValueError for a combination of recorded values that cannot run."""

    def check(self, parameters: Any, record: Any) -> None:
        """Raise ValueError for a grid point that cannot run."""

    def warnings(self, parameters: Any, record: Any) -> tuple[str, ...]:
        """What somebody would want to know of a grid point, seed apart, before hours are spent on it."""
        return ()

    def work(self, record: Any, scalars: Mapping[str, Any]) -> float:
        """What a point amounted to, from what it yielded without dimension; in ``work_unit``."""
        return 1.0

    def context(self, parameters: Any, seed: np.random.SeedSequence) -> xr.Dataset:
        """What a reduction needs of a point besides what it recorded, made again from what it is.

        Where its dimensions are longer for some seeds than for others they have coordinates, and whole numbers, which
        are padded by -1.
        """
        return xr.Dataset()


def variable(
    dims: Iterable[str], shape: Iterable[int], dtype: str, attrs: Mapping[str, Any], chunk: tuple[int, ...] = ()
) -> xr.Variable:
    """A variable of a template, which takes no memory; ``chunk`` is its shape in the store, whole where not given."""
    shape = tuple(shape)
    made = xr.Variable(tuple(dims), np.broadcast_to(np.zeros((), dtype), shape), dict(attrs))
    made.encoding["chunks"] = chunk or shape
    return made


def arrays_of(template: xr.Dataset) -> dict[str, xr.Variable]:
    """The variables of a template that have dimensions: the arrays that workers write."""
    return {str(name): v.variable for name, v in template.data_vars.items() if v.dims}


def scalars_of(template: xr.Dataset) -> dict[str, xr.Variable]:
    """The variables of a template without dimension, kept beside a point's status."""
    return {str(name): v.variable for name, v in template.data_vars.items() if not v.dims}


def recorded_floats(template: xr.Dataset) -> int:
    """Bytes of a point's recorded arrays while it runs: float64, whatever type the store keeps."""
    return sum(8 * math.prod(array.shape) for array in arrays_of(template).values())


def fitted(outcome: Any, template: xr.Dataset) -> dict[str, np.ndarray]:
    """The values of an outcome by name, once they fit the template: names, dimensions, lengths, types.

    Raises
    ------
    ValueError, TypeError : they do not; the message names the variable, what it is and what it must be.
    """
    if not isinstance(outcome, xr.Dataset):
        raise TypeError(f"a point yielded {type(outcome).__name__}: must be an xarray.Dataset")
    yielded, wanted = ({str(name): None for name in dataset.data_vars} for dataset in (outcome, template))
    if yielded.keys() != wanted.keys():
        lacks, more = (", ".join(sorted(a.keys() - b.keys())) for a, b in ((wanted, yielded), (yielded, wanted)))
        wrong = "; ".join(filter(None, (lacks and f"lacks {lacks}", more and f"has {more} too many")))
        raise ValueError(f"a point yielded {', '.join(yielded) or 'nothing'}: must be {', '.join(wanted)}: {wrong}")
    found = {}
    for name, wanted_variable in template.data_vars.items():
        have = outcome[name].variable
        if set(have.dims) != set(wanted_variable.dims):
            raise ValueError(f"{name} has dimensions {have.dims}: must have {wanted_variable.dims}")
        have = have.transpose(*wanted_variable.dims)
        if have.shape != wanted_variable.shape:
            raise ValueError(f"{name} has shape {have.shape}: must have {wanted_variable.shape}")
        if not np.can_cast(have.dtype, wanted_variable.dtype, "same_kind"):
            raise TypeError(f"{name} is {have.dtype}: must be {wanted_variable.dtype}")
        found[str(name)] = have.values.astype(wanted_variable.dtype, copy=False)
    return found
