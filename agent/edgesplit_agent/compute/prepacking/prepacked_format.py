"""onnxruntime's private format of prepacked weights in external data.

Owns: every use of what onnxruntime does not promise about saved graphs. Its rule: pure; tried with the versions of
`TRIED`. With any other one no graph is packed, and each session is built from the graph itself, with a copy of the
weights of its own. Whatever was packed is compared bit for bit before it is used (`packed_graphs.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from edgesplit.private_parts import TriedWith

__all__ = ["SAVES_PREPACKED", "TRIED", "is_prepacked", "moved_buffers"]

TRIED = TriedWith("onnxruntime", "1.20", "1.33")

SAVES_PREPACKED: Final[Mapping[str, str]] = {"session.save_external_prepacked_constant_initializers": "1"}
"""Session option, public; what it makes onnxruntime write is not."""

_PREFIX = "prepacked_"


def is_prepacked(key: str) -> bool:
    """Whether an entry of a tensor's external data tells of a packed form of it."""
    return key.startswith(_PREFIX)


def moved_buffers(value: str, move: Callable[[int, int], int]) -> str:
    """The entry of a packed form whose buffers have moved.

    Args:
        value: Name of the kernel and a hash, then `offset;length;checksum` of each buffer, joined by `|`.
        move: From offset and length of a buffer to its new offset. [B]

    Raises:
        ValueError: The entry has another form.
    """
    kernel, *buffers = value.split("|")
    parts = [kernel]
    for buffer in buffers:
        offset, length, checksum = buffer.split(";")
        parts.append(f"{move(int(offset), int(length))};{length};{checksum}")
    return "|".join(parts)
