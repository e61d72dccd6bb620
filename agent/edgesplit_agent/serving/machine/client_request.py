"""A client's request at the source, across its attempts.

Owns: the record of one request. Its rule: it keeps its inputs until it ends, so that it can be run again elsewhere.
Not here: what moves it on (`serving/machine/agent_machine.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from edgesplit.wire.tensors import Array

__all__ = ["ClientRequest"]


@dataclass(slots=True)
class ClientRequest:
    """One request.

    Attributes:
        arrived_s: On the machine's clock. [s]
        deadline_s: From its arrival. [s]
        epoch: It runs on now; None while it waits for one to be ready.
        failed_epochs: Epochs it was tried on in vain.
        footprint_bytes: What its tensors may take here at a time. [B]
    """

    request: str
    model: str
    arrays: Mapping[str, Array]
    arrived_s: float
    deadline_s: float
    epoch: int | None = None
    failed_epochs: set[int] = field(default_factory=set[int])
    footprint_bytes: int = 0

    @property
    def expires_at_s(self) -> float:
        """When its time is up. [s on the machine's clock]"""
        return self.arrived_s + self.deadline_s
