"""The images that the node has: what Kubernetes needs, and what the manifests of examples and tests name.

No registry is asked: a manifest that says `python:3.13-alpine` gets our Python with a shell and `curl`; examples run as
they are.
"""

import shutil
import subprocess
import tarfile
from importlib.metadata import version
from inspect import getsource
from pathlib import Path, PurePosixPath

from e2e.cluster import building
from tools.cache import digest_of, made
from tools.images import base, debian, lateen
from tools.images.oci import Image, Layer, write_archive, write_layer

PAUSE, COREDNS, TOOLS = "localhost/pause:1", "localhost/coredns:1", "localhost/tools:1"
LATEEN = f"localhost/lateen:{version('lateen')}"  # of the checkout as it is, by the name that `install` takes
NODE_ARCHIVE = "node.tar"  # what Kubernetes itself needs: Pods start when it is imported

_TOOLS = ("busybox-static", "curl")
# What manifests call them, in full: that is how kubelet asks.
_STAND_FOR = (
    "docker.io/library/python:3.13-alpine",
    "docker.io/library/python:3.13-slim",
    "docker.io/curlimages/curl:8.15.0",
    "docker.io/library/tomcat:10.1-jre21-temurin",
)


def make_all(cache: Path, checkout: Path) -> None:
    """Whatever takes long: all but Lateen itself."""
    archives(cache)
    lateen.dependencies(cache, checkout)


def archives(cache: Path) -> list[Path]:
    """All that the node has from the start but Lateen's."""
    return [_of_kubernetes(cache), of_tests(cache)]


def of_tests(cache: Path) -> Path:
    """What manifests name; other clusters are given it, too."""
    bottom = base.base(cache)
    key = digest_of(bottom.digest, *_STAND_FOR, *_TOOLS, getsource(_tools), getsource(debian))

    def write(folder: Path) -> None:
        image = Image((TOOLS, *_STAND_FOR), (bottom, _tools(folder, bottom)), architecture=base.architecture())
        write_archive(folder / "tests.tar", [image])
        _keep_only(folder / "tests.tar")

    return made(cache / f"images-{key}", write) / "tests.tar"


def write_lateen(cache: Path, checkout: Path, archive: Path) -> None:
    """Whole or not at all."""
    unfinished = archive.with_suffix(".unfinished")
    write_archive(unfinished, [lateen.image(cache, checkout, (LATEEN,))])
    unfinished.rename(archive)


def _of_kubernetes(cache: Path) -> Path:
    programs = {name: building.binary(cache, tool) for name, tool in ((PAUSE, "pause"), (COREDNS, "coredns"))}

    def write(folder: Path) -> None:
        write_archive(folder / NODE_ARCHIVE, [_program(folder, name, program) for name, program in programs.items()])
        _keep_only(folder / NODE_ARCHIVE)

    return made(cache / f"images-{digest_of(*map(str, programs.values()), getsource(_program))}", write) / NODE_ARCHIVE


def _keep_only(archive: Path) -> None:
    for leftover in set(archive.parent.iterdir()) - {archive}:
        shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink()


def _program(folder: Path, name: str, program: Path) -> Image:
    """One static program and nothing else."""
    root = folder / f"{program.name}-root"
    root.mkdir()
    shutil.copy(program, root)
    layer = write_layer(folder / f"{program.name}.layer", root)
    return Image((name,), (layer,), entrypoint=(f"/{program.name}",), architecture=base.architecture())


def _tools(folder: Path, bottom: Layer) -> Layer:
    """A shell, `curl`, and what else busybox has, where the base has no such program itself."""
    root, fetched = folder / "tools-root", folder / "fetched"
    root.mkdir()
    below = set(debian.fetch(fetched, base.PACKAGES))
    debian.unpack(sorted(set(debian.fetch(fetched, [*base.PACKAGES, *_TOOLS])) - below), root)
    listed = subprocess.run([root / "bin/busybox", "--list"], capture_output=True, text=True, check=True).stdout.split()
    for applet in set(listed) - _names_of_programs(bottom) - {path.name for path in (root / "usr/bin").iterdir()}:
        (root / "usr/bin" / applet).symlink_to("busybox")
    (root / "usr/bin/python").symlink_to("python3")
    return write_layer(folder / "tools.layer", root, debian.wanted)


def _names_of_programs(layer: Layer) -> set[str]:
    with tarfile.open(layer.path) as archive:
        paths = map(PurePosixPath, archive.getnames())
        return {path.name for path in paths if path.parent.name in ("bin", "sbin")}
