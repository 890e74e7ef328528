"""The server over real gRPC: what only a socket can show. The protocol itself is tested in `protocol/`."""

import asyncio
import stat
from pathlib import Path

import grpc
import pytest
from envoy.service.discovery.v3 import discovery_pb2
from grpc._cython.cygrpc import ExecuteBatchError
from structlog.testing import capture_logs

from controlplane.runtime.clock import SystemClock
from controlplane.snapshot.resource import resource
from controlplane.snapshot.types import CLUSTER, LISTENER
from controlplane.xds.admission import admit_local
from controlplane.xds.protocol.commands import Accepted, Reason
from controlplane.xds.protocol.delta import DeltaStream
from controlplane.xds.proxies import Denied
from controlplane.xds.server import AdsServer, ServerSettings
from tests.xds.served import METHOD, NODE, Client, MemoryProxies, served
from tests.xds.views import MemoryView, cluster


async def until(true, patience: float = 30.0):
    """Wait for something the server does on its own; fails when it does not come."""
    async with asyncio.timeout(patience):
        while not true():  # noqa: ASYNC110 - what is waited for happens in code that has no event to set
            await asyncio.sleep(0.005)


async def test_delta_over_a_unix_socket(tmp_path: Path):
    async with served(tmp_path, cluster("a")) as (world, channel):
        client = Client(channel)
        await client.send(CLUSTER)
        first = await client.read()
        assert [each.name for each in first.resources] == ["a"]
        await client.ack(first)
        world.apply(cluster("b"))
        second = await client.read()
        assert [each.name for each in second.resources] == ["b"]
        await until(lambda: world.proxies.news)
        assert world.proxies.news == [Accepted(CLUSTER, first.nonce, ("a",), ())]


async def test_sotw_over_a_unix_socket(tmp_path: Path):
    async with served(tmp_path, cluster("a")) as (world, channel):
        client = Client(channel, delta=False)
        await client.send(CLUSTER)
        first = await client.read()
        await client.ack(first, version_info=first.version_info)
        world.apply(cluster("b"))
        assert len((await client.read()).resources) == 2


async def test_the_socket_is_for_its_owner_alone(tmp_path: Path):
    async with served(tmp_path):
        mode = (tmp_path / "xds.sock").stat().st_mode
        assert stat.S_ISSOCK(mode)
        assert stat.S_IMODE(mode) == 0o600


async def test_a_stale_socket_file_is_replaced(tmp_path: Path):
    async with served(tmp_path):
        pass
    async with served(tmp_path, cluster("a")) as (_, channel):
        client = Client(channel)
        await client.send(CLUSTER)
        assert (await client.read()).resources


async def test_connects_and_disconnects_are_announced(tmp_path: Path):
    async with served(tmp_path) as (world, channel):
        client = Client(channel)
        await client.send(CLUSTER)
        await client.read()
        assert [proxy.id for proxy in world.proxies.here.values()] == [NODE]
        await client.close()
        await until(lambda: not world.proxies.here)
        assert await client.code() == grpc.StatusCode.OK


async def test_a_client_that_vanishes_is_announced(tmp_path: Path):
    async with served(tmp_path) as (world, channel):
        client = Client(channel)
        await client.send(CLUSTER)
        await client.read()
        client.cancel()
        await until(lambda: not world.proxies.here)
        assert world.proxies.gone == [1]


async def test_a_first_request_without_node_id_is_an_invalid_argument(tmp_path: Path):
    async with served(tmp_path) as (world, channel):
        client = Client(channel, node="")
        await client.send(CLUSTER)
        assert await client.code() == grpc.StatusCode.INVALID_ARGUMENT
        assert "node id" in await client.details()
        assert not world.proxies.gone


