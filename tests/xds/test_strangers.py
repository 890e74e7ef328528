"""What the xDS port answers, and to whom: two methods, for workloads of this mesh, and nothing is read before that."""

import asyncio
import pkgutil
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path

import envoy.service
import grpc
import h2.connection
import h2.events
import pytest

from controlplane.base.identity import parse_identity
from controlplane.xds.caller import read_certificate
from controlplane.xds.server import METHODS
from tests import spiffe
from tests.tls import Signed, signed
from tests.xds.raw import PATIENCE, PERMISSION_DENIED, UNAUTHENTICATED, UNIMPLEMENTED, connected, context_for, head
from tests.xds.tls import OTHER, ROOT, SERVER, WEB, Generations, connect, tls_served

# What other servers have beside their own services.
USUAL = (
    "/grpc.health.v1.Health/Check",
    "/grpc.health.v1.Health/Watch",
    "/grpc.health.v1.Health/List",
    "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
    "/grpc.channelz.v1.Channelz/GetTopChannels",
    "/grpc.channelz.v1.Channelz/GetServers",
    "/istio.v1.auth.IstioCertificateService/CreateCertificate",
    "/istio.security.v1.IstioCertificateService/CreateCertificate",
    "/grpc.lb.v1.LoadBalancer/BalanceLoad",
)
METHOD = METHODS[0]
SPELLINGS = (
    METHOD.upper(),
    METHOD.lower(),
    METHOD + "/",
    METHOD + "?",
    METHOD + "#",
    METHOD + "%00",
    METHOD.replace("/", "//"),
    METHOD.replace("/Delta", "/%44elta"),
    METHOD.replace("/Delta", "/./Delta"),
    METHOD.removeprefix("/"),
    METHOD.rpartition("/")[0],
    METHOD.rpartition("/")[0] + "/",
    "/" + METHOD.rpartition("/")[2],
    METHOD.replace("v3", "v2"),
    "/",
    "*",
)


def methods() -> Iterator[str]:
    """Every method of every service Envoy knows of."""
    for module in pkgutil.walk_packages(envoy.service.__path__, "envoy.service."):
        if module.name.endswith("_pb2"):
            for service in import_module(module.name).DESCRIPTOR.services_by_name.values():
                yield from (f"/{service.full_name}/{method.name}" for method in service.methods)


@pytest.fixture
def generations(tmp_path: Path) -> Generations:
    made = Generations(tmp_path)
    made.write(SERVER.pem, SERVER.key_pem, ROOT.pem)
    return made


async def test_of_all_methods_there_are_two_exist(generations: Generations):
    known = set(methods())
    assert set(METHODS) < known
    assert len(known) > 60
    asked = sorted(known.union(USUAL, SPELLINGS) - set(METHODS))
    async with tls_served(generations) as (proxies, port, _):
        for path in asked:  # the answer does not wait for a body
            async with connected(port, context_for(WEB)) as raw:
                assert (await raw.call(path, end=False)).grpc_status == UNIMPLEMENTED, path
        assert not proxies.gone


async def test_the_body_of_a_method_that_does_not_exist_is_not_taken(generations: Generations):
    async with tls_served(generations) as (_, port, _server), connected(port, context_for(WEB)) as raw:
        body = b"\0\x04\0\0\0" + b"x" * (64 << 20)
        reply = await raw.call("/envoy.service.cluster.v3.ClusterDiscoveryService/StreamClusters", body)
        assert reply.grpc_status == UNIMPLEMENTED
        assert reply.accepted < 256 * 1024


@pytest.mark.parametrize("method", METHODS)
async def test_who_is_no_workload_of_the_mesh_is_refused_unheard(generations: Generations, method: str):
    nobody = signed("somebody.example.com", ROOT)  # of our authority, but a server
    async with tls_served(generations) as (proxies, port, _), connected(port, context_for(nobody)) as raw:
        body = b"\0\x01\0\0\0" + b"x" * (16 << 20)
        reply = await raw.call(method, body, end=False)
        assert reply.grpc_status == PERMISSION_DENIED
        assert reply.accepted < 256 * 1024
        assert not proxies.gone


@pytest.mark.parametrize("spelling", spiffe.WRONG, ids=lambda spelling: spelling.label)
async def test_what_only_looks_like_a_workload_is_none(generations: Generations, spelling: spiffe.Spelling):
    """TLS may refuse it, or the port does: it is never served as the workload it looks like."""
    shown = spiffe.certificate(spelling, ROOT)
    said = parse_identity(read_certificate(shown.pem)[0])
    assert said != parse_identity(spiffe.GOOD)
    async with tls_served(generations) as (proxies, port, _):
        await connect(port, ROOT, shown)
        assert [proxy.service_account for proxy in proxies.seen] in ([], ["web2"])  # which is somebody else


