"""Who may ask what of the agent's HTTP endpoint in a secured fleet.

Owns: the rights by route. Its rule: every request is judged by the certificate of its connection, else by its Bearer token, before its
body is read. Not here: the rules by role (`edgesplit.trust.access`), TLS itself (`edgesplit.trust.https_entrance`).

    /blobs                           nodes, the controller
    /metrics, /v2/health             any certificate, any token, this machine
    everything else (/v2)            client, operator, node; a token, for its models and at its rate; programs of this machine
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable

import structlog
from aiohttp import web

from edgesplit.daemon.logs import LineLimit
from edgesplit.errors import NotTrusted
from edgesplit.trust.access import GRANTED_MODELS, Access
from edgesplit.trust.https_entrance import certificate_of
from edgesplit.wire.address import is_loopback

__all__ = ["HttpAccess"]

_FIGURES = frozenset({"/metrics", "/v2/health/live", "/v2/health/ready"})
_LINES, _LINES_S = 20, 60.0
"""Lines in the log about requests that are refused, in so much time. [1, s]"""
_log = structlog.get_logger(part="http")


class HttpAccess:
    """Judges requests.

    Args:
        access: Whom this node lets in.
        refused: Counts who was not.
    """

    def __init__(self, access: Access, refused: Counter[str]) -> None:
        self._access = access
        self._refused = refused
        self._lines = LineLimit(_LINES, _LINES_S)

    @web.middleware
    async def authorized(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        """Let a request through, or raise NotTrusted or Overloaded."""
        try:
            self._judge(request)
        except NotTrusted as error:
            self._refused["http-not-trusted"] += 1
            if self._lines.allows(asyncio.get_running_loop().time()):
                _log.warning("request-refused", address=request.remote, path=request.path[:200], reason=str(error))
            raise
        return await handler(request)

    def _judge(self, request: web.Request) -> None:
        access, certificate = self._access, certificate_of(request.transport)
        if request.path.startswith("/blobs"):
            access.check_blob_reader(certificate)
            return
        is_local = is_loopback(request.remote or "")
        if request.path in _FIGURES and (is_local or certificate is not None):
            access.check(certificate)
            return
        permit = access.admit_client(certificate, _bearer(request), is_local=is_local)
        if permit.grant is not None:
            request[GRANTED_MODELS] = permit.grant.models
        model = request.match_info.get("model")
        if model is None:
            return
        if request.method == "POST" and request.path.endswith("/infer"):
            access.spend(permit, model)
        else:
            access.check_model(permit, model)


def _bearer(request: web.Request) -> str:
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""
