"""RequestAuthentications -> the tokens a workload believes.

All that select a workload hold together. Where their rules look for tokens may overlap, so what they read is cut into
places, each read by the same rules: in a place every token must be valid for one of them. A rule that demands a token
has its locations to itself: it must find a token of its own there, so another rule could believe none.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Final, NamedTuple, Protocol

import msgspec

from controlplane.ir import names
from controlplane.ir.tokens import IssuerKeys, Locations, Place, Reader, RemoteKeys, TokenHeader, Tokens
from controlplane.model import jwks, jwksuri
from controlplane.model.fetchedkeys import FetchedKeys
from controlplane.model.jwksuri import KeyLocation, discovery_uri
from controlplane.model.meta import origin_of
from controlplane.model.problem import Level, Origin, Problem
from controlplane.model.requestauthentication import JWTPresence, JWTRule, RequestAuthentication
from controlplane.model.settings import JwksResolver

# Where RFC 6750 puts tokens.
_USUAL: Final = Locations((TokenHeader("authorization", "Bearer "),), ("access_token",))
_WORD_LISTS: Final = ("permission", "scope")  # always, as in Istio
_TIMEOUT: Final = timedelta(seconds=5)
_NO_KEYS: Final = (
    "one of jwks, jwksUri is required: without keys no token of this issuer is valid (with jwksResolver: control-plane "
    "an issuer that is an https URI is asked where its keys are)"
)


class KeyServers(Protocol):
    """Who answers for keys."""

    @property
    def discovers(self) -> bool:
        """Whether the control plane asks, and can find out where an issuer's keys are."""

    def cluster(self, location: KeyLocation, namespace: str) -> str:
        """The cluster that leads there, "" where the control plane asks; a short name is one of `namespace`."""

    def fetched(self, uri: str) -> FetchedKeys:
        """What the control plane was told there."""


class _Rule(NamedTuple):
    """A rule, read."""

    reader: Reader
    required: bool
    origin: Origin
    fetched: FetchedKeys | None = None  # where the control plane asked for its keys

    @property
    def spots(self) -> tuple["_Spot", ...]:
        """What it reads, piece by piece."""
        found = self.reader.locations
        headers = (_Spot("header", header.name) for header in found.headers)
        params = (_Spot("parameter", name) for name in found.params)
        return tuple(dict.fromkeys((*headers, *params, *(_Spot("cookie", name) for name in found.cookies))))

    def at(self, spots: Sequence["_Spot"]) -> Reader:
        """Its reader for a part of its locations."""
        if len(spots) == len(self.spots):
            return self.reader
        whole = self.reader.locations
        part = Locations(
            tuple(header for header in whole.headers if _Spot("header", header.name) in spots),
            tuple(name for name in whole.params if _Spot("parameter", name) in spots),
            tuple(name for name in whole.cookies if _Spot("cookie", name) in spots),
        )
        return msgspec.structs.replace(self.reader, name=f"{self.reader.name}/{spots[0]}", locations=part)


class _Spot(NamedTuple):
    """One header, parameter or cookie."""

    kind: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {self.name}"


def tokens(selected: Sequence[RequestAuthentication], servers: KeyServers) -> tuple[Tokens | None, tuple[Problem, ...]]:
    """`selected`: those that select a workload, root namespaces first."""
    rules = [rule for policy in selected for rule in _rules(policy, servers)]
    if not rules:
        return None, ()
    demanding = [rule for rule in rules if rule.required]
    taken = _taken(demanding)
    places = [*_shared([rule for rule in rules if not rule.required], taken), *_demanded(demanding)]
    origins = tuple(dict.fromkeys(rule.origin for rule in rules))
    return Tokens(tuple(places), origins), (*_unsafe(rules), *_unknown(rules), *_conflicts(rules, taken))


def own_problems(policy: RequestAuthentication, resolver: JwksResolver) -> tuple[Problem, ...]:
    """What is wrong with a policy whatever it selects: ask once, not per workload."""
    discovers = resolver is JwksResolver.CONTROL_PLANE
    return tuple(
        Problem("RequiredField", Level.ERROR, origin_of(policy, f"spec.jwtRules[{index}]"), _NO_KEYS)
        for index, rule in enumerate(policy.spec.jwt_rules)
        if _discovers(rule) and not (discovers and discovery_uri(rule.issuer))
    )


