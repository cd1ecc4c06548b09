"""Fronts between two states of a lattice: how large a patch is in time, how fast its front moves, how rough it gets,
and what the patch becomes.

Owns what is measured of lattices that start with ``initial = "patch"``; of others there are no fronts, and NaN. The
sizes from which patches grow are ``nucleus``'s, the scale that a lattice selects beside its front ``selection``'s.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import xarray as xr

from isophase.analysis.base import Measurement
from isophase.analysis.lattices.growth import growth_exponent
from isophase.analysis.lattices.order_parameter import order_parameter
from isophase.analysis.lattices.phase_field import CORE
from isophase.analysis.schemes import parameters
from isophase.analysis.statistics import flags, is_flag, jackknife_error, mean_over_seeds, student
from isophase.kernels.lattice import initial
from isophase.kernels.lattice.tilings import check_tiles, ring_neighbours

SETTLED = 10.0  # tau; a few periods after which the states are what they become
SAMPLES = 5
LARGEST = 0.75  # of the lattice: beyond, what is left of the state around is no background any more
LEAST = 1 / 3  # of the patch's area at first
ROUGHENING = 4.0  # the least ratio of times over which a roughness is fitted
IN_PHASE = np.pi / 4  # of the ordered state: a disordered ring is so in one of four cases
REFERENCE = 1 / 16  # of the columns, at each end: where the state around keeps its phases longest
ORDERED = 0.9  # of the reference rings of each parity, when it is told which lags they have
LAST = 0.25  # of the samples, over which it is told what a patch has become
GROWN = 0.5  # of the lattice
HEALED = 0.1  # of the lattice; smooth waves of phase are left where a patch was
ERROR_RATE = 0.05
GROWS, SHRINKS, CANNOT_TELL, NOT_DEFINED, HEALS, TAKES_OVER = range(6)
STATES = ("grows", "shrinks", "cannot_tell", "not_defined", "heals", "takes_over")
PATCH_STATES = ("not_defined", "cannot_tell", "healed", "waves", "in_phase", "staggered", "both_orders", "disordered")
UNKNOWN, UNCLEAR, WHOLE, WAVES, ALIKE, STAGGERED, BOTH, DISORDERED = range(8)
SPACINGS = "ring spacings"
NAMES = {
    "patch_fraction": "1",
    "patch_fraction_error": "1",
    "front_position": SPACINGS,
    "front_position_error": SPACINGS,
    "front_roughness": SPACINGS,
    "front_roughness_error": SPACINGS,
    "front_speed": f"{SPACINGS} / tau",
    "front_speed_error": f"{SPACINGS} / tau",
    "front_seeds": "1",
    "front_state": "",
    "roughness_exponent": "1",
    "roughness_exponent_error": "1",
    "roughness_exponent_low": "1",
    "roughness_exponent_high": "1",
    "roughness_state": "",
    "patches_grown": "1",
    "patches_healed": "1",
    "patches_undecided": "1",
    "patch_neighbour_correlation": "1",
    "patch_neighbour_correlation_error": "1",
    "patch_neighbour_correlation_modulo_pi": "1",
    "patch_neighbour_correlation_modulo_pi_error": "1",
    "patch_state": "",
}


def fronts(phase: xr.DataArray, scheme: Mapping[str, object], waves: bool = False) -> xr.Dataset:
    """Size of a patch, speed and roughness of its front and what it becomes, of the phases of a lattice with one.

    One of the two states is ordered. Its phase is that of the rings farthest from the other state, with a lag for every
    parity of row and column: so it may be in phase, in anti-phase, or with a lag between triangles up and down.

    ``patch_fraction``: the order parameter R over all rings relative to these phases is the part of the lattice that
    the ordered state takes; the other state adds nothing to it but 1/sqrt(rings). The patch takes R or 1 - R.

    ``front_position`` of a disc is ``sqrt(A / pi)`` with the area A of that fraction. A band has two fronts, and in
    every row each is where, coming from the ordered state, the first ring is more than pi/4 off its phases; the
    position is the mean over rows and both fronts, and NaN once the rings farthest away are not ordered themselves.

    ``front_speed`` is the slope of a straight line through the position of each seed, from the first time after 10 tau
    at which the patch takes no more than 3/4 of the lattice, for as long as it does and takes no less than a third of
    its area then; mean and standard error over the seeds that have 5 samples there and more than a third of the
    patch's first area. It is positive where the patch grows.

    ``front_roughness`` w of a band that grows or shrinks: ``w^2`` is the variance of a front over rows, averaged
    over both fronts and the seeds. ``roughness_exponent`` is beta of ``w ~ t^beta`` from 10 tau up to the last time at
    which no patch has taken 3/4 of the lattice, with errors by the jackknife over seeds. KPZ fronts have beta = 1/3
    (Kardar, Parisi and Zhang, Phys. Rev. Lett. 56, 889 (1986)), Edwards and Wilkinson's 1/4 (Proc. R. Soc. A 381, 17
    (1982)), uncorrelated ones 1/2. The width that a front of rings has from the start lowers what is fitted.

    ``patch_neighbour_correlation`` is the mean of ``cos(theta_r - theta_s)`` over neighbours r, s where the patch was,
    in the last quarter of the samples, ``_modulo_pi`` that of ``cos 2(theta_r - theta_s)``: 1, 1 in phase, -1, 1 in
    anti-phase, 0, 1 for regions of both, 0, 0 in disorder.

    Parameters
    ----------
    phase : (seed, time, row, col), radians, NaN where undefined; times in tau.
    scheme : the scheme's parameters: ``initial``, ``patch``, ``patch_around``, ``patch_shape``, ``patch_size``,
        ``tiling``, ``boundary``.
    waves : whether the phases end as waves (:func:`isophase.analysis.lattices.waves.waves`).

    Returns
    -------
    Dataset: over ``time`` ``patch_fraction``, ``front_position`` and ``front_roughness`` with their ``_error`` over
    seeds; ``front_speed`` and both correlations with their ``_error``; ``roughness_exponent`` with ``_error``, its 95 %
    interval ``_low`` to ``_high``, and ``roughness_state`` as :func:`growth.growth_exponent` has them; ``front_seeds``;

    - ``front_state``: the patch ``grows`` or ``shrinks`` where the 95 % interval of the speed (Student's t) excludes 0;
      else ``heals`` or ``takes_over`` where every seed's patch does, too fast or too unevenly to be followed;
      ``cannot_tell`` otherwise, ``not_defined`` without patch or samples;
    - ``patches_grown``, ``patches_healed``, ``patches_undecided``: seeds whose patch takes half of the lattice or more
      in the last quarter of the samples, less than a tenth (or half of what it took at first, if that is more), or
      neither;
    - ``patch_state``: ``healed`` in most seeds; else ``waves``; else what the two correlations say, with their 95 %
      intervals on one side of +-1/2: ``in_phase``, ``staggered``, ``both_orders``, ``disordered``, or ``cannot_tell``.
    """
    seeds, times = phase.sizes["seed"], phase.sizes["time"]
    if scheme.get("initial") != "patch":
        nothing = np.full((seeds, times), np.nan)
        alone = np.full(seeds, np.nan)
        return _described(_Seeds(nothing, nothing, nothing, nothing, alone, alone), phase["time"], 0.0, False)
    shape = (phase.sizes["row"], phase.sizes["col"])
    patch = _Patch.of(scheme, shape)
    parts = []
    for number in range(seeds):
        of_seed = phase.isel(seed=number).transpose("time", *CORE).load(scheduler="sync")
        parts.append(_of_seed(of_seed.values.astype(float), patch, np.asarray(phase["time"].values, float)))
    each = _Seeds(*(np.stack(part) for part in zip(*parts, strict=True)))
    return _described(each, phase["time"], float(patch.where.mean()), waves)


class _Patch(NamedTuple):
    """Where a patch starts, which of its two states is ordered, and the rings that have that one longest."""

    where: np.ndarray  # bool [row, col]
    reference: np.ndarray  # bool [row, col]
    is_ordered: bool  # it, not what is around
    is_staggered: bool  # the ordered state
    lags_change: bool  # between the parities of its rings
    is_band: bool
    neighbours: np.ndarray  # [pair, 2], within the patch

    @classmethod
    def of(cls, scheme: Mapping[str, object], shape: tuple[int, int]) -> "_Patch":
        inside, around = str(scheme["patch"]), str(scheme["patch_around"])
        ordered = next(state for state in ("coherent", "staggered") if state in (inside, around))
        is_band = scheme["patch_shape"] == "band"
        rows, cols = shape
        extent = patch_extent(scheme, cols)
        form = initial.band if is_band else initial.disc
        where = form(shape, extent)
        ends = max(2, int(REFERENCE * cols))
        outer = ~initial.band(shape, max(cols - 2 * ends, 0))
        reference = form(shape, max(min(4, extent), extent // 2)) if ordered == inside else outer
        tiling, boundary = str(scheme["tiling"]), str(scheme["boundary"])
        of_states = (ordered == inside, ordered == "staggered", tiling == "triangular")
        try:
            check_tiles(tiling, rows, cols, boundary)
        except ValueError:  # uncoupled rings where no tiling lies
            return cls(where, reference, *of_states, is_band, np.empty((0, 2), np.int64))
        pairs = ring_neighbours(tiling, rows, cols, boundary)
        return cls(
            where,
            reference,
            *of_states,
            is_band,
            pairs[where.ravel()[pairs].all(axis=1)],
        )


def patch_extent(scheme: Mapping[str, object], cols: int) -> int:
    """Width of a band, or diameter of a disc, in ring spacings, as the kind starts it."""
    return max(1, round(float(str(scheme["patch_size"])) * cols))


class _Seeds(NamedTuple):
    """What is measured of every seed: [seed, time], and [seed] for the correlations of neighbours."""

    fraction: np.ndarray
    covered: np.ndarray  # between the fronts of a band; of a disc the fraction
    position: np.ndarray
    variance: np.ndarray
    correlation: np.ndarray
    modulo_pi: np.ndarray


def _of_seed(phase: np.ndarray, patch: _Patch, time: np.ndarray) -> tuple[np.ndarray, ...]:
    """The parts of :class:`_Seeds` of one seed, from its phases [time, row, col]."""
    relative, reference_order = _relative(phase, patch, time)
    field = xr.DataArray(np.mod(relative, 2 * np.pi), dims=("time", *CORE))
    part = order_parameter(field)["order"].values
    fraction = part if patch.is_ordered else 1 - part
    rows, cols = patch.where.shape
    if patch.is_band:
        profile = front_profile(relative, patch.is_ordered)
        profile = np.where((reference_order > 1 / 2)[:, None, None], profile, np.nan)
        position = profile.mean(axis=(1, 2))
        covered = 2 * position / cols
        variance = profile.var(axis=2).mean(axis=1) if rows > 1 else np.full(len(phase), np.nan)
    else:
        covered, position = fraction, np.sqrt(fraction * rows * cols / np.pi)
        variance = np.full(len(phase), np.nan)
    flat = phase[_last(len(phase)) :].reshape(-1, rows * cols)
    difference = flat[:, patch.neighbours[:, 0]] - flat[:, patch.neighbours[:, 1]]
    difference = difference[np.isfinite(difference)]
    correlations = [np.cos(n * difference).mean() if difference.size else np.nan for n in (1, 2)]
    return fraction, covered, position, variance, *map(np.asarray, correlations)


def _last(samples: int) -> int:
    """Number of the first sample of the last part of a run."""
    return samples - max(1, int(LAST * samples))


def _relative(phase: np.ndarray, patch: _Patch, time: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Phases [time, row, col] relative to the ordered state, and how far the reference rings still have its order.

    The lags between parities are those of the first sample at which the reference rings are ordered: of another order
    that has reached them later nothing agrees. Those of triangles up and down alternate from one period to the next.
    """
    z = np.exp(1j * np.nan_to_num(phase)) * (np.isfinite(phase) & patch.reference)
    parities = [np.s_[:, row::2, col::2] for row in (0, 1) for col in (0, 1)]
    sums = np.stack([z[at].sum(axis=(1, 2)) for at in parities], axis=1)
    defined = np.abs(z).sum(axis=(1, 2))
    ordered = np.flatnonzero((np.abs(sums).sum(axis=1) > ORDERED * defined) & (defined > 0) & (time >= SETTLED))
    lag = np.angle(sums[ordered[0]]) if ordered.size else np.pi * patch.is_staggered * np.array([0, 1, 1, 0])
    lag = np.angle(sums) if patch.lags_change else np.broadcast_to(lag, sums.shape)
    mean = (sums * np.exp(-1j * lag)).sum(axis=1)
    relative = phase - np.angle(mean)[:, None, None]
    for at, lags in zip(parities, lag.T, strict=True):
        relative[at] -= lags[:, None, None]
    return relative, np.divide(np.abs(mean), defined, out=np.full(len(phase), np.nan), where=defined > 0)


def front_profile(relative: np.ndarray, is_ordered: bool) -> np.ndarray:
    """Distance of both fronts of a band from the middle of the lattice in every row, [..., front, row].

    Parameters
    ----------
    relative : [..., row, col], radians, phases relative to those of the ordered state; NaN where undefined.
    is_ordered : whether the band is ordered: its front is before the first ring, from the middle, that is more than
        pi/4 off; otherwise behind the first one from the edge that is.
    """
    off = ~(np.cos(relative) > np.cos(IN_PHASE))
    half = off.shape[-1] // 2
    found = []
    for side in (off[..., half - 1 :: -1], off[..., half:]):  # from the middle to the edge
        length = side.shape[-1]
        if is_ordered:
            distance = np.where(side.any(axis=-1), side.argmax(axis=-1), length)
        else:
            distance = np.where(side.any(axis=-1), length - side[..., ::-1].argmax(axis=-1), 0)
        found.append(distance)
    return np.stack(found, axis=-2).astype(float)


def _speeds(each: _Seeds, time: np.ndarray, first: float) -> np.ndarray:
    """Slope of the position of every seed against time; NaN where its window has too few samples."""
    speeds = np.full(len(each.covered), np.nan)
    for number, (f, x) in enumerate(zip(each.covered, each.position, strict=True)):
        candidates = np.isfinite(f) & (time >= SETTLED) & (f <= LARGEST)
        if not candidates.any() or f[candidates][0] < LEAST * first:
            continue
        started = np.logical_or.accumulate(candidates)
        usable = candidates & (f >= LEAST * f[candidates][0])
        window = started & np.logical_and.accumulate(usable | ~started)
        if window.sum() >= SAMPLES:
            speeds[number] = np.polyfit(time[window], x[window], 1)[0]
    return speeds


def _described(each: _Seeds, time: xr.DataArray, first: float, waves: bool) -> xr.Dataset:
    """Means over seeds, states and units, of patches that took the part ``first`` of the lattice at the start."""
    time = time.reset_coords(drop=True)
    speed = _speeds(each, np.asarray(time.values, float), first)
    measured = xr.Dataset(
        {
            "patch_fraction": (("seed", "time"), each.fraction),
            "front_position": (("seed", "time"), each.position),
            "front_speed": ("seed", speed),
            "patch_neighbour_correlation": ("seed", each.correlation),
            "patch_neighbour_correlation_modulo_pi": ("seed", each.modulo_pi),
        },
        coords={"time": time},
    )
    for name, text in {
        "patch_fraction": "part of the lattice that the patch takes",
        "front_position": "distance of the front from the middle of the patch",
        "front_speed": "speed of the front, positive where the patch grows",
        "patch_neighbour_correlation": "correlation of neighbours where the patch was",
        "patch_neighbour_correlation_modulo_pi": "correlation of twice the phases of neighbours where the patch was",
    }.items():
        measured[name].attrs = {"units": NAMES[name], "long_name": text}
    found = mean_over_seeds(measured)
    healed, grown, known = _outcomes(each.fraction, first)
    counts = {"grown": (grown, "have grown"), "healed": (healed, "have healed")}
    for name, (which, text) in (counts | {"undecided": (known & ~grown & ~healed, "have done neither")}).items():
        found[f"patches_{name}"] = ((), int(which.sum()), {"units": "1", "long_name": f"seeds whose patches {text}"})
    with_speed = np.isfinite(speed).sum()
    found["front_seeds"] = ((), with_speed, {"units": "1", "long_name": "seeds with a speed of the front"})
    state = _front_state(found, int(with_speed), known, healed, grown)
    found["front_state"] = ((), np.int8(state), {"long_name": "what becomes of the front", **flags(STATES)})
    moves = state in (GROWS, SHRINKS)
    state = _patch_state(found, known, healed, waves)
    found["patch_state"] = ((), np.int8(state), {"long_name": "what the patch becomes", **flags(PATCH_STATES)})
    if not moves:  # then the place of the first ring off in a row is that of no front
        each = each._replace(variance=np.full_like(each.variance, np.nan))
    return found.merge(_roughness(each, time))


def _outcomes(fraction: np.ndarray, first: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Which seeds' patches have healed, which have grown, and of which anything is known."""
    last = fraction[:, _last(fraction.shape[1]) :]
    known = np.isfinite(last).any(axis=1)
    taken = np.nanmean(np.where(known[:, None], last, 0.0), axis=1)
    return known & (taken < max(HEALED, first / 2)), known & (taken >= GROWN), known


def _front_state(found: xr.Dataset, seeds: int, known: np.ndarray, healed: np.ndarray, grown: np.ndarray) -> int:
    reach = student(1 - ERROR_RATE, np.asarray(seeds)) * float(found["front_speed_error"])
    value = float(found["front_speed"])
    if value - reach > 0 or value + reach < 0:
        return GROWS if value > 0 else SHRINKS
    if known.sum() > 1 and (healed | grown)[known].all() and healed[known].all() != grown[known].all():
        return HEALS if healed.any() else TAKES_OVER
    return CANNOT_TELL if seeds else NOT_DEFINED


def _patch_state(found: xr.Dataset, known: np.ndarray, healed: np.ndarray, waves: bool) -> int:
    if not known.any():
        return UNKNOWN
    if healed.sum() > known.sum() / 2:
        return WHOLE
    if waves:
        return WAVES
    names = ("patch_neighbour_correlation", "patch_neighbour_correlation_modulo_pi")
    quantile = student(1 - ERROR_RATE, known.sum())
    ends = [float(found[name]) + quantile * float(found[f"{name}_error"]) * np.array([-1, 1]) for name in names]
    states = {_order(one, two) for one in ends[0] for two in ends[1]}
    return states.pop() if len(states) == 1 and np.isfinite(ends).all() else UNCLEAR


def _order(correlation: float, modulo_pi: float) -> int:
    if abs(correlation) > 1 / 2:
        return ALIKE if correlation > 0 else STAGGERED
    return BOTH if modulo_pi > 1 / 2 else DISORDERED


def _roughness(each: _Seeds, time: xr.DataArray) -> xr.Dataset:
    """Width of the fronts against time, and its exponent while every seed's patch is no more than 3/4."""
    at = np.asarray(time.values, float)
    present = np.isfinite(each.variance).any(axis=1)
    inside = (np.isfinite(each.variance) & (each.covered <= LARGEST) & (at >= SETTLED))[present].all(axis=0)
    inside &= present.any()
    ended = np.logical_or.accumulate(np.logical_or.accumulate(inside) & ~inside)
    inside &= ~ended
    variance = np.where(present[:, None], each.variance, 0.0)
    total, number = variance.sum(axis=0), max(int(present.sum()), 1)
    width = np.where(inside, np.sqrt(total / number), np.nan)
    without = np.sqrt(np.maximum(total - variance, 0.0) / max(number - 1, 1))
    without = np.where(present[:, None] & inside, without, np.nan)
    error = jackknife_error(without.T, present)
    attrs = {"units": NAMES["front_roughness"], "long_name": "root of the variance of the front's place over rows"}
    found = xr.Dataset(
        {
            "front_roughness": ("time", width, attrs),
            "front_roughness_error": ("time", error, attrs | {"long_name": "standard error of the front's roughness"}),
        },
        coords={"time": time},
    )
    ends = at[inside][[0, -1]] if inside.any() else np.array([1.0, 1.0])
    long_enough = ends[1] >= ROUGHENING * ends[0]
    fit = growth_exponent(
        found["front_roughness"].where(long_enough),
        xr.DataArray(without, dims=("seed", "time"), coords={"time": time}),
        window=(float(ends[0]), float(ends[1])) if long_enough else (1.0, 2.0),
    )
    for name in ("exponent", "exponent_error", "exponent_low", "exponent_high", "state"):
        of_growth = fit[f"growth_{name}"]
        text = of_growth.attrs["long_name"].replace("1/z of xi ~ t^(1/z)", "beta of w ~ t^beta, the front's roughness")
        found[f"roughness_{name}"] = of_growth.assign_attrs(long_name=text)
    return found


def _of_summary(dataset: xr.Dataset, summary: xr.Dataset) -> xr.Dataset:
    phase = dataset["phase"].where(is_flag(dataset["status"], "done"))
    if bool(summary.get("delay_limited", False)):
        phase = phase * np.nan
    last = summary["waves"].isel(time=slice(_last(summary.sizes["time"]), None))
    return fronts(phase, parameters(dataset), bool(last.mean() > 1 / 2))


FRONTS = Measurement(_of_summary, names=NAMES)
