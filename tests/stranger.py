"""What another user of the machine can try against the ports and files of a run: `python -m tests.stranger TARGET`.

TARGET is JSON: the ``ports`` and ``pids`` of the run, the ``folders`` it may have written in, and a ``marker``, a file
that only its owner can make. Printed is what the stranger got, as JSON. Root becomes a user without any right first.
"""

import asyncio
import contextlib
import json
import os
import pickle
import socket
import ssl
import struct
import sys
import time
from pathlib import Path

from distributed import Client, Security
from distributed.comm import connect

NOBODY = 65534
PAGES = ("/", "/status", "/info", "/info/main/workers.html", "/json/counts.json", "/json/identity.json", "/metrics",
         "/json/index.html", "/health", "/sysmon", "/sitemap.json", "/individual-plots.json", "/system", "/status/ws",
         "/statics/css/base.css", "/api/v1/retire_workers", "/proxy/1/127.0.0.1/status", "/..//status",
         "/%2e/status")  # fmt: skip
NOTHING = b"", b"0\r\n\r\n"  # the second is one chunk without bytes
SECONDS = 1.0


class Payload:
    """Runs a command where it is unpickled."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.system, (f"touch {self.marker}",)


def become_nobody():
    if os.geteuid() == 0:
        os.setgroups([])
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)
    (rights,) = [line.split()[1] for line in Path("/proc/self/status").read_text().splitlines() if "CapEff" in line]
    assert int(rights, 16) == 0


def listening():
    """Ports of everybody, as the kernel tells everybody."""
    found = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        for line in Path(table).read_text().splitlines()[1:]:
            _, local, _, state, *_ = line.split()
            if state == "0A":
                found.add(int(local.rpartition(":")[2], 16))
    return found


def exchange(port, content, context=None):
    """What comes back for some bytes."""
    answer = b""
    with (
        contextlib.suppress(OSError),
        socket.create_connection(("127.0.0.1", port), SECONDS) as plain,
        context.wrap_socket(plain) if context else plain as stream,
    ):
        stream.settimeout(SECONDS)
        stream.sendall(content)
        while len(answer) < 100_000 and (more := stream.recv(65536)):
            answer += more
    return answer


def pages(port, context):
    """Pages that a web server on the port shows: path and what they hold."""
    found = []
    for path in PAGES:
        answer = exchange(
            port, f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n".encode(), context
        )
        head, _, body = answer.partition(b"\r\n\r\n")
        if head.startswith(b"HTTP/") and (b" 404 " not in head.splitlines()[0] or body not in NOTHING):
            found.append([path, head.splitlines()[0].decode(), body[:80].decode(errors="replace")])
        if not answer and path == "/":
            break  # no web server
    return found


async def greets(address, security):
    """Whether a process of Dask takes part in its protocol."""
    arguments = security.get_connection_args("client") if security else {}
    with contextlib.suppress(Exception):
        comm = await asyncio.wait_for(connect(address, timeout=SECONDS, **arguments), 2 * SECONDS)
        comm.abort()
        return True
    return False


def take_over(address, security, marker):
    """Whether code ran, on a worker or in the scheduler."""
    with (
        contextlib.suppress(Exception),
        Client(address, security=security, timeout="3s", set_as_default=False) as client,
    ):
        client.run_on_scheduler(os.system, f"touch {marker}")
        return client.submit(os.system, f"touch {marker}", pure=False).result(timeout=5) == 0
    return False


def readable(target):
    """What of the run's processes and files can be read."""
    found = []
    for pid in target["pids"]:
        for name in ("environ", "mem", "maps", "fd"):
            path = Path(f"/proc/{pid}/{name}")
            with contextlib.suppress(OSError):
                content = list(path.iterdir()) if name == "fd" else path.open("rb").read(10)
                if content:
                    found.append(str(path))
    for folder in target["folders"]:
        for path in Path(folder).rglob("*"):
            with contextlib.suppress(OSError):
                if path.is_file() and path.open("rb").read() is not None:
                    found.append(str(path))
    return found


def main():
    target = json.loads(sys.argv[1])
    marker = Path(target["marker"])
    own, anonymous = Security.temporary(), ssl.create_default_context()
    anonymous.check_hostname, anonymous.verify_mode = False, ssl.CERT_NONE
    become_nobody()
    try:
        marker.touch()
    except PermissionError:
        pass
    else:
        raise AssertionError("the marker would prove nothing")
    told = {
        "seen": sorted(set(target["ports"]) & listening()),
        "pages": [],
        "greeted": [],
        "taken": False,
        "readable": readable(target),
    }
    pickled = pickle.dumps(Payload(marker))
    frames = struct.pack("<QQ", 16 + len(pickled), 1) + struct.pack("<Q", len(pickled)) + pickled
    for port in target["ports"]:
        for context in (None, anonymous):
            told["pages"] += [[port, *page] for page in pages(port, context)]
            for content in (pickled, frames):
                exchange(port, content, context)
        for address, security in ((f"tcp://127.0.0.1:{port}", None), (f"tls://127.0.0.1:{port}", own)):
            if asyncio.run(greets(address, security)):
                told["greeted"].append(address)
                told["taken"] = told["taken"] or take_over(address, security, marker)
    time.sleep(1)
    print(json.dumps(told))


if __name__ == "__main__":
    main()
