"""Simplification within a tolerance: of plans that are nearly as good as the best, one with fewer components and fewer bytes cut.

Owns: which plans are tried in place of the best one, and which of them is taken. Its rule: a heuristic, judged by `evaluate`; it keeps
every limit and the tolerance, and never claims that no simpler plan exists. Not here: finding the best plan
(`weighted_score.py`), how sure the times of a problem are.

What a plan is worth is its latency and energy, each as a multiple of its best value, weighed as the goals say: the scale on
which a switch's gain is told, so that a tolerance below the gain that justifies a switch brings about none. A plan is within the
tolerance where that sum exceeds the best plan's by at most this share, and so does neither latency nor energy by itself, if it has
a weight. Where latency has one, the end of the simulated timeline, which people are told, keeps the tolerance too.

Tried are everything on one node, plans met while solving, the serving plan, and the best plans where each transfer costs a
little more than it does (a price on cuts). From each that is within the tolerance components move to the nodes of their
neighbours, and cuts along the graph, as long as that makes it simpler.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import msgspec
import numpy as np

from edgesplit.formatting import size
from edgesplit.planning.plan import Assignment, Concession, Evaluation, Ranges
from edgesplit.planning.problem import Problem
from edgesplit_controller.planner.deadline import Clock
from edgesplit_controller.planner.meaning.evaluation import evaluate
from edgesplit_controller.planner.meaning.exact import codec_and_bytes
from edgesplit_controller.planner.meaning.indexed_plan import Plan, cheapest_modes, measured, plan_of, to_assignment
from edgesplit_controller.planner.meaning.measures import ENERGY, LATENCY, WeightedSum
from edgesplit_controller.planner.solving.session import Session

__all__ = ["simplified"]

PRICES = (1.0, 0.25)
"""Of one transfer, as a share of the tolerance. [1]"""
PRICED_FROM = 3
"""Components from which plans under a price on cuts are looked for: fewer are among what moving finds."""
MOST_S, PRICED_SHARE = 4.0, 0.4
"""For all tries, if the planner has that much left, and the share of what is left of it for each plan under a price. [s, 1]"""
PROOF_SHARE = 0.05
"""Of the tolerance: how well these plans are proven."""
MOST_MET = 20
"""Plans met while solving that are looked at, the best first."""
MOST_STEPS = 60
"""That one start is made simpler."""
MOST_TRIED, MOST_JUDGED = 40, 400
"""Plans that are judged in one step, the best by their sums first, and in all."""
ENOUGH = 3
"""Simpler plans of which one step takes the best: as they come in the order of their sums, later ones cost more."""

Key = tuple[int, float, int, float]
"""What is less is preferred: components, bytes cut, not the serving plan, value."""


_Move = tuple[tuple[int, ...], int]
"""Operators, and the node they go to."""


@dataclass(frozen=True)
class _Rated:
    """A plan with its evaluation and what it is preferred by."""

    plan: Plan
    assignment: Assignment
    evaluation: Evaluation
    key: Key


def simplified(
    problem: Problem,
    planning: Session,
    ranges: Ranges,
    best: tuple[Assignment, Evaluation],
    *,
    tolerance: float,
    serving: Assignment | None,
) -> tuple[Assignment, Evaluation, Concession] | None:
    """A plan within the tolerance of the best that has fewer components, or as many and fewer bytes cut.

    Args:
        problem: That was solved.
        planning: Its solves; plans that they met are tried.
        ranges: Of its solution.
        best: Its plan.
        tolerance: By how much the plan may be worse, as a share of the best. [1]
        serving: A plan that is preferred to others as simple.

    Returns:
        The plan and what it gives up; None where none simpler was found.
    """
    search = _Simplifying(problem, planning, ranges, best, tolerance=tolerance, serving=serving)
    found = search.run()
    if found is None:
        return None
    return found.assignment, evaluate(problem, found.assignment), _concession(problem, search, best, found, tolerance)


class _Simplifying:
    """The tries of one problem."""

    def __init__(
        self,
        problem: Problem,
        planning: Session,
        ranges: Ranges,
        best: tuple[Assignment, Evaluation],
        *,
        tolerance: float,
        serving: Assignment | None,
    ) -> None:
        objective = problem.objective
        total = objective.latency_weight + objective.energy_weight
        self.by_latency = objective.latency_weight / total / (ranges.best_latency_s or 1.0)
        self.by_energy = objective.energy_weight / total / (ranges.best_energy_j or 1.0)
        self._problem, self._planning, self._costs = problem, planning, planning.costs
        self._tolerance = tolerance
        self._serving = plan_of(serving, self._costs) if serving is not None else None
        self._seen: dict[object, _Rated | None] = {}
        self._judged = 0
        self._clock = Clock(min(planning.clock.left_s(), MOST_S))
        self._ceiling = self.value(best[1]) * (1 + tolerance)
        self._most = tuple(figure * (1 + tolerance) for figure in self._weighed(best[1]))
        places = {name: place for place, name in enumerate(self._costs.operators)}
        self._index = {member: places[operator.name] for operator in problem.operators for member in operator.listed}
        self._before: list[list[int]] = [[] for _ in self._costs.operators]
        self._behind: list[list[int]] = [[] for _ in self._costs.operators]
        self._touching: list[list[int]] = [[] for _ in self._costs.operators]
        for place, tensor in enumerate(self._costs.tensors):
            for consumer in tensor.consumers:
                self._before[consumer].append(tensor.producer)
                self._behind[tensor.producer].append(consumer)
            for operator in (tensor.producer, *tensor.consumers):
                self._touching[operator].append(place)
        start = plan_of(best[0], self._costs)
        if start is None:
            raise AssertionError("the best plan does not fit its own problem")
        self._best = self._rate(start)

    def value(self, evaluation: Evaluation) -> float:
        """Weighted latency and energy, each as a multiple of its best value. [1]"""
        return self.by_latency * evaluation.latency_s + self.by_energy * evaluation.energy_j

    def _weighed(self, evaluation: Evaluation) -> tuple[float, ...]:
        """The figures of a plan that have a weight: latency, end of the timeline, energy. [s, s, J]"""
        timed = (evaluation.latency_s, evaluation.timeline_s) if self.by_latency > 0 else ()
        return (*timed, *((evaluation.energy_j,) if self.by_energy > 0 else ()))

    def run(self) -> _Rated | None:
        """The simplest plan found; None if that is the best one."""
        best = self._best
        if best is None or best.key[0] <= 1:
            return None
        found = self._simplest([best.plan, *self._starts()], best)
        if found.key[0] >= PRICED_FROM:
            found = self._simplest(self._priced(), found)
        return None if found.key[:2] >= best.key[:2] else found

    def _simplest(self, starts: Iterable[Plan], found: _Rated) -> _Rated:
        for start in starts:
            if self._is_over():
                break
            rated = self._rate(start)
            if rated is not None:
                found = min(found, self._simpler(rated), key=lambda one: one.key)
        return found

    # --- where to start ----------------------------------------------------------------------------------------------

    def _starts(self) -> Iterator[Plan]:
        costs, best = self._costs, self._best
        if self._serving is not None:
            yield self._serving
        quantized = best.plan.quantized if best is not None else frozenset[int]()
        places = costs.allowed.argmax(axis=1)
        for node in range(len(costs.nodes)):
            at = tuple(int(place) for place in np.where(costs.allowed[:, node], node, places))
            for chosen in dict.fromkeys((quantized, frozenset[int]())):
                yield measured(at, chosen, cheapest_modes(at, chosen, self._prices(), costs), costs)
        met = [plan for plan in self._planning.known.plans if self._is_near(plan)]
        yield from sorted(met, key=lambda plan: (len(set(plan.node)), self._measured(plan)))[:MOST_MET]

    def _priced(self) -> Iterator[Plan]:
        """The best plans of the problem in which each transfer costs a share of the tolerance more."""
        watts = max(node.transmit_power_w for node in self._problem.nodes)
        a_second = self.by_latency + self.by_energy * watts
        if not a_second > 0 or self._best is None:
            return
        proof = PROOF_SHARE * self._tolerance * self._ceiling
        objective = WeightedSum((self.by_latency, self.by_energy, 0.0), proof)
        for share in PRICES:
            clock = self._clock.part(PRICED_SHARE)
            price_s = share * self._tolerance * self._ceiling / a_second
            links = [msgspec.structs.replace(link, latency_s=link.latency_s + price_s) for link in self._problem.links]
            priced = msgspec.structs.replace(self._problem, links=tuple(links))
            found = Session(priced, self._best.assignment, clock).best(objective).plan
            if found is not None:
                yield measured(found.node, found.quantized, found.mode, self._costs)

    # --- what makes a plan simpler -----------------------------------------------------------------------------------

    def _simpler(self, rated: _Rated) -> _Rated:
        """Move components, then cuts, as long as that helps."""
        for _ in range(MOST_STEPS):
            better = self._least(self._component_moves(rated), rated)
            if better is None and rated.key[0] > 1:
                better = self._least(self._cut_moves(rated.plan), rated)
            if better is None:
                break
            rated = better
        return rated

    def _least(self, moves: Iterable[_Move], rated: _Rated) -> _Rated | None:
        """Of what is within the tolerance and simpler: fewest components, then the best, for what is given up is gone."""
        promising: list[tuple[float, _Move, dict[str, int]]] = []
        for move in dict.fromkeys(moves):
            if self._is_over():
                break
            value, modes = self._moved_value(rated.plan, move)
            if self._planning.critical or value <= self._ceiling * (1 + 1e-9):
                promising.append((value, move, modes))
        promising.sort(key=lambda one: one[0])
        found: _Rated | None = None
        simpler = 0
        for _, move, modes in promising[:MOST_TRIED]:
            if self._is_over() or simpler >= ENOUGH:
                break
            plan = measured(_moved(rated.plan.node, move), rated.plan.quantized, modes, self._costs)
            tried = self._rate(plan)
            if tried is None or tried.key[:2] >= rated.key[:2]:
                continue
            simpler += 1
            if found is None or (tried.key[0], tried.key[3]) < (found.key[0], found.key[3]):
                found = tried
        return found

    def _component_moves(self, rated: _Rated) -> Iterator[_Move]:
        """Each component, and all of a node's, to another node of the plan."""
        of_node: dict[int, list[int]] = {}
        groups: list[list[int]] = []
        for part in rated.evaluation.components:
            inside = sorted({self._index[name] for name in part.operators})
            groups.append(inside)
            of_node.setdefault(rated.plan.node[inside[0]], []).extend(inside)
        targets = sorted({*rated.plan.node, self._costs.source})
        for group in (*groups, *of_node.values()):
            for node in targets:
                if node != rated.plan.node[group[0]] and self._costs.allowed[group, node].all():
                    yield tuple(group), node

    def _cut_moves(self, plan: Plan) -> Iterator[_Move]:
        """An operator at a cut, with all before it or all behind it that sits on its node, to the other end of the cut."""
        at = plan.node
        for tensor in self._costs.tensors:
            sender = at[tensor.producer]
            for receiver in sorted({at[consumer] for consumer in tensor.consumers} - {sender}):
                readers = [consumer for consumer in tensor.consumers if at[consumer] == receiver]
                for group, node in (
                    (_reach([tensor.producer], self._behind, at, within=sender), receiver),
                    ((tensor.producer,), receiver),
                    (_reach(readers, self._before, at, within=receiver), sender),
                    (tuple(readers), sender),
                ):
                    if self._costs.allowed[list(group), node].all():
                        yield group, node

    def _moved_value(self, plan: Plan, move: _Move) -> tuple[float, dict[str, int]]:
        """What a plan is worth after a move, times added up, and its codecs: they stay, and what is newly cut gets the cheapest."""
        touched = sorted({index for operator in move[0] for index in self._touching[operator]})
        costs = replace(self._costs, tensors=tuple(self._costs.tensors[index] for index in touched))
        place = _moved(plan.node, move)
        modes = cheapest_modes(place, plan.quantized, self._prices(), costs) | dict(plan.mode)
        before = measured(plan.node, plan.quantized, plan.mode, costs)
        after = measured(place, plan.quantized, modes, costs)
        return self._measured(plan) + self._measured(after) - self._measured(before), modes

    # --- what a plan is preferred by ---------------------------------------------------------------------------------

    def _prices(self) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
        prices = np.zeros(self._costs.compute.shape[0])
        prices[LATENCY], prices[ENERGY] = self.by_latency, self.by_energy
        return prices

    def _measured(self, plan: Plan) -> float:
        return self.by_latency * float(plan.measures[LATENCY]) + self.by_energy * float(plan.measures[ENERGY])

    def _is_near(self, plan: Plan) -> bool:
        """Whether a plan may be within the tolerance; latency added up is above that of a schedule."""
        return self._planning.critical or self._measured(plan) <= self._ceiling * (1 + 1e-9)

    def _is_over(self) -> bool:
        return self._judged >= MOST_JUDGED or self._clock.left_s() <= 0

    def _rate(self, plan: Plan) -> _Rated | None:
        """None where a plan breaks a limit or is not within the tolerance."""
        if plan.key not in self._seen:
            self._seen[plan.key] = self._rated(plan) if self._is_near(plan) else None
        return self._seen[plan.key]

    def _rated(self, plan: Plan) -> _Rated | None:
        assignment = to_assignment(plan, self._costs)
        evaluation = evaluate(self._problem, assignment, shown=False)
        value = self.value(evaluation)
        self._judged += 1
        kept = all(figure <= most for figure, most in zip(self._weighed(evaluation), self._most, strict=True))
        if evaluation.violations or not value <= self._ceiling or not kept:
            return None
        is_other = int(self._serving is None or plan.node != self._serving.node)
        key = len(evaluation.components), _cut_bytes(self._problem, assignment), is_other, value
        return _Rated(plan, assignment, evaluation, key)


