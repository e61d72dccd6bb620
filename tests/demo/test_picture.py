"""The demo's pictures: the right colours in the right places."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from demo.picture import CLASS_COLOURS, StepRow, save_picture, save_steps_picture
from demo.shapes import CLASSES, held_out


def colours_of(path: Path) -> set[tuple[int, ...]]:
    with Image.open(path) as picture:
        pixels = np.asarray(picture.convert("RGB")).reshape(-1, 3)
    return {tuple(int(part) for part in colour) for colour in np.unique(pixels, axis=0)}


def test_every_class_has_a_colour_of_its_own() -> None:
    assert len(set(CLASS_COLOURS)) == len(CLASSES)


def test_the_result_picture_shows_four_panels(tmp_path: Path) -> None:
    batch = held_out(1)
    path = tmp_path / "result.png"
    save_picture(path, batch.images[0], batch.labels[0], batch.labels[0], batch.labels[0])
    with Image.open(path) as picture:
        width, height = picture.size
    assert width > 4 * 380
    assert height > 380
    assert set(CLASS_COLOURS) <= colours_of(path)


def test_pixels_that_int8_changes_are_white(tmp_path: Path) -> None:
    label = np.zeros((64, 64), np.uint8)
    changed = label.copy()
    changed[:32] = 1
    image = np.zeros((3, 64, 64), np.float32)
    counts = []
    for name, quantized in (("same.png", label), ("changed.png", changed)):
        save_picture(tmp_path / name, image, label, label, quantized)
        with Image.open(tmp_path / name) as picture:
            counts.append(int(np.sum(np.all(np.asarray(picture) == 255, axis=2))))
    # Half of one panel of 384 x 384 pixels.
    assert counts[1] - counts[0] == 384 * 384 // 2


def test_a_mask_of_another_size_is_refused(tmp_path: Path) -> None:
    image, label = np.zeros((3, 8, 8), np.float32), np.zeros((8, 8), np.uint8)
    with pytest.raises(ValueError, match="float_mask"):
        save_picture(tmp_path / "x.png", image, label, np.zeros((4, 4), np.uint8), label)


def test_the_steps_picture_grows_with_its_steps(tmp_path: Path) -> None:
    row = StepRow("deploy", {"device": 10, "edge": 0, "cloud": 25}, 0.03, 0.031, 0.2, None, "noise 0")
    long_row = StepRow("a title that is far too long for its column " * 3, {"device": 35}, 0.1, 0.1, 0.3, 0.3)
    heights = []
    for rows in ([row], [row, long_row, row]):
        save_steps_picture(tmp_path / "steps.png", rows)
        with Image.open(tmp_path / "steps.png") as picture:
            heights.append(picture.size[1])
    assert heights[1] > heights[0]


def test_no_steps_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at least one"):
        save_steps_picture(tmp_path / "steps.png", [])
