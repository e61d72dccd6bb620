"""A model with two planning shapes through the real programs: each has a plan that suits it, and the nearest one serves."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper

from demo.fleet import EmulatedLink, EmulatedNode, LocalFleet
from tests.controller.tiny_models import convolutions
from tests.graph.support import assert_close
from tests.waiting import blocking_until

SMALL, LARGE = (1, 3, 16, 16), (1, 3, 128, 128)
LINK = EmulatedLink(20e6, 0.01)
NODES = (
    EmulatedNode("device", compute_w=3.0, transmit_w=3.5, slow_down=16.0, links={"edge": LINK}),
    EmulatedNode("edge", compute_w=6.0, transmit_w=2.0, links={"device": LINK}),
)
"""To compute a small image here takes less than the way to the edge; a large one is worth sending."""


def pooled() -> onnx.ModelProto:
    """Convolutions whose output is small, whatever the image."""
    proto = onnx.ModelProto.FromString(convolutions(4, 16, size=None))
    proto.graph.node.append(helper.make_node("GlobalAveragePool", ["scores"], ["pooled"], name="pool"))
    del proto.graph.output[:]
    proto.graph.output.append(helper.make_tensor_value_info("pooled", onnx.TensorProto.FLOAT, (1, 16, 1, 1)))
    return proto


@pytest.fixture(scope="module")
def fleet(mosquitto: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalFleet]:
    with LocalFleet(tmp_path_factory.mktemp("fleet"), NODES, broker=mosquitto) as running:
        running.start()
        running.await_nodes()
        yield running


def test_each_shape_has_its_plan_and_the_nearest_serves(fleet: LocalFleet, tmp_path: Path) -> None:
    file = tmp_path / "model.onnx"
    onnx.save(pooled(), file)
    shapes = [f"image={'x'.join(map(str, shape))}" for shape in (SMALL, LARGE)]
    fleet.splitctl(
        *("model", "add", "--wait", "all", "pooled", str(file), "--max-quantizable", "0"),
        *("--shape", shapes[0], "--shape", shapes[1]),
    )
    fleet.splitctl("set-weights", "--latency", "1", "--energy", "0", "--model", "pooled")
    fleet.splitctl("deploy", "pooled", "--source", "device")
    blocking_until(
        lambda: all(row["epoch"] for row in fleet.splitctl("model", "show", "pooled")["shapes"]),
        "a plan for each shape",
    )
    small, large = (fleet.splitctl("plan", name) for name in ("pooled", "pooled@2"))
    assert nodes_of(small) == {"device"}
    assert "edge" in nodes_of(large)
    assert large["latency_s"] > 2 * small["latency_s"]

    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    sizes = {
        (1, 3, 12, 20): "pooled",
        SMALL: "pooled",
        (1, 3, 40, 50): "pooled",
        (1, 3, 50, 50): "pooled@2",
        LARGE: "pooled@2",
    }
    served = {"pooled": 0, "pooled@2": 0}
    for shape, name in sizes.items():
        image = np.random.default_rng(1).random(shape, np.float32)
        np.savez(tmp_path / "in.npz", image=image)
        output = tmp_path / "out.npz"
        done = fleet.splitctl("infer", "pooled", "--input", str(tmp_path / "in.npz"), "--output", str(output))
        assert done["failed"] == 0
        with np.load(output) as found:
            assert_close(dict(found), {"pooled": np.asarray(session.run(["pooled"], {"image": image})[0])})
        served[name] += 1
    blocking_until(
        lambda: {name: requests(fleet.splitctl("plan", name)) for name in served} == served,
        "a count of all requests",
    )
    document = fleet.splitctl("model", "show", "pooled")
    assert [row["name"] for row in document["shapes"]] == ["pooled", "pooled@2"]
    assert sum(entry["requests"] for entry in document["asked"]) == len(sizes)
    listed = [row["name"] for row in fleet.splitctl("model", "list")]
    assert listed == ["pooled"]
    fleet.splitctl("explain", "pooled@2")
    fleet.splitctl("undeploy", "pooled")
    fleet.splitctl("model", "remove", "pooled")


def nodes_of(plan: dict[str, Any]) -> set[str]:
    """Where a plan computes."""
    return {part["node"] for part in plan["components"]}


def requests(plan: dict[str, Any]) -> int:
    """How many requests a plan served."""
    count: int = plan["measured"]["requests"]
    return count
