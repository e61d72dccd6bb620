"""Turn of a controller: whether it may decide, and who waits for its place.

Owns: what was heard of other controllers, and the end of this one's turn. Its rule: whoever finds that another decided since its store
was written says nothing and stops; nobody goes on with a store that is behind. Not here: the connection (`service.py`), what follows
(`succession`).
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterable

from edgesplit.control.archive_messages import Archive
from edgesplit.errors import StoreUnwritable
from edgesplit_controller.archive.standbys import Standbys
from edgesplit_controller.event_log import EventLog
from edgesplit_controller.storage.store import Store

__all__ = ["Turn"]

LOOK_S = 1.0
"""How often it is looked who is not heard of any more, and who came. [s]"""


class Turn:
    """One service's.

    Args:
        store: What it decides from.
        takes_over: Whether what the fleet keeps counts at all.
        events: Where standbys are told.
        changed: Called when somebody begins or ends to stand by.
        knows_nothing: Whether there is neither a model nor a deployment here: what an old list on the broker says counts for as much as nodes
            that are there keep of it.
        kept: Lists that nodes which are there keep whole.
    """

    def __init__(
        self,
        store: Store,
        *,
        takes_over: bool,
        events: EventLog,
        changed: Callable[[], None],
        knows_nothing: Callable[[], bool],
        kept: Callable[[], Iterable[Archive]],
    ) -> None:
        self._store = store
        self._takes_over = takes_over
        self._events = events
        self._changed = changed
        self._knows_nothing, self._kept = knows_nothing, kept
        self._standbys = Standbys(time.monotonic)
        self._last: Archive | None = None
        self._passed: Archive | None = None
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

    def may_speak(self) -> bool:
        """Whether what the store holds was decided last; asked before anything is said."""
        if not self._takes_over:
            return True
        knows_nothing, reign = self._knows_nothing(), self._store.reign
        lists = self._kept() if knows_nothing else [self._last] if self._last is not None else []
        if not any(reign.is_behind(one) and not (knows_nothing and one.is_empty) for one in lists):
            self._passed = self._last if knows_nothing else None
            return True
        self.end(
            "nodes keep the records of a controller of which this one knows nothing"
            if knows_nothing
            else "another controller decided since this one's store was written"
        )
        return False

    def remembered(self) -> None:
        """Something was remembered: where it is the first, the list on the broker that kept nobody from beginning counts no more.

        Before this one's own list is out, a restart or a lost connection would take that list for another controller's decision.
        """
        passed = self._passed
        if passed is None or self._knows_nothing():
            return
        if self._store.reign.is_behind(passed):
            # Where it cannot be written its health says so, and the own list replaces the other in a moment.
            with contextlib.suppress(StoreUnwritable):
                self._store.save_reign(self._store.reign.passing_over(passed))
        self._passed = None

    def hear_standby(self, instance: str, machine: str) -> None:
        """Somebody waits for this controller's place."""
        if self._standbys.heard(instance, machine):
            self._events.add("controller-stands-by", f"a controller on {machine} stands by to take over")
            self._changed()

    async def watch(self) -> None:
        """Tell who does not wait any more, and look for nodes that come with records, for ever."""
        while True:
            await asyncio.sleep(LOOK_S)
            if self._knows_nothing():
                self.may_speak()
            for machine in self._standbys.gone():
                self._events.add("standby-gone", f"the controller on {machine} that stood by is not heard of any more")
                self._changed()
