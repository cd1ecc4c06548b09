"""The exact kernel of ``windowed`` on a CUDA GPU, for very large lattices: the same windows, with a thread per neuron.

Every window is five launches. ``_deliver`` puts the switches of the window before into the lists of those they reach
(atomic exchange of a list's head); ``_collect`` walks the window's bucket of the calendar, which is many short lists
and not one; ``_advance`` takes every neuron touched through the window and records it; where nothing is under way
``_seek`` looks for the next end of a firing; ``_turn`` goes on to the next window.

Lists come out in any order and are put in that of the CPU's kernel before they count, so a run does not depend on how
threads are scheduled. The arithmetic is that of the CPU's kernel too; a GPU rounds ``log``, ``exp`` and fused
products otherwise, so results agree to rounding, and to the bit on Numba's simulator.

The window and all counters stay on the GPU; the host launches :data:`ROUNDS` windows ahead and only then looks. A
window whose lists might not fit (by bounds known before it is advanced) stays where it is, whatever is launched, until
the host has made room: nothing overflows and nothing is done twice. Events are taken to the host from a buffer.

All times here are in units of tau. Owns the GPU's arrays and kernels; ``simulate`` owns its inputs and its results.
"""

# What is compiled for the GPU is not checked as Python.
# mypy: disable-error-code="assignment, attr-defined, call-arg"
import math

import numpy as np

from isophase.kernels.lattice import window_rules
from isophase.kernels.lattice.windowed import DELIVERY, ENTRY, MAX_BUCKETS, MAX_DECAYS
from isophase.kernels.lattice.windowed import NEURON as CPU_NEURON

NEEDED = "an NVIDIA GPU, its driver and Numba's CUDA target (pip install 'isophase[gpu]'), or NUMBA_ENABLE_CUDASIM=1"
try:
    from numba import config, cuda
except ImportError as missing:  # pragma: no cover - a Numba without its CUDA target
    raise RuntimeError(f"device='cuda' needs {NEEDED}: {missing}") from missing

ROUNDS = 64  # windows launched before the host looks at the counters
FIRST_ROOM = 2**14  # items that lists hold at first, or an eighth of the neurons; they grow by doubling
MAX_ROOM = 2**31 - 1  # items are numbered by int32
MAX_STRANDS = 2**14  # lists in a bucket of the calendar, each walked by one thread
MAX_HEADS = 2**24  # lists in the calendar
THREADS, BLOCKS_PER_MULTIPROCESSOR = 128, 16
NEVER = 2**62

# Values of a neuron's `head` while it has no delivery: not yet in the list of those touched, and in it.
UNTOUCHED, TOUCHED_ONLY = -1, -2

# The counters, int64 each. Those of the first line hold still while a window is advanced, so that all threads agree
# whether it fits; those of the second are what is appended to meanwhile; the last are results.
(
    WINDOW, SIDE, DELIVERED, ARRIVING, DEFERRED, SLOTS, TOUCHED, FREE, SENT_BEFORE, EVENTS,
    LEAVING, LEAVING_SLOTS, DEFERRING, TOUCHED_NEXT, TAKEN, NEAREST,
    SWITCHES, LATE, INTERVALS, SHORT,
) = range(20)  # fmt: skip
N_COUNTERS = 20

# The record of the CPU's kernel, with what that one looks up elsewhere.
NEURON = np.dtype(
    [(name, CPU_NEURON[name]) for name in CPU_NEURON.fields or () if name not in ("first", "second")]
    + [
        ("edge", "i4"),  # first of its edges in the network's CSR arrays
        ("degree", "i4"),
        ("sample", "i4"),  # the first sample at which the phase of its rings is not known yet
    ],
    align=True,
)
SWITCH = np.dtype(
    [
        ("offset", "f8"),
        ("factor", "f8"),
        ("neuron", "i4"),
        ("sign", "i4"),
        ("slot", "i4"),  # of its first delivery, after those that were put off; one for each edge
    ],
    align=True,
)

_is_together, _ends_before, _is_of_next_window, _windows_to, _arrival, _time_of, _window_length = (
    cuda.jit(device=True)(rule)
    for rule in (
        window_rules.is_together, window_rules.ends_before, window_rules.is_of_next_window, window_rules.windows_to,
        window_rules.arrival, window_rules.time_of, window_rules.window_length,
    )
)  # fmt: skip


