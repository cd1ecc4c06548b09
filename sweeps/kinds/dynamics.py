"""Sweep kind ``dynamics``: what a lattice does in the end, by its autocorrelation, the periods of its rings, and twins.

A twin is the same run but for a tiny kick; whether the two part says whether the lattice is chaotic.
"""

import math
from typing import Any

import numpy as np
import xarray as xr
from pydantic import Field

from isophase.sweeps.kinds.base import Cost, Located, Record, variable
from isophase.sweeps.kinds.lattice import Lattice, LatticeParameters, initial_state, network, recorded_at, tail

PERTURBATION = 1e-11  # of the drives, root mean square: above the rounding of a phase, 3e-13 at t = 1000, but not far
MAX_STEP = 0.75  # tau; no ring switches in less than two of them, without a delay that drives it
UNKNOWN = -1
BYTES_PER_PHASE = 80  # of a run, of its twin, and of what is made of both
FIELDS = {
    "period": ("float64", "tau", "mean interval between onsets of the parameter `slot`", {}),
    "period_spread": (
        "float64",
        "tau",
        "standard deviation of the intervals between onsets of the parameter `slot`",
        {},
    ),
    "recurrence": (
        "int8",
        "1",
        "intervals after which the ring repeats itself",
        {"comment": "to 1e-3; 0: it does not within 8; -1: not known"},
    ),
}
TWINS = {
    "separation": "root mean square difference of phase of a run and its twin",
    "separation_typical": "geometric mean over rings of the difference of phase of a run and its twin",
    "separation_largest": "largest difference of phase of a run and its twin",
}


class DynamicsParameters(LatticeParameters):
    dt: float = Field(0.0, ge=0, le=0, description="0: twins need the exact kernel")


class DynamicsRecord(Record):
    t_start: float = Field(gt=0, le=1e6, description="time at which the lattice is taken to have settled, in tau")
    t_end: float = Field(gt=0, le=1e6, description="end of the window that begins at t_start, in tau")
    samples: int = Field(801, ge=5, le=100_000, description="sample times in the window, both ends included; odd")
    twins: int = Field(2, ge=1, le=16, description="kicks, evenly spaced over the first half of the window")

    @property
    def step(self) -> float:
        """Time between samples, in tau."""
        return (self.t_end - self.t_start) / (self.samples - 1)

    @property
    def lags(self) -> int:
        """Samples in half of the window, both ends included: how long autocorrelation and twins are followed."""
        return self.samples // 2 + 1

    def times(self) -> np.ndarray:
        """Sample times, shape (samples,), in tau."""
        return np.linspace(self.t_start, self.t_end, self.samples)

    def kicks(self) -> np.ndarray:
        """Numbers of the samples at which twins are kicked, shape (twins,)."""
        return np.linspace(0, self.samples - self.lags, self.twins).astype(int)


