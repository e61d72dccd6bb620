"""`int8-channel`: 256 levels over each channel's own range.

Owns: asymmetric 8 bit integers with a step and a least value for every channel. Its rule: one loud channel does not
cost the others their precision. Not here: one scale for all (`wire/codecs/int8.py`).

Channels are the second axis, as in NCHW images and in (batch, token, feature) sequences; a matrix has one for each row,
and a vector is one channel. The payload is, for all channels of all batch entries, their steps and then their least
values (little-endian single precision), followed by the integers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from edgesplit.errors import FrameMalformed
from edgesplit.late_libraries import np
from edgesplit.wire.codecs.codec import CHUNK, Encoded, PayloadLayout, Shape, elements
from edgesplit.wire.codecs.int8 import LEVELS, LIMIT, SMALLEST_STEP, working_dtype
from edgesplit.wire.tensors import DTYPES, FLOAT_DTYPES, Array, as_bfloat16, widened

__all__ = ["ChannelInteger", "channels_of"]

_SINGLE, _SINGLE_BYTES = "<f4", 4
_PARAMETER_BYTES = 2 * _SINGLE_BYTES
_FINEST = 1 / 16
"""Of a step: what the least value may lose when it is rounded to single precision."""


def channels_of(shape: Shape) -> int:
    """Ranges that a tensor of this shape has. [1]"""
    if len(shape) > 2:
        return shape[0] * shape[1]
    return shape[0] if len(shape) == 2 else 1


class ChannelInteger:
    """8 bit integers with a step for each channel; 1 byte an element and 8 a channel."""

    name = loses_as = "int8-channel"
    lossless = False
    compresses = False

    def applies_to(self, dtype: str) -> bool:
        """Floats."""
        return dtype in FLOAT_DTYPES

    def encode(self, array: Array) -> Encoded | None:
        """See `Codec.encode`."""
        count = channels_of(array.shape)
        if count * _PARAMETER_BYTES + array.size >= array.nbytes:
            return None
        array = widened(array)
        rows = array.reshape(count, -1)
        payload = np.empty(count * _PARAMETER_BYTES + array.size, np.uint8)
        steps, least = _parameters(payload, count)
        if not _measure(rows, steps, least):
            return None
        coded = payload[count * _PARAMETER_BYTES :].reshape(rows.shape)
        work = working_dtype(array.dtype.name)
        factors = 1 / steps.astype(np.float64)
        scratch = np.empty(min(CHUNK, array.size), work)
        for part in _blocks(rows.shape):
            values = rows[part]
            stage = scratch[: values.size].reshape(values.shape)
            np.subtract(values, least[part[0], np.newaxis], out=stage, dtype=work)
            stage *= factors[part[0], np.newaxis].astype(work)
            stage += work.type(0.5)
            coded[part] = stage  # cut off behind the point: with the half that rounds
        return Encoded(self.name, payload)

    def layout(self, dtype: str, shape: Shape) -> PayloadLayout:
        """See `Codec.layout`."""
        del dtype
        return PayloadLayout(DTYPES["uint8"], (channels_of(shape) * _PARAMETER_BYTES + elements(shape),))

    def decode(self, payload: Array, dtype: str, shape: Shape, parameters: Mapping[str, float]) -> Array:
        """See `Codec.decode`."""
        if dtype == "bfloat16":
            return as_bfloat16(self.decode(payload, "float32", shape, parameters))
        count, target, work = channels_of(shape), DTYPES[dtype], working_dtype(dtype)
        steps, least = _parameters(payload, count)
        if not (np.isfinite(steps).all() and np.isfinite(least).all()):
            raise FrameMalformed("an int8-channel tensor needs finite steps and least values")
        tensor = np.empty(shape, target)
        rows = tensor.reshape(count, -1)
        coded = payload[count * _PARAMETER_BYTES :].reshape(rows.shape)
        scratch = np.empty(min(CHUNK, tensor.size), work) if work != target else None
        with np.errstate(over="ignore", invalid="ignore"):
            for part in _blocks(rows.shape):
                values = rows[part]
                stage = values if scratch is None else scratch[: values.size].reshape(values.shape)
                stage[...] = coded[part]
                stage *= steps[part[0], np.newaxis]
                stage += least[part[0], np.newaxis]
                if scratch is not None:
                    rows[part] = stage
        return tensor


def _parameters(payload: Array, count: int) -> tuple[Array, Array]:
    """Steps and least values of all channels, in a payload's own memory."""
    both = payload[: count * _PARAMETER_BYTES].view(_SINGLE)
    return both[:count], both[count:]


def _measure(rows: Array, steps: Array, least: Array) -> bool:
    """Find every channel's step and least value; False where single precision cannot hold them."""
    with np.errstate(invalid="ignore"):
        lowest, highest = rows.min(axis=1).astype(np.float64), rows.max(axis=1).astype(np.float64)
        # Also false for NaN, which min and max pass on.
        if not ((lowest >= -LIMIT) & (highest <= LIMIT)).all():
            return False
    least[...] = lowest
    spans = highest - least
    # A channel of one value needs no step; its least value says it all, as far as single precision goes.
    wanted = np.where(spans > 0, spans / LEVELS, 1.0)
    steps[...] = wanted
    return bool((wanted >= SMALLEST_STEP).all() and (np.abs(lowest - least) <= wanted * _FINEST).all())


def _blocks(shape: Shape) -> Iterator[tuple[slice, slice]]:
    """Cut rows into blocks of at most CHUNK elements."""
    count, length = shape
    height, width = max(CHUNK // length, 1), min(length, CHUNK)
    for top in range(0, count, height):
        for left in range(0, length, width):
            yield slice(top, min(top + height, count)), slice(left, min(left + width, length))
