"""Identifier types and naming rules, shared by every plane.

Owns: NewTypes that keep a node's name from being passed where a model's is meant, the check of names users
choose, and what further planning shapes of a model are called. Its rule: an identifier that reaches a topic, a file or a URL was checked here. Not here: tensor and
operator names, which are ONNX's own.
"""

from __future__ import annotations

import re
from typing import NewType

from edgesplit.errors import InvalidInput

__all__ = [
    "Digest",
    "Epoch",
    "ModelName",
    "NodeName",
    "RequestId",
    "base_name",
    "checked_model",
    "checked_name",
    "variant_name",
    "variant_number",
]

NodeName = NewType("NodeName", str)
ModelName = NewType("ModelName", str)
Epoch = NewType("Epoch", int)
"""Orders the plans of one model; starts at 1 and only grows."""
RequestId = NewType("RequestId", str)
"""Unique per request across the fleet: source instance and a counter."""
Digest = NewType("Digest", str)
"""SHA-256 of a blob's bytes, 64 lower-case hexadecimal digits."""

_NAME = re.compile(r"[A-Za-z0-9._-]{1,100}")
_VARIANT = re.compile(r"[1-9][0-9]{0,3}")


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


def variant_name(model: str, number: int) -> str:
    """What a planning shape of a model is called: NAME for the first, then NAME@2, NAME@3, ..."""
    return model if number == 1 else f"{model}@{number}"


def base_name(name: str) -> str:
    """The model that a planning shape is of; a model's own name is that of its first."""
    return name.partition("@")[0]


def variant_number(name: str) -> int:
    """Which planning shape of its model a name means."""
    return int(name.partition("@")[2] or 1)


def checked_model(name: str) -> str:
    """Return `name` if it may be that of a model or of one of its planning shapes.

    Raises:
        InvalidInput: It may not.
    """
    model, at, number = name.partition("@")
    if at and _VARIANT.fullmatch(number) is None:
        raise InvalidInput(f"{name!r} is no planning shape of a model: these are called NAME@2, NAME@3 and so on")
    checked_name("model", model)
    return name
