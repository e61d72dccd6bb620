from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgesplit.errors import FrameMalformed
from edgesplit.wire.frames import FrameKind, FrameLimits, encode_frame, long_head, pack_tensors, part_prefix
from edgesplit.wire.headers import Ack, Header, Probe, Tensors
from edgesplit.wire.parser import FrameParser
from edgesplit.wire.send_queue import PART_MAX_BYTES, PART_MIN_BYTES, SHORT_BYTES, Lane, PartSize, Queued, SendQueue
from tests.dataplane.test_frames import fill

LIMITS = FrameLimits(body_bytes=1 << 22)
PART = 1 << 16


def tensors_frame(sequence: int, nbytes: int) -> list[memoryview]:
    array = np.full(nbytes, sequence % 251, np.uint8)
    heads, payloads = pack_tensors([("x", array, "raw")])
    return encode_frame(Tensors(sequence=sequence, model="m", epoch=1, request="r", tensors=heads), payloads)


def sequence_of(header: Header) -> int:
    assert isinstance(header, Tensors | Probe | Ack)
    return header.sequence


@dataclass
class Course:
    """A queue, what was put into it, and the bytes that left it."""

    queue: SendQueue = field(default_factory=SendQueue)
    waiting: dict[int, Queued] = field(default_factory=dict[int, Queued])
    withdrawn: set[int] = field(default_factory=set[int])
    wire: list[memoryview] = field(default_factory=list[memoryview])
    put: int = 0

    def do(self, action: str, size: int) -> None:
        if action == "take":
            self.wire += self.queue.take()
        elif action == "withdraw":
            for sequence in [sequence for sequence in self.waiting if sequence % 3 == size % 3]:
                if self.queue.withdraw(self.waiting.pop(sequence)):
                    self.withdrawn.add(sequence)
        else:
            self.put += 1
            lane = {"control": Lane.CONTROL, "data": Lane.DATA, "padding": Lane.PADDING}[action]
            buffers = tensors_frame(self.put, size)
            if lane is Lane.CONTROL:
                buffers = encode_frame(Ack(sequence=self.put))
            elif lane is Lane.PADDING:
                buffers = encode_frame(Probe(sequence=self.put, padding=size))
            self.waiting[self.put] = self.queue.put(buffers, lane)


actions = st.tuples(
    st.sampled_from(["control", "data", "data", "data", "padding", "take", "take", "take", "withdraw"]),
    st.sampled_from([0, 1, 900, SHORT_BYTES, PART + 1, 3 * PART, 5 * PART + 17]),
)


@settings(max_examples=120, deadline=None)
@given(st.lists(actions, max_size=40), st.lists(st.integers(1, 200_000), min_size=1, max_size=6))
def test_whatever_is_interleaved_and_however_it_is_chunked_every_frame_arrives_once(
    todo: list[tuple[str, int]], cuts: list[int]
) -> None:
    course = Course()
    course.queue.part_bytes = PART
    for action, size in todo:
        course.do(action, size)
    while course.queue:
        course.do("take", 0)
    assert course.queue.waiting_bytes == 0
    parser = FrameParser(LIMITS)
    frames = fill(parser, b"".join(course.wire), [cut + 50 for cut in cuts])
    arrived = [sequence_of(frame.header) for frame in frames]
    assert sorted(arrived) == sorted(set(range(1, course.put + 1)) - course.withdrawn)
    for frame in frames:
        for payload in frame.payloads:
            assert (payload == sequence_of(frame.header) % 251).all()
    assert not parser.in_frame


@settings(max_examples=100, deadline=None)
@given(st.lists(actions, max_size=40))
def test_waiting_bytes_are_those_of_the_frames_not_yet_taken(todo: list[tuple[str, int]]) -> None:
    course = Course()
    course.queue.part_bytes = PART
    for action, size in todo:
        course.do(action, size)
        assert course.queue.waiting_bytes >= 0
        assert course.queue or not course.queue.waiting_bytes
    left = course.queue.waiting_bytes
    while pieces := course.queue.take():
        # Beside what waited, only prefixes of parts leave.
        left -= sum(piece.nbytes for piece in pieces if bytes(piece[:3]) != FrameKind.PART.value)
        assert course.queue.waiting_bytes == left