def fetched_uris(policy: RequestAuthentication, servers: KeyServers) -> Iterator[str]:
    """Where the control plane asks for the keys of a policy's rules."""
    for rule in policy.spec.jwt_rules if servers.discovers and not policy.invalid else ():
        if not rule.invalid and rule.jwks is None and (uri := _asked(rule, policy, servers)):
            yield uri


def _discovers(rule: JWTRule) -> bool:
    """Whether a rule leaves it to others to find the keys."""
    return not rule.invalid and rule.jwks is None and rule.jwks_uri is None


def _asked(rule: JWTRule, policy: RequestAuthentication, servers: KeyServers) -> str:
    """Where the control plane asks for the keys of a rule; "" where proxies do, or nobody can."""
    if rule.jwks_uri is None:
        return discovery_uri(rule.issuer)
    return "" if servers.cluster(jwksuri.parse(rule.jwks_uri), policy.meta.namespace) else rule.jwks_uri


# One rule


def _rules(policy: RequestAuthentication, servers: KeyServers) -> Iterator[_Rule]:
    meta, selector = policy.meta, policy.spec.selector
    misread = policy.invalid or (selector is not None and selector.invalid)  # nobody knows whom its tokens are for
    for index, rule in enumerate(policy.spec.jwt_rules):
        keys, fetched = (None, None) if misread or rule.invalid else _keys(rule, policy, servers)
        reader = _reader(rule, f"{meta.namespace}/{meta.name}/{index}", keys)
        origin = origin_of(policy, f"spec.jwtRules[{index}]")
        yield _Rule(reader, rule.presence is JWTPresence.REQUIRED, origin, fetched)


def _keys(
    rule: JWTRule, policy: RequestAuthentication, servers: KeyServers
) -> tuple[IssuerKeys | RemoteKeys | None, FetchedKeys | None]:
    """The keys, and what the control plane knows of them where it is the one who asks."""
    if rule.jwks is not None:
        return IssuerKeys(jwks.read(rule.jwks).text), None
    if rule.jwks_uri is not None:
        cluster = servers.cluster(jwksuri.parse(rule.jwks_uri), policy.meta.namespace)
        if cluster:
            timeout = rule.timeout if rule.timeout is not None else _TIMEOUT
            return RemoteKeys(rule.jwks_uri, cluster, timeout), None
    uri = _asked(rule, policy, servers) if servers.discovers else ""
    if not uri:
        return None, None
    fetched = servers.fetched(uri)
    return (IssuerKeys(fetched.jwks) if fetched.jwks else None), fetched


def _reader(rule: JWTRule, name: str, keys: IssuerKeys | RemoteKeys | None) -> Reader:
    return Reader(
        name=name,
        issuer=rule.issuer,
        locations=_locations(rule),
        keys=keys,
        audiences=rule.audiences,
        forward=bool(rule.forward_original_token),
        payload_header=rule.output_payload_to_header or "",
        claim_headers=tuple(
            (one.header, one.claim) for one in rule.output_claim_to_headers if one.header and one.claim
        ),
        word_lists=tuple(sorted({*_WORD_LISTS, *rule.space_delimited_claims})),
    )


def _locations(rule: JWTRule) -> Locations:
    headers = (TokenHeader(header.name.lower(), header.prefix) for header in rule.from_headers if header.name)
    found = Locations(tuple(headers), tuple(filter(None, rule.from_params)), tuple(filter(None, rule.from_cookies)))
    return _USUAL if found == Locations() else found


# All rules


def _taken(demanding: Iterable[_Rule]) -> Mapping[_Spot, _Rule]:
    """What the rules that demand a token have to themselves."""
    return {spot: rule for rule in reversed(list(demanding)) for spot in rule.spots}


def _shared(rules: Sequence[_Rule], taken: Mapping[_Spot, _Rule]) -> Iterator[Place]:
    """Places of the rules that demand nothing. Backwards, so that the first rule has the last word."""
    readers: dict[_Spot, list[int]] = {}
    for index, rule in enumerate(rules):
        for spot in rule.spots:
            if spot not in taken:
                readers.setdefault(spot, []).append(index)
    places: dict[tuple[int, ...], list[_Spot]] = {}
    for spot, found in readers.items():
        places.setdefault(tuple(found), []).append(spot)
    for indexes, spots in reversed(places.items()):
        yield Place(tuple(rules[index].at(spots) for index in indexes))


