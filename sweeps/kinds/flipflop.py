"""Sweep kind ``flipflop``: recurrent networks trained on a timed automaton, with their curves and checkpoints."""

import hashlib
import json
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
import xarray as xr
from pydantic import Field

from isophase.kernels import training_run
from isophase.kernels.automata import TimedAutomaton, task_from
from isophase.sweeps.kinds.base import Cost, Kind, Located, Parameters, Record, variable

SECONDS_PER_UNIT = 4e-9  # of a hidden unit of one sequence, per gate, step and iteration; one core
SECONDS_PER_WEIGHT = 1e-10  # of a recurrent weight in one sequence, per step and iteration; one core
SECONDS_PER_STEP = 1e-5  # of a step of a whole batch
SECONDS_PER_EIGENVALUE = 3e-8  # of a matrix, times the cube of its rows
START_SECONDS = 0.5  # compiling, shared among the seeds that a worker trains
MAX_UNITS = 4096
MAX_ITERATIONS = 10_000_000
MAX_STEPS = 100_000
TREATMENT = (
    "then_period",
    "keep_optimizer",
    "optimizer",
    "learning_rate",
    "momentum",
    "clip",
    "initial_gain",
    "loss_on",
    "hold_modulus",
    "start_modulus",
)  # the same initial draws and sequences under every one of them: paired comparisons
RECORDED = {
    **training_run.RECORDED,
    "probe_state": (("probe", "time", "state"), training_run.RECORDED["probe_state"][1], "1"),  # of the last checkpoint
    "probe_targets": (("probe", "time"), "state of the automaton after each symbol, index", "1"),
    "time_dependent": (("symbol",), "whether the answer to the symbol depends on Theta", "1"),
}
COORDINATES = {dim: about for dim, about in training_run.COORDINATES.items() if dim != "probe_checkpoint"}


class FlipflopParameters(Parameters):
    clock: Literal["periodic", "relative"] = "periodic"
    period: int = Field(10, ge=2, description="period of the periodic clock, even, in steps")
    threshold: int = Field(5, ge=1, description="threshold of the relative clock, in steps")
    p: float = Field(0.2, gt=0, le=1, description="probability of a non-null symbol with the relative clock")
    automaton: dict[str, Any] | None = Field(
        None,
        description="an automaton of the user's, as kernels.automata.load_automaton reads it, with its own clock",
    )
    then_period: int = Field(0, ge=0, description="period to go on with for then_iterations; 0: the same task")
    keep_optimizer: bool = Field(False, description="go on with the optimizer's state too, instead of a new one")
    length: int = Field(60, ge=1, le=MAX_STEPS, description="steps of a sequence")
    batch: int = Field(128, ge=1, le=MAX_STEPS, description="sequences of an iteration")
    cell: Literal["rnn", "gru", "lstm"] = "rnn"
    n_hidden: int = Field(32, ge=1, le=MAX_UNITS, description="hidden units")
    optimizer: Literal["adam", "sgd", "rmsprop"] = "adam"
    learning_rate: float = Field(3e-3, gt=0, description="step size of the optimizer")
    momentum: float = Field(0.0, ge=0, lt=1, description="momentum of sgd and rmsprop")
    clip: float = Field(0.0, ge=0, description="largest global norm of the gradient; 0: any")
    initial_gain: float = Field(1.0, ge=0, description="factor of the initial recurrent weights")
    loss_on: Literal["all", "non-null"] = "all"
    hold_modulus: float = Field(0.0, ge=0, description="bound on the leading modulus at the fixed points; 0: none")
    start_modulus: float = Field(0.0, ge=0, description="leading modulus of the initial network; 0: as it comes")

    def task(self) -> TimedAutomaton:
        """The automaton to learn; ValueError where the parameters make none."""
        return task_from(dict(self))

    def then_task(self) -> TimedAutomaton:
        """The automaton to go on with."""
        try:
            return task_from(dict(self) | {"period": self.then_period}) if self.then_period else self.task()
        except ValueError as error:
            raise ValueError(str(error).replace("period=", "then_period=", 1)) from None


class FlipflopRecord(Record):
    iterations: int = Field(1000, ge=1, le=MAX_ITERATIONS, description="updates of the weights")
    then_iterations: int = Field(0, ge=0, le=MAX_ITERATIONS, description="updates on the second task, after those")
    checkpoints: int = Field(100, ge=1, le=100_000, description="checkpoints after the initial one, of either task")
    spacing: Literal["linear", "log"] = "linear"
    heldout: int = Field(512, ge=1, le=MAX_STEPS, description="held-out sequences, the same for every point")
    probe: int = Field(16, ge=1, le=MAX_STEPS, description="sequences whose states are recorded after the last update")

    def at(self) -> np.ndarray:
        """Checkpoints of the first task, in updates."""
        return _spaced(self.iterations, self.checkpoints, self.spacing)

    def then_at(self) -> np.ndarray:
        """Checkpoints of the second task, in updates since it began."""
        return _spaced(self.then_iterations, self.checkpoints, self.spacing)

    def checkpoint(self) -> np.ndarray:
        """Checkpoints of both tasks, in updates."""
        return np.append(self.at(), self.iterations + self.then_at()[1:])


