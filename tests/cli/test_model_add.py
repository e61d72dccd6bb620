"""`splitctl model add`: files, uploads, warnings."""

from __future__ import annotations

import hashlib
from pathlib import Path

import msgspec
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from edgesplit.operations.model_operations import (
    AddModel,
    CompletionRow,
    ModelAddedDocument,
    NoiseModelDocument,
    ProfiledRow,
    ProfileModel,
    ProfilingRow,
)
from tests.cli.conftest import Run
from tests.cli.fakes import FakeController

ADDED = ModelAddedDocument(
    name="tiny",
    sha256="cd" * 32,
    operators=1,
    units=1,
    tensors=1,
    quantizable=(),
    noise_model=NoiseModelDocument(degree=0, r2_train=None, r2_test=None, seconds=0.1),
    warnings=("calibration data was made up",),
    profiled=("device",),
)


def write_model(folder: Path, external: str | None = None) -> Path:
    weight = helper.make_tensor("w", TensorProto.FLOAT, [4], np.arange(4, dtype=np.float32).tobytes(), raw=True)
    if external is not None:
        (folder / "weights").mkdir(exist_ok=True)
        (folder / "weights/w.bin").write_bytes(weight.raw_data)
        weight.ClearField("raw_data")
        weight.data_location = TensorProto.EXTERNAL
        weight.external_data.add(key="location", value=external)
    graph = helper.make_graph(
        [helper.make_node("Add", ["x", "w"], ["y"])],
        "tiny",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [4])],
        [weight],
    )
    file = folder / "tiny.onnx"
    file.write_bytes(helper.make_model(graph).SerializeToString())
    return file


