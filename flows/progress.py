"""Progress of long work in the terminal: a live bar with an ETA, or a line now and then where there is no terminal.

Nothing waits for a minute without a word.
"""

import contextlib
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from isophase.flows.output import harmless, terminal
from isophase.flows.threads import alongside

LINE_SECONDS = 10.0
SAY_SECONDS = 10.0  # after which a wait is said for the first time
QUIET_SECONDS = 50.0  # after which something is said again


def say(line: str) -> None:
    print(harmless(line), file=sys.stderr, flush=True)  # a live bar prints what it is given as it is


@contextlib.contextmanager
def waiting(what: str, again: float = QUIET_SECONDS) -> Iterator[None]:
    """Say what is waited for, once that has taken ``SAY_SECONDS`` and every ``again`` seconds after."""
    started = time.monotonic()

    def tell(ended: threading.Event) -> None:
        pause = SAY_SECONDS
        while not ended.wait(pause):
            say(f"{what}: {time.monotonic() - started:.0f} s so far")
            pause = again

    with alongside("waiting", tell):
        yield


class Meter:
    """Counts finished work of a known total, for any number of threads. Use as a context manager.

    ``done``, ``failed`` and ``amounts`` are sums of what :meth:`add` is given, ``seconds`` the time of the context.
    """

    def __init__(self, title: str, total: int, unit: str = "points"):
        self._title, self._total, self._unit = title, total, unit
        self.done = self.failed = 0
        self.amounts: Counter[str] = Counter()
        self.seconds = 0.0
        self._started = self._last = time.monotonic()
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._bar: Progress | None = None
        if sys.stderr.isatty():
            self._bar = Progress(
                TextColumn("{task.description}", markup=False),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn(unit + "  {task.fields[failed]}elapsed"),
                TimeElapsedColumn(),
                TextColumn("left"),
                TimeRemainingColumn(),
                console=Console(file=terminal()),
            )
            self._task = self._bar.add_task(title, total=total, failed="")

    def __enter__(self) -> "Meter":
        if self._bar:
            self._bar.start()  # its clock is seen to run
        else:
            threading.Thread(target=self._break_silence, name="meter", daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.seconds = time.monotonic() - self._started
        self._ended.set()
        if self._bar:
            self._bar.stop()
        elif self._total and kind is None:
            self._line()

    def add(self, done: int, failed: int = 0, **amounts: float) -> None:
        with self._lock:
            self.done += done
            self.failed += failed
            self.amounts.update(amounts)
            if self._bar:
                note = f"[red]{self.failed} failed[/red]  " if self.failed else ""
                self._bar.update(self._task, completed=self.done, failed=note)
            elif time.monotonic() - self._last > LINE_SECONDS and self.done < self._total:
                self._line()

    def _break_silence(self) -> None:
        """A line where none has come for ``QUIET_SECONDS``, as nothing was finished."""
        while not self._ended.wait(self._last + QUIET_SECONDS - time.monotonic()):
            with self._lock:
                if time.monotonic() - self._last >= QUIET_SECONDS and not self._ended.is_set():
                    self._line(finished=False)

    def _line(self, finished: bool = True) -> None:
        """``finished`` False: nothing is since the last line, and what that promised does not hold."""
        elapsed = time.monotonic() - self._started
        self._last = time.monotonic()
        ahead = ""
        if not finished:
            ahead = f", none finished for {QUIET_SECONDS:.0f} s"
        elif self.done < self._total and self.done:
            ahead = f", about {elapsed / self.done * (self._total - self.done):.0f} s left"
        failed = f", {self.failed} failed" if self.failed else ""
        say(f"{self._title}: {self.done}/{self._total} {self._unit}{failed} in {elapsed:.0f} s{ahead}")
