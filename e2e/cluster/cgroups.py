"""The node's share of the machine: a folder of its own in every hierarchy of control groups, below our own place.

Below our own, so that whoever limits us limits the node. Version 1 of control groups only: there each controller has
its hierarchy. In version 2 there is one for all, and its rules are others.
"""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from e2e.cluster.surroundings import hierarchies

_INHERITED = ("cpuset.cpus", "cpuset.mems")  # empty in a new folder, and nothing may run there until they are not


def folders(name: str) -> list[Path]:
    """Where one of that name is, or would be: in each hierarchy."""
    return [place / name for place in _own_places()]


def make(folders: Sequence[Path]) -> None:
    """Whose number is written to the `cgroup.procs` of all of them is in, with all it starts."""
    for folder in folders:
        folder.mkdir(exist_ok=True)
        for setting in _INHERITED:
            if (folder / setting).exists():
                (folder / setting).write_text((folder.parent / setting).read_text())


def removed(folder: Path) -> bool:
    """With all below it; not while processes are in it, dying ones among them."""
    try:
        for inner in reversed(list(_with_inner(folder))):
            inner.rmdir()
    except OSError:  # busy, or another does the same
        return not folder.exists()
    return True


def first_process(folder: Path) -> int | None:
    """Of the namespace that was made in this group: the one in it that is number 1 there, and no deeper (proc(5),
    `NSpid`: its numbers from our namespace inwards)."""
    for pid in _members(folder):
        with suppress(FileNotFoundError, ProcessLookupError):
            lines = Path(f"/proc/{pid}/status").read_text().splitlines()
            if any(line.split() == ["NSpid:", pid, "1"] for line in lines):
                return int(pid)
    return None


def _members(folder: Path) -> list[str]:
    with suppress(OSError):  # a group that goes at this moment
        return (folder / "cgroup.procs").read_text().split()
    return []


def controllers_here() -> set[str]:
    """Of version 1, as this process sees them."""
    listed = hierarchies(Path("/proc/self/cgroup").read_text())
    return {controller for controllers, _ in listed for controller in controllers.split(",")}


def _with_inner(folder: Path) -> Iterator[Path]:
    """Folders before those in them."""
    if folder.is_dir():
        yield folder
        for inner in folder.iterdir():
            if inner.is_dir():
                yield from _with_inner(inner)


def _own_places() -> list[Path]:
    """Where we are in each hierarchy, as a folder."""
    found = mounted(Path("/proc/self/mountinfo").read_text())
    own = hierarchies(Path("/proc/self/cgroup").read_text())
    return [found[controllers] / path.lstrip("/") for controllers, path in own if controllers in found]


def mounted(mountinfo: str) -> dict[str, Path]:
    """By what a hierarchy is, where it is mounted (proc(5): fields up to ` - `, then type, source and options)."""
    found: dict[str, Path] = {}
    for line in mountinfo.splitlines():
        before, _, after = line.partition(" - ")
        kind, _, options = after.split(" ", 2)
        if kind == "cgroup":
            controllers = [one for one in options.split(",") if one not in ("rw", "ro") and not _is_setting(one)]
            found.setdefault(",".join(controllers), Path(before.split(" ")[4]))
    return found


def _is_setting(option: str) -> bool:
    """Options of the mount that name no controller."""
    return option in ("xattr", "clone_children", "noprefix", "favordynmods") or option.startswith("release_agent=")
