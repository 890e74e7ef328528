"""What filters note about a call for those that come after them, and matchers of it."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from controlplane.explain.matchers import string_matches

Metadata = Mapping[str, Mapping[str, Any]]  # by filter


def metadata_matches(matcher: Any, metadata: Metadata) -> bool:
    """`envoy.type.matcher.v3.MetadataMatcher`."""
    value: Any = metadata.get(matcher.filter, {})
    for step in matcher.path:
        value = value.get(step.key) if isinstance(value, Mapping) else None
    return bool(value_matches(matcher.value, value) != matcher.invert)


def value_matches(matcher: Any, value: Any) -> bool:
    """`envoy.type.matcher.v3.ValueMatcher`. None is a value that is not there."""
    kind = matcher.WhichOneof("match_pattern")
    return kind in _KINDS and bool(_KINDS[kind](getattr(matcher, kind), value))


def _any_of(matcher: Any, value: Any) -> bool:
    return any(value_matches(one, value) for one in matcher.value_matchers)


def _lists(matcher: Any, value: Any) -> bool:
    listed = isinstance(value, Sequence) and not isinstance(value, str)
    return listed and any(value_matches(matcher.one_of, one) for one in value)


def _is_number(matcher: Any, value: Any) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    if matcher.WhichOneof("match_pattern") == "exact":
        return bool(value == matcher.exact)
    return bool(matcher.range.start <= value < matcher.range.end)


_KINDS: Final[Mapping[str | None, Callable[[Any, Any], bool]]] = {
    "null_match": lambda _, value: value is None,
    "present_match": lambda wanted, value: (value is not None) == wanted,
    "string_match": lambda matcher, value: isinstance(value, str) and string_matches(matcher, value),
    "bool_match": lambda wanted, value: isinstance(value, bool) and value == wanted,
    "double_match": _is_number,
    "list_match": _lists,
    "or_match": _any_of,
}
