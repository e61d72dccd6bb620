"""Logging of the daemons: one line an event, the same form in both.

Owns: how a log line looks, and how many of a kind there may be. Its rule: on a terminal colours, else `level=… part=…
event=… key=value` (logfmt), which journald and containers keep as it is; the time stands in front unless journald stamps
lines itself. An event is named in kebab-case words; sentences are its `text` or `reason`. Not here: what is logged.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Mapping
from typing import TextIO

import structlog

__all__ = ["LEVELS", "LineLimit", "set_up_logging"]

LEVELS = ("debug", "info", "warning", "error")


def set_up_logging(level: str, *, stream: TextIO | None = None, environment: Mapping[str, str] | None = None) -> None:
    """Send log lines to standard error; called once, in `main`.

    Args:
        level: The least one shown, of `LEVELS`.
        stream: Instead of standard error.
        environment: Instead of the process's; `JOURNAL_STREAM` in it says that journald reads the lines.
    """
    out = sys.stderr if stream is None else stream
    stamped = "JOURNAL_STREAM" in (os.environ if environment is None else environment)
    processors: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.StackInfoRenderer(),
    ]
    if out.isatty():
        processors += [structlog.processors.TimeStamper(fmt="%H:%M:%S", utc=False), structlog.dev.ConsoleRenderer()]
    else:
        if not stamped:
            processors.append(structlog.processors.TimeStamper(fmt="iso", utc=True))
        order = ["timestamp", "level", "part", "event"]
        processors += [
            structlog.processors.format_exc_info,
            structlog.processors.LogfmtRenderer(key_order=order, drop_missing=True),
        ]
    structlog.configure(
        processors=processors,
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.PrintLoggerFactory(out),
        cache_logger_on_first_use=False,
    )


class LineLimit:
    """At most so many lines in so much time, for what a stranger could cause without end; pure, times are handed in.

    Args:
        most: In a window.
        window_s: Its length. [s]
    """

    def __init__(self, most: int, window_s: float) -> None:
        self._most = most
        self._window_s = window_s
        self._begun_s = float("-inf")
        self._count = 0

    def allows(self, now_s: float) -> bool:
        """Count one; whether it may be logged. [s]"""
        if now_s - self._begun_s >= self._window_s:
            self._begun_s, self._count = now_s, 0
        self._count += 1
        return self._count <= self._most
