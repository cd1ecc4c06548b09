"""What is drawn from a training run: of one seed its phases, fixed points and bifurcations, then all seeds together.

:data:`REDUCTION` is what the kind ``flipflop`` gives: ``measure`` for every seed, ``summarise`` for the seeds of a
scheme, and the ``names`` that a summary adds; the measurements themselves are in their own modules.
"""

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import xarray as xr

from isophase.analysis.base import Reduction
from isophase.analysis.networks import last_network
from isophase.analysis.networks.bifurcations import BORN, CANNOT_TELL, NONE, TYPES, find_bifurcations, first_bifurcation
from isophase.analysis.networks.coincidence import coincidence
from isophase.analysis.networks.fixed_points import choose_starts, continue_fixed_points
from isophase.analysis.networks.last_network import LastNetwork, jacobian_at, network, step_of
from isophase.analysis.networks.learning_phases import UNITS as PHASE_UNITS
from isophase.analysis.networks.learning_phases import learning_phases
from isophase.analysis.networks.measurements import MEASUREMENTS
from isophase.analysis.schemes import parameters
from isophase.analysis.statistics import flags, wilson
from isophase.kernels.training_run import WEIGHTS

EVENT = {"bifurcation": "checkpoint", "bifurcation_low": "checkpoint_low", "bifurcation_high": "checkpoint_high",
         "bifurcation_type": "type", "bifurcation_angle": "angle"}  # fmt: skip
CURVES = ("ti_accuracy", "td_accuracy")
KEPT = ("td_base_accuracy", "then_td_base_accuracy", "last_period", "null_symbol", "then_from")
FINAL = {"final_td_accuracy": "heldout_td_accuracy", "final_td_balanced_accuracy": "heldout_td_balanced_accuracy"}
ONE, ITERATIONS = {"units": "1"}, {"units": "iterations"}
OF_SYMBOL: dict[str, dict[str, Any]] = {
    "eigenvalue_real": {"long_name": "eigenvalue, real part", **ONE},
    "eigenvalue_imag": {"long_name": "eigenvalue, imaginary part", **ONE},
    "leading_modulus": {"long_name": "modulus of the leading eigenvalue", **ONE},
    "leading_angle": {"long_name": "argument of the leading eigenvalue", "units": "rad"},
    "fixed_points": {"long_name": "fixed points", **ONE},
    "stable_fixed_points": {"long_name": "stable fixed points", **ONE},
    "marginal_fixed_points": {"long_name": "fixed points whose stability is marginal", **ONE},
    "fixed_point_dimension": {"long_name": "dimension of the continuum of fixed points, 0 for none", **ONE},
    "share_converged": {"long_name": "share of the starts that converged", **ONE},
    "second_stable": {"long_name": "first checkpoint with two stable points that stay", **ITERATIONS},
    "bifurcation": {
        "long_name": "first bifurcation that changes an attractor", "comment": "NaN: none", **ITERATIONS,
    },
    "bifurcation_low": {"long_name": "last checkpoint before it", **ITERATIONS},
    "bifurcation_high": {"long_name": "first checkpoint after it", **ITERATIONS},
    "bifurcation_angle": {"long_name": "argument of the crossing eigenvalue", "units": "rad"},
    "bifurcation_type": {"long_name": "type of the bifurcation", **flags(TYPES)},
    "then_orbit_lost": {
        "long_name": "first checkpoint since the second task began at which a fixed point is stable", **ITERATIONS,
    },
    "then_orbit_returns": {
        "long_name": "first checkpoint since the second task began at which none is stable (again)", **ITERATIONS,
    },
    "then_bifurcation": {
        "long_name": "first bifurcation that changes an attractor in the second task", "comment": "NaN: none",
        **ITERATIONS,
    },
    "then_bifurcation_type": {"long_name": "its type", **flags(TYPES)},
}  # fmt: skip
REFINED = {"long_name": "the bifurcation was located between two updates", **ONE}
FIRST_SYMBOL = {"long_name": "symbol of the first bifurcation, its index", **ONE}
OVER_SEEDS: dict[str, dict[str, Any]] = {
    "measured": {"long_name": "the seed is done and measured", **ONE},
    "learned": {"long_name": "seeds that learned the time-dependent symbols", **ONE},
    "learned_low": {"long_name": "their fraction, lower end of Wilson's interval", **ONE},
    "learned_high": {"long_name": "their fraction, upper end of Wilson's interval", **ONE},
    "n_seeds": {"long_name": "seeds that are done", **ONE},
}
DIFFERENCE = {"long_name": "median of the bifurcation under a symbol minus the transition", **ITERATIONS}
BY_THE_FLOW = {"n_failed": "1", "n_unmeasured": "1"}  # seeds that the flow could not hand to ``summarise``
INTERVAL = ("", "_low", "_high")
Again = Callable[[np.ndarray], xr.Dataset]
N_STARTS = 8  # of the search at every checkpoint, two of them on the orbit under the symbol alone
ASIDE = np.array([-1.0, -0.3, -0.1, -0.03, 0.03, 0.1, 0.3, 1.0])  # from a point, to look for its partner
ORBIT_STEPS = 200  # under a constant symbol, of which the second half is kept


