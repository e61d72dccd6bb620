"""Planning for many at once: requests of several models from many sources, on nodes and links that they share.

Owns: who gets which plan, so that nothing is promised twice. Its rule: no node and no link direction is loaded beyond its time, by the sums
of `meaning.sums`; demands that differ in the names of model and source alone share every solve. Not here: one plan (`solving`),
what a live fleet promised before (`stating/loads.py` of the controller, as loads of the problem).

Kinds of demand, the largest first, take plans as long as there is room: the best plan of a kind, and where it does not fit any more, the best
without the nodes that are full. So the first ones of a kind are served best; how unequal that is, Jain's index says (R. Jain, D.-M.
Chiu, W. Hawe, A quantitative measure of fairness, DEC-TR-301, 1984).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import msgspec

from edgesplit.errors import PlanInfeasible, PlanningTimedOut
from edgesplit.planning.plan import Assignment, Solution
from edgesplit.planning.problem import Problem
from edgesplit_controller.planner.deadline import Clock
from edgesplit_controller.planner.meaning.exact import busy_seconds
from edgesplit_controller.planner.solving.weighted_score import solve
from edgesplit_controller.planner.studies.shared_solves import SOURCE, placed_under, template
from edgesplit_controller.planner.studies.variations import without_node

__all__ = ["RateDemand", "Share", "Together", "jain_index", "plan_together"]

ROUNDING = 1e-9
"""Of a node's or a link's time: sums of shares may be off by so much. [1]"""
_Subject = str | tuple[str, str]
_Shares = dict[_Subject, float]


@dataclass(frozen=True)
class RateDemand:
    """Requests of one model from one source.

    Attributes:
        name: Tells it from others.
        problem: Of the model at its source; nodes and links of one name are the same in all demands. `load` is what is promised
            to others beforehand.
        rate_hz: Requests a second. [1/s]
    """

    name: str
    problem: Problem
    rate_hz: float


@dataclass(frozen=True)
class Share:
    """What a demand got.

    Attributes:
        demand: It.
        assignment: Its plan; None where none fits beside the others.
        latency_s: Of a request. [s]
        alone_s: The least there is where nobody else asks. [s]
        reason: Why there is no plan; empty where there is one.
    """

    demand: RateDemand
    assignment: Assignment | None
    latency_s: float
    alone_s: float
    reason: str = ""

    @property
    def slow_down(self) -> float:
        """Latency over that of the plan it would have alone. [1]"""
        return self.latency_s / self.alone_s if self.alone_s > 0 else 1.0


@dataclass(frozen=True)
class Together:
    """Plans for all demands.

    Attributes:
        shares: In the order of the demands.
        loads: Share of the time of each node, and of each link direction, that is promised. [1]
        solves: Problems that were solved.
        kinds: Of demands.
    """

    shares: tuple[Share, ...]
    loads: Mapping[str | tuple[str, str], float]
    solves: int
    kinds: int

    @property
    def fairness(self) -> float:
        """Jain's index of the slow-downs of those that have a plan: 1 where all are slowed alike. [1]"""
        return jain_index([share.slow_down for share in self.shares if share.assignment is not None])


@dataclass
class _Kind:
    """Demands that differ in names alone.

    Attributes:
        template: The problem with placeholders for source and model.
        waiting: Demands without a plan.
        alone: The best plan, if there is one; set by the first solve.
        refused: Loads under which a demand of it has no plan, and why; under larger ones none has.
    """

    template: Problem
    rate_hz: float
    waiting: list[RateDemand] = field(default_factory=list[RateDemand])
    alone: _KindPlan | None = None
    refused: list[tuple[tuple[float, ...], str]] = field(default_factory=list[tuple[tuple[float, ...], str]])


@dataclass(frozen=True)
class _KindPlan:
    """A plan of a kind, and what one demand of it takes. [1]"""

    assignment: Assignment
    latency_s: float
    takes: _Shares


def jain_index(values: Sequence[float]) -> float:
    """(sum x)^2 / (n sum x^2): 1 where all are equal, 1/n where one has everything; 1 of nothing. [1]"""
    squares = sum(value * value for value in values)
    return sum(values) ** 2 / (len(values) * squares) if squares > 0 else 1.0


