"""Metrics of several programs as one page that a scraper takes whole.

One bad line and the scraper refuses all of it, so what the application says is looked at line by line and only what is
well-formed passes; Envoy's and ours are. There are two formats, Prometheus' text (0.0.4) and OpenMetrics, alike but for
details that matter: when the application speaks OpenMetrics, ours are put into it, and there is one `# EOF`, at the
end. A name belongs to who said it first: a family that Envoy has already is not repeated by an application.

Pure: bytes in, bytes out; a page never has to be in memory as a whole.
"""

import re  # noqa: TID251  (fixed patterns of ours; repetitions are possessive: linear in a line's length, which is bounded)
from collections.abc import Iterator
from enum import Enum
from typing import Final

LONGEST_LINE: Final = 65_536  # bytes
# Optional groups are not possessive: Python 3.11.2 forgets to go back when such a group fails half way.

_NAME: Final = rb"[a-zA-Z_:][a-zA-Z0-9_:]*+"
_QUOTED: Final = rb'"(?:[^"\\]|\\.)*+"'
_LABEL: Final = rb"(?:[a-zA-Z_][a-zA-Z0-9_]*+|" + _QUOTED + rb")[ \t]*+=[ \t]*+" + _QUOTED
_PART: Final = rb"[ \t]*+(?:" + _LABEL + rb"|" + _QUOTED + rb")[ \t]*+"  # a quoted name may stand among the labels
_LABELS: Final = rb"\{(?:" + _PART + rb"(?:," + _PART + rb")*+,?+)?[ \t]*+\}"
_NUMBER: Final = (
    rb"[+-]?+(?:[0-9]++(?:\.[0-9]*+)?(?:[eE][+-]?+[0-9]++)?|\.[0-9]++(?:[eE][+-]?+[0-9]++)?|[Ii]nf|[Nn]a[Nn])"
)
_BLANK: Final = rb"[ \t]"
_SERIES: Final = rb"(?:(?P<name>" + _NAME + rb")(?:" + _BLANK + rb"*+" + _LABELS + rb")?|" + _LABELS + rb")"
_EXEMPLAR: Final = rb"(?: # " + _LABELS + rb" " + _NUMBER + rb"(?: " + _NUMBER + rb")?)?"
_KINDS: Final = rb"counter|gauge|histogram|gaugehistogram|summary|info|stateset|unknown|untyped"

_TEXT_TIME: Final = rb"(?:" + _BLANK + rb"++-?+[0-9]++)?" + _BLANK + rb"*+"
_TEXT_SAMPLE: Final = re.compile(_SERIES + _BLANK + rb"++" + _NUMBER + _TEXT_TIME)
_OPEN_SAMPLE: Final = re.compile(_SERIES + rb" " + _NUMBER + rb"(?: " + _NUMBER + rb")?" + _EXEMPLAR)
_SAID: Final = re.compile(
    rb"# (?:TYPE (?P<type>" + _NAME + rb"|" + _QUOTED + rb") (?:" + _KINDS + rb")"
    rb"|(?:HELP|UNIT) (?P<other>" + _NAME + rb"|" + _QUOTED + rb")(?: .*+)?)"
)
_TYPE: Final = b"# TYPE "
_COUNTER: Final = b" counter"
_SUFFIXES: Final = (b"_bucket", b"_count", b"_created", b"_sum", b"_total")


class Format(Enum):
    """How a page is written; the value is its content type."""

    TEXT = "text/plain; version=0.0.4; charset=utf-8"
    OPEN = "application/openmetrics-text; version=1.0.0; charset=utf-8"


END: Final = b"# EOF"
_OPEN_TYPE: Final = "application/openmetrics-text"


def asked_for(accept: str) -> str:
    """The Accept header for an application: formats that can be merged, of those that the scraper takes."""
    return f"{_OPEN_TYPE};version=1.0.0;q=0.9,text/plain;version=0.0.4;q=0.5" if _OPEN_TYPE in accept else "text/plain"


def format_of(content_type: str) -> Format | None:
    """What an application answered with; None for anything else, such as a page of HTML."""
    kind = content_type.partition(";")[0].strip().lower()
    return {"": Format.TEXT, "text/plain": Format.TEXT, _OPEN_TYPE: Format.OPEN}.get(kind)


class Page:
    """One page as it is written: first what is ours and Envoy's, then the application's."""

    def __init__(self, form: Format) -> None:
        self.format = form
        self.dropped = 0
        self._taken: set[bytes] = set()  # names of the families that are ours
        self._typed: set[bytes] = set()
        self._last = (b"", False)  # a name, and whether it is taken

    def ours(self, lines: list[bytes]) -> Iterator[bytes]:
        """Lines of well-formed text, in the page's format."""
        for line in lines:
            if line.startswith(_TYPE):
                self._taken.add(line[len(_TYPE) :].partition(b" ")[0])
            if self.format is Format.TEXT:
                yield line
            elif line:  # there are no empty lines in OpenMetrics
                yield _without_counter(line)

    def theirs(self, lines: list[bytes]) -> Iterator[bytes]:
        """Of somebody's lines in the page's format, those that can stand in it."""
        for line in lines:
            if line and line != END:
                if self._passes(line):
                    yield line
                else:
                    self.dropped += 1

    def _passes(self, line: bytes) -> bool:
        if len(line) > LONGEST_LINE or not _is_utf8(line):
            return False
        if line.startswith(b"#"):
            return self._passes_comment(line)
        sample = (_TEXT_SAMPLE if self.format is Format.TEXT else _OPEN_SAMPLE).fullmatch(line)
        return sample is not None and not self._is_taken(sample["name"] or b"")

    def _passes_comment(self, line: bytes) -> bool:
        said = _SAID.fullmatch(line)
        if said is None:
            return self.format is Format.TEXT and not line.startswith((_TYPE, b"# HELP"))
        name = said["type"] or said["other"]
        if self._is_taken(name) or (said["type"] and name in self._typed):
            return False
        if said["type"]:
            self._typed.add(name)
        return True

    def _is_taken(self, name: bytes) -> bool:
        """Lines of one family follow one another: the last answer is kept."""
        if name != self._last[0]:
            families = (name, *(name[: -len(suffix)] for suffix in _SUFFIXES if name.endswith(suffix)))
            self._last = (name, not self._taken.isdisjoint(families))
        return self._last[1]


class Lines:
    """Cuts pieces into lines; what has no end yet waits, and is bounded."""

    def __init__(self) -> None:
        self._rest = b""

    def of(self, piece: bytes) -> list[bytes]:
        *lines, self._rest = (self._rest + piece).split(b"\n")
        if len(self._rest) > LONGEST_LINE:
            self._rest = self._rest[: LONGEST_LINE + 1]  # too long whatever follows
        return [line.removesuffix(b"\r") for line in lines]

    def last(self) -> list[bytes]:
        """What was left without an end, of a page that came whole."""
        return [self._rest] if self._rest else []


def _without_counter(line: bytes) -> bytes:
    """In OpenMetrics every sample of a counter is called `…_total`, which Envoy's are not: of unknown kind, then."""
    if line.startswith(_TYPE) and line.endswith(_COUNTER):
        return line.removesuffix(_COUNTER) + b" unknown"
    return line


def _is_utf8(line: bytes) -> bool:
    try:
        line.decode()
    except UnicodeDecodeError:
        return False
    return True
