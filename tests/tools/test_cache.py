"""What is made once is made whole or not at all, however many ask and whenever they are cut off."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tools.cache import default_cache, digest_of, forget_unused, made

# Says that it builds, waits to be let go, and says so again when it is done.
_BUILDER = """
import sys
from pathlib import Path
from tools.cache import made
def make(folder):
    (folder / "half").touch()
    print("building", flush=True)
    sys.stdin.readline()
    (folder / "done").touch()
made(Path(sys.argv[1]), make)
print("has it", flush=True)
"""


def _builder(folder: Path) -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", _BUILDER, str(folder)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def _said(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


@pytest.mark.skipif(sys.platform != "linux", reason="who waits for a lock is asked of /proc")
def test_two_who_ask_at_once_share_one_build(tmp_path: Path) -> None:
    folder = tmp_path / "tool"
    with _builder(folder) as first:
        assert _said(first) == "building"
        with _builder(folder) as second:
            _wait_until_it_waits_for_the_lock(second.pid)
            assert not folder.exists(), "what is not finished is not there"
            first.communicate("go on\n")
            assert _said(second) == "has it", "and it built nothing"
    assert {path.name for path in folder.iterdir()} == {"half", "done"}


def test_a_build_that_was_cut_off_is_done_again_from_the_start(tmp_path: Path) -> None:
    folder = tmp_path / "tool"
    with _builder(folder) as process:
        assert _said(process) == "building"
        process.send_signal(signal.SIGKILL)
    assert not folder.exists()
    assert made(folder, lambda fresh: (fresh / "whole").touch()) == folder
    assert [path.name for path in folder.iterdir()] == ["whole"]


def test_a_build_that_fails_leaves_nothing_to_be_taken_for_one(tmp_path: Path) -> None:
    def fails(folder: Path) -> None:
        (folder / "half").touch()
        raise OSError("the disk is full")

    with pytest.raises(OSError, match="full"):
        made(tmp_path / "tool", fails)
    assert not (tmp_path / "tool").exists()


def test_what_nobody_asked_for_in_a_month_is_forgotten(tmp_path: Path) -> None:
    month = 31 * 24 * 3600
    old, used = (made(tmp_path / name, lambda folder: (folder / "file").touch()) for name in ("old", "used"))
    now = old.stat().st_mtime
    forget_unused(tmp_path, now)
    assert old.is_dir()
    for folder in (old, used):
        os.utime(folder, (now - month, now - month))
    made(used, lambda _: pytest.fail("it is there"))
    forget_unused(tmp_path, now)
    assert (old.exists(), used.exists()) == (False, True)
    made(old, lambda folder: (folder / "anew").touch())
    assert (old / "anew").exists()


def test_parts_of_a_digest_do_not_run_into_each_other() -> None:
    assert digest_of("ab", "c") != digest_of("a", "bc")
    assert digest_of("a", b"b") == digest_of(b"a", "b")


def test_the_cache_is_where_the_user_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_cache() == tmp_path / "lateen"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert default_cache() == tmp_path / ".cache/lateen"


def _wait_until_it_waits_for_the_lock(pid: int) -> None:
    """The kernel lists who waits (proc(5), `/proc/locks`)."""
    until = time.monotonic() + 30
    while not any("->" in line and f" {pid} " in line for line in Path("/proc/locks").read_text().splitlines()):
        assert time.monotonic() < until
        time.sleep(0.01)
