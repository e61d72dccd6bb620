"""What methods make of a live problem is served by the controller as it is."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from edgesplit.operations.goal_operations import LimitChange, SetWeights
from edgesplit.operations.plan_operations import DeployModel, ExportProblem, ShowPlan
from edgesplit.operations.study_operations import ExplainPlan
from edgesplit.planning.plan import FixedPlan
from edgesplit.planning.problem import Problem
from lab.baselines.methods import plan_for
from tests.controller.fleet import Fleet
from tests.controller.tiny_models import convolutions

METHODS = ("device", "edge", "cloud", "neurosurgeon", "dads", "heft", "study", "random-1")


@pytest.fixture
async def tiny(tmp_path: Path) -> AsyncIterator[Fleet]:
    """A model that is deployed, on agents that compute nothing."""
    fleet = Fleet(tmp_path)
    await fleet.start()
    await fleet.client.add("tiny", convolutions(4))
    await fleet.client.ask(DeployModel(name="tiny", source="device"))
    await fleet.client.ask(SetWeights(max_noise=LimitChange(10.0), model="tiny"))
    yield fleet
    await fleet.stop()


async def test_every_methods_plan_is_served_as_it_is(tiny: Fleet) -> None:
    document = await tiny.client.ask(ExportProblem(name="tiny"))
    problem = msgspec.convert(document, Problem)
    quantized: dict[str, int] = {}
    for method in METHODS:
        plan = msgspec.convert(plan_for(method, problem), FixedPlan)
        await tiny.client.ask(DeployModel(name="tiny", source="device", plan=plan))
        served = tiny.plan("tiny")
        assert (served.fixed, served.assignment.node_of) == (True, plan.assignment), method
        assert served.assignment.quantized == {*plan.quantized}
        shown = await tiny.client.ask(ShowPlan(name="tiny"))
        assert 0 < shown["latency_s"] < 10
        quantized[method] = len(plan.quantized)
    assert {method for method, count in quantized.items() if count} <= {"study"}


async def test_a_fixed_plan_that_is_far_from_the_best_can_be_explained(tiny: Fleet) -> None:
    problem = msgspec.convert(await tiny.client.ask(ExportProblem(name="tiny")), Problem)
    plan = msgspec.convert(plan_for("random-3", problem), FixedPlan)
    await tiny.client.ask(DeployModel(name="tiny", source="device", plan=plan))
    explained = await tiny.client.ask(ExplainPlan(name="tiny"))
    assert len(explained["cuts"]) > 2
