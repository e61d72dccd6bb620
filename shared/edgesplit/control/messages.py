"""What all control-plane messages between controller and agents have in common.

Owns: the base of the JSON payloads, and the references to graphs and weights that several subjects use. Its rule: a released message is never changed, a new one is added; unknown keys are ignored, so that a
newer peer can say more. Not here: any message (`control/*_messages.py`), splitctl's (`operations/`),
data-plane frames (`wire/frames.py`).
"""

from __future__ import annotations

import msgspec

__all__ = ["GraphRef", "Message", "WeightRef"]


class Message(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=False):
    """Base of all control messages: immutable, keyword-only, unknown keys ignored."""


class WeightRef(Message, frozen=True, kw_only=True):
    """An initializer kept as a blob.

    Attributes:
        name: Of the initializer.
        digest: SHA-256 of its raw little-endian bytes, the blob's name.
        dtype: numpy's name of its type.
        shape: Its static shape.
        nbytes: [B]
    """

    name: str
    digest: str
    dtype: str
    shape: tuple[int, ...]
    nbytes: int


class GraphRef(Message, frozen=True, kw_only=True):
    """An ONNX graph without large weights, itself a blob, and the weight blobs it needs.

    In the graph every such initializer is external data with `location` = digest, so that a runtime that loads the
    graph from the folder of the blobs finds them.

    Attributes:
        digest: SHA-256 of the graph's bytes, the blob's name.
        nbytes: Size of that blob. [B]
        weights: Its external data.
    """

    digest: str
    nbytes: int
    weights: tuple[WeightRef, ...] = ()
