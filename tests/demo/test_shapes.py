"""The synthetic images: seeded, disjoint, well formed."""

from __future__ import annotations

import numpy as np
import pytest

from demo.shapes import CLASSES, IMAGE_SIZE, ShapesBatch, Stream, calibration, draw_batch, held_out


def test_an_image_depends_on_its_index_alone() -> None:
    together = held_out(4)
    alone = held_out(1, first=3)
    np.testing.assert_array_equal(together.images[3], alone.images[0])
    np.testing.assert_array_equal(together.labels[3], alone.labels[0])


def test_images_have_the_models_input_shape_and_range() -> None:
    batch = held_out(3)
    assert batch.images.shape == (3, 3, IMAGE_SIZE, IMAGE_SIZE)
    assert batch.images.dtype == np.float32
    assert batch.labels.dtype == np.uint8
    assert float(batch.images.min()) >= 0.0
    assert float(batch.images.max()) <= 1.0


def test_every_class_appears_and_none_beyond() -> None:
    labels = held_out(20).labels
    assert set(np.unique(labels).tolist()) == set(range(len(CLASSES)))
    assert 0.6 < float(np.mean(labels == 0)) < 0.95


@pytest.mark.parametrize("other", [Stream.TRAINING, Stream.CALIBRATION])
def test_held_out_images_occur_in_no_other_stream(other: Stream) -> None:
    held = held_out(8).images
    for seed in (0, 1):
        drawn = draw_batch(other, seed, range(8)).images
        distances = np.abs(held[:, None] - drawn[None]).mean(axis=(2, 3, 4))
        assert float(distances.min()) > 0.01


def test_calibration_is_what_splitctl_reads() -> None:
    arrays = calibration(2, seed=5)
    assert list(arrays) == ["image"]
    assert arrays["image"].shape == (2, 3, IMAGE_SIZE, IMAGE_SIZE)
    assert not np.array_equal(arrays["image"], calibration(2, seed=6)["image"])


def test_a_batch_refuses_labels_of_another_size() -> None:
    with pytest.raises(ValueError, match="do not fit"):
        ShapesBatch(np.zeros((1, 3, 8, 8), np.float32), np.zeros((1, 8, 9), np.uint8))
