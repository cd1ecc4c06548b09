"""Prefect's embedded server: a process of its own for each run, which answers nobody else and ends with the run, even
where that ends by ``kill -9``.

Prefect's own start of it asks nobody who he is, takes 20 s at most, and does not say why it failed.
"""

import atexit
import contextlib
import fcntl
import os
import re
import secrets
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
from prefect.context import refresh_global_settings_context
from prefect.server.api.server import SubprocessASGIServer
from prefect.settings import (
    PREFECT_API_AUTH_STRING,
    PREFECT_API_URL,
    PREFECT_SERVER_EPHEMERAL_ENABLED,
    PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS,
    get_current_settings,
)
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from isophase.flows.errors import ClusterError, SettingsError
from isophase.flows.local_cluster import scratch_folder
from isophase.flows.prefect_server import reach_loopback_directly
from isophase.flows.progress import SAY_SECONDS, say, waiting
from isophase.sweeps.store import is_url, resolve

HOST = "127.0.0.1"
PROCESS = Path(__file__).with_name("embedded_process.py")
LEAST_ROOM = 8 * 2**20  # bytes: a fresh database with what SQLite keeps beside it
LOCKED_SECONDS = 10.0  # that somebody else may keep the database to himself
END_SECONDS = 10.0  # that the server may take to end by itself
CAUSE = re.compile(r"^(?:\w+\.)*(\w*(?:Error|Exception)): (.+)$", re.MULTILINE)


class _NotStarted(Exception):  # noqa: N818 - it is said, and another database tried
    """Why the server has ended before it answered."""


def start(store: str) -> None:
    """Start the server that Prefect's clients would start, for this process alone, where there is none yet.

    Nothing happens where Prefect is told of another server. A database that cannot be used is left as it is, and a
    fresh one beside the store takes its place (of an object store: among the scratch files).

    Raises
    ------
    SettingsError : Prefect's settings, or those of a proxy, cannot be used.
    ClusterError : the server does not start; the message says why.
    """
    check()
    if PREFECT_API_URL.value() or not PREFECT_SERVER_EPHEMERAL_ENABLED.value():
        return
    server = SubprocessASGIServer()  # the one of this process, whoever asks
    if server.running and server.server_process is not None and server.server_process.poll() is None:
        return
    auth = os.environ["PREFECT_API_AUTH_STRING"] = f"isophase:{secrets.token_urlsafe(24)}"
    refresh_global_settings_context()
    if PREFECT_API_AUTH_STRING.value() != auth:
        raise SettingsError(
            "Prefect's temporary_settings hide the embedded server's password here: run outside of them"
        )
    database = _database()
    try:
        process, port = _start(database, auth)
    except _NotStarted as error:
        instead = _fresh_database(store)
        say(f"Prefect's database {_shown(database)}: cannot be used: {error}; flow runs are kept in {_shown(instead)}")
        try:
            process, port = _start(instead, auth)
        except _NotStarted as again:
            raise ClusterError(f"Prefect's embedded server: does not start: {again}") from None
    server.server_process, server.port, server.running = process, port, True
    atexit.register(server.stop)


def check() -> None:
    """Refuse settings with which no embedded server can start; see :func:`start`."""
    reach_loopback_directly()
    if not PREFECT_API_URL.value():
        _database()


def _database() -> URL:
    setting = get_current_settings().server.database.connection_url
    assert setting is not None
    text = setting.get_secret_value()
    try:
        return make_url(text)
    except ArgumentError:
        raise SettingsError(
            f"Prefect's setting server.database.connection_url={text!r}: must be a URL, as sqlite+aiosqlite:////PATH"
        ) from None


def _fresh_database(store: str) -> URL:
    folder = scratch_folder() if is_url(store) else Path(resolve(store)).parent
    return URL.create("sqlite+aiosqlite", database=str(folder / f"{Path(store).name}.prefect.db"))


def _file(database: URL) -> Path | None:
    """The file of an SQLite database."""
    name = database.database or ""
    is_file = database.get_backend_name() == "sqlite" and name and ":memory:" not in name
    return Path(name).expanduser().absolute() if is_file else None


def _shown(database: URL) -> str:
    return str(_file(database) or database.render_as_string(hide_password=True))


