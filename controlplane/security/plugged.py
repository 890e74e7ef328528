"""An intermediate whose root lives elsewhere, plugged in as files: named and laid out as Istio's `cacerts`."""

from datetime import datetime
from hashlib import sha256
from pathlib import Path
from typing import Final

from cryptography import x509

from controlplane.security.authority import Authority, faults
from controlplane.security.keeping import AuthorityError, private_key

FILES: Final = ("ca-cert.pem", "ca-key.pem", "root-cert.pem", "cert-chain.pem")
_NEEDED: Final = FILES[:3]
_LARGEST: Final = 1024 * 1024  # bytes of a file


def plugged_in(folder: Path, now: datetime) -> Authority:
    """The authority in these files. Raises AuthorityError: who plugs one in is never given another."""
    if missing := [name for name in _NEEDED if not (folder / name).exists()]:
        raise AuthorityError(f"{folder} has no {', '.join(missing)}: a plugged-in authority needs {', '.join(FILES)}")
    try:
        authority = _read(folder)
    except (OSError, ValueError, TypeError) as error:
        raise AuthorityError(f"the authority in {folder} cannot be read: {error}") from error
    if found := faults(authority, now):
        raise AuthorityError(f"the authority in {folder} cannot be used: {'; '.join(found)}")
    return authority


def fingerprint(folder: Path) -> str:
    """Of the files' contents: another one when any of them changes."""
    found = sha256()
    for name in FILES:
        try:
            content = _content(folder / name)
        except OSError as error:
            content = str(error).encode()
        found.update(b"%d " % len(content))
        found.update(content)
    return found.hexdigest()


def _read(folder: Path) -> Authority:
    """`cert-chain.pem` may hold the signer itself, and the root: Istio's own instructions say both."""
    (certificate, *more) = x509.load_pem_x509_certificates(_content(folder / "ca-cert.pem"))
    roots = tuple(x509.load_pem_x509_certificates(_content(folder / "root-cert.pem")))
    listed = folder / "cert-chain.pem"
    chain = x509.load_pem_x509_certificates(_content(listed)) if listed.exists() else []
    between = tuple(one for one in dict.fromkeys((*more, *chain)) if one != certificate and one not in roots)
    return Authority(certificate, private_key(_content(folder / "ca-key.pem")), between, roots)


def _content(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(_LARGEST)
