"""Wire codecs: how a tensor's values are coded while they travel.

Owns: `raw`, `fp16` and `int8` (per tensor, asymmetric), in numpy alone. Its rule: decoding yields the dtype and shape
that were encoded; what a codec cannot hold (integers, infinities, values beyond half precision) travels raw, so a codec
never turns a number into nonsense. Not here: which codec a plan chooses, and frames.

References: [1] ONNX operator DynamicQuantizeLinear (opset 11): scale and zero point of `int8`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from edgesplit.errors import FrameMalformed, InvalidInput
from edgesplit.tensors import DTYPES, FLOAT_DTYPES, Array

__all__ = ["CODECS", "Encoded", "decode", "encode", "wire_dtype"]

CODECS = ("raw", "fp16", "int8")
_LEVELS = 255
_INT8_PARAMETERS = {"scale", "zero_point"}


@dataclass(frozen=True)
class Encoded:
    """A tensor ready for the wire.

    Attributes:
        codec: The one in effect: `raw` where the wanted one does not apply.
        payload: C-contiguous array whose memory is sent; the tensor's own memory for `raw`.
        parameters: What decoding needs besides the payload.
    """

    codec: str
    payload: Array
    parameters: dict[str, float] = field(default_factory=dict[str, float])


def wire_dtype(codec: str, dtype: str) -> np.dtype[Any]:
    """Dtype of the payload of a tensor of `dtype` under `codec`.

    Raises:
        FrameMalformed: Unknown codec or dtype, or a codec for floats on integers.
    """
    if dtype not in DTYPES:
        raise FrameMalformed(f"dtype {dtype[:40]!r} is not one that may travel")
    if codec == "raw":
        return DTYPES[dtype]
    if codec not in CODECS:
        raise FrameMalformed(f"wire codec {codec[:40]!r} is unknown")
    if dtype not in FLOAT_DTYPES:
        raise FrameMalformed(f"wire codec {codec} does not apply to {dtype}")
    return DTYPES["float16" if codec == "fp16" else "uint8"]


def encode(array: Array, codec: str) -> Encoded:
    """Code a tensor.

    Args:
        array: C-contiguous tensor of an allowed dtype.
        codec: `raw`, `fp16` or `int8`.

    Raises:
        InvalidInput: Unknown codec.
    """
    if codec not in CODECS:
        raise InvalidInput(f"wire codec {codec!r} is unknown: use one of {', '.join(CODECS)}")
    if codec == "raw" or array.dtype.name not in FLOAT_DTYPES or array.size == 0:
        return Encoded("raw", array)
    return _encode_half(array) if codec == "fp16" else _encode_int8(array)


def decode(payload: Array, dtype: str, codec: str, parameters: Mapping[str, float]) -> Array:
    """Restore a tensor; the payload itself for `raw`.

    Args:
        payload: Array of `wire_dtype(codec, dtype)` in the tensor's shape.
        dtype: The tensor's dtype.
        codec: The one in effect.
        parameters: As `encode` gave them.

    Raises:
        FrameMalformed: Parameters are missing or senseless.
    """
    if codec == "raw":
        return payload
    target = DTYPES[dtype]
    if codec == "fp16":
        return payload.astype(target, copy=False)
    if set(parameters) != _INT8_PARAMETERS or not all(np.isfinite(value) for value in parameters.values()):
        raise FrameMalformed("an int8 tensor needs a finite scale and zero_point")
    # float16 cannot hold every intermediate; the other types compute in their own precision.
    work = target if target.itemsize >= 4 else DTYPES["float32"]
    values = payload.astype(work)
    values -= work.type(parameters["zero_point"])
    values *= work.type(parameters["scale"])
    return values.astype(target, copy=False)


def _encode_half(array: Array) -> Encoded:
    with np.errstate(over="ignore"):
        half = array.astype(np.float16, copy=False)
    return Encoded("fp16", half) if bool(np.isfinite(half).all()) else Encoded("raw", array)


def _encode_int8(array: Array) -> Encoded:
    low, high = float(array.min()), float(array.max())
    if not (np.isfinite(low) and np.isfinite(high)):
        return Encoded("raw", array)
    low, high = min(0.0, low), max(0.0, high)
    work = array.dtype if array.dtype.itemsize >= 4 else DTYPES["float32"]
    with np.errstate(over="ignore", under="ignore"):
        scale = work.type((high - low) / _LEVELS)
    if not np.isfinite(scale) or (scale == 0 and high > low):
        return Encoded("raw", array)
    if scale == 0:
        scale = work.type(1)
    zero_point = float(np.rint(-low / float(scale)))
    values = np.empty(array.shape, dtype=work)
    np.divide(array, scale, out=values)
    np.rint(values, out=values)
    values += work.type(zero_point)
    np.clip(values, 0, _LEVELS, out=values)
    return Encoded("int8", values.astype(np.uint8), {"scale": float(scale), "zero_point": zero_point})
