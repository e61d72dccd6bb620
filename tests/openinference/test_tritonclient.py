"""An unmodified tritonclient from PyPI, over everything it can say to such a server."""

from __future__ import annotations

import asyncio
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import tritonclient.http as triton
import tritonclient.http.aio as triton_aio
from tritonclient.utils import InferenceServerException

from edgesplit.errors import Overloaded
from edgesplit.wire.tensors import DTYPES, Array
from tests.openinference.fakes import SHAPE, served
from tests.openinference.triton import infer

X = np.arange(6, dtype=np.float32).reshape(SHAPE)


def every_dtype() -> dict[str, Array]:
    """Small numbers of each dtype that may travel."""
    plain = set(DTYPES) - {"bfloat16"}
    return {f"in-{name}": (np.arange(6) % 2).astype(name).reshape(SHAPE) for name in sorted(plain)}


@pytest.mark.parametrize("raw", [True, False])
async def test_every_dtype_goes_both_ways_as_bytes_and_as_numbers(raw: bool) -> None:
    arrays = every_dtype()
    async with served() as server:
        outputs = await asyncio.to_thread(
            infer, server.address, "types", arrays, dict.fromkeys(arrays, raw), binary=raw
        )
    assert set(outputs) == set(arrays)
    for name, array in arrays.items():
        wanted = array if array.dtype == bool else array * 2
        assert outputs[name].dtype == wanted.dtype
        np.testing.assert_array_equal(outputs[name], wanted)


async def test_bfloat16_goes_as_bytes_and_comes_back() -> None:
    async with served() as server:
        outputs = await asyncio.to_thread(infer, server.address, "halves", {"x": X.astype(ml_dtypes.bfloat16)})
        metadata = await (await server.client.get("/v2/models/halves")).json()
        asked = {"inputs": [{"name": "x", "datatype": "BF16", "shape": list(SHAPE), "data": X.tolist()}]}
        answer = await (await server.client.post("/v2/models/halves/infer", json=asked)).json()
    np.testing.assert_array_equal(outputs["x"].astype(np.float32), X * 2)
    assert metadata["inputs"][0]["datatype"] == "BF16"
    assert answer["outputs"][0]["data"] == (X * 2).reshape(-1).tolist()


@pytest.mark.parametrize("raw", [True, False])
async def test_texts_go_both_ways_as_bytes_and_as_json(raw: bool) -> None:
    texts = np.array([["a", "", "Gr\u00f6\u00dfe"], ["two words", "b", "c"]], dtype=object)
    async with served() as server:
        outputs = await asyncio.to_thread(infer, server.address, "texts", {"x": texts}, {"x": raw}, binary=raw)
        config = await (await server.client.get("/v2/models/texts/config")).json()
        bare = await server.client.post(
            "/v2/models/texts/infer", data=b"a", headers={"Inference-Header-Content-Length": "0"}
        )
        said = await bare.json()
    found = [element.decode() if isinstance(element, bytes) else element for element in outputs["x"].reshape(-1)]
    assert found == [text * 2 for text in texts.reshape(-1)]
    assert config["input"][0]["data_type"] == "TYPE_STRING"
    assert (bare.status, "JSON head" in said["error"]) == (400, True)


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
async def test_compression_both_ways(encoding: str) -> None:
    large = np.random.default_rng(0).random((1024, 1024), dtype=np.float32)
    options: dict[str, Any] = {"request_compression_algorithm": encoding, "response_compression_algorithm": encoding}
    async with served() as server:
        outputs = await asyncio.to_thread(infer, server.address, "large", {"x": large}, **options)
    np.testing.assert_array_equal(outputs["x"], large * 2)


async def test_metadata_readiness_and_index() -> None:
    def ask(address: str) -> None:
        with triton.InferenceServerClient(address) as client:
            assert client.is_server_live()
            assert client.is_server_ready()
            assert client.is_model_ready("pair")
            assert client.is_model_ready("pair", "1")
            assert not client.is_model_ready("waiting")
            assert not client.is_model_ready("nobody")
            assert client.get_server_metadata()["name"] == "edgesplit"
            assert client.get_model_metadata("pair")["inputs"][0]["datatype"] == "FP32"
            assert client.get_model_config("pair")["max_batch_size"] == 0
            assert {row["name"] for row in client.get_model_repository_index()} >= {"pair", "double"}

    async with served() as server:
        await asyncio.to_thread(ask, server.address)


async def test_a_timeout_in_microseconds_is_the_deadline_and_parameters_may_be_the_users() -> None:
    async with served() as server:
        options: dict[str, Any] = {
            "timeout": 250_000,
            "priority": 2,
            "request_id": "r1",
            "parameters": {"camera": "north"},
        }
        await asyncio.to_thread(infer, server.address, "double", {"x": X}, **options)
        assert server.models.deadlines == [0.25]


async def test_errors_arrive_as_its_exception_with_sentence_and_status() -> None:
    async with served() as server:
        with pytest.raises(InferenceServerException, match=r"shape \[6\], expected \[2, 3\]") as caught:
            await asyncio.to_thread(infer, server.address, "double", {"x": X.reshape(-1)})
        assert caught.value.status() == "400"
        server.models.error = Overloaded("device has 64 requests in flight: send again later or slower")
        with pytest.raises(InferenceServerException, match="64 requests in flight") as caught:
            await asyncio.to_thread(infer, server.address, "double", {"x": X})
        assert caught.value.status() == "429"


async def test_requests_in_flight_together() -> None:
    def ask(address: str) -> list[int]:
        with triton.InferenceServerClient(address, concurrency=8) as client:
            waiting = []
            for number in range(40):
                tensor = triton.InferInput("x", [], "INT32")
                tensor.set_data_from_numpy(np.array(number, np.int32))
                waiting.append(client.async_infer("scalar", [tensor]))
            return [int(request.get_result().as_numpy("x")) for request in waiting]

    async with served() as server:
        assert await asyncio.to_thread(ask, server.address) == [2 * number for number in range(40)]


async def test_its_asyncio_client() -> None:
    async with served() as server, triton_aio.InferenceServerClient(server.address) as client:
        tensor = triton_aio.InferInput("x", list(SHAPE), "FP32")
        tensor.set_data_from_numpy(X)
        result = await client.infer("double", [tensor])
        np.testing.assert_array_equal(result.as_numpy("x"), X * 2)
