"""Role-based access control: Envoy's filter that asks rules about a request, or about a connection.

Envoy tells what is asked of the caller (principals) from what is asked of the call (permissions). Both can ask about
headers, claims and metadata, but only one of them knows each kind of address, so a rule keeps the two apart.

Names of identities are matched as whole regular expressions made here, of parts that are quoted; nothing a user wrote
is ever read as one.
"""

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, Final

import re2
from envoy.config.rbac.v3 import rbac_pb2
from envoy.config.route.v3 import route_components_pb2
from envoy.type.matcher.v3 import metadata_pb2, path_pb2, string_pb2

from controlplane.envoy import matcher
from controlplane.envoy.address import cidr
from controlplane.envoy.any import packed
from controlplane.ir.authorization import (
    Action,
    AllOf,
    AnyOf,
    Check,
    Claim,
    Condition,
    DestinationAddress,
    DestinationPort,
    Header,
    Identity,
    Judgement,
    Metadata,
    Not,
    Path,
    PathTemplate,
    Principal,
    Rule,
    ServerName,
    SourceAddress,
)
from controlplane.ir.route import MatchKind, StringMatch

CHECK_PREFIX: Final = "istio_ext_authz_"  # of what a check leaves in the metadata of a call
MATCHED: Final = "shadow_effective_policy_id"  # Envoy's name for the rule that held
_NETWORK_STATISTICS: Final = "tcp."
_ACTIONS: Final[Mapping[Action, Any]] = {
    Action.ALLOW: rbac_pb2.RBAC.ALLOW,
    Action.DENY: rbac_pb2.RBAC.DENY,
    Action.AUDIT: rbac_pb2.RBAC.LOG,
}
_DRY_RUNS: Final = {Action.ALLOW: "istio_dry_run_allow_", Action.DENY: "istio_dry_run_deny_"}
_SPIFFE: Final = "spiffe://"
_SOMETHING: Final = r"\C+"  # any bytes, of whatever encoding
_PART: Final = r"[^/]"
_WILDCARDS: Final = {"{*}": f"{_PART}+", "{**}": r"\C*"}


def name(*, http: bool) -> str:
    """What the filter is called, and under which name it notes things in the metadata of a call."""
    return "envoy.filters.http.rbac" if http else "envoy.filters.network.rbac"


@lru_cache(maxsize=1024)
def judging(judgement: Judgement, *, http: bool) -> Any:
    """The packed filter of one action. Remembered: the workloads it guards are many."""
    config = _filter(http=http)
    if judgement.rules is not None:
        config.rules.CopyFrom(_rules(judgement.rules, _ACTIONS[judgement.action]))
    if judgement.dry_run is not None:
        config.shadow_rules.CopyFrom(_rules(judgement.dry_run, _ACTIONS[judgement.action]))
        config.shadow_rules_stat_prefix = _DRY_RUNS[judgement.action]
    return packed(config)


@lru_cache(maxsize=1024)
def triggering(check: Check, *, http: bool) -> Any:
    """The packed filter before an authorizer: it notes the rule that held. With nobody to ask it refuses."""
    config = _filter(http=http)
    rules = _rules(check.rules, rbac_pb2.RBAC.DENY)
    if check.authorizer is None:
        config.rules.CopyFrom(rules)
    else:
        config.shadow_rules.CopyFrom(rules)
        config.shadow_rules_stat_prefix = CHECK_PREFIX
    return packed(config)


def _filter(*, http: bool) -> Any:
    if http:
        from envoy.extensions.filters.http.rbac.v3 import rbac_pb2 as http_pb2  # noqa: PLC0415  not paid at start-up

        return http_pb2.RBAC()
    from envoy.extensions.filters.network.rbac.v3 import rbac_pb2 as network_pb2  # noqa: PLC0415  not paid at start-up

    return network_pb2.RBAC(stat_prefix=_NETWORK_STATISTICS)


def _rules(rules: tuple[Rule, ...], action: Any) -> Any:
    message = rbac_pb2.RBAC(action=action)
    for rule in rules:
        policy = message.policies[rule.name]
        policy.permissions.append(permission(rule.what))
        policy.principals.append(principal(rule.who))
    return message


def principal(condition: Condition) -> Any:
    """A `Principal` of what is asked of the caller."""
    return _PRINCIPALS[type(condition)](condition)


def permission(condition: Condition) -> Any:
    """A `Permission` of what is asked of the call."""
    return _PERMISSIONS[type(condition)](condition)


# Callers.


def _all_ids(condition: AllOf) -> Any:
    message = rbac_pb2.Principal()
    if condition.conditions:
        message.and_ids.ids.extend(map(principal, condition.conditions))
    else:
        message.any = True
    return message


def _any_id(condition: AnyOf) -> Any:
    message = rbac_pb2.Principal()
    if condition.conditions:
        message.or_ids.ids.extend(map(principal, condition.conditions))
    else:
        message.not_id.any = True
    return message


def _not_id(condition: Not) -> Any:
    return rbac_pb2.Principal(not_id=principal(condition.condition))


