"""One visit: a plan is made or given, its prediction read, its requests measured between two looks at a control.

Owns: the order of a visit, and which cells share requests. Its rule: the prediction is read before the first request; plans that are
the same (operators, int8, codecs) are measured once a round and shared, and the cell says with which; a plan that changed by itself
meanwhile has failed. Not here: which visits there are (`cells.py`), commands (`lab/running/deployment.py`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any

import msgspec

from edgesplit.planning.problem import Problem
from lab.results import ANSWERING_METHOD, BesideLoop, Cell, PlanFacts
from lab.running.deployment import DeployedModel, Served
from lab.running.prepared_models import PreparedModel
from lab.running.visiting.asking import RequestsBeside
from lab.running.visiting.cells import GoalsCell, Visit
from lab.running.visiting.executed import Traces
from lab.running.visiting.plan_facts import counted, facts_of, plan_signature, solution_signature, spent
from lab.scenarios.scenario import GridSpec
from lab.testbed.plain_loop import Controls
from lab.testbed.testbed import Testbed, beside

__all__ = ["Measuring", "PlanMoved", "request_count"]

REPORTED_S = 6.0
"""Agents report once a second; what has not arrived by then is not waited for. [s]"""
POLL_S = 0.3

Method = Callable[[str, Problem], Mapping[str, Any]]
"""A baseline's plan of a problem: assignment, quantized, codecs."""


def request_count(grid: GridSpec, predicted_s: float, every: int = 0) -> int:
    """How many requests measure a plan.

    Args:
        grid: What it asks for.
        predicted_s: What one should take. [s]
        every: At least so many, where each does not take longer than all of a cell should.
    """
    affordable = int(grid.seconds / max(predicted_s, 1e-6))
    if affordable < 1:
        # A plan of hundreds of cuts, as drawn ones are: that it is slow needs no statistics.
        return 1
    least = max(min(grid.least_requests, grid.requests), every)
    return max(least, min(grid.requests, affordable))


class PlanMoved(Exception):
    """Another plan answered than the one whose prediction was read."""


