"""Log lines on standard error, as the control plane's: for people on a terminal, JSON elsewhere.

structlog would do this and takes 6 MB; here there is one logger, made where everything is made and handed on.
"""

import json
import logging
import os
import sys
from collections.abc import Callable
from datetime import datetime
from typing import Any, Final, TextIO

from controlplane.base.clock import Clock

_COLOURS: Final = {"info": "\033[32m", "warning": "\033[33m", "error": "\033[31m"}
_PLAIN: Final = "\033[0m"


class Log:
    """Events with their facts."""

    def __init__(self, clock: Clock, stream: TextIO | None = None) -> None:
        self._clock = clock
        self._stream = stream or sys.stderr
        terminal = self._stream.isatty()
        self._line: Callable[[datetime, str, str, dict[str, Any]], str] = _for_people if terminal else _for_machines

    def info(self, event: str, **facts: Any) -> None:
        self.write("info", event, facts)

    def warning(self, event: str, **facts: Any) -> None:
        self.write("warning", event, facts)

    def error(self, event: str, **facts: Any) -> None:
        self.write("error", event, facts)

    def write(self, level: str, event: str, facts: dict[str, Any]) -> None:
        """A line that cannot be written is lost: nobody reads any more, and Envoy must go on."""
        try:
            self._stream.write(self._line(self._clock.now(), level, event, facts) + "\n")
            self._stream.flush()
        except OSError:
            pass


def _for_machines(now: datetime, level: str, event: str, facts: dict[str, Any]) -> str:
    return json.dumps({"timestamp": now.isoformat(), "level": level, "event": event, **facts}, default=str)


def _for_people(now: datetime, level: str, event: str, facts: dict[str, Any]) -> str:
    colour, plain = ("", "") if os.environ.get("NO_COLOR") else (_COLOURS[level], _PLAIN)
    told = " ".join(f"{key}={value}" for key, value in facts.items())
    return f"{now.astimezone():%H:%M:%S} [{colour}{level:<7}{plain}] {event:<30} {told}".rstrip()


def take_over_libraries(log: Log) -> None:
    """What asyncio has to say becomes lines among ours."""
    logging.root.addHandler(_FromLibraries(log))


class _FromLibraries(logging.Handler):
    def __init__(self, log: Log) -> None:
        super().__init__(logging.WARNING)
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        error = {"error": repr(record.exc_info[1])} if record.exc_info else {}
        write = self._log.error if record.levelno >= logging.ERROR else self._log.warning
        write(record.getMessage(), logger=record.name, **error)
