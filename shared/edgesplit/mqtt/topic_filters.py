"""Whether a topic is one that an MQTT subscription names, asked for every message of every subscription.

Owns: the answers that are remembered, for the same few topics come again and again. Its rule: MQTT's own rules (paho's); what
strangers name takes no room. Not here: the topics (`topic_table.py`).
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

from paho.mqtt.client import topic_matches_sub

__all__ = ["matches", "with_further"]

REMEMBERED = 1 << 14
REMEMBERED_CHARACTERS = 256
"""Longer topics are nobody's of the fleet."""


def matches(pattern: str, topic: str) -> bool:
    """Whether a topic fits a topic filter."""
    return _remembered(pattern, topic) if len(topic) <= REMEMBERED_CHARACTERS else topic_matches_sub(pattern, topic)


def with_further(wanted: list[str], further: Iterable[str]) -> list[str]:
    """Topic filters and further ones, without those that the others cover: their topics would arrive twice."""
    names = list(wanted)
    for name in further:
        if not any(matches(pattern, name.replace("+", "any")) for pattern in names):
            names.append(name)
    return names


@lru_cache(maxsize=REMEMBERED)
def _remembered(pattern: str, topic: str) -> bool:
    return topic_matches_sub(pattern, topic)
