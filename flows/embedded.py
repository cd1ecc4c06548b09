"""Prefect's embedded server for the command line: it ends with its process, even where that ends by ``kill -9``."""

import os
import subprocess
import sys

from prefect.settings import PREFECT_API_URL, PREFECT_SERVER_EPHEMERAL_ENABLED

WATCH = """
import sys, psutil
server = psutil.Process(int(sys.argv[1]))
sys.stdin.read()
server.terminate()
try:
    server.wait(10)
except psutil.TimeoutExpired:
    server.kill()
"""


def start() -> None:
    """Start the server that Prefect's clients would start, and beside it a process that outlives this one to end it.

    Nothing happens where Prefect is told of another server.
    """
    if PREFECT_API_URL.value() or not PREFECT_SERVER_EPHEMERAL_ENABLED.value():
        return
    from prefect.server.api.server import SubprocessASGIServer

    server = SubprocessASGIServer()  # the one of this process, whoever asks
    server.start()
    assert server.server_process is not None
    ours, _held = os.pipe()  # by this process alone, until it ends
    subprocess.Popen(
        [sys.executable, "-c", WATCH, str(server.server_process.pid)], stdin=ours, stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    os.close(ours)
