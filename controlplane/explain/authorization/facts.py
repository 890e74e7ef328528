"""A rule of a policy, taken apart into facts: what it asks of a call, and whether that is so.

A fact may be beyond knowing: a connection has no path, a token is not read yet, or the policy says something nobody
can read. What follows from that depends on what the policy does, and is decided elsewhere.
"""

from collections.abc import Callable, Iterator, Sequence
from ipaddress import ip_address, ip_network

import msgspec
import re2

from controlplane.explain.authorization.asked import Asked
from controlplane.explain.authorization.texts import fits, fits_principal, fits_template, identity, lower
from controlplane.model.authorizationpolicy import Condition, Operation, Rule, Source
from controlplane.model.settings import Settings
from controlplane.model.text import printable

_CLAIM = re2.compile(r"request\.auth\.claims((?:\[[^\[\]]+\])+)")
_HEADER = re2.compile(r"request\.headers\[([^\[\]]+)\]")
_METADATA = re2.compile(r"experimental\.(envoy\.filters\.[^\[\]]+)\[([^\[\]]+)\]")
_WORD_LISTS = (("scope",), ("permission",))  # claims
_LISTED = 6  # values that a sentence names


class Fact(msgspec.Struct, frozen=True):
    """Something a rule asks."""

    where: str  # field of the rule: "to[0].operation.methods"
    holds: bool | None  # None: nobody can know
    found: str  # what the call has, or why nobody can know
    wanted: str = ""


class Facts(msgspec.Struct, frozen=True):
    """All that a rule asks: one of `callers` (each all of its facts), one of `operations`, and all of `others`."""

    callers: tuple[tuple[Fact, ...], ...]
    operations: tuple[tuple[Fact, ...], ...]
    others: tuple[Fact, ...]

    @property
    def all(self) -> Iterator[Fact]:
        for group in (*self.callers, *self.operations, self.others):
            yield from group


class View(msgspec.Struct, frozen=True):
    """A call as the policies of one namespace, and of one action, see it."""

    asked: Asked
    settings: Settings
    namespace: str
    reads_tokens: bool = True

    @property
    def trust_domains(self) -> tuple[str, ...]:
        return (self.settings.trust_domain, *self.settings.trust_domain_aliases)


_UNREADABLE = "it cannot be read"
_NO_REQUEST = "the connection carries no HTTP that the proxy reads"
_READ_LATER = "tokens are read later"
_Test = Callable[[str, View], bool]
_Found = Callable[[View], str]


class _Question(msgspec.Struct, frozen=True):
    """How the values of a field are compared with a call, and what a person is told that the call has."""

    test: _Test
    found: _Found
    of_request: bool = False
    of_token: bool = False

    def unknown(self, view: View) -> str:
        """Why nobody can know, "" where it can be known."""
        if (self.of_request or self.of_token) and view.asked.message is None:
            return _NO_REQUEST
        return _READ_LATER if self.of_token and not view.reads_tokens else ""


def facts_of(rule: Rule, view: View) -> Facts:
    """What a rule asks of a call."""
    if rule.invalid:
        return Facts((), (), (Fact("", None, _UNREADABLE),))
    return Facts(
        tuple(tuple(_of_source(f"from[{i}].source", one.source, view)) for i, one in enumerate(rule.from_ or ())),
        tuple(tuple(_of_operation(f"to[{i}].operation", one.operation, view)) for i, one in enumerate(rule.to or ())),
        tuple(fact for i, one in enumerate(rule.when) for fact in _of_condition(f"when[{i}]", one, view)),
    )


def _of_source(path: str, source: Source | None, view: View) -> Iterator[Fact]:
    if source is None or source.invalid:
        yield Fact(path, None, _UNREADABLE)
        return
    yield from _facts(f"{path}.principals", (source.principals, source.not_principals), _PRINCIPAL, view)
    yield from _facts(
        f"{path}.requestPrincipals", (source.request_principals, source.not_request_principals), _TOKEN_PRINCIPAL, view
    )
    yield from _facts(f"{path}.namespaces", (source.namespaces, source.not_namespaces), _NAMESPACE, view)
    yield from _facts(f"{path}.serviceAccounts", (source.service_accounts, source.not_service_accounts), _ACCOUNT, view)
    yield from _facts(f"{path}.trustDomains", (source.trust_domains, source.not_trust_domains), _TRUST_DOMAIN, view)
    yield from _facts(f"{path}.ipBlocks", (source.ip_blocks, source.not_ip_blocks), _SOURCE_IP, view)
    yield from _facts(
        f"{path}.remoteIpBlocks", (source.remote_ip_blocks, source.not_remote_ip_blocks), _REMOTE_IP, view
    )


