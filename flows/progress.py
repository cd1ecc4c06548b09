"""Progress of long work in the terminal: a live bar with an ETA, or a line now and then where there is no terminal."""

import sys
import threading
import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

LINE_SECONDS = 10.0


class Meter:
    """Counts finished work of a known total, for any number of threads. Use as a context manager."""

    def __init__(self, title: str, total: int, unit: str = "points"):
        self._title, self._total, self._unit = title, total, unit
        self._done = self._failed = 0
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
        if self._bar:
            self._bar.stop()
        elif self._total and kind is None:
            self._line()

    def add(self, done: int, failed: int = 0) -> None:
        with self._lock:
            self._done += done
            self._failed += failed
            if self._bar:
                note = f"[red]{self._failed} failed[/red]  " if self._failed else ""
                self._bar.update(self._task, completed=self._done, failed=note)
            elif time.monotonic() - self._last > LINE_SECONDS and self._done < self._total:
                self._last = time.monotonic()
                self._line()

    def _line(self) -> None:
        elapsed = time.monotonic() - self._started
        left = elapsed / self._done * (self._total - self._done) if self._done else float("nan")
        failed = f", {self._failed} failed" if self._failed else ""
        ahead = f", about {left:.0f} s left" if self._done < self._total else ""
        print(
            f"{self._title}: {self._done}/{self._total} {self._unit}{failed} in {elapsed:.0f} s{ahead}", file=sys.stderr
        )
