"""What was measured with a second look, which later reductions keep until the points are others."""

import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import xarray as xr

from isophase.analysis.schemes import grid_axes
from isophase.sweeps.store import DamagedError, read_refined

AT = "scheme"  # attribute: labels of the scheme, as JSON
CRC32 = "crc32"  # over seeds: checksums of the points that were measured


@dataclass(frozen=True)
class Refined:
    """Measurements of an earlier ``reduce --refine``, by group: those of a scheme's seeds together."""

    groups: Mapping[str, Sequence[xr.Dataset]] = field(default_factory=dict)

    @classmethod
    def read(cls, store: str) -> "Refined":
        """Those that a store holds; none, with a line that says so, where they are damaged."""
        try:
            return cls(read_refined(store))
        except DamagedError as error:
            print(f"note: what was refined before is lost: {error}", file=sys.stderr)
            return cls()

    def of(
        self, group: str, dataset: xr.Dataset, parts: Sequence[Mapping[str, int]]
    ) -> Iterator[tuple[int, xr.Dataset]]:
        """Number and measurement of every part of a group whose point is still the one that was measured."""
        schemes = {scheme.attrs[AT]: scheme for scheme in self.groups.get(group, ())}
        for number, position in enumerate(parts):
            scheme = schemes.get(_labels(dataset, position))
            if scheme is None:
                continue
            wanted = dataset["seed"].values[position["seed"]] if "seed" in position else scheme["seed"].values[0]
            for seed in np.flatnonzero(scheme["seed"].values == wanted):
                if int(scheme[CRC32].values[seed]) == _crc32(dataset, position):
                    yield number, scheme.isel(seed=[seed]).drop_vars(CRC32).drop_attrs(deep=False)


def together(dataset: xr.Dataset, measured: Iterable[tuple[Mapping[str, int], Any]]) -> list[xr.Dataset]:
    """Measurements of parts of a group as they are kept: a dataset for each scheme, over its seeds."""
    schemes: dict[str, list[xr.Dataset]] = {}
    for position, part in measured:
        if isinstance(part, xr.Dataset):
            crc32 = ("seed", np.array([_crc32(dataset, position)], np.uint32))
            schemes.setdefault(_labels(dataset, position), []).append(part.assign({CRC32: crc32}))
    return [
        xr.concat(parts, "seed", coords="minimal", compat="override", join="exact").assign_attrs({AT: at})
        for at, parts in schemes.items()
    ]


def _labels(dataset: xr.Dataset, position: Mapping[str, int]) -> str:
    return json.dumps({dim: dataset[dim].values[position[dim]].item() for dim in grid_axes(dataset)})


def _crc32(dataset: xr.Dataset, position: Mapping[str, int]) -> int:
    return int(dataset[CRC32].isel(position)) if CRC32 in dataset else 0