def _name(condition: Principal) -> Any:
    match = condition.match
    if match.kind is MatchKind.PRESENT:
        return _named(_pattern(_SOMETHING))
    if match.kind is MatchKind.SUFFIX:
        return _named(_pattern(rf"{_SPIFFE}\C*{re2.escape(match.value)}"))
    return _named(matcher.string(StringMatch(match.kind, _SPIFFE + match.value)))


def _identity(condition: Identity) -> Any:
    whole = f"{_SPIFFE}{_part(condition.trust_domain)}/"
    if condition.namespace is None and condition.account is None:
        return _named(_pattern(whole + _SOMETHING))
    return _named(_pattern(f"{whole}ns/{_part(condition.namespace)}/sa/{_part(condition.account)}"))


def _part(match: StringMatch | None) -> str:
    """A pattern for what stands between two slashes."""
    if match is None or match.kind is MatchKind.PRESENT:
        return f"{_PART}+"
    quoted: str = re2.escape(match.value)
    return {MatchKind.PREFIX: f"{quoted}{_PART}*", MatchKind.SUFFIX: f"{_PART}*{quoted}"}.get(match.kind, quoted)


def _named(name: Any) -> Any:
    """Envoy compares it with every name in the certificate: addresses of kind URI, else DNS, else the subject."""
    return rbac_pb2.Principal(authenticated=rbac_pb2.Principal.Authenticated(principal_name=name))


def _source(condition: SourceAddress) -> Any:
    block = cidr(condition.block)
    return rbac_pb2.Principal(direct_remote_ip=block) if condition.direct else rbac_pb2.Principal(remote_ip=block)


def _header(condition: Header) -> Any:
    message = route_components_pb2.HeaderMatcher(name=condition.name)
    if condition.match.kind is MatchKind.PRESENT:
        message.present_match = True
    else:
        message.string_match.CopyFrom(matcher.string(condition.match))
    return rbac_pb2.Principal(header=message)


def _claim(condition: Claim) -> Any:
    return rbac_pb2.Principal(metadata=matcher.claim(condition.path, _text(condition.match), single=condition.single))


# Calls.


def _all_rules(condition: AllOf) -> Any:
    message = rbac_pb2.Permission()
    if condition.conditions:
        message.and_rules.rules.extend(map(permission, condition.conditions))
    else:
        message.any = True
    return message


def _any_rule(condition: AnyOf) -> Any:
    message = rbac_pb2.Permission()
    if condition.conditions:
        message.or_rules.rules.extend(map(permission, condition.conditions))
    else:
        message.not_rule.any = True
    return message


def _not_rule(condition: Not) -> Any:
    return rbac_pb2.Permission(not_rule=permission(condition.condition))


def _header_rule(condition: Header) -> Any:
    return rbac_pb2.Permission(header=_header(condition).header)


def _path(condition: Path) -> Any:
    return _at_path(_text(condition.match))


def _template(condition: PathTemplate) -> Any:
    """Envoy has templates of its own, but they do not match all bytes a path may hold: "[" would be a way around."""
    parts = condition.template.split("/")
    return _at_path(_pattern("/".join(_WILDCARDS.get(part) or re2.escape(part) for part in parts)))


def _at_path(match: Any) -> Any:
    return rbac_pb2.Permission(url_path=path_pb2.PathMatcher(path=match))


def _destination(condition: DestinationAddress) -> Any:
    return rbac_pb2.Permission(destination_ip=cidr(condition.block))


def _port(condition: DestinationPort) -> Any:
    return rbac_pb2.Permission(destination_port=condition.port)


def _server_name(condition: ServerName) -> Any:
    return rbac_pb2.Permission(requested_server_name=_text(condition.match))


def _metadata(condition: Metadata) -> Any:
    message = metadata_pb2.MetadataMatcher(filter=condition.filter)
    message.path.add(key=condition.key)
    value = message.value.list_match.one_of if condition.listed else message.value
    value.string_match.CopyFrom(_text(condition.match))
    return rbac_pb2.Permission(metadata=message)


def _text(match: StringMatch) -> Any:
    return _pattern(_SOMETHING) if match.kind is MatchKind.PRESENT else matcher.string(match)


def _pattern(regex: str) -> Any:
    return string_pb2.StringMatcher(safe_regex=matcher.regex(regex))


_PRINCIPALS: Final[Mapping[type, Callable[[Any], Any]]] = {
    AllOf: _all_ids,
    AnyOf: _any_id,
    Not: _not_id,
    Principal: _name,
    Identity: _identity,
    SourceAddress: _source,
    Header: _header,
    Claim: _claim,
}
_PERMISSIONS: Final[Mapping[type, Callable[[Any], Any]]] = {
    AllOf: _all_rules,
    AnyOf: _any_rule,
    Not: _not_rule,
    Header: _header_rule,
    Path: _path,
    PathTemplate: _template,
    DestinationAddress: _destination,
    DestinationPort: _port,
    ServerName: _server_name,
    Metadata: _metadata,
}
