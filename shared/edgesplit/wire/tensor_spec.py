"""Tensor specifications: name, dtype and shape, as messages and documents have them.

Owns: the value alone. Its rule: nothing heavy is imported, for splitctl reads such documents and does without numpy. Not
here: arrays (`tensors.py`).
"""

from __future__ import annotations

import msgspec

__all__ = ["TensorSpec"]


class TensorSpec(msgspec.Struct, frozen=True, kw_only=True):
    """A tensor's name, numpy dtype name and static shape.

    Attributes:
        name: Its ONNX name, or that on the wire.
        dtype: Numpy's name of its type.
        shape: Elements along each axis.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
