"""The scheduler and its workers, looked at while calls run: who does not answer is named, and its calls go elsewhere.

A worker's heartbeat comes from a thread of its process, which a call that keeps Python's lock holds up as a stop does.
So its nanny, which is another process, is asked whether the worker's process uses its core: one that computes is left
alone, however long it takes.
"""

import contextlib
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import dask
import psutil
from dask.utils import parse_timedelta
from distributed import Client
from distributed.scheduler import heartbeat_interval

from isophase.flows.errors import ClusterError
from isophase.flows.progress import QUIET_SECONDS, SAY_SECONDS, say

LOOK_SECONDS = 2.0
ANSWER_SECONDS = 5.0  # for a question to a scheduler that has answered before
RESTART_SECONDS = 15.0  # a nanny asks its worker to end, and kills it after 4
SILENT_SECONDS = 60.0  # that a scheduler, or a worker that uses no core, may give no sign
UNKNOWN_SECONDS = 300.0  # that a worker may give none of which nobody says whether it computes; Dask's own limit
NO_WORKERS = "5 minutes"  # that a run waits for its workers to come back, unless Dask's own setting says otherwise
BUSY = 0.05  # of a core, that a process uses which computes


@dataclass
class _Silence:
    """Of a worker: since when in all, and since when without using its core, in seconds; what it has used by then."""

    last_seen: float
    total: float = 0.0
    idle: float = 0.0
    used: float | None = None
    said: float = 0.0


