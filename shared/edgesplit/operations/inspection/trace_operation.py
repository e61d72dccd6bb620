"""The operation that follows one request across nodes, `trace`, and its document.

Owns: this operation and its document. Its rule: keys may be added, never renamed; measured steps stand beside predicted ones and
say how exact their clocks are. Not here: how clocks are aligned (the controller's).
"""

from __future__ import annotations

from typing import Literal

import msgspec

from edgesplit.operations.exchange import TaggedOperation
from edgesplit.planning.plan import TimelineEntry

__all__ = ["ShowTrace", "TraceClock", "TraceDocument", "TraceGap", "TraceStep"]


class ShowTrace(TaggedOperation, frozen=True, kw_only=True, tag="show-trace"):
    """Answered with `TraceDocument`.

    Attributes:
        name: Of a deployment.
        request: Identifier of the request; empty: the last that its source answered.
    """

    name: str
    request: str = ""


class TraceStep(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that happened for the request; times are those since it came to the source, on the source's clock.

    Attributes:
        kind: A component that ran, a tensor that was coded, travelled, or was restored.
        node: Where it happened; None for a transfer.
        from_: Sending node of a transfer; else None.
        to: Receiving node of a transfer; else None.
        epoch: Number of the plan; a request that lost a node goes on on another one.
        component: Number of the component; None for tensors.
        tensors: Their names.
        nbytes: Of what travelled; 0 for others. [B]
        waited_s: Before it began, for other requests. [s]
        start_s: When it began. [s]
        end_s: When it ended; of a transfer, when the last byte was there. [s]
        predicted_start_s: As the plan has it now; None where it has no such step. [s]
        predicted_end_s: As the plan has it now. [s]
    """

    kind: Literal["compute", "encode", "transfer", "decode"]
    node: str | None
    from_: str | None = msgspec.field(default=None, name="from")
    to: str | None = None
    epoch: int
    component: int | None = None
    tensors: tuple[str, ...] = ()
    nbytes: int = 0
    waited_s: float = 0.0
    start_s: float
    end_s: float
    predicted_start_s: float | None = None
    predicted_end_s: float | None = None


class TraceClock(msgspec.Struct, frozen=True, kw_only=True):
    """How a node's times were brought to the source's clock.

    Attributes:
        node: Of the node.
        ahead_s: What was taken off its times. [s]
        uncertain_s: Its times may be off by so much, either way; None: they are bounded on one side only. [s]
        by: `links`: pings, and that nothing arrives before it was sent; `order`: the latter alone.
    """

    node: str
    ahead_s: float
    uncertain_s: float | None
    by: Literal["links", "order"]


class TraceGap(msgspec.Struct, frozen=True, kw_only=True):
    """A node whose part is missing.

    Attributes:
        node: Of the node.
        reason: Why, one sentence.
    """

    node: str
    reason: str


class TraceDocument(msgspec.Struct, frozen=True, kw_only=True):
    """`splitctl trace`.

    Attributes:
        model: Name of the deployment.
        request: Identifier of the request.
        source: Where it came.
        epoch: Number of the plan that it began on.
        began_unix_s: When it came, on the controller's clock. [s since the epoch]
        latency_s: From its coming to its answer, at the source. [s]
        predicted_latency_s: Of the plan; None where that is not known any more. [s]
        steps: In the order in which they began.
        predicted: The plan's own timeline, its steps that were not seen among them.
        clocks: Of the other nodes.
        missing: Nodes that have a part in the plan and told nothing.
    """

    model: str
    request: str
    source: str
    epoch: int
    began_unix_s: float
    latency_s: float
    predicted_latency_s: float | None
    steps: tuple[TraceStep, ...]
    predicted: tuple[TimelineEntry, ...]
    clocks: tuple[TraceClock, ...]
    missing: tuple[TraceGap, ...]