def measure(dataset: xr.Dataset, again: Again | None = None) -> xr.Dataset:
    """Measure one trained network through its training.

    Parameters
    ----------
    dataset : a group of a ``flipflop`` store at one seed: curves over ``iteration``, weights over ``checkpoint``. The
        seed is the coordinate ``seed``, or else that of its parameters.
    again : checkpoints, in updates -> the same training with those, its weights over ``checkpoint``; to locate the
        bifurcations of the first task between two updates.

    Raises ValueError where the networks that were trained again are others.
    """
    dataset = dataset.load(scheduler="sync")
    if "seed" not in dataset.coords:
        dataset = dataset.assign_coords(seed=parameters(dataset)["seed"])
    measured = _phases(dataset)
    measured.update(dataset[[*CURVES, *KEPT]])
    for name, recorded in FINAL.items():
        measured[name] = dataset[recorded].isel(checkpoint=-1, drop=True)
    measured.update(_fixed_points(dataset, again))
    for measurement in MEASUREMENTS:
        measured.update(measurement.measure(dataset, measured))
    return measured.expand_dims("seed")


def names(template: xr.Dataset) -> dict[str, str]:
    """Units, "" for none, of every variable and dimension that a summary adds to what a point records (``template``),
    whatever its task and its networks: those of a second task, of a clock, or of refining may be absent."""
    of_symbol = {name: attrs.get("units", "") for name, attrs in OF_SYMBOL.items()} | {"refined": "1"}
    added = dict(PHASE_UNITS)
    added |= {f"then_{name}": units for name, units in PHASE_UNITS.items()}
    added |= dict.fromkeys(FINAL, "1")
    added |= of_symbol | {"eigenvalue": ""}
    for measurement in MEASUREMENTS:
        added |= measurement.names
    added |= {f"first_{name}": of_symbol[name] for name in EVENT} | {"first_bifurcation_symbol": "1"}
    added |= last_network.UNITS
    added |= {name: attrs["units"] for name, attrs in OVER_SEEDS.items()} | {"outcome": ""} | BY_THE_FLOW
    for name, units in (("median_difference", "iterations"), ("rank_correlation", "1"), ("both", "1"),
                        ("symbol_difference", "iterations")):  # fmt: skip
        added |= {f"{name}{end}": units for end in INTERVAL}
    held = {*template.variables, *template.dims}
    return {name: units for name, units in added.items() if name not in held}


def _phases(dataset: xr.Dataset) -> xr.Dataset:
    """Learning phases of the first task, and with ``then_`` those of the second, from where it begins."""
    begins = int(dataset["then_from"])
    curves = dataset[["ti_accuracy", "td_accuracy"]]
    first = curves.isel(iteration=slice(0, begins))
    phases = learning_phases(first["ti_accuracy"], first["td_accuracy"], float(dataset["td_base_accuracy"]))
    if begins < dataset.sizes["iteration"]:
        second = curves.isel(iteration=slice(begins, None))
        second = second.assign_coords(iteration=second["iteration"] - begins)
        then = learning_phases(second["ti_accuracy"], second["td_accuracy"], float(dataset["then_td_base_accuracy"]))
        phases.update({f"then_{name}": variable for name, variable in then.data_vars.items()})
    return phases


