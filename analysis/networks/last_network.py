"""What the network of the last checkpoint does: its attractors, and how its states encode time.

Also the weights, the step and the Jacobian of a recorded network, which ``training`` follows through all checkpoints.
"""

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import xarray as xr

from isophase.analysis.networks.attractors import classify_attractors, compose
from isophase.analysis.networks.time_encoding import (
    counting,
    eigenplane,
    elapsed_steps,
    phase_encoding,
    restricted_accuracy,
)
from isophase.analysis.schemes import parameters
from isophase.kernels.automata import RelativeClock, task_from
from isophase.kernels.training_run import WEIGHTS

UNITS = {
    "attractor": "", "attractor_period": "steps", "lyapunov": "nats per step", "rotation_number": "1",
    "rotation_error": "1",
    "driven_attractor": "", "driven_period": "words", "driven_lyapunov": "nats per word", "driven_word": "steps",
    "encoding_correlation": "1", "encoding_correlation_low": "1", "encoding_correlation_high": "1",
    "encoding_p_value": "1", "accuracy_full": "1", "accuracy_restricted": "1",
    "plane_states": "1", "plane_orbit": "1", "plane_fixed_points": "1", "axis": "", "orbit_step": "",
    "counting_rank_correlation": "1", "counting_probe_r2": "1", "counting_probe_error": "steps",
}  # fmt: skip
"""Of every variable and dimension that :class:`LastNetwork` yields, whatever the task."""
# Of the orbit under a periodic input, in repetitions of its word: what settles at all does so within few of them
DRIVEN: dict[str, int] = {"transient": 500, "length": 1024, "rounds": 2}


def network(dataset: xr.Dataset, checkpoint: int | slice = slice(None)) -> Any:
    """``kernels.rnn.Weights`` of a group at one seed and at a position (or slice) along ``checkpoint``; float64."""
    from isophase.kernels.rnn import Weights

    return Weights(*(dataset[name].isel(checkpoint=checkpoint).values.astype(float) for name in WEIGHTS))


@cache
def step_of(cell: str) -> Any:
    """``((weights, u), h) -> h'`` of a cell; the same object at every call, so that JAX compiles what uses it once."""
    from isophase.kernels.rnn import step

    def advance(parameters: Any, h: Any) -> Any:
        weights, u = parameters
        return step(cell, weights, h, u)

    return advance


def jacobian_at(cell: str, weights: Any, u: np.ndarray, h: np.ndarray) -> np.ndarray:
    """dF/dh [state, state_from] of a network at a state under an input, in double precision."""
    import jax

    with jax.enable_x64(True):
        return np.asarray(_jacobian(cell)((weights, u), h))


@cache
def _jacobian(cell: str) -> Any:
    import jax

    return jax.jit(jax.jacfwd(step_of(cell), argnums=1))


