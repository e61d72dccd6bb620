"""Store recovery: noticing that the store takes no writes, and writing what waits once it does again.

Owns: when it is looked at, and what people are told. Its rule: one event when it begins and one when it ends, whatever
was tried meanwhile. Not here: the writes (`store.py`), what a refused write means to a command (`answering/state_changes.py`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

from edgesplit.errors import StoreUnwritable
from edgesplit_controller.event_log import EventLog
from edgesplit_controller.storage.deployment_state import State
from edgesplit_controller.storage.store import Store

__all__ = ["HeldState", "StoreKeeper"]

TRY_AGAIN_S = 1.0
LOOK_S = 10.0
"""How often a store that nobody writes to is looked at, so that a full disk is known before a command meets it. [s]"""


class HeldState(Protocol):
    """What the controller remembers, in memory."""

    @property
    def state(self) -> State:
        """All of it."""
        ...

    def update(self) -> None:
        """Write it."""

    def note(self, *, removed: tuple[str, ...]) -> None:
        """Hold it, and write it with the next change."""


class StoreKeeper:
    """One controller's.

    Args:
        store: The folder.
        held: The state that is written there.
        tidy: Deletes what is left of removed models, and returns those of which something stays.
        events: Where both ends are told, and written too.
        then: Called once the store takes writes again.
    """

    def __init__(
        self,
        store: Store,
        held: HeldState,
        tidy: Callable[[tuple[str, ...]], tuple[str, ...]],
        events: EventLog,
        then: Callable[[], None],
    ) -> None:
        self._store = store
        self._held = held
        self._delete = tidy
        self._events = events
        self._then = then
        self._told = False
        self._failed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin; what was removed before a restart is deleted now."""
        loop = asyncio.get_running_loop()

        def wake() -> None:
            loop.call_soon_threadsafe(self._failed.set)

        self._store.health.on_change = wake
        self._tidy()
        self._task = asyncio.create_task(self._keep(), name="store-keeper")

    async def close(self) -> None:
        """Stop looking."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _keep(self) -> None:
        while True:
            unsound = bool(self._store.health.cause)
            try:
                async with asyncio.timeout(TRY_AGAIN_S if unsound else LOOK_S):
                    await self._failed.wait()
            except TimeoutError:
                await self._look(unsound=unsound)
            self._failed.clear()
            self._tell()

    async def _look(self, *, unsound: bool) -> None:
        """Try a write: of all that waits where it failed before, else of as much as the state may need."""
        try:
            if unsound:
                self._store.settle()
                self._held.update()
            else:
                await asyncio.to_thread(self._store.probe)
        except StoreUnwritable:
            return  # its health says so

    def _tell(self) -> None:
        health = self._store.health
        if bool(health.cause) == self._told:
            return
        self._told = bool(health.cause)
        if self._told:
            self._events.add("store-unwritable", health.sentence)
            return
        self._events.add("store-writable", "the controller's store can be written again; what waited is written")
        self._tidy()
        self._then()

    def _tidy(self) -> None:
        """Delete what is left on disk of models that were removed."""
        removed = self._held.state.removed
        left = self._delete(removed)
        if left != removed:
            self._held.note(removed=left)
