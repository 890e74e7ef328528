"""Keys that were good once, over restarts: an issuer that is away must not make strangers of all its users."""

from collections.abc import Iterable
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import Final

import msgspec
import structlog

from controlplane.model import jwks
from controlplane.runtime.files import replace

log = structlog.get_logger(__name__)

_SUFFIX: Final = ".json"


class _Kept(msgspec.Struct):
    """Public keys, and where they are from: a file that ended up under another name is nobody's."""

    uri: str
    jwks: str


class KeptKeys:
    """One file for each place. What is in them is read as strictly as what comes over the network."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def load(self, uri: str) -> str:
        """The last good set, "" if there is none."""
        try:
            kept = msgspec.json.decode(self._file(uri).read_bytes(), type=_Kept)
        except (OSError, msgspec.DecodeError, UnicodeError):
            return ""
        found = jwks.read(kept.jwks)
        return found.text if kept.uri == uri and found.keys else ""

    def save(self, uri: str, text: str) -> None:
        """Failing to is no reason not to use them."""
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            replace(self._file(uri), msgspec.json.encode(_Kept(uri, text)), mode=0o600)
        except OSError as error:
            log.warning("keys cannot be kept for the next start", folder=str(self._folder), error=error.strerror)

    def keep_only(self, uris: Iterable[str]) -> None:
        """Forget all others."""
        wanted = {self._file(uri).name for uri in uris}
        with suppress(OSError):
            for path in self._folder.glob(f"*{_SUFFIX}"):
                if path.name not in wanted:
                    path.unlink(missing_ok=True)

    def _file(self, uri: str) -> Path:
        return self._folder / f"{sha256(uri.encode()).hexdigest()}{_SUFFIX}"


class NotKept:
    """Where there is no place to keep them."""

    def load(self, _: str) -> str:
        return ""

    def save(self, *_: str) -> None:
        """Nowhere."""

    def keep_only(self, _: Iterable[str]) -> None:
        """Nothing is."""
