"""Standard output and error whose reader may go away, or whose disk may fill up: the work goes on all the same. What a
terminal would obey in the text of a store or an error is shown there, not obeyed.
"""

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


class _Shown(io.TextIOWrapper):
    def write(self, text: str) -> int:
        return super().write(harmless(text))


class _Drawn:
    """A stream for what moves the cursor itself."""

    def __init__(self, stream: io.TextIOWrapper):
        self._stream = stream

    def write(self, text: str) -> int:
        return io.TextIOWrapper.write(self._stream, text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def harmless(text: str) -> str:
    """The text with the control characters that sweeps may not hold as ``\\u001b``, which is valid JSON as well."""
    if all(line.isprintable() for line in text.split("\n")):
        return text
    from isophase.sweeps.sweep import CONTROL

    return CONTROL.sub(lambda found: found[0] if found[0] in "\n\t" else f"\\u{ord(found[0]):04x}", text)


def terminal() -> Any:
    """Standard error, as a progress bar needs it."""
    return _Drawn(sys.stderr) if isinstance(sys.stderr, _Shown) else sys.stderr


@contextlib.contextmanager
def kept(obeyed: bool = False) -> Iterator[Streams]:
    """Make ``print`` to standard output or error raise nothing; characters that the locale lacks are escaped, and those
    that a terminal obeys unless they are to be ``obeyed``.
    """
    streams, before = Streams(), (sys.stdout, sys.stderr)
    for name, told in (("stdout", streams), ("stderr", None)):
        stream = getattr(sys, name)
        if stream is getattr(sys, f"__{name}__") and isinstance(stream, io.TextIOWrapper):  # not what a test put there
            stream.flush()
            by_line = name == "stderr" or stream.line_buffering or stream.write_through
            buffer = io.BufferedWriter(_Lenient(stream.fileno(), told))
            wrapper = io.TextIOWrapper if obeyed else _Shown
            setattr(sys, name, wrapper(buffer, stream.encoding, "backslashreplace", line_buffering=by_line))
    try:
        yield streams
    finally:
        for stream in (sys.stdout, sys.stderr):
            if stream is not None and stream not in before:
                stream.flush()
        sys.stdout, sys.stderr = before
