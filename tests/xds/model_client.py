"""Envoy's side of ADS, without I/O: what it asks, applies, refuses, warms and forgets.

Modelled on what Envoy 1.40 was seen to do. The parts that servers get wrong because they are not in the protocol's text:

- the answer to CDS is held back while any cluster warms; a changed cluster warms too, and brings no EDS request;
- good parts of a refused CDS, LDS or EDS response are applied, but their versions are not recorded, so a reconnect
  does not name them;
- virtual hosts are asked for once a stream, as a wildcard; hosts whose route configuration is not there are dropped;
  an unsubscribed route configuration takes its hosts along;
- a listener is closed until its route configuration has a host.

At each step it checks what no server may do to it: see `Violation`.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from envoy.config.route.v3 import route_components_pb2, route_pb2
from envoy.service.discovery.v3 import discovery_pb2

from controlplane.snapshot.routes import is_placeholder, route_of
from controlplane.snapshot.types import CLUSTER, ENDPOINT, LISTENER, ROUTE, SECRET, VIRTUAL_HOST

FETCH_TIMEOUT = 15.0  # seconds a cluster waits for endpoints or a secret; a DNS answer may never come


class Violation(AssertionError):  # noqa: N818 - what happened, not what went wrong with the test
    """The server broke a rule that costs requests: make-before-break, or a response that makes no sense."""


@dataclass
class Warming:
    """A cluster on its way to be used."""

    body: bytes
    since: float
    endpoints: bool  # still to come
    secret: bool
    dns: bool

    def is_warm(self, now: float) -> bool:
        timed_out = now - self.since >= FETCH_TIMEOUT
        return not self.dns and (timed_out or not (self.endpoints or self.secret))


@dataclass
class Table:
    """One route configuration and its hosts."""

    body: bytes
    vhds: bool
    hosts: dict[str, bytes] = field(default_factory=dict)
    filled: bool = False  # had a host once: its listeners stay open


class Facts:
    """What a body says: see `tests.xds.views`."""

    def __init__(self, body: bytes) -> None:
        self.words = body.decode().split()

    @property
    def name(self) -> str:
        return self.words[1]

    @property
    def is_bad(self) -> bool:
        return "bad" in self.words

    def value(self, key: str) -> str:
        return next((word.partition("=")[2] for word in self.words if word.startswith(key + "=")), "")

    def listed(self, key: str) -> list[str]:
        return [each for each in self.value(key).split(",") if each]


class ModelClient:
    """One Envoy. It outlives its streams."""

    def __init__(self, now: Callable[[], float], *, delta: bool, dns: set[str]) -> None:
        """`dns`: names of clusters whose DNS server answers."""
        self._now = now
        self.delta = delta
        self._dns = dns
        self.clusters: dict[str, bytes] = {}  # warm and in use
        self.warming: dict[str, Warming] = {}
        self.endpoints: dict[str, bytes] = {}
        self.secrets: dict[str, bytes] = {}
        self.listeners: dict[str, bytes] = {}
        self.tables: dict[str, Table] = {}
        self.recorded: dict[str, dict[str, str]] = {}  # type -> name -> version, as a reconnect reports it
        self._excused: frozenset[str] = frozenset()
        self.refusals: list[tuple[str, str]] = []
        self._connected = False
        self._requests: list[bytes] = []
        self._held_answers: list[dict[str, Any]] = []  # of CDS, while clusters warm
        self._asked: dict[str, set[str]] = {}  # type -> names subscribed on this stream
        self._open: set[str] = set()  # types asked for on this stream
        self._last: dict[str, tuple[str, str]] = {}  # SotW: type -> version, nonce
        self._fresh = True  # no CDS response on this stream yet
        self._initialized = False  # no CDS response ever
        self.doubts: set[str] = set()  # names that were in a refused response: what we have of them is our luck

    # The wire

    def connect(self) -> None:
        """A new stream: say everything again."""
        self._connected, self._fresh = True, True
        self._requests.clear()
        self._held_answers.clear()
        self._asked, self._open, self._last = {}, set(), {}
        self._start(CLUSTER)
        if self._names(ENDPOINT):
            self._start(ENDPOINT)
        if self.clusters or self.listeners:
            self._ask_for_the_rest()

    def disconnect(self) -> None:
        """The stream broke; what was said and not yet heard is lost."""
        self._connected = False
        self._requests.clear()
        self._held_answers.clear()

    def take_request(self) -> bytes | None:
        """The next message for the server."""
        self.tick()
        return self._requests.pop(0) if self._requests else None

    def receive(self, payload: bytes, excused: frozenset[str] = frozenset()) -> None:
        """A response came. `excused`: clusters it names although they did not come in time, said aloud."""
        self._excused = excused
        if self.delta:
            self._receive_delta(discovery_pb2.DeltaDiscoveryResponse.FromString(payload))
        else:
            self._receive_sotw(discovery_pb2.DiscoveryResponse.FromString(payload))
        self.tick()

    def tick(self) -> None:
        """Time may have passed: clusters get warm, answers are let go."""
        for name in [name for name, each in self.warming.items() if each.is_warm(self._now())]:
            self.clusters[name] = self.warming.pop(name).body
        if not self.warming:
            for answer in self._held_answers:
                self._request(CLUSTER, **answer)
            self._held_answers.clear()
            if CLUSTER in self._open and self._initialized and LISTENER not in self._open:
                self._ask_for_the_rest()
        elif self._connected and LISTENER not in self._open and self._is_initialized():
            self._ask_for_the_rest()

    def _is_initialized(self) -> bool:
        oldest = min(each.since for each in self.warming.values())
        return self._initialized and self._now() - oldest >= FETCH_TIMEOUT

    def _ask_for_the_rest(self) -> None:
        self._start(LISTENER)
        for type_url in (SECRET, ROUTE):
            if self._names(type_url) and type_url not in self._open:
                self._start(type_url)
        if any(table.vhds for table in self.tables.values()):
            self._start(VIRTUAL_HOST)

    # Requests

    def _names(self, type_url: str) -> set[str]:
        """What it needs of a type by name."""
        if type_url == ENDPOINT:
            bodies = {**self.clusters, **{name: each.body for name, each in self.warming.items()}}
            return {name for name, body in bodies.items() if "eds" in Facts(body).words}
        if type_url == SECRET:
            bodies = {**self.clusters, **{name: each.body for name, each in self.warming.items()}}
            return {Facts(body).value("secret") for body in bodies.values()} - {""}
        if type_url == ROUTE:
            return {Facts(body).value("rds") for body in self.listeners.values()} - {""}
        return set()

    def _start(self, type_url: str) -> None:
        if type_url in self._open:
            return
        self._open.add(type_url)
        names = self._names(type_url)
        self._asked[type_url] = set(names)
        if self.delta:
            recorded = self.recorded.get(type_url, {})
            wildcard = type_url in {CLUSTER, LISTENER, VIRTUAL_HOST}
            known = {name: version for name, version in recorded.items() if wildcard or name in names}
            self._request(type_url, resource_names_subscribe=sorted(names), initial_resource_versions=known)
        else:
            self._request(type_url, resource_names=sorted(names))

    def _resubscribe(self, type_url: str) -> None:
        """Names it needs changed."""
        if not self._connected:
            return
        names = self._names(type_url)
        if type_url not in self._open:
            if names:
                self._start(type_url)
            return
        before = self._asked[type_url]
        if names == before:
            return
        self._asked[type_url] = set(names)
        for gone in before - names:
            self.recorded.get(type_url, {}).pop(gone, None)
        if self.delta:
            self._request(
                type_url,
                resource_names_subscribe=sorted(names - before),
                resource_names_unsubscribe=sorted(before - names),
            )
        else:
            self._repeat(type_url)

    def _repeat(self, type_url: str, error: str = "") -> None:
        version, nonce = self._last.get(type_url, ("", ""))
        names = sorted(self._asked.get(type_url, ()))
        self._request(type_url, resource_names=names, version_info=version, response_nonce=nonce, error=error)

    def _request(self, type_url: str, *, error: str = "", **fields: Any) -> None:
        kind = discovery_pb2.DeltaDiscoveryRequest if self.delta else discovery_pb2.DiscoveryRequest
        message = kind(type_url=type_url, **fields)
        if error:
            message.error_detail.code, message.error_detail.message = 13, error
        self._requests.append(message.SerializeToString())

    # Responses

    def _receive_delta(self, message: Any) -> None:
        type_url = message.type_url
        resources = {each.name: each.resource.value for each in message.resources}
        if len(resources) != len(message.resources):
            raise Violation(f"a name twice in one response: {[each.name for each in message.resources]}")
        errors = self._apply(type_url, resources, set(message.removed_resources))
        if errors:
            self.doubts |= {*resources, *message.removed_resources}
            self.refusals.append((type_url, errors))
        else:
            recorded = self.recorded.setdefault(type_url, {})
            wanted = self._asked.get(type_url, set())
            wildcard = type_url in {CLUSTER, LISTENER, VIRTUAL_HOST}
            recorded.update({each.name: each.version for each in message.resources if wildcard or each.name in wanted})
            for name in message.removed_resources:
                recorded.pop(name, None)
            self.doubts -= {*resources, *message.removed_resources}
        self._answer(type_url, {"response_nonce": message.nonce, "error": errors})
        self._after(type_url)

    def _receive_sotw(self, message: Any) -> None:
        type_url = message.type_url
        resources = {_name_in(type_url, each.value): each.value for each in message.resources}
        if len(resources) != len(message.resources):
            raise Violation("a name twice in one response")
        removed = {*self._inventory(type_url)} - {*resources} if type_url in {CLUSTER, LISTENER} else set()
        errors = self._apply(type_url, resources, removed)
        if errors:
            self.refusals.append((type_url, errors))
            self.doubts |= set(resources)
            self._last[type_url] = (self._last.get(type_url, ("", ""))[0], message.nonce)
        else:
            self._last[type_url] = (message.version_info, message.nonce)
            self.doubts -= set(resources)
        version, nonce = self._last[type_url]
        self._answer(
            type_url,
            {
                "resource_names": sorted(self._asked.get(type_url, ())),
                "version_info": version,
                "response_nonce": nonce,
                "error": errors,
            },
        )
        self._after(type_url)

    def _answer(self, type_url: str, answer: dict[str, Any]) -> None:
        if type_url == CLUSTER:
            self._fresh, self._initialized = False, True
            self._held_answers.append(answer)  # `tick` lets it go
        else:
            self._request(type_url, **answer)

    def _after(self, type_url: str) -> None:
        if type_url == CLUSTER:
            self._resubscribe(ENDPOINT)
            self._resubscribe(SECRET)
        elif type_url == LISTENER:
            self._resubscribe(ROUTE)
            self._drop_unused_tables()
        elif type_url == ROUTE and any(table.vhds for table in self.tables.values()):
            self._start(VIRTUAL_HOST)

    def _inventory(self, type_url: str) -> set[str]:
        return {*self.clusters, *self.warming} if type_url == CLUSTER else set(self.listeners)

    def _apply(self, type_url: str, resources: dict[str, bytes], removed: set[str]) -> str:
        apply = {
            CLUSTER: self._apply_clusters,
            ENDPOINT: self._apply_endpoints,
            SECRET: self._apply_secrets,
            LISTENER: self._apply_listeners,
            ROUTE: self._apply_routes,
            VIRTUAL_HOST: self._apply_hosts,
        }
        return apply[type_url](resources, removed)

    def _apply_clusters(self, resources: dict[str, bytes], removed: set[str]) -> str:
        bad = []
        for name, body in resources.items():
            facts = Facts(body)
            if facts.is_bad:
                bad.append(f"{name}: bad")
            elif body != self.clusters.get(name) and (name not in self.warming or self.warming[name].body != body):
                self._warm(name, body, facts)
            elif name in self.warming and body == self.clusters.get(name):
                del self.warming[name]
        for name in removed:
            self._remove_cluster(name)
        return f"Error adding/updating cluster(s) {', '.join(bad)}" if bad else ""

    def _warm(self, name: str, body: bytes, facts: Facts) -> None:
        secret = facts.value("secret")
        self.warming[name] = Warming(
            body, self._now(), "eds" in facts.words, bool(secret), "dns" in facts.words and name not in self._dns
        )

    def _remove_cluster(self, name: str) -> None:
        users = self.users_of(name)
        if name in self.clusters and users and not (self._fresh and not self.delta):
            raise Violation(f"cluster {name} removed while {users} still use it")
        self.clusters.pop(name, None)
        self.warming.pop(name, None)
        self.endpoints.pop(name, None)

    def _apply_endpoints(self, resources: dict[str, bytes], _removed: set[str]) -> str:
        error = ""
        for name, body in resources.items():
            if name not in self._asked.get(ENDPOINT, ()):
                continue
            if b"bad" in body:
                error = "malformed IP address"
                continue
            self.endpoints[name] = body
            if name in self.warming:
                self.warming[name].endpoints = False
        return error

    def _apply_secrets(self, resources: dict[str, bytes], _removed: set[str]) -> str:
        for name, body in resources.items():
            if name in self._asked.get(SECRET, ()):
                self.secrets[name] = body
                for each in self.warming.values():
                    each.secret = each.secret and Facts(each.body).value("secret") != name
        return ""

    def _apply_listeners(self, resources: dict[str, bytes], removed: set[str]) -> str:
        bad = []
        for name, body in resources.items():
            facts = Facts(body)
            if facts.is_bad:
                bad.append(f"{name}: bad")
                continue
            if self.listeners.get(name) != body:
                before = self.listeners.get(name)
                older = Facts(before).listed("clusters") if before is not None else None
                self._check(f"listener {name}", facts.listed("clusters"), older)
            self.listeners[name] = body
        for name in removed:
            self.listeners.pop(name, None)
        return "Error adding/updating listener(s) " + "\n".join(bad) if bad else ""

    def _apply_routes(self, resources: dict[str, bytes], _removed: set[str]) -> str:
        for name, body in resources.items():
            if name not in self._asked.get(ROUTE, ()):
                continue
            message = route_pb2.RouteConfiguration.FromString(body)
            inline = {each.name: each.SerializeToString() for each in message.virtual_hosts}
            if any(_is_bad(each) for each in inline.values()):
                return "bad virtual host"
            table = self.tables.get(name)
            for host, content in inline.items():
                if table is not None and table.hosts.get(host) != content:
                    before = table.hosts.get(host)
                    self._check(f"{name}/{host}", _clusters_of(content), _clusters_of(before) if before else None)
            if table is None or not message.HasField("vhds"):
                table = self.tables[name] = Table(body, message.HasField("vhds"), inline)
            table.body = body
        return ""

    def _apply_hosts(self, resources: dict[str, bytes], removed: set[str]) -> str:
        error = ""
        for route in sorted({route_of(name) for name in (*resources, *removed)}):
            table = self.tables.get(route)
            if table is None:
                continue  # dropped without a word
            mine = {name: body for name, body in resources.items() if route_of(name) == route}
            if any(_is_bad(body) for body in mine.values()):
                error = "bad virtual host"
                continue
            for name, body in mine.items():
                if table.hosts.get(name) != body:
                    before = table.hosts.get(name)
                    self._check(name, _clusters_of(body), _clusters_of(before) if before else None)
            table.hosts.update(mine)
            table.filled = table.filled or bool(mine)
            for name in removed:
                table.hosts.pop(name, None)
        return error

    def _drop_unused_tables(self) -> None:
        needed = self._names(ROUTE)
        for name in [name for name in self.tables if name not in needed]:
            del self.tables[name]
            hosts = self.recorded.get(VIRTUAL_HOST, {})
            for host in [host for host in hosts if route_of(host) == name]:
                del hosts[host]

    # Rules

    def _check(self, what: str, clusters: Iterable[str], older: Iterable[str] | None) -> None:
        """Rule 1: an update must not point at a cluster that cannot serve; `older`: where it pointed before."""
        for name in set(clusters) - set(older) if older is not None else ():
            missing = name not in self.clusters
            if missing and name not in self._excused and name not in self.doubts and what not in self.doubts:
                raise Violation(f"{what} now names cluster {name}, which is not there")

    def users_of(self, cluster: str) -> list[str]:
        """What would answer 503 without this cluster."""
        users = [name for name, body in self.listeners.items() if cluster in Facts(body).listed("clusters")]
        for table in self.tables.values():
            users += [name for name, body in table.hosts.items() if cluster in _clusters_of(body)]
        return users

    # What it looks like from outside

    def open_listeners(self) -> set[str]:
        """Listeners that take connections."""
        return {name for name, body in self.listeners.items() if self._is_open(Facts(body))}

    def _is_open(self, facts: Facts) -> bool:
        route = facts.value("rds")
        table = self.tables.get(route)
        return not route or (table is not None and (table.filled or not table.vhds))

    def state(self) -> dict[str, dict[str, bytes]]:
        """All it serves with, in a form that is the same for both protocols."""
        hosts = {
            (name if "/" in name else f"{route}/{name}"): _without_name(body)
            for route, table in self.tables.items()
            for name, body in table.hosts.items()
            if not is_placeholder(name)
        }
        return {
            "clusters": dict(self.clusters),
            "endpoints": {name: body for name, body in self.endpoints.items() if name in self._names(ENDPOINT)},
            "listeners": dict(self.listeners),
            "routes": {name: _header(table.body) for name, table in self.tables.items()},
            "hosts": hosts,
            "secrets": {name: body for name, body in self.secrets.items() if name in self._names(SECRET)},
        }


def _name_in(type_url: str, body: bytes) -> str:
    if type_url == ROUTE:
        return str(route_pb2.RouteConfiguration.FromString(body).name)
    return _first_name(body)


def _first_name(body: bytes) -> str:
    return body[2 : 2 + body[1]].decode() if body[:1] == b"\x0a" else Facts(body).name


def _is_bad(host: bytes) -> bool:
    return "bad" in route_components_pb2.VirtualHost.FromString(host).request_headers_to_remove


def _clusters_of(host: bytes) -> list[str]:
    return [each.route.cluster for each in route_components_pb2.VirtualHost.FromString(host).routes]


def _without_name(host: bytes) -> bytes:
    message = route_components_pb2.VirtualHost.FromString(host)
    message.name = ""
    return bytes(message.SerializeToString(deterministic=True))


def _header(route: bytes) -> bytes:
    message = route_pb2.RouteConfiguration.FromString(route)
    message.ClearField("vhds")
    message.ClearField("virtual_hosts")
    return bytes(message.SerializeToString(deterministic=True))
