"""Certificates: what is written, and that Dask talks to nobody without them."""

import os
import stat

import dask
import pytest
import yaml
from cryptography import x509
from distributed import Client, LocalCluster, Security

from isophase.flows.certs import make_certificates
from isophase.flows.cli import main
from isophase.flows.cluster import ClusterError, cluster


@pytest.fixture
def certificates(tmp_path):
    make_certificates(tmp_path / "certs")
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


def test_only_its_owner_reads_the_key_and_the_authority_s_key_is_nowhere(certificates):
    assert sorted(path.name for path in certificates.iterdir()) == ["ca.pem", "cert.pem", "dask.yaml", "key.pem"]
    assert stat.S_IMODE((certificates / "key.pem").stat().st_mode) == 0o600
    holders = [path.name for path in certificates.iterdir() if b"PRIVATE KEY" in path.read_bytes()]
    assert holders == ["key.pem"]
    issued, authority = (
        x509.load_pem_x509_certificate((certificates / name).read_bytes()) for name in ("cert.pem", "ca.pem")
    )
    issued.verify_directly_issued_by(authority)
    assert not issued.extensions.get_extension_for_class(x509.BasicConstraints).value.ca


def test_certificates_in_use_are_never_overwritten(tmp_path, capsys):
    assert main(["certs", str(tmp_path / "certs")]) == 0
    key = (tmp_path / "certs" / "key.pem").read_bytes()
    assert f"DASK_CONFIG={tmp_path}/certs/dask.yaml" in capsys.readouterr().out
    assert main(["certs", str(tmp_path / "certs")]) == 2
    error = capsys.readouterr().err
    assert "is there already" in error
    assert len(error.splitlines()) == 1
    assert (tmp_path / "certs" / "key.pem").read_bytes() == key


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
    make_certificates(tmp_path / "foreign")
    monkeypatch.setattr("isophase.flows.cluster.CONNECT_TIMEOUT", "1s")
    with pytest.raises(OSError, match=r"Timed out|certificate"):
        Client(tls_scheduler, security=security(tmp_path / "foreign"), timeout="2s")
