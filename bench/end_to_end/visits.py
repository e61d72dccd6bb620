"""The run over plans: each visited in shuffled order, predicted, then measured between two looks at the control.

Owns: one visit, and the order of all. Its rule: the prediction a plan is held to is read before its first request leaves; what
fails is a row of its own and never the end of the run; a plan that changed by itself while it was measured has failed.
Not here: judging (`rows.py`, `summary.py`), what is visited (`wishes.py`).
"""

from __future__ import annotations

import subprocess
import time
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.end_to_end.course import Course
from bench.end_to_end.plans.rows import Control, Failed, Row, measured_split, predicted_split
from bench.end_to_end.plans.wishes import Visit, Wish, schedule, wishes
from bench.end_to_end.progress import say
from bench.end_to_end.subjects import Subject
from demo.fleet import CommandFailed
from edgesplit.errors import EdgesplitError
from lab.testbed.link_rates import LinkRates
from lab.testbed.plain_loop import Controls, LoopFailed
from lab.testbed.testbed import Testbed

__all__ = ["Effort", "Findings", "PlanMoved", "run_visits"]

REPORTED_S = 3.0
"""Agents report once a second, and the controller refreshes predictions every other one. [s]"""
FAILURES = (CommandFailed, LoopFailed, EdgesplitError, subprocess.SubprocessError, OSError, TimeoutError, ValueError)


class PlanMoved(Exception):
    """Another plan answered than the one whose prediction was read."""


@dataclass(frozen=True)
class Effort:
    """How much is measured.

    Attributes:
        plans: Different ones.
        rates: Factors on every link's rate, falling.
        seed: Of the order.
        candidates: How many operators of each model may be quantized.
        warm_up: Requests before those that count.
        requests: That count; their median is what a plan took.
        profile_every: Visits between two profiles; 0 for none.
    """

    plans: int = 28
    rates: tuple[float, ...] = (1.0, 0.5)
    seed: int = 1
    candidates: int = 6
    warm_up: int = 5
    requests: int = 11
    profile_every: int = 9


@dataclass
class Findings:
    """What a run has found so far; filled as it goes, so that an interrupted run has what it had.

    Attributes:
        profiled: When which model was profiled again, from the run's begin. [s]
        order: Of the visits, in words.
        misjudged: Factor on the rates, and the links that agents took for something else when its block began.
    """

    rows: list[Row] = field(default_factory=list[Row])
    failed: list[Failed] = field(default_factory=list[Failed])
    profiled: list[tuple[float, str]] = field(default_factory=list[tuple[float, str]])
    order: list[str] = field(default_factory=list[str])
    misjudged: list[tuple[float, list[str]]] = field(default_factory=list[tuple[float, list[str]]])


def run_visits(testbed: Testbed, subjects: Sequence[Subject], effort: Effort, folder: Path, findings: Findings) -> None:
    """Deploy all models beside each other, then visit their plans in shuffled order."""
    courses: dict[str, Course] = {}
    wished: dict[str, Sequence[Wish]] = {}
    rates = LinkRates(testbed, say)
    for subject in subjects:
        say(f"{subject.name}: added and deployed")
        course = courses[subject.name] = Course(testbed, subject)
        course.deploy(effort.candidates)
        wished[subject.name] = wishes(course.problem(folder), subject.branches)
    with ExitStack() as stack:
        controls = {
            subject.name: stack.enter_context(Controls(testbed.cores, testbed.command, subject.path, subject.request))
            for subject in subjects
        }
        visits, spare = schedule(wished, effort.plans, effort.rates, effort.seed)
        findings.order += [f"{visit.model}: {visit.wish.label}, rates x {visit.rates:g}" for visit in visits]
        say(f"seed {effort.seed}, order: {'; '.join(findings.order)}")
        _Run(courses, controls, rates, effort, findings).visit_all(visits, spare)


