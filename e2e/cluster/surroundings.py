"""What the first process of the node makes of its namespaces: mounts and a network as a machine of its own would have.

All of it is in namespaces that end with that process, so nothing here needs undoing. Paths that programs write to
whatever they are told (`/var/lib/kubelet`, `/var/lib/cni`, `/var/log/containers`, `/run`) get a layer that is ours.
"""

import os
from collections.abc import Sequence
from pathlib import Path

from e2e.cluster.addresses import CONTAINERS, HOME, NODE, NODE_LINK, NODE_NET, SERVICES
from tools.progress import run

# Of the whole kernel, not of a namespace. kubelet insists on these: it finds what it wants, the machine keeps its own.
_WISHED = {
    "vm/overcommit_memory": "1",
    "vm/panic_on_oom": "0",
    "kernel/panic": "10",
    "kernel/panic_on_oops": "1",
    "kernel/keys/root_maxkeys": "1000000",
    "kernel/keys/root_maxbytes": "25000000",
}


# Images, and what containers write, are in memory: a busy disk takes half a minute to delete a gigabyte of small files,
# and not every file system can carry a layered one.
_IMAGES = "6g"  # at most; about a gigabyte is used


def mount_all(folder: Path, packages: Path) -> None:
    """`folder`: the node's own, on disk. `packages`: unpacked programs, which look installed from here on."""
    _mount("--make-rprivate", "/")
    _mount("--make-rshared", "/")  # among the node's own namespaces: volumes that propagate ask for it
    _mount("-t", "tmpfs", "tmpfs", "/run")
    HOME.mkdir()
    _mount("--bind", folder, HOME)
    CONTAINERS.mkdir()
    _mount("-t", "tmpfs", "-o", f"size={_IMAGES}", "tmpfs", CONTAINERS)
    _cover(Path("/usr"), packages / "usr")
    _cover(Path("/var/lib"))
    _cover(Path("/var/log"))
    _mount_cgroups()
    _cover_sysctls()


def set_up_network() -> None:
    """A bridge as the node's link: there is no way out, so what is sent elsewhere fails at once and goes nowhere.

    Services need a route although kube-proxy catches them: without one, the node's own calls end before its rules.
    """
    commands = (
        "link set lo up",
        f"link add {NODE_LINK} type bridge",
        f"addr add {NODE}/{NODE_NET.partition('/')[2]} dev {NODE_LINK}",
        f"link set {NODE_LINK} up",
        f"route add {SERVICES} dev {NODE_LINK}",
    )
    run(["ip", "-batch", "-"], "setting the node's network up", data="\n".join(commands).encode())
    for name in ("ip_forward", "conf/all/route_localnet"):
        Path("/proc/sys/net/ipv4", name).write_text("1")


def hierarchies(of: str) -> Sequence[tuple[str, str]]:
    """Of `/proc/PID/cgroup`, version 1: what each hierarchy is (`memory`, `cpu,cpuacct`, `name=systemd`), and the
    process' own place in it."""
    entries = (line.split(":", 2) for line in of.splitlines())
    return [(controllers, path) for _, controllers, path in entries if controllers]


def _mount_cgroups() -> None:
    """In a namespace of cgroups: the root of each is the node's own folder."""
    _mount("-t", "sysfs", "sysfs", "/sys")
    _mount("-t", "tmpfs", "tmpfs", "/sys/fs/cgroup")
    for controllers, _ in hierarchies(Path("/proc/self/cgroup").read_text()):
        named = controllers.startswith("name=")
        place = Path("/sys/fs/cgroup", controllers.removeprefix("name="))
        place.mkdir()
        _mount("-t", "cgroup", "-o", f"none,{controllers}" if named else controllers, "cgroup", place)


def _cover_sysctls() -> None:
    for name, value in _WISHED.items():
        ours, theirs = HOME / "sysctl" / name, Path("/proc/sys", name)
        if theirs.exists():
            ours.parent.mkdir(parents=True, exist_ok=True)
            ours.write_text(f"{value}\n")
            _mount("--bind", ours, theirs)


def _cover(place: Path, *above: Path) -> None:
    """What is written to `place` goes to memory; what is in `above` is seen over what is there."""
    layer = Path("/run/layers", *place.parts[1:])
    upper, work = layer / "upper", layer / "work"
    for folder in (upper, work):
        folder.mkdir(parents=True)
    upper.chmod(place.stat().st_mode & 0o7777)
    lower = ":".join(os.fspath(path) for path in (*above, place))
    _mount("-t", "overlay", "-o", f"lowerdir={lower},upperdir={upper},workdir={work}", "overlay", place)


def _mount(*words: str | Path) -> None:
    run(["mount", *words], f"mounting {words[-1]}")
