"""The one place where Dask is spoken to: a cluster to run on, and a bounded fan-out of calls over it."""

import asyncio
import contextlib
import functools
import ipaddress
import itertools
import socket
import sys
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Annotated, Any

import dask
from dask.utils import parse_timedelta
from distributed import Client, Security, as_completed, get_worker, performance_report
from distributed.comm import connect
from distributed.comm.addressing import get_address_host_port
from distributed.versions import get_package_info
from pydantic import Field

from isophase.flows.errors import ClusterError as ClusterError
from isophase.flows.errors import SettingsError
from isophase.flows.local_cluster import local_processes
from isophase.flows.progress import say, waiting
from isophase.flows.settings import check_certificates, check_settings
from isophase.flows.watch import SILENT_SECONDS, scheduler_of, watched

CONNECT_TIMEOUT = "10s"
GREET_SECONDS = 30.0  # that a scheduler may take to say the first word
CLOSE_SECONDS = 10.0
WORKERS_TIMEOUT = "30s"  # that a scheduler may be without any worker, unless Dask's own setting says otherwise
IN_FLIGHT_PER_THREAD = 4  # enough to hide the scheduler's latency; a million waiting tasks would fill its memory
LEAST_IN_FLIGHT = 64  # an adaptive cluster asks for workers by the tasks that it sees
GROWTH_SECONDS = 5.0  # between two looks at how many threads there are
CHANGE_BITS = ("isophase", "numpy", "scipy", "numba", "llvmlite", "jax", "jaxlib", "optax", "zarr")

Workers = Annotated[int, Field(ge=1)] | None  # as a parameter of a flow


def check_given(scheduler: str | None, workers: int | None, client: Client | None) -> None:
    """Refuse what :func:`cluster` cannot use, before a store is made for it."""
    if workers is not None and workers < 1:
        raise SettingsError(f"workers={workers}: must be at least 1")
    if client is None:
        check_settings()
        return
    if scheduler is not None or workers is not None:
        given = f"scheduler={scheduler!r}" if scheduler is not None else f"workers={workers}"
        raise SettingsError(f"{given}: must not be given beside a client, which has its own workers")
    if client.asynchronous:
        raise SettingsError("client: is asynchronous; must be one that was made without asynchronous=True")
    if client.status != "running":
        raise SettingsError(f"client: is {client.status}; must be connected to a scheduler")


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
    SettingsError : what is given contradicts itself; Dask's settings or the certificates cannot be used; a worker's
        packages are of other versions than those here.
    ClusterError : nothing answers at the address, the scheduler there has no workers and gets none, or local workers do
        not start.
    """
    check_given(scheduler, workers, client)
    if client is not None:
        _check_workers(client)
        with _reported(client, report):
            yield client
        return
    with contextlib.ExitStack() as stack:
        if scheduler is not None:
            own = stack.enter_context(_connected(scheduler))
            _check_workers(own)
        else:
            stack.enter_context(_script_apart())
            own = stack.enter_context(_local_client(workers or dask.system.CPU_COUNT))
        stack.enter_context(_reported(own, report))
        yield own


@contextlib.contextmanager
def _connected(scheduler: str) -> Iterator[Client]:
    """A client of a scheduler elsewhere."""
    try:
        host, _ = get_address_host_port(scheduler, strict=True)
    except (ValueError, TypeError) as error:
        raise SettingsError(f"scheduler {scheduler}: {error}; must be tcp://HOST:PORT or tls://HOST:PORT") from None
    if scheduler.startswith("tls://"):
        check_certificates()
    elif not _is_loopback(host):
        _warn_of(scheduler)
    try:
        with waiting(f"scheduler {scheduler}: connecting"), ThreadPoolExecutor(1) as pool:
            pool.submit(asyncio.run, _greet(scheduler)).result()  # Dask's own first greeting has no limit
        client = Client(scheduler, timeout=CONNECT_TIMEOUT, set_as_default=False)
    except TimeoutError:
        raise ClusterError(
            f"scheduler {scheduler}: takes connections, and does not answer for {GREET_SECONDS:.0f} s"
        ) from None
    except Exception as error:  # whatever a port that is no scheduler's says
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ClusterError(f"scheduler {scheduler}: not reachable: {reason}") from None
    try:
        yield client
    finally:
        with contextlib.suppress(TimeoutError, OSError):  # a scheduler that is gone takes no leave
            client.close(CLOSE_SECONDS)


async def _greet(scheduler: str) -> None:
    arguments = Security().get_connection_args("client")
    comm = await asyncio.wait_for(connect(scheduler, timeout=CONNECT_TIMEOUT, **arguments), GREET_SECONDS)
    comm.abort()


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(socket.gethostbyname(host)).is_loopback
    except OSError:
        return False


@functools.cache
def _warn_of(scheduler: str) -> None:
    say(
        f"scheduler {scheduler}: is not encrypted and asks nobody who he is: whoever reaches its port can run code as "
        "you; tls://HOST:PORT keeps others out, with certificates of `isophase certs DIR`"
    )


@contextlib.contextmanager
def _local_client(workers: int) -> Iterator[Client]:
    with contextlib.ExitStack() as stack:
        try:
            with waiting(f"{workers} local workers: starting"):
                local = stack.enter_context(local_processes(workers))
                client = stack.enter_context(Client(local, security=local.security, set_as_default=False))
        except Exception as error:
            cause: BaseException = error
            while cause.__cause__ is not None:  # Dask says that something failed, and its cause why
                cause = cause.__cause__
            reason = (str(cause).strip().splitlines() or [""])[0]
            raise ClusterError(f"local workers: cannot be started: {type(cause).__name__}: {reason}") from error
        yield client


@contextlib.contextmanager
def _reported(client: Client, path: str | None) -> Iterator[None]:
    if path is None:
        yield
        return
    with client.as_current():  # where the report looks for its client
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        report = performance_report(filename=path)
        _asked(client, report.__aenter__)
        try:
            yield
        finally:
            try:
                _asked(client, lambda: report.__aexit__(None, None, None, code=" ".join(sys.argv)))
            except ClusterError as error:
                say(f"performance report {path}: not written: {error}")


def _asked(client: Client, question: Callable[[], Any], seconds: float | None = None) -> Any:
    """The scheduler's answer. ClusterError where there is none in this time [``SILENT_SECONDS``]."""
    seconds = seconds or SILENT_SECONDS
    scheduler = f"scheduler {scheduler_of(client).address}"
    try:
        with waiting(f"{scheduler}: no answer"):
            return client.sync(question, callback_timeout=seconds)
    except TimeoutError:
        raise ClusterError(f"{scheduler}: no answer for {seconds:.0f} s") from None
    except OSError as error:
        raise ClusterError(f"{scheduler}: lost: {error}") from None


