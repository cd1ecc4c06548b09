"""The lattice model event by event in plain Python, written from its specification and not from the kernels.

Owns a slow simulator whose every rule is one readable line, and the comparison of events with it. The next event is
found by looking at every neuron; times are absolute; tau is 1. It also says how near the run came to a decision that
rounding could turn, because beyond such a point two correct programs may differ.
"""

import itertools
import math
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

TOGETHER = 1e-12  # deliveries to a neuron this close are one; so are the natural ends that start an instant
AT_MOST = 1e-10  # from the first to the last of those that are one by being each so close to the one before
MAX_GENERATIONS = 1000
ROUNDING = 1e-13  # gaps in time this near to ``TOGETHER`` or ``AT_MOST`` could be put on either side


class Reference(NamedTuple):
    """Events in order of time, then of neuron (three arrays), and how well they are determined.

    ``until`` is ``t_end``, or the time of the last event where ``limit`` of them were reached. ``margin`` is the
    least distance of a drive from a threshold where the side decided what happens, ``doubtful`` the number of gaps
    in time that rounding could decide.
    """

    time: np.ndarray
    neuron: np.ndarray
    switch: np.ndarray
    until: float
    margin: float
    doubtful: int

    @property
    def well_determined(self) -> bool:
        return self.margin > 1e-9 and self.doubtful == 0


class UnsettledError(Exception):
    """An instant without delay that goes on switching.

    ``args``: its time, the number of neurons that switch in the generation after the last, the events before it.
    """


@dataclass
class Neuron:
    drive: float
    firing: bool
    successors: list[tuple[int, float]]
    since: float = 0.0  # when ``drive`` held
    arriving: list[tuple[float, float]] = field(default_factory=list)  # (time, change of input)

    def receive(self, time, change):
        self.drive = self.drive * math.exp(-(time - self.since)) + change
        self.since = time

    def beyond_threshold(self, v_high, v_low):
        return self.drive < v_low if self.firing else self.drive >= v_high

    def end(self, v_low):
        """When it stops firing if nothing disturbs it."""
        return self.since + math.log(self.drive / v_low) if self.firing else math.inf


class Notes:
    """What happened, and how near to happening otherwise."""

    def __init__(self):
        self.events, self.margin, self.doubtful = [], math.inf, 0

    def gap(self, seconds, allowed=TOGETHER):
        self.doubtful += abs(abs(seconds) - allowed) < ROUNDING

    def first_instant(self, times):
        """How many of the times, which increase, are one instant."""
        n = 1
        while n < len(times):
            self.gap(times[n] - times[n - 1])
            if times[n] > times[n - 1] + TOGETHER:
                break
            self.gap(times[n] - times[0], AT_MOST)
            if times[n] > times[0] + AT_MOST:
                break
            n += 1
        return n

    def test(self, drive, threshold):
        self.margin = min(self.margin, abs(drive - threshold))

    def reference(self, until):
        # Stable, so two switches of a neuron at one time stay as they came.
        events = sorted(self.events, key=lambda event: event[:2])
        time, neuron, switch = (np.array([event[part] for event in events]) for part in range(3))
        return Reference(time, neuron, switch, until, self.margin, self.doubtful)


def reference_events(net, drive, firing, t_end, delay, v_high, v_low, limit=10**6):
    """Every switch up to ``t_end``, or about the first ``limit``; UnsettledError where an instant does not end."""
    neurons = [
        Neuron(float(drive[i]), bool(firing[i]), [(int(net.successors[e]), float(net.weights[e])) for e in edges])
        for i, edges in enumerate(itertools.starmap(range, itertools.pairwise(net.indptr.tolist())))
    ]
    notes = Notes()
    advance = _without_delay if delay == 0 else _with_delay
    until = advance(neurons, notes, t_end, delay, v_high, v_low, limit)
    return notes.reference(until)


