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
        [structlog.dev.ConsoleRenderer()]
        if terminal
        else [structlog.processors.dict_tracebacks, structlog.processors.JSONRenderer()]
    )
    structlog.configure(
        processors=[*shared, *ending],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.PrintLoggerFactory(stream),
        cache_logger_on_first_use=False,
    )
