"""docs/frames.md: its bytes are what the encoder writes and the parser reads, its numbers are the code's."""

from __future__ import annotations

import re
from collections.abc import Callable

import msgspec
import numpy as np
import pytest

from edgesplit.errors import FrameMalformed, FrameTooLarge
from edgesplit.release import PROTOCOL
from edgesplit.wire.codecs import CODECS
from edgesplit.wire.frames import (
    PREFIX,
    FrameLimits,
    encode_frame,
    long_head,
    pack_tensors,
    part_prefix,
    unpack_tensors,
)
from edgesplit.wire.headers import Ack, Header, Hello, Ping, Pong, TensorHead, Tensors
from edgesplit.wire.parser import FrameParser
from edgesplit.wire.send_queue import PART_MAX_BYTES, PART_MIN_BYTES, PART_S, SHORT_BYTES
from edgesplit.wire.tensors import TRAVELLING, Array
from edgesplit_agent.dataplane.limits import Limits
from tests.claims.doc_tables import DOCS

PAGE = (DOCS / "frames.md").read_text()
WORDS = " ".join(PAGE.split())
"""Where lines end is of no account."""
X = np.array([[0, 1], [2, 3]], np.float32)
TEXTS = np.array(["a", "bc"])
PING = Ping(sequence=9)


def tensors(codec: str = "raw", x: Array = X) -> tuple[Tensors, tuple[Array, ...]]:
    heads, payloads = pack_tensors([("x", x, codec)])
    return Tensors(sequence=7, model="yolo", epoch=3, request="r1", tensors=heads, deadline_s=0.5), payloads


def whole(header: Header, payloads: tuple[Array, ...] = ()) -> bytes:
    return b"".join(encode_frame(header, payloads))


def in_parts() -> bytes:
    head, body = encode_frame(*tensors())
    first, second = bytes(body[:8]), bytes(body[8:])
    return b"".join([long_head(head), part_prefix(0, 8), first, whole(PING), part_prefix(0, 8), second])


