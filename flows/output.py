"""Standard output and error whose reader may go away, or whose disk may fill up: the work goes on all the same."""

import contextlib
import io
import sys
from collections.abc import Iterator
from typing import Any


class Streams:
    """``error``: why standard output could not be written; a reader that went away is none."""

    error: OSError | None = None


class _Lenient(io.FileIO):
    """A file descriptor; once it cannot be written, what is written to it is dropped."""

    def __init__(self, descriptor: int, streams: Streams | None):
        super().__init__(descriptor, "w", closefd=False)
        self._streams, self._is_lost = streams, False

    def write(self, content: Any) -> int:
        if not self._is_lost:
            try:
                return super().write(content)
            except OSError as error:
                self._is_lost = True
                if self._streams is not None and not isinstance(error, BrokenPipeError):
                    self._streams.error = error
        return len(content)


@contextlib.contextmanager
def kept() -> Iterator[Streams]:
    """Make ``print`` to standard output or error raise nothing; characters that the locale lacks are escaped."""
    streams, before = Streams(), (sys.stdout, sys.stderr)
    for name, told in (("stdout", streams), ("stderr", None)):
        stream = getattr(sys, name)
        if stream is getattr(sys, f"__{name}__") and isinstance(stream, io.TextIOWrapper):  # not what a test put there
            stream.flush()
            by_line = name == "stderr" or stream.line_buffering or stream.write_through
            buffer = io.BufferedWriter(_Lenient(stream.fileno(), told))
            text = io.TextIOWrapper(buffer, stream.encoding, "backslashreplace", line_buffering=by_line)
            setattr(sys, name, text)
    try:
        yield streams
    finally:
        for stream in (sys.stdout, sys.stderr):
            if stream is not None and stream not in before:
                stream.flush()
        sys.stdout, sys.stderr = before