class Dynamics(Lattice):
    """Lattices of rings of differentiating neurons, looked at in a window after they have settled."""

    name = "dynamics"
    parameters = DynamicsParameters
    record: Any = DynamicsRecord
    reduction = Located("isophase.analysis.lattices.dynamics:REDUCTION")
    report = Located("isophase.analysis.lattices.dynamics_report:REPORT")

    def check_record(self, record: Any) -> None:
        if record.t_start >= record.t_end:
            raise ValueError(f"t_start={record.t_start}: must be below t_end={record.t_end}")
        if record.samples % 2 == 0:
            raise ValueError(f"samples={record.samples}: must be odd, so that one is in the middle of the window")
        if record.step > MAX_STEP:
            least = math.ceil((record.t_end - record.t_start) / MAX_STEP) // 2 * 2 + 3
            raise ValueError(
                f"samples={record.samples}: must be at least {least} from t_start={record.t_start} to "
                f"t_end={record.t_end}; onsets are found from samples at most {MAX_STEP} tau apart"
            )
        if record.twins > 1 and len(np.unique(record.kicks())) < record.twins:
            raise ValueError(f"twins={record.twins}: must be at most {record.lags} with samples={record.samples}")

    def check(self, parameters: Any, record: Any) -> None:
        from isophase.kernels.lattice import dynamics

        super().check(parameters, record)
        deliveries = (math.ceil(record.t_start / dynamics.CLOCK) + 1) * parameters.delay
        if record.t_start <= deliveries:
            raise ValueError(
                f"t_start={record.t_start}: must be above {deliveries:g}; "
                f"a kick takes so many deliveries at delay={parameters.delay}"
            )

    def template(self, parameters: Any, record: Any) -> xr.Dataset:
        shape = parameters.shape
        found = {}
        for name, (dtype, units, long_name, attrs) in FIELDS.items():
            found[name] = variable(("row", "col"), shape, dtype, {"units": units, "long_name": long_name, **attrs})
        for name, long_name in TWINS.items():
            attrs = {"units": "rad", "long_name": long_name}
            found[name] = variable(("twin", "lag"), (record.twins, record.lags), "float64", attrs)
        correlation = {"units": "1", "long_name": "autocorrelation of the phases, mean rotation taken out"}
        found["autocorrelation"] = variable(("lag",), (record.lags,), "float64", correlation)
        for name, (dtype, attrs) in self.numbers.items():
            found[name] = variable((), (), dtype, attrs)
        coords: dict[str, Any] = {
            "lag": ("lag", record.step * np.arange(record.lags), {"units": "tau", "long_name": "lag"}),
            "twin": ("twin", record.times()[record.kicks()], {"units": "tau", "long_name": "time of the kick"}),
        }
        for dim, length in zip(("row", "col"), shape, strict=True):
            attrs = {"units": "ring spacings", "long_name": f"{dim} of the lattice of rings"}
            coords[dim] = (dim, np.arange(length), attrs)
        return xr.Dataset(found, coords=coords)

    def cost(self, parameters: Any, record: Any) -> Cost:
        from isophase.sweeps.kinds.lattice import LatticeRecord

        # twins are run from t = 0 as well
        one = super().cost(parameters, LatticeRecord(t_end=record.t_end, samples=1, t_start=None))
        nbytes = BYTES_PER_PHASE * record.samples * math.prod(parameters.shape)
        return Cost((1 + record.twins) * one.seconds, one.nbytes + nbytes)

    def context(self, parameters: Any, seed: np.random.SeedSequence) -> xr.Dataset:
        return xr.Dataset()

    def run_point(self, parameters: Any, seed: np.random.SeedSequence, record: Any) -> xr.Dataset:
        from isophase.kernels.lattice import dynamics, simulate

        for_network, for_state, for_kicks = seed.spawn(3)
        net = network(parameters, for_network)
        drive, firing = initial_state(net, parameters, for_state)
        if parameters.slot:
            net = recorded_at(net, parameters.slot)
        rest = tail(net.rings.shape[1], parameters.delay, parameters.v_low)
        options = {name: getattr(parameters, name) for name in ("delay", "v_high", "v_low")} | {"record": ("phase",)}
        times = record.times()
        run = simulate(net, drive=drive, firing=firing, t_end=times[-1] + rest, sample_times=times, **options)
        phase = run.phase
        assert phase is not None
        apart = np.empty((len(TWINS), record.twins, record.lags))
        rng = np.random.default_rng(for_kicks)
        for number, start in enumerate(record.kicks()):
            kick = PERTURBATION * rng.standard_normal(net.n_neurons)
            twin = dynamics.kicked_twin(net, drive, firing, kick, times[start], parameters.delay, parameters.v_low)
            window = slice(start, start + record.lags)
            other = simulate(
                twin.network, drive=twin.drive, firing=twin.firing, t_end=times[window][-1] + rest,
                sample_times=times[window], **options,
            ).phase  # fmt: skip
            assert other is not None
            apart[:, number] = dynamics.separation(phase[window], other)
        found = {name: (("twin", "lag"), values) for name, values in zip(TWINS, apart, strict=True)}
        rings = [_of_ring(intervals) for intervals in dynamics.onset_intervals(phase, record.step)]
        for name, values in zip(FIELDS, zip(*rings, strict=True), strict=True):
            found[name] = (("row", "col"), np.array(values, FIELDS[name][0]).reshape(net.shape))
        scalars = {
            "n_switches": run.n_switches,
            "switching_rate": run.switching_rate,
            "delay_limited": run.delay_limited,
            "n_neurons": net.n_neurons,
        }
        correlation = dynamics.autocorrelation(phase, record.lags)
        return xr.Dataset({**found, "autocorrelation": (("lag",), correlation), **scalars})


def _of_ring(intervals: np.ndarray | None) -> tuple[float, float, int]:
    """Period, its spread and the recurrence of a ring."""
    from isophase.kernels.lattice import dynamics

    if intervals is None or not len(intervals):
        return math.nan, math.nan, UNKNOWN
    spread = float(intervals.std(ddof=1)) if len(intervals) > 1 else math.nan
    return float(intervals.mean()), spread, dynamics.recurrence(intervals)
