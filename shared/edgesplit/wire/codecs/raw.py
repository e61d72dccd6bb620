"""`raw`: the tensor's own bytes.

Owns: the codec that is none. Its rule: no copy, in neither direction. Not here: anything that changes a value.
"""

from __future__ import annotations

from collections.abc import Mapping

from edgesplit.wire.codecs.codec import Encoded, PayloadLayout, Shape
from edgesplit.wire.tensors import DTYPES, Array

__all__ = ["Raw"]


class Raw:
    """The tensor as it is."""

    name = loses_as = "raw"
    lossless = True
    compresses = False

    def applies_to(self, dtype: str) -> bool:
        """Always."""
        del dtype
        return True

    def encode(self, array: Array) -> Encoded:
        """The array itself."""
        return Encoded(self.name, array)

    def layout(self, dtype: str, shape: Shape) -> PayloadLayout:
        """See `Codec.layout`."""
        return PayloadLayout(DTYPES[dtype], shape)

    def decode(self, payload: Array, dtype: str, shape: Shape, parameters: Mapping[str, float]) -> Array:
        """The payload itself."""
        del dtype, shape, parameters
        return payload
