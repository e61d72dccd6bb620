"""Control-plane message of what happened, for people and programs.

Owns: one event. Its rule: that of `control/messages.py`, a released message is never changed. Not here: kinds and their
levels (`control/event_kinds.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import msgspec

from edgesplit.control.messages import Message
from edgesplit.mqtt.topic import SMALL_BYTES, Topic

__all__ = ["EVENT", "Event", "EventData", "EventLevel"]

EventLevel = Literal["info", "warning", "error"]

EventData = Mapping[str, str | float | int | bool | None]
"""Figures behind an event, keys with units."""
"""Figures behind an event."""


class Event(Message, frozen=True, kw_only=True):
    """What happened and why, for people and programs.

    Attributes:
        at_unix_s: When it happened, on the clock of whoever tells it. [s since the epoch]
        origin: Who tells it: `controller`, or a node.
        kind: What sort of event; `control/event_kinds.py` lists those with a history or a level of their own.
        text: One sentence.
        model: Name of the model it is about, or empty.
        node: Name of the node it is about, or empty.
        data: Figures behind it (trigger, old and new prediction, switch cost, verdict), keys with units.
        level: Information, a warning (it works, though not as it should), or an error (somebody has to do something).
        heard_unix_s: When the controller took it in, on its clock: by that it is selected and forgotten; 0 before.
            [s since the epoch]
    """

    at_unix_s: float
    origin: str
    kind: str
    text: str
    model: str = ""
    node: str = ""
    data: dict[str, str | float | int | bool | None] = msgspec.field(
        default_factory=dict[str, str | float | int | bool | None]
    )
    level: EventLevel = "info"
    heard_unix_s: float = 0.0


EVENT = Topic(
    "events/{origin}",
    Event,
    says="what happened at a node, or at the `controller`",
    writers=("agent", "controller"),
    readers=("controller", "splitctl"),
    limit_bytes=SMALL_BYTES,
)
