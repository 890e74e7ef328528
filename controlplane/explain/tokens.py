"""The filter that looks at tokens (`envoy.filters.http.jwt_authn`): whom it believes, and what it makes of claims.

A caller without a private key may say what a valid token of his would claim (`Call.claims`). Such a token stands where
the first provider that believes its issuer looks, and everything but its signature is judged as if it were real. What
the proxy would have to fetch keys for is not believed; that is a doubt.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple
from urllib.parse import unquote

import msgspec
from envoy.extensions.filters.http.jwt_authn.v3 import config_pb2

from controlplane.explain import jwt
from controlplane.explain.call import Call
from controlplane.explain.headers import Headers, first
from controlplane.explain.jwt import MISSED, UNKNOWN_ISSUER, VALID, Token
from controlplane.explain.outcome import Failure
from controlplane.explain.request import Request
from controlplane.explain.route import refusal
from controlplane.model import jwks
from controlplane.model.problem import Origin

FILTER: Final = "envoy.filters.http.jwt_authn"
TYPE_URL: Final = "type.googleapis.com/envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication"
_SAID: Final = "\0"  # where a token stands that nobody has made
_BASE64URL: Final = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.")


class Judged(NamedTuple):
    """What becomes of a request."""

    request: Request
    failure: Failure | None = None
    reroutes: bool = False  # routes are asked anew, with what the filter has changed
    doubts: tuple[str, ...] = ()
    why: str = ""  # of a failure, where its details say less
    origins: tuple[Origin, ...] = ()  # of what made it fail


def judge(packed: bytes, request: Request, call: Call) -> Judged:
    """`packed`: a `JwtAuthentication`."""
    config = config_pb2.JwtAuthentication.FromString(packed)
    return _Verification(config, request, call).run()


class _Found(NamedTuple):
    """A token, and how it is taken out of the request."""

    text: str
    remove: Callable[["_Verification"], None]


class _Verification:
    """One request on its way through the filter, which changes it as it goes."""

    def __init__(self, config: Any, request: Request, call: Call) -> None:
        self._config = config
        self._call = call
        self._request = request
        self.headers: dict[str, tuple[str, ...]] = {**request.headers}
        self._noted: dict[str, Any] = {}
        self._doubts: dict[str, None] = {}
        self._reroutes = False

    def run(self) -> Judged:
        self._sanitize(self._config.providers.values())
        if self._config.bypass_cors_preflight and _is_preflight(self._request):
            return self._done(VALID)
        requirement = self._requirement()
        if requirement is None:
            return self._done(VALID)
        if self._call.claims is not None:
            self._place(self._call.claims)
        return self._done(self._verify(requirement))

    def _requirement(self) -> Any | None:
        for rule in self._config.rules:
            if refusal(rule.match, _ANY_TABLE, self._request) is None:
                if rule.WhichOneof("requirement_type") == "requirement_name":
                    return self._config.requirement_map[rule.requirement_name]
                return rule.requires if rule.HasField("requires") else None
        return None

    def _done(self, status: str) -> Judged:
        path = first(self.headers, ":path")
        metadata = {**self._request.metadata, FILTER: self._noted} if self._noted else self._request.metadata
        request = msgspec.structs.replace(self._request, headers=self.headers, path=path, metadata=metadata)
        failure = None if status == VALID else _failure(status)
        return Judged(request, failure, self._reroutes, tuple(self._doubts))

    def _sanitize(self, providers: Any) -> None:
        """What a provider writes nobody else may have written."""
        for provider in providers:
            written = [provider.forward_payload_header, *(one.header_name for one in provider.claim_to_headers)]
            for name in written:
                self.headers.pop(name.lower(), None)

    # Requirements

    def _verify(self, requirement: Any, audiences: Sequence[str] | None = None) -> str:
        kind = requirement.WhichOneof("requires_type")
        if kind is None:
            return VALID
        if kind == "provider_name":
            return self._ask(requirement.provider_name, audiences)
        if kind == "provider_and_audiences":
            both = requirement.provider_and_audiences
            return self._ask(both.provider_name, both.audiences)
        if kind == "requires_all":
            return next(filter(None, map(self._verify, requirement.requires_all.requirements)), VALID)
        if kind == "requires_any":
            return self._any(requirement.requires_any.requirements)
        self._doubts[f"HTTP filter {FILTER}: {kind} alone is not followed"] = None
        return VALID

    def _any(self, requirements: Sequence[Any]) -> str:
        """Of several errors one that says more than "not mine"."""
        kinds = {one.WhichOneof("requires_type") for one in requirements}
        final = MISSED
        for one in requirements:
            if one.WhichOneof("requires_type") in {"allow_missing", "allow_missing_or_failed"}:
                continue
            status = self._verify(one)
            if status == VALID:
                return VALID
            if status not in {MISSED, UNKNOWN_ISSUER} or final == MISSED:
                final = status
        waved = "allow_missing_or_failed" in kinds or ("allow_missing" in kinds and final == MISSED)
        return VALID if waved else final

    # One provider

    def _ask(self, name: str, audiences: Sequence[str] | None) -> str:
        provider = self._config.providers[name]
        self._sanitize([provider])
        found = list(_extracted(provider, self.headers))
        if not found:
            return MISSED
        for one in reversed(found):
            status = self._judge(name, provider, one, provider.audiences if audiences is None else audiences)
            if status != VALID:
                return status
        return VALID

    def _judge(self, name: str, provider: Any, found: _Found, audiences: Sequence[str]) -> str:
        claims = self._call.claims if found.text == _SAID else None
        token = jwt.parse(found.text) if claims is None else jwt.said(claims)
        if isinstance(token, str):
            return token
        if provider.issuer not in {"", token.issuer}:
            return UNKNOWN_ISSUER
        if status := self._timely(token):
            return status
        if not jwt.audience_is_allowed(token, audiences):
            return jwt.WRONG_AUDIENCE
        if claims is None and (status := self._verified(name, provider, token)):
            return status
        self._accept(provider, token, found)
        return VALID

    def _timely(self, token: Token) -> str:
        if self._call.at is not None:
            return jwt.timely(token, self._call.at)
        if {"exp", "nbf"} & token.claims.keys():
            self._doubts["nobody said when the call is made: that its token is not too old is taken for granted"] = None
        return VALID

    def _verified(self, name: str, provider: Any, token: Token) -> str:
        if provider.HasField("remote_jwks"):
            uri = provider.remote_jwks.http_uri.uri
            self._doubts[f"provider {name}: the proxy fetches keys from {uri}; without them no token is believed"] = (
                None
            )
            return jwt.UNVERIFIED
        keys = jwks.read(provider.local_jwks.inline_string).keys
        return jwt.verified(token, keys) if keys else jwt.NO_KEYS

    def _accept(self, provider: Any, token: Token, found: _Found) -> None:
        if provider.forward_payload_header:
            self._add(provider.forward_payload_header, token.payload)
        for one in provider.claim_to_headers:
            if text := _text_of(_claim(token.claims, one.claim_name)):
                self._add(one.header_name, text)
        if not provider.forward:
            found.remove(self)
        if provider.payload_in_metadata:
            self._noted[provider.payload_in_metadata] = _normal(token.claims, provider)
        writes = provider.payload_in_metadata or provider.claim_to_headers
        self._reroutes = self._reroutes or bool(provider.clear_route_cache and writes)

    def _add(self, name: str, value: str) -> None:
        self.headers[name.lower()] = (*self.headers.get(name.lower(), ()), value)

    # A token that is only said to be there

    def _place(self, claims: Mapping[str, Any]) -> None:
        """Where the first provider looks that believes its issuer; where the first of all looks, if none does."""
        providers = [self._config.providers[name] for name in sorted(self._config.providers)]
        believing = [one for one in providers if one.issuer in {"", claims.get("iss", "")}] or providers
        for location in _locations(believing[0]) if believing else ():
            location.put(self, _SAID)
            return


class _Header(NamedTuple):
    name: str
    prefix: str

    def find(self, headers: Headers) -> Iterator[_Found]:
        for value in headers.get(self.name, ()):
            at = value.find(self.prefix)
            if at >= 0:
                yield _Found(_after(value, at + len(self.prefix)) if self.prefix else value, self.remove)

    def remove(self, verification: _Verification) -> None:
        verification.headers.pop(self.name, None)

    def put(self, verification: _Verification, token: str) -> None:
        verification.headers[self.name] = (self.prefix + token,)


class _Parameter(NamedTuple):
    name: str

    def find(self, headers: Headers) -> Iterator[_Found]:
        values = _parameters(headers).get(self.name)
        if values:
            yield _Found(values[0], self.remove)

    def remove(self, verification: _Verification) -> None:
        """What is left is put together anew: sorted, and without its escapes."""
        left = _parameters(verification.headers)
        left.pop(self.name, None)
        path = first(verification.headers, ":path").partition("?")[0]
        query = "&".join(f"{name}={value}" for name in sorted(left) for value in left[name])
        verification.headers[":path"] = (f"{path}?{query}" if query else path,)

    def put(self, verification: _Verification, token: str) -> None:
        path = first(verification.headers, ":path")
        verification.headers[":path"] = (f"{path}{'&' if '?' in path else '?'}{self.name}={token}",)


class _Cookie(NamedTuple):
    name: str

    def find(self, headers: Headers) -> Iterator[_Found]:
        for cookie in headers.get("cookie", ()):
            for part in cookie.split(";"):
                name, equals, value = part.strip().partition("=")
                if equals and name == self.name:
                    yield _Found(_unquoted(value), self.remove)
                    return

    def remove(self, verification: _Verification) -> None:
        """Cookies stay."""

    def put(self, verification: _Verification, token: str) -> None:
        cookies = verification.headers.get("cookie", ())
        verification.headers["cookie"] = (*cookies, f"{self.name}={token}")


def _locations(provider: Any) -> list[_Header | _Parameter | _Cookie]:
    """In Envoy's order: by kind, then by name."""
    headers = sorted({_Header(one.name.lower(), one.value_prefix) for one in provider.from_headers}, key="".join)
    params = [_Parameter(name) for name in sorted(set(provider.from_params))]
    cookies = [_Cookie(name) for name in sorted(set(provider.from_cookies))]
    return [*headers, *params, *cookies] or [_Header("authorization", "Bearer "), _Parameter("access_token")]


