"""What ran during one request, read from the agents' traces."""

from __future__ import annotations

from pathlib import Path

import msgspec

from edgesplit_agent.reporting.run_trace import TracedRun
from lab.running.visiting.executed import Traces


def write(path: Path, *runs: tuple[str, int, float, float]) -> None:
    with path.open("ab") as file:
        for model, component, start_s, end_s in runs:
            run = TracedRun(model=model, epoch=1, request="r", component=component, start_s=start_s, end_s=end_s)
            file.write(msgspec.json.encode(run) + b"\n")


def test_components_stand_on_the_clock_of_their_request(tmp_path: Path) -> None:
    device, edge = tmp_path / "device.jsonl", tmp_path / "edge.jsonl"
    write(device, ("net", 0, 10.0, 10.1), ("net", 2, 10.3, 10.4), ("net", 0, 11.0, 11.1), ("other", 0, 10.2, 10.3))
    write(edge, ("net", 1, 10.15, 10.25))
    found = Traces({"device": device, "edge": edge}).during("net", 9.9, 10.5)
    assert found is not None
    assert [(run.component, run.node, round(run.start_s, 3), round(run.end_s, 3)) for run in found] == [
        ("0", "device", 0.1, 0.2),
        ("1", "edge", 0.25, 0.35),
        ("2", "device", 0.4, 0.5),
    ]


def test_what_was_skipped_and_what_is_not_whole_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "device.jsonl"
    write(path, ("net", 0, 10.0, 10.1))
    traces = Traces({"device": path, "edge": tmp_path / "none.jsonl"})
    traces.skip()
    assert traces.during("net", 9.0, 12.0) is None
    write(path, ("net", 1, 11.0, 11.1))
    with path.open("ab") as file:
        file.write(b'{"model":"net"')
    found = traces.during("net", 9.0, 12.0)
    assert found is not None
    assert [run.component for run in found] == ["1"]
