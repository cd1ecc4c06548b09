"""The kind ``lattice``: what a point of it yields, and what is refused before it runs."""

import numpy as np
import pytest

from isophase.kernels.lattice import simulate
from isophase.sweeps.kinds.lattice import Lattice, LatticeParameters, LatticeRecord, initial_state, network, tail
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
        ({}, {"t_end": 3.0, "spacing": "log"}, r"t_end=3\.0: must be beyond the first sample at 3 tau"),
        ({"dt": 40.5}, {}, r"dt=40\.5: must be > 0 and at most t_end=40"),
    ],
)  # fmt: skip
def test_a_sweep_whose_every_point_must_fail_is_refused(fixed, record, message):
    with pytest.raises(SweepError, match=message):
        sweep_of(fixed, record)


def cost_of(**table):
    (group,) = parse({"record": {"t_end": 20.0, "samples": 10}, **table}).groups()
    return group.kind.cost(group.first(), group.record)


@pytest.mark.parametrize(("frequencies", "size"), [("lorentz", 16), ("normal", 16), ("uniform", 16), ("identical", 16)])
def test_the_cost_of_a_kuramoto_lattice_follows_its_fastest_oscillator(frequencies, size):
    width = 0.0 if frequencies == "identical" else 1.0
    table = {"kind": "kuramoto", "fixed": {"size": size, "frequencies": frequencies, "width": width},
             "axes": {"seed": [0, 1, 2, 3, 4]}}  # fmt: skip
    sweep = parse({**table, "record": {"t_end": 0.5, "samples": 1}})
    (group,) = sweep.groups()
    steps = []
    for index in np.ndindex(group.shape):
        point = group.point(index)
        outcome = sweep.kind.run_point(point, point_seed(0, "kuramoto", point), sweep.record)
        steps.append(sweep.kind.work(sweep.record, {"dt": outcome.dt.item()}))
    per_step = 1.2e-7 * size**2
    estimated = (sweep.kind.cost(group.first(), sweep.record).seconds - 0.01) / per_step
    assert np.median(steps) / 4 < estimated < 4 * np.median(steps)


def test_the_memory_of_a_fixed_step_run_counts_the_steps_of_its_delay():
    fixed = {"size": 40, "tiling": "square", "dt": 0.001}
    short, long = (cost_of(kind="lattice", fixed=fixed | {"delay": delay}).nbytes for delay in (0.0, 5.0))
    neurons = 40**2 * 6  # of shared=1, private=1: two of four sides' neurons are another's too
    assert long - short > 0.9 * 8 * neurons * 5000
    with pytest.raises(SweepError, match="bytes of memory; must be at most"):
        cost_of(kind="lattice", fixed={"size": 500, "dt": 1e-5, "delay": 9.0})


def test_another_slot_gives_the_phases_of_another_neuron_of_the_same_run():
    """Of the onsets of that neuron in the same lattice from the same state, interpolated here."""
    kind, record = Lattice(), LatticeRecord(t_end=60.0, samples=6)
    runs = {}
    for slot in (0, 3):
        parameters = LatticeParameters(size=4, slot=slot)
        runs[slot] = kind.run_point(parameters, np.random.SeedSequence(5), record)
    assert runs[0].n_switches == runs[3].n_switches
    parameters = LatticeParameters(size=4)
    for_network, for_state = np.random.SeedSequence(5).spawn(2)
    net = network(parameters, for_network)
    drive, firing = initial_state(net, parameters, for_state)
    events = simulate(net, drive=drive, firing=firing, t_end=60.0 + tail(8, 0.01, 0.2), record=("events",)).events
    for ring in range(16):
        onsets = events.time[(events.neuron == net.rings[ring, 3]) & (events.switch == 1)]
        for number, t in enumerate(record.times()):
            after = np.searchsorted(onsets, t, side="right")
            if 0 < after < len(onsets):
                phase = 2 * np.pi * (t - onsets[after - 1]) / (onsets[after] - onsets[after - 1])
                found = float(runs[3].phase[number].values.ravel()[ring])
                assert abs(np.angle(np.exp(1j * (found - phase)))) < 1e-5


def test_a_slot_that_some_ring_lacks_is_refused():
    with pytest.raises(SweepError, match="slot=8: must be below 8"):
        parse({"kind": "lattice", "fixed": {"size": 4, "slot": 8}, "record": {"t_end": 10.0}})


def test_rows_and_columns_have_coordinates_in_ring_spacings():
    template = Lattice().template(LatticeParameters(size=5, tiling="chain"), LatticeRecord(t_end=10.0, samples=2))
    assert template.row.values.tolist() == [0]
    assert template.col.values.tolist() == [0, 1, 2, 3, 4]
    assert template.col.attrs["units"] == "ring spacings"


@pytest.mark.parametrize(
    ("fixed", "record", "message"),
    [
        ({"tiling": "triangular", "private": 0, "size": 32}, {"t_end": 1000.0}, "delay-limited: loops switch"),
        ({"tiling": "hexagonal", "private": 0, "size": 32, "delay": 0.0}, {"t_end": 1000.0}, "delay-limited"),
        ({"size": 12}, {"t_end": 1000.0}, "size=12: too small for most lengths: none beyond 6 ring spacings"),
        ({"size": 32}, {"t_end": 30.0}, "t_end=30: too short: 10 periods of a ring"),
        ({"size": 32, "sharing": "weak", "tiling": "chain", "graph": "small_world"}, {"t_end": 1000.0}, None),
        ({"size": 32}, {"t_end": 1000.0}, None),
    ],
)
def test_what_will_yield_no_length_is_said_before_it_runs(fixed, record, message):
    (group,) = sweep_of(fixed, record, {"delay": [0.01, 0.02], "seed": [0, 1]} if message is None else ()).groups()
    found = group.warnings()
    assert (list(found) == []) if message is None else any(text.startswith(message) for text in found)


def test_a_pilot_tells_what_the_run_itself_ends_with():
    sweep = sweep_of({"tiling": "triangular", "private": 0, "size": 16}, {"t_end": 40.0})
    assert bool(first_point(sweep).delay_limited)
    (warned, *_) = [text for text in sweep.groups()[0].warnings() if "delay-limited" in text]
    times = float(warned.split("takes some ")[1].split(" times")[0])
    assert times == pytest.approx(float(first_point(sweep).switching_rate) / 0.65, rel=0.5)