def plan_together(demands: Sequence[RateDemand], *, time_limit_s: float = 10.0) -> Together:
    """Give every demand a plan, as far as nodes and links have time for it.

    Args:
        demands: In any order; of equal size, earlier ones are served first.
        time_limit_s: For all of them. [s]
    """
    planning = _Planning(demands, Clock(time_limit_s))
    planning.run()
    return planning.result(demands)


class _Planning:
    """One call."""

    def __init__(self, demands: Sequence[RateDemand], clock: Clock) -> None:
        self._clock = clock
        self._loads: _Shares = {}
        for demand in demands:
            for node in demand.problem.nodes:
                self._loads[node.name] = max(self._loads.get(node.name, 0.0), node.load)
            for link in demand.problem.links:
                ends = link.source, link.target
                self._loads[ends] = max(self._loads.get(ends, 0.0), link.load)
        self._solved: dict[bytes, Solution] = {}
        self._shares: dict[str, Share] = {}
        self._kinds = _kinds(demands)

    def run(self) -> None:
        """Serve kind after kind, the one that takes most of a node first."""
        for kind in self._kinds:
            kind.alone = self._plan(kind, kind.template)
        for kind in sorted(self._kinds, key=_size, reverse=True):
            self._serve(kind)

    def result(self, demands: Sequence[RateDemand]) -> Together:
        """What came of it."""
        shares = tuple(self._shares[demand.name] for demand in demands)
        return Together(shares, self._loads, len(self._solved), len(self._kinds))

    def _serve(self, kind: _Kind) -> None:
        """Plans for all demands of a kind: the best there is room for, again and again."""
        alone_s = kind.alone.latency_s if kind.alone is not None else 0.0
        problem: Problem | None = kind.template
        plan = kind.alone
        while kind.waiting and plan is not None and problem is not None:
            for demand in tuple(kind.waiting):
                if self._fits(plan, demand):
                    self._take(kind, plan, demand, alone_s)
            if not kind.waiting:
                return
            full = self._full(plan, kind.waiting[0])
            if not full:
                break  # the source itself has no time for it
            problem = self._without(problem, full)
            plan = self._plan(kind, problem) if problem is not None else None
        for demand in tuple(kind.waiting):
            self._serve_exactly(kind, demand, alone_s)

    def _serve_exactly(self, kind: _Kind, demand: RateDemand, alone_s: float) -> None:
        """The last resort: a problem with the rate as its limit and what is promised as its loads."""
        problem = self._loaded(kind, demand)
        reason = next((said for loads, said in kind.refused if _no_less(_loads(problem), loads)), "")
        plan = None if reason else self._plan(kind, problem)
        if plan is not None and self._fits(plan, demand):
            self._take(kind, plan, demand, alone_s)
            return
        solution = self._solved.get(msgspec.json.encode(problem))
        if solution is not None and solution.status == "infeasible":
            kind.refused.append((_loads(problem), solution.reason))
        if solution is not None:
            reason = solution.reason
        reason = (reason or "time ran out before a plan was found").replace(SOURCE, demand.problem.source)
        kind.waiting.remove(demand)
        self._shares[demand.name] = Share(demand, None, 0.0, alone_s, reason)

    def _plan(self, kind: _Kind, problem: Problem) -> _KindPlan | None:
        """The best plan of a problem, solved once."""
        key = msgspec.json.encode(problem)
        if key not in self._solved:
            left_s = self._clock.left_s()
            if left_s <= 0:
                return None
            try:
                self._solved[key] = solve(problem, time_limit_s=left_s)
            except PlanningTimedOut:
                return None
        solution = self._solved[key]
        if solution.assignment is None or solution.evaluation is None:
            return None
        busy_s = busy_seconds(problem, solution.assignment)
        takes = {subject: kind.rate_hz * seconds for subject, seconds in busy_s.items() if seconds > 0}
        return _KindPlan(solution.assignment, solution.evaluation.latency_s, takes)

    def _fits(self, plan: _KindPlan, demand: RateDemand) -> bool:
        named = _of(plan.takes, demand.problem.source)
        return all(self._loads.get(subject, 0.0) + share <= 1.0 + ROUNDING for subject, share in named.items())

    def _full(self, plan: _KindPlan, demand: RateDemand) -> set[str]:
        """Nodes beside the source that have no time for a plan, or whose links have none."""
        source = demand.problem.source
        over = [
            subject
            for subject, share in _of(plan.takes, source).items()
            if self._loads.get(subject, 0.0) + share > 1.0 + ROUNDING
        ]
        nodes = {name for subject in over for name in ([subject] if isinstance(subject, str) else subject)}
        return nodes - {source}

    @staticmethod
    def _without(problem: Problem, nodes: set[str]) -> Problem | None:
        """The problem without nodes; None where something is pinned to them, or they are not there any more."""
        there = {node.name for node in problem.nodes} & nodes
        if not there:
            return None
        try:
            for node in sorted(there):
                problem = without_node(problem, node)
        except PlanInfeasible:
            return None
        return problem

    def _take(self, kind: _Kind, plan: _KindPlan, demand: RateDemand, alone_s: float) -> None:
        source = demand.problem.source
        for subject, share in _of(plan.takes, source).items():
            self._loads[subject] = self._loads.get(subject, 0.0) + share
        kind.waiting.remove(demand)
        assignment = placed_under(plan.assignment, {SOURCE: source})
        self._shares[demand.name] = Share(demand, assignment, plan.latency_s, alone_s)

    def _loaded(self, kind: _Kind, demand: RateDemand) -> Problem:
        """A kind's problem as one demand of it finds nodes and links now."""
        plain, source = kind.template, demand.problem.source

        def load(subject: _Subject) -> float:
            (named,) = _of({subject: 0.0}, source)
            return min(1.0, self._loads.get(named, 0.0))

        return msgspec.structs.replace(
            plain,
            nodes=tuple(msgspec.structs.replace(node, load=load(node.name)) for node in plain.nodes),
            links=tuple(msgspec.structs.replace(link, load=load((link.source, link.target))) for link in plain.links),
            constraints=msgspec.structs.replace(plain.constraints, min_rate_hz=demand.rate_hz),
        )


