"""A node is known by a process that is surely its own, and what is left of one is cleaned up at any stage."""

import os
from pathlib import Path

import pytest

from e2e.cluster.node import Node, name_of
from tools.progress import FailedStep


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return Node(tmp_path / "cache", "lateen-test")


def _written_down(node: Node, *groups: Path) -> None:
    node.folder.mkdir(parents=True, exist_ok=True)
    (node.folder / "control-groups").write_text("\n".join(map(str, groups)))


def test_the_first_process_is_the_one_that_is_number_one_inside(node: Node, tmp_path: Path) -> None:
    """Ourselves, a kernel thread that has no such number, one that is gone: none of them is it."""
    group = tmp_path / "group"
    group.mkdir()
    _written_down(node, group)
    assert node.first_process() is None
    (group / "cgroup.procs").write_text(f"{os.getpid()}\n2\n{2**22 + 1}\n")
    assert node.first_process() is None


def test_a_start_that_was_cut_off_anywhere_is_cleaned_up(node: Node, tmp_path: Path) -> None:
    inner, never_made = tmp_path / "group/kubepods", tmp_path / "never-made"
    inner.mkdir(parents=True)
    _written_down(node, inner.parent, never_made)
    node.end()
    assert not inner.parent.exists()
    assert not node.folder.exists()
    node.folder.mkdir()  # cut off before anything was written down
    node.end()
    assert not node.folder.exists()
    node.end()


def test_who_enters_a_node_that_is_not_up_is_told_how_to_start_it(node: Node) -> None:
    with pytest.raises(FailedStep, match="make cluster-up"):
        node.entered(["true"])


def test_checkouts_have_nodes_of_their_own(tmp_path: Path) -> None:
    assert name_of(tmp_path / "a") != name_of(tmp_path / "b")
    assert name_of(tmp_path / "a") == name_of(tmp_path / "b/../a")


def test_groups_that_stay_in_use_are_named(node: Node, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("e2e.cluster.node._PATIENCE", 0.1)
    (tmp_path / "group").mkdir()
    (tmp_path / "group/file").touch()
    _written_down(node, tmp_path / "group")
    with pytest.raises(FailedStep, match="group"):
        node.end()
    assert node.folder.exists(), "who tries again knows where to look"
