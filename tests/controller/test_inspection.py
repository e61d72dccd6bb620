"""Status, activity, diagnosis and traces of a fleet whose agents keep the protocol."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from edgesplit.control.figure_messages import LINK_METRICS, USAGE, LinkMetrics, UnreachedPeer, Usage
from edgesplit.control.inquiry_messages import Checkup, NodeFindings, NodeTrace, PeerClock, TracedStep
from edgesplit.errors import EdgesplitError
from edgesplit.operations.inspection.doctor_operation import Diagnose
from edgesplit.operations.inspection.status_operations import ShowActivity, ShowStatus
from edgesplit.operations.inspection.trace_operation import ShowTrace
from edgesplit.operations.plan_operations import DeployModel
from edgesplit.operations.upkeep_operations import DrainNode, PausePlanning, ResumePlanning
from edgesplit.release import PROTOCOL
from edgesplit_controller.answering.inspection.inquiries import Inquiries
from edgesplit_controller.answering.inspection.problems import cause_and_remedy
from tests.controller.fleet import Fleet
from tests.controller.tiny_models import convolutions
from tests.waiting import until, until_answered


async def deployed(fleet: Fleet) -> int:
    """A model that serves from the device; its epoch."""
    await fleet.client.add("tiny", convolutions(2))
    await fleet.client.ask(DeployModel(name="tiny", source="device"))
    return fleet.plan("tiny").epoch.number


def problems(document: Any) -> list[str]:
    return [row["what"] for row in document["problems"]]


async def test_a_fleet_that_does_what_it_was_asked_to_has_no_problem(fleet: Fleet) -> None:
    epoch = await deployed(fleet)
    told = await fleet.client.ask(ShowStatus())
    assert (told["ok"], told["problems"]) == (True, [])
    (model,) = told["models"]
    assert (model["name"], model["serving"], model["epoch"], model["source"]) == ("tiny", True, epoch, "device")
    assert (model["requests_per_s"], model["latency_p50_s"], model["failed"]) == (0.0, None, 0)
    assert [(node["name"], node["state"]) for node in told["nodes"]] == [
        ("cloud", "online"),
        ("device", "online"),
        ("edge", "online"),
    ]


async def test_what_somebody_asked_for_is_noted_with_how_to_end_it_and_no_problem(fleet: Fleet) -> None:
    await deployed(fleet)
    assert (await fleet.client.ask(ShowStatus()))["notes"] == []
    await fleet.client.ask(DrainNode(name="edge"))
    await fleet.client.ask(PausePlanning(model="tiny"))
    fleet.service.turn.hear_standby("i", "spare-machine")
    told = await fleet.client.ask(ShowStatus())
    assert told["ok"]
    assert [(row["what"].partition(" since ")[0].rstrip(","), row["do"]) for row in told["notes"]] == [
        ("node edge is drained", "splitctl undrain edge"),
        ("tiny is not planned again by itself", "splitctl resume tiny"),
        ("a controller on spare-machine stands by to take over", ""),
    ]
    await fleet.client.ask(ResumePlanning(model="tiny"))
    await fleet.client.ask(PausePlanning())
    (note,) = [row for row in (await fleet.client.ask(ShowStatus()))["notes"] if "planned" in row["what"]]
    assert (note["what"].startswith("no model is planned again by itself, since "), note["do"]) == (
        True,
        "splitctl resume",
    )


async def test_a_source_that_is_away_is_an_error_and_another_node_a_warning_each_told_once(fleet: Fleet) -> None:
    await deployed(fleet)
    await fleet.agents["edge"].leave()
    await fleet.agents["device"].leave()
    await until(lambda: fleet.registry.online() == ("cloud",))
    told = await fleet.client.ask(ShowStatus())
    assert not told["ok"]
    assert [row["severity"] for row in told["problems"]][:1] == ["error"]
    assert problems(told)[0] == "tiny does not serve: its source device is offline"
    assert "start edgesplit-agent on device" in told["problems"][0]["do"]
    assert sum("device" in text for text in problems(told)) == 1
    (edge,) = [row for row in told["problems"] if "node edge is offline" in row["what"]]
    assert (edge["severity"], "splitctl node remove edge" in edge["do"]) == ("warning", True)
    (model,) = told["models"]
    assert (model["serving"], model["epoch"]) == (False, None)


async def test_a_source_that_serves_a_fallback_is_told_with_who_is_missing(fleet: Fleet) -> None:
    await deployed(fleet)
    device = fleet.agents["device"]
    active = fleet.rollouts.state.deployments["tiny"].rollout.active
    assert active is not None
    local = active.local_fallback
    assert local is not None

    async def told_of_it() -> bool:
        # Whenever the source hears of another fallback that is kept, this fake obeys and serves the plan again.
        device._served["tiny"] = local
        device.desired["tiny"] = msgspec.structs.replace(device.desired["tiny"], serve=local)
        device.observe("tiny")
        await until(lambda: fleet.rollouts.serving("tiny") == local)
        told = await fleet.client.ask(ShowStatus())
        said = any(text.startswith(f"tiny serves on a fallback (epoch {local})") for text in problems(told))
        return bool(told["models"][0]["on_fallback"]) and said

    await until_answered(told_of_it, "the fallback is told")


async def test_what_a_node_serves_is_told_with_its_median_and_its_failures(fleet: Fleet) -> None:
    epoch = await deployed(fleet)
    usage = Usage(
        node="device", model="tiny", epoch=epoch, requests=10, failed=2, compute_s=1.0, transmit_s=0.0, energy_j=5.0,
        energy_origin="measured", latency_sum_s=1.0, latency_p50_s=0.09, latency_p95_s=0.2, latency_p99_s=0.3,
    )  # fmt: skip
    fleet.agents["device"].bus.publish(USAGE, usage, "device", "tiny")
    await until(lambda: bool(fleet.registry.usage("tiny", epoch)))
    (model,) = (await fleet.client.ask(ShowStatus()))["models"]
    assert (model["latency_p50_s"], model["failed"]) == (0.09, 2)
    told = await fleet.client.ask(ShowActivity())
    (active,) = told["models"]
    assert (active["energy_j"], active["energy_origin"], active["latency_p50_s"]) == (0.5, "measured", 0.09)
    assert (active["latency_p95_s"], active["latency_p99_s"]) == (0.2, 0.3)
    assert active["predicted_latency_s"] == fleet.plan("tiny").evaluation.timeline_s
    used = {(link["from"], link["to"]) for link in told["links"]}
    timeline = fleet.plan("tiny").evaluation.timeline
    assert used == {(entry.source, entry.target) for entry in timeline if entry.kind == "transfer"}
    assert told["other_links"] == 6 - len(used)


async def test_everything_is_looked_into_and_well(fleet: Fleet) -> None:
    told = await fleet.client.ask(Diagnose())
    assert told["ok"], [row for row in told["checks"] if row["verdict"] in ("warning", "error")]
    seen = {(row["subject"], row["check"]) for row in told["checks"]}
    for node in ("device", "edge", "cloud"):
        assert {(node, check) for check in ("version", "rights", "clock", "port", "disk", "sensor", "links")} <= seen
    assert {("controller", "disk"), ("controller", "version")} <= seen
    (port,) = [row for row in told["checks"] if (row["subject"], row["check"]) == ("device", "port")]
    assert port["what"].startswith("device reaches 2 of 2 nodes, and 2 reach it at ")


async def test_each_finding_of_the_doctor_names_its_node_and_what_to_do(fleet: Fleet) -> None:
    device, edge, cloud = (fleet.agents[name] for name in ("device", "edge", "cloud"))
    device.checkup = Checkup(
        folder="/cache", free_bytes=100 << 20, limit_bytes=1 << 34, artifacts="http://10.0.0.9:7480",
        artifacts_problem="connection refused", certificate_expires_s=1.0,
    )  # fmt: skip
    edge.checkup = None
    unreached = (UnreachedPeer(to="edge", reason="nothing answers there"),)
    links = LinkMetrics(node="device", instance=device.instance, links=(), unreached=unreached)
    device.bus.publish(LINK_METRICS, links, "device")
    await cloud.leave()
    cloud_again = type(cloud)(fleet.url, "cloud", unit_s=0.001, peers={}, protocol=PROTOCOL + 1)
    await cloud_again.start()
    await until(lambda: bool(fleet.registry.node("cloud").refused))
    await until(lambda: not any(start == "device" for start, _ in fleet.registry.links()))
    told = await fleet.client.ask(Diagnose())
    assert not told["ok"]
    found = {(row["subject"], row["check"]): row for row in told["checks"]}
    assert found["device", "artifacts"]["verdict"] == "error"
    assert "connection refused" in found["device", "artifacts"]["what"]
    assert "[artifacts]" in found["device", "artifacts"]["do"]
    assert found["device", "disk"]["verdict"] == "error"
    assert found["device", "port"]["what"].startswith("device does not reach edge at 127.0.0.1:")
    assert "nothing answers there" in found["device", "port"]["what"]
    assert found["device", "certificate"]["verdict"] == "error"
    assert found["edge", "rights"]["verdict"] == "error"
    assert "nodes/edge/inquiries" in found["edge", "rights"]["do"]
    assert found["edge", "disk"]["verdict"] == "unknown"
    assert found["cloud", "refused"]["verdict"] == "error"
    assert "install the same release on both" in found["cloud", "refused"]["do"]
    of_one = await fleet.client.ask(Diagnose(node="edge"))
    assert {row["subject"] for row in of_one["checks"]} == {"edge"}
    with pytest.raises(EdgesplitError, match="no node 'nobody' is registered"):
        await fleet.client.ask(Diagnose(node="nobody"))
    await cloud_again.bus.close()


def steps(epoch: int, start_s: float) -> tuple[TracedStep, ...]:
    return (TracedStep(kind="compute", start_s=start_s, end_s=start_s + 0.1, on_epoch=epoch, component=0),)


async def test_a_request_is_followed_over_the_nodes_of_its_plan(fleet: Fleet) -> None:
    epoch = await deployed(fleet)
    empty = await fleet.client.ask(ShowTrace(name="tiny"))
    assert (empty["request"], empty["steps"]) == ("", [])
    nodes = fleet.plan("tiny").epoch.participants
    assert len(nodes) > 1
    clocks = tuple(PeerClock(peer=node, ahead_least_s=-0.001, ahead_most_s=0.001) for node in nodes if node != "device")
    fleet.agents["device"].traces["r1"] = NodeTrace(
        request="r1", began_s=5.0, ended_s=6.0, now_s=6.0, steps=steps(epoch, 5.0), clocks=clocks
    )
    other = next(node for node in nodes if node != "device")
    fleet.agents[other].traces["r1"] = NodeTrace(request="r1", now_s=6.0, steps=steps(epoch, 5.5))
    told = await fleet.client.ask(ShowTrace(name="tiny"))
    assert (told["request"], told["latency_s"], told["epoch"]) == ("r1", 1.0, epoch)
    assert [(step["node"], step["start_s"]) for step in told["steps"]] == [("device", 0.0), (other, pytest.approx(0.5))]
    assert [clock["node"] for clock in told["clocks"]] == [other]
    assert told["predicted_latency_s"] == fleet.plan("tiny").evaluation.timeline_s
    fleet.agents[other].traces.clear()
    forgotten = await fleet.client.ask(ShowTrace(name="tiny", request="r1"))
    assert [(gap["node"], gap["reason"]) for gap in forgotten["missing"]] == [
        (other, "it remembers nothing of this request")
    ]
    unknown = await fleet.client.ask(ShowTrace(name="tiny", request="never"))
    assert unknown["request"] == ""


async def test_answers_that_nobody_waits_for_or_that_come_late_change_nothing() -> None:
    class Port:
        def inquire(self, node: str, inquiry: Any) -> None:
            asked.append((node, inquiry.id))
            answer = NodeFindings(node=node, instance="one", id=inquiry.id, at_unix_s=50.0)
            if node == "device":
                inquiries.hear(msgspec.structs.replace(answer, node="stranger"))
                inquiries.hear(msgspec.structs.replace(answer, id="another"))
                inquiries.hear(answer)

    asked: list[tuple[str, str]] = []
    times = iter((40.0, 44.0))
    inquiries = Inquiries(Port(), lambda: next(times))
    answers = await inquiries.ask(("device", "edge"), "checkup", within_s=0.001)
    assert [node for node, _ in asked] == ["device", "edge"]
    assert set(answers) == {"device"}
    assert (answers["device"].clock_ahead_s, answers["device"].uncertain_s) == (8.0, 2.0)
    inquiries.hear(NodeFindings(node="edge", instance="one", id=asked[1][1], at_unix_s=50.0))
    assert await inquiries.ask((), "checkup") == {}


def test_a_sentence_is_taken_apart_into_cause_and_remedy() -> None:
    assert cause_and_remedy("it offers models at http://a:1, which is wrong: leave [artifacts] advertise empty") == (
        "it offers models at http://a:1, which is wrong",
        "leave [artifacts] advertise empty",
    )
    assert cause_and_remedy("it failed") == ("it failed", "")
