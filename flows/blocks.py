"""Blocks of a fan-out: what is run, repeated and shown as one. Here they run in threads; ``flows.tasks`` makes them
Prefect's."""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait

from isophase.flows.errors import ClusterError, StoreError

AT_ONCE = 2  # so that workers stay busy while one block ends


class GivenUp(Exception):  # noqa: N818 - nothing is wrong with the block itself
    """Another block has failed for good."""


class Blocks:
    """Blocks by label, each run by ``block(number)``. The first error that no repetition can mend stops them all."""

    def __init__(self, labels: Sequence[str], block: Callable[[int], None]):
        self.labels = labels
        self.error: BaseException | None = None
        self._block = block
        self._stopped = threading.Event()
        self._lock = threading.Lock()

    def run(self, number: int, last: bool) -> bool:
        """Run a block; ``last``: it is not repeated. False where it was given up because of another one."""
        try:
            self.check()
            self._block(number)
        except GivenUp:
            return False
        except BaseException as error:
            if last or not worth_repeating(error):
                self.stop(error)
            raise
        return True

    def check(self) -> None:
        """Raise GivenUp once another block has failed for good."""
        if self._stopped.is_set():
            raise GivenUp

    def stop(self, error: BaseException) -> None:
        """Start no block any more, and end those that go on as soon as they check."""
        with self._lock:
            self.error = self.error or error
        self._stopped.set()


def worth_repeating(error: BaseException) -> bool:
    """Whether a block may go through the next time: not where the store or the scheduler gave way."""
    return isinstance(error, Exception) and not isinstance(error, StoreError | ClusterError)


RunBlocks = Callable[[Blocks], None]


def in_threads(blocks: Blocks) -> None:
    """Run all blocks, ``AT_ONCE`` at a time, each once more where it failed; raise what stopped them."""

    def twice(number: int) -> None:
        try:
            blocks.run(number, last=False)
        except Exception as error:
            if worth_repeating(error):
                blocks.run(number, last=True)

    with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="block") as pool:
        futures = [pool.submit(twice, number) for number in range(len(blocks.labels))]
        try:
            wait(futures)
        except BaseException as error:  # an interrupt, which only this thread gets
            blocks.stop(error)
            raise
    if blocks.error is not None:
        raise blocks.error
