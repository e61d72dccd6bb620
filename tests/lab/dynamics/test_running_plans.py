"""Plans that served, and what they would take in other worlds."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest

from demo.fleet import CommandFailed
from edgesplit_controller.planner import evaluate, solve
from lab.dynamics.outcome.plan_costs import NotedPlan, plan_cost, plan_costs
from lab.dynamics.running_plans import noted_plans
from tests.lab.dynamics.test_true_problem import PROBLEM
from tests.waiting import blocking_until

SPLIT = NotedPlan(epoch=4, operators={"a": "device", "b": "cloud", "folded away": "cloud"}, codecs={})
SLOW_DEVICE = msgspec.structs.replace(
    PROBLEM,
    operators=tuple(
        msgspec.structs.replace(operator, time_s={**operator.time_s, "device": 10 * operator.time_s["device"]})
        for operator in PROBLEM.operators
    ),
)
ALONE = msgspec.structs.replace(PROBLEM, nodes=PROBLEM.nodes[:1], links=())


def document(epoch: int, **node_of: str) -> dict[str, Any]:
    components = [
        {"id": number, "node": node, "operators": [name]} for number, (name, node) in enumerate(node_of.items())
    ]
    return {"epoch": epoch, "components": components, "quantized": ["b"], "codecs": {"x": "fp16"}}


def test_a_plan_is_worth_something_else_in_each_world_and_nothing_where_it_cannot_run() -> None:
    first, second = plan_costs([SPLIT], [PROBLEM, SLOW_DEVICE, ALONE])
    assert ((first.interval, first.epoch), (second.interval, second.epoch)) == ((0, 4), (1, 4))
    assert second.latency_s - first.latency_s == pytest.approx(9 * 0.4)
    assert second.joules > first.joules


def test_it_is_worth_what_the_planner_says() -> None:
    best = solve(PROBLEM).assignment
    assert best is not None
    found = plan_cost(PROBLEM, best, interval=2, epoch=0)
    worth = evaluate(PROBLEM, best)
    assert found is not None
    assert (found.interval, found.joules) == (2, worth.energy_j)
    assert found.latency_s == pytest.approx(worth.timeline_s)  # of another order of the same plan


def test_a_plan_that_breaks_a_limit_or_leaves_an_operator_out_is_worth_nothing() -> None:
    strict = msgspec.structs.replace(
        PROBLEM, constraints=msgspec.structs.replace(PROBLEM.constraints, device_energy_limit_j=1e-9)
    )
    assert plan_costs([SPLIT], [strict]) == ()
    assert plan_costs([msgspec.structs.replace(SPLIT, operators={"a": "device"})], [PROBLEM]) == ()


def test_plans_are_noted_as_they_begin_to_serve(tmp_path: Path) -> None:
    heard = tmp_path / "heard.jsonl"
    heard.write_text("", encoding="utf-8")
    serving: list[Mapping[str, Any] | None] = [None]

    def ask() -> Mapping[str, Any]:
        if serving[0] is None:
            raise CommandFailed(("plan", "m"), 1, "m is not deployed")
        return serving[0]

    with noted_plans(ask, heard) as plans:
        serving[0] = document(3, a="device", b="cloud")
        blocking_until(lambda: [plan.epoch for plan in plans] == [3], "a plan that serves")
        serving[0] = document(5, a="cloud", b="cloud")
        with heard.open("a", encoding="utf-8") as lines:
            lines.write('{"event":{"kind":"epoch-activated"}}\n')
        blocking_until(lambda: [plan.epoch for plan in plans] == [3, 5], "a plan that begins to")
    assert plans[1] == NotedPlan(
        epoch=5, operators={"a": "cloud", "b": "cloud"}, quantized=("b",), codecs={"x": "fp16"}
    )
