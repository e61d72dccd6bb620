"""What an operator asks of a running system: pins, forbidden nodes, explanations, suppositions, fallbacks."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import edgesplit
from demo.fleet import CommandFailed, EmulatedLink, EmulatedNode, LocalFleet
from tests.waiting import blocking_until

MODEL = "mobilenet"
# The device is slow enough that both others are worth their links, so that each can stand in for the other.
FAST = EmulatedLink(bandwidth_bytes_per_s=50e6, latency_s=0.001)
NODES = (
    EmulatedNode("device", compute_w=3.0, transmit_w=3.5, slow_down=60.0, links={"edge": FAST, "cloud": FAST}),
    EmulatedNode("edge", compute_w=6.0, transmit_w=2.0, slow_down=4.0, links={"device": FAST, "cloud": FAST}),
    EmulatedNode("cloud", compute_w=35.0, transmit_w=0.01, links={"device": FAST, "edge": FAST}),
)


@pytest.fixture(scope="module")
def fleet(mosquitto: str, tmp_path_factory: pytest.TempPathFactory, small_model: Path) -> Iterator[LocalFleet]:
    with LocalFleet(tmp_path_factory.mktemp("fleet"), NODES, broker=mosquitto) as running:
        running.start()
        running.await_nodes()
        running.splitctl("model", "add", "--wait", "all", MODEL, str(small_model), "--max-quantizable", "3")
        running.splitctl("deploy", MODEL, "--source", "device")
        yield running
        running.splitctl("model", "remove", MODEL)  # the broker is shared, and what it retains outlives this fleet


def plan(fleet: LocalFleet) -> dict[str, Any]:
    document: dict[str, Any] = fleet.splitctl("plan", MODEL)
    return document


def used(document: dict[str, Any]) -> set[str]:
    return {node for node, share in document["per_node"].items() if share["operators"]}


def node_of(document: dict[str, Any]) -> dict[str, str]:
    return {name: part["node"] for part in document["components"] for name in part["operators"]}


def refused(fleet: LocalFleet, *command: str) -> tuple[int, str]:
    with pytest.raises(CommandFailed) as caught:
        fleet.splitctl(*command)
    return caught.value.exit_code, caught.value.error["error"]["message"]


def infer(fleet: LocalFleet, image: Path) -> dict[str, Any]:
    document: dict[str, Any] = fleet.splitctl("infer", MODEL, "--input", str(image))
    assert document["failed"] == 0
    return document


def test_a_pin_moves_its_operators_and_is_listed_until_it_is_lifted(fleet: LocalFleet, image: Path) -> None:
    before = node_of(plan(fleet))
    target = "device" if before["classifier/gemm"] != "device" else "edge"
    pinned = fleet.splitctl("pin", MODEL, "classifier/g?mm", "--node", target)
    (row,) = pinned["pins"]
    assert (row["select"], row["nodes"], pinned["changed"]) == ("classifier/g?mm", [target], True)
    assert row["operators"] == ["classifier/gemm"]
    document = plan(fleet)
    assert (document["epoch"], document["pins"]) == (pinned["epoch"], [row])
    assert all(node_of(document)[name] == target for name in (*row["operators"], *row["also"]))
    infer(fleet, image)
    other = "edge" if target == "device" else "device"
    status, message = refused(fleet, "pin", MODEL, "*", "--node", other)
    assert status == 3
    assert "contradict" in message
    assert plan(fleet)["pins"] == [row]
    assert refused(fleet, "pin", MODEL, "no such*")[0] == 1
    assert "moon" in refused(fleet, "pin", MODEL, "*", "--node", "moon")[1]
    assert fleet.splitctl("unpin", MODEL, "--all")["pins"] == []
    assert plan(fleet)["pins"] == []


def test_raw_input_stays_on_the_source_while_input_is_pinned(fleet: LocalFleet) -> None:
    (row,) = fleet.splitctl("pin", MODEL, "--input")["pins"]
    assert (row["select"], row["nodes"], row["operators"]) == ("--input", ["device"], ["stem/conv"])
    document = plan(fleet)
    assert node_of(document)["stem/conv"] == "device"
    assert "image" not in {entry.get("tensor") for entry in document["timeline"] if entry["kind"] == "transfer"}
    fleet.splitctl("unpin", MODEL, "--input")


def test_a_forbidden_node_is_left_and_comes_back(fleet: LocalFleet, image: Path) -> None:
    other = (used(plan(fleet)) - {"device"}).pop()
    (row,) = fleet.splitctl("forbid", other)
    assert (row["model"], row["forbidden"], row["changed"]) == (MODEL, [other], True)
    document = plan(fleet)
    assert other not in used(document)
    assert document["forbidden"] == [other]
    infer(fleet, image)
    status, message = refused(fleet, "forbid", "device")
    assert status == 3
    assert "its source device is forbidden" in message
    assert plan(fleet)["forbidden"] == [other]
    (row,) = fleet.splitctl("allow", other)
    assert row["forbidden"] == []
    assert other in used(plan(fleet))


def test_constraints_outlive_the_controller(fleet: LocalFleet) -> None:
    fleet.splitctl("pin", MODEL, "--first", "2")
    epoch = plan(fleet)["epoch"]
    fleet.kill("controller")
    fleet.start_controller()
    fleet.await_nodes()
    document = plan(fleet)
    assert [pin["select"] for pin in document["pins"]] == ["--first 2"]
    assert document["epoch"] >= epoch
    fleet.splitctl("unpin", MODEL, "--first")


def test_a_plan_is_explained(fleet: LocalFleet) -> None:
    document = fleet.splitctl("explain", MODEL)
    assert document["cuts"]
    assert all(cut["text"] and cut["from"] != cut["to"] for cut in document["cuts"])
    assert all(entry["text"] for entry in document["relaxations"])


def test_what_if_shows_the_plan_that_would_result_and_changes_nothing(fleet: LocalFleet) -> None:
    before = plan(fleet)
    others = used(before) - {"device"}
    without = [part for node in others for part in ("--without", node)]
    document = fleet.splitctl("what-if", MODEL, *without)
    assert document["epoch"] == before["epoch"]
    assert document["active_then"] is None
    assert not document["same"]
    assert not others & {node for node, share in document["then"]["per_node"].items() if share["operators"]}
    # Which of both is faster depends on how the machine fares now: what serves is kept until another is worth a switch.
    assert document["then"]["latency_s"] > 0
    slow = [part for node in ("edge", "cloud") for part in ("--link", f"device:{node}=10kB/s,100ms")]
    document = fleet.splitctl("what-if", MODEL, *slow)
    assert document["active_then"]["latency_s"] > document["then"]["latency_s"]
    assert {node for node, share in document["then"]["per_node"].items() if share["operators"]} == {"device"}
    status, message = refused(fleet, "what-if", MODEL, "--device-energy", "1e-3")
    assert status == 3
    assert "would have no plan" in message
    assert plan(fleet)["epoch"] == before["epoch"]
    assert plan(fleet)["goals"] == before["goals"]


def test_the_frontier_is_traced_and_drawn(fleet: LocalFleet, tmp_path: Path) -> None:
    picture, output = tmp_path / "frontier.png", tmp_path / "frontier.json"
    document = fleet.splitctl(
        *("frontier", MODEL, "--points", "6", "--png", str(picture), "--output", str(output)),
    )
    points = document["points"]
    assert 1 <= len(points) <= 6
    assert [point["latency_s"] for point in points] == sorted(point["latency_s"] for point in points)
    assert [point["energy_j"] for point in points] == sorted((point["energy_j"] for point in points), reverse=True)
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert MODEL in output.read_text(encoding="utf-8")


def test_a_lost_node_hands_over_to_the_plan_kept_for_its_loss(fleet: LocalFleet, image: Path) -> None:
    blocking_until(lambda: _kept(fleet) != {}, "a prepared fallback that is not local")
    document = plan(fleet)
    ((lost, fallback), *_) = _kept(fleet).items()
    assert lost not in {node for node, share in fallback["per_node"].items() if share["operators"]}
    fleet.kill("controller")  # so that only the agents can have moved
    with np.load(image) as stored:
        inputs = dict(stored)
    with edgesplit.connect(fleet.address("device")) as node:
        assert node.infer_detailed(MODEL, inputs).epoch == document["epoch"]
        futures = [node.submit(MODEL, inputs) for _ in range(6)]
        fleet.kill(lost)
        futures += [node.submit(MODEL, inputs) for _ in range(6)]
        assert all(future.result(timeout=60) for future in futures)
        assert node.infer_detailed(MODEL, inputs).epoch == fallback["epoch"]
    fleet.start_controller()
    blocking_until(lambda: plan(fleet)["epoch"] > document["epoch"], "a plan without the lost node")
    assert lost not in used(plan(fleet))
    infer(fleet, image)


def _kept(fleet: LocalFleet) -> dict[str, Any]:
    """Fallbacks of the active plan that use another node and are ready."""
    return {
        lost: row
        for lost, row in plan(fleet)["fallbacks"].items()
        if row["prepared"] and any(share["operators"] for node, share in row["per_node"].items() if node != "device")
    }
