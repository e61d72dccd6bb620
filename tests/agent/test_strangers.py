"""What strangers leave at a node is bounded in number and time, and pushes out nothing that a known peer put there."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from prometheus_client import generate_latest

from edgesplit_agent.reporting.metrics import PrometheusMetrics
from edgesplit_agent.reporting.metrics_page import registry_of
from edgesplit_agent.serving.machine import execution, out_of_order, request_flow
from edgesplit_agent.serving.machine.actions import RunComponent, SendAbort
from edgesplit_agent.serving.machine.agent_machine import AgentMachine
from edgesplit_agent.serving.machine.events import (
    AbortReceived,
    DesiredChanged,
    EpochPrepared,
    PeerUp,
    TensorsArrived,
    Tick,
)
from edgesplit_agent.serving.machine.out_of_order import MOST_EARLY_OF_STRANGERS, EarlyTensors, EndedExecutions
from tests.agent.graphs import desired, edge_part
from tests.agent.test_machine import Scene, X, key, of


def test_early_tensors_of_strangers_have_a_small_room_and_a_known_peers_are_kept_and_served() -> None:
    scene = Scene("edge", prepare=False)
    scene.say(PeerUp("device"))
    for number in range(5000):
        scene.say(TensorsArrived(f"stranger-{number}", key(number, f"early-{number}"), {"a": X}))
    assert len(scene.machine.flow.early) == MOST_EARLY_OF_STRANGERS
    assert not of(SendAbort, scene.say(TensorsArrived("device", key(2), {"a": X})))
    for number in range(5000):
        scene.say(TensorsArrived("stranger", key(2, f"late-{number}"), {"a": X}))
    assert len(scene.machine.flow.early) == MOST_EARLY_OF_STRANGERS + 1
    scene.say(DesiredChanged("m", desired("edge", edge_part(2))))
    held = scene.machine.models["m"].held[2]
    assert [run.key for run in of(RunComponent, scene.say(EpochPrepared("m", 2, held.generation)))] == [key(2)]
    assert scene.machine.refused["early-tensors"] == 10_000 - MOST_EARLY_OF_STRANGERS


def test_bytes_of_strangers_give_way_to_a_known_peers() -> None:
    refused: Counter[str] = Counter()
    early = EarlyTensors(3 * X.nbytes, refused)
    assert all(early.keep(key(1, name), "stranger", {"a": X}, 9.0, 0.0, known=False) for name in ("a", "b", "c"))
    assert not early.keep(key(1, "d"), "stranger", {"a": X}, 9.0, 0.0, known=False)
    assert all(early.keep(key(2, name), "device", {"a": X}, 9.0, 0.0) for name in ("a", "b", "c"))
    assert not early.keep(key(3), "stranger", {"a": X}, 9.0, 0.0, known=False)
    assert not early.keep(key(2, "d"), "device", {"a": X}, 9.0, 0.0)
    assert {early_key.epoch for early_key, _, known in early.overdue(1.0) if known} == {2}
    assert not early
    assert refused["early-tensors"] == 6


def test_what_strangers_say_of_requests_nobody_has_is_not_remembered() -> None:
    scene = Scene("edge")
    scene.say(DesiredChanged("m", desired("edge", edge_part(2))))
    for number in range(5000):
        scene.say(AbortReceived("stranger", key(number, f"abort-{number}"), "request-failed", "no"))
        scene.say(TensorsArrived("stranger", key(number + 10, f"tensors-{number}"), {"a": X}))
    scene.now_s += 1.0
    scene.say(Tick())
    assert not scene.machine.busy
    assert scene.machine.refused["aborts-of-strangers"] == 5000
    # The request that a stranger called aborted, of an epoch that is held, is served all the same.
    assert of(RunComponent, scene.say(TensorsArrived("device", key(2, "abort-2"), {"a": X})))
    # Of a participant it is: tensors that come behind its abort are known to be late.
    scene.say(AbortReceived("device", key(2), "request-failed", "gave up"))
    assert not of(RunComponent, scene.say(TensorsArrived("device", key(2), {"a": X})))


def test_a_stranger_can_neither_start_nor_end_a_request() -> None:
    scene = Scene("edge")
    scene.say(DesiredChanged("m", desired("edge", edge_part(2))))
    assert not scene.say(TensorsArrived("stranger", key(2), {"a": X}))
    (run,) = of(RunComponent, scene.say(TensorsArrived("device", key(2), {"a": X})))
    assert not scene.say(AbortReceived("stranger", key(2), "request-failed", "no"))
    assert scene.machine.wants(run.key)
    assert not of(SendAbort, scene.say(TensorsArrived("stranger", key(2), {"a": X.astype(np.float64)})))
    assert scene.machine.wants(run.key)


def test_requests_of_other_nodes_are_bounded_in_number_and_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(request_flow, "MOST_EXECUTIONS", 3)
    scene = Scene("edge")
    scene.say(PeerUp("device"))
    scene.say(DesiredChanged("m", desired("edge", edge_part(2))))
    for number in range(3):
        scene.say(TensorsArrived("device", key(2, f"r{number}"), {"a": X}, deadline_s=1e9))
    (abort,) = of(SendAbort, scene.say(TensorsArrived("device", key(2, "more"), {"a": X})))
    assert (abort.peer, abort.code) == ("device", "overloaded")
    scene.now_s += execution.LONGEST_DEADLINE_S + 1
    scene.say(Tick())
    assert not scene.machine.flow.executions


def test_the_oldest_of_too_many_ended_requests_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:

    monkeypatch.setattr(out_of_order, "MOST_ENDED", 2)
    refused: Counter[str] = Counter()
    ended = EndedExecutions(refused)
    for number in range(4):
        ended.add(key(1, str(number)), float(number))
    assert [key(1, str(number)) in ended for number in range(4)] == [False, False, True, True]
    assert refused["ended-requests"] == 2


def test_what_limits_did_is_a_metric() -> None:
    machine, telemetry = AgentMachine("edge"), PrometheusMetrics("edge", "1")
    telemetry.show_limited(machine.refused)
    machine.handle(AbortReceived("stranger", key(1), "request-failed", "no"), 0.0)
    page = generate_latest(registry_of(telemetry)).decode()
    assert 'edgesplit_limited_total{kind="aborts-of-strangers",node="edge"} 1.0' in page
