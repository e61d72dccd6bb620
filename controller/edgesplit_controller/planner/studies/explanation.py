"""Explaining a plan by counterfactuals: the best plan without a cut, and with one constraint relaxed.

Owns: which changed problems are solved to explain a plan, and the sentences about them. Its rule: all are measured by
one score, that of the unchanged problem; each gets an equal share of the time left. Not here: the result's types
(`edgesplit.planning.explanation`), what limits there are (`meaning.limiting.limits`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import msgspec
import numpy as np

from edgesplit.errors import PlanInfeasible
from edgesplit.formatting import joules, size, speed, time_span
from edgesplit.planning.explanation import BindingConstraint, CutReason, Explanation, LimitRelaxation
from edgesplit.planning.plan import Assignment, Evaluation, Ranges
from edgesplit.planning.problem import Link, Problem, Tensor
from edgesplit_controller.planner.cpsat.minimisation import SolveOutcome
from edgesplit_controller.planner.deadline import Clock
from edgesplit_controller.planner.meaning.evaluation import evaluate, score
from edgesplit_controller.planner.meaning.exact import codec_and_bytes, exact_costs
from edgesplit_controller.planner.meaning.indexed_plan import measured, plan_of
from edgesplit_controller.planner.meaning.limiting.limits import limits_of
from edgesplit_controller.planner.meaning.measures import ENERGY, LATENCY, WeightedSum
from edgesplit_controller.planner.meaning.tolerance import told
from edgesplit_controller.planner.solving.session import Session
from edgesplit_controller.planner.solving.weighted_score import score_objective, solve
from edgesplit_controller.planner.studies.variations import with_link

__all__ = ["explain"]

WORTH_NAMING = 1e-6
"""Gain in score from which a constraint counts as binding."""

BASE_SHARE = 0.4
"""Of the time, for the unchanged problem."""


GENEROSITY = 3.0
"""Equal shares of the time left that one solve may use; most need a fraction of one."""


@dataclass(frozen=True, slots=True)
class _Cut:
    tensor: Tensor
    source: str
    target: str
    readers: tuple[str, ...]
    bytes: float
    transfer_s: float


@dataclass(frozen=True, slots=True)
class _Change:
    """A problem with one constraint relaxed; `drops` it altogether or in part, and `named` is how it binds then."""

    constraint: str
    subject: str
    text: str
    problem: Problem
    drops: bool
    named: str = ""
    limit: float | None = None
    value: float | None = None


@dataclass(frozen=True, slots=True)
class _Ground:
    """What everything is compared with: the plan explained, and the best plan of the unchanged problem."""

    problem: Problem
    assignment: Assignment
    evaluation: Evaluation
    ranges: Ranges
    objective: WeightedSum
    score: float
    best_score: float

    def score_of(self, outcome: SolveOutcome) -> float:
        """A plan's score on the unchanged problem's scale."""
        if outcome.plan is None:
            return float("inf")
        latency_s, energy_j = float(outcome.plan.measures[LATENCY]), float(outcome.plan.measures[ENERGY])
        measured = msgspec.structs.replace(self.evaluation, latency_s=latency_s, energy_j=energy_j)
        return score(self.problem, measured, self.ranges)


def explain(problem: Problem, assignment: Assignment, *, time_limit_s: float = 5.0) -> Explanation:
    """Explain a plan.

    Args:
        problem: The problem it solves.
        assignment: The plan, for instance the one that runs; it need not be the best.
        time_limit_s: For all solves together. [s]

    Raises:
        InvalidInput: The assignment does not fit the problem.
        PlanInfeasible: The assignment breaks a constraint of the problem.
    """
    clock = Clock(time_limit_s)
    ground = _ground(problem, assignment, clock)
    cuts, changes = _cuts(problem, assignment), list(_changes(problem, ground))
    planning = Session(problem, assignment, clock)
    jobs = len(cuts) + len(changes)
    relaxations: list[LimitRelaxation] = []
    bindings: list[BindingConstraint] = []
    reasons: list[CutReason] = []
    complete = True
    for cut in cuts:
        outcome = None
        if clock.left_s() > 0:
            outcome = _without_cut(planning, ground, cut, clock.part(min(1.0, GENEROSITY / jobs)))
        complete &= outcome is not None and outcome.proven
        reasons.append(_cut_reason(ground, cut, outcome))
        jobs -= 1
    for change in changes:
        if clock.left_s() <= 0:
            complete = False
            break
        session = Session(change.problem, assignment, clock.part(min(1.0, GENEROSITY / jobs)))
        outcome = session.best(ground.objective)
        jobs -= 1
        complete &= outcome.proven
        if outcome.plan is None:
            continue
        relaxation = _relaxation(ground, change, outcome)
        relaxations.append(relaxation)
        if change.drops and relaxation.score_gain > WORTH_NAMING:
            bindings.append(_binding(ground, change, relaxation))
    relaxations.sort(key=lambda relaxation: -relaxation.score_gain)
    return Explanation(cuts=tuple(reasons), bindings=tuple(bindings), relaxations=tuple(relaxations), complete=complete)


def _ground(problem: Problem, assignment: Assignment, clock: Clock) -> _Ground:
    evaluation = evaluate(problem, assignment)
    best = solve(problem, hint=assignment, time_limit_s=clock.left_s() * BASE_SHARE)
    if best.evaluation is None:
        raise PlanInfeasible(best.reason)
    total = problem.objective.latency_weight + problem.objective.energy_weight
    weights = problem.objective.latency_weight / total, problem.objective.energy_weight / total
    return _Ground(
        problem=problem,
        assignment=assignment,
        evaluation=evaluation,
        ranges=best.ranges,
        objective=score_objective(best.ranges, *weights),
        score=score(problem, evaluation, best.ranges),
        best_score=score(problem, best.evaluation, best.ranges),
    )


def _cuts(problem: Problem, assignment: Assignment) -> list[_Cut]:
    """Every tensor and link, the longest transfer first."""
    links = {(link.source, link.target): link for link in problem.links}
    cuts: list[_Cut] = []
    for tensor in problem.tensors:
        sender = assignment.node_of[tensor.producer]
        _, nbytes = codec_and_bytes(tensor, assignment)
        for target in sorted({assignment.node_of[consumer] for consumer in tensor.consumers} - {sender}):
            readers = tuple(consumer for consumer in tensor.consumers if assignment.node_of[consumer] == target)
            link = links.get((sender, target))
            seconds = nbytes / link.bandwidth_bytes_per_s + link.latency_s if link is not None else float("inf")
            cuts.append(_Cut(tensor, sender, target, readers, nbytes, seconds))
    return sorted(cuts, key=lambda cut: -cut.transfer_s)


def _without_cut(planning: Session, ground: _Ground, cut: _Cut, clock: Clock) -> SolveOutcome:
    """The best plan with both ends of a cut on one node, whichever that is."""
    costs = planning.costs
    ends = [costs.operators.index(name) for name in (cut.tensor.producer, *cut.readers)]
    active = plan_of(ground.assignment, costs)
    together = [node for node in range(len(costs.nodes)) if costs.allowed[ends, node].all()]
    best = SolveOutcome(None, float("inf"), True)
    proven = True
    for place, node in enumerate(together):
        allowed = np.ones_like(costs.allowed)
        allowed[ends] = np.arange(len(costs.nodes)) == node
        narrow = planning.narrowed(allowed)
        narrow.clock = clock.part(1 / (len(together) - place))
        if active is not None:
            moved = tuple(node if index in ends else at for index, at in enumerate(active.node))
            narrow.known.offer(measured(moved, active.quantized, active.mode, costs))
        outcome = narrow.best(ground.objective)
        proven &= outcome.proven
        if ground.score_of(outcome) < ground.score_of(best):
            best = outcome
    return SolveOutcome(best.plan, best.bound, proven)


def _cut_reason(ground: _Ground, cut: _Cut, outcome: SolveOutcome | None) -> CutReason:
    way = f"{cut.source} to {cut.target}"
    text = f"{cut.tensor.name} ({size(cut.bytes)}) goes from {way} in {time_span(cut.transfer_s)}"
    change_s = change_j = change = None
    if outcome is None:
        text += "; time did not suffice to plan without it."
    elif outcome.plan is None and outcome.proven:
        text += ": no plan keeps the constraints without it."
    elif outcome.plan is None:
        text += "; no plan without it was found in time."
    else:
        change_s = float(outcome.plan.measures[LATENCY]) - ground.evaluation.latency_s
        change_j = float(outcome.plan.measures[ENERGY]) - ground.evaluation.energy_j
        change = ground.score_of(outcome) - ground.score
        text += _worth(ground, change, _difference(change_s, change_j), proven=outcome.proven)
    return CutReason(
        tensor=cut.tensor.name,
        from_=cut.source,
        to=cut.target,
        bytes=cut.bytes,
        transfer_s=cut.transfer_s,
        latency_change_s=change_s,
        energy_change_j=change_j,
        score_change=change,
        text=text,
    )


def _worth(ground: _Ground, change: float, difference: str, *, proven: bool) -> str:
    """What a cut brings, as the score judges it: a plan in use need not be the best under the figures of now."""
    best = "the best plan" if proven else "the best plan known"
    if change > WORTH_NAMING:
        return f": without it, {best} takes {difference}."
    if change >= -WORTH_NAMING:
        return f": it neither pays nor costs; without it, {best} takes {difference}."
    gain = f"{ground.score - ground.best_score:.3g}"
    return (
        f": the plan is not the best one under these figures (its score is {gain} above the best), and {best} "
        f"without this cut would take {difference}; it stays until a switch is worth its cost."
    )


def _changes(problem: Problem, ground: _Ground) -> Iterator[_Change]:
    """What to relax, the likeliest first."""
    usage = exact_costs(problem, ground.assignment).usage
    for limit in limits_of(problem):
        eased = limit.easing * limit.bound
        if eased > 0:
            easier = limit.restated(problem, eased)
            yield _Change(limit.constraint, limit.subject, limit.change(eased), easier, drops=False)
        yield _Change(
            limit.constraint,
            limit.subject,
            limit.change(None),
            limit.restated(problem, None),
            drops=True,
            named=f"{limit.name} binds",
            limit=limit.bound,
            value=told(*limit.exact(usage), limit.bound),
        )
    limits = problem.constraints
    if limits.pins:
        free = msgspec.structs.replace(problem, constraints=msgspec.structs.replace(limits, pins=None))
        yield _Change("pins", "", f"{len(limits.pins)} pins -> none", free, drops=True, named="the pins together bind")
    yield from _link_changes(problem, ground.evaluation)


def _link_changes(problem: Problem, evaluation: Evaluation) -> Iterator[_Change]:
    """Links the plan uses, the others, and those that are missing as if they were as good as the best there is."""
    busy_s: dict[tuple[str, str], float] = {}
    for entry in evaluation.timeline:
        if entry.source is not None and entry.target is not None:
            pair = entry.source, entry.target
            busy_s[pair] = busy_s.get(pair, 0.0) + entry.end_s - entry.start_s

    def most_used(link: Link) -> float:
        return -busy_s.get((link.source, link.target), 0.0)

    for link in sorted(problem.links, key=most_used):
        rate = link.bandwidth_bytes_per_s
        faster = with_link(problem, link.source, link.target, bandwidth_bytes_per_s=2 * rate)
        text = f"bandwidth {link.source}:{link.target} {speed(rate)} -> {speed(2 * rate)}"
        yield _Change("link", f"{link.source}:{link.target}", text, faster, drops=False)
    present = {(link.source, link.target) for link in problem.links}
    if not present:
        return
    rate = max(link.bandwidth_bytes_per_s for link in problem.links)
    lag_s = min(link.latency_s for link in problem.links)
    names = [node.name for node in problem.nodes]
    for source, target in ((a, b) for a in names for b in names if a != b and (a, b) not in present):
        added = with_link(problem, source, target, bandwidth_bytes_per_s=rate, latency_s=lag_s)
        text = f"a link {source}:{target} with {speed(rate)} and {time_span(lag_s)}"
        named = f"the missing link {source}:{target} binds"
        yield _Change("missing-link", f"{source}:{target}", text, added, drops=True, named=named)


def _relaxation(ground: _Ground, change: _Change, outcome: SolveOutcome) -> LimitRelaxation:
    if outcome.plan is None:
        raise AssertionError("only called with a plan")
    latency_s, energy_j = float(outcome.plan.measures[LATENCY]), float(outcome.plan.measures[ENERGY])
    gain = max(0.0, ground.best_score - ground.score_of(outcome))
    text = f"{change.text}: brings nothing"
    if gain > WORTH_NAMING:
        latency_change_s = latency_s - ground.evaluation.latency_s
        text = (
            f"{change.text}: the plan would take {_difference(latency_change_s, energy_j - ground.evaluation.energy_j)}"
        )
    return LimitRelaxation(
        constraint=change.constraint,
        subject=change.subject,
        change=change.text,
        latency_s=latency_s,
        energy_j=energy_j,
        score_gain=gain,
        proven=outcome.proven,
        text=text + ("." if outcome.proven else ", as far as time sufficed to see."),
    )


def _binding(ground: _Ground, change: _Change, relaxation: LimitRelaxation) -> BindingConstraint:
    less_s = relaxation.latency_s - ground.evaluation.latency_s
    less_j = relaxation.energy_j - ground.evaluation.energy_j
    return BindingConstraint(
        constraint=change.constraint,
        subject=change.subject,
        limit=change.limit,
        value=change.value,
        slack=None if change.limit is None or change.value is None else change.limit - change.value,
        text=f"T{change.named[1:]}: without, the plan would take {_difference(less_s, less_j)}.",
    )


def _difference(latency_s: float, energy_j: float) -> str:
    """How a plan differs from another: `12 ms more and 0.2 J less`; differences that floating point makes are none."""
    parts = [
        f"{text} {'more' if value > 0 else 'less'}"
        for value, text in ((latency_s, time_span(abs(latency_s))), (energy_j, joules(abs(energy_j))))
        if abs(value) > 1e-9
    ]
    return " and ".join(parts) or "the same time and energy"
