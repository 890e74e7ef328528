"""Sidecar: what a workload sees of the mesh, which explicit listeners it has, and what it serves.

A workload has at most one: the oldest of its namespace that selects it, else the oldest of its namespace without a
selector, else the oldest of a root namespace without a selector.

An egress listener without a port narrows the ordinary listeners to its hosts. With a port it is a listener of its own:
its hosts are reached there and nowhere else unless another listener admits them too. `captureMode: NONE` (or DEFAULT
on a proxy whose traffic is not captured) binds it for real; `bind` then defaults to 127.0.0.1, as in Istio. Several
may share a port on different addresses: the first keeps Istio's route table name `<port>`, the others are named
`<bind>_<port>`. Where nothing is captured, listeners without a port make no sockets: their hosts are reached through
the explicit forward proxy, `http_proxy`.
"""

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from controlplane.ir import names
from controlplane.ir.cluster import Direction
from controlplane.ir.listener import MATCH_ALL, ChainMatch, FilterChain, HttpChain, Listener, TcpChain
from controlplane.ir.service import Protocol, Service, ServicePort
from controlplane.mesh import hosts, protocol
from controlplane.mesh.caller import has_labels
from controlplane.mesh.outbound import ANY_ADDRESS, HTTP_BYTES, Member, assembled, passthrough_chain, together
from controlplane.mesh.policy import OutboundPolicy, mesh_policy, policy_of
from controlplane.mesh.problems import ineffective, invalid
from controlplane.model.destinationrule import ConnectionPoolSettings
from controlplane.model.gateway import Port, ServerTLSSettings
from controlplane.model.meta import origin_of
from controlplane.model.problem import Origin, Problem
from controlplane.model.settings import Settings
from controlplane.model.sidecar import (
    CaptureMode,
    EgressListener,
    IngressListener,
    OutboundTrafficMode,
    OutboundTrafficPolicy,
    Sidecar,
)

Problems = tuple[Problem, ...]

LOOPBACK = "127.0.0.1"
UNIX = "unix://"
EVERY_NAMESPACE = "*"
_NO_ONE = "~"


class HostFilter(msgspec.Struct, frozen=True):
    """Hosts by (namespace or "*", name or wildcard). What is excluded is out, whatever admits it."""

    admitted: tuple[tuple[str, str], ...]
    excluded: tuple[tuple[str, str], ...] = ()

    def admits(self, namespace: str, host: str) -> bool:
        """Whether a host of a service's namespace is among them."""
        return _among(self.admitted, namespace, host) and not _among(self.excluded, namespace, host)

    def namespaces(self) -> frozenset[str]:
        """The namespaces it can admit hosts of; "*" stands for all."""
        return frozenset(namespace for namespace, _ in self.admitted)


EVERYTHING = HostFilter(((EVERY_NAMESPACE, "*"),))


class Egress(msgspec.Struct, frozen=True):
    """One egress listener."""

    hosts: HostFilter
    origin: Origin
    port: int | None = None  # None: the ports of the hosts; 0: a Unix socket
    port_name: str = ""
    protocol: Protocol = Protocol.AUTO
    bind: str = ""  # address or "unix:///path"; "" = where captured traffic goes
    bound: bool = False  # a socket of its own, not captured traffic
    table: str = ""  # its route table, if it may speak HTTP (declared, or sniffed) and has a port


class Ingress(msgspec.Struct, frozen=True):
    """One port the workload serves."""

    port: int
    protocol: Protocol
    origin: Origin
    name: str = ""
    bind: str = ""  # "" = the workload's addresses
    bound: bool = False
    target: str = ""  # "address:port" or "unix:///path"; "" = the workload's own address, same port
    pool: ConnectionPoolSettings | None = None
    tls: ServerTLSSettings | None = None


