from __future__ import annotations

import random
from typing import Any

import msgpack
import msgspec
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from edgesplit.errors import FrameMalformed, FrameTooLarge, ProtocolError, ProtocolMismatch
from edgesplit.release import PROTOCOL
from edgesplit.wire.codecs import CODECS
from edgesplit.wire.frames import PREFIX, Frame, FrameLimits, check_hello, encode_frame, pack_tensors, unpack_tensors
from edgesplit.wire.headers import Abort, Ack, Failure, Header, Hello, Infer, Ping, Pong, Probe, Result, Tensors
from edgesplit.wire.parser import FrameParser
from edgesplit.wire.tensors import Array

SMALL = FrameLimits(header_bytes=4096, body_bytes=1 << 20)
HELLO = Hello(protocol=PROTOCOL, role="agent", node="edge", version="1", instance="i")


def tensors_frame(arrays: dict[str, Array], codec: str = "raw") -> tuple[Header, tuple[Array, ...]]:
    heads, payloads = pack_tensors([(name, array, codec) for name, array in arrays.items()])
    return Tensors(sequence=7, model="m", epoch=3, request="r", tensors=heads, deadline_s=0.5), payloads


def to_bytes(header: Header, payloads: tuple[Array, ...] = ()) -> bytes:
    return b"".join(encode_frame(header, payloads))


def fill(parser: FrameParser, data: bytes, cuts: list[int]) -> list[Frame]:
    """What a socket does: write into the parser's own memory, `cuts` bytes at most at a time."""
    frames: list[Frame] = []
    position, turn = 0, 0
    while position < len(data):
        memory = parser.buffer()
        assert len(memory) > 0
        count = min(len(memory), cuts[turn % len(cuts)], len(data) - position)
        memory[:count] = data[position : position + count]
        position, turn = position + count, turn + 1
        frames += parser.received(count)
    return frames


CONTROL: list[Header] = [
    HELLO,
    Failure(code="invalid-tensor", message="no"),
    Failure(id=4, code="invalid-tensor", message="no"),
    Ack(sequence=1),
    Ping(sequence=2),
    Pong(sequence=0),
    Probe(sequence=5, padding=0),
    Probe(sequence=6, padding=70_001),
    Abort(model="m", epoch=1, request="r", code="peer-unreachable", message="gone", origin="edge"),
]


