"""The node's programs, made once a machine: Kubernetes, etcd and CoreDNS from their Go modules, the rest from Debian.

Versions are in `go/*/go.mod` and nowhere else; `go.sum` beside it says what their content must be.
"""

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from tools.cache import digest_of, locked, made
from tools.images import debian
from tools.progress import FailedStep, note, run_long

SOURCES = Path(__file__).parent / "go"

# By folder below `go`: the module whose version is the program's.
_MODULES = {
    "kubernetes": "k8s.io/kubernetes",
    "etcd": "go.etcd.io/etcd/server/v3",
    "coredns": "github.com/coredns/coredns",
    "pause": "",
}
_KUBERNETES = ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy")

# Debian's, with all they need that the machine has not: they are unpacked, not installed.
_PACKAGES = ("containerd", "runc", "containernetworking-plugins", "nftables", "iptables", "conntrack")


def version(tool: str) -> str:
    """Of what a folder below `go` builds: `1.36.3`. Empty where it is nobody's release."""
    for line in (SOURCES / tool / "go.mod").read_text().splitlines():
        match line.removeprefix("require").split():
            case [module, number, *_] if module == _MODULES[tool]:
                return number.removeprefix("v")
    return ""


def all_built(cache: Path) -> bool:
    return packages_place(cache).is_dir() and all(place(cache, tool).is_dir() for tool in _MODULES)


def build_all(cache: Path) -> None:
    """Makes what is missing. Nearly all of the time is Kubernetes': about eight minutes of a processor."""
    packages(cache)
    missing = [tool for tool in _MODULES if not place(cache, tool).is_dir()]
    for tool in missing:
        binary(cache, tool)
    if missing:
        _forget_objects(cache)


def binary(cache: Path, tool: str) -> Path:
    """The program that a folder below `go` builds."""
    return made(place(cache, tool), lambda folder: _build(cache, tool, folder / tool)) / tool


def packages(cache: Path) -> Path:
    """Debian's programs, unpacked as below `/`."""
    return made(packages_place(cache), _unpack)


def link_programs(cache: Path, folder: Path) -> None:
    """Names of what was built, for a `PATH`."""
    kubernetes = binary(cache, "kubernetes")
    for name in _KUBERNETES:
        (folder / name).symlink_to(kubernetes)
    (folder / "etcd").symlink_to(binary(cache, "etcd"))


def place(cache: Path, tool: str) -> Path:
    sources = [(SOURCES / tool / name) for name in ("go.mod", "go.sum", "main.go")]
    content = digest_of(*(path.read_bytes() for path in sources if path.exists()))
    return cache / "-".join(part for part in (tool, version(tool), content) if part)


def packages_place(cache: Path) -> Path:
    """Debian moves on within a release: what is there stays until this list, or the release, is another."""
    release = Path("/etc/os-release")
    return cache / f"packages-{digest_of(release.read_bytes() if release.exists() else b'', *_PACKAGES)}"


def _unpack(folder: Path) -> None:
    fetched = folder / "fetched"
    debian.unpack(debian.fetch(fetched, _PACKAGES, beside=debian.INSTALLED), folder)
    shutil.rmtree(fetched)
    note("  Debian's containerd, runc, network plugins and nftables: unpacked")


def _build(cache: Path, tool: str, output: Path) -> None:
    source, environment = SOURCES / tool, _environment(cache)
    what = f"building {tool} {version(tool)}".strip()
    if tool == "kubernetes":
        note(f"  {what}, once on this machine: several minutes")
    total = _packages_to_compile(source, environment)
    command: list[str | Path] = [
        "go",
        "build",
        "-v",
        *flags(version(tool) if tool == "kubernetes" else ""),
        "-o",
        output,
        ".",
    ]
    with locked(cache / ".go.lock"):  # two compilers at once take as long, and twice the memory
        run_long(
            command, what, cwd=source, environment=environment, counted=lambda lines: f"{lines} of {total} packages"
        )


def flags(kubernetes: str) -> Sequence[str]:
    """Kubernetes' programs are told their version when they are linked; without one they refuse each other."""
    major, minor, *_ = [*kubernetes.split("."), "", ""]
    values = {"gitVersion": f"v{kubernetes}", "gitMajor": major, "gitMinor": minor} if kubernetes else {}
    told = [f"-X k8s.io/component-base/version.{name}={value}" for name, value in values.items()]
    return ("-trimpath", "-buildvcs=false", f"-ldflags={' '.join(['-s', '-w', *told])}")


def _environment(cache: Path) -> Mapping[str, str]:
    """The module cache is the user's own; what is compiled on the way is large, of no further use, and goes after."""
    return {
        **os.environ,
        "CGO_ENABLED": "0",
        "GOCACHE": str(_objects(cache)),
        "GOFLAGS": "-mod=readonly",
        "GOTOOLCHAIN": "local",
    }


def _packages_to_compile(source: Path, environment: Mapping[str, str]) -> int:
    listed = subprocess.run(
        ["go", "list", "-deps", "."], cwd=source, env=environment, capture_output=True, text=True, check=False
    )
    if listed.returncode:
        raise FailedStep(f"Go's modules could not be fetched:\n{listed.stderr.strip()}")
    return len(listed.stdout.splitlines())


def _objects(cache: Path) -> Path:
    return cache / ".go-objects"


def _forget_objects(cache: Path) -> None:
    with locked(cache / ".go.lock"):
        shutil.rmtree(_objects(cache), ignore_errors=True)
