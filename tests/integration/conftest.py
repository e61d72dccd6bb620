"""Fixtures of the integration tests: a real Mosquitto, a fleet of real processes, small models."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import onnx
import pytest

from bench import zoo
from demo.fleet import EmulatedNode, LocalFleet
from tests.brokers import running_mosquitto
from tests.integration.inputs import random_request

NODES = (
    EmulatedNode("device", compute_w=3.0, transmit_w=3.5),
    EmulatedNode("edge", compute_w=6.0, transmit_w=2.0),
    EmulatedNode("cloud", compute_w=35.0, transmit_w=0.01),
)


@pytest.fixture(scope="module")
def mosquitto(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URL of a Mosquitto of our own, on which nothing is kept of other fleets; skips where none is installed, fails in CI."""
    with running_mosquitto(tmp_path_factory.mktemp("mosquitto")) as url:
        yield url


@pytest.fixture(scope="session")
def small_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A MobileNetV2 small enough to profile in seconds."""
    path = tmp_path_factory.mktemp("models") / "mobilenet.onnx"
    onnx.save(zoo.build("mobilenet_v2", scale=0.35, size=64), path)
    return path


@pytest.fixture(scope="session")
def image(tmp_path_factory: pytest.TempPathFactory, small_model: Path) -> Path:
    """One request for the small model."""
    return random_request(small_model, tmp_path_factory.mktemp("inputs"))


@pytest.fixture(scope="module")
def fleet(mosquitto: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalFleet]:
    """Controller and three agents that found each other."""
    with LocalFleet(tmp_path_factory.mktemp("fleet"), NODES, broker=mosquitto) as running:
        running.start()
        running.await_nodes()
        yield running