HELLO = Hello(protocol=1, role="agent", node="device", version="0.1.0", instance="a1")
EXAMPLES: dict[str, tuple[Callable[[], bytes], list[Header]]] = {
    "tensors": (lambda: whole(*tensors()), [tensors()[0]]),
    "int8": (lambda: whole(*tensors("int8")), [tensors("int8")[0]]),
    "texts": (lambda: whole(*tensors(x=TEXTS)), [tensors(x=TEXTS)[0]]),
    "parts": (in_parts, [PING, tensors()[0]]),
    "hello": (lambda: whole(HELLO), [HELLO]),
    "ack": (lambda: whole(Ack(sequence=7, received_bytes=16)), [Ack(sequence=7, received_bytes=16)]),
    "pong": (lambda: whole(Pong(sequence=8, room_bytes=1 << 30)), [Pong(sequence=8, room_bytes=1 << 30)]),
}
SHOWN = dict(re.findall(r"^```hex ([a-z0-9]+)\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE))


def shown(name: str) -> bytes:
    return bytes.fromhex(" ".join(line.partition("#")[0] for line in SHOWN[name].splitlines()))


def test_every_example_is_tried() -> None:
    assert set(SHOWN) == set(EXAMPLES)


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_encoder_writes_the_bytes_of_the_page(name: str) -> None:
    encode, _ = EXAMPLES[name]
    assert shown(name) == encode()


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_parser_reads_the_bytes_of_the_page(name: str) -> None:
    parser = FrameParser(FrameLimits())
    frames = parser.feed(shown(name))
    assert [frame.header for frame in frames] == EXAMPLES[name][1]
    assert not parser.in_frame
    for frame in frames:
        if isinstance(frame.header, Tensors):
            found = unpack_tensors(frame.header.tensors, frame.payloads)["x"]
            if name == "texts":
                assert found.tolist() == ["a", "bc"]
            else:
                np.testing.assert_allclose(found, X, atol=1e-5)


def test_keys_may_stand_in_any_order_and_unknown_ones_are_ignored() -> None:
    packed = msgspec.msgpack.encode({"mood": "fine", "sequence": 9, "kind": "ping"})
    data = PREFIX.pack(b"ESP", PROTOCOL, len(packed), 0) + packed
    assert [frame.header for frame in FrameParser(FrameLimits()).feed(data)] == [PING]


def test_a_part_of_length_0_gives_a_frame_up() -> None:
    parser = FrameParser(FrameLimits())
    head, _ = encode_frame(*tensors())
    given_up = b"".join([long_head(head), part_prefix(0, 0), whole(PING)])
    assert [frame.header for frame in parser.feed(given_up)] == [PING]
    assert not parser.in_frame


def test_the_diagram_s_sizes_are_the_prefix_s() -> None:
    assert PREFIX.format == "<3sBIQ"
    assert PREFIX.size == 16
    assert PROTOCOL == 1


def test_payloads_are_laid_out_as_the_table_says() -> None:
    def payload(codec: str, array: Array) -> tuple[TensorHead, Array]:
        heads, payloads = pack_tensors([("x", array, codec)])
        assert heads[0].codec == codec
        return heads[0], payloads[0]

    _, half = payload("fp16", X)
    assert half.tobytes() == X.astype("<f2").tobytes()
    head, whole_tensor = payload("int8", X)
    scale, zero_point = head.parameters["scale"], head.parameters["zero_point"]
    np.testing.assert_allclose((whole_tensor.astype(float) - zero_point) * scale, X, atol=scale)
    rows = np.arange(64, dtype=np.float32).reshape(2, 32)
    _, channels = payload("int8-channel", rows)
    steps, least = channels[:8].view("<f4"), channels[8:16].view("<f4")
    restored = channels[16:].reshape(2, 32) * steps[:, None] + least[:, None]
    np.testing.assert_allclose(restored, rows, atol=float(steps.max()))


def test_lossless_payloads_have_the_least_significant_bytes_first() -> None:
    zstandard = pytest.importorskip("zstandard")
    values = np.arange(1024, dtype=np.float32)
    heads, payloads = pack_tensors([("x", values, "lossless")])
    content = zstandard.ZstdDecompressor().decompress(payloads[0].tobytes())
    planes = values.view(np.uint8).reshape(-1, 4).T
    assert heads[0].codec == "lossless"
    assert content == planes.tobytes()


def test_the_codecs_of_the_page_are_all_there_are() -> None:
    table = PAGE.split("| codec | payload |")[1].split("\n\n")[0]
    assert set(re.findall(r"`([a-z0-9+-]+)`", "".join(line.split("|")[1] for line in table.splitlines()[2:]))) == set(
        CODECS
    )
    assert all(f"`{name}`" in PAGE for name in ("bool", "int8", "int64", "uint8", "uint64", "float16", "float64"))
    assert all(f"`{name}`" in PAGE for name in ("bfloat16", "str"))
    assert len(TRAVELLING) == 14


def test_the_limits_of_the_page_are_the_code_s() -> None:
    limits = dict(re.findall(r"^\| ([a-z][^|]*?) \| ([^|]*) \|$", PAGE.split("## Limits")[1], re.MULTILINE))
    defaults = Limits()
    assert limits["header"] == f"{defaults.frames.header_bytes >> 20} MiB"
    assert f"{defaults.frames.body_bytes >> 30} GiB" in limits["body, and its tensors together once decoded"]
    assert limits["header, body before the greeting"] == f"{defaults.greeting.header_bytes >> 10} KiB each"
    assert limits["time until the greeting"] == f"{defaults.connect_timeout_s:g} s"
    assert limits["time until a TLS handshake is complete"] == f"{defaults.connect_timeout_s:g} s"
    arriving = f"{defaults.handshakes}, of them {defaults.handshakes_per_address} from one address"
    assert limits["connections in the middle of a TLS handshake"] == arriving
    assert limits["requests of one client in flight"] == str(defaults.infers_per_connection)
    stalled = f"{defaults.frame_stall_s:g} s without a byte"
    trickling = f"{defaults.least_bytes_per_s / 1024:g} KiB/s over {2 * defaults.frame_stall_s:g} s"
    assert limits["a frame that began"] == f"{stalled}, or less than {trickling}"
    assert (
        f"(0.7 s) while the link is in use, every 0.7 of it while nothing went over it for {defaults.idle_after_s:g} s"
        in WORDS
    )
    assert f"tried again every {defaults.mismatch_retry_s:g} s" in WORDS


def test_parts_are_as_long_as_the_page_says() -> None:
    sizes = f"up to {SHORT_BYTES >> 10} KiB leave whole and cut others into parts that take some {PART_S * 1e3:g} ms"
    bounds = f"({PART_MIN_BYTES >> 10} KiB to {PART_MAX_BYTES >> 20} MiB)"
    assert sizes in WORDS
    assert bounds in WORDS


def ones(count: int, dimensions: int = 1) -> bytes:
    head = TensorHead(name="x", dtype="uint8", shape=(1,) * dimensions, nbytes=1)
    heads = tuple(TensorHead(name=f"x{i}", dtype="uint8", shape=head.shape, nbytes=1) for i in range(count))
    payloads = tuple(np.ones(head.shape, np.uint8) for _ in heads)
    return whole(Tensors(sequence=1, model="m", epoch=1, request="r", tensors=heads), payloads)


def test_a_frame_has_as_many_tensors_and_dimensions_as_the_page_says_and_no_more() -> None:
    for count, dimensions in ((4096, 1), (1, 16)):
        assert FrameParser(FrameLimits()).feed(ones(count, dimensions))
    for count, dimensions in ((4097, 1), (1, 17)):
        with pytest.raises(FrameMalformed):
            FrameParser(FrameLimits()).feed(ones(count, dimensions))


def test_long_frames_take_four_bodies_at_most() -> None:
    limits = FrameLimits(body_bytes=16)
    head, _ = encode_frame(*tensors())
    parser = FrameParser(limits)
    parser.feed(long_head(head) * 4)
    with pytest.raises(FrameTooLarge):
        parser.feed(long_head(head))
