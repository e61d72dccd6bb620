"""Synthetic shapes: the images, masks and calibration arrays of the demo model.

Owns what the demo model sees: circles, squares, triangles and crosses on textured, noisy, cluttered backgrounds.
Its one rule: an image is a pure function of (stream, seed, index), so training, calibration and held-out images
come from streams that cannot overlap and every machine draws the same ones.
numpy only; no torch, no ONNX, no files.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "CLASSES",
    "IMAGE_SIZE",
    "INPUT_NAME",
    "OUTPUT_NAME",
    "ShapesBatch",
    "Stream",
    "calibration",
    "draw_batch",
    "draw_scene",
    "held_out",
]

CLASSES = ("background", "circle", "square", "triangle", "cross")
IMAGE_SIZE = 256
INPUT_NAME = "image"
OUTPUT_NAME = "logits"

_FOREGROUND = len(CLASSES) - 1
_MIN_RADIUS_PX = 13.0
_MAX_RADIUS_PX = 34.0
_MAX_TURN_RAD = 0.5
_MIN_CONTRAST = 0.22
# One shape per this many pixels, on average.
_AREA_PER_SHAPE_PX = 9000.0

_Floats = NDArray[np.float32]
_Labels = NDArray[np.uint8]
_Mask = NDArray[np.bool_]


class Stream(IntEnum):
    """The disjoint sources of images; part of every image's random seed."""

    TRAINING = 0
    CALIBRATION = 1
    HELD_OUT = 2


@dataclass(frozen=True, slots=True)
class ShapesBatch:
    """Images and their true masks.

    Attributes:
        images: Shape (count, 3, height, width), values in [0, 1]. [float32]
        labels: Class of every pixel, shape (count, height, width). [uint8]
    """

    images: _Floats
    labels: _Labels

    def __post_init__(self) -> None:
        expected = (self.images.shape[0], *self.images.shape[2:])
        if self.images.ndim != 4 or self.labels.shape != expected:
            raise ValueError(f"labels of shape {self.labels.shape} do not fit images of {self.images.shape}")

    @property
    def inputs(self) -> dict[str, _Floats]:
        """One array per model input, first axis the samples: what `splitctl --calibration` reads."""
        return {INPUT_NAME: self.images}


def calibration(count: int, seed: int = 0) -> dict[str, _Floats]:
    """Draw images for calibration, in the form of `splitctl model add --calibration FILE.npz`.

    Args:
        count: Number of samples.
        seed: Another seed gives other samples, never held-out or training ones.

    Returns:
        `{"image": array}`, array of shape (count, 3, 256, 256). [float32]
    """
    return draw_batch(Stream.CALIBRATION, seed, range(count)).inputs


def held_out(count: int, first: int = 0) -> ShapesBatch:
    """Draw images the model never saw, with their masks: the same ones on every machine.

    Args:
        count: Number of images.
        first: Index of the first one.
    """
    return draw_batch(Stream.HELD_OUT, 0, range(first, first + count))


def draw_batch(stream: Stream, seed: int, indices: range, size: int = IMAGE_SIZE) -> ShapesBatch:
    """Draw the images `indices` of a stream.

    Args:
        stream: Which of the disjoint sources.
        seed: Seed within the stream.
        indices: Which images; each is drawn independently of the others.
        size: Height and width; shapes keep their size in pixels, so a smaller image is a crop. [pixel]
    """
    scenes = [draw_scene(np.random.default_rng([stream, seed, index]), size) for index in indices]
    images = np.zeros((len(scenes), 3, size, size), np.float32)
    labels = np.zeros((len(scenes), size, size), np.uint8)
    for row, (image, label) in enumerate(scenes):
        images[row], labels[row] = image, label
    return ShapesBatch(images, labels)


