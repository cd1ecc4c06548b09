"""The promises of docker-compose.yml, kept by its services as local processes: `make stack-test`."""

import base64
import os
import re
import stat
import subprocess
import time
from pathlib import Path

import dask
import httpx
import numpy as np
import psutil
import pytest
from distributed import Client

import isophase
from isophase.sweeps.sweep import from_definition, load
from tests.serial import run_serially
from tests.stack.browser import picture_of
from tests.stack.compose import FILE, ROOT, Stack, read

SMALL = """
kind = "lattice"
[axes]
private = [0, 1]
seed = {{ start = 0, count = {seeds} }}
[fixed]
size = {size}
[record]
t_end = {t_end}
samples = 8
"""
DEPLOYMENTS = """
[often]
flow = "study"
sweep = "small.toml"
store = "s3://results/small.zarr"
figures = "{folder}/figures"
more_seeds = 2
interval = 15

[long]
flow = "sweep"
sweep = "long.toml"
store = "s3://results/long.zarr"
"""
PINNED = re.compile(r"sha256:[0-9a-f]{64}")
SCREENSHOTS = Path(os.environ.get("ISOPHASE_SCREENSHOTS", ROOT / "results" / "stack"))


@pytest.fixture(scope="module")
def declared(tmp_path_factory):
    folder = tmp_path_factory.mktemp("deployments")
    (folder / "small.toml").write_text(SMALL.format(seeds=2, size=12, t_end=40.0))
    (folder / "long.toml").write_text(SMALL.format(seeds=200, size=64, t_end=400.0))
    (folder / "deployments.toml").write_text(DEPLOYMENTS.format(folder=folder))
    return folder


@pytest.fixture(scope="module")
def secrets(tmp_path_factory):
    """The folder that `make secrets` makes."""
    folder = tmp_path_factory.mktemp("stack") / "secrets"
    subprocess.run(["make", "--directory", ROOT, "secrets", f"ISOPHASE_SECRETS={folder}"], check=True)
    return folder


@pytest.fixture(scope="module")
def stack(declared, secrets):
    variables = {"ISOPHASE_SECRETS": str(secrets), "ISOPHASE_DEPLOYMENTS": str(declared)}
    with Stack(variables, {"dask-worker": 2}, ("s3",)) as running:
        patch = pytest.MonkeyPatch()
        for name, value in {
            "AWS_ACCESS_KEY_ID": (secrets / "aws_access_key_id").read_text(),
            "AWS_SECRET_ACCESS_KEY": (secrets / "aws_secret_access_key").read_text(),
            "AWS_ENDPOINT_URL": f"http://{running.address(9000)}",
            "AWS_ALLOW_HTTP": "true",
            "AWS_REGION": "us-east-1",
        }.items():
            patch.setenv(name, value)
        try:
            yield running
        finally:
            for name in running.processes:
                print(f"=== {name}\n{running.log(name)[-30_000:]}")
            patch.undo()


@pytest.fixture
def api(stack, secrets):
    user, password = (secrets / "prefect_auth").read_text().split(":")
    with httpx.Client(base_url=f"http://{stack.address(4200)}/api", auth=(user, password), timeout=20) as client:
        yield client


@pytest.fixture
def dask_client(stack):
    """A client with the stack's certificate."""
    settings = dask.config.collect(paths=[str(stack.volume("certs") / "dask.yaml")])
    merged = dask.config.merge(dask.config.config, settings)
    with (
        dask.config.set(distributed=merged["distributed"]),
        Client(f"tls://{stack.address(8786)}", timeout="10s", set_as_default=False) as client,
    ):
        yield client


def wait_for(condition, seconds=60.0):
    limit = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < limit, "waited in vain"
        time.sleep(0.5)
    return found


def flow_runs(api):
    return api.post("/flow_runs/filter", json={"sort": "START_TIME_DESC"}).raise_for_status().json()


def of_deployment(api, name):
    deployment = next(
        d for d in api.post("/deployments/filter", json={}).raise_for_status().json() if d["name"] == name
    )
    return deployment["id"], [run for run in flow_runs(api) if run["deployment_id"] == deployment["id"]]


def test_compose_accepts_the_file():
    command = ["docker-compose", "--file", FILE, "--profile", "s3", "config", "--quiet"]
    environment = {"PATH": os.environ["PATH"]}
    accepted = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert accepted.returncode == 0, accepted.stderr


