"""Answers to the controller's inquiries: a checkup of the node's subjects, the trace of a request.

Owns: what is looked at for an answer, and how many are made at a time. Its rule: nothing is looked at unless asked, and nobody waits for an
answer that cannot be given. Not here: the steps of requests (`request_traces.py`), figures that are told regularly
(`reporter.py`), what people are told of it (the controller's).
"""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import structlog

from edgesplit.control.inquiry_messages import Checkup, Inquiry, NodeFindings, NodeTrace, PeerClock
from edgesplit_agent.reporting.request_traces import RequestTraces

__all__ = ["CheckupSubjects", "InquiryAnswers"]

MOST_AT_A_TIME = 8
"""Inquiries that are answered at once; who asks more is not answered."""


@dataclass(frozen=True)
class CheckupSubjects:
    """What a checkup looks at.

    Attributes:
        folder: Of the cache.
        limit_bytes: What the cache takes at most. [B]
        artifacts: Where the controller offers blobs, as known now.
        unreachable: Why that does not answer; empty where it does.
        certificate_expires_s: As known now; None where nothing is secured. [s since the epoch]
    """

    folder: Path
    limit_bytes: int
    artifacts: Callable[[], str]
    unreachable: Callable[[], Awaitable[str]]
    certificate_expires_s: Callable[[], float | None]


class InquiryAnswers:
    """Of one node.

    Args:
        node: Its name.
        instance: Of its registration.
        subjects: What a checkup looks at.
        traces: Of the last requests.
        clocks: How peers' clocks differ.
        say: Publishes an answer.
        clock: That steps are timed by. [s]
    """

    def __init__(
        self,
        node: str,
        instance: str,
        *,
        subjects: CheckupSubjects,
        traces: RequestTraces,
        clocks: Callable[[], tuple[PeerClock, ...]],
        say: Callable[[NodeFindings], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._node = node
        self._instance = instance
        self._subjects = subjects
        self._traces = traces
        self._clocks = clocks
        self._say = say
        self._clock = clock
        self._tasks: set[asyncio.Task[None]] = set()
        self._log = structlog.get_logger(part="inquiries")

    def ask(self, inquiry: Inquiry) -> None:
        """Answer an inquiry, in a while."""
        if len(self._tasks) >= MOST_AT_A_TIME:
            return
        task = asyncio.create_task(self._answer(inquiry), name=f"inquiry-{inquiry.about}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """Give up what is being looked at."""
        running = tuple(self._tasks)
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)

    async def _answer(self, inquiry: Inquiry) -> None:
        checkup: Checkup | None = None
        trace: NodeTrace | None = None
        if inquiry.about == "checkup":
            try:
                checkup = await self._checkup()
            except OSError as error:
                self._log.warning("no-checkup", cause=str(error))
                return
        else:
            trace = self._traces.told(inquiry.model, inquiry.request, self._clock(), self._clocks)
        findings = NodeFindings(
            node=self._node,
            instance=self._instance,
            id=inquiry.id,
            at_unix_s=time.time(),
            checkup=checkup,
            trace=trace,
        )
        self._say(findings)

    async def _checkup(self) -> Checkup:
        around = self._subjects
        usage = await asyncio.to_thread(shutil.disk_usage, around.folder)
        artifacts = around.artifacts()
        return Checkup(
            folder=str(around.folder),
            free_bytes=usage.free,
            limit_bytes=around.limit_bytes,
            artifacts=artifacts,
            artifacts_problem=await around.unreachable() if artifacts else "",
            certificate_expires_s=around.certificate_expires_s(),
        )
