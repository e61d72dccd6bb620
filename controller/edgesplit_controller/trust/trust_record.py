"""What a fleet's authority remembers: certificates issued and revoked, join tokens given, tokens of clients.

Owns: these values, their file, and the changes of them. Its rule: a change is one file replaced whole, and holds in memory once it is
written; of a token its digest is kept. Not here: certificates themselves (`trust/authority.py`), who may ask for one
(`trust/enrolments.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from itertools import count
from pathlib import Path
from typing import TypeVar

import msgspec

from edgesplit.control.trust_messages import ClientToken, ClientTokens, Revocations, RevokedCertificate
from edgesplit.errors import InvalidConfiguration
from edgesplit.trust.enrolment import JoiningKind
from edgesplit.trust.files import write_private
from edgesplit.trust.subjects import PeerCertificate, Role, Subject

__all__ = ["RECORD", "GivenJoinToken", "IssuedCertificate", "TrustRecord", "TrustState"]

RECORD = "record.json"


class IssuedCertificate(msgspec.Struct, frozen=True, kw_only=True):
    """A certificate of the fleet's authority, until it would have ended.

    Attributes:
        serial: Lower-case hexadecimal.
        role: Of its subject.
        name: Of its subject.
        issued_s: Since the epoch. [s]
        expires_s: Since the epoch. [s]
        addresses: That it holds beside names, for the next one.
        revoked_s: Since the epoch; None while it is trusted. [s]
        replaced: It was revoked for the sake of another one, not because somebody else may have its key.
        user: Its common name, by which the broker knows its holder; empty: the subject's own.
    """

    serial: str
    role: Role
    name: str
    issued_s: float
    expires_s: float
    addresses: tuple[str, ...] = ()
    revoked_s: float | None = None
    replaced: bool = False
    user: str = ""

    @property
    def subject(self) -> Subject:
        """Whom it speaks for."""
        return Subject(self.role, self.name)

    def is_trusted(self, now_s: float) -> bool:
        """Whether it is neither revoked nor over."""
        return self.revoked_s is None and self.expires_s > now_s

    @property
    def broker_user(self) -> str:
        """By which the broker knows its holder."""
        return self.user or self.subject.common_name


class GivenJoinToken(msgspec.Struct, frozen=True, kw_only=True):
    """A join token that nobody used yet.

    Attributes:
        digest: SHA-256 of it, in hexadecimal.
        kind: What its holder may become.
        name: Under which name.
        expires_s: Since the epoch. [s]
        replaces: Earlier certificates of that name end when it is used.
    """

    digest: str
    kind: JoiningKind
    name: str
    expires_s: float
    replaces: bool = False


class TrustState(msgspec.Struct, frozen=True, kw_only=True):
    """All of it; keys may be added, never renamed."""

    certificates: tuple[IssuedCertificate, ...] = ()
    joins: tuple[GivenJoinToken, ...] = ()
    tokens: tuple[ClientToken, ...] = ()


class TrustRecord:
    """One authority's memory.

    Args:
        folder: Where its file lies, beside the authority's.
        writing: Within which context it is written, as the store's, whose errors say that nothing was changed.

    Raises:
        InvalidConfiguration: The file is damaged or cannot be read.
    """

    def __init__(self, folder: Path, writing: Callable[[], AbstractContextManager[None]] = nullcontext) -> None:
        self._path = folder / RECORD
        self._writing = writing
        self._seen = _stamp(self._path)
        self._state = _read(self._path)
        self.on_change: Callable[[], None] = _nobody
        """Called after every change."""

    @property
    def state(self) -> TrustState:
        """As it was written last: by this process, or by splitctl on the authority's machine.

        Raises:
            InvalidConfiguration: What another process wrote cannot be read.
        """
        if _stamp(self._path) != self._seen:
            self._seen, self._state = _stamp(self._path), _read(self._path)
        return self._state

    def trusted(self, subject: Subject, now_s: float) -> tuple[IssuedCertificate, ...]:
        """Certificates of a subject that are neither revoked nor over."""
        return tuple(entry for entry in self.state.certificates if entry.subject == subject and entry.is_trusted(now_s))

    def revoked(self, subject: Subject, now_s: float) -> tuple[IssuedCertificate, ...]:
        """Certificates of a subject that were revoked for fear of somebody else, and are not over."""
        return tuple(
            entry
            for entry in self.state.certificates
            if entry.subject == subject and entry.revoked_s and not entry.replaced and entry.expires_s > now_s
        )

    def subjects(self, now_s: float) -> frozenset[Subject]:
        """Whoever has a certificate that is trusted."""
        return frozenset(self.users(now_s).values())

    def users(self, now_s: float) -> dict[str, Subject]:
        """By which names the broker knows those who have a certificate that is trusted."""
        return {entry.broker_user: entry.subject for entry in self.state.certificates if entry.is_trusted(now_s)}

    def next_user(self, subject: Subject, now_s: float) -> str:
        """By which name the broker is to know the next program that joins as this subject.

        A broker knows names, not certificates: whoever still has the key of an earlier certificate of this name must not have the rights of a later one.
        So each joining gets a name of its own as long as an earlier certificate would hold: `node:camera`, `node:camera@2`, ...
        """
        taken = {
            entry.broker_user
            for entry in self.state.certificates
            if entry.subject == subject and entry.expires_s > now_s
        }
        names = (subject.common_name if number == 1 else f"{subject.common_name}@{number}" for number in count(1))
        return next(name for name in names if name not in taken)

    def is_revoked(self, serial: str) -> bool:
        """Whether a certificate is trusted no more."""
        return any(entry.serial == serial and entry.revoked_s is not None for entry in self.state.certificates)

    def revocations(self, now_s: float) -> Revocations:
        """What every node must know of certificates."""
        return Revocations(
            certificates=tuple(
                RevokedCertificate(serial=entry.serial, subject=entry.subject.common_name, expires_s=entry.expires_s)
                for entry in self.state.certificates
                if entry.revoked_s is not None and entry.expires_s > now_s
            )
        )

    def client_tokens(self, now_s: float) -> ClientTokens:
        """What every node must know of clients' tokens."""
        return ClientTokens(tokens=tuple(token for token in self.state.tokens if token.expires_s > now_s))

    def issued(
        self,
        facts: PeerCertificate,
        *,
        now_s: float,
        addresses: Iterable[str] = (),
        user: str = "",
        used: GivenJoinToken | None = None,
    ) -> None:
        """A certificate is handed out, and the join token for it used up, in one write.

        Args:
            facts: Of the certificate.
            now_s: Since the epoch. [s]
            addresses: That it holds.
            user: Its common name; empty: the subject's own.
            used: The token; where that replaces, earlier certificates of the subject are revoked.
        """
        entry = IssuedCertificate(
            serial=facts.serial,
            role=facts.subject.role,
            name=facts.subject.name,
            issued_s=now_s,
            expires_s=facts.expires_s,
            addresses=tuple(addresses),
            user=user,
        )
        certificates = self.state.certificates
        if used is not None and used.replaces:
            certificates = _revoked(certificates, facts.subject, now_s, replaced=True)
        joins = tuple(given for given in self.state.joins if used is None or given.digest != used.digest)
        self._write(certificates=(*certificates, entry), joins=joins, now_s=now_s)

    def gave(self, given: GivenJoinToken, now_s: float) -> None:
        """A join token is handed out; an earlier one of the same subject is worth nothing from now on."""
        others = [other for other in self.state.joins if (other.kind, other.name) != (given.kind, given.name)]
        self._write(joins=(*others, given), now_s=now_s)

    def revoke(self, subject: Subject, *, now_s: float, replaced: bool = False) -> tuple[str, ...]:
        """Trust a subject's certificates no more, nor a join token for it; returns the serial numbers.

        Args:
            subject: Whose.
            now_s: Since the epoch. [s]
            replaced: Not for fear of somebody else.
        """
        serials = tuple(entry.serial for entry in self.trusted(subject, now_s))
        self._write(
            certificates=_revoked(self.state.certificates, subject, now_s, replaced=replaced),
            joins=tuple(
                given for given in self.state.joins if (given.kind, given.name) != (subject.role, subject.name)
            ),
            now_s=now_s,
        )
        return serials

    def set_tokens(self, tokens: Iterable[ClientToken], *, now_s: float) -> None:
        """Clients' tokens are these."""
        self._write(tokens=tuple(tokens), now_s=now_s)

    def _write(
        self,
        *,
        now_s: float,
        certificates: tuple[IssuedCertificate, ...] | None = None,
        joins: tuple[GivenJoinToken, ...] | None = None,
        tokens: tuple[ClientToken, ...] | None = None,
    ) -> None:
        old = self.state
        state = TrustState(
            certificates=_living(old.certificates if certificates is None else certificates, now_s),
            joins=_living(old.joins if joins is None else joins, now_s),
            tokens=_living(old.tokens if tokens is None else tokens, now_s),
        )
        with self._writing():
            write_private(self._path, msgspec.json.encode(state))
        self._seen, self._state = _stamp(self._path), state
        self.on_change()


T = TypeVar("T", IssuedCertificate, GivenJoinToken, ClientToken)


def _living(entries: tuple[T, ...], now_s: float) -> tuple[T, ...]:
    return tuple(entry for entry in entries if entry.expires_s > now_s)


def _revoked(
    certificates: tuple[IssuedCertificate, ...], subject: Subject, now_s: float, *, replaced: bool
) -> tuple[IssuedCertificate, ...]:
    return tuple(
        msgspec.structs.replace(entry, revoked_s=now_s, replaced=replaced)
        if entry.subject == subject and entry.revoked_s is None
        else entry
        for entry in certificates
    )


def _stamp(path: Path) -> tuple[int, int]:
    """Another one whenever the file was replaced."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return 0, 0
    return found.st_ino, found.st_mtime_ns


def _read(path: Path) -> TrustState:
    try:
        return msgspec.json.decode(path.read_bytes(), type=TrustState) if path.exists() else TrustState()
    except OSError as error:
        raise InvalidConfiguration(f"{path} cannot be read: {error.strerror or error}") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidConfiguration(
            f"{path} is damaged ({error}): restore it from a backup; without it nobody knows which certificates are revoked"
        ) from error


def _nobody() -> None:
    """Nobody wants to know yet."""