def _of_operation(path: str, operation: Operation | None, view: View) -> Iterator[Fact]:
    if operation is None or operation.invalid:
        yield Fact(path, None, _UNREADABLE)
        return
    yield from _facts(f"{path}.hosts", (operation.hosts, operation.not_hosts), _HOST, view)
    yield from _facts(f"{path}.ports", (operation.ports, operation.not_ports), _PORT, view)
    yield from _facts(f"{path}.methods", (operation.methods, operation.not_methods), _METHOD, view)
    yield from _facts(f"{path}.paths", (operation.paths, operation.not_paths), _PATH, view)


def _of_condition(path: str, condition: Condition, view: View) -> Iterator[Fact]:
    question = None if condition.invalid else _question(condition.key)
    if question is None:
        yield Fact(path, None, _UNREADABLE)
        return
    yield from _facts(path, (condition.values, condition.not_values), question, view, "values")


_Lists = tuple[tuple[str, ...] | None, tuple[str, ...] | None]


def _facts(path: str, lists: _Lists, question: _Question, view: View, name: str = "") -> Iterator[Fact]:
    """A fact for the values of which one must fit, and one for those of which none may."""
    owner, _, field = path.rpartition(".")
    field, owner = (name, path) if name else (field, owner)
    wanted, unwanted = lists
    if wanted:
        yield _fact(f"{owner}.{field}", wanted, question, view, negated=False)
    if unwanted:
        yield _fact(f"{owner}.not{field[0].upper()}{field[1:]}", unwanted, question, view, negated=True)


def _fact(where: str, values: Sequence[str], question: _Question, view: View, *, negated: bool) -> Fact:
    wanted = f"{'none of ' if negated else ''}{_listed(values)}"
    if unknown := question.unknown(view):
        return Fact(where, None, unknown, wanted)
    holds = any(question.test(value, view) for value in values) is not negated
    return Fact(where, holds, printable(question.found(view) or "none"), wanted)


def _listed(values: Sequence[str]) -> str:
    more = f" and {len(values) - _LISTED} more" if len(values) > _LISTED else ""
    return printable(", ".join(values[:_LISTED])) + more


# Questions.


def _question(key: str) -> _Question | None:
    if found := _CLAIM.fullmatch(key):
        return _of_claim(tuple(found[1][1:-1].split("][")))
    if found := _HEADER.fullmatch(key):
        return _of_header(found[1].lower())
    if found := _METADATA.fullmatch(key):
        return _of_metadata(found[1], found[2])
    return _BY_KEY.get(key)


def _of_claim(path: tuple[str, ...]) -> _Question:
    return _Question(
        lambda value, view: any(fits(value, text) for text in _claim(view, path)),
        lambda view: ", ".join(_claim(view, path)),
        of_token=True,
    )


def _claim(view: View, path: tuple[str, ...]) -> tuple[str, ...]:
    """The texts of a claim: one, or those of a list. Some are lists that are written as one text."""
    value: object = view.asked.claims or {}
    for step in path:
        value = value.get(step) if isinstance(value, dict) else None
    if isinstance(value, str) and path in _WORD_LISTS:
        return tuple(value.split())
    texts = value if isinstance(value, list | tuple) else [value]
    return tuple(text for text in texts if isinstance(text, str))


def _of_header(name: str) -> _Question:
    def values(view: View) -> tuple[str, ...]:
        assert view.asked.message is not None
        return view.asked.message.named(view.settings.path_normalization.normalization).get(name, ())

    return _Question(
        lambda value, view: bool(values(view)) if value == "*" else any(fits(value, text) for text in values(view)),
        lambda view: ", ".join(values(view)),
        of_request=True,
    )


