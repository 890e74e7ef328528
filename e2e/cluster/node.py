"""One node: started, entered, and ended with all that was its own.

What is the node's on the machine is a folder on disk and one in each hierarchy of control groups; all else is in
namespaces that end with its first process. That process is known by its number out here, and its start time: a number
alone may be a stranger's by the time it is killed.
"""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic, sleep

import msgspec

from e2e.cluster import building, cgroups, config, images, pki
from e2e.cluster.addresses import CONFIG, HOME, LOGS, PKI, PROGRAMS
from tools.cache import digest_of
from tools.progress import FailedStep, step

CHECKOUT = Path(__file__).parents[2]
IMAGES = HOME / "images"

_NAMESPACES = ("--net", "--mount", "--pid", "--cgroup", "--ipc", "--uts")
_OWN_LOG = LOGS / "init.log"
_PATIENCE = 20.0  # seconds for what the kernel does by itself: a first process appears, killed ones vanish
_JOIN = (
    'for group in "$@"; do [ "$group" = -- ] && break; echo $$ > "$group/cgroup.procs"; shift; done; shift; exec "$@"'
)


class Running(msgspec.Struct, frozen=True):
    """Written down before anything is started, and filled in as it goes: whoever comes after can clean up."""

    groups: list[str]  # folders of control groups
    first: int = 0  # the first process, as numbered on the machine
    born: int = 0  # when it was started, in the kernel's ticks


class Node:
    """`name`: of its control groups and its folder; one for each checkout, so that two do not meet."""

    def __init__(self, cache: Path, name: str) -> None:
        self.cache = cache
        self.name = name
        self.folder = cache / "nodes" / name
        self.lateen_archive = self.folder / "images/lateen.tar"
        self.lock = cache / ".nodes.lock"  # one is started or ended at a time

    def running(self) -> Running | None:
        """If its first process lives."""
        known = self._known()
        return known if known and known.first and born(known.first) == known.born else None

    def start(self, *, with_us: bool) -> None:
        """Returns when its first process runs; `with_us`: it ends when this process does, however that ends."""
        self.end()
        with step("certificates and configuration"):
            self._lay_out()
        groups = cgroups.folders(self.name)
        self._write_down(Running([str(group) for group in groups]))
        cgroups.make(groups)
        outer = self._spawn(groups, with_us=with_us)
        first = _only_child(outer, self._outside(_OWN_LOG))
        self._write_down(Running([str(group) for group in groups], first, born(first)))

    def end(self) -> None:
        """Whatever is left of it, at any stage. Nothing is left then."""
        if (running := self.running()) is not None:
            os.kill(running.first, signal.SIGKILL)
            _wait_for(lambda: not self.running(), "the node's first process does not end")
        if (known := self._known()) is not None:
            cgroups.remove([Path(group) for group in known.groups])
        shutil.rmtree(self.folder, ignore_errors=True)

    def entered(self, command: Sequence[str]) -> list[str]:
        """The same command, inside of the node. Raises `FailedStep` if it does not run."""
        running = self.running()
        if running is None:
            raise FailedStep("The node is not up. Start it: make cluster-up")
        # nsenter's own option for the folder takes it from outside: its mounts would be those of the machine.
        return ["nsenter", f"--target={running.first}", *_NAMESPACES, "env", f"--chdir={CHECKOUT}", *command]

    def environment(self) -> Mapping[str, str]:
        """For commands inside: the user's, with the node's programs found and its cluster chosen."""
        return {**os.environ, "PATH": _path(os.environ.get("PATH", "")), "KUBECONFIG": str(config.kubeconfig("admin"))}

    def _lay_out(self) -> None:
        """The node's folder, as it will be seen inside."""
        self.folder.mkdir(parents=True, mode=0o700)
        for place in (CONFIG, LOGS, PROGRAMS, IMAGES, config.CNI):
            self._outside(place).mkdir(parents=True)
        pki.write(self._outside(PKI), datetime.now(UTC))
        for path, text in config.files().items():
            self._outside(path).write_text(text)
        building.link_programs(self.cache, self._outside(PROGRAMS))
        for archive in images.archives(self.cache):
            self._outside(IMAGES / archive.name).symlink_to(archive)

    def _spawn(self, groups: Sequence[Path], *, with_us: bool) -> int:
        """Joins the control groups, then makes the namespaces: in this order, so that the groups are their root."""
        tied: list[str | Path] = ["setpriv", "--pdeathsig", "KILL", "--"] if with_us else []
        unshare: list[str | Path] = [*tied, "unshare", *_NAMESPACES, "--fork", "--kill-child", "--mount-proc"]
        init: list[str | Path] = [sys.executable, "-m", "e2e.cluster.init", self.folder, building.packages(self.cache)]
        command: list[str | Path] = ["sh", "-c", _JOIN, "join", *groups, "--", *unshare, *init]
        with self._outside(_OWN_LOG).open("ab") as log:
            started = subprocess.Popen(
                command,
                cwd=CHECKOUT,
                env={"PATH": _path(os.defpath), "HOME": "/root", "LANG": "C.UTF-8"},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        started.returncode = 0  # it outlives us, or goes with us: nobody is to wait for it here
        return started.pid

    def _outside(self, path: Path) -> Path:
        return self.folder / path.relative_to(HOME)

    def _known(self) -> Running | None:
        with suppress(FileNotFoundError, msgspec.DecodeError):
            return msgspec.json.decode((self.folder / "running.json").read_bytes(), type=Running)
        return None

    def _write_down(self, running: Running) -> None:
        unfinished = self.folder / "running.json.new"
        unfinished.write_bytes(msgspec.json.encode(running))
        unfinished.rename(self.folder / "running.json")


def name_of(checkout: Path) -> str:
    return f"lateen-{digest_of(str(checkout.resolve()))}"


def _path(rest: str) -> str:
    return os.pathsep.join(
        [str(PROGRAMS), str(Path(sys.executable).parent), "/usr/sbin", "/usr/bin", "/sbin", "/bin", rest]
    )


def born(pid: int) -> int:
    """When a process was started (proc(5): field 22 of `stat`; the second may hold anything, in parentheses). 0: there
    is none, or it is dead and not buried yet."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return 0 if fields[0] in "ZX" else int(fields[19])


def _only_child(pid: int, log: Path) -> int:
    children = Path(f"/proc/{pid}/task/{pid}/children")
    found: list[str] = []

    def appeared() -> bool:
        found[:] = children.read_text().split() if children.exists() else []
        return bool(found)

    try:
        _wait_for(appeared, "The node's first process does not start")
    except FailedStep as error:
        raise FailedStep(f"{error}:\n{log.read_text()}") from None
    return int(found[0])


def _wait_for(condition: Callable[[], bool], complaint: str) -> None:
    until = monotonic() + _PATIENCE
    while not condition():
        if monotonic() > until:
            raise FailedStep(complaint)
        sleep(0.02)
