"""Flow runs of a store in Prefect: which process each is of, and that none stays open whose process has gone.

Prefect itself sees that only where its runner lives on, and lets a lost run keep its deployment's place for minutes.
"""

import contextlib
import itertools
import threading
from collections.abc import Callable, Iterable, Iterator
from email.utils import parsedate_to_datetime
from typing import Any
from uuid import UUID

import psutil
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import (
    DeploymentFilter,
    DeploymentFilterId,
    FlowRunFilter,
    FlowRunFilterId,
    FlowRunFilterState,
    FlowRunFilterStateType,
    FlowRunFilterTags,
    TaskRunFilter,
    TaskRunFilterState,
    TaskRunFilterStateType,
)
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.client.schemas.sorting import FlowRunSort, TaskRunSort
from prefect.context import FlowRunContext
from prefect.states import Crashed

from isophase.flows import interrupt
from isophase.flows.errors import StoreError
from isophase.flows.progress import say
from isophase.flows.threads import alongside
from isophase.sweeps.store import exclusive, resolve
from isophase.sweeps.store.lock import this_process

OPEN = [StateType.PENDING, StateType.RUNNING, StateType.CANCELLING]
BEAT_SECONDS, SILENT_SECONDS = 15.0, 60.0
START_SECONDS = 300.0  # that a busy machine may take from Pending to Running
AT_ONCE = 200  # runs that the server lists for one question
_own: list[UUID] = []  # flow runs of this process that were entered


@contextlib.contextmanager
def entered(store: str) -> Iterator[None]:
    """Say in Prefect which store and which process this flow run is of, close the dead ones of that store, and let the
    server hear of this one as long as the context lasts. Outside a flow run nothing happens.
    """
    context = FlowRunContext.get()
    if context is None or context.flow_run is None:
        yield
        return
    run, location = context.flow_run, resolve(store)
    interrupt.last_words = _close_own
    _own.append(run.id)
    with get_client(sync_client=True) as client:
        client.update_flow_run_labels(run.id, {f"isophase.{key}": value for key, value in _mark().items()})
        client.update_flow_run(run.id, tags=sorted({*run.tags, _tag(location)}))
        runs = _open_runs(client, flow_run_filter=FlowRunFilter(tags=FlowRunFilterTags(all_=[_tag(location)])))
        _close_dead(client, location, [other for other in runs if other.id not in _own])

    def beat(ended: threading.Event) -> None:
        for number in itertools.count(1):
            if ended.wait(BEAT_SECONDS):
                return
            with contextlib.suppress(Exception), get_client(sync_client=True) as client:  # it may answer the next time
                client.update_flow_run_labels(run.id, {"isophase.beat": number})

    with alongside("flow-run", beat, patience=BEAT_SECONDS):
        yield


@contextlib.contextmanager
def close_dead_runs(deployments: Iterable[tuple[UUID, str]]) -> Iterator[None]:
    """Close the dead flow runs of deployments, which are given by number and store, so that they can run again.

    Those of which this machine cannot know it are looked at again, as long as the context lasts, when the server would
    have heard of them.
    """
    doubtful: dict[str, set[UUID]] = {}
    with get_client(sync_client=True) as client:
        for deployment, store in deployments:
            of_it = DeploymentFilter(id=DeploymentFilterId(any_=[deployment]))
            left = _close_dead(client, resolve(store), _open_runs(client, deployment_filter=of_it))
            doubtful.setdefault(resolve(store), set()).update(left)

    def look_again(ended: threading.Event) -> None:
        while any(doubtful.values()) and not ended.wait(BEAT_SECONDS):
            with contextlib.suppress(Exception), get_client(sync_client=True) as client:
                for location, runs in doubtful.items():
                    of_it = FlowRunFilter(id=FlowRunFilterId(any_=list(runs)))
                    runs.intersection_update(_close_dead(client, location, _open_runs(client, flow_run_filter=of_it)))

    with alongside("dead-runs", look_again, patience=BEAT_SECONDS):
        yield


