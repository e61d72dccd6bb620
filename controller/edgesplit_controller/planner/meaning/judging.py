"""Whether an assignment keeps its limits: by floating point where that is plain, by exact sums where it is not.

Owns: the planner's one judgement of limits. Its rule: the referee's exact sums have the last word near a limit, and
nothing else looks at them. Not here: finding assignments.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

from edgesplit.planning.problem import Problem
from edgesplit_controller.planner.bounds.relaxation import NOISE, PRICED
from edgesplit_controller.planner.cpsat.decode import Labels, to_assignment
from edgesplit_controller.planner.cpsat.objective import SumLimit
from edgesplit_controller.planner.meaning.costs import DEVICE_ENERGY, ENERGY, LATENCY, Costs
from edgesplit_controller.planner.meaning.exact import ExactCosts, exact_costs
from edgesplit_controller.planner.meaning.measured_plan import Plan, measures_of, memory_of, noise_of_labels
from edgesplit_controller.planner.meaning.tolerance import ROUNDING, keeps, verdict

__all__ = ["Judging"]

_Key = tuple[tuple[int, ...], frozenset[int], frozenset[tuple[str, int]]]


class Judging:
    """Judges assignments of one problem."""

    def __init__(self, problem: Problem, costs: Costs) -> None:
        self._problem, self._costs = problem, costs
        self._critical = problem.objective.latency_model == "critical-path"
        self._exact: dict[_Key, ExactCosts] = {}
        codecs = sum(max(mode.noise for mode in tensor.modes) for tensor in costs.tensors)
        self._noise_magnitude = costs.noise.magnitude + codecs

    def broken(self, labels: Labels) -> frozenset[int]:
        """The limits of the problem that an assignment breaks, by extended measure; memory by node."""
        limits = self._problem.constraints
        found: set[int] = set()
        if limits.max_noise is not None:
            kept = verdict(noise_of_labels(labels, self._costs), self._noise_magnitude, limits.max_noise)
            if kept is None:
                costs = self.exact(labels)
                kept = keeps(costs.noise, costs.noise_magnitude, limits.max_noise)
            found |= set() if kept else {NOISE}
        if limits.device_energy_limit_j is not None:
            device_j = float(measures_of(labels, self._costs)[DEVICE_ENERGY])
            if not self._within(labels, DEVICE_ENERGY, device_j, limits.device_energy_limit_j):
                found.add(DEVICE_ENERGY)
        for node, held in enumerate(memory_of(labels, self._costs).tolist()):
            room = float(self._costs.memory_bytes[node])
            kept = verdict(held, held, room)
            if kept is None:
                kept = keeps(self.exact(labels).memory_bytes[self._costs.nodes[node]], Fraction(0), room)
            found |= set() if kept else {PRICED + node}
        return frozenset(found)

    def beyond(self, plan: Plan, limits: Sequence[SumLimit]) -> frozenset[int]:
        """The measures by which a plan exceeds limits on latency and energies."""
        return frozenset(
            limit.measure
            for limit in limits
            if not self._within(plan.labels, limit.measure, float(plan.measures[limit.measure]), limit.bound)
        )

    def _within(self, labels: Labels, measure: int, value: float, bound: float) -> bool:
        if measure == LATENCY and self._critical:
            return value <= bound * (1 + ROUNDING)
        kept = verdict(value, value, bound)
        if kept is None:
            exact = self._sum(labels, measure)
            kept = exact is not None and keeps(exact, exact, bound)
        return kept

    def _sum(self, labels: Labels, measure: int) -> Fraction | None:
        costs = self.exact(labels)
        if measure == LATENCY:
            return costs.latency_s
        return costs.total_energy_j if measure == ENERGY else costs.energy_j(self._problem.source)

    def exact(self, labels: Labels) -> ExactCosts:
        """The referee's sums."""
        key = labels.node, labels.quantized, frozenset(labels.mode.items())
        if key not in self._exact:
            self._exact[key] = exact_costs(self._problem, to_assignment(labels, self._costs))
        return self._exact[key]
