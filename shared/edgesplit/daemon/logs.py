"""Logging of the daemons: one line an event, the same form in both.

Owns: how a log line looks, and how many of a kind there may be. Its rule: on a terminal colours, else `level=… part=…
event=… key=value` (logfmt), which journald and containers keep as it is; the time stands in front unless journald stamps
lines itself. An event is named in kebab-case words; sentences are its `text` or `reason`. Not here: what is logged.
"""

from __future__ import annotations

import logging
import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping
from typing import TextIO

import structlog

__all__ = ["LEVELS", "EventLimit", "LineLimit", "set_up_logging"]

LEVELS = ("debug", "info", "warning", "error")
MOST_LINES, WINDOW_S = 1000, 60.0
"""Of one event, in so much time: whatever strangers find to repeat, a log stays readable and a disk has room. [1, s]"""
MOST_EVENTS = 512
"""Events that are counted by themselves; others, whose names strangers may have chosen, together."""


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
        EventLimit(time.monotonic),
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


class EventLimit:
    """A processor of structlog that drops what comes too often, by event; the next line that passes says how many were.

    Args:
        clock: Monotonic. [s]
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._limits: dict[str, LineLimit] = {}
        self._dropped: Counter[str] = Counter()

    def __call__(self, _logger: object, _method: str, line: structlog.typing.EventDict) -> structlog.typing.EventDict:
        """Pass a line on, or drop it."""
        event = str(line.get("event", ""))
        if event not in self._limits and len(self._limits) >= MOST_EVENTS:
            event = ""
        if not self._limits.setdefault(event, LineLimit(MOST_LINES, WINDOW_S)).allows(self._clock()):
            self._dropped[event] += 1
            raise structlog.DropEvent
        if dropped := self._dropped.pop(event, 0):
            line["dropped_before"] = dropped
        return line


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
