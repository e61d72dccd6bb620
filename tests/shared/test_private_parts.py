"""Private parts of other libraries are used with the versions they were tried with, and done without otherwise."""

from __future__ import annotations

import asyncio
import threading
import tomllib
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace

import pytest

from demo.ports import free_port
from edgesplit.mqtt.bus import MessageBus
from edgesplit.private_parts import TriedWith
from edgesplit_agent.compute.lending_loop import LendingLoop
from edgesplit_agent.compute.prepacking import packed_graphs, prepacked_format
from edgesplit_agent.compute.prepacking.packed_graphs import PackedGraphs
from edgesplit_agent.compute.runtime import RuntimeOptions
from edgesplit_controller.broker import prompt_broker
from edgesplit_controller.broker.embedded_broker import EmbeddedBroker
from edgesplit_controller.broker.prompt_broker import make_broker
from edgesplit_controller.cli.model_files import torch_trees
from edgesplit_controller.cli.model_files.torch_trees import leaves, named_leaves
from tests.agent.graphs import Blobs
from tests.agent.test_packing import layers, part
from tests.controller.test_embedded_broker import NOTE, Note

NEVER = TriedWith("a library", "0.0", "0.0")
PROJECT = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]


@pytest.mark.parametrize(
    ("installed", "covered"),
    [("0.11", True), ("0.11.0rc1", True), ("0.12.1", True), ("0.10.9", False), ("0.13.0", False), ("1.0", False)],
)
def test_versions_are_compared_by_their_numbers(installed: str, covered: bool) -> None:
    assert TriedWith("amqtt", "0.11", "0.13").covers(installed) is covered


@pytest.mark.parametrize(
    ("library", "tried"), [("amqtt", prompt_broker.TRIED), ("onnxruntime", prepacked_format.TRIED)]
)
def test_the_installed_version_is_tried_and_the_project_bounds_it(library: str, tried: TriedWith) -> None:
    assert tried.covers(version(library))
    asked = [line for lines in PROJECT["optional-dependencies"].values() for line in lines if line.startswith(library)]
    assert asked
    assert all("<" in line for line in asked)


async def test_a_broker_of_an_untried_amqtt_passes_messages_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prompt_broker, "TRIED", NEVER)
    made: list[type] = []

    def making(configuration: dict[str, object]) -> object:
        broker = make_broker(configuration)
        made.append(type(broker))
        return broker

    monkeypatch.setattr(prompt_broker, "make_broker", making)
    with EmbeddedBroker(f"mqtt://127.0.0.1:{free_port()}") as broker:
        heard: asyncio.Queue[Note | None] = asyncio.Queue()
        bus = MessageBus(broker.url, client_id="both")
        bus.subscribe(NOTE, lambda _, note: heard.put_nowait(note))
        await bus.connect(5)
        bus.publish(NOTE, Note("passed on"), "any")
        async with asyncio.timeout(10):
            assert await heard.get() == Note("passed on")
        await bus.close()
    assert [kind.__module__ for kind in made] == ["amqtt.broker"]


def test_a_loop_of_an_untried_python_never_lends_its_turn() -> None:
    seen: list[int] = []

    def act_often(loop: LendingLoop) -> None:
        for _ in range(50):
            called = threading.Event()

            def callback(called: threading.Event = called) -> None:
                seen.append(threading.get_ident())
                called.set()

            loop.act(callback)
            assert called.wait(20)

    with asyncio.Runner(loop_factory=lambda: LendingLoop("99.0")) as runner:
        loop = runner.get_loop()
        assert isinstance(loop, LendingLoop)
        runner.run(asyncio.to_thread(act_often, loop))
    assert LendingLoop().lends
    assert seen == [threading.get_ident()] * 50


def test_graphs_are_not_packed_by_an_untried_onnxruntime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blobs = Blobs(tmp_path / "cache")
    graph = layers(blobs, 1)
    assert PackedGraphs(blobs.folder).make(part(graph), RuntimeOptions()) is not None
    monkeypatch.setattr(packed_graphs, "TRIED", NEVER)
    assert PackedGraphs(blobs.folder).make(part(layers(blobs, 2)), RuntimeOptions()) is None


def test_an_entry_of_another_form_than_tried_is_refused() -> None:
    moved = prepacked_format.moved_buffers("MatMul+7|10;4;99|20;8;98", lambda offset, length: offset + length)
    assert moved == "MatMul+7|14;4;99|28;8;98"
    with pytest.raises(ValueError, match="unpack"):
        prepacked_format.moved_buffers("MatMul+7|10;4", lambda offset, _: offset)


def test_outputs_of_an_untried_torch_keep_their_names_and_are_all_found() -> None:
    torch = SimpleNamespace(__version__="99.0")
    assert not torch_trees.TRIED.covers(torch.__version__)
    assert named_leaves(torch, ["a", "b"], object()) == [((), "a"), ((), "b")]
    assert leaves(torch, {"x": [1, (2, 3)], "y": 4}) == [1, 2, 3, 4]
