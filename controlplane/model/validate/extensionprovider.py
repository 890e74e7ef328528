"""What extensionProviders may say. One that is bad is left out, and what asks for it fails closed.

One of a kind that nothing asks yet has a name alone: whatever asks for it says so.
"""

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Final

from controlplane.model.extensionprovider import ExtAuthzGrpc, ExtAuthzHttp, ExtensionProvider, RequestBody
from controlplane.model.validate.common import (
    check_duration,
    check_fqdn,
    check_header_name,
    check_header_value,
    check_line,
    check_name,
    check_port,
    deprecated,
    each,
    exclusive,
    required,
    unique,
)
from controlplane.model.validate.findings import Findings

_KINDS: Final = ("envoyExtAuthzHttp", "envoyExtAuthzGrpc")
_STATUSES: Final = frozenset(str(int(one)) for one in HTTPStatus if int(one) >= 200)


def check_providers(found: Findings, path: str, providers: Sequence[ExtensionProvider]) -> None:
    """All of them."""
    unique(found, path, (one.name for one in providers), field=".name")
    each(found, path, providers, _check_provider)


def _check_provider(found: Findings, path: str, provider: ExtensionProvider) -> None:
    if required(found, f"{path}.name", provider.name):
        check_line(found, f"{path}.name", provider.name)
    exclusive(found, path, provider, _KINDS)
    if provider.envoy_ext_authz_http is not None:
        _check_http(found, f"{path}.envoyExtAuthzHttp", provider.envoy_ext_authz_http)
    if provider.envoy_ext_authz_grpc is not None:
        _check_both(found, f"{path}.envoyExtAuthzGrpc", provider.envoy_ext_authz_grpc)


def _check_http(found: Findings, path: str, authorizer: ExtAuthzHttp) -> None:
    _check_both(found, path, authorizer)
    deprecated(found, path, authorizer, {"includeHeadersInCheck": "includeRequestHeadersInCheck"})
    if authorizer.path_prefix and not authorizer.path_prefix.startswith("/"):
        found.error("InvalidValue", f"{path}.pathPrefix", "must begin with a slash")
    check_line(found, f"{path}.pathPrefix", authorizer.path_prefix)
    patterns: Mapping[str, Sequence[str]] = {
        "includeHeadersInCheck": authorizer.include_headers_in_check,
        "includeRequestHeadersInCheck": authorizer.include_request_headers_in_check,
        "headersToUpstreamOnAllow": authorizer.headers_to_upstream_on_allow,
        "headersToDownstreamOnDeny": authorizer.headers_to_downstream_on_deny,
        "headersToDownstreamOnAllow": authorizer.headers_to_downstream_on_allow,
    }
    for field, names in patterns.items():
        each(found, f"{path}.{field}", names, _check_header)
    for name, value in authorizer.include_additional_headers_in_check.items():
        at = f"{path}.includeAdditionalHeadersInCheck[{name}]"
        check_header_name(found, at, name)
        check_header_value(found, at, value)


def _check_header(found: Findings, path: str, pattern: str) -> None:
    if pattern.strip("*") == "":
        found.error("InvalidHeader", path, f'"{pattern}" is no header name; a wildcard needs something beside it')
        return
    check_header_name(found, path, pattern.removeprefix("*") if pattern.startswith("*") else pattern.removesuffix("*"))


def _check_both(found: Findings, path: str, authorizer: ExtAuthzHttp | ExtAuthzGrpc) -> None:
    if required(found, f"{path}.service", authorizer.service):
        namespace, slash, host = authorizer.service.rpartition("/")
        check_fqdn(found, f"{path}.service", host)
        if slash:
            check_name(found, f"{path}.service", namespace)
    if required(found, f"{path}.port", authorizer.port or None):
        check_port(found, f"{path}.port", authorizer.port)
    check_duration(found, f"{path}.timeout", authorizer.timeout)
    if authorizer.status_on_error and authorizer.status_on_error not in _STATUSES:
        found.error("InvalidStatus", f"{path}.statusOnError", f'"{authorizer.status_on_error}" is no status code')
    if authorizer.include_request_body_in_check is not None:
        _check_body(found, f"{path}.includeRequestBodyInCheck", authorizer.include_request_body_in_check)


def _check_body(found: Findings, path: str, body: RequestBody) -> None:
    required(found, f"{path}.maxRequestBytes", body.max_request_bytes or None)
