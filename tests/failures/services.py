"""The processes that a run depends on, to be killed and started again: Prefect's server, Dask's scheduler, workers."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import httpx

START_SECONDS = 120.0  # that a service may take on a busy machine; Prefect's first start makes its database


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for(condition: Callable[[], object], seconds: float = START_SECONDS, pause: float = 0.05) -> None:
    limit = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < limit, "waited in vain"
        time.sleep(pause)


class Services:
    """Prefect's server on SQLite, a scheduler and two workers. Use as a context manager; no process is left."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.scheduler_port, self.server_port = free_port(), free_port()
        self.scheduler = f"tcp://127.0.0.1:{self.scheduler_port}"
        self.prefect = f"http://127.0.0.1:{self.server_port}/api"
        self.environment = {
            **os.environ,
            "PREFECT_HOME": str(folder / "prefect"),
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "PREFECT_SERVER_UI_ENABLED": "false",
        }
        self.processes: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> "Services":
        try:
            for name in ("server", "scheduler", "worker-0", "worker-1"):
                self.start(name)
            wait_for(self.is_server_up)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for name in list(self.processes):
            self.kill(name)

    def command(self, name: str) -> list[str]:
        here = [sys.executable, "-m"]
        if name == "server":
            return [*here, "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(self.server_port)]
        if name == "scheduler":
            address = ["--host", "127.0.0.1", "--port", str(self.scheduler_port), "--no-dashboard"]
            return [*here, "distributed.cli.dask_scheduler", *address]
        own = ["--nthreads", "1", "--host", "127.0.0.1", "--no-dashboard", "--local-directory", str(self.folder)]
        return [*here, "distributed.cli.dask_worker", self.scheduler, *own]

    def start(self, name: str) -> None:
        self.spawn(name, self.command(name), self.environment)

    def spawn(self, name: str, command: list[str], environment: Mapping[str, str]) -> None:
        """Start a process in a group of its own, which :meth:`kill` kills as a whole."""
        with (self.folder / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(
                command, env=environment, stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True
            )

    def kill(self, name: str) -> None:
        """``kill -9`` of the process and all that it started."""
        process = self.processes.pop(name)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def log(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text(errors="replace")

    def is_server_up(self) -> bool:
        try:
            return httpx.get(f"{self.prefect}/health", timeout=2).status_code == 200
        except httpx.HTTPError:
            return False