def digest_of(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def test_a_model_that_no_node_could_profile_is_told_as_document_and_error_with_exit_1(
    run: Run, controller: FakeController, tmp_path: Path
) -> None:
    row = ProfilingRow(node="edge", state="retrying", reason="no route", attempts=1, failing_s=1.0, next_try_s=2.0)
    warning = "node edge could not profile tiny: no route"
    nobody = msgspec.structs.replace(ADDED, warnings=(warning,), profiled=(), not_profiled=(row,))
    controller.answers[AddModel] = lambda _operation: nobody
    file = write_model(tmp_path)
    told = run("model", "add", "tiny", file, "--json")
    assert told.status == 1
    assert told.document["name"] == "tiny"
    assert told.document["error"]["code"] == "not-profiled"
    assert "edge" in told.document["error"]["message"]
    assert warning in told.err
    plain = run("model", "add", "tiny", file)
    assert plain.status == 1
    assert "splitctl model profile tiny" in plain.err
    # Where some node could, the others are a warning.
    controller.answers[AddModel] = lambda _operation: msgspec.structs.replace(nobody, profiled=("device",))
    told = run("model", "add", "tiny", file, "--json")
    assert told.status == 0
    assert "error" not in told.document
    assert warning in told.err


def test_profiling_again_exits_with_1_where_the_named_node_could_not(run: Run, controller: FakeController) -> None:
    done = ProfiledRow(node="device", state="done", seconds=1.5, whole_s=0.02)
    failed = ProfiledRow(node="edge", state="retrying", seconds=0.5, reason="no route to the server", next_try_s=2.0)
    controller.progress = [("profiling on device, edge", 0.5)]
    controller.answers[ProfileModel] = lambda _operation: [done, failed]
    told = run("model", "profile", "tiny", "--json")
    assert told.status == 0
    assert [row["state"] for row in told.document] == ["done", "retrying"]
    assert "profiling on device, edge" in told.err
    controller.answers[ProfileModel] = lambda _operation: [failed]
    told = run("model", "profile", "tiny", "--node", "edge")
    assert told.status == 1
    assert "no route to the server; it is tried again in 2 s" in told.out
    assert controller.operations == [ProfileModel(name="tiny"), ProfileModel(name="tiny", node="edge")]


def test_a_model_is_uploaded_then_added_and_warnings_go_to_stderr(
    run: Run, controller: FakeController, tmp_path: Path
) -> None:
    controller.answers[AddModel] = lambda _operation: ADDED
    controller.progress = [("profiling on device", 0.5)]
    file, samples = write_model(tmp_path), tmp_path / "samples.npz"
    np.savez(samples, x=np.zeros((2, 4), np.float32))
    told = run(
        *("model", "add", "tiny", file, "--calibration", samples, "--max-quantizable", "3"),
        *("--exclude", "a", "--exclude", "b", "--replace", "--json"),
    )
    assert told.status == 0, told.err
    assert told.document["profiled"] == ["device"]
    assert "splitctl: warning: calibration data was made up" in told.err
    assert "profiling on device" in told.err
    assert controller.operations == [
        AddModel(
            name="tiny",
            file=digest_of(file),
            calibration=digest_of(samples),
            max_quantizable=3,
            exclude=("a", "b"),
            replace=True,
        )
    ]
    assert controller.uploads[digest_of(file)] == file.read_bytes()


def test_what_the_controller_holds_is_not_sent_again(run: Run, controller: FakeController, tmp_path: Path) -> None:
    controller.answers[AddModel] = lambda _operation: ADDED
    file = write_model(tmp_path)
    assert run("model", "add", "tiny", file).status == 0
    assert run("model", "add", "tiny", file).status == 0
    assert controller.puts == [digest_of(file)]


def test_external_data_travels_under_the_name_the_model_knows(
    run: Run, controller: FakeController, tmp_path: Path
) -> None:
    controller.answers[AddModel] = lambda _operation: ADDED
    assert run("model", "add", "tiny", write_model(tmp_path, "weights/w.bin")).status == 0
    (operation,) = controller.operations
    assert isinstance(operation, AddModel)
    assert operation.external == {"weights/w.bin": digest_of(tmp_path / "weights/w.bin")}


@pytest.mark.parametrize("location", ["../elsewhere.bin", "/etc/hostname", "weights/missing.bin"])
def test_external_data_elsewhere_or_missing_is_refused_before_anything_is_sent(
    run: Run, controller: FakeController, tmp_path: Path, location: str
) -> None:
    told = run("model", "add", "tiny", write_model(tmp_path, location), "--json")
    assert told.status == 1
    assert told.document["error"]["code"] == "invalid-model"
    assert location in told.document["error"]["message"]
    assert (controller.uploads, controller.operations) == ({}, [])


@pytest.mark.parametrize("content", [b"", b"this is no model", onnx.ModelProto(ir_version=8).SerializeToString()])
def test_what_is_no_onnx_is_refused_before_anything_is_sent(
    run: Run, controller: FakeController, tmp_path: Path, content: bytes
) -> None:
    file = tmp_path / "broken.onnx"
    file.write_bytes(content)
    told = run("model", "add", "tiny", file)
    assert told.status == 1
    assert "broken.onnx" in told.err
    assert told.err.count("\n") == 1
    assert (controller.uploads, controller.operations) == ({}, [])


def test_calibration_must_be_an_archive(run: Run, controller: FakeController, tmp_path: Path) -> None:
    samples = tmp_path / "samples.npz"
    samples.write_bytes(b"no archive")
    told = run("model", "add", "tiny", write_model(tmp_path), "--calibration", samples, "--json")
    assert (told.status, told.document["error"]["code"]) == (1, "invalid-calibration")


def test_a_refused_upload_passes_the_servers_sentence_on(run: Run, controller: FakeController, tmp_path: Path) -> None:
    controller.refuse_uploads = "the disk is full"
    told = run("model", "add", "tiny", write_model(tmp_path), "--json")
    assert (told.status, told.document["error"]["code"]) == (1, "artifact-error")
    assert "the disk is full" in told.document["error"]["message"]


def test_an_artifact_server_that_is_away_is_named(run: Run, controller: FakeController, tmp_path: Path) -> None:
    controller.publish_status(artifacts="http://127.0.0.1:1")
    told = run("model", "add", "tiny", write_model(tmp_path), "--json")
    assert told.status == 4
    assert "http://127.0.0.1:1" in told.document["error"]["message"]


def test_planning_shapes_are_sent_by_input_in_the_order_in_which_they_were_named(
    run: Run, controller: FakeController, tmp_path: Path
) -> None:
    controller.answers[AddModel] = lambda _operation: ADDED
    shapes = ("--shape", "x:0=1x3x48x320", "--shape", "level=2=7", "--shape", "x:0=1X3X48X640")
    assert run("model", "add", "tiny", write_model(tmp_path), *shapes).status == 0
    assert run("model", "add", "tiny", write_model(tmp_path), "--shape", "x=4", "--fixed").status == 0
    assert [(asked.shapes, asked.fixed) for asked in controller.operations if isinstance(asked, AddModel)] == [
        ({"x:0": ((1, 3, 48, 320), (1, 3, 48, 640)), "level=2": ((7,),)}, False),
        ({"x": ((4,),)}, True),
    ]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--shape", "1x3x48x320"), "must read INPUT=SIZExSIZEx..., such as images=1x3x48x320"),
        (("--shape", "x="), "must read INPUT=SIZE"),
        (("--shape", "x=1x-1x48"), "'-1' in 'x=1x-1x48' must be a whole number from 1"),
        (("--shape", "x=1x0"), "'0' in 'x=1x0' must be a whole number from 1"),
        (("--shape", "x=batchx3"), "'batch' in"),
        (("--shape", "x=1x2.5"), "'2.5' in"),
        (("--shape", "x=1x12345678901"), "'12345678901' in"),
        (("--fixed", "--shape", "x=1", "--shape", "x=2"), "--fixed sets one size for good, and --shape names 2 of x"),
    ],
)
def test_shapes_that_cannot_be_read_are_wrong_use(
    run: Run, controller: FakeController, tmp_path: Path, options: tuple[str, ...], said: str
) -> None:
    told = run("model", "add", "tiny", write_model(tmp_path), *options)
    assert told.status == 2
    assert said in " ".join(told.err.split())
    assert controller.operations == []


def test_a_model_that_is_only_known_in_float_says_so_and_how_far_the_rest_is(
    run: Run, controller: FakeController, tmp_path: Path
) -> None:
    completion = CompletionRow(what="modelling the noise", fraction=0.25, left_s=75.0, since_s=25.0)
    first = msgspec.structs.replace(ADDED, noise_model=None, stage="float", completion=completion)
    controller.answers[AddModel] = lambda _operation: first
    file = write_model(tmp_path)
    plain = run("model", "add", "tiny", file)
    assert plain.status == 0
    assert "25% found out (modelling the noise" in plain.out
    assert "it serves in float" in " ".join(plain.out.split())
    document = run("model", "add", "tiny", file, "--wait", "all", "--json").document
    assert (document["stage"], document["noise_model"], document["completion"]["left_s"]) == ("float", None, 75.0)
    wanted = [operation.wait for operation in controller.operations if isinstance(operation, AddModel)]
    assert wanted == ["ready", "all"]
