"""What a VirtualService may say."""

import base64
import binascii
from collections.abc import Mapping, Sequence
from typing import Final

from controlplane.model.attributes import claim_path, is_claim
from controlplane.model.grpcstatus import GRPC_STATUS
from controlplane.model.meta import ref_of
from controlplane.model.problem import Problem
from controlplane.model.validate.common import (
    attribute,
    check_at_least,
    check_duration,
    check_export_to,
    check_fqdn,
    check_header_name,
    check_header_value,
    check_host,
    check_host_or_ip,
    check_labels,
    check_line,
    check_name,
    check_object_name,
    check_percent,
    check_port,
    check_regex,
    check_replacement,
    check_subnet,
    deprecated,
    each,
    exclusive,
    is_dns_label,
    is_ip,
    required,
    unique,
)
from controlplane.model.validate.findings import Findings
from controlplane.model.virtualservice import (
    CorsPolicy,
    Delegate,
    Destination,
    FaultAbort,
    FaultDelay,
    HeaderOperations,
    Headers,
    HTTPDirectResponse,
    HTTPMatchRequest,
    HTTPMirrorPolicy,
    HTTPRedirect,
    HTTPRetry,
    HTTPRewrite,
    HTTPRoute,
    HTTPRouteDestination,
    L4MatchAttributes,
    Percent,
    RouteDestination,
    StringMatch,
    TCPRoute,
    TLSMatchAttributes,
    TLSRoute,
    VirtualService,
    VirtualServiceSpec,
)

MESH: Final = "mesh"
MAX_BODY: Final = 1024 * 1024  # bytes of a direct response; Istio's limit
MAX_QUERY_PARAM: Final = 1024  # bytes of its name; Envoy's limit
MAX_WEIGHTS: Final = 2**32 - 1  # Envoy's limit of the sum
REDIRECT_CODES: Final = frozenset({301, 302, 303, 307, 308})  # those Envoy can answer with
RETRY_ON: Final = frozenset(
    {
        "5xx",
        "gateway-error",
        "reset",
        "reset-before-request",
        "connect-failure",
        "envoy-ratelimited",
        "retriable-4xx",
        "refused-stream",
        "retriable-status-codes",
        "retriable-headers",
        "http3-post-connect-failure",
        "cancelled",
        "deadline-exceeded",
        "internal",
        "resource-exhausted",
        "unavailable",
    }
)
METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "CONNECT", "OPTIONS", "TRACE", "*"})


def validate_virtual_service(vs: VirtualService) -> tuple[Problem, ...]:
    """All that is wrong with a VirtualService by itself."""
    found = Findings(ref_of(vs))
    spec = vs.spec
    check_object_name(found, "metadata.name", vs.meta.name)
    _check_hosts(found, spec)
    each(found, "spec.gateways", spec.gateways, _check_gateway)
    check_export_to(found, "spec.exportTo", spec.export_to)
    if not (spec.http or spec.tls or spec.tcp):
        found.error("RequiredField", "spec", "one of http, tls, tcp is required: this says nothing about traffic")
    for i, http in enumerate(spec.http):
        _check_http(found, f"spec.http[{i}]", http, is_delegate=not spec.hosts)
    for i, tls in enumerate(spec.tls):
        _check_tls(found, f"spec.tls[{i}]", tls, spec.hosts)
    each(found, "spec.tcp", spec.tcp, _check_tcp)
    return found.done()


def _check_hosts(found: Findings, spec: VirtualServiceSpec) -> None:
    if not spec.hosts:
        return _check_delegate_root(found, spec)
    unique(found, "spec.hosts", spec.hosts)
    each(found, "spec.hosts", spec.hosts, check_host_or_ip)
    for i, host in enumerate(spec.hosts):
        if host == "*" and (not spec.gateways or MESH in spec.gateways):
            message = '"*" would take all calls of the mesh; name hosts, or gateways without "mesh"'
            found.error("InvalidHost", f"spec.hosts[{i}]", message)
    return None


def _check_delegate_root(found: Findings, spec: VirtualServiceSpec) -> None:
    """Without hosts it can only be a delegate: another VirtualService's routes, for HTTP alone."""
    if spec.gateways:
        found.error("InvalidDelegate", "spec.hosts", "hosts is required; only a delegate has none, and no gateways")
    for field, routes in (("tls", spec.tls), ("tcp", spec.tcp)):
        if routes:
            found.error("InvalidDelegate", "spec.hosts", f"hosts is required with {field}: delegates have http only")


