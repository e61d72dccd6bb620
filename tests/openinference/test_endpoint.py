"""The protocol over a real socket: documents, inference, errors."""

from __future__ import annotations

import asyncio
import gzip
import json
import zlib
from typing import Any

import numpy as np
import pytest

from edgesplit.errors import (
    EdgesplitError,
    NodeUnreachable,
    NotDeployed,
    Overloaded,
    RequestFailed,
    RequestTimedOut,
    UnknownModel,
)
from tests.openinference.fakes import SHAPE, Served, served

X = np.arange(6, dtype=np.float32).reshape(SHAPE)
LENGTH = "Inference-Header-Content-Length"


def binary_body(*, outputs: list[dict[str, Any]] | None = None, **parameters: Any) -> tuple[bytes, dict[str, str]]:
    """A request for `double` with X as raw bytes, and its header."""
    tensor = {"name": "x", "datatype": "FP32", "shape": list(SHAPE), "parameters": {"binary_data_size": X.nbytes}}
    document: dict[str, Any] = {"inputs": [tensor], "parameters": parameters}
    if outputs is not None:
        document["outputs"] = outputs
    head = json.dumps(document).encode()
    return head + X.tobytes(), {LENGTH: str(len(head))}


def json_body(**more: Any) -> dict[str, Any]:
    """The same as numbers."""
    return {"inputs": [{"name": "x", "datatype": "FP32", "shape": list(SHAPE), "data": X.tolist()}], **more}


async def post(server: Served, path: str, **request: Any) -> tuple[int, dict[str, str], bytes]:
    """Status, headers, body."""
    async with server.client.post(path, **request) as answer:
        return answer.status, dict(answer.headers), await answer.read()


def read_binary(headers: dict[str, str], body: bytes) -> tuple[dict[str, Any], bytes]:
    """Head and raw bytes."""
    length = int(headers[LENGTH])
    return json.loads(body[:length]), body[length:]


async def test_server_and_models_describe_themselves() -> None:
    async with served() as server:
        documents = {}
        for path in ("", "/models/pair", "/models/pair/versions/1", "/models/pair/config", "/models/pair/ready"):
            async with server.client.get(f"/v2{path}") as answer:
                assert answer.status == 200
                documents[path] = json.loads(await answer.read())
        assert documents[""] == {
            "name": "edgesplit",
            "version": "1.0",
            "extensions": ["binary_tensor_data", "model_configuration"],
        }
        assert documents["/models/pair"] == documents["/models/pair/versions/1"]
        assert documents["/models/pair"]["inputs"][1] == {"name": "b", "datatype": "INT64", "shape": [4]}
        assert documents["/models/pair"]["versions"] == ["1"]
        assert documents["/models/pair/config"]["input"][0] == {"name": "a", "data_type": "TYPE_FP32", "dims": [2, 3]}
        assert documents["/models/pair/ready"] == {"name": "pair", "ready": True}
        _, _, body = await post(server, "/v2/repository/index")
        index = {row["name"]: row for row in json.loads(body)}
        assert index["pair"] == {"name": "pair", "version": "1", "state": "READY", "reason": ""}
        assert index["offered"]["state"] == "UNAVAILABLE"


@pytest.mark.parametrize(
    ("path", "status", "said"),
    [
        ("/v2/models/nobody", 404, "no model 'nobody'"),
        ("/v2/models/pair/versions/3", 404, "the only one is '1'"),
        ("/v2/models/offered", 503, "not deployed"),
        ("/v2/models/waiting/ready", 503, None),
        ("/v2/nowhere", 404, "GET /v2/nowhere"),
        ("/v2/models/pair/infer", 405, "Method Not Allowed"),
    ],
)
async def test_what_is_not_there_is_said_in_json(path: str, status: int, said: str | None) -> None:
    async with served() as server, server.client.get(path) as answer:
        assert answer.status == status
        document = json.loads(await answer.read())
        if said is not None:
            assert said in document["error"]


async def test_raw_bytes_in_and_out() -> None:
    async with served() as server:
        body, header = binary_body(binary_data_output=True, timeout=2_500_000)
        status, headers, answer = await post(server, "/v2/models/double/infer", data=body, headers=header)
        assert status == 200
        head, data = read_binary(headers, answer)
        assert head == {
            "model_name": "double",
            "model_version": "1",
            "parameters": {"epoch": 7},
            "outputs": [
                {"name": "x", "datatype": "FP32", "shape": [2, 3], "parameters": {"binary_data_size": X.nbytes}}
            ],
        }
        np.testing.assert_array_equal(np.frombuffer(data, np.float32).reshape(SHAPE), 2 * X)
        assert server.models.deadlines == [2.5]


async def test_numbers_in_and_out() -> None:
    async with served() as server:
        status, headers, answer = await post(server, "/v2/models/double/versions/1/infer", json=json_body(id="r9"))
        document = json.loads(answer)
        assert status == 200
        assert LENGTH not in headers
        assert document["id"] == "r9"
        assert document["outputs"][0]["data"] == (2 * X).reshape(-1).tolist()
        assert server.models.deadlines == [None]