class _Run:
    """The state of a run: what served before, and when it began."""

    def __init__(
        self,
        courses: Mapping[str, Course],
        controls: Mapping[str, Controls],
        rates: LinkRates,
        effort: Effort,
        findings: Findings,
    ) -> None:
        self._courses = courses
        self._controls = controls
        self._rates = rates
        self._effort = effort
        self._findings = findings
        self._served: set[tuple[Any, ...]] = set()
        self._began = time.monotonic()

    def visit_all(self, visits: Sequence[Visit], spare: Sequence[Visit]) -> None:
        """In order; a spare one for each that fails or turns out to have served."""
        waiting, spares, factor, number = deque(visits), deque(spare), 0.0, 0
        while waiting:
            visit = waiting.popleft()
            if visit.rates != factor:
                factor = visit.rates
                self._findings.misjudged.append((factor, self._rates.scale(factor)))
            self._profile_now_and_then(number)
            number += 1
            self._visit(visit, number, number + len(waiting))
            if not waiting and self._plans < self._effort.plans and spares:
                waiting.append(spares.popleft())

    @property
    def _plans(self) -> int:
        return sum(not row.again for row in self._findings.rows)

    def _profile_now_and_then(self, number: int) -> None:
        every = self._effort.profile_every
        if not every or not number or number % every:
            return
        course = list(self._courses.values())[number // every % len(self._courses)]
        say(f"{course.name}: profiled again")
        try:
            course.profile()
        except FAILURES as error:
            self._fail(Visit(course.name, Wish("profiled again"), 0.0), error)
            return
        self._findings.profiled.append((self._now_s(), course.name))

    def _visit(self, visit: Visit, number: int, of: int) -> None:
        try:
            row = self._row(visit)
        except (*FAILURES, PlanMoved) as error:
            self._fail(visit, error)
            return
        self._findings.rows.append(row)
        shares = ", ".join(f"{node} {count}" for node, count in row.operators.items())
        errors = (row.predicted_s / row.measured_s - 1, row.corrected_s / row.measured_s - 1)
        say(
            f"{number}/{of} {row.model} {row.wish}: {shares}: {row.measured_s * 1e3:.0f} ms, "
            f"{errors[0]:+.1%} (corrected {errors[1]:+.1%}){' again' if row.again else ''}"
        )

    def _row(self, visit: Visit) -> Row:
        course, controls = self._courses[visit.model], self._controls[visit.model]
        plan = course.ask(visit.wish)
        at_s = self._now_s()
        operators = {node: share["operators"] for node, share in plan["per_node"].items() if share["operators"]}
        place = (visit.model, visit.rates, *_signature(plan))
        again = place in self._served
        warm_up = course.infer(self._effort.warm_up)
        self._served.add(place)
        reported = time.monotonic() + REPORTED_S
        before = controls.medians_s(list(operators))
        time.sleep(max(reported - time.monotonic(), 0.0))
        corrected = course.plan()
        served = course.infer(self._effort.requests)
        reported = time.monotonic() + REPORTED_S
        after = controls.medians_s(list(operators))
        if moved := {*warm_up.epochs, *served.epochs} - {plan["epoch"]}:
            raise PlanMoved(f"epochs {sorted(moved)} answered, not {plan['epoch']} alone")
        time.sleep(max(reported - time.monotonic(), 0.0))
        measured, by_node = measured_split(corrected, course.plan())
        return Row(
            model=visit.model,
            wish=visit.wish.label,
            at_s=at_s,
            again=again,
            rates=visit.rates,
            operators=operators,
            quantized=len(plan["quantized"]),
            codecs=tuple(sorted(plan["codecs"].values())),
            components=len(plan["components"]),
            predicted_s=plan["latency_s"],
            interval_s=_interval(plan),
            corrected_s=corrected["latency_s"],
            corrected_interval_s=_interval(corrected),
            measured_s=served.median_s,
            predicted=predicted_split(plan),
            measured=measured,
            compute_by_node_s=by_node,
            controls={node: Control(core, before_s, after[node][1]) for node, (core, before_s) in before.items()},
        )

    def _fail(self, visit: Visit, error: Exception) -> None:
        self._findings.failed.append(Failed(visit.model, visit.wish.label, visit.rates, self._now_s(), str(error)))
        say(f"{visit.model} {visit.wish.label}: failed: {error}")

    def _now_s(self) -> float:
        return time.monotonic() - self._began


def _interval(plan: Mapping[str, Any]) -> tuple[float, float] | None:
    """The stated interval of a plan's latency, where it states one. [s]"""
    ends = plan.get("latency_interval_s")
    return None if ends is None else (float(ends[0]), float(ends[1]))


def _signature(plan: Mapping[str, Any]) -> tuple[Any, ...]:
    """What tells one plan from another."""
    where = tuple(sorted((part["node"], tuple(part["operators"])) for part in plan["components"]))
    return where, tuple(sorted(plan["quantized"])), tuple(sorted(plan["codecs"].items()))