@cuda.jit(device=True)
def _most_switches(state):
    """Bound on the switches of the window: a delivery can end a firing and begin one, and each firing can run out."""
    return 2 * state[SLOTS] + state[TOUCHED]


@cuda.jit(device=True)
def _can_deliver(state, last, deliveries):
    return state[WINDOW] <= last and state[SLOTS] <= deliveries.shape[1]


@cuda.jit(device=True)
def _can_advance(state, last, deliveries, switches, event_time):
    most = state[SENT_BEFORE] + _most_switches(state)
    return (
        _can_deliver(state, last, deliveries)
        and most <= switches.shape[1]
        and state[TOUCHED] <= state[FREE]
        and (event_time.size == 0 or state[EVENTS] + most <= event_time.size)
    )


@cuda.jit(device=True)
def _idle(state):
    return state[LEAVING] == 0 and state[DEFERRING] == 0


@cuda.jit(device=True)
def _enter(state, n, ends, per_bucket, heads, entries, free):
    """Enter the end of a firing in the calendar."""
    entry = free[state[FREE] - 1 - cuda.atomic.add(state, TAKEN, 1)]
    bucket = ends // per_bucket % heads.shape[0]
    entries[entry]["neuron"] = n
    entries[entry]["next"] = cuda.atomic.exch(heads, (bucket, n % heads.shape[1]), entry)


@cuda.jit(device=True)
def _onset(neuron, time, short, ring_next, sample_times, phase):
    """Take in an onset: 0 for a first one, else 2 where the interval before it is at most ``short``, else 1."""
    before = neuron["onset"]
    neuron["onset"] = time
    ring = neuron["ring"]
    if ring >= 0:
        sample = neuron["sample"]
        while sample < sample_times.size and sample_times[sample] < time:
            if before >= 0.0 and sample_times[sample] >= before:
                angle = 2 * math.pi * ((sample_times[sample] - before) / (time - before))
                one = ring
                while one >= 0:
                    phase[sample, one] = angle if angle < 2 * math.pi else 0.0
                    one = ring_next[one]
            sample += 1
        neuron["sample"] = sample
    if before >= 0.0:
        return 2 if time - before <= short else 1
    return 0


@cuda.jit(device=True)
def _toggle(toggles, sample_times, n, time):
    low, high = 0, sample_times.size
    while low < high:
        middle = (low + high) // 2
        if sample_times[middle] < time:
            low = middle + 1
        else:
            high = middle
    if low < sample_times.size:
        toggles[low, n] = not toggles[low, n]


@cuda.jit(device=True)
def _switch(state, switches, neuron, n, offset, factor, sign, recording):
    """Send a switch on and record it; what it says of intervals between onsets, as :func:`_onset`."""
    H, t_end, short, ring_next, sample_times, phase, event_time, event_neuron, event_switch, toggles = recording
    at = cuda.atomic.add(state, LEAVING, 1)
    new = switches[1 - state[SIDE], at]
    new["offset"] = offset
    new["factor"] = factor
    new["neuron"] = n
    new["sign"] = sign
    new["slot"] = cuda.atomic.add(state, LEAVING_SLOTS, neuron["degree"])
    time = _time_of(state[WINDOW], offset, H)
    if event_time.size > 0:
        event = state[EVENTS] + at
        event_time[event] = time
        event_neuron[event] = n
        event_switch[event] = sign
    if time > t_end:
        cuda.atomic.add(state, LATE, 1)
        return 0
    if toggles.size > 0:
        _toggle(toggles, sample_times, n, time)
    if sign < 0:
        return 0
    return _onset(neuron, time, short, ring_next, sample_times, phase)


