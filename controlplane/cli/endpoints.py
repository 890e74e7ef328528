"""Where `lateen serve` is to serve, looked at before it is tried: gRPC's own words for a failure say little."""

import os
import socket
import ssl
import stat
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Final

from cryptography import x509

from controlplane.cli.refusal import Refused
from controlplane.local import sockets
from controlplane.xds.credentials import CertificateFiles, Certificates

_LONGEST_PATH: Final = 107  # bytes of a Unix socket's path (Linux)


def check_socket(path: Path) -> None:
    """Refuses a Unix socket that could not be served, or that somebody serves already."""
    if len(os.fsencode(path)) > _LONGEST_PATH:
        raise Refused(f"--xds-socket {path}: a socket's path has at most {_LONGEST_PATH} bytes")
    if not path.parent.is_dir():
        raise Refused(f"--xds-socket {path}: there is no directory {path.parent}")
    if not path.exists():
        return
    if not stat.S_ISSOCK(path.stat().st_mode):
        raise Refused(f"--xds-socket {path}: this file is no socket, and is not overwritten")
    with socket.socket(socket.AF_UNIX) as other, suppress(OSError):
        other.connect(str(path))
        raise Refused(f"--xds-socket {path}: another process serves it")


def check_address(host: str, port: int, option: str = "--listen") -> None:
    """Refuses an address that cannot be had."""
    where = f"{option} {host}:{port}"
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as attempt:
            attempt.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            attempt.bind(address)
    except OSError as error:
        held = f", by {sockets.holder_of(port)}" if "in use" in str(error) else ""
        raise Refused(f"{where}: {error.strerror}{held}") from error


def certificates(directory: Path, now: datetime) -> Certificates:
    """The three files of a directory. Refuses those that no proxy could use."""
    files = CertificateFiles(directory / "cert-chain.pem", directory / "key.pem", directory / "root-cert.pem")
    if not directory.is_dir():
        raise Refused(f"--certificates {directory}: no such directory")
    try:
        found = Certificates(files)
        leaf = x509.load_pem_x509_certificates(files.certificate.read_bytes())[0]
    except OSError as error:
        if isinstance(error, ssl.SSLError):  # which is one, without a file's name
            raise Refused(f"--certificates {directory}: {_in_words(error)}") from error
        raise Refused(f"{error.filename}: {error.strerror}") from error
    except ValueError as error:
        raise Refused(f"--certificates {directory}: {error}") from error
    if leaf.not_valid_after_utc <= now:
        raise Refused(f"{files.certificate}: the certificate ended on {leaf.not_valid_after_utc:%Y-%m-%d %H:%M} UTC")
    return found


def _in_words(error: ssl.SSLError) -> str:
    if error.reason == "KEY_VALUES_MISMATCH":
        return "key.pem is not the key of cert-chain.pem"
    return f"the certificates cannot be used: {error}"
