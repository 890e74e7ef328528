"""A rule of an AuthorizationPolicy -> what it says of callers and calls.

Not every part of a rule can be known wherever the rule holds: requests have paths, connections have none; a token is
read after authorizers are asked; and parts may be unreadable. What cannot be known fails closed: a rule that allows
does not hold then, and for a rule that refuses the part in question counts as true.
"""

from collections.abc import Callable, Iterable, Iterator
from enum import Enum, auto

import msgspec

from controlplane.ir.authorization import (
    Claim,
    Condition,
    DestinationAddress,
    DestinationPort,
    Header,
    Identity,
    Metadata,
    Path,
    PathTemplate,
    Rule,
    ServerName,
    SourceAddress,
)
from controlplane.mesh.authorization.logic import all_of, any_of, none_of
from controlplane.mesh.authorization.texts import exact, principal, request_principal, text, trust_domains
from controlplane.model import authorizationpolicy as model
from controlplane.model.attributes import Attribute, Key, parse_key

_TEMPLATES = ("{*}", "{**}")


class Of(Enum):
    """What must be there for something to be known."""

    CONNECTION = auto()
    REQUEST = auto()
    TOKEN = auto()


class Reading(msgspec.Struct, frozen=True):
    """Where a rule holds, and to what end."""

    namespace: str  # of the policy
    trust_domains: tuple[str, ...]  # of the mesh; they are all the same to it
    known: frozenset[Of]
    refuses: bool  # a call the rule holds for is refused, asked about or noted, rather than allowed


_Maker = Callable[[str, Reading], Condition]


class _Part(msgspec.Struct, frozen=True):
    """One field of a rule, or one of its conditions: values of which one must hold, and values of which none may."""

    needs: Of
    make: _Maker
    values: tuple[str, ...]
    not_values: tuple[str, ...]

    def condition(self, reading: Reading) -> Condition:
        wanted = any_of(self.make(value, reading) for value in self.values)
        unwanted = none_of(self.make(value, reading) for value in self.not_values)
        return all_of((wanted, unwanted)) if self.values else unwanted


def rule(written: model.Rule, name: str, reading: Reading) -> Rule | None:
    """None: it never holds."""
    if not reading.refuses and (_is_unreadable(written) or not _is_known(_all_parts(written), reading)):
        return None
    if written.invalid:
        return Rule(name)
    who, what = _when(written)
    sources = [_together(_source(one.source), reading) for one in written.from_ or ()]
    operations = [_together(_operation(one.operation), reading) for one in written.to or ()]
    return Rule(
        name,
        who=all_of((*([any_of(sources)] if sources else ()), _together(who, reading))),
        what=all_of((*([any_of(operations)] if operations else ()), _together(what, reading))),
    )


def is_of_requests(written: model.Rule) -> bool:
    """Whether it asks for something a connection does not have."""
    return any(part.needs is not Of.CONNECTION for part in _all_parts(written))


def ports(written: model.Rule) -> tuple[int, ...]:
    """The ports it is for; () for all."""
    operations = [one.operation for one in written.to or ()]
    listed = [operation.ports if operation is not None else None for operation in operations]
    found = [values for values in listed if values]
    return tuple(sorted({int(port) for values in found for port in values})) if len(found) == len(listed) else ()


def _together(parts: Iterable[_Part], reading: Reading) -> Condition:
    return all_of(part.condition(reading) for part in parts if part.needs in reading.known)


def _is_known(parts: Iterable[_Part], reading: Reading) -> bool:
    return all(part.needs in reading.known for part in parts)


def _is_unreadable(written: model.Rule) -> bool:
    sources = (one.source for one in written.from_ or ())
    operations = (one.operation for one in written.to or ())
    parts = (*sources, *operations, *written.when)
    return written.invalid or any(part is not None and part.invalid for part in parts)


def _all_parts(written: model.Rule) -> Iterator[_Part]:
    for one in written.from_ or ():
        yield from _source(one.source)
    for another in written.to or ():
        yield from _operation(another.operation)
    for parts in _when(written):
        yield from parts


def _source(source: model.Source | None) -> Iterator[_Part]:
    return _fields(source, _SOURCE) if source is not None and not source.invalid else iter(())


def _operation(operation: model.Operation | None) -> Iterator[_Part]:
    return _fields(operation, _OPERATION) if operation is not None and not operation.invalid else iter(())


def _fields(owner: model.Source | model.Operation, makers: Iterable[tuple[str, Of, _Maker]]) -> Iterator[_Part]:
    for field, needs, make in makers:
        values, unwanted = getattr(owner, field) or (), getattr(owner, f"not_{field}") or ()
        if values or unwanted:
            yield _Part(needs, make, values, unwanted)


