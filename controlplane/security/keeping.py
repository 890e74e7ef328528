"""Keeping the mesh's own root: what a store of it must promise, and how it is written down.

A root is made once. When there was one and it cannot be read, that is an error for a person: a new root made in
silence would cut off every workload that trusts the old one. Several control planes may share a store, so that it is
never written blindly: a first root only where there is none, another state only in place of the one that was read.
"""

from typing import Any, Protocol

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from controlplane.security.authority import Authority, PrivateKey, pem
from controlplane.security.rotation import Roots, Step


class AuthorityError(Exception):
    """An authority that is there and cannot be used; the message says what to do."""


class StoreError(Exception):
    """A store that does not answer now, or cannot be written; the message says why."""


class Kept(msgspec.Struct, frozen=True):
    """The roots as a store has them. `revision`: of its content, in its own words."""

    roots: Roots
    revision: str


class RootStore(Protocol):
    """Where roots are kept. `str()` of it says where, for people."""

    async def load(self) -> Kept | None:
        """What is kept; None when nothing is. Raises AuthorityError when it is damaged, StoreError."""
        ...

    async def create(self, roots: Roots) -> Kept | None:
        """Keeps the first roots; None if somebody else did so before. Raises StoreError."""
        ...

    async def replace(self, roots: Roots, before: Kept) -> Kept | None:
        """Keeps other roots; None if what is kept is no more what it was `before`. Raises StoreError."""
        ...


class _Pems(msgspec.Struct, frozen=True):
    key: str
    certificate: str
    chain: str
    roots: str


class _Document(msgspec.Struct, frozen=True):
    step: Step
    current: _Pems
    coming: _Pems | None = None
    version: int = 1


def encode(roots: Roots) -> bytes:
    """Keys and certificates as one JSON document."""
    found = _Document(roots.step, _pems(roots.current), None if roots.coming is None else _pems(roots.coming))
    return msgspec.json.format(msgspec.json.encode(found))


def decode(content: bytes, where: str) -> Roots:
    """What `encode` made. Raises AuthorityError; `where` it stands, for its message."""
    try:
        return _roots(msgspec.json.decode(content, type=_Document))
    except (msgspec.MsgspecError, ValueError, TypeError) as error:
        raise AuthorityError(f"{where} is damaged ({error}): bring it back from a backup") from error


def private_key(content: bytes) -> PrivateKey:
    """A key of a kind that authorities have. Raises ValueError or TypeError."""
    key = load_pem_private_key(content, password=None)
    if not isinstance(key, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey):
        raise TypeError("its key is neither EC nor RSA")
    return key


def _roots(document: _Document) -> Roots:
    coming = None if document.coming is None else _restored(document.coming)
    if (coming is None) != (document.step is Step.STEADY):
        raise ValueError(f"step {document.step} with {'one root' if coming is None else 'two roots'}")
    return Roots(_restored(document.current), coming, document.step)


def _pems(authority: Authority) -> _Pems:
    key = authority.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    texts: list[Any] = [key, pem((authority.certificate,)), pem(authority.chain), pem(authority.roots)]
    return _Pems(*(text.decode() for text in texts))


def _restored(kept: _Pems) -> Authority:
    (certificate,) = x509.load_pem_x509_certificates(kept.certificate.encode())
    chain = tuple(x509.load_pem_x509_certificates(kept.chain.encode())) if kept.chain else ()
    roots = tuple(x509.load_pem_x509_certificates(kept.roots.encode()))
    return Authority(certificate, private_key(kept.key.encode()), chain, roots)
