"""The kinds of sweep: what a grid point's parameters are, what it records, and how it is computed."""

from sweeps.kinds.base import Kind, Outcome, Parameters, Record, Variable
from sweeps.kinds.flipflop import FLIPFLOP
from sweeps.kinds.kuramoto import KURAMOTO
from sweeps.kinds.lattice import LATTICE
from sweeps.kinds.rings import RINGS

KINDS: dict[str, Kind] = {kind.name: kind for kind in (LATTICE, KURAMOTO, RINGS, FLIPFLOP)}

__all__ = ["KINDS", "Kind", "Outcome", "Parameters", "Record", "Variable"]