@cuda.jit(cache=True)
def _start(
    state, H, v_high, v_low, t_end, per_bucket, neurons, switches, heads, entries, free, short, ring_next,
    sample_times, phase, event_time, event_neuron, event_switch, toggles,
):  # fmt: skip
    """The trigger's thresholds hold at t = 0 too; and enter the ends of the firings then."""
    recording = (H, t_end, short, ring_next, sample_times, phase, event_time, event_neuron, event_switch, toggles)
    for n in range(cuda.grid(1), neurons.size, cuda.gridsize(1)):
        neuron = neurons[n]
        x, firing = neuron["X"], neuron["firing"] != 0
        if (firing and x < v_low) or (not firing and x >= v_high):
            firing = not firing
            neuron["firing"] = 1 if firing else 0
            _switch(state, switches, neuron, n, 0.0, 1.0, 1 if firing else -1, recording)
        if firing:
            W = _window_length(H)
            end = math.log(x / v_low)
            ends = _windows_to(end, W)
            neuron["ends"] = ends
            neuron["end"] = end - ends * W
            _enter(state, n, ends, per_bucket, heads, entries, free)


@cuda.jit(cache=True)
def _deliver(state, last, neurons, successors, weights, switches, deliveries, touched):
    if state[DELIVERED] or not _can_deliver(state, last, deliveries):
        return
    side = state[SIDE]
    for i in range(cuda.grid(1), state[ARRIVING], cuda.gridsize(1)):
        switch = switches[side, i]
        source, offset, factor = switch["neuron"], _arrival(switch["offset"]), switch["factor"] * window_rules.GROWTH
        change = -float(switch["sign"])
        slot = state[DEFERRED] + switch["slot"]
        first = neurons[source]["edge"]
        for edge in range(first, first + neurons[source]["degree"]):
            n = successors[edge]
            head = cuda.atomic.exch(neurons["head"], n, slot)
            new = deliveries[side, slot]
            new["offset"] = offset
            new["factor"] = factor
            new["jump"] = weights[edge] * change
            new["source"] = source
            new["next"] = head
            if head == UNTOUCHED:
                touched[side, cuda.atomic.add(state, TOUCHED, 1)] = n
            slot += 1


@cuda.jit(cache=True)
def _collect(state, last, neurons, deliveries, touched, per_bucket, heads, entries, free):
    """Turn to the neurons whose firing ends in this window; entries of the bucket for later windows stay in it."""
    if state[DELIVERED] or not _can_deliver(state, last, deliveries):
        return
    side, k = state[SIDE], state[WINDOW]
    number = k // per_bucket
    bucket = number % heads.shape[0]
    for strand in range(cuda.grid(1), heads.shape[1], cuda.gridsize(1)):
        entry, kept = heads[bucket, strand], -1
        while entry >= 0:
            following = entries[entry]["next"]
            n = entries[entry]["neuron"]
            firing, ends = neurons[n]["firing"], neurons[n]["ends"]
            if firing and ends > k and ends // per_bucket == number:
                entries[entry]["next"] = kept
                kept = entry
            else:
                # It may be touched already, or have another entry in this bucket.
                if firing and ends == k and cuda.atomic.cas(neurons["head"], n, UNTOUCHED, TOUCHED_ONLY) == UNTOUCHED:
                    touched[side, cuda.atomic.add(state, TOUCHED, 1)] = n
                free[cuda.atomic.add(state, FREE, 1)] = entry
            entry = following
        heads[bucket, strand] = kept


@cuda.jit(device=True)
def _in_order(deliveries, side, head):
    """Sort a list by offset, then source, then time; returns its new head. It is short: insertion will do."""
    first = -1
    while head >= 0:
        this = deliveries[side, head]
        following = this["next"]
        offset, source = this["offset"], this["source"]
        previous, later = -1, first
        while later >= 0:
            other = deliveries[side, later]
            if other["offset"] > offset or (
                other["offset"] == offset and (other["source"] > source or (other["source"] == source and later > head))
            ):
                break
            previous, later = later, other["next"]
        this["next"] = later
        if previous < 0:
            first = head
        else:
            deliveries[side, previous]["next"] = head
        head = following
    return first


@cuda.jit(device=True)
def _put_off(state, deliveries, side, d, W, decay):
    """Move deliveries, from ``d`` on, to the window after; returns the head of their list there."""
    waiting = UNTOUCHED
    while d >= 0:
        old = deliveries[side, d]
        slot = cuda.atomic.add(state, DEFERRING, 1)
        new = deliveries[1 - side, slot]
        new["offset"] = old["offset"] - W
        new["factor"] = old["factor"] * decay
        new["jump"] = old["jump"]
        new["source"] = old["source"]
        new["next"] = waiting
        waiting = slot
        d = old["next"]
    return waiting


