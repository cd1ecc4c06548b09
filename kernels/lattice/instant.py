"""The exact kernel without a propagation delay: switches that cause each other at one instant form generations.

An instant starts with a row of firings that end, each within ``TOLERANCE`` of the one before; what they deliver is
applied together, before any threshold is tested; those that switch then are the next generation. All times are in
units of tau.
"""

import math

import numba
import numpy as np

from isophase.kernels.lattice.window_rules import TOLERANCE
from isophase.kernels.lattice.windowed import _larger, is_together

MAX_GENERATIONS = 1000  # a wave of switches across a lattice settles in as many; a closed loop never does
# Times are kept relative to a whole number of these, so that a long run does not lose digits of an instant; a power of
# two, whose multiples are taken from times that lie ahead without rounding.
EPOCH = 16.0


@numba.njit(nogil=True, cache=True)
def _push(heap_time, heap_neuron, size, time, n):  # pragma: no cover - compiled
    at = size
    while at > 0:
        parent = (at - 1) >> 1
        if heap_time[parent] <= time:
            break
        heap_time[at], heap_neuron[at] = heap_time[parent], heap_neuron[parent]
        at = parent
    heap_time[at], heap_neuron[at] = time, n
    return size + 1


@numba.njit(nogil=True, cache=True)
def _pop(heap_time, heap_neuron, size):  # pragma: no cover - compiled
    """Remove the earliest entry; the caller has read it."""
    size -= 1
    time, n = heap_time[size], heap_neuron[size]
    at = 0
    while 2 * at + 1 < size:
        child = 2 * at + 1
        if child + 1 < size and heap_time[child + 1] < heap_time[child]:
            child += 1
        if time <= heap_time[child]:
            break
        heap_time[at], heap_neuron[at] = heap_time[child], heap_neuron[child]
        at = child
    heap_time[at], heap_neuron[at] = time, n
    return size


@numba.njit(nogil=True, cache=True)
def advance_instantly(
    drive, firing, indptr, successors, weights, v_high, v_low, t_end, slot_ring, ring_next, sample_times, phase,
    record_events, record_firing, toggles,
):  # fmt: skip # pragma: no cover - compiled
    """Advance the network from t = 0 to ``t_end`` at delay 0; changes ``drive`` and ``firing``, fills the records.

    Returns (number of switches; time and number of neurons of an instant that did not settle, else NaN and 0; the
    events as three arrays).
    """
    n_neurons = drive.size
    since = np.zeros(n_neurons)  # time of `drive`
    end = np.full(n_neurons, np.inf)
    onset = np.full(n_neurons, np.nan)
    sample_of = np.zeros(n_neurons, np.int32)
    jump = np.zeros(n_neurons)
    marked = np.zeros(n_neurons, np.bool_)
    heap_time, heap_neuron, size = np.empty(256), np.empty(256, np.int32), 0
    generation, following = np.empty(n_neurons, np.int32), np.empty(n_neurons, np.int32)
    touched = np.empty(n_neurons, np.int32)
    room = 256 if record_events else 0
    event_time, event_neuron, event_switch = np.empty(room), np.empty(room, np.int32), np.empty(room, np.int8)
    total, n_events = 0, 0
    epoch, now, count, generations = 0.0, 0.0, 0, 0

    for n in range(n_neurons):
        if (firing[n] and drive[n] < v_low) or (not firing[n] and drive[n] >= v_high):
            firing[n] = not firing[n]
            generation[count] = n
            count += 1
        if firing[n]:
            end[n] = math.log(drive[n] / v_low)
            heap_time, heap_neuron = _larger(heap_time, size + 1), _larger(heap_neuron, size + 1)
            size = _push(heap_time, heap_neuron, size, end[n], n)

    while True:
        if count == 0:
            while size > 0 and not (firing[heap_neuron[0]] and end[heap_neuron[0]] == heap_time[0]):
                size = _pop(heap_time, heap_neuron, size)
            if size == 0:
                break
            if heap_time[0] > now + TOLERANCE:  # a drive that comes back to v_low ends again at once: the same instant
                generations = 0
            now = heap_time[0]
        reached = now
        while size > 0 and is_together(now, reached, heap_time[0]):
            n, time = heap_neuron[0], heap_time[0]
            size = _pop(heap_time, heap_neuron, size)
            if firing[n] and end[n] == time:
                reached = time
                firing[n] = False
                drive[n], since[n], end[n] = v_low, time, np.inf
                generation[count] = n
                count += 1
        if epoch + now > t_end:
            break
        while count > 0:
            generations += 1
            if generations > MAX_GENERATIONS:
                return (
                    total,
                    epoch + now,
                    count,
                    event_time[:n_events],
                    event_neuron[:n_events],
                    event_switch[:n_events],
                )
            if record_events:
                event_time = _larger(event_time, n_events + count)
                event_neuron = _larger(event_neuron, n_events + count)
                event_switch = _larger(event_switch, n_events + count)
            n_touched = 0
            for i in range(count):
                n = generation[i]
                time = epoch + now
                total += 1
                if record_events:
                    event_time[n_events], event_neuron[n_events] = time, n
                    event_switch[n_events] = 1 if firing[n] else -1
                    n_events += 1
                if record_firing:
                    s = np.searchsorted(sample_times, time)
                    if s < sample_times.size:
                        toggles[s, n] = not toggles[s, n]
                if firing[n]:
                    if slot_ring[n] >= 0:
                        before, s = onset[n], sample_of[n]
                        while s < sample_times.size and sample_times[s] < time:
                            if sample_times[s] >= before:
                                angle = 2 * math.pi * ((sample_times[s] - before) / (time - before))
                                ring = slot_ring[n]
                                while ring >= 0:
                                    phase[s, ring] = angle if angle < 2 * math.pi else 0.0
                                    ring = ring_next[ring]
                            s += 1
                        sample_of[n] = s
                    onset[n] = time
                change = -1.0 if firing[n] else 1.0
                for edge in range(indptr[n], indptr[n + 1]):
                    j = successors[edge]
                    jump[j] += change * weights[edge]
                    if not marked[j]:
                        marked[j] = True
                        touched[n_touched] = j
                        n_touched += 1
            count = 0
            for i in range(n_touched):
                j = touched[i]
                drive[j] = drive[j] * math.exp(since[j] - now) + jump[j]
                since[j], jump[j], marked[j] = now, 0.0, False
                if (firing[j] and drive[j] < v_low) or (not firing[j] and drive[j] >= v_high):
                    firing[j] = not firing[j]
                    following[count] = j
                    count += 1
                if firing[j]:
                    end[j] = now + math.log(drive[j] / v_low)
                    heap_time, heap_neuron = _larger(heap_time, size + 1), _larger(heap_neuron, size + 1)
                    size = _push(heap_time, heap_neuron, size, end[j], j)
                else:
                    end[j] = np.inf
            generation, following = following, generation
        if now > EPOCH:
            passed = EPOCH * math.floor(now / EPOCH)
            epoch += passed
            heap_time[:size] -= passed
            since -= passed
            end -= passed
            now -= passed
    return total, math.nan, 0, event_time[:n_events], event_neuron[:n_events], event_switch[:n_events]
