"""What a model's intake takes in memory goes back with the process that does it, and its errors are those of the intake."""

from __future__ import annotations

import dataclasses
import errno
import io
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from demo.fleet import CommandFailed, EmulatedNode, LocalFleet
from edgesplit.errors import EdgesplitError, InvalidCalibration, InvalidInput, InvalidModel
from edgesplit_controller.graph.blobs import BlobStore
from edgesplit_controller.models.intake.stages import first_record
from edgesplit_controller.models.intake_messages import FirstStageRequest, IntakeDone, IntakeFailed, IntakeProgress
from edgesplit_controller.models.intake_runs import run_in_process
from edgesplit_controller.models.model_record import read_record
from edgesplit_controller.models.submission import Submission
from tests.controller.tiny_models import convolutions

SHAPES = ((1, 3, 16, 16), (1, 3, 32, 32))


@pytest.fixture(scope="module")
def fleet(mosquitto: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalFleet]:
    nodes = (EmulatedNode("device", compute_w=3.0, transmit_w=3.5),)
    with LocalFleet(tmp_path_factory.mktemp("fleet"), nodes, broker=mosquitto) as running:
        running.start()
        running.await_nodes()
        yield running


def test_a_controller_that_took_models_in_and_planned_them_loaded_no_runtime(fleet: LocalFleet, tmp_path: Path) -> None:
    file = tmp_path / "model.onnx"
    file.write_bytes(convolutions(2, size=None))
    options = [f"--shape=image={'x'.join(map(str, shape))}" for shape in SHAPES]
    document = fleet.splitctl("model", "add", "tiny", str(file), *options, "--wait", "all")
    assert document["stage"] == "complete"
    fleet.splitctl("deploy", "tiny", "--source", "device")
    mapped = Path(f"/proc/{fleet.pid('controller')}/maps").read_text(encoding="ascii")
    assert "ortools" in mapped, "it planned, and its maps can be read"
    assert "onnxruntime" not in mapped


def test_a_refused_model_is_told_as_ever_and_leaves_nothing(fleet: LocalFleet, tmp_path: Path) -> None:
    file = tmp_path / "wide.onnx"
    file.write_bytes(convolutions(2, size=None))
    with pytest.raises(CommandFailed) as failed:
        fleet.splitctl("model", "add", "wide", str(file), "--shape", "picture=1x3x16x16")
    given = submission(tmp_path, file.read_bytes())
    here = refusal(dataclasses.replace(given, shapes={"picture": ((1, 3, 16, 16),)}), tmp_path)
    assert failed.value.error["error"] == {"code": here.code, "message": str(here)}
    assert "wide" not in {row["name"] for row in fleet.splitctl("model", "list")}


def sentence(error: object) -> str:
    """What is said, wherever the file lay meanwhile."""
    return re.sub(r"\S*/model\.onnx", "model.onnx", str(error))


def submission(
    folder: Path, content: bytes, samples: bytes | None = None, shapes: tuple[tuple[int, ...], ...] = ()
) -> Submission:
    file, calibration = folder / "upload", None
    file.write_bytes(content)
    if samples is not None:
        calibration = folder / "samples"
        calibration.write_bytes(samples)
    return Submission(
        "tiny", file, {}, calibration, 2, (), shapes={"image": shapes} if shapes else {}, fixed=bool(shapes)
    )


def refusal(given: Submission, folder: Path) -> EdgesplitError:
    with pytest.raises(EdgesplitError) as refused:
        first_record(given, BlobStore(folder / "other-blobs"), lambda _text, _fraction: None)
    return refused.value


def samples(**arrays: np.ndarray) -> bytes:
    content = io.BytesIO()
    np.savez(content, **arrays)  # type: ignore[arg-type]
    return content.getvalue()


async def in_process(given: Submission, folder: Path) -> tuple[IntakeDone | IntakeFailed, list[IntakeProgress]]:
    told: list[IntakeProgress] = []
    made = folder / "made"
    made.mkdir()
    return await run_in_process(FirstStageRequest.of(given, made, folder / "blobs"), told.append), told


@pytest.mark.parametrize(
    ("content", "given_samples", "shapes", "kind"),
    [
        (b"no model", None, (), InvalidModel),
        (convolutions(2), samples(picture=np.zeros((4, 3, 16, 16), np.float32)), (), InvalidCalibration),
        (convolutions(2, size=None), None, SHAPES, InvalidInput),
    ],
    ids=["no-model", "wrong-samples", "two-fixed-shapes"],
)
async def test_an_error_comes_through_the_process_unchanged(
    tmp_path: Path,
    content: bytes,
    given_samples: bytes | None,
    shapes: tuple[tuple[int, ...], ...],
    kind: type[EdgesplitError],
) -> None:
    given = submission(tmp_path, content, given_samples, shapes)
    here = refusal(given, tmp_path)
    ended, _ = await in_process(given, tmp_path)
    assert isinstance(ended, IntakeFailed)
    assert type(ended.error) is kind
    assert (here.code, sentence(here)) == (kind.code, sentence(ended.error))


async def test_an_error_of_the_file_system_stays_one(tmp_path: Path) -> None:
    given = submission(tmp_path, convolutions(2))
    (tmp_path / "blobs").write_bytes(b"where a folder should be")
    ended, _ = await in_process(given, tmp_path)
    assert isinstance(ended, IntakeFailed)
    assert isinstance(ended.error, OSError)
    assert ended.error.errno == errno.EEXIST


async def test_the_first_stage_says_what_it_does_and_leaves_a_record_of_each_shape(tmp_path: Path) -> None:
    given = submission(tmp_path, convolutions(2, size=None))
    given = Submission(given.name, given.file, {}, None, 2, (), shapes={"image": SHAPES})
    ended, told = await in_process(given, tmp_path)
    assert ended == IntakeDone()
    records = [read_record(tmp_path / "made" / number) for number in ("1", "2")]
    assert [record.name for record in records if record is not None] == ["tiny", "tiny@2"]
    assert "preparing the graph that nodes time" in {message.what for message in told}
    assert {message.fraction for message in told} == {None}