async def test_garbage_is_an_invalid_argument(tmp_path: Path):
    async with served(tmp_path) as (_, channel):
        first = Client(channel)
        await first.send_raw(b"\xff\xff")
        assert await first.code() == grpc.StatusCode.INVALID_ARGUMENT
        later = Client(channel)
        await later.send(CLUSTER)
        await later.read()
        await later.send_raw(b"\xff\xff")
        assert await later.code() == grpc.StatusCode.INVALID_ARGUMENT


async def test_a_node_id_that_is_none_is_refused_by_admission(tmp_path: Path):
    async with served(tmp_path) as (_, channel):
        client = Client(channel, node="who")
        await client.send(CLUSTER)
        assert await client.code() == grpc.StatusCode.INVALID_ARGUMENT


async def test_a_proxy_nobody_knows_is_denied(tmp_path: Path):
    async with served(tmp_path) as (world, channel):
        world.proxies.denied = Denied(Reason.PERMISSION_DENIED, "no such workload")
        client = Client(channel)
        await client.send(CLUSTER)
        assert await client.code() == grpc.StatusCode.PERMISSION_DENIED
        assert await client.details() == "no such workload"


async def test_other_methods_are_denied(tmp_path: Path):
    async with served(tmp_path) as (_, channel):
        for method in ("FetchListeners", "StreamListeners", "DeltaAggregatedResourcesX"):
            call = channel.stream_stream(METHOD + method)()
            assert await call.code() == grpc.StatusCode.UNIMPLEMENTED


async def test_an_old_stream_is_asked_to_come_back(tmp_path: Path):
    async with served(tmp_path, settings=ServerSettings(age=0.1)) as (world, channel):
        client = Client(channel)
        await client.send(LISTENER)
        await client.read()
        assert await client.code() == grpc.StatusCode.UNAVAILABLE
        await until(lambda: world.proxies.gone)


async def test_a_bug_in_a_stream_machine_ends_that_stream_only(tmp_path: Path):
    async with served(tmp_path, cluster("a")) as (world, channel):
        broken, fine = Client(channel), Client(channel)
        for client in (broken, fine):
            await client.send(CLUSTER)
            await client.read()
        world.server._connections[1].stream.view_changed = lambda *_: 1 / 0  # type: ignore[method-assign,assignment]
        world.apply(cluster("b"))
        assert await broken.code() == grpc.StatusCode.UNAVAILABLE
        assert [each.name for each in (await fine.read()).resources] == ["b"]


async def test_a_proxy_is_moved_to_another_scope(tmp_path: Path):
    async with served(tmp_path, cluster("a"), cluster("b")) as (world, channel):
        client = Client(channel)
        await client.send(CLUSTER)
        await client.ack(await client.read())
        await until(lambda: world.proxies.news)
        other = type(world.view)([cluster("a"), cluster("c")])
        world.server.proxy_moved(1, other)
        assert [each.name for each in (await client.read()).resources] == ["c"]
        assert list((await client.read()).removed_resources) == ["b"]
        world.server.published(other, other.apply(cluster("a", 2)))
        assert [each.name for each in (await client.read()).resources] == ["a"]


async def test_what_only_one_proxy_sees_changes(tmp_path: Path):
    async with served(tmp_path, cluster("a")) as (world, channel):
        mine = type(world.view)([cluster("inbound")], world.view)
        world.proxies.view = mine
        client = Client(channel)
        await client.send(CLUSTER)
        names = [each.name for _ in range(2) for each in (await client.read()).resources]
        assert names == ["a", "inbound"]
        world.server.proxy_changed(1, mine.apply(cluster("inbound", 2)))
        assert [each.name for each in (await client.read()).resources] == ["inbound"]


async def test_statuses_are_plain_data(tmp_path: Path):
    async with served(tmp_path, cluster("a")) as (world, channel):
        client = Client(channel)
        await client.send(CLUSTER)
        await client.read()
        (status,) = world.server.statuses()
        assert status.proxy.id == NODE
        assert status.protocol == "delta"
        assert [(each.type_url, each.standing) for each in status.types] == [(CLUSTER, "pending")]


