"""The stack of docker-compose.yml in containers, with its networks, users, secrets, read-only roots and limits:
`make container-test`."""

import json
import os
import signal
import socket
import subprocess
import time
from pathlib import Path

import httpx
import numpy as np
import pytest

import isophase
from isophase.sweeps.store import StoreError
from isophase.sweeps.sweep import from_definition, load
from tests.containers.engine import Images, NoEngineError, Project, address, engine
from tests.serial import run_serially
from tests.stack.stack import SMALL, of_deployment

# the engine's images stay there, so that a second run builds little
FOLDER = Path(os.environ.get("ISOPHASE_CONTAINERS", "/var/tmp/isophase-containers"))
NETWORKS = """
kind = "flipflop"
[axes]
seed = { start = 0, count = 2 }
[fixed]
clock = "periodic"
period = 4
length = 30
n_hidden = 8
learning_rate = 0.01
[record]
iterations = 60
checkpoints = 6
"""
DEPLOYMENTS = """
[lattices]
flow = "study"
sweep = "small.toml"
store = "s3://results/small.zarr"
figures = "/results/small.figures"
more_seeds = 2
interval = 40

[networks]
flow = "study"
sweep = "networks.toml"
store = "/results/networks.zarr"

[long]
flow = "sweep"
sweep = "long.toml"
store = "s3://results/long.zarr"
"""
pytestmark = pytest.mark.timeout(1800)


def wait_for(condition, what, seconds=180.0):
    limit = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < limit, f"waited {seconds:.0f} s in vain for {what}"
        time.sleep(1)
    return found


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    try:
        with engine(FOLDER) as environment:
            yield Images(environment, tmp_path_factory.mktemp("images"))
    except NoEngineError as error:
        pytest.skip(f"containers cannot run here: {error}")


@pytest.fixture(scope="module")
def declared(tmp_path_factory):
    folder = tmp_path_factory.mktemp("deployments")
    folder.chmod(0o755)
    (folder / "small.toml").write_text(SMALL.format(seeds=2, size=12, t_end=40.0))
    (folder / "long.toml").write_text(SMALL.format(seeds=60, size=64, t_end=200.0))
    (folder / "networks.toml").write_text(NETWORKS)
    (folder / "deployments.toml").write_text(DEPLOYMENTS)
    return folder


@pytest.fixture(scope="module")
def secrets(tmp_path_factory, images):
    folder = tmp_path_factory.mktemp("closed") / "secrets"
    make = ["make", "--directory", str(Path(__file__).parent.parent.parent), "secrets", f"ISOPHASE_SECRETS={folder}"]
    subprocess.run(make, check=True, stdout=subprocess.DEVNULL)
    return folder


@pytest.fixture(scope="module")
def project(images, declared, secrets):
    variables = {"ISOPHASE_DEPLOYMENTS": str(declared), "ISOPHASE_SECRETS": str(secrets)}
    variables |= {"PREFECT_PORT": str(free_port()), "DASK_PORT": str(free_port())}
    project = Project(images, f"isophase-test-{os.getpid()}", variables)
    try:
        start(project)
        yield project
    finally:
        for container in project.containers():
            log = images.docker("logs", "--tail", 60, container["Id"], check=False)
            print(f"=== {container['Name']} {container['State']['Status']}\n{log}")
        project.compose("down", "--volumes", "--timeout", 20, check=False)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def start(project):
    started = time.monotonic()
    project.compose("up", "--detach", "--no-build", "--scale", "dask-worker=2")
    wait_until_healthy(project)
    print(f"the stack is well {time.monotonic() - started:.0f} s after `up`")


def wait_until_healthy(project, seconds=180.0):
    def healthy():
        states = project.health()
        return len(states) == 9 and set(states.values()) == {"healthy"}

    try:
        wait_for(healthy, "every health check", seconds)
    except AssertionError:
        pytest.fail(f"not healthy after {seconds:.0f} s: {project.health()}")


