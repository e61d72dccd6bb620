"""Setting up of logging: one line an event, the same form in both daemons.

Owns: where lines go, and in which form. Its rule: where journald reads standard error, an event goes to its socket with fields of
its own; on a terminal colours, else `level=… part=… event=… key=value` (logfmt), which containers keep as it is; the time stands in front
unless journald stamps lines itself. What libraries log by Python's `logging` takes the same way. An event is named in kebab-case words;
sentences are its `text` or `reason`. Not here: what is logged, how many lines there may be (`limits.py`), the journal's protocol (`journal.py`).
"""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TextIO

import structlog

from edgesplit.daemon.logs.journal import JOURNAL_SOCKET, JournalEntries, JournalSocket, is_journal
from edgesplit.daemon.logs.limits import EventLimit

__all__ = ["LEVELS", "set_up_logging"]

LEVELS = ("debug", "info", "warning", "error")
_ORDER = ["timestamp", "level", "part", "event"]


def set_up_logging(
    level: str,
    *,
    program: str,
    stream: TextIO | None = None,
    environment: Mapping[str, str] | None = None,
    journal: Path = JOURNAL_SOCKET,
) -> None:
    """Send log lines to the journal, or to standard error; called once, in `main`.

    Args:
        level: The least one shown, of `LEVELS`.
        program: Its name in the journal.
        stream: Instead of standard error.
        environment: Instead of the process's; `JOURNAL_STREAM` in it says that journald reads the lines.
        journal: Where journald takes entries with fields.
    """
    out = sys.stderr if stream is None else stream
    stream_of_journal = (os.environ if environment is None else environment).get("JOURNAL_STREAM", "")
    processors: list[structlog.typing.Processor] = [
        EventLimit(time.monotonic),
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.StackInfoRenderer(),
    ]
    factory: Any = structlog.PrintLoggerFactory(out)
    line = structlog.processors.LogfmtRenderer(key_order=_ORDER, drop_missing=True)
    if is_journal(out, stream_of_journal):
        processors += [structlog.processors.format_exc_info, JournalEntries(program, line)]
        factory = JournalSocket(journal, out)
    elif out.isatty():
        processors += [structlog.processors.TimeStamper(fmt="%H:%M:%S", utc=False), structlog.dev.ConsoleRenderer()]
    else:
        if not stream_of_journal:
            processors.append(structlog.processors.TimeStamper(fmt="iso", utc=True))
        processors += [structlog.processors.format_exc_info, line]
    structlog.configure(
        processors=processors,
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=factory,
        cache_logger_on_first_use=False,
    )
    logging.basicConfig(handlers=[_LibraryRecords()], level=logging.WARNING, force=True)


class _LibraryRecords(logging.Handler):
    """What libraries log, as events of the same form; their part is the logger's name."""

    def emit(self, record: logging.LogRecord) -> None:
        """See `logging.Handler`."""
        log = structlog.get_logger(part=record.name)
        tell = log.error if record.levelno >= logging.ERROR else log.warning
        tell("library-message", text=record.getMessage(), exc_info=record.exc_info)
