"""The fleet's history: what happened and why.

Owns: the ring of the last events, its copy on disk, and the publishing of the controller's own. Its rule: bounded in
memory and on disk; a damaged line of the file is skipped, never fatal. Not here: deciding what is worth an event.
"""

from __future__ import annotations

import contextlib
import time
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec
import structlog

from edgesplit.messages import Event

__all__ = ["ORIGIN", "EventLog"]

ORIGIN = "controller"
KEPT = 1000
_WARNINGS = frozenset(
    {
        "node-left",
        "node-refused",
        "plan-infeasible",
        "epoch-abandoned",
        "fallback-engaged",
        "malformed-message",
        "noise-exceeded",
    }
)


class EventLog:
    """The last events of controller and agents.

    Args:
        path: A file of JSON lines, or None to keep them in memory only.
        publish: Called with every event of the controller itself.
        clock: Seconds since the epoch; injectable for tests.
    """

    def __init__(
        self, path: Path | None, publish: Callable[[Event], None], clock: Callable[[], float] = time.time
    ) -> None:
        self._path = path
        self._publish = publish
        self._clock = clock
        self._log = structlog.get_logger("events")
        self._events: deque[Event] = deque(maxlen=KEPT)
        self._lines = 0
        if path is not None and path.exists():
            self._read(path)

    def add(
        self,
        kind: str,
        text: str,
        *,
        model: str = "",
        node: str = "",
        data: Mapping[str, str | float | int | bool | None] | None = None,
    ) -> None:
        """Record and publish something the controller saw or did."""
        event = Event(
            at_unix_s=self._clock(),
            origin=ORIGIN,
            kind=kind,
            text=text,
            model=model,
            node=node,
            data=dict(data or {}),
        )
        self._keep(event)
        self._publish(event)

    def collect(self, event: Event) -> None:
        """Record an agent's event."""
        if event.origin != ORIGIN:
            self._keep(event)

    def last(self, limit: int) -> list[Event]:
        """The newest `limit` events, oldest first."""
        events = list(self._events)
        return events[-limit:] if limit > 0 else []

    def _keep(self, event: Event) -> None:
        level = self._log.warning if event.kind in _WARNINGS else self._log.info
        names = {"model": event.model, "node": event.node}
        level(event.text, kind=event.kind, origin=event.origin, **{key: name for key, name in names.items() if name})
        self._events.append(event)
        if self._path is None:
            return
        try:
            if self._lines >= 2 * KEPT:
                self._rewrite(self._path)
            else:
                with self._path.open("ab") as stream:
                    stream.write(msgspec.json.encode(event) + b"\n")
                self._lines += 1
        except OSError as error:
            self._log.error("events cannot be written", path=str(self._path), cause=str(error))

    def _read(self, path: Path) -> None:
        for line in path.read_bytes().splitlines():
            self._lines += 1
            # The last line may be cut short by a crash; history is no reason not to start.
            with contextlib.suppress(msgspec.DecodeError, UnicodeDecodeError):
                self._events.append(msgspec.json.decode(line, type=Event))

    def _rewrite(self, path: Path) -> None:
        temporary = path.with_suffix(".new")
        temporary.write_bytes(b"".join(msgspec.json.encode(event) + b"\n" for event in self._events))
        temporary.replace(path)
        self._lines = len(self._events)
