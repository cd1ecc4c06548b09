"""Sweep kind ``kuramoto``: phase oscillators on the same tilings, recorded like the rings so that both reduce alike."""

import math
from typing import Any, Literal

import numpy as np
from pydantic import Field

from isophase.sweeps.kinds.base import Kind, Outcome, Parameters, Scalar, Variable, one_by_one, recorded_floats
from isophase.sweeps.kinds.lattice import SIDES, LatticeRecord, check_record, coordinates, group_name, phase_variable

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


def check(parameters: KuramotoParameters, record: LatticeRecord) -> None:
    from isophase.kernels.lattice.tilings import check_tiles

    if parameters.frequencies == "identical" and parameters.width > 0:
        raise ValueError(f"width={parameters.width}: must be 0 for frequencies='identical'")
    check_tiles(parameters.tiling, *parameters.shape, parameters.boundary)


def variables(parameters: KuramotoParameters, record: LatticeRecord) -> dict[str, Variable]:
    return {"phase": phase_variable(parameters.shape, record, "phase of each oscillator")}


def estimate(parameters: KuramotoParameters, record: LatticeRecord) -> float:
    from isophase.kernels.kuramoto import STEPS_PER_UNIT_RATE

    rate = abs(parameters.coupling) * SIDES[parameters.tiling] + 2 * parameters.width
    rows, cols = parameters.shape
    return 0.01 + SECONDS_PER_OSCILLATOR_AND_STEP * rows * cols * record.t_end * rate * STEPS_PER_UNIT_RATE


def memory(parameters: KuramotoParameters, record: LatticeRecord) -> int:
    return BYTES_PER_OSCILLATOR * math.prod(parameters.shape) + recorded_floats(variables(parameters, record))


def run_point(parameters: KuramotoParameters, seed: np.random.SeedSequence, record: LatticeRecord) -> Outcome:
    from isophase.kernels.kuramoto import natural_frequencies, simulate_kuramoto
    from isophase.kernels.lattice.tilings import ring_neighbours

    rows, cols = parameters.shape
    for_phases, for_frequencies = seed.spawn(2)
    omega = natural_frequencies(parameters.frequencies, parameters.width, rows * cols, for_frequencies)
    theta = np.random.default_rng(for_phases).uniform(0, 2 * np.pi, rows * cols)
    neighbours = ring_neighbours(parameters.tiling, rows, cols, parameters.boundary)
    result = simulate_kuramoto(neighbours, omega, parameters.coupling, theta, record.times())
    return Outcome({"phase": result.phase.reshape(-1, rows, cols).astype(np.float32)}, {"dt": result.dt})


SCALARS: dict[str, Any] = {"dt": Scalar("float64", {"long_name": "step of the integrator", "units": "tau"})}

KURAMOTO = Kind(
    name="kuramoto",
    parameters=KuramotoParameters,
    record=LatticeRecord,
    shape_parameters=("tiling", "size", "boundary"),
    group_name=group_name,
    check=check,
    check_record=check_record,
    variables=variables,
    coordinates=coordinates,
    scalars=SCALARS,
    estimate=estimate,
    run=one_by_one(run_point),
    memory=memory,
)
