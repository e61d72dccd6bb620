from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgesplit.control.component_messages import ComponentSpec, GraphRef, Route
from edgesplit.control.plan_messages import EpochSpec, FootprintTerm, OpenAxis
from edgesplit.errors import Overloaded, SizesRefused
from edgesplit.wire.tensor_spec import TensorSpec
from edgesplit.wire.tensors import Array
from edgesplit_agent.serving.machine.admitting.admission import Admission, Held
from edgesplit_agent.serving.machine.admitting.footprints import Footprint, Footprints

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
    assert Footprints(SPEC).of(inputs) == Footprint(1000 + 3 + 2000)


def test_without_a_limit_only_the_number_counts() -> None:
    admission = Admission("device", 2)
    assert admission.tensor_bytes == math.inf
    assert admission.refusal(Footprint(1 << 50), Held(1, 1 << 50, 1 << 50), SPEC) is None
    refusal = admission.refusal(Footprint(1), Held(2, 1, 1), SPEC)
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
    refusal = admission.refusal(Footprint(needed), Held(int(bool(held)), held, 0), SPEC)
    assert (refusal is None) == admitted
    if refusal is not None:
        assert refusal.code == "overloaded"
        assert "memory_limit_bytes" in str(refusal)


def test_a_pressed_peer_refuses_only_requests_that_send_to_it() -> None:
    admission = Admission("device", 64)
    admission.pressed = {"edge"}
    refusal = admission.refusal(Footprint(1), Held(0, 0, 0), SPEC)
    assert refusal is not None
    assert str(refusal).startswith("edge takes tensors more slowly")
    admission.pressed = {"cloud"}
    assert admission.refusal(Footprint(1), Held(0, 0, 0), SPEC) is None


def test_a_request_is_refused_where_a_participant_has_no_room_for_it_unless_it_is_the_only_one_there() -> None:
    admission = Admission("device", 64)
    needed = Footprint(1, {"edge": 600})
    assert admission.refusal(needed, Held(1, 1, 1, {"edge": 600}), SPEC) is None
    admission.peer_has_room("edge", 1000)
    assert admission.refusal(needed, Held(0, 0, 0), SPEC) is None
    refusal = admission.refusal(needed, Held(1, 1, 1, {"edge": 600}), SPEC)
    assert refusal is not None
    assert str(refusal).startswith("edge has no room for another request's tensors from device")
    admission.peer_has_room("edge", 1200)
    assert admission.refusal(needed, Held(1, 1, 1, {"edge": 600}), SPEC) is None
    admission.peer_has_room("edge", None)
    assert admission.refusal(needed, Held(9, 1, 1, {"edge": 6000}), SPEC) is None


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
        if admission.refusal(Footprint(needed), Held(len(held), all_bytes, own_bytes), SPEC) is None:
            held.append((model, needed))
        assert len(held) <= 1 or sum(nbytes for _, nbytes in held) <= max(limit, held[0][1])


def test_a_flood_of_one_model_leaves_room_for_another() -> None:
    admission = Admission("device", 1000, limit_bytes=1000)
    held_bytes = 0
    while admission.refusal(Footprint(10), Held(1, held_bytes, held_bytes), SPEC) is None:
        held_bytes += 10
    assert held_bytes == 500
    assert admission.refusal(Footprint(400), Held(1, held_bytes, 0), SPEC) is None


OPEN = EpochSpec(
    epoch=1,
    source="device",
    participants={"device": "", "edge": ""},
    components=(),
    footprints={"edge": 700},
    open_axes=(OpenAxis(input="x", axis=0, size=2), OpenAxis(input="x", axis=2, size=100)),
    footprint_terms={
        "device": (FootprintTerm(nbytes=800, exponents=(1, 1)),),
        "edge": (FootprintTerm(nbytes=100, exponents=(0, 0)), FootprintTerm(nbytes=600, exponents=(1, 2))),
    },
)


@pytest.mark.parametrize(
    ("shape", "here", "on_edge", "larger"),
    [
        ((2, 3, 100), 800, 700, False),
        ((4, 3, 100), 1600, 1300, True),
        ((2, 3, 300), 2400, 5500, True),
        ((1, 3, 50), 200, 175, False),
        ((0, 3, 100), 0, 100, False),
        ((1, 3, 300), 1200, 2800, True),
    ],
)
def test_what_a_request_takes_follows_its_sizes(shape: tuple[int, ...], here: int, on_edge: int, larger: bool) -> None:
    footprints = Footprints(OPEN)
    assert footprints.of({"x": np.zeros(shape, np.uint8)}) == Footprint(here, {"edge": on_edge}, larger)
    assert footprints.of({"x": np.zeros((2, 3, 100), np.uint8)}) == Footprint(800, {"edge": 700})


def test_inputs_of_another_version_of_the_model_count_as_planned() -> None:
    assert Footprints(OPEN).of({"z": np.zeros(3, np.uint8)}).here == 800
    assert Footprints(OPEN).of({"x": np.zeros(4, np.uint8)}).here == 1600


def test_sizes_beyond_all_numbers_take_more_than_any_node_has() -> None:
    huge = (OpenAxis(input="x", axis=0, size=1),)
    spec = EpochSpec(
        epoch=1,
        source="device",
        participants={},
        components=(),
        open_axes=huge,
        footprint_terms={"device": (FootprintTerm(nbytes=1, exponents=(40,)),)},
    )
    assert Footprints(spec).of({"x": np.zeros((1 << 60, 0), np.uint8)}).here == 1 << 62


def test_what_no_node_could_hold_even_alone_is_refused_for_good_unless_it_is_planned_so() -> None:
    admission = Admission("device", 64, limit_bytes=8000)
    admission.peer_has_room("edge", 1000)
    nothing = Held(0, 0, 0)
    assert admission.refusal(Footprint(9000, {"edge": 2000}), nothing, OPEN) is None
    refusal = admission.refusal(Footprint(9000, {"edge": 1000}, larger=True), nothing, OPEN)
    assert isinstance(refusal, SizesRefused)
    assert "0.0 MB of 0.0 MB on device" in str(refusal)
    assert "edge" not in str(refusal)
    assert isinstance(admission.refusal(Footprint(1, {"edge": 1001}, larger=True), nothing, OPEN), SizesRefused)
    busy = Held(1, 100, 100, {"edge": 500})
    assert isinstance(admission.refusal(Footprint(1, {"edge": 1000}, larger=True), busy, OPEN), Overloaded)
    assert admission.refusal(Footprint(1, {"edge": 500}, larger=True), busy, OPEN) is None
