"""`int8`: 256 levels over the whole tensor's range.

Owns: asymmetric 8 bit integers with one scale and zero point. Its rule: zero stays exact, so that what a ReLU switched
off stays switched off. Not here: a scale for each channel (`wire/codecs/int8_channel.py`), integers that a quantized operator yields
(they travel as they are).

References: [1] ONNX operator DynamicQuantizeLinear (opset 11): scale and zero point.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from edgesplit.errors import FrameMalformed
from edgesplit.late_libraries import np
from edgesplit.wire.codecs.codec import CHUNK, Encoded, PayloadLayout, Shape, chunks
from edgesplit.wire.tensors import DTYPES, FLOAT_DTYPES, Array, as_bfloat16, widened

__all__ = ["LEVELS", "LIMIT", "SMALLEST_STEP", "WholeInteger", "working_dtype"]

LEVELS = 255
LIMIT = 1e38
"""Values beyond travel raw: differences of them would overflow single precision."""
SMALLEST_STEP = 1e-36
"""A finer step has no exact reciprocal in single precision."""
_ROOM = 1 + 1e-6
"""The step is a hair longer, so that the greatest value cannot round up to level 256."""
_PARAMETERS = {"scale", "zero_point"}


def working_dtype(dtype: str) -> np.dtype[Any]:
    """What values of a float dtype are computed in: half precision cannot hold every intermediate."""
    return DTYPES["float64" if dtype == "float64" else "float32"]


class WholeInteger:
    """8 bit integers with one scale; 1 byte an element."""

    name = loses_as = "int8"
    lossless = False
    compresses = False

    def applies_to(self, dtype: str) -> bool:
        """Floats."""
        return dtype in FLOAT_DTYPES

    def encode(self, array: Array) -> Encoded | None:
        """See `Codec.encode`."""
        array = widened(array)
        with np.errstate(invalid="ignore"):
            low, high = min(float(array.min()), 0.0), max(float(array.max()), 0.0)
        # Also false for NaN, which min and max pass on.
        if not (low >= -LIMIT and high <= LIMIT):
            return None
        scale = (high - low) / LEVELS * _ROOM or 1.0
        if scale < SMALLEST_STEP:
            return None
        zero_point = float(math.ceil(-low / scale - 0.5))
        work = working_dtype(array.dtype.name)
        factor, offset = work.type(1 / scale), work.type(zero_point + 0.5)
        integers = np.empty(array.shape, np.uint8)
        values, coded = array.reshape(-1), integers.reshape(-1)
        scratch = np.empty(min(CHUNK, array.size), work)
        for part in chunks(array.size):
            stage = scratch[: part.stop - part.start]
            np.multiply(values[part], factor, out=stage, dtype=work)
            stage += offset
            coded[part] = stage  # cut off behind the point: with the half in `offset` that rounds
        return Encoded(self.name, integers, {"scale": float(work.type(scale)), "zero_point": zero_point})

    def layout(self, dtype: str, shape: Shape) -> PayloadLayout:
        """See `Codec.layout`."""
        del dtype
        return PayloadLayout(DTYPES["uint8"], shape)

    def decode(self, payload: Array, dtype: str, shape: Shape, parameters: Mapping[str, float]) -> Array:
        """See `Codec.decode`."""
        if set(parameters) != _PARAMETERS or not all(math.isfinite(value) for value in parameters.values()):
            raise FrameMalformed("an int8 tensor needs a finite scale and zero_point")
        if dtype == "bfloat16":
            return as_bfloat16(self.decode(payload, "float32", shape, parameters))
        target, work = DTYPES[dtype], working_dtype(dtype)
        with np.errstate(over="ignore"):
            scale, zero_point = work.type(parameters["scale"]), work.type(parameters["zero_point"])
        tensor = np.empty(shape, target)
        values, coded = tensor.reshape(-1), payload.reshape(-1)
        scratch = np.empty(min(CHUNK, payload.size), work) if work != target else None
        with np.errstate(over="ignore", invalid="ignore"):
            for part in chunks(payload.size):
                stage = values[part] if scratch is None else scratch[: part.stop - part.start]
                stage[...] = coded[part]
                stage -= zero_point
                stage *= scale
                if scratch is not None:
                    values[part] = stage
        return tensor