async def test_only_wanted_outputs_come_in_the_wanted_order_and_form() -> None:
    a, b = np.ones(SHAPE, np.float32), np.arange(4)
    inputs = [
        {"name": "b", "datatype": "INT64", "shape": [4], "parameters": {"binary_data_size": b.nbytes}},
        {"name": "a", "datatype": "FP32", "shape": list(SHAPE), "data": a.reshape(-1).tolist()},
    ]
    outputs = [{"name": "b", "parameters": {"binary_data": True}}, {"name": "a"}]
    head = json.dumps({"inputs": inputs, "outputs": outputs}).encode()
    async with served() as server:
        _, headers, answer = await post(
            server, "/v2/models/pair/infer", data=head + b.tobytes(), headers={LENGTH: str(len(head))}
        )
        document, data = read_binary(headers, answer)
        assert [output["name"] for output in document["outputs"]] == ["b", "a"]
        assert document["outputs"][1]["data"] == [2.0] * 6
        assert np.frombuffer(data, np.int64).tolist() == [0, 2, 4, 6]
        body, header = binary_body(outputs=[{"name": "z"}])
        status, _, answer = await post(server, "/v2/models/double/infer", data=body, headers=header)
        assert status == 400
        assert "no output 'z': its outputs are x" in json.loads(answer)["error"]


async def test_bytes_alone_are_the_only_input() -> None:
    async with served() as server:
        url = "/v2/models/double/infer"
        status, headers, answer = await post(server, url, data=X.tobytes(), headers={LENGTH: "0"})
        assert status == 200
        np.testing.assert_array_equal(np.frombuffer(read_binary(headers, answer)[1], np.float32), 2 * X.reshape(-1))
        status, _, answer = await post(server, "/v2/models/pair/infer", data=X.tobytes(), headers={LENGTH: "0"})
        assert status == 400
        assert "2 inputs" in json.loads(answer)["error"]


async def test_a_scalar_goes_both_ways() -> None:
    tensor = {"name": "x", "datatype": "INT32", "shape": [], "data": [21]}
    async with served() as server:
        _, _, answer = await post(server, "/v2/models/scalar/infer", json={"inputs": [tensor]})
        assert json.loads(answer)["outputs"][0] == {"name": "x", "datatype": "INT32", "shape": [], "data": [42]}


@pytest.mark.parametrize(("encoding", "compress"), [("gzip", gzip.compress), ("deflate", zlib.compress)])
async def test_compressed_bodies_both_ways(encoding: str, compress: Any) -> None:
    large = np.tile(np.arange(1024, dtype=np.float32), (1024, 1))
    tensor = {"name": "x", "datatype": "FP32", "shape": [1024, 1024], "parameters": {"binary_data_size": large.nbytes}}
    head = json.dumps({"inputs": [tensor], "parameters": {"binary_data_output": True}}).encode()
    async with served() as server:
        headers = {LENGTH: str(len(head)), "Content-Encoding": encoding, "Accept-Encoding": encoding}
        body = compress(head + large.tobytes())
        status, headers, answer = await post(server, "/v2/models/large/infer", data=body, headers=headers)
        assert (status, headers["Content-Encoding"]) == (200, encoding)
        assert len(answer) < large.nbytes / 10
        plain = gzip.decompress(answer) if encoding == "gzip" else zlib.decompress(answer)
        _, data = read_binary(headers, plain)
        np.testing.assert_array_equal(np.frombuffer(data, np.float32).reshape(1024, 1024), 2 * large)


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (UnknownModel("gone"), 404),
        (NotDeployed("gone"), 503),
        (Overloaded("busy"), 429),
        (RequestTimedOut("late"), 504),
        (NodeUnreachable("cut"), 503),
        (RequestFailed("broke"), 500),
        (EdgesplitError("odd"), 500),
    ],
)
async def test_the_engines_errors_have_a_status_and_keep_their_sentence(error: EdgesplitError, status: int) -> None:
    async with served() as server:
        server.models.error = error
        got, headers, answer = await post(server, "/v2/models/double/infer", json=json_body())
        assert got == status
        assert json.loads(answer) == {"error": str(error), "code": error.code}
        assert ("Retry-After" in headers) == (status in {429, 503})
        server.models.error = None
        assert (await post(server, "/v2/models/double/infer", json=json_body()))[0] == 200


async def test_a_defect_is_answered_without_its_details() -> None:
    async with served() as server:
        server.models.error = ValueError("secret")
        status, _, answer = await post(server, "/v2/models/double/infer", json=json_body())
        assert status == 500
        assert "secret" not in answer.decode()
        assert "see its log" in json.loads(answer)["error"]


async def test_a_wrong_shape_is_the_clients_fault() -> None:
    tensor = {"name": "x", "datatype": "FP32", "shape": [1], "data": [1]}
    async with served() as server:
        status, _, answer = await post(server, "/v2/models/double/infer", json={"inputs": [tensor]})
        assert status == 400
        assert "shape [1], expected [2, 3]" in json.loads(answer)["error"]


async def test_bytes_that_are_no_bools_are_refused() -> None:
    tensor = {"name": "x", "datatype": "BOOL", "shape": [2], "parameters": {"binary_data_size": 2}}
    head = json.dumps({"inputs": [tensor]}).encode()
    async with served() as server:
        status, _, answer = await post(
            server, "/v2/models/double/infer", data=head + b"\x01\x02", headers={LENGTH: str(len(head))}
        )
        assert status == 400
        assert "other than 0 and 1" in json.loads(answer)["error"]


async def test_a_client_that_leaves_ends_its_request() -> None:
    async with served() as server:
        server.models.open.clear()
        task = asyncio.create_task(post(server, "/v2/models/double/infer", json=json_body()))
        await asyncio.wait_for(server.models.asked.wait(), 30)
        task.cancel()
        await asyncio.wait_for(server.models.gone.wait(), 30)


async def test_what_requests_held_is_given_back_when_they_end() -> None:
    async with served() as server:
        body, header = binary_body()
        for data, headers in ((body, header), (body[:-1], header), (body + b"!", header), (b"{", {})):
            await post(server, "/v2/models/double/infer", data=data, headers=headers)
        assert server.memory.used_bytes == 0
