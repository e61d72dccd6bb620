"""A controller that lost its store, a broker that lost its memory with it, a damaged file, a second controller: nodes serve on, and
whoever decides next decides from where the last one was."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zlib
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import pytest

from bench.callers import Callers
from bench.scene import subject
from demo.fleet import CommandFailed, EmulatedNode, LocalFleet
from demo.ports import free_port
from edgesplit.control.archive_messages import Archive
from tests.brokers import start_mosquitto
from tests.controller.tiny_models import convolutions
from tests.waiting import blocking_until

NODES = (
    EmulatedNode("device", compute_w=3.0, transmit_w=1.0, slow_down=4.0),
    EmulatedNode("edge", compute_w=6.0, transmit_w=1.0),
)


@dataclass
class Site:
    """A fleet with a broker and controllers that can be killed."""

    folder: Path
    fleet: LocalFleet
    port: int
    broker: subprocess.Popen[bytes]
    others: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict[str, "subprocess.Popen[bytes]"])

    @property
    def store(self) -> Path:
        """Of the first controller."""
        return self.fleet.folder / "store"

    def plan(self) -> Any:
        """The plan that serves, once the controller says one."""

        def ask() -> Any:
            try:
                return self.fleet.splitctl("plan", "m")
            except CommandFailed:
                return None

        return blocking_until(ask, "the controller knows the plan")

    def kinds(self) -> list[str]:
        """Of all events, the oldest first."""
        return [event["kind"] for event in self.fleet.splitctl("events", "--limit", "1000")]

    def is_profiled(self) -> bool:
        """Whether every node has measured the model."""
        return {row["state"] for row in self.fleet.splitctl("model", "show", "m")["profiling"]} == {"done"}

    def until_kept(self, state: bytes = b"") -> None:
        """Wait until a node keeps the model, the plan that serves, and a state that says something."""

        def kept() -> bool:
            for path in (self.fleet.folder / "cache").glob("*/archive-*.json"):
                archive = msgspec.json.decode(path.read_bytes(), type=Archive)
                entries = {entry.name: entry.digest for entry in archive.entries}
                if {"models/m", "deployments/m", "state"} <= entries.keys():
                    (blob,) = path.parent.rglob(entries["state"])
                    if state in zlib.decompress(blob.read_bytes()):
                        return True
            return False

        blocking_until(kept, "nodes keep the controller's records")

    def restart_broker(self) -> None:
        """A power cut; it remembers nothing."""
        self.broker.kill()
        self.broker.wait()
        self.broker = start_mosquitto(self.port, self.folder)

    def start_other(self, name: str) -> None:
        """A second controller, with a store of its own."""
        port = free_port()
        path = self.folder / f"{name}.toml"
        path.write_text(
            f'[broker]\nurl = "{self.fleet.broker}"\n[store]\npath = "{self.folder / name}"\n'
            f'[artifacts]\nlisten = "127.0.0.1:{port}"\n[dashboard]\nlisten = ""\n[controller]\nstandby = true\n'
        )
        with (self.folder / f"{name}.log").open("ab") as log:
            command = [sys.executable, "-m", "edgesplit_controller.main", "--config", str(path)]
            environment = {key: value for key, value in os.environ.items() if not key.startswith("EDGESPLIT_")}
            self.others[name] = subprocess.Popen(command, stdout=log, stderr=log, env=environment)

    def kill_other(self, name: str) -> None:
        """End a second controller as a power cut would."""
        process = self.others.pop(name)
        process.kill()
        process.wait()

    def log(self, name: str) -> str:
        """What a second controller wrote so far."""
        return (self.folder / f"{name}.log").read_text()


@contextmanager
def running(folder: Path) -> Generator[Site]:
    """A fleet that serves a model."""
    port = free_port()
    site_broker = start_mosquitto(port, folder)
    with LocalFleet(folder / "fleet", NODES, broker=f"mqtt://127.0.0.1:{port}") as fleet:
        site = Site(folder, fleet, port, site_broker)
        try:
            fleet.start()
            fleet.await_nodes()
            (folder / "m.onnx").write_bytes(convolutions(3, size=32))
            fleet.splitctl("model", "add", "m", str(folder / "m.onnx"), "--max-quantizable", "0")
            fleet.splitctl("set-weights", "--model", "m", "--latency", "1", "--energy", "0.25")
            fleet.splitctl("deploy", "m", "--source", "device")
            # What nodes never fetched they do not keep: each has all of the model once it has profiled it.
            blocking_until(site.is_profiled, "all nodes have profiled it", within_s=120)
            # Loopback's links scatter, and what is asked here is whether the same plan is there under whoever decides.
            fleet.splitctl("pause", "m")
            yield site
        finally:
            for name in tuple(site.others):
                site.kill_other(name)
            site.broker.kill()
            site.broker.wait()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with running(tmp_path_factory.mktemp("site")) as made:
        yield made


@pytest.fixture
def callers(site: Site) -> Iterator[Callers]:
    """Who asks all the time; every request has to be answered rightly."""
    folder = site.folder / "asking"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    requests = subject(site.folder / "m.onnx", folder).requests
    with Callers(site.fleet.address("device"), "m", requests, folder, count=2) as calling:
        blocking_until(lambda: bool(calling.answers()), "callers are answered")
        yield calling
        answers = calling.stop()
    assert [answer.error for answer in answers if answer.failed] == []
    assert not any(answer.wrong or answer.again for answer in answers)


def essence(plan: Any) -> Any:
    """What has to be the same under whoever decides."""
    parts = sorted((part["node"], part["operators"]) for part in plan["components"])
    return {"parts": parts} | {key: plan[key] for key in ("source", "epoch", "goals")}


def test_a_store_lost_together_with_the_broker_loses_no_model_and_no_request(site: Site, callers: Callers) -> None:
    """The machine with both burns down."""
    before = site.plan()
    site.until_kept()
    site.fleet.kill("controller")
    shutil.rmtree(site.store)
    site.restart_broker()
    site.fleet.start_controller()
    assert essence(site.plan()) == essence(before)
    assert "store-taken-over" in site.kinds()
    # What was taken over is decided upon like before.
    site.fleet.splitctl("set-weights", "--model", "m", "--latency", "1", "--energy", "0.125")
    assert site.plan()["goals"]["energy_weight"] == 0.125


def test_a_damaged_state_is_set_aside_and_told_and_the_plan_stays(site: Site, callers: Callers) -> None:
    before = site.plan()
    site.until_kept(b'"energy_weight":0.125')
    site.fleet.kill("controller")
    content = (site.store / "state.json").read_bytes()
    (site.store / "state.json").write_bytes(content[: len(content) // 2])
    (site.store / "models" / "m" / "graph.onnx").write_bytes(b"junk")
    site.fleet.start_controller()
    assert essence(site.plan()) == essence(before)
    assert {"store-damaged", "store-taken-over"} <= set(site.kinds())
    assert {path.name for path in (site.store / "set-aside").iterdir()} == {"state.json.1", "m.1"}


def test_a_second_controller_stands_by_and_takes_over_and_the_first_does_not_decide_from_the_past(
    site: Site, callers: Callers
) -> None:
    before = site.plan()
    site.start_other("second")
    blocking_until(lambda: "controller-stands-by" in site.kinds(), "the first controller hears of the second")
    blocking_until(lambda: "standing-by" in site.log("second"), "the second says so in its log")
    site.until_kept()
    site.fleet.kill("controller")
    assert essence(site.plan()) == essence(before)
    assert "ready" in site.log("second")
    # The second decides; the first one's store knows nothing of that.
    site.fleet.splitctl("set-weights", "--model", "m", "--latency", "1", "--energy", "0.5")
    decided = site.plan()
    assert decided["goals"]["energy_weight"] == 0.5
    # Nodes keep what was decided a moment later: a controller that dies before takes it along.
    site.until_kept(b'"energy_weight":0.5')
    site.kill_other("second")
    site.fleet.start_controller()
    assert essence(site.plan()) == essence(decided)
    assert "store-taken-over" in site.kinds()
