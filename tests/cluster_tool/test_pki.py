"""Certificates that TLS accepts, and kubeconfigs that carry them."""

import json
import ssl
import subprocess
from pathlib import Path

import pytest

from hack.cluster import pki


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Certificates for one cluster."""
    made = tmp_path_factory.mktemp("pki") / "pki"
    pki.create(made, pki.identities("mens", "10.89.0.1"))
    return made


def _text(certificate: Path) -> str:
    command = ["openssl", "x509", "-in", str(certificate), "-noout", "-text"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize("identity", pki.identities("mens", "10.89.0.1"), ids=lambda one: one.name)
def test_every_certificate_verifies(folder: Path, identity: pki.Identity) -> None:
    """Each is signed by the cluster's own authority for the use it is meant for."""
    purpose = "sslserver" if identity.server_names else "sslclient"
    command = ["openssl", "verify", "-CAfile", "ca.crt", "-purpose", purpose, "-x509_strict"]
    done = subprocess.run(
        [*command, f"{identity.name}.crt"], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_server_answers_for_every_way_in(folder: Path) -> None:
    """From the host, from the node and from pods by address and name."""
    text = _text(folder / "apiserver.crt")
    for name in ("IP Address:127.0.0.1", "IP Address:10.96.0.1", "DNS:kubernetes.default.svc"):
        assert name in text


def test_serial_numbers_differ(folder: Path) -> None:
    """Certificates signed side by side do not share a number."""
    serials = [
        _text(each).split("Serial Number:")[1].split("Signature")[0]
        for each in folder.glob("*.crt")
    ]
    assert len(serials) == len(set(serials))


def test_only_the_owner_reads_keys(folder: Path) -> None:
    """No key is readable by others."""
    assert [each for each in folder.glob("*.key") if each.stat().st_mode & 0o077] == []


def test_kubeconfig_is_complete(folder: Path) -> None:
    """A client needs no other file."""
    shown = json.loads(pki.kubeconfig(folder, "admin", "https://127.0.0.1:1"))
    assert shown["clusters"][0]["cluster"]["server"] == "https://127.0.0.1:1"
    assert set(shown["users"][0]["user"]) == {"client-certificate-data", "client-key-data"}


def test_python_accepts_the_pair(folder: Path) -> None:
    """Certificate and key belong together."""
    context = ssl.create_default_context(cafile=str(folder / "ca.crt"))
    context.load_cert_chain(folder / "admin.crt", folder / "admin.key")
