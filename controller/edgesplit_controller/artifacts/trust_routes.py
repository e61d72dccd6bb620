"""HTTPS routes of a fleet's trust: the authority's certificate, joining, renewing; and who may use the other routes.

Owns: reading what programs ask within limits, answering in JSON, and the rights of each role on each route. Its rule: what stands in a
certificate says who somebody is, nothing else; a refusal is one sentence, counted by kind, and told once in a while. Not here: whether a token
or a certificate is good (`edgesplit_controller.trust`), connections
(`edgesplit.trust.https_entrance`, `edgesplit.daemon.http_guard`).

    GET  /trust/authority   open; certificates in PEM form
    POST /trust/join        open; a join token
    POST /trust/renew       a certificate of this fleet
"""

from __future__ import annotations

import asyncio
import ssl
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from typing import TypeVar

import msgspec
from aiohttp import web

from edgesplit.errors import EdgesplitError, InvalidInput, NameTaken, NotTrusted, Overloaded, StoreUnwritable
from edgesplit.trust.enrolment import (
    AUTHORITY_PATH,
    JOIN_PATH,
    RENEW_PATH,
    EnrolmentError,
    EnrolmentFailure,
    JoinRequest,
    RenewRequest,
)
from edgesplit.trust.https_entrance import certificate_of
from edgesplit.trust.subjects import ROLES, PeerCertificate, Role
from edgesplit.trust.tls import explain_handshake
from edgesplit.wire.address import is_loopback
from edgesplit_controller.trust.fleet_trust import FleetTrust

__all__ = ["TrustRoutes"]

T = TypeVar("T", JoinRequest, RenewRequest)
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Tell = Callable[[str, str, str], None]
"""Told what is the same as before, the kind of an event, and its sentence."""

MOST_BYTES = 64 << 10
BODY_S = 10.0
"""For the body of a question to come. [s]"""

_OPEN = frozenset({AUTHORITY_PATH, JOIN_PATH})
_LOCAL = frozenset({"metrics", "health", "healthz"})
"""Routes that programs of this machine may use without a certificate."""
_MAY: Mapping[str, frozenset[Role]] = {
    "trust": frozenset({"node", "operator", "client"}),
    "blobs": frozenset({"node", "operator"}),
    "uploads": frozenset({"operator"}),
    "backups": frozenset({"operator"}),
    **dict.fromkeys(_LOCAL, frozenset(ROLES)),
}
"""Who may use which route, by the first part of its path."""
_STATUS: Mapping[type[EdgesplitError], HTTPStatus] = {
    InvalidInput: HTTPStatus.BAD_REQUEST,
    NotTrusted: HTTPStatus.UNAUTHORIZED,
    NameTaken: HTTPStatus.CONFLICT,
    Overloaded: HTTPStatus.TOO_MANY_REQUESTS,
    StoreUnwritable: HTTPStatus.INSUFFICIENT_STORAGE,
}


