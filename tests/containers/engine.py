"""A Docker engine, the images of docker-compose.yml in it, and stand-ins for those that cannot be pulled."""

import contextlib
import json
import os
import re
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parent.parent.parent
STANDINS = Path(__file__).parent / "standins"
DIGEST = re.compile(r"@sha256:[0-9a-f]{64}")
BASE = "isophase-standin-base"


class NoEngineError(Exception):
    """Why containers cannot run here."""


@contextlib.contextmanager
def engine(folder: Path) -> Iterator[dict[str, str]]:
    """The environment in which `docker` finds an engine: the one that answers, or one that lives in a folder."""
    if shutil.which("docker") is None:
        raise NoEngineError("there is no docker: apt-get install docker.io")
    if _answers(dict(os.environ)):
        yield dict(os.environ)
        return
    if os.geteuid() != 0 or shutil.which("dockerd") is None:
        raise NoEngineError("no Docker engine answers, and only root with dockerd can start one")
    folder.mkdir(parents=True, exist_ok=True)
    socket = f"unix://{folder}/socket"
    environment = {**os.environ, "DOCKER_HOST": socket}
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[1]  # an engine asks for more than some machines allow
    command = ["dockerd", "--host", socket, "--data-root", folder / "data", "--exec-root", folder / "exec"]
    command += ["--pidfile", folder / "pid", "--default-ulimit", f"nofile={files}:{files}"]
    with (folder / "engine.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
    try:
        limit = time.monotonic() + 60
        while not _answers(environment):
            if process.poll() is not None or time.monotonic() > limit:
                last = (folder / "engine.log").read_text(errors="replace").strip().splitlines()[-1:]
                raise NoEngineError(f"dockerd does not start: {''.join(last)}")
            time.sleep(0.5)
        yield environment
    finally:
        process.terminate()
        process.wait(60)


def _answers(environment: Mapping[str, str]) -> bool:
    asked = subprocess.run(["docker", "info"], env=environment, capture_output=True, timeout=60, check=False)
    return asked.returncode == 0


class Images:
    """What the stack runs: built from the Dockerfile, and pulled or stood in for."""

    def __init__(self, environment: Mapping[str, str], folder: Path):
        self.environment, self.folder = environment, folder
        self.stood_in: list[str] = []
        declared = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
        images = {service["image"] for service in declared["services"].values() if "build" not in service}
        images |= set(re.findall(r"^FROM (\S+)", (ROOT / "Dockerfile").read_text(), re.MULTILINE))
        for image in sorted(images):
            if not self._pulled(image):
                self._stand_in(image)
                self.stood_in.append(image)
        self.dockerfile, self.compose = folder / "Dockerfile", folder / "images.yml"
        self.dockerfile.write_text(self._as_here((ROOT / "Dockerfile").read_text()))
        services = declared["services"].items()
        here = {name: {"image": self._as_here(s["image"])} for name, s in services if s["image"] in self.stood_in}
        self.compose.write_text(yaml.safe_dump({"services": here} if here else {}))
        for target, tag in {s["build"]["target"]: s["image"] for _, s in services if "build" in s}.items():
            self.docker(
                "build",
                "--quiet",
                "--network",
                "host",
                "--target",
                target,
                "--tag",
                tag,
                "--file",
                self.dockerfile,
                ROOT,
            )

    def docker(self, *arguments: Any, check: bool = True, **options: Any) -> str:
        command = ["docker", *map(str, arguments)]
        done = subprocess.run(
            command, env=self.environment, text=True, check=False,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=1800, **options,
        )  # fmt: skip
        assert done.returncode == 0 or not check, f"{' '.join(command)}:\n{done.stdout[-5000:]}"
        return done.stdout

    def _pulled(self, image: str) -> bool:
        try:
            pulled = subprocess.run(
                ["docker", "pull", "--quiet", image],
                env=self.environment,
                capture_output=True,
                timeout=600,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return False
        return pulled.returncode == 0

    def _as_here(self, text: str) -> str:
        """Without the digests of images that are stood in for: theirs are others."""
        for image in self.stood_in:
            text = text.replace(image, DIGEST.sub("", image))
        return text

    def _stand_in(self, image: str) -> None:
        tag, name = DIGEST.sub("", image), re.split(r"[/:]", image)[0]
        print(f"{tag} cannot be pulled: stood in for from Debian's packages", file=sys.stderr, flush=True)
        self._base()
        if name == "python":
            self.docker("tag", BASE, tag)
            return
        context = self.folder / name
        shutil.copytree(STANDINS, context)
        if name == "rclone":
            shutil.copy(Path(sys.executable).with_name("rclone"), context)
        self.docker("build", "--network", "host", "--tag", tag, "--file", context / f"{name}.Dockerfile", context)

    def _base(self) -> None:
        """Debian with its Python, as Docker's official image has it: `python`, and packages for everybody."""
        if self.docker("image", "ls", "--quiet", BASE).strip():
            return
        root = self.folder / "debian"
        packages = "python3,python3-venv,python3-pip,ca-certificates"
        subprocess.run(
            ["debootstrap", "--variant=minbase", f"--include={packages}", "bookworm", root],
            check=True, stdout=subprocess.DEVNULL,
        )  # fmt: skip
        for unwanted in (root / "usr/lib/python3.11").glob("EXTERNALLY-MANAGED"):
            unwanted.unlink()
        (root / "usr/local/bin/python").symlink_to("/usr/bin/python3")
        # the authorities that this machine trusts: it may reach the package index through a mirror of its own
        shutil.copy("/etc/ssl/certs/ca-certificates.crt", root / "etc/ssl/certs/ca-certificates.crt")
        tar = subprocess.Popen(["tar", "-C", root, "-c", "."], stdout=subprocess.PIPE)
        self.docker("import", "-", BASE, stdin=tar.stdout)
        assert tar.wait() == 0
        shutil.rmtree(root)


class Project:
    """The services of docker-compose.yml in containers."""

    def __init__(self, images: Images, name: str, variables: Mapping[str, str]):
        self.images, self.name = images, name
        self.environment = {**images.environment, **variables}
        # Debian's package is the program docker-compose; elsewhere it is a plugin
        self.program = ["docker-compose"] if shutil.which("docker-compose") else ["docker", "compose"]

    def compose(self, *arguments: Any, check: bool = True, timeout: float = 600) -> str:
        files = ["--file", str(ROOT / "docker-compose.yml"), "--file", str(self.images.compose)]
        command = [
            *self.program,
            "--project-directory",
            str(ROOT),
            "--project-name",
            self.name,
            *files,
            "--profile",
            "s3",
        ]
        done = subprocess.run(
            [*command, *map(str, arguments)], env=self.environment, text=True, stdin=subprocess.DEVNULL,
            capture_output=True, timeout=timeout, check=False,
        )  # fmt: skip
        assert done.returncode == 0 or not check, (
            f"{' '.join(map(str, arguments))}:\n{done.stderr[-5000:]}{done.stdout[-5000:]}"
        )
        return done.stdout

    def containers(self, service: str | None = None) -> list[dict[str, Any]]:
        """What the engine says of the containers of a service, or of all."""
        label = f"label=com.docker.compose.project={self.name}"
        more = ["--filter", f"label=com.docker.compose.service={service}"] if service else []
        found = self.images.docker("ps", "--all", "--quiet", "--filter", label, *more).split()
        return json.loads(self.images.docker("inspect", *found)) if found else []

    def health(self) -> dict[str, str]:
        return {c["Name"].lstrip("/"): _health(c) for c in self.containers()}

    def run_in(self, service: str, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a command in the (first) running container of a service."""
        return subprocess.run(
            ["docker", "exec", self.containers(service)[0]["Id"], *command],
            env=self.environment, capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip


def _health(container: Mapping[str, Any]) -> str:
    state = container["State"]
    return state["Health"]["Status"] if state["Status"] == "running" and "Health" in state else state["Status"]


def address(container: Mapping[str, Any], network: str) -> str:
    """Of a container in one of its networks, as this machine reaches it."""
    networks: Sequence[Any] = [
        n for name, n in container["NetworkSettings"]["Networks"].items() if name.endswith(network)
    ]
    return networks[0]["IPAddress"]
