"""One generation of what a TLS server needs: its certificate, the key to it, and whom it trusts.

These three belong together. They come from files or from an authority in this process; whoever serves takes a whole
generation at a time, and none that cannot work.
"""

import os
import ssl
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final, NamedTuple, Protocol

# TLS 1.3 has its own, all good. For 1.2: forward secrecy and authenticated encryption only.
_CIPHERS: Final = "ECDHE+AESGCM:ECDHE+CHACHA20"


class Generation(NamedTuple):
    """PEM contents."""

    certificate: bytes  # leaf first
    key: bytes
    roots: bytes

    def check(self) -> None:
        """Raises ssl.SSLError when key and certificate are no pair, or one is no PEM; ValueError if it is no text."""
        server_context(self)


class GenerationSource(Protocol):
    """Where generations come from."""

    def read(self) -> Generation:
        """The one that counts now; from any thread. Raises OSError."""
        ...


def server_context(generation: Generation) -> ssl.SSLContext:
    """For a server whose clients may show a certificate, which must then lead to one of the roots.

    Sessions are never resumed: who was trusted in an earlier one need not be trusted now.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.options |= ssl.OP_NO_TICKET | ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
    context.num_tickets = 0
    context.verify_mode = ssl.CERT_OPTIONAL
    return _with(context, generation)


def client_context(generation: Generation) -> ssl.SSLContext:
    """For a client that shows its certificate, to a server that proves its name by one of the roots."""
    return _with(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), generation)


def _with(context: ssl.SSLContext, generation: Generation) -> ssl.SSLContext:
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(_CIPHERS)
    context.verify_flags |= ssl.VerifyFlags.VERIFY_X509_PARTIAL_CHAIN  # a root that is plugged in may have its own
    context.load_verify_locations(cadata=generation.roots.decode())
    with _as_file(generation.certificate) as chain, _as_file(generation.key) as key:
        context.load_cert_chain(chain, key, password="")  # or it would ask at the terminal for one
    return context


@contextmanager
def _as_file(content: bytes) -> Iterator[str]:
    """OpenSSL reads certificates from files only. Where the system has files in memory, no key hits a disk."""
    if sys.platform == "linux":
        descriptor = os.memfd_create("pem", os.MFD_CLOEXEC)
        with os.fdopen(descriptor, "wb") as memory:
            _fill(memory, content)
            yield f"/proc/self/fd/{descriptor}"
    else:
        with tempfile.NamedTemporaryFile() as file:  # mode 0600
            _fill(file, content)
            yield file.name


def _fill(file: Any, content: bytes) -> None:
    file.write(content)
    file.flush()