class TrustRoutes:
    """Of one controller.

    Args:
        trust: Decides.
        tell: Told of refusals.

    Attributes:
        refused: Counts refusals by kind.
    """

    def __init__(self, trust: FleetTrust, tell: Tell) -> None:
        self._trust = trust
        self._tell = tell
        self.refused: Counter[str] = Counter()

    def add_to(self, application: web.Application) -> None:
        """Serve the routes."""
        application.router.add_get(AUTHORITY_PATH, self._get_authority)
        application.router.add_post(JOIN_PATH, self._post_join)
        application.router.add_post(RENEW_PATH, self._post_renew)

    @property
    def tls(self) -> ssl.SSLContext:
        """How connections are secured: a certificate need not be shown, for who joins has none."""
        return self._trust.contexts.open_server

    def handshake_failed(self, address: str, error: OSError) -> None:
        """Somebody could not be spoken to securely; the connection was counted."""
        sentence = explain_handshake(error, f"whoever connects from {address}")
        self._tell(f"handshake {address}", "connection-refused", f"the controller's HTTPS: {sentence}")

    def is_revoked(self, transport: asyncio.BaseTransport) -> bool:
        """Whether a connection's other side is trusted no more."""
        certificate = certificate_of(transport)
        return certificate is not None and self._trust.is_revoked(certificate)

    @web.middleware
    async def checked(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Let those use a route who may."""
        certificate = certificate_of(request.transport)
        try:
            self._check(request.path, certificate, str(request.remote or ""))
        except NotTrusted as error:
            who = str(certificate.subject) if certificate is not None else f"somebody at {request.remote}"
            return self._refusal(error, HTTPStatus.FORBIDDEN, who, "http-not-trusted")
        return await handler(request)

    def _check(self, path: str, certificate: PeerCertificate | None, address: str) -> None:
        if certificate is not None and self._trust.is_revoked(certificate):
            raise NotTrusted(f"the certificate of {certificate.subject} was revoked: join again, if you may")
        route = path.strip("/").partition("/")[0]
        if path in _OPEN or (route in _LOCAL and is_loopback(address)):
            return
        may = _MAY.get(route, frozenset())
        if certificate is None:
            raise NotTrusted(
                "this needs a certificate of this fleet: join it first (splitctl node add, splitctl operator add)"
            )
        if certificate.subject.role not in may:
            whom = " and ".join(f"{role}s" for role in ROLES if role in may) or "nobody"
            raise NotTrusted(f"{certificate.subject} may not do this: it is for {whom}")

    async def _get_authority(self, _request: web.Request) -> web.StreamResponse:
        return web.Response(body=self._trust.authority.pem, content_type="application/x-pem-file")

    async def _post_join(self, request: web.Request) -> web.StreamResponse:
        address = str(request.remote or "")
        try:
            answer = await self._trust.join(await _body(request, JoinRequest), address)
        except EdgesplitError as error:
            return self._refusal(error, _status(error), f"somebody at {address}", "join-refused")
        return _json(answer)

    async def _post_renew(self, request: web.Request) -> web.StreamResponse:
        holder = certificate_of(request.transport)
        try:
            if holder is None:
                raise NotTrusted("renewing needs the certificate that is to be renewed")
            answer = self._trust.renew(holder, await _body(request, RenewRequest))
        except EdgesplitError as error:
            who = str(holder.subject) if holder is not None else f"somebody at {request.remote}"
            status = HTTPStatus.FORBIDDEN if isinstance(error, NotTrusted) else _status(error)
            return self._refusal(error, status, who, "renewal-refused")
        return _json(answer)

    def _refusal(self, error: EdgesplitError, status: HTTPStatus, who: str, kind: str) -> web.Response:
        self.refused[kind] += 1
        self._tell(f"{kind} {who}", "connection-refused", f"{who} was refused: {error}")
        return _json(EnrolmentFailure(error=EnrolmentError(code=error.code, message=str(error))), status)


async def _body(request: web.Request, kind: type[T]) -> T:
    """A question, within limits.

    Raises:
        InvalidInput: It is none.
    """
    content = bytearray()
    try:
        async with asyncio.timeout(BODY_S):
            while chunk := await request.content.read(MOST_BYTES):
                content += chunk
                if len(content) > MOST_BYTES:
                    raise InvalidInput(f"what is asked here has at most {MOST_BYTES} bytes")
        return msgspec.json.decode(content, type=kind)
    except TimeoutError:
        raise InvalidInput("what is asked did not come in time") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidInput(f"what is asked cannot be read: {error}") from error


def _status(error: EdgesplitError) -> HTTPStatus:
    found = (status for kind, status in _STATUS.items() if isinstance(error, kind))
    return next(found, HTTPStatus.INTERNAL_SERVER_ERROR)


def _json(document: msgspec.Struct, status: HTTPStatus = HTTPStatus.OK) -> web.Response:
    return web.Response(body=msgspec.json.encode(document), status=status, content_type="application/json")
