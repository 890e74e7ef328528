"""What must not leave the machine, taken out of what does.

A report is made of things that should hold no secret already: keys are hidden where configuration is shown. This is the
second wall, for what got in all the same: a header with a password in a VirtualService, a token in a log line. It would
rather hide too much. Texts are searched with RE2; documents by the names of their fields, too.
"""

import base64
import binascii
from collections.abc import Mapping
from typing import Any, Final

import re2

HIDDEN: Final = "[hidden]"

_PATTERNS: Final = tuple(
    re2.compile(pattern)
    for pattern in (
        # A key as PEM, with real line ends or with those of a JSON or a log line; one that is cut off, too.
        r"(?s)-----BEGIN [A-Z0-9 ]*PRIVATE KEY-----.*?(?:-----END [A-Z0-9 ]*PRIVATE KEY-----|\z)",
        r"\beyJ[A-Za-z0-9_-]{5,}\.[A-Za-z0-9_-]{5,}\.[A-Za-z0-9_-]*",  # a JWT: "{" in base64, three parts
        r"(?i)\b(?:bearer|basic|digest|negotiate)[ :=]+[A-Za-z0-9._~+/=-]{6,}",
    )
)
# Names, and what stands behind them up to the end of the word: `password=x`, `"token": "x"`, `Authorization: x`.
_NAMED: Final = re2.compile(
    r"(?i)((?:passw(?:or)?d|passphrase|secret|api[_-]?key|access[_-]?key|private[_-]?key|token|credential"
    r"|authorization|cookie)[a-z0-9_-]*\\?[\"']?\s*[:=]\s*\\?[\"']?)([^\s\"'\\,;&}\]]+)"
)
_IN_URL: Final = re2.compile(r"(://)[^/\s:@\"']+:[^/\s@\"']+@")
_BASE64: Final = re2.compile(r"[A-Za-z0-9+/_-]{40,}={0,2}")
_KEY_WORDS: Final = b"PRIVATE KEY"

# Fields whose values are secret whatever is in them; those of Envoy's and ours that only name a secret are not.
_SECRET_FIELDS: Final = frozenset(
    {
        *("password", "passphrase", "privatekey", "token", "hmacsecret", "tokensecret", "clientsecret", "apikey"),
        *("jwt", "authorization", "cookie"),
    }
)
# In names that users give: of headers, of variables.
_SECRET_WORDS: Final = (
    "authorization",
    "cookie",
    "token",
    "secret",
    "passw",
    "api-key",
    "apikey",
    "credential",
    "auth",
)


def redact(value: Any, *, name: str = "") -> Any:
    """A document without secrets. `name`: of the field it is the value of."""
    if isinstance(value, Mapping):
        named = str(value.get("key") or value.get("name") or "") if "value" in value else ""
        hides = any(word in named.lower() for word in _SECRET_WORDS)  # a header, a variable: its author's own words
        return {
            str(key): HIDDEN if hides and key == "value" else redact(each, name=str(key)) for key, each in value.items()
        }
    if isinstance(value, list | tuple):
        return [redact(each, name=name) for each in value]
    if isinstance(value, str):
        return HIDDEN if value and _is_secret(name) else redact_text(value)
    return value


def redact_text(text: str) -> str:
    """A text without secrets."""
    for pattern in _PATTERNS:
        text = pattern.sub(HIDDEN, text)
    text = _NAMED.sub(rf"\1{HIDDEN}", text)
    text = _IN_URL.sub(rf"\1{HIDDEN}@", text)
    found: str = _BASE64.sub(_without_key, text)
    return found


def _is_secret(name: str) -> bool:
    """Of a field: by its exact name, or, if it can only be a header's (`x-api-key`), by what is in it."""
    plain = name.lower()
    if plain.replace("_", "").replace("-", "") in _SECRET_FIELDS:
        return True
    return "-" in plain and any(word in plain for word in _SECRET_WORDS)


def _without_key(found: Any) -> str:
    """A key in base64, whole or from its beginning on: a Secret's, or `inlineBytes`."""
    text: str = found.group(0)
    plain = text.rstrip("=").replace("-", "+").replace("_", "/")
    try:
        decoded = base64.b64decode(plain + "=" * (-len(plain) % 4))
    except (binascii.Error, ValueError):
        decoded = base64.b64decode(plain[: len(plain) // 4 * 4])
    return HIDDEN if _KEY_WORDS in decoded or _is_der_key(decoded) else text


def _is_der_key(decoded: bytes) -> bool:
    """The body of a PEM key: a SEQUENCE that begins with a version, 0 or 1 (PKCS 1, PKCS 8, SEC 1)."""
    if decoded[:1] != b"\x30" or len(decoded) < 8:
        return False
    start = 2 + (decoded[1] & 0x7F if decoded[1] & 0x80 else 0)
    return decoded[start : start + 2] == b"\x02\x01" and decoded[start + 2 : start + 3] in {b"\x00", b"\x01"}
