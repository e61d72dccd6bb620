"""How sure predictions are: priors for what nobody measured, and intervals wherever a prediction is shown."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from typing import Any

import aiohttp
import msgspec
import pytest

from edgesplit.control.figure_messages import LinkState
from edgesplit.operations.event_operations import ListEvents
from edgesplit.operations.plan_operations import DeployModel, ShowPlan
from edgesplit.operations.study_operations import LinkChange, TraceFrontier, WhatIf
from edgesplit.planning.plan import Assignment, Component
from edgesplit.retrying import RetryRule
from edgesplit_controller.deciding.changes.switch_decision import Decision, decide
from edgesplit_controller.deciding.replanner import UNSURE
from edgesplit_controller.fleet.estimation.handling_estimate import Handling
from edgesplit_controller.fleet.estimation.observations import PartRan, PartsRan, ProfileSeen
from edgesplit_controller.fleet.estimation.speed_belief import NodeSpeed, begun
from edgesplit_controller.fleet.estimation.speed_estimate import taken
from edgesplit_controller.fleet.unit_times import component_key
from edgesplit_controller.graph.blobs import BlobStore
from edgesplit_controller.models.intake.stages import take_in
from edgesplit_controller.models.model_record import ModelRecord
from edgesplit_controller.models.submission import Submission
from edgesplit_controller.planner import evaluate
from edgesplit_controller.stating.predicting.prediction_intervals import interval_under
from edgesplit_controller.stating.predicting.prediction_spreads import COMPONENT, Evidence, spreads_of
from tests.controller.fleet import Fleet
from tests.controller.test_predictions import problem_of
from tests.controller.tiny_models import convolutions
from tests.waiting import until


@pytest.fixture(scope="module")
def record(tmp_path_factory: pytest.TempPathFactory) -> ModelRecord:
    folder = tmp_path_factory.mktemp("model")
    (folder / "tiny").write_bytes(convolutions(count=4))
    submission = Submission("tiny", folder / "tiny", {}, None, 4, ())
    return take_in(submission, BlobStore(folder / "blobs"), lambda _text, _fraction: None)


def link(**figures: float) -> LinkState:
    return msgspec.structs.replace(
        LinkState(to="edge", up=True, bandwidth_bytes_per_s=1e6, latency_s=0.001, measured_at_unix_s=0.0), **figures
    )


def split(record: ModelRecord) -> Assignment:
    units = [unit.name for unit in record.graph.units]
    ends = [name for name in (operator.name for operator in problem_of(record, {}).operators) if name not in units]
    return Assignment(dict.fromkeys(units[2:], "edge") | dict.fromkeys((*units[:2], *ends), "device"))


def speed_of(record: ModelRecord, *parts: Component) -> NodeSpeed:
    """What is believed of a node on which these components were timed a few times, each as long as the problem says."""
    speed = begun(ProfileSeen(at_s=0.0, node="edge", model="tiny", whole_s=0.004))
    assignment = split(record)
    stated = {operator.name: operator for operator in problem_of(record, {}).operators}
    for second in range(1, 20 if parts else 0):
        ran = [
            PartRan(
                key=component_key(record.graph, assignment, part),
                float_s=(profiled_s := sum(stated[name].time_s[part.node] for name in part.operators)),
                int8_s=0.0,
                samples=(profiled_s,) * 5,
            )
            for part in parts
        ]
        speed = taken(speed, PartsRan(at_s=float(second), node="edge", model="tiny", parts=tuple(ran)))
    return speed


def test_a_component_that_was_timed_where_it_is_is_surer(record: ModelRecord) -> None:
    problem, assignment = problem_of(record, {}), split(record)
    evaluation = evaluate(problem, assignment)
    first, second = evaluation.components
    unknown = spreads_of(problem, record.graph, assignment, evaluation, Evidence())
    assert dict(unknown.components) == {first.id: pytest.approx(COMPONENT), second.id: pytest.approx(COMPONENT)}
    speeds = {first.node: speed_of(record, first), second.node: speed_of(record)}
    found = spreads_of(problem, record.graph, assignment, evaluation, Evidence(speeds))
    assert found.components[first.id] < 0.5 * found.components[second.id]
    assert found.nodes[first.node] < 0.025 < found.nodes[second.node] < 0.06


@pytest.mark.parametrize(
    ("measured", "spread"),
    [
        (link(error=0.04, scatter=0.3, latency_error_s=1e-4), (0.04, 1e-4)),
        (link(scatter=0.3), (pytest.approx(0.1), 0.0)),
        (link(), (0.0, 0.0)),
    ],
)
def test_a_link_is_as_sure_as_it_says(record: ModelRecord, measured: LinkState, spread: tuple[float, float]) -> None:
    problem, assignment = problem_of(record, {}), split(record)
    evidence = Evidence(links={("device", "edge"): measured})
    evaluation = evaluate(problem, assignment)
    assert spreads_of(problem, record.graph, assignment, evaluation, evidence).links == {("device", "edge"): spread}
    supposed = evidence.without_links([("device", "edge")])
    assert spreads_of(problem, record.graph, assignment, evaluation, supposed).links == {}


def test_what_is_measured_narrows_the_interval(record: ModelRecord) -> None:
    problem, assignment = problem_of(record, {}), split(record)
    evaluation = evaluate(problem, assignment)
    parts = evaluation.components
    timed = {part.node: speed_of(record, part) for part in parts}
    pairs = [("device", "edge"), ("edge", "device")]

    def width_s(evidence: Evidence) -> float:
        found = interval_under(evidence, record, problem, assignment, evaluation)
        assert found is not None
        return found.latency_s[1] - found.latency_s[0]

    sure, unsure = (
        Evidence(timed, Handling(), dict.fromkeys(pairs, link(error=0.01))),
        Evidence({}, Handling(), dict.fromkeys(pairs, link(error=0.3))),
    )
    # What handling may take is the same for all, and much of so short a plan.
    assert width_s(sure) < width_s(Evidence(timed, Handling(), unsure.links)) < 1.01 * width_s(unsure)
    assert width_s(sure) < width_s(Evidence({}, Handling(), sure.links)) < width_s(unsure)


def test_what_takes_next_to_no_time_has_an_interval_that_numbers_can_say(record: ModelRecord) -> None:
    """A start's slack is thousands of times what its units take."""
    problem, assignment = problem_of(record, {}), split(record)
    operators = tuple(
        msgspec.structs.replace(entry, time_s={node: seconds * 1e-6 for node, seconds in entry.time_s.items()})
        for entry in problem.operators
    )
    problem = msgspec.structs.replace(problem, operators=operators)
    seen = ProfileSeen(at_s=0.0, node="edge", model="tiny", whole_s=4e-9, slow_down=30.0)
    speeds = {"device": begun(seen), "edge": begun(seen)}
    found = interval_under(Evidence(speeds), record, problem, assignment, evaluate(problem, assignment))
    assert found is not None
    assert all(math.isfinite(end) for end in (*found.latency_s, *found.energy_j))


