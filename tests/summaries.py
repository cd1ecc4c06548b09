"""Small groups of a store as the flows hand them to a reduction, made with the kernels, and their summaries."""

import itertools
import json

import numpy as np
import xarray as xr

from isophase.analysis.base import Summaries
from isophase.analysis.schemes import at_position, grid_axes
from isophase.analysis.statistics import flags
from isophase.kernels import orbits
from isophase.kernels.kuramoto import natural_frequencies, simulate_kuramoto
from isophase.kernels.lattice import Network, initial, simulate, simulate_fixed_step
from isophase.kernels.lattice.tilings import ring_neighbours

PENDING, DONE, FAILED = range(3)
STATUS = flags(("pending", "done", "failed"))
LATTICE = {
    "tiling": "square", "size": 6, "sharing": "side", "shared": 1, "private": 1, "orientation": "co", "combine": "sum",
    "boundary": "periodic", "coupling": 0.3, "graph": "tiling", "neighbours": 2, "rewire": 0.0, "delay": 0.01,
    "v_high": 0.49, "v_low": 0.2, "dt": 0.0,
}  # fmt: skip
KURAMOTO = {"tiling": "square", "size": 6, "boundary": "periodic", "coupling": 1.0, "width": 0.0}
RINGS = {"ring_size": 4, "delay": 0.1, "v_high": 0.49, "v_low": 0.2, "sampling": "random", "states": 12, "intervals": 8}
SCHEME = ("tiling", "sharing", "shared", "private", "orientation", "combine", "boundary", "coupling")


def point_of_grid(dataset, time, status, kind="lattice", **scheme):
    """``dataset`` with what the store adds to a scheme's seeds: times, status with its flags, parameters."""
    dataset = dataset.assign_coords(time=("time", np.asarray(time, float), {"units": "tau", "long_name": "time"}))
    dataset["status"] = ("seed", np.asarray(status, np.uint8), STATUS)
    return dataset.assign_attrs(kind=kind, parameters=json.dumps(scheme), axes="[]")


def axis(name, labels=None, **values):
    """An axis of a grid as a store writes it; a plain one is labelled by its values."""
    if not values:
        values = {name: labels}
    labels = labels or list(range(len(next(iter(values.values())))))
    return {"name": name, "labels": list(labels), "values": {key: list(column) for key, column in values.items()}}


def group(run_point, fixed, axes=(), seeds=2, failed=(), kind="lattice"):
    """A group of a store: ``run_point(parameters, seed)`` at every position of its axes and each of its seeds.

    Seeds in ``failed`` have the values with which a store fills what is not there.
    """
    axes = [*axes, axis("seed", list(range(seeds)))]
    parts = []
    for position in itertools.product(*(range(len(a["labels"])) for a in axes)):
        scheme = dict(fixed)
        for number, a in zip(position, axes, strict=True):
            scheme |= {name: column[number] for name, column in a["values"].items()}
        seed = scheme.pop("seed")
        point = run_point(scheme, seed)
        if seed in failed:
            point = point.map(lambda v: xr.full_like(v, np.nan if v.dtype.kind == "f" else 0))
        parts.append(point.assign(status=((), np.uint8(FAILED if seed in failed else DONE), STATUS)))
    joined = joined_along([(a["name"], a["labels"]) for a in axes], parts)
    return joined.assign_attrs(kind=kind, axes=json.dumps(axes), parameters=json.dumps(fixed))


def joined_along(axes, parts):
    """Datasets of all positions on the axes, the last one fastest, as one."""
    for name, labels in reversed(axes):
        length = len(labels)
        runs = [parts[i : i + length] for i in range(0, len(parts), length)]
        options = {"coords": "minimal", "compat": "override", "join": "outer", "combine_attrs": "override"}
        parts = [xr.concat(run, name, data_vars="all", **options).assign_coords({name: list(labels)}) for run in runs]
    return parts[0]


def reduced(dataset, reduction):
    """The summary of a group, as the flow makes it."""
    dims = grid_axes(dataset)
    positions = itertools.product(*(range(dataset.sizes[dim]) for dim in dims))
    parts = [reduction.summarise(at_position(dataset, dict(zip(dims, at, strict=True)))) for at in positions]
    parts = [part.drop_vars([name for name in dims if name in part.variables]) for part in parts]
    joined = joined_along([(dim, dataset[dim].values.tolist()) for dim in dims], parts)
    return joined.assign_attrs({**parts[0].attrs, **dataset.attrs})


def summaries(groups, reduction):
    """What a reduction leaves of several groups."""
    found = {name: reduced(dataset, reduction) for name, dataset in groups.items()}
    return Summaries(found, reduction.across(found) if reduction.across else {})


