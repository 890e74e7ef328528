"""The images that the node has: what Kubernetes needs, and what the manifests of examples and tests name.

No registry is asked: a manifest that says `python:3.13-alpine` gets our Python with a shell and `curl`; examples run as
they are.
"""

import shutil
import subprocess
import tarfile
from pathlib import Path, PurePosixPath

from e2e.cluster import building
from tools.cache import digest_of, made
from tools.images import base, debian, lateen
from tools.images.oci import Image, Layer, write_archive, write_layer

PAUSE, COREDNS, TOOLS = "localhost/pause:1", "localhost/coredns:1", "localhost/tools:1"
LATEEN = "localhost/lateen:e2e"  # of the checkout as it is

_TOOLS = ("busybox-static", "curl")
# What manifests call them, in full: that is how kubelet asks.
_STAND_FOR = (
    "docker.io/library/python:3.13-alpine",
    "docker.io/library/python:3.13-slim",
    "docker.io/curlimages/curl:8.15.0",
    "docker.io/library/tomcat:10.1-jre21-temurin",
)


def archive(cache: Path) -> Path:
    """One archive of all of them."""
    ours, bottom = [Path(file).read_bytes() for file in (__file__, debian.__file__)], base.base(cache)
    programs = [building.binary(cache, tool) for tool in ("pause", "coredns")]
    key = digest_of(bottom.digest, *map(str, programs), *ours)
    return made(cache / f"images-{key}", lambda folder: _write(cache, bottom, folder)) / "node.tar"


def write_lateen(cache: Path, checkout: Path, archive: Path) -> None:
    """Whole or not at all."""
    unfinished = archive.with_suffix(".unfinished")
    write_archive(unfinished, [lateen.image(cache, checkout, (LATEEN,))])
    unfinished.rename(archive)


def _write(cache: Path, bottom: Layer, folder: Path) -> None:
    tools = Image((TOOLS, *_STAND_FOR), (bottom, _tools(folder, bottom)), architecture=base.architecture())
    images = [_program(cache, folder, PAUSE), _program(cache, folder, COREDNS), tools]
    write_archive(folder / "node.tar", images)
    for leftover in folder.iterdir():
        if leftover.name != "node.tar":
            shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink()


def _program(cache: Path, folder: Path, name: str) -> Image:
    """One static program and nothing else."""
    tool = name.partition("/")[2].partition(":")[0]
    root = folder / f"{tool}-root"
    root.mkdir()
    shutil.copy(building.binary(cache, tool), root / tool)
    layer = write_layer(folder / f"{tool}.layer", root)
    return Image((name,), (layer,), entrypoint=(f"/{tool}",), architecture=base.architecture())


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
