"""Identifier types and naming rules, shared by every plane.

Owns: NewTypes that keep a node's name from being passed where a model's is meant, the check of names users
choose, and what further planning shapes of a model, and deployments at further sources, are called. Its rule: an identifier that reaches a topic, a file or a URL was checked here. Not here: tensor and
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
    "deployed_name",
    "planned_name",
    "source_of",
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
_AT = "~"
"""Before the source in the name of a deployment at a further one; no name of a user's has it."""


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


def deployed_name(planned: str, source: str) -> str:
    """What a deployment at a further source is called: NAME~SOURCE, beside NAME at the first."""
    return f"{planned}{_AT}{source}"


def planned_name(name: str) -> str:
    """What is planned in a deployment, whatever its source: a model, or one of its planning shapes."""
    return name.partition(_AT)[0]


def source_of(name: str) -> str:
    """The further source that a deployment's name has; empty for a first one."""
    return name.partition(_AT)[2]


def base_name(name: str) -> str:
    """The model that a planning shape or a deployment is of; a model's own name is that of its first."""
    return planned_name(name).partition("@")[0]


def variant_number(name: str) -> int:
    """Which planning shape of its model a name means."""
    return int(planned_name(name).partition("@")[2] or 1)


def checked_model(name: str) -> str:
    """Return `name` if it may be that of a model, of one of its planning shapes, or of a deployment at a further source.

    Raises:
        InvalidInput: It may not.
    """
    planned, further, source = name.partition(_AT)
    if further:
        checked_name("node", source)
    model, at, number = planned.partition("@")
    if at and _VARIANT.fullmatch(number) is None:
        raise InvalidInput(f"{name!r} is no planning shape of a model: these are called NAME@2, NAME@3 and so on")
    checked_name("model", model)
    return name
