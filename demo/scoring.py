"""Accuracy of a segmentation: mean intersection over union.

Owns the one number in which the demo states accuracy. Its one rule: it compares labels, so it accepts logits only
to take their argmax. No models, no files.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["mean_iou", "to_labels"]


def to_labels(logits_or_labels: NDArray[Any]) -> NDArray[np.uint8]:
    """Return the class of every pixel.

    Args:
        logits_or_labels: Logits of shape (count, classes, height, width) [float] or labels of shape
            (count, height, width) [integer].

    Returns:
        Labels of shape (count, height, width). [uint8]

    Raises:
        ValueError: The array has another rank.
    """
    if logits_or_labels.ndim == 4:
        return np.asarray(np.argmax(logits_or_labels, axis=1), np.uint8)
    if logits_or_labels.ndim == 3:
        return np.asarray(logits_or_labels, np.uint8)
    raise ValueError(f"logits have 4 axes and labels 3, this array has {logits_or_labels.ndim}; add the sample axis")


def mean_iou(logits_or_labels: NDArray[Any], labels: NDArray[Any], classes: int) -> float:
    """Return the mean over classes of intersection over union, counted over all pixels of all samples.

    A class that is neither predicted nor present is left out of the mean.

    Args:
        logits_or_labels: Prediction: logits (count, classes, height, width) or labels (count, height, width).
        labels: Truth, shape (count, height, width). [integer]
        classes: Number of classes, background included.

    Returns:
        A value in [0, 1].

    Raises:
        ValueError: Shapes differ or a label is not below `classes`.

    References:
        [1] M. Everingham et al., The Pascal Visual Object Classes Challenge, IJCV 88, 2010, section 4.3.
    """
    predicted = to_labels(logits_or_labels)
    if predicted.shape != labels.shape:
        raise ValueError(f"prediction of shape {predicted.shape} does not fit labels of {labels.shape}")
    if labels.size == 0:
        raise ValueError("no pixels to compare; pass at least one sample")
    if int(predicted.max()) >= classes or int(labels.max()) >= classes:
        raise ValueError(f"a label is not below the number of classes, {classes}")
    pairs = labels.astype(np.int64).ravel() * classes + predicted.astype(np.int64).ravel()
    confusion = np.bincount(pairs, minlength=classes * classes).reshape(classes, classes)
    hits = np.diag(confusion).astype(np.float64)
    union = confusion.sum(axis=0) + confusion.sum(axis=1) - hits
    seen = union > 0
    return float(np.mean(hits[seen] / union[seen]))
