"""The agent's decisions, scene by scene: literals in, actions out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import msgspec
import numpy as np
import pytest

from edgesplit.control.plan_messages import EpochSpec, EpochState
from edgesplit.errors import (
    InvalidTensor,
    NotDeployed,
    Overloaded,
    PeerUnreachable,
    PreparationFailed,
    RequestFailed,
    RequestTimedOut,
    UnknownModel,
)
from edgesplit.retrying import Retrying
from edgesplit.wire.headers import ExecutionKey
from edgesplit_agent.serving.machine.actions import (
    Action,
    ClearObserved,
    CompleteRequest,
    EmitEvent,
    FailRequest,
    ForwardRequest,
    PrepareEpoch,
    PublishObserved,
    ReleaseEpoch,
    RunComponent,
    SendAbort,
    SendCoded,
    SendTensors,
)
from edgesplit_agent.serving.machine.agent_machine import AgentMachine
from edgesplit_agent.serving.machine.events import (
    AbortReceived,
    CauseReturned,
    ComponentFailed,
    ComponentFinished,
    DeploymentChanged,
    DesiredChanged,
    EpochFailed,
    EpochPrepared,
    MachineEvent,
    ModelOffered,
    PeerLost,
    PeerRoom,
    PeerUp,
    RequestArrived,
    RequestCancelled,
    SendFailed,
    TensorsArrived,
    Tick,
)
from tests.agent.graphs import NO_GRAPH, component, deployment, desired, device_part, edge_part, local_part, route

T = TypeVar("T")
X = np.ones((1, 4), np.float32)


def of(kind: type[T], actions: Sequence[Action]) -> list[T]:
    """The actions of one kind."""
    return [action for action in actions if isinstance(action, kind)]


class Scene:
    """A machine whose preparations succeed at once unless told otherwise."""

    def __init__(
        self, node: str, *, prepare: bool = True, max_in_flight: int = 64, batch_window_s: float = 0.0
    ) -> None:
        self.machine = AgentMachine(node, max_in_flight=max_in_flight, batch_window_s=batch_window_s)
        self.now_s = 100.0
        self.prepare = prepare
        self.seen: list[Action] = []

    def say(self, event: MachineEvent) -> list[Action]:
        """Handle an event and the preparations it causes."""
        actions = self.machine.handle(event, self.now_s)
        self.seen += actions
        for action in list(actions):
            if isinstance(action, PrepareEpoch) and self.prepare:
                actions += self.say(EpochPrepared(action.model, action.spec.epoch, action.generation))
        return actions

    def observed(self) -> tuple[dict[int, str], int | None]:
        """What was published last."""
        last = of(PublishObserved, self.seen)[-1]
        return {state.epoch: state.state for state in last.epochs}, last.serving


def split_device(**keywords: Any) -> Scene:
    """A source that serves epoch 2 over the edge, with fallback 1."""
    scene = Scene("device", **keywords)
    scene.say(PeerUp("edge"))
    scene.say(DesiredChanged("m", desired("device", local_part(1), device_part(2), serve=2, fallback=1)))
    return scene


def key(epoch: int, request: str = "r") -> ExecutionKey:
    """Of model m."""
    return ExecutionKey("m", epoch, request)


def finished(epoch: int, component: int, **outputs: np.ndarray) -> ComponentFinished:
    """A component of request r ran."""
    return ComponentFinished(key(epoch), component, outputs)


def arrived(name: str, inputs: Mapping[str, np.ndarray] | None = None, deadline_s: float | None = None) -> MachineEvent:
    """A request of model m."""
    return RequestArrived(name, "m", {"x": X} if inputs is None else inputs, deadline_s)


def test_a_source_keeps_to_its_credit_at_a_participant_and_takes_requests_again_once_one_has_ended() -> None:
    scene = Scene("device")
    scene.say(PeerUp("edge"))
    split = msgspec.structs.replace(device_part(2), footprints={"edge": 32})
    scene.say(DesiredChanged("m", desired("device", local_part(1), split, serve=2, fallback=1)))
    scene.say(PeerRoom("edge", 64))
    assert not of(FailRequest, scene.say(arrived("r")) + scene.say(arrived("s")))
    (refused,) = of(FailRequest, scene.say(arrived("t")))
    assert isinstance(refused.error, Overloaded)
    assert "edge has no room" in str(refused.error)
    scene.say(RequestCancelled("r"))
    assert not of(FailRequest, scene.say(arrived("t")))


def test_a_node_grants_each_source_its_share_of_what_weights_leave() -> None:
    machine = AgentMachine("edge", memory_limit_bytes=8000)
    assert machine.room_bytes() == 8000
    for model, source in (("m", "device"), ("n", "other")):
        part = msgspec.structs.replace(edge_part(2), source=source)
        machine.handle(DesiredChanged(model, msgspec.structs.replace(desired("edge", part), model=model)), 0.0)
    assert machine.room_bytes() == 4000
    assert AgentMachine("edge").room_bytes() is None


def test_a_request_goes_over_the_edge_and_back() -> None:
    scene = split_device()
    assert scene.observed() == ({1: "prepared", 2: "prepared"}, 2)
    (run,) = of(RunComponent, scene.say(arrived("r")))
    assert (run.key, run.component, list(run.arrays)) == (key(2), 0, ["x"])
    (send,) = of(SendTensors, scene.say(finished(2, 0, a=2 * X)))
    assert (send.peer, list(send.tensors)) == ("edge", ["a"])
    (run,) = of(RunComponent, scene.say(TensorsArrived("edge", key(2), {"b": 3 * X})))
    assert (run.component, run.arrays["b"][0, 0]) == (2, 3)
    scene.now_s += 0.5
    (complete,) = of(CompleteRequest, scene.say(finished(2, 2, y=5 * X)))
    assert (complete.request, complete.epoch, complete.latency_s) == ("r", 2, 0.5)
    assert complete.outputs["y"][0, 0] == 5


def test_a_tensor_with_a_codec_is_coded_once_for_everyone_who_needs_it() -> None:
    scene = Scene("device")
    for peer in ("edge", "cloud"):
        scene.say(PeerUp(peer))
    routes = [route("a", "edge", "cloud", codec="int8"), route("b", "edge"), route("b", "cloud", codec="lossless")]
    first = component(0, NO_GRAPH, ["x"], ["a", "b", "y"], routes)
    into = (route("x", "edge", codec="fp16"),)
    part = msgspec.structs.replace(device_part(2), components=(first,), input_routes=into)
    scene.say(DesiredChanged("m", desired("device", part, serve=2)))
    actions = scene.say(arrived("r"))
    (coded,) = of(SendCoded, actions)
    assert (coded.tensor, coded.codec, coded.peers) == ("x", "fp16", ("edge",))
    assert actions.index(coded) < actions.index(of(RunComponent, actions)[0]), "inputs leave before the node computes"
    actions = scene.say(finished(2, 0, a=X, b=2 * X, y=X))
    assert [(send.peer, list(send.tensors)) for send in of(SendTensors, actions)] == [("edge", ["b"])]
    sends = {send.tensor: (send.codec, send.peers, send.order) for send in of(SendCoded, actions)}
    assert sends == {"a": ("int8", ("edge", "cloud"), 1), "b": ("lossless", ("cloud",), 1)}
    assert scene.machine.order_of(key(2, "another")) == 2


def test_a_participant_computes_and_answers_then_forgets() -> None:
    scene = Scene("edge")
    scene.say(PeerUp("device"))
    scene.say(DesiredChanged("m", desired("edge", edge_part(2))))
    assert scene.observed() == ({2: "prepared"}, None)
    (run,) = of(RunComponent, scene.say(TensorsArrived("device", key(2), {"a": X}, deadline_s=1.0)))
    assert run.component == 1
    (send,) = of(SendTensors, scene.say(finished(2, 1, b=X)))
    assert send.peer == "device"
    assert not scene.machine.flow.executions
    assert not scene.say(TensorsArrived("device", key(2), {"a": X}))


def test_the_old_epoch_serves_until_the_new_one_is_prepared_and_ends_with_its_last_request() -> None:
    scene = split_device()
    scene.say(arrived("r"))
    scene.prepare = False
    wanted = desired("device", local_part(1), device_part(2), device_part(3), serve=3, fallback=1)
    (prepare,) = of(PrepareEpoch, scene.say(DesiredChanged("m", wanted)))
    (run,) = of(RunComponent, scene.say(arrived("while-preparing")))
    assert run.key.epoch == 2
    scene.say(EpochPrepared("m", 3, prepare.generation))
    (run,) = of(RunComponent, scene.say(arrived("after")))
    assert run.key.epoch == 3
    scene.say(DesiredChanged("m", desired("device", local_part(1), device_part(3), serve=3, fallback=1)))
    assert scene.observed() == ({1: "prepared", 2: "draining", 3: "prepared"}, 3)
    scene.say(TensorsArrived("edge", key(2), {"b": X}))
    assert of(CompleteRequest, scene.say(finished(2, 2, y=X)))
    scene.say(TensorsArrived("edge", key(2, "while-preparing"), {"b": X}))
    actions = scene.say(ComponentFinished(key(2, "while-preparing"), 2, {"y": X}))
    assert [release.epoch for release in of(ReleaseEpoch, actions)] == [2]
    assert scene.observed() == ({1: "prepared", 3: "prepared"}, 3)


def test_an_epoch_that_serves_is_kept_while_its_replacement_is_not_ready_even_if_no_longer_named() -> None:
    scene = split_device()
    scene.prepare = False
    (prepare,) = of(PrepareEpoch, scene.say(DesiredChanged("m", desired("device", device_part(3), serve=3))))
    assert scene.observed()[1] == 2
    actions = scene.say(EpochPrepared("m", 3, prepare.generation))
    assert sorted(release.epoch for release in of(ReleaseEpoch, actions)) == [2]
    assert scene.observed() == ({3: "prepared"}, 3)


def test_a_request_in_flight_runs_again_on_the_fallback_when_its_peer_is_lost() -> None:
    scene = split_device()
    scene.say(arrived("r"))
    scene.say(finished(2, 0, a=X))
    actions = scene.say(PeerLost("edge", "no answer for 3 s"))
    (run,) = of(RunComponent, actions)
    assert (run.key, list(run.arrays)) == (key(1), ["x"])
    (event,) = of(EmitEvent, actions)
    assert (event.kind, event.data["lost"]) == ("fallback-engaged", "edge")
    assert scene.observed()[1] == 1
    (complete,) = of(CompleteRequest, scene.say(finished(1, 0, y=X)))
    assert (complete.request, complete.epoch) == ("r", 1)
    (run,) = of(RunComponent, scene.say(arrived("next")))
    assert run.key.epoch == 1
    assert [event.kind for event in of(EmitEvent, scene.say(PeerUp("edge")))] == ["peer-back"]
    assert scene.observed()[1] == 1
    scene.now_s += 2.0
    assert [event.kind for event in of(EmitEvent, scene.say(Tick()))] == ["fallback-left"]
    assert scene.observed()[1] == 2


def test_a_request_that_no_longer_needs_the_lost_peer_just_ends() -> None:
    scene = split_device()
    scene.say(arrived("r"))
    scene.say(finished(2, 0, a=X))
    scene.say(TensorsArrived("edge", key(2), {"b": X}))
    assert not of(RunComponent, scene.say(PeerLost("edge", "gone")))
    (complete,) = of(CompleteRequest, scene.say(finished(2, 2, y=X)))
    assert complete.epoch == 2


def test_an_abort_runs_the_request_again_and_has_others_avoid_the_epoch_for_a_while() -> None:
    scene = split_device()
    scene.say(arrived("r"))
    (run,) = of(RunComponent, scene.say(AbortReceived("edge", key(2), "peer-unreachable", "edge lost cloud")))
    assert run.key == key(1)
    (run,) = of(RunComponent, scene.say(arrived("next")))
    assert run.key.epoch == 1
    scene.now_s += 6.0
    scene.say(Tick())
    (run,) = of(RunComponent, scene.say(arrived("later")))
    assert run.key.epoch == 2


def test_a_component_that_fails_is_tried_on_the_fallback_and_then_fails_that_request_only() -> None:
    scene = split_device()
    scene.say(arrived("r"))
    scene.say(arrived("other"))
    (run,) = of(RunComponent, scene.say(ComponentFailed(key(2), 0, "index out of range")))
    assert run.key == key(1)
    (fail,) = of(FailRequest, scene.say(ComponentFailed(key(1), 0, "index out of range")))
    assert (fail.request, str(fail.error)) == ("r", "index out of range")
    assert isinstance(fail.error, RequestFailed)
    assert set(scene.machine.flow.requests) == {"other"}


def test_without_a_fallback_a_lost_peer_is_an_error_that_names_it() -> None:
    scene = Scene("device")
    scene.say(PeerUp("edge"))
    scene.say(DesiredChanged("m", desired("device", device_part(2), serve=2)))
    scene.say(arrived("r"))
    (fail,) = of(FailRequest, scene.say(PeerLost("edge", "gone")))
    assert isinstance(fail.error, PeerUnreachable)
    (fail,) = of(FailRequest, scene.say(arrived("next")))
    assert "edge" in str(fail.error)


def test_tensors_that_cannot_be_sent_send_the_request_to_the_fallback() -> None:
    scene = split_device()
    scene.say(arrived("r"))
    scene.say(finished(2, 0, a=X))
    (run,) = of(RunComponent, scene.say(SendFailed(key(2), "edge", "queue full")))
    assert run.key == key(1)


def test_a_participant_tells_the_source_when_another_peer_is_lost() -> None:
    scene = Scene("edge")
    scene.say(PeerUp("device"))
    part = edge_part(2)
    scene.say(DesiredChanged("m", desired("edge", part)))
    scene.say(TensorsArrived("device", key(2), {"a": X}))
    (abort,) = of(SendAbort, scene.say(ComponentFailed(key(2), 1, "out of memory")))
    assert (abort.peer, abort.code, abort.key) == ("device", "request-failed", key(2))
    assert not of(SendTensors, scene.say(finished(2, 1, b=X)))


def test_a_participant_whose_source_is_lost_stops() -> None:
    scene = Scene("edge")
    scene.say(PeerUp("device"))
    scene.say(DesiredChanged("m", desired("edge", edge_part(2))))
    scene.say(TensorsArrived("device", key(2), {"a": X}))
    # Should it be connected to here all the same, it must not wait for what never comes.
    assert [abort.peer for abort in of(SendAbort, scene.say(PeerLost("device", "gone")))] == ["device"]
    assert not scene.machine.wants(key(2))


def test_tensors_may_come_before_the_epoch_is_known_or_ready() -> None:
    scene = Scene("edge", prepare=False)
    scene.say(PeerUp("device"))
    assert not of(RunComponent, scene.say(TensorsArrived("device", key(2), {"a": X})))
    (prepare,) = of(PrepareEpoch, scene.say(DesiredChanged("m", desired("edge", edge_part(2)))))
    (run,) = of(RunComponent, scene.say(EpochPrepared("m", 2, prepare.generation)))
    assert run.key == key(2)


def test_what_came_early_has_the_requests_own_time_once_it_starts() -> None:
    scene = Scene("edge", prepare=False)
    (prepare,) = of(PrepareEpoch, scene.say(DesiredChanged("m", desired("edge", edge_part(2)))))
    scene.say(TensorsArrived("device", key(2), {"a": X}, 5.0))
    scene.now_s += 0.2
    (run,) = of(RunComponent, scene.say(EpochPrepared("m", 2, prepare.generation)))
    assert run.expires_at_s == 105.0


def test_tensors_of_an_epoch_that_never_comes_are_dropped_and_their_sender_told() -> None:
    scene = Scene("edge")
    scene.say(PeerUp("device"))
    scene.say(TensorsArrived("device", key(7), {"a": X}))
    scene.now_s += 31.0
    (abort,) = of(SendAbort, scene.say(Tick()))
    assert (abort.peer, abort.code) == ("device", "not-deployed")
    assert not scene.machine.busy


def test_early_tensors_start_with_the_time_of_their_request_not_of_their_waiting() -> None:
    scene = Scene("edge", prepare=False)
    scene.say(PeerUp("device"))
    (prepare,) = of(PrepareEpoch, scene.say(DesiredChanged("m", desired("edge", edge_part(2)))))
    scene.say(TensorsArrived("device", key(2), {"a": X}, deadline_s=10.0))
    scene.now_s += 0.2
    (run,) = of(RunComponent, scene.say(EpochPrepared("m", 2, prepare.generation)))
    assert run.expires_at_s == pytest.approx(110.0)


def test_early_tensors_are_bounded_in_bytes() -> None:
    scene = Scene("edge")
    scene.machine = AgentMachine("edge", early_limit_bytes=X.nbytes)
    assert not of(SendAbort, scene.say(TensorsArrived("device", key(7, "a"), {"a": X})))
    (abort,) = of(SendAbort, scene.say(TensorsArrived("device", key(7, "b"), {"a": X})))
    assert abort.key == key(7, "b")


def test_a_wrong_tensor_ends_that_request_only() -> None:
    scene = Scene("edge")
    scene.say(PeerUp("device"))
    scene.say(DesiredChanged("m", desired("edge", edge_part(2))))
    (abort,) = of(SendAbort, scene.say(TensorsArrived("device", key(2, "bad"), {"a": X.astype(np.float64)})))
    assert abort.code == "invalid-tensor"
    assert of(RunComponent, scene.say(TensorsArrived("device", key(2), {"a": X})))


@pytest.mark.parametrize("inputs", [{}, {"z": X}, {"x": X, "z": X}, {"x": X.astype(np.int64)}, {"x": X[0]}])
def test_wrong_inputs_are_refused_with_a_sentence(inputs: dict[str, np.ndarray]) -> None:
    scene = split_device()
    (fail,) = of(FailRequest, scene.say(arrived("r", inputs)))
    assert isinstance(fail.error, InvalidTensor)


def test_too_many_requests_are_refused() -> None:
    scene = split_device(max_in_flight=1)
    scene.say(arrived("r"))
    (fail,) = of(FailRequest, scene.say(arrived("s")))
    assert isinstance(fail.error, Overloaded)


def test_a_deadline_ends_a_request_everywhere() -> None:
    scene = split_device()
    scene.say(arrived("r", deadline_s=0.5))
    scene.now_s += 0.6
    actions = scene.say(Tick())
    (fail,) = of(FailRequest, actions)
    assert isinstance(fail.error, RequestTimedOut)
    assert [abort.peer for abort in of(SendAbort, actions)] == ["edge"]
    assert not of(CompleteRequest, scene.say(TensorsArrived("edge", key(2), {"b": X})))


def test_a_cancelled_request_is_forgotten_everywhere() -> None:
    scene = split_device()
    scene.say(arrived("r"))
    actions = scene.say(RequestCancelled("r"))
    assert [abort.peer for abort in of(SendAbort, actions)] == ["edge"]
    assert not of(FailRequest, actions)
    assert not scene.machine.busy


def test_another_node_forwards_to_the_source_and_an_unknown_model_is_an_error() -> None:
    scene = Scene("cloud")
    scene.say(DeploymentChanged("m", deployment("device", "10.0.0.1:7400")))
    (forward,) = of(ForwardRequest, scene.say(arrived("r")))
    assert forward.address == "10.0.0.1:7400"
    scene.say(DeploymentChanged("m", None))
    (fail,) = of(FailRequest, scene.say(arrived("r")))
    assert isinstance(fail.error, UnknownModel)
    scene.say(ModelOffered("m", offered=True))
    (fail,) = of(FailRequest, scene.say(arrived("r")))
    assert isinstance(fail.error, NotDeployed)


def test_requests_wait_while_a_restarted_source_prepares() -> None:
    scene = Scene("device", prepare=False)
    scene.say(PeerUp("edge"))
    wanted = desired("device", local_part(1), device_part(2), serve=2, fallback=1)
    local, split = of(PrepareEpoch, scene.say(DesiredChanged("m", wanted)))
    assert scene.say(arrived("r")) == []
    (run,) = of(RunComponent, scene.say(EpochPrepared("m", 1, local.generation)))
    assert run.key == key(1)
    scene.say(EpochPrepared("m", 2, split.generation))
    (run,) = of(RunComponent, scene.say(arrived("s")))
    assert run.key.epoch == 2


def starting_alone() -> tuple[Scene, dict[int, int]]:
    """A source that just started with nobody else there: its part of the split is ready, the fallback not yet."""
    scene = Scene("device", prepare=False)
    actions = scene.say(DesiredChanged("m", desired("device", local_part(1), device_part(2), serve=2, fallback=1)))
    generations = {action.spec.epoch: action.generation for action in of(PrepareEpoch, actions)}
    scene.say(EpochPrepared("m", 2, generations[2]))
    return scene, generations


def test_requests_wait_for_the_fallback_of_a_source_that_started_alone() -> None:
    scene, generations = starting_alone()
    assert of(FailRequest, scene.say(arrived("r"))) == []
    (run,) = of(RunComponent, scene.say(EpochPrepared("m", 1, generations[1])))
    assert run.key == key(1)


def test_they_fail_once_it_cannot_be_prepared() -> None:
    scene, generations = starting_alone()
    assert of(FailRequest, scene.say(arrived("r"))) == []
    (failed,) = of(FailRequest, scene.say(EpochFailed("m", 1, generations[1], "no room", passing=True)))
    assert failed.request == "r"
    assert isinstance(failed.error, PeerUnreachable)


def test_a_request_whose_peer_is_lost_waits_for_a_fallback_that_is_being_prepared() -> None:
    scene, generations = starting_alone()
    scene.say(PeerUp("edge"))
    assert of(RunComponent, scene.say(arrived("r")))
    assert of(FailRequest, scene.say(PeerLost("edge", "gone"))) == []
    (run,) = of(RunComponent, scene.say(EpochPrepared("m", 1, generations[1])))
    assert run.key == key(1)


def test_undeploying_ends_what_is_in_flight_first() -> None:
    scene = split_device()
    scene.say(ModelOffered("m", offered=True))
    scene.say(arrived("r"))
    actions = scene.say(DesiredChanged("m", None))
    assert [release.epoch for release in of(ReleaseEpoch, actions)] == [1]
    (fail,) = of(FailRequest, scene.say(arrived("late")))
    assert isinstance(fail.error, NotDeployed)
    scene.say(TensorsArrived("edge", key(2), {"b": X}))
    actions = scene.say(finished(2, 2, y=X))
    assert of(CompleteRequest, actions)
    assert [release.epoch for release in of(ReleaseEpoch, actions)] == [2]
    assert of(ClearObserved, actions)
    assert scene.machine.models == {}


def test_a_failed_preparation_is_reported_and_tried_again_later() -> None:
    scene = Scene("edge", prepare=False)
    (prepare,) = of(PrepareEpoch, scene.say(DesiredChanged("m", desired("edge", edge_part(2)))))
    failed = EpochFailed("m", 2, prepare.generation, "no blob", passing=True)
    (observed,) = of(PublishObserved, scene.say(failed))
    retry = Retrying(attempts=1, failing_s=0.0, next_try_s=1.0)
    assert observed.epochs == (EpochState(epoch=2, state="failed", detail="no blob", retry=retry),)
    assert not of(PrepareEpoch, scene.say(Tick()))
    scene.now_s += 1.0
    (again,) = of(PrepareEpoch, scene.say(Tick()))
    assert not scene.say(EpochPrepared("m", 2, prepare.generation))  # the first one's late report
    scene.say(EpochPrepared("m", 2, again.generation))
    assert scene.observed() == ({2: "prepared"}, None)


def test_pauses_between_tries_grow_and_end_at_once_when_the_cause_returns() -> None:
    scene = Scene("edge", prepare=False)
    (prepare,) = of(PrepareEpoch, scene.say(DesiredChanged("m", desired("edge", edge_part(2)))))
    pauses_s: list[float] = []
    for _ in range(9):
        failed = EpochFailed("m", 2, prepare.generation, "no blob", passing=True)
        (observed,) = of(PublishObserved, scene.say(failed))
        retry = observed.epochs[0].retry
        assert retry is not None
        pauses_s.append(retry.next_try_s)
        scene.now_s += retry.next_try_s
        (prepare,) = of(PrepareEpoch, scene.say(Tick()))
    assert pauses_s == [1, 2, 4, 8, 16, 32, 60, 60, 60]
    scene.say(EpochFailed("m", 2, prepare.generation, "no blob", passing=True))
    scene.now_s += 1.0
    for event in (CauseReturned(), PeerUp("device")):
        (again,) = of(PrepareEpoch, scene.say(event))
        scene.say(EpochFailed("m", 2, again.generation, "no blob", passing=True))
        # What flaps must not make it try in a row.
        assert not of(PrepareEpoch, scene.say(CauseReturned()))
        scene.now_s += 1.0


def test_what_the_runtime_refuses_is_not_tried_again_until_something_else_is_wanted() -> None:
    scene = Scene("edge", prepare=False)
    (prepare,) = of(PrepareEpoch, scene.say(DesiredChanged("m", desired("edge", edge_part(2)))))
    (observed,) = of(PublishObserved, scene.say(EpochFailed("m", 2, prepare.generation, "refused")))
    assert observed.epochs == (EpochState(epoch=2, state="failed", detail="refused"),)
    scene.now_s += 3600.0
    assert not of(PrepareEpoch, scene.say(Tick()) + scene.say(CauseReturned()))
    assert of(PrepareEpoch, scene.say(DesiredChanged("m", desired("edge", edge_part(3)))))


def test_the_same_desired_again_changes_nothing() -> None:
    scene = split_device()
    wanted = desired("device", local_part(1), device_part(2), serve=2, fallback=1)
    assert scene.say(DesiredChanged("m", wanted)) == []


def test_an_epoch_no_longer_wanted_while_preparing_is_dropped_at_once() -> None:
    scene = Scene("edge", prepare=False)
    (prepare,) = of(PrepareEpoch, scene.say(DesiredChanged("m", desired("edge", edge_part(2)))))
    actions = scene.say(DesiredChanged("m", desired("edge")))
    assert [release.epoch for release in of(ReleaseEpoch, actions)] == [2]
    assert scene.say(EpochPrepared("m", 2, prepare.generation)) == []


def with_spare(*, fallback: int | None = 1) -> Scene:
    """A source that serves epoch 2 over the edge, and keeps epoch 4 over the cloud for the loss of the edge."""
    scene = Scene("device")
    scene.say(PeerUp("edge"))
    scene.say(PeerUp("cloud"))
    parts = (local_part(1), device_part(2), device_part(4, peer="cloud"))
    scene.say(DesiredChanged("m", desired("device", *parts, serve=2, fallback=fallback, fallbacks={"edge": 4})))
    return scene


def engaged(actions: Sequence[Action]) -> list[tuple[str, Any]]:
    """What was told of fallbacks: kind and epoch."""
    return [(event.kind, event.data["epoch"]) for event in of(EmitEvent, actions) if event.kind != "peer-back"]


def test_a_lost_node_hands_over_to_the_plan_kept_for_its_loss_requests_in_flight_included() -> None:
    scene = with_spare()
    scene.say(arrived("r"))
    scene.say(finished(2, 0, a=X))
    actions = scene.say(PeerLost("edge", "gone"))
    (run,) = of(RunComponent, actions)
    assert run.key == key(4)
    assert engaged(actions) == [("fallback-engaged", 4)]
    (event,) = of(EmitEvent, actions)
    assert event.text == "m runs on its fallback plan (epoch 4, with cloud) because edge is lost"
    assert scene.observed()[1] == 4
    (send,) = of(SendTensors, scene.say(finished(4, 0, a=X)))
    assert send.peer == "cloud"
    actions = scene.say(PeerLost("cloud", "gone"))
    (run,) = of(RunComponent, actions)
    assert run.key == key(1)
    assert engaged(actions) == [("fallback-engaged", 1)]
    assert engaged(scene.say(PeerUp("cloud"))) == []
    scene.now_s += 2.0
    assert engaged(scene.say(Tick())) == [("fallback-engaged", 4)]
    assert engaged(scene.say(PeerUp("edge"))) == []
    scene.now_s += 2.0
    assert engaged(scene.say(Tick())) == [("fallback-left", 2)]


def test_a_peer_that_keeps_coming_and_going_is_relied_on_later_each_time() -> None:
    scene = split_device()
    waits = []
    for _ in range(3):
        scene.say(PeerLost("edge", "gone"))
        (event,) = of(EmitEvent, scene.say(PeerUp("edge")))
        waits.append(event.data["wait_s"])
    assert waits == [2.0, 4.0, 8.0]
    scene.now_s += 7.9
    scene.say(Tick())
    assert scene.observed()[1] == 1
    scene.now_s += 0.1
    scene.say(Tick())
    assert scene.observed()[1] == 2


def test_with_no_other_plan_a_peer_on_probation_is_better_than_none() -> None:
    scene = Scene("device")
    scene.say(PeerUp("edge"))
    scene.say(DesiredChanged("m", desired("device", device_part(2), serve=2)))
    scene.say(PeerLost("edge", "gone"))
    scene.say(PeerUp("edge"))
    assert of(RunComponent, scene.say(arrived("r")))[0].key == key(2)


def test_tensors_lost_on_their_way_are_told_to_the_source_also_after_the_work_here_is_done() -> None:
    scene = Scene("edge")
    scene.say(PeerUp("device"))
    scene.say(DesiredChanged("m", desired("edge", edge_part(2))))
    scene.say(TensorsArrived("device", key(2), {"a": X}))
    assert of(SendTensors, scene.say(finished(2, 1, b=X)))
    assert scene.say(PeerLost("device", "gone")) == []
    (abort,) = scene.say(SendFailed(key(2), "device", "on its way"))
    assert of(SendAbort, scene.say(PeerUp("device"))) == [abort], "and again once it is there"
    assert isinstance(abort, SendAbort)
    assert (abort.key, abort.peer, abort.code) == (key(2), "device", PeerUnreachable.code)
    scene.now_s += 61.0
    scene.say(PeerLost("device", "gone"))
    assert not of(SendAbort, scene.say(PeerUp("device")))


def test_who_gives_up_after_the_work_here_is_done_is_told_to_the_source_unless_that_is_who_says_so() -> None:
    """A restarted participant, whose preparation failed, knows only who sent it tensors."""
    scene = Scene("edge")
    for peer in ("device", "cloud"):
        scene.say(PeerUp(peer))
    part = EpochSpec(
        epoch=2,
        source="device",
        participants=dict.fromkeys(("device", "edge", "cloud"), "a:1"),
        components=(component(1, NO_GRAPH, ["a"], ["b"], [route("b", "cloud")]),),
        input_routes=(),
        outputs=(),
    )
    scene.say(DesiredChanged("m", desired("edge", part)))
    for request, teller, told in (("r", "cloud", ["device"]), ("s", "device", []), ("t", "somebody", [])):
        scene.say(TensorsArrived("device", key(2, request), {"a": X}))
        scene.say(ComponentFinished(key(2, request), 1, {"b": X}))
        aborts = of(SendAbort, scene.say(AbortReceived(teller, key(2, request), PreparationFailed.code, "no room")))
        assert [abort.peer for abort in aborts] == told
        assert all(abort.code == PreparationFailed.code for abort in aborts)


def test_a_node_that_was_restarted_does_not_keep_a_source_waiting() -> None:
    scene = Scene("edge", prepare=False)
    scene.say(PeerUp("device"))
    scene.say(DesiredChanged("m", desired("edge", edge_part(2))))
    scene.say(TensorsArrived("device", key(2), {"a": X}, 20.0))
    scene.now_s += 0.3
    (abort,) = of(SendAbort, scene.say(Tick()))
    assert (abort.peer, abort.code) == ("device", NotDeployed.code)


def test_a_fallback_that_is_not_prepared_or_lost_a_node_itself_is_passed_over() -> None:
    scene = with_spare()
    scene.say(PeerLost("cloud", "gone"))
    scene.say(PeerLost("edge", "gone"))
    assert scene.observed()[1] == 1
    scene = split_device()
    scene.say(PeerUp("cloud"))
    scene.prepare = False
    parts = (local_part(1), device_part(2), device_part(4, peer="cloud"))
    scene.say(DesiredChanged("m", desired("device", *parts, serve=2, fallback=1, fallbacks={"edge": 4})))
    scene.say(PeerLost("edge", "gone"))
    assert scene.observed() == ({1: "prepared", 2: "prepared", 4: "preparing"}, 1)


def test_a_link_lost_between_others_leads_to_the_local_plan_or_to_any_other_where_there_is_none() -> None:
    for fallback, instead in ((1, 1), (None, 4)):
        scene = with_spare(fallback=fallback)
        scene.say(arrived("r"))
        scene.say(finished(2, 0, a=X))
        (run,) = of(RunComponent, scene.say(AbortReceived("edge", key(2), PeerUnreachable.code, "edge lost fog")))
        assert run.key == key(instead)


def test_fallbacks_of_a_plan_that_is_not_served_yet_do_not_stand_in_for_the_one_that_is() -> None:
    scene = with_spare()
    scene.prepare = False
    parts = (local_part(1), device_part(2), device_part(3), device_part(4, peer="cloud"))
    scene.say(DesiredChanged("m", desired("device", *parts, serve=3, fallback=1, fallbacks={"edge": 4})))
    scene.say(PeerLost("edge", "gone"))
    assert scene.observed()[1] == 1
