"""Sweep kind ``lattice``: rings of differentiating neurons that share neurons, run by the exact event-driven kernel."""

import math
from typing import Any, Literal

import numpy as np
from pydantic import Field

from isophase.sweeps.kinds.base import Kind, Outcome, Parameters, Record, Scalar, Variable, one_by_one, recorded_floats

SWITCHES_PER_NEURON_AND_TAU = 0.65  # rings of 4 to 16 in the square schemes make 0.5 to 0.75
SWITCHES_PER_SECOND = 6e6  # the kernel with phases recorded, one core
SECONDS_PER_NEURON_AND_STEP = 2e-8  # the fixed-step scheme, one core
BYTES_PER_NEURON = 150  # network, state and events of the exact kernel
MIN_DT = 1e-6
CHUNK_BYTES = 4 * 2**20  # a few megabytes per compressed chunk: one map of a large lattice, all maps of a small one
SIDES = {"chain": 2, "triangular": 3, "square": 4, "hexagonal": 6}


class LatticeParameters(Parameters):
    tiling: Literal["chain", "triangular", "square", "hexagonal"] = "square"
    size: int = Field(ge=1, description="rings along each side of the lattice; rings in a chain")
    sharing: Literal["side", "corner", "none", "weak"] = "side"
    shared: int = Field(1, ge=0, description="neurons that adjacent rings share on their common side")
    private: int = Field(1, ge=0, description="neurons per side that belong to one ring only")
    orientation: Literal["co", "counter"] = "co"
    combine: Literal["sum", "mean"] = "sum"
    boundary: Literal["periodic", "open"] = "periodic"
    coupling: float = Field(0.1, ge=0, description="weight of the edges between rings with sharing='weak'")
    graph: Literal["tiling", "small_world"] = "tiling"
    neighbours: int = Field(4, ge=2, description="rings that each ring is joined to in a small world, even")
    rewire: float = Field(0.1, ge=0, le=1, description="probability that an edge of the small world is rewired")
    size_spread: int = Field(0, ge=0, description="ring sizes of a small world are uniform within this of their mean")
    initial: Literal["pulse", "random", "uniform", "plane_wave", "vortex_pair", "two_half_planes"] = "pulse"
    delay: float = Field(0.01, ge=0, description="propagation delay, in tau")
    v_high: float = Field(0.49, gt=0, description="drive at which a neuron starts firing")
    v_low: float = Field(0.2, ge=1e-6, description="drive below which it stops")
    dt: float = Field(0.0, ge=0, description="step of the fixed-step scheme, in tau; 0 is the exact kernel")

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of rings."""
        return 1 if self.tiling == "chain" else self.size, self.size

    @property
    def ring_size(self) -> int:
        return SIDES[self.tiling] * (self.shared + self.private)

    def scheme(self) -> dict[str, Any]:
        """The arguments of :meth:`isophase.kernels.lattice.Network.lattice`."""
        names = ("tiling", "sharing", "shared", "private", "orientation", "combine", "boundary", "coupling")
        rows, cols = self.shape
        return {"rows": rows, "cols": cols, **{name: getattr(self, name) for name in names}}


class LatticeRecord(Record):
    t_end: float = Field(gt=0, le=1e7, description="time of the last sample, in tau")
    samples: int = Field(60, ge=1, le=100_000, description="number of sample times")
    spacing: Literal["linear", "log"] = "linear"
    t_start: float | None = Field(None, gt=0, description="time of the first sample; linear: one step, log: 10 tau")

    def times(self) -> np.ndarray:
        """Sample times, shape (samples,), in tau."""
        if self.spacing == "log":
            return np.geomspace(self.t_start or min(10.0, self.t_end), self.t_end, self.samples)
        return np.linspace(self.t_start or self.t_end / self.samples, self.t_end, self.samples)


def group_name(parameters: Any) -> str:
    """Lattices of one tiling, size and boundary share a group: one geometry for every measurement of it."""
    return f"{parameters.tiling}-{parameters.size}" + ("-open" if parameters.boundary == "open" else "")


def check(parameters: LatticeParameters, record: LatticeRecord) -> None:
    from isophase.kernels.lattice import check_scheme
    from isophase.kernels.lattice.simulate import MAX_DELAY, MIN_DELAY

    if parameters.v_low >= parameters.v_high:
        raise ValueError(f"v_low={parameters.v_low}: must be below v_high={parameters.v_high}")
    if 0 < parameters.delay < MIN_DELAY or parameters.delay > MAX_DELAY:
        raise ValueError(f"delay={parameters.delay}: must be 0 or from {MIN_DELAY:g} to {MAX_DELAY:g}")
    if 0 < parameters.dt < MIN_DT:
        raise ValueError(f"dt={parameters.dt}: must be 0 or at least {MIN_DT:g}")
    check_scheme(**parameters.scheme())
    if parameters.graph == "small_world":
        if (parameters.sharing, parameters.tiling) != ("weak", "chain"):
            raise ValueError(
                f"graph='small_world' with sharing={parameters.sharing!r}, tiling={parameters.tiling!r}: "
                "must be sharing='weak', tiling='chain': the rings of a small world are in no plane"
            )
        if parameters.neighbours % 2 or parameters.neighbours >= parameters.size:
            raise ValueError(f"neighbours={parameters.neighbours}: must be even and below size={parameters.size}")
    if parameters.size_spread > (0 if parameters.graph == "tiling" else parameters.ring_size - 2):
        raise ValueError(
            f"size_spread={parameters.size_spread}: must be 0 on a tiling, and leave rings of 2 in a small world"
        )


def check_record(record: LatticeRecord) -> None:
    if record.t_start is not None and record.t_start > record.t_end:
        raise ValueError(f"t_start={record.t_start}: must not exceed t_end={record.t_end}")
    if record.t_start is not None and record.t_start == record.t_end and record.samples > 1:
        raise ValueError(f"t_start={record.t_start}: must be below t_end={record.t_end} for samples={record.samples}")


def phase_variable(shape: tuple[int, int], record: LatticeRecord, name: str, comment: str = "") -> Variable:
    """The recorded phases of a lattice of rings or oscillators; chunks of whole maps."""
    per_map = 4 * math.prod(shape)
    attrs = {"units": "rad", "long_name": name} | ({"comment": comment} if comment else {})
    chunk = (min(record.samples, max(1, CHUNK_BYTES // per_map)), *shape)
    return Variable(("time", "row", "col"), (record.samples, *shape), "float32", attrs, chunk)


def variables(parameters: LatticeParameters, record: LatticeRecord) -> dict[str, Variable]:
    comment = "2 pi times the fraction of the interval between two onsets of firing of slot 0; NaN where undefined"
    return {"phase": phase_variable(parameters.shape, record, "phase of each ring", comment)}


def coordinates(parameters: Any, record: LatticeRecord) -> dict[str, tuple[np.ndarray, dict[str, Any]]]:
    return {"time": (record.times(), {"units": "tau", "long_name": "time"})}


def neurons(parameters: LatticeParameters) -> int:
    """Number of neurons of the lattice, to leading order in its size (boundaries apart)."""
    per_tile = {"side": 0.5, "corner": {"triangular": 1 / 6, "hexagonal": 1 / 3}.get(parameters.tiling, 0.25)}
    own = SIDES[parameters.tiling] * (per_tile.get(parameters.sharing, 1.0) * parameters.shared + parameters.private)
    return int(math.prod(parameters.shape) * own)


def tail(ring_size: int, delay: float, v_low: float) -> float:
    """Time beyond the last sample until the rings of a lattice have fired again and their phase is known, in tau.

    One pulse goes round a ring of N in N (T + delay), and T is at most that of M -> infinity in ``lattice.md``:
    ``z = (1 + sqrt(1 - 4 v_low)) / 2`` at least, or 1/2 where no such orbit exists. Two rounds leave room for rings
    that are still settling.
    """
    z = (1 - math.sqrt(max(1 - 4 * v_low, 0.0))) / 2
    return 2.0 * ring_size * (-math.log(z) + delay)


def estimate(parameters: LatticeParameters, record: LatticeRecord) -> float:
    if parameters.dt:
        return 0.1 + SECONDS_PER_NEURON_AND_STEP * neurons(parameters) * record.t_end / parameters.dt
    switches = SWITCHES_PER_NEURON_AND_TAU * neurons(parameters) * record.t_end
    return 0.02 + switches / SWITCHES_PER_SECOND


def memory(parameters: LatticeParameters, record: LatticeRecord) -> int:
    return BYTES_PER_NEURON * neurons(parameters) + recorded_floats(variables(parameters, record))


def run_point(parameters: LatticeParameters, seed: np.random.SeedSequence, record: LatticeRecord) -> Outcome:
    from isophase.kernels import lattice

    for_network, for_state = seed.spawn(2)
    net = network(parameters, for_network)
    drive, firing = initial_state(net, parameters, for_state)
    times = record.times()
    options: dict[str, Any] = {
        "drive": drive,
        "firing": firing,
        "t_end": record.t_end + tail(net.rings.shape[1], parameters.delay, parameters.v_low),
        "delay": parameters.delay,
        "v_high": parameters.v_high,
        "v_low": parameters.v_low,
        "sample_times": times,
    }
    if parameters.dt:
        run = lattice.simulate_fixed_step(net, dt=parameters.dt, **options)
    else:
        run = lattice.simulate(net, record=("phase",), **options)
    assert run.phase is not None
    scalars = {
        "n_switches": run.n_switches,
        "switching_rate": run.switching_rate,
        "delay_limited": run.delay_limited,
        "n_neurons": net.n_neurons,
    }
    return Outcome({"phase": run.phase.reshape(len(times), *net.shape).astype(np.float32)}, scalars)


def network(parameters: LatticeParameters, seed: np.random.SeedSequence) -> Any:
    from isophase.kernels.lattice import Network

    if parameters.graph == "tiling":
        return Network.lattice(**parameters.scheme())
    for_sizes, for_edges = seed.spawn(2)
    mean, spread = parameters.ring_size, parameters.size_spread
    sizes = np.random.default_rng(for_sizes).integers(mean - spread, mean + spread + 1, parameters.size)
    return Network.small_world(
        sizes, parameters.neighbours, parameters.rewire, parameters.coupling, for_edges, parameters.combine
    )


def initial_state(
    net: Any, parameters: LatticeParameters, seed: np.random.SeedSequence
) -> tuple[np.ndarray, np.ndarray]:
    from isophase.kernels.lattice import initial

    if parameters.initial in ("pulse", "random"):
        return getattr(initial, parameters.initial)(net, seed)
    field = getattr(initial, parameters.initial)
    phases = field(net.shape, 1, 1) if parameters.initial == "plane_wave" else field(net.shape)
    # The same field for every seed would be the same run: seeds differ by where the field's zero of phase is.
    offset = np.random.default_rng(seed).uniform(0, 2 * np.pi)
    return initial.ring_phase(net, phases + offset, parameters.delay, parameters.v_high, parameters.v_low)


LATTICE = Kind(
    name="lattice",
    parameters=LatticeParameters,
    record=LatticeRecord,
    shape_parameters=("tiling", "size", "boundary"),
    group_name=group_name,
    check=check,
    check_record=check_record,
    variables=variables,
    coordinates=coordinates,
    scalars={
        "n_switches": Scalar("int64", {"long_name": "switches of all neurons", "units": "1"}),
        "switching_rate": Scalar("float64", {"long_name": "switches per neuron and unit time", "units": "1/tau"}),
        "delay_limited": Scalar(
            "bool", {"long_name": "loops switch at the scale of the delay; phases are meaningless"}
        ),
        "n_neurons": Scalar("int64", {"long_name": "neurons of the lattice", "units": "1"}),
    },
    estimate=estimate,
    run=one_by_one(run_point),
    memory=memory,
)
