"""From what nodes say of their runs to corrected profiles, predictions and events."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Literal

import msgspec
import pytest

from edgesplit.control.figure_messages import NODE_METRICS, NodeMetrics, Steadiness
from edgesplit.control.profile_messages import (
    ComponentTiming,
    ExecutionProfile,
    LiveTimings,
    ProfileReport,
    WholeTiming,
)
from edgesplit.control.registration_messages import NodeStatus
from edgesplit.planning.goals import Goals
from edgesplit.planning.plan import Assignment
from edgesplit_controller.fleet.estimation.observations import ProfileSeen, SpeedObservation
from edgesplit_controller.fleet.estimation.speed_belief import Factors, begun
from edgesplit_controller.fleet.estimation.speed_estimate import taken
from edgesplit_controller.fleet.node_speeds import Speeds
from edgesplit_controller.fleet.registry import FleetChange, Registry
from edgesplit_controller.fleet.unit_times import component_key, corrected, unit_seconds
from edgesplit_controller.graph.blobs import BlobStore
from edgesplit_controller.models.intake.stages import take_in
from edgesplit_controller.models.model_record import ModelRecord
from edgesplit_controller.models.submission import Submission
from edgesplit_controller.planner import evaluate
from edgesplit_controller.stating.predicting.predictions import as_timed, placed
from edgesplit_controller.storage.deployment_state import DeploymentState, PlanRecord
from edgesplit_controller.storage.recording import Recording
from edgesplit_controller.storage.rollout_state import Epoch
from edgesplit_controller.storage.saved_speeds import SavedSpeed
from tests.controller.test_predictions import COSTS, KERNEL_S, problem_of, profile
from tests.controller.tiny_models import convolutions

EPOCH = 3


@pytest.fixture(scope="module")
def record(tmp_path_factory: pytest.TempPathFactory) -> ModelRecord:
    """Four convolutions with a Relu each, of a millisecond each."""
    folder: Path = tmp_path_factory.mktemp("model")
    (folder / "tiny").write_bytes(convolutions(count=4))
    blobs = BlobStore(folder / "blobs")
    return take_in(Submission("tiny", folder / "tiny", {}, None, 4, ()), blobs, lambda _text, _fraction: None)


def split(record: ModelRecord, *, quantized: frozenset[str] = frozenset()) -> Assignment:
    """The last two convolutions on the edge."""
    there = {unit.name for unit in record.graph.units if unit.name[-1] in "23"} - {"OUTPUT"}
    operators = problem_of(record, {}).operators
    where = {entry.name: "edge" if entry.name in there and entry.role is None else "device" for entry in operators}
    return Assignment(where, quantized=quantized)


def planned(record: ModelRecord, assignment: Assignment) -> DeploymentState:
    """A deployment whose one plan this is."""
    problem = problem_of(record, {})
    plan = PlanRecord(
        epoch=Epoch(number=EPOCH, source="device", participants=("device", "edge")),
        sha256=record.sha256,
        version=record.version,
        specs={},
        problem=problem,
        assignment=assignment,
        evaluation=evaluate(problem, assignment),
        status="optimal",
        score=0.0,
        gap=0.0,
        solve_s=0.0,
        reason="",
        goals=Goals(),
    )
    return DeploymentState(source="device", inputs=(), outputs=(), plans={EPOCH: plan})


class Bench:
    """Speeds of one edge with one model."""

    def __init__(
        self,
        record: ModelRecord,
        costs: Mapping[str, float] | None = None,
        *,
        remembered: Sequence[SavedSpeed] = (),
        save: Callable[[list[SavedSpeed]], None] = lambda _: None,
        observed: Callable[[SpeedObservation], None] = lambda _: None,
    ) -> None:
        self.record = record
        self.registry = Registry()
        status = NodeStatus(node="edge", online=True, protocol=1, version="", instance="", advertise="")
        self.registry.set_status("edge", status)
        self.raw = profile(record, dict(costs or {}))
        self.deployment = planned(record, split(record))
        self.now_s = 0.0
        self.speeds = Speeds(
            self.registry,
            {record.name: record},
            lambda: {record.name: self.deployment},
            change=0.2,
            clock=lambda: self.now_s,
            remembered=remembered,
            save=save,
            record=observed,
        )
        self.step_s, self.instance, self.numbered, self.runs = 0.0, "", True, 0
        self.profiled(self.raw)

    def profiled(self, measured: ExecutionProfile) -> None:
        """The edge says its profile."""
        report = ProfileReport(
            node="edge",
            instance="",
            model="tiny",
            sha256=self.record.sha256,
            state="done",
            fraction=1.0,
            profile=measured,
        )
        self.registry.set_profile("edge", "tiny", report)

    def served(self, seconds: float, *, epoch: int = EPOCH) -> tuple[tuple[FleetChange, ...], bool]:
        """The edge says what its component took a second later."""
        self.now_s += 1.0
        components = self.deployment.plans[EPOCH].evaluation.components
        (number,) = [component.id for component in components if component.node == "edge"]
        timing = ComponentTiming(
            graph="g",
            epoch=epoch,
            component=number,
            predicted_s=0.0,
            recent_s=seconds,
            runs=9,
            last_run_unix_s=self.now_s + self.step_s,
            number=self._number(),
        )
        return self.speeds.hear("edge", "tiny", self.says(timing))

    def says(self, *timings: ComponentTiming, whole: WholeTiming | None = None) -> LiveTimings:
        """As the edge."""
        return LiveTimings(
            node="edge",
            instance=self.instance,
            model="tiny",
            at_unix_s=self.now_s + self.step_s,
            components=timings,
            whole=whole,
        )

    def _number(self) -> int:
        self.runs += 1
        return self.runs if self.numbered else 0

    def profile(self) -> ExecutionProfile:
        """As plans take it."""
        found = self.speeds.profile("edge", "tiny", self.record.sha256)
        assert found is not None
        return found


@pytest.fixture
def bench(record: ModelRecord) -> Bench:
    """With a plan that has two convolutions on the edge."""
    return Bench(record)


def test_profiles_are_as_measured_until_something_is_heard(bench: Bench) -> None:
    assert bench.profile() == bench.raw
    row = bench.speeds.row("edge", "tiny")
    assert row is not None
    assert (row.factor, row.origin, row.age_s) == (1.0, "profile", None)
    assert bench.speeds.row("nobody", "tiny") is None


def test_a_profile_that_says_what_a_pause_costs_is_planned_with_that_before_anything_served(bench: Bench) -> None:
    bench.profiled(msgspec.structs.replace(bench.raw, rested_s=1.2 * bench.raw.whole_s))
    assert bench.speeds.profile_changed("edge", "tiny") == ((), False)
    # Without its own spread a measurement is taken for a noisy one.
    assert 1.05 * bench.raw.whole_s < bench.profile().whole_s < 1.2 * bench.raw.whole_s
    bench.profiled(msgspec.structs.replace(bench.raw, rested_s=1.2 * bench.raw.whole_s, rested_spread=0.005))
    bench.speeds.profile_changed("edge", "tiny")
    assert bench.profile().whole_s == pytest.approx(1.2 * bench.raw.whole_s, rel=0.01)
    bench.profiled(msgspec.structs.replace(bench.raw, rested_s=0.98 * bench.raw.whole_s, rested_spread=0.005))
    bench.speeds.profile_changed("edge", "tiny")
    assert bench.profile().whole_s == pytest.approx(0.98 * bench.raw.whole_s, rel=0.002)


def test_a_node_that_became_slower_is_told_with_old_and_new_values_and_planned_with(bench: Bench) -> None:
    for _ in range(5):
        assert bench.served(2 * KERNEL_S)[0] == ()
    for _ in range(2):
        assert bench.served(4.1 * KERNEL_S) == ((), False)
    (change,), notable = bench.served(4.1 * KERNEL_S)
    assert notable
    assert (change.kind, change.node, change.model) == ("profile-changed", "edge", "tiny")
    assert re.fullmatch(
        r"edge computes tiny in 8\.\d+ ms instead of 4 ms \(live timings\), a factor of 2\.0\d", change.text
    )
    assert change.data["old_whole_s"] == pytest.approx(4 * KERNEL_S)
    assert change.data["new_whole_s"] == pytest.approx(8.2 * KERNEL_S, rel=0.02)
    assert bench.profile().time_s["conv0"] == pytest.approx(2.05 * KERNEL_S, rel=0.02)
    assert bench.served(4.1 * KERNEL_S) == ((), False)
    (row,) = bench.speeds.rows("edge").values()
    assert (row.origin, row.profiled_s) == ("live timings", 4 * KERNEL_S)
    assert row.factor == pytest.approx(2.05, rel=0.02)
    bench.served(2 * KERNEL_S)
    bench.served(2 * KERNEL_S)
    (back,), _ = bench.served(2 * KERNEL_S)
    assert back.data["new_whole_s"] == pytest.approx(4 * KERNEL_S, rel=0.02)


@pytest.mark.parametrize(("regime", "spread", "told"), [("steady", 1.5, 1), ("restless", 0.3, 1), ("restless", 1.5, 0)])
def test_what_a_restless_machine_varies_by_is_no_news_of_it(
    bench: Bench, regime: Literal["steady", "restless"], spread: float, told: int
) -> None:
    metrics = NodeMetrics(
        node="edge",
        instance="",
        at_unix_s=0.0,
        cpu_percent=0.0,
        memory_available_bytes=1,
        compute_w=3.0,
        transmit_w=1.0,
        power_origin="configured",
        steadiness=Steadiness(minutes_spread=spread, regime=regime),
    )
    bench.registry.keep(NODE_METRICS, NODE_METRICS.of("edge"), metrics)
    changes = [bench.served(seconds * KERNEL_S)[0] for seconds in (*[2.0] * 5, *[4.1] * 4)]
    assert sum(map(len, changes)) == told
    assert bench.profile().time_s["conv0"] == pytest.approx(2.05 * KERNEL_S, rel=0.1)  # predictions follow all the same


def test_six_percent_more_than_predicted_is_no_news_but_changes_what_is_predicted(bench: Bench) -> None:
    news = [bench.served(2 * 1.06 * KERNEL_S) for _ in range(10)]
    assert all(changes == () for changes, _ in news)
    notable = [notable for _, notable in news]
    assert notable[0]
    assert not notable[-1]
    ((node, _), seconds), *_ = bench.speeds.timed_s("tiny").items()
    assert node == "edge"
    assert seconds == pytest.approx(2 * 1.06 * KERNEL_S, rel=0.01)


def test_what_was_said_before_the_profile_was_heard_counts_once_it_is(record: ModelRecord) -> None:
    bench = Bench(record)
    bench.registry.forget_model("tiny")
    assert bench.served(4 * KERNEL_S) == ((), False)
    bench.profiled(bench.raw)
    changes, notable = bench.speeds.profile_changed("edge", "tiny")
    assert [change.kind for change in changes] == ["profile-changed"]
    assert notable
    assert bench.profile().whole_s == pytest.approx(8 * KERNEL_S, rel=0.05)


def test_the_same_profile_again_keeps_the_correction_and_another_one_begins_anew(bench: Bench) -> None:
    bench.served(4 * KERNEL_S)
    bench.profiled(msgspec.json.decode(msgspec.json.encode(bench.raw), type=ExecutionProfile))
    bench.speeds.profile_changed("edge", "tiny")
    assert bench.profile().whole_s == pytest.approx(8 * KERNEL_S, rel=0.05)
    slower = msgspec.structs.replace(bench.raw, whole_s=1.0, slow_down=2.0)
    bench.profiled(slower)
    bench.speeds.profile_changed("edge", "tiny")
    assert bench.profile() == slower
    assert bench.speeds.timed_s("tiny") == {}


def test_components_of_epochs_nobody_knows_and_runs_long_past_say_nothing(bench: Bench) -> None:
    assert bench.served(9 * KERNEL_S, epoch=EPOCH + 1) == ((), False)
    old = ComponentTiming(
        graph="g", epoch=EPOCH, component=1, predicted_s=0.0, recent_s=1.0, runs=9, last_run_unix_s=0.0
    )
    bench.now_s = 1000.0
    assert bench.speeds.hear("edge", "tiny", bench.says(old)) == ((), False)
    assert bench.profile() == bench.raw


def test_an_idle_node_is_corrected_by_timing_its_whole_model_again(bench: Bench) -> None:
    for number in range(2):
        bench.now_s += 10.0
        whole = WholeTiming(sha256=bench.record.sha256, whole_s=8 * KERNEL_S, runs=6, at_unix_s=bench.now_s)
        changes, _ = bench.speeds.hear("edge", "tiny", bench.says(whole=whole))
        assert len(changes) == number
        assert bench.speeds.hear("edge", "tiny", bench.says(whole=whole)) == ((), False)
    other = WholeTiming(sha256="another version", whole_s=1.0, runs=6, at_unix_s=bench.now_s + 1)
    assert bench.speeds.hear("edge", "tiny", bench.says(whole=other)) == ((), False)
    assert bench.profile().whole_s == pytest.approx(8 * KERNEL_S, rel=0.05)


def test_what_was_learned_survives_a_restart_and_is_not_told_again(record: ModelRecord) -> None:
    saved: list[list[SavedSpeed]] = []
    before = Bench(record, save=saved.append)
    for _ in range(3):
        before.served(4 * KERNEL_S)
    assert len(saved) == 1
    written = msgspec.json.decode(msgspec.json.encode(saved[-1]), type=list[SavedSpeed])
    after = Bench(record, remembered=written)
    assert after.speeds.profile_changed("edge", "tiny") == ((), False)
    assert after.profile().whole_s == pytest.approx(before.profile().whole_s, rel=0.02)
    assert after.speeds.timed_s("tiny") == pytest.approx(before.speeds.timed_s("tiny"), rel=0.02)
    assert after.served(4 * KERNEL_S)[0] == ()
    other = Bench(record, {"to-int8": 1e-9}, remembered=written)
    other.speeds.profile_changed("edge", "tiny")
    assert other.profile().time_s == other.raw.time_s


def test_a_removed_model_leaves_nothing(bench: Bench) -> None:
    bench.served(4 * KERNEL_S)
    bench.speeds.forget_model("tiny")
    assert bench.speeds.timed_s("tiny") == {}
    assert bench.profile() == bench.raw


def test_a_component_that_was_timed_is_predicted_as_it_was_and_nothing_else_is(record: ModelRecord) -> None:
    problem, assignment = problem_of(record, {}), split(record)
    before = evaluate(problem, assignment)
    (there,) = [component for component in before.components if component.node == "edge"]
    timed_s = {("edge", component_key(record.graph, assignment, there)): 5 * KERNEL_S}
    after = evaluate(as_timed(problem, record.graph, assignment, before.components, timed_s), assignment)
    assert after.timeline_s - before.timeline_s == pytest.approx(3 * KERNEL_S)
    elsewhere = {("device", key): seconds for (_, key), seconds in timed_s.items()}
    assert as_timed(problem, record.graph, assignment, before.components, elsewhere) is problem


def test_components_are_the_same_only_if_what_they_compute_and_read_has_the_same_form(record: ModelRecord) -> None:
    graph, keys = record.graph, set[str]()
    for quantized in (frozenset[str](), frozenset({"conv0"}), frozenset({"conv1"}), frozenset({"conv2"})):
        assignment = split(record, quantized=quantized)
        components = evaluate(problem_of(record, {}), assignment).components
        (there,) = [component for component in components if component.node == "edge"]
        keys.add(component_key(graph, assignment, there))
    # conv0 is neither on the edge nor read there.
    assert len(keys) == 3


def test_corrected_profiles_scale_every_time_by_its_precision(record: ModelRecord) -> None:
    raw = profile(record, COSTS)
    now = corrected(raw, Factors(2.0, 3.0))
    assert now.time_s["conv1"] == 2 * raw.time_s["conv1"]
    assert now.integer_time_s["conv1"] == 3 * raw.integer_time_s["conv1"]
    assert now.quantized_time_s["conv1"] == 3 * raw.quantized_time_s["conv1"]
    assert now.transition_s_per_byte["to-int8"] == 3 * raw.transition_s_per_byte["to-int8"]
    assert corrected(raw, Factors()) is raw


@pytest.mark.parametrize("costs", [{}, COSTS])
def test_seconds_of_units_are_those_that_a_placed_problem_states(record: ModelRecord, costs: dict[str, float]) -> None:
    problem, assignment = problem_of(record, costs), split(record, quantized=frozenset({"conv1", "conv2"}))
    profiles = {node: profile(record, costs) for node in ("device", "edge")}
    stated = placed(problem, record.graph, record.manifest.quantizable, profiles, assignment)
    taken_s = unit_seconds(record.graph, record.manifest.quantizable, profiles, assignment)
    for operator in stated.operators:
        if operator.name in taken_s:
            times_s = operator.quantized_time_s if operator.name in assignment.quantized else operator.time_s
            assert times_s is not None
            assert times_s[assignment.node_of[operator.name]] == pytest.approx(taken_s[operator.name])


@pytest.mark.parametrize("step_s", [-3600.0, 3600.0, -1e9])
def test_a_clock_that_is_set_changes_nothing_about_live_timings(bench: Bench, step_s: float) -> None:
    bench.served(2 * KERNEL_S)
    bench.served(2 * KERNEL_S)
    bench.step_s = step_s
    bench.served(4 * KERNEL_S)
    bench.served(4 * KERNEL_S)
    ((change,), notable) = bench.served(4 * KERNEL_S)
    assert notable
    assert change.data["factor"] == pytest.approx(2.0, rel=0.05)
    row = bench.speeds.row("edge", "tiny")
    assert row is not None
    assert row.age_s == 0.0


def test_runs_of_an_agent_that_does_not_number_them_count_though_its_clock_was_set_back(bench: Bench) -> None:
    bench.numbered = False
    bench.served(2 * KERNEL_S)
    bench.step_s = -3600.0
    bench.served(4 * KERNEL_S)
    bench.served(4 * KERNEL_S)
    ((change,), _) = bench.served(4 * KERNEL_S)
    assert change.data["factor"] == pytest.approx(2.0, rel=0.05)


def test_an_agent_that_restarted_numbers_its_runs_anew(bench: Bench) -> None:
    for _ in range(5):
        bench.served(2 * KERNEL_S)
    bench.instance, bench.runs = "restarted", 0
    bench.served(4 * KERNEL_S)
    bench.served(4 * KERNEL_S)
    ((change,), _) = bench.served(4 * KERNEL_S)
    assert change.data["factor"] == pytest.approx(2.0, rel=0.05)


def test_what_the_broker_delivers_again_is_no_second_report(bench: Bench) -> None:
    bench.served(2 * KERNEL_S)
    bench.served(4 * KERNEL_S)
    bench.runs -= 1
    assert bench.served(4 * KERNEL_S) == ((), False)


def test_what_was_taken_in_can_be_recorded_and_estimated_from_again(record: ModelRecord, tmp_path: Path) -> None:
    path = tmp_path / "timings.jsonl"
    bench = Bench(record, observed=Recording(path).add)
    for seconds in (2.0, 2.1, 2.05, 4.0, 4.0):
        bench.served(seconds * KERNEL_S)
    observations = [msgspec.json.decode(line, type=SpeedObservation) for line in path.read_bytes().splitlines()]
    assert [type(seen).__name__ for seen in observations] == ["ProfileSeen", *["PartsRan"] * 5]
    assert isinstance(observations[0], ProfileSeen)
    speed = begun(observations[0])
    for seen in observations[1:]:
        speed = taken(speed, seen)
    assert speed.factor == bench.speeds.believed("tiny")["edge"].factor


def test_a_recording_that_cannot_be_written_disturbs_nobody(record: ModelRecord, tmp_path: Path) -> None:
    bench = Bench(record, observed=Recording(tmp_path / "nowhere" / "timings.jsonl").add)
    bench.served(2 * KERNEL_S)
    assert bench.speeds.believed("tiny").keys() == {"edge"}
