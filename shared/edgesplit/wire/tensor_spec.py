"""Tensor specifications: name, dtype and shape, as messages and documents have them.

Owns: the value alone, and which shapes it admits. Its rule: nothing heavy is imported, for splitctl reads such documents and
does without numpy. Not here: arrays (`tensors.py`).
"""

from __future__ import annotations

import math

import msgspec

__all__ = ["TensorSpec"]


class TensorSpec(msgspec.Struct, frozen=True, kw_only=True):
    """A tensor's name, numpy dtype name and shape.

    Attributes:
        name: Its ONNX name, or that on the wire.
        dtype: Numpy's name of its type.
        shape: Elements along each axis; -1 where requests may choose, or where it depends on what they hold.
        typical: The planning shape: what times and bytes are planned with; empty where nothing is open. Of a tensor whose
            size depends on what requests hold, one that was seen.
        any_rank: Even the number of axes depends on that; `shape` says nothing.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    typical: tuple[int, ...] = ()
    any_rank: bool = False

    @property
    def sizes(self) -> tuple[int, ...]:
        """A shape to make up arrays with; 1 where not even planning knows the size."""
        return tuple(1 if size < 0 else size for size in self.typical or self.shape)

    @property
    def text(self) -> str:
        """Its shape, for people: `[1, 3, any, any]`."""
        if self.any_rank:
            return "of any shape"
        return f"[{', '.join('any' if size < 0 else str(size) for size in self.shape)}]"

    def admits(self, shape: tuple[int, ...]) -> bool:
        """Whether an array of this shape is one."""
        if shape == self.shape or self.any_rank:
            return True
        return len(shape) == len(self.shape) and all(
            own < 0 or size == own for own, size in zip(self.shape, shape, strict=True)
        )

    def is_planned(self, shape: tuple[int, ...]) -> bool:
        """Whether an array of this shape, which is admitted, is of the planning shape."""
        if not self.typical or shape == self.typical:
            return True
        return len(shape) == len(self.typical) and all(
            own < 0 or size == own for own, size in zip(self.typical, shape, strict=True)
        )

    def distance(self, shape: tuple[int, ...]) -> float:
        """How far an array of this shape is from the planning shape: the sum over open axes of abs(log(size / planned)).

        Infinite where it is not admitted.
        """
        if not self.admits(shape):
            return math.inf
        axes = zip(self.shape, self.typical, shape, strict=True) if self.typical else ()
        return sum(abs(math.log(max(size, 1) / planned)) for own, planned, size in axes if own < 0 < planned)
