"""Rollout state machine: how one model moves from plan to plan without losing a request.

Owns: the state machine make-before-break: an upcoming epoch is prepared on all its nodes, then the source starts new
requests on it, then the old one is retired once its last request ended. Beside what serves, nodes keep fallbacks:
prepared epochs for the loss of a node. Its rule: pure and level-triggered; `advance` looks at what nodes report now, in
whatever order it came. An epoch serves only after every participant prepared it, and what serves is never taken away
before that; a fallback is ready only while all its nodes have it prepared. Not here: making plans, what follows for every
node (`rollout/desired_state.py`), waiting.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import msgspec

from edgesplit.control.plan_messages import EpochState, Observed
from edgesplit_controller.storage.rollout_state import Epoch, FallbackEpoch, Rollout

__all__ = [
    "Notice",
    "World",
    "advance",
    "begin",
    "remaining_s",
    "with_fallbacks",
]


@dataclass(frozen=True)
class World:
    """What is known of the nodes.

    Attributes:
        observed: Latest report by node.
        gone: Nodes that are known to be away.
        overdue: The upcoming plan has had its time.
    """

    observed: Mapping[str, Observed]
    gone: frozenset[str]
    overdue: bool = False


@dataclass(frozen=True)
class Notice:
    """Something that happened to an epoch."""

    kind: Literal["prepared", "activated", "abandoned", "retired"]
    epoch: Epoch
    reason: str = ""


def begin(rollout: Rollout, epoch: Epoch, *, begun_unix_s: float, limit_s: float) -> Rollout:
    """Start preparing a plan.

    Args:
        rollout: A state without an upcoming plan.
        epoch: Its number is higher than any before.
        begun_unix_s: Now. [s since the epoch]
        limit_s: After how long to give it up. [s]

    Raises:
        ValueError: Another plan is being prepared.
    """
    if rollout.upcoming is not None:
        raise ValueError(f"epoch {rollout.upcoming.number} is still being prepared")
    return msgspec.structs.replace(
        rollout, upcoming=epoch, activating=False, begun_unix_s=begun_unix_s, limit_s=limit_s
    )


def remaining_s(rollout: Rollout, now_unix_s: float, most_s: float) -> float:
    """What a restarted caller still gives the upcoming plan. [s]

    Monotonic clocks begin anew with a reboot and wall clocks may be set: whatever the clock says, this is between 0
    and the time the plan had in the first place.

    Args:
        rollout: As it was remembered.
        now_unix_s: Now. [s since the epoch]
        most_s: What nobody who still waits for it would grant more than. [s]
    """
    left_s = rollout.begun_unix_s + rollout.limit_s - now_unix_s
    return max(0.0, min(left_s, rollout.limit_s, most_s))


def with_fallbacks(rollout: Rollout, fallbacks: tuple[FallbackEpoch, ...]) -> Rollout:
    """Give the active plan other fallbacks; those it had may have requests in flight, so they end like plans."""
    kept = {fallback.number: fallback for fallback in fallbacks}
    dropped = tuple(fallback for fallback in rollout.fallbacks if fallback.number not in kept)
    return msgspec.structs.replace(
        rollout, fallbacks=fallbacks, retiring=(*rollout.retiring, *_retired(rollout, dropped))
    )


def advance(rollout: Rollout, world: World) -> tuple[Rollout, tuple[Notice, ...]]:
    """Take every step that what nodes report allows."""
    notices: list[Notice] = []
    if rollout.upcoming is not None:
        rollout = _advance_upcoming(rollout, rollout.upcoming, world, notices)
    rollout = _advance_fallbacks(rollout, world)
    kept: list[Epoch] = []
    for plan in rollout.retiring:
        if _drained(plan, world):
            notices.append(Notice("retired", plan))
        else:
            kept.append(plan)
    if len(kept) < len(rollout.retiring):
        rollout = msgspec.structs.replace(rollout, retiring=tuple(kept))
    return rollout, tuple(notices)


def _advance_upcoming(rollout: Rollout, upcoming: Epoch, world: World, notices: list[Notice]) -> Rollout:
    if reason := _failure(rollout, upcoming, world):
        notices.append(Notice("abandoned", upcoming, reason))
        # Once the source was told to serve it, requests may be in flight on it: let them end.
        retiring = (*rollout.retiring, upcoming) if rollout.activating else rollout.retiring
        return msgspec.structs.replace(rollout, upcoming=None, activating=False, retiring=retiring)
    if not rollout.activating:
        if not all(_is_prepared(world.observed.get(node), upcoming.number) for node in upcoming.participants):
            return rollout
        notices.append(Notice("prepared", upcoming))
        rollout = msgspec.structs.replace(rollout, activating=True)
    source = world.observed.get(upcoming.source)
    if source is None or source.serving != upcoming.number:
        return rollout
    notices.append(Notice("activated", upcoming))
    retiring = rollout.retiring if rollout.active is None else (*rollout.retiring, rollout.active)
    retiring += _retired(rollout, rollout.fallbacks)
    return msgspec.structs.replace(
        rollout, active=upcoming, upcoming=None, activating=False, retiring=retiring, fallbacks=()
    )


def _advance_fallbacks(rollout: Rollout, world: World) -> Rollout:
    fallbacks = tuple(
        msgspec.structs.replace(
            fallback,
            ready=all(_is_prepared(world.observed.get(node), fallback.number) for node in fallback.participants),
        )
        for fallback in rollout.fallbacks
    )
    return rollout if fallbacks == rollout.fallbacks else msgspec.structs.replace(rollout, fallbacks=fallbacks)


def _retired(rollout: Rollout, fallbacks: tuple[FallbackEpoch, ...]) -> tuple[Epoch, ...]:
    """Fallbacks of the active plan as plans that end."""
    if rollout.active is None:
        return ()
    source = rollout.active.source
    return tuple(
        Epoch(number=fallback.number, source=source, participants=fallback.participants) for fallback in fallbacks
    )


def _failure(rollout: Rollout, upcoming: Epoch, world: World) -> str:
    for node in upcoming.participants:
        if node in world.gone:
            return f"node {node} left"
        state = _state(world.observed.get(node), upcoming.number)
        # What fails in passing the node tries again: the change waits for it until its time is up.
        if state is not None and state.state == "failed" and state.retry is None:
            return f"node {node} could not prepare it: {state.detail or 'it gave no reason'}"
    if not world.overdue:
        return ""
    source = world.observed.get(upcoming.source)
    if rollout.activating and source is not None and source.serving == upcoming.number:
        return ""  # it made it; whoever restarts finds it serving, however late that is
    waiting = [node for node in upcoming.participants if not _is_prepared(world.observed.get(node), upcoming.number)]
    if waiting:
        states = {node: _state(world.observed.get(node), upcoming.number) for node in waiting}
        causes = [f"{node}: {state.detail}" for node, state in states.items() if state is not None and state.detail]
        return f"{', '.join(waiting)} did not prepare it in time" + (f" ({'; '.join(causes)})" if causes else "")
    return f"its source {upcoming.source} did not start serving it in time"


def _is_prepared(observed: Observed | None, epoch: int) -> bool:
    state = _state(observed, epoch)
    return state is not None and state.state == "prepared"


def _drained(epoch: Epoch, world: World) -> bool:
    source = world.observed.get(epoch.source)
    if epoch.source in world.gone:
        return True
    if source is None:
        return False  # it has not spoken yet; it will, since it still should hold the epoch
    state = _state(source, epoch.number)
    return source.serving != epoch.number and (state is None or state.in_flight == 0)


def _state(observed: Observed | None, epoch: int) -> EpochState | None:
    return next((state for state in observed.epochs if state.epoch == epoch), None) if observed is not None else None
