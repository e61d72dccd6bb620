"""What an agent remembers of requests: the last ones, within bounds, for whoever asks."""

from __future__ import annotations

from pathlib import Path

from edgesplit.control.inquiry_messages import Inquiry, NodeFindings, PeerClock
from edgesplit.wire.headers import ExecutionKey
from edgesplit_agent.reporting.inquiry_answers import MOST_AT_A_TIME, CheckupSubjects, InquiryAnswers
from edgesplit_agent.reporting.request_traces import MOST_OF_ONE, MOST_REQUESTS, MOST_STEPS, RequestTraces
from tests.waiting import until

KEY = ExecutionKey("yolo", 3, "device-1")
CLOCK = PeerClock(peer="edge", ahead_least_s=-1.0, ahead_most_s=1.0)


def traced() -> RequestTraces:
    traces = RequestTraces()
    traces.ran(KEY, 0, 10.0, 0.5, 0.1)
    traces.coded(KEY, "encode", ["x"], start_s=10.5, seconds=0.1, waited_s=0.0)
    traces.sent(KEY, "edge", ["x"], 100, 10.6)
    traces.arrived(KEY, "edge", ["y"], 10, 10.9)
    traces.answered("yolo", "device-1", 1.0, 11.0)
    return traces


def test_the_last_request_is_told_with_its_steps_and_peers_clocks() -> None:
    told = traced().told("yolo", "", 12.0, lambda: (CLOCK,))
    assert (told.request, told.began_s, told.ended_s, told.now_s) == ("device-1", 10.0, 11.0, 12.0)
    assert [(step.kind, step.start_s, step.end_s) for step in told.steps] == [
        ("compute", 10.0, 10.5),
        ("encode", 10.5, 10.6),
        ("send", 10.6, 10.6),
        ("arrive", 10.9, 10.9),
    ]
    assert (told.steps[0].component, told.steps[0].waited_s, told.steps[2].peer) == (0, 0.1, "edge")
    assert told.clocks == (CLOCK,)


def test_of_other_models_and_requests_nothing_is_known() -> None:
    assert traced().told("other", "", 12.0).request == ""
    assert traced().told("yolo", "device-2", 12.0).request == ""


def test_a_part_of_another_s_request_is_told_by_name_and_is_never_the_last_answered() -> None:
    traces = traced()
    traces.ran(ExecutionKey("yolo", 3, "cam-9"), 1, 20.0, 0.5, 0.0)
    assert traces.told("yolo", "", 30.0).request == "device-1"
    told = traces.told("yolo", "cam-9", 30.0)
    assert (told.request, told.began_s, len(told.steps)) == ("cam-9", None, 1)


def test_what_is_remembered_is_bounded_whoever_sends_what() -> None:
    traces = RequestTraces()
    for number in range(2 * MOST_REQUESTS):
        traces.ran(ExecutionKey("yolo", 3, f"r{number}"), 0, 0.0, 1.0, 0.0)
    assert traces.told("yolo", "r0", 1.0).request == ""
    assert traces.told("yolo", f"r{2 * MOST_REQUESTS - 1}", 1.0).request
    for _ in range(2 * MOST_OF_ONE):
        traces.arrived(KEY, "stranger", ["x"], 1, 0.0)
    assert len(traces.told("yolo", "device-1", 1.0).steps) == MOST_OF_ONE
    for number in range(20):
        for _ in range(MOST_OF_ONE):
            traces.arrived(ExecutionKey("yolo", 3, f"flood{number}"), "stranger", ["x"], 1, 0.0)
    kept = [traces.told("yolo", f"flood{number}", 1.0) for number in range(20)]
    assert sum(len(told.steps) for told in kept) <= MOST_STEPS


def answers(folder: Path, said: list[NodeFindings], unreachable: str = "") -> InquiryAnswers:
    async def why() -> str:
        return unreachable

    subjects = CheckupSubjects(
        folder=folder,
        limit_bytes=7,
        artifacts=lambda: "http://controller:7480",
        unreachable=why,
        certificate_expires_s=lambda: None,
    )
    return InquiryAnswers(
        "device", "one", subjects=subjects, traces=traced(), clocks=tuple, say=said.append, clock=lambda: 12.0
    )


async def test_a_checkup_looks_at_disk_and_controller(tmp_path: Path) -> None:
    said: list[NodeFindings] = []
    asked = answers(tmp_path, said, "connection refused")
    asked.ask(Inquiry(id="a", about="checkup"))
    await until(lambda: bool(said))
    (found,) = said
    assert (found.node, found.id, found.trace) == ("device", "a", None)
    assert found.checkup is not None
    assert found.checkup.free_bytes > 0
    assert (found.checkup.folder, found.checkup.limit_bytes) == (str(tmp_path), 7)
    assert found.checkup.artifacts_problem == "connection refused"
    await asked.close()


async def test_a_trace_is_told_and_a_flood_of_questions_is_not_answered(tmp_path: Path) -> None:
    said: list[NodeFindings] = []
    asked = answers(tmp_path, said)
    for number in range(10 * MOST_AT_A_TIME):
        asked.ask(Inquiry(id=str(number), about="trace", model="yolo"))
    await until(lambda: len(said) == MOST_AT_A_TIME)
    await asked.close()
    assert len(said) == MOST_AT_A_TIME
    assert said[0].trace is not None
    assert said[0].trace.request == "device-1"
