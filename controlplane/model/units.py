"""What is taken out of an object when a part of it is bad.

One wrong value must neither void the whole object nor silently change what the rest means. So every fault is
contained by the smallest unit around it, and every unit has a direction in which it fails:

- a match never matches; a route with a bad action answers 500; TLS settings and tunnels that cannot be honoured
  refuse to connect; an ingress listener of a Sidecar serves nobody; a server of a Gateway is not opened; a
  PeerAuthentication, or a mode of it, is STRICT, and so is one whose selector is bad, for all workloads of its
  namespace (of the mesh, if it stands in a root namespace and says STRICT); other policies with a bad selector are
  for every workload they may be for. These units stay in place, so that the others keep their numbers, and carry
  `invalid=True`; the front ends act on it.
- a rule about tokens believes none. It still looks for them where it says, so that a token it should have judged is
  refused instead of waved through.
- a subset, a policy block, an endpoint, a host, a mirror is absent. These are simply gone.
- a list that would lose its last entry this way would often come to mean "all"; then the unit around it is bad.
- what nothing else contains makes the object `invalid`: it has no effect.

Only the document itself is looked at, never other objects.
"""

from collections.abc import Iterable
from typing import Any, TypeVar

import msgspec

from controlplane.model.authorizationpolicy import (
    AuthorizationPolicySpec,
    Condition,
    ExtensionProviderRef,
    From,
    Operation,
    Rule,
    Source,
    To,
)
from controlplane.model.destinationrule import (
    DestinationRuleSpec,
    PortTrafficPolicy,
    Subset,
    TrafficPolicy,
    WorkloadLabels,
)
from controlplane.model.gateway import Server, ServerTLSSettings
from controlplane.model.meta import Meta
from controlplane.model.requestauthentication import (
    ClaimToHeader,
    JWTHeader,
    JWTPresence,
    JWTRule,
    RequestAuthenticationSpec,
)
from controlplane.model.selecting import PolicySelector
from controlplane.model.serviceentry import ServiceEntrySpec, WorkloadSelector
from controlplane.model.sidecar import EgressListener, IngressListener, SidecarSpec
from controlplane.model.value import Read
from controlplane.model.virtualservice import (
    CorsPolicy,
    HTTPMatchRequest,
    HTTPRoute,
    L4MatchAttributes,
    StringMatch,
    TCPRoute,
    TLSMatchAttributes,
    TLSRoute,
    VirtualServiceSpec,
)

T = TypeVar("T", bound=msgspec.Struct)
Fields = frozenset[tuple[type, str]]

_POLICY_BLOCKS = ("load_balancer", "connection_pool", "outlier_detection")

# Blocks that are absent when bad.
ABSENT: Fields = frozenset(
    {
        (HTTPRoute, "mirror"),
        (SidecarSpec, "inbound_connection_pool"),
        (IngressListener, "connection_pool"),
        *((policy, block) for policy in (TrafficPolicy, PortTrafficPolicy) for block in _POLICY_BLOCKS),
        (TrafficPolicy, "proxy_protocol"),
        (TrafficPolicy, "retry_budget"),
    }
)

# Lists whose bad elements are gone, down to none.
DROPPED: Fields = frozenset(
    {
        (HTTPRoute, "mirrors"),
        (DestinationRuleSpec, "subsets"),
        (TrafficPolicy, "port_level_settings"),
    }
)

# Lists whose bad elements are gone, but not the last: an empty list would mean something else.
DROPPED_BUT_LAST: Fields = frozenset(
    {
        (VirtualServiceSpec, "hosts"),
        (VirtualServiceSpec, "gateways"),
        (HTTPMatchRequest, "gateways"),
        (TLSMatchAttributes, "sni_hosts"),
        (TLSMatchAttributes, "destination_subnets"),
        (TLSMatchAttributes, "gateways"),
        (L4MatchAttributes, "destination_subnets"),
        (L4MatchAttributes, "gateways"),
        (CorsPolicy, "allow_origin"),
        (CorsPolicy, "allow_origins"),
        (CorsPolicy, "allow_methods"),
        (CorsPolicy, "allow_headers"),
        (CorsPolicy, "expose_headers"),
        (Server, "hosts"),
        (ServerTLSSettings, "cipher_suites"),
        (ServerTLSSettings, "ecdh_curves"),
        (ServiceEntrySpec, "hosts"),
        (ServiceEntrySpec, "addresses"),
        (ServiceEntrySpec, "ports"),
        (ServiceEntrySpec, "endpoints"),
        (ServiceEntrySpec, "subject_alt_names"),
        (SidecarSpec, "egress"),
        (EgressListener, "hosts"),
    }
)

