"""Ctrl-C and SIGTERM: the run has a few seconds to flush what is finished, then everything it started ends with it.

A terminal's Ctrl-C also reaches Prefect's embedded server, and Prefect would retry against it for minutes. A run whose
Prefect server is gone ends in the same way, with a message and a code of its own.
"""

import contextlib
import os
import select
import signal
import sys
import threading
from typing import NoReturn

import psutil

GRACE_SECONDS = 5.0
EXIT_CODE = 130
MESSAGE = "isophase: error: interrupted; the same command goes on from here"

requested = threading.Event()  # set once a signal has come
_ending = threading.Lock()


def watch() -> None:
    """Make SIGINT and SIGTERM raise KeyboardInterrupt, and end the process ``GRACE_SECONDS`` later or at the next one.

    Prefect puts its own SIGTERM handler in front while a flow runs; the file descriptor sees every signal all the same.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    threading.Thread(target=_end_in_time, args=(reading,), name="interrupt", daemon=True).start()


def _end_in_time(signals: int) -> None:
    while os.read(signals, 1)[0] not in (signal.SIGINT, signal.SIGTERM):
        pass
    requested.set()
    select.select([signals], [], [], GRACE_SECONDS)
    end()


def end(message: str = MESSAGE, code: int = EXIT_CODE) -> NoReturn:
    """Say why the run ends, kill what this process started, and leave without anybody's exit hooks."""
    _ending.acquire()  # never released: whoever comes second waits here for the end
    with contextlib.suppress(OSError, ValueError, AttributeError):  # a stream may be closed, or none
        sys.stdout.flush()
        print(message, file=sys.stderr, flush=True)
    for child in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            child.kill()
    os._exit(code)
