"""Wire codecs over real agents: a noise bound buys fewer bytes on a slow link, and holds."""

from __future__ import annotations

import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnx
import onnxruntime
import pytest

from bench import zoo
from demo.fleet import EmulatedLink, EmulatedNode, LocalFleet
from edgesplit.planning.output_noise import output_noise
from edgesplit.planning.problem_file import load_problem
from edgesplit.wire.codecs import CODECS
from edgesplit_controller.planner import solve
from tests.integration.inputs import random_request

MODEL = "mobilenet"
# Coding is slowed as computing is: a hiccup of 0.3 ms while it is timed may not cost what a coded tensor saves.
SLOW = EmulatedLink(bandwidth_bytes_per_s=8e5, latency_s=0.002)
NODES = (
    EmulatedNode("device", compute_w=3.0, transmit_w=3.5, slow_down=20.0, links={"edge": SLOW}),
    EmulatedNode("edge", compute_w=6.0, transmit_w=2.0, links={"device": SLOW}),
)
REQUESTS = 3


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A MobileNetV2 whose tensors are large enough to take their time on the link."""
    path = tmp_path_factory.mktemp("models") / "mobilenet.onnx"
    onnx.save(zoo.build("mobilenet_v2", scale=1.0, size=160), path)
    return path


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory, model: Path) -> Path:
    """One request for it."""
    return random_request(model, tmp_path_factory.mktemp("inputs"))


@pytest.fixture(scope="module")
def deployed(mosquitto: str, tmp_path_factory: pytest.TempPathFactory, model: Path) -> Iterator[LocalFleet]:
    """A slow device and an edge far away, on which a model with no int8 operators is split."""
    with LocalFleet(tmp_path_factory.mktemp("codecs"), NODES, broker=mosquitto) as fleet:
        fleet.start()
        fleet.await_nodes()
        added = fleet.splitctl("model", "add", "--wait", "all", MODEL, str(model), "--max-quantizable", "0")
        assert added["codecs"]["measured"] == added["codecs"]["tensors"] > 0
        fleet.splitctl("deploy", MODEL, "--source", "device")
        yield fleet


def sent_bytes(fleet: LocalFleet, node: str) -> float:
    """What a node sent to peers so far, by its metrics."""
    with urllib.request.urlopen(f"http://127.0.0.1:{fleet.http_ports[node]}/metrics", timeout=5) as answer:
        lines = answer.read().decode().splitlines()
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith("edgesplit_sent_bytes_total"))


def served(fleet: LocalFleet, image: Path, out: Path) -> tuple[dict[str, Any], dict[str, np.ndarray], float]:
    """The plan, the outputs of a request on it, and the bytes that the device sent for each."""
    fleet.splitctl("infer", MODEL, "--input", str(image))  # the connection's start
    before = sent_bytes(fleet, "device")
    document = fleet.splitctl("infer", MODEL, "--input", str(image), "--output", str(out), "--count", str(REQUESTS))
    assert document["failed"] == 0
    with np.load(out) as stored:
        outputs = dict(stored)
    return fleet.splitctl("plan", MODEL), outputs, (sent_bytes(fleet, "device") - before) / REQUESTS


def test_a_noise_bound_makes_the_cut_travel_coded_within_it(
    deployed: LocalFleet, model: Path, image: Path, tmp_path: Path
) -> None:
    session = onnxruntime.InferenceSession(str(model), providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    with np.load(image) as stored:
        wanted = dict(zip(names, session.run(names, dict(stored)), strict=True))

    exact, outputs, _ = served(deployed, image, tmp_path / "exact.npz")
    assert all(CODECS[codec].lossless for codec in exact["codecs"].values())
    assert exact["noise"] == 0.0
    for name in names:
        assert np.abs(outputs[name] - wanted[name]).max() <= 1e-4 * np.ptp(wanted[name])

    bound = 0.5 * float(np.mean([np.abs(wanted[name]).mean() for name in names]))
    deployed.splitctl("set-weights", "--latency", "1", "--max-noise", f"{bound:.6f}", "--model", MODEL)
    coded, outputs, coded_bytes = served(deployed, image, tmp_path / "coded.npz")
    lossy = {tensor: codec for tensor, codec in coded["codecs"].items() if not CODECS[codec].lossless}
    assert lossy, (coded, deployed.splitctl("explain", MODEL))
    assert coded["quantized"] == []
    noise = float(np.mean([output_noise(wanted[name], outputs[name]) for name in names]))
    assert coded["noise"] <= bound
    # The plan speaks of a mean over samples, which one image may lie somewhat above.
    assert 0 < noise <= min(1.5 * coded["noise"], bound)
    kinds = {entry["kind"] for entry in coded["timeline"]}
    assert {"encode", "transfer", "decode"} <= kinds

    # Against the same figures without noise, and the same cut uncoded: links are measured anew all the time.
    deployed.splitctl("plan", MODEL, "--export", str(tmp_path / "problem.json"))
    problem = load_problem(tmp_path / "problem.json")
    strict = msgspec.structs.replace(problem.constraints, max_noise=0.0)
    without = solve(msgspec.structs.replace(problem, constraints=strict)).evaluation
    assert without is not None
    assert coded["latency_s"] < without.timeline_s
    sizes = {tensor.name: tensor.bytes for tensor in problem.tensors}
    sent = {entry["tensor"] for entry in coded["timeline"] if entry.get("from") == "device"}
    assert 0 < coded_bytes < 0.6 * sum(sizes[tensor] for tensor in sent)

    deployed.splitctl("set-weights", "--max-noise", "0", "--model", MODEL)
    back = deployed.splitctl("plan", MODEL)
    assert all(CODECS[codec].lossless for codec in back["codecs"].values())
