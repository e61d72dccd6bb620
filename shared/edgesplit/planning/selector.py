"""Selector of nodes by their labels: `site=home,role!=gateway`.

Owns: what labels may be, how a selector is written, and what it selects. Its rule: pure; all of its requirements have to hold, and a node
without a label differs from every value of it. Not here: where labels are configured (the agent), which nodes a plan may use
(`fleet/reach/candidates.py` in the controller).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

from edgesplit.errors import InvalidInput

__all__ = ["SITE", "Requirement", "Selector", "checked_labels", "labels_text", "parsed_selector"]

SITE = "site"
"""The label that says where a node is; one without it is shared by all sites."""
MOST_LABELS = 16
MOST_REQUIREMENTS = 16
_WORD = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")
_SAYS = "1 to 63 letters, digits, dashes, underscores and dots, a letter or digit at both ends"
_LOOKS = "write it as site=home,role=edge (= or !=, with commas between)"


@dataclass(frozen=True)
class Requirement:
    """One condition on a node's labels.

    Attributes:
        is_equal: Whether the label must have the value, or must not.
    """

    key: str
    value: str
    is_equal: bool

    def __str__(self) -> str:
        """As it is typed."""
        return f"{self.key}{'=' if self.is_equal else '!='}{self.value}"


@dataclass(frozen=True)
class Selector:
    """Nodes whose labels meet every requirement."""

    requirements: tuple[Requirement, ...]

    def __str__(self) -> str:
        """As it is typed."""
        return ",".join(map(str, self.requirements))

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Whether a node with these labels is selected."""
        return all((labels.get(one.key) == one.value) == one.is_equal for one in self.requirements)


@lru_cache(maxsize=1024)
def parsed_selector(text: str) -> Selector:
    """Read a selector as it is typed.

    Raises:
        InvalidInput: It is empty, a requirement is none, or names no label or value that can be.
    """
    parts = [part.strip() for part in text.split(",")]
    if not 1 <= len(parts) <= MOST_REQUIREMENTS:
        raise InvalidInput(f"a selector of {len(parts)} requirements is too long: {MOST_REQUIREMENTS} are the most")
    requirements: list[Requirement] = []
    for part in parts:
        key, sign, value = part.partition("!=") if "!=" in part else part.partition("=")
        if not sign:
            raise InvalidInput(f"the selector {text!r} cannot be read at {part!r}: {_LOOKS}")
        key, value = key.strip(), value.strip()
        for what, word in (("label", key), ("value", value)):
            if not _WORD.fullmatch(word):
                raise InvalidInput(f"the selector {text!r} has the {what} {word!r}, and one has {_SAYS}")
        requirements.append(Requirement(key, value, sign == "="))
    return Selector(tuple(requirements))


def checked_labels(labels: Mapping[str, str]) -> None:
    """Refuse labels that no selector could name.

    Raises:
        InvalidInput: One is no word, or there are too many.
    """
    if len(labels) > MOST_LABELS:
        raise InvalidInput(f"{len(labels)} labels are too many: a node has {MOST_LABELS} at most")
    for key, value in labels.items():
        for what, word in (("label", key), ("value", value)):
            if not _WORD.fullmatch(word):
                raise InvalidInput(f"the {what} {word!r} cannot be: one has {_SAYS}")


def labels_text(labels: Mapping[str, str]) -> str:
    """Labels as a selector of exactly these would be typed; empty without any."""
    return ",".join(f"{key}={value}" for key, value in sorted(labels.items()))
