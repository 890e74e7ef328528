"""Key sets of token issuers (RFC 7517): what of one can check signatures.

Envoy refuses a whole listener for a set it cannot read, or that has no key it can use. So a set is read here, key by
key, and written anew: what goes out is what was understood. The rules of a usable key are Envoy's (tried with 1.40)
where they are not stricter.
"""

from base64 import urlsafe_b64decode
from typing import Any, Final

import msgspec

MAX_BYTES: Final = 65_536  # of a set; real ones have a few thousand
MAX_KEYS: Final = 64
MIN_RSA_BITS: Final = 1024  # what is smaller has been factored
MAX_RSA_BITS: Final = 16_384
_MAX_EXPONENT: Final = 2**32
_WEAK_RSA_BITS: Final = 2048
_POINT_BYTES: Final = {"P-256": 32, "P-384": 48, "P-521": 66}
# What a key on this curve is for; one that does not say so Envoy would try on tokens that say anything.
_ALGORITHMS: Final = {"P-256": "ES256", "P-384": "ES384", "P-521": "ES512", "Ed25519": "EdDSA"}
_RSA_ALGORITHMS: Final = frozenset({"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"})
_SECRET_ALGORITHMS: Final = frozenset({"HS256", "HS384", "HS512"})


class Jwk(msgspec.Struct, frozen=True, omit_defaults=True):
    """One key, with the members of it that matter."""

    kty: str = ""
    kid: str = ""
    alg: str = ""
    crv: str = ""
    n: str = ""
    e: str = ""
    x: str = ""
    y: str = ""
    k: str = ""


class KeySet(msgspec.Struct, frozen=True):
    """What became of a set. Without keys it is of no use, and `faults` say why; paths begin at the set."""

    keys: tuple[Jwk, ...] = ()
    faults: tuple[tuple[str, str], ...] = ()  # (path, sentence): of keys that are left out
    doubts: tuple[tuple[str, str], ...] = ()  # of keys that are used, and should not be

    @property
    def text(self) -> str:
        """The set as it goes out."""
        return msgspec.json.encode({"keys": self.keys}).decode()

    def published(self) -> "KeySet":
        """What of it may come from a place that others can read: a secret in there is everybody's to sign with."""
        return KeySet(tuple(key for key in self.keys if key.kty != "oct"), self.faults, ())


class _Document(msgspec.Struct):
    keys: tuple[msgspec.Raw, ...]


class _UnusableError(Exception):
    """Why a key cannot check signatures."""


_DOCUMENT: Final = msgspec.json.Decoder(_Document)
_KEY: Final = msgspec.json.Decoder(Jwk)


def read(text: str | bytes) -> KeySet:
    """The usable keys of a set."""
    raw = text.encode(errors="replace") if isinstance(text, str) else text
    if len(raw) > MAX_BYTES:
        return KeySet(faults=(("", f"has {len(raw)} bytes; at most {MAX_BYTES} are read"),))
    try:
        raws = _DOCUMENT.decode(raw).keys
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        return KeySet(faults=(("", f"is no JSON Web Key Set: {_reason(error)}"),))
    if not 0 < len(raws) <= MAX_KEYS:
        return KeySet(faults=((".keys", f"has {len(raws)} keys; at least 1 and at most {MAX_KEYS} are read"),))
    return _sifted(raws)


def public(key: Jwk) -> Any:
    """The key as `cryptography` knows it; bytes for a shared secret. Only for keys that `read` let pass."""
    return _MADE[key.kty](key)


def _sifted(raws: tuple[msgspec.Raw, ...]) -> KeySet:
    keys: list[Jwk] = []
    faults: list[tuple[str, str]] = []
    doubts: list[tuple[str, str]] = []
    for index, raw in enumerate(raws):
        path = f".keys[{index}]"
        try:
            key = _usable(raw)
        except _UnusableError as error:
            faults.append((path, f"cannot check signatures: {error}"))
        else:
            keys.append(key)
            doubts += [(path, doubt) for doubt in _doubts(key)]
    return KeySet(tuple(keys), tuple(faults), tuple(doubts))


