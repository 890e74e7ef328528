"""Listeners.

Connections live through an update of their listener only if nothing but filter chains changed, and then only those of
chains that did not. So all that stands outside the chains is a function of what the listener is, never of what runs
through it: no metadata, no statistics, no option that follows a service.
"""

from datetime import timedelta
from typing import Any, Final

from envoy.config.core.v3 import base_pb2
from envoy.config.listener.v3 import listener_components_pb2, listener_pb2

from controlplane.envoy import mesh_tls, refs, tls, wire
from controlplane.envoy.access_log import listener_logs
from controlplane.envoy.address import cidr, socket_address
from controlplane.envoy.any import packed
from controlplane.envoy.duration import duration
from controlplane.envoy.filters import dynamic_dns, network_filters
from controlplane.envoy.listener_filters import listener_filters
from controlplane.envoy.network import http, tcp
from controlplane.envoy.route import host_refs
from controlplane.ir import names
from controlplane.ir.cluster import Direction
from controlplane.ir.listener import MATCH_ALL, ChainMatch, FilterChain, HttpChain, Listener, TcpChain
from controlplane.model.problem import Origin
from controlplane.model.settings import Settings
from controlplane.snapshot.resource import Ref, Resource, resource
from controlplane.snapshot.types import LISTENER

_DIRECTIONS: Final = {Direction.OUTBOUND: base_pb2.OUTBOUND, Direction.INBOUND: base_pb2.INBOUND}
_HANDSHAKE: Final = timedelta(seconds=15)  # a client that never finishes its TLS handshake gives way
_ACCEPTS_PER_EVENT: Final = 1  # so that the workers share a burst of connections


def encode(listener: Listener, settings: Settings) -> Resource:
    """One listener with its chains."""
    return resource(
        LISTENER, listener.name, wire.encoded(_listener(listener, settings)), _refs(listener), _origins(listener)
    )


def _listener(listener: Listener, settings: Settings) -> Any:
    message = listener_pb2.Listener(name=listener.name, traffic_direction=_DIRECTIONS[listener.direction])
    message.address.CopyFrom(socket_address(listener.address, listener.port))
    for address in listener.extra_addresses:
        message.additional_addresses.add().address.CopyFrom(socket_address(address, listener.port))
    made: _Made = {}
    message.filter_chains.extend(_chain(chain, listener, settings, made) for chain in listener.chains)
    if listener.default_chain is not None:
        message.default_filter_chain.CopyFrom(_chain(listener.default_chain, listener, settings, made))
    message.listener_filters.extend(listener_filters(listener))
    _set_inspection(message, listener)
    _set_sockets(message, listener)
    message.access_log.extend(listener_logs(settings))
    return message


def _set_inspection(message: Any, listener: Listener) -> None:
    """How long to wait for the first bytes. 0: for ever, since a server may be the one that speaks first."""
    if not (listener.inspect_tls or listener.inspect_http or listener.proxy_protocol):
        return
    message.listener_filters_timeout.CopyFrom(duration(listener.inspection_timeout or timedelta(0)))
    message.continue_on_listener_filters_timeout = listener.continue_on_inspection_timeout


def _set_sockets(message: Any, listener: Listener) -> None:
    message.max_connections_to_accept_per_socket_event.value = _ACCEPTS_PER_EVENT
    if not listener.bind_to_port:
        message.bind_to_port.value = False
    if listener.use_original_destination:
        message.use_original_dst.value = True
    if listener.transparent:
        message.transparent.value = True


# By identity: what is behind several ways into a port is encoded once.
_Made = dict[int, list[Any]]


def _chain(chain: FilterChain, listener: Listener, settings: Settings, made: _Made) -> Any:
    message = listener_components_pb2.FilterChain(name=chain.name)
    if chain.match != MATCH_ALL:
        message.filter_chain_match.CopyFrom(_match(chain.match))
    filters = made.get(id(chain.network))
    if filters is None:
        filters = made[id(chain.network)] = _filters(chain, listener, settings)
    message.filters.extend(filters)
    if chain.tls is not None:
        message.transport_socket.CopyFrom(tls.downstream_socket(chain.tls))
        message.transport_socket_connect_timeout.CopyFrom(duration(_HANDSHAKE))
    return message


def _match(match: ChainMatch) -> Any:
    message = listener_components_pb2.FilterChainMatch(
        prefix_ranges=map(cidr, match.destination_ranges),
        source_prefix_ranges=map(cidr, match.source_ranges),
        server_names=match.server_names,
        transport_protocol=match.transport,
        application_protocols=match.application_protocols,
    )
    if match.destination_port is not None:
        message.destination_port.value = match.destination_port
    return message


def _filters(chain: FilterChain, listener: Listener, settings: Settings) -> list[Any]:
    network = chain.network
    if isinstance(network, HttpChain):
        return [_filter(http.NAME, http.manager(network, listener.direction, settings))]
    filters = network_filters(network.guard)
    if settings.workload_certificates and any(names.is_outbound(one.cluster) for one in network.destinations):
        filters.append(_filter(mesh_tls.MARK_FILTER, mesh_tls.mark()))
    if network.by_name_at:
        resolver = dynamic_dns.sni_config(settings.dns_refresh_rate, network.by_name_at)
        filters.append(_filter(dynamic_dns.SNI_NAME, resolver))
    elif network.by_sni:
        filters.append(_filter(tcp.SNI_NAME, tcp.sni_cluster()))
    return [*filters, _filter(tcp.NAME, tcp.proxy(network, settings))]


def _filter(name: str, config: Any) -> Any:
    return listener_components_pb2.Filter(name=name, typed_config=packed(config))


def _all_chains(listener: Listener) -> tuple[FilterChain, ...]:
    return listener.chains if listener.default_chain is None else (*listener.chains, listener.default_chain)


def _refs(listener: Listener) -> tuple[Ref, ...]:
    return refs.in_order(ref for chain in _all_chains(listener) for ref in _chain_refs(chain))


def _chain_refs(chain: FilterChain) -> list[Ref]:
    found = [*_network_refs(chain.network), *map(refs.cluster, chain.network.guard.clusters)]
    if chain.tls is not None:
        certificates, bundle = tls.downstream_secrets(chain.tls)
        found += [refs.secret(name) for name in (*certificates, bundle) if name]
    return found


def _network_refs(network: HttpChain | TcpChain) -> list[Ref]:
    asked = [refs.cluster(cluster) for cluster in network.guard.clusters]
    if isinstance(network, TcpChain):
        return [*asked, *(refs.cluster(destination.cluster) for destination in network.destinations)]
    if network.route:
        return [*asked, refs.route_table(network.route)]
    return [*asked, *(ref for host in network.virtual_hosts for ref in host_refs(host))]


def _origins(listener: Listener) -> tuple[Origin, ...]:
    """What made the listener, then what made its chains; each once."""
    found = dict.fromkeys(listener.origins)
    for chain in _all_chains(listener):
        found.update(dict.fromkeys((*chain.origins, *chain.network.guard.origins)))
    return tuple(found)
