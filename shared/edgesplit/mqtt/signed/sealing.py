"""What the bus asks of a fleet's security: the bytes to publish for a message, and the message in bytes that arrived.

Owns: that seam, and its plain side for fleets without an authority. Its rule: topics that nobody has to sign pass as they are, in
every fleet. Not here: envelopes (`mqtt/signed/message_security.py`), the connection (`mqtt/bus.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Protocol

from edgesplit.mqtt.signed.refusals import Refusal
from edgesplit.trust.subjects import PeerCertificate

__all__ = ["JudgingSealing", "PlainSealing", "Said", "Sealing"]


@dataclass(frozen=True)
class Said:
    """What somebody said on a topic.

    Attributes:
        message: JSON text; empty: what was said there before was taken back.
        signer: Who signed it; None where nobody has to.
    """

    message: bytes
    signer: PeerCertificate | None = None


class Sealing(Protocol):
    """Stands between messages and their bytes on the broker."""

    def sealed(self, topic: str, message: bytes) -> bytes:
        """The payload that says a message."""
        ...

    def removal(self, topic: str) -> bytes:
        """The payload that takes back what was said; empty where the broker's forgetting says it."""
        ...

    def left_over(self, topic: str, payload: bytes) -> bytes:
        """The payload that should be on an own topic of which nobody remembers what is there; empty for none."""
        ...

    def renewed(self, topic: str, payload: bytes) -> bytes:
        """A payload of this program's, as it is said with the certificate that it has now."""
        ...

    def opened(self, topic: str, payload: bytes) -> Said | None:
        """What a payload says; None where it says nothing that counts."""
        ...

    def recalled(self, topic: str, payload: bytes, heard_s: float) -> Said | None:
        """What a payload says that was believed when it came and was kept here; None where it does not count any more.

        Args:
            topic: Where it came.
            payload: As it came.
            heard_s: When it came, by the clock here. [s since the epoch]
        """
        ...

    async def close(self) -> None:
        """What was learned is kept."""
        ...


class JudgingSealing(Sealing, Protocol):
    """Of a fleet with an authority.

    Attributes:
        on_refused: Told of every message that is not believed.
    """

    on_refused: Callable[[Refusal], None] | None

    def revoke(self, serials: Collection[str]) -> None:
        """Believe these certificates no more, and all others."""
        ...


class PlainSealing:
    """A fleet without an authority: payloads are the messages."""

    def sealed(self, _topic: str, message: bytes) -> bytes:
        """See `Sealing`."""
        return message

    def removal(self, _topic: str) -> bytes:
        """See `Sealing`."""
        return b""

    def left_over(self, _topic: str, _payload: bytes) -> bytes:
        """See `Sealing`."""
        return b""

    def renewed(self, _topic: str, payload: bytes) -> bytes:
        """See `Sealing`."""
        return payload

    def opened(self, _topic: str, payload: bytes) -> Said | None:
        """See `Sealing`."""
        return Said(payload)

    def recalled(self, _topic: str, payload: bytes, _heard_s: float) -> Said | None:
        """See `Sealing`."""
        return Said(payload)

    async def close(self) -> None:
        """See `Sealing`."""
