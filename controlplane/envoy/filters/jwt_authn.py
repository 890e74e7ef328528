"""Tokens: requests with one that nobody vouches for end here.

How Envoy 1.40 reads a requirement (tried): `requires_any` with `allow_missing` passes when one of its providers takes
all tokens it finds, or none finds any. Every provider that is asked first removes the headers it would write, so in a
second place it would take away what the first place has written: a place without tokens is passed over before its
readers are asked.
"""

from datetime import timedelta
from typing import Any, Final

from envoy.extensions.filters.http.jwt_authn.v3 import config_pb2

from controlplane.envoy.duration import duration
from controlplane.ir.tokens import IssuerKeys, Locations, Place, Reader, RemoteKeys, Tokens

NAME: Final = "envoy.filters.http.jwt_authn"
PAYLOAD: Final = "payload"  # in the filter's metadata: where routes and authorization find the claims

# A point of P-256 made from a text, so nobody ever had its private key: x = SHA-256("Lateen: a key nobody holds 0").
NOBODY: Final = (
    '{"keys":[{"kty":"EC","crv":"P-256","x":"YYPgVHKSyBrxKDW-1ZVxHAK2vx8kPc2nlTgQc5p1fs8",'
    '"y":"d31ZUE6RBtfymU9J24OrGmEthTZ9s-gyyaY_2lqwho4"}]}'
)
_NOBODYS: Final = "nobody"  # an issuer whose tokens nobody can make
_CACHED: Final = timedelta(minutes=20)
_AFTER_FAILURE: Final = timedelta(seconds=10)
_RETRIES: Final = 2
_RETRY_FIRST: Final = timedelta(milliseconds=250)
_RETRY_LAST: Final = timedelta(seconds=2)

_Requirement = config_pb2.JwtRequirement


def config(tokens: Tokens, *, reroutes: bool) -> Any:
    """A `JwtAuthentication`. `reroutes`: claims may change where a request goes."""
    message = config_pb2.JwtAuthentication(bypass_cors_preflight=True)  # browsers send these without credentials
    for place in tokens.places:
        for reader in place.readers:
            message.providers[reader.name].CopyFrom(_provider(reader, reroutes=reroutes))
    rule = message.rules.add()
    rule.match.prefix = "/"
    rule.requires.CopyFrom(_all([_requirement(place, number, message) for number, place in enumerate(tokens.places)]))
    return message


def _all(requirements: list[Any]) -> Any:
    if len(requirements) == 1:
        return requirements[0]
    found = _Requirement()
    found.requires_all.requirements.extend(requirements)
    return found


def _any(*requirements: Any) -> Any:
    found = _Requirement()
    found.requires_any.requirements.extend(requirements)
    return found


def _named(provider: str) -> Any:
    return _Requirement(provider_name=provider)


def _missing() -> Any:
    found = _Requirement()
    found.allow_missing.SetInParent()
    return found


def _requirement(place: Place, number: int, message: Any) -> Any:
    readers = [_named(reader.name) for reader in place.readers]
    if place.required:
        return _all(readers)
    if not number:
        return _any(*readers, _missing())
    name = f"{_NOBODYS} {number}"
    message.providers[name].CopyFrom(_nobody(place.locations))
    return _any(_any(_named(name), _missing()), *readers)


def _nobody(locations: Locations) -> Any:
    """Finds tokens, and believes none."""
    provider = config_pb2.JwtProvider(issuer=_NOBODYS)
    provider.local_jwks.inline_string = NOBODY
    _set_locations(provider, locations)
    return provider


def _provider(reader: Reader, *, reroutes: bool) -> Any:
    provider = config_pb2.JwtProvider(
        issuer=reader.issuer,
        audiences=reader.audiences,
        forward=reader.forward,
        forward_payload_header=reader.payload_header,
        payload_in_metadata=PAYLOAD,
        clear_route_cache=reroutes,
    )
    provider.normalize_payload_in_metadata.space_delimited_claims.extend(reader.word_lists)
    for header, claim in reader.claim_headers:
        provider.claim_to_headers.add(header_name=header, claim_name=claim)
    _set_locations(provider, reader.locations)
    _set_keys(provider, reader.keys)
    return provider


def _set_locations(provider: Any, locations: Locations) -> None:
    for header in locations.headers:
        provider.from_headers.add(name=header.name, value_prefix=header.prefix)
    provider.from_params.extend(locations.params)
    provider.from_cookies.extend(locations.cookies)


def _set_keys(provider: Any, keys: IssuerKeys | RemoteKeys | None) -> None:
    if isinstance(keys, RemoteKeys):
        _set_remote(provider.remote_jwks, keys)
    else:
        provider.local_jwks.inline_string = keys.jwks if keys is not None else NOBODY


def _set_remote(remote: Any, keys: RemoteKeys) -> None:
    """Keys are fetched beside the traffic, again before they are old, and stay in use while that fails.

    The listener does not wait for them: while there are none, requests with a token are refused and others pass.
    """
    remote.http_uri.uri, remote.http_uri.cluster = keys.uri, keys.cluster
    remote.http_uri.timeout.CopyFrom(duration(keys.timeout))
    remote.cache_duration.CopyFrom(duration(_CACHED))
    remote.async_fetch.fast_listener = True
    remote.async_fetch.failed_refetch_duration.CopyFrom(duration(_AFTER_FAILURE))
    remote.retry_policy.num_retries.value = _RETRIES
    remote.retry_policy.retry_back_off.base_interval.CopyFrom(duration(_RETRY_FIRST))
    remote.retry_policy.retry_back_off.max_interval.CopyFrom(duration(_RETRY_LAST))