class SidecarScope(msgspec.Struct, frozen=True):
    """A Sidecar, read."""

    egress: tuple[Egress, ...]
    ingress: tuple[Ingress, ...]
    policy: OutboundPolicy
    pool: ConnectionPoolSettings | None = None  # for connections to the application
    origin: Origin | None = None

    def admits(self, namespace: str, host: str) -> bool:
        """Whether the workload may call a host, through whichever listener."""
        return any(egress.hosts.admits(namespace, host) for egress in self.egress)


def choose(sidecars: Sequence[Sidecar], roots: Sequence[Sidecar], labels: Mapping[str, str]) -> Sidecar | None:
    """The Sidecar of a workload, from those of its namespace and those of the root namespaces, oldest first."""
    usable = [sidecar for sidecar in sidecars if not sidecar.invalid]
    selecting = (one for one in usable if _selector(one) and has_labels(labels, _selector(one)))
    general = (one for one in usable if not _selector(one))
    mesh_wide = (one for one in roots if not _selector(one) and not one.invalid)
    return next(selecting, None) or next(general, None) or next(mesh_wide, None)


def scope(
    sidecar: Sidecar | None, namespace: str, settings: Settings, *, captured: bool = True
) -> tuple[SidecarScope, Problems]:
    """What a Sidecar says to workloads of `namespace`; None is a workload without one, which sees everything."""
    if sidecar is None:
        everything = Egress(EVERYTHING, Origin(mesh_policy(settings).origin.ref))
        return SidecarScope((everything,), (), mesh_policy(settings)), ()
    origin = origin_of(sidecar, "spec")
    problems: list[Problem] = []
    found = SidecarScope(
        egress=_egress(sidecar, namespace, settings, problems, captured=captured),
        ingress=_ingress(sidecar, problems, captured=captured),
        policy=_policy(sidecar.spec.outbound_traffic_policy, origin, namespace, settings),
        pool=sidecar.spec.inbound_connection_pool,
        origin=origin_of(sidecar),
    )
    return found, tuple(problems)


def service_port(egress: Egress, service: Service) -> ServicePort | None:
    """The port of a service an explicit listener stands for: of the same number, else the only one, else so named."""
    if egress.port is None:
        return None
    ports = [port for port in service.ports if port.protocol is not Protocol.UDP]
    same = next((port for port in ports if port.number == egress.port), None)
    if same is not None:
        return same
    if len(ports) == 1:
        return ports[0]
    return next((port for port in ports if egress.port_name and port.name == egress.port_name), None)


def egress_listener(
    egress: Egress, *, members: Sequence[Member] = (), policy: OutboundPolicy, settings: Settings
) -> tuple[Listener | None, Problems]:
    """The listener of an egress listener with a port; None if there is nothing behind it.

    `members`: the services behind it with what `outbound.service_chains` says of each; not asked where it speaks
    nothing but HTTP.
    """
    if egress.port is None:
        return None, ()
    name = _listener_name(egress)
    forwarding = () if egress.protocol.is_http else [_forwarding(one, egress) for one in members]
    chains, default, problems = together(forwarding)
    if egress.table:
        speaks = HttpChain(stat_prefix=f"outbound_{name}", route=egress.table)
        alone = egress.protocol.is_http and egress.bound
        chains = (FilterChain(name, MATCH_ALL if alone else HTTP_BYTES, speaks, origins=(egress.origin,)), *chains)
        default = default if alone else default or passthrough_chain(policy)
    if not chains and default is None:
        return None, problems
    bare = Listener(
        name=name,
        address=egress.bind or ANY_ADDRESS,
        port=egress.port,
        direction=Direction.OUTBOUND,
        chains=(),
        bind_to_port=egress.bound,
        origins=(egress.origin,),
    )
    return assembled(bare, chains, default, members, settings), problems


def _forwarding(member: Member, egress: Egress) -> Member:
    """What a service brings into an explicit listener: its HTTP is the listener's business.

    On a bound socket a connection was dialled to the listener, so neither the service's addresses nor, unless there
    are several services, its name can be asked for.
    """
    chains = [chain for chain in member.chains if isinstance(chain.network, TcpChain)]
    if egress.bound:
        chains = [msgspec.structs.replace(chain, match=_on_socket(chain, member.service)) for chain in chains]
    return Member(member.service, member.port, tuple(chains))


