"""HTTPMatchRequest: which requests a rule is for.

Half of its fields ask about the request and become a route match. The other half (port, gateways, sourceLabels,
sourceNamespace) ask about the proxy, which is known when its configuration is made: there they decide whether the
route is made at all.
"""

from collections.abc import Mapping

import msgspec

from controlplane.ir.route import ClaimMatch, HeaderMatch, MatchKind, QueryMatch, RouteMatch, StringMatch
from controlplane.mesh.caller import Caller, has_labels
from controlplane.mesh.http.strings import string_match
from controlplane.mesh.references import MESH, gateway_key
from controlplane.model.attributes import claim_path, is_claim
from controlplane.model.virtualservice import HTTPMatchRequest
from controlplane.model.virtualservice import StringMatch as Written

MATCH_ALL = RouteMatch()


class Place(msgspec.Struct, frozen=True):
    """Where routes are made for: the half of a match that asks about the proxy."""

    caller: Caller
    port: int
    gateways: frozenset[str]  # "mesh", or the "namespace/name" of all that apply there


def applies(match: HTTPMatchRequest, namespace: str, place: Place) -> bool:
    """Whether a match can hold at this proxy. With `gateways` given, labels are not looked at (as Istio)."""
    if match.port and match.port != place.port:
        return False
    if match.gateways:
        return any(gateway_key(name, namespace) in place.gateways for name in match.gateways)
    if match.source_namespace and match.source_namespace != place.caller.namespace:
        return False
    return has_labels(place.caller.labels, match.source_labels)


def claims_of(match: HTTPMatchRequest) -> tuple[str, ...]:
    """The header keys that mean claims of a token."""
    return tuple(name for name in (*match.headers, *match.without_headers) if is_claim(name))


def is_usable(match: HTTPMatchRequest, place: Place) -> bool:
    """Whether it can ever match: a bad one never does, nor one on claims in the mesh, where callers' sidecars look at
    no token.
    """
    return not match.invalid and not (MESH in place.gateways and claims_of(match))


def route_match(match: HTTPMatchRequest) -> RouteMatch:
    """The half of a match that asks about the request."""
    return RouteMatch(
        path=path_match(match.uri, ignore_case=bool(match.ignore_uri_case)),
        headers=_headers(match),
        query=_query(match.query_params) if match.query_params else (),
        claims=_claims(match) if claims_of(match) else (),
    )


def path_match(uri: Written | None, *, ignore_case: bool) -> StringMatch | None:
    """None where every path matches: then the route is known to be a catch-all."""
    if uri is None:
        return None
    path = string_match(uri, ignore_case=ignore_case)
    if path.kind is MatchKind.PRESENT or (path.value == "/" and path.kind is MatchKind.PREFIX):
        return None
    if path.value == ".*" and path.kind is MatchKind.REGEX:
        return None
    return path


def _headers(match: HTTPMatchRequest) -> tuple[HeaderMatch, ...]:
    """Headers by name, then the pseudo headers: Istio's order, and the same whatever order the author wrote."""
    found = [
        HeaderMatch(name.lower(), string_match(value)) for name, value in match.headers.items() if not is_claim(name)
    ]
    found += [
        HeaderMatch(name.lower(), string_match(not_), invert=True)
        for name, not_ in match.without_headers.items()
        if not is_claim(name)
    ]
    if len(found) > 1:
        found.sort(key=_name_first)
    if match.method is not None:
        found.append(HeaderMatch(":method", string_match(match.method)))
    if match.authority is not None:
        found.append(HeaderMatch(":authority", string_match(match.authority)))
    if match.scheme is not None:
        found.append(HeaderMatch(":scheme", string_match(match.scheme)))
    return tuple(found)


def _claims(match: HTTPMatchRequest) -> tuple[ClaimMatch, ...]:
    """By name, as headers are."""
    wanted = [(name, False, value) for name, value in match.headers.items()]
    unwanted = [(name, True, value) for name, value in match.without_headers.items()]
    named = sorted((one for one in (*wanted, *unwanted) if is_claim(one[0])), key=lambda one: one[:2])
    return tuple(ClaimMatch(claim_path(name), string_match(value), invert) for name, invert, value in named)


def _name_first(header: HeaderMatch) -> tuple[str, bool]:
    return header.name, header.invert


def _query(params: Mapping[str, Written]) -> tuple[QueryMatch, ...]:
    return tuple(QueryMatch(name, string_match(params[name])) for name in sorted(params))
