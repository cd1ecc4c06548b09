"""The random stream of a grid point, derived from what the point is and from nothing else."""

import hashlib
import json
from typing import Any

import numpy as np

from isophase.sweeps.kinds import BUILT_IN, kind_named
from isophase.sweeps.kinds.base import Parameters

STREAMS = 2  # how streams are derived now; a store keeps the number that it was made with, and 1 where it has none


def point_seed(
    sweep_seed: int,
    kind: str,
    parameters: Parameters,
    seed_free: tuple[str, ...] | None = None,
    streams: int = STREAMS,
) -> np.random.SeedSequence:
    """``SeedSequence`` of a grid point: entropy is the sweep's seed, the spawn key names the point.

    The spawn key is the SHA-256 of the kind and of the point's parameters in canonical JSON, but for those at their
    default and those that the kind takes out (``seed_free``, which of built-in kinds need not be given). It depends
    neither on the grid that the point stands in nor on whether a parameter was an axis or a fixed value, so sizes,
    schemes and seeds can be added to a sweep without changing any point that is there. 0.0 and -0.0 are the same,
    unless ``streams`` is that of an older store.
    """
    if seed_free is None:
        seed_free = kind_named(kind).seed_free_of(parameters, streams) if kind in BUILT_IN else ()
    values = parameters.model_dump(mode="json", exclude_defaults=True, exclude=set(seed_free))
    values["seed"] = parameters.seed
    if streams > 1:
        values = {name: _unsigned_zero(value) for name, value in values.items()}
    text = json.dumps([kind, values], sort_keys=True, separators=(",", ":"))
    words = np.frombuffer(hashlib.sha256(text.encode()).digest(), dtype="<u4")
    return np.random.SeedSequence(sweep_seed, spawn_key=tuple(int(word) for word in words))


def _unsigned_zero(value: Any) -> Any:
    return 0.0 if isinstance(value, float) and value == 0 else value