def _on_socket(chain: FilterChain, service: Service) -> ChainMatch:
    names_ = () if chain.match.server_names == (service.host,) else chain.match.server_names
    return ChainMatch(server_names=names_)


def _selector(sidecar: Sidecar) -> dict[str, str]:
    selector = sidecar.spec.workload_selector
    return dict(selector.labels) if selector is not None else {}


def _listener_name(egress: Egress) -> str:
    if egress.bind.startswith(UNIX):
        return egress.bind
    return names.http_listener(egress.port or 0, egress.bind or ANY_ADDRESS)


# Egress


def _egress(
    sidecar: Sidecar, namespace: str, settings: Settings, problems: list[Problem], *, captured: bool
) -> tuple[Egress, ...]:
    """Without any, the workload sees everything."""
    origin = origin_of(sidecar, "spec")
    if not sidecar.spec.egress:
        return (Egress(EVERYTHING, origin),)
    found: list[Egress] = []
    tables: set[str] = set()
    for index, written in enumerate(sidecar.spec.egress):
        at = origin.at(f"egress[{index}]")
        one = _egress_listener(written, at, namespace, settings, captured=captured)
        if isinstance(one, Problem):
            problems.append(one)
            continue
        if one.table and one.table in tables:
            one = _renamed(one)
        tables.add(one.table)
        found.append(one)
    return tuple(found)


def _egress_listener(
    written: EgressListener, origin: Origin, namespace: str, settings: Settings, *, captured: bool
) -> Egress | Problem:
    admitted = _host_filter(written.hosts, namespace, settings.cluster_domain)
    if written.port is None:
        if written.bind:
            return ineffective(origin.at("bind"), "a listener that binds an address needs a port")
        return Egress(admitted, origin)
    spoken = protocol.of_declared(written.port.protocol)
    if spoken is None:
        return _unknown_protocol(written.port, origin)
    bound = is_bound(written.capture_mode, captured=captured)
    bind = written.bind or (LOOPBACK if bound else "")
    unix = bind.startswith(UNIX)
    number = 0 if unix else written.port.number or 0
    if not unix and not number:
        return invalid(origin.at("port.number"), "a listener needs a port number; it is not opened")
    return Egress(
        hosts=admitted,
        origin=origin,
        port=number,
        port_name=written.port.name,
        protocol=spoken,
        bind=bind,
        bound=bound or unix,
        table=(bind if unix else str(number)) if spoken.is_http or spoken is Protocol.AUTO else "",
    )


def _renamed(egress: Egress) -> Egress:
    """Its port's table belongs to an earlier listener."""
    renamed: Egress = msgspec.structs.replace(egress, table=_listener_name(egress))
    return renamed


def is_bound(mode: CaptureMode | None, *, captured: bool) -> bool:
    """Whether a listener has a socket of its own: DEFAULT follows the proxy."""
    if mode is None or mode is CaptureMode.DEFAULT:
        return not captured
    return mode is CaptureMode.NONE


def _host_filter(written: Iterable[str], namespace: str, domain: str) -> HostFilter:
    admitted: list[tuple[str, str]] = []
    excluded: list[tuple[str, str]] = []
    for entry in written:
        where, slash, name = entry.partition("/")
        if not slash:  # only a namespace, or only a name
            where, name = (entry, "*") if entry in {".", "*", _NO_ONE} else ("*", entry)
        if where == _NO_ONE:
            continue
        side = admitted
        if where.startswith(_NO_ONE):
            where, side = where[1:], excluded
        where = namespace if where == "." else where
        side.append((where, hosts.qualify(name, namespace if where == "*" else where, domain)))
    return HostFilter(tuple(admitted), tuple(excluded))


