"""HTTP filters, one file each, and the order in which they stand.

EnvoyFilter users depend on Istio's order: what judges a request (ext_authz, jwt_authn, rbac) before what counts it
(grpc_stats), what plays with it (fault, cors) after, the router last.
"""

from datetime import timedelta
from typing import Any

from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2

from controlplane.envoy.any import packed
from controlplane.envoy.filters import cors, dynamic_dns, fault, grpc_stats, grpc_web, router
from controlplane.ir.listener import HttpChain


def http_filters(chain: HttpChain, dns_refresh_rate: timedelta) -> list[Any]:
    """The `HttpFilter`s of one chain, in order."""
    filters = [
        *([_filter(grpc_web.NAME, grpc_web.config())] if chain.grpc_web else ()),
        _filter(grpc_stats.NAME, grpc_stats.config()),
        _filter(fault.NAME, fault.config()),
        _filter(cors.NAME, cors.config()),
    ]
    if chain.dynamic_dns:
        filters.append(_filter(dynamic_dns.NAME, dynamic_dns.config(dns_refresh_rate)))
    filters.append(_filter(router.NAME, router.config()))
    return filters


def _filter(name: str, config: Any) -> Any:
    return http_connection_manager_pb2.HttpFilter(name=name, typed_config=packed(config))
