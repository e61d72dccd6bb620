"""The journal's native protocol: one datagram an entry, with a field for every key of an event.

Owns: names of fields, their bytes, and the socket. Its rule: a key `model` becomes the field EDGESPLIT_MODEL, so that `journalctl
EDGESPLIT_MODEL=yolo` finds it; an entry that journald does not take goes to standard error, which it reads too. Not here: which events there are.

A library would have to be compiled against systemd's own on each machine; the protocol is a page long.

References: systemd.io/JOURNAL_NATIVE_PROTOCOL, systemd.journal-fields(7), `$JOURNAL_STREAM` in systemd.exec(5).
"""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import structlog

__all__ = ["JOURNAL_SOCKET", "JournalEntries", "JournalEntry", "JournalSocket", "is_journal"]

JOURNAL_SOCKET = Path("/run/systemd/journal/socket")
PRIORITIES = {"critical": 2, "error": 3, "warning": 4, "info": 6, "debug": 7}
"""Levels as syslog numbers them."""
LONGEST = 32 << 10
"""Characters of one value: a datagram may have some two hundred thousand bytes."""
_NO_FIELD = re.compile(r"[^A-Z0-9_]")
_LONGEST_NAME = 64


def is_journal(stream: TextIO, named: str) -> bool:
    """Whether journald reads a stream.

    Args:
        stream: Such as standard error.
        named: `$JOURNAL_STREAM`: device and inode of what the service manager connected.
    """
    try:
        stat = os.fstat(stream.fileno())
    except (OSError, ValueError):  # no file at all, as in tests
        return False
    return named == f"{stat.st_dev}:{stat.st_ino}"


@dataclass(frozen=True)
class JournalEntry:
    """One event.

    Attributes:
        fields: As the datagram has them.
        line: The same for who reads lines.
    """

    fields: bytes
    line: str


class JournalEntries:
    """The last processor of structlog: an event becomes an entry.

    Args:
        program: Its name in the journal.
        line: Renders an event in one line.
    """

    def __init__(self, program: str, line: Callable[[Any, str, structlog.typing.EventDict], Any]) -> None:
        self._program = program
        self._line = line

    def __call__(
        self, logger: Any, method: str, event: structlog.typing.EventDict
    ) -> tuple[tuple[JournalEntry], dict[str, Any]]:
        """See `structlog.typing.Processor`."""
        level = str(event.get("level", "info"))
        said = {key: value for key, value in event.items() if key not in {"level", "timestamp"}}
        line = str(self._line(logger, method, dict(event)))
        fields = {
            "MESSAGE": line.removeprefix(f"level={level} "),
            "PRIORITY": str(PRIORITIES.get(level, 6)),
            "SYSLOG_IDENTIFIER": self._program,
            **{_field(key): str(value) for key, value in said.items() if value is not None},
        }
        return (JournalEntry(b"".join(_encoded(name, text) for name, text in fields.items()), line),), {}


class JournalSocket:
    """Takes entries in place of a logger.

    Args:
        path: Where journald listens.
        out: Where lines go that it does not take.
    """

    def __init__(self, path: Path, out: TextIO) -> None:
        self._path = str(path)
        self._out = structlog.PrintLogger(out)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        # A journal that does not keep up takes lines; nobody waits for it.
        self._socket.setblocking(False)

    def __call__(self, *_given: object) -> JournalSocket:
        """As structlog asks for a logger: there is one."""
        return self

    def msg(self, entry: JournalEntry) -> None:
        """Send one."""
        try:
            self._socket.sendto(entry.fields, self._path)
        except OSError:
            self._out.msg(entry.line)

    debug = info = warning = warn = error = exception = critical = fatal = failure = log = msg


def _field(key: str) -> str:
    return f"EDGESPLIT_{_NO_FIELD.sub('_', key.upper())}"[:_LONGEST_NAME]


def _encoded(name: str, text: str) -> bytes:
    """A field as the protocol has it: a value of several lines stands behind its length, little-endian."""
    value = text[:LONGEST].encode(errors="backslashreplace")
    if b"\n" not in value:
        return b"%s=%s\n" % (name.encode(), value)
    return b"%s\n%s%s\n" % (name.encode(), len(value).to_bytes(8, "little"), value)
