"""Mean intersection over union against values worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from demo.scoring import mean_iou, to_labels


def test_perfect_labels_score_one() -> None:
    labels = np.array([[[0, 1], [2, 1]]])
    assert mean_iou(labels, labels, 3) == 1.0


def test_a_worked_example() -> None:
    truth = np.array([[[0, 0], [1, 1]]])
    predicted = np.array([[[0, 1], [1, 1]]])
    # Class 0: 1 of 2 pixels, class 1: 2 of 3; class 2 occurs nowhere and does not count.
    assert mean_iou(predicted, truth, 3) == pytest.approx((1 / 2 + 2 / 3) / 2)


def test_logits_are_scored_by_their_largest_class() -> None:
    logits = np.zeros((1, 3, 1, 2), np.float32)
    logits[0, 2, 0, 0] = 1.0
    logits[0, 1, 0, 1] = 1.0
    np.testing.assert_array_equal(to_labels(logits), [[[2, 1]]])
    assert mean_iou(logits, np.array([[[2, 1]]]), 3) == 1.0


@pytest.mark.parametrize(
    ("predicted", "truth", "message"),
    [
        (np.zeros((1, 2, 2), int), np.zeros((1, 2, 3), int), "does not fit"),
        (np.full((1, 2, 2), 3), np.zeros((1, 2, 2), int), "not below"),
        (np.zeros((2, 2), int), np.zeros((2, 2), int), "sample axis"),
        (np.zeros((0, 2, 2), int), np.zeros((0, 2, 2), int), "at least one"),
    ],
)
def test_what_cannot_be_compared_is_refused(predicted: np.ndarray, truth: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        mean_iou(predicted, truth, 3)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=40))
def test_the_score_is_symmetric_and_in_range(pairs: list[tuple[int, int]]) -> None:
    left = np.array([[[pair[0] for pair in pairs]]])
    right = np.array([[[pair[1] for pair in pairs]]])
    score = mean_iou(left, right, 4)
    assert 0.0 <= score <= 1.0
    assert score == pytest.approx(mean_iou(right, left, 4))
