"""The rules several kinds share: names, hosts, ports, labels, durations, percentages, regular expressions.

Each takes where to report, the path and the value; absent values (`None`) are fine unless the rule says otherwise.
"""

from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from datetime import timedelta
from functools import lru_cache
from ipaddress import ip_address, ip_network
from math import inf
from typing import Any, Final, NamedTuple, TypeVar

import re2

from controlplane.model.validate.findings import Findings
from controlplane.model.validate.substitution import substitution_error

T = TypeVar("T")

MAX_REGEX: Final = 1024  # characters; Istio's limit, so that a rule costs no proxy its memory
# RE2 instructions. Bootstraps raise Envoy's own limit of 100 to this; it refuses a resource with a larger program.
MAX_REGEX_PROGRAM: Final = 32_768
# Of all expressions of one object: a thousand steps take up to a millisecond to work out.
MAX_STEPS: Final = 65_536
_REGEX_MEMORY: Final = 24 * MAX_REGEX_PROGRAM + 4096  # bytes; a step has 16, in two thirds of it
_GIVEN_UP: Final = "compile failed"  # RE2's words when that is not enough
_TOO_LARGE: Final = (
    f"needs more than {MAX_REGEX_PROGRAM} steps as a program, and Envoy takes no more. "
    "Repeat less, as in .* for .{999}"
)
MAX_HEADER: Final = 16_384  # bytes of the name or the value of a header to set; Envoy's limit
_MS: Final = timedelta(milliseconds=1)
_ENDS_LINE: Final = frozenset("\r\n\0")
_ESCAPED: Final = re2.compile(r"(?s)\\(.?)")
_LABEL = r"[a-zA-Z0-9](?:[-a-zA-Z0-9]{0,61}[a-zA-Z0-9])?"
_DNS_LABEL = re2.compile(r"[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?")
_FQDN = re2.compile(rf"{_LABEL}(?:\.{_LABEL})*\.?")
_WILDCARD = re2.compile(rf"\*|(?:\*|\*-{_LABEL})(?:\.{_LABEL})+\.?")
_OBJECT_NAME = re2.compile(r"[a-z0-9](?:[-a-z0-9]*[a-z0-9])?(?:\.[a-z0-9](?:[-a-z0-9]*[a-z0-9])?)*")
_LABEL_VALUE = re2.compile(r"(?:[A-Za-z0-9](?:[-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?")
_LABEL_KEY = re2.compile(r"(?:[a-z0-9](?:[-a-z0-9.]{0,251}[a-z0-9])?/)?[A-Za-z0-9](?:[-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")
_HEADER_NAME = re2.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
PROTOCOLS: Final = frozenset(
    {"HTTP", "HTTPS", "GRPC", "GRPC-WEB", "HTTP2", "MONGO", "TCP", "TLS", "REDIS", "MYSQL", "UDP", "HTTP_PROXY"}
)


def is_dns_label(text: str) -> bool:
    """A name of one part, as of a namespace or Service."""
    return _DNS_LABEL.fullmatch(text) is not None


def is_object_name(text: str) -> bool:
    """A metadata.name that an API server would take."""
    return len(text) <= 253 and _OBJECT_NAME.fullmatch(text) is not None


def is_label_value(text: str) -> bool:
    """What a label may hold."""
    return _LABEL_VALUE.fullmatch(text) is not None


def is_fqdn(text: str) -> bool:
    """A host name of any number of parts, no wildcard."""
    return len(text) <= 255 and _FQDN.fullmatch(text) is not None


def is_wildcard(text: str) -> bool:
    """`*`, `*.example.com`, `*-suffix.example.com`."""
    return len(text) <= 255 and _WILDCARD.fullmatch(text) is not None


def is_ip(text: str) -> bool:
    """An IPv4 or IPv6 address, without a scope."""
    if "%" in text:
        return False
    try:
        return bool(ip_address(text))
    except ValueError:
        return False


def is_subnet(text: str) -> bool:
    """An address, or a block of them; bits below the mask do not matter, as in Istio."""
    address, slash, length = text.partition("/")
    if "%" in address or (slash and not length.isdecimal()):  # Python reads scopes and netmasks, Envoy does not
        return False
    try:
        return bool(ip_network(text, strict=False))
    except ValueError:
        return False


def each(found: Findings, path: str, values: Sequence[T], rule: Callable[[Findings, str, T], None]) -> None:
    """Apply a rule to each element of a list."""
    for i, value in enumerate(values):
        rule(found, f"{path}[{i}]", value)


def required(found: Findings, path: str, value: object, *, why: str = "") -> bool:
    """Whether the value is there; reports when it is not."""
    if value is None or value in ("", ()):
        found.error("RequiredField", path, f"{path.rpartition('.')[2]} is required{why}")
        return False
    return True


