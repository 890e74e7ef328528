"""Which files there are, and which of them changed.

Editors rename a new file over the old one, kubelet swaps a symlink three levels away, a network drive sends no events
at all. What all have in common is that looking again shows another file: so a notification only says "look", and the
look compares who the file *is* (device, inode, size, times; symlinks followed).
"""

import os
import stat
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

SUFFIXES: Final = (".yaml", ".yml", ".json")
MAX_BYTES: Final = 16 * 2**20


class Stamp(NamedTuple):
    """Equal stamps mean: the same bytes, as far as the file system tells."""

    device: int
    inode: int
    size: int
    modified_ns: int
    changed_ns: int


class Roots(msgspec.Struct, frozen=True):
    """Where to look: directories, as `kubectl apply -f DIR` reads them, and single files."""

    paths: tuple[Path, ...]
    recursive: bool = False


class Look(msgspec.Struct, frozen=True):
    """What there is now."""

    files: Mapping[str, Stamp]  # whatever has a manifest's name, readable or not
    missing: tuple[str, ...] = ()  # directories (or single files) that are not there, or cannot be listed


def look(roots: Roots) -> Look:
    """All manifest files below the roots, hidden ones left out. A file that vanishes meanwhile is not there."""
    files: dict[str, Stamp] = {}
    missing: list[str] = []
    for root in roots.paths:
        if not root.exists():
            missing.append(str(root))
            continue
        for path in _candidates(root, roots, missing):
            if (stamp := _stamp(path)) is not None:
                files[str(path)] = stamp
    return Look(files, tuple(missing))


def read_file(path: str) -> str:
    """`read_text` of an ordinary file: a pipe called x.yaml would block us for ever. Raises what that raises."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise ValueError("this is no ordinary file")
        return read_text(descriptor)
    finally:
        os.close(descriptor)


def read_text(path: str | int) -> str:
    """The whole file (a path, or an open descriptor). Raises `OSError` or `ValueError`, with words for its author."""
    with open(path, "rb", closefd=isinstance(path, str)) as file:
        content = file.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise ValueError(f"larger than {MAX_BYTES // 2**20} MiB")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"not UTF-8 text (byte {error.start})") from error


def reason(error: OSError | ValueError) -> str:
    """Why a file could not be read, without its name."""
    return error.strerror if isinstance(error, OSError) and error.strerror else str(error)


def watched_directories(roots: Roots) -> tuple[Path, ...]:
    """What to be notified about: directories themselves, and the parents of single files."""
    return tuple(dict.fromkeys(root if root.is_dir() else root.parent for root in roots.paths))


def is_hidden(path: Path) -> bool:
    """`.git`, `.lateen`, editors' swap files; but not kubelet's `..data`, whose swap is the news."""
    return any(part.startswith(".") and not part.startswith("..") for part in path.parts)


def _candidates(root: Path, roots: Roots, unlisted: list[str]) -> Iterable[Path]:
    if not root.is_dir():
        return (root,)
    return _entries(root, frozenset(), unlisted, recursive=roots.recursive)


def _entries(directory: Path, above: frozenset[str], unlisted: list[str], *, recursive: bool) -> Iterator[Path]:
    """`above`: the real directories we came through, so that a symlink to a parent ends."""
    real = os.path.realpath(directory)
    if real in above:
        return
    try:
        names = sorted(os.listdir(directory))  # noqa: PTH208  (names are what is needed)
    except OSError:
        unlisted.append(str(directory))
        return
    for name in names:
        if name.startswith("."):  # also kubelet's ..2026_01_01: its files are reached through their symlinks
            continue
        path = directory / name
        if path.is_dir():
            if recursive:
                yield from _entries(path, above | {real}, unlisted, recursive=True)
        elif name.endswith(SUFFIXES):
            yield path


def _stamp(path: Path) -> Stamp | None:
    """Of a link that leads nowhere, the link's own: it is told, and read once it leads somewhere."""
    for look_at in (path.stat, path.lstat):
        try:
            status = look_at()
        except OSError:
            continue
        return Stamp(status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
    return None
