"""Lattices of differentiating ring oscillators: networks, initial states, and their exact simulation."""

from isophase.kernels.lattice.fixed_step import simulate_fixed_step
from isophase.kernels.lattice.initial import pulse, quiescent, random, ring_phase
from isophase.kernels.lattice.memory import memory_bytes
from isophase.kernels.lattice.network import Network, small_world_neighbours
from isophase.kernels.lattice.simulate import Events, Run, simulate
from isophase.kernels.lattice.tilings import check_scheme

__all__ = [
    "Events",
    "Network",
    "Run",
    "check_scheme",
    "memory_bytes",
    "pulse",
    "quiescent",
    "random",
    "ring_phase",
    "simulate",
    "simulate_fixed_step",
    "small_world_neighbours",
]
