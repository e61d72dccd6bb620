"""Times of units among their neighbours: typical ones for the solver, exact ones for a known assignment."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from edgesplit.control.figure_messages import LinkState
from edgesplit.control.profile_messages import ExecutionProfile
from edgesplit.planning.goals import Goals
from edgesplit.planning.plan import Assignment
from edgesplit.planning.problem import Problem
from edgesplit_controller.graph.blobs import BlobStore
from edgesplit_controller.models.intake.stages import take_in
from edgesplit_controller.models.model_record import ModelRecord
from edgesplit_controller.models.submission import Submission
from edgesplit_controller.planner import evaluate
from edgesplit_controller.stating.predicting.predictions import placed, typical_bytes
from edgesplit_controller.stating.problem_statement import Candidate, build_problem
from tests.controller.tiny_models import convolutions

RATE = 1e-9
KERNEL_S, INTEGER_S = 1e-3, 4e-4


@pytest.fixture(scope="module")
def record(tmp_path_factory: pytest.TempPathFactory) -> ModelRecord:
    folder: Path = tmp_path_factory.mktemp("model")
    (folder / "tiny").write_bytes(convolutions(count=4))
    blobs = BlobStore(folder / "blobs")
    return take_in(Submission("tiny", folder / "tiny", {}, None, 4, ()), blobs, lambda _text, _fraction: None)


def profile(record: ModelRecord, costs: dict[str, float]) -> ExecutionProfile:
    units = [unit.name for unit in record.graph.units]
    return ExecutionProfile(
        time_s={unit: KERNEL_S if unit.startswith("conv") else 0.0 for unit in units},
        quantized_time_s=dict.fromkeys(record.manifest.quantizable, 5e-4),
        whole_s=4 * KERNEL_S,
        runs=1,
        provider="CPUExecutionProvider",
        threads=1,
        runtime="",
        integer_time_s=dict.fromkeys(record.manifest.quantizable, INTEGER_S),
        transition_s_per_byte=costs,
    )


def problem_of(record: ModelRecord, costs: dict[str, float]) -> Problem:
    link = LinkState(to="", up=True, bandwidth_bytes_per_s=1e6, latency_s=0.001, measured_at_unix_s=0.0)
    pairs = (("device", "edge"), ("edge", "device"))
    return build_problem(
        "tiny",
        record.graph,
        quantizable=record.manifest.quantizable,
        noise=None,
        source="device",
        candidates=[Candidate(name, 1.0, 1.0, None, profile(record, costs)) for name in ("device", "edge")],
        links=[(start, msgspec.structs.replace(link, to=end)) for start, end in pairs],
        goals=Goals(),
    )


def predicted_s(record: ModelRecord, costs: dict[str, float], quantized: set[str]) -> float:
    problem = problem_of(record, costs)
    everywhere = dict.fromkeys((operator.name for operator in problem.operators), "device")
    assignment = Assignment(everywhere, quantized=frozenset(quantized))
    profiles = {"device": profile(record, costs), "edge": profile(record, costs)}
    restated = placed(problem, record.graph, record.manifest.quantizable, profiles, assignment)
    return evaluate(restated, assignment).timeline_s


COSTS = {"to-int8": RATE, "to-float": 2 * RATE}
HIDDEN_BYTES, INPUT_BYTES = 4 * 8 * 16 * 16, 4 * 3 * 16 * 16


def test_a_profile_without_costs_states_the_times_it_measured(record: ModelRecord) -> None:
    problem = problem_of(record, {})
    operator = next(entry for entry in problem.operators if entry.name == "conv1")
    assert operator.quantized_time_s == {"device": 5e-4, "edge": 5e-4}
    assert predicted_s(record, {}, {"conv1"}) == pytest.approx(3 * KERNEL_S + 5e-4)


def test_a_float_plan_takes_its_units_alone(record: ModelRecord) -> None:
    assert predicted_s(record, COSTS, set()) == pytest.approx(4 * KERNEL_S)


def test_a_lonely_int8_operator_pays_both_conversions(record: ModelRecord) -> None:
    expected_s = 3 * KERNEL_S + INTEGER_S + 3 * RATE * HIDDEN_BYTES
    assert predicted_s(record, COSTS, {"conv1"}) == pytest.approx(expected_s)


def test_int8_operators_in_a_row_pay_at_the_ends_only(record: ModelRecord) -> None:
    expected_s = 4 * INTEGER_S + RATE * INPUT_BYTES + 2 * RATE * HIDDEN_BYTES
    assert predicted_s(record, COSTS, {"conv0", "conv1", "conv2", "conv3"}) == pytest.approx(expected_s)


def test_the_solver_sees_the_mean_of_the_first_and_the_last_operator_in_int8(record: ModelRecord) -> None:
    typical = typical_bytes(record.graph, record.manifest.quantizable)
    # conv1 among float neighbours pays both ends; among int8 ones it spares its neighbours theirs.
    assert typical["conv1"]["to-int8"] == pytest.approx(0.0)
    assert typical["conv0"]["to-float"] == pytest.approx(HIDDEN_BYTES / 2)
    operator = next(entry for entry in problem_of(record, COSTS).operators if entry.name == "conv1")
    assert operator.quantized_time_s is not None
    assert operator.quantized_time_s["device"] == pytest.approx(INTEGER_S)


def test_restating_leaves_times_of_other_nodes_and_precisions_alone(record: ModelRecord) -> None:
    problem = problem_of(record, COSTS)
    everywhere = dict.fromkeys((operator.name for operator in problem.operators), "device")
    assignment = Assignment(everywhere, quantized=frozenset({"conv1"}))
    profiles = {"device": profile(record, COSTS), "edge": profile(record, COSTS)}
    restated = placed(problem, record.graph, record.manifest.quantizable, profiles, assignment)
    before = {operator.name: operator for operator in problem.operators}
    for operator in restated.operators:
        assert operator.time_s["edge"] == before[operator.name].time_s["edge"]
        if operator.name == "conv1":
            assert operator.time_s == before[operator.name].time_s