def _usable(raw: msgspec.Raw) -> Jwk:
    try:
        key = _KEY.decode(raw)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise _UnusableError(_reason(error)) from error
    if not key.alg and key.kty in {"EC", "OKP"}:
        key = msgspec.structs.replace(key, alg=_ALGORITHMS.get(key.crv, ""))
    make = _MADE.get(key.kty)
    if make is None:
        raise _UnusableError(f'kty "{key.kty}" is none of {", ".join(_MADE)}')
    try:
        make(key)
    except ValueError as error:
        raise _UnusableError(str(error)) from error
    return key


def _doubts(key: Jwk) -> list[str]:
    if key.kty == "oct":
        return ["is a shared secret: whoever can read it here, or in a proxy, can make tokens"]
    if key.kty == "RSA" and (bits := _number(key.n).bit_length()) < _WEAK_RSA_BITS:
        return [f"has {bits} bits; keys of less than {_WEAK_RSA_BITS} are too weak"]
    return []


def _rsa(key: Jwk) -> Any:
    from cryptography.hazmat.primitives.asymmetric import rsa  # noqa: PLC0415  not paid by whoever reads no keys

    n, e = _number(key.n), _number(key.e)
    _demand(not key.alg or key.alg in _RSA_ALGORITHMS, f'alg "{key.alg}" is none of an RSA key')
    _demand(MIN_RSA_BITS <= n.bit_length() <= MAX_RSA_BITS, f"n has {n.bit_length()} bits")
    _demand(n % 2 == 1, "n is even")
    _demand(e < _MAX_EXPONENT, "e is too large")
    return rsa.RSAPublicNumbers(e, n).public_key()


def _ec(key: Jwk) -> Any:
    from cryptography.hazmat.primitives.asymmetric import ec  # noqa: PLC0415  not paid by whoever reads no keys

    size = _POINT_BYTES.get(key.crv, 0)
    _demand(size > 0, f'crv "{key.crv}" is none of {", ".join(_POINT_BYTES)}')
    _demand(key.alg == _ALGORITHMS[key.crv], f'alg "{key.alg}" does not fit {key.crv}')
    x, y = _bytes(key.x), _bytes(key.y)
    _demand(len(x) == len(y) == size, f"x and y of {key.crv} have {size} bytes")
    curves: dict[int, ec.EllipticCurve] = {32: ec.SECP256R1(), 48: ec.SECP384R1(), 66: ec.SECP521R1()}
    return ec.EllipticCurvePublicNumbers(int.from_bytes(x), int.from_bytes(y), curves[size]).public_key()


def _okp(key: Jwk) -> Any:
    from cryptography.hazmat.primitives.asymmetric import ed25519  # noqa: PLC0415  not paid by whoever reads no keys

    _demand(key.crv == "Ed25519", f'crv "{key.crv}" is not Ed25519')
    _demand(key.alg == _ALGORITHMS[key.crv], f'alg "{key.alg}" does not fit Ed25519')
    return ed25519.Ed25519PublicKey.from_public_bytes(_bytes(key.x))


def _secret(key: Jwk) -> bytes:
    _demand(not key.alg or key.alg in _SECRET_ALGORITHMS, f'alg "{key.alg}" is none of a shared secret')
    return _bytes(key.k)


_MADE: Final = {"RSA": _rsa, "EC": _ec, "OKP": _okp, "oct": _secret}


def _demand(holds: bool, why: str) -> None:  # noqa: FBT001  what it demands is the point
    if not holds:
        raise _UnusableError(why)


def _number(text: str) -> int:
    return int.from_bytes(_bytes(text))


def _bytes(text: str) -> bytes:
    """Base64url, with or without padding."""
    bare = text.rstrip("=")
    if not bare or not bare.isascii() or not bare.replace("-", "").replace("_", "").isalnum():
        raise _UnusableError(f'"{text[:16]}" is no base64url')
    return urlsafe_b64decode(bare + "=" * (-len(bare) % 4))


def _reason(error: Exception) -> str:
    return "it is nested too deep" if isinstance(error, RecursionError) else str(error)
