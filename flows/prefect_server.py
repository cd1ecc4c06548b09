"""The Prefect server that Prefect's own settings name, by a profile or by ``PREFECT_API_URL``: how it is reached, and
whether it answers strangers.
"""

import os
import ssl
import urllib.request
from typing import Any

import certifi
import httpx
from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_API_KEY, PREFECT_API_URL, get_current_settings

from isophase.flows.errors import ClusterError, SettingsError

LOOPBACK = ("127.0.0.1", "localhost", "::1")
STRANGER = "http://stranger.invalid"  # a web page of somebody else
ANSWER_SECONDS = 10.0


def server_url() -> str | None:
    """Address of the server that runs are kept on; None: an embedded one."""
    url = PREFECT_API_URL.value()
    return url.rstrip("/") if url else None


def reach_loopback_directly() -> None:
    """Keep what is for this machine from a proxy that the environment names, which has another loopback.

    Raises
    ------
    SettingsError : with what the environment says of proxies no client can be made.
    """
    proxies = urllib.request.getproxies_environment()
    if not proxies:
        return
    if (known := proxies.get("no", "")) != "*":
        hosts = [host.strip() for host in known.split(",") if host.strip()]
        hosts += [host for host in LOOPBACK if host not in hosts]
        os.environ["NO_PROXY"] = os.environ["no_proxy"] = ",".join(hosts)
    try:
        httpx.Client(verify=False).close()
    except (ImportError, ValueError, httpx.InvalidURL) as error:
        named = ", ".join(f"{name}={value!r}" for name, value in sorted(os.environ.items())
                          if name.lower() in ("http_proxy", "https_proxy", "all_proxy"))  # fmt: skip
        raise SettingsError(f"{named}: Prefect's server cannot be reached with it: {error}") from None


def check_server(url: str) -> None:
    """Refuse a server that cannot be reached, or does not let this user in.

    Raises
    ------
    SettingsError, ClusterError : name the address and the reason.
    """
    answer = _answer(url, "GET", "/admin/version", **_own())
    if answer.status_code in (401, 403):
        raise SettingsError(
            f"Prefect server {url} (PREFECT_API_URL): refuses these credentials: PREFECT_API_AUTH_STRING must be the "
            "server's PREFECT_SERVER_API_AUTH_STRING"
        )


def check_closed(url: str) -> None:
    """Refuse a server that lets anybody have the runner execute what he likes: one that answers without credentials, or
    lets web pages of any origin ask.

    Raises
    ------
    SettingsError, ClusterError : name the address and the setting of the server that closes it.
    """
    if url.startswith(get_current_settings().cloud.api_url):
        return
    status = _answer(url, "GET", "/admin/version").status_code
    if status < 400:
        raise SettingsError(
            f"Prefect server {url} (PREFECT_API_URL): answers anybody, who could run code as you: set "
            "PREFECT_SERVER_API_AUTH_STRING=USER:PASSWORD where it starts, and PREFECT_API_AUTH_STRING to the same here"
        )
    if status not in (401, 403):
        raise ClusterError(
            f"Prefect server {url} (PREFECT_API_URL): answers {status}: must be the address of an API, as "
            "http://127.0.0.1:4200/api"
        )
    preflight = {
        "Origin": STRANGER,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization",
    }
    allowed = _answer(url, "OPTIONS", "/flow_runs/filter", headers=preflight).headers.get("access-control-allow-origin")
    if allowed in ("*", STRANGER, "null"):
        raise SettingsError(
            f"Prefect server {url} (PREFECT_API_URL): lets web pages of any origin ask ({allowed}): set "
            f"PREFECT_SERVER_CORS_ALLOWED_ORIGINS={url.removesuffix('/api')} where it starts"
        )


def _own() -> dict[str, Any]:
    """This user's credentials."""
    if auth := PREFECT_API_AUTH_STRING.value():
        user, _, password = auth.partition(":")
        return {"auth": (user, password)}
    key = PREFECT_API_KEY.value()
    return {"headers": {"Authorization": f"Bearer {key}"}} if key else {}


def _answer(url: str, method: str, path: str, **request: Any) -> httpx.Response:
    reach_loopback_directly()
    api = get_current_settings().api
    try:
        verify = False if api.tls_insecure_skip_verify else ssl.create_default_context(
            cafile=api.ssl_cert_file or certifi.where()
        )  # fmt: skip
    except OSError as error:
        raise SettingsError(
            f"Prefect's setting api.ssl_cert_file={api.ssl_cert_file!r}: cannot be read: {error}"
        ) from None
    try:
        with httpx.Client(verify=verify, timeout=ANSWER_SECONDS) as client:
            return client.request(method, f"{url}{path}", **request)
    except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
        raise ClusterError(f"Prefect server {url} (PREFECT_API_URL): not reachable: {error}") from None