# Lists that stand for nothing, or for everything, when they are empty: one that cannot be read at all becomes one
# element that is bad.
MATCHES: dict[tuple[type, str], type] = {
    (HTTPRoute, "match"): HTTPMatchRequest,
    (TLSRoute, "match"): TLSMatchAttributes,
    (TCPRoute, "match"): L4MatchAttributes,
    (RequestAuthenticationSpec, "jwt_rules"): JWTRule,
}

# What a field means when it cannot be read, in units that fail closed: it may have been this.
STRICTEST: dict[tuple[type, str], Any] = {(JWTRule, "presence"): JWTPresence.REQUIRED}

# A field left out of one of these selects more than its author wanted: an unknown field is an error in them.
NARROWING: frozenset[type] = frozenset(
    {
        HTTPMatchRequest,
        TLSMatchAttributes,
        L4MatchAttributes,
        StringMatch,
        RequestAuthenticationSpec,
        JWTRule,
        JWTHeader,
        ClaimToHeader,
        Subset,
        WorkloadLabels,
        WorkloadSelector,
        PolicySelector,
        AuthorizationPolicySpec,
        Rule,
        From,
        Source,
        To,
        Operation,
        Condition,
        ExtensionProviderRef,
    }
)


class _Bad:
    """A tree of bad paths: is this value itself bad, and which parts of it have faults."""

    __slots__ = ("here", "parts")

    def __init__(self) -> None:
        self.here = False
        self.parts: dict[str, _Bad] = {}


def take_out(obj: T, paths: Iterable[str]) -> T:
    """`obj` without what the faults at `paths` ("spec.http[0].match[1].uri.regex") make unusable."""
    root = _Bad()
    for path in paths:
        _add(root, path)
    return _contained(obj, root)[0] if root.parts or root.here else obj


def unreadable(kind: type[Any]) -> Any:
    """What stands for a part of type `kind` of which nothing could be read; it never matches."""
    values: dict[str, Any] = {}
    for (owner, field), match in MATCHES.items():
        if owner is kind:
            values[field] = (match(invalid=True),)
    if "invalid" in kind.__struct_fields__:
        values["invalid"] = True
    return kind(**values)


def _add(node: _Bad, path: str) -> None:
    for step in _steps(path):
        node = node.parts.setdefault(step, _Bad())
    node.here = True


def _steps(path: str) -> list[str]:
    """The field names and list indexes of a path, up to the first map key (no unit is below one)."""
    steps: list[str] = []
    for part in path.split("."):
        name, *indexes = part.split("[")
        steps.append(name)
        for index in indexes:
            if not index[:-1].isdecimal():
                return steps
            steps.append(index[:-1])
    return steps


def _contained(value: Any, bad: _Bad) -> tuple[Any, bool]:
    """The value with its faults contained, and whether one was not."""
    if not isinstance(value, msgspec.Struct):
        return value, True
    open_fault = bad.here
    changes: dict[str, Any] = {}
    fields = dict(zip(value.__struct_encode_fields__, value.__struct_fields__, strict=True))
    for name, part in bad.parts.items():
        field = fields.get(name)
        if field is None:
            open_fault = True
            continue
        changes[field], escaped = _field(type(value), field, getattr(value, field), part)
        changes[field] = STRICTEST.get((type(value), field), changes[field])
        open_fault = open_fault or escaped
    if open_fault and "invalid" in value.__struct_fields__:
        changes["invalid"] = True
        open_fault = False
    return (msgspec.structs.replace(value, **changes) if changes else value), open_fault


def _field(owner: type, field: str, value: Any, bad: _Bad) -> tuple[Any, bool]:
    if isinstance(value, tuple):
        return _list(owner, field, value, bad)
    kept, escaped = _contained(value, bad)
    if not escaped:
        return kept, False
    if (owner, field) in ABSENT:
        return None, False
    return kept, not _is_lenient(owner) or (owner, field) == (Meta, "name")


def _list(owner: type, field: str, value: tuple[Any, ...], bad: _Bad) -> tuple[Any, bool]:
    match = MATCHES.get((owner, field))
    if match and bad.here:
        return (match(invalid=True),), False
    parts = [
        (_contained(item, bad.parts[str(i)]) if str(i) in bad.parts else (item, False)) for i, item in enumerate(value)
    ]
    kept = tuple(item for item, escaped in parts if not escaped)
    if (owner, field) in DROPPED or _is_lenient(owner):
        return kept, False
    escaped = bad.here or len(kept) < len(parts)
    if (owner, field) in DROPPED_BUT_LAST and kept and not bad.here:
        return kept, False
    return kept, escaped


def _is_lenient(owner: type[Any]) -> bool:
    """Kinds of others are taken as far as they can be read, but for the units of theirs that can be marked."""
    return issubclass(owner, Read) and "invalid" not in owner.__struct_fields__
