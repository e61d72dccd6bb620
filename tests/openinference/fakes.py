"""Models that double what they get, behind a real HTTP endpoint."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np

from edgesplit.errors import EdgesplitError, InvalidTensor
from edgesplit.wire.tensor_spec import TensorSpec
from edgesplit.wire.tensors import DTYPES, TEXT, Array, as_bfloat16, check_inputs, widened
from edgesplit_agent.configuration import HttpSection
from edgesplit_agent.http.endpoint import HttpEndpoint
from edgesplit_agent.openinference.memory import Memory
from edgesplit_agent.reporting.metrics import PrometheusMetrics
from edgesplit_agent.serving.served_models import ModelDescription

SHAPE = (2, 3)


def described(name: str, *tensors: TensorSpec, reason: str = "") -> ModelDescription:
    """A deployed model whose outputs are called as its inputs."""
    return ModelDescription(name, True, reason, tensors, tensors)


def spec(name: str, dtype: str = "float32", shape: tuple[int, ...] = SHAPE) -> TensorSpec:
    """A tensor."""
    return TensorSpec(name=name, dtype=dtype, shape=shape)


@dataclass
class FakeModels:
    """Implements `Models`."""

    error: EdgesplitError | Exception | None = None
    deadlines: list[float | None] = field(default_factory=list)
    open: asyncio.Event = field(default_factory=asyncio.Event)
    asked: asyncio.Event = field(default_factory=asyncio.Event)
    gone: asyncio.Event = field(default_factory=asyncio.Event)
    models: dict[str, ModelDescription] = field(
        default_factory=lambda: {
            "double": described("double", spec("x")),
            "pair": described("pair", spec("a"), spec("b", "int64", (4,))),
            "types": described("types", *(spec(f"in-{dtype}", dtype) for dtype in sorted(set(DTYPES) - {"bfloat16"}))),
            "halves": described("halves", spec("x", "bfloat16")),
            "texts": described("texts", spec("x", TEXT)),
            "large": described("large", spec("x", shape=(1024, 1024))),
            "scalar": described("scalar", spec("x", "int32", ())),
            "waiting": described("waiting", spec("x"), reason="no plan is prepared on device yet"),
            "offered": ModelDescription("offered", False, "it is not deployed"),
        }
    )

    def __post_init__(self) -> None:
        self.open.set()

    def describe(self, name: str) -> ModelDescription | None:
        """See `Models`."""
        return self.models.get(name)

    def describe_all(self) -> list[ModelDescription]:
        """See `Models`."""
        return list(self.models.values())

    async def infer(
        self, model: str, arrays: dict[str, Array], deadline_s: float | None
    ) -> tuple[dict[str, Array], int]:
        """Twice the inputs (bools stay), as plan 7."""
        self.deadlines.append(deadline_s)
        self.asked.set()
        if self.error is not None:
            raise self.error
        checked = check_inputs(self.models[model].inputs, arrays)
        if any(not array.flags.aligned for array in checked.values()):
            raise InvalidTensor("an input is not aligned")
        try:
            await self.open.wait()
        except asyncio.CancelledError:
            self.gone.set()
            raise
        return {name: _doubled(array) for name, array in checked.items()}, 7


def _doubled(array: Array) -> Array:
    if array.dtype == DTYPES["bfloat16"]:
        return as_bfloat16(widened(array) * 2)
    return array if array.dtype == bool else np.asarray(array * 2)


@dataclass
class Served:
    """A running endpoint."""

    models: FakeModels
    endpoint: HttpEndpoint
    address: str
    client: aiohttp.ClientSession

    @property
    def memory(self) -> Memory:
        """What bodies take; once somebody connected."""
        assert self.endpoint.application is not None
        return self.endpoint.application.inference.memory


@asynccontextmanager
async def served(**limits: Any) -> AsyncIterator[Served]:
    """An endpoint on a free port and a client of it."""
    models = FakeModels()
    section = HttpSection(listen="127.0.0.1:0", **limits)
    telemetry = PrometheusMetrics("device", "1.0")
    endpoint = HttpEndpoint(section, telemetry, models, blobs=Path("/nowhere"), ready=lambda: True, version="1.0")
    address = await endpoint.start()
    async with aiohttp.ClientSession(f"http://{address}", auto_decompress=False) as client:
        yield Served(models, endpoint, address, client)
    await endpoint.close()
