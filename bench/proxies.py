"""Simulated delta proxies: many streams in one process, so cheap that the server is what is measured.

They speak as Envoy does: clusters by wildcard; endpoints by name as soon as a cluster came; clusters acknowledged when
they are warm; listeners asked for when the first clusters are warm; the route configurations that listeners name, and
virtual hosts by wildcard. On a reconnect each type is asked for at once with the versions the proxy has. A response is
parsed once a process: all streams get the same bytes, and what a stream has is a state they share.

Driven by JSON lines on stdin, answers on stdout: see `bench.fleet`.

python -m bench.proxies --target unix:/path/xds.sock --first 0 --count 250 [--tls FOLDER]
"""

import argparse
import asyncio
import contextlib
import json
import os
import sys
import time
from functools import cached_property
from pathlib import Path
from typing import Any

import grpc
from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.listener.v3 import listener_pb2
from envoy.config.route.v3 import route_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2
from envoy.service.discovery.v3 import discovery_pb2

from bench import mesh
from controlplane.snapshot import types

METHOD = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources"
WINDOW = 16 * 1024 * 1024  # bytes, of a stream: as Envoy's
OPTIONS = [
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.enable_retries", 0),
    ("grpc.max_receive_message_length", -1),
    ("grpc.http2.lookahead_bytes", WINDOW),
    ("grpc.http2.bdp_probe", 0),
]
RECONNECT_ORDER = (types.CLUSTER, types.ENDPOINT, types.LISTENER, types.ROUTE, types.VIRTUAL_HOST)
WILDCARDS = frozenset({types.CLUSTER, types.LISTENER, types.VIRTUAL_HOST})
WHOLE = 64 * 1024  # bytes; smaller responses are recognised by all of their bytes, larger ones by length and end


class Parsed:
    """One response, without its bodies."""

    def __init__(self, raw: bytes) -> None:
        message = discovery_pb2.DeltaDiscoveryResponse.FromString(raw)
        self.type_url = message.type_url
        self.size = len(raw)
        self.versions = {each.name: each.version for each in message.resources}
        self.removed = tuple(message.removed_resources)
        self.ack = request(message.type_url, response_nonce=message.nonce)
        bodies = [each.resource.value for each in message.resources]
        self.eds = frozenset(_with_endpoints(bodies)) if self.type_url == types.CLUSTER else frozenset()
        self.routes = frozenset(_routes(bodies)) if self.type_url == types.LISTENER else frozenset()
        self.vhds = self.type_url == types.ROUTE and any(map(_has_vhds, bodies))

    @cached_property
    def names(self) -> frozenset[str]:
        return frozenset(self.versions)

    @cached_property
    def asks_endpoints(self) -> bytes:
        return request(types.ENDPOINT, resource_names_subscribe=sorted(self.eds))


class State:
    """What a proxy has of one type; proxies that were told the same are in the same state."""

    def __init__(self, versions: dict[str, str]) -> None:
        self.versions = versions
        self._after: dict[int, State] = {}

    def after(self, parsed: Parsed) -> "State":
        found = self._after.get(id(parsed))
        if found is None:
            versions = {**self.versions, **parsed.versions}
            for name in parsed.removed:
                versions.pop(name, None)
            found = self._after[id(parsed)] = State(versions)
        return found

    @cached_property
    def reconnects(self) -> dict[str, bytes]:
        """The first request of a later stream, by type."""
        return {}

    def comes_back(self, type_url: str) -> bytes:
        found = self.reconnects.get(type_url)
        if found is None:
            names = () if type_url in WILDCARDS else sorted(self.versions)
            made = request(type_url, resource_names_subscribe=names, initial_resource_versions=self.versions)
            found = self.reconnects[type_url] = made
        return found


NOTHING = State({})


def request(type_url: str, **fields: Any) -> bytes:
    made: bytes = discovery_pb2.DeltaDiscoveryRequest(type_url=type_url, **fields).SerializeToString()
    return made


def node_of(number: int) -> bytes:
    """The first field of a stream's first request; messages merge, so it is put in front of any request."""
    proxy = mesh.sidecar(number)
    message = discovery_pb2.DeltaDiscoveryRequest()
    message.node.id, message.node.cluster = proxy.id, f"client.{proxy.namespace}"
    message.node.user_agent_build_version.version.major_number = 1
    message.node.user_agent_build_version.version.minor_number = 40
    message.node.metadata.update(
        {
            "NAMESPACE": proxy.namespace,
            "NAME": proxy.name,
            "LABELS": dict(proxy.labels),
            "SERVICE_ACCOUNT": "client",
            "INSTANCE_IPS": proxy.ips[0],
            "CLUSTER_ID": "Kubernetes",
        }
    )
    made: bytes = message.SerializeToString()
    return made


