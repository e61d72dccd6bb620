"""Handling of requests beside their plans' timelines, as sources saw it, by model and source.

Owns: what sources counted of served requests, and the estimate that follows. Its rule: a plan is told apart by what it is, not by
its number, so that one that comes back is predicted as it was; counts of a plan that is not active, or whose prediction is not
known, say nothing, nor do those of requests of other sizes than it predicts. Not here: the reasoning (`estimation/handling_estimate.py`), what a plan's timeline is (`planner`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping

import msgspec

from edgesplit.control.figure_messages import Usage
from edgesplit.planning.plan import Assignment
from edgesplit.planning.problem import Problem
from edgesplit.significance import CORRECTION_CHANGE
from edgesplit_controller.fleet.estimation.handling_estimate import (
    Handling,
    PlanShape,
    client_s,
    expected_handling,
    served_requests,
)
from edgesplit_controller.fleet.estimation.interval_trials import WARMING, Trials, tried
from edgesplit_controller.storage.deployment_state import DeploymentState

__all__ = ["HandlingBook", "shape_of"]


class HandlingBook:
    """All models at their sources.

    Args:
        deployments: By model.
    """

    def __init__(self, deployments: Callable[[], Mapping[str, DeploymentState]]) -> None:
        self._deployments = deployments
        self._handling: dict[tuple[str, str], Handling] = {}
        self._trials: dict[tuple[str, str], Trials] = {}
        self._told_s: dict[str, tuple[int, float]] = {}
        """Model to the epoch, and what handling took when predictions last differed notably. [s]"""
        self._served: dict[str, tuple[int, int]] = {}
        """Model to the epoch that serves, and how many requests it served."""

    def add(self, usage: Usage) -> bool:
        """Take in what a node counted since the message before; whether predictions differ notably from before."""
        deployment = self._deployments().get(usage.model)
        plan = deployment.active if deployment is not None else None
        if plan is None or usage.requests < 1 or usage.failed or usage.node != plan.epoch.source or usage.unplanned:
            return False
        if usage.epoch != plan.epoch.number:
            return False
        key = usage.model, usage.node
        timeline_s = plan.evaluation.timeline_s - plan.problem.handling_s
        shape = shape_of(plan.problem, plan.assignment, timeline_s)
        latency_s = (usage.latency_sum_s - usage.waiting_s) / usage.requests
        if plan.latency_interval_s is not None:
            as_client_s = latency_s + client_s(shape)
            trials = self._trials.get(key, Trials())
            self._trials[key] = tried(trials, usage.epoch, plan.latency_interval_s, as_client_s, usage.requests)
        epoch, before = self._served.get(usage.model, (usage.epoch, 0))
        before = before if epoch == usage.epoch else 0
        self._served[usage.model] = usage.epoch, before + usage.requests
        if before < WARMING:
            return False  # they found every cache cold; what follows does not
        now = served_requests(self._handling.get(key, Handling()), shape, latency_s, usage.requests)
        self._handling[key] = now
        handling_s = expected_handling(now, shape)[0]
        epoch, before_s = self._told_s.get(usage.model, (usage.epoch, plan.problem.handling_s))
        before_s = before_s if epoch == usage.epoch else plan.problem.handling_s
        if abs(handling_s - before_s) <= CORRECTION_CHANGE / 2 * timeline_s:
            return False
        self._told_s[usage.model] = usage.epoch, handling_s
        return True

    def stretch(self, model: str, source: str) -> float:
        """What intervals of a model's plans are wider by than spreads say, for nine of ten to hold. [1]"""
        return self._trials.get((model, source), Trials()).stretch

    def told_s(self, model: str) -> tuple[float, ...]:
        """What changes whenever predictions of a model differ notably. [s]"""
        return (self._told_s[model][1],) if model in self._told_s else ()

    def believed(self, model: str, source: str) -> Handling:
        """What is believed of a model's requests at a source."""
        return self._handling.get((model, source), Handling())

    def forget_model(self, model: str) -> None:
        """A model is gone."""
        self._handling = {key: handling for key, handling in self._handling.items() if key[0] != model}
        self._trials = {key: trials for key, trials in self._trials.items() if key[0] != model}
        self._told_s.pop(model, None)
        self._served.pop(model, None)


def shape_of(problem: Problem, assignment: Assignment, timeline_s: float) -> PlanShape:
    """What handling a request of a plan depends on."""
    crossings, nbytes = 0, 0.0
    roles = {operator.name for operator in problem.operators if operator.role is not None}
    for tensor in problem.tensors:
        sender = assignment.node_of[tensor.producer]
        crossings += len({assignment.node_of[name] for name in tensor.consumers} - {sender})
        if tensor.producer in roles or not roles.isdisjoint(tensor.consumers):
            nbytes += tensor.bytes
    parts = sorted(assignment.node_of.items()), sorted(assignment.quantized), sorted(assignment.codecs.items())
    key = hashlib.sha256(msgspec.json.encode(parts)).hexdigest()[:16]
    return PlanShape(key, crossings, nbytes, timeline_s)
