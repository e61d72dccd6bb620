"""The operation that lets somebody into the controller's dashboard, and its document.

Owns: this operation and its document. Its rule: a ticket opens one session, once, within a minute. Not here: the dashboard itself (the
controller's).
"""

from __future__ import annotations

import msgspec

from edgesplit.operations.exchange import TaggedOperation

__all__ = ["DashboardDocument", "DashboardOperation", "OpenDashboard"]


class OpenDashboard(TaggedOperation, frozen=True, kw_only=True, tag="open-dashboard"):
    """Ask for the dashboard's address, and in a secured fleet for a ticket. Answered with `DashboardDocument`."""


class DashboardDocument(msgspec.Struct, frozen=True, kw_only=True):
    """`splitctl dashboard`.

    Attributes:
        url: Base URL of the dashboard, without a slash at its end.
        ticket: What the page signs in with, once; empty in a fleet without an authority, where nobody signs in.
        expires_unix_s: When the ticket ends; None without one. [s since the epoch]
        local: It listens on the loopback of the controller's machine alone, where browsers of other machines do not reach it.
        machine: Name of the controller's machine.
    """

    url: str
    ticket: str
    expires_unix_s: float | None
    local: bool
    machine: str


DashboardOperation = OpenDashboard
