"""VirtualService: which destination a call goes to."""

from collections.abc import Mapping
from typing import ClassVar

import msgspec

from controlplane.model.destinationrule import PortSelector
from controlplane.model.meta import Meta
from controlplane.model.value import Duration, Int32, Mark, UInt32, Value, WireEnum


class RedirectPortSelection(WireEnum):
    """Where a redirect's port comes from when it is not written."""

    FROM_PROTOCOL_DEFAULT = "FROM_PROTOCOL_DEFAULT", 0
    FROM_REQUEST_PORT = "FROM_REQUEST_PORT", 1


class UnmatchedPreflights(WireEnum):
    """What happens to a preflight request from an origin that is not allowed."""

    UNSPECIFIED = "UNSPECIFIED", 0
    FORWARD = "FORWARD", 1
    IGNORE = "IGNORE", 2


class StringMatch(Value):
    """One of exact, prefix, regex; empty means "is there" for headers and query parameters."""

    exact: str | None = None  # The whole string.
    prefix: str | None = None  # Its beginning.
    regex: str | None = None  # RE2, matched against the whole string.


class Destination(Value):
    """A service, perhaps a part of it, and a port."""

    host: str = ""  # Name of the service; short names are completed with the rule's namespace.
    subset: str | None = None  # Subset declared in a DestinationRule.
    port: PortSelector | None = None  # Needed when the service has several ports.


class HeaderOperations(Value):
    """Changes to headers."""

    set: Mapping[str, str] = {}  # Overwrite these.
    add: Mapping[str, str] = {}  # Append to these.
    remove: tuple[str, ...] = ()  # Remove these.


class Headers(Value):
    """Changes to the headers of request and response."""

    request: HeaderOperations | None = None  # Before the request is sent on.
    response: HeaderOperations | None = None  # Before the response is returned.


class HTTPMatchRequest(Value):
    """Conditions, all of which must hold. An invalid one never matches."""

    invalid: Mark = False

    name: str = ""  # Appended to the route's name in logs and statistics.
    uri: StringMatch | None = None  # Path of the request.
    scheme: StringMatch | None = None  # http or https.
    method: StringMatch | None = None  # Method of the request.
    authority: StringMatch | None = None  # Host of the request.
    headers: Mapping[str, StringMatch] = {}  # Lower-case names; @request.auth.claims.x is a JWT claim.
    port: UInt32 | None = None  # Port the request was sent to.
    source_labels: Mapping[str, str] = {}  # Labels of the caller.
    gateways: tuple[str, ...] = ()  # Gateways it applies to; replaces the top-level list.
    query_params: Mapping[str, StringMatch] = {}  # Query parameters.
    ignore_uri_case: bool | None = None  # Exact and prefix of uri regardless of case.
    without_headers: Mapping[str, StringMatch] = {}  # Headers that must not match.
    source_namespace: str | None = None  # Namespace of the caller.
    stat_prefix: str | None = None  # Prefix of statistics of this route.


class HTTPRouteDestination(Value):
    """A destination and its share."""

    destination: Destination | None = None  # Where requests go.
    weight: Int32 | None = None  # Share of the requests, relative to the sum of all weights.
    headers: Headers | None = None  # Changes to headers for this destination.


class HTTPRedirect(Value):
    """Answers with a redirect."""

    uri: str | None = None  # New path.
    prefix_rewrite: str | None = None  # Replaces the matched prefix only.
    authority: str | None = None  # New host.
    port: UInt32 | None = None  # New port.
    derive_port: RedirectPortSelection | None = None  # Where the port comes from instead.
    scheme: str | None = None  # http or https.
    redirect_code: UInt32 | None = None  # Default 301.


class HTTPBody(Value):
    """Body of a direct response."""

    string: str | None = None  # As text.
    bytes: str | None = None  # As base64.


class HTTPDirectResponse(Value):
    """Answers without asking anyone."""

    status: UInt32 | None = None  # Status code.
    body: HTTPBody | None = None  # Body; default none.


class Delegate(Value):
    """Another VirtualService that has the routes for this match."""

    name: str = ""  # Its name.
    namespace: str | None = None  # Its namespace; default: that of the root.


class RegexRewrite(Value):
    """Rewrites a path by regular expression."""

    match: str | None = None  # RE2.
    rewrite: str | None = None  # Replacement, with \1 for groups.


class HTTPRewrite(Value):
    """Changes to the request before it is sent on."""

    uri: str | None = None  # Replaces the matched prefix, or the whole path of an exact match.
    authority: str | None = None  # New host.
    uri_regex_rewrite: RegexRewrite | None = None  # Rewrites the path by regular expression.


class HTTPRetry(Value):
    """When a failed request is tried again."""

    attempts: Int32 | None = None  # Number of retries; 0 disables.
    per_try_timeout: Duration | None = None  # Timeout of each try; default: that of the route.
    retry_on: str | None = None  # Conditions, comma separated.
    retry_remote_localities: bool | None = None  # Retry in other localities too.
    retry_ignore_previous_hosts: bool | None = None  # Prefer hosts that were not tried; default true.
    backoff: Duration | None = None  # Shortest time between tries; default 25ms.


class Percent(Value):
    """A share, 0.0 to 100.0."""

    value: float | None = None  # Per cent.


class FaultDelay(Value):
    """Delays requests."""

    percent: Int32 | None = None  # Deprecated: use percentage.
    fixed_delay: Duration | None = None  # How long.
    exponential_delay: Duration | None = None  # Not implemented by Istio either.
    percentage: Percent | None = None  # Share of requests to delay.


