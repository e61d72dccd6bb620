"""HTTP server of the dashboard: the page, and what it asks.

Owns: the routes, and who is let in by whom. Its rule: nothing that the page asks is answered otherwise than splitctl is; nobody slow or
silent is waited for; beyond loopback nobody of a secured fleet is answered without TLS. Not here: what browsers may bring (`browser_admission.py`),
connections (`artifacts/guarded_server.py`), routes for agents (`artifacts/artifact_server.py`).

    GET          /, /static/FILE             the page
    GET, POST, DELETE  /api/session          who I am; sign in with a ticket; sign out
    POST         /api/operations             an operation, as splitctl sends it
    PUT          /api/uploads/DIGEST         a model's file
    GET          /api/stream                 server-sent events
    GET          /api/models/NAME/graph      the network in units
    GET          /api/history/nodes/NAME, /api/history/models/NAME
"""

from __future__ import annotations

import asyncio
import os
import ssl
from http import HTTPStatus

import msgspec
from aiohttp import web

from edgesplit.daemon.http_guard import GuardLimits
from edgesplit.errors import EdgesplitError, InvalidConfiguration, InvalidInput, NotTrusted, UnknownModel, UnknownNode
from edgesplit.operations.inspection.dashboard_operation import DashboardDocument
from edgesplit.operations.inspection.graph_operation import ShowGraph
from edgesplit.release import installed_version
from edgesplit.trust.https_entrance import EntranceLimits
from edgesplit.trust.subjects import Subject
from edgesplit.wire.address import TcpAddress
from edgesplit_controller.artifacts.guarded_server import GuardedServer
from edgesplit_controller.artifacts.upload_receiver import UploadReceiver
from edgesplit_controller.configuration import tcp_address
from edgesplit_controller.dashboard.api_answers import answered, body_of, failed
from edgesplit_controller.dashboard.browser_admission import BrowserAdmission
from edgesplit_controller.dashboard.dashboard_address import DashboardAddress
from edgesplit_controller.dashboard.dashboard_sessions import DashboardSessions
from edgesplit_controller.dashboard.history import HistoryDocument
from edgesplit_controller.dashboard.history_keeper import HistoryKeeper
from edgesplit_controller.dashboard.operation_route import OperationRoute
from edgesplit_controller.dashboard.static_files import INDEX, KeptFile, StaticFiles, send_kept
from edgesplit_controller.dashboard.stream import Stream
from edgesplit_controller.dashboard.stream_documents import Look

__all__ = ["DashboardServer"]

MOST_TICKET_BYTES = 4 << 10
_JSON = "application/json"


class _SignIn(msgspec.Struct, frozen=True, kw_only=True):
    """What a page signs in with."""

    ticket: str


class _Who(msgspec.Struct, frozen=True, kw_only=True):
    """What a page is told of itself.

    Attributes:
        secured: Whether one has to sign in.
        operator: Who did; None where nobody has to.
        may_change: Whether operations that change something are carried out.
        version: Of edgesplit.
        authority: SHA-256 of the fleet's authority, in hexadecimal, which join tokens carry; empty without one.
    """

    secured: bool
    operator: str | None
    may_change: bool
    version: str
    authority: str


