"""A Python function as a kind of sweep: :func:`point`.

Its keyword parameters, with their annotations and defaults, are the parameters of a grid point; what it returns is what
the store keeps. Everything else of a kind it has by default.
"""

import functools
import inspect
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Annotated, Any

import numpy as np
import xarray as xr
from pydantic import AfterValidator, TypeAdapter, create_model
from pydantic.errors import PydanticSchemaGenerationError

from isophase.sweeps.kinds import register
from isophase.sweeps.kinds.base import KEPT, Cost, Kind, Parameters, Record, variable

SECONDS = 0.1  # of a point whose function says nothing: shards of a few points, so that little is lost by a kill
SEED = "seed"  # the parameter that takes the point's random stream


def point(
    *,
    dims: Mapping[str, Sequence[str]],
    coords: Mapping[str, Any] | None = None,
    units: Mapping[str, str] | None = None,
    dtypes: Mapping[str, str] | None = None,
    seconds: float = SECONDS,
    reduction: Any = None,
    report: Any = None,
) -> Callable[[Callable[..., Any]], "FunctionKind"]:
    """Make a function a kind of sweep, which still can be called as the function that it is.

    The function takes its parameters by keyword, each annotated by a type that TOML knows (``float``, ``int``,
    ``bool``, ``str``, ``Literal``, lists and tables of those; pydantic's ``Field`` gives ranges), and, if it draws
    random numbers, ``seed``, a ``numpy.random.SeedSequence`` of this point alone. It returns a dict of arrays or
    numbers, or a dataset.

    Parameters
    ----------
    dims : dimensions of everything that the function returns, by name; none for a number.
    coords : values of every dimension, or ``(values, attributes)``; their number is its length.
    units : units, by name.
    dtypes : types as the store keeps them, by name [float64].
    seconds : what a point takes on one core, about; points of less than a second are computed several at a time.
    reduction, report : ``isophase.Reduction`` and ``isophase.Report`` of such sweeps [means over seeds].

    Raises
    ------
    TypeError, ValueError : the function or what is said of it cannot be a kind; the message names the parameter.

    Examples
    --------
    >>> import numpy as np
    >>> @point(dims={"x": ["time"]}, coords={"time": np.arange(3)}, units={"x": "1"})
    ... def logistic(*, r: float, x0: float = 0.5) -> dict:
    ...     x = [x0]
    ...     while len(x) < 3:
    ...         x.append(r * x[-1] * (1 - x[-1]))
    ...     return {"x": x}
    >>> logistic(r=2.0)
    {'x': [0.5, 0.5, 0.5]}
    """
    about = {
        "dims": {name: tuple(of) for name, of in dims.items()},
        "coords": dict(coords or {}),
        "units": dict(units or {}),
        "dtypes": dict(dtypes or {}),
        "seconds": seconds,
        "reduction": reduction,
        "report": report,
    }
    return lambda function: FunctionKind(function, about)


class FunctionKind(Kind):
    """The kind that :func:`point` makes of a function."""

    record = Record

    def __init__(self, function: Callable[..., Any], about: Mapping[str, Any]):
        self.function, self.about = function, about
        self.name = f"{function.__module__}:{function.__qualname__}"
        self.takes_seed, self.parameters = _parameters(function)
        self.coords = _coordinates(self.name, about)
        _check_names(self)
        if about["reduction"] is not None:
            self.reduction = about["reduction"]
        if about["report"] is not None:
            self.report = about["report"]
        functools.update_wrapper(self, function)
        register(self)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.function(*args, **kwargs)

    def __reduce__(self) -> Any:
        """Of what it is made: the models of its parameters are made anew."""
        return FunctionKind, (self.function, self.about)

    @property
    def importable(self) -> bool:
        found: Any = sys.modules.get(self.function.__module__)
        for part in self.function.__qualname__.split("."):
            found = getattr(found, part, None)
        return found is self and self.function.__module__ != "__main__"

    @property
    def stream(self) -> str:
        """The function's own name: its points are the same, from a notebook or from a module."""
        return self.function.__name__

    def group_name(self, parameters: Any) -> str:
        return self.function.__name__

    def template(self, parameters: Any, record: Record) -> xr.Dataset:
        variables = {}
        for name, dims in self.about["dims"].items():
            attrs = {"units": self.about["units"][name]} if name in self.about["units"] else {}
            shape = (len(self.coords[dim].values) for dim in dims)
            variables[name] = variable(dims, shape, self.about["dtypes"].get(name, "float64"), attrs)
        return xr.Dataset(variables, coords=self.coords)

    def cost(self, parameters: Any, record: Record) -> Cost:
        return Cost(self.about["seconds"], 0)

    def run_point(self, parameters: Any, seed: np.random.SeedSequence, record: Record) -> xr.Dataset:
        values = {name: getattr(parameters, name) for name in type(parameters).model_fields if name != SEED}
        found = self.function(**values, **({SEED: seed} if self.takes_seed else {}))
        if isinstance(found, xr.Dataset):
            return found
        if not isinstance(found, Mapping):
            raise TypeError(f"{self.name} returned {type(found).__name__}: must be a dict or an xarray.Dataset")
        dims = self.about["dims"]
        unknown = [name for name in found if name not in dims]
        if unknown:
            raise ValueError(f"{self.name} returned {unknown[0]!r}: must be one of {', '.join(dims)}, as its dims say")
        return xr.Dataset({name: (dims[name], np.asarray(values)) for name, values in found.items()})


