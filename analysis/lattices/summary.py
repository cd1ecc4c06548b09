"""The summary of one scheme of a lattice sweep: every measurement of its seeds, gathered in one dataset.

The flow ``reduce`` calls it on each scheme of a group; the measurements themselves are in their own modules.
"""

from functools import lru_cache
from typing import Any

import numpy as np
import xarray as xr

from isophase.analysis.lattices.correlation import phase_correlation
from isophase.analysis.lattices.correlation_length import BEYOND_HALF as LONGER
from isophase.analysis.lattices.correlation_length import correlation_length
from isophase.analysis.lattices.defects import defects
from isophase.analysis.lattices.domains import domains
from isophase.analysis.lattices.growth import growth_exponent
from isophase.analysis.lattices.order_parameter import order_parameter, relative_to_wave
from isophase.analysis.lattices.steady_state import BEYOND_HALF, NOT_STEADY, STEADY, steady_state
from isophase.analysis.lattices.structure_factor import structure_factor
from isophase.analysis.statistics import mean_over_seeds
from isophase.kernels.lattice.tilings import plaquettes, ring_neighbours

DONE = 1  # the store's state of a point whose data are there
BLOCK = 2**21  # rings of maps measured at once: some 100 MB with everything that is made of them
SUFFIXES = {"efold": "", "fit": "_fit", "second_moment": "_second_moment"}
PER_MAP = ("order", "local_order", "domains", "domain_size", "domain_size_weighted", "largest_domain",
           "boundary_density", "defects", "defects_positive", "defects_negative")  # fmt: skip

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

    Seeds that are not done are left out of everything. Where a seed is flagged ``delay_limited`` the phases of the
    scheme mean nothing: all that is drawn from them is NaN, or a state that says not defined.

    Parameters
    ----------
    dataset : ``phase`` (seed, time, row, col) in radians, ``status`` (seed), and ``tiling`` and ``boundary`` as
        coordinates or attributes; as a group of the store is after selecting one position on each of its other axes.
        ``switching_rate`` and ``delay_limited`` (seed), where there are any (kind ``lattice``).

    Returns
    -------
    Dataset, in memory, with

    - over ``time``: ``xi``, ``xi_error``, ``xi_reason`` and those of the other estimators, ``xi_lower_bound``,
      ``seeds``, ``defined``, and over ``seed`` too ``xi_without`` and so on, all as
      :func:`correlation_length.correlation_length` explains; over ``distance`` too ``correlation``, ``noise``;
    - ``xi_inf``, ``xi_inf_error``, ``drift``, ``drift_error``, ``time_to_steady``, ``time_to_steady_error``,
      ``beyond_quarter``, ``state`` and those of the other estimators, as :func:`steady_state.steady_state`
      explains; ``steady``, whether ``state`` is ``steady``; ``xi_inf_lower_bound`` where it is ``beyond_half``;
    - ``growth_exponent`` and all of :func:`isophase.analysis.lattices.growth.growth_exponent`;
    - over ``time``, means over seeds, each with its standard error ``_error``: ``order``, ``local_order``, ``domains``,
      ``domain_size``, ``domain_size_weighted``, ``largest_domain``, ``boundary_density``, ``defects``,
      ``defects_positive``, ``defects_negative``, and all of them ``_modulo_pi``;
    - over ``time`` and ``seed``: ``wavenumber_row``, ``wavenumber_col`` of the order;
    - ``n_seeds`` that are done; for rings ``switching_rate``, ``switching_rate_error`` and ``delay_limited``.

    Raises ValueError where the tiling or the boundary is not said, or the phases are none of such a lattice.
    """
    if "seed" not in dataset["phase"].dims:
        dataset = dataset.expand_dims("seed")
    tiling, boundary = (str(_parameter(dataset, name)) for name in ("tiling", "boundary"))
    rows, cols = dataset.sizes["row"], dataset.sizes["col"]
    graph = _graph(tiling, rows, cols, boundary)
    done = dataset["status"] == DONE
    delay_limited = bool((dataset["delay_limited"].astype(bool) & done).any()) if "delay_limited" in dataset else False
    parts = []
    for number in range(dataset.sizes["seed"]):
        phase = dataset["phase"].isel(seed=number)
        if delay_limited or not bool(done[number]):
            phase = xr.full_like(phase, np.nan)
        parts.append(_measure(phase.load(scheduler="sync"), boundary, *graph))
    correlation, structure, per_map = (_concat(list(part), "seed") for part in zip(*parts, strict=True))

    along = "col" if tiling == "triangular" else "axes"
    lengths = correlation_length(correlation, structure, along=along)
    for name in (f"xi_second_moment{part}" for part in ("", "_error", "_without")):
        lengths[name] = (lengths[name] * SECOND_MOMENT_SCALE[tiling]).assign_attrs(lengths[name].attrs)
    side = cols if along == "col" else min((n for n in (rows, cols) if n > 1), default=1)
    summary = lengths.rename({name: name.replace("_efold", "") for name in map(str, lengths.data_vars)})
    for suffix in SUFFIXES.values():
        longer = summary[f"xi{suffix}_reason"] == LONGER
        settled = steady_state(summary[f"xi{suffix}"], summary[f"xi{suffix}_without"], side, longer)
        summary.update({_suffixed(str(name), suffix): variable for name, variable in settled.data_vars.items()})
    bound = summary["xi_lower_bound"].max("time", keep_attrs=True).where(summary["state"] == BEYOND_HALF)
    summary["xi_inf_lower_bound"] = bound
    summary["steady"] = (summary["state"] == STEADY).assign_attrs(long_name="the correlation length is steady")
    settles_at = summary["xi_inf"].where(summary["state"] != NOT_STEADY)
    summary.update(growth_exponent(summary["xi"], summary["xi_without"], side=side, xi_inf=settles_at))
    summary.update(mean_over_seeds(per_map.where(correlation["defined"] > 0)))
    summary.update(structure[["wavenumber_row", "wavenumber_col"]])
    summary["n_seeds"] = done.sum().assign_attrs(units="1", long_name="seeds that are done")
    if "switching_rate" in dataset:
        summary.update(mean_over_seeds(dataset[["switching_rate"]].where(done)))
    if "delay_limited" in dataset:
        summary["delay_limited"] = ((), delay_limited, dataset["delay_limited"].attrs)
    return summary.assign_attrs(tiling=tiling, rows=rows, cols=cols).load(scheduler="sync")


def _parameter(dataset: xr.Dataset, name: str) -> Any:
    if name in dataset.coords:
        return dataset.coords[name].values.item()
    if name in dataset.attrs:
        return dataset.attrs[name]
    raise ValueError(f"dataset says no {name}: it must be a scalar coordinate or an attribute")


@lru_cache(maxsize=2)
def _graph(tiling: str, rows: int, cols: int, boundary: str) -> tuple[np.ndarray, np.ndarray]:
    """Neighbours and plaquettes; the schemes of one group share them."""
    return ring_neighbours(tiling, rows, cols, boundary), plaquettes(tiling, rows, cols, boundary)


def _measure(phase: xr.DataArray, boundary: str, neighbours: np.ndarray, around: np.ndarray) -> tuple[xr.Dataset, ...]:
    """Correlation, structure factor without its full map, and what is drawn from single maps, of one seed."""
    step = max(1, BLOCK // (phase.sizes["row"] * phase.sizes["col"]))
    blocks = []
    for start in range(0, phase.sizes["time"], step):
        part = phase.isel(time=slice(start, start + step))
        structure = structure_factor(part)[["centred", "defined", "wavenumber_row", "wavenumber_col"]]
        relative = relative_to_wave(part, structure["wavenumber_row"], structure["wavenumber_col"])
        per_map = xr.Dataset()
        for field, suffix in ((relative, ""), ((2 * part) % (2 * np.pi), "_modulo_pi")):
            measured = order_parameter(field, neighbours), domains(field, neighbours), defects(field, around)
            found = {name: variable for dataset in measured for name, variable in dataset.data_vars.items()}
            for name in PER_MAP:
                label = found[name].attrs["long_name"] + suffix.replace("_", " ")
                per_map[f"{name}{suffix}"] = found[name].assign_attrs(long_name=label)
        blocks.append((phase_correlation(part, boundary), structure, per_map))
    return tuple(_concat(list(part), "time") for part in zip(*blocks, strict=True))


def _concat(parts: list[xr.Dataset], dim: str) -> xr.Dataset:
    if dim in parts[0].dims and len(parts) == 1:
        return parts[0]
    return xr.concat(parts, dim=dim, data_vars="all", combine_attrs="override", coords="minimal", compat="override")


def _suffixed(name: str, suffix: str) -> str:
    """``xi_inf_error`` with ``_fit`` is ``xi_inf_fit_error``."""
    return f"{name.removesuffix('_error')}{suffix}{'_error' if name.endswith('_error') else ''}"
