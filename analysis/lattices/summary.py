"""The summary of one scheme of a lattice sweep: every measurement of its seeds, gathered in one dataset.

The flow ``reduce`` calls it on each scheme of a group; the measurements themselves are in their own modules.

A summary is a dataset, in memory, with

- over ``time``: ``xi``, ``xi_error``, ``xi_reason`` and those of the other estimators, ``xi_lower_bound``,
  ``seeds``, ``defined``, and over ``seed`` too ``xi_without`` and so on, all as
  :func:`correlation_length.correlation_length` explains; over ``distance`` too ``correlation``, ``noise``, and what
  :func:`profiles.profiles` adds: ``correlation_error``, ``correlation_of_seed``, ``staggered_correlation``,
  ``doubled_correlation``;
- ``xi_inf``, ``xi_inf_error``, ``drift``, ``drift_error``, ``time_to_steady``, ``time_to_steady_error``,
  ``beyond_quarter``, ``state`` and those of the other estimators, as :func:`steady_state.steady_state`
  explains; ``steady``, whether ``state`` is ``steady``; ``xi_inf_lower_bound`` where it is ``beyond_half``;
- ``xi_inf_systematic``, ``systematic_axis``, ``systematic_estimator``, ``systematic_window``, what is to stand beside
  the statistical ``xi_inf_error``, as :func:`systematics.systematics` explains;
- ``growth_exponent`` and all of :func:`isophase.analysis.lattices.growth.growth_exponent`, and beside its statistical
  error ``growth_exponent_systematic``: in quadrature half of the range of the exponents of the three estimators, and
  ``growth_exponent_change / 4``, half of what the exponents of the two halves of the window differ;
- over ``time``, means over seeds, each with its standard error ``_error``: ``order``, ``local_order``, ``domains``,
  ``domain_size``, ``domain_size_weighted``, ``largest_domain``, ``boundary_density``, ``defects``,
  ``defects_positive``, ``defects_negative``, and all of them ``_modulo_pi``;
- over ``time`` and ``shell``: ``structure_factor`` with its ``_error``, the mean of S over the modes at a distance
  ``shell_wavenumber`` from the wavevector of the nearest order in phase or in anti-phase; ``susceptibility`` with
  its ``_error``, S at that wavevector, n <R^2> of n rings;
- ``defect_distance_exponent`` with its ``_error``, ``_low``, ``_high`` and ``defect_distance_state``: the distance
  between defects, one over the root of their density, as a power of time
  (:func:`isophase.analysis.lattices.growth.growth_exponent`); the density falls with twice that exponent;
- over ``time``: ``waves``, ``wavelength``, ``coherence_length`` and their ``_error``, as :func:`waves.waves`
  explains: where there are waves no correlation length is given; ``spirals`` with its ``_error``, the defects in the
  whole lattice, round which waves turn;
- over ``time``: densities of the orders in phase and in anti-phase and of the walls between and within them, each with
  its ``_error``: ``in_phase``, ``anti_phase``, ``walls_in_phase``, ``walls_anti_phase``, ``walls_between``
  (:func:`locks.locks`);
- over ``time`` and ``seed``: ``wavenumber_row``, ``wavenumber_col`` of the order;
- ``front_position``, ``front_speed``, ``front_roughness``, ``roughness_exponent``, ``patch_state``,
  ``patches_grown`` and all of :func:`isophase.analysis.lattices.fronts.fronts`, NaN without a patch;
- ``n_seeds`` that are done; for rings ``switching_rate``, ``switching_rate_error`` and ``delay_limited``.
"""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import xarray as xr

