"""What the data plane brings, as the state machine's events.

Owns: `DataPlaneHandler`, but for clients' requests, which are the engine's own. Its rule: it translates and notes; what
follows is decided elsewhere. Not here: connections (`dataplane/`), what follows (`serving/machine/agent_machine.py`), doing it
(`serving/engine.py`).
"""

from __future__ import annotations

from collections.abc import Callable

import structlog

from edgesplit.errors import FrameMalformed
from edgesplit.wire.frames import Frame
from edgesplit.wire.headers import Tensors
from edgesplit.wire.tensors import Array
from edgesplit_agent.compute.coding import Coder
from edgesplit_agent.dataplane.contract import Answer
from edgesplit_agent.reporting.metrics import Telemetry
from edgesplit_agent.reporting.usage import UsageBook
from edgesplit_agent.serving.engine import Engine
from edgesplit_agent.serving.machine.events import (
    AbortReceived,
    ExecutionKey,
    PeerLost,
    PeerPressed,
    PeerRoom,
    PeerUp,
    SendFailed,
    TensorsArrived,
)

__all__ = ["Intake"]

_NOBODYS = ""
"""The share of the worker's time in which tensors of unknown models are restored."""


class Intake:
    """The agent, as the data plane sees it; implements `DataPlaneHandler`.

    Args:
        engine: Takes events and requests.
        coder: Restores coded tensors.
        usage: Told of what was sent.
        telemetry: Likewise, and of what was received.
        on_peer_back: Told when any peer can be sent to: it may have what was missing.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        coder: Coder,
        usage: UsageBook,
        telemetry: Telemetry,
        on_peer_back: Callable[[], None] = lambda: None,
    ) -> None:
        self._engine = engine
        self._on_peer_back = on_peer_back
        self._coder = coder
        self._usage = usage
        self._telemetry = telemetry
        self._log = structlog.get_logger(part="intake")

    def ask(
        self, model: str, arrays: dict[str, Array], deadline_s: float | None, answer: Callable[[Answer], None]
    ) -> Callable[[], None]:
        """See `DataPlaneHandler.ask`."""
        return self._engine.ask(model, arrays, deadline_s, answer)

    def on_tensors(  # noqa: PLR0917  the data plane's protocol
        self, peer: str, model: str, epoch: int, request: str, arrays: dict[str, Array], deadline_s: float | None
    ) -> None:
        """Tensors of a request arrived."""
        self._engine.feed(TensorsArrived(peer, ExecutionKey(model, epoch, request), arrays, deadline_s))

    def on_received(self, peer: str, nbytes: int) -> None:
        """Tensors came in, as they travel."""
        self._telemetry.received(nbytes)

    async def decode(self, model: str, epoch: int, request: str, frame: Frame) -> dict[str, Array]:
        """Restore coded tensors, in turn with components.

        Raises:
            FrameMalformed: A payload is senseless.
        """
        if not isinstance(frame.header, Tensors):
            raise FrameMalformed(f"a {type(frame.header).__name__} frame has no tensors for another node")
        key = ExecutionKey(model, epoch, request)
        order, held = self._engine.machine.order_of(key), self._engine.machine.holds(key)
        # Models that nobody deployed here are whatever a stranger wrote: one share for all, and no figures by name.
        share = model if held else _NOBODYS
        arrays, seconds = await self._coder.decode(frame.header.tensors, frame.payloads, priority=order, share=share)
        if held:
            self._engine.coded(key, seconds)
        return arrays

    def on_abort(self, peer: str, model: str, epoch: int, request: str, code: str, message: str) -> None:  # noqa: PLR0917
        """A peer gave a request up."""
        key = ExecutionKey(model, epoch, request)
        if self._engine.machine.wants(key):
            self._log.info(
                "abort-received", peer=peer, model=model, epoch=epoch, request=request, code=code, text=message
            )
        self._engine.feed(AbortReceived(peer, key, code, message))

    def on_sent(self, peer: str, model: str, epoch: int, request: str, nbytes: int, seconds: float) -> None:  # noqa: PLR0917
        """A peer has tensors that this node sent."""
        self._telemetry.sent(peer, nbytes)
        self._usage.sent(model, epoch, seconds)

    def on_undelivered(self, peer: str, model: str, epoch: int, request: str) -> None:
        """Tensors that this node sent may not have arrived."""
        detail = f"{self._engine.machine.node} lost {peer} while tensors were on their way to it"
        self._engine.feed(SendFailed(ExecutionKey(model, epoch, request), peer, detail))

    def on_peer_up(self, peer: str) -> None:
        """A peer can be sent to."""
        self._log.debug("peer-up", peer=peer)
        self._engine.feed(PeerUp(peer))
        self._on_peer_back()

    def on_peer_pressed(self, peer: str, pressed: bool) -> None:
        """A peer takes tensors too slowly, or keeps up again."""
        if pressed:
            self._log.warning("peer-slow", peer=peer, text=f"{peer} takes tensors more slowly than they come")
        self._engine.feed(PeerPressed(peer, pressed))

    def room_bytes(self) -> int | None:
        """See `DataPlaneHandler.room_bytes`."""
        return self._engine.machine.room_bytes()

    def on_peer_room(self, peer: str, nbytes: int | None) -> None:
        """A peer has room for more or fewer of this node's requests."""
        self._engine.feed(PeerRoom(peer, nbytes))

    def on_peer_lost(self, peer: str, reason: str) -> None:
        """A peer cannot be sent to any more."""
        self._log.warning("peer-lost", peer=peer, reason=reason)
        self._engine.feed(PeerLost(peer, reason))
