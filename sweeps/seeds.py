"""The random stream of a grid point, derived from what the point is and from nothing else."""

import hashlib
import json

import numpy as np

from isophase.sweeps.kinds.base import Parameters


def point_seed(
    sweep_seed: int, kind: str, parameters: Parameters, seed_free: tuple[str, ...] = ()
) -> np.random.SeedSequence:
    """``SeedSequence`` of a grid point: entropy is the sweep's seed, the spawn key names the point.

    The spawn key is the SHA-256 of the kind and of the point's parameters in canonical JSON, parameters at their
    default left out. It depends neither on the grid that the point stands in nor on whether a parameter was an axis or
    a fixed value, so sizes, schemes and seeds can be added to a sweep without changing any point that is there.
    """
    values = parameters.model_dump(mode="json", exclude_defaults=True, exclude=set(seed_free))
    values["seed"] = parameters.seed
    text = json.dumps([kind, values], sort_keys=True, separators=(",", ":"))
    words = np.frombuffer(hashlib.sha256(text.encode()).digest(), dtype="<u4")
    return np.random.SeedSequence(sweep_seed, spawn_key=tuple(int(word) for word in words))
