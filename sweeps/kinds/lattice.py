"""Sweep kind ``lattice``: rings of differentiating neurons that share neurons, run by the exact event-driven kernel."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import numpy as np
import xarray as xr
from pydantic import Field

from isophase.sweeps.kinds.base import Cost, Kind, Located, Parameters, Record, variable

SWITCHES_PER_NEURON_AND_TAU = 0.65  # rings of 4 to 16 in the square schemes make 0.5 to 0.75
SWITCHES_PER_SECOND = 6e6  # the kernel with phases recorded, one core
SECONDS_PER_NEURON_AND_STEP = 2e-8  # the fixed-step scheme, one core
MIN_DT = 1e-6
MAX_COUPLING = 1e6  # of resting inputs below 1; the drive of a neuron has to stay a number
PILOT_SIDE = 8  # rings; whether loops switch at the scale of the delay is a matter of neighbours
PILOT_DELAY = 1e-3  # at least, in tau: at shorter ones such a pilot would take as long as what it warns of
PILOT_TIME = 20.0  # tau, beside two rounds of a ring
LEAST_SIDE = 16  # rings: up to half of the side C is read, and beyond a quarter lengths feel it
LEAST_PERIODS = 20  # of a ring in a run
CHUNK_BYTES = 4 * 2**20  # a few megabytes per compressed chunk: one map of a large lattice, all maps of a small one


class LatticeParameters(Parameters):
    tiling: Literal["chain", "triangular", "square", "hexagonal"] = "square"
    size: int = Field(ge=1, description="rings along each side of the lattice; rings in a chain")
    sharing: Literal["side", "corner", "none", "weak"] = "side"
    shared: int = Field(1, ge=0, description="neurons that adjacent rings share on their common side")
    private: int = Field(1, ge=0, description="neurons per side that belong to one ring only")
    orientation: Literal["co", "counter"] = "co"
    combine: Literal["sum", "mean"] = "sum"
    boundary: Literal["periodic", "open"] = "periodic"
    coupling: float = Field(
        0.1, ge=0, le=MAX_COUPLING, description="weight of the edges between rings with sharing='weak'"
    )
    graph: Literal["tiling", "small_world"] = "tiling"
    neighbours: int = Field(4, ge=2, description="rings that each ring is joined to in a small world, even")
    rewire: float = Field(0.1, ge=0, le=1, description="probability that an edge of the small world is rewired")
    size_spread: int = Field(0, ge=0, description="ring sizes of a small world are uniform within this of their mean")
    initial: Literal["pulse", "random", "uniform", "plane_wave", "vortex_pair", "two_half_planes", "patch"] = "pulse"
    patch: Literal["disordered", "coherent", "staggered"] = Field(
        "disordered", description="state of the patch of initial='patch': from pulses, in phase, or in anti-phase"
    )
    patch_around: Literal["disordered", "coherent", "staggered"] = Field(
        "coherent", description="state around the patch"
    )
    patch_shape: Literal["disc", "band"] = Field("disc", description="a disc, or a band of columns: two half-planes")
    patch_size: float = Field(
        0.25, gt=0, lt=1, description="diameter of the disc, or width of the band, in sides of the lattice"
    )
    delay: float = Field(0.01, ge=0, description="propagation delay, in tau")
    v_high: float = Field(0.49, gt=0, description="drive at which a neuron starts firing")
    v_low: float = Field(0.2, ge=1e-6, description="drive below which it stops")
    dt: float = Field(0.0, ge=0, description="step of the fixed-step scheme, in tau; 0 is the exact kernel")
    slot: int = Field(0, ge=0, description="neuron of a ring whose onsets of firing give the ring its phase")

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of rings."""
        return 1 if self.tiling == "chain" else self.size, self.size

    @property
    def ring_size(self) -> int:
        """Neurons of a ring; the mean of a small world's."""
        from isophase.kernels.lattice.tilings import SIDES

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


