"""Strategies compared on one testbed: each the same script from the same state, then reaction against the oracle.

Owns: the oracle's plans, the order of plays, what they are held against. Its rule: a play that was made before is not
made again; what came of all is computed from what was observed alone. Not here: one play (`play.py`), the run around it
(`lab/running`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from edgesplit.planning.plan import Assignment
from edgesplit.planning.problem import Problem
from edgesplit.planning.problem_file import load_problem
from edgesplit_controller.planner import solve
from lab.baselines.unsplit import everything_on
from lab.dynamics.conditions import Conditions, Wanted, at_each_interval, wanted_at_each_interval
from lab.dynamics.hands import found_conditions
from lab.dynamics.outcome.observations import PlayedRun
from lab.dynamics.outcome.plan_costs import plan_cost, plan_costs
from lab.dynamics.outcome.reaction import noticed, oracle_plans, reactions
from lab.dynamics.play import Stage, play
from lab.dynamics.script import Script, intervals, said
from lab.dynamics.strategies import EDGESPLIT, ORACLE, PAUSE_RESUME, in_order, plan_changes, schedule
from lab.dynamics.true_problem import true_problem
from lab.play_results import DynamicRun, PlanCost, ScriptedChange
from lab.testbed.link_rates import LinkRates
from lab.testbed.testbed import Testbed

__all__ = ["Comparison", "OracleFailed", "dynamic_runs"]

SOLVED_WITHIN_S = 60.0


class OracleFailed(Exception):
    """There is no plan in some interval of the script."""


@dataclass
class Comparison:
    """All strategies of one script on one testbed.

    Attributes:
        testbed: It runs.
        model: It is added, and profiled by all nodes.
        request: One array per input (.npz).
        script: Of changes.
        folder: For problem, plans and observations.
        source: Where requests arise.
        wanted: Goals at the begin.
        requests_per_s: None: one after another. [1/s]
        say: Told what happens.
    """

    testbed: Testbed
    model: str
    request: Path
    script: Script
    folder: Path
    source: str = "device"
    wanted: Wanted = field(default_factory=Wanted)
    requests_per_s: float | None = None
    say: Callable[[str], None] = print
    _oracle: tuple[Conditions, list[Assignment]] | None = field(init=False, default=None)
    """Its plans, and the conditions that the script began in when they were solved."""

    def play(self, strategies: Sequence[str], played: Mapping[str, PlayedRun] | None = None) -> Iterator[PlayedRun]:
        """Play those that were not played yet, each as soon as it is asked for.

        Args:
            strategies: In any order.
            played: Those that were, of an earlier run of the same script.

        Raises:
            OracleFailed: No plan keeps the constraints in some interval.
            MethodHasNoPlan: A static strategy names a node that cannot take everything.
            CommandFailed: A strategy's first plan cannot be served.
        """
        done = dict(played or {})
        self.folder.mkdir(parents=True, exist_ok=True)
        spans = intervals(self.script)
        missing = [name for name in in_order(strategies) if name not in done]
        if not missing:
            return
        base = found_conditions(self.testbed, self.wanted)
        stage = self._stage(base, len(spans))
        stage.deploy(None)
        stage.ask_for(self.wanted)
        if EDGESPLIT in missing or not self._problem_file.exists():
            LinkRates(self.testbed, self.say).await_believed()
        problem = self._problem()
        plans = self._plan(problem, stage)
        for strategy in missing:
            noticed_s = noticed(spans, done[EDGESPLIT].events) if EDGESPLIT in done else {}
            acts = schedule(strategy, spans, plans, noticed_s)
            first = self._first_plan(strategy, problem, stage.plans)
            try:
                found = play(stage, strategy, acts, first, self.folder / strategy.replace(":", "-"))
            finally:
                if any(now.wanted != self.wanted for now in stage.conditions):
                    stage.ask_for(self.wanted)
            done[strategy] = msgspec.structs.replace(
                found, oracle_moves=plan_changes(plans), plan_costs=self._plan_costs(found, problem, plans, stage)
            )
            yield done[strategy]

    def _plan_costs(
        self, played: PlayedRun, problem: Problem, oracle: Sequence[Assignment], stage: Stage
    ) -> tuple[PlanCost, ...]:
        """What the plans that served would take in each interval, and what the oracle's do."""
        problems = [true_problem(problem, stage.base, now) for now in stage.conditions]
        best = [
            cost
            for interval, (true, plan) in enumerate(zip(problems, oracle, strict=True))
            if (cost := plan_cost(true, plan, interval=interval, epoch=0)) is not None
        ]
        return (*best, *plan_costs(played.plans, problems))

    def _stage(self, base: Conditions, count: int) -> Stage:
        return Stage(
            testbed=self.testbed,
            model=self.model,
            request=self.request,
            source=self.source,
            requests_per_s=self.requests_per_s,
            base=base,
            conditions=at_each_interval(base, self.script),
            plans=[self.folder / f"oracle-{number}.json" for number in range(count)],
            lasts_s=self.script.lasts_s,
            say=self.say,
        )

    def _problem(self) -> Problem:
        """The one that the first play's plans were solved from, else what the controller's plan solves now."""
        if not self._problem_file.exists():
            self.testbed.fleet.splitctl("plan", self.model, "--export", str(self._problem_file))
        return load_problem(self._problem_file)

    @property
    def _problem_file(self) -> Path:
        return self.folder / "problem.json"

    def _plan(self, problem: Problem, stage: Stage) -> list[Assignment]:
        """Solve each interval's true problem, exactly, and write the plans as `splitctl deploy --plan` reads them.

        All strategies begin in the same state, so that what was solved for the first holds for all.
        """
        if self._oracle is not None and self._oracle[0] == stage.base:
            return self._oracle[1]
        plans: list[Assignment] = []
        for number, (now, file) in enumerate(zip(stage.conditions, stage.plans, strict=True)):
            solution = solve(true_problem(problem, stage.base, now), time_limit_s=SOLVED_WITHIN_S)
            if solution.assignment is None:
                raise OracleFailed(f"there is no plan in interval {number} of the script: {solution.reason}")
            plans.append(solution.assignment)
            _write_plan(file, solution.assignment)
            self.say(f"oracle, interval {number}: {_shares(problem, solution.assignment)}")
        self._oracle = stage.base, plans
        return plans

    def _first_plan(self, strategy: str, problem: Problem, oracle: Sequence[Path]) -> Path | None:
        if strategy == EDGESPLIT:
            return None
        if strategy in {ORACLE, PAUSE_RESUME}:
            return oracle[0]
        which = strategy.removeprefix("static:")
        path = self.folder / f"static-{which}.json"
        if which == "split":
            found = solve(problem, time_limit_s=SOLVED_WITHIN_S).assignment
            if found is None:
                raise OracleFailed("the controller's problem has no plan")
            _write_plan(path, found)
        else:
            _write_plan(path, Assignment(node_of=everything_on(problem, which)))
        return path


