"""The exact kernel for a propagation delay: time goes in windows that are a little shorter than the delay.

No switch reaches another neuron within its own window, so inside a window every neuron goes its own way: whatever
is delivered to it is known beforehand. Neurons are then advanced one by one, in any order, without a step error. What
arrives between the end of the window and the end of the delay is known too, and put off to the next window; an instant
that begins in the window and goes on beyond it (``window_rules``) is so taken as a whole.

Three things make it fast. Times are kept as (window, offset), and a switch is delivered in the window after its own.
Drives are kept as X = x exp(t - T), T the start of the window in which the neuron was last touched: X is constant while
x decays, a natural end of firing is at X = v_low exp(offset), and exp(offset) travels with the switch, so that no
exponential is left in the loop. The end of a firing is bounded, so a circular calendar with a bucket per window
replaces a heap.

A network can be advanced by several threads, each with a block of neurons and lists and a calendar of its own. What a
block sends to another is posted, and taken in when all threads have met at the end of the window. Lists of deliveries
are in order of time and source whoever brings them, so the number of threads does not change a bit.

All times here are in units of tau. Owns the compiled loop; ``simulate`` owns its inputs and its results.
"""

# A call of an intrinsic lacks, for the type checker, the context that Numba gives it.
# mypy: disable-error-code="call-arg"
import math
from typing import NamedTuple

import numba
import numpy as np
from llvmlite import ir
from numba.core import types
from numba.core.cgutils import get_or_insert_function
from numba.extending import intrinsic

from isophase.kernels.lattice import window_rules
from isophase.kernels.lattice.threads import LINE, in_step, item_pointer, meet

AHEAD = 8  # items between asking for a cache line and using it; 4 to 48 are equally good
MAX_BUCKETS = 2**20  # a bucket of the calendar spans several windows where the delay is smaller than this allows
MAX_DECAYS = 2**16  # entries of the table of exp(-windows * delay); beyond it the exponential is computed

# What a thread tells the others when they meet: where the deliveries are that it posted, their number, and the next
# window in which its block has anything to do.
ADDRESS, NUMBER, DUE = range(3)

NEURON = np.dtype(
    [
        ("X", "f8"),  # drive times exp(t - start of window `base`)
        ("base", "i8"),  # window in which the neuron was last touched
        ("ends", "i8"),  # while it fires: the window in which its firing ends if nothing disturbs it,
        ("end", "f8"),  # and the time in that window
        ("onset", "f8"),  # time of its last onset of firing, NaN before the first
        ("head", "i4"),  # its first delivery in the window at hand, -1: none
        ("ring", "i4"),  # a ring whose slot 0 it is, -1: none
        ("first", "i4"),  # its one or two successors where their weights are 1, to save a look at the CSR arrays;
        ("second", "i4"),  # -1: none, and in `first`: look there
        ("firing", "i1"),
        ("touched", "i1"),
        ("borders", "i1"),  # whether it drives neurons of another thread's block
    ],
    align=True,
)
SWITCH = np.dtype([("offset", "f8"), ("factor", "f8"), ("neuron", "i4"), ("sign", "i4")], align=True)
DELIVERY = np.dtype(
    [
        ("offset", "f8"),
        ("factor", "f8"),  # exp(offset)
        ("jump", "f8"),  # of the input
        ("source", "i4"),
        ("next", "i4"),
    ],
    align=True,
)
ENTRY = np.dtype([("neuron", "i4"), ("next", "i4")], align=True)

is_together, _ends_before, _is_of_next_window, _windows_to, _arrival, _time_of, _window_length = (
    numba.njit(nogil=True, cache=True)(rule)
    for rule in (
        window_rules.is_together, window_rules.ends_before, window_rules.is_of_next_window, window_rules.windows_to,
        window_rules.arrival, window_rules.time_of, window_rules.window_length,
    )
)  # fmt: skip


