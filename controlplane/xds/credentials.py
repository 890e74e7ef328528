"""mTLS from certificates that may change at any time.

gRPC asks for the certificates at every handshake, so a renewal needs no restart and no watcher. They come from files,
or from an authority in this process. A generation of files is one folder behind a symlink (`..data`, as kubelet does),
and files that do not fit together leave the last good ones in use.
"""

from pathlib import Path
from typing import Any, NamedTuple

import grpc
import structlog

from controlplane.runtime.tls import Generation, GenerationSource

log = structlog.get_logger(__name__)


class CertificateFiles(NamedTuple):
    """PEM files of the server, and the roots its clients' certificates must chain to."""

    certificate: Path
    key: Path
    roots: Path

    def read(self) -> Generation:
        """Their content now. Raises OSError."""
        return Generation(self.certificate.read_bytes(), self.key.read_bytes(), self.roots.read_bytes())


class Certificates:
    """Server credentials that follow their source. Clients must present a certificate."""

    def __init__(self, source: GenerationSource) -> None:
        """Raises OSError, ssl.SSLError or ValueError: a server must not start on certificates that cannot work."""
        self._source = source
        self._current = source.read()
        self._current.check()

    def credentials(self) -> Any:
        """For `add_secure_port`."""
        return grpc.dynamic_ssl_server_credentials(
            _configuration(self._current), self._renewed, require_client_authentication=True
        )

    def _renewed(self) -> Any:
        """Called by gRPC at each handshake, in a thread of its own; None: nothing new."""
        try:
            found = self._source.read()
            if found == self._current:
                return None
            found.check()
        except (OSError, ValueError) as error:  # SSLError is an OSError; half a renewal is one of these
            log.warning("xds certificates are not usable, the last good ones stay", error=str(error))
            return None
        self._current = found
        log.info("xds certificates renewed")
        return _configuration(found)


def _configuration(generation: Generation) -> Any:
    """As gRPC takes it."""
    return grpc.ssl_server_certificate_configuration([(generation.key, generation.certificate)], generation.roots)
