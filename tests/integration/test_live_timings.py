"""A real agent that really becomes slower is noticed by what it serves, and so is its recovery."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

import edgesplit
from bench import zoo
from demo.fleet import LocalFleet
from tests.waiting import blocking_until

MODEL = "mobilenet"
LIMIT_S = 90.0
RUNNING_S, STOPPED_S = 0.003, 0.009
"""The edge's agent gets a quarter of the time, as a process of a machine that was given a quarter of a core."""


@contextmanager
def slowed(pid: int) -> Generator[None]:
    """Let a process run a few milliseconds at a time only, as long as the block lasts."""
    ended = threading.Event()

    def stop_and_go() -> None:
        while not ended.is_set():
            os.kill(pid, signal.SIGSTOP)
            time.sleep(STOPPED_S)  # the share of time that it is given
            os.kill(pid, signal.SIGCONT)
            time.sleep(RUNNING_S)  # as above

    thread = threading.Thread(target=stop_and_go)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


@contextmanager
def traffic(address: str, arrays: dict[str, Any]) -> Generator[list[str]]:
    """One request after another, as long as the block lasts; yields what failed."""
    ended, failures = threading.Event(), list[str]()

    def ask() -> None:
        with edgesplit.connect(address) as node:
            while not ended.is_set():
                try:
                    node.infer(MODEL, arrays)
                except edgesplit.errors.EdgesplitError as error:
                    failures.append(str(error))

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield failures
    finally:
        ended.set()
        thread.join()


def told(fleet: LocalFleet, after: int) -> list[dict[str, Any]]:
    """Changes of the edge's speed and decisions, of those events after so many."""
    kinds = {"profile-changed", "planned", "replan-declined"}
    return [event for event in fleet.splitctl("events", "--limit", "1000")[after:] if event["kind"] in kinds]


@pytest.mark.timeout(400)
def test_a_node_that_becomes_slow_and_recovers_is_noticed_by_what_it_serves(fleet: LocalFleet, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    model = zoo.build("mobilenet_v2", scale=1.0, size=160)
    onnx.save(model, path)
    arrays = {model.graph.input[0].name: np.zeros((1, 3, 160, 160), np.float32)}
    fleet.splitctl("model", "add", "--wait", "all", MODEL, str(path), "--max-quantizable", "0")
    fleet.splitctl("deploy", MODEL, "--source", "device")
    # Whatever the controller then thinks of the edge, it has nowhere else to go.
    fleet.splitctl("pin", MODEL, "*", "--node", "edge")

    def measured() -> bool:
        return any(part["measured_s"] is not None for part in fleet.splitctl("plan", MODEL)["components"])

    with traffic(fleet.address("device"), arrays) as failures:
        blocking_until(measured, "a measured component", within_s=LIMIT_S)
        before = len(fleet.splitctl("events", "--limit", "1000"))

        def changes(factor_is: Callable[[float], bool]) -> list[int]:
            """Positions of the edge's changes of such a factor."""
            return [
                position
                for position, event in enumerate(told(fleet, before))
                if event["kind"] == "profile-changed" and event["node"] == "edge" and factor_is(event["data"]["factor"])
            ]

        with slowed(fleet.pid("edge")):
            blocking_until(lambda: bool(changes(lambda factor: factor > 1.5)), "the edge's slowness", within_s=LIMIT_S)
            (position, *_) = changes(lambda factor: factor > 1.5)
            text = told(fleet, before)[position]["text"]
            assert text.startswith(f"edge computes {MODEL} in ")
            assert "(live timings)" in text
            blocking_until(lambda: len(told(fleet, before)) > position + 1, "a decision", within_s=LIMIT_S)
        blocking_until(lambda: bool(changes(lambda factor: factor < 1 / 1.5)), "the edge's recovery", within_s=LIMIT_S)
    assert failures == []