class DashboardServer:
    """Serves the page of one controller.

    Args:
        address: Where it is reached.
        admission: Who is let in.
        sessions: Who signed in; None in a fleet without an authority.
        tls: How connections are secured; None where they are not.
        files: The page.
        operations: Carries out what the page asks.
        look: Carries out what changes nothing.
        uploads: Takes files of models.
        stream: Tells what changes.
        history: Remembers figures.
        authority: SHA-256 of the fleet's authority, in hexadecimal; empty without one.
    """

    def __init__(
        self,
        address: DashboardAddress,
        admission: BrowserAdmission,
        sessions: DashboardSessions | None,
        tls: ssl.SSLContext | None,
        *,
        files: StaticFiles,
        operations: OperationRoute,
        look: Look,
        uploads: UploadReceiver,
        stream: Stream,
        history: HistoryKeeper,
        authority: str = "",
    ) -> None:
        self._authority = authority
        self._address = address
        self._admission = admission
        self._sessions = sessions
        self._files = files
        self._operations = operations
        self._look = look
        self._uploads = uploads
        self._stream = stream
        self.history = history
        self._keeping: asyncio.Task[None] | None = None
        self._server = GuardedServer(tls, GuardLimits(), EntranceLimits())
        self.problem = ""
        """Why nobody is served, one sentence; empty while somebody is."""

    @property
    def base(self) -> str:
        """URL of the page without a slash at its end; empty while it is not served."""
        return self._address.base if self._server.listens else ""

    @property
    def listens(self) -> TcpAddress:
        """Where it listens; only while it does."""
        return tcp_address("dashboard.listen", self._address.bound)

    @property
    def refused(self) -> dict[str, int]:
        """What limits for strangers turned away or ended, and who was not let in, by kind."""
        return dict(self._server.guard.refused + self._admission.refused)

    def open(self, operator: Subject | None) -> DashboardDocument:
        """Let somebody in who asked over the broker.

        Raises:
            InvalidConfiguration: Nobody is served.
            NotTrusted: In a secured fleet: nobody knows who asks.
        """
        if not self._server.listens:
            raise InvalidConfiguration(self.problem or "the dashboard has not begun to listen: ask again in a moment")
        address = self._address
        if self._sessions is None:
            return DashboardDocument(
                url=address.base, ticket="", expires_unix_s=None, local=address.is_local, machine=address.machine
            )
        if operator is None:
            raise NotTrusted("the dashboard is for operators: run splitctl login first")
        ticket = self._sessions.give_ticket(operator)
        return DashboardDocument(
            url=address.base,
            ticket=ticket.text,
            expires_unix_s=ticket.expires_unix_s,
            local=address.is_local,
            machine=address.machine,
        )

    def end_revoked(self) -> None:
        """Tell nobody more who is trusted no longer."""
        if self._sessions is not None:
            self._sessions.end_untrusted()
        self._stream.look_again()

    async def start(self, host: str, port: int) -> None:
        """Listen; where that cannot be, the controller does without, and `problem` says so."""
        application = web.Application(middlewares=[self._server.watched, self._admission.checked])
        application.on_response_prepare.append(self._admission.add_headers)
        router = application.router
        router.add_get("/", self._get_page)
        router.add_get("/static/{name:.+}", self._get_static)
        router.add_get("/api/session", self._get_session)
        router.add_post("/api/session", self._post_session)
        router.add_delete("/api/session", self._delete_session)
        router.add_post("/api/operations", self._post_operation)
        router.add_put("/api/uploads/{digest}", self._uploads.put)
        router.add_get("/api/stream", self._get_stream, allow_head=False)
        router.add_get("/api/models/{name}/graph", self._get_graph)
        router.add_get("/api/history/{kind:nodes|models}/{name}", self._get_history)
        try:
            self._address.bound = await self._server.start(application, host, port, handler_cancellation=True)
        except OSError as error:
            self.problem = (
                f"the dashboard cannot listen on {TcpAddress(host, port)} ({_reason(error)}): set [dashboard] listen "
                'to another port, or to "" for none'
            )
            await self.close()
            return
        self._keeping = asyncio.create_task(self.history.keep(), name="dashboard-history")

    async def close(self) -> None:
        """Stop; pages come back by themselves once somebody serves again."""
        if self._keeping is not None:
            self._keeping.cancel()
        self._server.stop_listening()
        await self._stream.close()
        await self._operations.close()
        await self._server.close()

    async def _get_page(self, request: web.Request) -> web.StreamResponse:
        return await self._files.send(request, INDEX)

    async def _get_static(self, request: web.Request) -> web.StreamResponse:
        return await self._files.send(request, request.match_info["name"])

    async def _get_session(self, request: web.Request) -> web.StreamResponse:
        session = self._admission.session(request)
        if self._admission.secured and session is None:
            return self._admission.unknown()
        return answered(self._who(None if session is None else session.operator))

    async def _post_session(self, request: web.Request) -> web.StreamResponse:
        try:
            asked = msgspec.json.decode(await body_of(request, MOST_TICKET_BYTES), type=_SignIn)
            session, set_cookie = self._admission.sign_in(asked.ticket)
        except NotTrusted as error:
            return failed(error, HTTPStatus.UNAUTHORIZED)
        except InvalidInput as error:
            return failed(error, HTTPStatus.BAD_REQUEST)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            return failed(InvalidInput(f"what is asked cannot be read: {error}"), HTTPStatus.BAD_REQUEST)
        response = answered(self._who(session.operator))
        set_cookie(response)
        return response

    async def _delete_session(self, request: web.Request) -> web.StreamResponse:
        response = web.Response(status=204)
        self._admission.sign_out(request, response)
        self._stream.look_again()
        return response

    def _who(self, operator: Subject | None) -> _Who:
        return _Who(
            secured=self._admission.secured,
            operator=None if operator is None else operator.name,
            may_change=True,
            version=installed_version(),
            authority=self._authority,
        )

    async def _post_operation(self, request: web.Request) -> web.StreamResponse:
        session = self._admission.session(request)
        return await self._operations.answer(request, None if session is None else session.operator)

    async def _get_stream(self, request: web.Request) -> web.StreamResponse:
        return await self._stream.serve(request, lambda: self._admission.holds(request))

    async def _get_graph(self, request: web.Request) -> web.StreamResponse:
        try:
            document = await self._look(ShowGraph(name=request.match_info["name"]))
        except EdgesplitError as error:
            return failed(error, HTTPStatus.NOT_FOUND)
        return send_kept(request, await asyncio.to_thread(lambda: KeptFile.of(msgspec.json.encode(document), _JSON)))

    async def _get_history(self, request: web.Request) -> web.StreamResponse:
        kind, name = request.match_info["kind"], request.match_info["name"]
        try:
            document: HistoryDocument = self.history.node(name) if kind == "nodes" else self.history.model(name)
        except (UnknownModel, UnknownNode) as error:
            return failed(error, HTTPStatus.NOT_FOUND)
        return answered(document)


def _reason(error: OSError) -> str:
    # asyncio puts the address into what the system says, which stands in the sentence already.
    return os.strerror(error.errno) if error.errno else str(error)
