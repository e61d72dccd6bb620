"""Models that this node serves, as the endpoint asks for them.

Owns: the seam between the protocol and the engine. Its rule: a reading of the engine's tables, and its `infer`; nothing
of HTTP. Not here: what ready means (`serving/model_description.py`).
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Protocol

from edgesplit.wire.tensors import Array
from edgesplit_agent.serving.engine import Engine
from edgesplit_agent.serving.model_description import ModelDescription, describe, known_models

__all__ = ["EngineModels", "ServedModels"]


class ServedModels(Protocol):
    """Who serves."""

    def describe(self, name: str) -> ModelDescription | None:
        """One model; None where nobody added one of that name."""

    def describe_all(self) -> Sequence[ModelDescription]:
        """All models."""
        ...

    async def infer(
        self, model: str, arrays: dict[str, Array], deadline_s: float | None
    ) -> tuple[dict[str, Array], int]:
        """Outputs and the epoch that computed them; cancelling it ends the request on every node.

        Raises:
            EdgesplitError: It was refused or could not be completed.
        """
        ...


class EngineModels:
    """The models of a running agent."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.infer = engine.infer

    def describe(self, name: str) -> ModelDescription | None:
        """See `Models`."""
        return describe(self._engine.machine.flow, name, time.monotonic())

    def describe_all(self) -> list[ModelDescription]:
        """See `Models`."""
        names = known_models(self._engine.machine.flow)
        return [model for name in names if (model := self.describe(name)) is not None]
