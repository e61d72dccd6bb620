"""A simulated MQTT broker and its clients: retained messages, wills, sessions that break, messages that come twice or after all.

Owns: what a broker of MQTT 3.1.1 promises with quality of service 1 and clean sessions, and no more. Its rule: messages of one
connection keep their order; what was not confirmed when a connection broke is sent again over the next one, before anything new, as
paho does; a side learns of a broken connection when its keep-alive says so. Not here: the real client (`mqtt/paho_client.py`), whose
seat `SimulatedClient` takes, access rights, packet sizes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from random import Random
from typing import Literal

from edgesplit.mqtt.paho_client import ClientEvents
from edgesplit.mqtt.topic_filters import matches
from tests.histories.simulation.virtual_loop import SimulatedProgram, VirtualLoop

__all__ = ["Memory", "SimulatedBroker", "SimulatedClient"]

KEEP_ALIVE_S = 7.5
"""After so long a broken connection is noticed at the latest. [s]"""
WAY_S = (0.0005, 0.04)
"""One way between client and broker, least and most. [s]"""
RECONNECT_S = (1.0, 5.0)
FLUSH_S = 2.0
TWICE = 0.03
"""Share of messages that are delivered twice. [1]"""

_matches = lru_cache(maxsize=10_000)(matches)
"""The same few topics and filters are compared in every history."""
Memory = Literal["kept", "lost", "old"]
"""What a broker that was started again remembers of retained messages."""


@dataclass(eq=False)
class _Session:
    """One connection.

    Attributes:
        sound: What is sent still arrives.
        up_s: When what the client sent last arrives. [s]
        down_s: When what the broker sent last arrives. [s]
    """

    client: SimulatedClient
    sound: bool = True
    known: bool = True
    filters: list[str] = field(default_factory=list[str])
    up_s: float = 0.0
    down_s: float = 0.0


class SimulatedBroker:
    """One broker.

    Args:
        loop: Everybody's.
        chance: The history's.

    Attributes:
        running: It accepts connections.
        retained: What it keeps, by topic.
        cut_off: Machines whose packets do not reach it.
        heard: Told of every message that it takes: topic and payload.
    """

    def __init__(self, loop: VirtualLoop, chance: Random) -> None:
        self.running = False
        self.retained: dict[str, bytes] = {}
        self.cut_off: set[str] = set()
        self.heard: list[Callable[[str, bytes, bool], None]] = []
        self._loop, self._chance = loop, chance
        self._sessions: dict[_Session, None] = {}
        self._saved: dict[str, bytes] = {}

    # --- faults ----------------------------------------------------------------------------------------------------

    def save(self) -> None:
        """Keep a copy of retained messages, as brokers do now and then."""
        self._saved = dict(self.retained)

    def start(self, memory: Memory = "kept") -> None:
        """Accept connections, with what is left in memory."""
        self.running = True
        if memory == "lost":
            self.retained = {}
        elif memory == "old":
            self.retained = dict(self._saved)

    def stop(self) -> None:
        """Crash: no last will is published, for whom it would concern is gone too."""
        self.running = False
        for session in tuple(self._sessions):
            session.sound = session.known = False
            self._notice(session, 0.5)
        self._sessions.clear()

    def cut(self, machine: str) -> None:
        """Packets between a machine and the broker vanish from now on."""
        self.cut_off.add(machine)
        for session in tuple(self._sessions):
            if session.client.machine == machine:
                self.break_off(session, KEEP_ALIVE_S)

    def mend(self, machine: str) -> None:
        """Packets pass again; connections that broke stay broken."""
        self.cut_off.discard(machine)

    def drop(self, machine: str) -> None:
        """Connections of a machine end, and can be made again at once."""
        for session in tuple(self._sessions):
            if session.client.machine == machine:
                self.break_off(session, 0.3)

    def break_off(self, session: _Session, within_s: float) -> None:
        """A connection is broken; both sides notice sooner or later. [s]"""
        if not session.sound:
            return
        session.sound = False
        self._notice(session, within_s)
        self._loop.call_later(
            self._chance.uniform(0.0, within_s), self._gone, session, context=self._loop.world.context
        )

    def _notice(self, session: _Session, within_s: float) -> None:
        session.client.program.later(self._chance.uniform(0.0, within_s), session.client.lost, session)

    def _gone(self, session: _Session) -> None:
        """The broker notices that a client is away: its last will."""
        if session.known:
            session.known = False
            self._sessions.pop(session, None)
            if self.running and session.client.will is not None:
                self._take(*session.client.will, retain=True)

    # --- connections -----------------------------------------------------------------------------------------------

    def reachable(self, machine: str) -> bool:
        """Whether a machine could connect now."""
        return self.running and machine not in self.cut_off

    def accept(self, client: SimulatedClient) -> _Session:
        """A client connects."""
        session = _Session(client, up_s=self._loop.time(), down_s=self._loop.time())
        self._sessions[session] = None
        return session

    def send_up(self, session: _Session, function: Callable[..., object], *arguments: object) -> None:
        """Something is on its way from a client."""
        session.up_s = max(session.up_s + 1e-6, self._loop.time() + self._chance.uniform(*WAY_S))
        self._loop.call_at(
            session.up_s, self._arrived_up, session, function, arguments, context=self._loop.world.context
        )

    def _arrived_up(self, session: _Session, function: Callable[..., object], arguments: Iterable[object]) -> None:
        if session.sound and session.known:
            function(*arguments)

    def send_down(self, session: _Session, function: Callable[..., object], *arguments: object) -> None:
        """Something is on its way to a client."""
        session.down_s = max(session.down_s + 1e-6, self._loop.time() + self._chance.uniform(*WAY_S))
        self._loop.call_at(
            session.down_s, self._arrived_down, session, function, arguments, context=session.client.program.context
        )

    def _arrived_down(self, session: _Session, function: Callable[..., object], arguments: Iterable[object]) -> None:
        client = session.client
        if session.sound and client.session is session and (function == client.confirmed or not client.ended):
            function(*arguments)

    def subscribed(self, session: _Session, identifier: int, topic_filter: str) -> None:
        """A client asks for topics: what is kept comes, before or after the confirmation."""
        session.filters.append(topic_filter)
        confirm = (session.client.events.subscribed, identifier, False)
        first = self._chance.random() < 0.5
        if first:
            self.send_down(session, *confirm)
        for topic in [topic for topic in self.retained if _matches(topic_filter, topic)]:
            self.send_down(session, session.client.events.message, topic, self.retained[topic], True)
        if not first:
            self.send_down(session, *confirm)

    def unsubscribed(self, session: _Session, topic_filter: str) -> None:
        """A client wants topics no more."""
        if topic_filter in session.filters:
            session.filters.remove(topic_filter)

    def published(self, session: _Session, identifier: int, topic: str, payload: bytes, retain: bool) -> None:
        """A client's message is here."""
        self._take(topic, payload, retain=retain)
        self.send_down(session, session.client.confirmed, identifier)

    def ended(self, session: _Session) -> None:
        """A client leaves in order: no last will."""
        session.known = False
        self._sessions.pop(session, None)

    def _take(self, topic: str, payload: bytes, *, retain: bool) -> None:
        for hear in self.heard:
            hear(topic, payload, retain)
        if retain and payload:
            self.retained[topic] = payload
        elif retain:
            self.retained.pop(topic, None)
        for session in self._sessions:
            if any(_matches(wanted, topic) for wanted in session.filters):
                for _ in range(2 if self._chance.random() < TWICE else 1):
                    self.send_down(session, session.client.events.message, topic, payload, False)


