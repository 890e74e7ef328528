"""What a path of an Ingress matches.

`Exact` and `Prefix` are the specification's: a prefix goes by elements, so `/foo` has `/foo`, `/foo/` and `/foo/bar`
and not `/foobar`, and a slash at its end says nothing. `ImplementationSpecific` is ours to define: a Prefix, because
this is what the charts that write it mean, and `/*` or `.*` at its end are taken for what they are meant for. An
Ingress of Istio's class means what Istio says: an exact path unless it ends so.
"""

from typing import Final

from controlplane.gatewayapi.ingresses.classes import Controller
from controlplane.ir.route import MatchKind, StringMatch

EXACT: Final = "Exact"
PREFIX: Final = "Prefix"
IMPLEMENTATION_SPECIFIC: Final = "ImplementationSpecific"
PATH_TYPES: Final = (EXACT, PREFIX, IMPLEMENTATION_SPECIFIC)

# As an API server has it (ValidateIngressRuleValue): no request would have such a path once it is normalized.
_NEVER_WITHIN: Final = ("//", "/./", "/../", "%2f", "%2F")
_NEVER_AT_END: Final = ("/..", "/.")
_NOT_IN_PATHS: Final = frozenset("?#") | {chr(number) for number in (*range(0x21), 0x7F)}
_OF_REGEXES: Final = frozenset("()[]{}|^$\\+")


def fault(path: str, path_type: str) -> str:
    """Why nothing can be matched by it, "" when something can."""
    if path_type not in PATH_TYPES:
        return f"pathType must be one of {', '.join(PATH_TYPES)}"
    if not path.startswith("/") and not (path_type == IMPLEMENTATION_SPECIFIC and path in {"", "*", ".*"}):
        return "a path begins with a slash"
    if found := next((each for each in path if each in _NOT_IN_PATHS or ord(each) > 0x7E), ""):
        return f"no path of a request holds {found!r}"
    if path_type == IMPLEMENTATION_SPECIFIC:
        return ""
    within = next((each for each in _NEVER_WITHIN if each in path), "")
    found = within or next((each for each in _NEVER_AT_END if path.endswith(each)), "")
    return f"no path of a request holds {found!r} once it is normalized" if found else ""


def looks_like_regex(path: str, path_type: str) -> bool:
    """Whether its author writes for a controller that takes regular expressions, which this one does not."""
    return path_type == IMPLEMENTATION_SPECIFIC and any(each in _OF_REGEXES for each in path)


def match(path: str, path_type: str, whose: Controller) -> StringMatch | None:
    """The condition; None: every path."""
    if path_type == EXACT:
        return StringMatch(MatchKind.EXACT, path)
    if path_type == PREFIX:
        return _elements(path)
    return _of_istio(path) if whose is Controller.ISTIO else _specific(path)


def _specific(path: str) -> StringMatch | None:
    if path in {"", "*"}:
        return None
    if path.endswith("/*"):
        return _elements(path[:-1])
    return _characters(path[:-2]) if path.endswith(".*") else _elements(path)


def _of_istio(path: str) -> StringMatch | None:
    if path in {"", "*", "/*", ".*"}:
        return None
    if path.endswith((".*", "/*")):
        return _characters(path[:-2])
    return StringMatch(MatchKind.EXACT, path)


def _elements(path: str) -> StringMatch | None:
    elements = path.rstrip("/")
    return StringMatch(MatchKind.SEGMENT_PREFIX, elements) if elements else None


def _characters(path: str) -> StringMatch | None:
    return StringMatch(MatchKind.PREFIX, path) if path not in {"", "/"} else None