async def test_the_right_spelling_is_served(generations: Generations):
    async with tls_served(generations) as (_, port, _server):
        answer = await connect(port, ROOT, spiffe.certificate(spiffe.RIGHT, ROOT))
        assert [each.name for each in answer.resources] == ["a"]


@pytest.mark.parametrize("client", [None, signed("web", OTHER, uri=spiffe.GOOD), signed("web", uri=spiffe.GOOD)])
async def test_without_a_certificate_of_the_mesh_no_http_is_spoken(generations: Generations, client):
    async with tls_served(generations) as (proxies, port, _):
        with pytest.raises((ssl.SSLError, ConnectionError)):
            async with connected(port, context_for(client)) as raw:
                await raw.call(METHOD)
        assert not proxies.gone


async def test_plain_text_is_not_spoken(generations: Generations):
    async with tls_served(generations) as (_, port, _server), connected(port, None) as raw:
        with pytest.raises(ConnectionError):
            await raw.call(METHOD)


@pytest.mark.parametrize(
    "server",
    [
        pytest.param(signed("localhost"), id="self-signed"),
        pytest.param(signed("localhost", OTHER), id="of another mesh"),
        pytest.param(signed("localhost", ROOT, days=-0.001), id="expired"),
        pytest.param(signed("elsewhere", ROOT), id="of another name"),
        pytest.param(WEB, id="a workload's"),
    ],
)
async def test_who_stands_in_the_middle_is_not_talked_to(generations: Generations, server):
    """The other side of the same handshake: what proxies trust is the bundle and the name, both."""
    generations.write(server.pem, server.key_pem, ROOT.pem)
    async with tls_served(generations) as (proxies, port, _):
        assert await connect(port, ROOT, WEB) == grpc.StatusCode.UNAVAILABLE
        assert not proxies.gone


TLS_VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]


@pytest.mark.parametrize("version", TLS_VERSIONS)
async def test_who_was_trusted_once_is_no_more_when_its_certificate_is_over(generations: Generations, version):
    """TLS sessions may be resumed, and nobody looks at certificates then: their end counts all the same."""
    short = signed("web", ROOT, uri=spiffe.GOOD, days=2.5 / 86_400)
    async with tls_served(generations) as (proxies, port, _):
        session = await asyncio.to_thread(Session, port, short, version)
        await asyncio.sleep((short.certificate.not_valid_after_utc - datetime.now(UTC)).total_seconds() + 0.1)
        assert await asyncio.to_thread(session.status) in {"", UNAUTHENTICATED}
        assert not proxies.gone


@pytest.mark.parametrize("version", TLS_VERSIONS)
async def test_who_was_trusted_once_is_no_more_when_its_root_is_not(generations: Generations, version):
    async with tls_served(generations) as (proxies, port, _):
        session = await asyncio.to_thread(Session, port, WEB, version)
        generations.write(SERVER.pem, SERVER.key_pem, OTHER.pem)
        await connect(port, ROOT, None)  # at the next handshake the server takes up what is there now
        assert await asyncio.to_thread(session.status) == ""
        assert not proxies.gone


class Session:
    """A TLS session that was begun once, and is resumed."""

    def __init__(self, port: int, client: Signed, version: ssl.TLSVersion) -> None:
        self._port = port
        self._context = context_for(client)
        self._context.maximum_version = version
        self._session: ssl.SSLSession | None = None
        with self._connected() as tls:
            self._begin(tls)
            tls.recv(65_536)  # the ticket comes with the first answer
            self._session = tls.session

    def status(self) -> str:
        """The gRPC status of a call that says nothing; "": there was no connection."""
        try:
            with self._connected() as tls:
                http = self._begin(tls)
                while received := tls.recv(65_536):
                    for event in http.receive_data(received):
                        if isinstance(event, h2.events.ResponseReceived | h2.events.TrailersReceived):
                            return dict(event.headers or ()).get(b"grpc-status", b"").decode()
        except OSError:
            pass
        return ""

    @contextmanager
    def _connected(self) -> Iterator[ssl.SSLSocket]:
        with (
            socket.create_connection(("127.0.0.1", self._port), timeout=PATIENCE) as plain,
            self._context.wrap_socket(plain, server_hostname="localhost", session=self._session) as tls,
        ):
            yield tls

    def _begin(self, tls: ssl.SSLSocket) -> h2.connection.H2Connection:
        http = h2.connection.H2Connection()
        http.initiate_connection()
        http.send_headers(1, head(METHOD))
        tls.sendall(http.data_to_send())
        return http
