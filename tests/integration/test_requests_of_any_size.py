"""Requests of mixed sizes through controller and agents as processes, while plans change; sizes that do not add up fail alone."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from demo.fleet import LocalFleet
from edgesplit.client.asynchronous import AsyncClient
from edgesplit.errors import InvalidTensor, SizesRefused
from tests.waiting import blocking_until

MODEL = "halved"
SIZES = ((1, 16, 16), (1, 64, 32), (4, 16, 48), (2, 128, 128), (1, 2, 2), (1, 15, 16), (3, 32, 32))
"""Batch, height and width; an odd one does not add up."""


def halved() -> onnx.ModelProto:
    """An image is halved, doubled again and added to itself: that goes where both sides are even."""
    draw = np.random.default_rng(0)
    kernels = {name: draw.normal(0, 0.2, (8, inside, 3, 3)) for name, inside in (("w1", 3), ("w2", 8), ("w3", 8))}
    weights = [numpy_helper.from_array(kernel.astype(np.float32), name) for name, kernel in kernels.items()]
    weights.append(numpy_helper.from_array(np.array([1, 1, 2, 2], np.float32), "twice"))
    nodes = [
        helper.make_node("Conv", ["x", "w1"], ["a"], name="first", pads=[1, 1, 1, 1]),
        helper.make_node("MaxPool", ["a"], ["b"], name="halve", kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Conv", ["b", "w2"], ["c"], name="second", pads=[1, 1, 1, 1]),
        helper.make_node("Resize", ["c", "", "twice"], ["d"], name="double", mode="nearest"),
        helper.make_node("Add", ["a", "d"], ["e"], name="add"),
        helper.make_node("Conv", ["e", "w3"], ["y"], name="third", pads=[1, 1, 1, 1]),
    ]
    graph = helper.make_graph(
        nodes,
        "halved",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ("batch", 3, "height", "width"))],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ("batch", 8, "height", "width"))],
        initializer=weights,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@pytest.fixture(scope="module")
def path(fleet: LocalFleet, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The model's file, once it serves with its middle on the edge and its end in the cloud."""
    path = tmp_path_factory.mktemp("halved") / "halved.onnx"
    onnx.save(halved(), path)
    fleet.splitctl("model", "add", "--wait", "all", MODEL, str(path), "--shape", "x=1x3x16x16")
    fleet.splitctl("deploy", MODEL, "--source", "device")
    for operator, node in (("first", "device"), ("second", "edge"), ("third", "cloud")):
        fleet.splitctl("pin", MODEL, operator, "--node", node)
    blocking_until(lambda: spread(fleet) == {"device", "edge", "cloud"}, "the plan is on all three nodes")
    yield path
    fleet.splitctl("model", "remove", MODEL)


def spread(fleet: LocalFleet) -> set[str]:
    """Nodes that have components in the plan that serves."""
    return {component["node"] for component in fleet.splitctl("plan", MODEL)["components"]}


async def ask(client: AsyncClient, session: onnxruntime.InferenceSession, size: tuple[int, int, int]) -> str:
    """What becomes of a request of this size; an answer is held against the whole model's."""
    batch, height, width = size
    x = np.random.default_rng(sum(size)).random((batch, 3, height, width), np.float32)
    try:
        (y,) = (await client.infer(MODEL, {"x": x})).values()
    except SizesRefused as error:
        assert f"x {[batch, 3, height, width]} (x [1, 3, 16, 16] was planned for)" in str(error)
        return "refused"
    (wanted,) = session.run(None, {"x": x})
    np.testing.assert_allclose(y, wanted, atol=1e-4 * float(np.ptp(wanted)))
    return "served"


def test_requests_of_mixed_sizes_are_served_while_plans_change(fleet: LocalFleet, path: Path) -> None:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    outcomes: list[tuple[tuple[int, int, int], str]] = []

    async def call(client: AsyncClient, first: int, changing: asyncio.Task[None]) -> None:
        number = first
        while not changing.done() or number < first + len(SIZES):
            size = SIZES[number % len(SIZES)]
            outcomes.append((size, await ask(client, session, size)))
            number += 1

    async def change() -> None:
        for node in ("cloud", "device", "edge"):
            await asyncio.to_thread(fleet.splitctl, "unpin", MODEL, "second")
            await asyncio.to_thread(fleet.splitctl, "pin", MODEL, "second", "--node", node)

    async def run() -> None:
        async with AsyncClient(fleet.address("device")) as client:
            changing = asyncio.create_task(change())
            await asyncio.gather(*(call(client, first, changing) for first in range(4)))
            await changing

    asyncio.run(run())
    assert len(outcomes) > 4 * len(SIZES)
    for size, outcome in outcomes:
        assert outcome == ("refused" if size[1] % 2 else "served"), size
    assert "fallback-engaged" not in {event["kind"] for event in fleet.splitctl("events")}


def test_sizes_that_were_asked_are_shown(fleet: LocalFleet, path: Path) -> None:
    assert path.exists()
    served = {(batch, 3, height, width) for batch, height, width in SIZES if height % 2 == 0}

    def told() -> bool:
        document = fleet.splitctl("model", "show", MODEL)
        assert document["inputs"][0]["shape"] == [-1, 3, -1, -1]
        assert document["inputs"][0]["typical"] == [1, 3, 16, 16]
        return {tuple(entry["inputs"]["x"]) for entry in document["asked"]} == served

    blocking_until(told, "the sizes are known")


ODD = (
    (0, 3, 16, 16),
    (1, 3, 0, 16),
    (2, 3, 16, 0),
    (1, 3, 1, 1),
    (1, 3, 16),
    (3, 16, 16),
    (1, 4, 16, 16),
    (1, 1, 3, 16, 16),
)
"""Nothing along an axis, almost nothing, a wrong number of axes, a fixed axis of another size."""


def test_odd_requests_get_what_the_whole_model_gives_or_an_error_of_their_own(fleet: LocalFleet, path: Path) -> None:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])

    async def outcome(client: AsyncClient, shape: tuple[int, ...]) -> None:
        x = np.ones(shape, np.float32)
        try:
            (wanted,) = session.run(None, {"x": x})
        except Exception:  # pybind types without a common base
            with pytest.raises((SizesRefused, InvalidTensor), match=re.escape(str(list(shape)))):
                await client.infer(MODEL, {"x": x}, deadline_s=30.0)
            return
        (y,) = (await client.infer(MODEL, {"x": x}, deadline_s=30.0)).values()
        assert y.shape == wanted.shape
        np.testing.assert_allclose(y, wanted, atol=1e-4)

    async def run() -> None:
        async with AsyncClient(fleet.address("device")) as client:
            # Each of them beside requests that are in order.
            await asyncio.gather(
                *(outcome(client, shape) for odd in ODD for shape in (odd, (1, 3, 16, 16), (2, 3, 32, 8)))
            )

    asyncio.run(run())
    kinds = {event["kind"] for event in fleet.splitctl("events")}
    assert not kinds & {"fallback-engaged", "node-left"}
