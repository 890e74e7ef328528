"""CorsPolicy: which browsers' pages of other origins may call."""

from controlplane.ir.route import Cors, MatchKind, StringMatch
from controlplane.mesh.http.strings import string_match
from controlplane.model.virtualservice import CorsPolicy, UnmatchedPreflights


def cors(written: CorsPolicy | None) -> Cors | None:
    """The policy of a route; the deprecated `allowOrigin` counts only without `allowOrigins`."""
    if written is None:
        return None
    return Cors(
        origins=_origins(written),
        methods=written.allow_methods,
        headers=written.allow_headers,
        expose_headers=written.expose_headers,
        max_age=written.max_age,
        allow_credentials=written.allow_credentials,
        forward_unmatched_preflights=written.unmatched_preflights is not UnmatchedPreflights.IGNORE,
    )


def _origins(written: CorsPolicy) -> tuple[StringMatch, ...]:
    if written.allow_origins:
        found = (string_match(origin) for origin in written.allow_origins)
        return tuple(_ANY_ORIGIN if match.kind is MatchKind.PRESENT else match for match in found)
    return tuple(StringMatch(MatchKind.EXACT, origin) for origin in written.allow_origin)


# Envoy's CORS filter reads this exact string as "every origin".
_ANY_ORIGIN = StringMatch(MatchKind.EXACT, "*")
