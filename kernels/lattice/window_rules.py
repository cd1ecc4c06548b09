"""What is one instant, what belongs to which window, when it arrives: the rules of the exact kernels, written once.

Plain functions of times in units of tau; ``windowed`` and ``instant`` compile them for the CPU and ``cuda`` for the
GPU, so that no two can decide otherwise.

An instant is a row of deliveries to a neuron, each at most ``TOLERANCE`` after the one before and none more than
``LONGEST`` after the first, whose time is that of the instant. Without a delay it is such a row of ends of firings.

With a delay ``H`` time goes in windows ``MARGIN`` shorter than it; an offset is a time from the start of a window. An
instant belongs to the window in which it begins. What is sent in a window arrives ``MARGIN`` after the end of the
window or later, and ``MARGIN`` is more than the longest instant: so while a window is advanced, all is known that
belongs to an instant of it, and that keeps a firing from ending by itself in it.
"""

import math

TOLERANCE = 1e-12  # deliveries this close to each other are applied together (tau)
LONGEST = 1e-10  # from the first delivery of an instant to its last: a hundred in a row
MARGIN = 2.0**-33  # 1.16e-10; a power of two, whose multiples are added to and taken from times without rounding
GROWTH = math.exp(MARGIN)


def window_length(H: float) -> float:
    return H - MARGIN


def windows_to(end: float, W: float) -> int:
    """Windows of length ``W`` from the one that ``end`` is counted from to the one in which it lies; never < 0."""
    return max(math.floor(end / W), 0)


def arrival(offset: float) -> float:
    """Offset, in the next window, at which a switch arrives; ``exp`` of it is ``GROWTH`` times that of the switch."""
    return offset + MARGIN


def time_of(k: int, offset: float, H: float) -> float:
    """Time of an offset in window ``k``; a whole number of delays is that to the bit."""
    return k * H + (offset - k * MARGIN)


def is_together(first: float, before: float, later: float) -> bool:
    """Whether the instant that began at ``first`` and reaches to ``before`` goes on to ``later``."""
    return later - before <= TOLERANCE and later - first <= LONGEST


def ends_before(end: float, start: float) -> bool:
    """Whether a firing ends by itself before the instant of deliveries that starts at ``start``."""
    return end < start - TOLERANCE


def is_of_next_window(start: float, W: float) -> bool:
    """Whether the instant that starts at offset ``start`` is put off to the next window."""
    return start >= W
