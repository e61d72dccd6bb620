"""Kinds of events: what they are about, how grave they are, and which of them somebody asks for.

Owns: the history that each kind belongs to, the level of each kind, and the selection of `splitctl events`. Its rule: pure
data; a kind of a newer release belongs to `other` and is information. Not here: what happened (`Event`), how long
it is kept (the controller's history).
"""

from __future__ import annotations

import msgspec

from edgesplit.control.event_messages import Event, EventLevel

__all__ = ["HISTORIES", "LEVELS", "EventSelection", "history_of", "level_of"]

HISTORIES: dict[str, frozenset[str]] = {
    "nodes": frozenset(
        {
            "node-joined",
            "node-left",
            "node-refused",
            "node-removed",
            "node-drained",
            "node-undrained",
            "node-silent",
            "name-taken",
            "controller-stands-by",
            "standby-gone",
            "clock-stepped",
            "clock-differs",
            "clock-agrees",
            "certificate-issued",
            "certificate-revoked",
            "certificate-renewed",
            "certificate-not-renewed",
            "certificate-expired",
        }
    ),
    "models": frozenset(
        {
            "model-added",
            "model-completed",
            "completion-failing",
            "model-removed",
            "backup-made",
            "backup-restored",
            "shape-planned",
            "shape-dropped",
            "goals-changed",
        }
    ),
    "plans": frozenset(
        {
            "planned",
            "planning-paused",
            "planning-resumed",
            "replan-declined",
            "plan-infeasible",
            "epoch-prepared",
            "epoch-failing",
            "epoch-activated",
            "epoch-abandoned",
            "epoch-retired",
            "fallback-planned",
            "fixed-plan-missed",
            "fixed-plan-kept",
            "noise-exceeded",
            "noise-unchecked",
            "requests-not-joined",
            "battery-limit",
            "battery-floor-missed",
            "started-alone",
            "plan-set-aside",
            "counters-set-aside",
            "plan-not-kept",
            "plan-kept",
        }
    ),
    "peers": frozenset({"fallback-engaged", "fallback-left", "peer-back"}),
    "links": frozenset({"link-changed"}),
    "profiles": frozenset({"profile-changed", "model-completing"}),
    "operators": frozenset({"operator-asked"}),
    "other": frozenset(),
}
"""Each history has a length of its own, so that what comes often does not push out what comes seldom."""

LEVELS: tuple[EventLevel, ...] = ("info", "warning", "error")
_HISTORY = {kind: history for history, kinds in HISTORIES.items() for kind in kinds}
_LEVEL: dict[str, EventLevel] = {
    "node-left": "warning",
    "node-refused": "error",
    "name-taken": "error",
    "clock-stepped": "warning",
    "clock-differs": "warning",
    "plan-infeasible": "warning",
    "completion-failing": "warning",
    "epoch-abandoned": "warning",
    "epoch-failing": "warning",
    "fallback-engaged": "warning",
    "fixed-plan-missed": "warning",
    "noise-exceeded": "warning",
    "noise-unchecked": "warning",
    "requests-not-joined": "warning",
    "battery-floor-missed": "warning",
    "plan-set-aside": "warning",
    "counters-set-aside": "warning",
    "plan-not-kept": "warning",
    "malformed-message": "warning",
    "message-too-large": "error",
    "store-unwritable": "error",
    "store-damaged": "error",
    "standby-gone": "warning",
    "message-ignored": "warning",
    "message-refused": "warning",
    "retained-restored": "warning",
    "certificate-revoked": "warning",
    "connection-refused": "warning",
    "broker-rights-unset": "warning",
    "certificate-not-renewed": "warning",
    "certificate-expired": "error",
    "events-dropped": "warning",
}


def history_of(kind: str) -> str:
    """The history a kind belongs to."""
    return _HISTORY.get(kind, "other")


def level_of(kind: str) -> EventLevel:
    """How grave a kind is unless an event says otherwise."""
    return _LEVEL.get(kind, "info")


class EventSelection(msgspec.Struct, frozen=True, kw_only=True):
    """Which events somebody wants; what is empty does not select.

    Attributes:
        since_unix_s: Not older, by the controller's clock. [s since the epoch]
        kinds: Kinds, or histories for all of theirs.
        models: Of these models.
        nodes: About these nodes, from them, or about links at their ends.
        level: So grave at least.
    """

    since_unix_s: float = 0.0
    kinds: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    nodes: tuple[str, ...] = ()
    level: EventLevel = "info"

    def takes(self, event: Event) -> bool:
        """Whether an event is among them."""
        about = {event.node, event.origin, event.data.get("from"), event.data.get("to")}
        return (
            (event.heard_unix_s or event.at_unix_s) >= self.since_unix_s
            and (not self.kinds or event.kind in self.kinds or history_of(event.kind) in self.kinds)
            and (not self.models or event.model in self.models)
            and (not self.nodes or not about.isdisjoint(self.nodes))
            and LEVELS.index(event.level) >= LEVELS.index(self.level)
        )
