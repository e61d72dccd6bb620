"""Inputs to begin with: valid ones of every kind, and those that once broke something.

Owns: what is written to `corpus/` by `python -m tests.fuzz --write-seeds`. Its rule: small, and named for what it is.
Not here: inputs that fuzzing found (`corpus.py`).
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterator

import numpy as np

from edgesplit.release import PROTOCOL
from edgesplit.wire.codecs import available_codecs
from edgesplit.wire.frames import encode_frame, long_head, pack_tensors, part_prefix
from edgesplit.wire.headers import Abort, Ack, Cancel, Header, Hello, Infer, Ping, Probe, Tensors
from edgesplit.wire.tensors import as_bfloat16

__all__ = ["seeds"]

LENGTH = "Inference-Header-Content-Length"


def seeds() -> Iterator[tuple[str, str, bytes]]:
    """Target, name, input."""
    for name, stream in _streams():
        yield "frames", name, b"\x01" + stream
        yield "conversation", name, b"\x01" + stream
        yield "secured", name, b"\x01" + stream
    yield from (("body", name, data) for name, data in _bodies())
    yield from (("http", name, data) for name, data in _requests())
    yield from (("signed", name, data) for name, data in _payloads())


def _streams() -> Iterator[tuple[str, bytes]]:
    headers: dict[str, Header] = {
        "hello": Hello(protocol=PROTOCOL, role="agent", node="edge", version="1", instance="i"),
        "ping": Ping(sequence=1),
        "ack": Ack(sequence=1),
        "cancel": Cancel(id=1),
        "probe": Probe(sequence=1, padding=64),
        "abort": Abort(model="m", epoch=1, request="r", code="request-failed", message="it broke", origin="edge"),
    }
    for name, header in headers.items():
        yield name, b"".join(encode_frame(header))
    array = np.linspace(-1, 1, 24, dtype=np.float32).reshape(1, 2, 3, 4)
    for codec in available_codecs():
        heads, payloads = pack_tensors([("x", array, codec), ("n", np.arange(3), "raw")])
        tensors = Tensors(sequence=1, model="m", epoch=1, request="r", tensors=heads, deadline_s=1.0)
        yield f"tensors-{codec}", b"".join(encode_frame(tensors, payloads))
    others = [("t", np.array(["a", "", "long enough"]), "raw"), ("h", as_bfloat16(array), "int8")]
    heads, payloads = pack_tensors(others)
    yield (
        "tensors-texts",
        b"".join(encode_frame(Tensors(sequence=1, model="m", epoch=1, request="r", tensors=heads), payloads)),
    )
    heads, payloads = pack_tensors([("x", array, "raw")])
    infer = encode_frame(Infer(id=1, model="double", tensors=heads, deadline_s=1.0), payloads)
    yield "infer", b"".join(infer)
    body = b"".join(infer[1:])
    yield (
        "infer-in-parts",
        long_head(infer[0]) + b"".join(part_prefix(0, len(part)) + part for part in (body[:40], body[40:])),
    )
    yield "infer-given-up", long_head(infer[0]) + part_prefix(0, 40) + body[:40] + part_prefix(0, 0)
    yield "deadline-nan", b"".join(encode_frame(Infer(id=1, model="m", tensors=(), deadline_s=float("nan"))))
    zeros = np.zeros(1 << 14, np.float32)
    heads, payloads = pack_tensors([("x", zeros, "raw")])
    yield "many-long-frames", long_head(encode_frame(Infer(id=1, model="m", tensors=heads), payloads)[0]) * 600


def _document(**more: object) -> dict[str, object]:
    return {"inputs": [{"name": "x", "datatype": "FP32", "shape": [2, 3], **more}], "parameters": {"timeout": 1000}}


def _bodies() -> Iterator[tuple[str, bytes]]:
    array = np.arange(6, dtype=np.float32)
    numbers = json.dumps(_document(data=array.tolist())).encode()
    head = json.dumps(_document(parameters={"binary_data_size": array.nbytes})).encode()
    length = len(head).to_bytes(2, "little")
    yield "numbers", b"\x04\0\0" + numbers
    yield "nested-numbers", b"\x04\0\0" + json.dumps(_document(data=array.reshape(2, 3).tolist())).encode()
    yield "bytes", b"\x00" + length + head + array.tobytes()
    yield "bytes-alone", b"\x00\0\0" + array.tobytes()
    texts: list[dict[str, object]] = [{"name": "x", "datatype": "BYTES", "shape": [1, 2], "data": [["a", "b"]]}]
    yield "texts", b"\x04\0\0" + json.dumps({"inputs": texts}).encode()
    texts = [{"name": "x", "datatype": "BYTES", "shape": [2], "parameters": {"binary_data_size": 9}}]
    told = json.dumps({"inputs": texts}).encode()
    yield "text-bytes", b"\x00" + len(told).to_bytes(2, "little") + told + b"\x01\0\0\0a\0\0\0\0"
    yield "gzip", b"\x01" + length + gzip.compress(head + array.tobytes(), mtime=0)
    yield "deflate-in-chunks", b"\x0a" + length + zlib.compress(head + array.tobytes())
    yield "gzip-bomb", b"\x05\0\0" + gzip.compress(b" " * 8_000_000, mtime=0)
    yield "deep", b"\x04\0\0" + b"[" * 5000
    yield "many-ones", b"\x04\0\0" + json.dumps(_document(shape=[1 << 14, *([1] * 15)], data=[1])).encode()


def _requests() -> Iterator[tuple[str, bytes]]:
    array = np.arange(6, dtype=np.float32)
    head = json.dumps(_document(parameters={"binary_data_size": array.nbytes})).encode()
    for name, path in (
        ("server", "/v2"),
        ("ready", "/v2/health/ready"),
        ("model", "/v2/models/double/versions/1"),
        ("metrics", "/metrics"),
        ("blob", "/blobs/" + "0" * 64),
    ):
        yield name, f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode()
    yield "infer-numbers", _post("/v2/models/double/infer", json.dumps(_document(data=array.tolist())).encode())
    yield "infer-bytes", _post("/v2/models/double/infer", head + array.tobytes(), f"{LENGTH}: {len(head)}")
    yield (
        "infer-gzip",
        _post(
            "/v2/models/double/infer",
            gzip.compress(head + array.tobytes(), mtime=0),
            f"{LENGTH}: {len(head)}",
            "Content-Encoding: gzip",
        ),
    )
    yield "held", _post("/blobs/held", json.dumps({"digests": ["0" * 64]}).encode())
    yield "index", _post("/v2/repository/index", b"")
    yield (
        "chunked",
        (
            b"POST /v2/models/double/infer HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"
        ),
    )
    yield "broken-off", _post("/v2/models/double/infer", b"{")[:-1]


def _payloads() -> Iterator[tuple[str, bytes]]:
    envelope = {"message": {"certificates": []}, "counter": 1, "certificate": "AAAA", "signature": "AAAA"}
    yield "envelope", b"\x05\x00" + json.dumps(envelope).encode()
    yield (
        "counter-of-many-digits",
        b"\x05\x00" + json.dumps(envelope).encode().replace(b": 1,", b": " + b"9" * 5000 + b","),
    )
    yield "nested", b"\x05\x00" + b'{"message": ' + b"[" * 5000
    yield "plain", b"\x04\x00" + b'{"certificates": []}'
    yield "signed", b"\x05\x01" + b'{"certificates": [{"serial": "1", "subject": "node:n", "expires_s": 1.0}]}'
    yield "signed-nested", b"\x05\x01" + b"[" * 2000 + b"]" * 2000
    yield "signed-no-message", b"\x05\x01" + b"}{"
    yield "taken-back", b"\x05\x01" + b"null"
    yield "unchanged", b"\x03\x02"
    yield "changed", b"\x03\x02\x14\x00x"
    yield "changed-certificate", b"\x03\x03\x64\x00\x00"


def _post(path: str, body: bytes, *headers: str) -> bytes:
    lines = [f"POST {path} HTTP/1.1", "Host: x", "Connection: close", *headers, f"Content-Length: {len(body)}"]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body
