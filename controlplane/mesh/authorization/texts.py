"""The styles in which a value is written: exact, "prefix*", "*suffix", and "*" for whatever is there."""

from collections.abc import Iterator

from controlplane.ir.authorization import Claim, Condition, Principal
from controlplane.ir.route import MatchKind, StringMatch
from controlplane.mesh.authorization.logic import all_of, any_of

WILDCARD = "*"
LOCAL_DOMAIN = "cluster.local"  # stands for the mesh's own trust domains, whatever they are called
PRINCIPAL_PARTS = 5  # of trust-domain/ns/NAMESPACE/sa/ACCOUNT
SLASH = "/"
_SOMETHING = StringMatch(MatchKind.PRESENT)


def text(value: str, *, ignore_case: bool = False) -> StringMatch:
    """A value as a condition on one string."""
    if value == WILDCARD:
        return _SOMETHING
    if value.startswith(WILDCARD):
        return StringMatch(MatchKind.SUFFIX, value[1:], ignore_case)
    if value.endswith(WILDCARD):
        return StringMatch(MatchKind.PREFIX, value[:-1], ignore_case)
    return StringMatch(MatchKind.EXACT, value, ignore_case)


def principal(value: str, domains: tuple[str, ...]) -> Condition:
    """An identity. One of the mesh's trust domains stands for all of them."""
    domain, *rest = value.split(SLASH)
    if len(rest) + 1 != PRINCIPAL_PARTS or not _is_own(domain, domains):
        return Principal(text(value))
    others = (SLASH.join((one, *rest)) for one in domains if not _matches(one, domain))
    return any_of(Principal(text(one)) for one in (value, *others))


def trust_domains(value: str, domains: tuple[str, ...]) -> tuple[StringMatch, ...]:
    """A trust domain, and those that are the same to the mesh."""
    own = domains if value in domains else ()
    return tuple(text(one) for one in dict.fromkeys((value, *own)))


def _is_own(domain: str, domains: tuple[str, ...]) -> bool:
    """ "*" is nobody's in particular."""
    return domain != WILDCARD and (domain == LOCAL_DOMAIN or any(_matches(one, domain) for one in domains))


def _matches(domain: str, written: str) -> bool:
    return domain.endswith(written[1:]) if written.startswith(WILDCARD) else domain == written


def request_principal(value: str) -> Condition:
    """An identity of a token, issuer/subject. Either may hold slashes, so each slash may be the one between them."""
    if value == WILDCARD:
        return _token(_SOMETHING, _SOMETHING)
    if value.startswith(WILDCARD):
        return any_of(_ends(value[1:]))
    if value.endswith(WILDCARD):
        return any_of(_begins(value[:-1]))
    return any_of(_token(exact(issuer), exact(subject)) for issuer, subject in _splits(value) if issuer and subject)


def _begins(prefix: str) -> Iterator[Condition]:
    yield _token(StringMatch(MatchKind.PREFIX, prefix), _SOMETHING)
    for issuer, subject in _splits(prefix):
        if issuer:
            yield _token(exact(issuer), StringMatch(MatchKind.PREFIX, subject) if subject else _SOMETHING)


def _ends(suffix: str) -> Iterator[Condition]:
    yield _token(_SOMETHING, StringMatch(MatchKind.SUFFIX, suffix))
    for issuer, subject in _splits(suffix):
        if subject:
            yield _token(StringMatch(MatchKind.SUFFIX, issuer) if issuer else _SOMETHING, exact(subject))


def _splits(value: str) -> Iterator[tuple[str, str]]:
    """What is before and what is after each slash."""
    return ((value[:at], value[at + 1 :]) for at, letter in enumerate(value) if letter == SLASH)


def _token(issuer: StringMatch, subject: StringMatch) -> Condition:
    return all_of((Claim(("iss",), issuer, single=True), Claim(("sub",), subject, single=True)))


def exact(value: str) -> StringMatch:
    """No wildcards."""
    return StringMatch(MatchKind.EXACT, value)