@cuda.jit(cache=True)
def _advance(
    state, last, H, v_high, v_low, t_end, decays, neurons, switches, deliveries, touched, per_bucket, heads, entries,
    free, short, ring_next, sample_times, phase, event_time, event_neuron, event_switch, toggles,
):  # fmt: skip
    """Take every neuron touched through the window, as ``windowed.advance`` does."""
    if not _can_advance(state, last, deliveries, switches, event_time):
        return
    recording = (H, t_end, short, ring_next, sample_times, phase, event_time, event_neuron, event_switch, toggles)
    side, k, W = state[SIDE], state[WINDOW], _window_length(H)
    intervals, short_ones = 0, 0
    for i in range(cuda.grid(1), state[TOUCHED], cuda.gridsize(1)):
        n = touched[side, i]
        neuron = neurons[n]
        passed = k - neuron["base"]
        X = neuron["X"] * (decays[passed] if passed < decays.size else math.exp(-passed * W))
        firing = neuron["firing"] != 0
        ends, end = neuron["ends"], neuron["end"]
        moved = False
        waiting = UNTOUCHED
        d = _in_order(deliveries, side, neuron["head"])
        while d >= 0:
            start, factor = deliveries[side, d]["offset"], deliveries[side, d]["factor"]
            if firing and ends == k and _ends_before(end, start):
                firing = False
                _switch(state, switches, neuron, n, end, X / v_low, -1, recording)
            if _is_of_next_window(start, W):
                if firing and ends == k:
                    ends, end = k + 1, end - W
                waiting = _put_off(state, deliveries, side, d, W, decays[1])
                touched[1 - side, cuda.atomic.add(state, TOUCHED_NEXT, 1)] = n
                break
            before, jump, d = start, deliveries[side, d]["jump"], deliveries[side, d]["next"]
            while d >= 0 and _is_together(start, before, deliveries[side, d]["offset"]):
                before = deliveries[side, d]["offset"]
                jump += deliveries[side, d]["jump"]
                d = deliveries[side, d]["next"]
            X += jump * factor
            if firing:
                if v_low * factor > X:
                    firing = False
                    _switch(state, switches, neuron, n, start, factor, -1, recording)
            elif v_high * factor <= X:
                firing = True
                interval = _switch(state, switches, neuron, n, start, factor, 1, recording)
                intervals += interval > 0
                short_ones += interval > 1
            if firing:
                moved = True
                end = math.log(X / v_low)
                windows = _windows_to(end, W)
                ends, end = k + windows, end - windows * W
        if firing:
            if ends == k:
                firing = False
                _switch(state, switches, neuron, n, end, X / v_low, -1, recording)
            elif moved:
                _enter(state, n, ends, per_bucket, heads, entries, free)
        neuron["X"] = X
        neuron["base"] = k
        neuron["ends"] = ends
        neuron["end"] = end
        neuron["firing"] = 1 if firing else 0
        neuron["head"] = waiting
    if intervals > 0:
        cuda.atomic.add(state, INTERVALS, intervals)
        cuda.atomic.add(state, SHORT, short_ones)


@cuda.jit(cache=True)
def _seek(state, last, neurons, switches, deliveries, event_time):
    """Where no switch is under way, find the next window in which a firing ends."""
    if not _can_advance(state, last, deliveries, switches, event_time) or not _idle(state):
        return
    nearest = NEVER
    for n in range(cuda.grid(1), neurons.size, cuda.gridsize(1)):
        if neurons[n]["firing"] and neurons[n]["ends"] < nearest:
            nearest = neurons[n]["ends"]
    cuda.atomic.min(state, NEAREST, nearest)


