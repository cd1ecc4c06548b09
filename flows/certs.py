"""Certificates for TLS between the scheduler, the workers and the clients of one Dask cluster.

Dask authenticates both ends of a connection by a common authority and looks at no host name, so one certificate serves
every process. Whoever holds its key may run code on the cluster.
"""

import datetime
import os
from pathlib import Path

import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes
from cryptography.x509.oid import NameOID

from isophase.flows.errors import SettingsError

VALID_DAYS = 365
RENEW_DAYS = 30  # before its end a certificate is made anew, in time for every process to be started again
AUTHORITY_DAYS = 3650
CONFIG = "dask.yaml"
AUTHORITY = "authority"


def keep_certificates(folder: str | Path) -> datetime.datetime:
    """Have ``ca.pem``, ``cert.pem``, ``key.pem`` and ``dask.yaml`` in a folder; returns when the certificate ends.

    ``DASK_CONFIG=FOLDER/dask.yaml`` makes every Dask process use them for ``tls://`` addresses. What is there and
    valid stays as it is. A certificate in its last ``RENEW_DAYS`` days is made anew by the same authority for the same
    key, so processes with the old one and with the new one trust each other, and each can be started again when it
    suits. Whoever holds the authority's key, ``authority/key.pem``, makes certificates that the cluster accepts; only
    this function reads it, so the folder ``authority`` may be kept elsewhere meanwhile.

    Raises
    ------
    SettingsError : some of the files are there and others are not, they cannot be read or written, or the certificate
        ends and the authority or its key is gone or ends too.
    """
    folder = Path(folder).absolute()
    paths = [folder / name for name in ("ca.pem", "cert.pem", "key.pem", CONFIG)]
    missing = [path for path in paths if not path.exists()]
    try:
        if len(missing) == len(paths):
            return _make(folder)
        if missing:
            raise SettingsError(
                f"certificates {missing[0]}: is missing, and others in the folder are there; give a folder without any"
            )
        return _renew(folder)
    except OSError as error:
        raise SettingsError(f"certificates {folder}: cannot be written: {error}") from None
    except ValueError as error:
        raise SettingsError(f"certificates {folder}: cannot be read: {error}") from None


def _make(folder: Path) -> datetime.datetime:
    own_key, ca_key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    authority = _certificate("isophase authority", ca_key.public_key(), None, ca_key, AUTHORITY_DAYS)
    issued = _certificate("isophase", own_key.public_key(), authority, ca_key, VALID_DAYS)
    pair = {"cert": str(folder / "cert.pem"), "key": str(folder / "key.pem")}
    tls = {"ca-file": str(folder / "ca.pem"), "scheduler": pair, "worker": dict(pair), "client": dict(pair)}
    settings = yaml.safe_dump({"distributed": {"comm": {"tls": tls}}}, sort_keys=False)
    (folder / AUTHORITY).mkdir(mode=0o700, parents=True, exist_ok=True)
    _put({
        folder / AUTHORITY / "key.pem": (_private(ca_key), 0o600),
        folder / "key.pem": (_private(own_key), 0o600),
        folder / "ca.pem": (authority.public_bytes(serialization.Encoding.PEM), 0o644),
        folder / "cert.pem": (issued.public_bytes(serialization.Encoding.PEM), 0o644),
        folder / CONFIG: (settings.encode(), 0o644),
    })  # fmt: skip
    return issued.not_valid_after_utc


def _renew(folder: Path) -> datetime.datetime:
    path, key = folder / "cert.pem", folder / AUTHORITY / "key.pem"
    certificate = x509.load_pem_x509_certificate(path.read_bytes())
    ends = certificate.not_valid_after_utc
    if ends - datetime.datetime.now(datetime.UTC) > datetime.timedelta(days=RENEW_DAYS):
        return ends
    again = f"end every process of the cluster, remove {folder} and make new ones"
    if not key.exists():
        raise SettingsError(
            f"certificate {path}: ends on {ends:%Y-%m-%d}, and {key}, which renews it, is missing: {again}"
        )
    authority = x509.load_pem_x509_certificate((folder / "ca.pem").read_bytes())
    ca_key = serialization.load_pem_private_key(key.read_bytes(), password=None)
    if not isinstance(ca_key, ec.EllipticCurvePrivateKey) or ca_key.public_key() != authority.public_key():
        raise SettingsError(f"key {key}: is not that of {folder / 'ca.pem'}, so it cannot renew {path}: {again}")
    issued = _certificate("isophase", certificate.public_key(), authority, ca_key, VALID_DAYS)
    if issued.not_valid_after_utc > authority.not_valid_after_utc:
        raise SettingsError(
            f"certificate {folder / 'ca.pem'}: ends on {authority.not_valid_after_utc:%Y-%m-%d}, before another "
            f"{VALID_DAYS} days are over: {again}"
        )
    _put({path: (issued.public_bytes(serialization.Encoding.PEM), 0o644)})
    return issued.not_valid_after_utc


def _private(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _certificate(
    name: str,
    key: CertificatePublicKeyTypes,
    issuer: x509.Certificate | None,
    issuer_key: ec.EllipticCurvePrivateKey,
    days: int,
) -> x509.Certificate:
    now = datetime.datetime.now(datetime.UTC)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    is_authority = issuer is None
    usage = x509.KeyUsage(
        digital_signature=not is_authority,
        key_cert_sign=is_authority,
        crl_sign=is_authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.subject if issuer else subject)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))  # clocks differ
        .not_valid_after(now + datetime.timedelta(days=days))
        .add_extension(x509.BasicConstraints(ca=is_authority, path_length=0 if is_authority else None), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False)
        .sign(issuer_key, hashes.SHA256())
    )


def _put(files: dict[Path, tuple[bytes, int]]) -> None:
    """Write files beside their places, and put them there when all are written."""
    fresh = {path: path.with_name(f"{path.name}.new") for path in files}
    for path, (content, mode) in files.items():
        fresh[path].unlink(missing_ok=True)
        with os.fdopen(os.open(fresh[path], os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
            os.fchmod(file.fileno(), mode)
            file.write(content)
    for path, written in fresh.items():
        written.replace(path)