def _spaced(iterations: int, count: int, spacing: str) -> np.ndarray:
    if spacing == "linear" or iterations == 0:
        return np.linspace(0, iterations, count + 1 if iterations else 1).astype(np.int64)
    return training_run.log_spaced(iterations, count + 1)


SCALARS: dict[str, tuple[str, dict[str, str]]] = {
    "then_from": ("int64", {"long_name": "iteration where the second task begins", "units": "iteration"}),
    "last_period": ("int64", {"long_name": "period of the last task's clock, 0 for none", "units": "steps"}),
    "null_symbol": ("int64", {"long_name": "index of the null symbol, -1 for none", "units": "1"}),
    "td_base_accuracy": ("float64", {"long_name": "accuracy of the best constant answer", "units": "1"}),
    "then_td_base_accuracy": (
        "float64",
        {"long_name": "accuracy of the best constant answer to the second task", "units": "1"},
    ),
}


class DivergedError(ArithmeticError):
    """The loss of a training run is not finite."""


class Flipflop(Kind):
    """Networks trained on a timed automaton."""

    name = "flipflop"
    parameters = FlipflopParameters
    record = FlipflopRecord
    shape_parameters = ("clock", "cell", "n_hidden", "length", "automaton")
    seed_free = TREATMENT
    work_unit = "iterations"
    needs = MappingProxyType({"jax": "train", "optax": "train"})
    reduction = Located("isophase.analysis.networks.training:REDUCTION")
    report = Located("isophase.analysis.networks.report:REPORT")

    def group_name(self, parameters: FlipflopParameters) -> str:
        task: str = parameters.clock
        if parameters.automaton is not None:
            text = json.dumps(parameters.automaton, sort_keys=True)
            task = f"automaton-{hashlib.sha256(text.encode()).hexdigest()[:8]}"
        return f"{task}-{parameters.cell}-{parameters.n_hidden}-T{parameters.length}"

    def check(self, parameters: FlipflopParameters, record: FlipflopRecord) -> None:
        if parameters.automaton is not None:
            for name in ("clock", "period", "threshold", "p"):
                if (value := getattr(parameters, name)) != FlipflopParameters.model_fields[name].default:
                    raise ValueError(f"{name}={value!r}: must not be given with automaton, which has its own clock")
        parameters.task(), parameters.then_task()
        if parameters.then_period and (parameters.automaton is not None or parameters.clock != "periodic"):
            raise ValueError(f"then_period={parameters.then_period}: must be 0 without clock='periodic'")
        if parameters.then_period and not record.then_iterations:
            raise ValueError(f"then_period={parameters.then_period}: must be 0 with then_iterations=0 in record")
        if parameters.keep_optimizer and not record.then_iterations:
            raise ValueError("keep_optimizer=True: must be false with then_iterations=0 in record")
        if parameters.keep_optimizer and parameters.optimizer == "sgd" and not parameters.momentum:
            raise ValueError(
                "keep_optimizer=True: must be false with optimizer='sgd' without momentum, which has no state"
            )
        if parameters.momentum and parameters.optimizer == "adam":
            raise ValueError(f"momentum={parameters.momentum}: must be 0 with optimizer='adam', which has its own")
        for name in ("hold_modulus", "start_modulus"):
            if getattr(parameters, name) and parameters.cell != "rnn":
                raise ValueError(f"{name}={getattr(parameters, name)}: must be 0 with cell={parameters.cell!r}")

    def check_record(self, record: FlipflopRecord) -> None:
        for name in ("iterations", "then_iterations"):
            iterations = getattr(record, name)
            if record.spacing == "linear" and iterations % record.checkpoints:
                raise ValueError(
                    f"checkpoints={record.checkpoints}: must divide {name}={iterations} with spacing='linear'"
                )

    def template(self, parameters: FlipflopParameters, record: FlipflopRecord) -> xr.Dataset:
        length, task = dims(parameters, record), parameters.task()
        arrays = {
            name: variable(over, (length[dim] for dim in over), "float32", {"long_name": long_name, "units": units})
            for name, (over, long_name, units) in RECORDED.items()
        }
        scalars = {name: variable((), (), dtype, attrs) for name, (dtype, attrs) in SCALARS.items()}
        outputs = [f"P({task.states[1]})"] if length["output"] == 1 else task.states
        counted = ("iteration", "hidden", "hidden_from", "probe", "time", "state")
        values = {dim: np.arange(length[dim]) for dim in counted} | {"checkpoint": record.checkpoint()}
        values |= {
            "gate": np.array(training_run.GATES[parameters.cell]),
            "symbol": np.array(task.symbols),
            "output": np.array(outputs),
        }
        coords = {
            dim: (dim, values[dim], {"long_name": long_name} | ({"units": units} if units else {}))
            for dim, (long_name, units) in COORDINATES.items()
        }
        return xr.Dataset(arrays | scalars, coords=coords)

    def cost(self, parameters: FlipflopParameters, record: FlipflopRecord) -> Cost:
        gates, n = len(training_run.GATES[parameters.cell]), parameters.n_hidden
        per_sequence = gates * n * (SECONDS_PER_UNIT + n * SECONDS_PER_WEIGHT)
        per_iteration = parameters.length * (SECONDS_PER_STEP + parameters.batch * per_sequence)
        held = n**3 * SECONDS_PER_EIGENVALUE if parameters.hold_modulus else 0.0
        seconds = START_SECONDS + (record.iterations + record.then_iterations) * (per_iteration + held)
        sequences = training_run.PIECE * parameters.length * parameters.batch * 4
        states = 4 * len(training_run.GATES[parameters.cell]) * parameters.length * parameters.n_hidden
        held = states * (4 * parameters.batch + record.heldout)
        return Cost(seconds, sequences + held)

    def work(self, record: FlipflopRecord, scalars: Mapping[str, Any]) -> float:
        return float(record.iterations + record.then_iterations)

    def run_point(
        self, parameters: FlipflopParameters, seed: np.random.SeedSequence, record: FlipflopRecord
    ) -> xr.Dataset:
        from isophase.kernels.rnn import train, weights_at

        first, second = seed.spawn(2)
        task, setting = parameters.task(), _setting(parameters, record)
        run = train(task, seeds=[first], iterations=record.iterations, checkpoints=record.at(),
                    **setting, **_at_first(parameters))  # fmt: skip
        diverged = run["diverged_at"].item()
        parts = [run]
        if record.then_iterations and diverged < 0:
            state = run["optimizer_state"] if parameters.keep_optimizer else None
            then = train(parameters.then_task(), seeds=[second], iterations=record.then_iterations,
                         checkpoints=record.then_at(), start=weights_at(run, slice(None), -1), start_optimizer=state,
                         **setting)  # fmt: skip
            diverged = then["diverged_at"].item()
            diverged += record.iterations if diverged >= 0 else 0
            parts.append(then.isel(checkpoint=slice(1, None)))
        if diverged >= 0:
            raise DivergedError(f"the loss of iteration {diverged} is not finite")
        last = parameters.then_task() if record.then_iterations else task
        parts = [part.isel(seed=0, probe_checkpoint=0) for part in parts]
        targets, _ = last.run(parts[-1]["probe_symbols"].values.astype(np.int8))
        parts[-1]["probe_targets"] = ("probe", "time"), targets
        parts[-1]["time_dependent"] = "symbol", last.time_dependent
        arrays = {}
        for name, (over, _, _) in RECORDED.items():
            along = over[0] in ("iteration", "checkpoint")
            arrays[name] = np.concatenate([part[name].values for part in parts]) if along else parts[-1][name].values
        scalars = {
            "then_from": record.iterations,
            "last_period": getattr(last.clock, "period", 0),
            "null_symbol": -1 if last.null is None else last.null,
            "td_base_accuracy": task.td_base_accuracy(parameters.length),
            "then_td_base_accuracy": parameters.then_task().td_base_accuracy(parameters.length),
        }
        recorded = {name: (over, arrays[name]) for name, (over, _, _) in RECORDED.items()}
        return xr.Dataset(recorded | scalars)

    def run_again(
        self, parameters: Any, seed: np.random.SeedSequence, record: Any, checkpoints: np.ndarray
    ) -> xr.Dataset:
        """The first task of a point once more, to the last of other ``checkpoints``: the same networks, to the bit."""
        from isophase.kernels.rnn import train

        run = train(parameters.task(), seeds=[seed.spawn(2)[0]], iterations=int(checkpoints[-1]),
                    checkpoints=checkpoints, **_setting(parameters, record), **_at_first(parameters))  # fmt: skip
        return run.isel(seed=0).sel(checkpoint=checkpoints)