@cuda.jit(cache=True)
def _turn(state, last, switches, deliveries, event_time):
    """Go on to the next window if this one was advanced, by one thread; else note how far it came."""
    if cuda.grid(1) > 0 or not _can_deliver(state, last, deliveries):
        return
    if not _can_advance(state, last, deliveries, switches, event_time):
        state[DELIVERED] = 1
        return
    following = state[WINDOW] + 1
    if _idle(state) and state[NEAREST] > following:
        following = state[NEAREST]
    state[WINDOW] = following
    state[SIDE] = 1 - state[SIDE]
    state[ARRIVING] = state[LEAVING]
    state[DEFERRED] = state[DEFERRING]
    state[SLOTS] = state[LEAVING_SLOTS] + state[DEFERRING]
    state[TOUCHED] = state[TOUCHED_NEXT]
    state[FREE] -= state[TAKEN]
    state[EVENTS] += state[LEAVING]
    state[SWITCHES] += state[LEAVING]
    for counter in range(LEAVING, NEAREST):
        state[counter] = 0
    state[DELIVERED] = 0
    state[SENT_BEFORE] = 0
    state[NEAREST] = NEVER


def check_available() -> None:
    """RuntimeError where there is neither a CUDA GPU nor Numba's simulator of one."""
    if not cuda.is_available():
        reason = " ".join(str(cuda.cuda_error() or "no GPU found").split())
        raise RuntimeError(f"device='cuda' needs {NEEDED}: {reason}")


def _records(neurons, indptr):
    """The CPU kernel's neurons as :data:`NEURON`."""
    records = np.zeros(neurons.size, NEURON)
    for name in (NEURON.fields or {}).keys() & neurons.dtype.fields.keys():
        records[name] = neurons[name]
    records["edge"] = indptr[:-1]
    records["degree"] = np.diff(indptr)
    return records