def _fixed_points(dataset: xr.Dataset, again: Again | None) -> xr.Dataset:
    """Fixed points under every symbol alone through training, and what the last network does."""
    cell, symbols = parameters(dataset)["cell"], np.arange(dataset.sizes["symbol"])
    probe = dataset["probe_symbols"].values.astype(int)
    paths, events, orbits = _follow(cell, network(dataset), probe, dataset["checkpoint"].values, symbols)
    null = -1 if int(dataset["last_period"]) else int(dataset["null_symbol"])
    then_from = int(dataset["then_from"])
    kept = [_path(*path, n == null, then_from) for n, path in enumerate(zip(paths, events, strict=True))]
    found = xr.concat(kept, "symbol").assign_coords(symbol=dataset["symbol"])
    if again is not None:
        _refine(found, dataset, null, again)
    first = _first_symbol(found["bifurcation"].values, null)
    for name in EVENT:
        found[f"first_{name}"] = found[name].isel(symbol=first, drop=True)
    found["first_bifurcation_symbol"] = ((), first, FIRST_SYMBOL)
    last = LastNetwork(dataset, cell, [branches.isel(checkpoint=-1) for branches in paths], orbits)
    found.update(last.attractors())
    found.update(last.driven())
    if int(dataset["last_period"]):
        found.update(last.time_of_day(first))
    elif null >= 0:
        found.update(last.counting(null))
    return found


def _first_symbol(bifurcation: np.ndarray, null: int) -> int:
    """The symbol whose bifurcation [symbol] comes first. With a relative clock it is the symbol ``null`` (else -1): its
    fixed points are what tells a long wait from a short one."""
    if null >= 0:
        return null
    return int(np.nanargmin(bifurcation)) if np.isfinite(bifurcation).any() else 0


def _follow(
    cell: str, weights: Any, probe: np.ndarray, checkpoint: np.ndarray, symbols: np.ndarray
) -> tuple[list[xr.Dataset], list[xr.Dataset], np.ndarray]:
    """Branches of fixed points under each of some symbols alone and their bifurcations, through networks ``weights``
    [checkpoint, ...]; and the last network's orbits under every symbol alone [symbol, step, state]."""
    starts, orbits = _starts(cell, weights, probe)
    starts, n_symbols = starts[symbols], len(orbits)
    parameters = (
        type(weights)(*(np.broadcast_to(part, (len(symbols), *part.shape)) for part in weights)),
        np.broadcast_to(np.eye(n_symbols)[symbols][:, None], (len(symbols), len(checkpoint), n_symbols)),
    )
    paths = list(continue_fixed_points(step_of(cell), parameters, starts, checkpoint))
    events = [find_bifurcations(branches) for branches in paths]
    lonely = [n for n, of_path in enumerate(events) if (of_path["type"] == CANNOT_TELL).any()]
    if lonely:  # beside a point that seems to arise alone its partner is looked for, where a fold would leave it
        more = np.stack([_beside(cell, _pick(parameters, n), starts[n], paths[n], events[n]) for n in lonely])
        found = continue_fixed_points(step_of(cell), _pick(parameters, lonely), more, checkpoint)
        for n, branches in zip(lonely, found, strict=True):
            paths[n], events[n] = branches, find_bifurcations(branches)
    return paths, events, orbits


