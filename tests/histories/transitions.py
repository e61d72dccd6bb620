"""Audit of the histories: which transitions of which state machine they took, and which they have to take.

Owns: counting, and the table of what must have happened somewhere within some thousands of histories. Its rule: it watches from outside,
by subclasses that change nothing; a transition that is counted and not in the table is fine, one that is in the table and was never taken
fails the run. Not here: what a transition must lead to (`convergence.py`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

from edgesplit.mqtt.name_registration import Registration
from edgesplit_agent.serving.machine.actions import Action, EmitEvent, FailRequest
from edgesplit_agent.serving.machine.agent_machine import AgentMachine
from edgesplit_agent.serving.machine.events import MachineEvent
from edgesplit_controller.rollout.driver import Rollouts
from edgesplit_controller.rollout.steps import Notice
from edgesplit_controller.storage.deployment_state import DeploymentState
from edgesplit_controller.storage.rollout_state import Rollout

__all__ = ["DECLARED", "counted", "never_taken"]

counts = Counter[str]()
"""Of the histories of this process."""

EVENTS = (
    "DesiredChanged",
    "DeploymentChanged",
    "ModelOffered",
    "EpochPrepared",
    "EpochFailed",
    "CauseReturned",
    "RequestArrived",
    "TensorsArrived",
    "ComponentFinished",
    "SendFailed",
    "PeerLost",
    "PeerRoom",
    "PeerUp",
    "AbortReceived",
    "Tick",
)
"""Of the agent's machine; shadow checks, pressed peers, joint requests, cancelled and refused ones are not simulated."""
EPOCHS = (
    "DesiredChanged: absent -> preparing",
    "DesiredChanged: preparing -> absent",
    "DesiredChanged: failed -> absent",
    "DesiredChanged: prepared -> absent",
    "DesiredChanged: prepared -> draining",
    "DesiredChanged: draining -> prepared",
    "EpochPrepared: preparing -> prepared",
    "EpochFailed: preparing -> failed",
    "Tick: failed -> preparing",
    "CauseReturned: failed -> preparing",
    "PeerUp: failed -> preparing",
    "ComponentFinished: draining -> absent",
    "TensorsArrived: draining -> absent",
    "AbortReceived: draining -> absent",
    "PeerLost: draining -> absent",
    "SendFailed: draining -> absent",
)
"""Of one epoch on one node: event, state before, state after."""
SERVING = ("none -> epoch", "epoch -> epoch", "epoch -> none", "fallback-engaged", "fallback-left", "peer-back")
ANSWERS = ("CompleteRequest", "ForwardRequest", "SendAbort", "not-deployed", "peer-unreachable", "preparation-failed")
ROLLOUTS = (
    "nothing -> preparing",
    "serving -> serving and preparing",
    "preparing -> activating (prepared)",
    "preparing -> nothing (abandoned)",
    "activating -> serving (activated)",
    "activating -> nothing (abandoned)",
    "serving and preparing -> serving and activating (prepared)",
    "serving and activating -> serving (activated)",
    "serving and activating -> serving (abandoned)",
    "serving and preparing -> serving (abandoned)",
    "serving -> serving (retired)",
    "serving -> undeployed",
)
"""Of one model's rollout: where it stood, where it stands, what was told."""
CLAIMS = (
    "away -> claiming",
    "claiming -> held",
    "claiming -> refused",
    "claiming -> away",
    "held -> away",
    "held -> refused",
    "refused -> claiming",
    "refused -> away",
)
"""Of the claim of a name."""
DECLARED = (
    *(f"event {name}" for name in EVENTS),
    *(f"epoch {name}" for name in EPOCHS),
    *(f"serving {name}" for name in SERVING),
    *(f"answer {name}" for name in ANSWERS),
    *(f"rollout {name}" for name in ROLLOUTS),
    *(f"claim {name}" for name in CLAIMS),
)


def never_taken(taken: Counter[str]) -> list[str]:
    """Transitions of the table that no history took."""
    return [name for name in DECLARED if not taken[name]]