def lattice_point(times):
    """What kind ``lattice`` records at ``times``."""

    def run(scheme, seed):
        chain = scheme["tiling"] == "chain"
        rows, cols = 1 if chain else scheme["size"], scheme["size"]
        if scheme["graph"] == "small_world":
            network = Network.small_world([4] * cols, scheme["neighbours"], scheme["rewire"], scheme["coupling"], seed)
        else:
            network = Network.lattice(rows=rows, cols=cols, **{name: scheme[name] for name in SCHEME})
        drive, firing = initial.pulse(network, seed)
        options = {"drive": drive, "firing": firing, "delay": scheme["delay"], "v_high": scheme["v_high"],
                   "v_low": scheme["v_low"], "sample_times": np.asarray(times, float)}  # fmt: skip
        if scheme["dt"]:
            run = simulate_fixed_step(network, dt=scheme["dt"], t_end=max(times) + 30, **options)
        else:
            run = simulate(network, t_end=max(times) + 30, record=("phase",), **options)
        point = recorded(run.phase.reshape(len(times), rows, cols), times)
        point["switching_rate"] = ((), run.switching_rate, {"units": "1/tau", "long_name": "switches per neuron"})
        point["delay_limited"] = ((), bool(run.delay_limited), {"long_name": "phases are meaningless"})
        if scheme["graph"] == "small_world":
            point["graph_neighbours"] = (("ring", "neighbour"), joined_rings(network))
        return point

    return run


def joined_rings(network):
    """Neighbours of every ring of a small world [ring, neighbour], -1: none, from its edges between rings."""
    ring_of = np.empty(network.n_neurons, int)
    for number, neurons in enumerate(network.rings):
        ring_of[neurons[neurons >= 0]] = number
    source = np.repeat(np.arange(network.n_neurons), np.diff(network.indptr))
    ends = {(int(a), int(b)) for a, b in zip(ring_of[source], ring_of[network.successors], strict=True) if a != b}
    return neighbour_table(ends, network.n_rings)


def neighbour_table(ends, n_rings, width=None):
    """Neighbours [ring, neighbour] from ordered pairs of rings; ``width`` pads, as a store does for all seeds."""
    around = [sorted(b for a, b in ends if a == ring) for ring in range(n_rings)]
    table = np.full((n_rings, width or 12), -1, np.int32)
    for ring, others in enumerate(around):
        table[ring, : len(others)] = others
    return table


def recorded(phase, times):
    attrs = {"units": "rad", "long_name": "phase of each ring"}
    coords = {"time": ("time", np.asarray(times, float), {"units": "tau", "long_name": "time"})}
    return xr.Dataset({"phase": (("time", "row", "col"), phase.astype(np.float32), attrs)}, coords)


def kuramoto_point(times):
    """What kind ``kuramoto`` records at ``times``."""

    def run(scheme, seed):
        rows, cols = 1 if scheme["tiling"] == "chain" else scheme["size"], scheme["size"]
        rng = np.random.default_rng(seed)
        omega = natural_frequencies("identical", 0.0, rows * cols, 0)
        neighbours = ring_neighbours(scheme["tiling"], rows, cols, scheme["boundary"])
        theta = rng.uniform(0, 2 * np.pi, rows * cols)
        found = simulate_kuramoto(neighbours, omega, scheme["coupling"], theta, np.asarray(times, float))
        point = recorded(found.phase.reshape(-1, rows, cols), times)
        point["dt"] = ((), found.dt, {"units": "tau", "long_name": "step of the integrator"})
        return point

    return run


def rings_point(scheme, seed):
    """What kind ``rings`` records."""
    drive, firing = orbits.random_states(scheme["ring_size"], scheme["states"], seed)
    neuron = {name: scheme[name] for name in ("delay", "v_high", "v_low")}
    found = orbits.find_orbits(drive, firing, t_end=300.0, **neuron)
    point = xr.Dataset({name: ("state", found[name]) for name in found.dtype.names if name != "spacing"})
    point["weight"] = ("state", np.ones(len(found)))
    spacing, kept = np.full((len(found), scheme["intervals"]), np.nan), min(scheme["ring_size"], scheme["intervals"])
    fits = np.isfinite(found["spacing"]).sum(1) <= scheme["intervals"]
    spacing[:, :kept][fits] = found["spacing"][fits, :kept]
    point["spacing"] = (("state", "interval"), spacing)
    settled = found[np.isin(found["outcome"], orbits.SETTLED)]
    point["orbits"] = ((), len(np.unique(orbits.classify(settled["pulses"], settled["spacing"]))))
    return point


def small_lattices(fixed, axes=(), times=(5.0, 10.0, 20.0), sizes=(6, 8), **options):
    """Groups of kind ``lattice`` of two sizes."""
    return {
        f"{fixed['tiling']}-{size}": group(lattice_point(times), fixed | {"size": size}, axes, **options)
        for size in sizes
    }
