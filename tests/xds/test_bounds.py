"""How much of everything one caller may have, over real TCP."""

import asyncio
import time
from contextlib import AsyncExitStack

import grpc
import pytest
from envoy.service.discovery.v3 import discovery_pb2
from structlog.testing import capture_logs

from controlplane.snapshot.types import CLUSTER, ENDPOINT
from controlplane.xds.protocol import wire
from controlplane.xds.server import METHODS, ServerSettings
from tests.tls import signed
from tests.xds.raw import PATIENCE, RESOURCE_EXHAUSTED, connected, context_for
from tests.xds.served import NODE, Client
from tests.xds.test_server import until
from tests.xds.tls import ROOT, SERVER, SPIFFE, WEB, Generations, connect, tls_served

DELTA = METHODS[0]


@pytest.fixture
def generations(tmp_path):
    made = Generations(tmp_path)
    made.write(SERVER.pem, SERVER.key_pem, ROOT.pem)
    return made


def channel(port, client=WEB):
    credentials = grpc.ssl_channel_credentials(ROOT.pem, client.key_pem, client.pem)
    options = [("grpc.use_local_subchannel_pool", 1), ("grpc.enable_retries", 0)]
    return grpc.aio.secure_channel(f"localhost:{port}", credentials, options=options)


async def begun(one):
    """A stream that was served something."""
    client = Client(one)
    await client.send(CLUSTER)
    await client.read()
    return client


@pytest.mark.parametrize("tls", [False, True])
async def test_who_does_not_finish_its_handshake_is_cut_off(generations, tls):
    """TLS, and then the first words of HTTP/2."""
    async with tls_served(generations, settings=ServerSettings(handshake=0.3)) as (_, port, _server):
        context = context_for(WEB) if tls else None
        async with connected(port, context) as raw, asyncio.timeout(PATIENCE):
            start = time.monotonic()
            while await raw.reader.read(65_536):
                pass
            assert 0.2 < time.monotonic() - start < 3


async def test_there_are_so_many_connections_and_no_more(generations):
    three = ServerSettings(connections=3)
    async with tls_served(generations, settings=three) as (_, port, _server), AsyncExitStack() as here:
        ones = [await here.enter_async_context(connected(port, context_for(WEB))) for _ in range(3)]
        for one in ones:
            await one.settle()
        async with connected(port, None) as one_more:
            assert await one_more.reader.read() == b""
        ones[0].writer.transport.abort()
        async with asyncio.timeout(PATIENCE):
            while await connect(port, ROOT, WEB) is grpc.StatusCode.UNAVAILABLE:
                pass  # the room of the one that left is free when the server has noticed


async def test_a_connection_has_a_few_streams(generations):
    """The next one waits at the client, which was told so."""
    two = ServerSettings(streams=2)
    async with tls_served(generations, settings=two) as (proxies, port, _), channel(port) as one:
        streams = [await begun(one) for _ in range(2)]
        third = Client(one)
        asking = asyncio.ensure_future(third.send(CLUSTER))
        await asyncio.sleep(0.3)  # as long as it may take to break the rule
        assert len(proxies.here) == 2
        await streams[0].close()
        await asking
        await asyncio.wait_for(third.read(), 5)


async def test_an_identity_has_so_many_streams_from_one_address(generations):
    other = signed("other", ROOT, uri=SPIFFE.replace("web", "other"))
    async with tls_served(generations, settings=ServerSettings(streams_of_caller=2)) as (_, port, server):
        ones = [channel(port) for _ in range(3)]
        streams = [await begun(one) for one in ones[:2]]
        async with connected(port, context_for(WEB)) as raw:
            assert (await raw.call(DELTA, end=False)).grpc_status == RESOURCE_EXHAUSTED
        async with channel(port, other) as another:
            await begun(another)  # is somebody else
        streams[0].cancel()
        await until(lambda: server._callers.total() == 1)
        await begun(ones[2])
        for one in ones:
            await one.close()
        await until(lambda: not server._callers)


async def test_headers_are_small(generations):
    async with tls_served(generations) as (proxies, port, _), connected(port, context_for(WEB)) as raw:
        await raw.settle()
        reply = await raw.call(DELTA, more=[("x-large", "x" * 20_000)], end=False)
        assert reply.grpc_status == RESOURCE_EXHAUSTED
        assert not proxies.gone


async def test_a_message_that_says_it_is_too_large_is_not_waited_for(generations):
    async with tls_served(generations) as (proxies, port, _), connected(port, context_for(WEB)) as raw:
        size = ServerSettings().largest_request + 1
        reply = await raw.call(DELTA, b"\0" + size.to_bytes(4, "big") + b"x", end=False)
        assert reply.grpc_status == RESOURCE_EXHAUSTED
        assert not proxies.gone


def request(**fields):
    message = discovery_pb2.DeltaDiscoveryRequest(type_url=ENDPOINT, **fields)
    message.node.id = NODE
    return message


def too_many_names():
    return request(resource_names_subscribe=["x"] * (wire.MOST_NAMES + 1))


def too_long_a_name():
    return request(resource_names_subscribe=["x" * (wire.LONGEST_NAME + 1)])


def too_long_a_type():
    found = request()
    found.type_url = "x" * (wire.LONGEST_NAME + 1)
    return found


def too_large_a_node():
    found = request()
    found.node.metadata.fields["x"].string_value = "x" * wire.LARGEST_NODE
    return found


def too_long_a_node_id():
    found = request()
    found.node.id = "sidecar~1.2.3.4~" + "x" * wire.LONGEST_NAME + ".shop~d"
    return found


@pytest.mark.parametrize(
    "made", [too_many_names, too_long_a_name, too_long_a_type, too_large_a_node, too_long_a_node_id]
)
async def test_a_request_has_bounds_of_its_own(generations, made):
    async with tls_served(generations) as (_, port, _server), channel(port) as one:
        client = Client(one)
        await client.send_raw(made().SerializeToString())
        assert await client.code() == grpc.StatusCode.INVALID_ARGUMENT


async def test_names_that_nobody_has_are_kept_up_to_a_size(generations):

    async def ask_for_ever(client):
        for number in range(64):
            names = [f"{number}-{place}-".ljust(4000, "x") for place in range(500)]
            await client.send(ENDPOINT, resource_names_subscribe=names)
            await client.read()

    async with tls_served(generations) as (proxies, port, _), channel(port) as one:
        client = await begun(one)
        with capture_logs() as said, pytest.raises((AssertionError, grpc.aio.AioRpcError)):
            await asyncio.wait_for(ask_for_ever(client), 60)
        assert "bytes of names" in said[-1]["why"]
        assert not proxies.here


async def test_whoever_pings_without_end_is_let_go(generations):
    async with tls_served(generations) as (_, port, _server), connected(port, context_for(WEB)) as raw:
        for _ in range(100):
            raw.http.ping(b"12345678")
        with pytest.raises(ConnectionError):
            await raw.call(DELTA)


async def test_whoever_ends_badly_without_end_does_not_fill_the_log(generations):
    other = signed("other", ROOT, uri=SPIFFE.replace("web", "other"))
    async with tls_served(generations) as (_, port, _server), channel(port) as one, channel(port, other) as another:
        with capture_logs() as said:
            for each in [one] * 30 + [another]:
                client = Client(each)
                await client.send_raw(b"\xff")
                assert await client.code() == grpc.StatusCode.INVALID_ARGUMENT
    told = [line["identity"] for line in said if line["event"] == "xds stream ends"]
    assert 20 <= told.count(SPIFFE) < 25  # a few at once, and then one in a while
    assert told[-1] == SPIFFE.replace("web", "other")