def dims(parameters: FlipflopParameters, record: FlipflopRecord) -> dict[str, int]:
    """Length of every recorded dimension."""
    task = parameters.task()
    return {
        "iteration": record.iterations + record.then_iterations,
        "checkpoint": len(record.checkpoint()),
        "gate": len(training_run.GATES[parameters.cell]),
        "hidden": parameters.n_hidden,
        "hidden_from": parameters.n_hidden,
        "symbol": len(task.symbols),
        "output": 1 if len(task.states) == 2 else len(task.states),
        "probe": record.probe,
        "time": parameters.length,
        "state": parameters.n_hidden * (2 if parameters.cell == "lstm" else 1),
    }


def _setting(parameters: FlipflopParameters, record: FlipflopRecord) -> dict[str, Any]:
    names = ("cell", "n_hidden", "length", "batch", "optimizer", "learning_rate", "momentum", "initial_gain", "loss_on")
    setting = {name: getattr(parameters, name) for name in names}
    setting |= {name: value for name in ("clip", "hold_modulus") if (value := getattr(parameters, name))}
    return setting | {"heldout": record.heldout, "probe": record.probe}


def _at_first(parameters: FlipflopParameters) -> dict[str, Any]:
    return {"start_modulus": parameters.start_modulus} if parameters.start_modulus else {}
