"""Lattices of differentiating ring oscillators: networks, initial states, and their exact simulation."""

from kernels.lattice.fixed_step import simulate_fixed_step
from kernels.lattice.initial import pulse, quiescent, random, ring_phase
from kernels.lattice.network import Network
from kernels.lattice.simulate import Events, Run, simulate
from kernels.lattice.tilings import check_scheme

__all__ = [
    "Events",
    "Network",
    "Run",
    "check_scheme",
    "pulse",
    "quiescent",
    "random",
    "ring_phase",
    "simulate",
    "simulate_fixed_step",
]