class SimulatedClient:
    """A program's connection to the broker; see `edgesplit.mqtt.paho_client.BrokerClient`.

    Args:
        broker: Where it connects.
        program: Whose it is.
        machine: Where that runs.
        chance: The history's.
        will: Last will.
        events: Told what happens.
    """

    def __init__(
        self,
        broker: SimulatedBroker,
        program: SimulatedProgram,
        machine: str,
        chance: Random,
        will: tuple[str, bytes] | None,
        events: ClientEvents,
    ) -> None:
        self.broker, self.program, self.machine = broker, program, machine
        self.will, self.events = will, events
        self.session: _Session | None = None
        self._chance = chance
        self._numbers = 0
        self._unconfirmed: dict[int, tuple[str, bytes, bool]] = {}
        self._pause_s = RECONNECT_S[0]
        self.ended = False
        self._flushed: asyncio.Future[None] | None = None

    broker_host = ""

    def set_will(self, will: tuple[str, bytes] | None) -> None:
        """See `BrokerClient`."""
        self.will = will

    def start(self) -> None:
        """See `BrokerClient`."""
        self.program.later(self._chance.uniform(*WAY_S), self._connect)

    def subscribe(self, topic_filter: str) -> int | None:
        """See `BrokerClient`."""
        session = self.session
        if session is None or not self.program.alive:
            return None
        self._numbers += 1
        self.broker.send_up(session, self.broker.subscribed, session, self._numbers, topic_filter)
        return self._numbers

    def unsubscribe(self, topic_filter: str) -> None:
        """See `BrokerClient`."""
        if self.session is not None and self.program.alive:
            self.broker.send_up(self.session, self.broker.unsubscribed, self.session, topic_filter)

    def publish(self, topic: str, payload: bytes, *, retain: bool) -> tuple[int, bool]:
        """See `BrokerClient`; what cannot be sent now is sent over the next connection."""
        self._numbers += 1
        self._unconfirmed[self._numbers] = topic, payload, retain
        return self._numbers, self._send(self._numbers)

    def explain(self, _timeout_s: float, _elsewhere: str) -> str:
        """See `BrokerClient`."""
        return "" if self.broker.reachable(self.machine) else "the simulated broker does not answer"

    async def end(self, *, flush: str = "") -> None:
        """See `BrokerClient`."""
        self.ended, session = True, self.session
        if flush and session is not None:
            self._flushed = asyncio.get_running_loop().create_future()
            self.publish(flush, b"", retain=False)
            try:
                async with asyncio.timeout(FLUSH_S):
                    await self._flushed
            except TimeoutError:
                pass  # whatever did not arrive, did not
        if session is not None and self.session is session and self.program.alive:
            self.session = None
            self.broker.send_up(session, self.broker.ended, session)

    def abandon(self) -> None:
        """See `BrokerClient`."""
        self.ended = True
        if self.session is not None:
            self.broker.break_off(self.session, 0.1)

    # --- what happens ----------------------------------------------------------------------------------------------

    def died(self, within_s: float) -> None:
        """The program crashed: the broker notices after a while. [s]"""
        if self.session is not None:
            self.broker.break_off(self.session, within_s)

    def confirmed(self, identifier: int) -> None:
        """The broker has a message."""
        self._unconfirmed.pop(identifier, None)
        if self._flushed is not None and not self._unconfirmed and not self._flushed.done():
            self._flushed.set_result(None)
        if not self.ended:
            self.events.confirmed(identifier)

    def lost(self, session: _Session) -> None:
        """This side notices that a connection is broken."""
        if self.session is session and not self.ended:
            self.session = None
            self._pause_s = RECONNECT_S[0]
            self.events.disconnected("the connection broke")
            self.program.later(self._pause_s, self._connect)

    def _connect(self) -> None:
        if self.ended or self.session is not None:
            return
        if not self.broker.reachable(self.machine):
            self.events.failed()
            self.program.later(self._pause_s, self._connect)
            self._pause_s = min(2 * self._pause_s, RECONNECT_S[1])
            return
        self.session = self.broker.accept(self)
        for identifier in tuple(self._unconfirmed):
            self._send(identifier)
        self.events.accepted()

    def _send(self, identifier: int) -> bool:
        session = self.session
        if session is None or not self.program.alive:
            return False
        self.broker.send_up(session, self.broker.published, session, identifier, *self._unconfirmed[identifier])
        return True