def _when(written: model.Rule) -> tuple[list[_Part], list[_Part]]:
    """What is asked of callers, and of calls."""
    who: list[_Part] = []
    what: list[_Part] = []
    for condition in written.when:
        key = parse_key(condition.key)
        if key is None or condition.invalid:
            continue
        needs, make = _of_key(key)
        of = what if key.attribute in _OF_CALLS else who
        of.append(_Part(needs, make, condition.values or (), condition.not_values or ()))
    return who, what


def _of_key(key: Key) -> tuple[Of, _Maker]:
    if key.attribute is Attribute.HEADER:
        name = key.names[0].lower()
        return Of.REQUEST, lambda value, _: Header(name, text(value))
    if key.attribute is Attribute.CLAIM:
        return Of.TOKEN, lambda value, _: Claim(key.names, text(value))
    if key.attribute is Attribute.METADATA:
        return Of.CONNECTION, lambda value, _: _metadata(key, value)
    return _ATTRIBUTES[key.attribute]


def _metadata(key: Key, value: str) -> Condition:
    """ "[value]" is one of a list."""
    listed = value.startswith("[") and value.endswith("]") and len(value) > len("[]")
    return Metadata(key.filter, key.names[0], text(value[1:-1] if listed else value), listed)


def _path(value: str, _: Reading) -> Condition:
    if any(template in value for template in _TEMPLATES):
        return PathTemplate(value)
    return Path(text(value))


def _account(value: str, reading: Reading) -> Condition:
    namespace, slash, account = value.partition("/")
    if not slash:
        namespace, account = reading.namespace, value
    return Identity(namespace=exact(namespace), account=exact(account))


_PRINCIPAL: tuple[Of, _Maker] = (Of.CONNECTION, lambda value, reading: principal(value, reading.trust_domains))
_REQUEST_PRINCIPAL: tuple[Of, _Maker] = (Of.TOKEN, lambda value, _: request_principal(value))
_NAMESPACE: tuple[Of, _Maker] = (Of.CONNECTION, lambda value, _: Identity(namespace=text(value)))
_ACCOUNT: tuple[Of, _Maker] = (Of.CONNECTION, _account)
_TRUST_DOMAIN: tuple[Of, _Maker] = (
    Of.CONNECTION,
    lambda value, reading: any_of(Identity(trust_domain=one) for one in trust_domains(value, reading.trust_domains)),
)
_SOURCE_IP: tuple[Of, _Maker] = (Of.CONNECTION, lambda value, _: SourceAddress(value))
_REMOTE_IP: tuple[Of, _Maker] = (Of.CONNECTION, lambda value, _: SourceAddress(value, direct=False))
_PORT: tuple[Of, _Maker] = (Of.CONNECTION, lambda value, _: DestinationPort(int(value)))

_SOURCE: tuple[tuple[str, Of, _Maker], ...] = (
    ("principals", *_PRINCIPAL),
    ("request_principals", *_REQUEST_PRINCIPAL),
    ("namespaces", *_NAMESPACE),
    ("service_accounts", *_ACCOUNT),
    ("trust_domains", *_TRUST_DOMAIN),
    ("ip_blocks", *_SOURCE_IP),
    ("remote_ip_blocks", *_REMOTE_IP),
)
_OPERATION: tuple[tuple[str, Of, _Maker], ...] = (
    ("hosts", Of.REQUEST, lambda value, _: Header(":authority", text(value, ignore_case=True))),
    ("methods", Of.REQUEST, lambda value, _: Header(":method", text(value))),
    ("paths", Of.REQUEST, _path),
    ("ports", *_PORT),
)
_ATTRIBUTES: dict[Attribute, tuple[Of, _Maker]] = {
    Attribute.PRINCIPAL: _PRINCIPAL,
    Attribute.NAMESPACE: _NAMESPACE,
    Attribute.SERVICE_ACCOUNT: _ACCOUNT,
    Attribute.TRUST_DOMAIN: _TRUST_DOMAIN,
    Attribute.SOURCE_IP: _SOURCE_IP,
    Attribute.REMOTE_IP: _REMOTE_IP,
    Attribute.REQUEST_PRINCIPAL: _REQUEST_PRINCIPAL,
    Attribute.AUDIENCE: (Of.TOKEN, lambda value, _: Claim(("aud",), text(value))),
    Attribute.PRESENTER: (Of.TOKEN, lambda value, _: Claim(("azp",), text(value))),
    Attribute.DESTINATION_IP: (Of.CONNECTION, lambda value, _: DestinationAddress(value)),
    Attribute.DESTINATION_PORT: _PORT,
    Attribute.SERVER_NAME: (Of.CONNECTION, lambda value, _: ServerName(text(value, ignore_case=True))),
}
_OF_CALLS = {Attribute.DESTINATION_IP, Attribute.DESTINATION_PORT, Attribute.SERVER_NAME, Attribute.METADATA}
