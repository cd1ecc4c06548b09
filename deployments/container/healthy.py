"""Whether a service is well, for health checks: `python healthy.py WHAT...`; says what is not, and exits with 1.

http://HOST:PORT/PATH answers; tls://HOST:PORT, a Dask process with the certificates of DASK_CONFIG, and PATH.pem show a
certificate that is valid for two more weeks. A process reads its certificate when it starts, so one that `isophase
certs` has renewed meanwhile is seen only after `docker compose restart` of the service: two weeks are there to do it.
Once an hour a process is asked for it, as it logs every such question.
"""

import datetime
import os
import socket
import ssl
import sys
import time
import urllib.request
from pathlib import Path
from urllib.parse import urlsplit

from cryptography import x509

LEFT = datetime.timedelta(days=14)
SECONDS = 5.0
ASK_AGAIN = 3600.0  # seconds


def served_certificate(host: str, port: int) -> bytes:
    """The certificate that a Dask process shows, in DER."""
    folder = Path(os.environ["DASK_CONFIG"]).parent
    context = ssl.create_default_context(cafile=folder / "ca.pem")
    context.check_hostname = False  # one certificate serves every host of the cluster
    context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    with (
        socket.create_connection((host, port), timeout=SECONDS) as plain,
        context.wrap_socket(plain) as connection,
    ):
        content = connection.getpeercert(binary_form=True)
    assert content is not None  # the context demands one
    return content


def lately_served_certificate(host: str, port: int) -> bytes:
    """The same, at most an hour old; the home of a container is empty when it starts."""
    kept = Path.home() / f".certificate-of-{port}.der"
    if kept.exists() and 0 <= time.time() - kept.stat().st_mtime < ASK_AGAIN:
        return kept.read_bytes()
    content = served_certificate(host, port)
    kept.write_bytes(content)
    return content


def check(what: str) -> None:
    url = urlsplit(what)
    if url.scheme == "http":
        direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # never through a proxy
        direct.open(what, timeout=SECONDS).close()
        return
    if url.scheme == "tls":
        certificate = x509.load_der_x509_certificate(lately_served_certificate(url.hostname or "", url.port or 0))
    else:
        certificate = x509.load_pem_x509_certificate(Path(what).read_bytes())
    ends = certificate.not_valid_after_utc
    if ends - datetime.datetime.now(datetime.UTC) < LEFT:
        raise ValueError(f"its certificate ends on {ends:%Y-%m-%d %H:%M} UTC; restart the service, after certs")


if __name__ == "__main__":
    for what in sys.argv[1:]:
        try:
            check(what)
        except (OSError, ValueError) as error:
            sys.exit(f"{what}: {error}")