def test_a_plan_of_another_version_of_the_model_has_no_interval(record: ModelRecord) -> None:
    problem = problem_of(record, {})
    other = Assignment({"another": "device"})
    evaluation = evaluate(problem, split(record))
    assert interval_under(Evidence(), record, problem, other, evaluation) is None
    renamed = tuple(msgspec.structs.replace(part, operators=("gone",)) for part in evaluation.components)
    other_parts = msgspec.structs.replace(evaluation, components=renamed)
    assert interval_under(Evidence(), record, problem, split(record), other_parts) is None
    assert interval_under(Evidence(), record, problem, split(record), evaluation) is not None


def surrounds(document: dict[str, Any], latency: str = "latency_s", interval: str = "latency_interval_s") -> bool:
    (low_s, high_s), (low_j, high_j) = document[interval], document["energy_interval_j"]
    return bool(low_s < document[latency] < high_s and low_j < document["energy_j"] < high_j)


async def test_every_prediction_that_is_shown_says_how_sure_it_is(fleet: Fleet) -> None:
    client = fleet.client
    await client.add("tiny", convolutions(2))
    await client.ask(DeployModel(name="tiny", source="device"))
    await until(lambda: bool(fleet.agents["device"].desired["tiny"].fallbacks))
    plan = await client.ask(ShowPlan(name="tiny"))
    assert surrounds(plan)
    assert surrounds(plan["fallbacks"]["cloud"])
    slow = LinkChange(from_="device", to="cloud", bandwidth_bytes_per_s=1e3)
    supposed = await client.ask(WhatIf(name="tiny", links=(slow,)))
    assert all(surrounds(supposed[key]) for key in ("active", "active_then", "then"))
    assert supposed["active"]["latency_interval_s"] == plan["latency_interval_s"]
    traced = await client.ask(TraceFrontier(name="tiny", points=3))
    assert all(surrounds(row, "timeline_s", "timeline_interval_s") for row in (*traced["points"], traced["active"]))
    events = {event["kind"]: event["data"] for event in await client.ask(ListEvents(limit=1000))}
    kept = events["fallback-planned"]
    assert kept["latency_low_s"] < kept["latency_s"] < kept["latency_high_s"]
    async with aiohttp.ClientSession() as session, session.get(f"{client.artifacts}/metrics") as answer:
        page = await answer.text()
    for figure, ends in (("latency", plan["latency_interval_s"]), ("energy", plan["energy_interval_j"])):
        unit = "seconds" if figure == "latency" else "joules"
        for name, value in zip(("low", "high"), ends, strict=True):
            assert f'edgesplit_controller_plan_{figure}_{name}_{unit}{{model="tiny"}} {value}' in page