@settings(max_examples=100, deadline=None)
@given(
    cuts=st.lists(st.integers(1, 200_000), min_size=1, max_size=8),
    sizes=st.lists(st.sampled_from([0, 1, 3, 1000, 20_000, 60_000]), max_size=4),
    controls=st.lists(st.sampled_from(CONTROL), max_size=4),
)
@example(cuts=[1], sizes=[3], controls=CONTROL[:5])
def test_frames_survive_any_chunking(cuts: list[int], sizes: list[int], controls: list[Header]) -> None:
    if min(cuts) < 50 and sum(sizes) > 5000:
        cuts = [cut + 50 for cut in cuts]
    arrays: dict[str, Array] = {f"t{index}": np.arange(size, dtype="float32") for index, size in enumerate(sizes)}
    heads, payloads = pack_tensors([(name, array, "raw") for name, array in arrays.items()])
    sent: list[tuple[Header, tuple[Array, ...]]] = [(header, ()) for header in controls]
    sent.insert(len(sent) // 2, tensors_frame(arrays))
    sent.append((Infer(id=1, model="m", tensors=heads), payloads))
    sent.append((Result(id=1, epoch=2, tensors=heads, seconds=0.25), payloads))
    parser = FrameParser(SMALL)
    frames = fill(parser, b"".join(to_bytes(*item) for item in sent), cuts)
    assert [frame.header for frame in frames] == [header for header, _ in sent]
    for frame, (_, expected) in zip(frames, sent, strict=True):
        for got, wanted in zip(frame.payloads, expected, strict=True):
            np.testing.assert_array_equal(got, wanted)
    assert not parser.in_frame


@settings(max_examples=60, deadline=None)
@given(
    cuts=st.lists(st.integers(1, 120_000), min_size=1, max_size=6),
    wanted=st.lists(st.sampled_from(sorted(CODECS)), min_size=1, max_size=5),
    channels=st.integers(1, 40),
)
@example(cuts=[1], wanted=sorted(CODECS), channels=2)
def test_coded_tensors_survive_any_chunking(cuts: list[int], wanted: list[str], channels: int) -> None:
    values = np.random.default_rng(channels).normal(size=(1, channels, 25, 20)).astype(np.float32)
    heads, payloads = pack_tensors([(f"t{index}", values * index, codec) for index, codec in enumerate(wanted)])
    header = Tensors(sequence=1, model="m", epoch=1, request="r", tensors=heads)
    whole = to_bytes(header, payloads) + to_bytes(Ping(sequence=9))
    if min(cuts) < 50 and len(whole) > 40_000:
        cuts = [cut + 50 for cut in cuts]
    frame, ping = fill(FrameParser(SMALL), whole, cuts)
    assert ping.header == Ping(sequence=9)
    decoded = unpack_tensors(heads, frame.payloads)
    for index, codec in enumerate(wanted):
        exact = CODECS[codec].lossless
        np.testing.assert_allclose(decoded[f"t{index}"], values * index, rtol=0, atol=0 if exact else 0.03 * index)


@pytest.mark.parametrize("codec", sorted(CODECS))
def test_tensors_arrive_decoded_with_dtype_and_shape(codec: str) -> None:
    arrays: dict[str, Array] = {
        "scalar": np.array(0.5, np.float32),
        "empty": np.zeros((0, 3), np.float64),
        "mask": np.array([True, False]),
        "map": np.linspace(0, 1, 24, dtype=np.float32).reshape(2, 3, 4),
    }
    (frame,) = FrameParser(SMALL).feed(to_bytes(*tensors_frame(arrays, codec)))
    assert isinstance(frame.header, Tensors)
    decoded = unpack_tensors(frame.header.tensors, frame.payloads)
    for name, array in arrays.items():
        assert decoded[name].dtype == array.dtype
        np.testing.assert_allclose(decoded[name], array, atol=1 / 255)


def test_a_large_tensor_is_received_into_its_own_memory() -> None:
    array = np.arange(200_000, dtype=np.float32)
    data = to_bytes(*tensors_frame({"x": array}))
    parser = FrameParser(SMALL)
    head = len(data) - array.nbytes
    assert fill(parser, data[:head], [head]) == []
    memory = parser.buffer()
    assert memory.nbytes == array.nbytes
    memory[:] = data[head:]
    (frame,) = parser.received(array.nbytes)
    assert np.shares_memory(frame.payloads[0], np.frombuffer(memory, np.uint8))


@pytest.mark.parametrize("nbytes", [100_000, 3_000_000])
def test_a_frame_that_came_in_parts_says_when_it_began(nbytes: int) -> None:
    header, payloads = tensors_frame({"a": np.zeros(nbytes, np.uint8)})
    data = to_bytes(header, payloads)
    parser = FrameParser(FrameLimits())
    parser.paused(1.0)
    assert parser.feed(data[:50_000]) == []
    parser.paused(2.0)
    parser.feed(data[50_000:90_000])
    parser.paused(3.0)
    (frame,) = parser.feed(data[90_000:])
    assert frame.begun is not None
    assert frame.begun.at_s == 2.0
    assert 49_000 < frame.begun.body_bytes < 50_000
    assert parser.body_bytes == nbytes
    (whole,) = parser.feed(data)
    assert whole.begun is None


def test_an_unfinished_frame_is_noticed() -> None:
    parser = FrameParser(SMALL)
    data = to_bytes(*tensors_frame({"x": np.zeros(10)}))
    for end in (1, PREFIX.size, PREFIX.size + 1, len(data) - 1):
        parser = FrameParser(SMALL)
        assert parser.feed(data[:end]) == []
        assert parser.in_frame


def prefix(header_bytes: int, body_bytes: int, magic: bytes = b"ESP", version: int = PROTOCOL) -> bytes:
    return PREFIX.pack(magic, version, header_bytes, body_bytes)


@pytest.mark.parametrize(
    ("data", "error", "sentence"),
    [
        (b"GET / HTTP/1.1\r\n", FrameMalformed, "does not speak edgesplit's protocol"),
        (prefix(10, 0, version=9), ProtocolMismatch, f"speaks protocol 9 and this side speaks {PROTOCOL}"),
        (prefix(4097, 0), FrameTooLarge, "header of 4097 B"),
        (prefix(10, 1 << 62), FrameTooLarge, "longer than the 1048576 B accepted"),
        (prefix(0, 0), FrameMalformed, "MessagePack"),
        (prefix(1, 0) + b"\xc1", FrameMalformed, "MessagePack"),
        (prefix(4096, 0) + b"\x91" * 4096, FrameMalformed, "header is wrong"),
    ],
)
def test_senseless_bytes_are_refused_with_the_reason(data: bytes, error: type[ProtocolError], sentence: str) -> None:
    with pytest.raises(error, match=sentence):
        FrameParser(SMALL).feed(data)


def head(**changes: Any) -> dict[str, Any]:
    return {"name": "x", "dtype": "float32", "shape": [2], "nbytes": 8} | changes


@pytest.mark.parametrize(
    ("heads", "body", "error"),
    [
        ([head()], 9, FrameMalformed),
        ([head(nbytes=4)], 4, FrameMalformed),
        ([head(), head()], 16, FrameMalformed),
        ([head(dtype="object")], 8, FrameMalformed),
        ([head(dtype="complex64")], 16, FrameMalformed),
        ([head(codec="zip")], 8, FrameMalformed),
        ([head(codec="int8", dtype="int64", nbytes=2)], 2, FrameMalformed),
        ([head(shape=[-2])], 8, FrameMalformed),
        ([head(shape=[1] * 17, nbytes=4)], 4, FrameMalformed),
        ([head(shape=[2.5])], 8, FrameMalformed),
        ([head(shape=[0, 1 << 62], nbytes=0)], 0, FrameTooLarge),
        ([head(shape=[1 << 40, 1 << 40], nbytes=8)], 8, FrameTooLarge),
        ([head(codec="int8", shape=[1 << 19], nbytes=1 << 19, dtype="float64")], 1 << 19, FrameTooLarge),
        ([head(codec="lossless", shape=[1 << 18], nbytes=20), head(name="y")], 28, FrameTooLarge),
        ([head(codec="lossless", nbytes=0)], 0, FrameMalformed),
        ([head(codec="lossless", nbytes=8)], 8, FrameMalformed),
        ([head(codec="int8-channel", nbytes=9)], 9, FrameMalformed),
    ],
)
def test_tensors_that_do_not_add_up_are_refused(
    heads: list[dict[str, Any]], body: int, error: type[ProtocolError]
) -> None:
    plain = {"kind": "tensors", "sequence": 1, "model": "m", "epoch": 1, "request": "r", "tensors": heads}
    packed = msgpack.packb(plain)
    assert isinstance(packed, bytes)
    with pytest.raises(error):
        FrameParser(SMALL).feed(prefix(len(packed), body) + packed)


def test_a_small_frame_cannot_unfold_to_more_than_is_accepted() -> None:
    zeros = np.zeros(200_000, np.float32)
    heads, payloads = pack_tensors([("a", zeros, "lossless"), ("b", zeros, "lossless")])
    assert sum(payload.nbytes for payload in payloads) < 1000
    with pytest.raises(FrameTooLarge, match="take 1600000 B once decoded"):
        FrameParser(SMALL).feed(to_bytes(Tensors(sequence=1, model="m", epoch=1, request="r", tensors=heads), payloads))


def test_unknown_kinds_are_refused_and_unknown_keys_ignored() -> None:
    for plain, good in (({"kind": "dance"}, False), ({"kind": "ping", "sequence": 1, "mood": "fine"}, True)):
        packed = msgpack.packb(plain)
        assert isinstance(packed, bytes)
        data = prefix(len(packed), 0) + packed
        if good:
            assert FrameParser(SMALL).feed(data) == [Frame(Ping(sequence=1))]
        else:
            with pytest.raises(FrameMalformed, match="dance"):
                FrameParser(SMALL).feed(data)


def test_a_greeting_of_another_version_names_both() -> None:
    check_hello(HELLO)
    with pytest.raises(ProtocolMismatch, match=rf"agent edge \(edgesplit 1\) speaks protocol 99 .* speaks {PROTOCOL}"):
        check_hello(msgspec.structs.replace(HELLO, protocol=99))


@pytest.mark.parametrize("seed", range(20))
def test_damaged_streams_raise_protocol_errors_and_nothing_else(seed: int) -> None:
    rng = random.Random(seed)
    whole = b"".join(to_bytes(header) for header in CONTROL) + to_bytes(*tensors_frame({"x": np.arange(50.0)}, "int8"))
    for _ in range(100):
        data = bytearray(whole)
        for _ in range(rng.randint(1, 4)):
            data[rng.randrange(len(data))] = rng.randrange(256)
        if rng.random() < 0.3:
            data = bytearray(prefix(60, 0)) + rng.randbytes(60)
        try:
            for frame in fill(FrameParser(SMALL), bytes(data), [rng.randint(1, 5000)]):
                if isinstance(frame.header, Tensors):
                    unpack_tensors(frame.header.tensors, frame.payloads)
        except ProtocolError:
            pass
