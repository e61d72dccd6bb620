"""What handling a request takes beside its plan's timeline: regression, what is left out, and what plans make of it."""

from __future__ import annotations

import math
import random

import msgspec
import pytest

from edgesplit.control.figure_messages import Usage
from edgesplit.planning.plan import Assignment
from edgesplit.planning.problem import Problem
from edgesplit_controller.fleet.estimation.handling_estimate import (
    CLIENT_S,
    CLIENT_S_PER_BYTE,
    KEPT_PLANS,
    Handling,
    PlanShape,
    expected_handling,
    served_requests,
)
from edgesplit_controller.fleet.estimation.interval_trials import (
    FIRST,
    LEAST,
    REQUESTS,
    WARMING,
    Trials,
    tried,
)
from edgesplit_controller.fleet.handling import HandlingBook, shape_of
from edgesplit_controller.graph.blobs import BlobStore
from edgesplit_controller.models.intake.stages import take_in
from edgesplit_controller.models.model_record import ModelRecord
from edgesplit_controller.models.submission import Submission
from edgesplit_controller.planner import evaluate
from edgesplit_controller.stating.predicting.predictions import handled
from edgesplit_controller.storage.deployment_state import DeploymentState
from tests.controller.test_speeds import EPOCH, planned, split
from tests.controller.tiny_models import convolutions


@pytest.fixture(scope="module")
def record(tmp_path_factory: pytest.TempPathFactory) -> ModelRecord:
    """Four convolutions."""
    folder = tmp_path_factory.mktemp("model")
    (folder / "tiny").write_bytes(convolutions(count=4))
    submission = Submission("tiny", folder / "tiny", {}, None, 4, ())
    return take_in(submission, BlobStore(folder / "blobs"), lambda _text, _fraction: None)


def shape(key: str = "p", crossings: int = 0, nbytes: float = 1e6, timeline_s: float = 0.1) -> PlanShape:
    return PlanShape(key, crossings, nbytes, timeline_s)


def client_s(plan: PlanShape) -> float:
    return CLIENT_S + CLIENT_S_PER_BYTE * plan.nbytes


def test_a_served_plan_is_predicted_as_it_was() -> None:
    plan, handling = shape(), Handling()
    for _ in range(20):
        handling = served_requests(handling, plan, 0.103, 10)
    mean_s, deviation_s = expected_handling(handling, plan)
    assert mean_s - client_s(plan) == pytest.approx(0.003, rel=0.1)
    assert deviation_s < 0.0005 < expected_handling(Handling(), plan)[1]


@pytest.mark.parametrize("seed", range(5))
def test_plans_that_were_never_served_are_predicted_by_what_others_showed(seed: int) -> None:
    chance, handling = random.Random(seed), Handling()
    for number in range(40):
        plan = shape(f"p{number % 8}", crossings=number % 5)
        true_s = 0.1 + 0.001 + 0.0012 * plan.crossings
        handling = served_requests(handling, plan, true_s * math.exp(chance.gauss(0, 0.002)), 10)
    new = shape("new", crossings=6)
    mean_s, deviation_s = expected_handling(handling, new)
    assert mean_s - client_s(new) == pytest.approx(0.001 + 6 * 0.0012, abs=2.5 * deviation_s)
    assert deviation_s > expected_handling(handling, shape("p1", crossings=1))[1]


def test_what_is_far_beyond_a_timeline_is_no_handling() -> None:
    plan = shape()
    busy = served_requests(Handling(), plan, 0.2, 10)
    assert expected_handling(busy, plan) == expected_handling(Handling(), plan)


def test_memory_is_bounded() -> None:
    handling = Handling()
    for number in range(3 * KEPT_PLANS):
        handling = served_requests(handling, shape(str(number)), 0.101, 5)
    assert len(handling.belief.kinds) == 3 + KEPT_PLANS


def problem_with(handling_s: float, record: ModelRecord) -> tuple[Problem, Assignment]:
    deployment = planned(record, split(record))
    plan = deployment.plans[EPOCH]
    return msgspec.structs.replace(plan.problem, handling_s=handling_s), plan.assignment


