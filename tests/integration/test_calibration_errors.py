"""Calibration samples that do not fit: one sentence each, and what serves goes on serving."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from demo.fleet import CommandFailed, EmulatedNode, LocalFleet

MODEL = "mobilenet"
SHAPE = (8, 3, 64, 64)
Arrays = dict[str, Any]


@pytest.fixture(scope="module")
def fleet(mosquitto: str, tmp_path_factory: pytest.TempPathFactory, small_model: Path) -> Iterator[LocalFleet]:
    nodes = (EmulatedNode("device", compute_w=3.0, transmit_w=3.5),)
    with LocalFleet(tmp_path_factory.mktemp("fleet"), nodes, broker=mosquitto) as running:
        running.start()
        running.await_nodes()
        running.splitctl("model", "add", "--wait", "all", MODEL, str(small_model), "--max-quantizable", "2")
        running.splitctl("deploy", MODEL, "--source", "device")
        yield running
        running.splitctl("model", "remove", MODEL)


def samples(**changes: Any) -> Arrays:
    return {"image": np.zeros(SHAPE, np.float32)} | changes


def with_value(value: float) -> Arrays:
    array = np.zeros(SHAPE, np.float32)
    array[5, 1, 2, 3] = value
    return {"image": array}


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({"image": np.zeros((8, 3, 32, 32), np.float32)}, "expected (samples, 3, 64, 64); reshape it"),
        ({"image": np.zeros(SHAPE)}, "'image' is float64, the model's input is float32; convert it"),
        ({"image": np.zeros(SHAPE, np.uint8)}, "'image' is uint8"),
        ({"picture": np.zeros(SHAPE, np.float32)}, "holds 'picture', which is no input of the model"),
        ({}, "lacks the model's input 'image'"),
        (samples(mask=np.zeros(8, np.float32)), "holds 'mask', which is no input of the model"),
        ({"image": np.zeros((3, 3, 64, 64), np.float32)}, "holds 3 samples; at least 4 are needed"),
        ({"image": np.zeros((0, 3, 64, 64), np.float32)}, "holds 0 samples; at least 4 are needed"),
        (with_value(np.nan), "'image' holds NaN or infinite values; remove those samples"),
        (with_value(np.inf), "'image' holds NaN or infinite values"),
        ({"image": np.array([{"evil": 1}] * 8, object)}, "cannot be read as .npz"),
    ],
    ids=["shape", "float64", "uint8", "wrong name", "no name", "extra", "few", "none", "nan", "inf", "objects"],
)
def test_samples_that_do_not_fit_are_refused_in_one_sentence_and_serving_goes_on(
    fleet: LocalFleet, small_model: Path, image: Path, tmp_path: Path, arrays: Arrays, said: str
) -> None:
    path = tmp_path / "samples.npz"
    np.savez(path, allow_pickle=True, **arrays)
    check_refused(fleet, small_model, image, path, said)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is no .npz archive: write it with numpy.savez"),
        (b"no archive at all", "is no .npz archive: write it with numpy.savez"),
    ],
)
def test_a_file_that_is_no_archive_is_refused_before_it_is_sent(
    fleet: LocalFleet, small_model: Path, image: Path, tmp_path: Path, content: bytes, said: str
) -> None:
    path = tmp_path / "samples.npz"
    path.write_bytes(content)
    check_refused(fleet, small_model, image, path, said)


def test_a_damaged_archive_is_refused(fleet: LocalFleet, small_model: Path, image: Path, tmp_path: Path) -> None:
    path = tmp_path / "samples.npz"
    np.savez_compressed(path, image=np.random.default_rng(0).random(SHAPE, dtype=np.float32))
    content = bytearray(path.read_bytes())
    content[1000:1100] = bytes(100)
    path.write_bytes(bytes(content))
    check_refused(fleet, small_model, image, path, "cannot be read as .npz")


def check_refused(fleet: LocalFleet, small_model: Path, image: Path, calibration: Path, said: str) -> None:
    before = fleet.splitctl("model", "show", MODEL)
    with pytest.raises(CommandFailed) as caught:
        fleet.splitctl(
            "model", "add", "--wait", "all", MODEL, str(small_model), "--calibration", str(calibration), "--replace"
        )
    error = caught.value.error["error"]
    assert (caught.value.exit_code, error["code"]) == (1, "invalid-calibration")
    assert said in error["message"]
    assert "\n" not in error["message"]
    assert fleet.splitctl("model", "show", MODEL)["epoch"] == before["epoch"]
    assert fleet.splitctl("infer", MODEL, "--input", str(image))["failed"] == 0
