"""HTTP filters that answer before the router does: injected faults and CORS preflights."""

from collections.abc import Iterator
from typing import Any, Final, NamedTuple

from envoy.config.route.v3 import route_components_pb2
from envoy.extensions.filters.http.cors.v3 import cors_pb2
from envoy.extensions.filters.http.fault.v3 import fault_pb2
from envoy.type.v3 import percent_pb2

from controlplane.explain.headers import first
from controlplane.explain.matchers import header_matches, string_matches
from controlplane.explain.outcome import Failure
from controlplane.explain.request import Request

_HTTP: Final = "type.googleapis.com/envoy.extensions.filters.http."
CORS: Final = _HTTP + "cors.v3.Cors"
FAULT: Final = _HTTP + "fault.v3.HTTPFault"
_CORS_POLICY: Final = _HTTP + "cors.v3.CorsPolicy"
_ABORTED: Final = "fault_filter_abort"
_FILTER_CONFIG: Final = "type.googleapis.com/envoy.config.route.v3.FilterConfig"


class Place(NamedTuple):
    """Where a request is; the most specific of these that configures a filter wins."""

    route: Any
    virtual_host: Any
    config: Any


class Answer(NamedTuple):
    """A filter answers in the router's stead."""

    filter: str
    failure: Failure
    grpc_status: int | None = None  # for gRPC callers, where it does not follow from the HTTP status


def answer(manager: Any, place: Place, request: Request) -> Answer | None:
    """The first filter of the chain that answers this request for sure."""
    for one in manager.http_filters:
        kind = one.typed_config.type_url
        routed = place.route.HasField("route")  # the CORS filter leaves redirects and direct responses alone
        if kind == CORS and routed and _is_answered_preflight(_specific(one.name, place, _CORS_POLICY), request):
            return Answer(one.name, Failure("", 200, "cors_response"))
        if kind == FAULT and (abort := _abort(one, place, request)):
            return abort
    return None


def fault_of(one: Any, place: Place) -> Any:
    """The HTTPFault in force: the route's, the virtual host's, or the filter's own."""
    packed = _specific(one.name, place, FAULT)
    return fault_pb2.HTTPFault.FromString(one.typed_config.value if packed is None else packed)


def _specific(name: str, place: Place, type_url: str) -> bytes | None:
    for level in place:
        for packed in _configured(level, name):
            if packed.type_url == type_url:
                return bytes(packed.value)
    return None


def _configured(level: Any, name: str) -> Iterator[Any]:
    if name not in level.typed_per_filter_config:
        return
    packed = level.typed_per_filter_config[name]
    if packed.type_url == _FILTER_CONFIG:
        packed = route_components_pb2.FilterConfig.FromString(packed.value).config
    yield packed


def _is_answered_preflight(packed: bytes | None, request: Request) -> bool:
    origin = first(request.headers, "origin")
    asks = request.method == "OPTIONS" and first(request.headers, "access-control-request-method")
    if packed is None or not origin or not asks:
        return False
    policy = cors_pb2.CorsPolicy.FromString(packed)
    enabled = not policy.HasField("filter_enabled") or is_certain(policy.filter_enabled.default_value)
    allowed = any(string_matches(matcher, origin) for matcher in policy.allow_origin_string_match)
    forwards = not policy.HasField("forward_not_matching_preflights") or policy.forward_not_matching_preflights.value
    return enabled and (allowed or not forwards)


def _abort(one: Any, place: Place, request: Request) -> Answer | None:
    fault = fault_of(one, place)
    if not fault.HasField("abort") or not is_certain(fault.abort.percentage):
        return None
    if not all(header_matches(matcher, request.headers) for matcher in fault.headers):
        return None
    if fault.abort.WhichOneof("error_type") == "grpc_status":  # in a 200, whatever the caller speaks
        return Answer(one.name, Failure("FI", 200, _ABORTED), fault.abort.grpc_status)
    return Answer(one.name, Failure("FI", fault.abort.http_status, _ABORTED))


def is_certain(percent: Any) -> bool:
    """100 % or more of a FractionalPercent."""
    whole = {
        percent_pb2.FractionalPercent.HUNDRED: 100,
        percent_pb2.FractionalPercent.TEN_THOUSAND: 10_000,
        percent_pb2.FractionalPercent.MILLION: 1_000_000,
    }
    return bool(percent.numerator >= whole[percent.denominator])