def draw_scene(generator: np.random.Generator, size: int = IMAGE_SIZE) -> tuple[_Floats, _Labels]:
    """Draw one image and its mask.

    Args:
        generator: Source of every choice.
        size: Height and width. [pixel]

    Returns:
        Image of shape (3, size, size) in [0, 1] [float32] and labels of shape (size, size) [uint8].
    """
    rows, columns = np.mgrid[0:size, 0:size].astype(np.float32)
    base = generator.uniform(0.15, 0.85, 3).astype(np.float32)
    image = _texture(generator, rows, columns, base, strength=0.10)
    _scatter_lines(generator, rows, columns, image)
    label = np.zeros((size, size), np.uint8)
    for _ in range(1 + int(generator.poisson(size * size / _AREA_PER_SHAPE_PX))):
        kind = int(generator.integers(1, _FOREGROUND + 1))
        mask = _shape_mask(generator, kind, rows, columns)
        colour = _contrasting_colour(generator, base)
        image[:, mask] = _texture(generator, rows, columns, colour, strength=0.08)[:, mask]
        label[mask] = kind
    noise_sigma = float(generator.uniform(0.02, 0.07))
    image += generator.standard_normal(image.shape, np.float32) * np.float32(noise_sigma)
    return np.clip(image, 0.0, 1.0), label


def _texture(
    generator: np.random.Generator, rows: _Floats, columns: _Floats, base: _Floats, strength: float
) -> _Floats:
    """Return a grating of random direction, period and colour around `base`, shape (3, height, width)."""
    angle = generator.uniform(0.0, np.pi)
    period_px = generator.uniform(5.0, 40.0)
    phase = generator.uniform(0.0, 2 * np.pi)
    along = rows * np.float32(np.sin(angle)) + columns * np.float32(np.cos(angle))
    wave = np.sin(along * np.float32(2 * np.pi / period_px) + np.float32(phase))
    tint = generator.uniform(-strength, strength, 3).astype(np.float32)
    return np.asarray(base[:, None, None] + tint[:, None, None] * wave, np.float32)


def _scatter_lines(generator: np.random.Generator, rows: _Floats, columns: _Floats, image: _Floats) -> None:
    """Draw thin lines into `image`: edges that belong to no shape."""
    for _ in range(int(generator.integers(0, 5))):
        angle = generator.uniform(0.0, np.pi)
        through = generator.uniform(0.0, rows.shape[0], 2)
        distance = (rows - through[0]) * np.cos(angle) - (columns - through[1]) * np.sin(angle)
        image[:, np.abs(distance) < generator.uniform(0.7, 1.6)] = generator.uniform(0.0, 1.0, (3, 1))


def _shape_mask(generator: np.random.Generator, kind: int, rows: _Floats, columns: _Floats) -> _Mask:
    """Return the pixels of one randomly placed and turned shape of class `kind`."""
    size = rows.shape[0]
    radius = generator.uniform(_MIN_RADIUS_PX, _MAX_RADIUS_PX)
    centre = generator.uniform(0.5 * radius, size - 0.5 * radius, 2)
    angle = generator.uniform(-_MAX_TURN_RAD, _MAX_TURN_RAD)
    cosine, sine = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    down = (rows - np.float32(centre[0])) / np.float32(radius)
    right = (columns - np.float32(centre[1])) / np.float32(radius)
    across, along = right * cosine + down * sine, down * cosine - right * sine
    name = CLASSES[kind]
    if name == "circle":
        mask: _Mask = across**2 + along**2 < 1.0
    elif name == "square":
        mask = np.maximum(np.abs(across), np.abs(along)) < 0.85
    elif name == "triangle":
        # Three half planes whose normals are 120 degrees apart.
        slope = np.float32(np.sqrt(3) / 2)
        mask = (along < 0.5) & (slope * across - 0.5 * along < 0.5) & (-slope * across - 0.5 * along < 0.5)
    else:
        near, far = (
            np.minimum(np.abs(across), np.abs(along)),
            np.maximum(np.abs(across), np.abs(along)),
        )
        mask = (near < 0.32) & (far < 1.0)
    return mask


def _contrasting_colour(generator: np.random.Generator, base: _Floats) -> _Floats:
    """Return a colour at least `_MIN_CONTRAST` away from `base` in one channel, often only just."""
    while True:
        colour = generator.uniform(0.1, 0.9, 3).astype(np.float32)
        if float(np.abs(colour - base).max()) > _MIN_CONTRAST:
            return colour
