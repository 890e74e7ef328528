"""Outbound listeners of sidecars."""

from collections.abc import Sequence
from typing import Protocol

import msgspec

from controlplane.ir import names
from controlplane.ir.cluster import Direction
from controlplane.ir.listener import MATCH_ALL, ChainMatch, FilterChain, HttpChain, Listener, TcpChain
from controlplane.ir.route import WeightedCluster
from controlplane.mesh.chains import HTTP_BYTES, Member, on_address, together
from controlplane.mesh.policy import OutboundPolicy, mesh_policy
from controlplane.model.problem import Problem
from controlplane.model.settings import Settings

ANY_ADDRESS = "0.0.0.0"  # noqa: S104  captured traffic has any destination
PASSTHROUGH_CHAIN = "PassthroughFilterChain"


def vip_listener(
    address: str, port: int, members: Sequence[Member], settings: Settings
) -> tuple[Listener, tuple[Problem, ...]]:
    """The listener of one virtual address. If services share it, the server name decides, else age."""
    chains, default, problems = together([on_address(member) for member in members])
    name = names.http_listener(port, address)
    chains = tuple(_counted_as(f"outbound_{name}", chain) for chain in chains)
    return _captured(name, address, port, chains, default, members, settings), problems


def wildcard_listener(  # noqa: PLR0913  a port and everything that shares it
    port: int,
    *,
    members: Sequence[Member] = (),
    http: bool,
    policy: OutboundPolicy,
    settings: Settings,
    dynamic_dns: bool = False,
) -> tuple[Listener, tuple[Problem, ...]]:
    """The listener that HTTP services of a port share (`http`: there are any) with services that have no address.

    `dynamic_dns`: some of the HTTP services is found by the name each request carries.
    """
    chains, default, problems = together(members)
    name = names.http_listener(port)
    if http:
        speaks = HttpChain(f"outbound_{name}", route=names.sidecar_route(port), dynamic_dns=dynamic_dns)
        chains = (FilterChain(name, HTTP_BYTES, speaks), *chains)
    rest = default or passthrough_chain(policy)
    return _captured(name, ANY_ADDRESS, port, chains, rest, members, settings), problems


def _counted_as(stat_prefix: str, chain: FilterChain) -> FilterChain:
    """Statistics of sniffed HTTP are those of the address it was dialled for, as dashboards made for Istio have it."""
    if isinstance(chain.network, TcpChain):
        return chain
    counted: FilterChain = msgspec.structs.replace(
        chain, network=msgspec.structs.replace(chain.network, stat_prefix=stat_prefix)
    )
    return counted


class HasPolicy(Protocol):
    """A Sidecar's scope, as far as unknown calls go."""

    @property
    def policy(self) -> OutboundPolicy: ...


def outbound_policy(scope: HasPolicy | None, settings: Settings) -> OutboundPolicy:
    """What holds for a workload: its Sidecar's policy, else the mesh's."""
    return scope.policy if scope is not None else mesh_policy(settings)


def virtual_outbound(policy: OutboundPolicy, settings: Settings) -> Listener:
    """Where captured calls arrive. A call to its own port would go round in circles, so it ends at once."""
    port = settings.proxy_listen_port
    trap = FilterChain(
        "virtualOutbound-trap",
        ChainMatch(destination_port=port),
        TcpChain(names.BLACK_HOLE_CLUSTER, (WeightedCluster(names.BLACK_HOLE_CLUSTER),)),
    )
    rest = msgspec.structs.replace(passthrough_chain(policy), name="virtualOutbound-catchall-tcp")
    return Listener(
        name=names.VIRTUAL_OUTBOUND,
        address=ANY_ADDRESS,
        port=port,
        direction=Direction.OUTBOUND,
        chains=(trap,),
        default_chain=rest,
        use_original_destination=True,
        origins=(policy.origin,),
    )


def http_proxy_listener(address: str, port: int, _settings: Settings, *, dynamic_dns: bool = False) -> Listener:
    """The explicit forward proxy for applications that are told to use one."""
    name = names.http_listener(port, address)
    speaks = HttpChain(f"outbound_{name}", route=names.HTTP_PROXY, dynamic_dns=dynamic_dns)
    return Listener(
        name=name,
        address=address,
        port=port,
        direction=Direction.OUTBOUND,
        chains=(FilterChain(name, MATCH_ALL, speaks),),
    )


def passthrough_chain(policy: OutboundPolicy) -> FilterChain:
    """Where bytes go that nothing else wants."""
    cluster = policy.tcp_cluster
    return FilterChain(PASSTHROUGH_CHAIN, MATCH_ALL, TcpChain(cluster, (WeightedCluster(cluster),)))


def assembled(
    listener: Listener,
    chains: tuple[FilterChain, ...],
    default: FilterChain | None,
    members: Sequence[Member],
    settings: Settings,
) -> Listener:
    """A listener with its chains, and the inspection these chains need.

    Whatever changes outside of filter chains closes all connections of a listener, so what is inspected follows from
    what the services speak, and not from the rules of the day.
    """
    if default is not None and not chains:
        chains, default = (default,), None
    sniffs = any(chain.match.application_protocols for chain in chains)
    by_name = any(chain.match.server_names for chain in chains) or any(one.port.protocol.is_tls for one in members)
    return msgspec.structs.replace(
        listener,
        chains=chains,
        default_chain=default,
        inspect_tls=sniffs or by_name,
        inspect_http=sniffs,
        inspection_timeout=settings.protocol_detection_timeout or None,
    )


def _captured(  # noqa: PLR0913, PLR0917  one call per kind of listener
    name: str,
    address: str,
    port: int,
    chains: tuple[FilterChain, ...],
    default: FilterChain | None,
    members: Sequence[Member],
    settings: Settings,
) -> Listener:
    bare = Listener(
        name=name,
        address=address,
        port=port,
        direction=Direction.OUTBOUND,
        chains=(),
        bind_to_port=False,
        origins=tuple(member.service.origin for member in members),
    )
    return assembled(bare, chains, default, members, settings)
