"""Dynamic batching: requests of one model that come together are computed as one, row under row.

Owns: which requests wait for others, the joint requests under way, and the trials that epochs pass before. Its rule: a request waits
only while another of its model is under way, no longer than the window or a small share of its time; whatever goes wrong with a
joint request, its members are run again one by one, and never joined again. An epoch joins requests once a trial has shown that
rows get what they get alone, for that the first axes have one name says nothing of what a model does along them. Not here: the
arrays (`admitting/gathering.py`), requests by themselves (`request_flow.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from edgesplit.errors import InvalidTensor, RequestFailed, SizesRefused
from edgesplit.late_libraries import np
from edgesplit.wire.headers import ExecutionKey, joint_name
from edgesplit.wire.tensors import Array
from edgesplit_agent.serving.machine.actions import Action, EmitEvent, WakeAt
from edgesplit_agent.serving.machine.admitting.gathering import (
    Alike,
    Gathering,
    Gatherings,
    rows_of,
    same_rows,
    stacked,
)
from edgesplit_agent.serving.machine.client_request import ClientRequest, RequestTable
from edgesplit_agent.serving.machine.epochs import HeldEpoch, ModelEpochs

__all__ = ["JointRequests", "Starter"]

WAITING_SHARE = 0.05
"""Of its time that a request may spend waiting for others."""
TRIAL_S = 30.0
"""Longest that a trial takes. [s]"""
REFUSALS = frozenset({RequestFailed.code, SizesRefused.code})
"""What befalls a trial for what it computes, not for what happens to nodes and links meanwhile."""


class Starter(Protocol):
    """Who starts requests."""

    requests: RequestTable
    models: dict[str, ModelEpochs]

    def choose(self, request: ClientRequest, now_s: float) -> int | None:
        """The epoch that a request starts on now."""

    def start(self, request: ClientRequest, number: int | None, now_s: float) -> list[Action]:
        """Begin a request."""
        ...

    def begin(
        self, key: ExecutionKey, held: HeldEpoch, arrays: Mapping[str, Array], expires_at_s: float, now_s: float
    ) -> list[Action]:
        """Begin an execution at its source.

        Raises:
            InvalidTensor: The epoch takes other inputs.
        """
        ...


@dataclass(slots=True)
class _Joint:
    """Requests that are computed as one.

    Attributes:
        rows: Of each of them that still waits for its answer.
        count: Of all rows.
    """

    rows: dict[str, slice]
    count: int


@dataclass(slots=True)
class _Trial:
    """Requests whose rows are computed a second time, joined, to see whether they get the same.

    Attributes:
        model: Theirs.
        number: Of the epoch.
        generation: Of the same.
        arrays: Inputs of each.
        outputs: Of those that were answered.
    """

    model: str
    number: int
    generation: int
    arrays: dict[str, Mapping[str, Array]]
    outputs: dict[str, Mapping[str, Array]] = field(default_factory=dict[str, Mapping[str, Array]])


class JointRequests:
    """Of one node.

    Args:
        starter: Starts requests.
        window_s: How long a request waits for others; 0: none does. [s]
    """

    def __init__(self, starter: Starter, window_s: float) -> None:
        self._starter = starter
        self._window_s = window_s
        self._gatherings = Gatherings()
        self._joints: dict[str, _Joint] = {}
        self._trials: dict[str, _Trial] = {}

    # --- before ----------------------------------------------------------------------------------------------------

    def gather(self, request: ClientRequest, number: int | None, now_s: float) -> list[Action] | None:
        """Let a new request wait for others; None where it is to start at once."""
        if not self._window_s or number is None or not self._may_wait(request, number):
            return None
        shapes = tuple((name, array.shape[1:]) for name, array in request.arrays.items())
        alike: Alike = (request.model, number, shapes)
        until_s = now_s + min(self._window_s, WAITING_SHARE * request.deadline_s)
        request.gathered = True
        full = self._gatherings.put(alike, request.request, request.arrays, until_s)
        actions: list[Action] = [action for gathering in full for action in self._start(gathering, now_s)]
        return [*actions, WakeAt(until_s)] if request.gathered else actions

    def start_due(self, now_s: float) -> list[Action]:
        """Start what has waited long enough."""
        return [action for due in self._gatherings.take_due(now_s) for action in self._start(due, now_s)]

    def dissolve(self, model: str) -> None:
        """Have requests of a model that wait for others wait for an epoch instead."""
        for gathering in self._gatherings.take(model):
            self._members(gathering)

    def _may_wait(self, request: ClientRequest, number: int) -> bool:
        held, requests = self._starter.models[request.model].held[number], self._starter.requests
        if not held.spec.joinable or held.joins is False or rows_of(request.arrays) < 1:
            return False
        if any(trial.model == request.model for trial in self._trials.values()):
            return False
        return any(other.model == request.model and other is not request for other in requests.values())

    def _members(self, gathering: Gathering) -> list[ClientRequest]:
        """Those of its requests that have not ended; they wait for others no more."""
        requests = self._starter.requests
        members = [requests[name] for name in gathering.members if name in requests]
        for member in members:
            member.gathered = False
        return members

    def _start(self, gathering: Gathering, now_s: float) -> list[Action]:
        members = self._members(gathering)
        model, number, _ = gathering.alike
        if len(members) < 2 or any(self._starter.choose(member, now_s) != number for member in members):
            return self._singly(members, now_s)
        held = self._starter.models[model].held[number]
        if held.joins:
            return self._jointly(members, held, now_s)
        if held.joins is None and not _all_the_same(members):  # which would show nothing
            arrays = {member.request: member.arrays for member in members}
            self._trials[joint_name(members[0].request, 0)] = _Trial(model, number, held.generation, arrays)
        return self._singly(members, now_s)

    def _singly(self, members: list[ClientRequest], now_s: float) -> list[Action]:
        starter = self._starter
        return [action for one in members for action in starter.start(one, starter.choose(one, now_s), now_s)]

    def _jointly(self, members: list[ClientRequest], held: HeldEpoch, now_s: float) -> list[Action]:
        arrays, places = stacked([member.arrays for member in members])
        first, number = members[0], held.spec.epoch
        name = joint_name(first.request, len(members))
        for member, rows in zip(members, places, strict=True):
            member.epoch, member.joint, member.footprint = number, name, held.footprints.of(member.arrays)
            member.arrays = {key: array[rows] for key, array in arrays.items()}  # so that they are held once
        names = [member.request for member in members]
        self._joints[name] = _Joint(dict(zip(names, places, strict=True)), rows_of(arrays))
        expires_at_s = max(member.expires_at_s for member in members)
        try:
            return self._starter.begin(ExecutionKey(first.model, number, name), held, arrays, expires_at_s, now_s)
        except InvalidTensor:
            return self._again(self._joints.pop(name), now_s)

    # --- after -----------------------------------------------------------------------------------------------------

    def left(self, request: ClientRequest) -> bool:
        """A request ended before it was answered; whether others still need its execution."""
        for name, trial in list(self._trials.items()):
            if request.request in trial.arrays.keys() - trial.outputs.keys():
                del self._trials[name]
        joint = self._joints.get(request.joint)
        if joint is None:
            return False
        joint.rows.pop(request.request, None)
        if not joint.rows:
            del self._joints[request.joint]
        return bool(joint.rows)

    def completed(self, key: ExecutionKey, outputs: Mapping[str, Array], now_s: float) -> list[Action] | None:
        """An execution is through: answer those whose rows it computed; None where it is a single request's."""
        if not self._joints and not self._trials:
            return None
        if (trial := self._trials.pop(key.request, None)) is not None:
            return self._judge(trial, outputs)
        joint = self._joints.pop(key.request, None)
        if joint is None:
            return None
        if any(not array.ndim or array.shape[0] != joint.count for array in outputs.values()):
            return [*self._distrust(key.model, key.epoch), *self._again(joint, now_s)]
        answers: list[Action] = []
        for name, rows in joint.rows.items():
            part = {output: array[rows] for output, array in outputs.items()}
            answers.append(self._starter.requests.pop(name).answer(key.epoch, part, now_s))
        return answers

    def answered(self, key: ExecutionKey, outputs: Mapping[str, Array], now_s: float) -> list[Action]:
        """A single request was answered: where it is the last one that a trial waits for, run that."""
        if not self._trials:
            return []
        for name, trial in list(self._trials.items()):
            if key.request not in trial.arrays:
                continue
            held = self._starter.models[key.model].held.get(trial.number)
            if key.epoch != trial.number or held is None or held.generation != trial.generation:
                del self._trials[name]
                return []
            trial.outputs[key.request] = outputs
            if trial.arrays.keys() == trial.outputs.keys():
                arrays, _ = stacked(list(trial.arrays.values()))
                trial_key = ExecutionKey(key.model, trial.number, name)
                try:
                    return self._starter.begin(trial_key, held, arrays, now_s + TRIAL_S, now_s)
                except InvalidTensor:
                    del self._trials[name]
                    return self._distrust(key.model, trial.number)
        return []

    def gave_up(self, key: ExecutionKey, code: str, now_s: float) -> list[Action] | None:
        """An execution came to nothing: run the requests in it one by one; None where it is a single request's.

        Args:
            key: Of the execution.
            code: Of what happened to it.
            now_s: The machine's clock. [s]
        """
        if self._trials.pop(key.request, None) is not None:
            return self._distrust(key.model, key.epoch) if code in REFUSALS else []
        joint = self._joints.pop(key.request, None)
        return None if joint is None else self._again(joint, now_s)

    def _judge(self, trial: _Trial, outputs: Mapping[str, Array]) -> list[Action]:
        if not same_rows(outputs, [trial.outputs[name] for name in trial.arrays]):
            return self._distrust(trial.model, trial.number)
        held = self._starter.models[trial.model].held.get(trial.number)
        if held is not None and held.generation == trial.generation:
            held.joins = True
        return []

    def _distrust(self, model: str, number: int) -> list[Action]:
        """Join no requests of an epoch any more, and say so."""
        held = self._starter.models[model].held.get(number)
        if held is None or held.joins is False:
            return []
        held.joins = False
        text = f"requests of {model} are not joined on epoch {number}: rows computed together do not get what they get alone"
        return [EmitEvent("requests-not-joined", text, model, {"epoch": number})]

    def _again(self, joint: _Joint, now_s: float) -> list[Action]:
        members = [self._starter.requests[name] for name in joint.rows]
        for member in members:
            member.joint, member.epoch = "", None
        return self._singly(members, now_s)


def _all_the_same(members: list[ClientRequest]) -> bool:
    """Whether all of them have the same inputs."""
    first, *others = members
    return all(np.array_equal(first.arrays[name], one.arrays[name]) for one in others for name in first.arrays)