@intrinsic
def _prefetch(_context, array, index):  # pragma: no cover - compiled
    """Ask for the cache line of ``array[index]``, to be written to soon; nothing waits for it (LLVM's ``prefetch``)."""

    def generate(context, builder, signature, arguments):
        item = item_pointer(context, builder, signature, arguments)
        byte, i32 = ir.IntType(8).as_pointer(), ir.IntType(32)
        prefetch = ir.FunctionType(ir.VoidType(), [byte, i32, i32, i32])
        function = get_or_insert_function(builder.module, prefetch, "llvm.prefetch.p0")
        builder.call(function, [builder.bitcast(item, byte), i32(1), i32(3), i32(1)])
        return context.get_dummy_value()

    return types.void(array, types.intp), generate


@intrinsic
def _pointer(_context, address):  # pragma: no cover - compiled
    def generate(context, builder, signature, arguments):
        return builder.inttoptr(arguments[0], context.get_value_type(types.voidptr))

    return types.voidptr(types.int64), generate


@numba.njit(nogil=True, cache=True)
def _larger(array, needed):  # pragma: no cover - compiled
    """The array, or a copy of at least twice its length, so that ``needed`` items fit."""
    if needed <= array.size:
        return array
    grown = np.empty(max(needed, 2 * array.size), array.dtype)
    grown[: array.size] = array
    return grown


@numba.njit(nogil=True, cache=True)
def _record(
    switches, number, k, H, t_end, neurons, short, counts, ring_next, next_sample, sample_times, phase, record_events,
    events, event_time, event_neuron, event_switch, record_firing, toggles,
):  # fmt: skip # pragma: no cover - compiled
    """Take in the switches of a window; returns the number of events recorded so far."""
    for i in range(number):
        time = _time_of(k, switches[i].offset, H)
        if time > t_end:
            continue
        counts[0] += 1
        n = switches[i].neuron
        if switches[i].sign > 0:
            neuron = neurons[n]
            before = neuron.onset
            neuron.onset = time
            if before >= 0.0:
                counts[1] += 1
                counts[2] += time - before <= short
            if neuron.ring >= 0:
                sample = next_sample[neuron.ring]
                while sample < sample_times.size and sample_times[sample] < time:
                    if before >= 0.0 and sample_times[sample] >= before:
                        angle = 2 * math.pi * ((sample_times[sample] - before) / (time - before))
                        ring = neuron.ring
                        while ring >= 0:
                            phase[sample, ring] = angle if angle < 2 * math.pi else 0.0
                            ring = ring_next[ring]
                    sample += 1
                next_sample[neuron.ring] = sample
        if record_events:
            event_time[events] = time
            event_neuron[events] = n
            event_switch[events] = switches[i].sign
            events += 1
        if record_firing:
            s = np.searchsorted(sample_times, time)
            if s < sample_times.size:
                toggles[s, n] = not toggles[s, n]
    return events


@numba.njit(nogil=True, cache=True)
def _degree(neuron, n, indptr):  # pragma: no cover - compiled
    if neuron.first < 0:
        return indptr[n + 1] - indptr[n]
    return 2 if neuron.second >= 0 else 1


