"""Certificates of a real gateway: one that is missing, broken, late or over is its own server's business."""

import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from controlplane.model.meta import ref_of
from tests.live.fleet import Fleet, fleet
from tests.live.nodes import ground, nodes
from tests.meshes import decoded
from tests.meshes.words import INGRESS
from tests.secrets import secret
from tests.tls import Signed, client_context, signed

PORT = 10_443
ROOT = signed("root")
HOSTS = ("good", "subject")
FIELD = "spec.servers[1].tls.credentialName"
PATIENCE = 30.0  # seconds


class Gate:
    """A gateway with a server for each host on one port, each with a Secret of its own."""

    def __init__(self, envoys: Fleet, address: str) -> None:
        self.envoys, self.address = envoys, address

    def show(self, mode: str = "SIMPLE", **secrets: dict[str, bytes] | None) -> None:
        """The Secret of each host as it is from now on; None: there is none."""
        made = (secret(name, INGRESS, **data) for name, data in secrets.items() if data is not None)
        values = [decoded(document) for document in (gateway(mode), *made)]
        self.envoys.show({ref_of(value): value for value in values})

    def told(self, *codes: str) -> list[str]:
        """What the author of the Gateway is told, at the field that names the Secret."""

        async def ask() -> list[str]:
            found = [one for one in self.envoys._plane.problems() if one.code in codes]
            assert all(one.origin.path == FIELD for one in found if one.origin.ref.kind == "Gateway")
            return [one.message.partition(";")[0] for one in found if one.origin.ref.kind != "Secret"]

        found: list[str] = self.envoys._in_loop(ask())
        return found

    def serves(self, host: str, client: Signed | None = None) -> bytes:
        """What certificate a client gets, DER; b"" when it is not let in under this name."""
        context = client_context(ROOT, client)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        try:
            with self._connected(host, context) as tls:
                tls.sendall(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
                return (tls.getpeercert(binary_form=True) or b"") if tls.recv(1) else b""
        except OSError:
            return b""

    def refused_by_a_client(self, host: str) -> bool:
        """Whether a client that looks at certificates goes away."""
        with pytest.raises(ssl.SSLCertVerificationError), self._connected(host, client_context(ROOT)):
            pass
        return True

    @contextmanager
    def _connected(self, host: str, context: ssl.SSLContext) -> Iterator[ssl.SSLSocket]:
        with (
            socket.create_connection((self.address, PORT), timeout=PATIENCE) as plain,
            context.wrap_socket(plain, server_hostname=f"{host}.example.com") as tls,
        ):
            yield tls

    def until(self, host: str, shown: bytes, client: Signed | None = None) -> None:
        deadline = time.monotonic() + PATIENCE
        while self.serves(host, client) != shown:
            assert time.monotonic() < deadline, (host, self.envoys.nacks, self.told("InvalidGatewayCredential"))
            time.sleep(0.01)


def gateway(mode: str) -> dict[str, Any]:
    servers = [
        {
            "port": {"number": 443, "name": f"https-{host}", "protocol": "HTTPS"},
            "hosts": [f"{host}.example.com"],
            "tls": {"mode": mode, "credentialName": host},
        }
        for host in HOSTS
    ]
    meta = {"name": "edge", "namespace": INGRESS}
    spec = {"selector": {"istio": "ingressgateway"}, "servers": servers}
    return {"apiVersion": "networking.istio.io/v1", "kind": "Gateway", "metadata": meta, "spec": spec}


def pair(made: Signed) -> dict[str, bytes]:
    return {"tls_crt": made.pem, "tls_key": made.key_pem}


GOOD, NEXT, OTHER = (signed(f"{name}.example.com", ROOT) for name in ("good", "good", "subject"))
EXPIRED = signed("subject.example.com", ROOT, days=-0.001)
STRANGER = signed("another root")
CLIENT = signed("client", ROOT)
GARBAGE = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
BAD = "InvalidGatewayCredential"
OWN = "Secret istio-ingress/subject: "
CASES: list[tuple[dict[str, bytes] | None, str, str]] = [
    (None, BAD, "there is no Secret istio-ingress/subject"),
    ({"tls_crt": GARBAGE, "tls_key": OTHER.key_pem}, BAD, f"{OWN}its certificate cannot be read"),
    ({"tls_crt": OTHER.pem, "tls_key": GOOD.key_pem}, BAD, f"{OWN}its private key is not that of its certificate"),
    ({"tls_crt": OTHER.pem}, BAD, f"{OWN}it has no PEM under tls.crt+tls.key or cert+key"),
    ({"tls_crt": b"\0\xff", "tls_key": b"x"}, BAD, f"{OWN}it has no PEM under tls.crt+tls.key or cert+key"),
    (pair(EXPIRED), "CertificateExpired", "the certificate ended at "),
]


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[Gate]:
    where = ground(tmp_path)
    (node,) = [one for one in nodes(where) if one[0].name == "gateway"]
    with fleet([node]) as envoys:
        yield Gate(envoys, f"{where.bind}.3")


@pytest.mark.point
def test_each_secret_is_its_own_server_s_business(gate, proved):
    """On one port: while one host's Secret is anything at all, the other's is served, and renewed without a restart."""
    gate.show(good=pair(GOOD), subject=None)
    gate.until("good", GOOD.der)
    assert gate.serves("subject") == b""
    assert gate.told("InvalidGatewayCredential") == ["there is no Secret istio-ingress/subject"]
    started = gate.envoys.members[0].envoy.pid
    slowest, shown = 0.0, GOOD
    for data, code, said in CASES:
        gate.show(good=pair(shown), subject=pair(OTHER))
        gate.until("subject", OTHER.der)
        assert gate.told("InvalidGatewayCredential", "CertificateExpired", "RefusedByProxy") == []
        shown = NEXT if shown is GOOD else GOOD
        begun = time.monotonic()
        gate.show(good=pair(shown), subject=data)
        gate.until("good", shown.der)
        slowest = max(slowest, time.monotonic() - begun)
        assert gate.serves("subject") == (EXPIRED.der if code == "CertificateExpired" else OTHER.der)
        assert [one[: len(said)] for one in gate.told(code)] == [said]
        if code == "CertificateExpired":
            assert gate.refused_by_a_client("subject")
    assert gate.envoys.nacks == []
    gate.envoys.members[0].envoy.check_alive()
    assert gate.envoys.members[0].envoy.pid == started
    proved(
        "identity 6", "Secrets of one server on a port missing, broken or over: until the other is served its renewal",
        bound="no restart, < 2 s", figure=f"{slowest:.1f} s", holds=slowest < 2, cases=len(CASES), asked=6,
    )  # fmt: skip


def test_a_bundle_that_is_missing_lets_nobody_in(gate):
    """Where client certificates are asked for and nothing says whose are good, nobody has one."""
    gate.show(mode="MUTUAL", good=pair(GOOD), subject={**pair(OTHER), "ca.crt": ROOT.pem})
    gate.until("subject", OTHER.der, client=CLIENT)
    assert gate.serves("good", client=CLIENT) == b""
    gate.show(mode="MUTUAL", good={**pair(GOOD), "ca.crt": STRANGER.pem}, subject={**pair(OTHER), "ca.crt": ROOT.pem})
    gate.until("good", GOOD.der, client=signed("client", STRANGER))
    assert gate.serves("good", client=CLIENT) == b""
    assert gate.serves("subject", client=CLIENT) == OTHER.der


def test_generic_secrets_are_as_good(gate):
    generic = {"cert": GOOD.pem, "key": GOOD.key_pem, "cacert": ROOT.pem}
    gate.show(mode="MUTUAL", good=generic, subject=None)
    gate.until("good", GOOD.der, client=CLIENT)
    assert gate.serves("good") == b""
