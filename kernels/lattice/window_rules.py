"""What is one instant, and what belongs to which window of time: the rules of the exact kernels, written once.

Plain functions of times in units of tau; ``windowed`` compiles them for the CPU and ``cuda`` for the GPU, so that the
two cannot decide otherwise. A window is as long as the delay, ``H``; an offset is a time from the start of a window.
"""

import math

TOLERANCE = 1e-12  # deliveries this close to each other are applied together (tau)


def windows_to(end: float, H: float) -> int:
    """Windows from the one that ``end`` is counted from to the one in which it lies.

    An end up to ``TOLERANCE`` before the start of a window belongs to that window, at an offset below 0.
    """
    return math.floor((end + TOLERANCE) / H)


def is_together(earlier: float, later: float) -> bool:
    """Whether a delivery belongs to the instant that reaches to ``earlier``; both are offsets in one window."""
    return later - earlier <= TOLERANCE


def ends_before(end: float, start: float) -> bool:
    """Whether a firing ends by itself before the instant of deliveries that starts at ``start``."""
    return end < start - TOLERANCE


def is_put_off(at: float, H: float) -> bool:
    """Whether an instant that reaches to offset ``at`` may go on in the next window, and is put off to it.

    What the next window brings starts at ``H - TOLERANCE`` (:func:`windows_to`), and belongs to the same instant if it
    lies within another ``TOLERANCE`` of ``at``.
    """
    return at > H - 2 * TOLERANCE
