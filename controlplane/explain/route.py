"""Which route of a virtual host takes a request: the first whose every condition holds."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import msgspec

from controlplane.explain.headers import is_grpc
from controlplane.explain.matchers import full_match, header_matches, parameter_matches, query_parameters
from controlplane.explain.metadata import metadata_matches
from controlplane.explain.request import Request


class Chosen(msgspec.Struct, frozen=True):
    """The first route that matches, None if none does, and why those before it did not."""

    route: Any | None
    index: int
    refusals: tuple[str, ...]


def choose(virtual_host: Any, config: Any, request: Request) -> Chosen:
    refusals: list[str] = []
    if not request.forwarded_proto:  # an empty x-forwarded-proto from a trusted client: Envoy gives up
        return Chosen(None, -1, ("x-forwarded-proto is empty",))
    for index, route in enumerate(virtual_host.routes):
        why_not = refusal(route.match, config, request)
        if why_not is None:
            return Chosen(route, index, tuple(refusals))
        refusals.append(f"{name_of(route, index)}: {why_not}")
    return Chosen(None, -1, tuple(refusals))


def name_of(route: Any, index: int) -> str:
    return route.name or f"#{index}"


def refusal(match: Any, config: Any, request: Request) -> str | None:
    """The first condition that does not hold, in words; None for a match."""
    return next(_refusals(match, config, request), None)


def _refusals(match: Any, config: Any, request: Request) -> Iterator[str]:
    if _fraction(match) == 0:
        yield "its runtime fraction is 0"
    if match.HasField("grpc") and not is_grpc(request.headers):
        yield "not a gRPC request"
    for header in match.headers:
        if not header_matches(header, request.headers):
            yield f"header {header.name} is {', '.join(request.headers.get(header.name.lower(), ())) or 'not there'}"
    if match.query_parameters:
        yield from _parameters(match, query_parameters(request.path))
    if match.HasField("tls_context") and not _certificate_fits(match.tls_context, request):
        yield "the client's certificate is not as it asks"
    for matcher in match.dynamic_metadata:
        if not metadata_matches(matcher, request.metadata):
            yield f"{_noted(matcher)} is not as it asks"
    kind = match.WhichOneof("path_specifier")
    if not _PATHS[kind](match, _plain_path(config, request), request):
        yield f"{kind} {wanted_path(match)} does not fit {request.path}"


def _noted(matcher: Any) -> str:
    """Metadata in words: the claims of a token are what routes ask for."""
    return f"{matcher.filter} {'.'.join(step.key for step in matcher.path)}"


def _parameters(match: Any, parameters: Mapping[str, str]) -> Iterator[str]:
    for matcher in match.query_parameters:
        if not parameter_matches(matcher, parameters):
            yield f"query parameter {matcher.name} is {parameters.get(matcher.name)!r}"


def wanted_path(match: Any) -> str:
    """The condition on the path as a person reads it."""
    kind = match.WhichOneof("path_specifier")
    value = getattr(match, kind)
    return str(value.regex if kind == "safe_regex" else "" if kind == "connect_matcher" else value)


def _fraction(match: Any) -> float:
    """1 without a fraction."""
    if not match.HasField("runtime_fraction"):
        return 1.0
    value = match.runtime_fraction.default_value
    return float(value.numerator) / (100, 10_000, 1_000_000)[value.denominator]


def is_drawn(match: Any) -> bool:
    """Whether chance decides if it matches."""
    return 0 < _fraction(match) < 1


def _certificate_fits(wanted: Any, request: Request) -> bool:
    presented, validated = request.presented_certificate, request.validated_certificate
    fits = not wanted.HasField("presented") or wanted.presented.value == presented
    return fits and (not wanted.HasField("validated") or wanted.validated.value == validated)


def _plain_path(config: Any, request: Request) -> str:
    """Without query; without path parameters too where the route configuration says so."""
    path = request.path.partition("?")[0]
    if not config.ignore_path_parameters_in_path_matching:
        return path
    return "/".join(segment.partition(";")[0] for segment in path.split("/"))


def _exact(match: Any, path: str, _: Request) -> bool:
    return _folded(match, path) == _folded(match, match.path)


def _prefix(match: Any, path: str, _: Request) -> bool:
    return _folded(match, path).startswith(_folded(match, match.prefix))


def _separated(match: Any, path: str, _: Request) -> bool:
    """`/a` takes `/a` and `/a/b`, not `/ab`."""
    prefix = _folded(match, match.path_separated_prefix)
    return (_folded(match, path) + "/").startswith(prefix + "/")


def _regex(match: Any, path: str, _: Request) -> bool:
    return full_match(match.safe_regex.regex, path)


def _connect(_match: Any, _path: str, request: Request) -> bool:
    return request.method == "CONNECT"


def _never(_match: Any, _path: str, _request: Request) -> bool:
    return False


def _folded(match: Any, text: str) -> str:
    sensitive = not match.HasField("case_sensitive") or match.case_sensitive.value
    return text if sensitive else text.lower()


_PATHS: Mapping[str | None, Callable[[Any, str, Request], bool]] = {
    "path": _exact,
    "prefix": _prefix,
    "path_separated_prefix": _separated,
    "safe_regex": _regex,
    "connect_matcher": _connect,
    "path_match_policy": _never,  # URI templates: reported as a doubt
    None: _never,
}
