"""The operation that shows a model's network as the planner moves it, and its document.

Owns: this operation and its document. Its rule: keys may be added, never renamed; units are those that plans place. Not here: where
they run (`plan_operations.py`).
"""

from __future__ import annotations

import msgspec

from edgesplit.operations.exchange import TaggedOperation

__all__ = ["GraphDocument", "GraphEdge", "GraphEnd", "GraphUnit", "ShowGraph"]


class ShowGraph(TaggedOperation, frozen=True, kw_only=True, tag="show-graph"):
    """Answered with `GraphDocument`.

    Attributes:
        name: Of a model, a planning shape, or a deployment.
    """

    name: str


class GraphUnit(msgspec.Struct, frozen=True, kw_only=True):
    """Operators that are always placed together.

    Attributes:
        id: Its number, in topological order from 0.
        name: As planning problems call it.
        operators: Its operators, in topological order, by the names that components of plans list.
        kinds: ONNX types of its operators, each once, in that order.
        flops: Floating-point operations of one run, a multiply-add counted as two.
        weight_bytes: Of its weights in float. [B]
    """

    id: int
    name: str
    operators: tuple[str, ...]
    kinds: tuple[str, ...]
    flops: int | None
    weight_bytes: int


class GraphEdge(msgspec.Struct, frozen=True, kw_only=True):
    """A tensor that one unit hands to another.

    Attributes:
        from_: Number of the unit that makes it.
        to: Number of a unit that reads it.
        tensor: Its name.
        nbytes: Its size at the planning shape, in float. [B]
    """

    from_: int = msgspec.field(name="from")
    to: int
    tensor: str
    nbytes: int


class GraphEnd(msgspec.Struct, frozen=True, kw_only=True):
    """A tensor that a request brings, or is answered with.

    Attributes:
        tensor: Its name.
        nbytes: Its size at the planning shape, in float. [B]
        units: Numbers of the units that read it, of an input, or of the one that makes it, of an output.
    """

    tensor: str
    nbytes: int
    units: tuple[int, ...]


class GraphDocument(msgspec.Struct, frozen=True, kw_only=True):
    """`splitctl model graph`.

    Attributes:
        model: Name of the model.
        sha256: Digest of its .onnx file.
        units: In topological order.
        edges: Tensors between units, by the unit that makes them.
        inputs: What a request brings, in order.
        outputs: What it is answered, in order.
    """

    model: str
    sha256: str
    units: tuple[GraphUnit, ...]
    edges: tuple[GraphEdge, ...]
    inputs: tuple[GraphEnd, ...]
    outputs: tuple[GraphEnd, ...]
