"""Incremental frame parser: frames out of a byte stream in arbitrary pieces.

Owns: where the next bytes go, and the cutting of the stream into frames. Its rule: the reader writes into the memory
given by `buffer`, which for a large tensor is the tensor's own; every announced length was checked before memory for
it is taken. Not here: sockets (`wire/connection.py`) and what frames mean.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

import msgspec

from edgesplit.errors import FrameMalformed, FrameTooLarge
from edgesplit.late_libraries import np
from edgesplit.wire.codecs import payload_layout
from edgesplit.wire.frames import PREFIX, Begun, Frame, FrameKind, FrameLimits, Prefix, decode_header, decode_prefix
from edgesplit.wire.headers import Header, Hello, Infer, Result, TensorHead, Tensors
from edgesplit.wire.tensors import DTYPES, TEXT, Array, as_bytes

__all__ = ["FrameParser"]

_STAGE_BYTES = (1 << 16) + (1 << 12)
"""Room for a tensor of 64 KiB and the header before it, which then take one system call."""
_DIRECT_BYTES = 1 << 14
"""Less than this is read through the stage, together with what follows: a copy is cheaper than a system call."""
_MAX_OPEN = 4096
"""Long frames that may arrive at a time."""
_MAX_OPEN_BODIES = 4
"""Long frames that arrive at a time may announce so many times the longest body together; each takes its memory at once."""


@dataclass(slots=True, eq=False)
class _Open:
    """A frame whose body arrives.

    Attributes:
        targets: Where its bytes go; none for a body that is not kept.
        body_bytes: Of the whole body. [B]
        left_bytes: Of it, still to come. [B]
        begun: Once nothing was left to read behind its first part.
    """

    frame: Frame
    body_bytes: int
    left_bytes: int
    targets: deque[memoryview] = field(default_factory=deque[memoryview])
    begun: Begun | None = None


class FrameParser:
    """Incremental parser of one direction of a connection.

    After it raised, it must not be used again: the stream has lost its frame boundaries.

    Args:
        limits: What this side accepts.
        greeting: What it accepts before the other side has said who it is; None: the same.

    Attributes:
        received_bytes: Of all that was read. [B]
        body_bytes: Of all that belonged to bodies. [B]
    """

    def __init__(self, limits: FrameLimits, greeting: FrameLimits | None = None) -> None:
        self._limits = limits if greeting is None else greeting
        self._limits_once_greeted = None if greeting is None else limits
        self._stage = memoryview(bytearray(_STAGE_BYTES))
        self._start = 0
        self._end = 0
        self._direct = False
        self._prefix: Prefix | None = None
        self._header = bytearray()
        self._current: _Open | None = None
        self._run_bytes = 0
        self._long: dict[int, _Open] = {}
        self._long_bytes = 0
        self._numbers = 0
        self.received_bytes = 0
        self.body_bytes = 0

    @property
    def in_frame(self) -> bool:
        """Whether the stream stands in the middle of a frame."""
        return self._prefix is not None or self._start != self._end or bool(self._long)

    @property
    def arriving_bytes(self) -> int:
        """Of bodies that are here in part. [B]"""
        return sum(one.body_bytes - one.left_bytes for one in self._arriving() if one.targets)

    def paused(self, now_s: float) -> None:
        """Nothing is left to read just now: frames of which a first part is here have begun. [s]"""
        for one in self._arriving():
            if one.begun is None and one.left_bytes < one.body_bytes:
                one.begun = Begun(now_s, self.body_bytes)

    def _arriving(self) -> list[_Open]:
        """Frames that are here in part."""
        opened = list(self._long.values())
        if self._current is not None and self._current not in opened:
            opened.append(self._current)
        return opened

    def buffer(self) -> memoryview:
        """Memory for the next bytes; never empty. `received` must be told how many were written."""
        current = self._current
        if current is not None and current.targets:
            target = current.targets[0]
            count = min(len(target), self._run_bytes)
            if count >= _DIRECT_BYTES:
                self._direct = True
                return target if count == len(target) else target[:count]
        self._direct = False
        if not self._long:
            return self._stage[self._end :]
        # Not beyond what is begun: what follows is most likely a part, to be read straight into its tensor.
        return self._stage[self._end : self._end + self._wanted()]

    def received(self, nbytes: int) -> list[Frame]:
        """Take note of bytes written into the last `buffer`, and give out the frames that became whole.

        Raises:
            ProtocolError: FrameMalformed, FrameTooLarge or ProtocolMismatch.
        """
        self.received_bytes += nbytes
        if self._direct:
            self._filled(nbytes)
        else:
            self._end += nbytes
        frames: list[Frame] = []
        while self._take_whole(frames) or self._step(frames):
            pass
        self._compact()
        return frames

    def feed(self, data: bytes | memoryview) -> list[Frame]:
        """Copy bytes in that were read elsewhere; the same as `buffer` and `received` in turn."""
        frames: list[Frame] = []
        rest = memoryview(data)
        while rest:
            memory = self.buffer()
            count = min(len(memory), len(rest))
            memory[:count] = rest[:count]
            frames += self.received(count)
            rest = rest[count:]
        return frames

    def _wanted(self) -> int:
        """Bytes up to the end of what is begun, as many as the stage has room for; at least one."""
        if self._prefix is None:
            wanted = PREFIX.size - (self._end - self._start)
        elif self._current is None:
            inline = self._prefix.body_bytes if self._prefix.kind is FrameKind.WHOLE else 0
            wanted = self._prefix.header_bytes - len(self._header) + inline
        else:
            wanted = self._run_bytes
        return max(1, min(wanted, len(self._stage) - self._end))

    def _take_whole(self, frames: list[Frame]) -> bool:
        """Consume a frame that lies in the stage from end to end, as most do; False where the next does not."""
        begin = self._start + PREFIX.size
        if self._prefix is not None or begin > self._end:
            return False
        prefix = decode_prefix(self._stage[self._start : begin], self._limits)
        body = begin + prefix.header_bytes
        end = body + prefix.body_bytes
        if prefix.kind is not FrameKind.WHOLE or end > self._end:
            return False
        header = self._decoded(self._stage[begin:body], prefix.body_bytes)
        payloads = _memory_for(header) if isinstance(header, Tensors | Infer | Result) else ()
        for payload in payloads:
            if payload.nbytes:
                as_bytes(payload)[:] = self._stage[body : body + payload.nbytes]
                body += payload.nbytes
        self._start = end
        self.body_bytes += prefix.body_bytes
        frames.append(Frame(header, payloads))
        return True

    def _step(self, frames: list[Frame]) -> bool:
        """Consume staged bytes up to the next boundary; False when more bytes are needed."""
        if self._current is not None:
            return self._step_body(self._current, frames)
        available = self._end - self._start
        if self._prefix is None:
            if available < PREFIX.size:
                return False
            prefix = decode_prefix(self._stage[self._start : self._start + PREFIX.size], self._limits)
            self._start += PREFIX.size
            self._prefix = prefix
            if prefix.kind is FrameKind.PART:
                self._continue(prefix)
            return True
        count = min(available, self._prefix.header_bytes - len(self._header))
        self._header += self._stage[self._start : self._start + count]
        self._start += count
        if len(self._header) < self._prefix.header_bytes:
            return False
        self._open(self._prefix, self._decoded(self._header, self._prefix.body_bytes))
        return True

    def _decoded(self, data: bytearray | memoryview, body_bytes: int) -> Header:
        header = decode_header(data, body_bytes, self._limits)
        if self._limits_once_greeted is not None and isinstance(header, Hello):
            self._limits, self._limits_once_greeted = self._limits_once_greeted, None
        return header

    def _step_body(self, current: _Open, frames: list[Frame]) -> bool:
        if not self._run_bytes:
            self._prefix, self._current = None, None
            if not current.left_bytes:
                frames.append(msgspec.structs.replace(current.frame, begun=current.begun))
            return True
        count = min(self._end - self._start, self._run_bytes)
        if not count:
            return False
        if current.targets:
            count = min(count, len(current.targets[0]))
            current.targets[0][:count] = self._stage[self._start : self._start + count]
        self._start += count
        self._filled(count)
        return True

    def _filled(self, nbytes: int) -> None:
        """Bytes of the current frame's body are where they belong."""
        current = self._current
        assert current is not None  # noqa: S101 - `buffer` gave out its memory, or `_step` holds it
        self.body_bytes += nbytes
        self._run_bytes -= nbytes
        current.left_bytes -= nbytes
        if current.targets:
            rest = current.targets[0][nbytes:]
            if rest:
                current.targets[0] = rest
            else:
                current.targets.popleft()

    def _open(self, prefix: Prefix, header: Header) -> None:
        """A header is complete: take memory for the body."""
        self._header = bytearray()
        if prefix.kind is FrameKind.LONG:
            self._check_room(prefix)
        opened = _Open(Frame(header), prefix.body_bytes, prefix.body_bytes)
        if isinstance(header, Tensors | Infer | Result):
            payloads = _memory_for(header)
            opened.frame = Frame(header, payloads)
            opened.targets.extend(as_bytes(payload) for payload in payloads if payload.nbytes)
        if prefix.kind is FrameKind.WHOLE:
            self._current, self._run_bytes = opened, prefix.body_bytes
            return
        self._long[self._numbers] = opened
        self._long_bytes += prefix.body_bytes
        self._numbers = (self._numbers + 1) & 0xFFFFFFFF
        self._prefix = None

    def _check_room(self, prefix: Prefix) -> None:
        """Refuse a long frame that cannot be one, or one too many, before memory is taken for it."""
        if not prefix.body_bytes or len(self._long) >= _MAX_OPEN:
            raise FrameMalformed(
                f"a frame of {prefix.body_bytes} B is to follow in parts behind {len(self._long)} others"
            )
        room = _MAX_OPEN_BODIES * self._limits.body_bytes
        if self._long_bytes + prefix.body_bytes > room:
            raise FrameTooLarge(
                f"frames of {self._long_bytes + prefix.body_bytes} B are to arrive in parts together, more than the "
                f"{room} B accepted"
            )

    def _continue(self, prefix: Prefix) -> None:
        """The next part of a long frame begins, or the frame is given up."""
        opened = self._long.get(prefix.number)
        if opened is None or prefix.body_bytes > opened.left_bytes:
            raise FrameMalformed(
                f"a part of {prefix.body_bytes} B belongs to no frame, or is longer than what it lacks"
            )
        if prefix.body_bytes in (0, opened.left_bytes):
            del self._long[prefix.number]
            self._long_bytes -= opened.body_bytes
        if prefix.body_bytes:
            self._current, self._run_bytes = opened, prefix.body_bytes
        else:
            self._prefix = None

    def _compact(self) -> None:
        """Move what is left (at most a part of a prefix) to the front, so that the stage always has room."""
        left = self._end - self._start
        if self._start and left:
            self._stage[:left] = bytes(self._stage[self._start : self._end])
        self._start, self._end = 0, left


def _memory_for(header: Tensors | Infer | Result) -> tuple[Array, ...]:
    try:
        return tuple(_memory(head) for head in header.tensors)
    except (MemoryError, ValueError) as error:
        nbytes = sum(head.nbytes for head in header.tensors)
        raise FrameTooLarge(f"a frame's tensors of {nbytes} B find no memory here") from error


def _memory(head: TensorHead) -> Array:
    if head.codec == "raw" and head.dtype != TEXT:
        return np.empty(head.shape, DTYPES[head.dtype])
    layout = payload_layout(head.codec, head.dtype, head.shape, head.nbytes)
    return np.empty(layout.shape, layout.dtype)