def _check_gateway(found: Findings, path: str, name: str) -> None:
    namespace, _, gateway = name.rpartition("/")
    if name != MESH and (not gateway or not all(is_dns_label(part) for part in gateway.split("."))):
        found.error("InvalidName", path, f'"{name}" is not a gateway; write name, namespace/name or mesh')
    elif namespace and not is_dns_label(namespace):
        found.error("InvalidName", path, f'"{namespace}" is not a namespace')


# HTTP


def _check_http(found: Findings, path: str, http: HTTPRoute, *, is_delegate: bool) -> None:
    _check_action(found, path, http, is_delegate=is_delegate)
    each(found, f"{path}.match", http.match, _check_http_match)
    _check_http_destinations(found, f"{path}.route", http.route)
    check_duration(found, f"{path}.timeout", http.timeout, zero=True)
    _check_mirrors(found, path, http)
    if http.redirect is not None:
        _check_redirect(found, f"{path}.redirect", http.redirect)
    if http.direct_response is not None:
        _check_direct_response(found, f"{path}.directResponse", http.direct_response)
    if http.rewrite is not None:
        _check_rewrite(found, f"{path}.rewrite", http.rewrite)
    if http.retries is not None:
        check_retries(found, f"{path}.retries", http.retries)
    if http.fault is not None:
        _check_fault(found, f"{path}.fault", http.fault.delay, http.fault.abort)
    if http.cors_policy is not None:
        _check_cors(found, f"{path}.corsPolicy", http.cors_policy)
    if http.headers is not None:
        _check_headers(found, f"{path}.headers", http.headers)


def _check_action(found: Findings, path: str, http: HTTPRoute, *, is_delegate: bool) -> None:
    """What happens to a request: exactly one of four things, and what goes with each."""
    actions = ("route", "redirect", "directResponse", "delegate")
    exclusive(found, path, http, actions, need_one=True)
    answered = "redirect" if http.redirect else "directResponse" if http.direct_response else ""
    for field in ("fault", "rewrite", "mirror", "mirrors", "retries", "timeout") if answered else ():
        if getattr(http, field) in (None, ()):
            continue
        if field in {"fault", "rewrite"}:
            found.error("ConflictingFields", f"{path}.{field}", f"{field} cannot go with {answered}; remove one")
        else:
            found.warn("NoEffect", f"{path}.{field}", f"{field} has no effect beside {answered}: nobody is asked")
    if http.delegate is not None:
        _check_delegate(found, f"{path}.delegate", http.delegate, is_delegate=is_delegate)


def _check_delegate(found: Findings, path: str, delegate: Delegate, *, is_delegate: bool) -> None:
    if is_delegate:
        found.error("InvalidDelegate", path, "a VirtualService without hosts is a delegate, and cannot delegate again")
    if required(found, f"{path}.name", delegate.name):
        check_object_name(found, f"{path}.name", delegate.name)
    if delegate.namespace:
        check_name(found, f"{path}.namespace", delegate.namespace)


def _check_http_match(found: Findings, path: str, match: HTTPMatchRequest) -> None:
    for field, one in (
        ("uri", match.uri),
        ("scheme", match.scheme),
        ("method", match.method),
        ("authority", match.authority),
    ):
        if one is not None:
            _check_string_match(found, f"{path}.{field}", one, empty_prefix=field == "uri")
    _check_header_matches(found, f"{path}.headers", match.headers)
    _check_header_matches(found, f"{path}.withoutHeaders", match.without_headers)
    for name, value in match.query_params.items():
        _check_string_match(found, f"{path}.queryParams[{name}]", value, presence=True)
        if not 1 <= len(name.encode()) <= MAX_QUERY_PARAM:
            message = f"the name of a parameter has 1 to {MAX_QUERY_PARAM} bytes; found {len(name.encode())}"
            found.error("InvalidMatch", f"{path}.queryParams[{name}]", message)
    if match.ignore_uri_case and match.uri is not None and match.uri.regex is not None:
        found.warn("NoEffect", f"{path}.ignoreUriCase", "has no effect on a regular expression; begin it with (?i)")
    _check_caller(found, path, match)


def _check_caller(found: Findings, path: str, match: HTTPMatchRequest | L4MatchAttributes | TLSMatchAttributes) -> None:
    """The conditions that all kinds of match share."""
    check_port(found, f"{path}.port", match.port)
    check_labels(found, f"{path}.sourceLabels", match.source_labels)
    each(found, f"{path}.gateways", match.gateways, _check_gateway)
    if match.source_namespace:
        check_name(found, f"{path}.sourceNamespace", match.source_namespace)


