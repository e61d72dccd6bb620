"""Trust of a running controller: its authority, who was let in, and everybody who has to know when that changes.

Owns: what joining, renewing and revoking take together, and clients' tokens. Its rule: what is written first holds; then nodes, the broker
and open connections are told, and whoever joined is answered once the broker lets it in or a moment has passed. Not here: the
steps themselves (beside this), HTTP, MQTT: it is given what it needs of them.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from edgesplit.control.trust_messages import ClientToken
from edgesplit.errors import InvalidInput, NotTrusted, Overloaded
from edgesplit.names import checked_name
from edgesplit.trust.credentials import Credentials, certificate_request
from edgesplit.trust.enrolment import JoinAnswer, JoinRequest, RenewAnswer, RenewRequest
from edgesplit.trust.files import TrustFiles
from edgesplit.trust.subjects import PeerCertificate, Subject
from edgesplit.trust.tls import TlsContexts
from edgesplit_controller.event_log import EventLog
from edgesplit_controller.trust.authority import Authority
from edgesplit_controller.trust.dynamic_security import DynamicSecurity
from edgesplit_controller.trust.enrolments import Enrolments, Joined
from edgesplit_controller.trust.trust_record import TrustRecord
from edgesplit_controller.trust.wrong_tokens import WrongTokens

__all__ = ["FleetTrust"]

MOST_CLIENT_TOKENS = 1000
RIGHTS_WITHIN_S = 3.0
"""How long whoever joins waits for the broker to know it. [s]"""


class FleetTrust:
    """One controller's.

    Args:
        folder: Of its identity and its fleet's authority.
        send: Publishes a payload on a topic of the broker's own; whether it is under way.
        broker_url: Where others find the broker.
        events: Where it is told.
        writing: Within which context changes are written.
        clock: Seconds since the epoch.

    Attributes:
        record: Certificates, join tokens, clients' tokens.
        enrolments: Give and take join tokens.
        rights: Of certificates' holders at the broker.
        on_change: Called after every change of the record.

    Raises:
        InvalidConfiguration: A file is missing or holds something else.
    """

    def __init__(
        self,
        folder: Path,
        *,
        send: Callable[[str, bytes], bool],
        broker_url: Callable[[], str],
        events: EventLog,
        writing: Callable[[], AbstractContextManager[None]] = nullcontext,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.authority = Authority.load(folder)
        self.contexts = TlsContexts.load(TrustFiles.of(folder))
        self.record = TrustRecord(folder, writing)
        self.enrolments = Enrolments(self.authority, self.record, clock)
        self.rights = DynamicSecurity(send, self._users, self._no_rights)
        self.on_change: list[Callable[[], None]] = []
        self.record.on_change = self._changed
        self._broker_url = broker_url
        self._events = events
        self._clock = clock
        self._wrong = WrongTokens()
        self._tasks: set[asyncio.Task[bool]] = set()

    @property
    def now_s(self) -> float:
        """Since the epoch. [s]"""
        return self._clock()

    def is_revoked(self, certificate: PeerCertificate) -> bool:
        """Whether a certificate is trusted no more."""
        return self.record.is_revoked(certificate.serial)

    def is_trusted(self, subject: Subject) -> bool:
        """Whether somebody is trusted who proved once who it is: not where each of its certificates that is not over was revoked.

        An authority that is not the fleet's own keeps its own record: of whom it certified nothing stands here.
        """
        held = [entry for entry in self.record.state.certificates if entry.subject == subject]
        return not held or any(entry.is_trusted(self._clock()) for entry in held)

    def connected(self) -> None:
        """The broker can be asked: it may have forgotten who has which rights, or never have known."""
        self._set_rights()

    async def join(self, asked: JoinRequest, address: str) -> JoinAnswer:
        """Take a program in.

        Args:
            asked: What it says.
            address: From which it connects, which wrong tokens are counted by.

        Raises:
            Overloaded: Too many wrong tokens came from there.
            NotTrusted: The token is wrong, and was counted.
            EdgesplitError: As `Enrolments.join`.
        """
        wait_s = self._wrong.wait_s(address, time.monotonic())
        if wait_s > 0:
            raise Overloaded(f"too many wrong join tokens came from {address}: try again in {wait_s:.0f} s")
        try:
            joined = self.enrolments.join(asked)
        except NotTrusted:
            self._wrong.count(address, time.monotonic())
            raise
        subject = joined.issued.facts.subject
        node = subject.name if subject.role == "node" else ""
        self._events.add("certificate-issued", f"{subject} joined from {address}", node=node)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(RIGHTS_WITHIN_S):
                await asyncio.shield(self._set_rights())
        return JoinAnswer(
            certificate=self._pem(joined),
            authority=self.authority.pem.decode(),
            broker=self._broker_url(),
            name=subject.name,
        )

    def renew(self, holder: PeerCertificate, asked: RenewRequest) -> RenewAnswer:
        """Give a program its next certificate.

        Raises:
            EdgesplitError: As `Enrolments.renew`.
        """
        joined = self.enrolments.renew(holder, asked.request)
        return RenewAnswer(certificate=self._pem(joined), authority=self.authority.pem.decode())

    def renew_own(self, credentials: Credentials) -> RenewAnswer:
        """The controller's own next certificate, for the key that it has: it asks nobody else for one.

        Raises:
            InvalidConfiguration: The authority is elsewhere.
            StoreUnwritable: Nothing was issued.
        """
        subject, now_s = credentials.subject, self._clock()
        held = self.record.trusted(subject, now_s)
        addresses = held[-1].addresses if held else ()
        request = certificate_request(credentials.key, subject).decode()
        issued = self.authority.issue(subject, request, now_s=now_s, addresses=addresses)
        self.record.issued(issued.facts, now_s=now_s, addresses=addresses)
        return RenewAnswer(certificate=issued.certificate.decode(), authority=self.authority.pem.decode())

    async def revoke(self, subject: Subject, *, replaced: bool = False, leave_s: float = 0.0) -> tuple[str, ...]:
        """Trust somebody no more; returns the serial numbers of the certificates that this ends.

        Args:
            subject: Whose certificates.
            replaced: It is gone for good: not for fear that somebody else has its key.
            leave_s: For how long the broker lets it be, so that it hears what it asked for itself. [s]

        Raises:
            StoreUnwritable: Nothing was changed.
        """
        serials = self.record.revoke(subject, now_s=self._clock(), replaced=replaced)
        if serials:
            node = subject.name if subject.role == "node" else ""
            self._events.add("certificate-revoked", f"{subject} is trusted no more", node=node)
        if leave_s > 0:
            asyncio.get_running_loop().call_later(leave_s, self._set_rights)
        else:
            await asyncio.shield(self._set_rights())
        return serials

    def add_token(self, token: ClientToken) -> None:
        """Let a client ask.

        Raises:
            InvalidInput: The name is none or taken, or there are too many.
            StoreUnwritable: Nothing was changed.
        """
        checked_name("token", token.name)
        tokens = self.record.client_tokens(self._clock()).tokens
        if any(token.name == other.name for other in tokens):
            raise InvalidInput(f"there is a token {token.name!r}: splitctl token remove {token.name} ends it")
        if len(tokens) >= MOST_CLIENT_TOKENS:
            raise InvalidInput(f"there are {MOST_CLIENT_TOKENS} tokens: remove those that nobody uses")
        self.record.set_tokens((*tokens, token), now_s=self._clock())

    def remove_token(self, name: str) -> ClientToken:
        """Let a client ask no more.

        Raises:
            InvalidInput: There is none of that name.
            StoreUnwritable: Nothing was changed.
        """
        tokens = self.record.client_tokens(self._clock()).tokens
        found = [token for token in tokens if token.name == name]
        if not found:
            known = ", ".join(sorted(token.name for token in tokens)) or "none"
            raise InvalidInput(f"there is no token {name[:100]!r}: the known ones are {known}")
        self.record.set_tokens((token for token in tokens if token.name != name), now_s=self._clock())
        return found[0]

    async def close(self) -> None:
        """End what is under way."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _set_rights(self) -> asyncio.Task[bool]:
        task = asyncio.create_task(self.rights.establish(), name="broker-rights")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _users(self) -> Mapping[str, Subject]:
        return self.record.users(self._clock())

    def _no_rights(self, reason: str) -> None:
        self._events.add("broker-rights-unset", reason)

    def _changed(self) -> None:
        for tell in self.on_change:
            tell()

    def _pem(self, joined: Joined) -> str:
        return joined.issued.certificate.decode()
