"""Battery floors: what each model's allows now, and what people are told of it.

Owns: putting together what nodes report of their batteries and how much is asked of them; what each model's last
decision stood on. Its rule: a battery that cannot be read any more limits as it did last. Not here: the formula
(`stating/battery_limit.py`), planning under the limit (`deciding/battery_solving.py`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import msgspec

from edgesplit.errors import InvalidInput
from edgesplit.formatting import joules
from edgesplit.planning.battery_allowance import BatteryAllowance
from edgesplit.planning.goals import Goals
from edgesplit.planning.problem import Problem
from edgesplit_controller.configuration import Thresholds
from edgesplit_controller.deciding.battery_solving import with_limit
from edgesplit_controller.deciding.changes.battery_reason import battery_reason
from edgesplit_controller.deciding.changes.replan_reasons import Reason
from edgesplit_controller.event_log import EventLog
from edgesplit_controller.fleet.registry import Registry
from edgesplit_controller.fleet.traffic import Traffic
from edgesplit_controller.stating.battery_limit import (
    ASSUMED_PER_S,
    BatteryState,
    Demand,
    battery_allowance,
    figures_data,
    keeps,
)
from edgesplit_controller.storage.deployment_state import PlanRecord

__all__ = ["BatteryFloors"]


class BatteryFloors:
    """The batteries of all nodes.

    Args:
        registry: What nodes report of them.
        traffic: What is asked of nodes.
        events: Where limits that moved and floors that are missed are told.
        thresholds: How much must change before a model is planned again.
        clock: Monotonic. [s]
    """

    def __init__(
        self,
        registry: Registry,
        traffic: Traffic,
        events: EventLog,
        thresholds: Thresholds,
        clock: Callable[[], float],
    ) -> None:
        self._registry = registry
        self._traffic = traffic
        self._events = events
        self._thresholds = thresholds
        self._clock = clock
        self._last: dict[str, BatteryState] = {}
        self._decisions: dict[str, tuple[BatteryAllowance | None, float]] = {}

    def forget_node(self, node: str) -> None:
        """A node is gone for good."""
        self._last.pop(node, None)

    def allowance(self, model: str, source: str, goals: Goals) -> BatteryAllowance | None:
        """What a model's floor allows each request now; None without a floor."""
        if goals.min_battery is None:
            return None
        return battery_allowance(
            source,
            goals.min_battery,
            goals.battery_hours,
            state=self._state(source),
            demand=self._demand(model, source, goals),
        )

    def shown(self, active: PlanRecord, goals: Goals) -> BatteryAllowance | None:
        """The same, with what becomes of it under the plan that serves."""
        battery = self.allowance(active.problem.model, active.epoch.source, goals)
        if battery is None or battery.limit_j is None:
            return battery
        kept = keeps(battery, active.evaluation.device_energy_j)
        verdict = "the plan keeps that" if kept else "the plan takes more"
        if not kept and active.battery is not None and not active.battery.kept:
            verdict = "no plan keeps that, and this one takes least"
        return msgspec.structs.replace(battery, kept=kept, text=f"{battery.text}; {verdict}")

    def limiting(self, problem: Problem, active: PlanRecord | None, goals: Goals) -> Problem:
        """The problem with the limit that a plan can keep, for studies.

        Where the plan that serves does not keep the floor, none does: what it takes from the source is the limit.
        """
        battery = self.allowance(problem.model, problem.source, goals)
        if battery is None or battery.limit_j is None:
            return problem
        is_frugal = active is not None and active.battery is not None and not active.battery.kept
        least_j = active.evaluation.device_energy_j if active is not None and is_frugal else 0.0
        return with_limit(problem, max(battery.limit_j, least_j))

    def considered(self, model: str, source: str, goals: Goals) -> BatteryAllowance | None:
        """What a decision is made on now; it is no reason for another one."""
        battery = self.allowance(model, source, goals)
        self._decisions[model] = battery, self._clock()
        return battery

    def decided(
        self, model: str, serving: PlanRecord | None, battery: BatteryAllowance | None, device_energy_j: float
    ) -> None:
        """A plan was made under what was considered; tell of a floor that none keeps.

        Args:
            model: Its name.
            serving: The plan before.
            battery: What was considered, and whether the new plan keeps it.
            device_energy_j: Of the new plan. [J]
        """
        self._decisions[model] = battery, self._clock()
        if battery is None or battery.kept:
            return
        if serving is not None and serving.battery is not None and not serving.battery.kept:
            return  # it was said before
        text = (
            f"{model} serves as frugally as can be, {joules(device_energy_j)} of {battery.node} a request, which does "
            f"not keep the battery floor: {battery.text}"
        )
        data = figures_data(battery) | {"least_device_energy_j": device_energy_j}
        self._events.add("battery-floor-missed", text, model=model, node=battery.node, data=data)

    def reasons(self, active: PlanRecord, goals: Goals) -> tuple[Reason, ...]:
        """Why to plan a model again for the battery's sake, at most one; it is told."""
        model = active.problem.model
        now = self.allowance(model, active.epoch.source, goals)
        before, at_s = self._decisions.setdefault(model, (active.battery, self._clock()))
        reason = battery_reason(
            before,
            now,
            active.evaluation.device_energy_j,
            thresholds=self._thresholds,
            since_s=self._clock() - at_s,
        )
        if reason is None:
            return ()
        text = f"{model}: {reason.text}" + (f" ({now.text})" if now is not None else "")
        data = figures_data(now) if now is not None else {}
        self._events.add(reason.kind, text, model=model, node=active.epoch.source, data=data)
        return (reason,)

    def check(self, source: str, goals: Goals) -> None:
        """Refuse a floor that could not limit anything.

        Raises:
            InvalidInput: The source has no battery, or one that does not say how much it holds.
        """
        if goals.min_battery is None:
            return
        state = self._state(source)
        if state is None:
            raise InvalidInput(
                f"node {source} reports no battery: set --min-battery only for models deployed from a node that has one"
            )
        if state.energy_j is None:
            raise InvalidInput(
                f"the battery of {source} says that it is {state.fraction:.0%} full but not how much it holds: set "
                f"[power] battery_wh in the configuration of {source}'s agent"
            )

    def _state(self, node: str) -> BatteryState | None:
        metrics = self._registry.node(node).metrics
        if metrics is not None and metrics.battery_fraction is not None:
            modelled = (metrics.idle_origin or metrics.power_origin) == "modelled"
            self._last[node] = BatteryState(
                metrics.battery_fraction,
                metrics.battery_energy_j,
                discharging=metrics.battery_discharging,
                idle_w=None if modelled else metrics.idle_w,
            )
            return self._last[node]
        last = self._last.get(node)
        return replace(last, stale=True) if last is not None else None

    def _demand(self, model: str, source: str, goals: Goals) -> Demand:
        others_w = self._traffic.watts(source, without=model)
        measured = self._traffic.requests_per_s(source, model)
        if measured is not None:
            return Demand(measured, "measured", others_w)
        if goals.battery_requests_per_s is not None:
            return Demand(goals.battery_requests_per_s, "configured", others_w)
        return Demand(ASSUMED_PER_S, "assumed", others_w)
