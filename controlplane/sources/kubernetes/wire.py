"""What an API server writes, byte by byte: pages of a list, lines of a watch, and refusals. Pure.

Whatever is between us and it may write, too: a proxy's page of HTML, an empty JSON object, half an answer. Taking one
of these for an empty list would remove a mesh, so an answer counts only if it is exactly what was asked for.

An object is cut out here as bytes and decoded elsewhere, so that one that is bad spoils no other.
"""

from collections.abc import Iterator, Mapping
from typing import Final

import msgspec
import re2

from controlplane.model.text import printable

LONGEST_LINE: Final = 16 * 2**20  # bytes of an event; an API server takes 3 MiB of an object
LARGEST_PAGE: Final = 64 * 2**20
_SHOWN: Final = 300  # characters of somebody else's words
_LONGEST_WAIT: Final = 120.0  # seconds we let ourselves be told to wait


class Garbage(Exception):  # noqa: N818  (what it is)
    """Not what an API server answers."""


class Page(msgspec.Struct, frozen=True):
    """Part of a list."""

    version: str  # the resourceVersion of the whole
    token: str  # asks for the next part; "" = this was the last
    items: tuple[bytes, ...]


class Event(msgspec.Struct, frozen=True):
    """One line of a watch."""

    type: str  # ADDED, MODIFIED, DELETED, BOOKMARK, ERROR
    object: bytes


class Head(msgspec.Struct, frozen=True):
    """Which object some bytes are, and which version of it."""

    namespace: str
    name: str
    version: str


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """No: what an API server says instead of what was asked for."""

    code: int  # as HTTP's
    reason: str = ""  # "Forbidden", "Expired"
    message: str = ""
    cause: str = ""  # "ResourceVersionTooLarge"
    retry_after: float = 0.0  # seconds

    @property
    def expired(self) -> bool:
        """What was asked from is no longer known, or not yet: only a list helps."""
        too_new = self.cause == "ResourceVersionTooLarge" or "Too large resource version" in self.message
        return self.code == 410 or self.reason in {"Expired", "Gone"} or too_new

    def __str__(self) -> str:
        words = printable(" ".join((self.message or self.reason).split())[:_SHOWN])
        return f"status {self.code}: {words}" if words else f"status {self.code}"


def read_page(body: bytes) -> Page:
    """Raises Garbage."""
    try:
        found = _LIST.decode(body)
        items = [bytes(item) for item in found.items or ()]
    except RecursionError:
        found, items = _deep_list(body)
    except (msgspec.DecodeError, UnicodeError) as error:
        raise Garbage(f"no list: {error}") from error
    if not found.kind.endswith("List") or not found.metadata.version:
        raise Garbage(f"no list: kind {found.kind[:40]!r}, resourceVersion {found.metadata.version[:40]!r}")
    return Page(found.metadata.version, found.metadata.token, tuple(items))


def read_event(line: bytes) -> Event:
    """Raises Garbage."""
    try:
        found = _EVENT.decode(line)
        return Event(found.type, bytes(found.object))
    except RecursionError:
        return _deep_event(line)
    except (msgspec.DecodeError, UnicodeError) as error:
        raise Garbage(f"no event of a watch: {error}") from error


def read_head(raw: bytes) -> Head:
    """Raises Garbage: nobody can tell which object this is, or which version of it."""
    try:
        metadata = _HEADED.decode(raw).metadata
    except RecursionError:
        metadata = _deep_metadata(_member(raw, b"metadata"))
    except (msgspec.DecodeError, UnicodeError) as error:
        raise Garbage(f"no object: {error}") from error
    return Head(metadata.namespace, metadata.name, metadata.version)


def read_answer(code: int, headers: Mapping[str, str], body: bytes) -> Answer:
    """A refusal, from HTTP's own words where there are no better ones. Raises nothing."""
    status = _status(body)
    after = max(_seconds(headers.get("Retry-After", "")), float(status.details.retry_after_seconds))
    return Answer(
        code=code,
        reason=status.reason,
        message=status.message,
        cause=_cause(status),
        retry_after=min(after, _LONGEST_WAIT),
    )


def read_error(raw: bytes) -> Answer:
    """The object of an ERROR event."""
    status = _status(raw)
    after = min(float(status.details.retry_after_seconds), _LONGEST_WAIT)
    return Answer(
        code=status.code or 500,
        reason=status.reason,
        message=status.message,
        cause=_cause(status),
        retry_after=after,
    )


class Lines:
    """Bytes as they come, to whole lines. What is behind the last line break is not a line yet."""

    def __init__(self, longest: int = LONGEST_LINE) -> None:
        self._longest = longest
        self._rest = bytearray()

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        """The lines that end in `chunk`. Raises Garbage when one has no end."""
        *whole, rest = chunk.split(b"\n")
        for line in whole:
            self._rest += line
            line, self._rest = bytes(self._rest), bytearray()  # noqa: PLW2901  what was kept of it is in front
            if line.strip():
                yield line
        self._rest += rest
        if len(self._rest) > self._longest:
            raise Garbage(f"a line of more than {self._longest} bytes")