def _moved(at: tuple[int, ...], move: _Move) -> tuple[int, ...]:
    group, node = set(move[0]), move[1]
    return tuple(node if operator in group else before for operator, before in enumerate(at))


def _reach(start: Iterable[int], along: list[list[int]], at: tuple[int, ...], *, within: int) -> tuple[int, ...]:
    """Operators that are reached from some without leaving a node; those too."""
    found, waiting = set[int](), list(start)
    while waiting:
        operator = waiting.pop()
        if operator not in found:
            found.add(operator)
            waiting.extend(other for other in along[operator] if at[other] == within)
    return tuple(sorted(found))


def _cut_bytes(problem: Problem, assignment: Assignment) -> float:
    """Of all transfers of a plan. [B]"""
    return sum(
        codec_and_bytes(tensor, assignment)[1]
        * len({assignment.node_of[name] for name in tensor.consumers} - {assignment.node_of[tensor.producer]})
        for tensor in problem.tensors
    )


def _concession(
    problem: Problem, search: _Simplifying, best: tuple[Assignment, Evaluation], found: _Rated, tolerance: float
) -> Concession:
    assignment, evaluation = best
    cut, cut_of_best = _cut_bytes(problem, found.assignment), _cut_bytes(problem, assignment)
    now, then = found.evaluation, evaluation
    before = search.value(then)
    share = max(search.value(now) / before - 1.0, 0.0) if before > 0 else 0.0
    changes = [
        f"{name} {after / of_best - 1:+.1%}"
        for name, of_best, after in (
            ("latency", then.latency_s, now.latency_s),
            ("energy", then.energy_j, now.energy_j),
        )
        if of_best > 0
    ]
    text = (
        f"{len(now.components)} component{'s' * (len(now.components) != 1)} and {size(cut)} cut in place of "
        f"{len(then.components)} and {size(cut_of_best)} of the best plan ({', '.join(changes)}), within the tolerance "
        f"of {tolerance:.1%}"
    )
    return Concession(
        tolerance=tolerance,
        share=share,
        components=len(now.components),
        components_of_best=len(then.components),
        cut_bytes=cut,
        cut_bytes_of_best=cut_of_best,
        latency_of_best_s=then.latency_s,
        energy_of_best_j=then.energy_j,
        text=text,
    )
