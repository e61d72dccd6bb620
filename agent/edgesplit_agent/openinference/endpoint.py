"""The routes of the Open Inference Protocol v2.

Owns: the way of a request from its headers to its answer. Its rule: it decides nothing about models; whatever goes
wrong is answered with a status and one sentence, and what an unknown client sends is never held beyond the limits. Not
here: the listening socket (`http.py`), sending (`answers.py`), parsing and rendering (this folder's pure rooms).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

import numpy as np
from aiohttp import web

from edgesplit.errors import InvalidInput, NotDeployed, Overloaded, UnknownModel
from edgesplit.tensors import DTYPES, Array, as_bytes
from edgesplit_agent.configuration import HttpSection
from edgesplit_agent.openinference.answers import HEADER_LENGTH, json_answer, send
from edgesplit_agent.openinference.bodies import Body, decompressed
from edgesplit_agent.openinference.descriptions import (
    check_version,
    model_config,
    model_metadata,
    repository_index,
    server_metadata,
)
from edgesplit_agent.openinference.failures import BodyTooLarge
from edgesplit_agent.openinference.json_tensors import array_from_json
from edgesplit_agent.openinference.memory import Account, Memory
from edgesplit_agent.openinference.models import Models
from edgesplit_agent.openinference.requests import InferenceRequest, InputTensor, parse_head, raw_request
from edgesplit_agent.openinference.responses import check_wanted, render
from edgesplit_agent.serving.description import ModelDescription

__all__ = ["InferenceEndpoint"]

_INLINE_BYTES = 1 << 14
"""Heads up to this length are read on the event loop: going to a thread would take longer."""

P = ParamSpec("P")
T = TypeVar("T")


class InferenceEndpoint:
    """Answers the protocol's requests.

    Args:
        models: Who serves.
        ready: Whether the node does.
        version: Of edgesplit.
        limits: Of bodies.
    """

    def __init__(self, models: Models, *, ready: Callable[[], bool], version: str, limits: HttpSection) -> None:
        self._models = models
        self._ready = ready
        self._version = version
        self._limits = limits
        self.memory = Memory(limits.max_buffered_bytes)
        # One thread: numbers written as JSON must not take more than one core from the node's own work.
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="http-json")

    def routes(self) -> list[web.RouteDef]:
        """For the application."""
        routes = [
            web.get("/v2", self._server),
            web.get("/v2/health/live", self._live),
            web.get("/v2/health/ready", self._is_ready),
            web.post("/v2/repository/index", self._index),
        ]
        for model in ("/v2/models/{model}", "/v2/models/{model}/versions/{version}"):
            routes += [
                web.get(model, self._metadata),
                web.get(f"{model}/config", self._config),
                web.get(f"{model}/ready", self._model_ready),
                web.post(f"{model}/infer", self._infer),
            ]
        return routes

    async def close(self) -> None:
        """End the thread."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    # --- metadata --------------------------------------------------------------------------------------------------

    async def _server(self, _request: web.Request) -> web.Response:
        return json_answer(server_metadata(self._version))

    async def _live(self, _request: web.Request) -> web.Response:
        return json_answer({"live": True})

    async def _is_ready(self, _request: web.Request) -> web.Response:
        ready = self._ready()
        return json_answer({"ready": ready}, 200 if ready else 503)

    async def _index(self, _request: web.Request) -> web.Response:
        return json_answer(repository_index(self._models.describe_all()))

    async def _metadata(self, request: web.Request) -> web.Response:
        return json_answer(model_metadata(self._described(request)))

    async def _config(self, request: web.Request) -> web.Response:
        return json_answer(model_config(self._described(request)))

    async def _model_ready(self, request: web.Request) -> web.Response:
        model = self._described(request)
        return json_answer({"name": model.name, "ready": model.ready}, 200 if model.ready else 503)

    def _described(self, request: web.Request) -> ModelDescription:
        name = request.match_info["model"]
        model = self._models.describe(name)
        if model is None:
            raise UnknownModel(f"no model {name!r} is known here: see splitctl model list")
        if "version" in request.match_info:
            check_version(name, request.match_info["version"])
        return model

    # --- inference -------------------------------------------------------------------------------------------------

    async def _infer(self, request: web.Request) -> web.StreamResponse:
        model = self._described(request)
        if not model.deployed:
            raise NotDeployed(f"model {model.name!r} is not deployed: start it with splitctl deploy")
        with self.memory.account() as account:
            inference, arrays = await self._receive(request, model, account)
            check_wanted(inference, [spec.name for spec in model.outputs])
            outputs, epoch = await self._models.infer(model.name, arrays, inference.deadline_s)
            del arrays
            if inference.all_binary:
                response = render(inference, model.name, epoch, outputs)
            else:
                response = await self._in_thread(render, inference, model.name, epoch, outputs)
            account.count(response.nbytes)
            return await send(request, response)

    async def _receive(
        self, request: web.Request, model: ModelDescription, account: Account
    ) -> tuple[InferenceRequest, dict[str, Array]]:
        limit, json_limit = self._limits.max_body_bytes, self._limits.max_json_bytes
        encoding = request.headers.get("Content-Encoding", "").strip().lower()
        if (request.content_length or 0) > limit + json_limit:
            raise BodyTooLarge(f"the body has {request.content_length} B and this node accepts {limit} B")
        chunks = decompressed(request.content, encoding, request.content_length or limit)
        body = Body(chunks, account)
        head_bytes = _head_length(request)
        if head_bytes is None:
            inference = await self._parsed(await body.rest(json_limit, "JSON"), binary=False)
        elif head_bytes == 0:
            inference = raw_request(model.inputs, limit)
        elif head_bytes > json_limit:
            raise BodyTooLarge(f"the JSON head has {head_bytes} B and this node accepts {json_limit} B")
        else:
            head = bytearray(head_bytes)
            await body.fill(memoryview(head), "the JSON head")
            inference = await self._parsed(head, binary=True)
        arrays = {tensor.name: await self._values(tensor, body, account) for tensor in inference.inputs}
        await body.expect_end()
        return inference, arrays

    async def _parsed(self, head: bytearray, *, binary: bool) -> InferenceRequest:
        def parse() -> InferenceRequest:
            return parse_head(head, self._limits.max_body_bytes, binary=binary)

        return parse() if len(head) < _INLINE_BYTES else await self._in_thread(parse)

    async def _values(self, tensor: InputTensor, body: Body, account: Account) -> Array:
        if tensor.text is not None:
            account.take(tensor.nbytes)
            return await self._in_thread(array_from_json, tensor.name, tensor.text, tensor.dtype, tensor.shape)
        try:
            # The system gives the memory page by page, as the bytes come.
            array = np.empty(tensor.shape, DTYPES[tensor.dtype])
        except MemoryError:
            raise Overloaded(f"input {tensor.name!r} of {tensor.nbytes} B finds no memory here now") from None
        await body.fill(as_bytes(array), f"input {tensor.name!r}")
        if tensor.dtype == "bool" and (array.view(np.uint8) > 1).any():
            raise InvalidInput(f"input {tensor.name!r} is BOOL and holds bytes other than 0 and 1")
        return array

    async def _in_thread(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, lambda: work(*args, **kwargs))


def _head_length(request: web.Request) -> int | None:
    """Length of the JSON head; None where the whole body is JSON."""
    text = request.headers.get(HEADER_LENGTH)
    if text is None:
        return None
    if not (text.isascii() and text.isdecimal()):
        raise InvalidInput(f"the header {HEADER_LENGTH} must be a number of bytes, not {text[:40]!r}")
    return int(text)