def _refine(found: xr.Dataset, dataset: xr.Dataset, null: int, again: Again) -> None:
    """Put into ``found`` the bifurcations of the first task as they are between two updates, and ``refined``
    (``symbol``): 1 where it was found there. Where the finer path shows no such event, the coarse one stays."""
    low, high = (found[f"bifurcation_{end}"].values for end in ("low", "high"))
    refined = np.zeros(len(low), np.int8)
    coarse = np.flatnonzero(np.isfinite(low) & (high <= int(dataset["then_from"])))
    brackets = {int(n): np.arange(low[n], high[n] + 1).astype(int) for n in coarse}
    if brackets:
        fine = again(np.unique(np.concatenate(list(brackets.values()))))
        _check_same_networks(dataset, fine)
    for n, checkpoint in brackets.items():
        weights, probe = network(fine.sel(checkpoint=checkpoint)), dataset["probe_symbols"].values.astype(int)
        (branches,), (events,), _ = _follow(parameters(dataset)["cell"], weights, probe, checkpoint, np.array([n]))
        if n == null:
            stays = np.logical_and.accumulate((branches["number_stable"].values >= 2)[::-1])[::-1]
            right = events["checkpoint_high"] == (checkpoint[stays.argmax()] if stays.any() else -1)
        else:
            right = events["type"] == int(found["bifurcation_type"][n])
        event = first_bifurcation(events.isel(event=np.flatnonzero(right.values)))
        if int(event["type"]) != NONE:
            refined[n] = 1
            for name, of_event in EVENT.items():
                found[name][n] = event[of_event].item()
    found["refined"] = ("symbol", refined, REFINED)


def _check_same_networks(dataset: xr.Dataset, fine: xr.Dataset) -> None:
    for checkpoint in np.intersect1d(dataset["checkpoint"].values, fine["checkpoint"].values):
        one, other = (part.sel(checkpoint=checkpoint) for part in (dataset, fine))
        if not all(np.array_equal(one[name].values, other[name].values) for name in WEIGHTS):
            raise ValueError(
                f"seed {dataset['seed'].item()}: trained again it has other weights at checkpoint {checkpoint}; "
                "refine it on the kind of processor and with the version of JAX that it was trained with"
            )


def _pick(parameters: Any, paths: Any) -> Any:
    """The parameters of some of the paths, or without that axis of one."""
    weights, u = parameters
    return type(weights)(*(part[paths] for part in weights)), u[paths]


def _beside(cell: str, parameters: Any, starts: np.ndarray, branches: xr.Dataset, events: xr.Dataset) -> np.ndarray:
    """Starts [checkpoint, start, state] with more of them beside points that begin or end alone: along the eigenvector
    whose eigenvalue is nearest to 1, in which a fold's two points part."""
    weights, u = parameters
    checkpoint = branches["checkpoint"].values
    more = np.repeat(starts[:, :1], len(ASIDE), axis=1)
    for event in np.flatnonzero((events["type"] == CANNOT_TELL).values):
        born = int(events["direction"][event]) == BORN
        k = int(np.searchsorted(checkpoint, float(events["checkpoint_high" if born else "checkpoint_low"][event])))
        h = branches["h"].values[int(events["branches"][event, 0]), k]
        if np.isfinite(h).all():
            at_k = type(weights)(*(part[k] for part in weights))
            values, vectors = np.linalg.eig(jacobian_at(cell, at_k, u[k], h))
            more[k] = h + ASIDE[:, None] * vectors[:, np.abs(values - 1).argmin()].real
    return np.concatenate([starts, more], axis=1)


