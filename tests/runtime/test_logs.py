"""One log call, two readers."""

import io
import json
import logging

import pytest
import structlog

from controlplane.runtime.logs import set_up_logs


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def _restore_structlog():
    yield
    structlog.reset_defaults()


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
