"""Tiny graphs, cut by hand, and a server of their blobs."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
from aiohttp import web
from onnx import TensorProto, helper

from edgesplit.control.component_messages import ComponentSpec, GraphRef, Route, WeightRef
from edgesplit.control.plan_messages import Deployment, Desired, EpochSpec
from edgesplit.wire.tensor_spec import TensorSpec
from tests.agent.http_servers import start_server

SHAPE = (1, 4)


def spec(name: str) -> TensorSpec:
    """A float vector."""
    return TensorSpec(name=name, dtype="float32", shape=SHAPE)


class Blobs:
    """Blobs in a folder, named by digest."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def put(self, data: bytes) -> str:
        """Store bytes; their digest."""
        digest = hashlib.sha256(data).hexdigest()
        (self.folder / digest).write_bytes(data)
        return digest

    def affine(self, source: str, target: str, factor: float, *, name: str = "unit0.0") -> GraphRef:
        """`target = factor * source` with the factor as an external weight blob."""
        weight = np.full(SHAPE, factor, np.float32)
        digest = self.put(weight.tobytes())
        initializer = TensorProto(name="factor", data_type=TensorProto.FLOAT, dims=SHAPE)
        initializer.data_location = TensorProto.EXTERNAL
        initializer.external_data.add(key="location", value=digest)
        graph = helper.make_graph(
            [helper.make_node("Mul", [source, "factor"], [target], name=name)],
            "affine",
            [helper.make_tensor_value_info(source, TensorProto.FLOAT, SHAPE)],
            [helper.make_tensor_value_info(target, TensorProto.FLOAT, SHAPE)],
            initializer=[initializer],
        )
        data = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString()
        reference = WeightRef(name="factor", digest=digest, dtype="float32", shape=SHAPE, nbytes=weight.nbytes)
        return GraphRef(digest=self.put(data), nbytes=len(data), weights=(reference,))

    def chain(self, length: int) -> onnx.ModelProto:
        """`y = relu(x) ...` of `length` matmuls, unit0 to unitN-1."""
        rng = np.random.default_rng(0)
        nodes, weights = [], []
        name = "x"
        for index in range(length):
            weights.append(onnx.numpy_helper.from_array(rng.random((64, 64), np.float32) / 64, f"w{index}"))
            target = "y" if index == length - 1 else f"unit{index}.t"
            nodes.append(helper.make_node("MatMul", [name, f"w{index}"], [target], name=f"unit{index}.{index}"))
            name = target
        graph = helper.make_graph(
            nodes,
            "chain",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, (1, 64))],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, (1, 64))],
            initializer=weights,
        )
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def component(
    number: int, graph: GraphRef, inputs: Sequence[str], outputs: Sequence[str], routes: Sequence[Route] = ()
) -> ComponentSpec:
    """A component of float vectors."""
    return ComponentSpec(
        component=number,
        graph=graph,
        inputs=tuple(spec(name) for name in inputs),
        outputs=tuple(spec(name) for name in outputs),
        routes=tuple(routes),
    )


def route(tensor: str, *to: str, codec: str = "raw") -> Route:
    """Where a tensor goes, as it is unless said."""
    return Route(tensor=tensor, codec=codec, to=to)


NO_GRAPH = GraphRef(digest="0" * 64, nbytes=0)
ADDRESSES = {"device": "127.0.0.1:1", "edge": "127.0.0.1:2", "cloud": "127.0.0.1:3"}


def device_part(
    epoch: int, first: GraphRef = NO_GRAPH, last: GraphRef = NO_GRAPH, peer: str = "edge", codec: str = "raw"
) -> EpochSpec:
    """The source's part: x -> a here, a -> b on the edge or another peer, b -> y here."""
    return EpochSpec(
        epoch=epoch,
        source="device",
        participants={node: ADDRESSES[node] for node in ("device", peer)},
        components=(
            component(0, first, ["x"], ["a"], [route("a", peer, codec=codec)]),
            component(2, last, ["b"], ["y"]),
        ),
        outputs=("y",),
    )


def edge_part(epoch: int, middle: GraphRef = NO_GRAPH, peer: str = "edge", codec: str = "raw") -> EpochSpec:
    """The peer's part of the same."""
    return EpochSpec(
        epoch=epoch,
        source="device",
        participants={node: ADDRESSES[node] for node in ("device", peer)},
        components=(component(1, middle, ["a"], ["b"], [route("b", "device", codec=codec)]),),
    )


def local_part(epoch: int, whole: GraphRef = NO_GRAPH) -> EpochSpec:
    """Everything on the source."""
    return EpochSpec(
        epoch=epoch,
        source="device",
        participants={"device": "127.0.0.1:1"},
        components=(component(0, whole, ["x"], ["y"]),),
        outputs=("y",),
    )


def desired(
    node: str,
    *epochs: EpochSpec,
    serve: int | None = None,
    fallback: int | None = None,
    fallbacks: Mapping[str, int] | None = None,
    model: str = "m",
) -> Desired:
    """What a node should hold."""
    return Desired(
        node=node,
        model=model,
        inputs=(spec("x"),),
        outputs=(spec("y"),),
        epochs=epochs,
        serve=serve,
        fallback=fallback,
        fallbacks=dict(fallbacks or {}),
    )


def deployment(source: str, advertise: str, model: str = "m") -> Deployment:
    """Who the source is."""
    return Deployment(model=model, source=source, advertise=advertise, inputs=(spec("x"),), outputs=(spec("y"),))


async def serve_blobs(folder: Path) -> tuple[web.AppRunner, str]:
    """An artifact server on a free port; its base URL."""
    return await start_server([web.static("/blobs", folder)])