def _of_metadata(filter_name: str, key: str) -> _Question:
    def noted(view: View) -> object:
        return view.asked.metadata.get(filter_name, {}).get(key)

    def test(value: str, view: View) -> bool:
        found = noted(view)
        if len(value) > 2 and value.startswith("[") and value.endswith("]"):
            return isinstance(found, list | tuple) and any(fits(value[1:-1], text) for text in found)
        return isinstance(found, str) and fits(value, found)

    return _Question(test, lambda view: str(noted(view) or ""))


def _is_principal(value: str, view: View) -> bool:
    if value == "*":
        return any(view.asked.names)
    return any(fits_principal(value, name, view.trust_domains) for name in view.asked.principals)


def _identities(view: View) -> list[tuple[str, str, str]]:
    return [found for found in map(identity, view.asked.principals) if found is not None]


def _is_account(value: str, view: View) -> bool:
    wanted = value if "/" in value else f"{view.namespace}/{value}"
    return any(f"{namespace}/{account}" == wanted for _, namespace, account in _identities(view))


def _is_trust_domain(value: str, view: View) -> bool:
    same = view.trust_domains if value in view.trust_domains else ()
    found = [name.partition("/") for name in view.asked.principals]
    return any(fits(one, domain) for domain, _, rest in found if rest for one in (value, *same))


def _is_within(block: str, address: str) -> bool:
    network, ip = ip_network(block, strict=False), ip_address(address)
    return network.version == ip.version and ip in network


def _host(view: View) -> str:
    return view.asked.message.host if view.asked.message is not None else ""


def _method(view: View) -> str:
    return view.asked.message.method if view.asked.message is not None else ""


def _path(view: View) -> str:
    assert view.asked.message is not None
    return view.asked.message.plain_path(view.settings.path_normalization.normalization)


def _is_path(value: str, view: View) -> bool:
    path = _path(view)
    return fits_template(value, path) if "{*}" in value or "{**}" in value else fits(value, path)


def _remote(view: View) -> str:
    return view.asked.remote or view.asked.source


_PRINCIPAL = _Question(_is_principal, lambda view: ", ".join(view.asked.principals or view.asked.names))
_NAMESPACE = _Question(
    lambda value, view: any(fits(value, namespace) for _, namespace, _ in _identities(view)),
    lambda view: ", ".join(namespace for _, namespace, _ in _identities(view)),
)
_ACCOUNT = _Question(_is_account, lambda view: ", ".join(f"{one}/{two}" for _, one, two in _identities(view)))
_TRUST_DOMAIN = _Question(
    _is_trust_domain, lambda view: ", ".join(name.partition("/")[0] for name in view.asked.principals)
)
_TOKEN_PRINCIPAL = _Question(
    lambda value, view: fits(value, view.asked.request_principal),
    lambda view: view.asked.request_principal,
    of_token=True,
)
_SOURCE_IP = _Question(lambda value, view: _is_within(value, view.asked.source), lambda view: view.asked.source)
_REMOTE_IP = _Question(lambda value, view: _is_within(value, _remote(view)), _remote)
_HOST = _Question(lambda value, view: fits(lower(value), lower(_host(view))), _host, of_request=True)
_METHOD = _Question(lambda value, view: fits(value, _method(view)), _method, of_request=True)
_PATH = _Question(_is_path, _path, of_request=True)
_PORT = _Question(
    lambda value, view: int(value) == view.asked.destination.port, lambda view: str(view.asked.destination.port)
)
_BY_KEY: dict[str, _Question] = {
    "source.ip": _SOURCE_IP,
    "remote.ip": _REMOTE_IP,
    "source.principal": _PRINCIPAL,
    "source.namespace": _NAMESPACE,
    "source.serviceAccount": _ACCOUNT,
    "source.trustDomain": _TRUST_DOMAIN,
    "request.auth.principal": _TOKEN_PRINCIPAL,
    "request.auth.audiences": _of_claim(("aud",)),
    "request.auth.presenter": _of_claim(("azp",)),
    "destination.port": _PORT,
    "destination.ip": _Question(
        lambda value, view: _is_within(value, view.asked.destination.ip), lambda view: view.asked.destination.ip
    ),
    "connection.sni": _Question(
        lambda value, view: fits(lower(value), lower(view.asked.server_name)), lambda view: view.asked.server_name
    ),
}
