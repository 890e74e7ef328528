"""The filters that ask rules (`envoy.filters.http.rbac`, `envoy.filters.network.rbac`), and those that ask others.

What somebody else would say is not known here: he is taken to agree, and that is a doubt.
"""

from collections.abc import Callable, Mapping
from ipaddress import ip_address, ip_network
from typing import Any, Final, NamedTuple

import msgspec
import re2
from envoy.config.rbac.v3 import rbac_pb2
from envoy.extensions.filters.http.ext_authz.v3 import ext_authz_pb2
from envoy.extensions.filters.http.rbac.v3 import rbac_pb2 as http_pb2
from envoy.extensions.filters.network.rbac.v3 import rbac_pb2 as network_pb2

from controlplane.explain.headers import first
from controlplane.explain.matchers import header_matches, string_matches
from controlplane.explain.metadata import metadata_matches
from controlplane.explain.outcome import Connection, Failure
from controlplane.explain.request import Request
from controlplane.model.problem import ObjectRef, Origin

_FILTERS: Final = "type.googleapis.com/envoy.extensions.filters."
HTTP: Final = _FILTERS + "http.rbac.v3.RBAC"
NETWORK: Final = _FILTERS + "network.rbac.v3.RBAC"
ASKING: Final = _FILTERS + "http.ext_authz.v3.ExtAuthz"
ASKING_NETWORK: Final = _FILTERS + "network.ext_authz.v3.ExtAuthz"
_NOTES: Final = {HTTP: "envoy.filters.http.rbac", NETWORK: "envoy.filters.network.rbac"}
_LABEL = re2.compile(r"(?:istio-ext-authz-.*-)?ns\[([^\[\]]*)\]-policy\[([^\[\]]*)\]-rule\[(\d+)\]")
_NOBODY: Final = "none"


class Refusal(NamedTuple):
    """Rules refuse."""

    rule: str  # its label; "none" where some rule would have to hold and none does
    failure: Failure

    @property
    def why(self) -> str:
        return "no rule allows it" if self.rule == _NOBODY else f"{self.rule} denies it"

    @property
    def origins(self) -> tuple[Origin, ...]:
        """The rule, as its author wrote it."""
        found = _LABEL.fullmatch(self.rule)
        if found is None:
            return ()
        ref = ObjectRef("security.istio.io", "AuthorizationPolicy", found[1], found[2])
        return (Origin(ref, f"spec.rules[{found[3]}]"),)


class Judged(NamedTuple):
    """What rules make of a call."""

    notes: Mapping[str, Any]  # for filters that come after
    refusal: Refusal | None = None


class Subject(NamedTuple):
    """A call, as rules are asked about it."""

    connection: Connection
    request: Request | None = None  # None: bytes


def judge(type_url: str, packed: bytes, subject: Subject) -> Judged:
    """`packed`: an `RBAC` of either kind."""
    config = (http_pb2 if type_url == HTTP else network_pb2).RBAC.FromString(packed)
    notes: dict[str, Any] = {}
    if config.HasField("shadow_rules"):
        allowed, held = _engine(config.shadow_rules, subject)
        notes[f"{config.shadow_rules_stat_prefix}shadow_engine_result"] = "allowed" if allowed else "denied"
        if held:
            notes[f"{config.shadow_rules_stat_prefix}shadow_effective_policy_id"] = held
    if config.HasField("rules"):
        allowed, held = _engine(config.rules, subject)
        if not allowed:
            rule = held or _NOBODY
            failure = Failure("", 403 if type_url == HTTP else 0, f"rbac_access_denied_matched_policy[{rule}]")
            return Judged(notes, Refusal(rule, failure))
    return Judged(notes)


def noted(type_url: str, notes: Mapping[str, Any], request: Request) -> Request:
    """The request, with what a filter noted about it."""
    if not notes:
        return request
    name = _NOTES[type_url]
    before = request.metadata.get(name, {})
    return msgspec.structs.replace(request, metadata={**request.metadata, name: {**before, **notes}})


