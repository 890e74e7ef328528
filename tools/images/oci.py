"""Writes container images as files, with nothing but the standard library.

Building an image usually takes an engine: a daemon, root, a registry to pull from. All an image is, though, is tar
archives named by their digests and two small JSON documents (OCI image specification 1.1). Writing these is a page of
code, needs no rights, and gives the same bytes for the same content: times, owners and order are ours.

An archive holds any number of images; what they share is stored once. `docker load`, `podman load`, `skopeo` and
`ctr images import` read it.
"""

import json
import stat
import tarfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from hashlib import sha256
from io import SEEK_END, BytesIO
from pathlib import Path, PurePosixPath
from typing import Any

import msgspec

_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
_CONFIG = "application/vnd.oci.image.config.v1+json"
_LAYER = "application/vnd.oci.image.layer.v1.tar"
_INDEX = "application/vnd.oci.image.index.v1+json"
_CHUNK = 1 << 20  # bytes


class Layer(msgspec.Struct, frozen=True):
    """A tar archive on disk, uncompressed: its digest is that of its content."""

    path: Path
    digest: str  # of SHA-256, in hexadecimal
    size: int  # bytes


class Image(msgspec.Struct, frozen=True):
    """What to run: layers from the bottom up, and how."""

    names: tuple[str, ...]  # full references, `localhost/pause:1`
    layers: tuple[Layer, ...]
    entrypoint: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    environment: Mapping[str, str] = msgspec.field(default_factory=dict)
    user: str = ""  # `1337:1337`; empty is root
    folder: str = "/"
    labels: Mapping[str, str] = msgspec.field(default_factory=dict)
    architecture: str = "amd64"  # as Go names them


class _Blob(msgspec.Struct, frozen=True):
    digest: str
    size: int
    data: bytes | Path


def write_layer(path: Path, root: Path, wanted: Callable[[PurePosixPath], bool] = lambda _: True) -> Layer:
    """The files below `root` whose path there is wanted, as root's and of no time."""
    with path.open("wb") as file, tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, entry in _below(root, root, wanted):
            _add(archive, name, entry)
    return layer_at(path)


def layer_at(path: Path) -> Layer:
    """A tar archive that is there already."""
    digest = sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return Layer(path, digest.hexdigest(), path.stat().st_size)


def write_archive(path: Path, images: Sequence[Image]) -> None:
    """One OCI layout in a tar archive with all of these images."""
    blobs: dict[str, _Blob] = {}
    manifests = [_named(name, _manifest(image, blobs)) for image in images for name in image.names]
    index = {"schemaVersion": 2, "mediaType": _INDEX, "manifests": manifests}
    with path.open("wb") as file, tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as archive:
        _put(archive, "oci-layout", _json({"imageLayoutVersion": "1.0.0"}))
        _put(archive, "index.json", _json(index))
        for blob in sorted(blobs.values(), key=lambda blob: blob.digest):
            _put(archive, f"blobs/sha256/{blob.digest}", blob.data)


def _manifest(image: Image, blobs: dict[str, _Blob]) -> dict[str, Any]:
    """The manifest's descriptor; what it refers to is in `blobs` then."""
    layers = [_Blob(layer.digest, layer.size, layer.path) for layer in image.layers]
    config = _blob(_json(_configuration(image)))
    manifest = _blob(
        _json(
            {
                "schemaVersion": 2,
                "mediaType": _MANIFEST,
                "config": _descriptor(_CONFIG, config),
                "layers": [_descriptor(_LAYER, layer) for layer in layers],
            }
        )
    )
    blobs.update((blob.digest, blob) for blob in (*layers, config, manifest))
    return {**_descriptor(_MANIFEST, manifest), "platform": {"architecture": image.architecture, "os": "linux"}}


def _configuration(image: Image) -> dict[str, Any]:
    environment = [f"{name}={value}" for name, value in sorted(image.environment.items())]
    run = {
        "Entrypoint": list(image.entrypoint),
        "Cmd": list(image.command),
        "Env": environment,
        "User": image.user,
        "WorkingDir": image.folder,
        "Labels": dict(sorted(image.labels.items())),
    }
    return {
        "architecture": image.architecture,
        "os": "linux",
        "config": {name: value for name, value in run.items() if value},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{layer.digest}" for layer in image.layers]},
    }


def _named(name: str, descriptor: dict[str, Any]) -> dict[str, Any]:
    """containerd reads the whole name; the specification's own annotation, which others read, holds the tag alone."""
    tag = name.rpartition(":")[2]
    annotations = {"io.containerd.image.name": name, "org.opencontainers.image.ref.name": tag}
    return {**descriptor, "annotations": annotations}


def _descriptor(kind: str, blob: _Blob) -> dict[str, Any]:
    return {"mediaType": kind, "digest": f"sha256:{blob.digest}", "size": blob.size}


def _blob(data: bytes) -> _Blob:
    return _Blob(sha256(data).hexdigest(), len(data), data)


def _json(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def _below(root: Path, folder: Path, wanted: Callable[[PurePosixPath], bool]) -> Iterator[tuple[str, Path]]:
    """Names in the archive, and where they are: folders before what is in them; links are not followed."""
    for entry in sorted(folder.iterdir(), key=lambda entry: entry.name):
        name = entry.relative_to(root)
        if wanted(PurePosixPath(name)):
            yield name.as_posix(), entry
            if entry.is_dir() and not entry.is_symlink():
                yield from _below(root, entry, wanted)


def _add(archive: tarfile.TarFile, name: str, entry: Path) -> None:
    """Files, folders and links; there is nothing else in an image."""
    status = entry.lstat()
    member = tarfile.TarInfo(name)
    member.mode = stat.S_IMODE(status.st_mode)
    if stat.S_ISLNK(status.st_mode):
        member.type, member.linkname, member.mode = tarfile.SYMTYPE, str(entry.readlink()), 0o777
        archive.addfile(member)
    elif stat.S_ISDIR(status.st_mode):
        member.type = tarfile.DIRTYPE
        archive.addfile(member)
    else:
        member.size = status.st_size
        with entry.open("rb") as file:
            archive.addfile(member, file)


def _put(archive: tarfile.TarFile, name: str, data: bytes | Path) -> None:
    member = tarfile.TarInfo(name)
    with data.open("rb") if isinstance(data, Path) else BytesIO(data) as file:
        member.size = file.seek(0, SEEK_END)
        file.seek(0)
        archive.addfile(member, file)