def _tag(location: str) -> str:
    return f"store:{location}"


def _mark() -> dict[str, Any]:
    process = this_process()
    return {**process, "started": psutil.Process(process["pid"]).create_time()}


def _open_runs(client: SyncPrefectClient, **filters: Any) -> list[FlowRun]:
    is_open = FlowRunFilterState(type=FlowRunFilterStateType(any_=OPEN))
    wanted = filters.pop("flow_run_filter", FlowRunFilter()).model_copy(update={"state": is_open})
    return _all(client.read_flow_runs, flow_run_filter=wanted, sort=FlowRunSort.ID_DESC, **filters)


def _all(read: Callable[..., list[Any]], **question: Any) -> list[Any]:
    found: list[Any] = []
    while page := read(**question, limit=AT_ONCE, offset=len(found)):
        found += page
    return found


def _close_dead(client: SyncPrefectClient, location: str, runs: Iterable[FlowRun]) -> set[UUID]:
    """Of a process of this machine it is seen whether it lives; else a run is dead of which the server has heard
    nothing for long, and whose store nobody writes. Returns the runs of which that may still come out.
    """
    elsewhere = []
    for run in runs:
        lives = _lives(run)
        if lives is False:
            _close(client, run.id, "its process was killed")
            say(f"flow run {run.name}: its process was killed; it is closed in Prefect")
        elif lives is None:
            elsewhere.append(run)
    silent = _silent(client, elsewhere) if elsewhere else []
    doubtful = {run.id for run in elsewhere}
    if silent:
        with contextlib.suppress(StoreError), exclusive(location):
            for run in silent:
                _close(client, run.id, "its process was lost: nobody writes its store")
                say(f"flow run {run.name}: nobody writes its store; it is closed in Prefect")
                doubtful.discard(run.id)
    return doubtful


def _silent(client: SyncPrefectClient, runs: Iterable[FlowRun]) -> list[FlowRun]:
    """The runs of which the server has heard nothing for so long, by its own clock, that they beat no more."""
    now = parsedate_to_datetime(client.hello().headers["date"])

    def patience(run: FlowRun) -> float:
        has_begun = run.state_type != StateType.PENDING
        return SILENT_SECONDS if has_begun else START_SECONDS

    return [run for run in runs if run.updated is None or (now - run.updated).total_seconds() > patience(run)]


def _lives(run: FlowRun) -> bool | None:
    """Whether the process of a flow run lives; None: this machine cannot know."""
    mark = {key.removeprefix("isophase."): value for key, value in run.labels.items() if key.startswith("isophase.")}
    own = _mark()
    if not own["machine"] or mark.get("machine") != own["machine"]:
        return None
    try:
        return abs(psutil.Process(int(mark["pid"])).create_time() - float(mark["started"])) < 1
    except (psutil.NoSuchProcess, KeyError, ValueError):
        return False


def _close(client: SyncPrefectClient, run: UUID, why: str) -> None:
    """Make a flow run and its task runs Crashed; the flow run last, as it is looked for by that."""
    of_run = FlowRunFilter(id=FlowRunFilterId(any_=[run]))
    is_open = TaskRunFilter(state=TaskRunFilterState(type=TaskRunFilterStateType(any_=OPEN)))
    question = {"flow_run_filter": of_run, "task_run_filter": is_open, "sort": TaskRunSort.ID_DESC}
    for task in _all(client.read_task_runs, **question):
        client.set_task_run_state(task.id, Crashed(message=why), force=True)
    client.set_flow_run_state(run, Crashed(message=why), force=True)


def _close_own(why: str) -> None:
    """Close what this process has open, on its way out."""
    with get_client(sync_client=True) as client:
        mine = FlowRunFilter(id=FlowRunFilterId(any_=_own))
        for run in _open_runs(client, flow_run_filter=mine):
            _close(client, run.id, why)
