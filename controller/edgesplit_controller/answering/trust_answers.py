"""Answers about trust: who may join, who is trusted no more, certificates, tokens of clients.

Owns: the operations of `edgesplit.operations.trust_operations`. Its rule: in a fleet without an authority each says how to make one. Not here:
what is given and refused (`edgesplit_controller.trust`).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Protocol, assert_never

from edgesplit.control.registration_messages import NODE_STATUS
from edgesplit.control.trust_messages import ClientToken
from edgesplit.errors import InvalidConfiguration, InvalidInput
from edgesplit.names import checked_name
from edgesplit.operations.trust_operations import (
    AddClientToken,
    CertificateRow,
    ClientTokenRow,
    GiveJoinToken,
    JoinOffer,
    ListCertificates,
    ListClientTokens,
    RemoveClientToken,
    RevokeCertificates,
    RevokedDocument,
    TrustOperation,
)
from edgesplit.trust.subjects import Subject
from edgesplit_controller.trust.fleet_trust import FleetTrust

__all__ = ["NO_AUTHORITY", "TrustAnswers"]

NO_AUTHORITY = "this fleet has no authority: splitctl ca init, on the controller's machine, makes one"
LONGEST_TOKEN_S = 10 * 366 * 86_400.0
"""Of a client. [s]"""
LEAVE_S = 1.0
"""For which an operator who gives themself up is connected still, to hear that it was done. [s]"""


class _Broker(Protocol):
    """What the broker keeps."""

    def wipe(self, topic: str, /) -> None:
        """Remove a retained message."""


class TrustAnswers:
    """All of them.

    Args:
        trust: The fleet's; None where it has no authority.
        url: Base URL of the controller's HTTPS.
        broker: Keeps nodes' registrations.
    """

    def __init__(self, trust: FleetTrust | None, url: Callable[[], str], broker: _Broker) -> None:
        self._trust = trust
        self._url = url
        self._broker = broker

    async def answer(self, asked: TrustOperation, asker: Subject | None = None) -> object:
        """Carry out an operation.

        Args:
            asked: What is asked.
            asker: By whom; None where nobody has to say.

        Raises:
            EdgesplitError: It cannot be done; the sentence for the client.
        """
        trust = self._trust
        if trust is None:
            raise InvalidConfiguration(NO_AUTHORITY)
        match asked:
            case GiveJoinToken():
                given = trust.enrolments.give(
                    asked.kind, asked.name, asked.digest, replaces=asked.replaces, despite_revocation=asked.again
                )
                return JoinOffer(kind=given.kind, name=given.name, url=self._url(), expires_unix_s=given.expires_s)
            case RevokeCertificates():
                return await self._revoke(trust, Subject(asked.role, asked.name), asker)
            case ListCertificates():
                return _rows(trust)
            case AddClientToken():
                return _token_row(_added(trust, asked))
            case ListClientTokens():
                return [_token_row(token) for token in trust.record.client_tokens(trust.now_s).tokens]
            case RemoveClientToken():
                return _token_row(trust.remove_token(asked.name))
            case _:
                assert_never(asked)

    async def _revoke(self, trust: FleetTrust, subject: Subject, asker: Subject | None) -> RevokedDocument:
        checked_name(subject.role, subject.name)
        if not trust.record.trusted(subject, trust.now_s):
            known = sorted(other.name for other in trust.record.subjects(trust.now_s) if other.role == subject.role)
            raise InvalidInput(
                f"no {subject.role} {subject.name!r} holds a certificate: those that do are {', '.join(known) or 'none'}"
            )
        serials = await trust.revoke(subject, leave_s=LEAVE_S if subject == asker else 0.0)
        if subject.role == "node":
            # The broker ends its connection without its last will, and would show it as online for good.
            self._broker.wipe(NODE_STATUS.of(subject.name))
        return RevokedDocument(role=subject.role, name=subject.name, serials=serials)


def _added(trust: FleetTrust, asked: AddClientToken) -> ClientToken:
    if not 0 < asked.expires_in_s <= LONGEST_TOKEN_S:
        raise InvalidInput("a token holds for more than nothing and at most ten years")
    if asked.rate_hz is not None and not (math.isfinite(asked.rate_hz) and asked.rate_hz > 0):
        raise InvalidInput("a token's rate is a number of requests a second above 0")
    for model in asked.models:
        checked_name("model", model)
    if len(asked.digest) != 64 or not set(asked.digest) <= set("0123456789abcdef"):
        raise InvalidInput("a token is given by its SHA-256 in 64 lower-case hexadecimal digits")
    token = ClientToken(
        name=asked.name,
        digest=asked.digest,
        models=asked.models,
        expires_s=trust.now_s + asked.expires_in_s,
        rate_hz=asked.rate_hz,
    )
    trust.add_token(token)
    return token


def _token_row(token: ClientToken) -> ClientTokenRow:
    return ClientTokenRow(name=token.name, models=token.models, expires_unix_s=token.expires_s, rate_hz=token.rate_hz)


def _rows(trust: FleetTrust) -> list[CertificateRow]:
    held = [entry for entry in trust.record.state.certificates if entry.expires_s > trust.now_s]
    return [
        CertificateRow(
            role=entry.role,
            name=entry.name,
            serial=entry.serial,
            issued_unix_s=entry.issued_s,
            expires_unix_s=entry.expires_s,
            revoked_unix_s=entry.revoked_s,
            addresses=entry.addresses,
        )
        for entry in sorted(held, key=lambda entry: entry.expires_s)
    ]
