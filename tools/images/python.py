"""Python in an image: which it is, and its modules compiled beforehand.

A root that is read only keeps no compiled modules, so every start of every container would compile what it imports:
seconds, for a large client. Files in an image have no times, so the compiled say instead that they need no check.
"""

import sys
import tarfile
from pathlib import Path

from tools.images.oci import Layer
from tools.progress import FailedStep, note, run


def version(layer: Layer) -> str:
    """`3.11`, of the Python that a layer has as Debian installs it."""
    with tarfile.open(layer.path) as archive:
        for name in archive.getnames():
            if name.startswith("usr/bin/python3.") and name.removeprefix("usr/bin/python3.").isdigit():
                return name.removeprefix("usr/bin/python")
    raise FailedStep(f"{layer.path} has no Python")


def compile_modules(root: Path, folder: Path, python: str) -> None:
    """All below `folder`, which will be at its path below `root`. Only the same version writes what another reads."""
    if python != f"{sys.version_info.major}.{sys.version_info.minor}":
        note(f"  modules are not compiled: the image has Python {python}, and this is another; containers start slower")
        return
    command = [sys.executable, "-m", "compileall", "-q", "-j0", "--invalidation-mode=unchecked-hash"]
    run([*command, "-s", root, "-p", "/", folder], "compiling modules")
