"""Runs of wire codecs beside what a profile says of them, and a profile with what they taught.

Owns: which of a profile's codec times a coding is held against, both ways. Its rule: pure; a codec that was never seen at work
keeps its profile's times, as slow as its node is now. Not here: estimating (`speed_estimate.py`), running codecs (agents).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import msgspec

from edgesplit.control.profile_messages import CodecTimes, CodingTiming, ExecutionProfile
from edgesplit_controller.fleet.estimation.observations import CodingRan, TensorsCoded
from edgesplit_controller.fleet.estimation.speed_belief import NodeSpeed, coding_factor
from edgesplit_controller.quantization.qdq import is_wire_name

__all__ = ["coding_factors", "coding_runs", "of_another_model"]


def coding_runs(profile: ExecutionProfile, timings: Sequence[CodingTiming]) -> Iterator[CodingRan]:
    """What a node said of codings, beside its profile; codecs that it never timed are left out.

    Args:
        profile: Of the node, as it was measured.
        timings: New ones.
    """
    for timing in timings:
        integers = is_wire_name(timing.tensor)
        times = (profile.integer_codec_times if integers else profile.codec_times).get(timing.codec)
        if times is None or not timing.samples:
            continue
        per_tensor_s, per_byte_s = (
            (times.encode_s, times.encode_s_per_byte)
            if timing.direction == "encode"
            else (times.decode_s, times.decode_s_per_byte)
        )
        yield CodingRan(
            tensor=timing.tensor,
            codec=timing.codec,
            direction=timing.direction,
            profiled_s=per_tensor_s + per_byte_s * timing.nbytes,
            samples=timing.samples,
        )


def of_another_model(seen: TensorsCoded) -> TensorsCoded:
    """What codings say to another model of the same node."""
    name = f"({seen.model})"
    return msgspec.structs.replace(
        seen, codings=tuple(msgspec.structs.replace(coding, tensor=name) for coding in seen.codings)
    )


def coding_factors(stated: ExecutionProfile, measured: ExecutionProfile, speed: NodeSpeed) -> ExecutionProfile:
    """A profile whose codecs take what they were seen to take.

    Args:
        stated: The profile as its node computes now; its codec times are replaced.
        measured: As it was measured.
        speed: What is believed of the node.
    """
    return msgspec.structs.replace(
        stated,
        codec_times=_scaled(measured.codec_times, speed),
        integer_codec_times=_scaled(measured.integer_codec_times, speed),
    )


def _scaled(times: Mapping[str, CodecTimes], speed: NodeSpeed) -> dict[str, CodecTimes]:
    found: dict[str, CodecTimes] = {}
    for codec, entry in times.items():
        encode = coding_factor(speed, codec, "encode").seconds
        decode = coding_factor(speed, codec, "decode").seconds
        found[codec] = msgspec.structs.replace(
            entry,
            encode_s=entry.encode_s * encode,
            encode_s_per_byte=entry.encode_s_per_byte * encode,
            decode_s=entry.decode_s * decode,
            decode_s_per_byte=entry.decode_s_per_byte * decode,
        )
    return found