def _start(database: URL, auth: str) -> tuple[subprocess.Popen[bytes], int]:
    """The process of a server that answers, and its port."""
    limit = time.monotonic() + PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS.value()
    with _alone(database, limit), socket.socket() as listener:
        _check(database)
        listener.bind((HOST, 0))  # it is listened on by the server alone, and nobody else can have it
        port = listener.getsockname()[1]
        process = subprocess.Popen(
            [sys.executable, "-P", str(PROCESS), str(listener.fileno())],
            env=_environment(database, auth, port), pass_fds=[listener.fileno()], stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
            start_new_session=True,  # a terminal's Ctrl-C is for the run, which needs the server to the end
        )  # fmt: skip
        log: deque[str] = deque(maxlen=200)
        reader = threading.Thread(target=_read, args=(process.stderr, log), name="server-log", daemon=True)
        reader.start()
        try:
            with waiting(f"Prefect's embedded server: starting with {_shown(database)}", SAY_SECONDS):
                while not _answers(port, auth):
                    if process.poll() is not None:
                        reader.join(END_SECONDS)
                        raise _NotStarted(_cause("".join(log), process.returncode))
                    if time.monotonic() > limit:
                        raise ClusterError(
                            "Prefect's embedded server: has not started within "
                            f"{PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS.value()} s; "
                            "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS=1000 waits longer"
                        )
                    time.sleep(0.1)
        except BaseException:
            process.kill()
            process.wait()
            raise
    return process, port


@contextlib.contextmanager
def _alone(database: URL, limit: float) -> Iterator[None]:
    """One start at a time of the servers that share a database: the first of them makes its tables."""
    file = _file(database)
    if file is None:
        yield
        return
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=file.parent) as room:
            room.write(bytes(LEAST_ROOM))
        folder = os.open(file.parent, os.O_RDONLY)
    except OSError as error:
        raise _NotStarted(error.strerror or str(error)) from None
    try:
        with waiting(f"Prefect's database {file}: another run is starting its server with it", SAY_SECONDS):
            while time.monotonic() < limit:
                try:
                    fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    time.sleep(0.2)
                    continue
                except OSError:  # a file system without locks: as good as it was
                    pass
                break
        yield
    finally:
        os.close(folder)


def _check(database: URL) -> None:
    """What is wrong with an SQLite file, in seconds; the server would wait for a minute for one that is locked."""
    file = _file(database)
    if file is None or not file.exists():
        return
    try:
        with contextlib.closing(sqlite3.connect(file, timeout=LOCKED_SECONDS, isolation_level=None)) as connection:
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("SELECT count(*) FROM sqlite_master")
            connection.execute("ROLLBACK")
    except sqlite3.Error as error:
        raise _NotStarted(str(error)) from None


def _environment(database: URL, auth: str, port: int) -> dict[str, str]:
    """What the server is told, whatever it would find by itself."""
    return {
        **os.environ,
        **get_current_settings().to_environment_variables(exclude_unset=True),
        "PREFECT__SERVER_EPHEMERAL": "1",
        "PREFECT__SERVER_FINAL": "1",
        "PREFECT_SERVER_UI_ENABLED": "false",
        "PREFECT_SERVER_API_AUTH_STRING": auth,
        "PREFECT_SERVER_API_CORS_ALLOWED_ORIGINS": f"http://{HOST}:{port}",
        "PREFECT_SERVER_DATABASE_CONNECTION_URL": database.render_as_string(hide_password=False),
        "PREFECT_SERVER_LOGGING_LEVEL": "ERROR",
        "PREFECT_LOGGING_LEVEL": "ERROR",
        "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "ERROR",
    }


def _answers(port: int, auth: str) -> bool:
    user, _, password = auth.partition(":")
    try:
        with httpx.Client(trust_env=False, timeout=5) as client:
            return client.get(f"http://{HOST}:{port}/api/admin/version", auth=(user, password)).status_code == 200
    except httpx.HTTPError:
        return False


def _read(stream: Any, log: deque[str]) -> None:
    """Take in what the server says, for as long as it lives: a full pipe would stop it."""
    with contextlib.suppress(ValueError):  # the stream is closed
        log.extend(line.decode(errors="replace") for line in stream)


def _cause(log: str, code: int) -> str:
    if found := CAUSE.findall(log):
        name, text = found[-1]
        if "Can't locate revision" in text:
            return f"it was made by a newer version of Prefect ({text})"
        return f"{name}: {text}"
    lines = [line for line in log.splitlines() if line.strip()]
    return lines[-1].strip() if lines else f"it ended with code {code} and said nothing"
