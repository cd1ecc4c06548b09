"""Dask's settings and certificates as this process finds them: what is wrong is said before anything starts.

Dask itself says it from within a worker, after many seconds, or as the end of a handshake.
"""

import datetime
import functools
import re
from collections.abc import Callable, Iterator, Mapping
from importlib import resources
from pathlib import Path
from typing import Any

import dask
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from dask.utils import parse_bytes, parse_timedelta
from jsonschema import Draft7Validator

from isophase.flows.errors import SettingsError

TLS = "distributed.comm.tls"
TIMES = re.compile(r"(timeout|duration)$")  # names of settings that Dask's defaults leave out, and that hold a time
READ: dict[str, Callable[[str], Any]] = {  # what Dask's schemas call text, and its code reads as a quantity
    "a time, as 30s or 5 minutes": parse_timedelta,
    "a number of bytes, as 64MiB": parse_bytes,
}


def check_settings() -> None:
    """Refuse settings that Dask cannot use, of whatever file or variable they come from.

    Raises
    ------
    SettingsError : names the first of them, its value and what is allowed.
    """
    for package in ("dask", "distributed"):
        quantities = {name: what for name, value in _leaves(_packaged(package, f"{package}.yaml"))
                      if (what := _quantity(name, value))}  # fmt: skip
        for name, what in quantities.items():
            value = dask.config.get(name, None)
            if isinstance(value, str) and not _is_read(READ[what], value):
                raise _refused(name, value, what)
        schema = _packaged(package, f"{package}-schema.yaml")
        for error in Draft7Validator(schema).iter_errors(dask.config.config):
            name = ".".join(map(str, error.absolute_path))
            # a bare number is seconds or bytes, and Dask takes one text for a list of them
            if name not in quantities and not {"array", "object", "string"} & _types(error.schema):
                raise _refused(name, error.instance, _allowed(error.schema))


@functools.cache
def _packaged(package: str, name: str) -> dict[str, Any]:
    return yaml.safe_load((resources.files(package) / name).read_text(encoding="utf-8"))


def _leaves(table: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in table.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{path}{key}.")
        else:
            yield f"{path}{key}", value


def _quantity(name: str, default: Any) -> str | None:
    """What a setting that may be text is a quantity of, as its default shows; None: it is not."""
    if default is None:
        return next(iter(READ)) if TIMES.search(name) else None
    if isinstance(default, str) and default[:1].isdigit():
        return next((what for what, read in READ.items() if _is_read(read, default)), None)
    return None


def _is_read(read: Callable[[str], Any], text: str) -> bool:
    try:
        read(text)
    except (ValueError, KeyError):
        return False
    return True


def _types(schema: Mapping[str, Any]) -> set[str]:
    named = schema.get("type", ())
    return {named} if isinstance(named, str) else set(named)


def _allowed(schema: Mapping[str, Any]) -> str:
    """A part of a JSON schema in words."""
    if any_of := schema.get("oneOf") or schema.get("anyOf"):
        return " or ".join(_allowed(one) for one in any_of)
    if "enum" in schema:
        return ", ".join(map(str, schema["enum"]))
    limits = {"minimum": ">=", "exclusiveMinimum": ">", "maximum": "<=", "exclusiveMaximum": "<"}
    bounds = " and ".join(f"{sign} {schema[key]}" for key, sign in limits.items() if key in schema)
    return f"{' or '.join(sorted(_types(schema))) or 'of another form'} {bounds}".strip()


def _refused(name: str, value: Any, allowed: str) -> SettingsError:
    variable = "DASK_" + name.upper().replace(".", "__").replace("-", "_")
    return SettingsError(f"Dask's setting {name}={value!r} (DASK_CONFIG or {variable}): must be {allowed}")


def check_certificates() -> None:
    """Refuse the certificate with which this process would go to a ``tls://`` scheduler, before it does.

    Raises
    ------
    SettingsError : there is none, it cannot be read, its time is over or has not come, or its key or authority is
        another one's.
    """
    files = {part: dask.config.get(f"{TLS}.{part}", None) for part in ("ca-file", "client.cert", "client.key")}
    if files["ca-file"] is None or files["client.cert"] is None:
        raise SettingsError("tls:// needs certificates: set DASK_CONFIG=DIR/dask.yaml of `isophase certs DIR`")
    authorities = _certificates(files["ca-file"])
    own = _certificates(files["client.cert"])[0]
    for path, certificate in [(files["client.cert"], own), *((files["ca-file"], one) for one in authorities)]:
        _check_time(path, certificate)
    key_file = files["client.key"] or files["client.cert"]
    try:
        key = serialization.load_pem_private_key(_content(key_file), password=None)
    except (ValueError, TypeError) as error:  # TypeError: it has a password
        raise SettingsError(f"key {key_file}: not a readable PEM key: {_line(error)}") from None
    if key.public_key() != own.public_key():
        raise SettingsError(f"key {key_file}: belongs to another certificate than {files['client.cert']}")
    if own.issuer not in {one.subject for one in authorities}:
        issuer = own.issuer.rfc4514_string()
        raise SettingsError(f"certificate {files['client.cert']}: issued by {issuer}, who is not in {files['ca-file']}")


def _content(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise SettingsError(f"certificate or key {path}: cannot be read: {error.strerror}") from None


def _certificates(path: str) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(_content(path))
    except ValueError as error:
        raise SettingsError(f"certificate {path}: not a readable PEM certificate: {_line(error)}") from None


def _check_time(path: str, certificate: x509.Certificate) -> None:
    now = datetime.datetime.now(datetime.UTC)
    begin, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    if now > end:
        raise SettingsError(
            f"certificate {path}: expired on {end:%Y-%m-%d %H:%M} UTC; `isophase certs DIR` renews it, for all "
            "processes of the cluster that are started after that"
        )
    if now < begin:
        raise SettingsError(
            f"certificate {path}: valid from {begin:%Y-%m-%d %H:%M} UTC on, and here it is {now:%Y-%m-%d %H:%M}"
        )


def _line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
