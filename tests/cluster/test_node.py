"""A node is known by a process that is surely its own, and what is left of one is cleaned up at any stage."""

import os
import subprocess
from pathlib import Path

import msgspec
import pytest

from e2e.cluster.node import Node, Running, born, name_of
from tools.progress import FailedStep


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return Node(tmp_path / "cache", "lateen-test")


def _known(node: Node, running: Running) -> None:
    node.folder.mkdir(parents=True, exist_ok=True)
    (node.folder / "running.json").write_bytes(msgspec.json.encode(running))


def test_a_process_is_told_from_another_with_its_number(node: Node) -> None:
    own = os.getpid()
    _known(node, Running([], own, born(own)))
    assert node.running() is not None
    _known(node, Running([], own, born(own) - 1))
    assert node.running() is None, "the number is the same, the process is another"


def test_a_dead_process_runs_no_more_whether_it_is_buried_or_not() -> None:
    with subprocess.Popen(["sleep", "600"]) as process:
        assert born(process.pid) > 0
        process.kill()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert born(process.pid) == 0, "a zombie"
    assert born(process.pid) == 0


def test_a_stranger_with_the_number_is_never_killed(node: Node, tmp_path: Path) -> None:
    with subprocess.Popen(["sleep", "600"]) as stranger:
        _known(node, Running([str(tmp_path / "no-such-group")], stranger.pid, born(stranger.pid) + 1))
        node.end()
        assert stranger.poll() is None
        stranger.kill()
    assert not node.folder.exists()


def test_a_start_that_was_cut_off_anywhere_is_cleaned_up(node: Node, tmp_path: Path) -> None:
    group = tmp_path / "group/kubepods"
    group.mkdir(parents=True)
    _known(node, Running([str(group.parent)]))
    node.end()
    assert not group.parent.exists()
    node.folder.mkdir()
    (node.folder / "running.json").write_text("{")  # cut off while it was written
    node.end()
    assert not node.folder.exists()
    node.end()


def test_who_enters_a_node_that_is_not_up_is_told_how_to_start_it(node: Node) -> None:
    with pytest.raises(FailedStep, match="make cluster-up"):
        node.entered(["true"])


def test_checkouts_have_nodes_of_their_own(tmp_path: Path) -> None:
    assert name_of(tmp_path / "a") != name_of(tmp_path / "b")
    assert name_of(tmp_path / "a") == name_of(tmp_path / "b/../a")