class FaultAbort(Value):
    """Aborts requests."""

    http_status: Int32 | None = None  # Status code to answer with.
    grpc_status: str | None = None  # gRPC status to answer with, by name or number.
    http2_error: str | None = None  # Not implemented by Istio either.
    percentage: Percent | None = None  # Share of requests to abort.


class HTTPFaultInjection(Value):
    """Faults for tests of resilience."""

    delay: FaultDelay | None = None  # Delays requests.
    abort: FaultAbort | None = None  # Aborts requests.


class HTTPMirrorPolicy(Value):
    """A destination that gets copies."""

    destination: Destination | None = None  # Where copies go.
    percentage: Percent | None = None  # Share of the requests; default 100, 0 = none.


class CorsPolicy(Value):
    """Cross-origin resource sharing."""

    allow_origin: tuple[str, ...] = ()  # Deprecated: use allowOrigins.
    allow_origins: tuple[StringMatch, ...] = ()  # Origins that are allowed.
    allow_methods: tuple[str, ...] = ()  # Access-Control-Allow-Methods.
    allow_headers: tuple[str, ...] = ()  # Access-Control-Allow-Headers.
    expose_headers: tuple[str, ...] = ()  # Access-Control-Expose-Headers.
    max_age: Duration | None = None  # Access-Control-Max-Age.
    allow_credentials: bool | None = None  # Access-Control-Allow-Credentials.
    unmatched_preflights: UnmatchedPreflights | None = None  # Default FORWARD.


class HTTPRoute(Value):
    """Matches, and what happens to a request that matches. An invalid one answers 500."""

    invalid: Mark = False

    name: str = ""  # Name in logs and statistics.
    match: tuple[HTTPMatchRequest, ...] = ()  # Any of these; none = all requests.
    route: tuple[HTTPRouteDestination, ...] = ()  # Weighted destinations.
    redirect: HTTPRedirect | None = None  # Answer with a redirect.
    direct_response: HTTPDirectResponse | None = None  # Answer at once.
    delegate: Delegate | None = None  # Leave the routes to another VirtualService.
    rewrite: HTTPRewrite | None = None  # Change path or host.
    timeout: Duration | None = None  # Longest time for a response; default none.
    retries: HTTPRetry | None = None  # Retries; default: the mesh's.
    fault: HTTPFaultInjection | None = None  # Faults to inject.
    mirror: Destination | None = None  # Gets copies of the requests.
    mirrors: tuple[HTTPMirrorPolicy, ...] = ()  # Get copies of the requests.
    mirror_percent: UInt32 | None = None  # Deprecated: use mirrorPercentage.
    mirror_percentage: Percent | None = None  # Share of the requests to copy; default 100.
    cors_policy: CorsPolicy | None = None  # Cross-origin resource sharing.
    headers: Headers | None = None  # Changes to headers.


class RouteDestination(Value):
    """A destination and its share of connections."""

    destination: Destination | None = None  # Where connections go.
    weight: Int32 | None = None  # Share of the connections, relative to the sum of all weights.


class TLSMatchAttributes(Value):
    """Conditions on a TLS connection, all of which must hold. An invalid one never matches."""

    invalid: Mark = False

    sni_hosts: tuple[str, ...] = ()  # Server names, within the hosts of the VirtualService.
    destination_subnets: tuple[str, ...] = ()  # Destination addresses, with optional mask.
    port: UInt32 | None = None  # Destination port.
    source_labels: Mapping[str, str] = {}  # Labels of the caller.
    gateways: tuple[str, ...] = ()  # Gateways it applies to; replaces the top-level list.
    source_namespace: str | None = None  # Namespace of the caller.


class TLSRoute(Value):
    """Routes connections by server name, without terminating TLS. An invalid one closes connections."""

    invalid: Mark = False

    match: tuple[TLSMatchAttributes, ...] = ()  # Any of these.
    route: tuple[RouteDestination, ...] = ()  # Weighted destinations.


class L4MatchAttributes(Value):
    """Conditions on a connection, all of which must hold. An invalid one never matches."""

    invalid: Mark = False

    destination_subnets: tuple[str, ...] = ()  # Destination addresses, with optional mask.
    port: UInt32 | None = None  # Destination port.
    source_subnet: str | None = None  # Not implemented by Istio either.
    source_labels: Mapping[str, str] = {}  # Labels of the caller.
    gateways: tuple[str, ...] = ()  # Gateways it applies to; replaces the top-level list.
    source_namespace: str | None = None  # Namespace of the caller.


class TCPRoute(Value):
    """Routes connections. An invalid one closes them."""

    invalid: Mark = False

    match: tuple[L4MatchAttributes, ...] = ()  # Any of these; none = all connections.
    route: tuple[RouteDestination, ...] = ()  # Weighted destinations.


class VirtualServiceSpec(Value):
    """Routes for hosts."""

    hosts: tuple[str, ...] = ()  # Names, wildcards and addresses these routes are for; none in a delegate.
    gateways: tuple[str, ...] = ()  # Gateways that apply them; `mesh` = all sidecars, the default.
    http: tuple[HTTPRoute, ...] = ()  # Routes of HTTP requests; the first that matches wins.
    tls: tuple[TLSRoute, ...] = ()  # Routes of TLS connections that are not terminated.
    tcp: tuple[TCPRoute, ...] = ()  # Routes of other connections.
    export_to: tuple[str, ...] = ()  # Namespaces that see it: ".", "*" or names.


class VirtualService(Value):
    """Which destination a call goes to. An invalid object as a whole has no effect."""

    GROUP: ClassVar[str] = "networking.istio.io"
    KIND: ClassVar[str] = "VirtualService"

    meta: Meta = msgspec.field(name="metadata")
    spec: VirtualServiceSpec = msgspec.field(default_factory=VirtualServiceSpec)
    invalid: Mark = False