def _path(branches: xr.Dataset, events: xr.Dataset, null: bool, then_from: int) -> xr.Dataset:
    """What is kept of the branches under one symbol, and which of their bifurcations.

    It is the first that changes an attractor; under the null symbol, where a second stable point has to arise for the
    network to tell a long wait from a short one, that by which it is there at last (:func:`_second_stable`).
    """
    eigenvalues = _principal(branches)
    leading = eigenvalues.isel(eigenvalue=0)
    second_stable = _second_stable(branches)
    if null:
        events = events.isel(event=np.flatnonzero((events["checkpoint_high"] == second_stable).values))
    event = first_bifurcation(events.isel(event=np.flatnonzero((events["checkpoint_low"] < then_from).values)))
    then = first_bifurcation(events.isel(event=np.flatnonzero((events["checkpoint_low"] >= then_from).values)))
    lost, returns = _orbit_lost_and_back(branches, then_from)
    kept: dict[str, Any] = {
        "eigenvalue_real": eigenvalues.real,
        "eigenvalue_imag": eigenvalues.imag,
        "leading_modulus": abs(leading),
        "leading_angle": abs(xr.apply_ufunc(np.angle, leading)),
        "fixed_points": branches["number"],
        "stable_fixed_points": branches["number_stable"],
        "marginal_fixed_points": branches["number_marginal"],
        "fixed_point_dimension": branches["dimension"],
        "share_converged": branches["share_converged"],
        "second_stable": second_stable,
        "then_orbit_lost": lost,
        "then_orbit_returns": returns,
        "then_bifurcation": then["checkpoint"],
        "then_bifurcation_type": then["type"],
    } | {name: event[of_event] for name, of_event in EVENT.items()}
    return xr.Dataset(
        {name: kept[name].drop_attrs(deep=False).assign_attrs(attrs) for name, attrs in OF_SYMBOL.items()}
    )


def _principal(branches: xr.Dataset) -> xr.DataArray:
    """Eigenvalues [checkpoint, eigenvalue] of the branch that has been there from the beginning, and of those of the
    one that stays longest; NaN where no fixed point was found."""
    eigenvalues = branches["eigenvalues"].transpose("branch", "checkpoint", "hidden").drop_vars("branch")
    eigenvalues = eigenvalues.rename(hidden="eigenvalue").drop_vars("eigenvalue", errors="ignore")
    there = branches["exists"].transpose("branch", "checkpoint").values
    if not len(there):
        return xr.full_like(eigenvalues.sum("branch"), np.nan)
    return eigenvalues.isel(branch=int(np.lexsort((there.sum(axis=1), there[:, 0]))[-1]))


def oscillates(number: xr.DataArray, number_stable: xr.DataArray, undecided: xr.DataArray | int = 0) -> xr.DataArray:
    """Where a network oscillates for sure, by the numbers of fixed points found: some, none of them stable, and none
    ``undecided``, that is marginal or of a continuum.

    Where one is stable, an orbit may still lie beside it.
    """
    return (number > 0) & (number_stable == 0) & (undecided == 0)


def oscillates_under(one: xr.Dataset) -> xr.DataArray:
    """:func:`oscillates` of a summary at one symbol; an older one does not know what is undecided."""
    undecided = sum(one[name] for name in ("marginal_fixed_points", "fixed_point_dimension") if name in one)
    return oscillates(one["fixed_points"], one["stable_fixed_points"], undecided)


def _orbit_lost_and_back(branches: xr.Dataset, then_from: int) -> tuple[xr.DataArray, xr.DataArray]:
    """First checkpoints, in updates since the second task began, at which a network that oscillated under the symbol
    has a stable fixed point, and at which it has none (again).

    NaN: never, or nothing to lose.
    """
    later = branches.isel(checkpoint=np.flatnonzero(branches["checkpoint"].values >= then_from))
    at_each = oscillates(later["number"], later["number_stable"], later["number_marginal"] + later["dimension"]).values
    since = later["checkpoint"].values.astype(float) - then_from
    lost = back = np.nan
    if len(since) > 1:
        at = int(np.argmin(at_each)) if at_each[0] else 0
        lost = since[at] if at_each[0] and not at_each[at] else np.nan
        if not at_each[at] and at_each[at:].any():
            back = since[at + int(np.argmax(at_each[at:]))]
    return xr.DataArray(lost), xr.DataArray(back)


