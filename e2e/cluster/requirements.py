"""What a machine must have for a node, each with what is missing and the way out, all at once."""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec

from e2e.cluster import cgroups
from tools.progress import FailedStep

_CAPABILITIES = {"CAP_NET_ADMIN": 12, "CAP_SYS_ADMIN": 21, "CAP_MKNOD": 27}
_PROGRAMS = {
    "unshare": "util-linux",
    "nsenter": "util-linux",
    "setpriv": "util-linux",
    "mount": "util-linux",
    "ip": "iproute2",
}
_BUILDERS = {"apt-get": "apt", "dpkg-deb": "dpkg", "tar": "tar"}
CONTROLLERS = ("cpu", "cpuacct", "cpuset", "memory", "devices", "freezer", "pids")
_GO = (1, 26)
MEMORY = 2 << 30  # bytes

_OTHER_WAY = "Any cluster will do instead: KUBECONFIG=FILE make e2e (kind, for one: docs/e2e.md)."


class Missing(msgspec.Struct, frozen=True):
    what: str
    way_out: str


def check(*, to_build: bool) -> None:
    """Raises `FailedStep` with everything that is missing. `to_build`: something must be built first."""
    if missing := [*_of_running(), *(_of_building() if to_build else ())]:
        lines = "\n".join(f"  - {one.what}. {one.way_out}" for one in missing)
        raise FailedStep(f"This machine cannot run the node:\n{lines}\n{_OTHER_WAY}")


def _of_running() -> Iterator[Missing]:
    if sys.platform != "linux":
        yield Missing(f"it runs {sys.platform}", "A node needs Linux")
        return
    yield from _of_rights()
    yield from _of_programs(_PROGRAMS)
    if lacking := [name for name in CONTROLLERS if name not in cgroups.controllers_here()]:
        yield Missing(
            f"control groups of version 1 lack {', '.join(lacking)}",
            "This node knows version 1 alone; where a machine has version 2, use an existing cluster",
        )
    if "overlay" not in file_systems():
        yield Missing("the kernel has no overlayfs", "Try: modprobe overlay")
    if (free := free_memory()) < MEMORY:
        yield Missing(f"{free >> 20} MB of memory are free", f"A node with a few Pods takes {MEMORY >> 20} MB")


def _of_rights() -> Iterator[Missing]:
    if lacking := [name for name, bit in _CAPABILITIES.items() if not effective() >> bit & 1]:
        yield Missing(
            f"the right to make namespaces, mounts and links ({', '.join(lacking)})", "Run it as root: sudo make e2e"
        )
    elif not users_are_the_machines():
        yield Missing(
            "root is root of a user namespace alone", "Run it as the machine's root, outside of such containers"
        )
    else:
        yield from _of_kernel()


def _of_kernel() -> Iterator[Missing]:
    """Tried, in a network that ends with the trial: a kernel's configuration cannot be read everywhere."""
    for what, command in {
        "bridges": "ip link add name one type bridge",
        "pairs of links (veth)": "ip link add name one type veth peer name two",
    }.items():
        if refused := refusal(command):
            yield Missing(f"the kernel has no {what}: {refused}", "Another kernel has them")


def refusal(command: str) -> str:
    """What the kernel says to a command in a network of its own; empty: it does it."""
    done = subprocess.run(["unshare", "--net", "sh", "-c", command], capture_output=True, text=True, check=False)
    return (done.stderr.strip() or "no reason given") if done.returncode else ""


def _of_building() -> Iterator[Missing]:
    if not shutil.which("go"):
        yield Missing("Go is not installed", f"Kubernetes' programs are built with Go {_shown(_GO)} or newer")
    elif go_version() < _GO:
        yield Missing(f"Go is {_shown(go_version())}", f"Kubernetes' programs need Go {_shown(_GO)} or newer")
    yield from _of_programs(_BUILDERS)


def _of_programs(programs: dict[str, str]) -> Iterator[Missing]:
    for program, package in programs.items():
        if not shutil.which(program):
            yield Missing(f"no program {program}", f"Install the package {package}")


def go_version() -> tuple[int, ...]:
    """Of `go1.26.8`, (1, 26)."""
    shown = subprocess.run(["go", "env", "GOVERSION"], capture_output=True, text=True, check=False).stdout.strip()
    return tuple(int(part) for part in shown.removeprefix("go").split(".")[:2] if part.isdigit())


def _shown(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))


def effective() -> int:
    """Our capabilities, a bit each."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("CapEff:"):
            return int(line.split()[1], 16)
    return 0


def users_are_the_machines() -> bool:
    """Not of a user namespace, where root may do less than it is told (user_namespaces(7), `uid_map`)."""
    return Path("/proc/self/uid_map").read_text().split() == ["0", "0", str(2**32 - 1)]


def free_memory() -> int:
    """Bytes that may be had without swapping (proc(5), `MemAvailable`)."""
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) << 10
    return MEMORY


def file_systems() -> list[str]:
    return Path("/proc/filesystems").read_text().split()