def unique(found: Findings, path: str, values: Iterable[Hashable], *, field: str = "") -> None:
    """Report every value after the first that is equal to it. `field` is the one that must differ."""
    listed = list(values)
    twice = {value for value, count in Counter(listed).items() if count > 1 and value not in (None, "")}
    seen: set[Hashable] = set()
    for i, value in enumerate(listed):
        if value in twice and value in seen:
            found.error("DuplicateValue", f"{path}[{i}]{field}", f"{value} is there already; each may occur once")
        seen.add(value)


def exclusive(found: Findings, path: str, owner: object, names: Sequence[str], *, need_one: bool = False) -> None:
    """At most one of these fields (or exactly one) may be set."""
    present = [name for name in names if (value := getattr(owner, attribute(name))) is not None and value != ()]
    if len(present) > 1:
        found.error("ConflictingFields", path, f"{' and '.join(present)} exclude each other; keep one")
    elif need_one and not present:
        found.error("RequiredField", path, f"one of {', '.join(names)} is required")


@lru_cache(maxsize=256)
def attribute(wire_name: str) -> str:
    """httpHeaderName -> http_header_name."""
    return "".join(f"_{c.lower()}" if c.isupper() else c for c in wire_name)


def deprecated(found: Findings, path: str, owner: Any, fields: Mapping[str, str]) -> None:
    """Say what has taken the place of the deprecated fields that are set."""
    for field, instead in fields.items():
        if getattr(owner, attribute(field)) not in (None, ()):
            found.warn("DeprecatedField", f"{path}.{field}", f"{field} is deprecated; use {instead}")


def check_name(found: Findings, path: str, name: str) -> None:
    """A name of one part: of a subset, a namespace, a port."""
    if not is_dns_label(name):
        found.error("InvalidName", path, f'"{name}" is not a name: lower-case letters, digits and "-", at most 63')


def check_object_name(found: Findings, path: str, name: str) -> None:
    """metadata.name: it becomes part of file names and Envoy's resource names."""
    if not is_object_name(name):
        found.error(
            "InvalidName", path, f'"{name[:80]}" is not an object name: lower-case letters, digits, "-" and "."'
        )


def check_fqdn(found: Findings, path: str, host: str) -> None:
    """One host: no wildcard."""
    if not is_fqdn(host):
        found.error("InvalidHost", path, f'"{host}" is not a host name; a wildcard cannot be used here')


def check_host(found: Findings, path: str, host: str) -> None:
    """A host or a wildcard."""
    if not is_fqdn(host) and not is_wildcard(host):
        found.error(
            "InvalidHost", path, f'"{host}" is not a host; write a name, or "*" as or in front of the first part'
        )


def check_host_or_ip(found: Findings, path: str, host: str) -> None:
    """A host, a wildcard or an address."""
    if not is_ip(host):
        check_host(found, path, host)


def check_port(found: Findings, path: str, port: int | None) -> None:
    """A port number."""
    if port is not None and not 1 <= port <= 65535:
        found.error("InvalidPort", path, f"must be between 1 and 65535; found {port}")


def check_protocol(found: Findings, path: str, protocol: str) -> None:
    """The protocol of a port; Istio takes it in any case."""
    if required(found, path, protocol) and protocol.upper() not in PROTOCOLS:
        found.error("InvalidPort", path, f'"{protocol}" is not a protocol; known are {", ".join(sorted(PROTOCOLS))}')


def check_subnet(found: Findings, path: str, subnet: str) -> None:
    """An address or a block."""
    if not is_subnet(subnet):
        found.error("InvalidAddress", path, f'"{subnet}" is not an IP address or CIDR block such as 10.0.0.0/8')


def check_labels(found: Findings, path: str, labels: Mapping[str, str]) -> None:
    """Labels as Kubernetes accepts them, values without wildcards."""
    for key, value in labels.items():
        if _LABEL_KEY.fullmatch(key) is None:
            found.error("InvalidLabel", f"{path}[{key}]", f'"{key}" is not a label name')
        if not is_label_value(value):
            found.error("InvalidLabel", f"{path}[{key}]", f'"{value}" is not a label value; wildcards do not work here')


def check_duration(found: Findings, path: str, value: timedelta | None, *, zero: bool = False) -> None:
    """At least a millisecond, or nothing where nothing means "never"."""
    if value is None or value >= _MS or (zero and not value):
        return
    found.error("InvalidDuration", path, f"must be at least 1ms{', or 0s' if zero else ''}; found {_seconds(value)}")


def _seconds(value: timedelta) -> str:
    return f"{value.total_seconds():g}s"


def check_line(found: Findings, path: str, text: str | None) -> None:
    """A part of a request or answer: Envoy refuses those that would end its line."""
    if text is not None and not _ENDS_LINE.isdisjoint(text):
        found.error("InvalidValue", path, f"must not hold line breaks or NUL; found {text!r:.80}")