def _second_stable(branches: xr.Dataset) -> xr.DataArray:
    """First checkpoint with two stable points or more, as which are half at least of those in the next fifth of the
    training: points come and go before one stays. NaN: never."""
    two = branches["number_stable"].values >= 2
    window = max(1, len(two) // 5)
    ahead = np.array([two[k : k + window].mean() for k in range(len(two) - window + 1)])
    stays = two[: len(ahead)] & (ahead >= 0.5)
    at = branches["checkpoint"].values[stays.argmax()] if stays.any() else np.nan
    return xr.DataArray(float(at))


def _starts(cell: str, weights: Any, probe: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Starts [symbol, checkpoint, start, state]: the end and the mean of the orbit under the symbol, states that the
    probe sequences visit, and random ones; and the last network's orbit under every symbol [symbol, step, state]."""
    visited, orbits = (np.asarray(part) for part in _visit(cell)(weights, probe))
    half = orbits[:, :, ORBIT_STEPS // 2 :]  # [checkpoint, symbol, step, state]
    own = np.stack([half[:, :, -1], half.mean(axis=2)], axis=2)
    chosen = np.stack([choose_starts(states, N_STARTS - 2, seed=number) for number, states in enumerate(visited)])
    chosen = np.broadcast_to(chosen[:, None], (*own.shape[:2], *chosen.shape[1:]))
    return np.concatenate([own, chosen], axis=2).swapaxes(0, 1), orbits[-1]


@cache
def _visit(cell: str) -> Any:
    """(weights [checkpoint, ...], probe [sequence, time]) -> the states that every network visits on the probe
    sequences [checkpoint, time, sequence, state] and under every symbol alone [checkpoint, symbol, step, state]."""
    import jax
    import jax.numpy as jnp

    from isophase.kernels.rnn import state_size, step

    def visit(weights: Any, probe: Any) -> Any:
        n_symbols = weights.input.shape[-1]

        def advance(states: Any, symbols: Any) -> Any:
            following = jax.vmap(lambda h, u: step(cell, weights, h, u))(states, jnp.eye(n_symbols)[symbols])
            return following, following

        def run(symbols: Any) -> Any:
            zero = jnp.zeros((symbols.shape[1], state_size(cell, weights.bias.shape[-1])))
            return jax.lax.scan(advance, zero, symbols)[1]

        constant = jnp.broadcast_to(jnp.arange(n_symbols), (ORBIT_STEPS, n_symbols))
        return run(probe.T), run(constant).swapaxes(0, 1)

    compiled = jax.jit(jax.vmap(visit, in_axes=(0, None)))

    def in_double(weights: Any, probe: Any) -> Any:
        with jax.enable_x64(True):
            return compiled(weights, probe)

    return in_double


def summarise(measured: xr.Dataset) -> xr.Dataset:
    """All seeds of a scheme together.

    Parameters
    ----------
    measured : :func:`measure` of every finished seed, along ``seed``.
    """
    number = measured.sizes["seed"]
    summary = measured.copy()
    base = float(measured["td_base_accuracy"][0]) if number else np.nan
    summary["td_base_accuracy"] = ((), base, measured["td_base_accuracy"].attrs)
    learned = int(np.isfinite(measured["td_four_fifths"]).sum())
    low, high = wilson(learned, number)
    counted = {"learned": learned, "learned_low": low, "learned_high": high, "n_seeds": number}
    for name, value in counted.items():
        summary[name] = ((), value, OVER_SEEDS[name])
    summary["measured"] = ("seed", np.ones(number, np.int8), OVER_SEEDS["measured"])
    together = coincidence(measured["first_bifurcation"], measured["td_halfway"])
    summary["outcome"] = together["outcome"]
    each = [coincidence(measured["bifurcation"].isel(symbol=symbol, drop=True), measured["td_halfway"])
            for symbol in range(measured.sizes["symbol"])]  # fmt: skip
    for end in INTERVAL:
        for name in ("median_difference", "rank_correlation"):
            summary[f"{name}{end}"] = together[f"{name}{end}"]
        differences = [float(of_symbol[f"median_difference{end}"]) for of_symbol in each]
        summary[f"symbol_difference{end}"] = (("symbol",), differences, DIFFERENCE)
        summary[f"both{end}"] = together[f"fraction{end}"].sel(event="both", drop=True)
    return summary


REDUCTION = Reduction(summarise=summarise, names=names, measure=measure)
