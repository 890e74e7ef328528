"""Things that take long to make are made once a machine, whoever asks: kept by name outside the checkout.

Two may ask for the same at once, and a build may be cut off at any moment: whoever holds the lock builds in a folder
beside the final one, which appears by a rename, whole or not at all.
"""

import fcntl
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

_MONTH = 30 * 24 * 3600.0  # seconds


def default_cache() -> Path:
    """`lateen` in the user's cache folder (XDG base directories)."""
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "lateen"


def digest_of(*parts: bytes | str) -> str:
    """Twelve characters that change with any part, or with where one ends and the next begins."""
    digest = sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        digest.update(b"%d:" % len(data))
        digest.update(data)
    return digest.hexdigest()[:12]


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Holds the lock file; waits for whoever has it. The kernel lets go of it when its holder dies."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def made(folder: Path, make: Callable[[Path], None]) -> Path:
    """`folder`, made by `make(an empty folder)` if it is not there yet."""
    if folder.is_dir():
        os.utime(folder)
        return folder
    with locked(folder.with_name(f".{folder.name}.lock")):
        if not folder.is_dir():
            unfinished = folder.with_name(f".{folder.name}.unfinished")
            shutil.rmtree(unfinished, ignore_errors=True)
            unfinished.mkdir()
            make(unfinished)
            unfinished.rename(folder)
    return folder


def forget_unused(cache: Path, now: float) -> None:
    """Of what `made` keeps, whatever nobody asked for in a month. `now`: seconds since 1970."""
    for lock in cache.glob(".*.lock"):
        folder = cache / lock.name.removeprefix(".").removesuffix(".lock")
        with locked(lock):  # which stays: who waits for a file that is gone waits for nobody
            if folder.is_dir() and now - folder.stat().st_mtime > _MONTH:
                shutil.rmtree(folder)
