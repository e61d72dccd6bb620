"""Identifier types and naming rules, shared by every plane.

Owns: NewTypes that keep a node's name from being passed where a model's is meant, and the check of names users
choose. Its rule: an identifier that reaches a topic, a file or a URL was checked here. Not here: tensor and
operator names, which are ONNX's own.
"""

from __future__ import annotations

import re
from typing import NewType

from edgesplit.errors import InvalidInput

__all__ = ["Digest", "Epoch", "ModelName", "NodeName", "RequestId", "checked_name"]

NodeName = NewType("NodeName", str)
ModelName = NewType("ModelName", str)
Epoch = NewType("Epoch", int)
"""Orders the plans of one model; starts at 1 and only grows."""
RequestId = NewType("RequestId", str)
"""Unique per request across the fleet: source instance and a counter."""
Digest = NewType("Digest", str)
"""SHA-256 of a blob's bytes, 64 lower-case hexadecimal digits."""

_NAME = re.compile(r"[A-Za-z0-9._-]{1,100}")


def checked_name(kind: str, name: str) -> str:
    """Return `name` if it may stand in topics, files and URLs.

    Args:
        kind: What the name is for, as in the message: "model" or "node".
        name: What the user chose.

    Raises:
        InvalidInput: It is empty, too long, or holds other signs than letters, digits and `-_.`.
    """
    if _NAME.fullmatch(name) is None or name in {".", ".."}:
        raise InvalidInput(f"{name!r} cannot name a {kind}: use 1 to 100 letters, digits, dashes, underscores and dots")
    return name
