"""Codec offers: which wire codecs a plan may use on a tensor, and what they take where.

Owns: the planner's `Codec` entries from a model's figures and the nodes' times. Its rule: pure; a codec is offered only if
every node of the problem can run it, and where it is for one precision of the producer alone it says so. Not here:
measuring either, choosing (the planner also drops what a noise bound or the links make useless).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from edgesplit.control.profile_messages import CodecTimes, ExecutionProfile
from edgesplit.planning.problem import CodecOption
from edgesplit.wire.codecs import CODECS
from edgesplit_controller.quantization.codecs.codec_figures import CodecFigure

__all__ = ["codec_offers", "is_lossy", "offers_hold"]


def codec_offers(
    figures: Sequence[CodecFigure], nbytes: int, profiles: Mapping[str, ExecutionProfile], *, shrinks: bool
) -> tuple[CodecOption, ...] | None:
    """What may be used on one tensor.

    Args:
        figures: Measured of this tensor.
        nbytes: Its size in float32. [B]
        profiles: Of every node of the problem.
        shrinks: Whether it travels as integers when its producer is quantized.
    """
    offers: list[CodecOption] = []
    for figure in figures:
        in_integers = figure.precision == "int8"
        if in_integers and not shrinks:
            continue
        size = nbytes / 4 if in_integers else float(nbytes)
        times = {name: _times(profile, figure.codec, in_integers) for name, profile in profiles.items()}
        known = {name: entry for name, entry in times.items() if entry is not None}
        if len(known) == len(times):
            offers.append(
                CodecOption(
                    name=figure.codec,
                    bytes=figure.bytes,
                    noise=figure.noise,
                    encode_s={name: entry.encode_s + entry.encode_s_per_byte * size for name, entry in known.items()},
                    decode_s={name: entry.decode_s + entry.decode_s_per_byte * size for name, entry in known.items()},
                    precision=figure.precision if shrinks else None,
                )
            )
    return tuple(offers) or None


def is_lossy(codec: str) -> bool:
    """Whether tensors change under it."""
    return not CODECS[codec].lossless


def offers_hold(offers: Mapping[str, Sequence[str]], codecs: Mapping[str, str]) -> bool:
    """Whether every codec of an assignment is still on offer.

    Args:
        offers: Tensor to the codecs it may use now.
        codecs: Tensor to the codec an assignment uses.
    """
    return all(codec in offers.get(tensor, ()) for tensor, codec in codecs.items())


def _times(profile: ExecutionProfile, codec: str, in_integers: bool) -> CodecTimes | None:
    return (profile.integer_codec_times if in_integers else profile.codec_times).get(codec)
