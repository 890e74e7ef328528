"""What is built is named by what it is built from: nothing old is taken for new."""

import shutil
from pathlib import Path

import pytest

from e2e.cluster import building


@pytest.fixture
def sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    copied = tmp_path / "go"
    shutil.copytree(building.SOURCES, copied)
    monkeypatch.setattr(building, "SOURCES", copied)
    return copied


@pytest.mark.parametrize("changed", ["go.mod", "go.sum", "main.go"])
def test_another_source_is_another_program(tmp_path: Path, sources: Path, changed: str) -> None:
    before = building.place(tmp_path, "etcd")
    assert before.name.startswith(f"etcd-{building.version('etcd')}-")
    assert building.place(tmp_path, "etcd") == before
    with (sources / "etcd" / changed).open("a") as file:
        file.write("// changed\n")
    assert building.place(tmp_path, "etcd") != before


def test_an_empty_cache_has_nothing_built_and_a_full_one_is_asked_no_compiler(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not building.all_built(tmp_path)
    for tool in ("kubernetes", "etcd", "coredns", "pause"):
        building.place(tmp_path, tool).mkdir()
    assert not building.all_built(tmp_path), "Debian's are missing"
    building.packages_place(tmp_path).mkdir()
    assert building.all_built(tmp_path)
    monkeypatch.setenv("PATH", "/nowhere")
    building.build_all(tmp_path)


def test_programs_are_found_by_their_names(tmp_path: Path) -> None:
    building.place(tmp_path, "kubernetes").mkdir()
    building.place(tmp_path, "etcd").mkdir()
    names = tmp_path / "bin"
    names.mkdir()
    building.link_programs(tmp_path, names)
    assert (names / "kubelet").readlink() == (names / "kube-apiserver").readlink()
    assert {"etcd", "kubelet", "kube-proxy"} <= {path.name for path in names.iterdir()}


def test_kubernetes_is_told_its_version_when_it_is_linked() -> None:
    (linked,) = (flag for flag in building.flags("1.36.3") if flag.startswith("-ldflags"))
    assert "version.gitVersion=v1.36.3" in linked
    assert "version.gitMinor=36" in linked
    assert "gitVersion" not in " ".join(building.flags(""))
