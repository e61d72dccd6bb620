"""Request-reply client of splitctl over MQTT.

Owns: one conversation: reach the broker, find the controller, send requests, wait for replies. Its rule: whoever
cannot be reached is named within `REACH_S`; after the first sign of life it waits as long as the controller lives. Not
here: what is asked (`edgesplit.operations.operation`), what is printed.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import Callable, Generator
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import click
import msgspec

from edgesplit.control.registration_messages import CONTROLLER_STATUS, ControllerStatus
from edgesplit.errors import (
    BrokerUnreachable,
    ControllerUnreachable,
    EdgesplitError,
    InvalidConfiguration,
    MalformedMessage,
    NotTrusted,
    ProtocolMismatch,
    error_from_code,
)
from edgesplit.mqtt.broker_address import NO_FILES, BrokerAddress, TlsFiles
from edgesplit.mqtt.bus import MessageBus
from edgesplit.mqtt.signed.refusals import Refusal
from edgesplit.mqtt.topic import ROOT
from edgesplit.operations.operation import OPERATION_REQUEST, REPLY, Operation, OperationRequest, Reply
from edgesplit.release import PROTOCOL
from edgesplit_controller.cli.common import Settings
from edgesplit_controller.cli.progress import progress_display
from edgesplit_controller.cli.user.enrolling import renew_in_time
from edgesplit_controller.cli.user.identity import operator_security, operator_tls

__all__ = ["REACH_S", "Conversation", "ask"]

T = TypeVar("T")
OnProgress = Callable[[str, float | None], None]

REACH_S = 4.4
"""Until broker and controller have shown themselves, so that the whole process has failed within 5 s. [s]"""
SILENCE_S = 600.0
"""Longest wait between two replies of a controller that lives. [s]"""


class Conversation:
    """One connection to the broker and the controller behind it; an async context manager.

    Args:
        broker: The broker's URL.
        files: What TLS needs beyond the system's authorities.
        identity: Folder of this operator's identity, in a fleet with an authority.
        reach_s: How long broker and controller may take to answer. [s]

    Raises:
        click.UsageError: On construction: the URL is none, or a file cannot be used.
    """

    def __init__(
        self, broker: str, files: TlsFiles = NO_FILES, *, identity: Path | None = None, reach_s: float = REACH_S
    ) -> None:
        self._reach_s, self._identity = reach_s, identity
        self._client = f"splitctl-{secrets.token_hex(8)}"
        self._replies: asyncio.Queue[Reply | EdgesplitError] = asyncio.Queue()
        self._status: ControllerStatus | None = None
        self._status_changed = asyncio.Event()
        self._lost_sentence = ""
        self._doubt: EdgesplitError | None = None
        try:
            security = None if identity is None else operator_security(identity)
            if security is not None:
                security.on_refused = self._on_refused
            self.bus = MessageBus(
                BrokerAddress.parse(broker, files),
                client_id=f"splitctl-{secrets.token_hex(8)}",  # other operators can read the name for replies
                sealing=security,
                elsewhere="with --broker or EDGESPLIT_BROKER",
                on_malformed=self._on_unusable,
                on_connection=self._on_connection,
            )
        except InvalidConfiguration as error:
            raise click.UsageError(str(error)) from error
        self._broker = str(self.bus.address)

    @classmethod
    def of(cls, settings: Settings, *, reach_s: float = REACH_S) -> Conversation:
        """The conversation that the command line asks for."""
        files = TlsFiles(settings.ca_file, settings.cert_file, settings.key_file, settings.server_name)
        identity = Path(settings.identity) if settings.identity else None
        if identity is not None and settings.broker.startswith("mqtts://"):
            files = operator_tls(identity, files)
        return cls(settings.broker, files, identity=identity, reach_s=reach_s)

    @property
    def controller(self) -> ControllerStatus:
        """The controller's registration; only inside the context."""
        if self._status is None:
            raise ControllerUnreachable(f"no controller has registered at the broker {self._broker}")
        return self._status

    async def __aenter__(self) -> Self:
        """Reach the broker and find the controller.

        Raises:
            BrokerUnreachable, ControllerUnreachable: Within `reach_s`.
            NotTrusted, MalformedMessage: Who says that it is the controller cannot be believed, or understood.
            ProtocolMismatch: The controller speaks another version.
        """
        # Replies first: the broker handles subscriptions in order, so that the controller's retained registration,
        # when it arrives, proves that no reply can be missed.
        self.bus.subscribe(REPLY, self._on_reply, self._client)
        self.bus.subscribe(CONTROLLER_STATUS, self._on_status)
        deadline_s = asyncio.get_running_loop().time() + self._reach_s
        try:
            await self.bus.connect(self._reach_s)
            await self._find_controller(deadline_s)
        except BaseException:
            await self.bus.close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Disconnect in order."""
        await self.bus.close()
        if self._identity is not None and self._status is not None and error is None:
            await asyncio.to_thread(renew_in_time, self._identity, self._status.artifacts)

    async def ask(
        self,
        operation: Operation,
        answer: type[T],
        on_progress: OnProgress | None = None,
        *,
        silence_s: float = SILENCE_S,
    ) -> T:
        """Send one request and wait for its result.

        Args:
            operation: What is asked.
            answer: Type of the document in the result.
            on_progress: Told the text and the done share of every progress reply.
            silence_s: Longest wait between two replies. [s]

        Raises:
            EdgesplitError: What the controller answered, or that it stopped answering.
        """
        request = OperationRequest.of(operation, identifier=secrets.token_hex(8), protocol=PROTOCOL)
        with self._watched():
            if not self.bus.publish(OPERATION_REQUEST, request, self._client):
                raise BrokerUnreachable(self._lost_sentence or f"the broker {self._broker} is away: try again")
            reply = await self._next_reply(request.id, self._reach_s, "does not answer: look at its log")
            sign_of_life = reply  # says only that somebody works on it; nothing to show
            while reply.kind == "progress":
                if on_progress is not None and reply.text and reply is not sign_of_life:
                    on_progress(reply.text, reply.fraction)
                reply = await self._next_reply(request.id, silence_s, "stopped reporting: look at its log")
        if reply.kind == "failure":
            raise _rebuilt(reply)
        try:
            return msgspec.json.decode(reply.value, type=answer)
        except msgspec.DecodeError as error:
            raise MalformedMessage(
                f"the controller's answer cannot be read ({error}): install the same edgesplit version on both sides"
            ) from error

    async def _find_controller(self, deadline_s: float) -> None:
        try:
            async with asyncio.timeout_at(deadline_s):
                # One that takes over from another has the name already and answers later, with an address.
                while self._status is None or not (self._status.online and self._status.artifacts):
                    await self._status_changed.wait()
                    self._status_changed.clear()
        except TimeoutError:
            if self._status is None and self._doubt is not None:
                raise self._doubt from None
            seen = "no controller has registered" if self._status is None else "the controller has gone offline"
            rights = f" (or {self.bus.address.who} may not read {ROOT}/# there)" if self._status is None else ""
            raise ControllerUnreachable(
                f"{seen} at the broker {self._broker}{rights}: start edgesplit-controller, or name another broker"
            ) from None
        if self._status.protocol != PROTOCOL:
            raise ProtocolMismatch(
                f"the controller (edgesplit {self._status.version}) speaks protocol {self._status.protocol} and this "
                f"splitctl speaks {PROTOCOL}: install the same edgesplit version on both sides"
            )

    async def _next_reply(self, identifier: str, wait_s: float, complaint: str) -> Reply:
        try:
            async with asyncio.timeout(wait_s):
                while True:
                    reply = await self._replies.get()
                    if isinstance(reply, EdgesplitError):
                        raise reply
                    if reply.id == identifier:
                        return reply
        except TimeoutError:
            raise ControllerUnreachable(
                f"the controller at the broker {self._broker} {complaint}, or restart it"
            ) from None

    @contextlib.contextmanager
    def _watched(self) -> Generator[None, None, None]:
        """While a request is out, whatever makes its reply impossible ends the wait."""
        while not self._replies.empty():
            self._replies.get_nowait()
        self._asking = True
        try:
            yield
        finally:
            self._asking = False

    _asking = False

    def _on_refused(self, refusal: Refusal) -> None:
        self._on_unusable(refusal.topic, NotTrusted(refusal.sentence))

    def _on_unusable(self, _topic: str, error: EdgesplitError) -> None:
        self._doubt = error
        self._replies.put_nowait(error)

    def _on_reply(self, _topic: str, reply: Reply | None) -> None:
        if reply is not None:
            self._replies.put_nowait(reply)

    def _on_status(self, _topic: str, status: ControllerStatus | None) -> None:
        before, self._status = self._status, status
        self._status_changed.set()
        if not self._asking or before is None:
            return
        if status is None or not status.online or status.instance != before.instance:
            self._replies.put_nowait(
                ControllerUnreachable(
                    "the controller went away while it was working on the request: "
                    "see with splitctl events how far it came, and ask again"
                )
            )

    def _on_connection(self, connected: bool, reason: str) -> None:
        # A reply that is published while this side is away is lost for good.
        if not connected and self._asking:
            self._lost_sentence = (
                f"the connection to the broker {self._broker} was lost while waiting ({reason}): "
                "see with splitctl events how far the request came, and ask again"
            )
            self._replies.put_nowait(BrokerUnreachable(self._lost_sentence))


def ask(
    settings: Settings, operation: Operation, answer: type[T], *, show: bool = False, silence_s: float = SILENCE_S
) -> T:
    """Ask one question and return its answer.

    Args:
        settings: Names the broker.
        operation: What is asked.
        answer: Type of the document in the result.
        show: Whether progress is shown on standard error.
        silence_s: Longest wait between two replies. [s]

    Raises:
        EdgesplitError: What the controller answered, or that it cannot be reached.
    """

    async def converse() -> T:
        async with Conversation.of(settings) as conversation:
            if not show:
                return await conversation.ask(operation, answer, silence_s=silence_s)
            with progress_display() as display:
                return await conversation.ask(operation, answer, display.step, silence_s=silence_s)

    return asyncio.run(converse())


def _rebuilt(reply: Reply) -> EdgesplitError:
    error: Any = error_from_code(reply.code, reply.text)
    error.code = reply.code or error.code
    error.exit_code = reply.exit_code
    rebuilt: EdgesplitError = error
    return rebuilt