def dynamic_runs(played: Sequence[PlayedRun], script: Script, wanted: Wanted) -> list[DynamicRun]:
    """What came of all strategies, held against the oracle's play; without one, reactions have no settled time.

    Args:
        played: Of one script.
        script: That.
        wanted: Goals at its begin.
    """
    spans = intervals(script)
    weights = [(goals.latency, goals.energy) for goals in wanted_at_each_interval(wanted, script)]
    oracle = next((oracle_plans(spans, run.requests, run.energy) for run in played if run.strategy == ORACLE), [])
    changes = [ScriptedChange(at_s=change.at_s, what=said(change)) for change in script.changes]
    return [
        DynamicRun(
            strategy=run.strategy,
            model=run.model,
            at_unix_s=run.began_unix_s,
            changes=changes,
            requests=list(run.requests),
            energy=list(run.energy),
            reactions=reactions(
                spans,
                run.requests,
                run.events,
                oracle,
                run.oracle_moves,
                weights=weights,
                energy=run.energy,
                plan_costs=run.plan_costs,
            ),
            oracle_s=oracle,
            plan_costs=list(run.plan_costs),
        )
        for run in played
    ]


def _shares(problem: Problem, plan: Assignment) -> str:
    counts = Counter(plan.node_of[operator.name] for operator in problem.operators)
    return ", ".join(f"{node} {counts[node]}" for node in sorted(counts))


def _write_plan(path: Path, plan: Assignment) -> None:
    document = {"assignment": plan.node_of, "quantized": sorted(plan.quantized), "codecs": plan.codecs}
    path.write_bytes(msgspec.json.encode(document))