class LatticeKind(Kind):
    """What lattices of rings and of Kuramoto oscillators have in common: they record phases, and reduce alike."""

    record = LatticeRecord
    shape_parameters = ("tiling", "size", "boundary")
    reduction = Located("isophase.analysis.lattices.summary:REDUCTION")
    report = Located("isophase.analysis.lattices.report:REPORT")
    phase: ClassVar[dict[str, str]]  # attributes of the phases
    numbers: ClassVar[dict[str, tuple[str, dict[str, str]]]]  # type and attributes of what has no dimension

    def group_name(self, parameters: Any) -> str:
        """Lattices of one tiling, size and boundary share a group: one geometry for every measurement of it."""
        return f"{parameters.tiling}-{parameters.size}" + ("-open" if parameters.boundary == "open" else "")

    def check_record(self, record: LatticeRecord) -> None:
        if record.t_start is not None and record.t_start > record.t_end:
            raise ValueError(f"t_start={record.t_start}: must not exceed t_end={record.t_end}")
        if record.t_start is not None and record.t_start == record.t_end and record.samples > 1:
            raise ValueError(
                f"t_start={record.t_start}: must be below t_end={record.t_end} for samples={record.samples}"
            )

    def template(self, parameters: Any, record: LatticeRecord) -> xr.Dataset:
        per_map = 4 * math.prod(parameters.shape)
        chunk = (min(record.samples, max(1, CHUNK_BYTES // per_map)), *parameters.shape)
        shape = (record.samples, *parameters.shape)
        phase = variable(("time", "row", "col"), shape, "float32", {"units": "rad"} | self.phase, chunk)
        scalars = {name: variable((), (), dtype, attrs) for name, (dtype, attrs) in self.numbers.items()}
        coords: dict[str, Any] = {"time": ("time", record.times(), {"units": "tau", "long_name": "time"})}
        for dim, length in zip(("row", "col"), parameters.shape, strict=True):
            attrs = {"units": "ring spacings", "long_name": f"{dim} of the lattice of rings"}
            coords[dim] = (dim, np.arange(length), attrs)
        return xr.Dataset({"phase": phase, **scalars}, coords=coords)


class Lattice(LatticeKind):
    """Lattices of rings of differentiating neurons."""

    name = "lattice"
    parameters = LatticeParameters
    seed_free = ("delay", "dt", "v_high", "v_low", "slot")  # one network and state is followed under all of them
    work_unit = "switches"
    phase: ClassVar = {
        "long_name": "phase of each ring",
        "comment": "2 pi times the fraction of the interval between two onsets of firing of the parameter `slot`; "
        "NaN where undefined",
    }
    numbers: ClassVar = {
        "n_switches": ("int64", {"long_name": "switches of all neurons", "units": "1"}),
        "switching_rate": ("float64", {"long_name": "switches per neuron and unit time", "units": "1/tau"}),
        "delay_limited": ("bool", {"long_name": "loops switch at the scale of the delay; phases are meaningless"}),
        "n_neurons": ("int64", {"long_name": "neurons of the lattice", "units": "1"}),
    }

    def seed_free_of(self, parameters: LatticeParameters, streams: int) -> tuple[str, ...]:
        if streams == 1:
            return ()
        return self.seed_free if parameters.sharing == "weak" else (*self.seed_free, "coupling")

    def check_record(self, record: LatticeRecord) -> None:
        super().check_record(record)
        times = record.times()
        if len(times) > 1 and times[0] >= times[-1]:
            raise ValueError(
                f"t_end={record.t_end}: must be beyond the first sample at {times[0]:g} tau; give t_start below it"
            )

    def check(self, parameters: LatticeParameters, record: LatticeRecord) -> None:
        from isophase.kernels.lattice import check_scheme
        from isophase.kernels.lattice.fixed_step import check_step
        from isophase.kernels.lattice.initial import check_initial
        from isophase.kernels.lattice.simulate import MAX_DELAY, MIN_DELAY

        if parameters.v_low >= parameters.v_high:
            raise ValueError(f"v_low={parameters.v_low}: must be below v_high={parameters.v_high}")
        if 0 < parameters.delay < MIN_DELAY or parameters.delay > MAX_DELAY:
            raise ValueError(f"delay={parameters.delay}: must be 0 or from {MIN_DELAY:g} to {MAX_DELAY:g}")
        if 0 < parameters.dt < MIN_DT:
            raise ValueError(f"dt={parameters.dt}: must be 0 or at least {MIN_DT:g}")
        check_scheme(**parameters.scheme())
        if parameters.dt:
            check_step(parameters.dt, record.t_end, parameters.delay)
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
        if parameters.slot >= (least := parameters.ring_size - parameters.size_spread):
            raise ValueError(f"slot={parameters.slot}: must be below {least}, the neurons of the smallest ring")
        if parameters.initial == "patch" and parameters.patch == parameters.patch_around:
            raise ValueError(f"patch={parameters.patch!r}, patch_around={parameters.patch_around!r}: must differ")
        # of the two states of a patch one is a field of phase, without vortices
        field = "uniform" if parameters.initial == "patch" else parameters.initial
        check_initial(
            field, parameters.tiling, *parameters.shape, parameters.ring_size, parameters.delay,
            parameters.v_high, parameters.v_low, parameters.size_spread,
        )  # fmt: skip

    def cost(self, parameters: LatticeParameters, record: LatticeRecord) -> Cost:
        from isophase.kernels.lattice import memory_bytes

        number = neurons(parameters)
        t_end = record.t_end + tail(parameters.ring_size, parameters.delay, parameters.v_low)
        nbytes = memory_bytes(number, parameters.delay, parameters.dt, t_end, record.samples)
        if parameters.dt:
            return Cost(0.1 + SECONDS_PER_NEURON_AND_STEP * number * record.t_end / parameters.dt, nbytes)
        switches = SWITCHES_PER_NEURON_AND_TAU * number * record.t_end
        return Cost(0.02 + switches / SWITCHES_PER_SECOND, nbytes)

    def warnings(self, parameters: LatticeParameters, record: LatticeRecord) -> tuple[str, ...]:
        """Of lattices too small, runs too short, and loops that switch at the scale of the delay; a pilot tells."""
        found = []
        if parameters.size < LEAST_SIDE:
            half, quarter = parameters.size // 2, parameters.size / 4
            found.append(
                f"size={parameters.size}: too small for most lengths: none beyond {half} ring spacings can be read, "
                f"and one beyond {quarter:g} feels the size"
            )
        rate, delay_limited, period = _pilot(parameters)
        if delay_limited:
            times = rate / SWITCHES_PER_NEURON_AND_TAU
            found.append(
                f"delay-limited: loops switch at the scale of the delay ({rate:.3g} switches per neuron and tau in a "
                f"pilot), so the rings have no phase and no length; takes some {times:.0f} times the estimate"
            )
        elif record.t_end < LEAST_PERIODS * period:
            found.append(
                f"t_end={record.t_end:g}: too short: {record.t_end / period:.0f} periods of a ring "
                f"(of {period:.3g} tau in a pilot); lengths settle in {LEAST_PERIODS} and more"
            )
        return tuple(found)

    def work(self, record: LatticeRecord, scalars: Mapping[str, Any]) -> float:
        return float(scalars["n_switches"])

    def run_point(
        self, parameters: LatticeParameters, seed: np.random.SeedSequence, record: LatticeRecord
    ) -> xr.Dataset:
        from isophase.kernels import lattice

        for_network, for_state = seed.spawn(2)
        net = network(parameters, for_network)
        drive, firing = initial_state(net, parameters, for_state)
        if parameters.slot:
            net = recorded_at(net, parameters.slot)
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
        phase = stored_phase(run.phase.reshape(len(times), *net.shape))
        return xr.Dataset({"phase": (("time", "row", "col"), phase), **scalars})

    def context(self, parameters: LatticeParameters, seed: np.random.SeedSequence) -> xr.Dataset:
        """The graph of a small world, which no tiling says: the neighbours of each ring, -1 where it has no more."""
        from isophase.kernels.lattice.network import small_world_neighbours

        if parameters.graph == "tiling":
            return xr.Dataset()
        _, for_edges = seed.spawn(2)[0].spawn(2)
        joined = small_world_neighbours(parameters.size, parameters.neighbours, parameters.rewire, for_edges)
        dims = ("ring", "neighbour")
        return xr.Dataset({"graph_neighbours": (dims, joined)}, coords={"neighbour": np.arange(joined.shape[1])})


def stored_phase(phase: np.ndarray) -> np.ndarray:
    """Phases as they are kept, float32 in [0, 2 pi): the last ones below 2 pi round to more than that."""
    rounded = phase.astype(np.float32)
    rounded[rounded >= 2 * np.pi] = 0.0
    return rounded


def _pilot(parameters: LatticeParameters) -> tuple[float, bool, float]:
    """Of a small lattice of the scheme from pulses: final switching rate, ``delay_limited``, and period of a ring."""
    from isophase.kernels import lattice

    delay = max(parameters.delay + parameters.dt, PILOT_DELAY)
    side = max(PILOT_SIDE, parameters.neighbours + 2) if parameters.graph == "small_world" else PILOT_SIDE
    small = parameters.model_copy(update={"size": min(parameters.size, side), "initial": "pulse"})
    for_network, for_state = np.random.SeedSequence(0).spawn(2)
    net = network(small, for_network)
    drive, firing = initial_state(net, small, for_state)
    options: dict[str, Any] = {"delay": delay, "v_high": parameters.v_high, "v_low": parameters.v_low}
    t_end = PILOT_TIME + tail(net.rings.shape[1], delay, parameters.v_low)
    run = lattice.simulate(net, drive=drive, firing=firing, t_end=t_end, record=("events",), **options)
    assert run.events is not None
    onset = run.events.switch == 1
    order = np.argsort(run.events.neuron[onset], kind="stable")
    time, neuron = run.events.time[onset][order], run.events.neuron[onset][order]
    intervals = np.diff(time)[neuron[1:] == neuron[:-1]]
    rate = np.count_nonzero(run.events.time > 0.75 * t_end) / (0.25 * t_end * net.n_neurons)  # it spreads at first
    return rate, run.delay_limited, float(np.median(intervals)) if len(intervals) else math.inf


def recorded_at(net: Any, slot: int) -> Any:
    """The same network with this slot of every ring as its slot 0, whose onsets a simulation records."""
    rings = net.rings.copy()
    rings[:, [0, slot]] = rings[:, [slot, 0]]
    return dataclasses.replace(net, rings=rings)


def neurons(parameters: LatticeParameters) -> int:
    """Number of neurons of the lattice, to leading order in its size (boundaries apart)."""
    from isophase.kernels.lattice.tilings import SIDES

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
    if parameters.initial == "patch":
        shape = initial.disc if parameters.patch_shape == "disc" else initial.band
        extent = max(1, round(parameters.patch_size * parameters.size))
        states = (_state(net, name, parameters, seed) for name in (parameters.patch, parameters.patch_around))
        return initial.patch(net, shape(net.shape, extent), *states)
    field = getattr(initial, parameters.initial)
    phases = field(net.shape, 1, 1) if parameters.initial == "plane_wave" else field(net.shape)
    return _in_phase_with(net, phases, parameters, seed)


def _state(net: Any, name: str, parameters: LatticeParameters, seed: np.random.SeedSequence) -> Any:
    """A state of a patch or around it; an ordered one is the same everywhere, and stays.

    Seeds differ in when slot 0 of a ring began to fire. At other phases than while it does, rings of some tilings lose
    their pulse in those that their neighbours hand them.
    """
    from isophase.kernels.lattice import initial

    if name == "disordered":
        return initial.pulse(net, seed)
    phases = initial.uniform(net.shape) if name == "coherent" else initial.staggered(net.shape)
    model = (parameters.delay, parameters.v_high, parameters.v_low)
    duration = initial.pulse_orbit(parameters.ring_size, *model)
    firing = 2 * np.pi / parameters.ring_size * duration / (duration + parameters.delay)
    offset = np.random.default_rng(seed).uniform(0, firing)
    return initial.ring_phase(net, phases + offset, *model, latest=True)


def _in_phase_with(net: Any, phases: np.ndarray, parameters: LatticeParameters, seed: np.random.SeedSequence) -> Any:
    """Rings at the phases of a field but for an offset: seeds differ by it, or every one would be the same run."""
    from isophase.kernels.lattice import initial

    offset = np.random.default_rng(seed).uniform(0, 2 * np.pi)
    return initial.ring_phase(net, phases + offset, parameters.delay, parameters.v_high, parameters.v_low)
