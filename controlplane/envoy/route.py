"""Virtual hosts and route configurations.

A virtual host is what changes most often: a weight moves, a rule is added. It travels alone (VHDS) and costs a few
microseconds, so the fields that every route has are written directly; what only some routes have (rewrites, mirrors,
faults, CORS) is built as messages and joined.
"""

from collections.abc import Iterator
from datetime import timedelta
from functools import lru_cache
from typing import Any, Final

from envoy.config.route.v3 import route_components_pb2, route_pb2

from controlplane.envoy import matcher, refs, wire
from controlplane.envoy.any import packed
from controlplane.envoy.duration import duration
from controlplane.envoy.filters import cors, fault
from controlplane.envoy.hashing import http_hash
from controlplane.envoy.headers import header_fields
from controlplane.envoy.metadata import config_metadata
from controlplane.envoy.percent import fraction
from controlplane.envoy.retry import retry_policy
from controlplane.ir.listener import RouteTable
from controlplane.ir.route import (
    NO_HEADER_OPS,
    DirectResponse,
    Forward,
    HeaderOps,
    MatchKind,
    Mirror,
    Redirect,
    Retry,
    Rewrite,
    Route,
    RouteMatch,
    VirtualHost,
    WeightedCluster,
)
from controlplane.model.problem import Origin
from controlplane.snapshot.resource import Ref, Resource, resource
from controlplane.snapshot.routes import host_name
from controlplane.snapshot.types import ROUTE, VIRTUAL_HOST

_MAX_DIRECT_RESPONSE_BYTES: Final = 1 << 20  # Envoy's own limit is 4 kB

_Action = route_components_pb2.RouteAction
_Host = route_components_pb2.VirtualHost
_Route = route_components_pb2.Route
_Weight = route_components_pb2.WeightedCluster.ClusterWeight

_HOST_NAME: Final = wire.text(_Host, "name")
_HOST_DOMAIN: Final = wire.text(_Host, "domains")
_HOST_ROUTE: Final = wire.embedded(_Host, "routes")
_HOST_TLS: Final = wire.encoded(_Host(require_tls=_Host.ALL))
_HOST_TAIL: Final = wire.encoded(_Host(include_request_attempt_count=True))

_MATCH: Final = wire.embedded(_Route, "match")
_FORWARD: Final = wire.embedded(_Route, "route")
_REDIRECT: Final = wire.embedded(_Route, "redirect")
_DIRECT: Final = wire.embedded(_Route, "direct_response")
_METADATA: Final = wire.embedded(_Route, "metadata")
_DECORATOR: Final = wire.embedded(_Route, "decorator")
_OPERATION: Final = wire.text(route_components_pb2.Decorator, "operation")
_ROUTE_NAME: Final = wire.text(_Route, "name")
_STAT_PREFIX: Final = wire.text(_Route, "stat_prefix")

_CLUSTER: Final = wire.text(_Action, "cluster")
_WEIGHTED: Final = wire.embedded(_Action, "weighted_clusters")
_WEIGHTED_CLUSTER: Final = wire.embedded(route_components_pb2.WeightedCluster, "clusters")
_WEIGHT_NAME: Final = wire.text(_Weight, "name")
_WEIGHT_HOST: Final = wire.text(_Weight, "host_rewrite_literal")

_WHOLE_PATH: Final = frozenset({MatchKind.EXACT, MatchKind.REGEX})
_REDIRECT_CODES: Final = {
    301: route_components_pb2.RedirectAction.MOVED_PERMANENTLY,
    302: route_components_pb2.RedirectAction.FOUND,
    303: route_components_pb2.RedirectAction.SEE_OTHER,
    307: route_components_pb2.RedirectAction.TEMPORARY_REDIRECT,
    308: route_components_pb2.RedirectAction.PERMANENT_REDIRECT,
}


def encode_virtual_host(table: str, host: VirtualHost) -> Resource:
    """One virtual host of the route configuration `table`, under the name by which it travels alone."""
    name = host_name(table, host.name)
    return resource(VIRTUAL_HOST, name, _host(name, host), host_refs(host), _origins(host))


def encode_table(table: RouteTable) -> Resource:
    """A route configuration without its hosts: they are resources of their own."""
    return resource(ROUTE, table.name, wire.encoded(_table(table.name, gateway=table.gateway)), (), table.origins)


