"""What happens to an HTTP request once its virtual host is known."""

from datetime import timedelta
from enum import StrEnum

import msgspec

from controlplane.ir.policy import HashKey
from controlplane.model.problem import Origin


class MatchKind(StrEnum):
    EXACT = "exact"
    PREFIX = "prefix"
    SUFFIX = "suffix"
    REGEX = "regex"  # RE2, the whole string
    PRESENT = "present"
    SEGMENT_PREFIX = "segment-prefix"  # paths only: "/a" matches "/a" and "/a/b", not "/ab"


class StringMatch(msgspec.Struct, frozen=True, gc=False):
    kind: MatchKind
    value: str = ""
    ignore_case: bool = False


class HeaderMatch(msgspec.Struct, frozen=True):
    """`invert` without presence: an absent header counts as the empty string (`withoutHeaders`)."""

    name: str  # lower case, or a pseudo header such as ":method"
    match: StringMatch
    invert: bool = False


class QueryMatch(msgspec.Struct, frozen=True):
    name: str
    match: StringMatch


class ClaimMatch(msgspec.Struct, frozen=True):
    """A claim of a validated token; `path` leads into nested claims."""

    path: tuple[str, ...]
    match: StringMatch
    invert: bool = False


class RouteMatch(msgspec.Struct, frozen=True):
    """All of it must hold. `path` None means every path."""

    path: StringMatch | None = None
    headers: tuple[HeaderMatch, ...] = ()
    query: tuple[QueryMatch, ...] = ()
    claims: tuple[ClaimMatch, ...] = ()

    @property
    def is_catch_all(self) -> bool:
        return self.path is None and not self.headers and not self.query and not self.claims


class HeaderOps(msgspec.Struct, frozen=True):
    """Changes to headers; pairs are in the author's order."""

    request_set: tuple[tuple[str, str], ...] = ()
    request_add: tuple[tuple[str, str], ...] = ()
    request_remove: tuple[str, ...] = ()
    response_set: tuple[tuple[str, str], ...] = ()
    response_add: tuple[tuple[str, str], ...] = ()
    response_remove: tuple[str, ...] = ()


NO_HEADER_OPS = HeaderOps()


class WeightedCluster(msgspec.Struct, frozen=True):
    cluster: str
    weight: int = 1
    headers: HeaderOps = NO_HEADER_OPS
    origin: Origin | None = None
    authority: str | None = None  # sends this host; only one of several destinations sets it, a single one uses Rewrite


class Rewrite(msgspec.Struct, frozen=True):
    """At most one of `prefix`, `path` and `regex` is set."""

    prefix: str | None = None  # replaces the matched prefix
    path: str | None = None  # replaces the whole path
    regex: tuple[str, str] | None = None  # (RE2 pattern, substitution)
    authority: str | None = None


class Retry(msgspec.Struct, frozen=True, cache_hash=True):
    attempts: int
    on: str  # comma-separated conditions, numbers already taken out
    status_codes: tuple[int, ...] = ()
    per_try_timeout: timedelta | None = None
    backoff: timedelta | None = None
    ignore_previous_hosts: bool = True
    previous_priorities: bool = False  # retryRemoteLocalities


class Mirror(msgspec.Struct, frozen=True):
    cluster: str
    percent: float = 100.0


class Fault(msgspec.Struct, frozen=True):
    """Percentages are 0..100; None leaves Envoy's default."""

    delay: timedelta | None = None
    delay_percent: float | None = None
    abort_status: int | None = None
    abort_grpc_status: int | None = None
    abort_percent: float | None = None


class Cors(msgspec.Struct, frozen=True):
    origins: tuple[StringMatch, ...] = ()
    methods: tuple[str, ...] = ()
    headers: tuple[str, ...] = ()
    expose_headers: tuple[str, ...] = ()
    max_age: timedelta | None = None
    allow_credentials: bool | None = None
    forward_unmatched_preflights: bool = True


class Forward(msgspec.Struct, frozen=True, tag=True):
    destinations: tuple[WeightedCluster, ...]  # never empty; weights of several sum to at most 2**32 - 1
    timeout: timedelta = timedelta(0)  # 0: none
    retry: Retry | None = None  # None: no retries
    rewrite: Rewrite | None = None
    mirrors: tuple[Mirror, ...] = ()
    hash_keys: tuple[HashKey, ...] = ()
    auto_host_rewrite: bool = False  # send the endpoint's DNS name as host


class Redirect(msgspec.Struct, frozen=True, tag=True):
    """`None` keeps what the request has."""

    code: int = 301
    scheme: str | None = None
    authority: str | None = None
    port: int | None = None
    path: str | None = None
    prefix: str | None = None


class DirectResponse(msgspec.Struct, frozen=True, tag=True):
    """At most one of `body` and `text` is set; as it was written, because people read what a proxy shows."""

    status: int
    body: bytes = b""
    text: str = ""


Action = Forward | Redirect | DirectResponse


class Route(msgspec.Struct, frozen=True):
    match: RouteMatch
    action: Action
    origin: Origin  # the rule it comes from
    name: str = "default"
    operation: str = ""  # decorator: "host:port/*"
    headers: HeaderOps = NO_HEADER_OPS
    fault: Fault | None = None
    cors: Cors | None = None
    stat_prefix: str = ""


class VirtualHost(msgspec.Struct, frozen=True):
    name: str  # "<host>:<port>"
    domains: tuple[str, ...]  # sorted, unique in the route configuration
    routes: tuple[Route, ...]
    require_tls: bool = False  # plain HTTP is redirected to HTTPS
    origins: tuple[Origin, ...] = ()  # what made it, beside the origins of its routes
