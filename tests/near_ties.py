"""Networks in which deliveries, ends of firings and ends of windows meet to within a few 1e-12 tau, for every kernel.

Owns small circuits, made by hand or drawn at random, and how many of them become one network. What each of them does
is told by ``lattice_reference``, circuit by circuit, as they do not touch each other.
"""

import itertools
from typing import NamedTuple

import numpy as np

from isophase.kernels.lattice import Network
from isophase.kernels.lattice.window_rules import window_length
from tests.lattice_reference import Reference, reference_events

PICO = 1e-12
V_HIGH, V_LOW = 0.49, 0.2
DELAYS = (0.0, 1e-9, 3.7e-9, 1e-6, 1e-3, 0.01, 0.1, 0.25, 0.5)  # in windows of the first two, MARGIN is a large part


def graph(n, *edges):
    """Network of any directed graph, (source, target, weight); its one ring only gives it a shape."""
    edges = sorted(edges)
    source, target, weight = (np.array([edge[part] for edge in edges]) for part in range(3))
    indptr = np.concatenate([[0], np.cumsum(np.bincount(source.astype(int), minlength=n))])
    arrays = np.arange(n, dtype=np.int32)[None], indptr, target.astype(np.int32), weight.astype(float)
    for array in arrays:
        array.flags.writeable = False
    return Network(*arrays, (1, 1))


class Circuit(NamedTuple):
    """Edges (source, target, weight); and per neuron its drive, and whether it fires, at t = 0."""

    edges: list[tuple[int, int, float]]
    drive: list[float]
    firing: list[bool]


def stops_at(time):
    return V_LOW * np.exp(time)


def meeting(delay, time, arrivals, end=None):
    """A neuron, the first, whose input changes by ``weight`` at ``time + gap`` for each (gap, weight, hops).

    With one hop a source stops a delay before; with two it stops two delays before and starts a relay. The neuron is
    at rest, or fires until ``time + end``.
    """
    edges, drive, firing = [], [0.0 if end is None else stops_at(time + end)], [end is not None]
    for gap, weight, hops in arrivals:
        source = len(drive)
        drive.append(stops_at(time + gap - hops * delay))
        firing.append(True)
        if hops == 1:
            edges.append((source, 0, weight))
        else:
            drive.append(0.0)
            firing.append(False)
            edges += [(source, source + 1, 1.0), (source + 1, 0, -weight)]
    return Circuit(edges, drive, firing)


def borders(delay):
    """Whole numbers of delays, and where windows end."""
    window = window_length(delay) if delay else 0.75
    return (3 * delay, 3 * window) if delay else (window,)


def pairs(delay):
    """Two deliveries of which one excites and the other inhibits, the later 1.2e-12 to 2.9e-12 before a border."""
    offsets, gaps = np.linspace(1.2, 2.9, 11), (0.3, 0.6, 0.85, 1.2, 1.7)
    for border, offset, gap, sign, hops in itertools.product(
        borders(delay), offsets, gaps, (1, -1), ((1, 2), (2, 1), (1, 1))
    ):
        yield meeting(delay, border - offset * PICO, [(-gap * PICO, sign, hops[0]), (0.0, -sign, hops[1])])


def rows(delay):
    """Deliveries 0.75e-12 apart that cancel two by two, across a border: 134 fit into an instant."""
    for border, number, before in itertools.product(borders(delay), (3, 6, 40, 134, 135, 161), (1, 2, 5, 37, 120)):
        signs = np.resize([1.0, -1.0], number)
        arrivals = [(0.75 * i * PICO, sign, 1) for i, sign in enumerate(signs)]
        yield meeting(delay, border - (0.75 * before + 0.3) * PICO, arrivals)


def ends(delay):
    """A delivery about as a firing ends by itself: the neuron goes on or not, and what follows it is not too late."""
    for border, offset, gap, weight in itertools.product(
        borders(delay), np.arange(-2.9, 3, 0.65), (-1.75, -1.2, -0.8, -0.45, 0.45, 0.8, 1.75), (0.3, -0.3)
    ):
        time = border + offset * PICO
        yield meeting(delay, time, [(0.0, weight, 1), (0.65 * PICO, 1.0, 2), (1.45 * PICO, -1.0, 1)], end=gap * PICO)


def crafted(delay):
    return [*pairs(delay), *rows(delay), *ends(delay)]


def drawn(delay, number=150, seed=0):
    """Random graphs whose firings end, and deliveries arrive, within a few 1e-12 of each other and of borders."""
    rng = np.random.default_rng([seed, DELAYS.index(delay)])
    circuits = []
    for _ in range(number):
        n = int(rng.integers(3, 12))
        present = np.argwhere(rng.random((n, n)) < rng.choice([0.2, 0.4, 0.8]))
        weights = rng.choice([[1.0, -1.0], [0.6, -0.6], [1.0, 0.3]][rng.integers(3)], len(present))
        multiples = rng.integers(0, 4, n) * (delay or 0.4)
        windows = rng.integers(0, 4, n) * (window_length(delay) if delay else 0.3)
        near = np.where(rng.random(n) < 0.5, multiples, windows) + 0.4 * PICO * rng.integers(-8, 9, n)
        firing = rng.random(n) < 0.7
        drive = np.where(firing, stops_at(np.maximum(near, 0)), rng.choice([0.0, -0.3, -1.0, 0.1], n))
        edges = [(int(i), int(j), float(w)) for (i, j), w in zip(present, weights, strict=True)]
        circuits.append(Circuit(edges, drive.tolist(), firing.tolist()))
    return circuits


CIRCUITS = {"crafted": crafted, "drawn": drawn}


def side_by_side(circuits):
    """All circuits in one network: it, its state, and the numbers of each circuit's neurons, scattered over it."""
    sizes = [len(circuit.drive) for circuit in circuits]
    numbers = np.split(np.random.default_rng(1).permutation(sum(sizes)), np.cumsum(sizes)[:-1])
    drive, firing = np.empty(sum(sizes)), np.empty(sum(sizes), bool)
    edges = []
    for circuit, number in zip(circuits, numbers, strict=True):
        drive[number], firing[number] = circuit.drive, circuit.firing
        edges += [(number[source], number[target], weight) for source, target, weight in circuit.edges]
    return graph(sum(sizes), *edges), drive, firing, numbers


def end_of_run(delay):
    return 5.5 * delay or 2.0


def expected_side_by_side(circuits, numbers, delay):
    """What the slow simulator makes of each circuit, as events of the one network; those that rounding decides."""
    parts = []
    for circuit, number in zip(circuits, numbers, strict=True):
        net = graph(len(number), *circuit.edges)
        found = reference_events(
            net, np.array(circuit.drive), np.array(circuit.firing), end_of_run(delay), delay, V_HIGH, V_LOW
        )
        parts.append(found._replace(neuron=number[found.neuron.astype(int)]))
    time, neuron, switch = (np.concatenate([part[column] for part in parts]) for column in range(3))
    order = np.argsort(time, kind="stable")
    margin, doubtful = min(part.margin for part in parts), sum(part.doubtful for part in parts)
    return Reference(time[order], neuron[order], switch[order], end_of_run(delay), margin, doubtful)
