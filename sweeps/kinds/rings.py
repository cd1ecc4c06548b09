"""Sweep kind ``rings``: uncoupled rings, the periodic orbits that they reach from many initial states."""

import math
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import xarray as xr
from pydantic import Field

from isophase.sweeps.kinds.base import Cost, Kind, Located, Parameters, Record, variable

SWITCHES_PER_SECOND = 3.5e6  # exact kernel, events sorted and searched for orbits, one core
SWITCHES_PER_NEURON_AND_TAU = 0.6
RUN_PER_NEURON = 10.0  # tau run per N^2, all horizons together: spacing relaxes in a time that grows as N^2
REPEATED = 1.4  # the longer horizons start again at t = 0
BYTES_PER_NEURON = 17  # drive, firing and spacing of all states at once
LEAST_DELAY = 1e-3  # small rings may switch once per delay
NO_STATE = -1  # pads necklaces to the number of states


class RingsParameters(Parameters):
    ring_size: int = Field(ge=2, le=4096, description="neurons of the ring")
    delay: float = Field(0.01, ge=0, description="propagation delay, in tau")
    v_high: float = Field(0.49, gt=0, description="drive at which a neuron starts firing")
    v_low: float = Field(0.2, ge=1e-6, description="drive below which it stops")
    sampling: Literal["random", "necklaces"] = "random"
    states: int = Field(
        128, ge=1, le=1_000_000, description="initial states; room for as many with sampling='necklaces'"
    )


class RingsRecord(Record):
    t_end: float = Field(gt=0, le=1e5, description="time by which a ring must have settled, in tau")
    intervals: int = Field(32, ge=1, le=4096, description="longest spacing that is kept, in pulses")


class Rings(Kind):
    """Uncoupled rings."""

    name = "rings"
    parameters = RingsParameters
    record = RingsRecord
    shape_parameters = ("states",)
    seed_free = ("delay", "v_high", "v_low")  # the same initial states under every delay and thresholds
    work_unit = "orbits"
    reduction = Located("isophase.analysis.lattices.orbits:REDUCTION")
    report = Located("isophase.analysis.lattices.orbit_report:REPORT")

    def group_name(self, parameters: RingsParameters) -> str:
        """All ring sizes share a group, ``ring_size`` being an axis of it; numbers of states do not."""
        return f"states-{parameters.states}"

    def check(self, parameters: RingsParameters, record: RingsRecord) -> None:
        from isophase.kernels.orbits import MAX_NECKLACE, n_necklaces

        if parameters.v_low >= parameters.v_high:
            raise ValueError(f"v_low={parameters.v_low}: must be below v_high={parameters.v_high}")
        if 0 < parameters.delay < LEAST_DELAY:
            raise ValueError(
                f"delay={parameters.delay}: must be 0 or at least {LEAST_DELAY:g}; "
                "small rings may switch once per delay"
            )
        if parameters.sampling == "necklaces":
            if parameters.ring_size > MAX_NECKLACE:
                raise ValueError(
                    f"ring_size={parameters.ring_size}: must be at most {MAX_NECKLACE} with sampling='necklaces'; "
                    "longer rings have too many firing patterns, use sampling='random'"
                )
            if parameters.states < (number := n_necklaces(parameters.ring_size)):
                raise ValueError(
                    f"states={parameters.states}: must be at least {number}, "
                    f"the firing patterns of a ring of {parameters.ring_size} up to rotation"
                )

    def template(self, parameters: RingsParameters, record: RingsRecord) -> xr.Dataset:
        state = {"long_name": "number of the initial state"}
        interval = {"long_name": "number of the interval between onsets"}
        coords = {
            "state": ("state", np.arange(parameters.states), state),
            "interval": ("interval", np.arange(record.intervals), interval),
        }
        attrs = {"long_name": "orbits that the states settled on, rest included", "units": "1"}
        return xr.Dataset({**recorded(parameters, record), "orbits": variable((), (), "int64", attrs)}, coords=coords)

    def cost(self, parameters: RingsParameters, record: RingsRecord) -> Cost:
        size, states = parameters.ring_size, parameters.states
        run_time = min(REPEATED * record.t_end, 100.0 + RUN_PER_NEURON * size**2)
        return Cost(
            0.05 + SWITCHES_PER_NEURON_AND_TAU * states * size * run_time / SWITCHES_PER_SECOND,
            BYTES_PER_NEURON * states * size,
        )

    def work(self, record: RingsRecord, scalars: Mapping[str, Any]) -> float:
        return float(scalars["orbits"])

    def run_point(self, parameters: RingsParameters, seed: np.random.SeedSequence, record: RingsRecord) -> xr.Dataset:
        from isophase.kernels import orbits

        states, size = parameters.states, parameters.ring_size
        if parameters.sampling == "necklaces":
            drive, firing, weight = orbits.necklace_states(size)
        else:
            drive, firing = orbits.random_states(size, states, seed)
            weight = np.ones(states)
        found = orbits.find_orbits(
            drive, firing, t_end=record.t_end, delay=parameters.delay, v_high=parameters.v_high, v_low=parameters.v_low
        )
        arrays, wanted = {}, recorded(parameters, record)
        for name, template in wanted.items():
            empty = {"outcome": NO_STATE, "pulses": NO_STATE, "onsets": 0, "weight": 0}.get(name, math.nan)
            arrays[name] = np.full(template.shape, empty, template.dtype)
            if name == "weight":
                arrays[name][: len(found)] = weight
            elif name != "spacing":
                arrays[name][: len(found)] = found[name]
        kept, fits = min(size, record.intervals), np.isfinite(found["spacing"]).sum(1) <= record.intervals
        arrays["spacing"][: len(found), :kept][fits] = found["spacing"][fits, :kept]
        settled = found[np.isin(found["outcome"], orbits.SETTLED)]
        labels = orbits.classify(settled["pulses"], settled["spacing"])
        outcome = xr.Dataset({name: (template.dims, arrays[name]) for name, template in wanted.items()})
        return outcome.assign(orbits=len(np.unique(labels)))


