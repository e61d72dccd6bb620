"""Claiming a name over MQTT: the topics, timers and sentences around `mqtt/name_registration.py`.

Owns: when a claim is sent, and what follows from how it goes. Its rule: nothing here publishes by itself; the bus
hands in how, and is told when the name is held, refused, or the broker is found to pass nothing on. Not here: who is
right (`mqtt/name_registration.py`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

import msgspec

from edgesplit.mqtt.name_registration import Claim, Presence, Registration
from edgesplit.mqtt.topic import SMALL_BYTES

__all__ = ["NameClaim", "Registered"]

TICK_S = 0.1
REFUSED_TICK_S = 1.0
RIVAL_EVERY_S = 60.0
"""Whoever asks for a held name again and again is told of once in this time. [s]"""


@dataclass(frozen=True)
class Registered:
    """A name that only one program may hold.

    Attributes:
        topic: Of the retained registration, whose message has `online` and `instance`.
        claims: Topic on which the name is claimed; not retained.
        instance: Drawn at each start of this program.
        refusal: The sentence that refuses this program, given where the holder is (" (at …)" or nothing).
        standby: This machine, where the program means to wait until the name is free; empty: it does not.
    """

    topic: str
    claims: str
    instance: str
    refusal: Callable[[str], str]
    standby: str = ""


class NameClaim:
    """The claim of one program, driven on its event loop.

    Args:
        registered: Name and topics.
        send_claim: Publishes a claim.
        answer: Publishes this program's registration again.
        on_rival: Called when another program asks for the name while this one holds it, at most once in `RIVAL_EVERY_S`.
        on_standby: Called with instance and machine each time a program asks for the name that means to wait for it.
        on_held: Called each time the name becomes this program's.
        on_refused: Called with the sentence each time another program turns out to hold it.
        on_deaf: Called with a topic whose messages do not come back.
    """

    def __init__(
        self,
        registered: Registered,
        *,
        send_claim: Callable[[bytes], None],
        answer: Callable[[], None],
        on_rival: Callable[[], None] | None,
        on_standby: Callable[[str, str], None] | None = None,
        on_held: Callable[[], None],
        on_refused: Callable[[str], None],
        on_deaf: Callable[[str], None],
    ) -> None:
        self.topics = (registered.topic, registered.claims)
        self._registered = registered
        self._state = Registration(registered.instance)
        self._send_claim, self._answer = send_claim, answer
        self._on_rival, self._rival_told_s = on_rival, float("-inf")
        self._on_standby = on_standby
        self._on_held, self._on_refused, self._on_deaf = on_held, on_refused, on_deaf
        self._loop = asyncio.get_running_loop()
        self._told = "away"
        self._task: asyncio.Task[None] | None = None

    def connected(self) -> None:
        """The broker confirmed every subscription: claim."""
        self._told = "away"
        self._state.connected(self._loop.time())
        self._drive()

    def disconnected(self) -> None:
        """The connection is gone."""
        self._told = "away"
        self._state.disconnected()
        self.close()

    def close(self) -> None:
        """End the timers."""
        if self._task is not None:
            self._task.cancel()
            self._task = None

    def hear(self, topic: str, payload: bytes, *, retained: bool) -> str:
        """Take in a message on one of `topics`; one that does not decode says nothing of the name.

        Returns:
            What is wrong with a claim, or nothing.
        """
        now_s = self._loop.time()
        if len(payload) > SMALL_BYTES:
            return f"it has {len(payload)} bytes, and {SMALL_BYTES} are the most that is read"
        try:
            if topic == self._registered.topic:
                presence = msgspec.json.decode(payload, type=Presence) if payload else None
                self._state.heard_presence(presence, retained=retained, now_s=now_s)
            elif payload:
                claim = msgspec.json.decode(payload, type=Claim)
                if self._state.heard_claim(claim, now_s):
                    self._answer()
                    self._tell_of_rival(claim, now_s)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            # Registrations are read by others, too, who say what is wrong with them.
            return str(error) if topic == self._registered.claims else ""
        self._settle()
        if self._state.waiting:
            self._drive()
        return ""

    def _tell_of_rival(self, claim: Claim, now_s: float) -> None:
        if claim.standby:
            if self._on_standby is not None:
                self._on_standby(claim.instance, claim.standby)
        elif self._on_rival is not None and now_s - self._rival_told_s >= RIVAL_EVERY_S:
            self._rival_told_s = now_s
            self._on_rival()

    def _drive(self) -> None:
        if self._task is None or self._task.done():
            self._task = self._loop.create_task(self._tick(), name="claim-name")

    async def _tick(self) -> None:
        while self._state.waiting:
            if self._state.claim_due(self._loop.time()):
                self._send_claim(msgspec.json.encode(Claim(self._registered.instance, self._registered.standby)))
            self._settle()
            await asyncio.sleep(REFUSED_TICK_S if self._state.standing == "refused" else TICK_S)

    def _settle(self) -> None:
        """Tell what the claim has come to, each outcome once."""
        standing = "deaf" if self._state.deaf else self._state.standing
        if standing == self._told:
            return
        self._told = standing
        if standing == "deaf":
            self._on_deaf(self._registered.claims if self._state.standing == "claiming" else self._registered.topic)
        elif standing == "held":
            self._on_held()
        elif standing == "refused":
            self._on_refused(self._registered.refusal(self._state.rival.where if self._state.rival else ""))