def _kinds(demands: Sequence[RateDemand]) -> list[_Kind]:
    """Demands by what they are but for the names of model and source, and for what is promised beforehand."""
    found: dict[tuple[bytes, float], _Kind] = {}
    for demand in demands:
        problem = demand.problem
        free = msgspec.structs.replace(
            problem,
            nodes=tuple(msgspec.structs.replace(node, load=0.0) for node in problem.nodes),
            links=tuple(msgspec.structs.replace(link, load=0.0) for link in problem.links),
            constraints=msgspec.structs.replace(problem.constraints, min_rate_hz=None),
        )
        plain = template(free)
        key = msgspec.json.encode(plain), demand.rate_hz
        found.setdefault(key, _Kind(plain, demand.rate_hz)).waiting.append(demand)
    return list(found.values())


def _loads(problem: Problem) -> tuple[float, ...]:
    """Of its nodes, then of its links. [1]"""
    return (*(node.load for node in problem.nodes), *(link.load for link in problem.links))


def _no_less(loads: Sequence[float], others: Sequence[float]) -> bool:
    return all(mine >= its for mine, its in zip(loads, others, strict=True))


def _size(kind: _Kind) -> float:
    """Of a kind's best plan: the largest share that one demand takes of anything. [1]"""
    return max(kind.alone.takes.values(), default=0.0) if kind.alone is not None else 0.0


def _of(shares: Mapping[_Subject, float], source: str) -> _Shares:
    """Shares by the names that hold for one source."""
    found: _Shares = defaultdict(float)
    for subject, share in shares.items():
        if isinstance(subject, str):
            found[source if subject == SOURCE else subject] += share
        else:
            start, end = (source if name == SOURCE else name for name in subject)
            found[start, end] += share
    return found
