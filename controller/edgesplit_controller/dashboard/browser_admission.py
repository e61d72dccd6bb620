"""Admission of browsers to the dashboard: which requests a browser may bring, and whose they are.

Owns: the checks of Host, Origin and header that keep other web pages out, the cookie of a session, and the headers of every answer. Its
rule: what a page of another origin can have a browser send changes nothing and tells nothing; in a secured fleet nobody without a
session is told anything but the page itself. Not here: sessions (`dashboard_sessions.py`), limits of connections (`edgesplit.daemon.http_guard`).

A name that a stranger's DNS server answers for may be made to mean this machine (DNS rebinding), so that the page it serves and the
dashboard have the same origin to a browser: only names that the dashboard is known by are answered.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Collection
from http import HTTPStatus

from aiohttp import web

from edgesplit.errors import EdgesplitError, NotTrusted
from edgesplit.wire.address import host_of, is_loopback
from edgesplit_controller.dashboard.api_answers import failed
from edgesplit_controller.dashboard.dashboard_sessions import DashboardSession, DashboardSessions

__all__ = ["HEADERS", "MARK", "BrowserAdmission"]

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

MARK = ("X-Edgesplit", "dashboard")
"""No form and no link of another page can send it."""
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; connect-src 'self'; worker-src 'self'; "
        "frame-ancestors 'none'; base-uri 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}
_SIGNING_IN = "/api/session"
_SIGN_IN = "sign in first: run splitctl dashboard"


class BrowserAdmission:
    """Of one dashboard.

    Args:
        sessions: Who signed in; None in a fleet without an authority, where whoever reaches the port may use it.
        names: Hosts, beside addresses of this machine that are listened on, under which it is known.
        tls: Whether it is reached over TLS.

    Attributes:
        refused: Counts refusals by kind.
    """

    def __init__(self, sessions: DashboardSessions | None, names: Callable[[], Collection[str]], *, tls: bool) -> None:
        self._sessions = sessions
        self._names = names
        self._tls = tls
        self.refused: Counter[str] = Counter()

    @web.middleware
    async def checked(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Let those requests through that may be answered."""
        if reason := self._foreign(request):
            self.refused["dashboard-foreign"] += 1
            return failed(NotTrusted(reason), HTTPStatus.FORBIDDEN)
        if request.path.startswith("/api/") and request.path != _SIGNING_IN and not self.holds(request):
            return self.unknown()
        return await handler(request)

    async def add_headers(self, _request: web.Request, response: web.StreamResponse) -> None:
        """Have every answer carry what browsers are to keep to."""
        response.headers.update(HEADERS)

    def unknown(self) -> web.Response:
        """What somebody is told who has not signed in."""
        self.refused["dashboard-no-session"] += 1
        return failed(NotTrusted(_SIGN_IN), HTTPStatus.UNAUTHORIZED)

    def holds(self, request: web.Request) -> bool:
        """Whether whoever asks may be told more: a long answer outlives a session."""
        return self._sessions is None or self.session(request) is not None

    def session(self, request: web.Request) -> DashboardSession | None:
        """Whose request it is; None where nobody signed in, or nobody has to."""
        sessions = self._sessions
        return None if sessions is None else sessions.of(request.cookies.get(sessions.cookie, ""))

    @property
    def secured(self) -> bool:
        """Whether one has to sign in."""
        return self._sessions is not None

    def sign_in(self, ticket: str) -> tuple[DashboardSession, Callable[[web.Response], None]]:
        """Use a ticket up; returns the session, and what puts its cookie into an answer.

        Raises:
            NotTrusted: The ticket is worth nothing.
        """
        if self._sessions is None:
            raise NotTrusted("this fleet has no authority: nobody signs in, and nobody has to")
        try:
            token, session = self._sessions.open(ticket)
            cookie = self._sessions.cookie
        except EdgesplitError:
            self.refused["dashboard-wrong-ticket"] += 1
            raise

        def set_cookie(response: web.Response) -> None:
            # Without an age it ends with the browser; the session itself ends within hours.
            response.set_cookie(cookie, token, httponly=True, samesite="Strict", secure=self._tls, path="/")

        return session, set_cookie

    def sign_out(self, request: web.Request, response: web.Response) -> None:
        """End a session."""
        session = self.session(request)
        if self._sessions is None:
            return
        if session is not None:
            self._sessions.end(session)
        response.del_cookie(self._sessions.cookie, path="/")

    def _foreign(self, request: web.Request) -> str:
        """Why a request must come from somewhere else than this dashboard's page; empty where it does not."""
        host = request.headers.get("Host", "")
        if not self._is_own(host, request):
            return f"the dashboard is not known as {host[:100]!r}: use its address, or set [dashboard] advertise"
        if request.path.startswith("/api/") and request.headers.get("Sec-Fetch-Site", "none") not in {
            "same-origin",
            "none",
        }:
            return "another web page asks for this"
        if request.method in {"GET", "HEAD"}:
            return ""
        origin = request.headers.get("Origin")
        if origin is not None and origin != f"{'https' if self._tls else 'http'}://{host}":
            return "another web page sends this"
        if request.method != "PUT" and request.headers.get(MARK[0]) != MARK[1]:
            return f"requests that change something have the header {MARK[0]}: {MARK[1]}"
        return ""

    def _is_own(self, host: str, request: web.Request) -> bool:
        name = (host_of(host) if ":" in host.rpartition("]")[2] else host.removeprefix("[").removesuffix("]")).lower()
        if is_loopback(name) or name in self._names():
            return True
        here = request.transport.get_extra_info("sockname") if request.transport is not None else None
        return isinstance(here, tuple) and bool(name) and name == str(here[0])
