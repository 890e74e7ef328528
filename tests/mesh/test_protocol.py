"""Which protocol a port speaks, from appProtocol, its name, or its number."""

import pytest

from controlplane.ir.service import Protocol
from controlplane.mesh import protocol


@pytest.mark.parametrize(
    ("name", "spoken"),
    [
        ("http", Protocol.HTTP),
        ("http-web", Protocol.HTTP),
        ("HTTP-Web", Protocol.HTTP),
        ("http2-x", Protocol.HTTP2),
        ("grpc", Protocol.GRPC),
        ("grpc-web", Protocol.GRPC_WEB),
        ("grpc-web-ui", Protocol.GRPC_WEB),
        ("https-x", Protocol.HTTPS),
        ("tls", Protocol.TLS),
        ("tcp-db", Protocol.TCP),
        ("mongo", Protocol.MONGO),
        ("mysql", Protocol.MYSQL),
        ("redis-cache", Protocol.REDIS),
        ("httpx", Protocol.AUTO),  # only what stands before a dash counts
        ("web", Protocol.AUTO),
        ("", Protocol.AUTO),
    ],
)
def test_the_name_says_it(name, spoken):
    assert protocol.of_service_port(name, 9080, None) is spoken


@pytest.mark.parametrize(
    ("app_protocol", "spoken"),
    [
        ("tcp", Protocol.TCP),
        ("kubernetes.io/h2c", Protocol.HTTP2),
        ("kubernetes.io/ws", Protocol.HTTP),
        ("kubernetes.io/wss", Protocol.HTTPS),
        ("GRPC", Protocol.GRPC),
        ("example.com/own", Protocol.AUTO),  # unknown: the name does not step in
    ],
)
def test_app_protocol_wins_over_the_name(app_protocol, spoken):
    assert protocol.of_service_port("http", 9080, app_protocol) is spoken


@pytest.mark.parametrize("port", [25, 53, 3306, 27017])
def test_ports_whose_servers_speak_first_are_not_sniffed(port):
    assert protocol.of_service_port("", port, None) is Protocol.TCP
    assert protocol.of_service_port("http", port, None) is Protocol.HTTP


@pytest.mark.parametrize(
    ("declared", "spoken"),
    [("HTTP", Protocol.HTTP), ("GRPC-WEB", Protocol.GRPC_WEB), ("", Protocol.AUTO), ("QUIC", None)],
)
def test_a_service_entry_says_it_outright(declared, spoken):
    assert protocol.of_declared(declared) is spoken