def _with_delay(neurons, notes, t_end, delay, v_high, v_low, limit):
    ends = [math.inf] * len(neurons)

    def switch(number, time):
        neuron = neurons[number]
        neuron.firing = not neuron.firing
        notes.events.append((time, number, 1 if neuron.firing else -1))
        for successor, weight in neuron.successors:
            neurons[successor].arriving.append((time + delay, -weight if neuron.firing else weight))
            neurons[successor].arriving.sort()

    def ends_first(number):
        arriving = neurons[number].arriving
        return not arriving or ends[number] < arriving[0][0] - TOGETHER

    def next_time(number):
        return ends[number] if ends_first(number) else neurons[number].arriving[0][0]

    def take_deliveries(number, time):
        neuron = neurons[number]
        notes.gap(ends[number] - time)
        number_together = notes.first_instant([when for when, _ in neuron.arriving])
        together, neuron.arriving = neuron.arriving[:number_together], neuron.arriving[number_together:]
        neuron.receive(time, math.fsum(change for _, change in together))

    for number, neuron in enumerate(neurons):
        if neuron.beyond_threshold(v_high, v_low):
            switch(number, 0.0)
        ends[number] = neuron.end(v_low)
    while len(notes.events) < limit:
        number = min(range(len(neurons)), key=next_time)
        time, neuron = next_time(number), neurons[number]
        if time > t_end:
            return t_end
        if ends_first(number):
            neuron.receive(time, 0.0)
            switch(number, time)
        else:
            take_deliveries(number, time)
            if not neuron.firing:  # a stop moves continuously with the drive, a start does not
                notes.test(neuron.drive, v_high)
            if neuron.beyond_threshold(v_high, v_low):
                switch(number, time)
        ends[number] = neuron.end(v_low)
    return notes.events[-1][0]


def _without_delay(neurons, notes, t_end, _delay, v_high, v_low, limit):
    def ending(time, but=()):
        """Those that stop by themselves in the instant that starts at ``time``."""
        ends = sorted((it.end(v_low), i) for i, it in enumerate(neurons) if it.firing and i not in but)
        return [i for _, i in ends[: notes.first_instant([time, *(end for end, _ in ends)]) - 1]]

    time, n_generations = 0.0, 0
    beyond = [i for i, it in enumerate(neurons) if it.beyond_threshold(v_high, v_low)]
    generation = beyond + ending(time, but=beyond) if beyond else []
    while len(notes.events) < limit:
        while generation:
            n_generations += 1
            if n_generations > MAX_GENERATIONS:
                raise UnsettledError(time, len(generation), notes.reference(time))
            changes = {}
            for number in generation:
                neuron = neurons[number]
                neuron.firing = not neuron.firing
                notes.events.append((time, number, 1 if neuron.firing else -1))
                for successor, weight in neuron.successors:
                    changes.setdefault(successor, []).append(-weight if neuron.firing else weight)
            for number, arrived in changes.items():
                neurons[number].receive(time, math.fsum(arrived))
                notes.test(neurons[number].drive, v_low if neurons[number].firing else v_high)
            generation = [i for i in sorted(changes) if neurons[i].beyond_threshold(v_high, v_low)]
        following = min(neuron.end(v_low) for neuron in neurons)
        if following > t_end:
            return t_end
        notes.gap(following - time)
        if following > time + TOGETHER:  # else the instant is not over
            n_generations = 0
        time = following
        generation = ending(time)
    return time


def assert_same_events(events, reference, tolerance=1e-9):
    """Every neuron makes the same switches at times that agree to ``tolerance``; at ``until`` itself either may stop.

    Neuron by neuron, because events of different neurons at one instant may stand in either order.
    """
    for number in range(max((*events.neuron, *reference.neuron), default=-1) + 1):
        (time, switch), (expected_time, expected) = (
            (found.time[found.neuron == number], found.switch[found.neuron == number]) for found in (events, reference)
        )
        n = min(len(time), len(expected_time))
        np.testing.assert_array_equal(switch[:n], expected[:n], err_msg=f"neuron {number}")
        np.testing.assert_allclose(time[:n], expected_time[:n], rtol=0, atol=tolerance, err_msg=f"neuron {number}")
        surplus = np.concatenate([time[n:], expected_time[n:]])
        assert (surplus > reference.until - tolerance).all(), f"neuron {number}: in one of them only, at {surplus}"
