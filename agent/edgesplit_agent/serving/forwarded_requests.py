"""Requests for models that another node is the source of, passed on to it.

Owns: those that are under way there. Its rule: whatever comes back, outputs or an error, is the answer, and a request that
its client gave up is given up there. Not here: the connection (`dataplane/forwarding.py`), where a request goes
(`serving/machine/`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import structlog

from edgesplit.errors import EdgesplitError, Overloaded, PeerUnreachable, RequestFailed
from edgesplit_agent.serving.machine.actions import ForwardRequest
from edgesplit_agent.serving.machine.events import Answer
from edgesplit_agent.serving.ports import Peers

__all__ = ["ForwardedRequests"]

MOST_FORWARDED = 256
"""At a time; their inputs are held meanwhile."""


class ForwardedRequests:
    """Requests of clients of this node, at other nodes.

    Args:
        node: This one's name.
        answer: Told what came of a request.
    """

    def __init__(self, node: str, answer: Callable[[str, Answer], None]) -> None:
        self._node = node
        self._answer = answer
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._log = structlog.get_logger(part="engine")

    def begin(self, action: ForwardRequest, peers: Peers | None) -> None:
        """Pass a request on."""
        if len(self._tasks) >= MOST_FORWARDED:
            text = f"{self._node} passes {MOST_FORWARDED} requests on already: send fewer at a time"
            self._answer(action.request, Overloaded(text))
            return
        task = asyncio.create_task(self._forward(action, peers))
        self._tasks[action.request] = task
        task.add_done_callback(lambda _: self._tasks.pop(action.request, None))

    def give_up(self, request: str) -> None:
        """Nobody waits for a request any more; without effect where it is not under way."""
        if (task := self._tasks.get(request)) is not None:
            task.cancel()

    async def close(self) -> None:
        """End all of them; they are not answered."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _forward(self, action: ForwardRequest, peers: Peers | None) -> None:
        answer: Answer
        if peers is None:
            text = f"{action.address} cannot be reached: the data plane is not up"
            self._answer(action.request, PeerUnreachable(text))
            return
        try:
            answer = await peers.forward_infer(action.address, action.model, action.arrays, action.deadline_s)
        except EdgesplitError as error:
            answer = error
        except Exception as error:  # whatever it is, the client must not wait for ever
            self._log.exception("forwarding-failed", model=action.model, address=action.address)
            answer = RequestFailed(f"{action.address} could not be asked: {error}")
        self._answer(action.request, answer)
