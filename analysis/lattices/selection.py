"""Which state is selected: the front of a scheme beside the scale on which its lattices from random pulses settle.

Owns the pairs of schemes that differ in their initial state alone, and whether the sign of a front's speed tells that
scale; speeds are ``fronts``'s, lengths ``steady_state``'s.
"""

import itertools
import json
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import scipy.stats
import xarray as xr

from isophase.analysis.schemes import grid_axes, labels_along, parameters, schemes
from isophase.analysis.statistics import RESAMPLES, bootstrap, is_flag

STARTS = frozenset({"initial", "patch", "patch_around", "patch_shape", "patch_size"})
"""The parameters that say how a lattice starts."""
LEAST_SCHEMES = 5  # of which a rank correlation is given
SEED = 1
ROUNDING = 1e-12


class Selected(NamedTuple):
    """A scheme that was started with a patch of disorder or of order in the other, and from random pulses.

    ``speed`` with its ``error``: of the front, positive where disorder takes the ordered state; -inf where the patch
    of disorder heals and no speed is told. ``sign``: +1, -1, or 0 where it is not told.
    ``coherent``: whether the correlation length from pulses is longer than half of the lattice; None: not defined.
    ``scale``: that length, inf where coherent, NaN where there are waves or nothing is defined.
    """

    label: str
    front: xr.Dataset
    pulses: xr.Dataset
    speed: float
    error: float
    sign: int
    coherent: bool | None
    scale: float


class Prediction(NamedTuple):
    """Schemes by the sign of their speed and by what the pulses end as, and what that says.

    ``p_value``: Fisher's exact test of the four counts, two-sided; NaN where a margin is empty. ``rank_correlation``:
    Spearman's, between speed and scale, of ``ranked`` schemes, with its 95 % interval by the bootstrap over schemes and
    the probability ``rank_p_value`` of one as far from 0 if speeds were dealt out at random.
    """

    grows_not_coherent: int
    grows_coherent: int
    shrinks_not_coherent: int
    shrinks_coherent: int
    p_value: float
    ranked: int
    rank_correlation: float
    low: float
    high: float
    rank_p_value: float


def labelled(summary: xr.Dataset, without: frozenset[str]) -> Iterator[tuple[str, xr.Dataset]]:
    """Every scheme, labelled without the axes that move no other parameters than some."""
    moved = {axis["name"]: set(axis["values"]) for axis in json.loads(summary.attrs.get("axes", "[]"))}
    dims = [dim for dim in grid_axes(summary) if not moved[dim] <= without]
    values = itertools.product(*(summary[dim].values.tolist() for dim in dims))
    labels = dict(zip(values, labels_along(summary, dims), strict=True))
    for _, part in schemes(summary):
        label = labels[tuple(part[dim].item() for dim in dims)]
        yield label or str(summary.attrs.get("kind", "all")), part


def selected(summary: xr.Dataset) -> list[Selected]:
    """The schemes of a group that were started in both ways, disorder against an ordered state, and from pulses."""
    if "patch_state" not in summary:  # summaries of older versions
        return []
    patches: list[tuple[str, str, xr.Dataset]] = []
    pulses: dict[str, xr.Dataset] = {}
    for label, part in labelled(summary, STARTS):
        scheme = parameters(part)
        rest = json.dumps({name: value for name, value in scheme.items() if name not in STARTS}, sort_keys=True)
        if scheme.get("initial") == "patch" and "disordered" in (scheme["patch"], scheme["patch_around"]):
            patches.append((rest, label, part))
        elif scheme.get("initial") == "pulse":
            pulses[rest] = part
    return [_selected(label, part, pulses[rest]) for rest, label, part in patches if rest in pulses]


def _selected(label: str, front: xr.Dataset, pulses: xr.Dataset) -> Selected:
    direction = 1 if parameters(front)["patch"] == "disordered" else -1
    state = front["front_state"]
    speed = direction * float(front["front_speed"])
    heals = bool(is_flag(state, "heals"))
    if heals:
        speed = -direction * np.inf
    told = bool(is_flag(state, "grows") | is_flag(state, "takes_over")) - (heals or bool(is_flag(state, "shrinks")))
    defined = not bool(is_flag(pulses["state"], "not_defined"))
    coherent = bool(is_flag(pulses["state"], "beyond_half")) if defined else None
    scale = np.inf if coherent else float(pulses["xi_inf"])
    error = float(front["front_speed_error"])
    return Selected(label, front, pulses, speed, error, direction * told, coherent, scale)


def prediction(found: Sequence[Selected]) -> Prediction:
    """Whether the sign of the front's speed tells if lattices from random pulses end coherent.

    Schemes are taken as independent, which those that differ in little are not quite. A speed whose sign is not told,
    and pulses of which nothing is defined, are left out of the counts; waves are not coherent, and have no place among
    the scales.
    """
    table = [[sum(s.sign == sign and s.coherent is end for s in found) for end in (False, True)] for sign in (1, -1)]
    margins = [*map(sum, table), *map(sum, zip(*table, strict=True))]
    p_value = float(scipy.stats.fisher_exact(table).pvalue) if all(margins) else np.nan
    pairs = np.array([(s.speed, s.scale) for s in found if not np.isnan(s.speed + (0 if s.coherent else s.scale))])
    value = low = high = chance = np.nan
    if len(pairs) >= LEAST_SCHEMES:
        speed, scale = (scipy.stats.rankdata(column) for column in pairs.T)
        if np.ptp(speed) > 0 and np.ptp(scale) > 0:
            low, high = bootstrap((speed, scale), _spearman, 0.95, SEED, "percentile", paired=True, vectorized=True)
            value = float(_spearman(speed, scale))
            shuffled = np.random.default_rng(SEED).permuted(np.tile(speed, (RESAMPLES, 1)), axis=-1)
            as_far = np.abs(_spearman(shuffled, scale)) >= abs(value) - ROUNDING
            chance = float((1 + as_far.sum()) / (1 + RESAMPLES))
    (grows_apart, grows_alike), (shrinks_apart, shrinks_alike) = table
    counts = (grows_apart, grows_alike, shrinks_apart, shrinks_alike)
    return Prediction(*counts, p_value, len(pairs), value, low, high, chance)


def _spearman(x: np.ndarray, y: np.ndarray, axis: int = -1) -> np.ndarray:
    """Spearman's rank correlation; 0 where one of the two is the same throughout, as a resample can be."""
    a, b = (scipy.stats.rankdata(column, axis=axis) - (column.shape[axis] + 1) / 2 for column in (x, y))
    scale = np.sqrt((a**2).sum(axis=axis) * (b**2).sum(axis=axis))
    return (a * b).sum(axis=axis) / np.where(scale > 0, scale, 1.0)
