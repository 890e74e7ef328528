"""The layer that our images stand on: Python, iptables of both kinds, and authorities. Debian's, without a shell."""

import platform
import shutil
import sys
from inspect import getsource
from pathlib import Path

from tools.cache import digest_of, made
from tools.images import debian, python
from tools.images.oci import Layer, layer_at, write_layer

PACKAGES = ("python3", "iptables", "ca-certificates", "libstdc++6")  # the last for grpcio and re2
USER = 1337  # the proxy's, whose traffic capture rules leave alone; Istio's number, so that users' rules hold

_ACCOUNTS = {
    "etc/passwd": (
        "root:x:0:0:root:/root:/bin/sh\n"
        f"lateen:x:{USER}:{USER}:Lateen:/:/bin/false\n"
        "nobody:x:65534:65534:nobody:/:/bin/false\n"
    ),
    "etc/group": f"root:x:0:\nlateen:x:{USER}:\nnogroup:x:65534:\n",
    "etc/nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\n",
}


def architecture() -> str:
    """This machine's, as images name it."""
    return {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())


def base(cache: Path) -> Layer:
    """Made once a machine."""
    return layer_at(made(folder(cache), _make) / "layer.tar")


def folder(cache: Path) -> Path:
    sources = (getsource(module) for module in (sys.modules[__name__], debian, python))
    return cache / f"base-{digest_of(*sources)}"


def _make(into: Path) -> None:
    root, fetched = into / "root", into / "fetched"
    root.mkdir()
    debian.unpack(debian.fetch(fetched, PACKAGES), root)
    debian.set_up(root)
    _set_up(root)
    for modules in (root / "usr/lib").glob("python3.*"):
        python.compile_modules(root, modules, modules.name.removeprefix("python"))
    write_layer(into / "layer.tar", root, debian.wanted)
    for leftover in (root, fetched):
        shutil.rmtree(leftover)


def _set_up(root: Path) -> None:
    for name, text in _ACCOUNTS.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    for name, mode in {"tmp": 0o1777, "var/tmp": 0o1777, "root": 0o700, "run": 0o755}.items():
        (root / name).mkdir(parents=True, exist_ok=True)
        (root / name).chmod(mode)
