"""Files of the agent's own: bounded when read, private and flushed when written."""

import os
from pathlib import Path
from typing import Final

PRIVATE: Final = 0o600


def read_bounded(path: Path, limit: int) -> bytes:
    """A file's content. Raises OSError, also when it has more than `limit` bytes."""
    with path.open("rb", buffering=0) as file:
        content = file.read(limit + 1)
    if len(content) > limit:
        raise OSError(f"{path} has more than {limit:,} bytes")
    return content


def write_new(path: Path, content: bytes) -> None:
    """A file that was not there, readable by its owner alone, flushed to the disk."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, PRIVATE)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def point(link: Path, target: str) -> None:
    """A symbolic link, made or moved in one step."""
    beside = link.with_name(f"{link.name}_tmp")
    beside.unlink(missing_ok=True)
    beside.symlink_to(target)
    beside.rename(link)


def flush(folder: Path) -> None:
    """Makes names in a folder last."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
