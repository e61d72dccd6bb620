"""Figures of a wire codec on a tensor: bytes and noise.

Owns: the stored form of the measurements. Its rule: values only. Not here: how they are found (`quantization/codecs/codec_noise.py`).
"""

from __future__ import annotations

from typing import Literal

import msgspec

__all__ = ["CodecFigure"]


class CodecFigure(msgspec.Struct, frozen=True, kw_only=True):
    """One codec on one tensor.

    Attributes:
        precision: Of the tensor: `int8` is what a quantized operator yields.
        bytes: Coded; with a margin where that depends on the values. [B]
        noise: Upper figure of what it adds to the output's noise.
    """

    codec: str
    precision: Literal["float", "int8"]
    bytes: float
    noise: float
