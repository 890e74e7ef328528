"""External authorization: somebody else decides about a request, or about a connection.

Only calls that a check's rules hold for are asked about. The filter before this one notes which rule held; this one
looks for a note of its own check.
"""

from collections.abc import Iterable
from functools import lru_cache
from typing import Any, Final

from envoy.config.core.v3 import base_pb2, config_source_pb2, grpc_service_pb2
from envoy.type.matcher.v3 import metadata_pb2, string_pb2

from controlplane.envoy.any import packed
from controlplane.envoy.duration import duration
from controlplane.envoy.filters import rbac
from controlplane.ir.authorization import Authorizer, Check

_NETWORK_STATISTICS: Final = "tcp."
_V3: Final = config_source_pb2.V3


def name(*, http: bool) -> str:
    """What the filter is called."""
    return "envoy.filters.http.ext_authz" if http else "envoy.filters.network.ext_authz"


@lru_cache(maxsize=1024)
def asking(check: Check, authorizer: Authorizer, *, http: bool) -> Any:
    """The packed filter of one check."""
    return packed(_of_requests(check, authorizer) if http else _of_connections(check, authorizer))


def _of_requests(check: Check, authorizer: Authorizer) -> Any:
    from envoy.extensions.filters.http.ext_authz.v3 import ext_authz_pb2  # noqa: PLC0415  not paid at start-up

    config = ext_authz_pb2.ExtAuthz(
        transport_api_version=_V3,
        failure_mode_allow=authorizer.fail_open,
        clear_route_cache=authorizer.clear_route_cache,
        filter_enabled_metadata=_noted(check, http=True),
    )
    if authorizer.grpc:
        config.grpc_service.CopyFrom(_grpc(authorizer))
    else:
        _set_service(config.http_service, authorizer)
        if authorizer.request_headers:
            config.allowed_headers.patterns.extend(map(_header, authorizer.request_headers))
    if authorizer.status_on_error is not None:
        config.status_on_error.code = authorizer.status_on_error
    if (body := authorizer.body) is not None:
        config.with_request_body.max_request_bytes = body.max_bytes
        config.with_request_body.allow_partial_message = body.partial
        config.with_request_body.pack_as_bytes = body.raw
    return config


def _of_connections(check: Check, authorizer: Authorizer) -> Any:
    """This one speaks gRPC alone."""
    from envoy.extensions.filters.network.ext_authz.v3 import ext_authz_pb2  # noqa: PLC0415  not paid at start-up

    return ext_authz_pb2.ExtAuthz(
        stat_prefix=_NETWORK_STATISTICS,
        transport_api_version=_V3,
        failure_mode_allow=authorizer.fail_open,
        filter_enabled_metadata=_noted(check, http=False),
        grpc_service=_grpc(authorizer),
    )


def _noted(check: Check, *, http: bool) -> Any:
    message = metadata_pb2.MetadataMatcher(filter=rbac.name(http=http))
    message.path.add(key=rbac.CHECK_PREFIX + rbac.MATCHED)
    message.value.string_match.prefix = f"{check.prefix}ns["
    return message


def _grpc(authorizer: Authorizer) -> Any:
    message = grpc_service_pb2.GrpcService()
    message.envoy_grpc.cluster_name = authorizer.cluster
    message.envoy_grpc.authority = authorizer.host  # else the cluster's name, which servers refuse for its "|"
    message.timeout.CopyFrom(duration(authorizer.timeout))
    return message


def _set_service(service: Any, authorizer: Authorizer) -> None:
    service.path_prefix = authorizer.path_prefix
    service.server_uri.uri = f"http://{authorizer.host}"
    service.server_uri.cluster = authorizer.cluster
    service.server_uri.timeout.CopyFrom(duration(authorizer.timeout))
    for name, value in authorizer.extra_headers:
        service.authorization_request.headers_to_add.append(base_pb2.HeaderValue(key=name, value=value))
    answer = service.authorization_response
    _set_headers(answer, "allowed_upstream_headers", authorizer.headers_upstream)
    _set_headers(answer, "allowed_client_headers_on_success", authorizer.headers_on_allow)
    _set_headers(answer, "allowed_client_headers", authorizer.headers_on_deny)


def _set_headers(answer: Any, field: str, names: Iterable[str]) -> None:
    for name in names:
        getattr(answer, field).patterns.append(_header(name))


def _header(name: str) -> Any:
    if name.startswith("*"):
        return string_pb2.StringMatcher(suffix=name[1:], ignore_case=True)
    if name.endswith("*"):
        return string_pb2.StringMatcher(prefix=name[:-1], ignore_case=True)
    return string_pb2.StringMatcher(exact=name, ignore_case=True)
