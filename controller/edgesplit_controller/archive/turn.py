"""Turn of a controller: whether it may decide, and who waits for its place.

Owns: what was heard of other controllers, and the end of this one's turn. Its rule: whoever finds that another decided since its store
was written says nothing and stops; nobody goes on with a store that is behind. Not here: the connection (`service.py`), what follows
(`succession`).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from edgesplit.control.archive_messages import Archive
from edgesplit_controller.archive.standbys import Standbys
from edgesplit_controller.event_log import EventLog
from edgesplit_controller.storage.store import Store

__all__ = ["Turn"]

LOOK_S = 5.0
"""How often it is looked who is not heard of any more. [s]"""


class Turn:
    """One service's.

    Args:
        store: What it decides from.
        takes_over: Whether what the fleet keeps counts at all.
        events: Where standbys are told.
        changed: Called when somebody begins or ends to stand by.
    """

    def __init__(self, store: Store, *, takes_over: bool, events: EventLog, changed: Callable[[], None]) -> None:
        self._store = store
        self._takes_over = takes_over
        self._events = events
        self._changed = changed
        self._standbys = Standbys(time.monotonic)
        self._last: Archive | None = None
        self._over: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    @property
    def standbys(self) -> tuple[str, ...]:
        """Machines on which somebody waits."""
        return self._standbys.machines

    @property
    def is_over(self) -> bool:
        """Whether it may decide no more."""
        return self._over.done()

    async def over(self) -> str:
        """Wait until this controller may decide no more, and return why."""
        return await asyncio.shield(self._over)

    def end(self, why: str) -> None:
        """It may decide no more."""
        if not self._over.done():
            self._over.set_result(why)

    def hear(self, archive: Archive | None, *, speaking: bool) -> None:
        """The broker keeps a list of a controller's records; `speaking`: this one holds the name, as far as it knows."""
        self._last = archive or self._last
        if speaking:
            self.may_speak()

    def hear_kept(self, archive: Archive | None, *, is_empty: bool) -> None:
        """A node keeps records; `is_empty`: this controller knows nothing, and perhaps lost it together with the broker."""
        if archive is None or archive.is_empty or not is_empty or not self._takes_over:
            return
        if self._store.reign.is_behind(archive):
            self.end("nodes keep the records of a controller of which this one knows nothing")

    def may_speak(self) -> bool:
        """Whether what the store holds was decided last; asked before anything is said."""
        if self._last is None or not self._takes_over or not self._store.reign.is_behind(self._last):
            return True
        self.end("another controller decided since this one's store was written")
        return False

    def hear_standby(self, instance: str, machine: str) -> None:
        """Somebody waits for this controller's place."""
        if self._standbys.heard(instance, machine):
            self._events.add("controller-stands-by", f"a controller on {machine} stands by to take over")
            self._changed()

    async def watch(self) -> None:
        """Tell who does not wait any more, for ever."""
        while True:
            await asyncio.sleep(LOOK_S)
            for machine in self._standbys.gone():
                self._events.add("standby-gone", f"the controller on {machine} that stood by is not heard of any more")
                self._changed()
