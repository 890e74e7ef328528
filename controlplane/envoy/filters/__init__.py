"""Filters, one file each, and the order in which they stand.

EnvoyFilter users depend on Istio's order: what judges a request (ext_authz, jwt_authn, rbac) before what counts it
(grpc_stats), what plays with it (fault, cors) after, the router last.
"""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

from envoy.config.listener.v3 import listener_components_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2

from controlplane.envoy.any import packed
from controlplane.envoy.filters import (
    cors,
    dynamic_dns,
    ext_authz,
    fault,
    grpc_stats,
    grpc_web,
    jwt_authn,
    rbac,
    router,
)
from controlplane.ir.guard import Guard
from controlplane.ir.listener import HttpChain


def http_filters(chain: HttpChain, dns_refresh_rate: timedelta) -> list[Any]:
    """The `HttpFilter`s of one chain, in order."""
    filters = [
        *_judging(chain.guard, reroutes=chain.gateway),
        *([_filter(grpc_web.NAME, grpc_web.config())] if chain.grpc_web else ()),
        _filter(grpc_stats.NAME, grpc_stats.config()),
        _filter(fault.NAME, fault.config()),
        _filter(cors.NAME, cors.config()),
    ]
    if chain.dynamic_dns:
        filters.append(_filter(dynamic_dns.NAME, dynamic_dns.config(dns_refresh_rate)))
    filters.append(_filter(router.NAME, router.config()))
    return filters


def network_filters(guard: Guard) -> list[Any]:
    """The `Filter`s of one chain that judge a connection; what reads its bytes comes after."""
    return [
        listener_components_pb2.Filter(name=name, typed_config=config)
        for name, config in (*_asked(guard, http=False), *_judged(guard, http=False))
    ]


def _judging(guard: Guard, *, reroutes: bool) -> list[Any]:
    """In this order: whoever else is to be asked, whose tokens are good, what the rules say."""
    filters = (*_asked(guard, http=True), *_believed(guard, reroutes=reroutes), *_judged(guard, http=True))
    return [http_connection_manager_pb2.HttpFilter(name=name, typed_config=config) for name, config in filters]


def _asked(guard: Guard, *, http: bool) -> Iterator[tuple[str, Any]]:
    """(name, packed configuration) of filters that ask others."""
    for check in guard.authorization.checks if guard.authorization is not None else ():
        yield rbac.name(http=http), rbac.triggering(check, http=http)
        if check.authorizer is not None:
            yield ext_authz.name(http=http), ext_authz.asking(check, check.authorizer, http=http)


def _believed(guard: Guard, *, reroutes: bool) -> Iterator[tuple[str, Any]]:
    """(name, packed configuration) of the filter that looks at tokens. `reroutes`: claims choose among routes."""
    if guard.tokens is not None:
        yield jwt_authn.NAME, packed(jwt_authn.config(guard.tokens, reroutes=reroutes))


def _judged(guard: Guard, *, http: bool) -> Iterator[tuple[str, Any]]:
    """(name, packed configuration) of filters that judge by rules."""
    for judgement in guard.authorization.judgements if guard.authorization is not None else ():
        yield rbac.name(http=http), rbac.judging(judgement, http=http)


def _filter(name: str, config: Any) -> Any:
    return http_connection_manager_pb2.HttpFilter(name=name, typed_config=packed(config))