def order(version: str) -> int:
    """Versions of one kind grow (KEP-5504 says so of all API servers); -1 for one that cannot be compared."""
    return int(version) if version.isascii() and version.isdigit() and len(version) <= 40 else -1


# Shapes


class _ListMeta(msgspec.Struct):
    version: str = msgspec.field(default="", name="resourceVersion")
    token: str = msgspec.field(default="", name="continue")


class _List(msgspec.Struct):
    kind: str
    metadata: _ListMeta
    items: list[msgspec.Raw] | None  # Go writes an empty list as null, too; but it writes it


class _Event(msgspec.Struct):
    type: str
    object: msgspec.Raw


class _Metadata(msgspec.Struct):
    name: str = ""
    namespace: str = ""
    version: str = msgspec.field(default="", name="resourceVersion")


class _Headed(msgspec.Struct):
    metadata: _Metadata


class _Cause(msgspec.Struct):
    reason: str = ""


class _Details(msgspec.Struct):
    causes: list[_Cause] | None = None
    retry_after_seconds: int = msgspec.field(default=0, name="retryAfterSeconds")


class _Status(msgspec.Struct):
    code: int = 0
    reason: str = ""
    message: str = ""
    details: _Details = msgspec.field(default_factory=_Details)


_LIST: Final = msgspec.json.Decoder(_List)
_EVENT: Final = msgspec.json.Decoder(_Event)
_HEADED: Final = msgspec.json.Decoder(_Headed)
_STATUS: Final = msgspec.json.Decoder(_Status)


def _status(body: bytes) -> _Status:
    try:
        return _STATUS.decode(body)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return _Status(message=body[:_SHOWN].decode(errors="replace"))


def _cause(status: _Status) -> str:
    return next((cause.reason for cause in status.details.causes or () if cause.reason), "")


def _seconds(retry_after: str) -> float:
    """API servers write seconds, never a date."""
    text = retry_after.strip()
    return float(text) if text.isascii() and text.isdigit() and len(text) < 10 else 0.0


# Objects nested deeper than msgspec passes over. API servers store up to 10,000 levels where a CRD lets its authors
# write what they like, and one such object must not keep the others from being read.

_STRUCTURE: Final = re2.compile(rb'"(?:[^"\\]|\\.)*"|[{}\[\],]')


def _deep_list(body: bytes) -> tuple[_List, list[bytes]]:
    items = [body[begin:end] for begin, end in _values(body, _place(body, b"items"))]
    head = b",".join(b'"%s":%s' % (name, _member(body, name)) for name in (b"kind", b"metadata"))
    try:
        return _LIST.decode(b'{%s,"items":[]}' % head), items
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise Garbage(f"no list: {error}") from error


def _deep_event(line: bytes) -> Event:
    try:
        kind = msgspec.json.decode(_member(line, b"type"), type=str)
    except (msgspec.DecodeError, UnicodeError) as error:
        raise Garbage(f"no event of a watch: {error}") from error
    return Event(kind, _member(line, b"object"))


def _deep_metadata(metadata: bytes) -> _Metadata:
    """managedFields are as deep as the object."""
    named = {b"name", b"namespace", b"resourceVersion"}
    members = (metadata[begin:end] for begin, end in _values(metadata, (0, len(metadata))))
    short = [member for member in members if member.partition(b":")[0].strip().strip(b'"') in named]
    try:
        return msgspec.json.decode(b"{%s}" % b",".join(short), type=_Metadata)
    except (msgspec.DecodeError, UnicodeError) as error:
        raise Garbage(f"no object: {error}") from error


def _member(document: bytes, name: bytes) -> bytes:
    begin, end = _place(document, name)
    return document[begin:end].strip()


def _place(document: bytes, name: bytes) -> tuple[int, int]:
    """Where the value of one of the outermost members is. Raises Garbage."""
    for begin, end in _values(document, (0, len(document))):
        key, _, _ = document[begin:end].partition(b":")
        if key.strip() == b'"%s"' % name:
            return begin + len(key) + 1, end
    raise Garbage(f"no {name.decode()} in it")


def _values(document: bytes, place: tuple[int, int]) -> Iterator[tuple[int, int]]:
    """Where the members of an object, or the items of a list, are; without looking into them."""
    depth, begin = 0, place[0]
    for found in _STRUCTURE.finditer(document, *place):
        mark = document[found.start() : found.start() + 1]
        if mark in (b"{", b"["):
            depth += 1
            begin = found.end() if depth == 1 else begin
        elif mark in (b"}", b"]"):
            depth -= 1
        if (mark == b"," and depth == 1) or depth == 0:
            if document[begin : found.start()].strip():
                yield begin, found.start()
            begin = found.end()
        if depth == 0:
            return
    raise Garbage("it ends in the middle")
