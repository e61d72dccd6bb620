"""`splitctl solve` on problems small enough to read."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from bench.equal_nodes import equal_nodes
from edgesplit.planning.plan import TimelineEntry
from edgesplit.planning.problem_file import problem_to_json
from edgesplit_controller.cli.views.plan_view import timeline_rows
from tests.cli.conftest import Run

KEYS = {
    *("status", "latency_s", "energy_j", "device_energy_j", "noise", "score", "bound", "gap", "assignment"),
    *("quantized", "codecs", "components", "timeline", "timings", "reason"),
}


def problem(**constraints: Any) -> dict[str, Any]:
    """One operator that takes 1 s here or 0.1 s there, 0.1 s of transfer either way."""
    fixed = {"flops": 0, "weight_bytes": 0, "time_s": {"device": 0.0, "cloud": 0.0}}
    link = {"bandwidth_bytes_per_s": 10.0, "latency_s": 0.0}
    return {
        "format": "split-problem/1",
        "model": "tiny",
        "source": "device",
        "nodes": [
            {"name": "device", "compute_power_w": 2.0, "transmit_power_w": 1.0},
            {"name": "cloud", "compute_power_w": 2.0, "transmit_power_w": 1.0},
        ],
        "links": [{"from": "device", "to": "cloud", **link}, {"from": "cloud", "to": "device", **link}],
        "operators": [
            {"name": "in", "role": "input", **fixed},
            {"name": "work", "flops": 0, "weight_bytes": 0, "time_s": {"device": 1.0, "cloud": 0.1}},
            {"name": "out", "role": "output", **fixed},
        ],
        "tensors": [
            {"name": "a", "bytes": 1, "producer": "in", "consumers": ["work"]},
            {"name": "b", "bytes": 1, "producer": "work", "consumers": ["out"]},
        ],
        "objective": {"latency_weight": 1.0, "energy_weight": 0.0, "latency_model": "sum"},
        "constraints": constraints,
    }


def written(folder: Path, document: object, name: str = "problem.json") -> Path:
    data = document if isinstance(document, bytes) else json.dumps(document).encode()
    file = folder / name
    file.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    return file


@pytest.mark.parametrize("name", ["problem.json", "problem.json.gz"])
def test_the_document_has_the_agreed_keys_and_the_optimum(run: Run, tmp_path: Path, name: str) -> None:
    told = run("solve", written(tmp_path, problem(), name), "--json")
    assert (told.status, told.err) == (0, "")
    document = told.document
    assert document.keys() >= KEYS
    assert document["status"] == "optimal"
    assert document["assignment"]["work"] == "cloud"
    assert document["latency_s"] == pytest.approx(0.3)
    timings = document["timings"]
    assert timings.keys() >= {"build_s", "solve_s", "total_s"}
    assert timings["total_s"] >= timings["load_s"]


def test_a_tolerance_gives_a_simpler_plan_and_says_what_it_gives_up(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "equal.json"
    file.write_bytes(problem_to_json(equal_nodes(30, seed=1).as_measured))
    exact = run("solve", file, "--json").document
    assert exact["concession"] is None
    simple = run("solve", file, "--tolerance", "0.2", "--json").document
    said = simple["concession"]
    assert (said["components"], said["components_of_best"]) == (len(simple["components"]), len(exact["components"]))
    assert simple["gap"] == pytest.approx(said["share"], rel=1e-6)
    assert f"simpler than the best: {said['text']}" in " ".join(run("solve", file, "--tolerance", "0.2").out.split())
    assert run("solve", file, "--tolerance", "-1").status == 2


def test_constraints_change_the_plan(run: Run, tmp_path: Path) -> None:
    document = run("--json", "solve", written(tmp_path, problem(pins={"work": ["device"]}))).document
    assert document["latency_s"] == pytest.approx(1.0)


def test_infeasible_is_status_3_with_the_document_and_the_reason(run: Run, tmp_path: Path) -> None:
    file = written(tmp_path, problem(device_energy_limit_j=0.01))
    programs = run("solve", file, "--json")
    assert programs.status == 3
    assert programs.document["status"] == "infeasible"
    assert programs.document["reason"]
    people = run("solve", file)
    assert people.status == 3
    assert programs.document["reason"] in people.err


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"\x1f\x8bbroken",
        b'{"format": "something-else"}',
        json.dumps({**problem(), "source": "nowhere"}).encode(),
    ],
)
def test_a_malformed_problem_is_status_1_and_one_sentence(run: Run, tmp_path: Path, content: bytes) -> None:
    file = written(tmp_path, content)
    told = run("solve", file)
    assert (told.status, told.out, told.err.count("\n")) == (1, "", 1)
    assert run("solve", file, "--json").document["error"]["code"] == "invalid-problem"


def test_a_table_for_people(run: Run, tmp_path: Path) -> None:
    told = run("solve", written(tmp_path, problem()))
    for text in ("optimal", "300 ms (sum)", "cloud", "Predicted timeline", "device → cloud", "solving"):
        assert text in told.out, text


def test_the_timeline_has_a_lane_per_node_and_link() -> None:
    entries = [
        TimelineEntry(kind="compute", start_s=0.0, end_s=1.0, node="device", component=0),
        TimelineEntry(kind="transfer", start_s=1.0, end_s=2.0, source="device", target="cloud", tensor="t"),
        TimelineEntry(kind="decode", start_s=2.0, end_s=2.001, node="cloud", tensor="t"),
        TimelineEntry(kind="compute", start_s=2.001, end_s=4.0, node="cloud", component=1),
    ]
    assert timeline_rows(entries, 8) == [
        ("device", "██······"),
        ("cloud", "····████"),
        ("device → cloud", "··━━····"),
    ]
    assert timeline_rows([], 8) == []
    assert timeline_rows([TimelineEntry(kind="compute", start_s=0.0, end_s=0.0, node="n")], 4) == [("n", "█···")]