from isophase.analysis.base import Reduction
from isophase.analysis.lattices.correlation import phase_correlation
from isophase.analysis.lattices.correlation_length import BEYOND_HALF as LONGER
from isophase.analysis.lattices.correlation_length import WAVES, correlation_length
from isophase.analysis.lattices.defects import defects
from isophase.analysis.lattices.domains import domains
from isophase.analysis.lattices.graph_correlation import graph_correlation, graph_pairs
from isophase.analysis.lattices.growth import growth_exponent
from isophase.analysis.lattices.locks import locks
from isophase.analysis.lattices.measurements import MEASUREMENTS
from isophase.analysis.lattices.names import DEFECT_DECAY, PER_MAP, SUFFIXES, names, suffixed
from isophase.analysis.lattices.order_parameter import order_parameter, relative_to_wave
from isophase.analysis.lattices.profiles import profiles
from isophase.analysis.lattices.sizes import over_sizes
from isophase.analysis.lattices.steady_state import BEYOND_HALF, STEADY, steady_state
from isophase.analysis.lattices.structure_factor import structure_factor
from isophase.analysis.lattices.systematics import systematics
from isophase.analysis.lattices.waves import NAMES as OF_WAVES
from isophase.analysis.lattices.waves import waves
from isophase.analysis.schemes import parameters
from isophase.analysis.statistics import is_flag, mean_over_seeds
from isophase.kernels.lattice.tilings import check_tiles, plaquettes, ring_neighbours

BLOCK = 2**21  # rings of maps measured at once: some 100 MB with everything that is made of them
NO_PAIRS = np.empty((0, 2), np.int64)
NO_PLAQUETTES = np.empty((0, 0), np.int64)
NEEDS_NEIGHBOURS = ("domains", "domain_size", "domain_size_weighted", "largest_domain")  # others are NaN by themselves
IN_HOPS = "steps between neighbouring rings; in a small world hops along its graph"

# The second moment is measured with k^2 of the array of rings, as if row and col were at right angles and their steps
# equal. With the metric G of the steps (tilings.tile_centres), S0 / (1 + xi^2 k G^-1 k), averaged over directions, has
# (tr G^-1 / 2) xi^2 instead of xi^2; and a step of a triangular tiling's col is sqrt(3/4) of the neighbours' distance.
SECOND_MOMENT_SCALE = {"chain": 1.0, "square": 1.0, "hexagonal": np.sqrt(3 / 4), "triangular": np.sqrt(3 / 2)}