@pytest.fixture
def api(project, secrets):
    user, password = (secrets / "prefect_auth").read_text().split(":")
    with httpx.Client(
        base_url=f"http://127.0.0.1:{project.environment['PREFECT_PORT']}/api", auth=(user, password), timeout=20
    ) as client:
        yield client


@pytest.fixture
def objects(project, secrets, monkeypatch):
    """The stack's object store, as this machine reaches it."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{address(project.containers('s3')[0], 'storage')}:9000")
    monkeypatch.setenv("AWS_ALLOW_HTTP", "true")
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    for name in ("aws_access_key_id", "aws_secret_access_key"):
        monkeypatch.setenv(name.upper(), (secrets / name).read_text())


def completed(api, name):
    return {run["id"] for run in of_deployment(api, name)[1] if run["state_type"] == "COMPLETED"}


def start_run(api, name):
    deployment, _ = of_deployment(api, name)
    return api.post(f"/deployments/{deployment}/create_flow_run", json={}).raise_for_status().json()["id"]


def state_of(api, run):
    return api.get(f"/flow_runs/{run}").raise_for_status().json()["state"]


def done(location):
    try:
        return sum(int((group.status == 1).sum()) for group in isophase.open(location).children.values())
    except StoreError:  # not there yet
        return 0


def test_the_image_holds_jax_but_no_compiler_and_no_test_tools(images):
    size = int(images.docker("image", "inspect", "--format", "{{.Size}}", "isophase:0.1.0"))
    print(f"isophase:0.1.0: {size / 1e6:.0f} MB")
    run = ("run", "--rm", "--network", "none", "isophase:0.1.0")
    assert "jax" in images.docker(*run, "python", "-c", "import jax, optax; print(jax.__name__)")
    assert "usage: isophase" in images.docker(*run)
    for program in ("cc", "gcc", "g++", "clang", "ld", "make", "pytest", "ruff", "mypy"):
        assert images.docker(*run, "sh", "-c", f"command -v {program} || echo none").strip() == "none", program
    listed = "import importlib.metadata as m; print(*sorted(d.name.lower() for d in m.distributions()))"
    names = set(images.docker(*run, "python", "-c", listed).split())
    assert {"isophase", "jax", "optax", "obstore", "prefect", "distributed"} <= names
    assert not names & {"pytest", "hypothesis", "ruff", "mypy", "coverage", "setuptools", "pip", "brian2"}


def test_every_container_is_bounded_and_knows_no_secret_by_its_environment(project, secrets):
    texts = [path.read_text().split(":")[-1] for path in secrets.iterdir()]
    for container in project.containers():
        name, host = container["Name"], container["HostConfig"]
        assert host["ReadonlyRootfs"], name
        assert host["CapDrop"] == ["ALL"], name
        assert not host["CapAdd"], name
        assert host["Memory"] > 0, name
        assert host["PidsLimit"] > 0, name
        assert host["LogConfig"]["Config"], name
        assert container["Config"]["User"] not in ("", "root", "0"), name
        assert not any(text in json.dumps(container) for text in texts), name
        published = [b["HostIp"] for bindings in host["PortBindings"].values() for b in bindings or ()]
        assert set(published) <= {"127.0.0.1"}, name
    for service in ("postgres", "backup", "prefect-server", "certs", "dask-scheduler", "dask-worker", "runner", "s3"):
        written = project.run_in(service, "sh", "-c", "echo x > /etc/x")
        assert written.returncode != 0, service
        assert "Read-only" in written.stderr, service
        assert project.run_in(service, "id", "-u").stdout.strip() not in ("", "0"), service


REACHES = {
    "dask-worker": {"dask-scheduler:8786", "s3:9000"},
    "runner": {"prefect-server:4200", "dask-scheduler:8786", "s3:9000"},
    "prefect-server": {"postgres:5432"},
    "dask-scheduler": set(),
    "certs": set(),
}


@pytest.mark.parametrize("service", REACHES)
def test_a_service_reaches_only_those_it_needs(project, service):
    ask = "import socket, sys; h, p = sys.argv[1].split(':'); socket.create_connection((h, int(p)), 3)"
    others = {"postgres:5432", "prefect-server:4200", "dask-scheduler:8786", "s3:9000"}
    names = {other for other in others if not other.startswith(service)}
    reached = {name for name in names if project.run_in(service, "python", "-c", ask, name).returncode == 0}
    assert reached == REACHES[service]
    # nor by their numbers, where the name is unknown
    numbers = [
        f"{network['IPAddress']}:{name.split(':')[1]}"
        for name in names - reached
        for network in project.containers(name.split(":")[0])[0]["NetworkSettings"]["Networks"].values()
    ]
    assert numbers or names == reached
    assert not [number for number in numbers if project.run_in(service, "python", "-c", ask, number).returncode == 0]


def test_nobody_without_the_password_asks_prefect(project, api):
    assert httpx.post(f"{api.base_url}flow_runs/filter", json={}).status_code == 401
    assert api.get("/admin/version").status_code == 200


def test_a_schedule_fires_and_its_lattices_are_in_the_object_store(project, api, objects, declared, tmp_path):
    wait_for(lambda: len(completed(api, "lattices")) >= 2, "two scheduled studies", 300)
    scheduled = [run for run in of_deployment(api, "lattices")[1] if run["state_type"] == "COMPLETED"]
    assert all(run["auto_scheduled"] for run in scheduled)
    tree = isophase.open("s3://results/small.zarr")
    assert tree["summary/square-12"].xi_inf.sizes == {"private": 2}
    definition = load(declared / "small.toml").definition()
    labels = [0, 1, 2, 3]
    next(a for a in definition["axes"] if a["name"] == "seed").update(labels=labels, values={"seed": labels})
    run_serially(str(tmp_path / "reference.zarr"), from_definition(definition))
    reference = isophase.open(tmp_path / "reference.zarr")["square-12"].phase
    found = tree["square-12"].phase.sel(seed=labels)
    np.testing.assert_array_equal(found.values, reference.values)
    figures = project.run_in("runner", "sh", "-c", "ls /results/small.figures/*.png")
    assert figures.returncode == 0, figures.stderr


def test_networks_are_trained_and_reported(project, api):
    run = start_run(api, "networks")
    wait_for(lambda: state_of(api, run)["type"] in ("COMPLETED", "FAILED", "CRASHED"), "a study of networks", 300)
    assert state_of(api, run)["type"] == "COMPLETED", state_of(api, run)
    reported = project.compose(
        "run", "--rm", "--no-deps", "-T", "runner", "isophase", "report", "/results/networks.zarr", "--format", "json"
    )
    assert json.loads(reported)
    verify = ("run", "--rm", "--no-deps", "-T", "runner", "isophase", "verify", "/results/networks.zarr")
    project.compose(*verify)  # which ends with 1 where anything is lost or damaged


def test_a_killed_worker_is_replaced_and_the_bits_are_those_of_an_undisturbed_run(
    project, api, objects, declared, tmp_path
):
    run = start_run(api, "long")
    wait_for(lambda: done("s3://results/long.zarr") > 4, "the first points", 120)
    victim = project.containers("dask-worker")[0]
    os.kill(victim["State"]["Pid"], signal.SIGKILL)  # a death of its own, after which the engine starts it again
    assert done("s3://results/long.zarr") < 120

    def replaced():
        return next(c for c in project.containers("dask-worker") if c["Id"] == victim["Id"])["RestartCount"] == 1

    wait_for(replaced, "the engine to start the worker again")
    wait_for(lambda: state_of(api, run)["type"] in ("COMPLETED", "FAILED", "CRASHED"), "the sweep", 300)
    assert state_of(api, run)["type"] == "COMPLETED", state_of(api, run)
    wait_until_healthy(project)
    run_serially(str(tmp_path / "reference.zarr"), load(declared / "long.toml"))
    found, wanted = isophase.open("s3://results/long.zarr"), isophase.open(tmp_path / "reference.zarr")
    np.testing.assert_array_equal(found["square-64"].phase.values, wanted["square-64"].phase.values)


def test_a_backup_of_the_database_can_be_restored(project, api):
    before = len(completed(api, "lattices"))
    assert before
    project.compose("restart", "backup")
    restore = """
    set -e
    export PGPASSWORD="$(cat /run/secrets/postgres_password)"
    dump=$(ls -t *.dump | head -1)
    psql --quiet postgresql://prefect@postgres:5432/prefect --command 'create database restored'
    pg_restore --no-owner --dbname postgresql://prefect@postgres:5432/restored "$dump"
    count="select count(*) from flow_run where state_type = 'COMPLETED'"
    psql -At postgresql://prefect@postgres:5432/restored --command "$count"
    psql --quiet postgresql://prefect@postgres:5432/prefect --command 'drop database restored'
    """
    wait_for(lambda: "healthy" in project.health().values() and not _unfinished(project), "the backup")
    restored = project.run_in("backup", "sh", "-c", restore)
    assert restored.returncode == 0, restored.stderr
    assert int(restored.stdout.split()[-1]) >= before


def _unfinished(project):
    return project.run_in("backup", "sh", "-c", "test -e unfinished || ! ls *.dump").returncode == 0


def test_nothing_is_lost_when_the_stack_is_taken_down_and_started_again(project, api, objects, images, monkeypatch):
    def kept():
        networks = project.run_in(
            "runner", "sh", "-c", "cd /results/networks.zarr && find . -type f | sort | xargs cat | sha256sum"
        )
        authority = project.run_in("dask-scheduler", "cat", "/certs/ca.pem", "/certs/cert.pem").stdout
        assert networks.returncode == 0
        assert "CERTIFICATE" in authority
        return networks.stdout, authority

    before, runs, points = kept(), completed(api, "lattices") | completed(api, "long"), done("s3://results/long.zarr")
    project.compose("down", "--timeout", 45)
    assert not project.containers()
    start(project)
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{address(project.containers('s3')[0], 'storage')}:9000")
    assert kept() == before
    assert runs <= completed(api, "lattices") | completed(api, "long")
    assert done("s3://results/long.zarr") == points == 120
    wait_for(lambda: completed(api, "lattices") - runs, "the schedule after the start", 180)


def test_a_certificate_that_ends_turns_health_red_and_is_renewed(project):
    shorten = """
import sys
from pathlib import Path
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from isophase.flows.certs import _certificate
certs = Path("/certs")
own, ca = (x509.load_pem_x509_certificate((certs / name).read_bytes()) for name in ("cert.pem", "ca.pem"))
key = serialization.load_pem_private_key((certs / "authority" / "key.pem").read_bytes(), password=None)
short = _certificate("isophase", own.public_key(), ca, key, 5)
(certs / "cert.pem").write_bytes(short.public_bytes(serialization.Encoding.PEM))
"""
    made = project.run_in("certs", "python", "-c", shorten)
    assert made.returncode == 0, made.stderr
    project.compose("restart", "dask-scheduler")

    def red(service):
        state = project.containers(service)[0]["State"]["Health"]
        return state["Status"] == "unhealthy" and "its certificate ends on" in state["Log"][-1]["Output"]

    wait_for(lambda: red("dask-scheduler") and red("certs"), "red health checks")
    project.compose("restart", "certs")
    wait_for(lambda: project.containers("certs")[0]["State"]["Health"]["Status"] == "healthy", "a renewed certificate")
    assert red("dask-scheduler")  # it still has the one that it was started with
    project.compose("restart", "dask-scheduler", "dask-worker")
    wait_until_healthy(project)
