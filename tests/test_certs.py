"""Certificates: what is written, and that Dask talks to nobody without them."""

import datetime
import os
import shutil
import stat

import dask
import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from distributed import Client, LocalCluster, Security

from isophase.flows.certs import keep_certificates
from isophase.flows.cli import main
from isophase.flows.cluster import ClusterError, cluster
from isophase.flows.errors import SettingsError


@pytest.fixture
def certificates(tmp_path):
    keep_certificates(tmp_path / "certs")
    return tmp_path / "certs"


def security(folder):
    tls = yaml.safe_load((folder / "dask.yaml").read_text())["distributed"]["comm"]["tls"]
    sides = {
        f"tls_{side}_{part}": tls[side][part] for side in ("scheduler", "worker", "client") for part in ("cert", "key")
    }
    return Security(tls_ca_file=tls["ca-file"], require_encryption=True, **sides)


@pytest.fixture
def tls_scheduler(certificates):
    with LocalCluster(
        n_workers=1,
        threads_per_worker=1,
        host="127.0.0.1",
        protocol="tls",
        security=security(certificates),
        dashboard_address=None,
        processes=False,
    ) as running:
        yield running.scheduler_address


def test_only_their_owner_reads_the_keys(certificates):
    names = sorted(str(path.relative_to(certificates)) for path in certificates.rglob("*"))
    assert names == ["authority", "authority/key.pem", "ca.pem", "cert.pem", "dask.yaml", "key.pem"]
    holders = [path for path in certificates.rglob("*") if path.is_file() and b"PRIVATE KEY" in path.read_bytes()]
    assert {path.relative_to(certificates).as_posix() for path in holders} == {"key.pem", "authority/key.pem"}
    assert {stat.S_IMODE(path.stat().st_mode) for path in holders} == {0o600}
    assert stat.S_IMODE((certificates / "authority").stat().st_mode) == 0o700
    issued, authority = (
        x509.load_pem_x509_certificate((certificates / name).read_bytes()) for name in ("cert.pem", "ca.pem")
    )
    issued.verify_directly_issued_by(authority)
    assert not issued.extensions.get_extension_for_class(x509.BasicConstraints).value.ca


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_valid_certificates_stay_as_they_are(tmp_path, capsys):
    folder = tmp_path / "certs"
    assert main(["certs", str(folder)]) == 0
    before = contents(folder)
    assert f"DASK_CONFIG={folder}/dask.yaml" in capsys.readouterr().out
    assert main(["certs", str(folder)]) == 0
    assert "valid until" in capsys.readouterr().out
    assert contents(folder) == before


@pytest.fixture
def ending(certificates, monkeypatch):
    """Certificates with fewer days to go than a renewal waits for."""
    monkeypatch.setattr("isophase.flows.certs.RENEW_DAYS", 400)
    return certificates


def test_a_renewed_certificate_and_the_one_before_trust_each_other(ending, tmp_path):
    before = tmp_path / "before"
    shutil.copytree(ending, before)
    settings = (before / "dask.yaml").read_text()
    (before / "dask.yaml").write_text(settings.replace(str(ending), str(before)))
    assert main(["certs", str(ending)]) == 0
    changed = {
        path.name
        for path, content in contents(ending).items()
        if contents(before)[before / path.relative_to(ending)] != content
    }
    assert changed == {"cert.pem", "dask.yaml"}  # which names the other folder here
    for server, client in ((before, ending), (ending, before)):
        with (
            LocalCluster(
                n_workers=1, threads_per_worker=1, host="127.0.0.1", protocol="tls", security=security(server),
                dashboard_address=None, processes=False,
            ) as running,
            Client(running.scheduler_address, security=security(client), timeout="10s", set_as_default=False) as asked,
        ):  # fmt: skip
            assert asked.submit(os.getpid).result(timeout=30) == os.getpid()


@pytest.mark.parametrize(
    ("break_it", "says"),
    [
        (lambda folder: (folder / "authority" / "key.pem").unlink(), "which renews it, is missing"),
        (lambda folder: shutil.copy(folder / "key.pem", folder / "authority" / "key.pem"), "is not that of"),
        (lambda folder: (folder / "key.pem").unlink(), "key.pem: is missing, and others"),
        (lambda folder: (folder / "cert.pem").write_text("nonsense"), "cannot be read"),
        (lambda folder: valid_for(folder, -1, 1), "is not that of"),
    ],
)
def test_what_cannot_be_renewed_is_named_and_stays(ending, capsys, break_it, says):
    break_it(ending)
    before = contents(ending)
    assert main(["certs", str(ending)]) == 2
    error = capsys.readouterr().err
    assert says in error
    assert str(ending) in error
    assert len(error.splitlines()) == 1
    assert contents(ending) == before


