"""Lateen's image: control plane, agent and Envoy in one. What `Containerfile` says for those who have an engine.

Three layers, by how often they change: Debian's part, the dependencies as locked, and Lateen. Nothing in it is written
to, so its root can be read only; it runs as nobody in particular.
"""

import shutil
import sys
import zipfile
from inspect import getsource
from pathlib import Path

import msgspec

from tools.cache import digest_of, made
from tools.images import base, python
from tools.images.oci import Image, Layer, layer_at, write_layer
from tools.progress import FailedStep, note, run

LOCK = "requirements/image.txt"
ENTRYPOINT = ("lateen",)
USER = f"{base.USER}:{base.USER}"
LABELS = {"org.opencontainers.image.title": "Lateen", "org.opencontainers.image.licenses": "Apache-2.0"}
_COMMAND = "#!/usr/bin/python3\nimport sys\n\nfrom controlplane.cli.entrance import main\n\nsys.exit(main())\n"
ENVIRONMENT = {
    "HOME": "/tmp",  # the one place that may be writable
    "LANG": "C.UTF-8",
    "PATH": "/usr/local/bin:/usr/bin:/usr/sbin",
    "PYTHONDONTWRITEBYTECODE": "1",
    "PYTHONUNBUFFERED": "1",
}


class Place(msgspec.Struct, frozen=True):
    """Where modules are in the image."""

    python: str  # `3.11`

    @property
    def modules(self) -> str:
        return f"usr/local/lib/python{self.python}/dist-packages"


def image(cache: Path, checkout: Path, names: tuple[str, ...]) -> Image:
    """Of the checkout as it is, committed or not."""
    if not (base.folder(cache).is_dir() or shutil.which("apt-get")):
        raise FailedStep("This needs Debian's apt. With an engine: docker build --tag lateen --file Containerfile .")
    bottom = base.base(cache)
    place = Place(python.version(bottom))
    return Image(
        names=names,
        layers=(bottom, dependencies(cache, checkout), _own(cache, checkout, place)),
        entrypoint=ENTRYPOINT,
        environment=ENVIRONMENT,
        user=USER,
        labels=LABELS,
        architecture=base.architecture(),
    )


def dependencies(cache: Path, checkout: Path) -> Layer:
    """Made once for each lock file."""
    lock, place = checkout / LOCK, Place(python.version(base.base(cache)))
    key = digest_of(lock.read_bytes(), getsource(_install), getsource(python), place.python)
    return layer_at(made(cache / f"dependencies-{key}", lambda folder: _install(folder, lock, place)) / "layer.tar")


def _install(folder: Path, lock: Path, place: Place) -> None:
    root, architecture = folder / "root", {"amd64": "x86_64", "arm64": "aarch64"}[base.architecture()]
    modules = root / place.modules
    wheels = [
        f"--python-version={place.python}",
        f"--python-platform={architecture}-manylinux_2_36",
        "--only-binary=:all:",
    ]
    note("  Lateen's dependencies: installed and compiled, once for each set of them")
    run(
        [
            sys.executable,
            "-m",
            "uv",
            "pip",
            "install",
            "--quiet",
            "--no-deps",
            "--require-hashes",
            *wheels,
            "--target",
            modules,
            "-r",
            lock,
        ],
        "installing Lateen's dependencies",
    )
    shutil.rmtree(modules / "bin")
    python.compile_modules(root, modules, place.python)
    (root / "usr/local/bin").mkdir()
    (root / "usr/local/bin/envoy").symlink_to(f"/{place.modules}/envoy/_bin/envoy")
    write_layer(folder / "layer.tar", root)
    shutil.rmtree(root)


def _own(cache: Path, checkout: Path, place: Place) -> Layer:
    """Lateen's wheel, unpacked; the same wheel is the same layer. Of each checkout the newest is kept."""
    mine = cache / f"lateen-{digest_of(str(checkout))}"
    wheels = mine / "wheels"
    shutil.rmtree(wheels, ignore_errors=True)
    build: list[str | Path] = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", wheels]
    run(build, "building Lateen's wheel", cwd=checkout)
    (wheel,) = wheels.glob("*.whl")
    key = digest_of(wheel.read_bytes(), getsource(_unpack), getsource(python), place.python)
    folder = made(mine / f"layer-{key}", lambda folder: _unpack(folder, wheel, place))
    for older in set(mine.glob("layer-*")) - {folder}:
        shutil.rmtree(older)
    return layer_at(folder / "layer.tar")


def _unpack(folder: Path, wheel: Path, place: Place) -> None:
    root = folder / "root"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(root / place.modules)
    python.compile_modules(root, root / place.modules, place.python)
    command = root / "usr/local/bin/lateen"
    command.parent.mkdir()
    command.write_text(_COMMAND)
    command.chmod(0o755)
    write_layer(folder / "layer.tar", root)
    shutil.rmtree(root)