class Watch:
    """Looks at the cluster of a client every ``LOOK_SECONDS``, in a thread of its own."""

    def __init__(self, client: Client):
        self.users = 0
        self._client = client
        self._scheduler = scheduler_of(client)
        self._error: ClusterError | None = None
        self._workers: dict[str, _Silence] = {}
        self._unanswered = self._without_workers = 0.0
        self._said: dict[str, float] = {}
        self._ended = threading.Event()
        threading.Thread(target=self._go_on, name="watch", daemon=True).start()

    def check(self) -> None:
        """Raise ClusterError once there is nothing to wait for any more."""
        if self._error is not None:
            raise self._error

    def end(self) -> None:
        self._ended.set()

    def _go_on(self) -> None:
        last = time.monotonic()
        while not self._ended.wait(LOOK_SECONDS):
            now = time.monotonic()
            # a run that was stopped itself, as by Ctrl-Z, has seen nobody's silence meanwhile
            step, last = min(now - last, 2 * LOOK_SECONDS + ANSWER_SECONDS), now
            try:
                self._look(step)
            except TimeoutError:
                self._scheduler_silent(step)
            except OSError:  # a connection that ends: the client itself sees to that
                continue
            except Exception:
                if not self._ended.is_set():  # else the client was closed meanwhile
                    raise

    def _ask(self, question: Callable[[], Any], seconds: float = ANSWER_SECONDS) -> Any:
        return self._client.sync(question, callback_timeout=seconds)

    def _look(self, step: float) -> None:
        if self._client.status != "running":  # it reconnects, within a time of its own, or closes
            return
        found = self._ask(lambda: self._scheduler.identity(n_workers=-1))["workers"]
        self._unanswered = 0.0
        self._without_workers = self._without_workers + step if not found else 0.0
        if not found:
            self._check_for_workers()
        patience = max(SAY_SECONDS, 4 * heartbeat_interval(len(found)))
        silent = {}
        for address, worker in found.items():
            known = self._workers.setdefault(address, _Silence(worker["last_seen"]))
            if worker["last_seen"] != known.last_seen:
                self._workers[address] = _Silence(worker["last_seen"])
                continue
            known.total += step
            if known.total >= patience:
                silent[address] = worker["nanny"]
        for address in self._workers.keys() - found.keys():
            del self._workers[address]
        if silent:
            self._look_at_silent(silent, step)

    def _look_at_silent(self, nannies: Mapping[str, str | None], step: float) -> None:
        """Say of workers that give no sign what is known of them, and restart those that do nothing."""
        processing = self._ask(lambda: self._scheduler.processing())
        used = self._used([address for address, nanny in nannies.items() if nanny])
        over: dict[str, str] = {}
        for address in nannies:
            known, now = self._workers[address], used.get(address)
            is_first, computes = now is not None and known.used is None, False
            if now is not None and known.used is not None:
                computes = now - known.used >= BUSY * step
            known.idle = 0.0 if computes else known.idle + step
            known.used = now
            if is_first:  # it has to be looked at twice
                continue
            limit = SILENT_SECONDS if now is not None else UNKNOWN_SECONDS
            calls = f"its {len(processing.get(address, ()))} calls go elsewhere"
            if known.idle >= limit:
                over[address] = f"worker {address}: gave no sign for {known.total:.0f} s: {{}}; {calls}"
            elif computes:
                self._say(
                    f"{address} computes",
                    f"worker {address}: computes, and lets nothing else run for {known.total:.0f} s",
                )
            else:
                text = f"worker {address}: gives no sign for {known.total:.0f} s; {calls} after {limit:.0f} s"
                self._say(address, text)
        if over:
            self._restart(over)

    def _used(self, workers: list[str]) -> dict[str, float]:
        """Seconds of a core that the processes of workers have used, as far as their nannies say."""
        if not workers:
            return {}
        try:
            found = self._ask(lambda: self._client.run(cpu_seconds, workers=workers, nanny=True, on_error="return"))
        except (OSError, TimeoutError):
            return {}
        return {address: seconds for address, seconds in found.items() if isinstance(seconds, float)}

    def _restart(self, over: Mapping[str, str]) -> None:
        for address in over:
            self._workers[address] = _Silence(self._workers[address].last_seen)
        found = self._ask(
            lambda: self._scheduler.restart_workers(
                workers=list(over),
                timeout=RESTART_SECONDS,
                wait_for_workers=False,
                on_error="return",
                stimulus_id=f"isophase-{uuid.uuid4().hex}",
            ),
            2 * RESTART_SECONDS,
        )
        for address, line in over.items():
            say(line.format("restarted" if found.get(address) == "OK" else "given up"))

    def _scheduler_silent(self, step: float) -> None:
        self._unanswered += step
        if self._unanswered >= SILENT_SECONDS:
            self._error = ClusterError(f"scheduler {self._scheduler.address}: no answer for {self._unanswered:.0f} s")
        elif self._unanswered >= SAY_SECONDS:
            text = f"no answer for {self._unanswered:.0f} s; the run ends after {SILENT_SECONDS:.0f} s"
            self._say("", f"scheduler {self._scheduler.address}: {text}")

    def _check_for_workers(self) -> None:
        limit = dask.config.get("distributed.scheduler.no-workers-timeout") or NO_WORKERS
        scheduler, waited = f"scheduler {self._scheduler.address}", self._without_workers
        if waited >= parse_timedelta(limit):
            self._error = ClusterError(f"{scheduler}: no worker for {limit} (no-workers-timeout)")
        elif waited >= SAY_SECONDS:
            self._say("", f"{scheduler}: no worker for {waited:.0f} s; the run ends after {limit}")

    def _say(self, about: str, line: str) -> None:
        now = time.monotonic()
        if now - self._said.get(about, -QUIET_SECONDS) >= QUIET_SECONDS:
            self._said[about] = now
            say(line)


def scheduler_of(client: Client) -> Any:
    """What a connected client asks its scheduler by: every method of it is a question."""
    return client.scheduler


def cpu_seconds(dask_worker: Any) -> float | None:
    """Seconds of a core that a nanny's process has used. Runs on the nanny, which Dask passes by that name."""
    try:
        times = psutil.Process(dask_worker.pid).cpu_times()
    except psutil.NoSuchProcess:
        return None
    return times.user + times.system


_WATCHES: WeakKeyDictionary[Client, Watch] = WeakKeyDictionary()
_lock = threading.Lock()


@contextlib.contextmanager
def watched(client: Client) -> Iterator[Watch]:
    """The watch of a client, one for all who wait for its calls."""
    with _lock:
        watch = _WATCHES.get(client) or _WATCHES.setdefault(client, Watch(client))
        watch.users += 1
    try:
        yield watch
    finally:
        with _lock:
            watch.users -= 1
            if not watch.users:
                watch.end()
                del _WATCHES[client]