async def test_the_interval_is_remembered_over_a_restart_and_narrows_once_the_plan_is_timed(fleet: Fleet) -> None:
    client = fleet.client
    await client.add("tiny", convolutions(2))
    epoch = (await client.ask(DeployModel(name="tiny", source="device")))["epoch"]
    before = fleet.plan("tiny").latency_interval_s
    assert before is not None
    await fleet.stop_controller()
    await fleet.start_controller()
    await fleet.until_settled()
    assert fleet.plan("tiny").latency_interval_s == before
    asked = itertools.count()

    def narrower() -> bool:
        if next(asked) % 50 == 0:  # as agents do: again and again, beside other figures
            fleet.agents["cloud"].publish_timings("tiny", epoch, 1.0)
            fleet.agents["cloud"].publish_links()
        now = fleet.plan("tiny").latency_interval_s
        return now is not None and now[1] - now[0] < before[1] - before[0]

    await until(narrower)
    assert fleet.plan("tiny").epoch.number == epoch


async def test_a_plan_that_was_held_back_as_unsure_is_looked_at_again_though_nothing_changes(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = fleet.client
    await client.add("tiny", convolutions())
    epoch = (await client.ask(DeployModel(name="tiny", source="device")))["epoch"]
    held_back: list[Decision] = []

    def unsure_twice(*figures: Any, **how: Any) -> Decision:
        decision = decide(*figures, **how)
        if not decision.adopt or len(held_back) == 2:
            return decision
        held_back.append(decision)
        return replace(decision, adopt=False, unsure=True)

    monkeypatch.setattr("edgesplit_controller.deciding.plan_maker.decide", unsure_twice)
    monkeypatch.setattr("edgesplit_controller.deciding.replanner.DOUBTED", RetryRule(first_s=0.05))
    fleet.agents["cloud"].publish_timings("tiny", epoch, 10.0)
    await until(lambda: fleet.plan("tiny").epoch.number > epoch)
    assert len(held_back) == 2
    assert UNSURE in fleet.plan("tiny").reason
    told = [event for event in await client.ask(ListEvents(limit=1000)) if event["kind"] == "replan-declined"]
    assert len(told) == 1  # people hear of the first, which answers what happened
