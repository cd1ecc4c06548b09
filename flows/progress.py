"""Progress of long work in the terminal: a live bar with an ETA, or a line now and then where there is no terminal."""

import sys
import threading
import time
from collections import Counter
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

LINE_SECONDS = 10.0


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
                console=Console(stderr=True),
            )
            self._task = self._bar.add_task(title, total=total, failed="")

    def __enter__(self) -> "Meter":
        if self._bar:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.seconds = time.monotonic() - self._started
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
                self._last = time.monotonic()
                self._line()

    def _line(self) -> None:
        elapsed = time.monotonic() - self._started
        left = elapsed / self.done * (self._total - self.done) if self.done else float("nan")
        failed = f", {self.failed} failed" if self.failed else ""
        ahead = f", about {left:.0f} s left" if self.done < self._total else ""
        print(
            f"{self._title}: {self.done}/{self._total} {self._unit}{failed} in {elapsed:.0f} s{ahead}", file=sys.stderr
        )
