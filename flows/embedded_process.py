"""The process of Prefect's embedded server: ``python -P embedded_process.py DESCRIPTOR``, which needs nothing of ours.

It serves on a socket that is bound already, says why it cannot, and ends when its standard input does: with the run.
"""

import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Mapping
from typing import Any

import uvicorn
from prefect.server.api.server import create_app

END_SECONDS = 10.0  # that the server may take to end by itself


def serve(descriptor: int) -> int:
    """Serve until the standard input ends; returns the exit code."""
    application = create_app()

    async def with_cause(scope: Mapping[str, Any], receive: Any, send: Any) -> None:
        async def heard(message: Mapping[str, Any]) -> None:
            if message["type"] == "lifespan.startup.failed":  # logged or not
                print(message.get("message"), file=sys.stderr, flush=True)
            await send(message)

        await application(scope, receive, heard if scope["type"] == "lifespan" else send)  # type: ignore[arg-type]

    threading.Thread(target=_end_with_run, name="run", daemon=True).start()
    server = uvicorn.Server(uvicorn.Config(with_cause, log_level="error", lifespan="on"))
    with socket.socket(fileno=descriptor) as listener:
        server.run(sockets=[listener])
    return 0 if server.started else 3


def _end_with_run() -> None:
    sys.stdin.buffer.read()
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(END_SECONDS)
    os._exit(1)


if __name__ == "__main__":
    sys.exit(serve(int(sys.argv[1])))
