"""Deployments: the flows on a schedule, as a TOML file declares them.

[nightly]                      # the deployment's name
flow = "study"                 # or "sweep", "reduce"
sweep = "growth"               # a preset, or a TOML file beside this one
store = "s3://results/growth.zarr"   # or a path, relative to this file as all paths in it are
more_seeds = 2                 # any other parameter of the flow
cron = "0 2 * * *"             # five fields, in UTC; or interval = 3600, in seconds; neither: started by hand
"""

import asyncio
import contextlib
import inspect
import tempfile
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any
from uuid import UUID

from prefect import Flow
from prefect import serve as serve_deployments
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import ConcurrencyLimitConfig, ConcurrencyLimitStrategy
from prefect.client.schemas.schedules import CronSchedule
from prefect.deployments.runner import EntrypointType, RunnerDeployment
from prefect.exceptions import ObjectNotFound
from prefect.server.schemas.schedules import CronSchedule as ServerCronSchedule
from pydantic import AfterValidator, ConfigDict, Field, ValidationError, create_model

from isophase.flows.flow_runs import close_dead_runs
from isophase.flows.local_cluster import scratch_folder
from isophase.flows.reduce import run_reduce
from isophase.flows.study import run_study
from isophase.flows.sweep import run_sweep
from isophase.sweeps.store import is_url, resolve, zarr_store
from isophase.sweeps.sweep import SweepError, load, presets, refusal

FLOWS: dict[str, Flow[..., Any]] = {"sweep": run_sweep, "reduce": run_reduce, "study": run_study}
PATHS = {"sweep", "store", "figures", "performance_report"}  # parameters of the flows, relative to the file
SHORTEST_INTERVAL = 5  # seconds; Prefect plans a hundred runs ahead, and a run takes seconds to start


def serve(served: list[RunnerDeployment]) -> None:
    """Register deployments with Prefect's server, and run what is due until interrupted; that pauses their schedules.

    The server must be one that runs its services, as ``prefect server start`` does: the embedded one fires nothing.
    """
    for deployment in served:
        due = "; ".join(_when(schedule.schedule) for schedule in deployment.schedules or []) or "by hand"
        print(f"{deployment.flow_name}/{deployment.name}: {due}, into {deployment.parameters['store']}", flush=True)
    with (
        close_dead_runs(_registered(served)),
        tempfile.TemporaryDirectory(prefix="serve-", dir=scratch_folder()) as own,
    ):
        tempfile.tempdir = own  # Prefect's runner takes a folder that is the first user's alone, and leaves one in it
        serve_deployments(*served, print_starting_message=False)


def _registered(served: list[RunnerDeployment]) -> Iterator[tuple[UUID, str]]:
    """Those of the deployments that were served before: their numbers and stores."""
    with get_client(sync_client=True) as client:
        for deployment in served:
            with contextlib.suppress(ObjectNotFound):
                known = client.read_deployment_by_name(f"{deployment.flow_name}/{deployment.name}")
                yield known.id, deployment.parameters["store"]


def _when(schedule: Any) -> str:
    return f"cron {schedule.cron} UTC" if isinstance(schedule, CronSchedule) else f"every {schedule.interval}"


def deployments(file: str, scheduler: str | None = None) -> list[RunnerDeployment]:
    """The deployments that a file declares.

    Parameters
    ----------
    file : TOML file, see the module.
    scheduler : address of the Dask scheduler of the deployments that name none.

    Raises
    ------
    SweepError, StoreError : for anything in the file that cannot run; the message names key, value and what is allowed.
    """
    path = Path(file)
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:  # ValueError: not UTF-8, or not TOML
        raise SweepError(f"{path}: not a readable TOML file: {error or 'nested too deeply'}") from None
    if not tables:
        raise SweepError(f"{path}: declares no deployment: must hold at least one table [NAME]")
    found: dict[str, RunnerDeployment] = {}
    for name, table in tables.items():
        deployment = _deployment(name, table, path, scheduler)
        store = deployment.parameters["store"]
        if store in found:
            raise SweepError(
                f"store={store!r} in [{name}] of {path.name}: [{found[store].name}] writes it already; must be a store "
                "of its own, as the runs of one store must not overlap"
            )
        found[store] = deployment
    return list(found.values())


def _deployment(name: str, table: Any, path: Path, scheduler: str | None) -> RunnerDeployment:
    where = f"in [{name}] of {path.name}"
    if not isinstance(table, Mapping):
        raise SweepError(f"{name}={table!r} in {path.name}: must be a table [NAME] with the keys of a deployment")
    if any(character in name for character in "/%&><"):
        raise SweepError(f"[{name}] of {path.name}: the name must not hold any of / % & > <")
    if not isinstance(table.get("flow"), str) or table["flow"] not in FLOWS:
        raise SweepError(f"flow={table.get('flow')!r} {where}: must be one of {', '.join(FLOWS)}")
    flow = FLOWS[table["flow"]]
    values = _validated(flow, {key: value for key, value in table.items() if key != "flow"}, where)
    cron, interval = values.pop("cron", None), values.pop("interval", None)
    if cron is not None and interval is not None:
        raise SweepError(f"interval={interval!r} {where}: must not stand beside cron={cron!r}")
    for key in PATHS & values.keys():
        if not is_url(values[key]) and not (key == "sweep" and values[key] in presets()):
            values[key] = str(path.parent.absolute() / Path(values[key]).expanduser())
    if "sweep" in values:
        sweep = load(values["sweep"])
        if values.get("more_seeds") and all(axis.name != "seed" for axis in sweep.axes):
            raise SweepError(f"more_seeds={values['more_seeds']} {where}: the sweep has no axis `seed` to extend")
    values["store"] = resolve(values["store"])
    zarr_store(values["store"])  # whether such a URL can be opened at all
    if scheduler is not None:
        values.setdefault("scheduler", scheduler)
    return flow.to_deployment(  # type: ignore[return-value]
        name,
        cron=cron,
        interval=interval,
        parameters=values,
        # a run that is due while the one before still goes on is skipped: the next one does what it would have done
        concurrency_limit=ConcurrencyLimitConfig(limit=1, collision_strategy=ConcurrencyLimitStrategy.CANCEL_NEW),
        entrypoint_type=EntrypointType.MODULE_PATH,
    )


def _validated(flow: Flow[..., Any], values: dict[str, Any], where: str) -> dict[str, Any]:
    """The values given, once they have the names and types of the flow's parameters, and those of a schedule."""
    fields: dict[str, Any] = {
        name: (parameter.annotation, ... if parameter.default is inspect.Parameter.empty else parameter.default)
        for name, parameter in inspect.signature(flow.fn).parameters.items()
    }
    fields["cron"] = (Annotated[str, AfterValidator(_check_cron)] | None, None)
    fields["interval"] = (Annotated[int, Field(ge=SHORTEST_INTERVAL)] | None, None)
    model = create_model("Deployment", __config__=ConfigDict(extra="forbid", strict=True), **fields)
    try:
        return model.model_validate(values).model_dump(exclude_unset=True)
    except ValidationError as errors:
        raise refusal(errors, ("flow", *fields), where) from None


def _check_cron(text: str) -> str:
    """Of a sixth field croniter takes the last for seconds, and a day that no month has is found out by the server."""
    try:
        if len(text.split()) != 5:
            raise ValueError
        schedule = ServerCronSchedule(cron=text)
    except ValueError:
        raise ValueError("must be five fields: minute, hour, day of month, month, day of week") from None
    try:
        asyncio.run(schedule.get_dates(1))
    except ValueError:
        raise ValueError("must name a date that comes") from None
    return text