def _with_endpoints(bodies: list[bytes]) -> list[str]:
    clusters = map(cluster_pb2.Cluster.FromString, bodies)
    return [cluster.name for cluster in clusters if cluster.type == cluster_pb2.Cluster.EDS]


def _has_vhds(body: bytes) -> bool:
    return bool(route_pb2.RouteConfiguration.FromString(body).HasField("vhds"))


def _routes(bodies: list[bytes]) -> list[str]:
    found = []
    for listener in map(listener_pb2.Listener.FromString, bodies):
        for chain in (*listener.filter_chains, listener.default_filter_chain):
            for each in chain.filters:
                if each.typed_config.Is(http_connection_manager_pb2.HttpConnectionManager.DESCRIPTOR):
                    manager = http_connection_manager_pb2.HttpConnectionManager()
                    each.typed_config.Unpack(manager)
                    found.append(manager.rds.route_config_name)
    return [name for name in found if name]


class Proxy:
    """One simulated Envoy."""

    def __init__(self, number: int, fleet: "Fleet") -> None:
        self._fleet = fleet
        self._node = node_of(number)
        self._channel: Any = None
        self._call: Any = None
        self._has: dict[str, State] = {}
        self._asked: set[str] = set()
        self._routes: frozenset[str] = frozenset()
        self._warming: set[str] = set()
        self._cold_acks: list[bytes] = []
        self._leaving = False
        self.missing: set[str] = set()  # what the round under way waits for
        self.synced = False

    async def live(self) -> None:
        """One stream, to its end."""
        self._leaving = False
        self._channel = self._fleet.channel()
        self._call = self._channel.stream_stream(METHOD)()
        self._warming.clear()
        self._cold_acks.clear()
        if self._has:
            await self._come_back()
        else:
            self._asked = {types.CLUSTER}
            await self._call.write(self._node + request(types.CLUSTER))
        while (raw := await self._call.read()) is not grpc.aio.EOF:
            await self._take(self._fleet.parsed(raw))
        if not self._leaving:
            print(f"a stream ended: {await self._call.code()} {await self._call.details()}", file=sys.stderr)
            os._exit(1)

    async def leave(self) -> None:
        """As when a connection breaks."""
        self._leaving = True
        self._call.cancel()
        await self._channel.close()

    async def _come_back(self) -> None:
        """Each type at once, in the order it was first asked for."""
        first = self._node
        for type_url in RECONNECT_ORDER:
            await self._call.write(first + self._has[type_url].comes_back(type_url))
            first = b""

    async def _take(self, parsed: Parsed) -> None:
        self._fleet.count(self, parsed)
        self._has[parsed.type_url] = self._has.get(parsed.type_url, NOTHING).after(parsed)
        if parsed.type_url == types.CLUSTER:
            await self._clusters_came(parsed)
        else:
            if parsed.type_url == types.ENDPOINT:
                self._warming -= parsed.names
            await self._call.write(parsed.ack)
        if not self._warming:
            await self._warm()
        await self._ask_more(parsed)
        self.look_whether_synced()

    def look_whether_synced(self) -> None:
        if not self.synced and self._fleet.is_all(self._has):
            self.synced = True
            self._fleet.one_synced()

    async def _clusters_came(self, parsed: Parsed) -> None:
        had = self._has[types.ENDPOINT].versions if types.ENDPOINT in self._has else {}
        self._warming |= parsed.eds
        self._cold_acks.append(parsed.ack)
        new = [name for name in parsed.eds if name not in had]
        if len(new) == len(parsed.eds):
            await self._call.write(parsed.asks_endpoints)
        elif new:  # as Envoy does: a cluster that it knows brings no request
            await self._call.write(request(types.ENDPOINT, resource_names_subscribe=sorted(new)))

    async def _warm(self) -> None:
        """The acknowledgement of clusters means that they are warm."""
        acks, self._cold_acks = self._cold_acks, []
        for ack in acks:
            await self._call.write(ack)
        await self._ask_once(types.LISTENER)

    async def _ask_more(self, parsed: Parsed) -> None:
        new = parsed.routes - self._routes
        if new:
            self._routes |= new
            await self._call.write(request(types.ROUTE, resource_names_subscribe=sorted(new)))
        if parsed.vhds:
            await self._ask_once(types.VIRTUAL_HOST)

    async def _ask_once(self, type_url: str) -> None:
        if type_url not in self._asked:
            self._asked.add(type_url)
            await self._call.write(request(type_url))


