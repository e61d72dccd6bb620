from __future__ import annotations

import math

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgesplit.control.component_messages import ComponentSpec, GraphRef, Route
from edgesplit.control.plan_messages import EpochSpec
from edgesplit.wire.tensor_spec import TensorSpec
from edgesplit.wire.tensors import Array
from edgesplit_agent.serving.machine.admission import Admission, Held, footprint_bytes

KILO = TensorSpec(name="x", dtype="float32", shape=(250,))
Y = TensorSpec(name="y", dtype="float32", shape=(1, 500))
SPEC = EpochSpec(
    epoch=1,
    source="device",
    participants={"device": "", "edge": ""},
    components=(
        ComponentSpec(
            component=0,
            graph=GraphRef(digest="0" * 64, nbytes=1),
            inputs=(KILO,),
            outputs=(Y,),
            routes=(Route(tensor="y", codec="raw", to=("edge",)),),
        ),
    ),
)


def test_a_request_counts_its_inputs_and_what_its_components_take_and_yield_once_each() -> None:
    inputs: dict[str, Array] = {"x": np.zeros(250, np.float32), "z": np.zeros(3, np.uint8)}
    assert footprint_bytes(SPEC, inputs) == 1000 + 3 + 2000


def test_without_a_limit_only_the_number_counts() -> None:
    admission = Admission("device", 2)
    assert admission.tensor_bytes == math.inf
    assert admission.refusal(1 << 50, Held(1, 1 << 50, 1 << 50), SPEC) is None
    refusal = admission.refusal(1, Held(2, 1, 1), SPEC)
    assert refusal is not None
    assert "2 requests in flight" in str(refusal)


def test_tensors_get_what_weights_leave_and_an_eighth_at_least() -> None:
    admission = Admission("device", 64, limit_bytes=8000)
    admission.weight_bytes = 5000
    assert admission.tensor_bytes == 3000
    admission.weight_bytes = 9000
    assert admission.tensor_bytes == 1000


@pytest.mark.parametrize(("held", "admitted"), [(0, True), (4000, True), (4001, False)])
def test_a_request_without_room_is_refused_unless_it_is_alone(held: int, admitted: bool) -> None:
    admission = Admission("device", 64, limit_bytes=8000)
    needed = 9000 if not held else 4000
    refusal = admission.refusal(needed, Held(int(bool(held)), held, 0), SPEC)
    assert (refusal is None) == admitted
    if refusal is not None:
        assert refusal.code == "overloaded"
        assert "memory_limit_bytes" in str(refusal)


def test_a_pressed_peer_refuses_only_requests_that_send_to_it() -> None:
    admission = Admission("device", 64)
    admission.pressed = {"edge"}
    refusal = admission.refusal(1, Held(0, 0, 0), SPEC)
    assert refusal is not None
    assert str(refusal).startswith("edge takes tensors more slowly")
    admission.pressed = {"cloud"}
    assert admission.refusal(1, Held(0, 0, 0), SPEC) is None


def test_a_request_is_refused_where_a_participant_has_no_room_for_it_unless_it_is_the_only_one_there() -> None:
    admission = Admission("device", 64)
    spec = msgspec.structs.replace(SPEC, footprints={"edge": 600})
    assert admission.refusal(1, Held(1, 1, 1, {"edge": 600}), spec) is None
    admission.peer_has_room("edge", 1000)
    assert admission.refusal(1, Held(0, 0, 0), spec) is None
    refusal = admission.refusal(1, Held(1, 1, 1, {"edge": 600}), spec)
    assert refusal is not None
    assert str(refusal).startswith("edge has no room for another request's tensors from device")
    admission.peer_has_room("edge", 1200)
    assert admission.refusal(1, Held(1, 1, 1, {"edge": 600}), spec) is None
    admission.peer_has_room("edge", None)
    assert admission.refusal(1, Held(9, 1, 1, {"edge": 6000}), spec) is None


def test_sources_share_what_weights_leave() -> None:
    assert Admission("edge", 64).share_bytes(2) is None
    admission = Admission("edge", 64, limit_bytes=8000)
    admission.weight_bytes = 2000
    assert admission.share_bytes(0) == 6000
    assert admission.share_bytes(2) == 3000


requests = st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 5000), st.booleans()), max_size=60)


@given(requests, st.integers(1, 20_000))
def test_admitted_requests_never_take_more_than_the_limit_unless_one_alone_does(
    arrivals: list[tuple[str, int, bool]], limit: int
) -> None:
    admission = Admission("device", 1000, limit_bytes=limit)
    held: list[tuple[str, int]] = []
    for model, needed, ends in arrivals:
        if ends and held:
            held.pop(0)
        own_bytes = sum(nbytes for name, nbytes in held if name == model)
        all_bytes = sum(nbytes for _, nbytes in held)
        if admission.refusal(needed, Held(len(held), all_bytes, own_bytes), SPEC) is None:
            held.append((model, needed))
        assert len(held) <= 1 or sum(nbytes for _, nbytes in held) <= max(limit, held[0][1])


def test_a_flood_of_one_model_leaves_room_for_another() -> None:
    admission = Admission("device", 1000, limit_bytes=1000)
    held_bytes = 0
    while admission.refusal(10, Held(1, held_bytes, held_bytes), SPEC) is None:
        held_bytes += 10
    assert held_bytes == 500
    assert admission.refusal(400, Held(1, held_bytes, 0), SPEC) is None
