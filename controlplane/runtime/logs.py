"""Logs for two readers: a person at a terminal, and a machine that collects JSON lines."""

import logging
import sys
from typing import TextIO

import structlog


def set_up_logs(level: str = "info", stream: TextIO | None = None) -> None:
    """Configure structlog once, at the start of a command: coloured lines on a terminal, JSON lines elsewhere.

    Logs go to standard error: standard output is for data. Nothing is configured on import.
    """
    stream = stream or sys.stderr
    terminal = stream.isatty()
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="%H:%M:%S" if terminal else "iso", utc=not terminal),
    ]
    ending: list[structlog.typing.Processor] = (
        [structlog.dev.ConsoleRenderer(sort_keys=False)]
        if terminal
        else [structlog.processors.dict_tracebacks, _event_first, structlog.processors.JSONRenderer()]
    )
    if not any(isinstance(handler, _FromLibraries) for handler in logging.root.handlers):
        logging.root.addHandler(_FromLibraries(logging.WARNING))
    structlog.configure(
        processors=[*shared, *ending],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.PrintLoggerFactory(stream),
        cache_logger_on_first_use=False,
    )


def _event_first(_logger: object, _method: str, line: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """When, how bad, what; then the rest."""
    first = {key: line.pop(key) for key in ("timestamp", "level", "event")}
    return {**first, **line}


class _FromLibraries(logging.Handler):
    """What libraries say (gRPC, asyncio), as one line among ours: no bare traceback in a file of JSON."""

    def emit(self, record: logging.LogRecord) -> None:
        error = {"error": repr(record.exc_info[1])} if record.exc_info else {}
        structlog.get_logger(record.name).log(record.levelno, record.getMessage(), logger=record.name, **error)
