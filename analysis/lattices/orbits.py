"""The summary of one scheme of a ``rings`` sweep: which orbits its initial states reach, how often, and how soon.

The orbits themselves, and the closed forms beside them, are those of ``isophase.kernels.orbits``.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import xarray as xr

from isophase.analysis.base import Reduction
from isophase.analysis.schemes import parameters
from isophase.analysis.statistics import is_flag, wilson
from isophase.kernels.orbits import EVEN, OUTCOMES, SETTLED, UNEVEN, classify, firing_time, relaxation_time

QUANTILE = 0.9
NOT_KNOWN = -1  # the orbit of a state whose spacing is longer than what was recorded
PER_PULSES = {
    "share": ("1", "basin share: fraction of the initial states with so many pulses"),
    "share_low": ("1", "lower end of the 95 % interval of the share"),
    "share_high": ("1", "upper end of the 95 % interval of the share"),
    "period": ("tau", "period of a neuron, median over evenly spaced states"),
    "period_unsettled": ("tau", "period of a neuron, median over states that have not settled"),
    "closed_form": ("tau", "period of the evenly spaced orbit, closed form"),
    "deviation": ("1", "largest relative difference of a period from the closed form"),
    "captured": ("tau", "time since which the number of pulses is the same, median"),
    "captured_90": ("tau", "time since which the number of pulses is the same, 90 % quantile"),
    "transient": ("tau", "time from which the ring repeats itself, median over settled states"),
    "transient_90": ("tau", "time from which the ring repeats itself, 90 % quantile over settled states"),
    "relaxation_time": ("tau", "time in which differences of the spacing fall to 1/e, from theory"),
    "unevenness": ("1", "largest difference between intervals, in periods"),
    "orbits": ("1", "distinct settled orbits; NaN where the recorded spacing cannot tell"),
    "orbits_lower_bound": ("1", "distinct settled orbits, at least"),
}
PER_SCHEME = {
    "n_states": ("1", "initial states"),
    "undefined": ("1", "share of the initial states whose simulation has no solution"),
    "coexisting": ("1", "distinct settled orbits of any number of pulses; NaN where that cannot be told"),
    "coexisting_lower_bound": ("1", "distinct settled orbits of any number of pulses, at least"),
    "n_seeds": ("1", "seeds that are done"),
}


def summarise(dataset: xr.Dataset) -> xr.Dataset:
    """Gather the initial states of one scheme, over all of its seeds, by the number of pulses that they end with.

    Parameters
    ----------
    dataset : a group of a ``rings`` store after selecting one position on each of its axes but ``seed``: the variables
        that the kind records, over ``state`` (and ``seed``); ``status``, and the ``parameters`` of the scheme in
        ``attrs``. Seeds that are not done are left out.

    Returns
    -------
    Dataset, in memory, over ``pulses`` (0 to the size of the ring; more than half of it only where the delay limits the
    switching), NaN where no state is there to measure:

    - ``count`` (pulses, outcome): number of states; ``outcome`` is one of :data:`isophase.kernels.orbits.OUTCOMES`.
    - ``share``, ``share_low``, ``share_high``: basin share, the fraction of states with that many pulses, settled or
      not (the number of pulses no longer changes, the spacing may), and its Wilson interval of 95 % (Wilson, J. Am.
      Stat. Assoc. 22, 209 (1927)). With ``sampling='necklaces'`` every firing pattern counts once, and there is no
      sampling error: low and high are the share.
    - ``period`` (median over even states, tau), ``period_unsettled`` (over those not settled), ``closed_form`` (tau,
      :func:`kernels.orbits.firing_time`), ``deviation``: largest relative difference of an even state's period from it.
    - ``captured``, ``transient`` and their 90 % quantiles ``_90`` (tau): since when the number of pulses and the whole
      pattern are the final ones; of the states that settled. ``relaxation_time`` (tau): from theory
      (:func:`isophase.kernels.orbits.relaxation_time`); negative: the even spacing is unstable.
    - ``unevenness``: the largest of all states, in periods. ``orbits``: distinct settled orbits.
    - without dimension: ``n_states``, ``undefined`` (share of states whose simulation has no solution, delay 0),
      ``coexisting`` (distinct settled orbits of any number of pulses, rest included), ``n_seeds``.

    Two uneven states with as many pulses can be told apart by their spacing alone. Where it is longer than the
    ``intervals`` that were recorded there is none in the store: then ``orbits`` and ``coexisting`` are NaN, and
    ``orbits_lower_bound`` and ``coexisting_lower_bound`` say how many there are at least (elsewhere: how many).
    """
    dataset = dataset.load(scheduler="sync")
    if "seed" not in dataset["pulses"].dims:
        dataset = dataset.expand_dims("seed")
    scheme = parameters(dataset)
    done = is_flag(dataset["status"], "done").values
    states = _states(dataset, done)
    pulses = np.arange(int(scheme["ring_size"]) + 1)
    rows = [_of_pulses(int(k), states, scheme) for k in pulses]
    summary = xr.Dataset(
        {
            name: ("pulses", [row[name] for row in rows], {"units": units, "long_name": long_name})
            for name, (units, long_name) in PER_PULSES.items()
        },
        coords={
            "pulses": ("pulses", pulses, {"long_name": "pulses that go round", "units": "1"}),
            "outcome": ("outcome", list(OUTCOMES), {"long_name": "what the states settled on"}),
        },
    )
    count = [[int(((states.pulses == k) & (states.outcome == o)).sum()) for o in range(len(OUTCOMES))] for k in pulses]
    summary["count"] = (("pulses", "outcome"), count, {"units": "1", "long_name": "initial states"})
    known, at_least = _coexisting(dataset, done, states)
    total = states.weight.sum()
    values = {
        "n_states": len(states.pulses),
        "undefined": states.weight[states.pulses < 0].sum() / total if total else np.nan,
        "coexisting": known,
        "coexisting_lower_bound": at_least,
        "n_seeds": int(done.sum()),
    }
    for name, (units, long_name) in PER_SCHEME.items():
        summary[name] = ((), values[name], {"units": units, "long_name": long_name})
    return summary.assign_attrs({name: dataset.attrs[name] for name in ("kind", "sampling") if name in dataset.attrs})


def names(template: xr.Dataset) -> Mapping[str, str]:
    """Units of every variable and dimension that a summary adds to what a point records."""
    about = {name: units for name, (units, _) in (PER_PULSES | PER_SCHEME).items()}
    added = about | {"pulses": "1", "outcome": "", "count": "1"}
    return {name: units for name, units in added.items() if name not in template.variables}


REDUCTION = Reduction(summarise=summarise, names=names)


class _States(NamedTuple):
    """All initial states of the finished seeds of a scheme [state]; ``orbit``: number of the one it settled on."""

    outcome: np.ndarray
    pulses: np.ndarray
    weight: np.ndarray
    period: np.ndarray
    unevenness: np.ndarray
    captured: np.ndarray
    transient: np.ndarray
    orbit: np.ndarray


def _states(dataset: xr.Dataset, done: np.ndarray) -> _States:
    recorded = _States._fields[:-1]
    flat = {name: _flat(dataset[name], done) for name in (*recorded, "spacing")}
    real = flat["weight"] > 0
    flat = {name: values[real] for name, values in flat.items()}
    orbit = _orbit(flat["outcome"], flat["pulses"], flat.pop("spacing"))
    return _States(**flat, orbit=orbit)


def _orbit(outcome: np.ndarray, pulses: np.ndarray, spacing: np.ndarray) -> np.ndarray:
    """Number of the orbit that each state settled on [state]; NOT_KNOWN; NOT_KNOWN - 1 where it did not settle.

    An even orbit needs no spacing to be known: for so many pulses there is one.
    """
    settled = np.isin(outcome, SETTLED)
    known = settled & ~((outcome == UNEVEN) & ~np.isfinite(spacing).any(axis=1))
    orbit = np.where(settled, NOT_KNOWN, NOT_KNOWN - 1)
    orbit[known] = classify(pulses[known], spacing[known])
    return orbit


def _distinct(orbit: np.ndarray, pulses: np.ndarray) -> tuple[float, int]:
    """Number of distinct orbits of these states, NaN where it cannot be told, and how many there are at least."""
    told = len(np.unique(orbit[orbit >= 0]))
    _, numbers = np.unique(pulses[orbit == NOT_KNOWN], return_counts=True)  # one that is alone is an orbit of its own
    at_least = told + len(numbers)
    return float("nan") if (numbers > 1).any() else float(at_least), at_least


def _coexisting(dataset: xr.Dataset, done: np.ndarray, states: _States) -> tuple[float, int]:
    """:func:`_distinct` for all states, helped by the number that was counted in each seed from whole spacings."""
    number, at_least = _distinct(states.orbit, states.pulses)
    of_seeds = dataset["orbits"].values[done] if "orbits" in dataset else np.zeros(0, int)
    at_least = max([at_least, *of_seeds.tolist()])
    return (float(at_least) if len(of_seeds) == 1 else number), at_least


def _of_pulses(k: int, states: _States, scheme: Mapping[str, Any]) -> dict[str, float]:
    """Everything in ``PER_PULSES`` of the states with ``k`` pulses."""
    size, neuron = int(scheme["ring_size"]), tuple(scheme[name] for name in ("delay", "v_high", "v_low"))
    here = states.pulses == k
    even, settled = here & (states.outcome == EVEN), here & np.isin(states.outcome, SETTLED)
    closed = firing_time(size / k, *neuron)[1] if k else np.nan
    total = states.weight.sum()
    share = states.weight[here].sum() / total if total else np.nan
    low, high = wilson(int(here.sum()), len(here)) if scheme["sampling"] != "necklaces" else (share, share)
    orbits, at_least = _distinct(states.orbit[here], states.pulses[here])
    return {
        "share": share,
        "share_low": low,
        "share_high": high,
        "period": _quantile(states.period[even], 0.5),
        "period_unsettled": _quantile(states.period[here & ~settled], 0.5),
        "closed_form": closed,
        "deviation": np.abs(states.period[even] / closed - 1).max() if even.any() else np.nan,
        "captured": _quantile(states.captured[here], 0.5),
        "captured_90": _quantile(states.captured[here], QUANTILE),
        "transient": _quantile(states.transient[settled], 0.5),
        "transient_90": _quantile(states.transient[settled], QUANTILE),
        "relaxation_time": relaxation_time(size, k, *neuron) if k else np.nan,
        "unevenness": states.unevenness[here].max() if k and here.any() else np.nan,
        "orbits": orbits,
        "orbits_lower_bound": at_least,
    }


def _quantile(values: np.ndarray, q: float) -> float:
    known = values[np.isfinite(values)]
    return float(np.quantile(known, q)) if known.size else np.nan


def _flat(variable: xr.DataArray, done: np.ndarray) -> np.ndarray:
    """Values of the finished seeds, all states of all seeds along one axis."""
    values = variable.transpose("seed", "state", ...).values[done]
    return values.reshape(-1, *values.shape[2:])