def inline_table(name: str, hosts: tuple[VirtualHost, ...], *, gateway: bool) -> Any:
    """A whole `RouteConfiguration` for a listener whose routes stand in place."""
    table = _table(name, gateway=gateway)
    for host in hosts:
        table.virtual_hosts.append(_Host.FromString(_host(host.name, host)))
    return table


def host_refs(host: VirtualHost) -> tuple[Ref, ...]:
    """The clusters this host leads to, mirrors included."""
    found = [ref for route in host.routes if isinstance(route.action, Forward) for ref in _action_refs(route.action)]
    return tuple(found) if len(found) == 1 else refs.in_order(found)


def _action_refs(action: Forward) -> Iterator[Ref]:
    for destination in action.destinations:
        yield refs.cluster(destination.cluster)
    for mirror in action.mirrors:
        yield refs.cluster(mirror.cluster)


def _origins(host: VirtualHost) -> tuple[Origin, ...]:
    """What made the host, then what made its routes and their destinations; each once."""
    found = dict.fromkeys(host.origins)
    for route in host.routes:
        found[route.origin] = None
        if isinstance(route.action, Forward):
            found.update((to.origin, None) for to in route.action.destinations if to.origin is not None)
    return tuple(found)


def _table(name: str, *, gateway: bool) -> Any:
    table = route_pb2.RouteConfiguration(name=name, ignore_port_in_host_matching=gateway)
    table.validate_clusters.value = False  # make-before-break is ours: a missing cluster must not refuse the table
    table.max_direct_response_body_size_bytes.value = _MAX_DIRECT_RESPONSE_BYTES
    return table


def _host(name: str, host: VirtualHost) -> bytes:
    parts = [_HOST_NAME(name)]
    parts += [_HOST_DOMAIN(domain) for domain in host.domains]
    parts += [_HOST_ROUTE(_route(route)) for route in host.routes]
    if host.require_tls:
        parts.append(_HOST_TLS)
    parts.append(_HOST_TAIL)
    return b"".join(parts)


def _route(route: Route) -> bytes:
    action = route.action
    parts = [_MATCH(matcher.route_match(route.match))]
    headers = route.headers
    if isinstance(action, Forward):
        parts.append(_FORWARD(_forward(action, route.match)))
        headers = _with_single_destination(headers, action.destinations)
    elif isinstance(action, Redirect):
        parts.append(_REDIRECT(_redirect(action)))
    if metadata := config_metadata(route.origin.ref):
        parts.append(_METADATA(metadata))
    if route.operation:
        parts.append(_DECORATOR(_OPERATION(route.operation)))
    if isinstance(action, DirectResponse):
        parts.append(_DIRECT(_direct_response(action)))
    parts.append(header_fields(_Route, headers))
    if route.fault is not None or route.cors is not None:
        parts.append(_per_filter(route))
    parts.append(_ROUTE_NAME(route.name))
    if route.stat_prefix:
        parts.append(_STAT_PREFIX(route.stat_prefix))
    return b"".join(parts)


def _per_filter(route: Route) -> bytes:
    message = _Route()
    if route.fault is not None:
        message.typed_per_filter_config[fault.NAME].CopyFrom(packed(fault.policy(route.fault)))
    if route.cors is not None:
        message.typed_per_filter_config[cors.NAME].CopyFrom(packed(cors.policy(route.cors)))
    return wire.encoded(message)


def _with_single_destination(headers: HeaderOps, destinations: tuple[WeightedCluster, ...]) -> HeaderOps:
    """One destination has no weight to carry its headers: they join the route's, and have the last word."""
    extra = destinations[0].headers
    if len(destinations) > 1 or extra == NO_HEADER_OPS:
        return headers
    return HeaderOps(
        request_set=headers.request_set + extra.request_set,
        request_add=headers.request_add + extra.request_add,
        request_remove=headers.request_remove + extra.request_remove,
        response_set=headers.response_set + extra.response_set,
        response_add=headers.response_add + extra.response_add,
        response_remove=headers.response_remove + extra.response_remove,
    )


def _forward(action: Forward, match: RouteMatch) -> bytes:
    where = _where(action.destinations)
    common = _time_and_retry(action.timeout, action.retry)
    if action.rewrite is None and not action.mirrors and not action.hash_keys and not action.auto_host_rewrite:
        return where + common
    return where + common + _rare(action, match)