def _check_header_matches(found: Findings, path: str, matches: Mapping[str, StringMatch]) -> None:
    for name, match in matches.items():
        at = f"{path}[{name}]"
        if not is_claim(name):
            check_header_name(found, at, name.removeprefix(":"))
        elif not claim_path(name):
            message = f'"{name}" names no claim; write @request.auth.claims.a.b or @request.auth.claims[a][b]'
            found.error("InvalidMatch", at, message)
        if match.regex == "*" and path.endswith("withoutHeaders"):
            continue  # no RE2, but Istio takes it for "is there" in this one place
        _check_string_match(found, at, match, presence=True)


def _check_string_match(
    found: Findings, path: str, match: StringMatch, *, presence: bool = False, empty_prefix: bool = False
) -> None:
    exclusive(found, path, match, ("exact", "prefix", "regex"), need_one=not presence)
    if match.prefix == "" and not empty_prefix:
        found.error("InvalidMatch", f"{path}.prefix", "an empty prefix matches everything; leave the match out instead")
    if match.regex is not None:
        check_regex(found, f"{path}.regex", match.regex)


def _check_http_destinations(found: Findings, path: str, routes: Sequence[HTTPRouteDestination]) -> None:
    _check_destinations(found, path, routes)
    for i, route in enumerate(routes):
        if route.headers is not None:
            _check_headers(found, f"{path}[{i}].headers", route.headers)


def _check_destinations(found: Findings, path: str, routes: Sequence[HTTPRouteDestination | RouteDestination]) -> None:
    for i, route in enumerate(routes):
        check_at_least(found, f"{path}[{i}].weight", route.weight)
        if required(found, f"{path}[{i}].destination", route.destination) and route.destination is not None:
            check_destination(found, f"{path}[{i}].destination", route.destination)
    total = sum(route.weight or 0 for route in routes)
    if len(routes) > 1 and all(not route.weight for route in routes):
        found.error("InvalidWeight", path, "all weights are 0: no destination gets requests; give one a weight")
    elif total > MAX_WEIGHTS:
        found.error("InvalidWeight", path, f"weights sum to {total}; Envoy takes at most {MAX_WEIGHTS}")


def check_destination(found: Findings, path: str, destination: Destination) -> None:
    """One service, perhaps a subset and a port of it."""
    if required(found, f"{path}.host", destination.host) and not is_ip(destination.host):
        check_fqdn(found, f"{path}.host", destination.host)
    if destination.subset:
        check_name(found, f"{path}.subset", destination.subset)
    if destination.port is not None and required(found, f"{path}.port.number", destination.port.number):
        check_port(found, f"{path}.port.number", destination.port.number)


def _check_mirrors(found: Findings, path: str, http: HTTPRoute) -> None:
    deprecated(found, path, http, {"mirrorPercent": "mirrorPercentage"})
    if http.mirror is not None:
        check_destination(found, f"{path}.mirror", http.mirror)
        if http.mirrors:
            found.error("ConflictingFields", f"{path}.mirror", "mirror and mirrors exclude each other; keep mirrors")
    for field in ("mirrorPercentage", "mirrorPercent"):
        if http.mirror is None and getattr(http, attribute(field)) is not None:
            found.warn("NoEffect", f"{path}.{field}", "there is no mirror; each of mirrors has a percentage of its own")
    check_percent(found, f"{path}.mirrorPercent", http.mirror_percent)
    _check_share(found, f"{path}.mirrorPercentage", http.mirror_percentage)
    each(found, f"{path}.mirrors", http.mirrors, _check_mirror)


def _check_mirror(found: Findings, path: str, mirror: HTTPMirrorPolicy) -> None:
    if required(found, f"{path}.destination", mirror.destination) and mirror.destination is not None:
        check_destination(found, f"{path}.destination", mirror.destination)
    _check_share(found, f"{path}.percentage", mirror.percentage)


def _check_share(found: Findings, path: str, share: Percent | None) -> None:
    check_percent(found, f"{path}.value", share.value if share else None)


def _check_redirect(found: Findings, path: str, redirect: HTTPRedirect) -> None:
    if redirect == HTTPRedirect():
        found.error(
            "RequiredField", path, "a redirect needs somewhere to go: uri, authority, scheme, port or redirectCode"
        )
    exclusive(found, path, redirect, ("uri", "prefixRewrite"))
    exclusive(found, path, redirect, ("port", "derivePort"))
    check_port(found, f"{path}.port", redirect.port)
    for field in ("uri", "prefixRewrite", "authority"):
        check_line(found, f"{path}.{field}", getattr(redirect, attribute(field)))
    if redirect.scheme not in {None, "", "http", "https"}:
        found.error("InvalidValue", f"{path}.scheme", f'must be http or https; found "{redirect.scheme}"')
    code = redirect.redirect_code
    if code and code not in REDIRECT_CODES:
        listed = ", ".join(str(one) for one in sorted(REDIRECT_CODES))
        found.error("InvalidStatus", f"{path}.redirectCode", f"must be one of {listed}; found {code}")


