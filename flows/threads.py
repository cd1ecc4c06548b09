"""A thread beside the work, for as long as that lasts."""

import contextlib
import threading
from collections.abc import Callable, Iterator


@contextlib.contextmanager
def alongside(name: str, work: Callable[[threading.Event], None], patience: float | None = None) -> Iterator[None]:
    """Run ``work(ended)`` in a thread; ``ended`` is set when the context ends, which waits for it ``patience`` seconds
    at most, or as long as it takes.
    """
    ended = threading.Event()
    thread = threading.Thread(target=work, args=(ended,), name=name, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join(patience)
