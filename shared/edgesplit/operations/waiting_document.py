"""Waiting of requests for those of others, as `splitctl plan` shows it.

Owns: these values. Its rule: keys may be added, never renamed. Not here: the document that contains them (`plan_operations.py`), how
waits are computed (the controller's planner).
"""

from __future__ import annotations

import msgspec

from edgesplit.planning.origins import Origin

__all__ = ["WaitingDocument", "WaitingRow"]


class WaitingRow(msgspec.Struct, frozen=True, kw_only=True):
    """A node or a direction of a link at which requests may wait for those of others.

    Attributes:
        load: Share of its time that is promised to others. [1]
        mean_s: Waited there by a request, over all phases; None where more is promised than there is time. [s]
    """

    load: float
    mean_s: float | None


class WaitingDocument(msgspec.Struct, frozen=True, kw_only=True):
    """What a request waits for requests of other deployments that promise a rate, and of its own where several are on their way.

    All of it is computed from plans. Each deployment sends one request per period, 1 / rate; when, nobody knows: its phase is
    random. Equal periods keep their phases: who waits then waits at every request.

    Attributes:
        origin: `modelled`.
        covered: Share of phases at which no request waits longer than `waiting_s`. [1]
        share: Of phases at which it waits at all. [1]
        mean_s: Over phases; None where more is promised than there is time. [s]
        worst_s: At any phase, in whatever order nodes and links take what is there, as long as nobody sends more often than promised;
            None where no bound is known. [s]
        places: Node, or link as `FROM:TO`, to what is waited there; those alone that others use, too.
    """

    origin: Origin
    covered: float
    share: float
    mean_s: float | None
    worst_s: float | None
    places: dict[str, WaitingRow]