class LastNetwork:
    """Measures one network, from its group at one seed, its fixed points ``branches`` under every symbol at the last
    checkpoint, and its ``orbits`` [symbol, step, state] under every symbol alone."""

    def __init__(self, dataset: xr.Dataset, cell: str, branches: list[xr.Dataset], orbits: np.ndarray) -> None:
        self.dataset, self.cell, self.branches, self.orbits = dataset, cell, branches, orbits
        self.weights = network(dataset, -1)
        self.inputs = np.eye(len(orbits))
        self.states = dataset["probe_state"].rename(probe="sequence", state="hidden").astype(float)

    def point(self, symbol: int) -> np.ndarray:
        """Fixed point [state] under a symbol: the one that has been there longest; NaN where there is none."""
        exists = self.branches[symbol]["exists"].values
        born = self.branches[symbol]["born"].fillna(-1).values
        there = np.flatnonzero(exists)
        if not there.size:
            return np.full(self.orbits.shape[-1], np.nan)
        return self.branches[symbol]["h"].values[there[born[there].argmin()]]

    def basis(self, symbol: int, point: np.ndarray, dimensions: int) -> np.ndarray:
        """Leading eigenvectors [dimension, state] of the Jacobian at a point under a symbol."""
        return eigenplane(jacobian_at(self.cell, self.weights, self.inputs[symbol], point), dimensions)

    def attractors(self) -> xr.Dataset:
        """Attractor under every symbol alone, reached from the state 0."""
        number = len(self.orbits)
        parameters = (type(self.weights)(*(np.broadcast_to(part, (number, *part.shape)) for part in self.weights)),
                      self.inputs)  # fmt: skip
        found = classify_attractors(step_of(self.cell), parameters, self.orbits[:, -1], exponents=1)
        names = ("attractor", "period", "lyapunov", "rotation_number", "rotation_error")
        renamed = {"map": "symbol", "period": "attractor_period"}
        kept = found[list(names)].isel(exponent=0).drop_vars(["map", "exponent"], errors="ignore").rename(renamed)
        return _with_units(kept.assign_coords(symbol=self.dataset["symbol"]))

    def driven(self) -> xr.Dataset:
        """Attractor under a periodic input, reached from the state 0: every symbol in turn, held for half a period of
        the clock (so that two symbols make up a period), or for one step more than the threshold. Its period counts
        repetitions of that word."""
        hold = self.hold()
        number = len(self.orbits)
        one_map = type(self.weights)(*(part[None] for part in self.weights))
        over_word, zero = _over_word(self.cell, number, hold), np.zeros((1, self.orbits.shape[-1]))
        found = classify_attractors(over_word, one_map, zero, exponents=1, **DRIVEN).isel(map=0, exponent=0)
        names = {"attractor": "driven_attractor", "period": "driven_period", "lyapunov": "driven_lyapunov"}
        kept = found[list(names)].drop_vars(["map", "exponent"], errors="ignore").rename(names)
        kept["driven_word"] = ((), number * hold, {"long_name": "steps of the word of the input"})
        return _with_units(kept)

    def hold(self) -> int:
        """Steps for which :meth:`driven` holds a symbol, by the clock of the task that was learned last."""
        clock = task_from(parameters(self.dataset)).clock
        if isinstance(clock, RelativeClock):
            return clock.threshold + 1
        return int(self.dataset["last_period"]) // 2

    def time_of_day(self, symbol: int) -> xr.Dataset:
        """The angle in the eigenplane against the clock, and what a readout of three dimensions knows of it."""
        point, period = self.point(symbol), int(self.dataset["last_period"])
        size = self.states.sizes["hidden"]
        if not np.isfinite(point).all() or size < 3 or self.states.sizes["time"] <= period:
            return xr.Dataset()
        basis = self.basis(symbol, point, 3)
        plane = basis[:2]
        encoding = phase_encoding(self.states, period, point, plane, skip=period)
        dependent = self.dataset["time_dependent"].values[self.dataset["probe_symbols"].values.astype(int)] > 0
        readout = np.zeros((self.weights.readout.shape[0], size))
        readout[:, : self.weights.readout.shape[1]] = self.weights.readout
        states = self.states.transpose("sequence", "time", "hidden").values
        accuracy = restricted_accuracy(states[dependent], self.dataset["probe_targets"].values[dependent], readout,
                                       self.weights.readout_bias, point, basis)  # fmt: skip
        renamed = {
            name: f"encoding_{name}" for name in ("correlation", "correlation_low", "correlation_high", "p_value")
        }
        found = encoding[list(renamed)].rename(renamed)
        found["accuracy_full"] = accuracy["accuracy"]
        found["accuracy_restricted"] = accuracy["accuracy_restricted"]
        fixed_points = np.stack([self.point(number) for number in range(len(self.orbits))])
        text = "in the eigenplane, from its fixed point"
        for name, dims, what, h in (
            ("states", ("probe", "time"), "probe states", states),
            (
                "orbit",
                ("orbit_step",),
                "orbit under the symbol alone",
                self.orbits[symbol, self.orbits.shape[1] // 2 :],
            ),
            ("fixed_points", ("symbol",), "fixed point under every symbol", fixed_points),
        ):
            found[f"plane_{name}"] = (
                (*dims, "axis"),
                (h - point) @ plane.T,
                {"long_name": f"{what} {text}"},
            )
        return _with_units(found)

    def counting(self, null: int) -> xr.Dataset:
        """The steps since the last symbol, in the states whose answer is that of the null fixed point."""
        point = self.point(null)
        if not np.isfinite(point).all():
            return xr.Dataset()
        elapsed = elapsed_steps(self.dataset["probe_symbols"].values.astype(int), null).astype(float)
        logits = self.weights.readout @ point[: self.weights.readout.shape[1]] + self.weights.readout_bias
        answer = int(logits[0] > 0) if len(logits) == 1 else int(logits.argmax())
        elapsed[self.dataset["probe_targets"].values != answer] = np.nan
        counted = counting(self.states, xr.DataArray(elapsed, dims=("sequence", "time")), point)
        names = ("distance_rank_correlation", "probe_r2", "probe_error")
        renamed = counted[list(names)].rename({name: f"counting_{name.removeprefix('distance_')}" for name in names})
        return _with_units(renamed)


def _with_units(found: xr.Dataset) -> xr.Dataset:
    for name, variable in found.data_vars.items():
        if units := UNITS[str(name)]:
            variable.attrs["units"] = units
    return found


@cache
def _over_word(cell: str, symbols: int, hold: int) -> Callable[[Any, Any], Any]:
    """The map over a word of every symbol in turn, each ``hold`` times; one object, so that it is compiled once."""
    return compose(step_of(cell), np.repeat(np.eye(symbols), hold, axis=0))
