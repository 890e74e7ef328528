"""The egress listeners of a Sidecar: which hosts a workload may call, and which explicit listeners lead to them.

An egress listener without a port narrows the ordinary listeners to its hosts. With a port it is a listener of its own:
its hosts are reached there and nowhere else unless another listener admits them too. `captureMode: NONE` (or DEFAULT
on a proxy whose traffic is not captured) binds it for real; `bind` then defaults to 127.0.0.1, as in Istio. Several
may share a port on different addresses: the first keeps Istio's route table name `<port>`, the others are named
`<bind>_<port>`. Where nothing is captured, listeners without a port make no sockets: their hosts are reached through
the explicit forward proxy, `http_proxy`.
"""

from collections.abc import Iterable, Sequence

import msgspec

from controlplane.ir import names
from controlplane.ir.cluster import Direction
from controlplane.ir.listener import MATCH_ALL, ChainMatch, FilterChain, HttpChain, Listener, TcpChain
from controlplane.ir.service import Protocol, Service, ServicePort
from controlplane.mesh import hosts, protocol
from controlplane.mesh.chains import HTTP_BYTES, Member, together
from controlplane.mesh.hosts import UNIX, is_ours
from controlplane.mesh.listeners import ANY_ADDRESS, assembled, passthrough_chain
from controlplane.mesh.policy import OutboundPolicy
from controlplane.mesh.problems import ineffective, invalid
from controlplane.model.meta import origin_of
from controlplane.model.problem import Origin, Problem
from controlplane.model.settings import Settings
from controlplane.model.sidecar import CaptureMode, EgressListener, Sidecar

LOOPBACK = "127.0.0.1"
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

    @property
    def listener_name(self) -> str:
        """The name of its listener, if it has a port."""
        if self.bind.startswith(UNIX):
            return self.bind
        return names.http_listener(self.port or 0, self.bind or ANY_ADDRESS)


def read_egress(
    sidecar: Sidecar, namespace: str, settings: Settings, *, captured: bool
) -> tuple[tuple[Egress, ...], tuple[Problem, ...]]:
    """All egress listeners; without any, the workload sees everything."""
    origin = origin_of(sidecar, "spec")
    if not sidecar.spec.egress:
        return (Egress(EVERYTHING, origin),), ()
    found: list[Egress] = []
    problems: list[Problem] = []
    tables: set[str] = set()
    for index, written in enumerate(sidecar.spec.egress):
        one = _read(written, origin.at(f"egress[{index}]"), namespace, settings, captured=captured)
        if isinstance(one, Problem):
            problems.append(one)
            continue
        if one.table and one.table in tables:  # its port's table belongs to an earlier listener
            one = msgspec.structs.replace(one, table=one.listener_name)
        tables.add(one.table)
        found.append(one)
    return tuple(found), tuple(problems)


def is_bound(mode: CaptureMode | None, *, captured: bool) -> bool:
    """Whether a listener has a socket of its own: DEFAULT follows the proxy."""
    if mode is None or mode is CaptureMode.DEFAULT:
        return not captured
    return mode is CaptureMode.NONE


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
) -> tuple[Listener | None, tuple[Problem, ...]]:
    """The listener of an egress listener with a port; None if there is nothing behind it.

    `members`: the services behind it with what `outbound.service_chains` says of each; not asked where it speaks
    nothing but HTTP.
    """
    if egress.port is None:
        return None, ()
    forwarding = () if egress.protocol.is_http else [_forwarding(one, egress) for one in members]
    chains, default, problems = together(forwarding)
    if egress.table:
        chains = (_http_chain(egress), *chains)
    if not chains and default is None:
        return None, problems
    if not egress.bound:
        default = default or passthrough_chain(policy)
    bare = Listener(
        name=egress.listener_name,
        address=egress.bind or ANY_ADDRESS,
        port=egress.port,
        direction=Direction.OUTBOUND,
        chains=(),
        bind_to_port=egress.bound,
        origins=(egress.origin,),
    )
    return assembled(bare, chains, default, members, settings), problems


def _http_chain(egress: Egress) -> FilterChain:
    speaks = HttpChain(stat_prefix=f"outbound_{egress.listener_name}", route=egress.table)
    nothing_else = egress.protocol.is_http and egress.bound
    match = MATCH_ALL if nothing_else else HTTP_BYTES
    return FilterChain(egress.listener_name, match, speaks, origins=(egress.origin,))


def _forwarding(member: Member, egress: Egress) -> Member:
    """What a service brings into an explicit listener: its HTTP is the listener's business.

    On a bound socket a connection was dialled to the listener, so neither the service's addresses nor, unless there
    are several services, its name can be asked for. Captured connections are told apart by address.
    """
    fit = _on_socket if egress.bound else _on_capture
    chains = [
        msgspec.structs.replace(chain, match=fit(chain.match, member.service))
        for chain in member.chains
        if isinstance(chain.network, TcpChain)
    ]
    unique = {chain.match: chain for chain in reversed(chains)}  # of chains that differed by address the first stays
    return Member(member.service, member.port, tuple(reversed(unique.values())))


def _on_socket(match: ChainMatch, service: Service) -> ChainMatch:
    asked = match.server_names
    return ChainMatch(server_names=() if asked == (service.host,) else asked)


def _on_capture(match: ChainMatch, service: Service) -> ChainMatch:
    """One listener for all addresses: which of them was dialled says which service is called."""
    if match.destination_ranges or not service.addresses:
        return match
    fitted: ChainMatch = msgspec.structs.replace(match, destination_ranges=service.addresses)
    return fitted


def _read(
    written: EgressListener, origin: Origin, namespace: str, settings: Settings, *, captured: bool
) -> Egress | Problem:
    admitted = _host_filter(written.hosts, namespace, settings.cluster_domain)
    if written.port is None:
        if written.bind:
            return ineffective(origin.at("bind"), "a listener that binds an address needs a port")
        return Egress(admitted, origin)
    spoken = protocol.of_declared(written.port.protocol)
    if spoken is None:
        text = f'"{written.port.protocol}" is no protocol; the listener is not opened'
        return invalid(origin.at("port.protocol"), text)
    bound = is_bound(written.capture_mode, captured=captured)
    bind = written.bind or (LOOPBACK if bound else "")
    unix = bind.startswith(UNIX)
    if unix and is_ours(bind):
        return invalid(origin.at("bind"), f"{bind!r} is where a proxy is told what to do; the listener is not opened")
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
    return any(where in {EVERY_NAMESPACE, namespace} and hosts.covers(name, host) for where, name in patterns)
