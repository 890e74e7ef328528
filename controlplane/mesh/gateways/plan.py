"""What follows from the Gateways bound to one proxy alone.

Servers of one address and port share a listener: plain HTTP servers share one route table, servers for TLS are told
apart by server name. What cannot share goes by age: the older Gateway keeps the port, or the host on it, and both
sides are told. Two Gateways of different namespaces that claim the same host of a plain HTTP port for the same
VirtualServices conflict too, unless `tenancy: istio` lets them merge.

Servers that come ready made, from Ingresses, have their places among those of Gateways by age.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from heapq import merge

import msgspec

from controlplane.ir import names
from controlplane.mesh import hosts
from controlplane.mesh.gateways.server import EVERY_NAMESPACE, Admission, Kind, Server, ServerKey, read_server
from controlplane.mesh.hosts import UNIX, is_ours
from controlplane.model.gateway import Gateway
from controlplane.model.meta import origin_of
from controlplane.model.problem import Level, Problem
from controlplane.model.settings import Settings, Tenancy

ANY_ADDRESS = "0.0.0.0"  # noqa: S104  gateways serve everybody, unless `bind` says otherwise


class TablePlan(msgspec.Struct, frozen=True):
    """One route table, and what of its requests belongs on a connection to another server of the port."""

    name: str
    port: int
    servers: tuple[Server, ...]
    has_neighbours: bool = False  # requests for hosts that are not its own are misdirected
    misdirected: tuple[str, ...] = ()  # so are these, although its own wildcards cover them

    @property
    def tls(self) -> bool:
        return self.servers[0].kind is Kind.HTTPS


class ListenerPlan(msgspec.Struct, frozen=True):
    """One address and port, and its servers, the oldest first."""

    name: str
    bind: str
    port: int
    servers: tuple[Server, ...]

    @property
    def l4_servers(self) -> tuple[Server, ...]:
        """Those that forward connections: their chains follow from the VirtualServices attached."""
        return tuple(server for server in self.servers if not server.kind.speaks_http)


class GatewayPlan(msgspec.Struct, frozen=True):
    """All of it. `by_host` leads from a Gateway ("ns/name") and a host it admits to the servers concerned.

    `certified` leads from a namespace and a host that an Ingress of it has a certificate for to the route table.
    """

    listeners: Mapping[str, ListenerPlan]
    tables: Mapping[str, TablePlan]
    by_host: Mapping[str, Mapping[str, tuple[tuple[Server, Admission], ...]]]
    gateways: frozenset[str] = frozenset()  # "ns/name" of all that are bound, with or without a server left
    certified: Mapping[str, Mapping[str, str]] = {}


def plan(
    gateways: Sequence[Gateway], settings: Settings, namespace: str, ready: Sequence[Server] = ()
) -> tuple[GatewayPlan, tuple[Problem, ...]]:
    """The plan of one proxy, in `namespace`, from its Gateways and servers that are `ready`, both oldest first."""
    problems: list[Problem] = []
    places: dict[tuple[str, int], list[Server]] = {}
    for server in merge(_servers(gateways, settings, problems), ready, key=lambda server: server.age):
        if refused := _misplaced(server, settings, namespace):
            problems.append(refused)
            continue
        places.setdefault(server.place, []).append(server)
    listeners: dict[str, ListenerPlan] = {}
    for (bind, port), rivals in places.items():
        agreed = _agreed(rivals, settings, problems)
        if agreed:
            name = bind if bind.startswith(UNIX) else names.http_listener(port, bind or ANY_ADDRESS)
            listeners[name] = ListenerPlan(name, bind, port, tuple(agreed))
    tables = {table.name: table for one in listeners.values() for table in _tables(one)}
    bound = frozenset(f"{gateway.meta.namespace}/{gateway.meta.name}" for gateway in gateways)
    found = GatewayPlan(listeners, tables, _by_host(listeners.values()), bound, _certified(listeners.values()))
    return found, tuple(dict.fromkeys(problems))


def _servers(gateways: Sequence[Gateway], settings: Settings, problems: list[Problem]) -> Iterator[Server]:
    for gateway in gateways:
        if gateway.invalid:
            continue
        spec = origin_of(gateway, "spec")
        for index, written in enumerate(gateway.spec.servers):
            if written.invalid:
                continue
            server, found = read_server(gateway, index, written, spec.at(f"servers[{index}]"), settings)
            problems += found
            if server is not None:
                yield server


def _misplaced(server: Server, settings: Settings, namespace: str) -> Problem | None:
    """A listener on a path puts a socket in place of whatever file is there: not for Gateways of others to ask for."""
    if not server.bind.startswith(UNIX):
        return None
    if is_ours(server.bind):
        text = f"{server.bind} is where a proxy is told what to do: the server is not opened"
        return Problem("InvalidValue", Level.ERROR, server.origin.at("bind"), text)
    if server.key[0] in {namespace, *settings.root_namespaces}:
        return None
    text = (
        f"files of the proxies in namespace {namespace} are not for Gateways of others: the server is not opened there"
    )
    return Problem("NotOwner", Level.ERROR, server.origin.at("bind"), text)


def _agreed(rivals: Sequence[Server], settings: Settings, problems: list[Problem]) -> list[Server]:
    """The servers of one place that can share it, with the hosts each keeps."""
    first = rivals[0]
    kept: list[Server] = []
    claims: dict[str, list[tuple[Admission, Server]]] = {}
    for server in rivals:
        if server is not first and not _can_share(server.kind, first.kind):
            what = f"port {server.port} cannot be {first.kind.name} and {server.kind.name} for two servers at once"
            problems += _conflict(server, first, what)
            continue
        admits = tuple(_unclaimed(server, claims, settings, problems))
        if admits or not server.admits:
            kept.append(msgspec.structs.replace(server, admits=admits))
    return kept


def _can_share(kind: Kind, first: Kind) -> bool:
    """Nothing tells plain TCP servers apart."""
    return (kind.by_sni and first.by_sni) or kind is first is Kind.HTTP


def _unclaimed(
    server: Server, claims: dict[str, list[tuple[Admission, Server]]], settings: Settings, problems: list[Problem]
) -> Iterator[Admission]:
    """The hosts of a server that no older server of the place has."""
    for admission in server.admits:
        claimed = claims.setdefault(admission.host, [])
        owner = next((other for theirs, other in claimed if _collide(admission, server, theirs, other, settings)), None)
        if owner is None:
            claimed.append((admission, server))
            yield admission
        elif not _is_same(server, owner):
            problems += _conflict(server, owner, f"host {admission.host} of port {server.port} is claimed twice")


def _collide(mine: Admission, server: Server, theirs: Admission, other: Server, settings: Settings) -> bool:
    if server.key == other.key:
        return False
    if server.kind.by_sni:
        return True  # one server name leads to one filter chain
    if server.kind is Kind.TCP or server.key[0] == other.key[0] or settings.tenancy is Tenancy.ISTIO:
        return False
    return EVERY_NAMESPACE in {mine.namespace, theirs.namespace} or mine.namespace == theirs.namespace


def _is_same(server: Server, owner: Server) -> bool:
    """Two Ingresses of a namespace that say the same of a host: its certificate is this one."""
    both = not server.attachable and not owner.attachable
    return both and server.key[0] == owner.key[0] and server.tls == owner.tls


def _conflict(loser: Server, winner: Server, what: str) -> Iterator[Problem]:
    """Both are told."""
    keeps = f"{what}: {winner.origin} is older and keeps it, {loser.origin} does without"
    yield Problem("Conflicted", Level.ERROR, loser.origin, keeps)
    if winner.origin.ref != loser.origin.ref:
        yield Problem("Conflicted", Level.WARNING, winner.origin, keeps)


def _tables(listener: ListenerPlan) -> Iterator[TablePlan]:
    shared: dict[str, list[Server]] = {}
    for server in listener.servers:
        if server.kind.speaks_http:
            shared.setdefault(server.table, []).append(server)
    misdirected = _misdirected(listener.servers)
    neighbours = len(listener.servers) > 1
    for name, servers in shared.items():
        if servers[0].kind is Kind.HTTPS:
            elsewhere = tuple(sorted(misdirected.get(servers[0].key, ())))
            yield TablePlan(name, listener.port, tuple(servers), neighbours, elsewhere)
        else:
            yield TablePlan(name, listener.port, tuple(servers))


def _misdirected(servers: Sequence[Server]) -> Mapping[ServerKey, list[str]]:
    """Hosts by the server whose wildcard covers them although another server has them.

    Only the nearest wildcard is told: in the table of a wider one the nearest wildcard is itself misdirected.
    """
    owners = {host: server for server in servers for host in server.hosts if server.kind.by_sni}
    found: dict[ServerKey, list[str]] = {}
    for host, server in owners.items():
        nearest = next((owners[wider] for wider in hosts.wildcards_above(host) if wider in owners), server)
        if nearest is not server:
            found.setdefault(nearest.key, []).append(host)
    return found


def _by_host(
    listeners: Iterable[ListenerPlan],
) -> Mapping[str, Mapping[str, tuple[tuple[Server, Admission], ...]]]:
    found: dict[str, dict[str, tuple[tuple[Server, Admission], ...]]] = {}
    for listener in listeners:
        for server in (server for server in listener.servers if server.attachable):
            admitted = found.setdefault(server.gateway, {})
            for admission in server.admits:
                admitted[admission.host] = (*admitted.get(admission.host, ()), (server, admission))
    return found


def _certified(listeners: Iterable[ListenerPlan]) -> Mapping[str, Mapping[str, str]]:
    found: dict[str, dict[str, str]] = {}
    for server in (server for listener in listeners for server in listener.servers if not server.attachable):
        found.setdefault(server.key[0], {}).update(dict.fromkeys(server.hosts, server.table))
    return found
