"""`splitctl infer`: straight to an agent's data plane."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from edgesplit.errors import NotDeployed, RequestFailed
from edgesplit.operations.plan_operations import ShowSource, SourceDocument
from edgesplit.wire.tensor_spec import TensorSpec
from edgesplit.wire.tensors import Array
from edgesplit_controller.cli.files import write_arrays
from tests.cli.conftest import Run
from tests.cli.fakes import FakeAgent, FakeController
from tests.cli.test_asking import raising

Compute = Callable[[dict[str, Array]], tuple[dict[str, Array], int]]


def point_at(controller: FakeController, agent: str) -> None:
    spec = TensorSpec(name="x", dtype="float32", shape=(1, 2))
    controller.answers[ShowSource] = lambda operation: SourceDocument(
        model=operation.name,
        source="device",
        via=operation.via or "device",
        address=agent,
        epoch=1,
        inputs=(spec,),
        outputs=(spec,),
    )


def write_input(folder: Path, **arrays: Array) -> Path:
    file = folder / "in.npz"
    write_arrays(file, arrays or {"x": np.ones((1, 2), np.float32)})
    return file


def counting(fail: frozenset[int] = frozenset(), epochs: tuple[int, ...] = (3, 3, 4, 3)) -> Compute:
    calls = itertools.count()

    def compute(inputs: dict[str, Array]) -> tuple[dict[str, Array], int]:
        number = next(calls)
        if number in fail:
            raise RequestFailed(f"request {number} was lost")
        return {"/out/file": inputs["x"] + np.float32(number), "file": inputs["x"]}, epochs[number % len(epochs)]

    return compute


def test_one_request_and_its_outputs_under_onnx_names(run: Run, controller: FakeController, tmp_path: Path) -> None:
    with FakeAgent(counting()) as agent:
        point_at(controller, agent.address)
        told = run("infer", "yolo", "--input", write_input(tmp_path), "--output", tmp_path / "out.data", "--json")
    assert told.status == 0, told.err
    document = told.document
    assert (document["count"], document["failed"], document["epochs"]) == (1, 0, [3])
    assert set(document["latency_s"]) == {"p50", "p95", "p99", "mean"}
    with np.load(tmp_path / "out.data") as outputs:
        assert set(outputs.files) == {"/out/file", "file"}
        np.testing.assert_array_equal(outputs["/out/file"], np.ones((1, 2), np.float32))


def test_epochs_are_distinct_and_in_order_and_the_last_outputs_are_kept(
    run: Run, controller: FakeController, tmp_path: Path
) -> None:
    with FakeAgent(counting()) as agent:
        point_at(controller, agent.address)
        told = run(
            *("infer", "yolo", "--input", write_input(tmp_path), "--output", tmp_path / "out.npz"),
            *("--count", "4", "--via", "edge", "--json"),
        )
    assert told.document["epochs"] == [3, 4]
    assert controller.operations == [ShowSource(name="yolo", via="edge")]
    with np.load(tmp_path / "out.npz") as outputs:
        np.testing.assert_array_equal(outputs["/out/file"], np.full((1, 2), 4, np.float32))


def test_failures_are_counted_and_the_first_is_told(run: Run, controller: FakeController, tmp_path: Path) -> None:
    with FakeAgent(counting(fail=frozenset({1, 2}))) as agent:
        point_at(controller, agent.address)
        told = run("infer", "yolo", "--input", write_input(tmp_path), "--count", "5", "--json")
    assert told.status == 1
    assert (told.document["count"], told.document["failed"]) == (5, 2)
    assert told.document["first_error"] == {"code": "request-failed", "message": "request 1 was lost"}
    assert "request 1 was lost" in told.err


def test_all_failed_leaves_no_latency_and_no_output(run: Run, controller: FakeController, tmp_path: Path) -> None:
    with FakeAgent(counting(fail=frozenset({0}))) as agent:
        point_at(controller, agent.address)
        told = run("infer", "yolo", "--input", write_input(tmp_path), "--output", tmp_path / "out.npz", "--json")
    assert told.status == 1
    assert told.document["latency_s"] == {"p50": None, "p95": None, "p99": None, "mean": None}
    assert not (tmp_path / "out.npz").exists()


def test_concurrency_keeps_so_many_in_flight(run: Run, controller: FakeController, tmp_path: Path) -> None:
    with FakeAgent(counting()) as agent:
        # Answers are held back until three requests wait: with fewer in flight this would never end.
        agent.hold_until = 3
        point_at(controller, agent.address)
        told = run("infer", "yolo", "--input", write_input(tmp_path), "--count", "9", "--concurrency", "3", "--json")
        assert (told.document["count"], told.document["failed"]) == (9, 0)
        assert agent.most_in_flight == 3


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({"x": np.ones((1, 2), np.float64)}, "float64"),
        ({"x": np.ones((1, 3), np.float32)}, "x"),
        ({"y": np.ones((1, 2), np.float32)}, "y"),
    ],
)
def test_tensors_that_do_not_fit_are_refused_before_they_are_sent(
    run: Run, controller: FakeController, tmp_path: Path, arrays: dict[str, Array], said: str
) -> None:
    point_at(controller, "127.0.0.1:1")
    told = run("infer", "yolo", "--input", write_input(tmp_path, **arrays), "--json")
    assert (told.status, told.document["error"]["code"]) == (1, "invalid-tensor")
    assert said in told.document["error"]["message"]


def test_an_agent_that_is_away_and_a_model_that_is_not_deployed(
    run: Run, controller: FakeController, tmp_path: Path
) -> None:
    point_at(controller, "127.0.0.1:1")
    told = run("infer", "yolo", "--input", write_input(tmp_path), "--count", "3", "--json")
    assert (told.status, told.document["error"]["code"]) == (1, "node-unreachable")
    controller.answers[ShowSource] = raising(NotDeployed("yolo is not deployed: see splitctl deploy"))
    told = run("infer", "yolo", "--input", write_input(tmp_path), "--json")
    assert (told.status, told.document["error"]["code"]) == (1, "not-deployed")


def test_inputs_that_are_no_plain_archive_are_refused_without_unpickling(run: Run, tmp_path: Path) -> None:
    files = [tmp_path / name for name in ("text.npz", "single.npz", "objects.npz", "empty.npz")]
    files[0].write_bytes(b"no archive")
    with files[1].open("wb") as stream:
        np.save(stream, np.ones(2))
    np.savez(files[2], x=np.array([{"a": 1}], dtype=object))
    files[3].write_bytes(b"")
    for file in files:
        told = run("infer", "yolo", "--input", file, "--json")
        assert (told.status, told.document["error"]["code"]) == (1, "invalid-input"), file


def test_figures_for_people(run: Run, controller: FakeController, tmp_path: Path) -> None:
    with FakeAgent(counting()) as agent:
        point_at(controller, agent.address)
        told = run("infer", "yolo", "--input", write_input(tmp_path), "--count", "4")
    assert "requests  4, 0 failed" in told.out
    assert "p99" in told.out
    assert "epochs    3, 4" in told.out
