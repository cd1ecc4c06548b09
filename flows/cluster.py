"""The one place where Dask is spoken to: a cluster to run on, and a bounded fan-out of calls over it."""

import contextlib
import itertools
import logging
import signal
import socket
import sys
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from multiprocessing import resource_tracker
from typing import Annotated, Any

import dask
from dask.utils import parse_timedelta
from distributed import Client, LocalCluster, as_completed, get_worker, performance_report
from distributed.comm.addressing import get_address_host_port
from distributed.versions import get_package_info
from pydantic import Field

CONNECT_TIMEOUT = "10s"
WORKERS_TIMEOUT = "30s"  # that a scheduler may be without any worker, unless Dask's own setting says otherwise
IN_FLIGHT_PER_THREAD = 4  # enough to hide the scheduler's latency; a million waiting tasks would fill its memory
LEAST_IN_FLIGHT = 64  # an adaptive cluster asks for workers by the tasks that it sees
GROWTH_SECONDS = 5.0  # between two looks at how many threads there are
CHANGE_BITS = ("isophase", "numpy", "scipy", "numba", "llvmlite", "jax", "jaxlib", "optax", "zarr")

Workers = Annotated[int, Field(ge=1)] | None  # as a parameter of a flow


class ClusterError(RuntimeError):
    """No cluster to run on: the message names its address and the reason."""


@contextlib.contextmanager
def cluster(
    scheduler: str | None = None,
    workers: int | None = None,
    report: str | None = None,
    client: Client | None = None,
) -> Iterator[Client]:
    """A client of the scheduler at ``scheduler``, or of a cluster of local processes that ends with the context.

    Parameters
    ----------
    scheduler : ``tcp://host:port`` or ``tls://host:port``; None starts a local cluster on loopback. The certificates
        of ``tls://`` are those of Dask's configuration, see ``isophase.flows.certs``.
    workers : processes of the local cluster, one thread each; None: one per core.
    report : file for Dask's performance report of what runs in the context, HTML.
    client : a client that is there already, and stays; of whatever cluster, in this process too (``inproc://``).

    Raises
    ------
    ClusterError : nothing answers at the address, the scheduler there has no workers and gets none, or a worker's
        packages are of other versions than those here; or what is given contradicts itself.
    """
    if workers is not None and workers < 1:
        raise ClusterError(f"workers={workers}: must be at least 1")
    if client is not None:
        if scheduler is not None or workers is not None:
            given = f"scheduler={scheduler!r}" if scheduler is not None else f"workers={workers}"
            raise ClusterError(f"{given}: must not be given beside a client, which has its own workers")
        if client.asynchronous:
            raise ClusterError("client: is asynchronous; must be one that was made without asynchronous=True")
        if client.status != "running":
            raise ClusterError(f"client: is {client.status}; must be connected to a scheduler")
        _check_workers(client, client.scheduler_info()["address"])
        with _reported(client, report):
            yield client
        return
    if scheduler is not None:
        try:
            get_address_host_port(scheduler, strict=True)
            if scheduler.startswith("tls://") and dask.config.get("distributed.comm.tls.ca-file", None) is None:
                raise ValueError("tls:// needs certificates: set DASK_CONFIG=DIR/dask.yaml of `isophase certs DIR`")
            remote = Client(scheduler, timeout=CONNECT_TIMEOUT, set_as_default=False)
        except (OSError, ValueError, TypeError) as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise ClusterError(f"scheduler {scheduler}: not reachable: {reason}") from None
        with remote:
            _check_workers(remote, scheduler)
            with _reported(remote, report):
                yield remote
        return
    with (
        dask.config.set({"distributed.worker.daemon": False}),
        _script_apart(),
        _local_cluster(workers or dask.system.CPU_COUNT) as local,
        Client(local, set_as_default=False) as own,
        _reported(own, report),
    ):
        yield own


def _reported(client: Client, path: str | None) -> contextlib.AbstractContextManager[Any]:
    if path is None:
        return contextlib.nullcontext()
    stack = contextlib.ExitStack()
    stack.enter_context(client.as_current())  # where the report looks for its client
    stack.enter_context(performance_report(filename=path))
    return stack


