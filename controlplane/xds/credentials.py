"""mTLS from files that may change at any time.

gRPC asks for the certificates at every handshake, so a renewal needs no restart and no watcher. Key, chain and roots of
one generation belong together: a generation is one folder behind a symlink (`..data`, as kubelet does), and files that
do not fit together leave the last good ones in use.
"""

import ssl
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import grpc
import structlog

log = structlog.get_logger(__name__)


class CertificateFiles(NamedTuple):
    """PEM files of the server, and the roots its clients' certificates must chain to."""

    certificate: Path
    key: Path
    roots: Path

    def read(self) -> "Generation":
        """Their content now. Raises OSError."""
        return Generation(self.certificate.read_bytes(), self.key.read_bytes(), self.roots.read_bytes())


class Generation(NamedTuple):
    """One set of PEM contents."""

    certificate: bytes
    key: bytes
    roots: bytes

    def check(self) -> None:
        """Raises ssl.SSLError when key and certificate are no pair, or a file is no PEM."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_verify_locations(cadata=self.roots.decode())
        with tempfile.NamedTemporaryFile() as chain, tempfile.NamedTemporaryFile() as key:
            chain.write(self.certificate)
            chain.flush()
            key.write(self.key)
            key.flush()
            context.load_cert_chain(chain.name, key.name, password="")  # or it would ask at the terminal for one

    def configuration(self) -> Any:
        """As gRPC takes it."""
        return grpc.ssl_server_certificate_configuration([(self.key, self.certificate)], self.roots)


class Certificates:
    """Server credentials that follow their files. Clients must present a certificate."""

    def __init__(self, files: CertificateFiles) -> None:
        """Raises OSError or ssl.SSLError: a server must not start on certificates that cannot work."""
        self._files = files
        self._current = files.read()
        self._current.check()

    def credentials(self) -> Any:
        """For `add_secure_port`."""
        return grpc.dynamic_ssl_server_credentials(
            self._current.configuration(), self._renewed, require_client_authentication=True
        )

    def _renewed(self) -> Any:
        """Called by gRPC at each handshake; None: nothing new."""
        try:
            found = self._files.read()
            if found == self._current:
                return None
            found.check()
        except (OSError, ValueError) as error:  # SSLError is an OSError; half a renewal is one of these
            log.warning("xds certificate files are not usable, the last good ones stay", error=str(error))
            return None
        self._current = found
        log.info("xds certificates renewed", certificate=str(self._files.certificate))
        return found.configuration()