def _check_direct_response(found: Findings, path: str, response: HTTPDirectResponse) -> None:
    if required(found, f"{path}.status", response.status):
        _check_status(found, f"{path}.status", response.status)
    if response.body is None:
        return
    exclusive(found, f"{path}.body", response.body, ("string", "bytes"), need_one=True)
    size = len(response.body.string.encode()) if response.body.string else 0
    if response.body.bytes:
        try:
            size = len(base64.b64decode(response.body.bytes, validate=True))
        except (binascii.Error, ValueError):
            found.error("InvalidValue", f"{path}.body.bytes", "must be base64")
    if size > MAX_BODY:
        found.error("InvalidValue", f"{path}.body", f"has {size} bytes; at most {MAX_BODY} can be answered")


def _check_status(found: Findings, path: str, status: int | None) -> None:
    if status is not None and not 200 <= status <= 599:
        found.error("InvalidStatus", path, f"must be a status code between 200 and 599; found {status}")


def _check_rewrite(found: Findings, path: str, rewrite: HTTPRewrite) -> None:
    exclusive(found, path, rewrite, ("uri", "uriRegexRewrite"))
    regex = rewrite.uri_regex_rewrite
    if not (rewrite.uri or rewrite.authority or regex):
        found.error("RequiredField", path, "one of uri, uriRegexRewrite, authority is required")
    if regex is not None and required(found, f"{path}.uriRegexRewrite.match", regex.match):
        check_regex(found, f"{path}.uriRegexRewrite.match", regex.match or "")
        required(found, f"{path}.uriRegexRewrite.rewrite", regex.rewrite)
        check_replacement(found, f"{path}.uriRegexRewrite.rewrite", regex.match or "", regex.rewrite or "")
    for field in ("uri", "authority"):
        check_line(found, f"{path}.{field}", getattr(rewrite, field))


def check_retries(found: Findings, path: str, retries: HTTPRetry) -> None:
    """When a failed request is tried again."""
    check_at_least(found, f"{path}.attempts", retries.attempts)
    check_duration(found, f"{path}.perTryTimeout", retries.per_try_timeout, zero=True)
    check_duration(found, f"{path}.backoff", retries.backoff)
    if retries.attempts == 0 and (retries.retry_on or retries.per_try_timeout):
        found.warn("NoEffect", path, "attempts: 0 disables retries; the other fields have no effect")
    for condition in filter(None, (part.strip() for part in (retries.retry_on or "").split(","))):
        status = int(condition) if condition.isascii() and condition.isdecimal() and len(condition) < 9 else 0
        if condition not in RETRY_ON and not 100 <= status <= 599:
            message = (
                f'"{condition}" is no condition to retry on; known are status codes and {", ".join(sorted(RETRY_ON))}'
            )
            found.error("InvalidRetryOn", f"{path}.retryOn", message)


def _check_fault(found: Findings, path: str, delay: FaultDelay | None, abort: FaultAbort | None) -> None:
    """A delay, an abort, or both."""
    if delay is None and abort is None:
        found.error("RequiredField", path, "one of delay, abort is required")
    if delay is not None:
        _check_delay(found, f"{path}.delay", delay)
    if abort is not None:
        _check_abort(found, f"{path}.abort", abort)


def _check_delay(found: Findings, path: str, delay: FaultDelay) -> None:
    deprecated(found, path, delay, {"percent": "percentage.value"})
    check_percent(found, f"{path}.percent", delay.percent)
    _check_share(found, f"{path}.percentage", delay.percentage)
    if delay.exponential_delay is not None:
        found.warn("NoEffect", f"{path}.exponentialDelay", "is not implemented, in Istio neither; use fixedDelay")
    elif required(found, f"{path}.fixedDelay", delay.fixed_delay):
        check_duration(found, f"{path}.fixedDelay", delay.fixed_delay)


