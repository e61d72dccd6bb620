"""Inputs like those that shipped models are made for: pages and lines of text, photographs, speech, files.

Owns: making such arrays, seeded. Its rule: scaled as the model's package does it, as far as its source says; what kind a
model takes is a hint, else it follows from the input's type. Not here: which sizes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

__all__ = ["NUMPY_TYPES", "real_inputs"]

Array = NDArray[Any]

RATE_HZ = 16000
WORDS = [
    "Split",
    "the",
    "network",
    "where",
    "sending",
    "is",
    "cheaper",
    "than",
    "computing",
    "0123456789",
    "and",
    "plan",
    "anew",
    "when",
    "links",
    "change",
]
REPOSITORY = Path(__file__).resolve().parents[2]
FILES = ("README.md", "pyproject.toml", "demo/*", "Makefile", "docs/*", "bench/*.py", "systemd/*", "requirements/*")
PADDING = 256
"""The token that stands for no byte."""

NUMPY_TYPES: Mapping[str, str] = {
    "tensor(float)": "float32",
    "tensor(double)": "float64",
    "tensor(float16)": "float16",
    "tensor(bool)": "bool",
    **{f"tensor({sign}int{bits})": f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)},
}


def real_inputs(
    kind: str,
    inputs: Mapping[str, tuple[str, Any]],
    shapes: Mapping[str, tuple[int, ...]],
    seed: int,
    *,
    below: int = 2,
) -> dict[str, Array]:
    """Make one request.

    Args:
        kind: Of the hint; empty where none is known.
        inputs: Name to onnxruntime's type and axes.
        shapes: Of every input.
        seed: Another seed is another page, sentence, file.
        below: Integers of which nothing is known are from 0 and below this.
    """
    generator = np.random.default_rng(seed)
    return {
        name: _made(kind, np.dtype(NUMPY_TYPES[inputs[name][0]]), shape, generator, below)
        for name, shape in shapes.items()
    }


def _made(kind: str, dtype: np.dtype[Any], shape: tuple[int, ...], generator: np.random.Generator, below: int) -> Array:
    makers: dict[tuple[str, int], Callable[..., Array]] = {
        ("page", 4): _page,
        ("line", 4): _line,
        ("photo", 4): _photo,
        ("speech", 2): _speech,
        ("bytes", 2): _bytes,
    }
    maker = makers.get((kind, len(shape)))
    if maker is not None:
        return np.ascontiguousarray(np.stack([maker(shape[1:], generator) for _ in range(shape[0])]), dtype=dtype)
    if kind == "speech":
        return np.asarray(RATE_HZ if shape == () else np.zeros(shape), dtype=dtype)  # the rate; the state at the start
    if dtype.kind == "f":
        return np.asarray(generator.random(shape), dtype=dtype)
    if dtype == np.uint8 and len(shape) > 2:
        return np.asarray(generator.integers(0, 256, shape), dtype=dtype)
    return np.asarray(generator.integers(0, below, shape), dtype=dtype)


def _font(size: float) -> Any:
    return ImageFont.load_default(size)


def _text(generator: np.random.Generator, words: int) -> str:
    return " ".join(generator.choice(WORDS, words))


def _normalised(image: Image.Image) -> Array:
    """Channels first, in [-1, 1]."""
    pixels: Array = np.asarray(image, np.float32).transpose(2, 0, 1) / 127.5 - 1.0
    return pixels


def _page(shape: tuple[int, ...], generator: np.random.Generator) -> Array:
    """A page with lines of text on paper that is not quite white."""
    _, height, width = shape
    paper = 235 + generator.normal(0, 3, (height, width, 1)) + np.zeros(3)
    image = Image.fromarray(paper.clip(0, 255).astype(np.uint8))
    drawing = ImageDraw.Draw(image)
    top = 12.0
    while top < height - 40:
        size = float(generator.integers(14, 34))
        left = float(generator.integers(8, max(9, width // 6)))
        drawing.text((left, top), _text(generator, int(generator.integers(2, 6))), (30, 30, 40), font=_font(size))
        top += size * 1.7
    return _normalised(image)


def _line(shape: tuple[int, ...], generator: np.random.Generator) -> Array:
    """One line of text that fills the height, as a detector would have cut it out."""
    _, height, width = shape
    image = Image.new("RGB", (width, height), (228, 226, 220))
    text = _text(generator, max(1, width // 110))
    ImageDraw.Draw(image).text((6, height * 0.12), text, (25, 25, 30), font=_font(height * 0.6))
    return _normalised(image)


def _photo(shape: tuple[int, ...], generator: np.random.Generator) -> Array:
    """Soft light, some bodies and grain, in [0, 1]."""
    _, height, width = shape
    coarse = (generator.random((6, 8, 3)) * 255).astype(np.uint8)
    image = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
    drawing = ImageDraw.Draw(image)
    for _ in range(6):
        left, top = generator.integers(0, width * 3 // 4), generator.integers(0, height * 3 // 4)
        box = (left, top, left + generator.integers(8, width // 3 + 9), top + generator.integers(8, height // 2 + 9))
        colour = tuple(int(value) for value in generator.integers(60, 230, 3))
        drawing.ellipse(tuple(map(int, box)), fill=colour)
    grain = generator.normal(0, 6, (height, width, 3))
    pixels: Array = (np.asarray(image, np.float32) + grain).clip(0, 255).transpose(2, 0, 1) / 255.0
    return pixels


def _speech(shape: tuple[int, ...], generator: np.random.Generator) -> Array:
    """A vowel: pulses of a voice through three resonances, with some breath."""
    (count,) = shape
    time_s = np.arange(count) / RATE_HZ
    pitch_hz = generator.uniform(90, 220)
    sound = np.zeros(count)
    formants = ((generator.uniform(300, 800), 1.0), (generator.uniform(900, 2200), 0.6), (2600.0, 0.3))
    for harmonic in range(1, int(4000 / pitch_hz)):
        frequency_hz = harmonic * pitch_hz
        level = sum(gain / (1 + ((frequency_hz - centre) / 120) ** 2) for centre, gain in formants)
        sound += level * np.sin(2 * np.pi * frequency_hz * time_s + generator.uniform(0, 2 * np.pi))
    sound += 0.05 * generator.standard_normal(count)
    scaled: Array = 0.3 * sound / np.abs(sound).max(initial=1e-9)
    return scaled


def _bytes(shape: tuple[int, ...], generator: np.random.Generator) -> Array:
    """Beginning and end of a file, each padded to half of the input."""
    (count,) = shape
    files = _files()
    content = np.frombuffer(files[int(generator.integers(len(files)))].read_bytes(), np.uint8)
    tokens = np.full(count, PADDING, np.int64)
    half = count // 2
    start, end = content[:half], content[-(count - half) :]
    tokens[: len(start)] = start
    tokens[count - len(end) :] = end
    return tokens


@cache
def _files() -> tuple[Path, ...]:
    return tuple(sorted(path for pattern in FILES for path in REPOSITORY.glob(pattern) if path.is_file()))
