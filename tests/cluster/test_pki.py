"""The node's certificates say what Kubernetes reads in them, and verify as TLS does it."""

from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.x509.oid import NameOID
from cryptography.x509.verification import PolicyBuilder, Store

from e2e.cluster import pki

_NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("node") / "pki"
    pki.write(folder, _NOW)
    return folder


def _read(path: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificate(path.read_bytes())


def _policy(folder: Path) -> PolicyBuilder:
    return PolicyBuilder().store(Store([_read(folder / "ca.crt")])).time(_NOW + timedelta(days=7))


def test_names_and_groups_are_those_of_kubernetes_own_roles(folder: Path) -> None:
    kubelet = _read(folder / "kubelet.crt").subject
    assert kubelet.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value == "system:node:node"
    assert kubelet.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)[0].value == "system:nodes"


@pytest.mark.parametrize("address", ["127.0.0.1", "10.99.0.1", "10.96.0.1"])
def test_the_api_server_is_who_it_is_called(folder: Path, address: str) -> None:
    server = _policy(folder).build_server_verifier(x509.IPAddress(ip_address(address)))
    server.verify(_read(folder / "apiserver.crt"), [])
    named = _policy(folder).build_server_verifier(x509.DNSName("kubernetes.default.svc"))
    named.verify(_read(folder / "apiserver.crt"), [])


def test_a_client_serves_nothing(folder: Path) -> None:
    verifier = _policy(folder).build_server_verifier(x509.DNSName("kubernetes"))
    with pytest.raises(x509.verification.VerificationError):
        verifier.verify(_read(folder / "admin.crt"), [])


def test_keys_are_read_by_their_owner_alone(folder: Path) -> None:
    assert folder.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in folder.glob("*.key")} == {0o600}
    assert {path.stem for path in folder.glob("*.key")} == {*pki.SUBJECTS, "ca", "tokens"}
