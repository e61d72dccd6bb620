"""A plan that somebody made, served by live agents: exact, kept through changes and losses, until another is asked for."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from demo.fleet import EmulatedLink, LocalFleet
from edgesplit.planning.problem_file import load_problem
from tests.waiting import blocking_until

MODEL = "fixed"
NODES = ("device", "edge", "cloud")


@pytest.fixture(scope="module")
def served(fleet: LocalFleet, small_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Where a random plan that is served has the units."""
    folder = tmp_path_factory.mktemp("plans")
    fleet.splitctl("model", "add", "--wait", "all", MODEL, str(small_model), "--max-quantizable", "3")
    fleet.splitctl("deploy", MODEL, "--source", "device")
    fleet.splitctl("plan", MODEL, "--export", str(folder / "problem.json"))
    problem = load_problem(folder / "problem.json")
    draw = random.Random(3)
    assignment = {entry.name: draw.choice(NODES) for entry in problem.operators if entry.role is None}
    (folder / "plan.json").write_text(json.dumps({"assignment": assignment}))
    document = fleet.splitctl("deploy", MODEL, "--source", "device", "--plan", str(folder / "plan.json"))
    assert document["reason"] == "the plan is fixed"
    yield assignment
    fleet.splitctl("model", "remove", MODEL)


def plan(fleet: LocalFleet) -> dict[str, Any]:
    document: dict[str, Any] = fleet.splitctl("plan", MODEL)
    return document


def difference(fleet: LocalFleet, model: Path, image: Path, folder: Path) -> float:
    """How far what is served is from the whole model, as a share of its output's range."""
    fleet.splitctl("infer", MODEL, "--input", str(image), "--output", str(folder / "out.npz"))
    session = onnxruntime.InferenceSession(str(model), providers=["CPUExecutionProvider"])
    with np.load(image) as stored:
        inputs = dict(stored)
    with np.load(folder / "out.npz") as stored:
        (name,) = [output.name for output in session.get_outputs()]
        (wanted,) = session.run([name], inputs)
        return float(np.abs(stored[name] - wanted).max() / np.ptp(wanted))


def test_every_operator_runs_where_the_plan_says_and_the_output_is_the_whole_models(
    fleet: LocalFleet, served: dict[str, str], small_model: Path, image: Path, tmp_path: Path
) -> None:
    shown = plan(fleet)
    node_of = {operator: part["node"] for part in shown["components"] for operator in part["operators"]}
    assert {unit: node_of[unit] for unit in served} == served
    assert (shown["fixed"], shown["serving"]) == (True, shown["epoch"])
    assert len(shown["components"]) > 3
    assert difference(fleet, small_model, image, tmp_path) <= 1e-4


def test_a_link_that_changes_is_predicted_and_not_planned_for(
    fleet: LocalFleet, served: dict[str, str], small_model: Path, image: Path, tmp_path: Path
) -> None:
    epoch, delay_s = plan(fleet)["epoch"], 0.2  # a link that is pinged shows half of what one direction has

    def predicted() -> list[float]:
        return [
            entry["end_s"] - entry["start_s"]
            for entry in plan(fleet)["timeline"]
            if (entry.get("from"), entry.get("to")) == ("edge", "cloud")
        ]

    assert predicted()
    fleet.set_link("edge", "cloud", EmulatedLink(1e6, delay_s))
    blocking_until(lambda: min(predicted()) > delay_s / 4, "the link's delay in the prediction", within_s=120)
    after = plan(fleet)
    assert (after["epoch"], after["fixed"]) == (epoch, True)
    assert difference(fleet, small_model, image, tmp_path) <= 1e-4
    fleet.set_link("edge", "cloud", EmulatedLink(0.0, 0.0))


def test_a_node_that_goes_is_stood_in_for_and_serves_the_same_plan_when_it_is_back(
    fleet: LocalFleet, served: dict[str, str], small_model: Path, image: Path, tmp_path: Path
) -> None:
    epoch = plan(fleet)["epoch"]

    def told(kind: str) -> list[str]:
        return [event["text"] for event in fleet.splitctl("events", "--kind", kind) if event["model"] == MODEL]

    fleet.kill("edge")
    assert difference(fleet, small_model, image, tmp_path) <= 1e-4
    blocking_until(lambda: bool(told("fixed-plan-missed")), "that the plan cannot be served", within_s=120)
    assert f"{MODEL}'s fixed plan, epoch {epoch}, cannot be served without edge" in told("fixed-plan-missed")[0]
    shown = plan(fleet)
    assert (shown["epoch"], shown["fixed"]) == (epoch, True)
    fleet.start_agent("edge")
    blocking_until(lambda: bool(told("fixed-plan-kept")), "that the plan can be served again", within_s=120)
    blocking_until(lambda: plan(fleet)["serving"] == epoch, "the source on the fixed plan", within_s=120)
    requests = plan(fleet)["measured"]["requests"]
    assert difference(fleet, small_model, image, tmp_path) <= 1e-4
    blocking_until(
        lambda: plan(fleet)["measured"]["requests"] > requests, "a request counted on the fixed plan", within_s=120
    )


def test_other_goals_ask_for_a_plan(fleet: LocalFleet, served: dict[str, str]) -> None:
    epoch = plan(fleet)["epoch"]
    fleet.splitctl("set-weights", "--latency", "1", "--model", MODEL)
    shown = plan(fleet)
    assert not shown["fixed"]
    assert shown["epoch"] > epoch
    assert shown["score"] is not None
