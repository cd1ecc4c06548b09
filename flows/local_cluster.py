"""The cluster of local processes: it listens on loopback alone, and talks to nobody but the run that started it.

Scheduler, workers and client authenticate each other by a certificate that is made for the run and kept in memory. The
dashboard lies behind a random path, as a notebook's does behind its token; workers have no web server at all.
"""

import contextlib
import logging
import os
import secrets
import signal
import socket
import stat
import tempfile
from collections.abc import Iterator
from multiprocessing import resource_tracker
from pathlib import Path
from typing import Any

import dask
from distributed import Nanny, Scheduler, Security, SpecCluster, Worker
from distributed.worker_memory import parse_memory_limit
from tornado.httputil import HTTPServerRequest
from tornado.routing import Router

HOST = "127.0.0.1"
DASHBOARD_PORT = 8787  # where it is free
START_SECONDS = 120.0  # that a worker may take on a busy machine
LOG = logging.getLogger(__name__)


class LocalProcesses(SpecCluster):
    """A scheduler in this process, and workers in processes of their own, one thread each."""

    def __init__(self, workers: int, scratch: Path):
        self._secret = secrets.token_urlsafe(16)
        security = Security.temporary()
        common = {"host": HOST, "protocol": "tls://", "security": security}
        options = {
            **common,
            "nthreads": 1,
            "memory_limit": parse_memory_limit("auto", 1, workers, logger=LOG),
            "local_directory": str(scratch),
            "worker_class": _WorkerWithoutPages,
            "death_timeout": START_SECONDS,
            "dashboard": False,
            "silence_logs": logging.CRITICAL,
        }
        scheduler = {**common, "dashboard_address": _free_dashboard(), "http_prefix": self._secret}
        worker = {"cls": Nanny, "options": options}
        super().__init__(
            workers=dict.fromkeys(range(workers), worker),
            scheduler={"cls": _SchedulerBehindAPath, "options": scheduler},
            worker=worker,
            security=security,
            silence_logs=logging.CRITICAL,
        )

    @property
    def dashboard_link(self) -> str:
        return f"{super().dashboard_link.removesuffix('/status')}/{self._secret}/status"


class _SchedulerBehindAPath(Scheduler):
    """Answers no request that does not begin with its prefix; Dask's own list of its pages would give that away."""

    def __init__(self, *, http_prefix: str, **options: Any):
        self._path = f"/{http_prefix}/"
        super().__init__(http_prefix=http_prefix, **options)

    def start_http_server(self, *arguments: Any, **options: Any) -> None:
        super().start_http_server(*arguments, **options)
        self.http_server.request_callback = _Door(self._path, self.http_application)


class _Door(Router):
    def __init__(self, path: str, application: Router):
        self._path, self._application = path.encode(), application

    def find_handler(self, request: HTTPServerRequest, **options: Any) -> Any:
        begin = request.path.encode()[: len(self._path)]
        if not secrets.compare_digest(begin, self._path):
            return None  # 404
        return self._application.find_handler(request, **options)


class _WorkerWithoutPages(Worker):
    def start_http_server(self, *_: Any, **__: Any) -> None:
        """Nobody looks at a local worker's pages; those of the scheduler show all of it."""


@contextlib.contextmanager
def local_processes(workers: int) -> Iterator[LocalProcesses]:
    """A cluster that ends with the context, and that a terminal's Ctrl-C does not reach: the flow alone takes it."""
    settings = {"distributed.worker.daemon": False, "distributed.scheduler.worker-ttl": None}  # ``watch`` does that
    with dask.config.set(settings), _without_interrupt():
        started = LocalProcesses(workers, scratch_folder())
    with started:
        yield started


@contextlib.contextmanager
def _without_interrupt() -> Iterator[None]:
    """Workers inherit the signal mask of the event loop's thread, and that thread the mask of this one."""
    resource_tracker.ensure_running()  # unblocks SIGINT in the thread that is the first to need it
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def scratch_folder() -> Path:
    """A folder for the workers' scratch files that is this user's alone; Dask removes what a killed run left in it.

    Workers import modules from there, so whoever could write in it, or had made it before, could run code here.
    """
    parent = Path(dask.config.get("temporary-directory") or tempfile.gettempdir())
    folder = parent / f"isophase-{os.getuid()}"
    with contextlib.suppress(FileExistsError):
        folder.mkdir(mode=0o700, parents=True)
    found = folder.lstat()
    if stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid():
        if stat.S_IMODE(found.st_mode) != 0o700:
            folder.chmod(0o700)
        return folder
    return Path(tempfile.mkdtemp(prefix="isophase-", dir=parent))


def _free_dashboard() -> str:
    with socket.socket() as probe:
        taken = probe.connect_ex((HOST, DASHBOARD_PORT)) == 0
    return f"{HOST}:{0 if taken else DASHBOARD_PORT}"
