"""The controller's page: plans by why they were made and what came of them, and sources without one."""

from __future__ import annotations

import re
import time
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from edgesplit.errors import PlanInfeasible
from edgesplit.operations.goal_operations import LimitChange, SetWeights
from edgesplit.operations.plan_operations import DeployModel
from edgesplit_controller.monitoring.families import Page
from edgesplit_controller.monitoring.plan_metrics import show_planning
from tests.controller.fleet import Fleet
from tests.controller.tiny_models import convolutions
from tests.monitoring.promtool import promtool
from tests.waiting import until_answered


@pytest.fixture
async def fleet(tmp_path: Path) -> AsyncIterator[Fleet]:
    running = Fleet(tmp_path)
    await running.start()
    yield running
    await running.stop()


async def page_of(fleet: Fleet) -> str:
    async with aiohttp.ClientSession() as session, session.get(f"{fleet.client.artifacts}/metrics") as answer:
        return await answer.text()


def made(page: str) -> dict[tuple[str, str], int]:
    """Plans by reason and outcome."""
    rows = re.findall(
        r'^edgesplit_controller_plans_total\{model="tiny",outcome="(.+)",reason="(.+)"\} (\d+)', page, re.M
    )
    return {(reason, outcome): int(count) for outcome, reason, count in rows}


async def test_plans_are_counted_by_why_they_were_made_and_what_came_of_them(fleet: Fleet) -> None:
    await fleet.client.add("tiny", convolutions(2))
    epoch = (await fleet.client.ask(DeployModel(name="tiny", source="device")))["epoch"]
    with pytest.raises(PlanInfeasible):
        await fleet.client.ask(SetWeights(model="tiny", latency=1.0, device_energy_j=LimitChange(1e-12)))
    helper = next(iter(set(fleet.plan("tiny").epoch.participants) - {"device"}))
    await fleet.agents[helper].leave()

    async def adopted() -> str:
        told = await page_of(fleet)
        return told if ("node-left", "adopted") in made(told) else ""

    page = await until_answered(adopted, "a plan without the node that left")
    assert fleet.plan("tiny").epoch.number > epoch
    expected = {("deployed", "adopted"): 1, ("goals-set", "infeasible"): 1, ("node-left", "adopted"): 1}
    assert made(page).items() >= expected.items()
    assert 'edgesplit_controller_source_has_plan{model="tiny",source="device"} 1.0' in page
    assert f'edgesplit_controller_node_online{{node="{helper}"}} 0.0' in page
    assert f'edgesplit_controller_link_up{{source="device",target="{helper}"}}' not in page
    (at_s,) = re.findall(r'^edgesplit_controller_plan_made_timestamp_seconds\{model="tiny"\} (\S+)', page, re.M)
    assert 0 <= time.time() - float(at_s) < 3600
    assert promtool("check", "metrics", said=page.encode()) == ""


def test_a_source_that_a_pattern_asks_for_and_that_has_no_plan_is_shown() -> None:
    page = Page()
    show_planning(page, {}, planned={}, solved={}, without_plan=("yolo~cam2",))
    assert 'edgesplit_controller_source_has_plan{model="yolo~cam2",source="cam2"} 0.0' in page.rendered().decode()
