"""Control-plane messages about trust: certificates that ended early, tokens of clients.

Owns: what every node of a fleet must know to refuse somebody. Its rule: that of `control/messages.py`; both are signed like every decision, and
hold nothing that would let their reader in: of a token, its digest. Not here: certificates and signatures (`edgesplit.trust`).
"""

from __future__ import annotations

from edgesplit.control.messages import Message
from edgesplit.mqtt.topic import LARGE_BYTES, Topic

__all__ = ["CLIENT_TOKENS", "REVOCATIONS", "ClientToken", "ClientTokens", "Revocations", "RevokedCertificate"]


class RevokedCertificate(Message, frozen=True, kw_only=True):
    """A certificate that is trusted no more, kept in the list until it would have ended anyway.

    Attributes:
        serial: Lower-case hexadecimal.
        subject: Whom it spoke for, `ROLE:NAME`.
        expires_s: Since the epoch. [s]
    """

    serial: str
    subject: str
    expires_s: float


class Revocations(Message, frozen=True, kw_only=True):
    """All of them.

    Attributes:
        certificates: In no order.
    """

    certificates: tuple[RevokedCertificate, ...] = ()


class ClientToken(Message, frozen=True, kw_only=True):
    """What a client's token allows.

    Attributes:
        name: Whose, for people.
        digest: SHA-256 of the token, in hexadecimal.
        models: Names of the models it may ask; empty: all.
        expires_s: Since the epoch. [s]
        rate_hz: Requests a second at each node, over ten seconds; None: as many as the node takes. [1/s]
    """

    name: str
    digest: str
    models: tuple[str, ...] = ()
    expires_s: float
    rate_hz: float | None = None


class ClientTokens(Message, frozen=True, kw_only=True):
    """All that have not expired.

    Attributes:
        tokens: In no order.
    """

    tokens: tuple[ClientToken, ...] = ()


REVOCATIONS = Topic(
    "trust/revoked",
    Revocations,
    says="certificates that are trusted no more",
    writers=("controller",),
    readers=("agent",),
    retained=True,
    cleared="never; certificates leave the list when they would have ended",
    defended=True,
    signer="controller",
    limit_bytes=LARGE_BYTES,
)
CLIENT_TOKENS = Topic(
    "trust/tokens",
    ClientTokens,
    says="what clients' tokens allow",
    writers=("controller",),
    readers=("agent",),
    retained=True,
    cleared="never; tokens leave the list when they expire",
    defended=True,
    signer="controller",
    limit_bytes=LARGE_BYTES,
)
