"""Real agents on prepared kernel trees whose sensors are missing, forbidden, or die while requests are served."""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import paho.mqtt.subscribe
import pytest

import edgesplit
from demo.fleet import EmulatedNode, LocalFleet, Place
from edgesplit.control.figure_messages import NODE_METRICS, NodeMetrics
from edgesplit.mqtt.broker_address import BrokerAddress
from tests.agent.collectors.trees import INTEL_LAPTOP, write
from tests.waiting import blocking_until

MODEL = "mobilenet"
COUNTER = "class/powercap/intel-rapl:0/energy_uj"


@contextmanager
def agent(folder: Path, broker: str, power: str, place: Place | None = None) -> Iterator[LocalFleet]:
    """A controller and one agent with these lines in its `[power]` section."""
    # Slow enough that a request's computing is most of its time.
    node = EmulatedNode("device", compute_w=3.0, transmit_w=1.0, power=power, slow_down=20.0)
    with LocalFleet(folder, (node,), broker=broker, places={"device": place or Place()}) as running:
        running.start()
        running.await_nodes()
        yield running
        if any(row["name"] == MODEL for row in running.splitctl("model", "list")):
            running.splitctl("model", "remove", MODEL)  # the broker is shared


@contextmanager
def asking(address: str, image: Path) -> Iterator[list[bool]]:
    """Send one request after the other while the block runs; none may fail. What grows with each answer."""
    answered: list[bool] = []
    enough = threading.Event()

    def ask() -> None:
        with edgesplit.connect(address) as node, np.load(image) as stored:
            inputs = dict(stored)
            while not enough.is_set():
                answered.append(bool(node.infer(MODEL, inputs)))

    with ThreadPoolExecutor(1) as thread:
        requests = thread.submit(ask)
        try:
            yield answered
        finally:
            enough.set()
        requests.result()


def idle_draw(broker: str) -> float | None:
    """What the device's sensor reads while nothing is computed, as the agent published it last. [W]"""
    address = BrokerAddress.parse(broker)
    message = paho.mqtt.subscribe.simple(NODE_METRICS.of("device"), hostname=address.host, port=address.port)  # type: ignore[no-untyped-call]
    return msgspec.json.decode(message.payload, type=NodeMetrics).idle_w


def row(fleet: LocalFleet) -> dict[str, Any]:
    (found,) = [entry for entry in fleet.splitctl("nodes") if entry["name"] == "device"]
    assert isinstance(found, dict)
    return found


def test_a_machine_without_sensors_says_so_and_uses_configured_watts(mosquitto: str, tmp_path: Path) -> None:
    with agent(tmp_path / "fleet", mosquitto, f'source = "auto"\nsysfs = "{tmp_path / "empty"}"') as fleet:
        blocking_until(lambda: row(fleet)["power_origin"] is not None, "metrics")
        told = row(fleet)
        assert (told["power_origin"], told["compute_w"], told["power_sensor"]) == ("configured", 3.0, "constant")
        assert told["power_problem"] == "no power sensor can be read, watts are the configured ones"
        assert "Traceback" not in fleet.log("device")


@pytest.mark.parametrize("source", ["auto", "rapl"])
def test_a_counter_the_agent_may_not_read_is_named_with_what_to_do(source: str, mosquitto: str, tmp_path: Path) -> None:
    tree = write(tmp_path / "sys", INTEL_LAPTOP)
    (tree / COUNTER).chmod(0)
    place = Place()
    if os.geteuid() == 0:
        if shutil.which("setpriv") is None:
            pytest.skip("root reads every file, and setpriv, which would take that from it, is not installed")
        place = Place(("setpriv", "--bounding-set=-dac_override,-dac_read_search", "--inh-caps=-all"))
    with agent(tmp_path / "fleet", mosquitto, f'source = "{source}"\nsysfs = "{tree}"', place) as fleet:
        blocking_until(lambda: row(fleet)["power_origin"] is not None, "metrics")
        told = row(fleet)
        assert (told["power_origin"], told["compute_w"]) == ("configured", 3.0)
        assert f"{COUNTER} cannot be read: let the agent's user read it" in told["power_problem"]
        log = fleet.log("device")
        assert log.count("level=warning part=power") == 1
        assert "let the agent's user read it" in log


def test_a_counter_that_vanishes_while_requests_are_served_costs_no_request(
    mosquitto: str, tmp_path: Path, small_model: Path, image: Path
) -> None:
    tree = write(tmp_path / "sys", INTEL_LAPTOP)
    counting, ended = threading.Event(), threading.Event()
    counting.set()

    def count() -> None:
        """Draw 5 W as far as the counter tells."""
        started = time.monotonic()
        while not ended.wait(0.1):
            if counting.is_set():
                # The kernel's files are never half written.
                (tree / "next").write_text(f"{10_000_000 + int((time.monotonic() - started) * 5e6)}\n")
                (tree / "next").replace(tree / COUNTER)

    meter = threading.Thread(target=count)
    meter.start()
    try:
        with agent(tmp_path / "fleet", mosquitto, f'source = "rapl"\nsysfs = "{tree}"') as fleet:
            blocking_until(lambda: idle_draw(mosquitto) is not None, "the sensor's look at the idle node")
            fleet.splitctl("model", "add", "--wait", "all", MODEL, str(small_model), "--max-quantizable", "0")
            fleet.splitctl("deploy", MODEL, "--source", "device")
            ask = ("infer", MODEL, "--input", str(image), "--count")
            blocking_until(
                lambda: fleet.splitctl(*ask, "200") and row(fleet)["power_origin"] == "measured", "a measurement"
            )
            with asking(fleet.address("device"), image) as answered:
                counting.clear()
                blocking_until(lambda: len(answered) > 10, "answers")
                (tree / COUNTER).unlink()
                blocking_until(lambda: row(fleet)["power_origin"] == "configured", "the fallback")
                before = len(answered)
                blocking_until(lambda: len(answered) > before + 10, "answers without a sensor")
            assert "energy_uj cannot be read: No such file" in row(fleet)["power_problem"]
            assert fleet.log("device").count("event=sensor-unreadable") == 1
            assert fleet.splitctl("plan", MODEL)["measured"]["failed"] == 0
            counting.set()
            blocking_until(lambda: row(fleet)["power_problem"] == "", "the sensor's return")
            assert "event=sensor-back" in fleet.log("device")
    finally:
        ended.set()
        meter.join()
