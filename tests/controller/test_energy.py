"""Energy per request: computing apart from sending, each node, predicted beside measured, over restarts of agents."""

from __future__ import annotations

import aiohttp
import pytest

from edgesplit.control.figure_messages import USAGE, Usage
from edgesplit.operations.plan_operations import DeployModel, ShowPlan
from edgesplit.planning.plan import Assignment
from edgesplit_controller.planner import energy_per_node, evaluate
from tests.controller.fleet import Fleet
from tests.controller.test_battery import chain
from tests.controller.tiny_models import convolutions
from tests.waiting import until


@pytest.mark.parametrize("a", ["device", "edge"])
@pytest.mark.parametrize("b", ["device", "edge"])
def test_computing_and_sending_of_all_nodes_are_the_plans_energy(a: str, b: str) -> None:
    problem, assignment = chain(), Assignment({"in": "device", "a": a, "b": b, "out": "device"})
    rows, whole = energy_per_node(problem, assignment), evaluate(problem, assignment)
    assert sum(compute_j + transmit_j for compute_j, transmit_j in rows.values()) == pytest.approx(whole.energy_j)
    assert sum(rows["device"]) == pytest.approx(whole.device_energy_j)


def test_sending_is_charged_to_the_sender() -> None:
    rows = energy_per_node(chain(), Assignment({"in": "device", "a": "edge", "b": "edge", "out": "device"}))
    # 100 B to the edge and 10 B back, at 100 B/s and 0.1 W; 20 s of computing at 1 W.
    assert rows["device"] == pytest.approx((0.0, 0.1))
    assert rows["edge"] == pytest.approx((20.0, 0.01))


async def test_what_requests_cost_outlives_an_agent_and_stands_beside_the_prediction(fleet: Fleet) -> None:
    client, device = fleet.client, fleet.agents["device"]
    await client.add("tiny", convolutions(2))
    epoch = (await client.ask(DeployModel(name="tiny", source="device")))["epoch"]

    def served(requests: int, joules: float, since: float) -> Usage:
        return Usage(
            node="device",
            model="tiny",
            epoch=epoch,
            requests=requests,
            failed=0,
            compute_s=1.0,
            transmit_s=1.0,
            energy_j=joules + requests,
            energy_origin="configured",
            compute_energy_j=joules,
            compute_energy_origin="measured",
            transmit_energy_j=float(requests),
            counted_since_unix_s=since,
        )

    before = (await client.ask(ShowPlan(name="tiny")))["energy_per_node"]["device"]
    assert (before["requests"], before["compute_j"], before["compute_origin"]) == (0, None, None)
    assert before["predicted_transmit_j"] > 0.0
    for usage in (served(3, 6.0, 1.0), served(1, 4.0, 2.0)):  # the agent restarted in between
        device.bus.publish(USAGE, usage, "device", "tiny")
    await until(lambda: sum(entry.requests for entry in fleet.registry.usage("tiny", epoch)) == 4)
    plan = await client.ask(ShowPlan(name="tiny"))
    row = plan["energy_per_node"]["device"]
    assert (row["requests"], row["compute_j"], row["transmit_j"]) == (4, 2.5, 1.0)
    assert (row["compute_origin"], row["transmit_origin"]) == ("measured", "configured")
    assert plan["measured"]["requests"] == 4
    async with aiohttp.ClientSession() as session, session.get(f"{client.artifacts}/metrics") as answer:
        page = await answer.text()
    labels = '{model="tiny",node="device",origin="measured",part="compute"}'
    assert f"edgesplit_controller_request_node_energy_joules{labels} 2.5" in page
    sending = 'edgesplit_controller_plan_node_energy_joules{model="tiny",node="device",part="transmit"}'
    assert f"{sending} {row['predicted_transmit_j']}" in page