def _extracted(provider: Any, headers: Headers) -> Iterator[_Found]:
    for location in _locations(provider):
        yield from location.find(headers)


def _after(value: str, at: int) -> str:
    """From the first character that may be a token's; the whole value if there is none."""
    begin = next((i for i in range(at, len(value)) if value[i] in _BASE64URL or value[i] == _SAID), None)
    return value if begin is None else value[begin:]


def _parameters(headers: Headers) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    query = first(headers, ":path").partition("?")[2]
    for part in filter(None, query.split("&")):
        name, _, value = part.partition("=")
        found.setdefault(unquote(name), []).append(unquote(value))
    return found


def _unquoted(value: str) -> str:
    return value[1:-1] if len(value) > 1 and value[0] == value[-1] == '"' else value


# What becomes of claims


def _claim(claims: Mapping[str, Any], name: str) -> Any:
    value: Any = claims
    for step in name.split("."):
        value = value.get(step) if isinstance(value, Mapping) else None
    return value


def _text_of(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return str(int(value)) if value >= 0 and value == int(value) else f"{value:f}"
    return value if isinstance(value, str) else ""


def _normal(claims: Mapping[str, Any], provider: Any) -> dict[str, Any]:
    """Claims that are words with spaces between become lists."""
    lists = set(provider.normalize_payload_in_metadata.space_delimited_claims)
    return {
        name: value.split(" ") if name in lists and isinstance(value, str) else value for name, value in claims.items()
    }


def _failure(status: str) -> Failure:
    code = 403 if status == jwt.WRONG_AUDIENCE else 401
    return Failure("", code, f"jwt_authn_access_denied{{{status.replace(' ', '_')}}}")


def _is_preflight(request: Request) -> bool:
    asks = first(request.headers, "origin") and first(request.headers, "access-control-request-method")
    return request.method == "OPTIONS" and bool(asks)


class _AnyTable(NamedTuple):
    """A route configuration without options of its own."""

    ignore_path_parameters_in_path_matching: bool = False


_ANY_TABLE: Final = _AnyTable()