def _among(patterns: tuple[tuple[str, str], ...], namespace: str, host: str) -> bool:
    return any(
        (where in {EVERY_NAMESPACE, namespace}) and (name == "*" or hosts.covers(name, host))
        for where, name in patterns
    )


def _policy(written: OutboundTrafficPolicy | None, spec: Origin, namespace: str, settings: Settings) -> OutboundPolicy:
    if written is None:
        return mesh_policy(settings)
    origin = spec.at("outboundTrafficPolicy")
    proxy = written.egress_proxy
    if proxy is not None and proxy.host and written.mode is not OutboundTrafficMode.REGISTRY_ONLY:
        host = hosts.qualify(proxy.host, namespace, settings.cluster_domain)
        port = (proxy.port.number if proxy.port is not None else None) or 0
        return OutboundPolicy(names.outbound_cluster(host, port, proxy.subset or ""), origin)
    return policy_of(written.mode or OutboundTrafficMode.ALLOW_ANY, origin)


# Ingress


def _ingress(sidecar: Sidecar, problems: list[Problem], *, captured: bool) -> tuple[Ingress, ...]:
    origin = origin_of(sidecar, "spec")
    found: list[Ingress] = []
    for index, written in enumerate(sidecar.spec.ingress):
        one = _ingress_listener(written, origin.at(f"ingress[{index}]"), captured=captured)
        if isinstance(one, Problem):
            problems.append(one)
        elif any((other.port, other.bind) == (one.port, one.bind) for other in found):
            problems.append(
                ineffective(one.origin.at("port"), f"port {one.port} is already served by an earlier listener")
            )
        else:
            found.append(one)
    return tuple(found)


def _ingress_listener(written: IngressListener, origin: Origin, *, captured: bool) -> Ingress | Problem:
    if written.port is None or not written.port.number:
        return invalid(origin.at("port.number"), "a listener needs a port number; it is not opened")
    spoken = protocol.of_declared(written.port.protocol)
    if spoken is None:
        return _unknown_protocol(written.port, origin)
    target = _target(written.default_endpoint or "")
    if target is None:
        text = f'"{written.default_endpoint}" is neither a loopback address nor 0.0.0.0 with a port, nor unix:///path'
        return invalid(origin.at("defaultEndpoint"), f"{text}; the listener is not opened")
    bound = is_bound(written.capture_mode, captured=captured)
    if bound and not target:
        target = f"{LOOPBACK}:{written.port.number}"
    if bound and _leads_back(target, written.bind or "", written.port.number):
        text = "the listener would call itself: give defaultEndpoint the port of the application; it is not opened"
        return invalid(origin.at("defaultEndpoint"), text)
    return Ingress(
        port=written.port.number,
        protocol=spoken,
        origin=origin,
        name=written.port.name,
        bind=written.bind or "",
        bound=bound,
        target=target,
        pool=written.connection_pool,
        tls=written.tls,
    )


def _target(endpoint: str) -> str | None:
    """Normalized: "" for none, "0.0.0.0:PORT" stays (the workload's own address), None if it cannot be."""
    if not endpoint or endpoint.startswith(UNIX):
        return endpoint
    address, _, port = endpoint.rpartition(":")
    address = address.removeprefix("[").removesuffix("]")
    local = address in {ANY_ADDRESS, "::", "::1"} or (address.startswith("127.") and hosts.is_ip(address))
    return endpoint if local and port.isdecimal() and 0 < int(port) < 65536 else None


def _leads_back(target: str, bind: str, port: int) -> bool:
    address, _, target_port = target.rpartition(":")
    if target.startswith(UNIX) or int(target_port) != port:
        return False
    own = {ANY_ADDRESS, "[::]", ""}
    return address == bind or (address in own and bind in own) or bind in {ANY_ADDRESS, "::"}


def _unknown_protocol(port: Port, origin: Origin) -> Problem:
    return invalid(origin.at("port.protocol"), f'"{port.protocol}" is no protocol; the listener is not opened')