def _parameters(function: Callable[..., Any]) -> tuple[bool, type[Parameters]]:
    """Whether a function takes a seed, and the model of its other parameters."""
    at = f"{function.__module__}:{function.__qualname__}"
    fields: dict[str, Any] = {}
    hints = inspect.get_annotations(function, eval_str=True)
    signature = inspect.signature(function).parameters
    for name, parameter in signature.items():
        if parameter.kind not in (parameter.KEYWORD_ONLY, parameter.POSITIONAL_OR_KEYWORD):
            raise TypeError(f"{parameter} of {at}: parameters must be taken by keyword")
        if name == SEED:
            continue
        if name.startswith("model_") or name.startswith("_") or hasattr(Parameters, name):
            raise ValueError(f"{name} of {at}: must be another name, as this one is taken")
        given = parameter.default is not parameter.empty
        hint = hints.get(name, type(parameter.default) if given else None)
        if hint is None:
            raise TypeError(f"{name} of {at}: must be annotated with its type, or have a default")
        try:
            if not TypeAdapter(hint, config=Parameters.model_config).json_schema():
                raise TypeError("it says nothing")
        except (PydanticSchemaGenerationError, TypeError, ValueError) as error:
            raise TypeError(f"{name} of {at}: {hint!r} is no type of a grid: {str(error).splitlines()[0]}") from None
        default = TypeAdapter(hint).validate_python(parameter.default) if given else ...
        fields[name] = (hint, default)
    if SEED not in signature:
        fields[SEED] = (Annotated[int, AfterValidator(partial(_no_seed, at))], 0)
    return SEED in signature, create_model(function.__name__, __base__=Parameters, **fields)


def _no_seed(at: str, seed: int) -> int:
    if seed != 0:
        raise ValueError(f"must not be given, as {at} takes no seed")
    return seed


def _coordinates(at: str, about: Mapping[str, Any]) -> dict[str, xr.Variable]:
    found = {}
    for dim, given in about["coords"].items():
        values, attrs = given if isinstance(given, tuple) and len(given) == 2 else (given, {})
        if isinstance(given, xr.DataArray):
            values, attrs = given.values, given.attrs
        values = np.asarray(values)
        if values.ndim != 1 or not len(values):
            raise ValueError(f"coords[{dim!r}] of {at}: must be values along one dimension, one at least")
        unit = {"units": about["units"][dim]} if dim in about["units"] else {}
        found[dim] = xr.Variable((dim,), values, {**unit, **attrs})
    for name, dims in about["dims"].items():
        for dim in dims:
            if dim not in found:
                raise ValueError(f"dims[{name!r}] of {at}: coords must give the values of {dim!r}")
        np.dtype(about["dtypes"].get(name, "float64"))
    return found


def _check_names(kind: FunctionKind) -> None:
    """Refuse names that would stand for two things in one group of a store."""
    about, parameters = kind.about, set(kind.parameters.model_fields)
    if not about["dims"]:
        raise ValueError(f"dims of {kind.name}: must name what the function returns, one thing at least")
    if kind.function.__name__ == "summary":
        raise ValueError(f"{kind.name}: must be a function of another name than the group that keeps what was reduced")
    for name in (*about["dims"], *kind.coords):
        if not str(name).isidentifier():
            raise ValueError(f"{name!r} of {kind.name}: must be letters, digits and _")
        if name in parameters or name in KEPT or name == "summary":
            raise ValueError(f"{name!r} of {kind.name}: must be another name than its parameters and than {KEPT}")
    if both := set(about["dims"]) & set(kind.coords):
        raise ValueError(f"{sorted(both)[0]!r} of {kind.name}: must not be returned and a dimension")
    for section in ("units", "dtypes"):
        for name in about[section]:
            if name not in about["dims"] and not (section == "units" and name in kind.coords):
                raise ValueError(f"{section}[{name!r}] of {kind.name}: must be one of {', '.join(about['dims'])}")
