"""Headers as Envoy keeps them between the client and the route table.

A header that comes twice is kept twice, and a matcher asks each value by itself; but headers Envoy has a fixed place
for (the lists below, found by asking Envoy 1.40 about every one of them) become one value joined by commas. So
`x-team: a` and `x-team: b` match "exact a", `accept: a` and `accept: b` match "exact a,b" only.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from envoy.extensions.http.early_header_mutation.header_mutation.v3 import header_mutation_pb2

EARLY_MUTATION: Final = (
    "type.googleapis.com/envoy.extensions.http.early_header_mutation.header_mutation.v3.HeaderMutation"
)
Headers = Mapping[str, tuple[str, ...]]  # lower-case names, pseudo-headers included

_JOINED: Final = frozenset(
    "accept accept-encoding access-control-request-headers access-control-request-method authorization"  # noqa: SIM905 — one text
    " cache-control content-encoding content-type expect grpc-accept-encoding grpc-timeout if-match"
    " if-modified-since if-none-match if-range if-unmodified-since origin pragma proxy-status referer"
    " user-agent via x-client-trace-id x-request-id x-envoy-attempt-count x-envoy-decorator-operation"
    " x-envoy-downstream-service-cluster x-envoy-downstream-service-node x-envoy-external-address"
    " x-envoy-is-timeout-retry x-envoy-original-host x-envoy-original-path x-forwarded-client-cert"
    " x-forwarded-for x-forwarded-host x-forwarded-port x-forwarded-proto".split()
)
# What nobody outside may say to Envoy: no address counts as internal unless it is configured to.
_NEVER_TRUSTED: Final = frozenset(
    "keep-alive proxy-connection transfer-encoding host x-envoy-expected-rq-timeout-ms"  # noqa: SIM905 — one text
    " x-envoy-force-trace x-envoy-hedge-on-per-try-timeout x-envoy-internal x-envoy-ip-tags"
    " x-envoy-max-retries x-envoy-original-url x-envoy-retriable-header-names"
    " x-envoy-retriable-status-codes x-envoy-retry-grpc-on x-envoy-retry-on"
    " x-envoy-upstream-alt-stat-name x-envoy-upstream-rq-per-try-timeout-ms"
    " x-envoy-upstream-rq-timeout-alt-response x-envoy-upstream-rq-timeout-ms"
    " x-envoy-upstream-stream-duration-ms".split()
)
# What an edge proxy (`use_remote_address`) does not believe either.
_NOT_AT_THE_EDGE: Final = frozenset(
    "x-envoy-decorator-operation x-envoy-downstream-service-cluster x-envoy-downstream-service-node"  # noqa: SIM905 — one text
    " x-envoy-external-address x-envoy-original-host x-envoy-original-path".split()
)
_GENERATED: Final = ("(generated)",)
_ALWAYS_FORWARD_ONLY: Final = 4  # HttpConnectionManager.ForwardClientCertDetails


def received(pairs: Iterable[tuple[str, str]], *, http2: bool = False) -> dict[str, tuple[str, ...]]:
    """What the codec makes of the client's headers. HTTP/2 lets clients cut cookies up, so they are put together."""
    found: dict[str, tuple[str, ...]] = {}
    for name, value in pairs:
        lower = name.lower()
        found[lower] = (*found.get(lower, ()), value if http2 else value.strip(" \t"))
    joined = {name: (_join(values, ","),) for name, values in found.items() if name in _JOINED}
    if http2 and (cookies := found.pop("cookie", ())) and (text := _join(cookies, "; ")):
        joined["cookie"] = (text,)
    return {**found, **joined}


def _join(values: Iterable[str], glue: str) -> str:
    """Empty values leave no trace."""
    return glue.join(value for value in values if value)


def sanitized(manager: Any, headers: Headers, source_ip: str) -> dict[str, tuple[str, ...]]:
    """What the connection manager leaves, and what it adds."""
    edge = manager.use_remote_address.value
    removed = _NEVER_TRUSTED | _NOT_AT_THE_EDGE if edge else _NEVER_TRUSTED
    kept = {name: values for name, values in headers.items() if name not in removed}
    if manager.forward_client_cert_details != _ALWAYS_FORWARD_ONLY:
        kept.pop("x-forwarded-client-cert", None)
    if "upgrade" not in first(kept, "connection").lower():
        kept.pop("connection", None)
    if kept.get("te") != ("trailers",):
        kept.pop("te", None)
    if "x-request-id" not in kept or (edge and not manager.preserve_external_request_id):
        kept["x-request-id"] = _GENERATED
    return {**kept, **_client_address(manager, kept, source_ip)} if edge else kept


def mutated(manager: Any, headers: Headers) -> dict[str, tuple[str, ...]]:
    """What early mutations of the connection manager leave; those that do more than remove are a doubt."""
    removed = {one.remove.lower() for one in early_mutations(manager) if one.remove}
    return {name: values for name, values in headers.items() if name not in removed}


def early_mutations(manager: Any) -> Iterator[Any]:
    """`HeaderMutation`s that come before routing."""
    for one in manager.early_header_mutation_extensions:
        if one.typed_config.type_url == EARLY_MUTATION:
            yield from header_mutation_pb2.HeaderMutation.FromString(one.typed_config.value).mutations


def _client_address(manager: Any, headers: Headers, source_ip: str) -> dict[str, tuple[str, ...]]:
    before = first(headers, "x-forwarded-for")
    appended = f"{before},{source_ip}" if before and not manager.skip_xff_append else before or source_ip
    return {"x-forwarded-for": (appended,), "x-envoy-external-address": (source_ip,)}


def first(headers: Headers, name: str) -> str:
    """The first value; "" if there is none."""
    values = headers.get(name.lower(), ())
    return values[0] if values else ""


def is_grpc(headers: Headers) -> bool:
    """`application/grpc` and `application/grpc+proto`, not `application/grpc-web`."""
    content_type = first(headers, "content-type")
    return content_type == "application/grpc" or content_type.startswith("application/grpc+")