def check_percent(found: Findings, path: str, value: float | None) -> None:
    """A share of a hundred."""
    if value is not None and not 0 <= value <= 100:
        found.error("InvalidPercentage", path, f"must be between 0 and 100; found {value:g}")


def check_at_least(found: Findings, path: str, value: float | None, least: int = 0) -> None:
    """A number that is not too small."""
    if value is not None and not least <= value < inf:  # not a number fails too
        found.error("InvalidValue", path, f"must be at least {least}; found {value:g}")


def check_regex(found: Findings, path: str, pattern: str) -> None:
    """What RE2, and so Envoy, accepts."""
    if not pattern:
        found.error("InvalidRegex", path, "an empty regular expression matches nothing but the empty string; write one")
    elif len(pattern) > MAX_REGEX:
        found.error("InvalidRegex", path, f"is {len(pattern)} characters long; at most {MAX_REGEX} are allowed")
    elif found.steps > MAX_STEPS:
        text = f"is not looked at: the expressions of this object need more than {MAX_STEPS} steps together"
        found.error("InvalidRegex", path, f"{text}. Repeat less, or have more objects")
    else:
        compiled = _compiled(pattern)
        found.steps += compiled.steps
        if compiled.error:
            found.error("InvalidRegex", path, compiled.error)


def check_replacement(found: Findings, path: str, pattern: str, replacement: str) -> None:
    r"""What takes the place of a match, with \1 for its groups: RE2 leaves the text alone if it does not fit.

    Asked after `check_regex` of the pattern.
    """
    check_line(found, path, replacement)
    if len(pattern) > MAX_REGEX or found.steps > MAX_STEPS or (compiled := _compiled(pattern)).error:
        return
    for escaped in _ESCAPED.findall(replacement):
        if escaped != "\\" and not (escaped.isascii() and escaped.isdigit() and int(escaped) <= compiled.groups):
            message = f'"\\{escaped}" is neither "\\\\" nor one of the {compiled.groups} groups of the expression'
            found.error("InvalidRegex", path, message)


class _Compiled(NamedTuple):
    """What there is to know of an expression."""

    error: str
    steps: int
    groups: int = 0


@lru_cache(maxsize=4096)
def _compiled(pattern: str) -> _Compiled:
    """Made in little memory: RE2 takes a third of a second for the largest it could make."""
    options = re2.Options()
    options.log_errors = False
    options.max_mem = _REGEX_MEMORY
    try:
        made = re2.compile(pattern, options=options)
    except (re2.error, UnicodeError) as error:
        reason = error.args[0] if error.args else error
        text = reason.decode(errors="replace") if isinstance(reason, bytes) else str(reason)
        if _GIVEN_UP in text:
            return _Compiled(_TOO_LARGE, MAX_REGEX_PROGRAM)
        return _Compiled(f"RE2 does not accept it: {text}", len(pattern))
    if made.programsize > MAX_REGEX_PROGRAM:
        return _Compiled(_TOO_LARGE, MAX_REGEX_PROGRAM)
    return _Compiled("", made.programsize, made.groups)


def check_header_name(found: Findings, path: str, name: str) -> None:
    """The name of a header (a token of RFC 9110); pseudo-headers have fields of their own."""
    if _HEADER_NAME.fullmatch(name) is None:
        found.error("InvalidHeader", path, f'"{name}" is not a header name')
    elif len(name) > MAX_HEADER:
        found.error("InvalidHeader", path, f"the name has {len(name)} bytes; at most {MAX_HEADER} are allowed")


def check_header_value(found: Findings, path: str, value: str) -> None:
    """A value to set; Envoy expands %COMMANDS% in it."""
    if not _ENDS_LINE.isdisjoint(value):
        found.error("InvalidHeader", path, "a header value cannot hold line breaks")
    elif len(value.encode()) > MAX_HEADER:
        found.error("InvalidHeader", path, f"has {len(value.encode())} bytes; at most {MAX_HEADER} are allowed")
    elif error := substitution_error(value):
        found.error("InvalidHeader", path, error)


def check_export_to(found: Findings, path: str, names: Sequence[str]) -> None:
    """ "." this namespace, "*" all, "~" none, or names."""
    unique(found, path, names)
    for i, name in enumerate(names):
        if name not in {".", "*", "~"} and not is_dns_label(name):
            found.error("InvalidExportTo", f"{path}[{i}]", f'"{name}" is not ".", "*", "~" or a namespace')
    for alone, meaning in (("*", "all namespaces"), ("~", "none")):
        if alone in names and len(names) > 1:
            found.error("InvalidExportTo", path, f'"{alone}" means {meaning}; nothing can stand beside it')
