"""Event log: what happened to the fleet and why.

Owns: the histories' copy on disk, the log's line for each event, and the publishing of the controller's own. Its rule:
bounded in memory and on disk; a damaged line of the file is skipped, never fatal. Not here: deciding what is worth an
event, what is forgotten first (`event_history.py`).
"""

from __future__ import annotations

import contextlib
import itertools
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import structlog

from edgesplit.control.event_kinds import EventSelection, level_of
from edgesplit.control.event_messages import Event, EventData, EventLevel
from edgesplit_controller.event_history import KEPT_S, EventHistory

__all__ = ["ORIGIN", "EventLog"]


ORIGIN = "controller"
MOST_TEXT, MOST_WORD, MOST_DATA = 4_000, 256, 32
"""Characters of an agent's sentence and of a name, and figures behind it: thousands of events are remembered."""
SLACK = 2_000
"""Lines of the file beyond those remembered before it is written anew."""


class EventLog:
    """The last events of controller and agents.

    Args:
        path: A file of JSON lines, or None to keep them in memory only.
        publish: Called with every event of the controller itself.
        clock: Seconds since the epoch; injectable for tests.

    Attributes:
        watchers: Told of every event that is kept, and its number.
    """

    def __init__(
        self, path: Path | None, publish: Callable[[Event], None], clock: Callable[[], float] = time.time
    ) -> None:
        self._path = path
        self._publish = publish
        self._clock = clock
        self._log = structlog.get_logger(part="events")
        self._history = EventHistory()
        self.watchers: list[Callable[[int, Event], None]] = []
        self._lines = 0
        self._unwritten = False
        if path is not None and path.exists():
            self._read(path)

    def add(
        self,
        kind: str,
        text: str,
        *,
        model: str = "",
        node: str = "",
        data: EventData | None = None,
        level: EventLevel | None = None,
    ) -> None:
        """Record and publish something the controller saw or did; its kind says the level unless it is given."""
        event = Event(
            at_unix_s=self._clock(),
            origin=ORIGIN,
            kind=kind,
            text=text,
            model=model,
            node=node,
            data=dict(data or {}),
            level=level or level_of(kind),
        )
        self._keep(event)
        self._publish(event)

    def collect(self, event: Event) -> None:
        """Record an agent's event."""
        if event.origin != ORIGIN:
            # Whatever the node's clock says, it was heard of now.
            self._keep(msgspec.structs.replace(_shortened(_levelled(event)), heard_unix_s=self._clock()))

    def last(self, limit: int, selection: EventSelection | None = None) -> list[Event]:
        """The newest `limit` events of those that are selected, oldest first."""
        return self._history.last(limit, selection or EventSelection())

    def last_numbered(self, limit: int) -> list[tuple[int, Event]]:
        """The newest `limit` events with their numbers, which grow while this process runs, oldest first."""
        return self._history.last_numbered(limit)

    def _keep(self, event: Event) -> None:
        level = {"info": self._log.info, "warning": self._log.warning, "error": self._log.error}[event.level]
        names = {"model": event.model, "node": event.node}
        level(event.kind, text=event.text, origin=event.origin, **{key: name for key, name in names.items() if name})
        number = self._history.add(event)
        for tell in self.watchers:
            tell(number, event)
        if self._path is None:
            return
        try:
            # What could not be written before is still among the histories.
            if self._unwritten or self._lines >= len(self._history) + SLACK:
                self._rewrite(self._path)
            else:
                with self._path.open("ab") as stream:
                    stream.write(msgspec.json.encode(event) + b"\n")
                self._lines += 1
            self._unwritten = False
        except OSError as error:
            if not self._unwritten:
                self._log.error("events-unwritable", path=str(self._path), reason=str(error))
            self._unwritten = True

    def _read(self, path: Path) -> None:
        for line in path.read_bytes().splitlines():
            self._lines += 1
            # The last line may be cut short by a crash; history is no reason not to start.
            with contextlib.suppress(msgspec.DecodeError, UnicodeDecodeError):
                self._history.add(_levelled(msgspec.json.decode(line, type=Event)))
        self._history.forget(self._clock() - KEPT_S)

    def _rewrite(self, path: Path) -> None:
        self._history.forget(self._clock() - KEPT_S)
        temporary = path.with_suffix(".new")
        temporary.write_bytes(b"".join(msgspec.json.encode(event) + b"\n" for event in self._history))
        temporary.replace(path)
        self._lines = len(self._history)


def _shortened(event: Event) -> Event:
    """An agent's event, no longer than an honest one."""
    data = {
        key[:MOST_WORD]: value[:MOST_WORD] if isinstance(value, str) else value
        for key, value in itertools.islice(event.data.items(), MOST_DATA)
    }
    return msgspec.structs.replace(
        event,
        kind=event.kind[:MOST_WORD],
        text=event.text[:MOST_TEXT],
        model=event.model[:MOST_WORD],
        node=event.node[:MOST_WORD],
        data=data,
    )


def _levelled(event: Event) -> Event:
    """An event of an agent, or of a release, that knows no levels."""
    level = level_of(event.kind)
    return msgspec.structs.replace(event, level=level) if event.level == "info" and level != "info" else event
