"""Run the services of docker-compose.yml as local processes: their own commands, environments and health checks.

What an engine would give them is put in place: host names of services become loopback, ports that a service exposes
become free ones, volumes and secrets become folders, and the PostgreSQL image's entrypoint is done by hand.
"""

import contextlib
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import psutil
import yaml

ROOT = Path(__file__).parent.parent.parent
FILE = ROOT / "docker-compose.yml"
VARIABLE = re.compile(r"\$(?:\$|\{(\w+)(?::([-?])([^}]*))?\})")


def read(environment: Mapping[str, str]) -> dict[str, Any]:
    """The file with its variables filled in, as Compose does it."""

    def fill(match: re.Match[str]) -> str:
        name, kind, rest = match.groups()
        if name is None:
            return "$"
        if not environment.get(name) and kind == "?":
            raise KeyError(f"{name}: {rest}")
        return environment.get(name) or (rest if kind == "-" else "")

    def walk(node: Any) -> Any:
        if isinstance(node, dict):
            return {key: walk(value) for key, value in node.items()}
        if isinstance(node, list):
            return [walk(value) for value in node]
        return VARIABLE.sub(fill, node) if isinstance(node, str) else node

    return walk(yaml.safe_load(FILE.read_text()))


class Stack:
    """The running services. Use as a context manager; whatever happens, no process is left."""

    def __init__(self, environment: Mapping[str, str], scale: Mapping[str, int], profiles: tuple[str, ...] = ()):
        declared = read(environment)
        services = declared["services"]
        self.secrets = {name: Path(secret["file"]) for name, secret in declared["secrets"].items()}
        self.services = {n: s for n, s in services.items() if set(s.get("profiles", profiles)) <= set(profiles)}
        self.scale = scale
        self.folder = Path(tempfile.mkdtemp(prefix="isophase-stack-"))
        self.folder.chmod(0o755)  # PostgreSQL runs as a user of its own
        self.ports = {int(port): _free_port() for s in self.services.values() for port in s.get("expose", ())}
        self.processes: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> "Stack":
        try:
            for name in self._order():
                for replica in range(self.scale.get(name, 1)):
                    self._start(name, replica)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for name, process in reversed(self.processes.items()):
            if process.poll() is None:
                process.terminate()
                grace = self.services[name.rsplit(".", 1)[0]].get("stop_grace_period", "10s")
                try:
                    process.wait(_seconds(grace))
                except subprocess.TimeoutExpired:
                    print(f"{name}: had to be killed", file=sys.stderr)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    def address(self, port: int) -> str:
        return f"127.0.0.1:{self.ports[port]}"

    def volume(self, name: str) -> Path:
        return self.folder / "volumes" / name

    def log(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text(errors="replace")

    def every_process(self) -> Iterator[psutil.Process]:
        for process in self.processes.values():
            if process.poll() is None:
                yield psutil.Process(process.pid)
                yield from psutil.Process(process.pid).children(recursive=True)

    def _order(self) -> list[str]:
        ordered: list[str] = []
        waiting = sorted(self.services, key=lambda name: "profiles" not in self.services[name])
        while waiting:
            ready = [n for n in waiting if set(self.services[n].get("depends_on", ())) <= set(ordered)]
            assert ready, f"services wait for each other: {waiting}"
            ordered += ready
            waiting = [name for name in waiting if name not in ready]
        return ordered

    def _start(self, name: str, replica: int) -> None:
        service = self.services[name]
        ports = dict(self.ports)
        if replica:
            ports |= {int(port): _free_port() for port in service.get("expose", ())}
        folders = dict(self._folder(volume) for volume in service.get("volumes", ()))
        folders |= {f"/run/secrets/{secret}": self.secrets[secret].resolve() for secret in service.get("secrets", ())}
        folders["/opt/container"] = ROOT / "deployments" / "container"

        def localise(text: str) -> str:
            hosts = "|".join(map(re.escape, self.services))
            text = re.sub(rf"(?<![\w.-])(?:(?<=//)|(?<!/))({hosts})(?=:\d)", "127.0.0.1", text)
            text = text.replace("0.0.0.0", "127.0.0.1")
            text = re.sub(r"(?<![\w.])\d+(?![\w.])", lambda m: str(ports.get(int(m[0]), m[0])), text)
            for target, folder in sorted(folders.items(), reverse=True):  # /certs/authority before /certs
                text = re.sub(rf"(?<![\w/.]){re.escape(target)}(?![\w-])", str(folder), text)
            return text

        home = self.folder / "homes" / f"{name}.{replica}"
        home.mkdir(parents=True)
        environment = {
            "PATH": f"{Path(sys.executable).parent}:{_postgres_folder()}:{os.environ['PATH']}",
            "HOME": str(home),
            "LANG": "C.UTF-8",
            **{key: value for key, value in os.environ.items() if key.startswith("OPENBLAS_")},
            **{
                key: "127.0.0.1" if value in self.services else localise(str(value))
                for key, value in service.get("environment", {}).items()
            },
        }
        entrypoint = service.get("entrypoint", ())
        if service["image"].startswith("isophase:"):
            entrypoint = ["/opt/container/entrypoint"]
        command = [localise(word) for word in [*entrypoint, *service["command"]]]
        if name == "postgres":
            command = self._as_postgres_image(command, environment, folders["/var/lib/postgresql/data"], ports[5432])
        where = folders.get(service.get("working_dir", ""), home)
        with (self.folder / f"{name}.{replica}.log").open("wb") as log:
            process = subprocess.Popen(
                command, env=environment, cwd=where, stdout=log, stderr=log, stdin=subprocess.DEVNULL,
                start_new_session=True,
            )  # fmt: skip
        self.processes[f"{name}.{replica}"] = process
        if "healthcheck" in service:
            test = [localise(word) for word in service["healthcheck"]["test"]]
            self._wait_until_healthy(f"{name}.{replica}", service["healthcheck"], test, environment)

    def _folder(self, volume: str) -> tuple[str, Path]:
        source, target = volume.split(":")[:2]
        if source.startswith((".", "/")):
            return target, (ROOT / source).resolve()
        self.volume(source).mkdir(parents=True, exist_ok=True)
        return target, self.volume(source)

    def _wait_until_healthy(
        self, name: str, check: Mapping[str, Any], test: list[str], environment: Mapping[str, str]
    ) -> None:
        assert test[0] == "CMD", "health checks are lists that begin with CMD"
        limit = time.monotonic() + _seconds(check.get("start_period", "0s"))
        limit += _seconds(check["interval"]) * check["retries"]
        while True:
            assert self.processes[name].poll() is None, f"{name} ended:\n{self.log(name)}"
            try:
                answer = subprocess.run(
                    test[1:], env=environment, capture_output=True, timeout=_seconds(check["timeout"]), check=False
                )
            except subprocess.TimeoutExpired:
                answer = None
            if answer is not None and answer.returncode == 0:
                return
            assert time.monotonic() < limit, f"{name}: {shlex.join(test[1:])} still fails:\n{self.log(name)}"
            time.sleep(0.5)

    def _as_postgres_image(
        self, command: list[str], environment: Mapping[str, str], folder: Path, port: int
    ) -> list[str]:
        """What the image's entrypoint does on an empty volume; then its command, for loopback only."""
        user = []
        if os.geteuid() == 0:  # PostgreSQL refuses to run as root
            shutil.chown(folder, "postgres")
            user = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"]
        password = folder.parent / "postgres-password"
        password.write_text(Path(environment["POSTGRES_PASSWORD_FILE"]).read_text())
        if user:
            shutil.chown(password, "postgres")
        password.chmod(0o600)
        arguments = shlex.split(environment["POSTGRES_INITDB_ARGS"])
        initdb = ["initdb", "-D", folder, "-U", environment["POSTGRES_USER"], f"--pwfile={password}", *arguments]
        run: dict[str, Any] = {"env": environment, "cwd": folder, "check": True, "capture_output": True, "timeout": 60}
        subprocess.run([*user, *map(str, initdb)], **run)
        create = f"CREATE DATABASE {environment['POSTGRES_DB']}".encode()
        subprocess.run([*user, "postgres", "--single", "-D", str(folder), "postgres"], input=create, **run)
        settings = {"listen_addresses": "127.0.0.1", "port": port, "unix_socket_directories": folder}
        return [*user, *command, "-D", str(folder), *(w for k, v in settings.items() for w in ("-c", f"{k}={v}"))]


def _postgres_folder() -> Path:
    """Where Debian keeps the server's programs."""
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    assert folders, "PostgreSQL is missing: apt-get install postgresql"
    return folders[-1]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _seconds(text: str) -> float:
    assert text.endswith("s"), text
    return float(text[:-1])
