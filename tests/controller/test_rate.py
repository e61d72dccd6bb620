"""A rate as a goal: plans, refusals, dry runs, and plans that fall behind it."""

from __future__ import annotations

import msgspec
import pytest

from edgesplit.errors import EdgesplitError
from edgesplit.operations.goal_operations import LimitChange, SetWeights
from edgesplit.operations.plan_operations import DeployModel, ShowPlan
from edgesplit.operations.study_operations import TraceFrontier, WhatIf
from edgesplit.planning.plan import Assignment
from edgesplit.planning.problem import Constraints
from edgesplit.significance import RATE_SLACK
from edgesplit_controller.deciding.changes.rate_reason import forgiving, rate_reason
from edgesplit_controller.planner import evaluate
from tests.controller.fleet import Fleet
from tests.controller.test_link_impact import at, problem
from tests.controller.tiny_models import convolutions


def test_a_plan_that_falls_behind_is_a_reason_once_and_again_when_it_falls_further() -> None:
    now = evaluate(problem(), at("edge"))  # 0.3 s of computing
    assert now.rate_hz == pytest.approx(1 / 0.3)
    assert rate_reason(1 / 0.3 / (1 - RATE_SLACK) * 0.999, now, None, 0.2) == ""
    said = "the plan sustains 3.33 requests/s, bounded by edge, and 4 requests/s are asked for"
    assert rate_reason(4.0, now, None, 0.2) == said
    assert rate_reason(4.0, now, 3.4, 0.2) == ""
    assert rate_reason(4.0, now, 5.0, 0.2) == said


def test_what_serves_is_forgiven_a_little() -> None:
    asking = problem(constraints=Constraints(min_rate_hz=3.4))
    assert evaluate(asking, at("edge")).violations
    assert not evaluate(forgiving(asking), at("edge")).violations
    assert forgiving(problem()) == problem()


async def test_a_rate_is_planned_for_told_refused_and_cleared(fleet: Fleet) -> None:
    client = fleet.client
    await client.add("tiny", convolutions(2))
    await client.ask(DeployModel(name="tiny", source="device"))
    plan = await client.ask(ShowPlan(name="tiny"))
    assert plan["rate_hz"] > 0
    assert plan["bottleneck"] in {"device", "edge", "cloud", *(f"{a}:{b}" for a in fleet.agents for b in fleet.agents)}
    assert plan["measured"]["requests_per_s"] is None
    with pytest.raises(EdgesplitError, match=r"the highest that is reachable is .* requests/s, bounded by") as caught:
        await client.ask(SetWeights(min_rate=LimitChange(1e9), model="tiny"))
    assert caught.value.exit_code == 3
    assert (await client.ask(ShowPlan(name="tiny")))["goals"]["min_rate_hz"] is None
    with pytest.raises(EdgesplitError, match="requests/s, bounded by") as caught:
        await client.ask(SetWeights(min_rate=LimitChange(1e9), model="tiny", dry_run=True))
    assert caught.value.exit_code == 3
    (supposed,) = await client.ask(SetWeights(min_rate=LimitChange(plan["rate_hz"] / 2), dry_run=True))
    assert (supposed["epoch"], supposed["changed"]) == (plan["epoch"], False)
    assert supposed["then"]["rate_hz"] >= plan["rate_hz"] / 2
    assert (supposed["now"]["rate_hz"], supposed["now"]["noise"]) == (plan["rate_hz"], plan["noise"])
    assert fleet.plan("tiny").goals.min_rate_hz is None
    await client.ask(SetWeights(min_rate=LimitChange(plan["rate_hz"] / 2), model="tiny"))
    shown = await client.ask(ShowPlan(name="tiny"))
    assert shown["goals"]["min_rate_hz"] == plan["rate_hz"] / 2
    assert fleet.plan("tiny").problem.constraints.min_rate_hz == plan["rate_hz"] / 2
    await client.ask(SetWeights(min_rate=LimitChange(None), model="tiny"))
    assert fleet.plan("tiny").problem.constraints.min_rate_hz is None


async def test_studies_speak_of_rates(fleet: Fleet) -> None:
    client = fleet.client
    await client.add("tiny", convolutions(2))
    await client.ask(DeployModel(name="tiny", source="device"))
    plan = await client.ask(ShowPlan(name="tiny"))
    supposed = await client.ask(WhatIf(name="tiny", min_rate=LimitChange(plan["rate_hz"] / 2)))
    assert supposed["supposed"] == [f"the goals are latency 1, energy 0, noise at most 0, at least {_said(plan)}"]
    assert supposed["then"]["rate_hz"] == supposed["active_then"]["rate_hz"]
    traced = await client.ask(TraceFrontier(name="tiny", points=4, axes="latency,rate"))
    assert traced["axes"] == "latency,rate"
    rates = [row["rate_hz"] for row in traced["points"]]
    assert rates == sorted(rates)
    assert [row["latency_s"] for row in traced["points"]] == sorted(row["latency_s"] for row in traced["points"])


def _said(plan: dict[str, float]) -> str:
    return f"{plan['rate_hz'] / 2:.3g} requests/s" if plan["rate_hz"] < 200 else f"{plan['rate_hz'] / 2:.0f} requests/s"


def test_a_plan_without_nodes_to_share_sustains_what_its_source_does() -> None:
    alone = Assignment(dict.fromkeys(("input", "op", "output"), "device"))
    assert evaluate(msgspec.structs.replace(problem()), alone).bottleneck == "device"
