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
from cryptography.x509.oid import NameOID

from isophase.flows.errors import SettingsError

VALID_DAYS = 365
CONFIG = "dask.yaml"


def make_certificates(folder: str | Path) -> datetime.datetime:
    """Write ``ca.pem``, ``cert.pem``, ``key.pem`` and ``dask.yaml`` into a folder; returns when they expire.

    ``DASK_CONFIG=FOLDER/dask.yaml`` makes every Dask process use them for ``tls://`` addresses. The authority's own key
    is written nowhere: nobody can make a second certificate that the cluster accepts.

    Raises
    ------
    SettingsError : one of the files is there already, or the folder cannot be written.
    """
    folder = Path(folder).absolute()
    ca, certificate, key = folder / "ca.pem", folder / "cert.pem", folder / "key.pem"
    for path in (ca, certificate, key, folder / CONFIG):
        if path.exists():
            raise SettingsError(f"certificates {path}: is there already, and processes may use it; give another folder")
    own_key, ca_key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    expires = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=VALID_DAYS)
    authority = _certificate("isophase authority", ca_key, None, ca_key, expires)
    issued = _certificate("isophase", own_key, authority, ca_key, expires)
    private = own_key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    pair = {"cert": str(certificate), "key": str(key)}
    tls = {"ca-file": str(ca), "scheduler": pair, "worker": dict(pair), "client": dict(pair)}
    settings = yaml.safe_dump({"distributed": {"comm": {"tls": tls}}}, sort_keys=False)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _write(key, private, 0o600)  # first: without it the others are of no use to anybody
        _write(ca, authority.public_bytes(serialization.Encoding.PEM), 0o644)
        _write(certificate, issued.public_bytes(serialization.Encoding.PEM), 0o644)
        _write(folder / CONFIG, settings.encode(), 0o644)
    except OSError as error:
        raise SettingsError(f"certificates {folder}: cannot be written: {error}") from None
    return expires


def _certificate(
    name: str,
    key: ec.EllipticCurvePrivateKey,
    issuer: x509.Certificate | None,
    issuer_key: ec.EllipticCurvePrivateKey,
    expires: datetime.datetime,
) -> x509.Certificate:
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
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(datetime.datetime.now(datetime.UTC) - datetime.timedelta(hours=1))  # clocks differ
        .not_valid_after(expires)
        .add_extension(x509.BasicConstraints(ca=is_authority, path_length=0 if is_authority else None), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False)
        .sign(issuer_key, hashes.SHA256())
    )


def _write(path: Path, content: bytes, mode: int) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
        os.fchmod(file.fileno(), mode)
        file.write(content)
