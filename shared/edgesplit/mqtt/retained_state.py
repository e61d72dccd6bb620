"""The retained messages that one program published, and putting right what others publish in their place.

Owns: the payload that should be on each topic, and the timers of corrections. Its rule: nothing is put right before the
program may speak, and whoever insists is answered ever later (`mqtt/topic_ownership.py`). What takes a message back and has to be
heard itself (`Sealing.removal`) stays for a day. Not here: the connection (`mqtt/bus.py`), signatures (`mqtt/signed`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping

from edgesplit.mqtt.topic_ownership import REMEMBERED, Ownership

__all__ = ["OnForeign", "RetainedState"]

REMOVAL_S = 86_400.0
"""How long whoever was away finds that a message was taken back. [s]"""

OnForeign = Callable[[str, bytes], None]
"""Told of topic and payload of a message that somebody else published on an own topic."""


class RetainedState:
    """What one program keeps on the broker.

    Args:
        publish: Publishes a payload, retained.
        speaks: Whether the program may say anything now.
        left_over: What should be on an own topic of which nobody remembers what is there; empty for nothing.
    """

    def __init__(
        self,
        publish: Callable[[str, bytes], object],
        speaks: Callable[[], bool],
        left_over: Callable[[str, bytes], bytes],
    ) -> None:
        self._publish, self._speaks, self._left_over = publish, speaks, left_over
        self._loop = asyncio.get_running_loop()
        self._payloads: dict[str, bytes] = {}
        self._owned = Ownership()
        self._leave_retained = False
        self._on_foreign: OnForeign = _nobody
        self._unknown: set[str] = set()
        self._putting_right: dict[str, asyncio.TimerHandle] = {}
        self._removals: dict[str, asyncio.TimerHandle] = {}

    @property
    def payloads(self) -> Mapping[str, bytes]:
        """By topic; empty for one that is to be cleared."""
        return self._payloads

    @property
    def filters(self) -> Iterable[str]:
        """Topic filters of what only this program writes."""
        return self._owned.filters

    def own(
        self, filters: Iterable[str], *, remove_unknown: bool, leave_retained: bool, on_foreign: OnForeign | None
    ) -> None:
        """See `MessageBus.own`."""
        self._owned.filters |= dict.fromkeys(filters, remove_unknown)
        self._leave_retained = self._leave_retained or leave_retained
        self._on_foreign = on_foreign or self._on_foreign

    def owns(self, topic: str) -> bool:
        """Whether only this program writes a topic."""
        return self._owned.owns(topic)

    def set(self, topic: str, payload: bytes) -> None:
        """This should be on a topic; empty: nothing should."""
        self._keep_removal(topic)
        self._payloads[topic] = payload

    def remove(self, topic: str, payload: bytes) -> None:
        """What was on a topic is taken back by a payload, empty or not."""
        self.set(topic, payload)
        if payload:
            self._removals[topic] = self._loop.call_later(REMOVAL_S, self._end_removal, topic)

    def replace(self, renewed: Callable[[str, bytes], bytes]) -> None:
        """The same is said in other bytes from now on."""
        for topic, payload in self._payloads.items():
            self._payloads[topic] = renewed(topic, payload)

    def forget(self, topic: str) -> None:
        """What is on a topic is not this program's any more."""
        self._keep_removal(topic)
        self._payloads.pop(topic, None)

    def _keep_removal(self, topic: str) -> None:
        ends = self._removals.pop(topic, None)
        if ends is not None:
            ends.cancel()

    def _end_removal(self, topic: str) -> None:
        self.set(topic, b"")
        if self._speaks():
            self._publish(topic, b"")

    def published(self, topic: str, payload: bytes) -> None:
        """A retained message leaves now; it will come back where it is read."""
        self._owned.publishes(topic, payload)

    def put_unknown_right(self) -> None:
        """All payloads were published over this connection: remove what was found that nobody remembers."""
        for topic in sorted(self._unknown):
            self._on_foreign(topic, b"")
            self._put_right(topic)
        self._unknown.clear()

    def disconnected(self) -> None:
        """What was under way may never come back."""
        self._owned.disconnected()

    def close(self) -> None:
        """End the timers."""
        for timer in (*self._putting_right.values(), *self._removals.values()):
            timer.cancel()

    def hear(self, topic: str, payload: bytes, retained: bool) -> None:
        """A message came on an own topic."""
        wanted = self._payloads.get(topic)
        if wanted is None and retained and self._leave_retained:
            return
        if not self._speaks():
            # What is remembered is published as soon as that may be; what nobody remembers waits until then too.
            if wanted is None and payload and self._owned.removes_unknown(topic):
                left = self._left_over(topic, payload)
                if left:
                    self.remove(topic, left)
                elif len(self._unknown) < REMEMBERED:
                    self._unknown.add(topic)
            return
        if topic in self._putting_right or not self._owned.is_foreign(topic, payload, wanted):
            return
        if wanted is None and (left := self._left_over(topic, payload)):
            self.remove(topic, left)
            if left != payload:
                self._publish(topic, left)
            return
        self._on_foreign(topic, payload)
        pause_s = self._owned.pause_s(topic, self._loop.time())
        if pause_s > 0.0 and len(self._putting_right) < REMEMBERED:
            self._putting_right[topic] = self._loop.call_later(pause_s, self._put_right, topic)
        else:
            self._put_right(topic)

    def _put_right(self, topic: str) -> None:
        self._putting_right.pop(topic, None)
        if self._speaks():
            self._publish(topic, self._payloads.get(topic, b""))


def _nobody(_topic: str, _payload: bytes) -> None:
    """Nobody wants to be told."""
