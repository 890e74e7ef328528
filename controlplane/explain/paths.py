"""Path normalization, as `normalize_path` and its neighbours do it.

Envoy leaves it to the URL library of Chromium: dot segments go (also when their dots are escaped), backslashes
become slashes, escapes of unreserved characters are undone, and characters that may not stand in a path are escaped.
"""

from typing import Final

import re2

_UNRESERVED: Final = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
_MUST_ESCAPE: Final = frozenset(b' "#<>?`{|}^') | frozenset(range(0x20)) | frozenset(range(0x7F, 0x100))
_ESCAPED_SLASH: Final = re2.compile("%2[Ff]|%5[Cc]")
_HEX: Final = frozenset(b"0123456789abcdefABCDEF")


def canonical(path: str) -> str | None:
    """RFC 3986 normal form, the query left alone; None for a path Envoy refuses."""
    plain, mark, query = path.partition("?")
    decoded = _unescape(plain.replace("\\", "/").encode())
    return None if decoded is None else _without_dots(decoded) + mark + query


def merge_slashes(path: str) -> str:
    """`//a///b` -> `/a/b`; a slash in the query stays, and so does a path of slashes alone, as `//`."""
    plain, mark, query = path.partition("?")
    if "//" not in plain:
        return path
    kept = "/".join(segment for segment in plain.split("/") if segment)
    end = "/" if plain.endswith("/") else ""
    return f"/{kept}{end}{mark}{query}"


def has_escaped_slash(path: str) -> bool:
    return _ESCAPED_SLASH.search(path.partition("?")[0]) is not None


def unescape_slashes(path: str) -> str:
    plain, mark, query = path.partition("?")
    for escape, slash in (("%2f", "/"), ("%2F", "/"), ("%5c", "\\"), ("%5C", "\\")):
        plain = plain.replace(escape, slash)
    return plain + mark + query


def _unescape(path: bytes) -> str | None:
    out: list[str] = []
    at = 0
    while at < len(path):
        byte = path[at]
        if byte == ord("%") and len(path) > at + 2 and {path[at + 1], path[at + 2]} <= _HEX:
            value = int(path[at + 1 : at + 3], 16)
            if value == 0:
                return None
            out.append(chr(value) if value in _UNRESERVED else path[at : at + 3].decode())
            at += 3
            continue
        out.append(f"%{byte:02X}" if byte in _MUST_ESCAPE else chr(byte))
        at += 1
    return "".join(out)


def _without_dots(path: str) -> str:
    """`/a/./b/../c` -> `/a/c`. A dot segment at the end leaves its slash."""
    kept: list[str] = []
    segments = path.split("/")[1:]
    for segment in segments:
        if segment == "..":
            del kept[-1:]
        elif segment != ".":
            kept.append(segment)
    if segments[-1:] and segments[-1] in {".", ".."}:
        kept.append("")
    return "/" + "/".join(kept)
