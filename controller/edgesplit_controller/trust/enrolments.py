"""Enrolment at the authority: join tokens given and used, certificates renewed and revoked.

Owns: who gets a certificate, and why not. Its rule: a token is used up in the write that says that its certificate was issued, so that it is
used once whoever comes at the same time; a certificate speaks for the name that the token was given for. Not here: HTTP
(`artifacts/trust_routes.py`), what the broker is told (`trust/broker_rights.py`).
"""

from __future__ import annotations

import hmac
import time
from collections.abc import Callable
from dataclasses import dataclass

from edgesplit.errors import InvalidInput, NameTaken, NotTrusted
from edgesplit.trust.enrolment import JoiningKind, JoinRequest, JoinToken, token_digest
from edgesplit.trust.subjects import PeerCertificate, Role, Subject
from edgesplit_controller.trust.authority import Authority, Issued, checked_subject
from edgesplit_controller.trust.trust_record import GivenJoinToken, TrustRecord

__all__ = ["JOIN_TOKEN_S", "Enrolments", "Joined"]

JOIN_TOKEN_S = 3600.0
"""How long a join token may wait for its use. [s]"""
MOST_JOIN_TOKENS = 1000
_RENEWING: frozenset[Role] = frozenset({"node", "operator", "client"})


@dataclass(frozen=True)
class Joined:
    """A program that has just got a certificate.

    Attributes:
        issued: The certificate.
        anew: It joined; else it renewed.
    """

    issued: Issued
    anew: bool


class Enrolments:
    """One authority's.

    Args:
        authority: Issues.
        record: Remembers.
        clock: Seconds since the epoch.
    """

    def __init__(self, authority: Authority, record: TrustRecord, clock: Callable[[], float] = time.time) -> None:
        self._authority = authority
        self._record = record
        self._clock = clock

    def give(
        self, kind: JoiningKind, name: str, digest: str, *, replaces: bool = False, despite_revocation: bool = False
    ) -> GivenJoinToken:
        """Let whoever holds a token join under a name.

        Args:
            kind: What it may become.
            name: Under which name.
            digest: SHA-256 of the token, which whoever asks has drawn: so it travels over no broker.
            replaces: It may hold that name already; its earlier certificates end when it joins.
            despite_revocation: Though certificates of that name were revoked: whoever says so means it.

        Raises:
            InvalidConfiguration: The authority's key is not here.
            InvalidInput: The name or the digest cannot be; too many tokens wait.
            NameTaken: Somebody holds a certificate of that name.
            NotTrusted: Certificates of that name were revoked and have not ended.
        """
        now_s = self._clock()
        subject = checked_subject(Subject(kind, name))
        if len(digest) != 64 or not set(digest) <= set("0123456789abcdef"):
            raise InvalidInput("a join token is given by its SHA-256 in 64 lower-case hexadecimal digits")
        self._authority.require_key()
        if not replaces and self._record.trusted(subject, now_s):
            raise NameTaken(
                f"{subject} has joined: splitctl {kind} rotate {name} gives it a new key, splitctl {kind} revoke {name} ends its trust"
            )
        revoked = self._record.revoked(subject, now_s)
        if revoked and not despite_revocation:
            days = (max(entry.expires_s for entry in revoked) - now_s) / 86_400
            raise NotTrusted(
                f"certificates of {subject} were revoked, and would have ended in {days:.0f} days: add --again if another program of that name is "
                "to join; the old ones stay worthless"
            )
        waiting = [given for given in self._record.state.joins if given.expires_s > now_s]
        if len(waiting) >= MOST_JOIN_TOKENS:
            raise InvalidInput(
                f"{MOST_JOIN_TOKENS} join tokens wait for their use: use them, or wait an hour until they have expired"
            )
        given = GivenJoinToken(
            digest=digest, kind=kind, name=name, expires_s=now_s + JOIN_TOKEN_S, replaces=replaces or despite_revocation
        )
        self._record.gave(given, now_s)
        return given

    def join(self, asked: JoinRequest) -> Joined:
        """Issue the first certificate of a program.

        Raises:
            NotTrusted: The token is none, another fleet's, used, expired, or for somebody else.
            InvalidInput: The request or an address cannot be.
            NameTaken: Somebody got a certificate of that name meanwhile.
            StoreUnwritable: Nothing was issued, and the token may be used again.
        """
        now_s = self._clock()
        given = self._given(asked.token, now_s)
        if asked.kind != given.kind or asked.name not in {"", given.name}:
            raise NotTrusted(
                f"this token is for {given.kind} {given.name}, and {asked.kind} {asked.name[:100]} was asked for"
            )
        subject = Subject(given.kind, given.name)
        if not given.replaces and self._record.trusted(subject, now_s):
            raise NameTaken(f"{subject} has joined already")
        user = self._record.next_user(subject, now_s)
        issued = self._authority.issue(
            subject, asked.request, now_s=now_s, addresses=asked.addresses, user=user, any_name=not asked.name
        )
        self._record.issued(issued.facts, now_s=now_s, addresses=asked.addresses, user=user, used=given)
        return Joined(issued, anew=True)

    def renew(self, holder: PeerCertificate, request: str) -> Joined:
        """Issue the next certificate of a program that shows a good one.

        Args:
            holder: What its connection showed, verified by TLS.
            request: Certificate request, in PEM form.

        Raises:
            NotTrusted: The certificate was revoked, or its role does not renew here.
            InvalidInput: The request cannot be.
            StoreUnwritable: Nothing was issued.
        """
        now_s = self._clock()
        if self._record.is_revoked(holder.serial):
            raise NotTrusted(f"the certificate of {holder.subject} was revoked: join again, if you may")
        if holder.subject.role not in _RENEWING:
            raise NotTrusted(f"the certificate of a {holder.subject.role} is renewed where its files are")
        held = next((entry for entry in self._record.state.certificates if entry.serial == holder.serial), None)
        addresses, user = (held.addresses, held.user) if held is not None else ((), "")
        issued = self._authority.issue(holder.subject, request, now_s=now_s, addresses=addresses, user=user)
        self._record.issued(issued.facts, now_s=now_s, addresses=addresses, user=user)
        return Joined(issued, anew=False)

    def _given(self, text: str, now_s: float) -> GivenJoinToken:
        try:
            token = JoinToken.parse(text)
        except InvalidInput as error:
            raise NotTrusted(str(error)) from error
        if token.authority != self._authority.digest:
            raise NotTrusted("this join token is of another fleet: use one that this fleet's splitctl node add printed")
        digest = token_digest(text)
        found = [given for given in self._record.state.joins if hmac.compare_digest(given.digest, digest)]
        if not found:
            raise NotTrusted("this join token is unknown, was used, or was replaced by a newer one: ask for another")
        (given,) = found
        if given.expires_s <= now_s:
            raise NotTrusted(
                "this join token has expired (it holds for an hour): ask for another, and compare the clocks"
            )
        return given
