"""--output: what fits the terminal, every column, or the document; the same figures in all."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
import pytest

from edgesplit.operations.fleet_operations import LinkRow, ListLinks, ListNodes
from edgesplit.operations.model_operations import ListModels
from edgesplit.operations.plan_operations import ShowPlan
from tests.cli.conftest import Run
from tests.cli.fakes import FakeController
from tests.cli.test_asking import MODEL, NODES, PLAN

LINK = LinkRow(
    from_="device",
    to="edge",
    bandwidth_bytes_per_s=2.32e9,
    latency_s=0.0525,
    age_s=12.5,
    origin="measured",
    up=False,
    reason="edge does not answer",
    error=0.031,
    latency_error_s=0.0011,
)
COMMANDS = {"nodes": ("nodes",), "links": ("links",), "models": ("model", "list"), "plan": ("plan", "yolo")}
MORE: Mapping[str, tuple[str, ...]] = {
    "nodes": ("rapl", "0.1.0", "onnxruntime 1.20", "CPUExecutionProvider", "12 s ago"),
    "links": ("1.1 ms", "measured", "12.5 s", "3.1 %"),
    "models": ("ab" * 32, "complete", "weights latency"),
    "plan": ("conv2", "which"),
}
"""What only the wide form has at 80 columns."""


@pytest.fixture
def answering(controller: FakeController) -> FakeController:
    node = msgspec.structs.replace(
        NODES[0],
        power_sensor="rapl",
        runtime="onnxruntime 1.20",
        providers=("CPUExecutionProvider",),
        last_seen_s=12.0,
        drained_unix_s=1.7e9,
    )
    controller.answers |= {
        ListNodes: lambda _: [node],
        ListLinks: lambda _: [LINK],
        ListModels: lambda _: [msgspec.structs.replace(MODEL, paused_unix_s=1.7e9)],
        ShowPlan: lambda _: msgspec.structs.replace(PLAN, paused_unix_s=1.7e9),
    }
    return controller


@pytest.mark.parametrize("name", COMMANDS)
def test_wide_leaves_nothing_out_at_80_columns(
    run: Run, answering: FakeController, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    narrow, wide = run(*COMMANDS[name]).out, run(*COMMANDS[name], "--output", "wide").out
    assert max(map(len, narrow.splitlines())) <= 80
    assert [text for text in MORE[name] if text not in wide] == []
    assert "left out" not in wide
    assert narrow != wide
    assert run(*COMMANDS[name], "--output", "table").out == narrow


@pytest.mark.parametrize("name", COMMANDS)
def test_output_json_is_the_document_of_json(run: Run, answering: FakeController, name: str) -> None:
    assert run(*COMMANDS[name], "--output", "json").document == run(*COMMANDS[name], "--json").document
    assert run(*COMMANDS[name], "--output=json", "--no-such").document["error"]["code"] == "wrong-use"
    assert run(*COMMANDS[name], "--output", "yaml").status == 2


@pytest.mark.parametrize("columns", [80, 120])
def test_drained_and_paused_are_seen(
    run: Run, answering: FakeController, monkeypatch: pytest.MonkeyPatch, columns: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    nodes = " ".join(run("nodes").out.split())
    assert "device drained 10.9.0.1:7400" in nodes
    assert "device is drained since 2023-11-1" in nodes
    assert "plans leave it out until splitctl undrain device" in nodes
    assert "epoch 3 from device, paused" in " ".join(run("model", "list").out.split())
    assert "paused since 2023-11-1" in run("plan", "yolo").out