@pytest.mark.parametrize("latency_model", ["sum", "critical-path"])
def test_a_timeline_begins_with_handling_and_nothing_else_changes(record: ModelRecord, latency_model: str) -> None:
    problem, assignment = problem_with(0.0, record)
    objective = msgspec.structs.replace(problem.objective, latency_model=latency_model)
    problem = msgspec.structs.replace(problem, objective=objective)
    before = evaluate(problem, assignment)
    stated, shifted = handled(problem, before, 0.25)
    again = evaluate(stated, assignment)
    assert again.timeline_s == pytest.approx(before.timeline_s + 0.25) == pytest.approx(shifted.timeline_s)
    assert again.latency_s == pytest.approx(before.latency_s)
    assert again.energy_j == before.energy_j == shifted.energy_j
    assert [entry.start_s for entry in again.timeline] == pytest.approx([entry.start_s for entry in shifted.timeline])
    assert min(entry.start_s for entry in again.timeline) == pytest.approx(0.25)


def counted(requests: int, latency_s: float, *, waiting_s: float = 0.0, **other: int) -> Usage:
    usage = Usage(
        node="device",
        model="tiny",
        epoch=EPOCH,
        requests=requests,
        failed=0,
        compute_s=0.0,
        transmit_s=0.0,
        energy_j=0.0,
        energy_origin="configured",
        latency_sum_s=requests * latency_s,
        waiting_s=requests * waiting_s,
    )
    return msgspec.structs.replace(usage, **other)


def deployed(record: ModelRecord) -> DeploymentState:
    state = planned(record, split(record))
    return msgspec.structs.replace(
        state, rollout=msgspec.structs.replace(state.rollout, active=state.plans[EPOCH].epoch)
    )


def test_a_plan_is_tried_once_by_its_first_interval_and_without_its_first_requests() -> None:
    trials = tried(Trials(), 1, (0.09, 0.11), 0.3, WARMING)
    assert trials.stretch == FIRST
    trials = tried(trials, 1, (0.49, 0.51), 0.1, REQUESTS)
    assert trials.stretch < FIRST
    assert tried(trials, 1, (0.09, 0.11), 0.5, 100) == trials
    assert tried(trials, 2, (0.09, 0.11), 0.5, 100).stretch > FIRST


def test_a_plan_that_serves_again_is_tried_again() -> None:
    trials = tried(Trials(), 1, (0.09, 0.11), 0.1, 20)
    again = tried(trials, 2, (0.09, 0.11), 0.1, 20)
    assert again.stretch < trials.stretch < FIRST


def test_slow_requests_make_a_trial_by_their_time() -> None:
    trials = tried(Trials(), 1, (1.9, 2.1), 5.0, 1)  # the first one is cold, however long it takes
    assert trials.stretch == FIRST
    trials = tried(trials, 1, (1.9, 2.1), 2.0, 1)
    assert trials.stretch == FIRST
    assert tried(trials, 1, (1.9, 2.1), 2.0, 1).stretch < FIRST


@pytest.mark.parametrize("true", [0.002, 0.02, 0.06, 0.15])
def test_in_the_long_run_nine_of_ten_intervals_hold_whatever_predictions_are_worth(true: float) -> None:
    chance, trials, held = random.Random(1), Trials(), list[bool]()
    for number in range(1500):
        reach = 1.645 * 0.02 * trials.stretch
        measured_s = math.exp(chance.gauss(0, true))
        trials = tried(trials, number, (math.exp(-reach), math.exp(reach)), measured_s, 20)
        held.append(math.exp(-reach) <= measured_s <= math.exp(reach))
    assert 0.87 < sum(held[300:]) / len(held[300:]) < (0.93 if true > 0.02 * LEAST else 1.01)


def test_sources_teach_it_and_nobody_else(record: ModelRecord) -> None:
    state = deployed(record)
    assert state.active is not None
    book = HandlingBook(lambda: {"tiny": state})
    timeline_s = state.active.evaluation.timeline_s
    for other in ({"epoch": EPOCH + 1}, {"failed": 1}, {"unplanned": 1}):
        assert not book.add(counted(10, timeline_s + 0.001, **other))
    assert not book.add(counted(0, 0.0))
    assert not book.add(msgspec.structs.replace(counted(10, timeline_s + 0.001), node="edge"))
    assert book.told_s("tiny") == ()
    assert not book.add(counted(WARMING, timeline_s + 0.009))  # cold caches
    assert expected_handling(book.believed("tiny", "device"), shape()) == expected_handling(Handling(), shape())
    assert book.add(counted(10, timeline_s + 0.003, waiting_s=0.002))
    plan = shape_of(state.active.problem, state.active.assignment, timeline_s)
    learned_s, _ = expected_handling(book.believed("tiny", "device"), plan)
    assert 0.0 < learned_s < 0.002 + client_s(plan)
    assert len(book.told_s("tiny")) == 1
    book.forget_model("tiny")
    assert book.told_s("tiny") == ()
