"""Roots in one file that its owner alone may read, and the bundle in another that everybody may."""

import asyncio
import os
from hashlib import sha256
from pathlib import Path
from typing import Final

from controlplane.runtime.files import replace
from controlplane.security.keeping import AuthorityError, Kept, StoreError, decode, encode
from controlplane.security.rotation import Roots

KEPT: Final = "roots.json"  # keys and certificates, mode 0600


class FileStore:
    """See `keeping.RootStore`. One process at a time: whoever owns the folder's lock."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._file = folder / KEPT

    def __str__(self) -> str:
        return str(self._file)

    async def load(self) -> Kept | None:
        content = await asyncio.to_thread(self._read)
        return None if content is None else Kept(decode(content, str(self._file)), _revision(content))

    async def create(self, roots: Roots) -> Kept | None:
        return await asyncio.to_thread(self._write, roots, "")

    async def replace(self, roots: Roots, before: Kept) -> Kept | None:
        return await asyncio.to_thread(self._write, roots, before.revision)

    def _read(self) -> bytes | None:
        try:
            with self._file.open("rb") as file:
                mode = os.fstat(file.fileno()).st_mode & 0o077
                content = file.read()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise AuthorityError(f"{self._file} cannot be read: {error.strerror}") from error
        if mode:
            raise AuthorityError(
                f"{self._file} holds keys and others may read it (mode {mode:03o}): chmod 600 {self._file}"
            )
        return content

    def _write(self, roots: Roots, before: str) -> Kept | None:
        """`before`: the revision it stands at; "" if there must be none."""
        found = self._read()
        if (_revision(found) if found is not None else "") != before:
            return None
        content = encode(roots)
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            replace(self._file, content, mode=0o600)
        except OSError as error:
            raise StoreError(f"{self._file} cannot be written: {error.strerror}") from error
        return Kept(roots, _revision(content))


class FileBundle:
    """See `bundles.BundleWriter`: a file that agents on this machine watch."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __str__(self) -> str:
        return str(self._path)

    async def published(self) -> bytes | None:
        return await asyncio.to_thread(self._read)

    async def publish(self, bundle: bytes) -> None:
        await asyncio.to_thread(self._write, bundle)

    def _read(self) -> bytes | None:
        try:
            return self._path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StoreError(f"{self._path} cannot be read: {error.strerror}") from error

    def _write(self, bundle: bytes) -> None:
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            replace(self._path, bundle, mode=0o644)
        except OSError as error:
            raise StoreError(f"{self._path} cannot be written: {error.strerror}") from error


def _revision(content: bytes) -> str:
    return sha256(content).hexdigest()
