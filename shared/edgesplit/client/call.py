"""One call of a client: the request, and how far it is.

Owns: these values. Its rule: one call is one request, however often it is sent. Not here: sending it (`client/asynchronous.py`).
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass

from edgesplit.wire.frames import Frame
from edgesplit.wire.headers import Infer
from edgesplit.wire.send_queue import OutgoingFrame
from edgesplit.wire.tensors import Array

__all__ = ["Call"]


@dataclass(eq=False)
class Call:
    """A request under way.

    Attributes:
        started_s: When it was made. [s, monotonic]
        tries: How often it was sent in vain.
        answer: Once it was sent.
        leaving: Likewise.
    """

    header: Infer
    payloads: tuple[Array, ...]
    started_s: float
    tries: int = 0
    answer: asyncio.Future[Frame] | None = None
    leaving: OutgoingFrame | None = None

    @property
    def lasted_s(self) -> float:
        """Since it was made. [s]"""
        return time.monotonic() - self.started_s

    def left_s(self, span_s: float) -> float:
        """What is left of a span that began with it. [s]"""
        return span_s - self.lasted_s
