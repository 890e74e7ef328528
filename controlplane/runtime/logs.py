"""Logs for two readers: a person at a terminal, and a machine that collects JSON lines."""

import errno
import logging
import os
import sys
from collections.abc import Callable
from typing import Final, TextIO

import structlog

from controlplane.runtime.buckets import Buckets, Rate
from controlplane.runtime.clock import SystemClock

Closed = Callable[[], None]

_TOLD: Final = Rate(burst=50, per_second=0.2)  # of what one library says: some of it is said because callers want it
_READER_GONE: Final = (errno.EPIPE, errno.EIO)  # a pipe, a terminal


def set_up_logs(level: str = "info", stream: TextIO | None = None, *, closed: Closed = lambda: None) -> None:
    """Configure structlog once, at the start of a command: coloured lines on a terminal, JSON lines elsewhere.

    Logs go to standard error: standard output is for data. Nothing is configured on import. `closed` is called once
    when nobody reads any more; lines that cannot be written are lost, and never an exception where one is logged.
    """
    stream = stream or sys.stderr
    terminal = stream.isatty()
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="%H:%M:%S" if terminal else "iso", utc=not terminal),
    ]
    ending: list[structlog.typing.Processor] = (
        [structlog.dev.ConsoleRenderer(colors=not os.environ.get("NO_COLOR"), sort_keys=False)]
        if terminal
        else [structlog.processors.dict_tracebacks, _event_first, structlog.processors.JSONRenderer()]
    )
    if not any(isinstance(handler, _FromLibraries) for handler in logging.root.handlers):
        logging.root.addHandler(_FromLibraries(logging.WARNING))
    structlog.configure(
        processors=[*shared, *ending],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=lambda *_: _Lines(stream, closed),
        cache_logger_on_first_use=False,
    )


class _Lines:
    """What structlog writes to."""

    def __init__(self, stream: TextIO, closed: Closed) -> None:
        self._stream = stream
        self._closed = closed

    def msg(self, line: str) -> None:
        try:
            self._stream.write(f"{line}\n")
            self._stream.flush()
        except OSError as error:
            if error.errno in _READER_GONE:
                # What is still buffered fails again at every later write, unless it goes where it cannot.
                os.dup2(os.open(os.devnull, os.O_WRONLY), self._stream.fileno())
                self._closed()

    debug = info = warning = error = critical = msg


def _event_first(_logger: object, _method: str, line: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """When, how bad, what; then the rest."""
    first = {key: line.pop(key) for key in ("timestamp", "level", "event")}
    return {**first, **line}


class _FromLibraries(logging.Handler):
    """What libraries say (gRPC, asyncio), as one line among ours: no bare traceback in a file of JSON, and not a line
    for everything that a stranger sends.
    """

    def __init__(self, level: int) -> None:
        super().__init__(level)
        self._told: Buckets[str] = Buckets(SystemClock(), _TOLD)

    def emit(self, record: logging.LogRecord) -> None:
        if self._told.take(record.name):
            return
        error = {"error": repr(record.exc_info[1])} if record.exc_info else {}
        structlog.get_logger(record.name).log(record.levelno, record.getMessage(), logger=record.name, **error)
