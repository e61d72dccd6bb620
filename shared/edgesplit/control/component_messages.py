"""Components as messages describe them: graph, weights, tensors, and where these go.

Owns: these values. Its rule: that of `messages.py`, a released one is never changed; a blob is named by its SHA-256. Not
here: what a component is part of (`plan_messages.py`, `profile_messages.py`).
"""

from __future__ import annotations

import msgspec

from edgesplit.control.messages import Message
from edgesplit.wire.tensor_spec import TensorSpec

__all__ = ["ComponentSpec", "GraphRef", "Route", "WeightRef", "digests_of", "sizes_of"]


class WeightRef(Message, frozen=True, kw_only=True):
    """An initializer kept as a blob.

    Attributes:
        name: Of the initializer.
        digest: SHA-256 of its raw little-endian bytes, the blob's name.
        dtype: numpy's name of its type.
        shape: Its static shape.
        nbytes: Size of that blob. [B]
    """

    name: str
    digest: str
    dtype: str
    shape: tuple[int, ...]
    nbytes: int


class GraphRef(Message, frozen=True, kw_only=True):
    """An ONNX graph without large weights, itself a blob, and the weight blobs it needs.

    In the graph every such initializer is external data with `location` = digest, so that a runtime that loads the
    graph from the folder of the blobs finds them.

    Attributes:
        digest: SHA-256 of the graph's bytes, the blob's name.
        nbytes: Size of that blob. [B]
        weights: Its external data.
    """

    digest: str
    nbytes: int
    weights: tuple[WeightRef, ...] = ()


class Route(Message, frozen=True, kw_only=True):
    """Where a tensor goes from the node that has it; local consumers need no route.

    Attributes:
        tensor: Wire name; a quantized operator's int8 output has a name of its own.
        codec: Wire codec, `raw` for none.
        to: Receiving nodes, each gets it once.
    """

    tensor: str
    codec: str
    to: tuple[str, ...]


class ComponentSpec(Message, frozen=True, kw_only=True):
    """Operators of one node that run as one submodel.

    Attributes:
        component: Number within the plan, the same as in `splitctl plan`.
        graph: What it runs.
        inputs: Wire tensors it waits for, whoever sends them.
        outputs: Wire tensors it yields.
        routes: Where its outputs go besides this node's own components.
        predicted_s: Planned compute. [s]
        values: Of inputs that hold sizes: those at the planning shape, in C order. What it is run with before requests come.
    """

    component: int
    graph: GraphRef
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    routes: tuple[Route, ...]
    predicted_s: float = 0.0
    values: dict[str, tuple[int, ...]] = msgspec.field(default_factory=dict[str, tuple[int, ...]])


def digests_of(graph: GraphRef) -> set[str]:
    """All blobs of a graph."""
    return {graph.digest, *(weight.digest for weight in graph.weights)}


def sizes_of(*graphs: GraphRef) -> dict[str, int]:
    """Bytes of all blobs of graphs, by digest."""
    return {
        digest: nbytes
        for graph in graphs
        for digest, nbytes in (
            (graph.digest, graph.nbytes),
            *((weight.digest, weight.nbytes) for weight in graph.weights),
        )
    }
