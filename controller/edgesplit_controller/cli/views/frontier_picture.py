"""A frontier as a picture.

Owns: the drawing. Its rule: axes say quantity and unit, the active plan is marked, colours do not carry meaning alone.
Not here: computing points, files. Needs Pillow ([demo] extra).
"""

from __future__ import annotations

import io
import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageFont

from edgesplit.formatting import joules, rate, time_span
from edgesplit.operations.study_operations import FrontierDocument, FrontierRow

__all__ = ["draw_frontier", "labels", "ticks"]

WIDTH, HEIGHT = 960, 600
LEFT, RIGHT, TOP, BOTTOM = 110, 40, 70, 80
INK, FAINT, LINE, MARK = (30, 34, 40), (222, 226, 231), (33, 102, 172), (200, 70, 20)
RADIUS = 5
LEAST_SPAN = 0.05
"""An axis shows at least this share of its largest value. [1]"""


@dataclass(frozen=True)
class _Axis:
    """Maps values to pixels.

    Attributes:
        low: Value at the axis' start.
        high: Value at its end.
        start: Pixel of `low`.
        end: Pixel of `high`.
    """

    low: float
    high: float
    start: int
    end: int

    def pixel(self, value: float) -> float:
        """Where a value is."""
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)


@dataclass(frozen=True)
class _Quantity:
    """What an axis shows.

    Attributes:
        name: Below or above its axis.
        scales: Factor and unit, the largest first.
        of: Its value of a plan.
        text: Its value for people.
    """

    name: str
    scales: Sequence[tuple[float, str]]
    of: Callable[[FrontierRow], float]
    text: Callable[[float], str]


_QUANTITIES = {
    "latency": _Quantity(
        "latency per request", ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs")), lambda row: row.latency_s, time_span
    ),
    "energy": _Quantity(
        "energy per request", ((1.0, "J"), (1e-3, "mJ"), (1e-6, "µJ")), lambda row: row.energy_j, joules
    ),
    "rate": _Quantity("rate", ((1.0, "/s"),), lambda row: row.rate_hz or 0.0, rate),
}


def draw_frontier(document: FrontierDocument) -> bytes:
    """Draw what the first axis counts (right) against the second (up).

    Returns:
        A PNG file's bytes.
    """
    image = Image.new("RGB", (WIDTH, HEIGHT), "white")
    pen = ImageDraw.Draw(image)
    rows = [*document.points, document.active]
    first, second = (_QUANTITIES[name] for name in document.axes.split(","))
    across = _axis([first.of(row) for row in rows], LEFT, WIDTH - RIGHT)
    up = _axis([second.of(row) for row in rows], HEIGHT - BOTTOM, TOP)
    _grid(pen, (across, first), (up, second), document.latency_model)
    spots = [(across.pixel(first.of(row)), up.pixel(second.of(row))) for row in document.points]
    # A plan dominates all that is right of it and no better in the other: between two points the frontier is a step.
    for (x, y), (next_x, next_y) in itertools.pairwise(spots):
        pen.line([(x, y), (next_x, y), (next_x, next_y)], fill=LINE, width=2)
    for (x, y), row in zip(spots, document.points, strict=True):
        proven = row.status == "optimal"
        box = (x - RADIUS, y - RADIUS, x + RADIUS, y + RADIUS)
        pen.ellipse(box, fill=LINE if proven else "white", outline=LINE, width=2)
    place = across.pixel(first.of(document.active)), up.pixel(second.of(document.active))
    _mark(pen, *place, ", ".join(shown.text(shown.of(document.active)) for shown in (first, second)))
    title = f"{document.model}: {document.axes.replace(',', ' and ')} of the best plans"
    pen.text((20, 14), title, fill=INK, font=ImageFont.load_default(20))
    _legend(pen)
    stream = io.BytesIO()
    image.save(stream, "PNG")
    return stream.getvalue()


def ticks(low: float, high: float, wanted: int = 6) -> list[float]:
    """Round values between two bounds, at steps of 1, 2 or 5 times a power of ten."""
    raw = (high - low) / wanted
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= raw)
    first = math.ceil(low / step - 1e-9)
    return [count * step for count in range(first, math.floor(high / step + 1e-9) + 1)]


def labels(values: list[float], scales: Sequence[tuple[float, str]]) -> list[str]:
    """Values of one axis in one unit, with as many decimals as tell them apart.

    Args:
        values: Evenly spaced, rising.
        scales: Factor and unit, the largest first.
    """
    factor, unit = next((scale for scale in scales if values[-1] >= scale[0]), scales[-1])
    step = (values[1] - values[0]) / factor if len(values) > 1 else 1.0
    decimals = max(0, -math.floor(math.log10(step) + 1e-9))
    return [f"{value / factor:.{decimals}f} {unit}" for value in values]


def _axis(values: list[float], start: int, end: int) -> _Axis:
    low, high = min(values), max(values)
    # Differences that do not matter must not fill the picture.
    room = max((high - low) * 0.08, (LEAST_SPAN * high - (high - low)) / 2) or 1.0
    return _Axis(max(0.0, low - room), high + room, start, end)


def _grid(
    pen: ImageDraw.ImageDraw, right: tuple[_Axis, _Quantity], above: tuple[_Axis, _Quantity], latency_model: str
) -> None:
    font, (across, first), (up, second) = ImageFont.load_default(14), right, above
    values = ticks(across.low, across.high)
    for value, label in zip(values, labels(values, first.scales), strict=True):
        x = across.pixel(value)
        pen.line([(x, up.start), (x, up.end)], fill=FAINT)
        pen.text((x, up.start + 8), label, fill=INK, font=font, anchor="ma")
    values = ticks(up.low, up.high)
    for value, label in zip(values, labels(values, second.scales), strict=True):
        y = up.pixel(value)
        pen.line([(across.start, y), (across.end, y)], fill=FAINT)
        pen.text((across.start - 10, y), label, fill=INK, font=font, anchor="rm")
    pen.line([(across.start, up.end), (across.start, up.start), (across.end, up.start)], fill=INK, width=2)
    middle = (across.start + across.end) / 2
    counted = f" ({latency_model})" if first is _QUANTITIES["latency"] else ""
    name = f"predicted {first.name}{counted}"
    pen.text((middle, up.start + 44), name, fill=INK, font=font, anchor="ma")
    pen.text((20, up.end - 10), f"predicted {second.name}", fill=INK, font=font, anchor="ls")


def _mark(pen: ImageDraw.ImageDraw, x: float, y: float, figures: str) -> None:
    size = RADIUS + 4
    pen.polygon([(x, y - size), (x + size, y), (x, y + size), (x - size, y)], outline=MARK, fill="white", width=3)
    text = f"active plan: {figures}"
    leftwards = x > WIDTH / 2
    place, anchor = ((x - 14, y - 14), "rs") if leftwards else ((x + 14, y - 14), "ls")
    pen.text(place, text, fill=MARK, font=ImageFont.load_default(15), anchor=anchor)


def _legend(pen: ImageDraw.ImageDraw) -> None:
    font, y = ImageFont.load_default(13), 32
    x = WIDTH - RIGHT - 290.0
    for filled, text in ((True, "proven"), (False, "not proven in time")):
        box = (x - RADIUS, y - RADIUS, x + RADIUS, y + RADIUS)
        pen.ellipse(box, fill=LINE if filled else "white", outline=LINE, width=2)
        pen.text((x + 12, y), text, fill=INK, font=font, anchor="lm")
        x += 24 + pen.textlength(text, font=font) + 14
