"""Relevance of a change of the fleet: whether it is worth planning a model again, and worth telling.

Owns: the one place where a change is judged for a deployed model: first cheaply, from what nodes said, then against the
stated problem. Its rule: a change counts by what it can do to a plan; what only scatters costs a snapshot. Not here: the
comparisons (`changes/impact/link_impact.py`, `changes/impact/compute_impact.py`, `changes/fleet_snapshot.py`, `changes/replan_reasons.py`),
planning again (`replanner.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from edgesplit.control.event_messages import EventData, EventLevel
from edgesplit.planning.goals import Goals
from edgesplit.planning.problem import Problem
from edgesplit_controller.configuration import Thresholds
from edgesplit_controller.deciding.changes.declined import DeclinedPlans
from edgesplit_controller.deciding.changes.fixed_plan_standing import missed
from edgesplit_controller.deciding.changes.fleet_figures import Figures, figures_of
from edgesplit_controller.deciding.changes.fleet_snapshot import FleetSnapshot
from edgesplit_controller.deciding.changes.impact.compute_impact import ComputeImpact, compute_impact_of
from edgesplit_controller.deciding.changes.impact.link_impact import LinkImpact, impact_of
from edgesplit_controller.deciding.changes.replan_reasons import Reason, reasons
from edgesplit_controller.deciding.changes.trigger import ModelWatch
from edgesplit_controller.deciding.plan_maker import PlanMaker
from edgesplit_controller.event_log import EventLog
from edgesplit_controller.rollout.driver import Rollouts
from edgesplit_controller.storage.deployment_state import PlanRecord

__all__ = ["Relevance"]

REFRESH_LINKS_EVERY_S = 10.0
"""What a link makes of the prediction that is shown, where it is no reason to plan again. [s]"""


class Relevance:
    """Judges changes for all models.

    Args:
        rollouts: How their noise models are tightened.
        maker: Knows timed components.
        declined: What was planned in vain, and what was told.
        events: Where links are told.
        thresholds: How much is enough.
        clock: Monotonic, the deployer's. [s]
    """

    def __init__(
        self,
        rollouts: Rollouts,
        maker: PlanMaker,
        *,
        declined: DeclinedPlans,
        events: EventLog,
        thresholds: Thresholds,
        clock: Callable[[], float],
    ) -> None:
        self._rollouts = rollouts
        self._maker = maker
        self._declined = declined
        self._events = events
        self._thresholds = thresholds
        self._clock = clock

    def worth_stating(
        self, model: str, watch: ModelWatch, active: PlanRecord, goals: Goals, snapshot: FleetSnapshot
    ) -> bool:
        """Whether a planning problem stated now could lead to anything."""
        if watch.snapshot is None or snapshot.differs(watch.snapshot) or active.goals != goals:
            return True
        tightening = self._rollouts.state.tightenings.get(model) if not active.fixed else None
        if tightening is not None and watch.breach != (active.epoch.number, tightening):
            return True
        if watch.refreshed is not None and watch.refreshed[1] != self._maker.learned(model):
            return True
        impact, decided = self._impact(watch, active)[0], watch.figures or figures_of(active.problem)
        if (
            snapshot.changes_predictions(watch.snapshot, impact)
            and self._clock() - watch.refreshed_s >= REFRESH_LINKS_EVERY_S
        ):
            return True
        found = snapshot.reasons(decided, self._thresholds, impact)
        return any(not reason.quiet for reason in found) or (bool(found) and self._declined.may_try(model))

    def reasons(
        self,
        model: str,
        watch: ModelWatch,
        active: PlanRecord,
        problem: Problem,
        snapshot: FleetSnapshot,
        *,
        since: Figures | None = None,
    ) -> tuple[Reason, ...]:
        """Why to plan a model again, as its problem is now; chances that came to nothing lately are left out.

        Args:
            model: Its name.
            watch: What the last decision stood on.
            active: The plan that serves.
            problem: With the present figures.
            snapshot: Knows how links scatter.
            since: Figures to compare with in place of the last decision's.
        """
        before = since or watch.figures or figures_of(active.problem)
        links, compute = self._impact(watch, active)
        found = reasons(
            before,
            figures_of(problem),
            self._thresholds,
            links,
            snapshot.scatter,
            compute=compute,
            unrest=snapshot.unrest,
        )
        found = tuple(map(self._named, found))
        may_try = self._declined.may_try(model)
        return tuple(reason for reason in found if may_try or not reason.quiet or self._comes_back(model, reason))

    def _named(self, reason: Reason) -> Reason:
        """That a node left plans because somebody drained it."""
        if reason.kind == "node-left" and reason.node in self._rollouts.state.drained:
            return replace(reason, text=f"node {reason.node} is drained")
        return reason

    def _comes_back(self, model: str, reason: Reason) -> bool:
        """Whether a link came up that does not do so all the time: a node's links come up one by one, and it takes several to use it."""
        return reason.kind == "link-appeared" and self._declined.may_tell("appeared", model, reason.node, reason.to)

    def tell(self, model: str, found: Sequence[Reason]) -> bool:
        """Tell of links that the serving plan feels; whether people know of any of the reasons."""
        known = False
        for reason in found:
            if not reason.kind.startswith("link-"):
                known = True
            elif not reason.quiet and self._declined.may_tell("link", model, reason.node, reason.to):
                data: EventData = {"from": reason.node, "to": reason.to, "share_of_plan": reason.share or None}
                level: EventLevel = "warning" if reason.kind == "link-lost" else "info"
                self._events.add("link-changed", reason.text, model=model, node=reason.node, data=data, level=level)
                known = True
        return known

    def tell_standing(self, model: str, watch: ModelWatch, plan: PlanRecord, problem: Problem) -> None:
        """Tell once that a fixed plan cannot be served, or breaks a limit, and once that all is well again."""
        before, watch.missed = watch.missed, missed(problem, plan)
        if watch.missed == before:
            return
        number = plan.epoch.number
        if watch.missed:
            text = f"{model}'s fixed plan, epoch {number}, {watch.missed}"
            self._events.add("fixed-plan-missed", text, model=model, data={"epoch": number})
            return
        text = f"{model}'s fixed plan, epoch {number}, can be served as it was asked for again"
        self._events.add("fixed-plan-kept", text, model=model, data={"epoch": number})

    def _impact(self, watch: ModelWatch, active: PlanRecord) -> tuple[LinkImpact, ComputeImpact]:
        if watch.impact is None or watch.impact[0] is not active:
            floor_s = self._thresholds.latency_floor_s
            links = impact_of(active.problem, active.assignment, active.evaluation, floor_s)
            compute = compute_impact_of(active.problem, active.assignment, active.evaluation)
            watch.impact = active, links, compute
        return watch.impact[1:]