def test_secrets_are_random_files_in_a_closed_folder_and_stay(secrets, tmp_path):
    texts = {path.name: path.read_text() for path in secrets.iterdir()}
    assert set(texts) == set(read({})["secrets"])
    assert len(set(texts.values())) == len(texts)
    assert all(len(text) >= 48 for text in texts.values())
    assert stat.S_IMODE(secrets.stat().st_mode) == 0o700
    make = ["make", "--directory", ROOT, "secrets", f"ISOPHASE_SECRETS={secrets}"]
    subprocess.run(make, check=True)
    assert {path.name: path.read_text() for path in secrets.iterdir()} == texts


def test_a_program_gets_its_secrets_from_files_and_an_empty_one_is_named(tmp_path):
    folder = tmp_path / "secrets"
    folder.mkdir()
    (folder / "word").write_text("open sesame")
    environment = {"PATH": os.environ["PATH"], "WORD_FILE": str(folder / "word"), "SSL_CERT_FILE": "/etc/ssl/a.pem"}
    command = [ROOT / "deployments" / "container" / "entrypoint", "env"]
    given = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout.splitlines()
    assert "WORD=open sesame" in given
    assert "SSL_CERT_FILE=/etc/ssl/a.pem" in given
    assert not any(line.startswith("WORD_FILE=") for line in given)
    (folder / "word").write_text("\n")
    refused = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert refused.returncode != 0
    assert refused.stderr == f"secret {folder / 'word'}: is empty\n"


