"""Wire codecs: how a tensor's values are coded while they travel.

Owns: the codecs there are, one a file, and coding by name. Its rule: decoding yields the dtype and shape that were
encoded; what a codec cannot hold (integers, texts, infinities, values beyond its range) travels raw, so a codec never
turns a number into nonsense. Not here: which codec a plan chooses, and frames.

| name | bytes of a float32 element | what is lost |
|---|---|---|
| `raw` | 4 | nothing |
| `fp16` | 2 | all but 11 bits of precision |
| `int8` | 1 | all but 256 levels of the tensor's range |
| `int8-channel` | 1, and 8 a channel | all but 256 levels of each channel's range |
| `lossless` | what Zstandard makes of it, at most 4 | nothing |
| `fp16+lossless`, `int8+lossless`, `int8-channel+lossless` | less than without | as without |
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from functools import cache

from edgesplit.errors import FrameMalformed, InvalidInput
from edgesplit.late_libraries import np
from edgesplit.wire.codecs.codec import Codec, Encoded, PayloadLayout, Shape, elements
from edgesplit.wire.codecs.fp16 import Half
from edgesplit.wire.codecs.int8 import WholeInteger
from edgesplit.wire.codecs.int8_channel import ChannelInteger
from edgesplit.wire.codecs.lossless import Compressed
from edgesplit.wire.codecs.raw import Raw
from edgesplit.wire.codecs.texts import LEAST_BYTES, packed_texts, unpacked_texts
from edgesplit.wire.tensors import DTYPES, TEXT, Array, dtype_name

__all__ = [
    "CODECS",
    "Codec",
    "Encoded",
    "PayloadLayout",
    "available_codecs",
    "check_codec",
    "decode",
    "encode",
    "layout_bytes",
    "losses",
    "payload_layout",
]

_SUFFIX = "+lossless"
_PLAIN: tuple[Codec, ...] = (Half(), WholeInteger(), ChannelInteger())
CODECS: Mapping[str, Codec] = {
    codec.name: codec
    for codec in (
        Raw(),
        *_PLAIN,
        Compressed("lossless", Raw()),
        *(Compressed(f"{codec.name}{_SUFFIX}", codec) for codec in _PLAIN),
    )
}
"""Every codec by name."""


def losses() -> tuple[str, ...]:
    """Codecs that lose something, each in a way of its own; the others lose nothing, or as one of these."""
    return tuple(name for name, codec in CODECS.items() if not codec.lossless and codec.loses_as == name)


@cache
def available_codecs() -> tuple[str, ...]:
    """Names of the codecs this process can run: those that compress need the zstandard package."""
    can_compress = importlib.util.find_spec("zstandard") is not None
    return tuple(name for name, codec in CODECS.items() if can_compress or not codec.compresses)


def check_codec(name: str, *, tensor: str = "") -> None:
    """Refuse a codec that this process cannot run.

    Args:
        name: The codec's.
        tensor: What it was meant for, for the message.

    Raises:
        InvalidInput: It is unknown, or the package it needs is missing; says which.
    """
    if name not in CODECS:
        of = f" of tensor {tensor!r}" if tensor else ""
        raise InvalidInput(f"wire codec {name[:40]!r}{of} is unknown: use one of {', '.join(CODECS)}")
    if name not in available_codecs():
        raise InvalidInput(f"wire codec {name} needs the zstandard package: install it with pip install zstandard")


def payload_layout(codec: str, dtype: str, shape: Shape, nbytes: int) -> PayloadLayout:
    """How a payload arrives.

    Args:
        codec: The one in effect.
        dtype: The tensor's.
        shape: The tensor's.
        nbytes: The payload's length. [B]

    Raises:
        FrameMalformed: Unknown codec or dtype, a codec that does not apply, or a length it cannot have.
    """
    if dtype == TEXT:
        return _text_layout(codec, shape, nbytes)
    if dtype not in DTYPES:
        raise FrameMalformed(f"dtype {dtype[:40]!r} is not one that may travel")
    found = _known(codec)
    if not found.applies_to(dtype):
        raise FrameMalformed(f"wire codec {codec} does not apply to {dtype}")
    layout = found.layout(dtype, shape)
    if found.compresses and 0 < nbytes < layout.nbytes:
        return PayloadLayout(DTYPES["uint8"], (nbytes,))
    if found.compresses or nbytes != layout.nbytes:
        count = elements(shape)
        raise FrameMalformed(f"a tensor of {count} elements of {dtype} coded as {codec} cannot have {nbytes} B")
    return layout


def _text_layout(codec: str, shape: Shape, nbytes: int) -> PayloadLayout:
    """Texts have sizes of their own: what arrives is bytes, at least one for each."""
    if codec != "raw" or nbytes <= LEAST_BYTES * elements(shape):
        raise FrameMalformed(f"a tensor of {elements(shape)} texts coded as {codec[:40]} cannot have {nbytes} B")
    return PayloadLayout(DTYPES["uint8"], (nbytes,))


def layout_bytes(codec: str, dtype: str, shape: Shape) -> int:
    """Payload of a tensor, before compression where there is one. [B]"""
    return CODECS[codec].layout(dtype, shape).nbytes


def encode(array: Array, codec: str) -> Encoded:
    """Code a tensor.

    Args:
        array: C-contiguous tensor of an allowed dtype.
        codec: Name of a codec.

    Raises:
        InvalidInput: A codec this process cannot run.
        InvalidTensor: A text that UTF-8 cannot hold.
    """
    if array.dtype.hasobject:
        return Encoded("raw", packed_texts(array))
    if codec == "raw":
        return Encoded(codec, array)
    check_codec(codec)
    found = CODECS[codec]
    coded = found.encode(array) if array.size and found.applies_to(dtype_name(array)) else None
    return coded if coded is not None else Encoded("raw", array)


def decode(payload: Array, codec: str, dtype: str, shape: Shape, parameters: Mapping[str, float]) -> Array:
    """Restore a tensor; the payload itself for numbers that travel as they are.

    Args:
        payload: Array of `payload_layout`.
        codec: The one in effect.
        dtype: The tensor's.
        shape: The tensor's.
        parameters: As `encode` gave them.

    Raises:
        FrameMalformed: Payload or parameters are senseless, or the codec cannot be run here.
    """
    if codec == "raw":
        return unpacked_texts(payload, shape) if dtype == TEXT else payload
    found = _known(codec)
    if not payload.size:
        return np.empty(shape, DTYPES[dtype])
    return found.decode(payload, dtype, shape, parameters)


def _known(codec: str) -> Codec:
    """A codec the other side named.

    Raises:
        FrameMalformed: This process cannot run it.
    """
    try:
        check_codec(codec)
    except InvalidInput as error:
        raise FrameMalformed(f"{error}; the sender's edgesplit is newer, or complete") from error
    return CODECS[codec]
