"""Learning phases of a training run: when each part of a task is learned, and how long nothing seems to happen between.

Owns the rule by which an accuracy is called reached; where the bifurcation lies is ``bifurcations``' to say.
"""

from typing import Any

import numpy as np
import xarray as xr

WINDOW = 10  # iterations: one lucky batch is no learning
TI_LEARNED = 0.99
TD_TRANSITION = 0.75  # the value at which the paper reads the transition off
TD_LEARNED = 0.9
MARGIN = 0.02  # above the base rate: more than twice the standard error of a batch of 128 sequences of 60 steps
PHASES = {
    "ti_learned": f"iteration where the accuracy of time-independent symbols reaches {TI_LEARNED}",
    "td_leaves_base": f"iteration where the accuracy of time-dependent symbols exceeds its base rate by {MARGIN}",
    "td_halfway": "iteration where the accuracy of time-dependent symbols is halfway from its base rate to 1",
    "td_four_fifths": "iteration where it is four fifths of the way from its base rate to 1",
    "td_transition": f"iteration where the accuracy of time-dependent symbols reaches {TD_TRANSITION}",
    "td_learned": f"iteration where the accuracy of time-dependent symbols reaches {TD_LEARNED}",
}

UNITS = dict.fromkeys((*PHASES, "plateau"), "iterations") | {"plateau_share": "1"}


def learning_phases(ti_accuracy: xr.DataArray, td_accuracy: xr.DataArray, td_base_rate: float) -> xr.Dataset:
    """Iterations at which the phases of learning begin, per run.

    An accuracy reaches a value at the first iteration where it and its mean over ``WINDOW`` iterations from there on
    are at least that value; NaN says that it never does, or too late to tell.

    Parameters
    ----------
    ti_accuracy, td_accuracy : over ``iteration`` (with its coordinate) and any other dimensions: fraction of correct
        answers at time-independent and at time-dependent symbols of the training batch. NaN after a run diverged.
    td_base_rate : fraction correct at time-dependent symbols of the best answer that ignores time, between 0 and 1;
        NaN where there are no such symbols, which then are never learned. So are values below the base rate: they can
        be reached without learning anything. ``td_halfway`` and
        ``td_four_fifths`` mean the same for every base rate; for a base of 0.5 they are 0.75 and 0.9.

    Returns
    -------
    Dataset over the other dimensions with ``ti_learned``, ``td_leaves_base``, ``td_halfway``, ``td_four_fifths``,
    ``td_transition``, ``td_learned``; ``plateau``, from ``ti_learned`` to ``td_halfway`` (negative where time is
    learned first); and ``plateau_share``, the part of the iterations up to ``td_four_fifths`` before ``td_halfway``.
    All in iterations but the last.

    Source: the phases are those of arXiv 2306.07125, section on learning; the rule that finds them is ours.
    """
    if not 0 <= td_base_rate <= 1 and not np.isnan(td_base_rate):
        raise ValueError(f"td_base_rate={td_base_rate}: must be between 0 and 1")
    phases = xr.Dataset(
        {
            "ti_learned": reaches(ti_accuracy, TI_LEARNED),
            "td_leaves_base": reaches(td_accuracy, td_base_rate + MARGIN),
            "td_halfway": reaches(td_accuracy, td_base_rate + (1 - td_base_rate) / 2),
            "td_four_fifths": reaches(td_accuracy, td_base_rate + 0.8 * (1 - td_base_rate)),
            "td_transition": reaches(td_accuracy, _above(td_base_rate, TD_TRANSITION)),
            "td_learned": reaches(td_accuracy, _above(td_base_rate, TD_LEARNED)),
        }
    )
    for name, long_name in PHASES.items():
        phases[name].attrs.update(long_name=long_name, comment="NaN: never")
    phases["plateau"] = (phases["td_halfway"] - phases["ti_learned"]).assign_attrs(
        long_name="iterations between learning the time-independent symbols and half of the others"
    )
    phases["plateau_share"] = (phases["td_halfway"] / phases["td_four_fifths"]).assign_attrs(
        long_name="part of the iterations up to td_four_fifths that lies before td_halfway"
    )
    for name, units in UNITS.items():
        phases[name].attrs["units"] = units
    return phases


def _above(base_rate: float, value: float) -> float:
    return value if value > base_rate else np.nan


def reaches(accuracy: xr.DataArray, value: float, window: int = WINDOW) -> xr.DataArray:
    """First iteration where an accuracy and its mean over ``window`` iterations from there on are at least ``value``.

    Parameters
    ----------
    accuracy : over ``iteration``, with its coordinate, and any other dimensions.

    Returns
    -------
    Iterations as float64 over the other dimensions; NaN: never, or fewer than ``window`` iterations before the end.
    Iterations without a value (no such symbol in the batch) are passed over, if more than half of the window have one.
    """

    def first(curve: np.ndarray, iteration: np.ndarray) -> Any:
        if curve.shape[-1] < window:
            return np.full(curve.shape[:-1], np.nan)
        ahead = np.lib.stride_tricks.sliding_window_view(curve, window, axis=-1)
        known = np.isfinite(ahead)
        means = np.where(known, ahead, 0).sum(-1) / np.where(2 * known.sum(-1) > window, known.sum(-1), np.nan)
        reached = (means >= value) & (curve[..., : means.shape[-1]] >= value)  # NaN is never at least a value
        at = iteration[reached.argmax(-1)].astype(float)
        return np.where(reached.any(-1), at, np.nan)

    return xr.apply_ufunc(
        first, accuracy.astype(float), accuracy["iteration"], input_core_dims=[["iteration"], ["iteration"]],
        dask="parallelized", output_dtypes=[float],
    )  # fmt: skip
