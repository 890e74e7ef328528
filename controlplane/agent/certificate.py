"""What PEM says, looked at before Envoy sees it. OpenSSL judges, through `ssl`; there is no other library here.

The control plane is authenticated, and still may be wrong: a chain for another key, of an authority that the bundle
does not have, or already over, would cut the workload off the moment Envoy took it. So a new certificate first has to
do what it is for: a handshake, in memory, with a client that trusts the bundle. A workload that gets none keeps what
it has.
"""

import ssl
from collections.abc import Iterator
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any, Final, NamedTuple

LARGEST: Final = 1_048_576  # bytes of a bundle: as much as a ConfigMap holds
_MOST_ROOTS: Final = 64
_BEGIN: Final = b"-----BEGIN CERTIFICATE-----"
_END: Final = b"-----END CERTIFICATE-----"
_TURNS: Final = 8  # of a handshake; three are enough
_VERSION_TAG: Final = 0xA0
_BEFORE_KEY: Final = 5  # serial number, signature algorithm, issuer, validity, subject


class Unusable(Exception):  # noqa: N818  (a judgement on what somebody gave us)
    """PEM that will not do; the message says why."""


class Pair(NamedTuple):
    """Files with a chain and its key: `ssl` reads no strings."""

    chain: Path
    key: Path


class Roots(NamedTuple):
    """A trust bundle, and its certificates as DER."""

    pem: bytes
    certificates: tuple[bytes, ...]

    @property
    def digests(self) -> tuple[str, ...]:
        """SHA-256 of each, in hexadecimal."""
        return tuple(sha256(one).hexdigest() for one in self.certificates)


class Facts(NamedTuple):
    """What a certificate says, once it was found good."""

    names: tuple[str, ...]  # URIs: a SPIFFE id
    not_after: datetime
    issued_by: str  # SHA-256 of the issuer's SubjectPublicKeyInfo, in hexadecimal


def parse_roots(pem: bytes) -> Roots:
    """A bundle, of one root at least. Raises `Unusable`."""
    if len(pem) > LARGEST:
        raise Unusable(f"the trust bundle has more than {LARGEST:,} bytes")
    try:
        certificates = tuple(_blocks(pem))
        trusting(certificates)
    except ValueError as error:
        raise Unusable(f"the trust bundle is no list of certificates in PEM: {error}") from error
    if not 0 < len(certificates) <= _MOST_ROOTS:
        raise Unusable(f"the trust bundle has {len(certificates)} certificates; 1 to {_MOST_ROOTS} are taken")
    return Roots(pem, certificates)


def trusting(roots: tuple[bytes, ...]) -> ssl.SSLContext:
    """For a client that takes a server whose chain leads to one of these. Raises ValueError (ssl.SSLError)."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.verify_flags |= ssl.VerifyFlags.VERIFY_X509_PARTIAL_CHAIN  # a plugged-in authority's root may have its own
    if roots:
        try:
            context.load_verify_locations(cadata=b"".join(roots))
        except ssl.SSLError as error:
            raise ValueError(str(error)) from error
    return context


def examine(pair: Pair, roots: Roots) -> Facts:
    """Whether Envoy may have it, and what it says. Raises `Unusable`."""
    server = _server(pair)
    refusal = "the bundle is empty"
    for root in roots.certificates:
        try:
            shown = _handshake(server, root)
        except ssl.SSLCertVerificationError as error:
            refusal = error.verify_message
        except ssl.SSLError as error:
            refusal = str(error)
        else:
            return _facts(shown, _issuer(pair, root))
    raise Unusable(f"the certificate does not lead to a root in the trust bundle: {refusal}")


def _server(pair: Pair) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(pair.chain, pair.key, password="")  # none: it must not ask a terminal
    except ssl.SSLError as error:
        raise Unusable(f"the certificate is not for the key that was made: {error.reason or error}") from error
    return context


def _handshake(server: ssl.SSLContext, root: bytes) -> dict[str, Any]:
    """What a client that trusts this root alone learns of the server. Raises ssl.SSLError."""
    context = trusting((root,))
    context.check_hostname = False  # it is made out to an account, not to a host
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    client, other = context.wrap_bio(down, up), server.wrap_bio(up, down, server_side=True)
    waiting = [client, other]
    for _ in range(_TURNS):
        waiting = [side for side in waiting if not _advanced(side)]
    shown = client.getpeercert()
    assert shown is not None
    return shown


def _advanced(side: ssl.SSLObject) -> bool:
    """Whether its handshake is complete."""
    try:
        side.do_handshake()
    except ssl.SSLWantReadError:
        return False
    return True


def _facts(shown: dict[str, Any], issuer: bytes) -> Facts:
    names = tuple(value for kind, value in shown.get("subjectAltName", ()) if kind == "URI")
    not_after = datetime.fromtimestamp(ssl.cert_time_to_seconds(shown["notAfter"]), UTC)
    return Facts(names, not_after, sha256(public_key_info(issuer)).hexdigest())


def _issuer(pair: Pair, root: bytes) -> bytes:
    """Who signed the leaf: what follows it, or the root."""
    return (*_blocks(pair.chain.read_bytes()), root)[1]


def _blocks(pem: bytes) -> Iterator[bytes]:
    """The certificates in PEM, as DER. Raises ValueError."""
    for part in pem.split(_BEGIN)[1:]:
        body, end, _ = part.partition(_END)
        if not end:
            raise ValueError("a certificate has no end")
        yield ssl.PEM_cert_to_DER_cert((_BEGIN + b"\n" + body.strip() + b"\n" + _END).decode("ascii"))


def public_key_info(certificate: bytes) -> bytes:
    """The SubjectPublicKeyInfo of a certificate (RFC 5280, 4.1), DER both."""
    at, _ = _element(certificate, _element(certificate, 0)[0])
    if certificate[at] == _VERSION_TAG:
        at = _element(certificate, at)[1]
    for _ in range(_BEFORE_KEY):
        at = _element(certificate, at)[1]
    return certificate[at : _element(certificate, at)[1]]


def _element(der: bytes, at: int) -> tuple[int, int]:
    """Where the content of the element at this place begins, and where it ends (X.690, 8.1.3)."""
    length, begin = der[at + 1], at + 2
    if length & 0x80:
        size = length & 0x7F
        length, begin = int.from_bytes(der[begin : begin + size]), begin + size
    return begin, begin + length
