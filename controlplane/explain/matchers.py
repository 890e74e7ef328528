"""Envoy's matchers of strings, headers and query parameters.

Regular expressions are RE2 and match the whole text, as in Envoy; users' patterns never meet another engine.
"""

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, Final

import re2

from controlplane.explain.headers import Headers


@lru_cache(maxsize=4096)
def pattern(regex: str) -> Any:
    """A compiled pattern. Compiled resources hold only patterns RE2 takes: another one is our own bug."""
    return re2.compile(regex, _options())


def _options() -> Any:
    options = re2.Options()
    options.log_errors = False
    return options


def full_match(regex: str, text: str) -> bool:
    return pattern(regex).fullmatch(text) is not None


def string_matches(matcher: Any, text: str) -> bool:
    """`envoy.type.matcher.v3.StringMatcher`. `ignore_case` does not reach regular expressions."""
    kind = matcher.WhichOneof("match_pattern")
    if kind == "safe_regex":
        return full_match(matcher.safe_regex.regex, text)
    wanted: str = getattr(matcher, kind)
    if matcher.ignore_case:
        wanted, text = wanted.lower(), text.lower()
    return _PLAIN[kind](text, wanted)


_PLAIN: Final[Mapping[str, Callable[[str, str], bool]]] = {
    "exact": lambda text, wanted: text == wanted,
    "prefix": lambda text, wanted: text.startswith(wanted),
    "suffix": lambda text, wanted: text.endswith(wanted),
    "contains": lambda text, wanted: wanted in text,
}


def header_matches(matcher: Any, headers: Headers) -> bool:
    """`envoy.config.route.v3.HeaderMatcher`: whether any value fits, then the inversion.

    A header that is missing matches nothing, inverted or not, unless it counts as empty; only the question whether
    it is there can be answered by its absence.
    """
    values = headers.get(_header_name(matcher.name), ())
    if not values and matcher.treat_missing_header_as_empty:
        values = ("",)
    kind = matcher.WhichOneof("header_match_specifier")
    if kind in {None, "present_match"}:
        wanted = matcher.present_match if kind else True
        return bool((bool(values) == wanted) != matcher.invert_match)
    fits = any(_value_matches(matcher, kind, value) for value in values)
    return bool(values) and bool(fits != matcher.invert_match)


def _header_name(name: str) -> str:
    """Envoy keeps Host as :authority, and finds it under both names."""
    lower = name.lower()
    return ":authority" if lower == "host" else lower


def _value_matches(matcher: Any, kind: str, value: str) -> bool:
    if kind == "string_match":
        return string_matches(matcher.string_match, value)
    if kind == "safe_regex_match":
        return full_match(matcher.safe_regex_match.regex, value)
    if kind == "range_match":
        return _in_range(matcher.range_match, value)
    return _PLAIN[kind.removesuffix("_match")](value, getattr(matcher, kind))


def _in_range(numbers: Any, value: str) -> bool:
    """A half-open range of 64-bit integers in base 10; anything else is outside."""
    digits = value.strip(" \t")
    unsigned = digits[1:] if digits[:1] in {"-", "+"} else digits
    if not (unsigned.isascii() and unsigned.isdigit()):
        return False
    number = int(digits)
    return -(2**63) <= number < 2**63 and bool(numbers.start <= number < numbers.end)


def parameter_matches(matcher: Any, parameters: Mapping[str, str]) -> bool:
    """`envoy.config.route.v3.QueryParameterMatcher`; without a condition the parameter must be there."""
    value = parameters.get(matcher.name)
    kind = matcher.WhichOneof("query_parameter_match_specifier")
    if kind == "string_match":
        return value is not None and string_matches(matcher.string_match, value)
    wanted = matcher.present_match if kind else True
    return (value is not None) == bool(wanted)


def query_parameters(path: str) -> dict[str, str]:
    """Name to first value, as they stand: Envoy does not decode escapes to match."""
    found: dict[str, str] = {}
    for part in path.partition("?")[2].split("&"):
        name, _, value = part.partition("=")
        found.setdefault(name, value)
    return found