def _where(destinations: tuple[WeightedCluster, ...]) -> bytes:
    if len(destinations) == 1:
        return _CLUSTER(destinations[0].cluster)
    return _WEIGHTED(b"".join([_WEIGHTED_CLUSTER(_weighted(destination)) for destination in destinations]))


def _weighted(destination: WeightedCluster) -> bytes:
    parts = [
        _WEIGHT_NAME(destination.cluster),
        _weight(destination.weight),
        header_fields(_Weight, destination.headers),
    ]
    if destination.authority is not None:
        parts.append(_WEIGHT_HOST(destination.authority))
    return b"".join(parts)


@lru_cache(maxsize=1024)
def _weight(weight: int) -> bytes:
    message = _Weight()
    message.weight.value = weight
    return wire.encoded(message)


@lru_cache(maxsize=4096)
def _time_and_retry(timeout: timedelta, retry: Retry | None) -> bytes:
    """What nearly every route shares. A gRPC caller's own deadline may shorten the timeout, never stretch it.

    Istio says that with `max_grpc_timeout`. Envoy calls that field deprecated and logs more than a kilobyte for every
    route that has it, at every update: 6.7 MB and a sixth more CPU for 5,000 hosts. Its successor switches the route's
    own `timeout` off (Envoy's router: `usingNewTimeouts`), so only routes without a timeout may say it that way.
    """
    message = _Action()
    message.timeout.CopyFrom(duration(timeout))
    if timeout:
        message.max_grpc_timeout.CopyFrom(message.timeout)
    else:
        message.max_stream_duration.grpc_timeout_header_max.CopyFrom(message.timeout)
    if retry is not None:
        message.retry_policy.CopyFrom(retry_policy(retry))
    return wire.encoded(message)


def _rare(action: Forward, match: RouteMatch) -> bytes:
    message = _Action()
    if action.rewrite is not None:
        _rewrite(message, action.rewrite, match)
    message.request_mirror_policies.extend(map(_mirror, action.mirrors))
    message.hash_policy.extend(map(http_hash, action.hash_keys))
    if action.auto_host_rewrite and not message.host_rewrite_literal:
        message.auto_host_rewrite.value = True
    return wire.encoded(message)


def _rewrite(message: Any, rewrite: Rewrite, match: RouteMatch) -> None:
    if rewrite.regex is not None:
        _set_regex_rewrite(message, *rewrite.regex)
    elif rewrite.path is not None and match.path is not None and match.path.kind in _WHOLE_PATH:
        message.prefix_rewrite = rewrite.path  # Envoy replaces what was matched: here, all of it
    elif rewrite.path is not None:
        _set_regex_rewrite(message, "/.*", rewrite.path.replace("\\", "\\\\"))  # all of it; "\1" is text here
    elif rewrite.prefix is not None:
        message.prefix_rewrite = rewrite.prefix
    if rewrite.authority is not None:
        message.host_rewrite_literal = rewrite.authority


def _set_regex_rewrite(message: Any, pattern: str, substitution: str) -> None:
    message.regex_rewrite.pattern.CopyFrom(matcher.regex(pattern))
    message.regex_rewrite.substitution = substitution


def _mirror(mirror: Mirror) -> Any:
    policy = _Action.RequestMirrorPolicy(cluster=mirror.cluster)
    policy.runtime_fraction.default_value.CopyFrom(fraction(mirror.percent))
    policy.trace_sampled.value = False
    return policy


def _redirect(action: Redirect) -> bytes:
    message = route_components_pb2.RedirectAction(response_code=_REDIRECT_CODES[action.code])
    if action.scheme is not None:
        message.scheme_redirect = action.scheme
    if action.authority is not None:
        message.host_redirect = action.authority
    if action.port is not None:
        message.port_redirect = action.port
    if action.path is not None:
        message.path_redirect = action.path
    elif action.prefix is not None:
        message.prefix_rewrite = action.prefix
    return wire.encoded(message)


def _direct_response(action: DirectResponse) -> bytes:
    message = route_components_pb2.DirectResponseAction(status=action.status)
    if action.body:
        message.body.inline_bytes = action.body
    elif action.text:
        message.body.inline_string = action.text
    return wire.encoded(message)
