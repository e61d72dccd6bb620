"""Link emulation, the `[emulation]` section: links slower than the machine's own, openly labelled as such everywhere.

Owns: when a frame to an emulated peer may leave. Its rule: without an entry for a peer, frames pass untouched. Not here:
the slowing of compute, which the runtime applies with `Emulation.slow_down`.

A frame leaves at max(now, link free) + bytes / bandwidth and arrives a latency later; frames keep their order. Urgent
frames (pings, acknowledgements) are small: they pass the queue of bytes, as they would between the packets of a real
link, but not the latency. A link that is down holds its frames: once it is up again they leave, as TCP sends again what
got lost, unless their connection was given up meanwhile.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from weakref import WeakSet, WeakValueDictionary

__all__ = ["EmulatedLink", "Emulation", "Emulator", "LinkClock"]


@dataclass(frozen=True)
class EmulatedLink:
    """One directed link, from this node.

    Attributes:
        bandwidth_bytes_per_s: 0 for the machine's own. [B/s]
        latency_s: One way, added. [s]
        up: False keeps every frame back.
    """

    bandwidth_bytes_per_s: float = 0.0
    latency_s: float = 0.0
    up: bool = True


@dataclass(frozen=True)
class Emulation:
    """The `[emulation]` section.

    Attributes:
        slow_down: Factor on compute time; 1 is the machine's own.
        links: By receiving node.
    """

    slow_down: float = 1.0
    links: Mapping[str, EmulatedLink] = field(default_factory=dict[str, EmulatedLink])


@dataclass
class LinkClock:
    """When frames of one emulated link arrive; pure, times are handed in. [s]"""

    free_at: float = 0.0
    last_bulk: float = 0.0
    last_urgent: float = 0.0

    def arrival(self, link: EmulatedLink, nbytes: int, urgent: bool, now: float) -> float:
        """Time at which a frame sent now arrives, later than every earlier one of its kind."""
        seconds = nbytes / link.bandwidth_bytes_per_s if link.bandwidth_bytes_per_s > 0 else 0.0
        if urgent:
            self.last_urgent = max(now + seconds + link.latency_s, self.last_urgent)
            return self.last_urgent
        self.free_at = max(now, self.free_at) + seconds
        self.last_bulk = max(self.free_at + link.latency_s, self.last_bulk)
        return self.last_bulk


class Emulator:
    """Holds the emulation in effect; connections to the same peer share its link, each through a gate of its own."""

    def __init__(self, emulation: Emulation) -> None:
        self._emulation = emulation
        # Kept while a connection uses one: strangers greet under any name.
        self._clocks: WeakValueDictionary[str, LinkClock] = WeakValueDictionary()
        self._gates: WeakSet[_Gate] = WeakSet()

    @property
    def emulation(self) -> Emulation:
        """In effect; set, it holds for what leaves from then on and for what a link that was down held."""
        return self._emulation

    @emulation.setter
    def emulation(self, emulation: Emulation) -> None:
        self._emulation = emulation
        for gate in tuple(self._gates):
            gate.reopen()

    def gate(self, peer: str) -> _Gate:
        """A gate in front of all frames of one connection to `peer`; follows later changes of `emulation`."""
        clock = self._clocks.setdefault(peer, LinkClock())
        gate = _Gate(self, peer, clock)
        self._gates.add(gate)
        return gate

    def limits_rate(self, peer: str) -> bool:
        """Whether the link to `peer` has an emulated bandwidth now."""
        link = self.emulation.links.get(peer)
        return link is not None and link.bandwidth_bytes_per_s > 0


class _Gate:
    """Frames of one connection wait here; what it holds goes with its connection."""

    def __init__(self, emulator: Emulator, peer: str, clock: LinkClock) -> None:
        self._emulator = emulator
        self._peer = peer
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._queues: dict[bool, deque[Callable[[], None]]] = {True: deque(), False: deque()}
        self._held: list[tuple[int, bool, Callable[[], None]]] = []

    def reopen(self) -> None:
        """Let go what was held, or hold it again where the link is still down."""
        held, self._held = self._held, []
        for nbytes, urgent, release in held:
            self.admit(nbytes, urgent, release)

    def admit(self, nbytes: int, urgent: bool, release: Callable[[], None]) -> None:
        """See `edgesplit.wire.send_queue.FrameGate`."""
        link = self._emulator.emulation.links.get(self._peer)
        now = self._loop.time()
        if link is None and not self._queues[True] and not self._queues[False]:
            release()
            return
        link = link or EmulatedLink()
        if not link.up:
            self._held.append((nbytes, urgent, release))
            return
        self._queues[urgent].append(release)
        self._loop.call_at(self._clock.arrival(link, nbytes, urgent, now), self._release_next, urgent)

    def _release_next(self, urgent: bool) -> None:
        # One call per frame, each releasing the oldest: equal times cannot change the order.
        self._queues[urgent].popleft()()