class Measuring:
    """Everything that a model's visits need; a context manager.

    Args:
        testbed: A running one, with the model deployed.
        deployed: It.
        model: Its files.
        grid: How much is measured.
        source: Where requests arise.
        folder: For plans of baselines and outputs.
        method: Makes them.
    """

    def __init__(
        self,
        *,
        testbed: Testbed,
        deployed: DeployedModel,
        model: PreparedModel,
        grid: GridSpec,
        source: str,
        folder: Path,
        method: Method,
    ) -> None:
        self._deployed = deployed
        self._model = model
        self._grid = grid
        self._source = source
        self._folder = folder
        self._method = method
        self._measured: dict[tuple[int, str], Cell] = {}
        self._goals: GoalsCell | None = None
        """Those under which the plan that serves was made; None where it was given."""
        self._problem: tuple[GoalsCell, Problem] | None = None
        self._traces = Traces(testbed.traces)
        self._stack = ExitStack()
        self._controls = self._stack.enter_context(Controls(testbed.cores, testbed.command, model.path, model.request))
        self._asking = self._stack.enter_context(
            RequestsBeside(
                testbed.fleet.places[beside(source)].command,
                testbed.fleet.address(source),
                model.name,
                model.requests,
                folder,
            )
        )

    def __enter__(self) -> Measuring:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def remember(self, cell: Cell) -> None:
        """A cell of an earlier run of the same round, which later ones may share."""
        if not cell.shared_with:
            self._measured[cell.round, cell.plan.signature] = cell

    def visit(self, visit: Visit, number: int) -> Cell:
        """Measure a cell.

        Args:
            visit: Which.
            number: Of the run's visits.

        Raises:
            PlanMoved: Another plan served meanwhile.
        """
        if visit.method == ANSWERING_METHOD:
            served = self._ask_for(visit.comparison)
            signature = plan_signature(served.document)
        else:
            solution, signature = self._solution(visit)
            # A plan that was measured in this round need not be deployed once more to be known.
            if known := self._measured.get((visit.round, signature)):
                return _shared(visit, number, known, known.plan)
            self._deployed.use(visit.comparison.nodes)
            path = self._folder / f"{_file_name(visit)}.plan.json"
            path.write_bytes(msgspec.json.encode(solution))
            served = self._deployed.give(path)
            self._goals = None
        facts = facts_of(served.document, signature=signature, deploy_s=served.deploy_s)
        if known := self._measured.get((visit.round, signature)):
            return _shared(visit, number, known, facts)
        cell = self._measure(visit, number, served, facts)
        self._measured[visit.round, signature] = cell
        return cell

    def _ask_for(self, comparison: GoalsCell) -> Served:
        self._deployed.use(comparison.nodes)
        self._goals = comparison
        return self._deployed.ask_for(comparison.weights, comparison.max_noise)

    def _solution(self, visit: Visit) -> tuple[Mapping[str, Any], str]:
        """A method's plan and its signature: made once for all rounds, of the problem as it was in the first."""
        kept = self._folder / f"{_file_name(visit)}.solution.json"
        if kept.exists():
            solution, signature = msgspec.json.decode(kept.read_bytes(), type=tuple[dict[str, Any], str])
            return solution, signature
        problem = self._problem_of(visit.comparison)
        solution = dict(self._method(visit.method, problem))
        signature = solution_signature(solution, problem)
        kept.write_bytes(msgspec.json.encode((solution, signature)))
        return solution, signature

    def _problem_of(self, comparison: GoalsCell) -> Problem:
        """What edgesplit's plan of a comparison solves, stated once for all methods."""
        if self._problem is None or self._problem[0] != comparison:
            if self._goals != comparison:
                self._ask_for(comparison)
            self._problem = comparison, self._deployed.export(self._folder / "problem.json")
        return self._problem[1]

    def _measure(self, visit: Visit, number: int, served: Served, facts: PlanFacts) -> Cell:
        at_unix_s = time.time()
        plan, grid = served.document, self._grid
        computing = [node for node, share in plan["per_node"].items() if share["operators"]]
        taking_part = list(dict.fromkeys([self._source, *computing]))
        already = counted(plan)
        epochs: set[int] = set()
        self._deployed.await_fallbacks()
        warm_up = grid.warm_up if plan["latency_s"] <= grid.seconds else 0
        if warm_up:
            epochs |= set(self._asking.ask(warm_up).epochs)
        before_s = self._controls.medians_s(computing)
        before = self._told(plan, already, warm_up, taking_part)
        count = self._count(plan["latency_s"])
        self._traces.skip()
        answers = self._asking.ask(count, keep=True)
        after_s = self._controls.medians_s(computing)
        after = self._told(plan, counted(before), count, taking_part)
        if moved := {*epochs, *answers.epochs} - {plan["epoch"]}:
            raise PlanMoved(f"epochs {sorted(moved)} answered beside {plan['epoch']}, whose prediction was read")
        cost = spent(before, after, taking_part)
        began_s, latency_s = answers.began_s[answers.middle], answers.latencies_s[answers.middle]
        return Cell(
            **_which(visit, number),
            at_unix_s=at_unix_s,
            plan=facts,
            latencies_s=list(answers.latencies_s),
            energy_j=cost.energy_j,
            energy_origin=after["measured"]["energy_origin"] or "",
            noise_measured=self._model.noise(answers.outputs),
            accuracy=self._model.accuracy(answers.outputs),
            compute_s=dict(cost.compute_s),
            executed=self._traces.during(self._model.name, began_s, began_s + latency_s),
            controls={
                node: BesideLoop(core=core, before_s=seconds, after_s=after_s[node][1])
                for node, (core, seconds) in before_s.items()
            },
        )

    def _count(self, predicted_s: float) -> int:
        """Requests of a plan; a model with a task answers all its inputs."""
        every = len(self._model.reference) if self._model.labels is not None else 0
        return request_count(self._grid, predicted_s, every)

    def _told(
        self, plan: Mapping[str, Any], before: Mapping[str, int], count: int, nodes: Sequence[str]
    ) -> Mapping[str, Any]:
        """A look at the plan once every node has told of so many requests more, or after a while."""
        deadline = time.monotonic() + REPORTED_S
        while True:
            shown = self._deployed.plan()
            if shown["epoch"] != plan["epoch"]:
                raise PlanMoved(f"epoch {shown['epoch']} took the place of {plan['epoch']}: {shown['reason']}")
            told = counted(shown)
            if all(told.get(node, 0) >= before.get(node, 0) + count for node in nodes) or time.monotonic() > deadline:
                return shown
            time.sleep(POLL_S)


def _which(visit: Visit, number: int) -> dict[str, Any]:
    """What a cell is of; all else of it is what was measured."""
    comparison = visit.comparison
    return {
        "id": visit.id,
        "method": visit.method,
        "model": comparison.model,
        "nodes": list(comparison.nodes),
        "latency_weight": comparison.weights[0],
        "energy_weight": comparison.weights[1],
        "max_noise": comparison.max_noise,
        "visit": number,
        "round": visit.round,
    }


def _shared(visit: Visit, number: int, known: Cell, facts: PlanFacts) -> Cell:
    """A cell with the requests of another, whose plan is the same."""
    return msgspec.structs.replace(known, **_which(visit, number), plan=facts, shared_with=known.id)


def _file_name(visit: Visit) -> str:
    """Of files of a method's plan, the same in all rounds."""
    return f"{visit.comparison.id}/{visit.method}".replace("/", "_").replace(":", "-")
