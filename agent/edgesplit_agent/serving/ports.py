"""Interfaces from the engine to the rest of the agent.

Owns: these three interfaces. Its rule: as narrow as the engine's use. Not here: what stands behind them
(`dataplane/plane.py`, `compute/session_pool.py`, `control.py`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from edgesplit.control.component_messages import ComponentSpec
from edgesplit.control.plan_messages import EpochState
from edgesplit.wire.frames import PackedTensor
from edgesplit.wire.headers import ExecutionKey
from edgesplit.wire.tensors import Array
from edgesplit_agent.compute.session_pool import LoadedComponent
from edgesplit_agent.serving.machine.actions import PublishNoise

__all__ = ["Peers", "Preparer", "Publisher"]


class Peers(Protocol):
    """The part of the data plane that the engine uses."""

    def send_tensors(
        self, peer: str, key: ExecutionKey, tensors: Sequence[PackedTensor], deadline_s: float | None = None
    ) -> None:
        """Queue tensors for a peer."""

    def send_abort(self, peer: str, key: ExecutionKey, code: str, message: str) -> None:
        """Tell a peer that a request is given up."""

    async def forward_infer(
        self, address: str, model: str, arrays: Mapping[str, Array], deadline_s: float | None = None
    ) -> tuple[dict[str, Array], int]:
        """Have another node answer."""
        ...


class Preparer(Protocol):
    """Builds and frees components."""

    async def prepare(self, wanted: Sequence[ComponentSpec]) -> dict[int, LoadedComponent]:
        """Fetch, build and warm; they come by number."""
        ...

    def release(self, prepared: Sequence[ComponentSpec]) -> None:
        """Undo a `prepare` that succeeded."""


class Publisher(Protocol):
    """The part of the control plane that the engine uses."""

    def publish_observed(self, model: str, epochs: tuple[EpochState, ...], serving: int | None) -> None:
        """Say what is held and served."""

    def clear_observed(self, model: str) -> None:
        """Nothing of the model is held any more."""

    def publish_noise(self, found: PublishNoise) -> None:
        """Say what checks of served requests found."""

    def emit(self, kind: str, text: str, *, model: str, data: Mapping[str, str | float | int | bool | None]) -> None:
        """Tell what happened."""
