"""Reading problem files: what is valid comes back unchanged, what is not is named in one sentence."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgesplit.errors import InvalidProblem
from edgesplit.planning.problem_file import load_problem, problem_from_json, problem_to_json
from edgesplit.planning.problem_validation import topological_order
from tests.planner.brute_force import random_problem

Document = dict[str, Any]


def document() -> Document:
    return {
        "format": "split-problem/1",
        "model": "m",
        "source": "device",
        "nodes": [
            {"name": "device", "compute_power_w": 3, "transmit_power_w": 1, "memory_bytes": 1000},
            {"name": "edge", "compute_power_w": 6, "transmit_power_w": 2},
        ],
        "links": [{"from": "device", "to": "edge", "bandwidth_bytes_per_s": 100, "latency_s": 0.01}],
        "operators": [
            {"name": "a", "time_s": {"device": 1, "edge": 0.5}, "role": "input"},
            {
                "name": "b",
                "time_s": {"device": 1, "edge": 0.5},
                "quantizable": True,
                "quantized_time_s": {"device": 0.5, "edge": 0.2},
                "members": ["b1", "b2"],
            },
            {"name": "c", "time_s": {"device": 1, "edge": 0.5}},
        ],
        "tensors": [
            {"name": "t", "bytes": 10, "quantized_bytes": 3, "producer": "a", "consumers": ["b"]},
            {"name": "u", "bytes": 10, "producer": "b", "consumers": ["c"], "codecs": None},
        ],
        "noise_model": {"intercept": 0.01, "terms": [{"operators": ["b"], "coefficient": 0.1}]},
        "objective": {"latency_weight": 1, "energy_weight": 0, "latency_model": "sum"},
        "constraints": {"max_noise": 0.1, "device_energy_limit_j": None, "pins": {"c": ["device"]}},
    }


@pytest.mark.parametrize("seed", range(20))
def test_a_problem_survives_writing_and_reading(seed: int) -> None:
    problem = random_problem(seed)
    assert problem_from_json(problem_to_json(problem)) == problem


def test_optional_keys_may_be_left_out_or_null() -> None:
    data = document()
    for key in ("noise_model", "objective", "constraints"):
        del data[key]
    problem = problem_from_json(json.dumps(data))
    assert problem.constraints.max_noise is None
    assert problem.objective.latency_model == "sum"


def test_gzip_and_plain_files_are_read(tmp_path: Path) -> None:
    data = json.dumps(document()).encode()
    (tmp_path / "p.json").write_bytes(data)
    (tmp_path / "p.json.gz").write_bytes(gzip.compress(data))
    assert load_problem(tmp_path / "p.json") == load_problem(tmp_path / "p.json.gz")


def test_the_order_puts_producers_first() -> None:
    data = document()
    data["operators"].reverse()
    assert topological_order(problem_from_json(json.dumps(data))) == ("a", "b", "c")


def close_cycle(data: Document) -> None:
    data["tensors"].append({"name": "v", "bytes": 1, "producer": "c", "consumers": ["b"]})


def set_at(*path: str | int, value: object) -> Callable[[Document], None]:
    def change(data: Document) -> None:
        target: Any = data
        for step in path[:-1]:
            target = target[step]
        target[path[-1]] = value

    return change


def drop(*path: str | int) -> Callable[[Document], None]:
    def change(data: Document) -> None:
        target: Any = data
        for step in path[:-1]:
            target = target[step]
        del target[path[-1]]

    return change


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (close_cycle, "b -> c -> b"),
        (set_at("tensors", 1, "producer", value="ghost"), "'ghost' of tensor 'u'"),
        (set_at("tensors", 1, "consumers", value=["ghost"]), "'ghost' of tensor 'u'"),
        (set_at("tensors", 0, "bytes", value=-1), "bytes of tensor 't'"),
        (set_at("operators", 1, "time_s", "edge", value=-0.5), "time_s of operator 'b' on 'edge'"),
        (set_at("operators", 1, "time_s", "edge", value=float("nan")), "'b'"),
        (drop("operators", 1, "time_s", "edge"), "time_s of operator 'b' lacks a time for node 'edge'"),
        (drop("operators", 1, "quantized_time_s"), "quantized_time_s of operator 'b'"),
        (set_at("operators", 1, "time_s", "moon", value=1.0), "'moon'"),
        (set_at("operators", 1, "time_s", value="fast"), "'b'"),
        (set_at("operators", 1, "name", value="a"), "operator 'a' is listed twice"),
        (set_at("tensors", 1, "name", value="t"), "tensor 't' is listed twice"),
        (set_at("nodes", 1, "name", value="device"), "node 'device' is listed twice"),
        (set_at("source", value="moon"), "source 'moon'"),
        (set_at("links", 0, "to", value="moon"), "unknown node 'moon'"),
        (set_at("links", 0, "to", value="device"), "its own node"),
        (set_at("links", 0, "bandwidth_bytes_per_s", value=0), "bandwidth_bytes_per_s of link"),
        (set_at("noise_model", "terms", 0, "operators", value=["ghost"]), "'ghost'"),
        (set_at("constraints", "pins", value={"ghost": ["device"]}), "'ghost'"),
        (set_at("constraints", "pins", value={"c": ["moon"]}), "'moon'"),
        (set_at("constraints", "pins", value={"c": []}), "'c' allows no node"),
        (set_at("constraints", "max_noise", value=-1), "max_noise"),
        (set_at("objective", "latency_weight", value=0), "weights"),
        (set_at("objective", "latency_model", value="magic"), "objective"),
        (set_at("format", value="split-problem/9"), "split-problem/9"),
        (drop("nodes"), "nodes"),
    ],
)
def test_a_malformed_entry_is_named_in_one_sentence(change: Callable[[Document], None], named: str) -> None:
    data = document()
    change(data)
    with pytest.raises(InvalidProblem) as caught:
        problem_from_json(json.dumps(data))
    assert named in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"\xff\xfe", b'"text"', b"nonsense"])
def test_what_is_not_a_problem_at_all_is_refused(data: bytes) -> None:
    with pytest.raises(InvalidProblem):
        problem_from_json(data)


def test_a_missing_or_broken_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidProblem, match=r"absent\.json"):
        load_problem(tmp_path / "absent.json")
    (tmp_path / "broken.json.gz").write_bytes(gzip.compress(b"{}")[:-6])
    with pytest.raises(InvalidProblem, match=r"broken\.json\.gz"):
        load_problem(tmp_path / "broken.json.gz")
