"""The models that a node serves, as whoever asks for inference sees them.

Owns: the seam between front ends and serving. Its rule: plain values and one interface, nothing of a protocol, of plans
or of the engine. Not here: what stands behind it (`serving/engine_models.py`), front ends (`openinference/`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from edgesplit.wire.tensor_spec import TensorSpec
from edgesplit.wire.tensors import Array

__all__ = ["ModelDescription", "ServedModels"]


@dataclass(frozen=True)
class ModelDescription:
    """A model as this node sees it.

    Attributes:
        deployed: Whether there is a source; without one, inputs and outputs are empty.
        reason: Why it is not ready; empty when it is.
    """

    name: str
    deployed: bool
    reason: str
    inputs: tuple[TensorSpec, ...] = ()
    outputs: tuple[TensorSpec, ...] = ()

    @property
    def ready(self) -> bool:
        """Whether a request sent to this node now would start."""
        return not self.reason


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
