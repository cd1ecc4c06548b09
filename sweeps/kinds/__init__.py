"""The kinds of sweep: what a grid point's parameters are, what it records, and how it is computed."""

from isophase.sweeps.kinds.base import Kind, Outcome, Parameters, Record, Variable
from isophase.sweeps.kinds.flipflop import FLIPFLOP
from isophase.sweeps.kinds.kuramoto import KURAMOTO
from isophase.sweeps.kinds.lattice import LATTICE
from isophase.sweeps.kinds.rings import RINGS

KINDS: dict[str, Kind] = {kind.name: kind for kind in (LATTICE, KURAMOTO, RINGS, FLIPFLOP)}

__all__ = ["KINDS", "Kind", "Outcome", "Parameters", "Record", "Variable"]