class CountedMachine(AgentMachine):
    """The agent's state machine, watched."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._states = self._epochs()
        self._serves = self._served()

    def handle(self, event: MachineEvent, now_s: float) -> list[Action]:
        name = type(event).__name__
        actions = super().handle(event, now_s)
        counts[f"event {name}"] += 1
        if name == "Tick" and not actions:
            return actions  # most of them, and nothing changed: whatever does is reported
        before, served = self._states, self._serves
        after, serves = self._epochs(), self._served()
        self._states, self._serves = after, serves
        if before != after:
            for key in before.keys() | after.keys():
                old, new = before.get(key, "absent"), after.get(key, "absent")
                if old != new:
                    counts[f"epoch {name}: {old} -> {new}"] += 1
        for model, epoch in serves.items():
            old_epoch = served.get(model)
            if old_epoch != epoch:
                ends = tuple("none" if number is None else "epoch" for number in (old_epoch, epoch))
                counts[f"serving {ends[0]} -> {ends[1]}"] += 1
        for action in actions:
            if isinstance(action, EmitEvent):
                counts[f"serving {action.kind}"] += 1
            elif isinstance(action, FailRequest):
                counts[f"answer {action.error.code}"] += 1
            else:
                counts[f"answer {type(action).__name__}"] += 1
        return actions

    def _epochs(self) -> dict[tuple[str, int], str]:
        return {
            (model, number): held.state for model, epochs in self.models.items() for number, held in epochs.held.items()
        }

    def _served(self) -> dict[str, int | None]:
        return {model: epochs.current for model, epochs in self.models.items()}


class _CountedRegistration(Registration):
    """The claim of a name, watched."""

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "standing":
            before = getattr(self, "standing", "away")
            if before != value:
                counts[f"claim {before} -> {value}"] += 1
        super().__setattr__(name, value)


def _place(rollout: Rollout | None) -> str:
    if rollout is None:
        return "undeployed"
    serving = "serving" if rollout.active is not None else ""
    changing = "" if rollout.upcoming is None else "activating" if rollout.activating else "preparing"
    return " and ".join(filter(None, (serving, changing))) or "nothing"


def _note(before: Rollout | None, after: Rollout | None, notices: Iterable[Notice]) -> None:
    # That others ended in the same step makes no other transition of it.
    kinds = [notice.kind for notice in notices]
    told = ", ".join([kind for kind in kinds if kind != "retired"] or kinds[:1])
    counts[f"rollout {_place(before)} -> {_place(after)}" + (f" ({told})" if told else "")] += 1


@contextmanager
def counted() -> Iterator[Counter[str]]:
    """Count what happens within this context."""
    counts.clear()
    commit, keep, drop = Rollouts._commit, Rollouts.roll_out, Rollouts.drop

    def counted_commit(
        self: Rollouts, model: str, deployment: DeploymentState, rollout: Rollout, notices: tuple[Notice, ...]
    ) -> None:
        commit(self, model, deployment, rollout, notices)
        _note(deployment.rollout, rollout, notices)

    def counted_begin(self: Rollouts, model: str, deployment: DeploymentState, *more: Any) -> Any:
        outcome = keep(self, model, deployment, *more)
        _note(
            deployment.rollout, self.state.deployments[model].rollout if model in self.state.deployments else None, ()
        )
        return outcome

    def counted_drop(self: Rollouts, model: str, **changes: object) -> None:
        deployment = self.state.deployments.get(model)
        drop(self, model, **changes)
        if deployment is not None and deployment.rollout.active is not None:
            _note(deployment.rollout, None, ())

    with (
        patch.object(Rollouts, "_commit", counted_commit),
        patch.object(Rollouts, "roll_out", counted_begin),
        patch.object(Rollouts, "drop", counted_drop),
        patch("edgesplit.mqtt.name_claim.Registration", _CountedRegistration),
    ):
        yield counts
