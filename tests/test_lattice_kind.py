"""The kind ``lattice``: what a point of it yields, and what is refused before it runs."""

import numpy as np
import pytest

from isophase.sweeps.seeds import point_seed
from isophase.sweeps.store import shard_shape
from isophase.sweeps.sweep import SweepError, parse


def sweep_of(fixed=(), record=(), axes=()):
    record = {"t_end": 40.0, "samples": 4} | dict(record)
    return parse({"kind": "lattice", "fixed": {"size": 4} | dict(fixed), "record": record, "axes": dict(axes)})


def first_point(sweep):
    (group,) = sweep.groups()
    point = group.first()
    return sweep.kind.run_point(point, point_seed(0, "lattice", point), sweep.record)


@pytest.mark.parametrize("sharing", ["none", "side"])
def test_the_phase_of_every_ring_is_known_at_the_last_sample(sharing):
    """The phase at a time needs the onset after it, so that a run goes on beyond its last sample."""
    phase = first_point(sweep_of({"sharing": sharing})).phase
    assert np.isfinite(phase.isel(time=-1)).all()


def test_a_shard_holds_no_more_than_its_bytes():
    """20 MB a point, computed in no time: three of them are one shard of 64 MiB, whatever the time would allow."""
    (group,) = sweep_of({"size": 500}, {"t_end": 0.02, "samples": 20}, {"seed": list(range(200))}).groups()
    assert group.nbytes() / group.n_points == 20e6
    assert shard_shape(group) == (3,)


@pytest.mark.parametrize(
    ("fixed", "record", "message"),
    [
        ({"initial": "vortex_pair", "size": 3}, {}, "vortex_pair"),
        ({"initial": "vortex_pair", "tiling": "chain"}, {}, "vortex_pair"),
        ({"initial": "uniform", "v_low": 0.4}, {}, "v_low=0.4"),
        ({"dt": 100.0}, {}, "dt=100"),
    ],
)  # fmt: skip
def test_a_sweep_whose_every_point_must_fail_is_refused(fixed, record, message):
    with pytest.raises(SweepError, match=message):
        sweep_of(fixed, record)