def _check_workers(client: Client) -> None:
    """Refuse a scheduler without workers, or with one whose packages differ.

    A task is asked for, not a worker: an idle adaptive cluster has none until there is work.
    """
    scheduler = scheduler_of(client).address
    timeout = dask.config.get("distributed.scheduler.no-workers-timeout") or WORKERS_TIMEOUT
    try:
        with waiting(f"scheduler {scheduler}: no worker that takes a call yet, of {timeout} that it may take"):
            client.submit(get_package_info, [], pure=False).result(timeout=parse_timedelta(timeout))
    except TimeoutError:
        raise ClusterError(
            f"scheduler {scheduler}: no worker within {timeout}; "
            "DASK_DISTRIBUTED__SCHEDULER__NO_WORKERS_TIMEOUT=1h waits longer"
        ) from None
    here = versions()
    with watched(client):  # who does not answer now is restarted
        joined = _asked(client, lambda: client.get_versions(packages=CHANGE_BITS), 2 * SILENT_SECONDS)
    for worker, found in joined["workers"].items():
        _compare_versions(here, found["packages"], worker)


def versions() -> dict[str, str]:
    """Installed versions of the packages that can change the bits of a result."""
    found = get_package_info(CHANGE_BITS)
    return {name: found[name] or "none" for name in CHANGE_BITS}


def _compare_versions(here: Mapping[str, str], there: Mapping[str, str | None], worker: str) -> None:
    for name, version in here.items():
        if (other := there.get(name) or "none") != version:
            raise SettingsError(
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

    looked = time.monotonic()
    running = as_completed(submit(_most_in_flight(client)), loop=client.loop, with_results=True, raise_errors=False)
    try:
        for future, result in _as_they_end(client, running):
            if future.status in ("cancelled", "lost"):
                raise ClusterError(f"scheduler {scheduler_of(client).address}: lost while calls were running")
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


def _as_they_end(client: Client, running: as_completed) -> Iterator[tuple[Any, Any]]:
    """Futures and their results, for as long as there is a cluster to wait for; ClusterError when there is none."""
    with watched(client) as watch:
        while not running.is_empty():
            while not running.has_ready():
                watch.check()
                with running.thread_condition:
                    running.thread_condition.wait(timeout=0.1)
            yield next(running)


def nthreads(client: Client) -> dict[str, int]:
    """Threads of every worker, as they are now."""
    return _asked(client, lambda: scheduler_of(client).ncores())


def threads(client: Client) -> int:
    return sum(nthreads(client).values())


def _most_in_flight(client: Client) -> int:
    return max(LEAST_IN_FLIGHT, IN_FLIGHT_PER_THREAD * threads(client))
