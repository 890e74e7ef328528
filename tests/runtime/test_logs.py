"""One log call, two readers."""

import io
import json
import logging
import os
from pathlib import Path

import pytest
import structlog

from controlplane.runtime.logs import set_up_logs


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_elsewhere_than_on_a_terminal_a_log_line_is_one_json_object() -> None:
    stream = io.StringIO()
    set_up_logs("info", stream)
    structlog.get_logger().info("pushed", bytes=3)
    line = json.loads(stream.getvalue())
    assert (line["event"], line["bytes"], line["level"]) == ("pushed", 3, "info")
    assert line["timestamp"].endswith("Z")


def test_on_a_terminal_it_is_for_people() -> None:
    stream = Terminal()
    set_up_logs("info", stream)
    structlog.get_logger().info("pushed", bytes=3)
    assert "pushed" in stream.getvalue()
    assert not stream.getvalue().startswith("{")


def test_a_person_may_want_no_colours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    stream = Terminal()
    set_up_logs("info", stream)
    structlog.get_logger().warning("pushed", bytes=3)
    assert "\x1b" not in stream.getvalue()


def test_lines_below_the_level_are_not_written() -> None:
    stream = io.StringIO()
    set_up_logs("warning", stream)
    structlog.get_logger().info("pushed")
    assert stream.getvalue() == ""


def test_what_libraries_say_is_a_line_among_ours_without_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logging.root, "handlers", [])
    stream = io.StringIO()
    for _ in range(2):  # a second command in one process
        set_up_logs("info", stream)
    logging.getLogger("grpc._cython").error("not handled in %s", "method", exc_info=OSError("gone"))
    logging.getLogger("grpc._cython").info("chatter")
    line = json.loads(stream.getvalue())
    assert list(line)[:3] == ["timestamp", "level", "event"]
    assert (line["event"], line["logger"], line["error"]) == (
        "not handled in method",
        "grpc._cython",
        "OSError('gone')",
    )


def test_no_library_fills_the_log(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logging.root, "handlers", [])
    stream = io.StringIO()
    set_up_logs("info", stream)
    for _ in range(1_000):
        logging.getLogger("grpc._cython").error("a stranger sent nonsense")
    logging.getLogger("asyncio").error("something else")
    lines = stream.getvalue().splitlines()
    assert 50 <= len(lines) < 60
    assert "something else" in lines[-1]


def test_a_log_that_nobody_reads_any_more_is_told_once_and_raises_nothing() -> None:
    reader, writer = os.pipe()
    told: list[str] = []
    with os.fdopen(writer, "w") as stream:
        set_up_logs("info", stream, closed=lambda: told.append("closed"))
        structlog.get_logger().info("read")
        assert b"read" in os.read(reader, 1000)
        os.close(reader)
        structlog.get_logger().info("unread")
        structlog.get_logger().info("unread, too")
    assert told == ["closed"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux only")
def test_a_full_disk_loses_lines_and_nothing_else() -> None:
    told: list[str] = []
    with Path("/dev/full").open("w") as stream:
        set_up_logs("info", stream, closed=lambda: told.append("closed"))
        structlog.get_logger().info("lost")
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    assert told == []