def summarise(dataset: xr.Dataset) -> xr.Dataset:
    """Reduce the seeds of one scheme, holding one seed's trajectory at a time.

    The headline correlation length is that by e-folding; it has no suffix, the others are ``_fit`` and
    ``_second_moment``. Lengths are in ring spacings: steps along row and col, between neighbours. On a triangular
    tiling only a step along col is one between neighbours (sqrt(3/4) of their distance as the crow flies), so there C
    is taken along col.

    Domains, defects and order parameters are those of the phases relative to the wavevector of each map's order
    (:func:`order_parameter.relative_to_wave`), which is 0 unless neighbours lock with a lag or in anti-phase.
    Where patches of both lie side by side, no wavevector is that of all; so they are given a second time, with
    ``_modulo_pi``, for twice the phases, to which in phase and in anti-phase are the same.

    Rings of a small world lie in no plane: there ``graph_neighbours`` of each seed say who is joined to whom, lengths
    are hops along that graph (``attrs["along"]`` is ``graph``), phases are taken as they are, and there are no defects,
    no wavevector and no second moment. Uncoupled rings (``sharing="none"``) are measured as those of their tiling are;
    on a lattice that no tiling has (a triangular one of odd size, a single ring) they have no neighbours: no domains,
    no local order, no defects.

    Seeds that are not done are left out of everything. Where a seed is flagged ``delay_limited`` the phases of the
    scheme mean nothing: all that is drawn from them is NaN, or a state that says not defined.

    Parameters
    ----------
    dataset : ``phase`` (seed, time, row, col) in radians, ``status`` (seed) with its flags, and in ``attrs`` the
        ``parameters`` of the scheme; as a group of the store is after selecting one position on each of its other
        axes. ``switching_rate`` and ``delay_limited`` (seed), where there are any (kind ``lattice``). Of a small world
        ``graph_neighbours`` (seed, ring, neighbour), -1 where a ring has no more.

    Returns
    -------
    Dataset, in memory, with the variables that the head of this module lists.

    Raises ValueError where the phases are none of such a lattice.
    """
    if "seed" not in dataset["phase"].dims:
        dataset = dataset.expand_dims("seed")
    scheme = parameters(dataset)
    done = is_flag(dataset["status"], "done")
    delay_limited = bool((dataset["delay_limited"].astype(bool) & done).any()) if "delay_limited" in dataset else False
    parts, n_plaquettes = [], 0
    for number, finished in enumerate(done.values):
        phase = dataset["phase"].isel(seed=number)
        if delay_limited or not finished:
            phase = xr.full_like(phase, np.nan)
        place = _place(dataset, scheme, number)
        n_plaquettes = len(place.plaquettes)
        parts.append(_measure(phase.load(scheduler="sync"), place))
    correlations, of_twice, *rest = zip(*parts, strict=True)
    correlation, doubled = (_concat(_as_far(list(c), done.values), "seed") for c in (correlations, of_twice))
    structure, per_map = (_concat(list(part), "seed") for part in rest)

    summary, side = _lengths(correlation, structure, scheme)
    summary.update(profiles(correlation, doubled, summary.attrs["along"]))
    summary["time"].attrs.update(dataset["time"].attrs)  # apply_ufunc drops them, and what is a time has their units
    summary.attrs["side"] = side
    _settle(summary, side)
    for measurement in MEASUREMENTS:
        summary.update(measurement.measure(dataset, summary))
    per_map["spirals"] = (per_map["defects"] * n_plaquettes).assign_attrs(units="1", long_name="defects in the lattice")
    summary.update(mean_over_seeds(per_map.where(correlation["defined"] > 0)))
    summary.update(structure[["wavenumber_row", "wavenumber_col"]])
    summary.update(_of_structure(structure))
    _defects_decay(summary, per_map["defects"])
    summary.update(systematics(summary, correlation, _alternates(scheme)))
    summary["n_seeds"] = done.sum().assign_attrs(units="1", long_name="seeds that are done")
    if "switching_rate" in dataset:
        summary.update(mean_over_seeds(dataset[["switching_rate"]].where(done)))
    if "delay_limited" in dataset:
        summary["delay_limited"] = ((), delay_limited, dataset["delay_limited"].attrs)
    rows, cols = dataset.sizes["row"], dataset.sizes["col"]
    return summary.assign_attrs(tiling=scheme["tiling"], rows=rows, cols=cols).load(scheduler="sync")


REDUCTION = Reduction(summarise=summarise, names=names, across=over_sizes)


class _Place(NamedTuple):
    """Where the rings of a lattice are: pairs of neighbours [pair, 2], and the rings round every plaquette."""

    boundary: str
    neighbours: np.ndarray
    plaquettes: np.ndarray
    is_graph: bool = False


def _place(dataset: xr.Dataset, scheme: Mapping[str, Any], number: int) -> _Place:
    """Neighbours of the rings of one seed."""
    boundary = scheme["boundary"]
    if _is_small_world(scheme):
        return _Place(boundary, graph_pairs(dataset["graph_neighbours"].isel(seed=number).values), NO_PLAQUETTES, True)
    if scheme.get("sharing") == "none" and not _is_tiled(scheme["tiling"], dataset, boundary):
        return _Place(boundary, NO_PAIRS, NO_PLAQUETTES)
    return _tiled(scheme["tiling"], dataset.sizes["row"], dataset.sizes["col"], boundary)


def _is_tiled(tiling: str, dataset: xr.Dataset, boundary: str) -> bool:
    """Whether tiles can lie as the rings do; uncoupled ones may lie as no tiling does."""
    try:
        check_tiles(tiling, dataset.sizes["row"], dataset.sizes["col"], boundary)
    except ValueError:
        return False
    return True


def _is_small_world(scheme: Mapping[str, Any]) -> bool:
    return scheme.get("graph") == "small_world"


