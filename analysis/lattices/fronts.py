"""Fronts between two states of a lattice: how large a patch is in time, and how fast its front moves.

Owns what is measured of lattices that start with ``initial = "patch"``; of others there are no fronts, and NaN.
"""

from collections.abc import Mapping

import numpy as np
import xarray as xr

from isophase.analysis.base import Measurement
from isophase.analysis.lattices.order_parameter import order_parameter, relative_to_wave
from isophase.analysis.schemes import parameters
from isophase.analysis.statistics import flags, is_flag, mean_over_seeds, student

SETTLED = 10.0  # tau; a few periods after which the states are what they become
SAMPLES = 5
LARGEST = 0.75  # of the lattice: beyond, what is left of the state around is no background any more
LEAST = 1 / 3  # of the patch's area at first
ERROR_RATE = 0.05
GROWS, SHRINKS, CANNOT_TELL, NOT_DEFINED = range(4)
STATES = ("grows", "shrinks", "cannot_tell", "not_defined")
NAMES = {
    "patch_fraction": "1",
    "patch_fraction_error": "1",
    "front_position": "ring spacings",
    "front_position_error": "ring spacings",
    "front_speed": "ring spacings / tau",
    "front_speed_error": "ring spacings / tau",
    "front_seeds": "1",
    "front_state": "",
}


def fronts(phase: xr.DataArray, scheme: Mapping[str, object]) -> xr.Dataset:
    """Size of a patch and speed of its front, of the phases of a lattice that started with one.

    One of the two states is ordered, in phase or in anti-phase. Its order parameter R over all rings (of staggered
    phases, where it is in anti-phase) is the part of the lattice that it takes: the other state, disordered or of the
    other order, adds nothing to it but 1/sqrt(rings), and the ordered one has a single phase. With the area A of the
    patch, R or 1 - R of the lattice, the front is at ``sqrt(A / pi)`` from the middle of a disc, and at half of
    ``A / rows`` from that of a band, which has two fronts.

    ``front_speed`` is the slope of a straight line through the position of each seed, from the first time after 10 tau
    at which the patch takes no more than 3/4 of the lattice, for as long as it does and takes no less than a third of
    its area then; mean and standard error
    over the seeds that have 5 samples there. It is positive where the patch grows.

    Parameters
    ----------
    phase : (seed, time, row, col), radians, NaN where undefined; times in tau.
    scheme : the scheme's parameters: ``initial``, ``patch``, ``patch_around``, ``patch_shape``.

    Returns
    -------
    Dataset: over ``time`` ``patch_fraction`` (of the lattice) and ``front_position`` with their ``_error`` over seeds;
    ``front_speed`` with its ``_error``; ``front_seeds``; ``front_state``: the patch ``grows`` or ``shrinks`` where the
    95 % interval of the speed (Student's t) excludes 0, ``cannot_tell`` otherwise or for one seed, ``not_defined``
    without patch or samples.
    """
    rows, cols = phase.sizes["row"], phase.sizes["col"]
    inside, around = str(scheme.get("patch", "")), str(scheme.get("patch_around", ""))
    if scheme.get("initial") != "patch":
        nothing = np.full((phase.sizes["seed"], phase.sizes["time"]), np.nan)
        blank = xr.DataArray(nothing, dims=("seed", "time"), coords={"time": phase["time"]})
        return _described(blank, blank, xr.full_like(blank.isel(time=0, drop=True), np.nan))
    ordered = next(state for state in ("coherent", "staggered") if state in (inside, around))
    wavenumber = xr.DataArray(np.pi if ordered == "staggered" else 0.0)
    each = (phase.isel(seed=number).load(scheduler="sync") for number in range(phase.sizes["seed"]))
    orders = [order_parameter(relative_to_wave(of_seed, wavenumber, wavenumber))["order"] for of_seed in each]
    part = xr.concat(orders, "seed").transpose("seed", "time")
    fraction = part if inside == ordered else 1 - part
    is_band = scheme.get("patch_shape") == "band"
    position = fraction * cols / 2 if is_band else (fraction * rows * cols / np.pi) ** 0.5
    return _described(fraction, position, _speeds(fraction, position))


def _speeds(fraction: xr.DataArray, position: xr.DataArray) -> xr.DataArray:
    """Slope of the position of every seed against time; NaN where its window has too few samples."""
    time = fraction["time"].values.astype(float)
    speeds = np.full(fraction.sizes["seed"], np.nan)
    for number, (f, x) in enumerate(zip(fraction.values, position.values, strict=True)):
        candidates = np.isfinite(f) & (time >= SETTLED) & (f <= LARGEST)
        if not candidates.any():
            continue
        started = np.logical_or.accumulate(candidates)
        usable = candidates & (f >= LEAST * f[candidates][0])
        window = started & np.logical_and.accumulate(usable | ~started)
        if window.sum() >= SAMPLES:
            speeds[number] = np.polyfit(time[window], x[window], 1)[0]
    return xr.DataArray(speeds, dims="seed")


def _described(fraction: xr.DataArray, position: xr.DataArray, speed: xr.DataArray) -> xr.Dataset:
    each = xr.Dataset({"patch_fraction": fraction, "front_position": position, "front_speed": speed})
    each = each.reset_coords(drop=True)
    for name, text in {
        "patch_fraction": "part of the lattice that the patch takes",
        "front_position": "distance of the front from the middle of the patch",
        "front_speed": "speed of the front, positive where the patch grows",
    }.items():
        each[name].attrs = {"units": NAMES[name], "long_name": text}
    found = mean_over_seeds(each)
    seeds = speed.notnull().sum("seed")
    reach = xr.apply_ufunc(lambda n: student(1 - ERROR_RATE, n), seeds) * found["front_speed_error"]
    value = found["front_speed"]
    state = xr.where(value - reach > 0, GROWS, xr.where(value + reach < 0, SHRINKS, CANNOT_TELL))
    found["front_state"] = xr.where(seeds > 0, state, NOT_DEFINED).astype(np.int8)
    found["front_state"].attrs = {"long_name": "what becomes of the patch", **flags(STATES)}
    found["front_seeds"] = seeds.assign_attrs(units="1", long_name="seeds with a speed of the front")
    return found


def _of_summary(dataset: xr.Dataset, summary: xr.Dataset) -> xr.Dataset:
    phase = dataset["phase"].where(is_flag(dataset["status"], "done"))
    if bool(summary.get("delay_limited", False)):
        phase = phase * np.nan
    return fronts(phase, parameters(dataset))


FRONTS = Measurement(_of_summary, names=NAMES)