@given(st.integers(1, 30), st.integers(1, 40))
def test_a_short_frame_waits_for_one_part_at_most_and_long_ones_go_on(long_frames: int, short_frames: int) -> None:
    queue = SendQueue()
    queue.part_bytes = PART
    for number in range(long_frames):
        queue.put(tensors_frame(number, 4 * PART), Lane.DATA)
    queue.take()
    for number in range(short_frames):
        queue.put(tensors_frame(1000 + number, SHORT_BYTES // 2), Lane.DATA)
    order: list[bool] = []
    while queue:
        order.append(sum(buffer.nbytes for buffer in queue.take()) < PART)
    # Two short ones fill a part's share; then a part of a long one leaves, as long as there is one.
    shorts_before_part = 0
    for position, short in enumerate(order):
        shorts_before_part = shorts_before_part + 1 if short else 0
        if False in order[position:]:
            assert shorts_before_part <= 3
    assert order[0]


def test_a_tensor_with_little_left_overtakes_and_the_oldest_keeps_half_of_the_link() -> None:
    queue = SendQueue()
    queue.part_bytes = PART
    oldest = queue.put(tensors_frame(1, 20 * PART), Lane.DATA)
    for number in range(2, 6):
        queue.put(tensors_frame(number, 2 * PART), Lane.DATA)
    ended: list[int] = []
    parts, oldest_parts = 0, 0
    while queue:
        before = oldest.left_bytes
        piece = b"".join(queue.take())
        parts += 1
        oldest_parts += oldest.left_bytes < before
        ended += [1] if oldest.gone and 1 not in ended else []
        if len(ended) == 0:
            assert oldest_parts >= parts // 2
        assert piece
    assert oldest_parts == 20
    assert parts == 28


def test_padding_leaves_only_when_nothing_else_waits() -> None:
    queue = SendQueue()
    queue.part_bytes = PART
    queue.put(encode_frame(Probe(sequence=1, padding=3 * PART)), Lane.PADDING)
    queue.put(tensors_frame(2, 2 * PART), Lane.DATA)
    wire = [b"".join(queue.take()) for _ in range(2)]
    assert queue.waiting_bytes >= 3 * PART
    (frame,) = fill(FrameParser(LIMITS), b"".join(wire), [1 << 20])
    assert sequence_of(frame.header) == 2


def test_a_frame_that_has_left_cannot_be_withdrawn() -> None:
    queue = SendQueue()
    queued = queue.put(tensors_frame(1, 10), Lane.DATA)
    queue.take()
    assert not queue.withdraw(queued)


def test_a_long_tensor_is_received_into_its_own_memory_between_other_frames() -> None:
    head, body = tensors_frame(3, 4 * PART)
    parser = FrameParser(LIMITS)
    assert parser.feed(long_head(head)) == []
    assert parser.feed(part_prefix(0, PART)) == []
    first = parser.buffer()
    assert first.nbytes == PART
    assert fill(parser, bytes(body[:PART]), [PART]) == []
    assert [frame.header for frame in parser.feed(b"".join(encode_frame(Ack(sequence=9))))] == [Ack(sequence=9)]
    (frame,) = fill(parser, part_prefix(0, 3 * PART) + bytes(body[PART:]), [1 << 20])
    assert np.shares_memory(frame.payloads[0], np.frombuffer(first, np.uint8))
    assert (frame.payloads[0] == 3).all()


@pytest.mark.parametrize(
    "data",
    [
        part_prefix(0, 10),
        long_head(tensors_frame(1, 100)[0]) + part_prefix(0, 101),
        long_head(tensors_frame(1, 100)[0]) + part_prefix(1, 100),
        long_head(tensors_frame(1, 100)[0]) + part_prefix(0, 0) + part_prefix(0, 100),
        long_head(encode_frame(Ack(sequence=1))[0]),
    ],
)
def test_parts_that_belong_to_nothing_are_refused(data: bytes) -> None:
    with pytest.raises(FrameMalformed, match="part"):
        FrameParser(LIMITS).feed(data)


@given(st.floats(1e4, 1e11), st.integers(1, 60))
def test_parts_take_some_milliseconds_within_their_bounds(rate_bytes_per_s: float, rounds: int) -> None:
    pace, now_s = PartSize(), 0.0
    pace.full(now_s)
    for _ in range(rounds):
        before = pace.part_bytes
        pace.sent(before)
        now_s += before / rate_bytes_per_s
        assert pace.full(now_s) == (pace.part_bytes != before)
        assert PART_MIN_BYTES <= pace.part_bytes <= PART_MAX_BYTES
    if rounds > 10 and PART_MIN_BYTES < pace.part_bytes < PART_MAX_BYTES:
        assert 0.002 <= pace.part_bytes / rate_bytes_per_s <= 0.008


def test_time_without_anything_to_send_does_not_make_a_link_slow() -> None:
    pace = PartSize()
    pace.full(0.0)
    pace.sent(1 << 20)
    pace.idle()
    before = pace.part_bytes
    pace.sent(1000)
    pace.full(60.0)
    assert pace.part_bytes == before
