"""Sweep kind ``kuramoto``: phase oscillators on the same tilings, recorded like the rings so that both reduce alike."""

import math
from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import numpy as np
import xarray as xr
from pydantic import Field

from isophase.sweeps.kinds.base import Cost, Parameters
from isophase.sweeps.kinds.lattice import LatticeKind, LatticeRecord, stored_phase

SECONDS_PER_OSCILLATOR_AND_STEP = 1.2e-7  # four stages of Runge-Kutta, one core
BYTES_PER_OSCILLATOR = 100  # phases, frequencies, neighbours and the stages of Runge-Kutta
MAX_RATE = 1e6


class KuramotoParameters(Parameters):
    tiling: Literal["chain", "triangular", "square", "hexagonal"] = "square"
    size: int = Field(ge=2, description="oscillators along each side of the lattice; oscillators in a chain")
    boundary: Literal["periodic", "open"] = "periodic"
    coupling: float = Field(1.0, ge=-MAX_RATE, le=MAX_RATE, description="coupling of neighbours, in radians per tau")
    frequencies: Literal["identical", "normal", "uniform", "lorentz"] = "identical"
    width: float = Field(
        0.0, ge=0, le=MAX_RATE, description="width of the distribution of natural frequencies, in radians per tau"
    )

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of oscillators."""
        return 1 if self.tiling == "chain" else self.size, self.size


class Kuramoto(LatticeKind):
    """Lattices of Kuramoto oscillators."""

    name = "kuramoto"
    parameters = KuramotoParameters
    work_unit = "steps"
    phase: ClassVar = {"long_name": "phase of each oscillator"}
    numbers: ClassVar = {"dt": ("float64", {"long_name": "step of the integrator", "units": "tau"})}

    def check(self, parameters: KuramotoParameters, record: LatticeRecord) -> None:
        from isophase.kernels.lattice.tilings import check_tiles

        if parameters.frequencies == "identical" and parameters.width > 0:
            raise ValueError(f"width={parameters.width}: must be 0 for frequencies='identical'")
        check_tiles(parameters.tiling, *parameters.shape, parameters.boundary)

    def cost(self, parameters: KuramotoParameters, record: LatticeRecord) -> Cost:
        from isophase.kernels.kuramoto import expected_rate, step_of
        from isophase.kernels.lattice.tilings import SIDES

        number, sides = math.prod(parameters.shape), SIDES[parameters.tiling]
        rate = expected_rate(parameters.frequencies, parameters.width, number, parameters.coupling, sides)
        steps = max(record.t_end / step_of(rate), record.samples)
        seconds = 0.01 + SECONDS_PER_OSCILLATOR_AND_STEP * number * steps
        return Cost(seconds, BYTES_PER_OSCILLATOR * number)

    def work(self, record: LatticeRecord, scalars: Mapping[str, Any]) -> float:
        return record.t_end / float(scalars["dt"])

    def run_point(
        self, parameters: KuramotoParameters, seed: np.random.SeedSequence, record: LatticeRecord
    ) -> xr.Dataset:
        from isophase.kernels.kuramoto import natural_frequencies, simulate_kuramoto
        from isophase.kernels.lattice.tilings import ring_neighbours

        rows, cols = parameters.shape
        for_phases, for_frequencies = seed.spawn(2)
        omega = natural_frequencies(parameters.frequencies, parameters.width, rows * cols, for_frequencies)
        theta = np.random.default_rng(for_phases).uniform(0, 2 * np.pi, rows * cols)
        neighbours = ring_neighbours(parameters.tiling, rows, cols, parameters.boundary)
        result = simulate_kuramoto(neighbours, omega, parameters.coupling, theta, record.times())
        phase = stored_phase(result.phase.reshape(-1, rows, cols))
        return xr.Dataset({"phase": (("time", "row", "col"), phase), "dt": result.dt})
