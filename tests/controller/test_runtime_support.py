"""Nodes whose onnxruntime is older than a model's opset are left out by name."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest

from edgesplit.control.registration_messages import NodeStatus
from edgesplit.daemon.inference_runtime.runtime_abilities import known_operator_sets
from edgesplit.errors import InvalidInput
from edgesplit.operations.model_operations import ShowModel
from edgesplit.operations.plan_operations import DeployModel, ShowPlan
from edgesplit_agent.assembly import identity_of, registration_of
from edgesplit_agent.compute.operator_sets import find_operator_sets
from edgesplit_agent.configuration import AgentConfiguration, CacheSection
from edgesplit_controller.graph.protos import missing_operator_set
from tests.controller.fleet import Fleet
from tests.controller.tiny_models import convolutions
from tests.waiting import until

OLD = "node cloud runs onnxruntime 1.20.1, which knows opset up to 16; this model needs 17: update it"


async def test_an_old_runtime_is_named_and_no_plan_uses_it(fleet: Fleet) -> None:
    client, cloud = fleet.client, fleet.agents["cloud"]
    cloud.opsets = {"": 16, "ai.onnx.ml": 3}
    cloud.announce()

    def said(name: str) -> dict[str, int]:
        status: NodeStatus | None = fleet.registry.node(name).status
        return status.opsets if status is not None else {}

    await until(lambda: said("cloud") == cloud.opsets)
    added = await client.add("tiny", convolutions())
    assert [text for text in added["warnings"] if "cloud" in text] == [f"{OLD}; no plan uses it until then"]
    await client.ask(DeployModel(name="tiny", source="device"))
    plan = await client.ask(ShowPlan(name="tiny"))
    assert set(fleet.plan("tiny").assignment.node_of.values()) == {"edge", "device"}
    assert "cloud" not in plan["per_node"]
    shown = await client.ask(ShowModel(name="tiny"))
    assert {row["node"]: row["reason"] for row in shown["profiling"]}["cloud"] == OLD
    with pytest.raises(InvalidInput, match="which knows opset up to 16") as caught:
        await client.ask(DeployModel(name="tiny", source="cloud"))
    assert "choose another source" in str(caught.value)

    cloud.opsets = {"": 21}
    cloud.announce()
    await until(lambda: said("cloud") == cloud.opsets)
    await client.ask(DeployModel(name="tiny", source="cloud"))


def test_what_is_too_new_is_told_with_its_domain() -> None:
    known = {"": 21, "ai.onnx.ml": 4}
    assert missing_operator_set({"": 21, "ai.onnx.ml": 4, "com.microsoft": 1}, known) == ""
    assert missing_operator_set({"ai.onnx": 22}, known) == "which knows opset up to 21; this model needs 22"
    assert "opset of ai.onnx.ml up to 4; this model needs 5" in missing_operator_set({"": 20, "ai.onnx.ml": 5}, known)
    assert missing_operator_set({"": 99}, {}) == ""


def test_an_agent_registers_with_the_opsets_that_its_onnxruntime_loads_once_they_were_found_out(tmp_path: Path) -> None:
    configuration = AgentConfiguration(name="device", cache=CacheSection(path=str(tmp_path)))
    identity = identity_of(configuration)
    assert registration_of(configuration, identity).opsets == {}
    assert find_operator_sets(tmp_path, identity.runtime) == known_operator_sets()
    assert registration_of(configuration, identity).opsets == known_operator_sets()
    updated = replace(identity, runtime="onnxruntime 99.0")
    assert registration_of(configuration, updated).opsets == {}  # they are found out anew


def test_an_agent_that_computes_nothing_has_them_found_out_by_a_process_that_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "onnxruntime")
    assert find_operator_sets(tmp_path, "onnxruntime 1") == known_operator_sets()
    assert "onnxruntime" not in sys.modules


async def test_an_agent_of_a_release_without_open_sizes_gets_no_part_of_such_a_model(fleet: Fleet) -> None:
    fleet.agents["cloud"].version = "0.1.0"
    fleet.agents["cloud"].announce()

    def said() -> str:
        status: NodeStatus | None = fleet.registry.node("cloud").status
        return status.version if status is not None else ""

    await until(lambda: said() == "0.1.0")
    added = await fleet.client.add("open", convolutions(size=None), shapes={"image": [[1, 3, 16, 16]]})
    told = "node cloud runs edgesplit 0.1.0, which knows no sizes that requests choose: update it"
    assert f"{told}; no plan uses it until then" in added["warnings"]
    await fleet.client.ask(DeployModel(name="open", source="device"))
    assert "cloud" not in fleet.plan("open").assignment.node_of.values()
    with pytest.raises(InvalidInput, match=told):
        await fleet.client.ask(DeployModel(name="open", source="cloud"))
    await fleet.client.add("fixed", convolutions())
    await fleet.client.ask(DeployModel(name="fixed", source="cloud"))
