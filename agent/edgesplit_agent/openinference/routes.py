"""The routes of the Open Inference Protocol v2.

Owns: the way of a request from its headers to its answer. Its rule: it decides nothing about models; whatever goes
wrong is answered with a status and one sentence, and what an unknown client sends is never held beyond the limits. Not
here: the listening socket (`http/endpoint.py`), receiving and sending (`receiving.py`, `answers.py`), parsing and rendering.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from aiohttp import web

from edgesplit.errors import NotDeployed, UnknownModel
from edgesplit.trust.access import GRANTED_MODELS
from edgesplit_agent.configuration import HttpSection
from edgesplit_agent.openinference.answers import json_answer, send
from edgesplit_agent.openinference.inference_response import check_wanted, render
from edgesplit_agent.openinference.memory import Memory
from edgesplit_agent.openinference.metadata import (
    check_version,
    model_config,
    model_metadata,
    repository_index,
    server_metadata,
)
from edgesplit_agent.openinference.receiving import HEADER_LENGTH, BodyEnvelope, Receiver
from edgesplit_agent.serving.served_models import ModelDescription, ServedModels

__all__ = ["InferenceEndpoint"]


class InferenceEndpoint:
    """Answers the protocol's requests.

    Args:
        models: Who serves.
        ready: Whether the node does.
        version: Of edgesplit.
        limits: Of bodies.
    """

    def __init__(self, models: ServedModels, *, ready: Callable[[], bool], version: str, limits: HttpSection) -> None:
        self._models = models
        self._ready = ready
        self._version = version
        self.memory = Memory(limits.max_buffered_bytes)
        # One thread: numbers written as JSON must not take more than one core from the node's own work.
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="http-json")
        self._receiver = Receiver(limits, self._thread)

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

    async def _index(self, request: web.Request) -> web.Response:
        granted: tuple[str, ...] = request.get(GRANTED_MODELS, ())
        known = self._models.describe_all()
        return json_answer(repository_index([model for model in known if not granted or model.name in granted]))

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
            envelope = BodyEnvelope(
                request.headers.get("Content-Encoding", ""), request.headers.get(HEADER_LENGTH), request.content_length
            )
            inference, arrays = await self._receiver.receive(envelope, request.content, model.inputs, account)
            check_wanted(inference, [spec.name for spec in model.outputs])
            outputs, epoch = await self._models.infer(model.name, arrays, inference.deadline_s)
            del arrays
            if inference.all_binary:
                response = render(inference, model.name, epoch, outputs)
            else:
                response = await self._receiver.in_thread(render, inference, model.name, epoch, outputs)
            account.count(response.nbytes)
            return await send(request, response)
