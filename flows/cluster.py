"""The one place where Dask is spoken to: a cluster to run on, and a bounded fan-out of calls over it."""

import contextlib
import itertools
import logging
import signal
import socket
from collections.abc import Callable, Iterable, Iterator
from multiprocessing import resource_tracker
from typing import Annotated, Any

import dask
from distributed import Client, LocalCluster, as_completed
from distributed.comm.addressing import get_address_host_port
from pydantic import Field

CONNECT_TIMEOUT = "10s"
WORKERS_TIMEOUT = 30.0  # seconds that a scheduler may be without any worker
IN_FLIGHT_PER_THREAD = 4  # enough to hide the scheduler's latency; a million waiting tasks would fill its memory

Workers = Annotated[int, Field(ge=1)] | None  # as a parameter of a flow


class ClusterError(RuntimeError):
    """No cluster to run on: the message names its address and the reason."""


@contextlib.contextmanager
def cluster(scheduler: str | None = None, workers: int | None = None) -> Iterator[Client]:
    """A client of the scheduler at ``scheduler``, or of a cluster of local processes that ends with the context.

    Parameters
    ----------
    scheduler : ``tcp://host:port`` or ``tls://host:port``; None starts a local cluster on loopback. The certificates
        of ``tls://`` are those of Dask's configuration, see ``flows.certs``.
    workers : processes of the local cluster, one thread each; None: one per core.

    Raises
    ------
    ClusterError : nothing answers at the address, or the scheduler there has no workers.
    """
    if scheduler is not None:
        try:
            get_address_host_port(scheduler, strict=True)
            if scheduler.startswith("tls://") and dask.config.get("distributed.comm.tls.ca-file", None) is None:
                raise ValueError("tls:// needs certificates: set DASK_CONFIG=DIR/dask.yaml of `isochron certs DIR`")
            client = Client(scheduler, timeout=CONNECT_TIMEOUT, set_as_default=False)
        except (OSError, ValueError, TypeError) as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise ClusterError(f"scheduler {scheduler}: not reachable: {reason}") from None
        with client:
            try:
                client.wait_for_workers(1, timeout=WORKERS_TIMEOUT)
            except TimeoutError:
                raise ClusterError(f"scheduler {scheduler}: no worker within {WORKERS_TIMEOUT:.0f} s") from None
            yield client
        return
    with (
        dask.config.set({"distributed.worker.daemon": False}),
        _local_cluster(workers or dask.system.CPU_COUNT) as local,
        Client(local, set_as_default=False) as client,
    ):
        yield client


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

    At most ``IN_FLIGHT_PER_THREAD`` calls per worker thread are out at a time, and no result stays on the cluster.
    """
    waiting = enumerate(calls)
    position = {}

    def submit(number: int) -> list[Any]:
        futures = []
        for at, call in itertools.islice(waiting, number):
            future = client.submit(function, *call, pure=False)
            position[future.key] = at
            futures.append(future)
        return futures

    first = submit(IN_FLIGHT_PER_THREAD * max(1, _threads(client)))
    running = as_completed(first, loop=client.loop, with_results=True, raise_errors=False)
    try:
        for future, result in running:
            if future.status in ("cancelled", "lost"):
                raise ClusterError(f"scheduler {client.scheduler_info()['address']}: lost while calls were running")
            # of a failed future the result is (type, exception, traceback)
            yield position.pop(future.key), result[1] if future.status == "error" else result
            for more in submit(1):
                running.add(more)
    finally:
        client.cancel(list(running.futures))


def _threads(client: Client) -> int:
    return sum(worker["nthreads"] for worker in client.scheduler_info(n_workers=-1)["workers"].values())


def _free_dashboard() -> str:
    with socket.socket() as probe:
        return "127.0.0.1:0" if probe.connect_ex(("127.0.0.1", 8787)) == 0 else "127.0.0.1:8787"
