"""The largest message that a broker takes, learned from connections that it closes.

Owns: which messages the broker has not confirmed yet, and the size that it was found to refuse. Its rule: one lost
connection is chance; when the same message was the largest unconfirmed one twice in a row, it is to blame, and messages
of its size are held back until a connection ends for another reason. An MQTT 3.1.1 broker never says why it closes.
Pure: no clock, no MQTT. Not here: sending (`mqtt/bus.py`).
"""

from __future__ import annotations

from dataclasses import dataclass, field

__all__ = ["Oversize", "PacketLimit"]

_SMALLEST_BYTES = 512
"""Smaller messages are never blamed: a broker that refuses them is of no use at all. [B]"""


@dataclass(frozen=True)
class Oversize:
    """A message that the broker does not take.

    Attributes:
        nbytes: Its payload. [B]
    """

    topic: str
    nbytes: int

    def sentence(self, broker: str) -> str:
        """What to tell the operator."""
        return (
            f"the broker at {broker} closes the connection when it is sent the {self.nbytes:,} B of {self.topic}: "
            "raise its limit on messages (Mosquitto: max_packet_size) above that; until then the message is held back"
        )


@dataclass
class PacketLimit:
    """What was learned of one broker.

    Attributes:
        refused_bytes: Messages of this size or more are held back; None: none are. [B]
    """

    refused_bytes: int | None = None
    _unconfirmed: dict[int, Oversize] = field(default_factory=dict[int, Oversize])
    _suspect: Oversize | None = None

    def admits(self, nbytes: int) -> bool:
        """Whether a payload of that size may be sent. [B]"""
        return self.refused_bytes is None or nbytes < self.refused_bytes

    def sent(self, identifier: int, topic: str, nbytes: int) -> None:
        """A message left; `identifier` is the packet's."""
        self._unconfirmed[identifier] = Oversize(topic, nbytes)

    def confirmed(self, identifier: int) -> None:
        """The broker has it; so it takes messages of that size."""
        message = self._unconfirmed.pop(identifier, None)
        if message is not None and self._suspect is not None and message.nbytes >= self._suspect.nbytes:
            self._suspect = None

    def connection_lost(self) -> Oversize | None:
        """A connection that had been accepted ended; the message to blame, once that is clear.

        What was not confirmed is sent again over the next connection (MQTT 3.1.1 section 4.4), until one is blamed and
        the client that holds them is replaced.
        """
        largest = max(self._unconfirmed.values(), key=lambda message: message.nbytes, default=None)
        if largest is None or largest.nbytes < _SMALLEST_BYTES:
            # It ended for another reason: a broker that was restarted may have another limit.
            self._suspect = self.refused_bytes = None
            return None
        if self._suspect is None or self._suspect.topic != largest.topic or self._suspect.nbytes > largest.nbytes:
            self._suspect = largest
            return None
        self._suspect = None
        self._unconfirmed.clear()
        self.refused_bytes = min(largest.nbytes, self.refused_bytes or largest.nbytes)
        return largest
