"""Completes a configuration, so that Envoy can judge the part that a test is about.

Envoy's validate mode loads what hangs together: routes below a listener, endpoints below a cluster, clusters that
routes name. What a test leaves out is filled in with the plainest thing there is.
"""

from collections.abc import Iterable

from controlplane.envoy import cluster, listener
from controlplane.ir.cluster import Cluster, Direction, Upstream
from controlplane.ir.listener import MATCH_ALL, FilterChain, HttpChain, Listener
from controlplane.ir.policy import TrafficPolicy
from controlplane.ir.service import Resolution
from controlplane.model.settings import Settings
from controlplane.snapshot.resource import Resource
from controlplane.snapshot.types import CLUSTER, ENDPOINT, ROUTE

_SETTINGS = Settings()


def completed(resources: Iterable[Resource]) -> tuple[Resource, ...]:
    """These resources, with listeners for routes nobody serves and clusters nobody defines."""
    given = tuple(resources)
    listeners = [_listener_for(name) for name in sorted(_named(given, ROUTE) - _refs(given, ROUTE))]
    with_listeners = (*given, *listeners)
    wanted = _refs(with_listeners, CLUSTER) - _named(given, CLUSTER)
    loose = _named(given, ENDPOINT) - _named(given, CLUSTER) - wanted
    return (
        *with_listeners,
        *(_cluster(name, Resolution.STATIC) for name in sorted(wanted)),
        *(_cluster(name, Resolution.ENDPOINTS) for name in sorted(loose)),
    )


def _named(resources: Iterable[Resource], type_url: str) -> set[str]:
    return {resource.name for resource in resources if resource.type_url == type_url}


def _refs(resources: Iterable[Resource], type_url: str) -> set[str]:
    return {ref.name for resource in resources for ref in resource.refs if ref.type_url == type_url}


def _cluster(name: str, resolution: Resolution) -> Resource:
    plain = Cluster(name, Direction.OUTBOUND, resolution, Upstream.HTTP1, TrafficPolicy(), ())
    return cluster.encode(plain, _SETTINGS)


def _listener_for(route: str) -> Resource:
    chain = FilterChain("", MATCH_ALL, HttpChain(stat_prefix="test", route=route))
    return listener.encode(Listener(f"for {route}", "127.0.0.1", 0, Direction.OUTBOUND, (chain,)), _SETTINGS)