def asks(packed: bytes, request: Request) -> str:
    """Who is asked about a request; "" for nobody."""
    config = ext_authz_pb2.ExtAuthz.FromString(packed)
    if config.HasField("filter_enabled_metadata") and not metadata_matches(
        config.filter_enabled_metadata, request.metadata
    ):
        return ""
    grpc = config.WhichOneof("services") == "grpc_service"
    return str(config.grpc_service.envoy_grpc.cluster_name if grpc else config.http_service.server_uri.cluster)


def _engine(rules: Any, subject: Subject) -> tuple[bool, str]:
    """Whether the call may pass, and the rule that holds; Envoy asks them in the order of their names."""
    held = next((name for name in sorted(rules.policies) if _holds(rules.policies[name], subject)), "")
    if rules.action == rbac_pb2.RBAC.LOG:
        return True, held
    return bool(held) is (rules.action == rbac_pb2.RBAC.ALLOW), held


def _holds(policy: Any, subject: Subject) -> bool:
    return any(_permits(one, subject) for one in policy.permissions) and any(
        _is(one, subject) for one in policy.principals
    )


def _permits(permission: Any, subject: Subject) -> bool:
    kind = permission.WhichOneof("rule")
    return _PERMISSIONS[kind](getattr(permission, kind), subject)


def _is(principal: Any, subject: Subject) -> bool:
    kind = principal.WhichOneof("identifier")
    return _PRINCIPALS[kind](getattr(principal, kind), subject)


def _has_header(matcher: Any, subject: Subject) -> bool:
    return subject.request is not None and header_matches(matcher, subject.request.headers)


def _has_path(matcher: Any, subject: Subject) -> bool:
    if subject.request is None:
        return False
    return string_matches(matcher.path, subject.request.path.partition("?")[0].partition("#")[0])


def _has_metadata(matcher: Any, subject: Subject) -> bool:
    return metadata_matches(matcher, subject.request.metadata if subject.request is not None else {})


def _is_named(authenticated: Any, subject: Subject) -> bool:
    names = subject.connection.names
    if not authenticated.HasField("principal_name"):
        return subject.connection.terminated
    return any(string_matches(authenticated.principal_name, name) for name in names)


def _within(block: Any, address: str) -> bool:
    network, ip = ip_network((block.address_prefix, block.prefix_len.value), strict=False), ip_address(address)
    return network.version == ip.version and ip in network


def client_address(manager: Any, request: Request, connection: Connection) -> str:
    """The client, as far as the connection manager believes proxies before it."""
    hops = manager.xff_num_trusted_hops
    if manager.use_remote_address.value and not hops:
        return connection.remote.ip
    back = hops if not manager.use_remote_address.value else hops - 1
    listed = [one.strip() for one in first(request.headers, "x-forwarded-for").split(",")]
    told = listed[-1 - back] if len(listed) > back else ""
    try:
        return str(ip_address(told))
    except ValueError:
        return connection.remote.ip


_Test = Callable[[Any, Subject], bool]
_PERMISSIONS: Final[Mapping[str, _Test]] = {
    "and_rules": lambda rules, subject: all(_permits(one, subject) for one in rules.rules),
    "or_rules": lambda rules, subject: any(_permits(one, subject) for one in rules.rules),
    "not_rule": lambda rule, subject: not _permits(rule, subject),
    "any": lambda _, __: True,
    "header": _has_header,
    "url_path": _has_path,
    "destination_ip": lambda block, subject: _within(block, subject.connection.local.ip),
    "destination_port": lambda port, subject: bool(port == subject.connection.local.port),
    "metadata": _has_metadata,
    "requested_server_name": lambda name, subject: string_matches(name, subject.connection.server_name),
}
_PRINCIPALS: Final[Mapping[str, _Test]] = {
    "and_ids": lambda ids, subject: all(_is(one, subject) for one in ids.ids),
    "or_ids": lambda ids, subject: any(_is(one, subject) for one in ids.ids),
    "not_id": lambda one, subject: not _is(one, subject),
    "any": lambda _, __: True,
    "authenticated": _is_named,
    "direct_remote_ip": lambda block, subject: _within(block, subject.connection.direct_remote.ip),
    "remote_ip": lambda block, subject: _within(block, subject.connection.remote.ip),
    "header": _has_header,
    "url_path": _has_path,
    "metadata": _has_metadata,
}
