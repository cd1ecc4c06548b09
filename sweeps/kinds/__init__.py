"""The registry of kinds: a line for each of ours, loaded when asked for; other people's by ``module:name``, or by an
entry point of the group ``isophase.kinds``."""

from dataclasses import dataclass
from functools import lru_cache
from importlib import import_module
from importlib.metadata import entry_points

import cloudpickle

from isophase.sweeps.kinds.base import Kind, UnknownKindError

BUILT_IN = {
    "lattice": "isophase.sweeps.kinds.lattice:Lattice",
    "kuramoto": "isophase.sweeps.kinds.kuramoto:Kuramoto",
    "dynamics": "isophase.sweeps.kinds.dynamics:Dynamics",
    "rings": "isophase.sweeps.kinds.rings:Rings",
    "flipflop": "isophase.sweeps.kinds.flipflop:Flipflop",
}
ENTRY_POINTS = "isophase.kinds"
_LOADED: dict[str, Kind] = {}


def names() -> list[str]:
    """Names of the kinds that are known without their module."""
    return [*BUILT_IN, *(point.name for point in entry_points(group=ENTRY_POINTS))]


def register(kind: Kind) -> None:
    """Make a kind known in this process by its name."""
    _LOADED[kind.name] = kind


def kind_named(name: str) -> Kind:
    """The kind of a name, ``module:name`` or the name of an entry point.

    Raises
    ------
    UnknownKindError : there is none, or its module cannot be imported.
    """
    if name not in _LOADED:
        kind = _load(name)
        if kind.name != name and ":" not in kind.name:  # its stores could not find it again
            raise UnknownKindError(f"kind={name!r}: calls itself {kind.name!r}; must be {name!r}")
        _LOADED[name] = kind
    return _LOADED[name]


@dataclass(frozen=True)
class Parcel:
    """A kind on its way to a worker: by its name where other processes can import it, else by value too."""

    name: str
    value: bytes | None = None

    def kind(self) -> Kind:
        """The kind, in the process where the parcel has come to; UnknownKindError where that lacks what it needs."""
        if self.value is None:
            return kind_named(self.name)
        try:
            return _unpacked(self.value)
        except Exception as error:
            reason = f"{type(error).__name__}: {error}"
            raise UnknownKindError(f"kind={self.name!r}: cannot be loaded: {reason}") from error


@lru_cache(maxsize=16)  # by value, since a notebook may define a function of the same name anew
def _unpacked(value: bytes) -> Kind:
    return cloudpickle.loads(value)


def parcel(kind: Kind) -> Parcel:
    """The parcel of a kind, to be sent."""
    return Parcel(kind.name, None if kind.importable else cloudpickle.dumps(kind))


def _load(name: str) -> Kind:
    at = BUILT_IN.get(name) or next((p.value for p in entry_points(group=ENTRY_POINTS) if p.name == name), name)
    module, _, path = at.partition(":")
    if not module or not path:
        raise UnknownKindError(f"kind={name!r}: must be one of {', '.join(names())}, or module:function")
    if module == "__main__":
        raise UnknownKindError(f"kind={name!r}: a function of a script or notebook; define it before its store is used")
    try:
        found = import_module(module)
        for part in path.split("."):
            found = getattr(found, part)
    except Exception as error:  # whatever somebody else's module raises
        raise UnknownKindError(f"kind={name!r}: cannot be imported: {type(error).__name__}: {error}") from error
    if isinstance(found, type) and issubclass(found, Kind):
        found = found()
    if not isinstance(found, Kind):
        raise UnknownKindError(f"kind={name!r}: is {type(found).__name__}; must be a function under @isophase.point")
    return found


__all__ = [
    "BUILT_IN",
    "ENTRY_POINTS",
    "Kind",
    "Parcel",
    "UnknownKindError",
    "kind_named",
    "names",
    "parcel",
    "register",
]
