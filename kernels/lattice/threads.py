"""Threads that advance the blocks of one network in step: how they start, meet after every window, and end.

A window is over in microseconds, so threads that wait for each other do not sleep: they look at a counter, and after
a while let others have the core between looks. They are threads of the caller and end with the call, so that any
number of simulations can run at the same time, in processes and threads of whatever origin.

Owns the meeting; what is done between two meetings is the matter of ``windowed``.
"""

# A call of an intrinsic lacks, for the type checker, the context that Numba gives it.
# mypy: disable-error-code="call-arg"
import sys
from collections.abc import Callable
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from typing import TypeVar

import numba
import numpy as np
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

LINE = 8  # int64 items of a cache line: what different threads write lies that far apart
ARRIVALS, STOP = 0, LINE  # places in the array of a meeting
LOOKS = 1000  # before a thread that waits offers its core to others; some microseconds
Result = TypeVar("Result")

_give_way = types.ExternalFunction("SwitchToThread" if sys.platform == "win32" else "sched_yield", types.intc())


def item_pointer(context, builder, signature, arguments):  # pragma: no cover - called by Numba's compiler
    """Pointer to the item of an intrinsic's first argument, an array, that its second one numbers."""
    struct = context.make_array(signature.args[0])(context, builder, arguments[0])
    return cgutils.get_item_pointer(context, builder, signature.args[0], struct, [arguments[1]], wraparound=False)


@intrinsic
def _count(_context, array, index):  # pragma: no cover - compiled
    """Add one to ``array[index]``; whoever sees it sees all that this thread wrote before."""

    def generate(context, builder, signature, arguments):
        one = ir.Constant(ir.IntType(64), 1)
        builder.atomic_rmw("add", item_pointer(context, builder, signature, arguments), one, "seq_cst")
        return context.get_dummy_value()

    return types.void(array, types.intp), generate


@intrinsic
def _look(_context, array, index):  # pragma: no cover - compiled
    """``array[index]`` as it is now, int64."""

    def generate(context, builder, signature, arguments):
        return builder.load_atomic(item_pointer(context, builder, signature, arguments), "acquire", LINE)

    return types.int64(array, types.intp), generate


@numba.njit(nogil=True, cache=True)
def meet(meeting, threads, times):  # pragma: no cover - compiled
    """Wait until each of so many threads has come here so many times; whether to go on."""
    _count(meeting, ARRIVALS)
    looks = 0
    while _look(meeting, ARRIVALS) < threads * times:
        if _look(meeting, STOP):
            return False
        looks += 1
        if looks > LOOKS:
            _give_way()
    return _look(meeting, STOP) == 0


def in_step(threads: int, advance: Callable[[int, np.ndarray], Result]) -> list[Result]:
    """Results of ``advance(block, meeting)`` for each block, every one in a thread of its own.

    An exception in one of them, or in the caller (an interrupt), ends the others when they next :func:`meet`; it is
    raised once all have ended, and until then whatever they returned is kept alive.
    """
    meeting = np.zeros(2 * LINE, np.int64)
    if threads == 1:
        return [advance(0, meeting)]
    blocks = []
    with ThreadPoolExecutor(threads, thread_name_prefix="lattice-block") as pool:
        try:
            for block in range(threads):
                blocks.append(pool.submit(advance, block, meeting))
            wait(blocks, return_when=FIRST_EXCEPTION)
        finally:
            meeting[STOP] = 1
    return [block.result() for block in blocks]
