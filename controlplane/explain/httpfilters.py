"""HTTP filters that answer before the router does: injected faults and CORS preflights."""

from collections.abc import Iterator
from typing import Any, Final, NamedTuple

from envoy.config.route.v3 import route_components_pb2
from envoy.extensions.filters.http.cors.v3 import cors_pb2
from envoy.extensions.filters.http.fault.v3 import fault_pb2
from envoy.type.v3 import percent_pb2

from controlplane.explain.matchers import header_matches, string_matches
from controlplane.explain.outcome import Failure
from controlplane.explain.request import Request

_HTTP: Final = "type.googleapis.com/envoy.extensions.filters.http."
CORS: Final = _HTTP + "cors.v3.Cors"
FAULT: Final = _HTTP + "fault.v3.HTTPFault"
_CORS_POLICY: Final = _HTTP + "cors.v3.CorsPolicy"
_FILTER_CONFIG: Final = "type.googleapis.com/envoy.config.route.v3.FilterConfig"

# HTTP statuses of gRPC codes, by which Envoy answers a caller who does not speak gRPC.
_HTTP_OF_GRPC: Final = dict(
    enumerate((200, 499, 500, 400, 504, 404, 409, 403, 429, 400, 409, 400, 501, 500, 503, 500, 401))
)


class Place(NamedTuple):
    """Where a request is; the most specific of these that configures a filter wins."""

    route: Any
    virtual_host: Any
    config: Any


class Answer(NamedTuple):
    """A filter answers in the router's stead."""

    filter: str
    failure: Failure


def answer(manager: Any, place: Place, request: Request) -> Answer | None:
    """The first filter of the chain that answers this request for sure."""
    for one in manager.http_filters:
        kind = one.typed_config.type_url
        if kind == CORS and _is_answered_preflight(_specific(one.name, place, _CORS_POLICY), request):
            return Answer(one.name, Failure("", 200, "cors_preflight"))
        if kind == FAULT and (abort := _abort(one, place, request)):
            return Answer(one.name, abort)
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
    origin = request.headers.get("origin", "")
    asks = request.method == "OPTIONS" and request.headers.get("access-control-request-method")
    if packed is None or not origin or not asks:
        return False
    policy = cors_pb2.CorsPolicy.FromString(packed)
    enabled = not policy.HasField("filter_enabled") or is_certain(policy.filter_enabled.default_value)
    allowed = any(string_matches(matcher, origin) for matcher in policy.allow_origin_string_match)
    forwards = not policy.HasField("forward_not_matching_preflights") or policy.forward_not_matching_preflights.value
    return enabled and (allowed or not forwards)


def _abort(one: Any, place: Place, request: Request) -> Failure | None:
    fault = fault_of(one, place)
    if not fault.HasField("abort") or not is_certain(fault.abort.percentage):
        return None
    if not all(header_matches(matcher, request.headers) for matcher in fault.headers):
        return None
    return Failure("FI", _abort_status(fault.abort, request), "fault_filter_abort")


def _abort_status(abort: Any, request: Request) -> int:
    if abort.WhichOneof("error_type") == "http_status":
        return int(abort.http_status)
    if request.headers.get("content-type", "").startswith("application/grpc"):
        return 200
    return _HTTP_OF_GRPC.get(abort.grpc_status, 500)


def is_certain(percent: Any) -> bool:
    """100 % or more of a FractionalPercent."""
    whole = {
        percent_pb2.FractionalPercent.HUNDRED: 100,
        percent_pb2.FractionalPercent.TEN_THOUSAND: 10_000,
        percent_pb2.FractionalPercent.MILLION: 1_000_000,
    }
    return bool(percent.numerator >= whole[percent.denominator])
