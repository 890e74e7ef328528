"""extensionProviders -> who is asked about calls.

A provider is known by its name in the mesh's settings, and reached as a service of the registry. If either does not
exist, or callers like the workload may not see it, nobody can be asked, and what should be asked about is refused:
`failOpen` is for an authorizer that is away, not for one that never was.
"""

from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Final

import msgspec

from controlplane.ir import names
from controlplane.ir.authorization import Authorizer, Body
from controlplane.ir.service import Service
from controlplane.mesh.hosts import qualify
from controlplane.model.extensionprovider import ExtAuthzGrpc, ExtAuthzHttp, RequestBody
from controlplane.model.problem import Level, Origin, Problem
from controlplane.model.settings import Settings

Lookup = Callable[[str, str], Service | None]
"""(host, namespace that declares it or "") -> the service that the workload sees under this name."""

_TIMEOUT: Final = timedelta(seconds=600)  # Istio's


def is_http(provider: str, settings: Settings) -> bool:
    """Whether it can be asked about requests alone."""
    return isinstance(_declared(provider, settings), ExtAuthzHttp)


def authorizer(
    provider: str, settings: Settings, lookup: Lookup, origins: Sequence[Origin], *, http: bool
) -> tuple[Authorizer | None, tuple[Problem, ...]]:
    """Who is asked, if anybody can be. `origins`: where policies name the provider."""
    written = _declared(provider, settings)
    if not http and isinstance(written, ExtAuthzHttp):
        return None, ()  # told where a port is found that speaks no HTTP
    asked, code, level, message = _found(provider, written, settings, lookup)
    return asked, tuple(Problem(code, level, origin, message) for origin in origins if message)


def _declared(provider: str, settings: Settings) -> ExtAuthzHttp | ExtAuthzGrpc | None:
    return next((one.ext_authz for one in settings.extension_providers if one.name == provider), None)


def _found(
    provider: str, written: ExtAuthzHttp | ExtAuthzGrpc | None, settings: Settings, lookup: Lookup
) -> tuple[Authorizer | None, str, Level, str]:
    if written is None:
        return _missing(f'no extensionProvider that can authorize is called "{provider}"')
    namespace, _, host = written.service.rpartition("/")
    service = lookup(qualify(host, namespace or settings.root_namespace, settings.cluster_domain), namespace)
    if service is None:
        return _missing(f'"{provider}" is the service {written.service}, which callers like this workload do not see')
    port = next((port for port in service.ports if port.number == written.port), None)
    if port is None:
        return _missing(f'"{provider}" is port {written.port} of {service.host}, which has no such port')
    if isinstance(written, ExtAuthzHttp):
        return _asked_over_http(written, service.host), "", Level.INFO, ""
    message = f'"{provider}" is asked over gRPC, but its port is declared as {port.protocol}; declare it as grpc'
    asked = msgspec.structs.replace(_asked(written, service.host), grpc=True)
    return asked, "InvalidPort", Level.WARNING, "" if port.protocol.is_http2 else message


def _missing(why: str) -> tuple[None, str, Level, str]:
    return None, "ReferencedResourceNotFound", Level.ERROR, f"{why}: what the policy holds for is refused"


def _asked_over_http(written: ExtAuthzHttp, host: str) -> Authorizer:
    return msgspec.structs.replace(
        _asked(written, host),
        path_prefix=written.path_prefix,
        request_headers=written.include_request_headers_in_check or written.include_headers_in_check,
        extra_headers=tuple(sorted(written.include_additional_headers_in_check.items())),
        headers_upstream=written.headers_to_upstream_on_allow,
        headers_on_allow=written.headers_to_downstream_on_allow,
        headers_on_deny=written.headers_to_downstream_on_deny,
    )


def _asked(written: ExtAuthzHttp | ExtAuthzGrpc, host: str) -> Authorizer:
    return Authorizer(
        cluster=names.outbound_cluster(host, written.port),
        host=host,
        timeout=written.timeout or _TIMEOUT,
        fail_open=bool(written.fail_open),
        status_on_error=int(written.status_on_error) if written.status_on_error else None,
        clear_route_cache=bool(written.clear_route_cache),
        body=_body(written.include_request_body_in_check),
    )


def _body(written: RequestBody | None) -> Body | None:
    if written is None:
        return None
    return Body(written.max_request_bytes, bool(written.allow_partial_message), bool(written.pack_as_bytes))
