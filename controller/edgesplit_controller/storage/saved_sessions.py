"""Persisted sessions of the dashboard: who need not sign in again after a restart.

Owns: these values. Its rule: a digest says nothing of what the cookie holds, so that whoever reads the file cannot sign in; a key may be
added, never renamed. Not here: when a session ends (`dashboard/dashboard_sessions.py`).
"""

from __future__ import annotations

import msgspec

__all__ = ["SavedSession", "SavedSessions"]


class SavedSession(msgspec.Struct, frozen=True, kw_only=True):
    """One session.

    Attributes:
        operator: Whose it is.
        digest: SHA-256 of what its cookie holds, 32 random bytes in text.
        expires_unix_s: When it ends. [s]
    """

    operator: str
    digest: str
    expires_unix_s: float


class SavedSessions(msgspec.Struct, frozen=True, kw_only=True):
    """All of them.

    Attributes:
        cookie: Name of their cookie: a browser sends the cookies of all ports of a host to each of them, so that controllers behind one
            host tell theirs by its name.
        sessions: In the order of their beginnings.
    """

    cookie: str
    sessions: tuple[SavedSession, ...] = ()
