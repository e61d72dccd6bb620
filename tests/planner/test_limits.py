"""A limit described once, by the rates of its sums, is kept everywhere: held against trying everything."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import ClassVar

import msgspec
import pytest

from edgesplit.planning.problem import Problem
from edgesplit_controller.planner import evaluate, score, solve
from edgesplit_controller.planner.meaning.limiting import limits
from edgesplit_controller.planner.meaning.limiting.limit_form import Conflict, Limit, Nearest
from edgesplit_controller.planner.meaning.sums import Rates
from edgesplit_controller.planner.solving.reasons import infeasible
from edgesplit_controller.planner.studies.explanation import explain
from tests.planner.brute_force import all_assignments, random_problem
from tests.planner.exact_sums import exact_sums, keeps_limits


@dataclass(frozen=True, slots=True)
class Period(Limit):
    """No node computes and no link is occupied longer than this for one request; it stands in the model's name. [s]"""

    constraint: ClassVar[str] = "period"

    @classmethod
    def of(cls, problem: Problem) -> Sequence[Limit]:
        name, _, period_s = problem.model.partition("@")
        nodes = tuple(Rates(compute={node.name: 1.0}) for node in problem.nodes)
        links = tuple(Rates(occupied={(link.source, link.target): 1.0}) for link in problem.links)
        return [cls(float(period_s), name, nodes + links)] if period_s else []

    def restated(self, problem: Problem, bound: float | None) -> Problem:
        return msgspec.structs.replace(problem, model=self.subject if bound is None else f"{self.subject}@{bound!r}")

    def told(self, bound: float | None) -> str:
        return f"{bound} s"

    @property
    def name(self) -> str:
        return "the period"

    def violation(self, used: Fraction) -> str:
        return f"The period is {float(used)} s."

    def conflict(self, problem: Problem, nearest: Nearest) -> Conflict:
        return Conflict(f"the period: {nearest.phrase} {nearest.value!r}", f"a period of {nearest.value!r}")


@pytest.fixture(autouse=True)
def with_periods(monkeypatch: pytest.MonkeyPatch) -> None:
    kinds = (*limits.KINDS, Period)
    monkeypatch.setattr(limits, "KINDS", kinds)
    monkeypatch.setattr(infeasible, "KINDS", kinds)


def longest_s(problem: Problem, node_of: dict[str, str], quantized: frozenset[str], codecs: dict[str, str]) -> float:
    """The busiest node or link."""
    busy: dict[str, float] = {}
    for o in problem.operators:
        times = (o.quantized_time_s or {}) if o.name in quantized else o.time_s
        busy[node_of[o.name]] = busy.get(node_of[o.name], 0.0) + times[node_of[o.name]]
    rates = {(link.source, link.target): link.bandwidth_bytes_per_s for link in problem.links}
    for t in problem.tensors:
        sender, int8 = node_of[t.producer], t.producer in quantized
        form = "int8" if int8 else "float"
        codec = next((c for c in t.codecs or () if codecs.get(t.name) == c.name and c.precision in (None, form)), None)
        size = t.quantized_bytes if int8 and t.quantized_bytes is not None else t.bytes
        receivers = {node_of[name] for name in t.consumers} - {sender}
        if codec is not None and receivers:
            busy[sender] = busy.get(sender, 0.0) + codec.encode_s[sender]
        for receiver in receivers:
            if codec is not None:
                size = codec.bytes
                busy[receiver] = busy.get(receiver, 0.0) + codec.decode_s[receiver]
            link = f"{sender}>{receiver}"
            busy[link] = busy.get(link, 0.0) + size / rates[sender, receiver]
    return max(busy.values(), default=0.0)


@pytest.mark.parametrize("seed", range(40))
def test_the_best_plan_within_the_limit_is_found_and_proven(seed: int) -> None:
    drawn = random_problem(seed, operators=2 + seed % 3, model="critical-path" if seed % 8 == 7 else "sum")
    period_s = random.Random(seed).uniform(0.1, 2.0)
    problem = msgspec.structs.replace(drawn, model=f"m@{period_s!r}")
    plans = [
        assignment
        for assignment in all_assignments(problem)
        if keeps_limits(problem, exact_sums(problem, assignment))
        and longest_s(problem, dict(assignment.node_of), assignment.quantized, dict(assignment.codecs)) <= period_s
    ]
    solution = solve(problem)
    assert solution.status == ("optimal" if plans else "infeasible")
    if solution.assignment is not None and solution.score is not None:
        assert solution.assignment in plans
        assert solution.score <= min(score(problem, evaluate(problem, plan), solution.ranges) for plan in plans) + 2e-6


def test_what_breaks_it_and_what_it_costs_is_said() -> None:
    problem = msgspec.structs.replace(random_problem(23, operators=4), model="m")
    free = solve(problem)
    assert free.assignment is not None
    used_s = longest_s(problem, dict(free.assignment.node_of), free.assignment.quantized, dict(free.assignment.codecs))
    tight = msgspec.structs.replace(problem, model=f"m@{0.9 * used_s!r}")
    assert evaluate(tight, free.assignment).violations == (f"The period is {used_s} s.",)
    none = solve(msgspec.structs.replace(problem, model="m@1e-9"))
    assert none.status == "infeasible"
    assert "the period: the least that gives a plan is" in none.reason
    kept = solve(tight)
    assert kept.assignment is not None
    found = explain(tight, kept.assignment, time_limit_s=60.0)
    assert [binding.constraint for binding in found.bindings] == ["period"]
    assert {r.score_gain > 0.1 for r in found.relaxations if r.constraint == "period"} == {True}
