"""Trigger of a plan: why a model is planned, what is known meanwhile, and what came of it.

Owns: the small values of planning on demand and by itself. Its rule: values only. Not here: deciding (`deciding/deployer.py`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, field

from edgesplit.planning.problem import Problem
from edgesplit.retrying import Retry
from edgesplit_controller.deciding.changes.fleet_figures import Figures
from edgesplit_controller.deciding.changes.fleet_snapshot import FleetSnapshot
from edgesplit_controller.deciding.changes.impact.compute_impact import ComputeImpact
from edgesplit_controller.deciding.changes.impact.link_impact import LinkImpact
from edgesplit_controller.storage.deployment_state import PlanRecord, Tightening

__all__ = ["Learned", "ModelChange", "ModelWatch", "Trigger"]


Learned = tuple[Mapping[tuple[str, str], float], Mapping[tuple[str, str, str, str], float], tuple[float, ...]]
"""What predictions rest on beside a problem: times of components [s], of codings [1], of handling [s]."""


@dataclass(frozen=True)
class ModelChange:
    """What came of planning.

    Attributes:
        changed: The assignment differs from before.
        unsure: A better plan was held back because its gain is unsure.
    """

    epoch: int
    changed: bool
    reason: str
    unsure: bool = False


@dataclass(frozen=True)
class Trigger:
    """Why a model is planned.

    Attributes:
        cause: In a few words, for people.
        forced: Hysteresis does not apply.
        deadline_s: When the new epoch is given up, on the deployer's clock. [s]
        answers: People were told of it, so they are told what came of it.
        kind: The same as `cause` for programs: a kind of `Reason`, or deployed, goals-set, model-replaced, node-drained,
            limit-broken or gain-unsure.
    """

    cause: str
    forced: bool
    deadline_s: float
    answers: bool = True
    _: KW_ONLY
    kind: str


@dataclass
class ModelWatch:
    """What is known of a model's planning but not persisted.

    Attributes:
        lock: Held during a change.
        dirty: Something about the fleet changed since the watcher looked.
        figures: What the last decision stood on.
        snapshot: What the fleet looked like when a problem was last stated.
        impact: What a plan has at stake on links and nodes, and which plan.
        refreshed: The last problem, and what was learned beside it, that the serving plan's predictions were compared with.
        refreshed_s: When that was, on the deployer's clock. [s]
        complaint: Why there was no problem to solve when it was last stated, or empty.
        doubt: A better plan was held back because its gain was unsure, up to now, and is looked at again.
        unsure: It is time to.
        breach: Epoch and tightening that were last planned for.
        slow: Epoch whose plan fell behind the rate asked for, and its rate when it was last planned for. [1/s]
        retry: Plans made by itself were given up, up to now, and are made again.
        tried: Figures under which the last of them was.
        missed: What was told to keep a fixed plan from serving, or to be broken by it; empty where nothing is.
    """

    task: asyncio.Task[None] | None = None
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    dirty: asyncio.Event = field(default_factory=asyncio.Event)
    figures: Figures | None = None
    snapshot: FleetSnapshot | None = None
    impact: tuple[PlanRecord, LinkImpact, ComputeImpact] | None = None
    refreshed: tuple[Problem, Learned] | None = None
    refreshed_s: float = float("-inf")
    complaint: str = ""
    doubt: Retry | None = None
    unsure: bool = False
    breach: tuple[int, Tightening] | None = None
    slow: tuple[int, float | None] | None = None
    retry: Retry | None = None
    tried: Figures | None = None
    missed: str = ""
