"""Frames out of a byte stream that arrives in arbitrary pieces.

Owns: where the next bytes go, and the cutting of the stream into frames. Its rule: the reader writes into the memory
given by `buffer`, which for a large tensor is the tensor's own; every announced length was checked before memory for
it is taken. Not here: sockets (`streams.py`) and what frames mean.
"""

from __future__ import annotations

from collections import deque

import numpy as np

from edgesplit.codecs import payload_layout
from edgesplit.errors import FrameTooLarge
from edgesplit.frames import (
    PREFIX,
    Frame,
    FrameLimits,
    Header,
    Infer,
    Probe,
    Result,
    TensorHead,
    Tensors,
    decode_header,
    decode_prefix,
)
from edgesplit.tensors import Array, as_bytes

__all__ = ["FrameParser"]

_STAGE_BYTES = 1 << 16
_DIRECT_BYTES = 1 << 14
"""Less than this is read through the stage, together with what follows: a copy is cheaper than a system call."""


class FrameParser:
    """Incremental parser of one direction of a connection.

    After it raised, it must not be used again: the stream has lost its frame boundaries.

    Args:
        limits: What this side accepts.
    """

    def __init__(self, limits: FrameLimits) -> None:
        self._limits = limits
        self._stage = memoryview(bytearray(_STAGE_BYTES))
        self._start = 0
        self._end = 0
        self._direct = False
        self._header_memory: bytearray | None = None
        self._body_bytes = 0
        self._header: Header | None = None
        self._payloads: tuple[Array, ...] = ()
        self._targets: deque[memoryview] = deque()
        self._discard = 0
        self.received_bytes = 0

    @property
    def in_frame(self) -> bool:
        """Whether the stream stands in the middle of a frame."""
        return self._header_memory is not None or self._start != self._end

    def buffer(self) -> memoryview:
        """Memory for the next bytes; never empty. `received` must be told how many were written."""
        if self._targets and len(self._targets[0]) >= _DIRECT_BYTES:
            self._direct = True
            return self._targets[0]
        self._direct = False
        return self._stage[self._end :]

    def received(self, nbytes: int) -> list[Frame]:
        """Take note of bytes written into the last `buffer`, and give out the frames that became whole.

        Raises:
            ProtocolError: FrameMalformed, FrameTooLarge or ProtocolMismatch.
        """
        self.received_bytes += nbytes
        if self._direct:
            self._advance_target(nbytes)
        else:
            self._end += nbytes
        frames: list[Frame] = []
        while self._step(frames):
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

    def _step(self, frames: list[Frame]) -> bool:
        """Consume staged bytes up to the next boundary; False when more bytes are needed."""
        available = self._end - self._start
        if self._header_memory is None:
            if available < PREFIX.size:
                return False
            prefix = decode_prefix(self._stage[self._start : self._start + PREFIX.size], self._limits)
            self._start += PREFIX.size
            self._header_memory = bytearray(prefix.header_bytes)
            self._body_bytes = prefix.body_bytes
            if prefix.header_bytes:
                self._targets.append(memoryview(self._header_memory))
            return True
        if self._targets or self._discard:
            return available > 0 and self._consume(available)
        if self._header is None:
            self._open_body(decode_header(self._header_memory, self._body_bytes, self._limits))
            return True
        frames.append(Frame(self._header, self._payloads))
        self._header_memory, self._header, self._payloads = None, None, ()
        return True

    def _consume(self, available: int) -> bool:
        if self._discard:
            count = min(available, self._discard)
            self._discard -= count
        else:
            count = min(available, len(self._targets[0]))
            self._targets[0][:count] = self._stage[self._start : self._start + count]
            self._advance_target(count)
        self._start += count
        return True

    def _advance_target(self, nbytes: int) -> None:
        rest = self._targets[0][nbytes:]
        if rest:
            self._targets[0] = rest
        else:
            self._targets.popleft()

    def _open_body(self, header: Header) -> None:
        self._header = header
        if isinstance(header, Probe):
            self._discard = header.padding
        elif isinstance(header, Tensors | Infer | Result):
            try:
                self._payloads = tuple(_memory_for(head) for head in header.tensors)
            except (MemoryError, ValueError) as error:
                raise FrameTooLarge(f"a frame's tensors of {self._body_bytes} B find no memory here") from error
            self._targets.extend(as_bytes(payload) for payload in self._payloads if payload.nbytes)

    def _compact(self) -> None:
        """Move what is left (at most a part of a prefix) to the front, so that the stage always has room."""
        left = self._end - self._start
        if self._start and left:
            self._stage[:left] = bytes(self._stage[self._start : self._end])
        self._start, self._end = 0, left


def _memory_for(head: TensorHead) -> Array:
    layout = payload_layout(head.codec, head.dtype, head.shape, head.nbytes)
    return np.empty(layout.shape, layout.dtype)