def bulky(name: str, kilobytes: int = 900, v: int = 1):
    return resource(CLUSTER, name, f"cluster {name} {v} ".encode() + b"x" * kilobytes * 1024)


async def test_a_client_that_takes_nothing_is_cut_off(tmp_path: Path):
    settings = ServerSettings(write_patience=0.2)
    async with served(tmp_path, *(bulky(f"c{i}") for i in range(20)), settings=settings) as (world, channel):
        client = Client(channel)
        await client.send(CLUSTER)
        await until(lambda: world.proxies.gone)
        assert world.server._budget.taken == 0


async def test_a_client_that_does_not_acknowledge_is_not_cut_off(tmp_path: Path):
    settings = ServerSettings(write_patience=0.05)
    async with served(tmp_path, cluster("a"), settings=settings) as (world, channel):
        client = Client(channel)
        await client.send(CLUSTER)
        await client.read()
        await asyncio.sleep(0.3)  # six times what a write may take
        assert not world.proxies.gone
        world.apply(cluster("b"))
        assert [each.name for each in (await client.read()).resources] == ["b"]


async def test_a_slow_client_gets_the_newest_and_not_every_step(tmp_path: Path):
    async with served(tmp_path, *(bulky(f"c{i}") for i in range(8))) as (world, channel):
        slow, quick = Client(channel), Client(channel)
        for client in (slow, quick):
            await client.send(CLUSTER)
        first = await quick.read()
        while len(first.resources) < 8:
            first.MergeFrom(await quick.read())
        for v in range(2, 30):
            world.apply(bulky("c0", 1, v))
        texts: list[bytes] = []
        while not texts or not texts[-1].startswith(b"cluster c0 29 "):
            answer = await slow.read()
            texts += [each.resource.value for each in answer.resources if each.name == "c0"]
        assert len(texts) < 10


async def test_stopping_ends_all_streams_and_is_said_once(tmp_path: Path):
    """Streams that said nothing yet, too: what gRPC left to the loop's end came out as a traceback each."""
    async with served(tmp_path, cluster("a")) as (world, channel):
        speaking, silent = [Client(channel, node=f"{NODE}{number}") for number in (1, 2)], Client(channel)
        for client in speaking:
            await client.send(CLUSTER)
            await client.read()
        await until(lambda: len(world.server._streams) == 3)
        with capture_logs() as logs:
            await world.server.stop()
        assert world.server._streams == set()
        assert [(line["event"], line["streams"]) for line in logs] == [("xds streams end", 2)]
        assert await silent.code() is grpc.StatusCode.UNAVAILABLE


class Gone:
    """The context of a client that leaves without a word: gRPC says so to whoever writes, and cancels him later."""

    def __init__(self, first: bytes) -> None:
        self._said = [first]

    def auth_context(self) -> dict[str, object]:
        return {}

    def peer(self) -> str:
        return "unix:"

    async def read(self) -> bytes:
        if not self._said:
            await asyncio.Event().wait()
        return self._said.pop()

    async def write(self, _payload: bytes) -> None:
        raise ExecuteBatchError("gone", ())

    async def abort(self, *_: object) -> None:
        raise ExecuteBatchError("gone", ())


@pytest.mark.parametrize("node", [NODE, ""])  # who is answered, and who is refused
async def test_who_leaves_while_it_is_written_to_is_no_error(node: str) -> None:
    """Any other exception is one of ours to gRPC, which prints its traceback."""
    proxies = MemoryProxies(MemoryView([cluster("a")]))
    server = AdsServer(proxies, SystemClock(), lambda: 0.5)
    first = discovery_pb2.DeltaDiscoveryRequest(type_url=CLUSTER)
    first.node.id = node
    with pytest.raises(asyncio.CancelledError):
        await server._serve(DeltaStream, admit_local, Gone(first.SerializeToString()))
    assert not proxies.here
