"""The demo's pictures: what the model saw and answered, and where its operators ran.

Owns the drawing of both. Its one rule: it draws the values it is given and computes no result of its own.
Pillow only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from demo.shapes import CLASSES

__all__ = ["CLASS_COLOURS", "StepRow", "save_picture", "save_steps_picture"]

_Colour = tuple[int, int, int]

CLASS_COLOURS: tuple[_Colour, ...] = ((38, 40, 48), (86, 156, 255), (255, 184, 77), (96, 211, 148), (239, 98, 120))
_DIFFERENCE_COLOUR: _Colour = (255, 255, 255)

_PAPER: _Colour = (250, 250, 248)
_INK: _Colour = (30, 32, 38)
_FAINT_INK: _Colour = (110, 114, 124)
_RULE: _Colour = (222, 222, 218)
_NODE_COLOURS: tuple[_Colour, ...] = ((239, 124, 86), (86, 156, 214), (122, 104, 190), (96, 180, 140), (200, 170, 70))

_MARGIN_PX = 24
_PANEL_PX = 384
_CAPTION_PX = 34
_ROW_PX = 58
_BAR_PX = 26
_LABEL_PX = 380
_BAR_WIDTH_PX = 420
_NUMBER_PX = 150


@dataclass(frozen=True, slots=True)
class StepRow:
    """One step of the demo, as one row of the steps picture.

    Attributes:
        title: What was done, a few words.
        operators: Operators by node, in the order in which the bar shows them.
        predicted_latency_s: Of the plan's simulated timeline. [s]
        measured_latency_s: Median of the requests. [s]
        predicted_energy_j: Of the plan. [J]
        measured_energy_j: From measured times and the nodes' powers. [J] None where it was not measured.
        note: One short line below the title, such as noise and accuracy.
    """

    title: str
    operators: Mapping[str, int]
    predicted_latency_s: float
    measured_latency_s: float
    predicted_energy_j: float
    measured_energy_j: float | None = None
    note: str = ""


def save_picture(
    path: Path,
    image: NDArray[np.float32],
    label: NDArray[Any],
    float_mask: NDArray[Any],
    quantized_mask: NDArray[Any],
) -> None:
    """Draw input, ground truth, float result and quantized result side by side, with a legend.

    Pixels in which the quantized result departs from the float one are white.

    Args:
        path: File to write; its suffix chooses the format.
        image: Shape (3, height, width) in [0, 1]. [float32]
        label: True classes, shape (height, width). [integer]
        float_mask: Classes found by the float model, same shape. [integer]
        quantized_mask: Classes found by the quantized model, same shape. [integer]

    Raises:
        ValueError: A mask's shape is not the image's.
    """
    for name, mask in (("label", label), ("float_mask", float_mask), ("quantized_mask", quantized_mask)):
        if mask.shape != image.shape[1:]:
            raise ValueError(f"{name} of shape {mask.shape} does not fit an image of {image.shape}")
    pixels = np.clip(np.moveaxis(image, 0, -1) * 255.0 + 0.5, 0, 255).astype(np.uint8)
    differs = float_mask != quantized_mask
    quantized_pixels = _mask_pixels(quantized_mask)
    quantized_pixels[differs] = _DIFFERENCE_COLOUR
    panels = (
        ("input", "", pixels),
        ("ground truth", "", _mask_pixels(label)),
        ("float", _agreement(float_mask, label), _mask_pixels(float_mask)),
        ("int8", _agreement(quantized_mask, label), quantized_pixels),
    )
    width = _MARGIN_PX + len(panels) * (_PANEL_PX + _MARGIN_PX)
    canvas = Image.new("RGB", (width, _MARGIN_PX + _CAPTION_PX + _PANEL_PX + 2 * _CAPTION_PX), _PAPER)
    drawing = ImageDraw.Draw(canvas)
    for column, (title, subtitle, panel) in enumerate(panels):
        left = _MARGIN_PX + column * (_PANEL_PX + _MARGIN_PX)
        drawing.text((left, _MARGIN_PX - 6), title, _INK, _font(20))
        drawing.text((left + _PANEL_PX, _MARGIN_PX - 2), subtitle, _FAINT_INK, _font(15), anchor="ra")
        scaled = Image.fromarray(panel).resize((_PANEL_PX, _PANEL_PX), Image.Resampling.NEAREST)
        canvas.paste(scaled, (left, _MARGIN_PX + _CAPTION_PX - 6))
    _draw_class_legend(drawing, _MARGIN_PX + _CAPTION_PX + _PANEL_PX + 16)
    canvas.save(path)


def save_steps_picture(path: Path, rows: Sequence[StepRow]) -> None:
    """Draw the demo's steps: per step the nodes' shares of the operators, latency and energy.

    Args:
        path: File to write; its suffix chooses the format.
        rows: The steps in their order.

    Raises:
        ValueError: There is no row.
    """
    if not rows:
        raise ValueError("there is no step to draw; pass at least one row")
    nodes = list(dict.fromkeys(node for row in rows for node in row.operators))
    colours = {node: _NODE_COLOURS[index % len(_NODE_COLOURS)] for index, node in enumerate(nodes)}
    bar_left = _MARGIN_PX + _LABEL_PX
    numbers_left = bar_left + _BAR_WIDTH_PX + _MARGIN_PX
    width = numbers_left + 2 * _NUMBER_PX + _MARGIN_PX
    top = _MARGIN_PX + 2 * _CAPTION_PX
    canvas = Image.new("RGB", (width, top + len(rows) * _ROW_PX + _MARGIN_PX), _PAPER)
    drawing = ImageDraw.Draw(canvas)
    drawing.text((_MARGIN_PX, _MARGIN_PX - 4), "Where the operators ran, step by step", _INK, _font(20))
    _draw_node_legend(drawing, colours, bar_left, top - 22)
    for column, (title, unit) in enumerate((("latency", "ms"), ("energy", "J"))):
        centre = numbers_left + column * _NUMBER_PX + _NUMBER_PX // 2
        drawing.text((centre, top - 30), f"{title} [{unit}]", _INK, _font(15), anchor="ma")
        drawing.text((centre, top - 46), "predicted / measured", _FAINT_INK, _font(11), anchor="ma")
    for index, row in enumerate(rows):
        _draw_step(drawing, row, index, top + index * _ROW_PX, colours)
    canvas.save(path)


def _draw_step(
    drawing: ImageDraw.ImageDraw, row: StepRow, index: int, top: int, colours: Mapping[str, _Colour]
) -> None:
    """Draw one row of the steps picture, its upper edge at `top`."""
    bar_left = _MARGIN_PX + _LABEL_PX
    numbers_left = bar_left + _BAR_WIDTH_PX + _MARGIN_PX
    right = numbers_left + 2 * _NUMBER_PX
    drawing.line((_MARGIN_PX, top, right, top), _RULE)
    title = _fitted(drawing, f"{index + 1}  {row.title}", _font(16), _LABEL_PX - 16)
    drawing.text((_MARGIN_PX, top + 9), title, _INK, _font(16))
    note = _fitted(drawing, row.note, _font(13), _LABEL_PX - 36)
    drawing.text((_MARGIN_PX + 20, top + 32), note, _FAINT_INK, _font(13))
    total = sum(row.operators.values())
    left = float(bar_left)
    for node, count in row.operators.items():
        if count == 0:
            continue
        share_px = _BAR_WIDTH_PX * count / total
        box = (left, top + (_ROW_PX - _BAR_PX) // 2, left + share_px, top + (_ROW_PX + _BAR_PX) // 2)
        drawing.rectangle(box, colours[node])
        if share_px > 24:
            drawing.text((left + share_px / 2, top + _ROW_PX // 2), str(count), (255, 255, 255), _font(14), "mm")
        left += share_px
    latency = f"{row.predicted_latency_s * 1e3:.1f} / {row.measured_latency_s * 1e3:.1f}"
    measured_j = "-" if row.measured_energy_j is None else f"{row.measured_energy_j:.3f}"
    for column, text in enumerate((latency, f"{row.predicted_energy_j:.3f} / {measured_j}")):
        centre = numbers_left + column * _NUMBER_PX + _NUMBER_PX // 2
        drawing.text((centre, top + _ROW_PX // 2), text, _INK, _font(15), anchor="mm")


def _draw_class_legend(drawing: ImageDraw.ImageDraw, top: int) -> None:
    """Draw a coloured square and a name per class, then what white means."""
    entries = [*zip(CLASSES, CLASS_COLOURS, strict=True), ("int8 departs from float", _DIFFERENCE_COLOUR)]
    left = float(_MARGIN_PX)
    for name, colour in entries:
        drawing.rectangle((left, top, left + 16, top + 16), colour, outline=_FAINT_INK)
        drawing.text((left + 24, top - 2), name, _INK, _font(16))
        left += 24 + drawing.textlength(name, _font(16)) + 32


def _draw_node_legend(drawing: ImageDraw.ImageDraw, colours: Mapping[str, _Colour], left: float, top: int) -> None:
    """Draw a coloured square and a name per node."""
    for node, colour in colours.items():
        drawing.rectangle((left, top, left + 12, top + 12), colour)
        drawing.text((left + 18, top - 2), node, _INK, _font(14))
        left += 18 + drawing.textlength(node, _font(14)) + 22


def _mask_pixels(mask: NDArray[Any]) -> NDArray[np.uint8]:
    """Return the mask in the classes' colours, shape (height, width, 3)."""
    return np.take(np.array(CLASS_COLOURS, np.uint8), mask, axis=0)


def _agreement(mask: NDArray[Any], label: NDArray[Any]) -> str:
    """Return the share of right pixels as a caption."""
    return f"{float(np.mean(mask == label)):.1%} of pixels right"


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Return the font that Pillow ships, so that no machine needs one installed."""
    return ImageFont.load_default(size)


def _fitted(
    drawing: ImageDraw.ImageDraw, text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width_px: int
) -> str:
    """Return the text, shortened with an ellipsis to fit `width_px`."""
    if drawing.textlength(text, font) <= width_px:
        return text
    while text and drawing.textlength(text + "…", font) > width_px:
        text = text[:-1]
    return text + "…"