def test_an_authority_that_ends_before_the_certificate_would_is_named(ending, capsys, monkeypatch):
    monkeypatch.setattr("isophase.flows.certs.VALID_DAYS", 4000)
    assert main(["certs", str(ending)]) == 2
    assert "before another 4000 days are over" in capsys.readouterr().err


def test_a_folder_that_cannot_be_written_is_one_line(capsys):
    assert main(["certs", "/proc/none"]) == 2
    assert capsys.readouterr().err.startswith("isophase: error: certificates /proc/none: cannot be written")


def test_a_tls_scheduler_serves_who_holds_the_certificate(tls_scheduler, certificates):
    settings = dask.config.collect(paths=[str(certificates / "dask.yaml")])  # as DASK_CONFIG does
    merged = dask.config.merge(dask.config.config, settings)
    with dask.config.set(distributed=merged["distributed"]), cluster(tls_scheduler) as client:
        assert client.submit(os.getpid).result() == os.getpid()


def test_a_tls_scheduler_is_refused_without_and_with_a_foreign_certificate(tls_scheduler, tmp_path, monkeypatch):
    with pytest.raises(ClusterError, match=r"tls://.*DASK_CONFIG"), cluster(tls_scheduler):
        pass
    keep_certificates(tmp_path / "foreign")
    monkeypatch.setattr("isophase.flows.cluster.CONNECT_TIMEOUT", "1s")
    with pytest.raises(OSError, match=r"Timed out|certificate"):
        Client(tls_scheduler, security=security(tmp_path / "foreign"), timeout="2s")


@pytest.fixture
def given(certificates):
    """The settings that use the certificates, to be changed."""
    tls = yaml.safe_load((certificates / "dask.yaml").read_text())
    with dask.config.set(distributed=dask.config.merge(dask.config.get("distributed"), tls["distributed"])):
        yield certificates


def refusal():
    """Why a client goes to no scheduler: nothing listens there, and nobody is asked."""
    with pytest.raises(SettingsError) as refused, cluster("tls://127.0.0.1:1"):
        pass
    return str(refused.value)


def valid_for(folder, begin, end):
    """Make the certificate of a folder one that is valid from and to so many days from now."""
    own_key, ca_key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    now = datetime.datetime.now(datetime.UTC)

    def certificate(name, key, issuer):
        return (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
            .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now + datetime.timedelta(days=begin if name == "isophase" else -900))
            .not_valid_after(now + datetime.timedelta(days=end if name == "isophase" else 900))
            .sign(ca_key, hashes.SHA256())
            .public_bytes(serialization.Encoding.PEM)
        )

    (folder / "ca.pem").write_bytes(certificate("isophase authority", ca_key, "isophase authority"))
    (folder / "cert.pem").write_bytes(certificate("isophase", own_key, "isophase authority"))
    (folder / "key.pem").write_bytes(own_key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ))  # fmt: skip


@pytest.mark.parametrize(("begin", "end", "says"), [(-800, -3, "expired on {}"), (3, 800, "valid from {}")])
def test_a_certificate_whose_time_is_over_or_has_not_come_is_named_with_the_day(given, begin, end, says):
    valid_for(given, begin, end)
    day = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=end if end < 0 else begin)
    assert f"certificate {given}/cert.pem: {says.format(day.strftime('%Y-%m-%d'))}" in refusal()


def test_a_key_of_another_certificate_is_named(given, tmp_path):
    keep_certificates(tmp_path / "foreign")
    (given / "key.pem").write_bytes((tmp_path / "foreign" / "key.pem").read_bytes())
    assert refusal() == f"key {given}/key.pem: belongs to another certificate than {given}/cert.pem"


def test_a_certificate_that_the_authority_has_not_issued_is_named(given):
    valid_for(given, -1, 1)
    certificate = (given / "cert.pem").read_bytes()
    other = x509.load_pem_x509_certificate(certificate)
    assert other.issuer.rfc4514_string() == "CN=isophase authority"
    with dask.config.set({"distributed.comm.tls.ca-file": str(given / "cert.pem")}):
        assert f"certificate {given}/cert.pem: issued by CN=isophase authority, who is not in " in refusal()


@pytest.mark.parametrize("name", ["ca.pem", "cert.pem", "key.pem"])
@pytest.mark.parametrize("content", [None, b"nonsense"])
def test_a_certificate_or_key_that_cannot_be_read_is_named(given, name, content):
    if content is None:
        (given / name).unlink()
    else:
        (given / name).write_bytes(content)
    said = refusal()
    assert f"{given}/{name}: " in said
    assert ("No such file" if content is None else "not a readable PEM") in said
    assert len(said.splitlines()) == 1
