"""What all control-plane messages between controller and agents have in common.

Owns: the base of the JSON payloads. Its rule: a released message is never changed, a new one is added; unknown keys are ignored, so that a
newer peer can say more. Not here: any message (`control/*_messages.py`), splitctl's (`operations/`),
data-plane frames (`wire/frames.py`).
"""

from __future__ import annotations

import msgspec

__all__ = ["Message"]


class Message(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=False):
    """Base of all control messages: immutable, keyword-only, unknown keys ignored."""
