"""The interface of wire codecs.

Owns: the types every codec and every user of one shares. Its rule: a codec knows the size of what it decodes to from
dtype and shape alone, so that nothing the other side says can make it take more memory. Not here: the codecs.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any, Protocol

import msgspec

from edgesplit.late_libraries import np
from edgesplit.wire.tensors import Array

__all__ = ["CHUNK", "Codec", "Encoded", "PayloadLayout", "Shape", "chunks", "elements"]

Shape = tuple[int, ...]

CHUNK = 1 << 15
"""Elements worked on at a time, so that what one pass wrote is still in the processor's cache for the next. [1]"""


class Encoded(msgspec.Struct, frozen=True, eq=False):
    """A tensor ready for the wire.

    Attributes:
        codec: The one in effect: `raw` where the wanted one does not apply.
        payload: C-contiguous array whose memory is sent; the tensor's own memory for `raw`.
        parameters: What decoding needs besides the payload.
    """

    codec: str
    payload: Array
    parameters: dict[str, float] = msgspec.field(default_factory=dict[str, float])


class PayloadLayout(msgspec.Struct, frozen=True):
    """The array a payload is received into."""

    dtype: np.dtype[Any]
    shape: Shape

    @property
    def nbytes(self) -> int:
        """[B]"""
        return elements(self.shape) * self.dtype.itemsize


class Codec(Protocol):
    """One way to code a tensor's values while they travel."""

    @property
    def name(self) -> str:
        """As plans and frames call it."""
        ...

    @property
    def lossless(self) -> bool:
        """Whether decoding always gives the same bits."""
        ...

    @property
    def loses_as(self) -> str:
        """Name of the codec whose loss it has: its own, or that of what it compresses."""
        ...

    @property
    def compresses(self) -> bool:
        """Whether a payload's size depends on the values."""
        ...

    def applies_to(self, dtype: str) -> bool:
        """Whether tensors of a dtype (one that may travel) can be coded."""
        ...

    def encode(self, array: Array) -> Encoded | None:
        """Code a C-contiguous, non-empty tensor of a dtype it applies to; None where it cannot hold the values."""
        ...

    def layout(self, dtype: str, shape: Shape) -> PayloadLayout:
        """The payload of such a tensor, before compression where there is one."""
        ...

    def decode(self, payload: Array, dtype: str, shape: Shape, parameters: Mapping[str, float]) -> Array:
        """Restore the tensor.

        Args:
            payload: Array of `layout`, or of bytes where the codec compresses.
            dtype: The tensor's.
            shape: The tensor's.
            parameters: As `encode` gave them.

        Raises:
            FrameMalformed: Payload or parameters are senseless.
        """
        ...


def elements(shape: Shape) -> int:
    """Elements of a tensor of this shape. [1]"""
    return math.prod(shape)


def chunks(count: int) -> Iterator[slice]:
    """Cut a flat array of `count` elements into pieces of at most CHUNK."""
    for start in range(0, count, CHUNK):
        yield slice(start, min(start + CHUNK, count))
