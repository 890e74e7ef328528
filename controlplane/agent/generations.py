"""The files Envoy reads, and what a restarted agent finds again.

Envoy reads key, chain and roots one after the other when something moves in the folder it watches: replaced one by
one, they would be met as a pair that does not match. So a generation is a folder of its own, and one symbolic link is
moved onto it, as the kubelet does with Secrets:

    identity/..data -> ..2026_11_21_09_30_00.000001/      key.pem  cert-chain.pem  root-cert.pem
    identity/key.pem -> ..data/key.pem                    and so on: the names that Envoy knows never change

The generation before stays until the next: Envoy may be reading it.
"""

import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Final, NamedTuple

from controlplane.agent import files
from controlplane.agent.certificate import LARGEST, Facts, Pair, Roots
from controlplane.runtime.files import replace

FOLDER: Final = "identity"
KEY: Final = "key.pem"
CHAIN: Final = "cert-chain.pem"
ROOTS: Final = "root-cert.pem"
BOOTSTRAP: Final = "bootstrap.json"

_NAMES: Final = (KEY, CHAIN, ROOTS)
_CURRENT: Final = "..data"
_PRIVATE: Final = 0o700


class Staged(NamedTuple):
    """A generation that Envoy does not see yet."""

    name: str
    pair: Pair


class Stored(NamedTuple):
    """A generation as bytes, all PEM."""

    key: bytes
    chain: bytes
    roots: bytes

    def __repr__(self) -> str:
        return "Stored([redacted])"


class Held(NamedTuple):
    """A generation that Envoy sees, and what is known of it."""

    generation: Stored
    facts: Facts
    roots: Roots


class IdentityWriter:
    """The agent's directory: one writer, which is us, and one reader, which is Envoy."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._folder = directory / FOLDER

    def prepare(self) -> None:
        """Makes the folders, open to us alone. What a crash left half-made goes. Raises OSError."""
        for folder in (self._directory, self._folder):
            folder.mkdir(mode=_PRIVATE, parents=True, exist_ok=True)
            with suppress(
                PermissionError
            ):  # a volume's own folder belongs to the kubelet; our files are private anyway
                folder.chmod(_PRIVATE)
        self._remove_all_but(self._current())

    def stored(self) -> Stored:
        """What Envoy sees. Raises OSError: FileNotFoundError before the first generation."""
        return Stored(*(files.read_bounded(self._folder / _CURRENT / name, LARGEST) for name in _NAMES))

    @property
    def pair(self) -> Pair:
        """Where the current generation is, whichever that is."""
        return _pair(self._folder / _CURRENT)

    def stage(self, generation: Stored, now: datetime) -> Staged:
        """Writes one, to be looked at. Raises OSError."""
        name = self._new_folder(now)
        for file, content in zip(_NAMES, generation, strict=True):
            files.write_new(self._folder / name / file, content)
        files.flush(self._folder / name)
        return Staged(name, _pair(self._folder / name))

    def drop(self, staged: Staged) -> None:
        """It was no good."""
        _remove(self._folder / staged.name)

    def show(self, staged: Staged) -> None:
        """To Envoy, in one step. Raises OSError."""
        before = self._current()
        files.point(self._folder / _CURRENT, staged.name)
        for file in _NAMES:
            if not (self._folder / file).is_symlink():
                files.point(self._folder / file, f"{_CURRENT}/{file}")
        files.flush(self._folder)
        self._remove_all_but(staged.name, before)

    def write_documents(self, documents: Mapping[str, str]) -> None:
        """What Envoy is started with, beside the identity. Raises OSError."""
        for name, content in documents.items():
            replace(self._directory / name, content.encode(), mode=files.PRIVATE)

    def document(self, name: str) -> str | None:
        """One of them."""
        try:
            return files.read_bounded(self._directory / name, LARGEST).decode()
        except (OSError, UnicodeDecodeError):
            return None

    def _new_folder(self, now: datetime) -> str:
        """A name that was not there; its time is for people, its end keeps two of one moment apart."""
        for number in range(1_000_000):
            name = f"..{now:%Y_%m_%d_%H_%M_%S}.{number:06d}"
            try:
                (self._folder / name).mkdir(mode=_PRIVATE)
            except FileExistsError:
                continue
            return name
        raise AssertionError("a million generations in one second")

    def _current(self) -> str:
        try:
            return str((self._folder / _CURRENT).readlink())
        except OSError:
            return ""

    def _remove_all_but(self, *kept: str) -> None:
        for entry in _generations(self._folder):
            if entry not in kept:
                _remove(self._folder / entry)


def _remove(generation: Path) -> None:
    with suppress(OSError):  # it is tried again when the next one comes
        for name in os.listdir(generation):  # noqa: PTH208  (names are enough)
            (generation / name).unlink()
        generation.rmdir()


def _pair(folder: Path) -> Pair:
    return Pair(folder / CHAIN, folder / KEY)


def _generations(folder: Path) -> Iterable[str]:
    with os.scandir(folder) as entries:
        return [entry.name for entry in entries if entry.name.startswith("..") and entry.is_dir(follow_symlinks=False)]
