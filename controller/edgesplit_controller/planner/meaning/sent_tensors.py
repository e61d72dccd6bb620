"""What of a tensor travels under an assignment.

Owns: the rule of the problem file for the bytes of a cut: the codec's, else those of the int8 form where the producer
is quantized, else the tensor's own. Its rule: everyone who asks what is sent asks here. Not here: what sending costs.
"""

from __future__ import annotations

from edgesplit.planning.plan import Assignment
from edgesplit.planning.problem import CodecOption, Tensor

__all__ = ["codec_and_bytes"]


def codec_and_bytes(tensor: Tensor, assignment: Assignment) -> tuple[CodecOption | None, float]:
    """The codec in use, if any, and the bytes of one transfer. [B]"""
    quantized, name = tensor.producer in assignment.quantized, assignment.codecs.get(tensor.name)
    codec = next((c for c in tensor.codecs or () if c.name == name and c.codes(quantized=quantized)), None)
    if codec is not None:
        return codec, codec.bytes
    if quantized and tensor.quantized_bytes is not None:
        return None, tensor.quantized_bytes
    return None, tensor.bytes