def _check_workers(client: Client, scheduler: str) -> None:
    """Refuse a scheduler without workers, or with one whose packages differ.

    A task is asked for, not a worker: an idle adaptive cluster has none until there is work.
    """
    timeout = dask.config.get("distributed.scheduler.no-workers-timeout") or WORKERS_TIMEOUT
    try:
        client.submit(get_package_info, [], pure=False).result(timeout=parse_timedelta(timeout))
    except TimeoutError:
        raise ClusterError(
            f"scheduler {scheduler}: no worker within {timeout}; "
            "DASK_DISTRIBUTED__SCHEDULER__NO_WORKERS_TIMEOUT=1h waits longer"
        ) from None
    here = versions()
    joined: Any = client.get_versions(packages=CHANGE_BITS)  # a coroutine only of asynchronous clients
    for worker, found in joined["workers"].items():
        _compare_versions(here, found["packages"], worker)


def versions() -> dict[str, str]:
    """Installed versions of the packages that can change the bits of a result."""
    found = get_package_info(CHANGE_BITS)
    return {name: found[name] or "none" for name in CHANGE_BITS}


def _compare_versions(here: Mapping[str, str], there: Mapping[str, str | None], worker: str) -> None:
    for name, version in here.items():
        if (other := there.get(name) or "none") != version:
            raise ClusterError(
                f"worker {worker}: has {name} {other}, the flow has {version}; "
                "results could differ in their bits: install the same versions everywhere"
            )


def _checked(flow_versions: Mapping[str, str], function: Callable[..., Any], *call: Any) -> Any:
    """The call, on a worker that may have joined after the cluster was checked."""
    _compare_versions(flow_versions, versions(), get_worker().address)
    return function(*call)


@contextlib.contextmanager
def _script_apart() -> Iterator[None]:
    """Keep the script that runs this from the processes that are started, which would run it once more.

    Nothing of it is missing there: what it defines reaches workers by value.
    """
    main = sys.modules["__main__"]
    hidden = {name: value for name in ("__file__", "__spec__") if (value := getattr(main, name, None)) is not None}
    for name in hidden:
        setattr(main, name, None)
    try:
        yield
    finally:
        for name, value in hidden.items():
            setattr(main, name, value)


def _local_cluster(workers: int) -> LocalCluster:
    """Local worker processes that a terminal's Ctrl-C does not reach: the flow alone takes it, and ends them.

    They inherit the signal mask of the event loop's thread, and that thread the mask of this one.
    """
    resource_tracker.ensure_running()  # unblocks SIGINT in the thread that is the first to need it
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        return LocalCluster(
            n_workers=workers,
            threads_per_worker=1,
            host="127.0.0.1",
            dashboard_address=_free_dashboard(),
            worker_dashboard_address=None,
            silence_logs=logging.CRITICAL,
        )
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def fan_out(
    client: Client, function: Callable[..., Any], calls: Iterable[tuple[Any, ...]]
) -> Iterator[tuple[int, Any]]:
    """Run ``function(*call)`` for every call on the cluster; yield ``(position, result or exception)`` as they end.

    About ``IN_FLIGHT_PER_THREAD`` calls per worker thread are out at a time, more as workers join, and no result stays
    on the cluster. A call on a worker whose packages differ from those here ends in ClusterError.
    """
    waiting = enumerate(calls)
    position = {}
    flow_versions = versions()
    name = function.__name__  # which Dask shows, and by which it remembers how long calls take

    def submit(number: int) -> list[Any]:
        futures = []
        for at, call in itertools.islice(waiting, number):
            key = f"{name}-{uuid.uuid4().hex}"
            future = client.submit(_checked, flow_versions, function, *call, key=key, pure=False)
            position[future.key] = at
            futures.append(future)
        return futures

    first = submit(_most_in_flight(client))
    looked = time.monotonic()
    running = as_completed(first, loop=client.loop, with_results=True, raise_errors=False)
    try:
        for future, result in running:
            if future.status in ("cancelled", "lost"):
                raise ClusterError(f"scheduler {client.scheduler_info()['address']}: lost while calls were running")
            # of a failed future the result is (type, exception, traceback)
            yield position.pop(future.key), result[1] if future.status == "error" else result
            wanted = 1
            if time.monotonic() - looked > GROWTH_SECONDS:
                looked = time.monotonic()
                wanted = max(0, _most_in_flight(client) - len(position))
            for more in submit(wanted):
                running.add(more)
    finally:
        client.cancel(list(running.futures))


def threads(client: Client) -> int:
    """Threads of all workers, as they are now."""
    return sum(client.nthreads().values())


def _most_in_flight(client: Client) -> int:
    return max(LEAST_IN_FLIGHT, IN_FLIGHT_PER_THREAD * threads(client))


def _free_dashboard() -> str:
    with socket.socket() as probe:
        return "127.0.0.1:0" if probe.connect_ex(("127.0.0.1", 8787)) == 0 else "127.0.0.1:8787"
