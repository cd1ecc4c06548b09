"""The schemes of reduced training runs that have something to show, and medians over their seeds."""

from collections.abc import Iterator, Mapping

import numpy as np
import xarray as xr

from isophase.analysis.schemes import schemes

QUARTILES = (0.25, 0.5, 0.75)


def parts(summaries: Mapping[str, xr.Dataset]) -> Iterator[tuple[str, str, xr.Dataset]]:
    """Label, group and summary, along its measured seeds, of every scheme that has one."""
    for group, summary in summaries.items():
        for label, part in schemes(summary):
            if not part["n_seeds"] > 0:
                continue
            part = part.isel(seed=np.flatnonzero(part["measured"].values == 1))
            yield _of_group(label, group, summaries), group, part


def without_seeds(summaries: Mapping[str, xr.Dataset]) -> list[str]:
    """Labels of the schemes none of whose seeds was measured, which :func:`parts` passes over."""
    return [
        _of_group(label, group, summaries)
        for group, summary in summaries.items()
        for label, part in schemes(summary)
        if not part["n_seeds"] > 0
    ]


def _of_group(label: str, group: str, summaries: Mapping[str, xr.Dataset]) -> str:
    own = label != str(summaries[group].attrs.get("kind", "all"))
    return f"{group}: {label}" if own and len(summaries) > 1 else label if own else group


def quantiles(values: xr.DataArray | np.ndarray) -> np.ndarray:
    """First quartile, median and third quartile of the values that are finite, NaN where there is none."""
    known = np.asarray(values, float)
    known = known[np.isfinite(known)]
    return np.quantile(known, QUARTILES) if known.size else np.full(3, np.nan)


def quantiles_along(values: np.ndarray) -> np.ndarray:
    """:func:`quantiles` over the first axis, [quantile, ...]."""
    known = np.isfinite(values)
    found = np.full((3, *values.shape[1:]), np.nan)
    some = known.any(axis=0)
    if some.any():
        found[:, some] = np.nanquantile(np.where(known, values, np.nan)[:, some], QUARTILES, axis=0)
    return found


def first_symbol(part: xr.Dataset) -> int:
    """The symbol under which the first bifurcation happens most often."""
    return int(np.bincount(part["first_bifurcation_symbol"].values.astype(int)).argmax())


def last_clock(part: xr.Dataset) -> int:
    """Period of the clock of the last task, in steps; 0 for a relative clock."""
    return int(part["last_period"].max())


def has_second_task(part: xr.Dataset) -> bool:
    return int(part["then_from"].max()) < part.sizes["iteration"]