class Fleet:
    """All proxies of this process, and what they count together."""

    def __init__(self, target: str, credentials: Any, first: int, count: int) -> None:
        self._target = target
        self._credentials = credentials
        self.proxies = [Proxy(first + at, self) for at in range(count)]
        self._parsed: dict[Any, Parsed] = {}
        self._expected: dict[str, int] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._complete: dict[tuple[int, ...], bool] = {}
        self._unsynced = 0
        self._late = 0
        self.begin()

    def channel(self) -> Any:
        if self._credentials is None:
            return grpc.aio.insecure_channel(self._target, options=OPTIONS)
        return grpc.aio.secure_channel(self._target, self._credentials, options=OPTIONS)

    def parsed(self, raw: bytes) -> Parsed:
        key = raw if len(raw) < WHOLE else (len(raw), raw[-256:])
        found = self._parsed.get(key)
        if found is None:
            found = self._parsed[key] = Parsed(raw)
        return found

    # What is counted

    def begin(self) -> None:
        self.bytes = self.resources = self.responses = 0
        self.last = self.first = 0.0

    def count(self, proxy: Proxy, parsed: Parsed) -> None:
        self.last = time.monotonic()
        self.first = self.first or self.last
        self.bytes += parsed.size
        self.resources += len(parsed.versions)
        self.responses += 1
        if proxy.missing:
            proxy.missing.discard(parsed.type_url)
            if not proxy.missing:
                self._late -= 1
                if not self._late:
                    self.say("all")

    def is_all(self, has: dict[str, State]) -> bool:
        if not self._expected or not has.keys() >= self._expected.keys():
            return False
        key = tuple(id(has[type_url]) for type_url in self._expected)
        found = self._complete.get(key)
        if found is None:
            found = all(len(has[type_url].versions) >= count for type_url, count in self._expected.items())
            self._complete[key] = found
        return found

    def one_synced(self) -> None:
        self._unsynced -= 1
        if self._unsynced == len(self.proxies) - 1:
            self.say("first")
        if not self._unsynced:
            self.say("all")

    def say(self, event: str) -> None:
        facts = {"bytes": self.bytes, "resources": self.resources, "responses": self.responses}
        print(json.dumps({"event": event, "first": self.first, "last": self.last, **facts}), flush=True)

    # What it is told

    async def obey(self, line: bytes) -> None:
        order = json.loads(line)
        match order["do"]:
            case "connect":
                self._unsynced = len(self.proxies)
                self.begin()
                self._start()
            case "expect":
                self._expected = {url: count for url, count in order["counts"].items() if count}
                for proxy in self.proxies:
                    proxy.look_whether_synced()
            case "round":
                self.begin()
                self._late = len(self.proxies)
                for proxy in self.proxies:
                    proxy.missing = set(order["types"])
                self.say("ready")
            case "reconnect":
                self.begin()
                await asyncio.gather(*(proxy.leave() for proxy in self.proxies))
                await asyncio.gather(*self._tasks, return_exceptions=True)
                self._start()
                self.say("ready")
            case "report":
                self.say("report")

    def _start(self) -> None:
        self._tasks = [asyncio.ensure_future(self._live(proxy)) for proxy in self.proxies]

    async def _live(self, proxy: Proxy) -> None:
        with contextlib.suppress(asyncio.CancelledError):  # its call was, when it left
            await proxy.live()


def credentials_in(folder: str) -> Any:
    here = Path(folder)
    pems = ((here / name).read_bytes() for name in ("roots.pem", "client-key.pem", "client.pem"))
    return grpc.ssl_channel_credentials(*pems)


async def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--target", required=True)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--count", type=int, default=250)
    parser.add_argument("--tls", default="")
    arguments = parser.parse_args()
    credentials = credentials_in(arguments.tls) if arguments.tls else None
    fleet = Fleet(arguments.target, credentials, arguments.first, arguments.count)
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := await reader.readline():
        await fleet.obey(line)


if __name__ == "__main__":
    asyncio.run(main())
