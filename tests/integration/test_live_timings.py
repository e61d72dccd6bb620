"""A real agent that really becomes slower is noticed by what it serves, and so is its recovery."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Generator
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
LARGE = 1.5
"""A change of speed by this factor is large: four times less is given. [1]"""
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

        def times() -> list[tuple[int, float, float]]:
            """What the edge took with the model and then takes, by what was told of it, and the position of each. [s]

            A change may come in several steps, so that no single one of them is large.
            """
            return [
                (position, event["data"]["old_whole_s"], event["data"]["new_whole_s"])
                for position, event in enumerate(told(fleet, before))
                if event["kind"] == "profile-changed" and event["node"] == "edge"
            ]

        def slowness() -> tuple[int, float] | None:
            """Position of the first change that leaves the edge much slower than it was, and what it then takes. [s]"""
            found = times()
            return next((to for to in ((at, now_s) for at, _, now_s in found) if to[1] > LARGE * found[0][1]), None)

        def texts() -> list[str]:
            return [event["text"] for event in told(fleet, before)]

        with slowed(fleet.pid("edge")):
            position, slow_s = blocking_until(slowness, "the edge's slowness", within_s=LIMIT_S, instead=texts)
            text = told(fleet, before)[position]["text"]
            assert text.startswith(f"edge computes {MODEL} in ")
            assert "(live timings)" in text
            blocking_until(
                lambda: len(told(fleet, before)) > position + 1, "a decision", within_s=LIMIT_S, instead=texts
            )
        blocking_until(lambda: times()[-1][-1] < slow_s / LARGE, "the edge's recovery", within_s=LIMIT_S, instead=texts)
    assert failures == []
