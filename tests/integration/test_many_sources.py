"""Two cameras as sources of one model through the real programs: each is answered by the plan made for it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from demo.fleet import EmulatedLink, EmulatedNode, LocalFleet
from tests.controller.tiny_models import convolutions
from tests.graph.support import assert_close
from tests.waiting import blocking_until

NEAR, FAR = EmulatedLink(50e6, 0.001), EmulatedLink(2e4, 0.2)
NODES = (
    EmulatedNode("cam1", compute_w=3.0, transmit_w=3.5, slow_down=50.0, links={"edge": NEAR, "cam2": FAR}),
    EmulatedNode("cam2", compute_w=3.0, transmit_w=3.5, slow_down=50.0, links={"edge": FAR, "cam1": FAR}),
    EmulatedNode("edge", compute_w=6.0, transmit_w=2.0, links={"cam1": NEAR, "cam2": FAR}),
)
"""To the first camera the edge is worth its way, to the second it is not."""


@pytest.fixture(scope="module")
def fleet(mosquitto: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalFleet]:
    with LocalFleet(tmp_path_factory.mktemp("fleet"), NODES, broker=mosquitto) as running:
        running.start()
        running.await_nodes()
        yield running


def test_each_source_has_the_plan_that_suits_it_and_serves_its_own_requests(fleet: LocalFleet, tmp_path: Path) -> None:
    file = tmp_path / "model.onnx"
    onnx.save(onnx.ModelProto.FromString(convolutions(4, 16, size=64)), file)
    fleet.splitctl("model", "add", "--wait", "all", "eyes", str(file), "--max-quantizable", "0")
    fleet.splitctl("set-weights", "--latency", "1", "--energy", "0", "--max-noise", "0", "--model", "eyes")
    document = fleet.splitctl("deploy", "eyes", "--source", "cam*")
    assert document["warnings"] == []
    assert [(row["source"], row["name"]) for row in document["sources"]] == [("cam1", "eyes"), ("cam2", "eyes~cam2")]
    assert "edge" in document["sources"][0]["nodes"]
    assert document["sources"][1]["nodes"] == ["cam2"]

    image = np.random.default_rng(1).random((1, 3, 64, 64), np.float32)
    np.savez(tmp_path / "in.npz", image=image)
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    wanted = {"scores": np.asarray(session.run(["scores"], {"image": image})[0])}
    for node, count in (("cam1", 2), ("cam2", 3)):
        output = tmp_path / f"{node}.npz"
        done = fleet.splitctl(
            *("infer", "eyes", "--via", node, "--count", str(count)),
            *("--input", str(tmp_path / "in.npz"), "--output", str(output)),
        )
        assert done["failed"] == 0
        with np.load(output) as found:
            assert_close(dict(found), wanted)
    blocking_until(
        lambda: [fleet.splitctl("plan", name)["measured"]["requests"] for name in ("eyes", "eyes~cam2")] == [2, 3],
        "each source counts its own requests",
    )
    fleet.splitctl("undeploy", "eyes")
    assert [row["deployed"] for row in fleet.splitctl("model", "list")] == [False]
