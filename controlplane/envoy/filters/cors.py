"""Cross-origin requests: the filter stands in every chain, a route that has a policy switches it on."""

from typing import Any, Final

from envoy.extensions.filters.http.cors.v3 import cors_pb2

from controlplane.envoy.matcher import string
from controlplane.envoy.percent import fraction
from controlplane.ir.route import Cors

NAME: Final = "envoy.filters.http.cors"


def config() -> Any:
    """The filter itself says nothing."""
    return cors_pb2.Cors()


def policy(cors: Cors) -> Any:
    """A `CorsPolicy` for one route."""
    message = cors_pb2.CorsPolicy(
        allow_origin_string_match=[string(origin) for origin in cors.origins],
        allow_methods=",".join(cors.methods),
        allow_headers=",".join(cors.headers),
        expose_headers=",".join(cors.expose_headers),
    )
    message.filter_enabled.default_value.CopyFrom(fraction(100))
    message.forward_not_matching_preflights.value = cors.forward_unmatched_preflights
    if cors.max_age is not None:
        message.max_age = str(int(cors.max_age.total_seconds()))
    if cors.allow_credentials is not None:
        message.allow_credentials.value = cors.allow_credentials
    return message
