"""How one model moves from plan to plan without losing a request.

Owns: the state machine make-before-break: an upcoming epoch is prepared on all its nodes, then the source starts new
requests on it, then the old one is retired once its last request ended. Beside what serves, nodes keep spares: plans
for the loss of a node. Its rule: pure and level-triggered; `advance`
looks at what nodes report now, in whatever order it came, and what every node should hold follows from the state
alone. An epoch serves only after every participant prepared it, and what serves is never taken away before that; a
spare is offered to the source only while all its nodes have it ready.
Not here: making plans, messages, waiting.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import msgspec

from edgesplit.control.plan_messages import EpochState, Observed
from edgesplit_controller.storage.rollout_state import EpochPlan, FallbackEpoch, Rollout

__all__ = [
    "Notice",
    "Part",
    "World",
    "advance",
    "begin",
    "parts",
    "remaining_s",
    "with_spares",
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
    plan: EpochPlan
    reason: str = ""


@dataclass(frozen=True)
class Part:
    """What one node should hold of a model.

    Attributes:
        plans: Epochs whose part of this node it prepares and keeps, spares among them.
        local: Fallback epochs it keeps as their source.
        serve: Epoch new requests start on, on a source.
        fallback: Fallback of the served epoch.
        spares: On the source of the active plan: lost node to the epoch that is ready to stand in for it.
    """

    plans: tuple[int, ...]
    local: tuple[int, ...]
    serve: int | None
    fallback: int | None
    spares: Mapping[str, int] = field(default_factory=dict[str, int])


def begin(rollout: Rollout, plan: EpochPlan, *, begun_unix_s: float, limit_s: float) -> Rollout:
    """Start preparing a plan.

    Args:
        rollout: A state without an upcoming plan.
        plan: Its epoch is higher than any before.
        begun_unix_s: Now. [s since the epoch]
        limit_s: After how long to give it up. [s]

    Raises:
        ValueError: Another plan is being prepared.
    """
    if rollout.upcoming is not None:
        raise ValueError(f"epoch {rollout.upcoming.epoch} is still being prepared")
    return msgspec.structs.replace(rollout, upcoming=plan, activating=False, begun_unix_s=begun_unix_s, limit_s=limit_s)


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


def with_spares(rollout: Rollout, spares: tuple[FallbackEpoch, ...]) -> Rollout:
    """Give the active plan other spares; those it had may have requests in flight, so they end like plans."""
    kept = {spare.epoch: spare for spare in spares}
    dropped = tuple(spare for spare in rollout.spares if spare.epoch not in kept)
    return msgspec.structs.replace(rollout, spares=spares, retiring=(*rollout.retiring, *_retired(rollout, dropped)))


def advance(rollout: Rollout, world: World) -> tuple[Rollout, tuple[Notice, ...]]:
    """Take every step that what nodes report allows."""
    notices: list[Notice] = []
    if rollout.upcoming is not None:
        rollout = _advance_upcoming(rollout, rollout.upcoming, world, notices)
    rollout = _advance_spares(rollout, world)
    kept: list[EpochPlan] = []
    for plan in rollout.retiring:
        if _drained(plan, world):
            notices.append(Notice("retired", plan))
        else:
            kept.append(plan)
    if len(kept) < len(rollout.retiring):
        rollout = msgspec.structs.replace(rollout, retiring=tuple(kept))
    return rollout, tuple(notices)


def parts(rollout: Rollout) -> dict[str, Part]:
    """What every node should hold, from the state alone."""
    nodes = {node for plan in rollout.plans for node in (*plan.participants, plan.source)}
    nodes |= {node for spare in rollout.spares for node in spare.participants}
    return {node: _part(rollout, node) for node in sorted(nodes)}


def _advance_upcoming(rollout: Rollout, upcoming: EpochPlan, world: World, notices: list[Notice]) -> Rollout:
    if reason := _failure(rollout, upcoming, world):
        notices.append(Notice("abandoned", upcoming, reason))
        # Once the source was told to serve it, requests may be in flight on it: let them end.
        retiring = (*rollout.retiring, upcoming) if rollout.activating else rollout.retiring
        return msgspec.structs.replace(rollout, upcoming=None, activating=False, retiring=retiring)
    if not rollout.activating:
        if not all(_is_prepared(world.observed.get(node), upcoming.epoch) for node in upcoming.participants):
            return rollout
        notices.append(Notice("prepared", upcoming))
        rollout = msgspec.structs.replace(rollout, activating=True)
    source = world.observed.get(upcoming.source)
    if source is None or source.serving != upcoming.epoch:
        return rollout
    notices.append(Notice("activated", upcoming))
    retiring = rollout.retiring if rollout.active is None else (*rollout.retiring, rollout.active)
    retiring += _retired(rollout, rollout.spares)
    return msgspec.structs.replace(
        rollout, active=upcoming, upcoming=None, activating=False, retiring=retiring, spares=()
    )


def _advance_spares(rollout: Rollout, world: World) -> Rollout:
    spares = tuple(
        msgspec.structs.replace(
            spare, ready=all(_is_prepared(world.observed.get(node), spare.epoch) for node in spare.participants)
        )
        for spare in rollout.spares
    )
    return rollout if spares == rollout.spares else msgspec.structs.replace(rollout, spares=spares)


def _retired(rollout: Rollout, spares: tuple[FallbackEpoch, ...]) -> tuple[EpochPlan, ...]:
    """Spares of the active plan as plans that end."""
    if rollout.active is None:
        return ()
    source = rollout.active.source
    return tuple(EpochPlan(epoch=spare.epoch, source=source, participants=spare.participants) for spare in spares)


def _failure(rollout: Rollout, upcoming: EpochPlan, world: World) -> str:
    for node in upcoming.participants:
        if node in world.gone:
            return f"node {node} left"
        state = _state(world.observed.get(node), upcoming.epoch)
        # What fails in passing the node tries again: the change waits for it until its time is up.
        if state is not None and state.state == "failed" and state.retry is None:
            return f"node {node} could not prepare it: {state.detail or 'it gave no reason'}"
    if not world.overdue:
        return ""
    source = world.observed.get(upcoming.source)
    if rollout.activating and source is not None and source.serving == upcoming.epoch:
        return ""  # it made it; whoever restarts finds it serving, however late that is
    waiting = [node for node in upcoming.participants if not _is_prepared(world.observed.get(node), upcoming.epoch)]
    if waiting:
        states = {node: _state(world.observed.get(node), upcoming.epoch) for node in waiting}
        causes = [f"{node}: {state.detail}" for node, state in states.items() if state is not None and state.detail]
        return f"{', '.join(waiting)} did not prepare it in time" + (f" ({'; '.join(causes)})" if causes else "")
    return f"its source {upcoming.source} did not start serving it in time"


def _is_prepared(observed: Observed | None, epoch: int) -> bool:
    state = _state(observed, epoch)
    return state is not None and state.state == "prepared"


def _drained(plan: EpochPlan, world: World) -> bool:
    source = world.observed.get(plan.source)
    if plan.source in world.gone:
        return True
    if source is None:
        return False  # it has not spoken yet; it will, since it still should hold the epoch
    state = _state(source, plan.epoch)
    return source.serving != plan.epoch and (state is None or state.in_flight == 0)


def _state(observed: Observed | None, epoch: int) -> EpochState | None:
    return next((state for state in observed.epochs if state.epoch == epoch), None) if observed is not None else None


def _part(rollout: Rollout, node: str) -> Part:
    held = [plan.epoch for plan in rollout.plans if node in plan.participants]
    held += [spare.epoch for spare in rollout.spares if node in spare.participants]
    local = tuple(plan.fallback for plan in rollout.plans if plan.source == node and plan.fallback is not None)
    served = _served(rollout, node)
    return Part(
        plans=tuple(sorted(set(held))),
        local=tuple(sorted(set(local))),
        serve=None if served is None else served.epoch,
        fallback=None if served is None else served.fallback,
        spares=_ready(rollout) if served is not None and served == rollout.active else {},
    )


def _ready(rollout: Rollout) -> dict[str, int]:
    return {node: spare.epoch for spare in rollout.spares if spare.ready for node in spare.lost}


def _served(rollout: Rollout, node: str) -> EpochPlan | None:
    if rollout.activating and rollout.upcoming is not None and rollout.upcoming.source == node:
        return rollout.upcoming
    if rollout.active is not None and rollout.active.source == node:
        return rollout.active
    return None