def advance(neurons, graph, constants, recording):
    """Advance the network from t = 0 to its end: parameters and results as those of ``windowed.advance``.

    What is recorded of phase and firing lies on the GPU until the run is over. Leaves ``neurons`` as it is.
    """
    indptr, *of_edges = graph
    H, v_high, v_low, t_end, span, short = constants
    W = window_rules.window_length(H)
    last = int(t_end / W) + 1  # one more, for what rounding puts just before the start of a window
    per_bucket = math.ceil(span / (W * MAX_BUCKETS))
    n_buckets = int(span / (W * per_bucket)) + 3
    strands = max(1, min(MAX_STRANDS, neurons.size, MAX_HEADS // n_buckets))
    n_decays = int(min(float(MAX_DECAYS), 40.0 / W)) + 2
    firing = neurons["firing"] != 0
    first = np.count_nonzero(np.where(firing, neurons["X"] < v_low, neurons["X"] >= v_high))
    room = max(FIRST_ROOM, neurons.size // 8)
    n_entries = np.count_nonzero(firing) + first + room

    state = np.zeros(N_COUNTERS, np.int64)
    state[NEAREST], state[FREE] = NEVER, n_entries
    lists = _Lists(state, neurons.size, max(first, room), room, n_entries, recording.record_events)
    grid = _grid()
    of_neurons = cuda.to_device(_records(neurons, indptr))
    of_edges = tuple(cuda.to_device(part) for part in of_edges)
    # The simulator's and the CPU's exponential, not NumPy's, which differs in the last bit.
    decays = cuda.to_device(np.array([math.exp(-W * windows) for windows in range(n_decays)]))
    heads = cuda.to_device(np.full((n_buckets, strands), -1, np.int32))
    ring_next, sample_times = cuda.to_device(recording.ring_next), cuda.to_device(recording.sample_times)
    samples = cuda.to_device(recording.phase), cuda.to_device(recording.toggles)
    numbers = H, v_high, v_low, t_end

    def records():
        return short, ring_next, sample_times, samples[0], *lists.events, samples[1]

    _start[grid](
        lists.state, *numbers, per_bucket, of_neurons, lists.switches, heads, lists.entries, lists.free, *records()
    )
    state = lists.state.copy_to_host()
    state[SENT_BEFORE] = state[LEAVING]
    state[FREE] -= state[TAKEN]
    state[TAKEN] = 0
    lists.state.copy_to_device(state)
    rounds = 1
    while state[WINDOW] <= last:
        grew = lists.make_room(state)
        rounds = 1 if grew else min(2 * rounds, ROUNDS)
        calendar = per_bucket, heads, lists.entries, lists.free
        fit = lists.switches, lists.deliveries, lists.events[0]
        for _ in range(min(rounds, last + 1 - int(state[WINDOW]))):
            _deliver[grid](
                lists.state, last, of_neurons, *of_edges, lists.switches, lists.deliveries, lists.touched
            )  # fmt: skip
            _collect[grid](lists.state, last, of_neurons, lists.deliveries, lists.touched, *calendar)
            _advance[grid](
                lists.state, last, *numbers, decays, of_neurons, lists.switches, lists.deliveries, lists.touched,
                *calendar, *records(),
            )  # fmt: skip
            _seek[grid](lists.state, last, of_neurons, *fit)
            _turn[grid](lists.state, last, *fit)
        state = lists.state.copy_to_host()
    for on_gpu, result in zip(samples, (recording.phase, recording.toggles), strict=True):
        if result.size:
            on_gpu.copy_to_host(result)
    lists.take_events(state)
    time, neuron, switch = (np.concatenate(parts) for parts in zip(*lists.taken, strict=True))
    kept = time <= t_end
    counts = np.array([state[SWITCHES] - state[LATE], state[INTERVALS], state[SHORT]])
    return counts, time[kept], neuron[kept], switch[kept]


def _grid():
    if config.ENABLE_CUDASIM:
        return 2, 2  # each of them a thread of Python
    return BLOCKS_PER_MULTIPROCESSOR * cuda.get_current_device().MULTIPROCESSOR_COUNT, THREADS


class _Lists:
    """The arrays on the GPU whose length is not known beforehand, with the counters; and the events taken from them.

    ``switches``, ``deliveries`` and ``touched`` have two sides: one for the window at hand, one for the next.
    """

    def __init__(self, state, n_neurons, n_switches, n_deliveries, n_entries, record_events):
        self.state = cuda.to_device(state)
        self.switches = cuda.device_array((2, n_switches), SWITCH)
        self.deliveries = cuda.device_array((2, n_deliveries), DELIVERY)
        self.touched = cuda.device_array((2, n_neurons), np.int32)
        self.entries = cuda.device_array(n_entries, ENTRY)
        self.free = cuda.to_device(np.arange(n_entries, dtype=np.int32))
        n_events = 2 * n_switches if record_events else 0
        self.events = tuple(cuda.device_array(n_events, kind) for kind in (np.float64, np.int32, np.int8))
        self.taken = [(np.empty(0), np.empty(0, np.int32), np.empty(0, np.int8))]

    def make_room(self, state):
        """Make twice the room that the window at hand may need where there is too little; returns whether it was."""
        slots, touched = int(state[SLOTS]), int(state[TOUCHED])
        most = int(state[SENT_BEFORE]) + 2 * slots + touched
        grew = False
        if slots > self.deliveries.shape[1]:
            self.deliveries = _grown(self.deliveries, 2 * slots)
            grew = True
        if most > self.switches.shape[1]:
            self.switches = _grown(self.switches, 2 * most)
            grew = True
        if touched > state[FREE]:
            free, used = int(state[FREE]), self.entries.shape[0]
            more = max(2 * touched, used)
            self.entries, self.free = _grown(self.entries, used + more), _grown(self.free, used + more)
            self.free[free : free + more].copy_to_device(np.arange(used, used + more, dtype=np.int32))
            state[FREE] += more
            grew = True
        room = self.events[0].shape[0]
        taken = room > 0 and 2 * state[EVENTS] + most > room
        if taken:
            self.take_events(state)
            if most > room:
                self.events = tuple(_grown(part, 2 * most) for part in self.events)
                grew = True
        if grew or taken:
            self.state.copy_to_device(state)
        return grew

    def take_events(self, state):
        """Take the events of the windows before to the host. Those sent at t = 0 stay until their window is over."""
        number = int(state[EVENTS])
        if number and self.events[0].shape[0]:
            self.taken.append(tuple(part[:number].copy_to_host() for part in self.events))
        state[EVENTS] = 0


def _grown(array, room):
    """A longer array on the GPU, the same as far as the old one goes; by way of the host, for it is seldom done."""
    if room > MAX_ROOM:
        raise MemoryError(f"device='cuda': a list of {room} items in one window; at most {MAX_ROOM} can be numbered")
    old = array.copy_to_host()
    grown = np.empty((*old.shape[:-1], room), old.dtype)
    grown[..., : old.shape[-1]] = old
    return cuda.to_device(grown)