@numba.njit(nogil=True, cache=True)
def _deliver(
    arriving, number, neurons, low, high, indptr, successors, weights, deliveries, touched
):  # pragma: no cover - compiled
    """Put the block's own switches of the window before into the lists of those neurons of the block that they reach.

    Returns the numbers of deliveries and of neurons touched.
    """
    n_deliveries, n_touched = 0, 0
    for i in range(number):
        # Who is reached is known long before: fetch it while others are dealt with.
        if i + AHEAD < number:
            later = neurons[arriving[i + AHEAD].neuron]
            if later.first >= 0:
                _prefetch(neurons, later.first)
                if later.second >= 0:
                    _prefetch(neurons, later.second)
        offset, factor = _arrival(arriving[i].offset), arriving[i].factor * window_rules.GROWTH
        source, change = arriving[i].neuron, -float(arriving[i].sign)
        is_near = neurons[source].first >= 0
        edge = 0 if is_near else indptr[source]
        for e in range(_degree(neurons[source], source, indptr)):
            n = _successor(neurons[source], is_near, e, successors, edge)
            if not low <= n < high:
                continue
            new = deliveries[n_deliveries]
            new.offset = offset
            new.factor = factor
            new.jump = change if is_near else weights[edge + e] * change
            new.source = source
            neuron = neurons[n]
            if neuron.head < 0:
                new.next = -1
                neuron.head = n_deliveries
                if not neuron.touched:
                    neuron.touched = 1
                    touched[n_touched] = n
                    n_touched += 1
            else:
                _insert(neurons, n, n_deliveries, deliveries)
            n_deliveries += 1
    return n_deliveries, n_touched


@numba.njit(nogil=True, cache=True)
def _successor(neuron, is_near, e, successors, edge):  # pragma: no cover - compiled
    if not is_near:
        return successors[edge + e]
    return neuron.first if e == 0 else neuron.second


@numba.njit(nogil=True, cache=True)
def _take_posts(
    block, posts, neurons, low, high, deliveries, touched, n_deliveries, n_touched
):  # pragma: no cover - compiled
    """Put what was posted in the window before into the lists of the block; numbers as those of :func:`_deliver`.

    The block's own come last, for they are older: what it put off itself.
    """
    threads = len(posts)
    for other in range(block + 1, block + 1 + threads):
        post = posts[other % threads]
        posted = numba.carray(_pointer(post[ADDRESS]), post[NUMBER], DELIVERY)
        for i in range(post[NUMBER]):
            n = posted[i].next
            if low <= n < high:
                deliveries[n_deliveries] = posted[i]
                _insert(neurons, n, n_deliveries, deliveries)
                n_deliveries += 1
                if not neurons[n].touched:
                    neurons[n].touched = 1
                    touched[n_touched] = n
                    n_touched += 1
    return n_deliveries, n_touched


@numba.njit(nogil=True, cache=True)
def _insert(neurons, n, at, deliveries):  # pragma: no cover - compiled
    offset, source = deliveries[at].offset, deliveries[at].source
    previous, following = -1, neurons[n].head
    while following >= 0:
        other = deliveries[following]
        if other.offset > offset or (other.offset == offset and other.source > source):
            break
        previous, following = following, other.next
    deliveries[at].next = following
    if previous < 0:
        neurons[n].head = at
    else:
        deliveries[previous].next = at


@numba.njit(nogil=True, cache=True)
def _post(
    posted, n_posted, switches, first, last, neurons, n, low, high, indptr, successors, weights
):  # pragma: no cover - compiled
    """Post the switches ``first`` to ``last`` of a neuron to its successors in other blocks; all that is posted."""
    is_near = neurons[n].first >= 0
    edge = 0 if is_near else indptr[n]
    for e in range(_degree(neurons[n], n, indptr)):
        target = _successor(neurons[n], is_near, e, successors, edge)
        if low <= target < high:
            continue
        posted = _larger(posted, n_posted + last - first)
        for i in range(first, last):
            new = posted[n_posted]
            new.offset = _arrival(switches[i].offset)
            new.factor = switches[i].factor * window_rules.GROWTH
            change = -float(switches[i].sign)
            new.jump = change if is_near else weights[edge + e] * change
            new.source = n
            new.next = target
            n_posted += 1
    return posted, n_posted


@numba.njit(nogil=True, cache=True)
def _send(switches, at, offset, factor, n, sign):  # pragma: no cover - compiled
    new = switches[at]
    new.offset = offset
    new.factor = factor
    new.neuron = n
    new.sign = sign
    return at + 1


