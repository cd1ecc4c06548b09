"""What a store takes on its disk or in its bucket."""

import contextlib
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from isophase.sweeps.store.location import is_url, one_line, resolve, zarr_store


def usage(location: str) -> dict[str, tuple[int, int]]:
    """Objects and bytes that each group of a store takes; ``(metadata)`` is what belongs to no group."""
    found: Counter[str] = Counter()
    sizes: Counter[str] = Counter()
    with one_line(location):
        for path, size in objects(resolve(location)):
            group, inside, _ = path.partition("/")
            name = group if inside else "(metadata)"
            found[name] += 1
            sizes[name] += size
    return {name: (count, sizes[name]) for name, count in found.items()}


def objects(location: str) -> Iterator[tuple[str, int]]:
    """Path in the store and size of every object."""
    if is_url(location):
        for page in zarr_store(location, read_only=True).store.list():
            yield from ((entry["path"], entry["size"]) for entry in page)
        return
    for folder, _, files in os.walk(location):
        inside = os.path.relpath(folder, location)
        for file in files:
            path = file if inside == "." else f"{inside}/{file}"
            with contextlib.suppress(FileNotFoundError):  # a run is writing, and has renamed it
                yield path, Path(folder, file).stat().st_size
