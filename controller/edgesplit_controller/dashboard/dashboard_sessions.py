"""Sessions of the dashboard in a secured fleet: a ticket opens one, a cookie carries it.

Owns: tickets, sessions, and when each ends. Its rule: pure but for drawing random numbers; of both only digests are remembered, so that
looking one up tells nothing by the time it takes; sessions outlive the controller, tickets do not. Not here: HTTP
(`browser_admission.py`), who may have a ticket (`edgesplit.mqtt.signed`), the file (`storage/store.py`).
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable
from dataclasses import dataclass

from edgesplit.errors import NotTrusted, Overloaded
from edgesplit.trust.subjects import Subject
from edgesplit_controller.storage.saved_sessions import SavedSession, SavedSessions

__all__ = ["DashboardSession", "DashboardSessions", "Ticket"]

TICKET_S = 60.0
"""A ticket is used within this. [s]"""
SESSION_S = 12 * 3600.0
"""A session ends after this, whatever is done in it. [s]"""
MOST_TICKETS, MOST_SESSIONS = 64, 256
_BYTES = 32


@dataclass(frozen=True)
class Ticket:
    """What opens a session, once.

    Attributes:
        text: To be handed over.
        expires_unix_s: From when on it opens nothing. [s]
    """

    text: str
    expires_unix_s: float


@dataclass(frozen=True)
class DashboardSession:
    """Somebody who signed in.

    Attributes:
        operator: Whose it is.
        digest: Of what its cookie holds.
        expires_unix_s: When it ends. [s]
    """

    operator: Subject
    digest: str
    expires_unix_s: float


class DashboardSessions:
    """All of them.

    Args:
        clock: Seconds since the epoch: sessions outlive a restart.
        trusted: Whether an operator is trusted still.
        remembered: What was saved before a restart; None where nothing was.
        save: Called with all sessions when one began or ended.

    Attributes:
        cookie: Name of the cookie that carries a session, the same after a restart.
    """

    def __init__(
        self,
        clock: Callable[[], float],
        trusted: Callable[[Subject], bool],
        *,
        remembered: SavedSessions | None = None,
        save: Callable[[SavedSessions], None] = lambda _: None,
    ) -> None:
        self._clock = clock
        self._trusted = trusted
        self._save = save
        self._tickets: dict[str, DashboardSession] = {}
        self.cookie = f"edgesplit-{secrets.token_hex(4)}" if remembered is None else remembered.cookie
        self._sessions = {
            saved.digest: DashboardSession(Subject("operator", saved.operator), saved.digest, saved.expires_unix_s)
            for saved in (() if remembered is None else remembered.sessions)
            # A clock that went back since must make none of them longer than one that begins now.
            if saved.expires_unix_s <= clock() + SESSION_S
        }
        self._forget_ended()

    def give_ticket(self, operator: Subject) -> Ticket:
        """Let an operator sign in.

        Raises:
            Overloaded: Too many tickets wait to be used.
        """
        self._forget_ended()
        if len(self._tickets) >= MOST_TICKETS:
            raise Overloaded(f"{MOST_TICKETS} tickets of the dashboard wait to be used: ask again in a minute")
        text = secrets.token_urlsafe(_BYTES)
        expires_unix_s = self._clock() + TICKET_S
        self._tickets[_digest(text)] = DashboardSession(operator, "", expires_unix_s)
        return Ticket(text, expires_unix_s)

    def open(self, ticket: str) -> tuple[str, DashboardSession]:
        """Use a ticket up; returns what the cookie is to hold, and the session.

        Raises:
            NotTrusted: It is none, or was used, or has ended, or its operator is trusted no more.
        """
        given = self._tickets.pop(_digest(ticket), None)
        if given is None or given.expires_unix_s <= self._clock() or not self._trusted(given.operator):
            raise NotTrusted("this ticket was used, or has ended: run splitctl dashboard again")
        self._forget_ended()
        while len(self._sessions) >= MOST_SESSIONS:
            del self._sessions[next(iter(self._sessions))]
        token = secrets.token_urlsafe(_BYTES)
        session = DashboardSession(given.operator, _digest(token), self._clock() + SESSION_S)
        self._sessions[session.digest] = session
        self._remember()
        return token, session

    def of(self, token: str) -> DashboardSession | None:
        """The session that a cookie carries; None where there is none that holds."""
        session = self._sessions.get(_digest(token))
        return session if session is not None and self.holds(session) else None

    def holds(self, session: DashboardSession) -> bool:
        """Whether a session goes on."""
        return (
            session.digest in self._sessions
            and session.expires_unix_s > self._clock()
            and self._trusted(session.operator)
        )

    def end(self, session: DashboardSession) -> None:
        """Sign out."""
        if self._sessions.pop(session.digest, None) is not None:
            self._remember()

    def end_untrusted(self) -> None:
        """Forget sessions of operators who are trusted no more: who is given the same name later does not take them over."""
        before = len(self._sessions)
        self._forget_ended()
        if len(self._sessions) != before:
            self._remember()

    def _forget_ended(self) -> None:
        now_s = self._clock()
        self._tickets = {key: given for key, given in self._tickets.items() if given.expires_unix_s > now_s}
        self._sessions = {key: session for key, session in self._sessions.items() if self.holds(session)}

    def _remember(self) -> None:
        saved = (
            SavedSession(operator=session.operator.name, digest=session.digest, expires_unix_s=session.expires_unix_s)
            for session in self._sessions.values()
        )
        self._save(SavedSessions(cookie=self.cookie, sessions=tuple(saved)))


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode(errors="replace")).hexdigest()
