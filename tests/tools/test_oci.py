"""Archives are read back by the specification: every digest holds, and the same content gives the same bytes."""

import json
import os
import tarfile
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from tools.images.oci import Image, Layer, write_archive, write_layer


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "root"
    (root / "usr/bin").mkdir(parents=True)
    (root / "usr/bin/program").write_bytes(b"\x7fELF")
    (root / "usr/bin/program").chmod(0o4755)
    (root / "usr/bin/link").symlink_to("program")
    (root / "bin").symlink_to("usr/bin")
    (root / "tmp").mkdir()
    (root / "tmp").chmod(0o1777)
    (root / "empty").touch()
    return root


def _layer(tmp_path: Path, root: Path, name: str = "layer.tar") -> Layer:
    return write_layer(tmp_path / name, root)


def _opened(path: Path) -> tuple[dict[str, bytes], list[dict[str, Any]]]:
    """Blobs by digest, and the index's manifests."""
    with tarfile.open(path) as archive:
        files = {member.name: (archive.extractfile(member) or pytest.fail(member.name)).read() for member in archive}
    assert json.loads(files.pop("oci-layout")) == {"imageLayoutVersion": "1.0.0"}
    index = json.loads(files.pop("index.json"))
    assert index["schemaVersion"] == 2
    return {name.removeprefix("blobs/sha256/"): data for name, data in files.items()}, index["manifests"]


def _blob(blobs: dict[str, bytes], descriptor: dict[str, Any]) -> bytes:
    data = blobs[descriptor["digest"].removeprefix("sha256:")]
    assert sha256(data).hexdigest() == descriptor["digest"].removeprefix("sha256:")
    assert len(data) == descriptor["size"]
    return data


def test_a_layer_holds_files_folders_and_links_as_roots(tmp_path: Path, root: Path) -> None:
    layer = _layer(tmp_path, root)
    assert layer.size == layer.path.stat().st_size
    with tarfile.open(layer.path) as archive:
        members = {member.name: member for member in archive}
    assert list(members) == ["bin", "empty", "tmp", "usr", "usr/bin", "usr/bin/link", "usr/bin/program"]
    assert members["bin"].issym()
    assert members["bin"].linkname == "usr/bin"
    assert members["tmp"].mode == 0o1777
    assert members["usr/bin/program"].mode == 0o4755
    assert {(m.uid, m.gid, m.mtime) for m in members.values()} == {(0, 0, 0)}


def test_the_same_content_is_the_same_layer_whenever_it_was_written(tmp_path: Path, root: Path) -> None:
    first = _layer(tmp_path, root, "first.tar")
    os.utime(root / "empty", (1, 1))
    assert _layer(tmp_path, root, "second.tar").digest == first.digest
    (root / "empty").write_text("no more")
    assert _layer(tmp_path, root, "third.tar").digest != first.digest


def test_what_is_not_wanted_is_left_out_with_all_below_it(tmp_path: Path, root: Path) -> None:
    layer = write_layer(tmp_path / "layer.tar", root, lambda path: path.parts[:1] != ("usr",))
    with tarfile.open(layer.path) as archive:
        assert archive.getnames() == ["bin", "empty", "tmp"]


def test_every_digest_in_an_archive_holds(tmp_path: Path, root: Path) -> None:
    image = Image(
        names=("localhost/a:1", "localhost/b:2"),
        layers=(_layer(tmp_path, root),),
        entrypoint=("/usr/bin/program",),
        environment={"PATH": "/usr/bin", "HOME": "/"},
        user="1337:1337",
        architecture="arm64",
    )
    write_archive(tmp_path / "image.tar", [image])
    blobs, manifests = _opened(tmp_path / "image.tar")

    assert [entry["annotations"]["io.containerd.image.name"] for entry in manifests] == [
        "localhost/a:1",
        "localhost/b:2",
    ]
    assert {entry["digest"] for entry in manifests} == {manifests[0]["digest"]}
    manifest = json.loads(_blob(blobs, manifests[0]))
    config = json.loads(_blob(blobs, manifest["config"]))
    assert config["config"] == {
        "Entrypoint": ["/usr/bin/program"],
        "Env": ["HOME=/", "PATH=/usr/bin"],
        "User": "1337:1337",
        "WorkingDir": "/",
    }
    assert (config["architecture"], config["os"]) == ("arm64", "linux")
    (layer,) = manifest["layers"]
    assert config["rootfs"]["diff_ids"] == [layer["digest"]], "an uncompressed layer is its own content"
    assert _blob(blobs, layer) == image.layers[0].path.read_bytes()


def test_what_images_share_is_stored_once(tmp_path: Path, root: Path) -> None:
    layer = _layer(tmp_path, root)
    images = [Image((f"localhost/{name}:1",), (layer,), entrypoint=(name,)) for name in "ab"]
    write_archive(tmp_path / "images.tar", images)
    blobs, manifests = _opened(tmp_path / "images.tar")
    assert len(manifests) == 2
    assert len(blobs) == 1 + 2 * 2  # the layer; for each image a configuration and a manifest
