"""Operations on the controller's history, which is answered with events as they are (`control/event_messages.py`)."""

from __future__ import annotations

from edgesplit.control.event_kinds import EventSelection
from edgesplit.operations.exchange import TaggedOperation

__all__ = ["EventOperation", "ListEvents"]


class ListEvents(TaggedOperation, frozen=True, kw_only=True, tag="list-events"):
    """The history the controller holds: the newest of those selected. Answered with a list of `Event`."""

    limit: int = 200
    selection: EventSelection = EventSelection()


EventOperation = ListEvents
