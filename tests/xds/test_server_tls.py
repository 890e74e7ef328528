"""mTLS: who may connect over TCP, and certificates that change while the server runs."""

import asyncio
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import grpc
import pytest

from controlplane.base.identity import Identity, parse_identity
from controlplane.model.proxy import Proxy
from controlplane.runtime.clock import SystemClock
from controlplane.snapshot.types import CLUSTER
from controlplane.xds.admission import MeshAdmission
from controlplane.xds.caller import Caller
from controlplane.xds.credentials import Certificates
from controlplane.xds.protocol.commands import Reason
from controlplane.xds.protocol.wire import Peer
from controlplane.xds.proxies import Denied
from controlplane.xds.server import AdsServer, ServerSettings
from tests.tls import signed
from tests.xds.served import NODE, Client, MemoryProxies
from tests.xds.tls import OTHER, ROOT, SERVER, SPIFFE, WEB, Generations, connect, tls_served
from tests.xds.views import MemoryView, cluster


@pytest.fixture
def generations(tmp_path: Path) -> Generations:
    return Generations(tmp_path)


async def test_a_proxy_of_the_mesh_is_served_and_known_by_its_certificate(generations: Generations):
    generations.write(SERVER.pem, SERVER.key_pem, ROOT.pem)
    async with tls_served(generations) as (proxies, port, _):
        proxies.here.clear()
        answer = await connect(port, ROOT, WEB)
        assert [each.name for each in answer.resources] == ["a"]


async def test_without_a_certificate_there_is_no_connection(generations: Generations):
    generations.write(SERVER.pem, SERVER.key_pem, ROOT.pem)
    async with tls_served(generations) as (proxies, port, _):
        assert await connect(port, ROOT, None) == grpc.StatusCode.UNAVAILABLE
        assert not proxies.gone


async def test_a_certificate_of_another_root_is_no_connection(generations: Generations):
    generations.write(SERVER.pem, SERVER.key_pem, ROOT.pem)
    async with tls_served(generations) as (_, port, _server):
        stranger = signed("web", OTHER, uri=SPIFFE)
        assert await connect(port, ROOT, stranger) == grpc.StatusCode.UNAVAILABLE


async def test_a_certificate_of_another_namespace_is_denied(generations: Generations):
    generations.write(SERVER.pem, SERVER.key_pem, ROOT.pem)
    async with tls_served(generations) as (proxies, port, _):
        thief = signed("thief", ROOT, uri="spiffe://cluster.local/ns/other/sa/web")
        assert await connect(port, ROOT, thief) == grpc.StatusCode.PERMISSION_DENIED
        assert not proxies.gone


async def test_certificates_are_renewed_without_a_restart(generations: Generations):
    generations.write(SERVER.pem, SERVER.key_pem, ROOT.pem)
    async with tls_served(generations) as (_, port, _server):
        await connect(port, ROOT, WEB)
        server = signed("localhost", OTHER)
        generations.write(server.pem, server.key_pem, OTHER.pem)
        web = signed("web", OTHER, uri=SPIFFE)
        answer = await connect(port, OTHER, web)
        assert [each.name for each in answer.resources] == ["a"]
        assert await connect(port, OTHER, WEB) == grpc.StatusCode.UNAVAILABLE


async def test_a_renewal_that_does_not_fit_together_leaves_the_last_good_one(generations: Generations):
    generations.write(SERVER.pem, SERVER.key_pem, ROOT.pem)
    async with tls_served(generations) as (_, port, _server):
        generations.write(signed("localhost", ROOT).pem, SERVER.key_pem, ROOT.pem)
        answer = await connect(port, ROOT, WEB)
        assert [each.name for each in answer.resources] == ["a"]


def test_a_server_does_not_start_on_a_mismatched_pair(generations: Generations):
    generations.write(signed("localhost", ROOT).pem, SERVER.key_pem, ROOT.pem)
    with pytest.raises(ssl.SSLError):
        Certificates(generations.files)


async def test_a_stream_ends_before_its_certificate_does(generations: Generations):
    generations.write(SERVER.pem, SERVER.key_pem, ROOT.pem)
    async with tls_served(generations) as (_, _port, server):
        now = datetime.now(UTC)
        for seconds, jitter in ((100.0, 0.0), (100.0, 0.999), (1e9, 0.0)):
            server._randomness = lambda jitter=jitter: jitter  # type: ignore[misc]
            lifetime = server._lifetime(Caller("", SPIFFE, now + timedelta(seconds=seconds)))
            longest = min(seconds, server.settings.age)
            assert longest * (1 - server.settings.age_jitter) - 1 <= lifetime <= longest


async def test_a_connection_ends_too_or_it_would_outlive_the_certificate_it_was_made_with(generations: Generations):
    """A client that puts one stream after the other on the same connection is made to make another."""
    generations.write(SERVER.pem, SERVER.key_pem, ROOT.pem)
    addresses: list[str] = []

    class Watched(MeshAdmission):
        def __call__(self, caller: Caller, peer: Peer) -> Proxy | Denied:
            addresses.append(caller.address)
            return super().__call__(caller, peer)

    admission = Watched(frozenset({"cluster.local"}))
    settings = ServerSettings(age=0.4)
    server = AdsServer(MemoryProxies(MemoryView([cluster("a")])), SystemClock(), lambda: 0.5, settings=settings)
    port = await server.listen_tcp("127.0.0.1", 0, Certificates(generations.files), admission)
    credentials = grpc.ssl_channel_credentials(ROOT.pem, WEB.key_pem, WEB.pem)
    try:
        async with asyncio.timeout(10), grpc.aio.secure_channel(f"localhost:{port}", credentials) as channel:
            while len(set(addresses)) < 2:
                stream = Client(channel)
                await stream.send(CLUSTER)
                await stream.read()
                assert await stream.code() == grpc.StatusCode.UNAVAILABLE
    finally:
        await server.stop()
    assert addresses[0] == addresses[1], "streams shared the first connection"


@pytest.mark.parametrize(
    ("spiffe", "expected"),
    [
        ("spiffe://cluster.local/ns/shop/sa/web", Identity("cluster.local", "shop", "web")),
        ("spiffe://cluster.local/ns/shop/sa/", None),
        ("spiffe://cluster.local/ns/shop", None),
        ("spiffe://cluster.local/sa/web/ns/shop", None),
        ("https://cluster.local/ns/shop/sa/web", None),
        ("", None),
    ],
)
def test_identities(spiffe: str, expected: Identity | None):
    assert parse_identity(spiffe) == expected


def test_another_trust_domain_is_denied():
    denied = MeshAdmission(frozenset({"cluster.local"}))(Caller("", "spiffe://evil/ns/shop/sa/web"), Peer(NODE))
    assert isinstance(denied, Denied)
    assert denied.reason is Reason.PERMISSION_DENIED


def test_account_comes_from_the_certificate():
    peer = Peer(NODE, metadata={})
    proxy = MeshAdmission(frozenset({"cluster.local"}))(Caller("", SPIFFE), peer)
    assert not isinstance(proxy, Denied)
    assert (proxy.namespace, proxy.service_account) == ("shop", "web")
