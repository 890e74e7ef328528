"""What the kernel says of control groups, and what is left of a folder of them."""

from pathlib import Path

from e2e.cluster import cgroups
from e2e.cluster.surroundings import hierarchies

_OWN = """\
12:name=systemd:/user.slice
4:memory:/process/3689:9
1:cpu,cpuacct:/
0::/
"""
_MOUNTS = """\
25 20 0:22 / /sys/fs/cgroup rw,nosuid shared:5 - tmpfs tmpfs rw,mode=755
26 25 0:23 / /sys/fs/cgroup/unified rw shared:6 - cgroup2 cgroup2 rw,nsdelegate
27 25 0:24 / /sys/fs/cgroup/systemd rw shared:7 - cgroup cgroup rw,xattr,release_agent=/lib/agent,name=systemd
28 25 0:25 / /sys/fs/cgroup/cpu,cpuacct rw shared:8 - cgroup cgroup rw,cpu,cpuacct
29 25 0:26 / /sys/fs/cgroup/memory rw shared:9 - cgroup cgroup rw,memory
"""


def test_version_one_is_read_and_version_two_passed_over() -> None:
    assert hierarchies(_OWN) == [("name=systemd", "/user.slice"), ("memory", "/process/3689:9"), ("cpu,cpuacct", "/")]


def test_hierarchies_are_found_by_what_they_control() -> None:
    assert cgroups.mounted(_MOUNTS) == {
        "name=systemd": Path("/sys/fs/cgroup/systemd"),
        "cpu,cpuacct": Path("/sys/fs/cgroup/cpu,cpuacct"),
        "memory": Path("/sys/fs/cgroup/memory"),
    }


def test_groups_go_from_the_inside_out_and_twice_is_fine(tmp_path: Path) -> None:
    (tmp_path / "node/kubepods/pod1").mkdir(parents=True)
    assert cgroups.removed(tmp_path / "node")
    assert list(tmp_path.iterdir()) == []
    assert cgroups.removed(tmp_path / "node")


def test_a_group_that_is_in_use_stays(tmp_path: Path) -> None:
    (tmp_path / "node").mkdir()
    (tmp_path / "node/file").touch()  # in the way of removal, as a process would be
    assert not cgroups.removed(tmp_path / "node")
