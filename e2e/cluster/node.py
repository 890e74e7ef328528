"""One node: started, entered, and ended with all that was its own.

What is the node's on the machine is a folder on disk and one in each hierarchy of control groups; all else is in
namespaces that end with its first process. That process is looked for in the node's control group, where no stranger
is: a number that was written down may be a stranger's by the time it is killed.
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

from e2e.cluster import building, cgroups, config, images, pki
from e2e.cluster.addresses import CONFIG, HOME, LOGS, PKI, PROGRAMS
from tools.cache import digest_of
from tools.progress import FailedStep, step

CHECKOUT = Path(__file__).parents[2]
IMAGES = HOME / "images"

_NAMESPACES = ("--net", "--mount", "--pid", "--cgroup", "--ipc", "--uts")
_GROUPS = "control-groups"
_OWN_LOG = LOGS / "init.log"
_PATIENCE = 20.0  # seconds for what the kernel does by itself: a first process appears, killed ones vanish
_JOIN = (
    'for group in "$@"; do [ "$group" = -- ] && break; echo $$ > "$group/cgroup.procs"; shift; done; shift; exec "$@"'
)


class Node:
    """`name`: of its control groups and its folder; one for each checkout, so that two do not meet."""

    def __init__(self, cache: Path, name: str) -> None:
        self.cache = cache
        self.name = name
        self.folder = cache / "nodes" / name
        self.lateen_archive = self.folder / "images/lateen.tar"
        self.lock = cache / f".{name}.lock"  # who starts or ends it, alone

    def first_process(self) -> int | None:
        """As numbered on the machine, while the node is up."""
        groups = self._groups()
        return cgroups.first_process(groups[0]) if groups else None

    def start(self, *, with_us: bool) -> None:
        """Returns when its first process runs; `with_us`: it ends when this process does, however that ends."""
        self.end()
        with step("certificates and configuration"):
            self._lay_out()
        groups = cgroups.folders(self.name)
        self._write_down(groups)
        cgroups.make(groups)
        outer = self._spawn(groups, with_us=with_us)
        _wait_for(lambda: self.first_process() or outer.poll() is not None, "the node's first process does not start")
        if outer.returncode is not None:
            raise FailedStep(f"The node's first process ended at once:\n{self.last_words()}")
        outer.returncode = 0  # it outlives us, or goes with us: nobody is to wait for it here

    def end(self) -> None:
        """Whatever is left of it, at any stage. Nothing is left then."""
        groups = self._groups()
        _wait_for(lambda: self._ended(groups), f"control groups of the node stay in use: {', '.join(map(str, groups))}")
        shutil.rmtree(self.folder, ignore_errors=True)

    def _ended(self, groups: Sequence[Path]) -> bool:
        """Are the groups gone, with all in them? After a start that was cut off a first process may still appear."""
        if first := self.first_process():
            with suppress(ProcessLookupError):
                os.kill(first, signal.SIGKILL)
        return all(cgroups.removed(group) for group in groups)

    def last_words(self) -> str:
        """Of its first process, which says nothing while all is well."""
        log = self._outside(_OWN_LOG)
        return log.read_text(errors="replace").strip() if log.exists() else ""

    def entered(self, command: Sequence[str]) -> list[str]:
        """The same command, inside of the node. Raises `FailedStep` if it does not run."""
        first = self.first_process()
        if first is None:
            raise FailedStep("The node is not up. Start it: make cluster-up")
        # nsenter's own option for the folder takes it from outside: its mounts would be those of the machine.
        return ["nsenter", f"--target={first}", *_NAMESPACES, "env", f"--chdir={CHECKOUT}", *command]

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

    def _spawn(self, groups: Sequence[Path], *, with_us: bool) -> "subprocess.Popen[bytes]":
        """Joins the control groups, then makes the namespaces: in this order, so that the groups are their root."""
        tied: list[str | Path] = ["setpriv", "--pdeathsig", "KILL", "--"] if with_us else []
        unshare: list[str | Path] = [*tied, "unshare", *_NAMESPACES, "--fork", "--kill-child", "--mount-proc"]
        init: list[str | Path] = [sys.executable, "-m", "e2e.cluster.init", self.folder, building.packages(self.cache)]
        command: list[str | Path] = ["sh", "-c", _JOIN, "join", *groups, "--", *unshare, *init]
        with self._outside(_OWN_LOG).open("ab") as log:
            return subprocess.Popen(
                command,
                cwd=CHECKOUT,
                env={"PATH": _path(os.defpath), "HOME": "/root", "LANG": "C.UTF-8"},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def _outside(self, path: Path) -> Path:
        return self.folder / path.relative_to(HOME)

    def _groups(self) -> list[Path]:
        """Where its control groups are, or were to be: they depend on who started it."""
        with suppress(FileNotFoundError):
            return [Path(line) for line in (self.folder / _GROUPS).read_text().splitlines()]
        return []

    def _write_down(self, groups: Sequence[Path]) -> None:
        """Before they are made, and whole: whoever comes after can clean up."""
        unfinished = self.folder / f"{_GROUPS}.unfinished"
        unfinished.write_text("\n".join(map(str, groups)))
        unfinished.rename(self.folder / _GROUPS)


def name_of(checkout: Path) -> str:
    return f"lateen-{digest_of(str(checkout.resolve()))}"


def _path(rest: str) -> str:
    return os.pathsep.join(
        [str(PROGRAMS), str(Path(sys.executable).parent), "/usr/sbin", "/usr/bin", "/sbin", "/bin", rest]
    )


def _wait_for(condition: Callable[[], object], complaint: str) -> None:
    until = monotonic() + _PATIENCE
    while not condition():
        if monotonic() > until:
            raise FailedStep(complaint)
        sleep(0.02)
