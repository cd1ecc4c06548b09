"""The memory that a simulation takes, network and initial state included, before it is run."""

import math

from isophase.kernels.lattice.windowed import MAX_BUCKETS, MAX_DECAYS

# Bytes, fitted to the largest resident size of runs of 10^4 to 10^5 neurons with shared sides, shared corners, weak
# edges, 0 to 4 private neurons per side, and the initial states ``pulse`` and ``random``.
NEURON_BYTES = 150  # network, state and the kernel's record of a neuron
LIST_BYTES = 150  # per neuron, for the switches and deliveries of a window, where it is as long as tau or longer
SWITCH_BYTES = 45  # of a switch that the fixed-step scheme keeps, until events and phases are made of it
SWITCHES_PER_TAU = 0.65  # of a neuron without delay; with one, tau / (tau + delay) as many
FIRING_TIME = 3.0  # tau; about ln(4 / v_low), the longest firing, which the calendar of windows spans
DECAY_TIME = 40.0  # tau; the table of decays goes on to exp(-40)


def memory_bytes(n_neurons: int, delay: float, dt: float, t_end: float = 0.0, samples: int = 0) -> int:
    """Bytes that a run takes at most while it lasts, without the phases that it records; good to a factor of 2.

    The exact kernel (``dt`` = 0) holds lists of what switches within a delay, and at a small delay a calendar of all
    the delays of a firing. The fixed-step scheme holds the changes of input for every step of the delay, so it grows as
    ``n_neurons * delay / dt``, and every switch up to ``t_end``.

    Parameters
    ----------
    n_neurons, delay, dt, t_end : as the simulation takes them, tau = 1; ``dt`` = 0 is the exact kernel, and ``t_end``
        = 0 leaves out what grows with the length of a fixed-step run.
    samples : number of sample times; the fixed-step scheme records the firing of every neuron at each.

    Raises ValueError for a number that is negative or not finite.
    """
    for name, value in (("n_neurons", n_neurons), ("delay", delay), ("dt", dt), ("t_end", t_end), ("samples", samples)):
        if not (math.isfinite(value) and value >= 0):
            raise ValueError(f"{name}={value}: must be finite and >= 0")
    if dt == 0:
        calendar = 4 * min(MAX_BUCKETS, FIRING_TIME / delay) + 16 * min(MAX_DECAYS, DECAY_TIME / delay) if delay else 0
        return int(n_neurons * (NEURON_BYTES + LIST_BYTES * min(delay, 1.0)) + calendar)
    steps = max(1.0, delay / dt)
    if t_end:
        steps = min(steps, t_end / dt + 1)
    switches = SWITCHES_PER_TAU * t_end / (1 + delay)
    return int(n_neurons * (NEURON_BYTES + 8 * steps + SWITCH_BYTES * switches + samples) + 8 * steps)
