"""What a node leaves on the machine: nothing. Runs outside of any node, and starts one of its own."""

import os
import subprocess
import sys
from pathlib import Path
from time import monotonic, sleep

import msgspec
import pytest

from e2e.cluster.__main__ import main
from e2e.cluster.node import CHECKOUT, Node, name_of
from tools.cache import default_cache

_NAME = f"{name_of(CHECKOUT)}-ends"
_FOLDERS = ("/run", "/var/lib", "/var/log", "/opt", "/etc", "/etc/cni", "/etc/containerd")
_SYSCTLS = ("vm/overcommit_memory", "vm/panic_on_oom", "kernel/panic", "kernel/panic_on_oops", "net/ipv4/ip_forward")
_START = 180.0  # seconds, on a machine that is busy with other tests; ten otherwise


class Machine(msgspec.Struct, frozen=True):
    """What a node might have changed. Its control groups tell of its processes: a group with one in it stays."""

    mounts: frozenset[str]
    links: frozenset[str]
    routes: frozenset[str]
    namespaces: frozenset[str]
    sysctls: tuple[str, ...]
    files: frozenset[str]
    groups: frozenset[str]


def _look() -> Machine:
    return Machine(
        mounts=_lines("cat", "/proc/self/mountinfo"),
        links=_lines("sh", "-c", "ip -o link | cut -d: -f2"),
        routes=_lines("ip", "route", "show", "table", "all"),
        namespaces=_lines("ip", "netns"),
        sysctls=tuple(Path("/proc/sys", name).read_text() for name in _SYSCTLS),
        files=frozenset(str(path) for folder in _FOLDERS for path in Path(folder).glob("*")),
        groups=frozenset(str(path) for path in Path("/sys/fs/cgroup").glob(f"**/{_NAME}")),
    )


def _lines(*command: str) -> frozenset[str]:
    return frozenset(subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines())


@pytest.fixture
def cache() -> Path:
    return default_cache()


def _run(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    monkeypatch.setattr("sys.argv", ["e2e.cluster", "--name", _NAME, *words])
    return main()


@pytest.mark.timeout(600)
@pytest.mark.parametrize("ending", ["told", "killed"])
def test_a_node_starts_in_seconds_and_leaves_nothing(
    ending: str, cache: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """`killed`: whoever started it is killed with no time to clean up; the next command does."""
    node, before = Node(cache, _NAME), _look()
    begun = monotonic()
    assert _run(monkeypatch, "up", "--bare") == 0, capfd.readouterr()
    took = monotonic() - begun
    assert _run(monkeypatch, "shell", "--", "kubectl", "get", "node") == 0
    assert " Ready " in capfd.readouterr().out
    during = _look()
    assert during.groups, "its processes are seen from outside"
    assert msgspec.structs.replace(during, groups=before.groups) == before, "while it is up, too, all else is as it was"

    if ending == "killed":
        first = node.first_process()
        assert first is not None
        os.kill(first, 9)

    begun = monotonic()
    assert _run(monkeypatch, "down") == 0
    ended = monotonic() - begun

    assert not node.folder.exists()
    assert _look() == before
    assert took < _START
    with capfd.disabled():
        print(f"\n  up in {took:.1f} s, gone in {ended:.1f} s", end=" ")


# Starts a node as `make e2e` does, and waits.
_STARTER = """
import sys
from pathlib import Path
from e2e.cluster.node import CHECKOUT, Node, name_of
Node(Path(sys.argv[1]), sys.argv[2]).start(with_us=True)
print("started", flush=True)
sys.stdin.readline()
"""


def test_a_node_for_tests_ends_with_whoever_started_it(cache: Path) -> None:
    """However that ends: nobody is left to send a signal when it is killed."""
    node, before = Node(cache, _NAME), _look()
    command = [sys.executable, "-c", _STARTER, str(cache), _NAME]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as starter:
        assert starter.stdout is not None
        assert "started\n" in iter(starter.stdout.readline, "")
        assert node.first_process()
        starter.kill()
    until = monotonic() + _START
    while node.first_process():
        assert monotonic() < until
        sleep(0.05)
    node.end()
    assert _look() == before


def test_half_a_node_is_cleaned_up(cache: Path) -> None:
    """Cut off between any two steps of its start, what there is of it goes with the next `down`."""
    node = Node(cache, _NAME)
    node.folder.mkdir(parents=True)
    (node.folder / "logs").mkdir()
    node.end()
    assert not node.folder.exists()