def test_every_service_is_pinned_bounded_unprivileged_and_published_on_loopback_only():
    services = read({})["services"]
    assert {"postgres", "backup", "prefect-server", "certs", "dask-scheduler", "dask-worker", "runner", "s3"} <= set(
        services
    )
    for name, service in services.items():
        tag, _, digest = service["image"].partition("@")
        assert tag.split(":")[1][0].isdigit(), name
        assert "build" in service or PINNED.fullmatch(digest), name
        assert service["mem_limit"], name
        assert service["pids_limit"], name
        assert service["read_only"] is True, name
        assert service["logging"]["options"].keys() == {"max-size", "max-file"}, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert service["restart"] == "unless-stopped", name
        assert "healthcheck" in service, name
        assert service.get("networks") or service.get("network_mode") == "none", name
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", ())), name
        for variable, value in service.get("environment", {}).items():
            secret = any(word in variable for word in ("PASSWORD", "AUTH_STRING", "SECRET", "ACCESS_KEY"))
            assert not secret or value.startswith("/run/secrets/"), (name, variable)
    stages = re.findall(r"^FROM (\S+)", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    assert stages
    for stage in stages:
        tag, _, digest = stage.partition("@")
        assert tag.split(":")[1][0].isdigit()
        assert PINNED.fullmatch(digest)
    last_of_each = (ROOT / "Dockerfile").read_text().split("FROM ")
    assert all("\nUSER 1000:1000\n" in stage for stage in last_of_each if " AS build" not in stage and "AS" in stage)


def test_a_schedule_fires_and_its_results_are_in_the_object_store_reduced(stack, api, declared):
    location = "s3://results/small.zarr"
    completed = wait_for(
        lambda: (runs := [r for r in of_deployment(api, "often")[1] if r["state_type"] == "COMPLETED"])[1:] and runs,
        seconds=180,
    )
    assert all(run["auto_scheduled"] for run in completed)
    tree = isophase.open(location)
    phase, seeds = tree["square-12"].phase, tree["square-12"].seed.values
    assert len(seeds) >= 4
    assert (tree["square-12"].status.values[:, :4] == 1).all()
    assert tree["summary/square-12"].xi_inf.sizes == {"private": 2}
    assert (stack.volume("objects") / "results" / "small.zarr" / "zarr.json").is_file()
    assert sorted((declared / "figures").glob("*.png"))
    definition = load(declared / "small.toml").definition()
    next(a for a in definition["axes"] if a["name"] == "seed").update(
        labels=[0, 1, 2, 3], values={"seed": [0, 1, 2, 3]}
    )
    run_serially(str(declared / "reference.zarr"), from_definition(definition))
    reference = isophase.open(declared / "reference.zarr")["square-12"].phase
    np.testing.assert_array_equal(phase.sel(seed=reference.seed).values, reference.values)


def test_the_runs_are_kept_in_postgresql_with_their_artifacts(stack, api, secrets):
    database = subprocess.run(
        ["psql", "-h", "127.0.0.1", "-p", str(stack.ports[5432]), "-U", "prefect", "prefect", "-Atc",
         "select count(*) from flow_run where state_type = 'COMPLETED'"],
        env={"PATH": os.environ["PATH"], "PGPASSWORD": (secrets / "postgres_password").read_text()},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert int(database.stdout) >= 2
    artifacts = api.post("/artifacts/latest/filter", json={}).raise_for_status().json()
    by_key = {artifact["key"]: artifact for artifact in artifacts}
    assert by_key["small-progress"]["data"] == 100.0
    assert "[s3://results/small.zarr](s3://results/small.zarr)" in by_key["small-store"]["data"]
    assert "file://" in by_key["small-figures"]["data"]
    assert "/status" in by_key["dashboard"]["data"]
    tables = [artifact for artifact in artifacts if artifact["type"] == "markdown" and "| scheme |" in artifact["data"]]
    assert tables


def test_prefect_and_the_scheduler_are_closed_to_whoever_has_no_secret(stack, dask_client):
    assert httpx.post(f"http://{stack.address(4200)}/api/flow_runs/filter", json={}).status_code == 401
    assert len(dask_client.scheduler_info(n_workers=-1)["workers"]) == 2
    assert all(address.startswith("tls://") for address in dask_client.scheduler_info(n_workers=-1)["workers"])
    with pytest.raises(OSError, match=r"Timed out|tcp"):
        Client(f"tcp://{stack.address(8786)}", timeout="2s", set_as_default=False)


def test_a_second_run_is_skipped_and_cancelling_the_first_stops_its_dask_tasks(stack, api, dask_client):
    deployment, _ = of_deployment(api, "long")

    def start():
        return api.post(f"/deployments/{deployment}/create_flow_run", json={}).raise_for_status().json()["id"]

    def state(run):
        return api.get(f"/flow_runs/{run}").raise_for_status().json()["state"]

    first = start()
    wait_for(lambda: state(first)["type"] == "RUNNING" and busy(dask_client) > 4, seconds=90)
    second = start()
    wait_for(lambda: state(second)["type"] == "CANCELLED", seconds=60)
    assert "concurrency limit" in state(second)["message"]
    assert state(first)["type"] == "RUNNING"
    wait_for(lambda: done("s3://results/long.zarr"), seconds=60)
    cancelling = {"state": {"type": "CANCELLING"}}
    api.post(f"/flow_runs/{first}/set_state", json=cancelling).raise_for_status()
    wait_for(lambda: state(first)["type"] == "CANCELLED", seconds=60)
    wait_for(lambda: busy(dask_client) <= 4, seconds=30)  # a study that fires meanwhile has no more
    before = done("s3://results/long.zarr")
    time.sleep(3)
    assert before == done("s3://results/long.zarr") < 400


def done(location):
    return int((isophase.open(location)["square-64"].status == 1).sum())


def busy(client):
    """Dask tasks that wait or run."""
    waiting = ("processing", "queued", "no-worker")
    return client.run_on_scheduler(
        lambda dask_scheduler: sum(task.state in waiting for task in dask_scheduler.tasks.values())
    )


def test_no_process_listens_beyond_loopback(stack):
    seen = {}
    for process in stack.every_process():
        try:
            for connection in process.net_connections("inet"):
                if connection.status == psutil.CONN_LISTEN:
                    seen.setdefault(connection.laddr.ip, []).append(
                        (" ".join(process.cmdline())[:80], connection.laddr.port)
                    )
        except psutil.NoSuchProcess:
            continue
    assert set(seen) <= {"127.0.0.1", "::1"}, seen
    assert len(seen["127.0.0.1"]) >= 8


@pytest.mark.parametrize(
    ("name", "port", "path", "shown"),
    [
        ("dask", 8787, "/status", "Task Stream"),
        ("prefect-runs", 4200, "/runs", "often"),
        ("prefect-artifacts", 4200, "/artifacts", "small-store"),
    ],
)
def test_the_pages_answer_in_a_browser(stack, secrets, name, port, path, shown):
    secret = base64.b64encode((secrets / "prefect_auth").read_bytes()).decode()
    log_in = f"localStorage.setItem('prefect-password', '{secret}')"
    text = picture_of(f"http://{stack.address(port)}{path}", SCREENSHOTS / f"{name}.png", log_in)
    assert shown in text or name == "dask"  # whose plots keep their titles to themselves
    assert "Login" not in text
    assert (SCREENSHOTS / f"{name}.png").stat().st_size > 20_000
