"""Certificates of a real gateway: one that is missing, broken, late or over is its own server's business."""

import socket
import ssl
import time
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography import x509

from controlplane.model.meta import ref_of
from controlplane.model.problem import ObjectRef
from tests.envoys.certificates import root_certificate
from tests.envoys.upstreams import loopback_address
from tests.live.fleet import Fleet, fleet
from tests.live.nodes import ground, nodes
from tests.meshes import decoded
from tests.meshes.words import INGRESS
from tests.tls import Signed, client_context, signed

PORT = 10_443
ROOT = signed("root")
HOSTS = ("good", "subject")


class Gate:
    """A gateway with a server for each host on one port, each with a Secret of its own."""

    def __init__(self, envoys: Fleet, address: str) -> None:
        self.envoys, self.address = envoys, address
        self._objects: dict[ObjectRef, Any] = {}

    def show(self, **secrets: dict[str, bytes] | None) -> None:
        """The Secret of each host as it is from now on; None: there is none."""
        documents = [gateway(), *(secret(name, data) for name, data in secrets.items() if data is not None)]
        self._objects = {ref_of(value): value for value in map(decoded, documents)}
        self.envoys.show(self._objects)

    def problems(self, code: str = "InvalidGatewayCredential") -> list[str]:
        async def ask() -> list[str]:
            found = self.envoys._plane.problems()
            return [f"{one.origin} {one.message}" for one in found if one.code == code]

        found: list[str] = self.envoys._in_loop(ask())
        return found

    def serves(self, host: str) -> Signed | str:
        """What certificate a client gets, DER; "" when there is no TLS for this name."""
        context = client_context(ROOT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        try:
            with (
                socket.create_connection((self.address, PORT), timeout=5) as plain,
                context.wrap_socket(plain, server_hostname=f"{host}.example.com") as tls,
            ):
                return tls.getpeercert(binary_form=True) or b""
        except OSError:
            return b""

    def until(self, host: str, shown: bytes, seconds: float = 15) -> None:
        deadline = time.monotonic() + seconds
        while self.serves(host) != shown:
            assert time.monotonic() < deadline, (host, self.envoys.nacks, self.problems())
            time.sleep(0.02)


def gateway() -> dict[str, Any]:
    servers = [
        {
            "port": {"number": 443 + 10_000 - 10_000, "name": f"https-{host}", "protocol": "HTTPS"},
            "hosts": [f"{host}.example.com"],
            "tls": {"mode": "SIMPLE", "credentialName": host},
        }
        for host in HOSTS
    ]
    meta = {"name": "edge", "namespace": INGRESS}
    spec = {"selector": {"istio": "ingressgateway"}, "servers": servers}
    return {"apiVersion": "networking.istio.io/v1", "kind": "Gateway", "metadata": meta, "spec": spec}


def secret(name: str, data: dict[str, bytes]) -> dict[str, Any]:
    encoded = {key: b64encode(value).decode() for key, value in data.items()}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "namespace": INGRESS}, "data": encoded}


def pair(made: Signed) -> dict[str, bytes]:
    return {"tls.crt": made.pem, "tls.key": made.key_pem}


GOOD, NEXT, OTHER = (signed(f"{name}.example.com", ROOT) for name in ("good", "good", "subject"))
EXPIRED = signed("subject.example.com", ROOT, days=-0.001)


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[Gate]:
    where = ground(tmp_path)
    (node,) = [one for one in nodes(where) if one[0].name == "gateway"]
    with fleet([node]) as envoys:
        yield Gate(envoys, f"{where.bind}.3")


def test_probe(gate):
    t = time.monotonic()
    gate.show(good=pair(GOOD), subject=None)
    gate.until("good", GOOD.der); print("missing: good after", time.monotonic()-t, gate.problems(), gate.envoys.nacks)
    t = time.monotonic()
    gate.show(good=pair(GOOD), subject=pair(OTHER))
    gate.until("subject", OTHER.der); print("appears after", time.monotonic()-t)
    for name, data in {
        "garbage": {"tls.crt": b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "tls.key": OTHER.key_pem},
        "mismatch": {"tls.crt": OTHER.pem, "tls.key": GOOD.key_pem},
        "nokey": {"tls.crt": OTHER.pem},
        "expired": pair(EXPIRED),
    }.items():
        t = time.monotonic()
        gate.show(good=pair(NEXT), subject=data)
        gate.until("good", NEXT.der); print(name, "good after", time.monotonic()-t, gate.problems(), gate.envoys.nacks[-1:], "subject shows", gate.serves("subject") == OTHER.der)
        time.sleep(.5)
        gate.show(good=pair(GOOD), subject=pair(OTHER))
        gate.until("good", GOOD.der)
        gate.until("subject", OTHER.der)
        time.sleep(1); print(gate.envoys.nacks[-1:])
