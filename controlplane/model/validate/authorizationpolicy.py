"""What an AuthorizationPolicy may say.

Whatever is refused here fails closed, so a sentence has to say what to write instead: until then calls are refused.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from string import ascii_letters, digits
from typing import Final, TypeVar

from controlplane.model.attributes import Attribute, parse_key
from controlplane.model.authorizationpolicy import (
    DRY_RUN,
    AuthorizationAction,
    AuthorizationPolicy,
    AuthorizationPolicySpec,
    Condition,
    From,
    Operation,
    Rule,
    Source,
    To,
)
from controlplane.model.meta import ref_of
from controlplane.model.problem import Problem
from controlplane.model.text import is_false, is_true
from controlplane.model.validate.common import (
    MAX_REGEX,
    attribute,
    check_header_name,
    check_object_name,
    check_subnet,
    is_dns_label,
    is_object_name,
    required,
)
from controlplane.model.validate.findings import Findings
from controlplane.model.validate.selecting import check_selecting

T = TypeVar("T")

MAX_RULES: Final = 512
MAX_ACCOUNTS: Final = 16
MAX_ACCOUNT: Final = 320  # characters: a namespace, a slash, a name
MAX_VALUE: Final = MAX_REGEX  # characters: some values become a part of a regular expression
MAX_SLASHES: Final = 16  # of one requestPrincipal: each may be the one between issuer and subject
MAX_ALL_SLASHES: Final = 4096  # of all in a policy, since each makes it larger
MAX_SIZE: Final = 8192  # sources, operations, conditions and values of one policy: a proxy asks them one by one
MAX_ERRORS: Final = 100  # that are said of one policy
_TEMPLATES: Final = ("{*}", "{**}")
_LITERAL: Final = frozenset(ascii_letters + digits + "-._~%!$&'()+,;:@=")  # what segments beside templates are made of
_PSEUDO_HEADERS: Final = frozenset({":authority", ":method", ":path", ":scheme"})
_SOURCE: Final = (
    "principals",
    "requestPrincipals",
    "namespaces",
    "serviceAccounts",
    "trustDomains",
    "ipBlocks",
    "remoteIpBlocks",
)
_OPERATION: Final = ("hosts", "ports", "methods", "paths")

_Check = Callable[[Findings, str, str], None]


def validate_authorization_policy(policy: AuthorizationPolicy) -> tuple[Problem, ...]:
    """All that is wrong with an AuthorizationPolicy by itself."""
    found = Findings(ref_of(policy))
    check_object_name(found, "metadata.name", policy.meta.name)
    _check_dry_run(found, policy)
    check_selecting(found, "spec", policy.spec)
    _check_action(found, "spec", policy.spec)
    if not _is_too_large(found, "spec.rules", policy.spec.rules):
        _each(found, "spec.rules", policy.spec.rules, _check_rule)
        _check_hosts(found, "spec.rules", policy.spec)
    if found.errors >= MAX_ERRORS:
        found.error("TooManyProblems", "spec.rules", "what follows is not looked at: mend what is said first")
    return found.done()


def _is_too_large(found: Findings, path: str, rules: Sequence[Rule]) -> bool:
    """One policy costs neither us nor any proxy much, whatever is in it."""
    limits: tuple[tuple[Callable[[Rule], int], int, str], ...] = (
        (lambda _: 1, MAX_RULES, "rules"),
        (_size, MAX_SIZE, "sources, operations, conditions and values in rules"),
        (_slashes, MAX_ALL_SLASHES, "slashes in requestPrincipals"),
    )
    for count, most, what in limits:
        if (total := sum(map(count, rules))) > most:
            found.error("InvalidValue", path, f"{total} {what}; at most {most} are allowed in one policy")
            return True
    return False


def _slashes(rule: Rule) -> int:
    return sum(value.count("/") for value in _request_principals(rule))


def _size(rule: Rule) -> int:
    """How many things there are in it to look at."""
    parts = [
        *((one.source, _SOURCE) for one in rule.from_ or ()),
        *((one.operation, _OPERATION) for one in rule.to or ()),
    ]
    if len(parts) > MAX_SIZE:
        return len(parts)
    lists = [getattr(owner, field) for owner, names in parts if owner is not None for field in _both(names)]
    lists += [values for one in rule.when for values in (one.values, one.not_values)]
    return len(parts) + len(rule.when) + sum(len(values) for values in lists if values)


@cache
def _both(names: tuple[str, ...]) -> tuple[str, ...]:
    """The attributes of fields and of those that say the contrary."""
    return tuple(prefix + attribute(name) for name in names for prefix in ("", "not_"))


def _each(found: Findings, path: str, values: Sequence[T], rule: Callable[[Findings, str, T], None]) -> None:
    """Apply a rule to each element, until so much is wrong that nobody reads more."""
    for i, value in enumerate(values):
        if found.errors >= MAX_ERRORS:
            return
        rule(found, f"{path}[{i}]", value)


def _request_principals(rule: Rule) -> Iterator[str]:
    for one in rule.from_ or ():
        if one.source is not None:
            yield from (*(one.source.request_principals or ()), *(one.source.not_request_principals or ()))
    for condition in rule.when:
        if condition.key == Attribute.REQUEST_PRINCIPAL:
            yield from (*(condition.values or ()), *(condition.not_values or ()))


def _check_dry_run(found: Findings, policy: AuthorizationPolicy) -> None:
    path, written = f"metadata.annotations[{DRY_RUN}]", policy.meta.annotations.get(DRY_RUN)
    if written is None or is_false(written):
        return
    if not is_true(written):
        found.error("InvalidValue", path, f'"{written}" is neither true nor false; the policy is enforced')
    elif policy.spec.action in {AuthorizationAction.CUSTOM, AuthorizationAction.AUDIT}:
        found.warn("NoEffect", path, f"nothing is noted of what a dry run of {policy.spec.action} would do")


def _check_action(found: Findings, path: str, spec: AuthorizationPolicySpec) -> None:
    if spec.action is AuthorizationAction.CUSTOM:
        if spec.provider is None:
            found.error("RequiredField", f"{path}.provider", "CUSTOM needs a provider, which decides")
        else:
            required(found, f"{path}.provider.name", spec.provider.name, why=": a name from extensionProviders")
    elif spec.provider is not None:
        found.error("ConflictingFields", f"{path}.provider", "only action CUSTOM asks a provider; remove one of them")
    if not spec.rules and spec.action in {AuthorizationAction.DENY, AuthorizationAction.CUSTOM}:
        message = f"{spec.action} without rules holds for no call; write `rules: [{{}}]` if it is to hold for all"
        found.warn("NoEffect", f"{path}.rules", message)


def _check_rule(found: Findings, path: str, rule: Rule) -> None:
    for name, entries in (("from", rule.from_), ("to", rule.to)):
        if entries == ():
            message = f"an empty `{name}` holds for nothing; leave it out if it is to hold for everything"
            found.error("RequiredField", f"{path}.{name}", message)
    _each(found, f"{path}.from", rule.from_ or (), _check_from)
    _each(found, f"{path}.to", rule.to or (), _check_to)
    _each(found, f"{path}.when", rule.when, _check_condition)


def _check_from(found: Findings, path: str, one: From) -> None:
    source = one.source
    if source is None or not _says_something(source, _SOURCE):
        message = f"a source needs one of {', '.join(_SOURCE)}; leave `from` out if anybody may call"
        found.error("RequiredField", f"{path}.source", message)
        return
    _check_lists(found, f"{path}.source", source, _SOURCE_CHECKS)
    _check_accounts(found, f"{path}.source", source)


def _check_accounts(found: Findings, path: str, source: Source) -> None:
    accounts = source.service_accounts or source.not_service_accounts
    others = source.principals or source.not_principals or source.namespaces or source.not_namespaces
    if accounts and others:
        message = "serviceAccounts cannot stand beside principals or namespaces: they say both"
        found.error("ConflictingFields", path, message)
    for name in ("serviceAccounts", "notServiceAccounts"):
        count = len(getattr(source, attribute(name)) or ())
        if count > MAX_ACCOUNTS:
            found.error("InvalidValue", f"{path}.{name}", f"{count} accounts; at most {MAX_ACCOUNTS} are allowed")


def _check_to(found: Findings, path: str, one: To) -> None:
    operation = one.operation
    if operation is None or not _says_something(operation, _OPERATION):
        message = f"an operation needs one of {', '.join(_OPERATION)}; leave `to` out if all calls are meant"
        found.error("RequiredField", f"{path}.operation", message)
        return
    _check_lists(found, f"{path}.operation", operation, _OPERATION_CHECKS)


def _check_hosts(found: Findings, path: str, spec: AuthorizationPolicySpec) -> None:
    """What keeps a host out keeps it out in one spelling: a request may name a port beside it."""
    unwanted = "not_hosts" if spec.action in {None, AuthorizationAction.ALLOW} else "hosts"
    for i, rule in enumerate(spec.rules):
        for j, one in enumerate(rule.to or ()):
            hosts = getattr(one.operation, unwanted, None) or ()
            if left := _without_port(hosts):
                at = f"{path}[{i}].to[{j}].operation.{'notHosts' if unwanted == 'not_hosts' else 'hosts'}"
                hint = f'add "{left}:8080" with each port' if left.startswith("*") else f'add "{left}:*"'
                found.warn(
                    "HostWithoutPort", at, f'"{left}" is not "{left}:8080", and callers may write either; {hint}'
                )


def _without_port(hosts: Sequence[str]) -> str:
    """A host that is not there with a port as well; "" when there is none."""
    bare = (host for host in hosts if not host.endswith("*") and ":" not in host.rpartition("]")[2])
    begun = {host.rpartition(":")[0] for host in hosts}
    return next((host for host in bare if host not in begun), "")


def _check_condition(found: Findings, path: str, condition: Condition) -> None:
    if not required(found, f"{path}.key", condition.key):
        return
    key = parse_key(condition.key)
    if key is None:
        found.error(
            "InvalidMatch", f"{path}.key", f'"{condition.key}" is no attribute of a call; {_hint(condition.key)}'
        )
        return
    if not condition.values and not condition.not_values:
        found.error("RequiredField", f"{path}.values", "a condition needs values or notValues")
    if key.attribute is Attribute.HEADER and key.names[0] not in _PSEUDO_HEADERS:
        check_header_name(found, f"{path}.key", key.names[0])
    check = _ATTRIBUTE_CHECKS.get(key.attribute, _check_text)
    for name, values in (("values", condition.values), ("notValues", condition.not_values)):
        _each(found, f"{path}.{name}", values or (), check)


def _hint(key: str) -> str:
    name, bracket, _ = key.partition("[")
    replaced = {
        "destination.namespace": "a policy is for its own namespace",
        "destination.labels": "use the policy's selector",
        "destination.name": "use the policy's selector",
        "destination.user": "use the policy's selector",
    }
    if name in replaced:
        return replaced[name]
    if bracket or name in {Attribute.HEADER, Attribute.CLAIM}:
        return "names stand in brackets, as in request.headers[x-tenant]"
    return f"known are {', '.join(Attribute)}"


def _says_something(owner: Source | Operation, names: tuple[str, ...]) -> bool:
    return owner.invalid or any(getattr(owner, field) for field in _both(names))


def _check_lists(found: Findings, path: str, owner: Source | Operation, checks: Mapping[str, _Check]) -> None:
    for name, check in checks.items():
        for field in (name, f"not{name[0].upper()}{name[1:]}"):
            values = getattr(owner, attribute(field))
            if values == ():
                found.warn("NoEffect", f"{path}.{field}", "an empty list is as if it were left out: nothing is asked")
            _each(found, f"{path}.{field}", values or (), check)


# Values.


def _check_text(found: Findings, path: str, value: str) -> None:
    _is_text(found, path, value)


def _is_text(found: Findings, path: str, value: str) -> bool:
    if not value:
        found.error("RequiredField", path, 'an empty value matches nothing; write one, or "*" for any')
    elif len(value) > MAX_VALUE:
        found.error("InvalidValue", path, f"has {len(value)} characters; at most {MAX_VALUE} are allowed")
    elif len(value) > 1 and value.startswith("*") and value.endswith("*"):
        found.error("InvalidMatch", path, f'"{value}": a wildcard may stand first or last, not both')
    else:
        return True
    return False


def _check_name(found: Findings, path: str, value: str) -> None:
    """A text that never holds a "*" itself: one in the middle is a mistake."""
    if _is_text(found, path, value) and "*" in value[1:-1]:
        found.error("InvalidMatch", path, f'"{value}": a wildcard may stand first or last, not in the middle')


def _check_request_principal(found: Findings, path: str, value: str) -> None:
    if _is_text(found, path, value) and value.count("/") > MAX_SLASHES:
        found.error("InvalidValue", path, f"has {value.count('/')} slashes; at most {MAX_SLASHES} are allowed")


def _check_account(found: Findings, path: str, value: str) -> None:
    namespace, slash, account = value.rpartition("/")
    if len(value) > MAX_ACCOUNT or not is_object_name(account) or (slash and not is_dns_label(namespace)):
        message = f'"{value}" is not ACCOUNT or NAMESPACE/ACCOUNT; there are no wildcards here'
        found.error("InvalidName", path, message)


def _check_port(found: Findings, path: str, value: str) -> None:
    if not (value.isascii() and value.isdecimal() and len(value) <= 5 and int(value) <= 65535):
        found.error("InvalidPort", path, f'"{value}" is not a port number: 0 to 65535')


def _check_path(found: Findings, path: str, value: str) -> None:
    if not _is_text(found, path, value):
        return
    if any(template in value for template in _TEMPLATES):
        if error := _template_error(value):
            found.error("InvalidMatch", path, f'"{value}": {error}')
    elif not _BRACES.isdisjoint(value):
        found.error("InvalidMatch", path, f'"{value}": braces belong to the templates {{*}} and {{**}} alone')
    elif not value.startswith(("/", "*")):
        found.warn("NoEffect", path, f'"{value}": no path begins so; write "/{value}"')


_BRACES: Final = frozenset("{}")


def _template_error(template: str) -> str:
    """{*} is one segment; {**} any number, and nothing but literal segments may follow it."""
    seen_any = False
    if not template.startswith("/"):
        return "a template begins with a slash"
    for segment in template.strip("/").split("/"):
        if segment in _TEMPLATES:
            if seen_any:
                return "after {**} there can be no other template"
            seen_any = segment == "{**}"
        elif not segment or not _LITERAL.issuperset(segment):
            return f'"{segment}" is neither {{*}}, nor {{**}}, nor a plain segment of a path'
    return ""


_SOURCE_CHECKS: Final[Mapping[str, _Check]] = {
    "principals": _check_name,
    "requestPrincipals": _check_request_principal,
    "namespaces": _check_name,
    "serviceAccounts": _check_account,
    "trustDomains": _check_name,
    "ipBlocks": check_subnet,
    "remoteIpBlocks": check_subnet,
}
_OPERATION_CHECKS: Final[Mapping[str, _Check]] = {
    "hosts": _check_name,
    "ports": _check_port,
    "methods": _check_name,
    "paths": _check_path,
}
_ATTRIBUTE_CHECKS: Final[Mapping[Attribute, _Check]] = {
    Attribute.PRINCIPAL: _check_name,
    Attribute.NAMESPACE: _check_name,
    Attribute.TRUST_DOMAIN: _check_name,
    Attribute.SERVICE_ACCOUNT: _check_account,
    Attribute.SOURCE_IP: check_subnet,
    Attribute.REMOTE_IP: check_subnet,
    Attribute.DESTINATION_IP: check_subnet,
    Attribute.DESTINATION_PORT: _check_port,
    Attribute.REQUEST_PRINCIPAL: _check_request_principal,
    Attribute.SERVER_NAME: _check_name,
}
