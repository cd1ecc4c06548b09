"""The summary of one scheme of a ``rings`` sweep: which orbits its initial states reach, how often, and how soon.

The orbits themselves, and the closed forms beside them, are those of ``isophase.kernels.orbits``.
"""

from typing import Any

import numpy as np
import xarray as xr

from isophase.analysis.statistics import wilson
from isophase.kernels.orbits import EVEN, OUTCOMES, SETTLED, classify, firing_time, relaxation_time

DONE = 1  # the store's state of a point whose data are there
QUANTILE = 0.9
PARAMETERS = ("ring_size", "delay", "v_high", "v_low")


def summarise(dataset: xr.Dataset) -> xr.Dataset:
    """Gather the initial states of one scheme, over all of its seeds, by the number of pulses that they end with.

    Parameters
    ----------
    dataset : a group of a ``rings`` store after selecting one position on each of its axes but ``seed``: the variables
        that the kind records, over ``state`` (and ``seed``), ``status``; ``ring_size``, ``delay``, ``v_high``,
        ``v_low`` and ``sampling`` as coordinates or attributes. Seeds that are not done are left out.

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
    """
    dataset = dataset.load(scheduler="sync")
    size, delay, v_high, v_low = (_parameter(dataset, name) for name in PARAMETERS)
    size = int(size)
    exhaustive = _parameter(dataset, "sampling") == "necklaces"
    if "seed" not in dataset["pulses"].dims:
        dataset = dataset.expand_dims("seed")
    done = (dataset["status"] == DONE).values
    flat = {
        str(name): _flat(variable, done) for name, variable in dataset.data_vars.items() if "state" in variable.dims
    }
    real = flat["weight"] > 0
    flat = {name: values[real] for name, values in flat.items()}
    outcome, found = flat["outcome"], flat["pulses"]
    pulses = np.arange(size + 1)
    settled = np.isin(outcome, SETTLED)
    label = np.full(len(found), -1)
    label[settled] = classify(found[settled], flat["spacing"][settled])
    weight, total = flat["weight"], flat["weight"].sum()

    columns: dict[str, list[Any]] = {}
    for k in pulses:
        here = found == k
        even = here & (outcome == EVEN)
        closed = firing_time(size / k, delay, v_high, v_low)[1] if k else np.nan
        share = weight[here].sum() / total if total else np.nan
        low, high = (share, share) if exhaustive else wilson(int(here.sum()), len(found))
        row = {
            "count": [int((here & (outcome == number)).sum()) for number in range(len(OUTCOMES))],
            "share": share, "share_low": low, "share_high": high,
            "period": _quantile(flat["period"][even], 0.5),
            "period_unsettled": _quantile(flat["period"][here & ~settled], 0.5),
            "closed_form": closed,
            "deviation": np.abs(flat["period"][even] / closed - 1).max(initial=0) if even.any() else np.nan,
            "captured": _quantile(flat["captured"][here], 0.5),
            "captured_90": _quantile(flat["captured"][here], QUANTILE),
            "transient": _quantile(flat["transient"][here & settled], 0.5),
            "transient_90": _quantile(flat["transient"][here & settled], QUANTILE),
            "relaxation_time": relaxation_time(size, int(k), delay, v_high, v_low) if k else np.nan,
            "unevenness": flat["unevenness"][here].max() if k and here.any() else np.nan,
            "orbits": len(np.unique(label[here & settled])),
        }  # fmt: skip
        for name, value in row.items():
            columns.setdefault(name, []).append(value)
    units = {"share": "1", "share_low": "1", "share_high": "1", "deviation": "1", "unevenness": "1", "orbits": "1"}
    summary = xr.Dataset(
        {
            name: (("pulses", "outcome") if name == "count" else ("pulses",), values, {"units": units.get(name, "tau")})
            for name, values in columns.items()
        },
        coords={
            "pulses": ("pulses", pulses, {"long_name": "pulses that go round", "units": "1"}),
            "outcome": ("outcome", list(OUTCOMES), {"long_name": "what the states settled on"}),
        },
    )
    summary["count"].attrs.update(units="1", long_name="initial states")
    summary["n_states"] = ((), len(found), {"units": "1", "long_name": "initial states"})
    summary["undefined"] = ((), weight[found < 0].sum() / total if total else np.nan, {"units": "1"})
    summary["coexisting"] = ((), len(np.unique(label[settled])), {"units": "1", "long_name": "distinct settled orbits"})
    summary["n_seeds"] = ((), int(done.sum()), {"units": "1", "long_name": "seeds that are done"})
    return summary.assign_attrs({name: dataset.attrs[name] for name in ("kind", "sampling") if name in dataset.attrs})


def _quantile(values: np.ndarray, q: float) -> float:
    known = values[np.isfinite(values)]
    return float(np.quantile(known, q)) if known.size else np.nan


def _flat(variable: xr.DataArray, done: np.ndarray) -> np.ndarray:
    """Values of the finished seeds, all states of all seeds along one axis."""
    values = variable.transpose("seed", "state", ...).values[done]
    return values.reshape(-1, *values.shape[2:])


def _parameter(dataset: xr.Dataset, name: str) -> Any:
    if name in dataset.coords:
        return dataset.coords[name].item()
    if name in dataset.attrs:
        return dataset.attrs[name]
    raise ValueError(f"dataset says no {name}: it must be a scalar coordinate or an attribute")
