"""Status, top, doctor and trace on a fleet of real processes: what they say is so."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from demo.fleet import CommandFailed, LocalFleet
from edgesplit.planning.problem_file import load_problem
from tests.brokers import running_mosquitto
from tests.integration.conftest import NODES
from tests.waiting import blocking_until

MODEL = "seen"


@pytest.fixture(scope="module")
def seen(small_model: Path, image: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalFleet]:
    """A fleet that serves a plan over all its nodes, at a broker of its own: others' nodes are remembered by a shared one."""
    folder = tmp_path_factory.mktemp("seen")
    with running_mosquitto(folder) as url, LocalFleet(folder / "fleet", NODES, broker=url) as fleet:
        fleet.start()
        fleet.await_nodes()
        fleet.splitctl("model", "add", MODEL, str(small_model), "--max-quantizable", "0")
        fleet.splitctl("deploy", MODEL, "--source", "device")
        fleet.splitctl("plan", MODEL, "--export", str(folder / "problem.json"))
        units = [entry.name for entry in load_problem(folder / "problem.json").operators if entry.role is None]
        third = len(units) // 3
        assignment = {unit: ("device", "edge", "cloud")[min(place // third, 2)] for place, unit in enumerate(units)}
        (folder / "plan.json").write_text(json.dumps({"assignment": assignment}))
        blocking_until(lambda: profiled(fleet) == 3, "all nodes have timed the model")
        fleet.splitctl("deploy", MODEL, "--source", "device", "--plan", str(folder / "plan.json"))
        fleet.splitctl("infer", MODEL, "--input", str(image), "--count", "5")
        yield fleet


def profiled(fleet: LocalFleet) -> int:
    return len(fleet.splitctl("model", "show", MODEL)["profiled"])


def test_a_fleet_that_serves_is_well(seen: LocalFleet) -> None:
    told = blocking_until(lambda: status_once_told(seen), "the median latency was told")
    assert (told["ok"], told["problems"]) == (True, [])
    (model,) = told["models"]
    assert (model["serving"], model["failed"], model["on_fallback"]) == (True, 0, False)
    looked = seen.splitctl("doctor")
    assert looked["ok"], looked
    found = {(row["subject"], row["check"]): row["verdict"] for row in looked["checks"]}
    for node in ("device", "edge", "cloud"):
        checks = ("rights", "clock", "port", "artifacts", "disk", "version")
        assert {found[node, check] for check in checks} == {"ok"}
    shown = seen.splitctl("top", "--once")
    assert {link["from"] for link in shown["links"]} >= {"device", "edge", "cloud"}


def status_once_told(fleet: LocalFleet) -> Any:
    document = fleet.splitctl("status")
    return document if document["models"][0]["latency_p50_s"] else None


def test_a_request_is_followed_over_three_nodes_on_one_clock(seen: LocalFleet, image: Path, tmp_path: Path) -> None:
    file = tmp_path / "trace.json"
    told = seen.splitctl("trace", MODEL, "--input", str(image), "--out", str(file))
    assert (told["source"], told["missing"]) == ("device", [])
    plan = seen.splitctl("plan", MODEL)
    computed = {(step["node"], step["component"]) for step in told["steps"] if step["kind"] == "compute"}
    assert computed == {(part["node"], part["id"]) for part in plan["components"]}
    moved = {(step["from"], step["to"]) for step in told["steps"] if step["kind"] == "transfer"}
    assert moved == {(entry["from"], entry["to"]) for entry in plan["timeline"] if entry["kind"] == "transfer"}
    assert all(step["predicted_end_s"] is not None for step in told["steps"])
    # One machine has one monotonic clock: what was found out must agree with that to within what is said of it.
    assert {clock["node"] for clock in told["clocks"]} == {"edge", "cloud"}
    for clock in told["clocks"]:
        assert abs(clock["ahead_s"]) <= clock["uncertain_s"] + 1e-6, clock
        assert clock["uncertain_s"] < 0.1
    assert all(step["end_s"] >= step["start_s"] for step in told["steps"])
    outside = [step for step in told["steps"] if step["start_s"] < -1e-6 or step["end_s"] > told["latency_s"] + 1e-6]
    assert outside == []
    written = json.loads(file.read_text())
    assert len([event for event in written["traceEvents"] if event["ph"] == "X"]) == len(told["steps"]) + len(
        plan["timeline"]
    )
    again = seen.splitctl("trace", MODEL, "--request", told["request"])
    assert (again["request"], len(again["steps"])) == (told["request"], len(told["steps"]))


def test_a_node_that_is_lost_is_told_with_what_to_do(seen: LocalFleet) -> None:
    seen.kill("cloud")
    told = blocking_until(lambda: problems(seen), "the loss is a problem")
    assert any("cloud" in row["what"] for row in told)
    assert any("start edgesplit-agent" in row["do"] for row in told)


def problems(fleet: LocalFleet) -> Any:
    """Those of a fleet that is not well, for which the command ends with 1; none of one that is."""
    try:
        fleet.splitctl("status")
    except CommandFailed as failed:
        assert failed.exit_code == 1
        return failed.error["problems"]
    return []
