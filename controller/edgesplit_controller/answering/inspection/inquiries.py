"""Inquiries: asking nodes something and gathering their answers, within a time.

Owns: which inquiries wait for whom. Its rule: whoever does not answer in time is left out, and an answer that nobody waits for is
dropped. Not here: the messages (`edgesplit.control.inquiry_messages`), what follows from answers (`checks.py`, `trace_document.py`).
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal, Protocol

from edgesplit.control.inquiry_messages import Inquiry, NodeFindings

__all__ = ["Answered", "Inquiries", "InquiryPort"]

ANSWER_S = 4.0
"""For all answers together: a node may take 2 s to find out that something does not answer. [s]"""


class InquiryPort(Protocol):
    """Where inquiries go."""

    def inquire(self, node: str, inquiry: Inquiry) -> None:
        """A node should tell something."""


@dataclass(frozen=True)
class Answered:
    """What a node answered.

    Attributes:
        asked_unix_s: When it was asked, on the controller's clock. [s since the epoch]
        heard_unix_s: When its answer came, likewise. [s since the epoch]
    """

    findings: NodeFindings
    asked_unix_s: float
    heard_unix_s: float

    @property
    def clock_ahead_s(self) -> float:
        """How far the node's clock is ahead of the controller's, if its answer was made half-way. [s]"""
        return self.findings.at_unix_s - (self.asked_unix_s + self.heard_unix_s) / 2

    @property
    def uncertain_s(self) -> float:
        """By how much that may be off: its answer was made at some time in between. [s]"""
        return (self.heard_unix_s - self.asked_unix_s) / 2


@dataclass
class _Waiting:
    nodes: set[str]
    asked_unix_s: float
    answers: dict[str, Answered]
    complete: asyncio.Event


class Inquiries:
    """Of one controller.

    Args:
        port: Where they go.
        wall_clock: [s since the epoch]
    """

    def __init__(self, port: InquiryPort, wall_clock: Callable[[], float] = time.time) -> None:
        self._port = port
        self._wall_clock = wall_clock
        self._waiting: dict[str, _Waiting] = {}

    def hear(self, findings: NodeFindings) -> None:
        """A node answered."""
        waiting = self._waiting.get(findings.id)
        if waiting is None or findings.node not in waiting.nodes:
            return
        waiting.answers[findings.node] = Answered(findings, waiting.asked_unix_s, self._wall_clock())
        if waiting.answers.keys() == waiting.nodes:
            waiting.complete.set()

    async def ask(
        self,
        nodes: Iterable[str],
        about: Literal["checkup", "trace"],
        *,
        model: str = "",
        request: str = "",
        within_s: float = ANSWER_S,
    ) -> dict[str, Answered]:
        """Ask nodes at once; those that answered in time. [s]"""
        asked = set(nodes)
        if not asked:
            return {}
        identifier = secrets.token_hex(8)
        waiting = self._waiting[identifier] = _Waiting(asked, self._wall_clock(), {}, asyncio.Event())
        inquiry = Inquiry(id=identifier, about=about, model=model, request=request)
        try:
            for node in sorted(asked):
                self._port.inquire(node, inquiry)
            with contextlib.suppress(TimeoutError):  # those that answered are told
                async with asyncio.timeout(within_s):
                    await waiting.complete.wait()
        finally:
            del self._waiting[identifier]
        return waiting.answers