@lru_cache(maxsize=2)
def _tiled(tiling: str, rows: int, cols: int, boundary: str) -> _Place:
    """The schemes of one group share it."""
    around = plaquettes(tiling, rows, cols, boundary)
    return _Place(boundary, ring_neighbours(tiling, rows, cols, boundary), around)


def _measure(phase: xr.DataArray, place: _Place) -> tuple[xr.Dataset, ...]:
    """Correlation, that of twice the phases, structure factor without its full map, and single maps, of one seed."""
    step = max(1, BLOCK // (phase.sizes["row"] * phase.sizes["col"]))
    blocks = []
    for start in range(0, phase.sizes["time"], step):
        part = phase.isel(time=slice(start, start + step))
        twice = (2 * part) % (2 * np.pi)
        structure = structure_factor(part)[["centred", "round_order", "defined", "wavenumber_row", "wavenumber_col"]]
        if place.is_graph:
            structure, relative = xr.full_like(structure, np.nan), part
            correlation, doubled = (graph_correlation(p, place.neighbours) for p in (part, twice))
        else:
            relative = relative_to_wave(part, structure["wavenumber_row"], structure["wavenumber_col"])
            correlation, doubled = (phase_correlation(p, place.boundary) for p in (part, twice))
        per_map = xr.merge(
            [_per_map(relative, place), _per_map(twice, place, "_modulo_pi"), locks(part, place.neighbours)]
        )
        blocks.append((correlation, doubled, structure, per_map))
    return tuple(_concat(list(part), "time") for part in zip(*blocks, strict=True))


def _per_map(field: xr.DataArray, place: _Place, suffix: str = "") -> xr.Dataset:
    """Order, domains and defects of single maps."""
    measured = (
        order_parameter(field, place.neighbours),
        domains(field, place.neighbours),
        defects(field, place.plaquettes),
    )
    found = {name: variable for dataset in measured for name, variable in dataset.data_vars.items()}
    per_map = xr.Dataset()
    for name in PER_MAP:
        label = found[name].attrs["long_name"] + suffix.replace("_", " ")
        values = found[name]
        if name in NEEDS_NEIGHBOURS and not len(place.neighbours):
            values = xr.full_like(values, np.nan, float)
        per_map[f"{name}{suffix}"] = values.assign_attrs(long_name=label)
    return per_map


def _as_far(correlations: list[xr.Dataset], done: np.ndarray) -> list[xr.Dataset]:
    """The correlations as far as every finished seed has one: the graphs of small worlds differ in their diameter."""
    reach = [correlation.sizes["distance"] for correlation in correlations]
    far = min(np.array(reach)[done].tolist() or reach)
    if set(reach) == {far}:
        return correlations
    none = {"pairs_radial": 0}
    return [c.reindex(distance=range(far), fill_value={**{str(n): np.nan for n in c}, **none}) for c in correlations]


def _lengths(correlation: xr.Dataset, structure: xr.Dataset, scheme: Mapping[str, Any]) -> tuple[xr.Dataset, int]:
    """Correlation lengths against time, and the side of the lattice that they are to be compared with."""
    if _is_small_world(scheme):
        lengths = correlation_length(correlation, along="graph")
        for name, units in OF_WAVES.items():  # of a graph that lies in no plane
            blank = xr.zeros_like(lengths["seeds"], bool) if name == "waves" else lengths["xi_efold"] * np.nan
            lengths[name] = blank.assign_attrs({"units": units} if units else {})
        side = 2 * (correlation.sizes["distance"] - 1)
    else:
        tiling, rows, cols = scheme["tiling"], correlation.attrs["rows"], correlation.attrs["cols"]
        along = "col" if tiling == "triangular" else "axes"
        lengths = correlation_length(correlation, structure, along=along, alternates=_alternates(scheme))
        for name in (f"xi_second_moment{part}" for part in ("", "_error", "_without")):
            lengths[name] = (lengths[name] * SECOND_MOMENT_SCALE[tiling]).assign_attrs(lengths[name].attrs)
        lengths = _without_waves(lengths, waves(structure))
        side = cols if along == "col" else min((n for n in (rows, cols) if n > 1), default=1)
    lengths = lengths.drop_vars("radial_distance", errors="ignore")  # nothing here is along it
    lengths = lengths.rename({name: name.replace("_efold", "") for name in map(str, lengths.data_vars)})
    for name in ("distance", "correlation", "xi", "xi_fit"):
        lengths[name].attrs["comment"] = IN_HOPS
    return lengths, side


def _alternates(scheme: Mapping[str, Any]) -> bool:
    """Whether steps along the axes lead between two sublattices; the neighbours of hexagonal tiles have three."""
    return bool(scheme["tiling"] != "hexagonal")


def _of_structure(structure: xr.Dataset) -> xr.Dataset:
    """S over the distance from the wavevector of the nearest order, and there: n <R^2> of n rings."""
    S = structure["round_order"].where(structure["defined"] > 0).reset_coords(drop=True)
    found = mean_over_seeds(xr.Dataset({"structure_factor": S, "susceptibility": S.isel(shell=0)}))
    found["susceptibility"].attrs["long_name"] = "structure factor at the wavevector of the order"
    shell = ("shell", np.arange(structure.sizes["shell"]), {"long_name": "number of the shell of modes"})
    return found.assign_coords(shell=shell, shell_wavenumber=structure["shell_wavenumber"].variable)


def _defects_decay(summary: xr.Dataset, defects: xr.DataArray) -> None:
    """Add the exponent of the distance between defects, one over the root of their density, against time."""
    present = defects.notnull().any("time")
    total, number = defects.sum("seed"), present.sum("seed")
    mean = total / number.where(number > 0)
    without = ((total - defects.fillna(0.0)) / (number - 1).where(number > 1)).where(present)
    distance, each = (d.where(d > 0) ** -0.5 for d in (mean, without))
    found = growth_exponent(distance, each, side=summary.attrs["side"])
    for name in DEFECT_DECAY:
        of_growth = found[name.replace("defect_distance", "growth")]
        text = of_growth.attrs["long_name"].replace("correlation length", "distance between defects")
        summary[name] = of_growth.assign_attrs(long_name=text)


def _without_waves(lengths: xr.Dataset, found: xr.Dataset) -> xr.Dataset:
    """Lengths where there are no waves, of which a correlation length says a quarter of their wavelength."""
    for estimator in SUFFIXES:
        for part in ("", "_error", "_without"):
            name = f"xi_{estimator}{part}"
            lengths[name] = lengths[name].where(~found["waves"]).assign_attrs(lengths[name].attrs)
        reason = lengths[f"xi_{estimator}_reason"]
        lengths[reason.name] = xr.where(found["waves"], WAVES, reason).astype(np.int8).assign_attrs(reason.attrs)
    bound = lengths["xi_lower_bound"]
    lengths["xi_lower_bound"] = bound.where(~found["waves"]).assign_attrs(bound.attrs)
    return lengths.merge(found)


def _settle(summary: xr.Dataset, side: int) -> None:
    """Add the steady state of every length."""
    waving = summary["xi_reason"] == WAVES
    for suffix in SUFFIXES.values():
        longer = summary[f"xi{suffix}_reason"] == LONGER
        settled = steady_state(summary[f"xi{suffix}"], summary[f"xi{suffix}_without"], side, longer, waving)
        summary.update({suffixed(str(name), suffix): variable for name, variable in settled.data_vars.items()})
    bound = summary["xi_lower_bound"].max("time", keep_attrs=True).where(summary["state"] == BEYOND_HALF)
    summary["xi_inf_lower_bound"] = bound
    summary["steady"] = (summary["state"] == STEADY).assign_attrs(long_name="the correlation length is steady")


def _concat(parts: list[xr.Dataset], dim: str) -> xr.Dataset:
    if dim in parts[0].dims and len(parts) == 1:
        return parts[0]
    return xr.concat(parts, dim=dim, data_vars="all", combine_attrs="override", coords="minimal", compat="override")
