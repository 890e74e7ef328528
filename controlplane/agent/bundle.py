"""The trust bundle comes as a file that somebody else replaces: a ConfigMap's mount, or the laptop mesh's own."""

from pathlib import Path

from controlplane.agent import certificate, files
from controlplane.agent.certificate import Roots, Unusable
from controlplane.agent.logs import Log


class BundleFile:
    """The last bundle that was good. One that is missing, half-written or empty changes nothing, and is said once."""

    def __init__(self, path: Path, log: Log) -> None:
        self._path = path
        self._log = log
        self.trouble = ""
        self.roots: Roots | None = None

    def read(self) -> Roots | None:
        """What is there now, or was last; the same object while it has the same content."""
        try:
            content = files.read_bounded(self._path, certificate.LARGEST)
            if self.roots is None or content != self.roots.pem:
                self.roots = certificate.parse_roots(content)
            self._say("")
        except OSError as error:
            self._say(f"{self._path}: {error.strerror or error}")
        except Unusable as error:
            self._say(f"{self._path}: {error}")
        return self.roots

    def _say(self, trouble: str) -> None:
        if trouble and trouble != self.trouble:
            self._log.warning("trust bundle not usable", error=trouble)
        self.trouble = trouble
