"""Interfaces from the data plane to the agent that holds it: what it asks, and who counts its traffic.

Owns: `Host` and `TrafficCounters`, and calls into either that cannot harm the data plane. Its rule: everything is called
on the event loop and returns quickly; what happened is told as an event of the state machine, to the sink that
`DataPlane` is given, and is none of these. Not here: behaviour.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ParamSpec, Protocol

import structlog

from edgesplit.wire.headers import ExecutionKey, TensorHead
from edgesplit.wire.tensors import Array
from edgesplit_agent.serving.machine.events import Answer

__all__ = ["Host", "TrafficCounters", "guarded"]

P = ParamSpec("P")
_log = structlog.get_logger(part="dataplane")


class Host(Protocol):
    """The agent, as the data plane asks it."""

    def ask(
        self, model: str, arrays: dict[str, Array], deadline_s: float | None, answer: Callable[[Answer], None]
    ) -> Callable[[], None]:
        """Begin to answer a client's request.

        Args:
            model: Its name.
            arrays: Inputs by name.
            deadline_s: Time left for it. [s]
            answer: Called once, perhaps before this returns; what it is told is passed on to that client alone.

        Returns:
            Gives the request up, for instance as the client has left; without effect once it was answered.
        """
        ...

    async def decode(
        self, key: ExecutionKey, heads: Sequence[TensorHead], payloads: Sequence[Array]
    ) -> dict[str, Array]:
        """Restore the tensors of a frame of which some are coded.

        Raises:
            EdgesplitError: A payload is senseless; the connection it came on is closed.
        """
        ...

    def has_part(self) -> bool:
        """Whether this node has a part in a plan."""
        ...

    def room_bytes(self) -> int | None:
        """What this node has room for of one peer's requests, their tensors together; None: it sets no limit. [B]"""


class TrafficCounters(Protocol):
    """Who counts what goes over links."""

    def received(self, nbytes: int) -> None:
        """Tensors arrived; `nbytes` is what they took on the wire. [B]"""

    def sent(self, peer: str, key: ExecutionKey, nbytes: int, seconds: float) -> None:
        """The peer acknowledged tensors. `seconds` is bytes over the link's rate plus latency, as planned for. [s]"""

    def probed(self, peer: str, nbytes: int) -> None:
        """A probe was sent. [B]"""


def guarded(callback: Callable[P, None], *args: P.args, **kwargs: P.kwargs) -> None:
    """Call `callback`; what it raises is logged with its traceback and goes no further."""
    try:
        callback(*args, **kwargs)
    except Exception:
        _log.exception("handler-failed", callback=getattr(callback, "__name__", repr(callback)))
