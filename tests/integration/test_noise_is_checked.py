"""Noise bounds are checked on served requests: a calibration that does not fit what is served is found out."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import edgesplit
from demo.fleet import EmulatedNode, LocalFleet
from edgesplit.wire.tensors import Array

MODEL = "mobilenet"
NODES = (
    EmulatedNode("device", compute_w=3.0, transmit_w=3.5, slow_down=3.0),
    EmulatedNode("edge", compute_w=6.0, transmit_w=2.0),
)
INPUT = "image"


@pytest.fixture(scope="module")
def fleet(mosquitto: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalFleet]:
    with LocalFleet(tmp_path_factory.mktemp("fleet"), NODES, broker=mosquitto) as running:
        running.start()
        running.await_nodes()
        yield running


def samples(path: Path, shape: tuple[int, ...], scale: float, count: int = 12) -> Path:
    """Calibration samples in [0, scale]."""
    array = scale * np.random.default_rng(3).random((count, *shape[1:]), dtype=np.float32)
    np.savez(path, **{INPUT: array})  # type: ignore[arg-type]  # keywords are arrays, not allow_pickle
    return path


def plan(fleet: LocalFleet) -> dict[str, Any]:
    document: dict[str, Any] = fleet.splitctl("plan", MODEL)
    return document


def noise_model(fleet: LocalFleet, file: Path, calibration: Path, *options: str) -> dict[str, Any]:
    """Add the model with these samples; what was fitted."""
    command = ("model", "add", "--wait", "all", MODEL, str(file), "--calibration", str(calibration))
    document: dict[str, Any] = fleet.splitctl(*command, "--max-quantizable", "4", *options)["noise_model"]
    return document


def quantized_plan(fleet: LocalFleet, bound: float) -> dict[str, Any]:
    """The plan under a noise bound; on a busy machine a profile may say that int8 does not pay, so that it is taken again."""
    for _ in range(4):
        fleet.splitctl("set-weights", "--energy", "1", "--max-noise", str(bound))
        if MODEL in {row["name"] for row in fleet.splitctl("model", "list") if not row["deployed"]}:
            fleet.splitctl("deploy", MODEL, "--source", "device")
        document = plan(fleet)
        if document["quantized"]:
            return document
        fleet.splitctl("model", "profile", MODEL)
    return pytest.fail("nothing is quantized, so nothing is checked")


def kinds(fleet: LocalFleet) -> list[dict[str, Any]]:
    return [event for event in fleet.splitctl("events") if event["kind"] == "noise-exceeded"]


class Traffic:
    """Requests with inputs in [0, 1], compared with the float model."""

    def __init__(self, fleet: LocalFleet, inputs: Array) -> None:
        self._fleet = fleet
        self._inputs = inputs
        self._random = np.random.default_rng(5)

    def until(self, condition: Callable[[dict[str, Any]], bool], what: str, timeout_s: float = 90.0) -> dict[str, Any]:
        """Send requests, now and then one, until the plan's document satisfies a condition."""
        deadline = time.monotonic() + timeout_s
        with edgesplit.connect(self._fleet.address("device")) as node:
            while time.monotonic() < deadline:
                for _ in range(3):
                    image = self._random.random(self._inputs.shape, dtype=np.float32)
                    node.infer(MODEL, {INPUT: image})
                    time.sleep(0.15)  # the requests' rate, which bounds how many are checked
                document = plan(self._fleet)
                if condition(document):
                    return document
        return pytest.fail(f"{what} did not happen within {timeout_s:g} s: {document['measured']}")


@pytest.fixture(scope="module")
def inputs(image: Path) -> Array:
    with np.load(image) as stored:
        (array,) = stored.values()
    return np.asarray(array)


def test_measured_noise_stands_beside_the_predicted_and_keeps_its_bound_where_the_samples_fit(
    fleet: LocalFleet, small_model: Path, inputs: Array, tmp_path: Path
) -> None:
    calibration = samples(tmp_path / "fits.npz", inputs.shape, 1.0)
    model = noise_model(fleet, small_model, calibration)
    quantized_plan(fleet, model["full_noise"] + 2 * model["margin"])
    document = Traffic(fleet, inputs).until(
        lambda document: document["measured"]["noise"]["samples"] >= 3, "three checked requests"
    )
    noise = document["measured"]["noise"]
    assert 0 < noise["mean"] <= noise["max"]
    assert 0.2 * document["noise"] < noise["mean"] < 2 * document["noise"]
    assert not noise["exceeds"]
    assert noise["note"] == ""
    assert kinds(fleet) == []


def test_a_calibration_that_does_not_fit_is_found_out_and_planned_around(
    fleet: LocalFleet, small_model: Path, inputs: Array, tmp_path: Path
) -> None:
    calibration = samples(tmp_path / "dark.npz", inputs.shape, 0.05)
    model = noise_model(fleet, small_model, calibration, "--replace")
    bound = model["full_noise"] + 2 * model["margin"]
    before = quantized_plan(fleet, bound)
    assert before["noise"] <= bound
    document = Traffic(fleet, inputs).until(
        lambda document: (
            document["epoch"] > before["epoch"]
            and (not document["quantized"] or document["measured"]["noise"]["samples"] >= 3)
            and not document["measured"]["noise"]["exceeds"]
        ),
        "a plan that keeps the bound",
    )
    events = kinds(fleet)
    assert events
    for event in events:
        data = event["data"]
        assert data["measured"] > data["bound"] >= data["predicted"] > 0
        assert data["samples"] >= 3
    assert len(document["quantized"]) < len(before["quantized"])
    assert document["noise"] <= bound
    if document["quantized"]:
        assert document["measured"]["noise"]["mean"] <= bound
    tightening = fleet.splitctl("model", "show", MODEL)["noise_tightening"]
    assert tightening["factor"] > 1
    assert "noise" in document["reason"]


def test_a_model_added_anew_is_believed_again(fleet: LocalFleet, small_model: Path) -> None:
    fleet.splitctl("model", "add", "--wait", "all", MODEL, str(small_model), "--max-quantizable", "2", "--replace")
    assert fleet.splitctl("model", "show", MODEL)["noise_tightening"] is None
    fleet.splitctl("model", "remove", MODEL)
