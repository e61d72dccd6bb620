"""`fp16`: IEEE half precision.

Owns: the conversion and the check that every value fits. Its rule: a tensor with a value that half precision cannot
hold (infinite, NaN, beyond 65504) is not coded. Not here: other precisions.
"""

from __future__ import annotations

from collections.abc import Mapping

from edgesplit.late_libraries import np
from edgesplit.wire.codecs.codec import Encoded, PayloadLayout, Shape, chunks
from edgesplit.wire.tensors import DTYPES, FLOAT_DTYPES, Array

__all__ = ["Half"]

_MAGNITUDE = 0x7FFF
_INFINITY = 0x7C00
"""Bits of a half: every magnitude from here on is infinite or no number."""


class Half:
    """Half precision; 2 bytes an element."""

    name = loses_as = "fp16"
    lossless = False
    compresses = False

    def applies_to(self, dtype: str) -> bool:
        """Floats that are longer."""
        return dtype in FLOAT_DTYPES and DTYPES[dtype].itemsize > DTYPES["float16"].itemsize

    def encode(self, array: Array) -> Encoded | None:
        """See `Codec.encode`."""
        half = np.empty(array.shape, np.float16)
        values, coded = array.reshape(-1), half.reshape(-1)
        bits = coded.view(np.uint16)
        with np.errstate(over="ignore", invalid="ignore"):
            for part in chunks(array.size):
                coded[part] = values[part]
                if int((bits[part] & _MAGNITUDE).max()) >= _INFINITY:
                    return None
        return Encoded(self.name, half)

    def layout(self, dtype: str, shape: Shape) -> PayloadLayout:
        """See `Codec.layout`."""
        del dtype
        return PayloadLayout(DTYPES["float16"], shape)

    def decode(self, payload: Array, dtype: str, shape: Shape, parameters: Mapping[str, float]) -> Array:
        """See `Codec.decode`."""
        del shape, parameters
        return payload.astype(DTYPES[dtype])
