"""How a request is told from others: matchers of strings, headers, query parameters and claims."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Final

from envoy.config.route.v3 import route_components_pb2
from envoy.type.matcher.v3 import metadata_pb2, regex_pb2, string_pb2, value_pb2

from controlplane.envoy.wire import encoded
from controlplane.ir.route import ClaimMatch, HeaderMatch, MatchKind, QueryMatch, RouteMatch, StringMatch

_JWT_FILTER: Final = "envoy.filters.http.jwt_authn"  # whose metadata holds the claims of a validated token
_PAYLOAD: Final = "payload"


def regex(pattern: str) -> Any:
    """RE2 is Envoy's only engine; the whole string must match."""
    return regex_pb2.RegexMatcher(regex=pattern)


def string(match: StringMatch) -> Any:
    """A `StringMatcher`. Presence is not its business: who asks for it has a field of its own."""
    if match.kind is MatchKind.REGEX:
        return string_pb2.StringMatcher(safe_regex=regex(match.value))
    if match.kind is MatchKind.EXACT:
        return string_pb2.StringMatcher(exact=match.value, ignore_case=match.ignore_case)
    if not match.value:  # Envoy refuses an empty prefix, which every string has
        return string_pb2.StringMatcher(safe_regex=regex(".*"))
    if match.kind is MatchKind.SUFFIX:
        return string_pb2.StringMatcher(suffix=match.value, ignore_case=match.ignore_case)
    return string_pb2.StringMatcher(prefix=match.value, ignore_case=match.ignore_case)


def route_match(match: RouteMatch) -> bytes:
    """An encoded `RouteMatch`."""
    return _EVERYTHING if match.is_catch_all else _conditions(match)


@lru_cache(maxsize=4096)
def _conditions(match: RouteMatch) -> bytes:
    """Remembered: a weight that moves leaves the conditions of its rule alone."""
    message = route_components_pb2.RouteMatch()
    _set_path(message, match.path)
    message.headers.extend(map(_header, match.headers))
    message.query_parameters.extend(map(_query, match.query))
    message.dynamic_metadata.extend(map(_claim, match.claims))
    return encoded(message)


def _set_path(message: Any, path: StringMatch | None) -> None:
    if path is None:
        message.prefix = "/"
        return
    if path.kind is MatchKind.REGEX:
        message.safe_regex.CopyFrom(regex(path.value))
        return
    if path.kind is MatchKind.EXACT:
        message.path = path.value
    elif path.kind is MatchKind.SEGMENT_PREFIX and (segments := path.value.rstrip("/")):
        message.path_separated_prefix = segments
    else:
        message.prefix = path.value if path.kind is MatchKind.PREFIX else "/"
    if path.ignore_case:
        message.case_sensitive.value = False


def _header(match: HeaderMatch) -> Any:
    message = route_components_pb2.HeaderMatcher(name=match.name, invert_match=match.invert)
    if match.match.kind is MatchKind.PRESENT:
        message.present_match = True
        return message
    message.string_match.CopyFrom(string(match.match))
    message.treat_missing_header_as_empty = match.invert
    return message


def _query(match: QueryMatch) -> Any:
    message = route_components_pb2.QueryParameterMatcher(name=match.name)
    if match.match.kind is MatchKind.PRESENT:
        message.present_match = True
    else:
        message.string_match.CopyFrom(string(match.match))
    return message


def _claim(match: ClaimMatch) -> Any:
    if match.match.kind is not MatchKind.PRESENT:
        message = claim(match.path, string(match.match))
    else:
        message = _payload(match.path)
        message.value.present_match = True
    message.invert = match.invert
    return message


def claim(path: Sequence[str], text: Any, *, single: bool = False) -> Any:
    """A `MetadataMatcher`. A claim may be a string or (unless `single`) a list of strings, one of which is enough."""
    message = _payload(path)
    if single:
        message.value.string_match.CopyFrom(text)
        return message
    wanted = value_pb2.ValueMatcher(string_match=text)
    either = message.value.or_match.value_matchers
    either.append(wanted)
    either.add().list_match.one_of.CopyFrom(wanted)
    return message


def _payload(path: Sequence[str]) -> Any:
    message = metadata_pb2.MetadataMatcher(filter=_JWT_FILTER)
    for step in (_PAYLOAD, *path):
        message.path.add(key=step)
    return message


_EVERYTHING: Final = encoded(route_components_pb2.RouteMatch(prefix="/"))
