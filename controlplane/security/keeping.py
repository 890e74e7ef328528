"""Where the mesh's own root lives on disk: one file, readable by its owner alone, replaced as a whole.

A root is made once. When there was one and it cannot be read, that is an error for a person: a new root made in
silence would cut off every workload that trusts the old one. So the file names itself in a second one, which holds no
secret (`trusted.pem`, the bundle), and a folder that has the second without the first is refused.
"""

import os
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from controlplane.security.authority import Authority, PrivateKey, faults, pem
from controlplane.security.rotation import Roots, Step

KEPT: Final = "roots.json"  # keys and certificates, mode 0600
TRUSTED: Final = "trusted.pem"  # the bundle
PLUGGED: Final = ("ca-cert.pem", "ca-key.pem", "root-cert.pem", "cert-chain.pem")  # as Istio's `cacerts`


class AuthorityError(Exception):
    """An authority that is there and cannot be used; the message says what to do."""


class _Kept(msgspec.Struct, frozen=True):
    key: str
    certificate: str
    chain: str
    roots: str


class _File(msgspec.Struct, frozen=True):
    step: Step
    current: _Kept
    coming: _Kept | None = None
    version: int = 1


def load(folder: Path) -> Roots | None:
    """What is kept there; None when nothing ever was. Raises AuthorityError."""
    secret, public = folder / KEPT, folder / TRUSTED
    try:
        content = secret.read_bytes()
    except FileNotFoundError:
        if public.exists():
            raise AuthorityError(
                f"{public} says that there is a root, but {secret} with its key is gone: bring it back from a backup, "
                f"or remove {public} to start with a new root (workloads that trust the old one are then cut off)"
            ) from None
        return None
    except OSError as error:
        raise AuthorityError(f"{secret} cannot be read: {error.strerror}") from error
    if (mode := secret.stat().st_mode & 0o077) != 0:
        raise AuthorityError(f"{secret} holds keys and others may read it (mode {mode:03o}): chmod 600 {secret}")
    try:
        found = msgspec.json.decode(content, type=_File)
        coming = None if found.coming is None else _restored(found.coming)
        return Roots(_restored(found.current), coming, found.step)
    except (msgspec.MsgspecError, ValueError, TypeError) as error:
        raise AuthorityError(f"{secret} is damaged ({error}): bring it back from a backup") from error


def save(folder: Path, roots: Roots) -> None:
    """Keeps the roots; a reader sees the old file or the new one, never half of it. Raises OSError."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    content = _File(roots.step, _kept(roots.current), None if roots.coming is None else _kept(roots.coming))
    _replace(folder / KEPT, msgspec.json.format(msgspec.json.encode(content)), mode=0o600)
    _replace(folder / TRUSTED, roots.bundle, mode=0o644)


def plugged_in(folder: Path, now: datetime) -> Authority | None:
    """An intermediate from files named as Istio's `cacerts`; None if there are none. Raises AuthorityError."""
    there = {name for name in PLUGGED if (folder / name).exists()}
    needed = set(PLUGGED[:3])
    if not there:
        return None
    if missing := sorted(needed - there):
        raise AuthorityError(f"{folder} has no {', '.join(missing)}: a plugged-in authority needs {', '.join(PLUGGED)}")
    try:
        authority = _plugged(folder)
    except (OSError, ValueError, TypeError) as error:
        raise AuthorityError(f"the authority in {folder} cannot be read: {error}") from error
    if found := faults(authority, now):
        raise AuthorityError(f"the authority in {folder} cannot be used: {'; '.join(found)}")
    return authority


def _plugged(folder: Path) -> Authority:
    """`cert-chain.pem` may hold the signer itself, and the root: Istio's own instructions say both."""
    (certificate, *_) = x509.load_pem_x509_certificates((folder / "ca-cert.pem").read_bytes())
    roots = tuple(x509.load_pem_x509_certificates((folder / "root-cert.pem").read_bytes()))
    listed = folder / "cert-chain.pem"
    chain = x509.load_pem_x509_certificates(listed.read_bytes()) if listed.exists() else []
    between = tuple(one for one in chain if one != certificate and one not in roots)
    return Authority(certificate, _key((folder / "ca-key.pem").read_bytes()), between, roots)


def _kept(authority: Authority) -> _Kept:
    key = authority.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    texts: list[Any] = [key, pem((authority.certificate,)), pem(authority.chain), pem(authority.roots)]
    return _Kept(*(text.decode() for text in texts))


def _restored(kept: _Kept) -> Authority:
    (certificate,) = x509.load_pem_x509_certificates(kept.certificate.encode())
    chain = tuple(x509.load_pem_x509_certificates(kept.chain.encode())) if kept.chain else ()
    return Authority(
        certificate, _key(kept.key.encode()), chain, tuple(x509.load_pem_x509_certificates(kept.roots.encode()))
    )


def _key(content: bytes) -> PrivateKey:
    key = load_pem_private_key(content, password=None)
    if not isinstance(key, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey):
        raise TypeError("its key is neither EC nor RSA")
    return key


def _replace(path: Path, content: bytes, *, mode: int) -> None:
    """Written beside, flushed to the disk, and moved over."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    try:
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(file.fileno(), mode)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        beside.rename(path)
    except OSError:
        beside.unlink(missing_ok=True)
        raise
    _flush(path.parent)


def _flush(folder: Path) -> None:
    """Makes the new name itself last through a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