def _check_abort(found: Findings, path: str, abort: FaultAbort) -> None:
    exclusive(found, path, abort, ("httpStatus", "grpcStatus", "http2Error"), need_one=True)
    _check_status(found, f"{path}.httpStatus", abort.http_status)
    _check_share(found, f"{path}.percentage", abort.percentage)
    status = abort.grpc_status
    numeric = status is not None and status.isascii() and status.isdecimal() and int(status[:3]) < len(GRPC_STATUS)
    if status is not None and not numeric and status.upper() not in GRPC_STATUS:
        found.error(
            "InvalidStatus", f"{path}.grpcStatus", f'"{status}" is no gRPC status; write a name such as UNAVAILABLE'
        )
    if abort.http2_error is not None:
        found.error("InvalidStatus", f"{path}.http2Error", "is not implemented, in Istio neither; use httpStatus")


def _check_cors(found: Findings, path: str, cors: CorsPolicy) -> None:
    deprecated(found, path, cors, {"allowOrigin": "allowOrigins"})
    for i, origin in enumerate(cors.allow_origins):
        _check_string_match(found, f"{path}.allowOrigins[{i}]", origin)
    for i, method in enumerate(cors.allow_methods):
        if method not in METHODS:
            found.error("InvalidValue", f"{path}.allowMethods[{i}]", f'"{method}" is no method; write it in capitals')
    for field, names in (("allowHeaders", cors.allow_headers), ("exposeHeaders", cors.expose_headers)):
        each(found, f"{path}.{field}", names, check_header_name)
    check_duration(found, f"{path}.maxAge", cors.max_age, zero=True)


def _check_headers(found: Findings, path: str, headers: Headers) -> None:
    if headers.request is not None:
        _check_operations(found, f"{path}.request", headers.request, may_set_host=True)
    if headers.response is not None:
        _check_operations(found, f"{path}.response", headers.response, may_set_host=False)


def _check_operations(found: Findings, path: str, operations: HeaderOperations, *, may_set_host: bool) -> None:
    for field, values in (("set", operations.set), ("add", operations.add)):
        for name, value in values.items():
            at = f"{path}.{field}[{name}]"
            if not (may_set_host and name == ":authority"):
                _check_operation_name(found, at, name, allow_host=may_set_host and field == "set")
            check_header_value(found, at, value)
    for i, name in enumerate(operations.remove):
        _check_operation_name(found, f"{path}.remove[{i}]", name, allow_host=False)


def _check_operation_name(found: Findings, path: str, name: str, *, allow_host: bool) -> None:
    """Envoy refuses changes to pseudo-headers, and to Host otherwise than by setting it."""
    if name.lower() == "host" and not allow_host:
        found.error("InvalidHeader", path, "Host cannot be changed here; use rewrite.authority")
    else:
        check_header_name(found, path, name)


# TLS and TCP


def _check_tls(found: Findings, path: str, tls: TLSRoute, hosts: Sequence[str]) -> None:
    required(found, f"{path}.match", tls.match, why=": TLS is routed by server name")
    for i, match in enumerate(tls.match):
        _check_tls_match(found, f"{path}.match[{i}]", match, hosts)
    _check_l4_route(found, path, tls.route)


def _check_tls_match(found: Findings, path: str, match: TLSMatchAttributes, hosts: Sequence[str]) -> None:
    required(found, f"{path}.sniHosts", match.sni_hosts)
    for i, sni in enumerate(match.sni_hosts):
        check_host(found, f"{path}.sniHosts[{i}]", sni)
        if not any(_covers(host, sni) for host in hosts):
            message = f'"{sni}" is not among the hosts of this VirtualService'
            found.error("InvalidHost", f"{path}.sniHosts[{i}]", message)
    each(found, f"{path}.destinationSubnets", match.destination_subnets, check_subnet)
    _check_caller(found, path, match)


def _covers(host: str, name: str) -> bool:
    """Every name that `name` stands for, `host` stands for too."""
    host, name = host.lower(), name.lower()
    return host == name or (host.startswith("*") and name.lstrip("*").endswith(host[1:]))


def _check_tcp(found: Findings, path: str, tcp: TCPRoute) -> None:
    for i, match in enumerate(tcp.match):
        at = f"{path}.match[{i}]"
        each(found, f"{at}.destinationSubnets", match.destination_subnets, check_subnet)
        _check_caller(found, at, match)
        if match.source_subnet:
            found.error("InvalidMatch", f"{at}.sourceSubnet", "is not implemented, in Istio neither; use sourceLabels")
    _check_l4_route(found, path, tcp.route)


def _check_l4_route(found: Findings, path: str, routes: Sequence[RouteDestination]) -> None:
    if required(found, f"{path}.route", routes):
        _check_destinations(found, f"{path}.route", routes)
