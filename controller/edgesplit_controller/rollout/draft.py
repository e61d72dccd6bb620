"""Draft: a plan not yet given to nodes.

Owns: what is known of it, whether it needs a local fallback beside it, and what is kept of it once it has a number. Its
rule: values only. Not here: making drafts, whether one is worth a switch, compiling.
"""

from __future__ import annotations

from dataclasses import dataclass

from edgesplit.control.plan_messages import EpochSpec
from edgesplit.planning.battery_allowance import BatteryAllowance
from edgesplit.planning.goals import Goals
from edgesplit.planning.plan import Assignment, Evaluation, Solution
from edgesplit.planning.problem import Problem
from edgesplit.planning.spreads import PredictionInterval
from edgesplit_controller.models.model_record import ModelRecord
from edgesplit_controller.storage.deployment_state import PlanRecord
from edgesplit_controller.storage.rollout_state import Epoch

__all__ = ["Draft", "is_local"]


@dataclass(frozen=True)
class Draft:
    """A solved problem.

    Attributes:
        problem: With the times that hold in this assignment (`stating/predicting/predictions.py`).
        goals: Those it was stated with.
        solution: Of the problem with typical times.
        evaluation: Of the assignment under the problem.
        battery: What the battery floor allowed, and whether the plan keeps it; None without a floor.
        interval: How sure the evaluation's latency and energy are; None where that was not asked.
        fixed: Somebody made it; the solution is no more than its evaluation.
    """

    problem: Problem
    goals: Goals
    solution: Solution
    assignment: Assignment
    evaluation: Evaluation
    battery: BatteryAllowance | None = None
    interval: PredictionInterval | None = None
    fixed: bool = False

    def needs_local_fallback(self, record: ModelRecord) -> bool:
        """Whether one adds anything, is allowed, and its weights fit beside the plan's on the source."""
        source = self.problem.source
        if is_local(self.assignment, source):
            return False
        if any(source not in nodes for nodes in (self.problem.constraints.pins or {}).values()):
            return False  # what must not run on the source must not run there in need either
        limit = next(node.memory_bytes for node in self.problem.nodes if node.name == source)
        # What the plan has there in float is part of the whole float model, of which there is one copy.
        operators, quantized = self.problem.operators, self.assignment.quantized
        needed = sum(operator.weights_on(source, quantized=False) for operator in operators)
        needed += sum(
            operator.weights_on(source, quantized=True)
            for operator in operators
            if operator.name in quantized and self.assignment.node_of[operator.name] == source
        )
        return limit is None or needed <= limit

    def numbered(
        self,
        record: ModelRecord,
        epoch: int,
        specs: dict[str, EpochSpec],
        local_fallback: int | None,
        reason: str,
        *,
        made_unix_s: float,
    ) -> PlanRecord:
        """The plan that is kept.

        Args:
            record: The model.
            epoch: Its number.
            specs: Node to its part.
            local_fallback: Number of the one beside it, or None.
            reason: Why it was made.
            made_unix_s: When that is. [s since the epoch]
        """
        solution = self.solution
        return PlanRecord(
            epoch=Epoch(
                number=epoch,
                source=self.problem.source,
                participants=tuple(sorted(specs)),
                local_fallback=local_fallback,
            ),
            sha256=record.sha256,
            version=record.version,
            specs=specs,
            problem=self.problem,
            assignment=self.assignment,
            evaluation=self.evaluation,
            status=solution.status,
            concession=solution.concession,
            score=solution.score,
            gap=solution.gap,
            solve_s=solution.timings.total_s,
            reason=reason,
            goals=self.goals,
            battery=self.battery,
            components=self.evaluation.components,
            latency_interval_s=self.interval.latency_s if self.interval is not None else None,
            energy_interval_j=self.interval.energy_j if self.interval is not None else None,
            fixed=self.fixed,
            made_unix_s=made_unix_s,
        )


def is_local(assignment: Assignment, source: str) -> bool:
    """Whether a plan is the one that needs nobody else: everything on the source, in float."""
    return not assignment.quantized and set(assignment.node_of.values()) <= {source}
