"""What a machine lacks is said at once, each with the way out, and with the other way to a cluster."""

import pytest

from e2e.cluster import requirements
from tools.progress import FailedStep


def _complaint(*, to_build: bool) -> str:
    with pytest.raises(FailedStep) as caught:
        requirements.check(to_build=to_build)
    return str(caught.value)


@pytest.fixture(autouse=True)
def _linux(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that has everything: what is not there is taken away by each test."""
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setattr(requirements, "effective", lambda: (1 << 41) - 1)
    monkeypatch.setattr(requirements, "users_are_the_machines", lambda: True)
    monkeypatch.setattr(requirements, "refusal", lambda _: "")
    monkeypatch.setattr("shutil.which", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr(requirements, "go_version", lambda: (1, 26))
    monkeypatch.setattr("e2e.cluster.cgroups.controllers_here", lambda: {*requirements.CONTROLLERS})
    monkeypatch.setattr(requirements, "file_systems", lambda: ["nodev", "overlay", "ext4"])
    monkeypatch.setattr(requirements, "free_memory", lambda: requirements.MEMORY)


def test_a_machine_that_has_it_all_is_told_nothing() -> None:
    requirements.check(to_build=True)


def test_another_system_is_told_so_and_nothing_else_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.platform", "darwin")
    complaint = _complaint(to_build=True)
    assert "darwin" in complaint
    assert "KUBECONFIG" in complaint


def test_everything_is_named_at_once_with_its_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(requirements, "effective", lambda: 0)
    monkeypatch.setattr("shutil.which", lambda _: None)
    monkeypatch.setattr("e2e.cluster.cgroups.controllers_here", set)
    monkeypatch.setattr(requirements, "file_systems", lambda: ["ext4"])
    monkeypatch.setattr(requirements, "free_memory", lambda: 700 << 20)
    complaint = _complaint(to_build=True)
    for named in (
        "CAP_SYS_ADMIN",
        "sudo",
        "nsenter",
        "util-linux",
        "memory",
        "version 2",
        "overlayfs",
        "700 MB",
        "Go",
        "dpkg",
    ):
        assert named in complaint
    assert complaint.count("\n  - ") == len(complaint.splitlines()) - 2


def test_root_of_a_namespace_is_not_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(requirements, "users_are_the_machines", lambda: False)
    assert "user namespace" in _complaint(to_build=False)


def test_who_has_everything_built_needs_no_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(requirements, "go_version", lambda: (1, 19))
    assert "1.19" in _complaint(to_build=True)
    requirements.check(to_build=False)


def test_a_kernel_that_refuses_is_quoted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(requirements, "refusal", lambda command: "Operation not supported" if "veth" in command else "")
    complaint = _complaint(to_build=False)
    assert "veth" in complaint
    assert "Operation not supported" in complaint
    assert "bridges" not in complaint