def _demanded(rules: Sequence[_Rule]) -> Iterator[Place]:
    """One place each. A token that two of them demand must still be there for the second."""
    for index, rule in reversed(list(enumerate(rules))):
        again = any(set(rule.spots) & set(other.spots) for other in rules[:index])
        reader = msgspec.structs.replace(rule.reader, forward=True) if again else rule.reader
        yield Place((reader,), required=True)


# What they take from each other


def _unsafe(rules: Sequence[_Rule]) -> Iterator[Problem]:
    """Keys that come in the clear from outside of the mesh: within it, calls are encrypted without their doing."""
    text = "keys that come without TLS are those of whoever stands in between; use https"
    for rule in rules:
        keys = rule.reader.keys
        if isinstance(keys, RemoteKeys) and keys.cluster.startswith(names.KEY_SERVER) and keys.uri.startswith("http:"):
            yield Problem("InvalidURI", Level.WARNING, rule.origin.at("jwksUri"), text)


def _unknown(rules: Sequence[_Rule]) -> Iterator[Problem]:
    """Keys the control plane asked for in vain."""
    for rule in rules:
        if rule.fetched is None or not rule.fetched.failure:
            continue
        if rule.fetched.jwks:
            text = f"the issuer gives no keys: {rule.fetched.failure}. Those of an earlier answer stay in use"
            yield Problem("JwksUnavailable", Level.WARNING, rule.origin.at("jwksUri"), text)
        else:
            text = f"the issuer gives no keys: {rule.fetched.failure}. Without keys none of its tokens is valid"
            yield Problem("JwksUnavailable", Level.ERROR, rule.origin.at("jwksUri"), text)


def _conflicts(rules: Sequence[_Rule], taken: Mapping[_Spot, _Rule]) -> Iterator[Problem]:
    for index, rule in enumerate(rules):
        yield from _displaced(rule, taken)
        others = [other for other in rules if other is not rule]
        yield from (_overwritten(rule, other) for other in others if _written(rule) & _read(other))
        asked_first = (other for other in others if other.required or other in rules[:index])
        yield from (_outdone(rule, other) for other in asked_first if _outdoes(other, rule))


def _displaced(rule: _Rule, taken: Mapping[_Spot, _Rule]) -> Iterator[Problem]:
    """Where another rule demands tokens of its own, those of this issuer are refused."""
    for rival in dict.fromkeys(taken[spot] for spot in rule.spots if spot in taken):
        if rival.reader.issuer != rule.reader.issuer:
            where = " and ".join(str(spot) for spot in rule.spots if taken.get(spot) is rival)
            text = f"tokens of this issuer are refused in {where}: {rival.origin} demands one of another issuer there"
            yield Problem("Conflicted", Level.ERROR if rule.required else Level.WARNING, rule.origin, text)


def _overwritten(rule: _Rule, other: _Rule) -> Problem:
    """What a rule writes is taken out of requests first, lest callers write it themselves."""
    where = " and ".join(sorted(_written(rule) & _read(other)))
    text = f"{other.origin} looks for tokens in header {where}: it finds none, since only claims may be written there"
    return Problem("Conflicted", Level.ERROR, rule.origin, text)


def _written(rule: _Rule) -> set[str]:
    reader = rule.reader
    return {name.lower() for name in (reader.payload_header, *(header for header, _ in reader.claim_headers)) if name}


def _read(rule: _Rule) -> set[str]:
    return {header.name for header in rule.reader.locations.headers}


def _outdoes(first: _Rule, second: _Rule) -> bool:
    """Both believe the same tokens, and make something else of them: the first that is asked has its way."""
    if second.required or first.reader.issuer != second.reader.issuer or _outputs(first) == _outputs(second):
        return False
    return bool(set(first.spots) & set(second.spots))


def _outputs(rule: _Rule) -> tuple[object, ...]:
    reader = rule.reader
    return reader.forward, reader.payload_header, reader.claim_headers, reader.word_lists


def _outdone(rule: _Rule, other: _Rule) -> Problem:
    text = f"tokens that {other.origin} believes are treated as that says: it is for the same issuer, and asked first"
    return Problem("Conflicted", Level.WARNING, rule.origin, text)