def recorded(parameters: RingsParameters, record: RingsRecord) -> dict[str, xr.Variable]:
    """The arrays of a point."""
    from isophase.kernels.orbits import OUTCOMES

    states = parameters.states

    def per_state(dtype: str, long_name: str, units: str = "1", **attrs: Any) -> xr.Variable:
        return variable(("state",), (states,), dtype, {"units": units, "long_name": long_name, **attrs})

    flags: dict[str, Any] = {"flag_values": list(range(len(OUTCOMES))), "flag_meanings": " ".join(OUTCOMES)}
    number = {"comment": "-1 where an instant does not end (delay 0), and in rows that hold no state"}
    shape = (states, record.intervals)
    spacing = {
        "units": "1",
        "long_name": "intervals between onsets of slot 0 in one revolution, as fractions of their sum",
        "comment": "in one pattern where a revolution is no whole number of them; NaN beyond the last interval",
    }
    return {
        "outcome": per_state("int8", "what the ring settled on", comment="-1 in rows that hold no state", **flags),
        "pulses": per_state("int32", "pulses that go round", **number),
        "onsets": per_state(
            "int32", "onsets of a neuron after which the ring repeats itself", comment="0: it does not"
        ),
        "period": per_state("float64", "mean interval between onsets of a neuron", "tau"),
        "pattern_period": per_state("float64", "time after which the ring repeats itself", "tau"),
        "unevenness": per_state("float64", "longest minus shortest interval between onsets of a neuron, in periods"),
        "drift": per_state("float64", "change of the pattern as it repeats, in periods"),
        "captured": per_state("float64", "time since which the number of pulses is the same", "tau"),
        "transient": per_state("float64", "time from which the ring repeats itself to 1e-6 of the period", "tau"),
        "weight": per_state(
            "float64", "firing patterns that the state stands for", comment="0 in rows without a state"
        ),
        "spacing": variable(("state", "interval"), shape, "float64", spacing),
    }
