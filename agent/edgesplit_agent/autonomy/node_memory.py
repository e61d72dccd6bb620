"""Memory of a node over restarts: what the controller told it last, written to disk soon after it was heard.

Owns: which messages hold, as they came, and when the file is written. Its rule: the broker's word never waits for the disk, nor the disk's
for the broker; what cannot be written is told once, tried again ever later, and serving goes on. Not here: the file (`kept_file.py`), what
the messages mean and which of them are taken in (`control.py`), whether they are believed (`edgesplit.mqtt.signed`).
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Collection, Iterable
from pathlib import Path
from typing import Any, Protocol

from edgesplit.control.registration_messages import NodeStatus
from edgesplit.mqtt.topic import Topic
from edgesplit.mqtt.topic_filters import matches
from edgesplit.retrying import Retry, retry_after
from edgesplit_agent.autonomy.kept_file import (
    KeptMessage,
    KeptState,
    KeptStateUnusable,
    encoded,
    kept_path,
    read_kept,
    set_aside,
    write_kept,
)

__all__ = ["NodeMemory", "Surroundings"]

WRITE_AFTER_S = 0.1
"""Changes are written together, so long after the first of them: a change of plan says several things at once. [s]"""


class Surroundings(Protocol):
    """What is kept beside the messages, asked at each write."""

    def last_known_nodes(self) -> Collection[NodeStatus]:
        """Registrations of the nodes that plans name, with their addresses."""
        ...

    def planned_blobs(self) -> Collection[str]:
        """Digests of what these plans are made of here."""
        ...


class NodeMemory:
    """What one node was told last.

    Args:
        folder: Of the cache; None: nothing outlives the program.
        node: Its name.
        session_blobs: Asked which blobs sessions keep in the cache, which may be others than those that plans name.
        wall_clock: Since the epoch. [s]
    """

    def __init__(
        self,
        folder: Path | None,
        node: str,
        session_blobs: Callable[[], Collection[str]] = frozenset,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._path = None if folder is None else kept_path(folder, node)
        self._node = node
        self._session_blobs = session_blobs
        self._wall_clock = wall_clock
        self._surroundings: Surroundings | None = None
        self._tell: Callable[[str, str], None] = _nobody
        self._messages: dict[str, KeptMessage] = {}
        self._taken: dict[str, bool] = {}
        self._written = self._under_way = self.recalled = KeptState()
        self._due: asyncio.TimerHandle | None = None
        self._writing: asyncio.Future[OSError | None] | None = None
        self._failing: Retry | None = None

    # --- what an earlier run left ----------------------------------------------------------------------------------

    def begin(self, surroundings: Surroundings, tell: Callable[[str, str], None]) -> None:
        """Read what an earlier run left, and keep what is said from now on.

        Args:
            surroundings: What is kept beside the messages.
            tell: Takes kind and sentence of an event.
        """
        self._surroundings, self._tell = surroundings, tell
        if self._path is None:
            return
        try:
            self.recalled = read_kept(self._path, self._node) or KeptState()
        except KeptStateUnusable as error:
            aside = set_aside(self._path)
            where = f"it is called {aside.name} now" if aside is not None else "it cannot be renamed either"
            tell(
                "plan-set-aside",
                f"{self._path} is not used, for {error}; {where}, and {self._node} waits for the controller to say what it should hold",
            )
        self._messages = {message.topic: message for message in self.recalled.messages}
        self._written = self.recalled

    def recall(self, rows: Iterable[Topic[Any]], hand_over: Callable[[str, bytes, float], None]) -> None:
        """Have it heard again; what no handler takes in is forgotten.

        Args:
            rows: Topics, in the order in which they are to be heard.
            hand_over: Takes topic, payload and when it came. [s since the epoch]
        """
        for row in rows:
            for message in self.recalled.messages:
                if matches(row.filter(), message.topic):
                    self._hand_over(message, hand_over)
        for message in self.recalled.messages:
            if not self._taken.pop(message.topic, False):
                self.forget(message.topic)

    def _hand_over(self, message: KeptMessage, hand_over: Callable[[str, bytes, float], None]) -> None:
        try:
            hand_over(message.topic, message.payload.encode(), message.heard_unix_s)
        except Exception as error:  # a defect that a message meets must not end every start
            self._taken.pop(message.topic, None)
            self._tell(
                "plan-set-aside",
                f"what {self._path} has of {message.topic} is forgotten: {type(error).__name__}: {error}",
            )

    # --- what is said ----------------------------------------------------------------------------------------------

    def take(self, topic: str, *, holds: bool) -> None:
        """A handler took in what came on a topic: something that holds, or that nothing does any more."""
        self._taken[topic] = holds

    def delivered(self, topic: str, payload: bytes, *, obeyed: bool) -> None:
        """All handlers have what came on a topic; it is kept if one took it in, and the controller is obeyed."""
        holds = self._taken.pop(topic, None)
        if holds is None or not obeyed:
            return
        if not holds:
            self.forget(topic)
            return
        text = payload.decode("utf-8", "replace")  # in keys that nobody reads
        known = self._messages.get(topic)
        if known is None or known.payload != text:
            self._messages[topic] = KeptMessage(topic=topic, payload=text, heard_unix_s=self._wall_clock())
            self.changed()

    def forget(self, topic: str) -> None:
        """What came on a topic holds no more."""
        if self._messages.pop(topic, None) is not None:
            self.changed()

    def changed(self) -> None:
        """Something of what is kept may be another: write it soon."""
        if self._path is not None and self._due is None and self._writing is None:
            self._due = asyncio.get_running_loop().call_later(WRITE_AFTER_S, self._write, self._path)

    async def close(self) -> None:
        """Write what is not written yet."""
        if self._due is not None:
            self._due.cancel()
        if self._writing is not None:
            await self._writing
        if self._due is not None:
            self._due.cancel()
        if self._path is not None and (state := self._state()) != self._written:
            await asyncio.to_thread(write_kept, self._path, encoded(state, self._node))

    # --- the file --------------------------------------------------------------------------------------------------

    def _state(self) -> KeptState:
        if self._surroundings is None or not self._messages:
            return KeptState()
        messages = tuple(self._messages[topic] for topic in sorted(self._messages))
        blobs = {*self._surroundings.planned_blobs(), *self._session_blobs()}
        if messages == self._written.messages:
            blobs.update(self._written.blobs)  # sessions of the same plans may not be there again yet
        nodes = sorted(self._surroundings.last_known_nodes(), key=lambda status: status.node)
        return KeptState(messages=messages, nodes=tuple(nodes), blobs=tuple(sorted(blobs)))

    def _write(self, path: Path) -> None:
        self._due = None
        self._under_way = state = self._state()
        if state != self._written:
            loop = asyncio.get_running_loop()
            self._writing = loop.run_in_executor(None, write_kept, path, encoded(state, self._node))
            self._writing.add_done_callback(lambda writing: self._done(path, writing))

    def _done(self, path: Path, writing: asyncio.Future[OSError | None]) -> None:
        self._writing = None
        if writing.cancelled():
            return
        error = writing.result()
        if error is None:
            self._written = self._under_way
            if self._failing is not None:
                self._failing = None
                self._tell("plan-kept", f"{path} is written again: {self._node} would start alone on what it holds now")
            self.changed()  # what was heard meanwhile
            return
        if self._failing is None:
            self._tell(
                "plan-not-kept",
                f"{path} cannot be written ({error.strerror or error}): {self._node} serves on, and would start alone on what it was told "
                "before; make room there, or set [cache] path",
            )
        loop = asyncio.get_running_loop()
        self._failing = retry_after(self._failing, loop.time(), random.random())  # noqa: S311  spreads retries
        self._due = loop.call_at(self._failing.next_at_s, self._write, path)


def _nobody(_kind: str, _text: str) -> None:
    """Nobody is told before there is a control plane."""