class Constants(NamedTuple):
    """Numbers of a run, times in tau: the delay, the thresholds, and the end.

    A firing ends at most ``span`` after its neuron was last touched; onsets at most ``short`` apart are counted.
    """

    H: float
    v_high: float
    v_low: float
    t_end: float
    span: float
    short: float


class Recording(NamedTuple):
    """What a run records, and where to.

    ``ring_next`` [ring] : another ring with the same slot 0, -1: none; of length 0 where no phase is recorded.
    ``sample_times`` [sample], in tau; ``phase`` [sample, ring] and ``toggles`` bool [sample, neuron] (whether a neuron
    has switched an odd number of times since the sample before), of length 0 where they are not recorded.
    """

    ring_next: np.ndarray
    sample_times: np.ndarray
    phase: np.ndarray
    record_events: bool
    record_firing: bool
    toggles: np.ndarray


Graph = tuple[np.ndarray, np.ndarray, np.ndarray]  # indptr, successors and weights of a ``Network``


def advance(
    neurons: np.ndarray, graph: Graph, constants: Constants, recording: Recording, threads: int = 1
) -> tuple[np.ndarray, ...]:
    """Advance the network from t = 0 to its end; fills the arrays of ``recording``, changes ``neurons``.

    Returns the number of switches, of intervals between a neuron's onsets and of those not above ``short``; and the
    events as three arrays, in no order but that of each neuron's own.
    """
    posts = np.zeros((2, threads, LINE), np.int64)
    next_sample = np.zeros(recording.ring_next.size, np.int32)  # of each ring, the first whose phase is not known yet

    def advance_block(block, meeting):
        return _advance_block(block, meeting, posts, next_sample, neurons, *graph, *constants, *recording)

    blocks = in_step(threads, advance_block)
    counts = sum(block[0] for block in blocks)
    if threads == 1:
        return counts, *blocks[0][1]
    return counts, *(np.concatenate(parts) for parts in zip(*(block[1] for block in blocks), strict=True))


