"""Ctrl-C, SIGTERM and a closed terminal: a run has a few seconds to flush what is finished, then all that it started
ends with it.

A run whose Prefect server is gone ends in the same way, with a message and a code of its own.
"""

import contextlib
import os
import select
import signal
import sys
import threading
from collections.abc import Callable
from typing import NoReturn

import psutil

GRACE_SECONDS = 5.0
LAST_WORDS_SECONDS = 5.0
EXIT_CODE = 130
MESSAGE = "isophase: error: interrupted; the same command goes on from here"

last_words: Callable[[str], None] | None = None  # tells Prefect why its flow runs have ended
requested = threading.Event()  # set once a signal has come
_ending = threading.Lock()


def watch() -> None:
    """Make SIGINT, SIGTERM and SIGHUP raise KeyboardInterrupt, and end the process ``GRACE_SECONDS`` later or at the
    next one.

    Prefect puts its own SIGTERM handler in front while a flow runs; the file descriptor sees every signal all the same.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # as under nohup
        signal.signal(signal.SIGHUP, signal.default_int_handler)
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    threading.Thread(target=_end_in_time, args=(reading,), name="interrupt", daemon=True).start()


def _end_in_time(signals: int) -> None:
    while os.read(signals, 1)[0] not in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
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
    if last_words is not None and code == EXIT_CODE:
        speaker = threading.Thread(target=_speak, args=(last_words,), daemon=True)
        speaker.start()
        speaker.join(LAST_WORDS_SECONDS)
    for child in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            child.kill()
    os._exit(code)


def _speak(words: Callable[[str], None]) -> None:
    with contextlib.suppress(Exception):  # the server may be gone, and the next run closes what is left open
        words("interrupted by a signal")
