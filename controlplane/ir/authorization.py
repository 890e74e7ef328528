"""Who may call: rules that judge a request, or a connection, before anything else sees it.

A rule holds for a call when what it says of the caller (`who`) and of the call itself (`what`) both hold. Rules are
gathered by what becomes of a call they hold for: first those that ask somebody else (`checks`), then those that judge
(`judgements`), in the order in which proxies ask them. Whoever was refused once stays refused.

Values are compared, hashed and encoded once for all workloads they guard.
"""

from datetime import timedelta
from enum import StrEnum
from typing import Final, Union

import msgspec

from controlplane.ir.route import StringMatch
from controlplane.model.problem import Origin

# What can be asked of the caller.


class Principal(msgspec.Struct, frozen=True, tag=True):
    """The name in the caller's certificate, without "spiffe://"; presence: there is any certificate."""

    match: StringMatch


class Identity(msgspec.Struct, frozen=True, tag=True):
    """Parts of the name in the caller's certificate; None: whatever it is."""

    trust_domain: StringMatch | None = None
    namespace: StringMatch | None = None
    account: StringMatch | None = None


class SourceAddress(msgspec.Struct, frozen=True, tag=True):
    """`direct`: the peer of the socket; else the client as far as proxies in between told of it."""

    block: str  # "10.0.0.0/8", or an address
    direct: bool = True


class Header(msgspec.Struct, frozen=True, tag=True):
    """Of a header that is sent several times each value is looked at by itself: one that matches is enough."""

    name: str  # lower case, or ":method", ":authority"
    match: StringMatch


class Claim(msgspec.Struct, frozen=True, tag=True):
    """A claim of a token that was validated: a string, or a list of which one is enough."""

    path: tuple[str, ...]
    match: StringMatch
    single: bool = False  # a list does not count


# What can be asked of the call.


class DestinationAddress(msgspec.Struct, frozen=True, tag=True):
    block: str


class DestinationPort(msgspec.Struct, frozen=True, tag=True):
    port: int


class ServerName(msgspec.Struct, frozen=True, tag=True):
    """SNI."""

    match: StringMatch


class Path(msgspec.Struct, frozen=True, tag=True):
    """Without query and fragment, after normalization."""

    match: StringMatch


class PathTemplate(msgspec.Struct, frozen=True, tag=True):
    """ "/a/{*}/{**}": one segment, any number of characters."""

    template: str


class Metadata(msgspec.Struct, frozen=True, tag=True):
    """What another filter noted about the call; `listed`: a list of which one element is enough, else a string."""

    filter: str
    key: str
    match: StringMatch
    listed: bool = False


# Both.


class AllOf(msgspec.Struct, frozen=True, tag=True):
    conditions: tuple["Condition", ...] = ()


class AnyOf(msgspec.Struct, frozen=True, tag=True):
    conditions: tuple["Condition", ...] = ()


class Not(msgspec.Struct, frozen=True, tag=True):
    condition: "Condition"


Condition = Union[  # noqa: UP007  names in quotes cannot be joined by "|"
    Principal,
    Identity,
    SourceAddress,
    Header,
    Claim,
    DestinationAddress,
    DestinationPort,
    ServerName,
    Path,
    PathTemplate,
    Metadata,
    AllOf,
    AnyOf,
    Not,
]
ALWAYS: Final = AllOf()
NEVER: Final = AnyOf()


class Rule(msgspec.Struct, frozen=True, cache_hash=True):
    """One rule of a policy."""

    name: str  # "ns[default]-policy[allow-get]-rule[0]", as logs and statistics have it
    who: Condition = ALWAYS
    what: Condition = ALWAYS


class Action(StrEnum):
    """What becomes of a call that some rule of a judgement holds for."""

    AUDIT = "audit"  # it is marked for the log
    DENY = "deny"
    ALLOW = "allow"  # and all others are refused


class Judgement(msgspec.Struct, frozen=True, cache_hash=True):
    """The rules of one action. None: there are no such policies; (): there are, and no rule of theirs ever holds."""

    action: Action
    rules: tuple[Rule, ...] | None = None
    dry_run: tuple[Rule, ...] | None = None  # whose verdict is only noted


class Body(msgspec.Struct, frozen=True):
    """How much of a request an authorizer gets to see."""

    max_bytes: int
    partial: bool = False  # larger requests are cut instead of refused
    raw: bool = False  # as bytes instead of text


class Authorizer(msgspec.Struct, frozen=True):
    """Somebody else who decides. Header names may have one wildcard, at either end."""

    cluster: str
    host: str
    grpc: bool = False
    timeout: timedelta = timedelta(seconds=600)
    fail_open: bool = False  # what becomes of calls when it does not answer
    status_on_error: int | None = None
    clear_route_cache: bool = False  # its answer may change where the request goes
    path_prefix: str = ""
    request_headers: tuple[str, ...] = ()  # it gets to see
    extra_headers: tuple[tuple[str, str], ...] = ()  # are added to what it is asked
    headers_upstream: tuple[str, ...] = ()  # of its answer, for the application, when it allows
    headers_on_allow: tuple[str, ...] = ()  # of its answer, for the caller
    headers_on_deny: tuple[str, ...] = ()
    body: Body | None = None


class Check(msgspec.Struct, frozen=True, cache_hash=True):
    """Calls that `rules` hold for are decided by somebody else; None: there is nobody, so they are refused.

    `prefix`: what the names of these rules begin with, and those of no other check.
    """

    prefix: str
    rules: tuple[Rule, ...]
    authorizer: Authorizer | None = None


class Unknowing(msgspec.Struct, frozen=True):
    """A rule that asks for more than a connection has: it allows none, or refuses all that the rest of it holds for."""

    origin: Origin
    refuses: bool
    ports: tuple[int, ...] = ()  # it is for these alone; (): for all


class Authorization(msgspec.Struct, frozen=True, cache_hash=True):
    """All that judges the calls of one workload."""

    checks: tuple[Check, ...] = ()
    judgements: tuple[Judgement, ...] = ()
    unknowing: tuple[Unknowing, ...] = ()  # of connections: what cannot be asked of them
    origins: tuple[Origin, ...] = ()