@numba.njit(nogil=True, cache=True)
def _advance_block(
    block, meeting, posts, next_sample, neurons, indptr, successors, weights, H, v_high, v_low, t_end, span, short,
    ring_next, sample_times, phase, record_events, record_firing, toggles,
):  # fmt: skip # pragma: no cover - compiled
    """:func:`advance` for one of the blocks; its counts, its events, and what the others may still be reading."""
    threads = posts.shape[1]
    low, high = block * neurons.size // threads, (block + 1) * neurons.size // threads
    W = _window_length(H)
    per_bucket = np.int64(math.ceil(span / (W * MAX_BUCKETS)))
    heads = np.full(np.int64(span / (W * per_bucket)) + 3, -1, np.int32)
    decays = np.exp(-W * np.arange(np.int64(min(float(MAX_DECAYS), 40.0 / W)) + 2))
    counts = np.zeros(3, np.int64)
    room = 256
    arriving, leaving = np.empty(room, SWITCH), np.empty(room, SWITCH)
    deliveries = np.empty(room, DELIVERY)
    posted, posted_before, n_posted = np.empty(room, DELIVERY), np.empty(room, DELIVERY), 0
    touched = np.empty(room, np.int32)
    entries, n_entries, free = np.empty(room, ENTRY), 0, -1
    event_room = room if record_events else 0
    event_time, event_neuron = np.empty(event_room), np.empty(event_room, np.int32)
    event_switch, n_events = np.empty(event_room, np.int8), 0
    n_arriving, n_leaving, arriving_degree, leaving_degree = 0, 0, 0, 0

    unit = True
    for weight in weights:
        if weight != 1.0:
            unit = False
            break
    # The trigger's thresholds hold at t = 0 too.
    for n in range(low, high):
        neuron = neurons[n]
        degree = indptr[n + 1] - indptr[n]
        is_near = unit and 0 < degree <= 2
        neuron.first = successors[indptr[n]] if is_near else -1
        neuron.second = successors[indptr[n] + 1] if is_near and degree == 2 else -1
        neuron.borders = 0
        for edge in range(indptr[n], indptr[n + 1]):
            if not low <= successors[edge] < high:
                neuron.borders = 1
        x = neuron.X
        if (neuron.firing and x < v_low) or (not neuron.firing and x >= v_high):
            neuron.firing = not neuron.firing
            leaving = _larger(leaving, n_leaving + 1)
            n_leaving = _send(leaving, n_leaving, 0.0, 1.0, n, 1 if neuron.firing else -1)
            leaving_degree += _degree(neuron, n, indptr)
            if neuron.borders:
                posted, n_posted = _post(
                    posted, n_posted, leaving, n_leaving - 1, n_leaving, neurons, n, low, high, indptr, successors,
                    weights,
                )  # fmt: skip
        if neuron.firing:
            end = math.log(x / v_low)
            neuron.ends = _windows_to(end, W)
            neuron.end = end - neuron.ends * W
            entries = _larger(entries, n_entries + 1)
            bucket = neuron.ends // per_bucket % heads.size
            entries[n_entries].neuron = n
            entries[n_entries].next = heads[bucket]
            heads[bucket] = n_entries
            n_entries += 1

    last = np.int64(t_end / W) + 1  # one more, for what rounding puts just before the start of a window
    k, nearest, rounds, side = np.int64(0), np.int64(0), 0, 0
    while k <= last:
        # deliver what switched in the window before, and what was posted and put off
        most = arriving_degree
        for other in range(threads):
            most += posts[side, other, NUMBER]
        deliveries = _larger(deliveries, most)
        touched = _larger(touched, most)
        n_deliveries, n_touched = _deliver(
            arriving, n_arriving, neurons, low, high, indptr, successors, weights, deliveries, touched
        )  # fmt: skip
        n_deliveries, n_touched = _take_posts(
            block, posts[side], neurons, low, high, deliveries, touched, n_deliveries, n_touched
        )  # fmt: skip

        # and turn to the neurons whose firing ends in this window
        number = k // per_bucket
        bucket = number % heads.size
        entry = heads[bucket]
        heads[bucket] = -1
        while entry >= 0:
            following = entries[entry].next
            if following >= 0:
                _prefetch(neurons, entries[following].neuron)
            n = entries[entry].neuron
            neuron = neurons[n]
            if neuron.firing and neuron.ends > k and neuron.ends // per_bucket == number:
                entries[entry].next = heads[bucket]
                heads[bucket] = entry
            else:
                if neuron.firing and neuron.ends == k and not neuron.touched:
                    neuron.touched = 1
                    touched = _larger(touched, n_touched + 1)
                    touched[n_touched] = n
                    n_touched += 1
                entries[entry].next = free
                free = entry
            entry = following

        leaving = _larger(leaving, n_leaving + 2 * (n_deliveries + n_touched))
        entries = _larger(entries, n_entries + n_touched)
        for i in range(n_touched):
            n = touched[i]
            neuron = neurons[n]
            passed = k - neuron.base
            X = neuron.X * (decays[passed] if passed < decays.size else math.exp(-passed * W))
            firing = neuron.firing
            ends, end = neuron.ends, neuron.end
            sent = n_leaving
            moved = False
            d = neuron.head
            while d >= 0:
                start, factor = deliveries[d].offset, deliveries[d].factor
                if firing and ends == k and _ends_before(end, start):
                    firing = 0
                    n_leaving = _send(leaving, n_leaving, end, X / v_low, n, -1)
                if _is_of_next_window(start, W):
                    if firing and ends == k:
                        ends, end = k + 1, end - W
                    while d >= 0:
                        posted = _larger(posted, n_posted + 1)
                        posted[n_posted] = deliveries[d]
                        posted[n_posted].offset -= W
                        posted[n_posted].factor *= decays[1]
                        posted[n_posted].next = n
                        n_posted += 1
                        d = deliveries[d].next
                    break
                before, jump, d = start, deliveries[d].jump, deliveries[d].next
                while d >= 0 and is_together(start, before, deliveries[d].offset):
                    before = deliveries[d].offset
                    jump += deliveries[d].jump
                    d = deliveries[d].next
                X += jump * factor
                if firing:
                    if v_low * factor > X:
                        firing = 0
                        n_leaving = _send(leaving, n_leaving, start, factor, n, -1)
                elif v_high * factor <= X:
                    firing = 1
                    n_leaving = _send(leaving, n_leaving, start, factor, n, 1)
                if firing:
                    moved = True
                    end = math.log(X / v_low)
                    windows = _windows_to(end, W)
                    ends, end = k + windows, end - windows * W
            if firing:
                if ends == k:
                    firing = 0
                    n_leaving = _send(leaving, n_leaving, end, X / v_low, n, -1)
                elif moved:
                    if free >= 0:
                        entry, free = free, entries[free].next
                    else:
                        entry, n_entries = n_entries, n_entries + 1
                    bucket = ends // per_bucket % heads.size
                    entries[entry].neuron = n
                    entries[entry].next = heads[bucket]
                    heads[bucket] = entry
            if n_leaving > sent:
                leaving_degree += _degree(neuron, n, indptr) * (n_leaving - sent)
                if neuron.borders:
                    posted, n_posted = _post(
                        posted, n_posted, leaving, sent, n_leaving, neurons, n, low, high, indptr, successors, weights
                    )  # fmt: skip
            neuron.X = X
            neuron.base = k
            neuron.ends = ends
            neuron.end = end
            neuron.firing = firing
            neuron.head = -1
            neuron.touched = 0

        if record_events:
            event_time = _larger(event_time, n_events + n_leaving)
            event_neuron = _larger(event_neuron, n_events + n_leaving)
            event_switch = _larger(event_switch, n_events + n_leaving)
        n_events = _record(
            leaving, n_leaving, k, H, t_end, neurons, short, counts, ring_next, next_sample, sample_times, phase,
            record_events, n_events, event_time, event_neuron, event_switch, record_firing, toggles,
        )  # fmt: skip
        arriving, leaving = leaving, arriving
        n_arriving, n_leaving = n_leaving, 0
        arriving_degree, leaving_degree = leaving_degree, 0
        due = k + 1
        if n_touched > 0:
            nearest = k  # not known any more
        if n_arriving == 0 and n_posted == 0:
            if nearest <= k:
                nearest = _next_end(neurons, k + 1, last + 1, per_bucket, heads, entries)
            due = nearest

        side = 1 - side
        posts[side, block, ADDRESS] = posted.ctypes.data
        posts[side, block, NUMBER] = n_posted
        posts[side, block, DUE] = due
        # By the next time they meet all have taken in what is posted now, and this list can be filled again.
        posted, posted_before, n_posted = posted_before, posted, 0
        rounds += 1
        if not meet(meeting, threads, rounds):
            break
        k = last + 1
        for other in range(threads):
            k = min(k, posts[side, other, DUE])
    events = event_time[:n_events], event_neuron[:n_events], event_switch[:n_events]
    return counts, events, (posted, posted_before)


@numba.njit(nogil=True, cache=True)
def _next_end(neurons, k, limit, per_bucket, heads, entries):  # pragma: no cover - compiled
    """The next window, from ``k`` on, in which a firing ends; ``limit`` where there is none before it."""
    for number in range(k // per_bucket, k // per_bucket + heads.size):
        if number * per_bucket >= limit:
            break
        nearest = limit
        entry = heads[number % heads.size]
        while entry >= 0:
            neuron = neurons[entries[entry].neuron]
            if neuron.firing and neuron.ends >= k and neuron.ends // per_bucket == number:
                nearest = min(nearest, neuron.ends)
            entry = entries[entry].next
        if nearest < limit:
            return nearest
    return limit
