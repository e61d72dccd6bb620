"""Operations on a fleet's trust (joining, revoking, certificates, tokens of clients), and the documents that answer them.

Owns: these operations and their documents. Its rule: keys may be added, never renamed; a token is drawn by whoever asks and never travels:
the controller is told its digest. Not here: the exchange of a program that joins (`edgesplit.trust.enrolment`), what nodes are told
(`control/trust_messages.py`).
"""

from __future__ import annotations

from typing import Literal

import msgspec

from edgesplit.operations.exchange import TaggedOperation

__all__ = [
    "AddClientToken",
    "CertificateRow",
    "ClientTokenRow",
    "GiveJoinToken",
    "JoinOffer",
    "ListCertificates",
    "ListClientTokens",
    "RemoveClientToken",
    "RevokeCertificates",
    "RevokedDocument",
    "TrustOperation",
]


class GiveJoinToken(TaggedOperation, frozen=True, kw_only=True, tag="give-join-token"):
    """Let whoever holds a token join. Answered with `JoinOffer`.

    Attributes:
        kind: What it may become.
        name: Under which name.
        digest: SHA-256 of the token, in hexadecimal.
        replaces: It may hold that name already; its earlier certificates end when it joins.
        again: Though certificates of that name were revoked and have not ended.
    """

    kind: Literal["node", "operator"]
    name: str
    digest: str
    replaces: bool = False
    again: bool = False


class JoinOffer(msgspec.Struct, frozen=True, kw_only=True):
    """That somebody may join.

    Attributes:
        kind: What it may become.
        name: Under which name.
        url: Base URL of the controller's HTTPS.
        expires_unix_s: When the token ends. [s since the epoch]
    """

    kind: Literal["node", "operator"]
    name: str
    url: str
    expires_unix_s: float


class RevokeCertificates(TaggedOperation, frozen=True, kw_only=True, tag="revoke-certificates"):
    """Trust somebody no more. Answered with `RevokedDocument`.

    Attributes:
        role: Whose.
        name: Whose.
    """

    role: Literal["node", "operator", "client"]
    name: str


class RevokedDocument(msgspec.Struct, frozen=True, kw_only=True):
    """`splitctl node revoke` and `operator revoke`.

    Attributes:
        role: What it was.
        name: Its name.
        serials: Serial numbers of the certificates that are trusted no more, in hexadecimal.
    """

    role: str
    name: str
    serials: tuple[str, ...]


class ListCertificates(TaggedOperation, frozen=True, kw_only=True, tag="list-certificates"):
    """Answered with a list of `CertificateRow`, the next to end first."""


class CertificateRow(msgspec.Struct, frozen=True, kw_only=True):
    """A certificate of the fleet's authority that has not ended, in `splitctl certs`.

    Attributes:
        role: Of whom it speaks for: `controller`, `broker`, `node`, `operator` or `client`.
        name: Of whom it speaks for.
        serial: Its serial number, in hexadecimal.
        issued_unix_s: When it was made. [s since the epoch]
        expires_unix_s: When it ends. [s since the epoch]
        revoked_unix_s: Since when it is trusted no more; None while it is. [s since the epoch]
        addresses: Hosts and IP addresses that it holds beside names.
    """

    role: str
    name: str
    serial: str
    issued_unix_s: float
    expires_unix_s: float
    revoked_unix_s: float | None = None
    addresses: tuple[str, ...] = ()


class AddClientToken(TaggedOperation, frozen=True, kw_only=True, tag="add-client-token"):
    """Let whoever holds a token send requests. Answered with `ClientTokenRow`.

    Attributes:
        name: Whose it is, for people.
        digest: SHA-256 of the token, in hexadecimal.
        models: That it may ask; empty: all.
        expires_in_s: How long it holds. [s]
        rate_hz: Requests a second at each node; None: as many as the node takes. [1/s]
    """

    name: str
    digest: str
    models: tuple[str, ...] = ()
    expires_in_s: float
    rate_hz: float | None = None


class ListClientTokens(TaggedOperation, frozen=True, kw_only=True, tag="list-client-tokens"):
    """Answered with a list of `ClientTokenRow`."""


class RemoveClientToken(TaggedOperation, frozen=True, kw_only=True, tag="remove-client-token"):
    """Let its holder send no more requests. Answered with `ClientTokenRow` of what was removed."""

    name: str


class ClientTokenRow(msgspec.Struct, frozen=True, kw_only=True):
    """A client's token, in `splitctl token list` and `token remove`.

    Attributes:
        name: Whose it is.
        models: That it may ask; empty: all.
        expires_unix_s: When it ends. [s since the epoch]
        rate_hz: Requests a second at each node; None: as many as the node takes. [1/s]
    """

    name: str
    models: tuple[str, ...]
    expires_unix_s: float
    rate_hz: float | None = None


TrustOperation = (
    GiveJoinToken | RevokeCertificates | ListCertificates | AddClientToken | ListClientTokens | RemoveClientToken
)
