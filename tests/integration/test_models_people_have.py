"""Models with traps through the real programs: added, deployed, split over two agents, served, compared."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray

from demo.fleet import CommandFailed, EmulatedNode, LocalFleet
from edgesplit.daemon.inference_runtime.runtime_abilities import run_arrays
from tests.controller.splitting import as_tensor
from tests.graph.support import assert_close
from tests.graph.traps import CLASSIFIERS, TRAPS, Trap, random_inputs

MODELS = {
    **TRAPS,
    **CLASSIFIERS,
    "halves": Trap(
        "element",
        """g (bfloat16[1,64] x) => (bfloat16[64,1] out) {
        f = Cast <to=1> (x)  y = MatMul (f, w)  b = Cast <to=16> (y)  r = Transpose <perm=[1,0]> (b)  g = Cast <to=1> (r)
        m = MatMul (w, g)  out = Cast <to=16> (m) }""",
        {"w": (64, 64)},
        opset=19,
        ir=9,
    ),
}

NODES = (
    EmulatedNode("device", compute_w=3.0, transmit_w=3.5),
    EmulatedNode("edge", compute_w=6.0, transmit_w=2.0),
)


@pytest.fixture(scope="module")
def fleet(mosquitto: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalFleet]:
    with LocalFleet(tmp_path_factory.mktemp("fleet"), NODES, broker=mosquitto) as running:
        running.start()
        running.await_nodes()
        yield running


class Served:
    """A trap that serves, and what plain onnxruntime says of it."""

    def __init__(self, fleet: LocalFleet, name: str, folder: Path) -> None:
        self.fleet, self.name = fleet, name
        file, self._inputs, self._outputs = folder / "model.onnx", folder / "in.npz", folder / "out.npz"
        trap = MODELS[name]
        proto = trap.proto()
        onnx.save(proto, file)
        inputs = random_inputs(proto, 3, trap.high)
        plain = {key: array.astype(str) if array.dtype == object else array for key, array in inputs.items()}
        np.savez(self._inputs, **plain)  # type: ignore[arg-type]  # keywords are arrays, not allow_pickle
        session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
        names = [value.name for value in session.get_outputs()]
        self._expected = dict(zip(names, map(as_tensor, run_arrays(session, names, inputs)), strict=True))
        self.added = fleet.splitctl("model", "add", "--wait", "all", name, str(file))
        fleet.splitctl("deploy", name, "--source", "device")

    def check(self) -> dict[str, NDArray[Any]]:
        """Serve one request and compare."""
        done = self.fleet.splitctl(
            *("infer", self.name, "--input", str(self._inputs), "--output", str(self._outputs)),
        )
        assert done["failed"] == 0
        with np.load(self._outputs) as stored:
            found = dict(stored)
        assert_close(found, self._expected)
        return found

    def pin(self, *patterns: str, node: str) -> dict[str, Any]:
        """Keep operators on a node."""
        document: dict[str, Any] = self.fleet.splitctl("pin", self.name, *patterns, "--node", node)
        return document


@pytest.mark.parametrize(
    ("name", "moved"),
    [
        ("if_weight", "out"),
        ("scalar_int64", "f"),
        ("loop_state", "l"),
        ("lstm_last", "a"),
        ("linear_texts", "n"),
        ("label_encoder_of_texts", "y"),
        ("halves", "m"),
    ],
)
def test_it_is_served_whole_and_split(fleet: LocalFleet, name: str, moved: str, tmp_path: Path) -> None:
    served = Served(fleet, name, tmp_path)
    served.check()
    served.pin(moved, node="edge")
    plan = fleet.splitctl("plan", name)
    assert {part["node"] for part in plan["components"] if moved in part["operators"]} == {"edge"}
    served.check()
    fleet.splitctl("model", "remove", name)


def test_pins_that_would_cut_what_cannot_travel_are_refused_in_a_sentence(fleet: LocalFleet, tmp_path: Path) -> None:
    served = Served(fleet, "cast_float8e4m3fn", tmp_path)
    assert any("cannot travel" in sentence for sentence in served.added["warnings"])
    served.pin("n", node="edge")
    served.check()
    with pytest.raises(CommandFailed) as caught:
        served.pin("f", node="device")
    assert caught.value.exit_code == 3
    assert "contradict each other" in caught.value.error["error"]["message"]
    served.check()
    fleet.splitctl("model", "remove", "cast_float8e4m3fn")


def test_several_patterns_make_a_pin_each(fleet: LocalFleet, tmp_path: Path) -> None:
    served = Served(fleet, "pools_8", tmp_path)
    document = served.pin("c", "out", node="edge")
    assert [(row["select"], row["nodes"]) for row in document["pins"]] == [("c", ["edge"]), ("out", ["edge"])]
    served.check()
    with pytest.raises(CommandFailed) as caught:
        fleet.splitctl("pin", "pools_8", "c", "--node", "edge", "out")
    assert "out is an operator and no node" in caught.value.error["error"]["message"]
    fleet.splitctl("unpin", "pools_8", "c", "out")
    fleet.splitctl("model", "remove", "pools_8")
