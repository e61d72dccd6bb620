"""Send queue of a connection: long frames in parts, short ones between them.

Owns: the frames that wait, their order, and the cutting of long ones into parts. Its rule: pure; no frame waits for more
than one part of a longer one, and none waits for ever. Not here: sockets (`wire/connection.py`), what frames mean.

Control frames leave first. Short frames leave between the parts of long ones, but of two parts' worth of time at least
one is left to the long ones. Every other part belongs to the oldest long frame, the others to the one of which least is
left: a tensor of 1 MB overtakes one of 40 MB, and the 40 MB still get half of the link. Padding leaves only when nothing
else waits.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from edgesplit.wire.frames import long_head, part_prefix

__all__ = ["FrameGate", "Lane", "OutgoingFrame", "PartSize", "Queued", "SendQueue"]

SHORT_BYTES = 1 << 16
"""Frames up to this length leave whole, and together with each other."""
PART_MIN_BYTES = 1 << 16
PART_MAX_BYTES = 1 << 20
PART_START_BYTES = 1 << 18
PART_S = 0.004
"""A part should leave within this time, for a small frame may have to wait for it."""


class Lane(Enum):
    """How urgent a frame is."""

    CONTROL = 0
    DATA = 1
    PADDING = 2


@dataclass(slots=True, eq=False)
class Queued:
    """A frame in a queue.

    Attributes:
        nbytes: Of prefix, header and body. [B]
        left_bytes: Of the body, still here. [B]
        number: Of a long frame that has begun to leave.
        gone: Whether nothing of it is here any more.
    """

    buffers: deque[memoryview]
    nbytes: int
    lane: Lane
    left_bytes: int
    number: int | None = None
    gone: bool = False


@dataclass(slots=True, eq=False)
class OutgoingFrame:
    """A frame on its way out, to name it by in `Connection.withdraw`.

    Attributes:
        nbytes: Its length. [B]
        queued: Once its gate let it through.
        unwanted: Withdrawn before that.
    """

    nbytes: int
    queued: Queued | None = None
    unwanted: bool = False


class FrameGate(Protocol):
    """Decides when a frame may leave; the seam of link emulation."""

    def admit(self, nbytes: int, urgent: bool, release: Callable[[], None]) -> None:
        """Call `release` now or later."""
        ...


class SendQueue:
    """Frames of one connection that wait to leave.

    Attributes:
        part_bytes: How much of a long frame leaves at a time. [B]
        waiting_bytes: Of what waits. [B]
    """

    def __init__(self) -> None:
        self.part_bytes = PART_START_BYTES
        self.waiting_bytes = 0
        self._control: deque[Queued] = deque()
        self._short: deque[Queued] = deque()
        self._long: deque[Queued] = deque()
        self._padding: deque[Queued] = deque()
        self._given_up: deque[int] = deque()
        self._numbers = itertools.count()
        self._short_run_bytes = 0
        self._oldest_turn = True

    def __bool__(self) -> bool:
        """Whether anything waits."""
        return bool(self._control or self._short or self._long or self._padding or self._given_up)

    def put(self, buffers: Sequence[memoryview], lane: Lane) -> Queued:
        """Append a frame.

        Args:
            buffers: Prefix and header in the first, then the body.
            lane: Its urgency.

        Returns:
            To name it by in `withdraw`.
        """
        nbytes = sum(buffer.nbytes for buffer in buffers)
        queued = Queued(deque(buffers), nbytes, lane, nbytes - buffers[0].nbytes)
        self._lane_of(queued).append(queued)
        self.waiting_bytes += nbytes
        return queued

    def withdraw(self, queued: Queued) -> bool:
        """Take a frame back; one of which parts have left is given up, and the receiver told so.

        Returns:
            False when it has left already.
        """
        if queued.gone:
            return False
        self._lane_of(queued).remove(queued)
        queued.gone = True
        self.waiting_bytes -= sum(buffer.nbytes for buffer in queued.buffers)
        if queued.number is not None:
            self._given_up.append(queued.number)
        return True

    def clear(self) -> None:
        """Forget everything; a frame of which parts have left stays unfinished."""
        for lane in (self._control, self._short, self._long, self._padding):
            for queued in lane:
                queued.gone = True
            lane.clear()
        self._given_up.clear()
        self.waiting_bytes = 0

    def take(self) -> list[memoryview]:
        """What leaves next, in whole frames and parts; empty when nothing waits."""
        if self._control:
            return self._whole(self._control)
        if self._given_up:
            return [memoryview(part_prefix(self._given_up.popleft(), 0))]
        if self._short and (not self._long or self._short_run_bytes < self.part_bytes):
            piece = self._whole(self._short)
            self._short_run_bytes += sum(buffer.nbytes for buffer in piece)
            return piece
        self._short_run_bytes = 0
        if self._long:
            self._oldest_turn = not self._oldest_turn
            chosen = self._long[0] if self._oldest_turn else min(self._long, key=lambda queued: queued.left_bytes)
            return self._part(chosen, self._long)
        return self._part(self._padding[0], self._padding) if self._padding else []

    def _lane_of(self, queued: Queued) -> deque[Queued]:
        match queued.lane:
            case Lane.CONTROL:
                return self._control
            case Lane.PADDING:
                return self._padding
            case Lane.DATA:
                return self._short if queued.nbytes <= SHORT_BYTES else self._long

    def _whole(self, lane: deque[Queued]) -> list[memoryview]:
        """Frames of a lane, several together while they are short."""
        piece: list[memoryview] = []
        loaded = 0
        while lane and (not piece or loaded + lane[0].nbytes <= SHORT_BYTES):
            queued = lane.popleft()
            queued.gone = True
            piece.extend(queued.buffers)
            loaded += queued.nbytes
        self.waiting_bytes -= loaded
        return piece

    def _part(self, queued: Queued, lane: deque[Queued]) -> list[memoryview]:
        """The next part of a frame, or all of it where that is no more than a part."""
        piece: list[memoryview] = []
        wanted = min(self.part_bytes, queued.left_bytes)
        if queued.number is None:
            head = queued.buffers.popleft()
            self.waiting_bytes -= head.nbytes
            if wanted == queued.left_bytes:
                piece.append(head)
            else:
                queued.number = next(self._numbers) & 0xFFFFFFFF
                piece.append(memoryview(long_head(head)))
        if queued.number is not None:
            piece.append(memoryview(part_prefix(queued.number, wanted)))
        self.waiting_bytes -= wanted
        queued.left_bytes -= wanted
        while wanted:
            first = queued.buffers[0]
            if first.nbytes <= wanted:
                piece.append(queued.buffers.popleft())
                wanted -= first.nbytes
            else:
                piece.append(first[:wanted])
                queued.buffers[0] = first[wanted:]
                wanted = 0
        if not queued.left_bytes:
            lane.remove(queued)
            queued.gone = True
        return piece


class PartSize:
    """How fast a socket takes bytes, and how long a part may be for that; pure, times are handed in.

    Attributes:
        part_bytes: To be used now. [B]
    """

    def __init__(self) -> None:
        self.part_bytes = PART_START_BYTES
        self._full_at_s: float | None = None
        self._sent_bytes = 0

    def sent(self, nbytes: int) -> None:
        """The kernel took bytes."""
        self._sent_bytes += nbytes

    def full(self, now_s: float) -> bool:
        """The kernel takes no more for now; True when `part_bytes` changed. [s]"""
        before, sent = self._full_at_s, self._sent_bytes
        self._full_at_s, self._sent_bytes = now_s, 0
        if before is None or now_s <= before or not sent:
            return False
        wanted = sent / (now_s - before) * PART_S
        # In steps of two, so that noise changes nothing.
        old = self.part_bytes
        if wanted >= 2 * old:
            self.part_bytes = min(2 * old, PART_MAX_BYTES)
        elif wanted <= old / 2:
            self.part_bytes = max(old // 2, PART_MIN_BYTES)
        return self.part_bytes != old

    def idle(self) -> None:
        """Nothing waits any more: the time until the next bytes says nothing about the socket."""
        self._full_at_s, self._sent_bytes = None, 0
