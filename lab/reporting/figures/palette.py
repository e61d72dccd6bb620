"""Colours of figures and page, for light and dark.

Owns: the colours, each with one meaning. Its rule: text has a contrast of at least 4.5 and lines of at least 3 to the ground they stand on
(WCAG 2.2, AA), in both; a colour is never the only sign. Not here: shapes of marks (`drawing.py`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, fields

__all__ = ["DARK", "LIGHT", "Palette", "contrast", "css_variables", "dark_svg", "themed_svg"]


@dataclass(frozen=True)
class Palette:
    """One scheme; every colour a different one, so that a drawing in one can be turned into another.

    Attributes:
        ground: Of page and figure.
        panel: Of tables' heads and boxes.
        ink: Text and marks.
        faint: Lesser text, axes.
        rule: Lines of the grid, which carry nothing.
        device: The node.
        edge: The node.
        cloud: The node.
        own: edgesplit's.
        other: Baselines'.
        predicted: What a plan said.
        published: The study's numbers.
        bad: Failures and missed claims.
        third: A further series.
        fourth: A further series.
    """

    ground: str
    panel: str
    ink: str
    faint: str
    rule: str
    device: str
    edge: str
    cloud: str
    own: str
    other: str
    predicted: str
    published: str
    bad: str
    third: str
    fourth: str

    def node(self, name: str, number: int) -> str:
        """Of a node: the study's three have their own, others by their number."""
        own = {"device": self.device, "edge": self.edge, "cloud": self.cloud}
        return own.get(name, (self.third, self.fourth, self.published, self.other)[number % 4])


LIGHT = Palette(
    ground="#fdfdfc",
    panel="#f1f3f1",
    ink="#1b1f24",
    faint="#57606a",
    rule="#dcdfdd",
    device="#b04a0f",
    edge="#1a68ad",
    cloud="#6b4bab",
    own="#00705f",
    other="#626973",
    predicted="#3d434b",
    published="#7a6400",
    bad="#b3261e",
    third="#9c2b60",
    fourth="#2f6b1f",
)
DARK = Palette(
    ground="#14171b",
    panel="#1f242a",
    ink="#e8eaed",
    faint="#a5adb8",
    rule="#343a42",
    device="#f29a64",
    edge="#6fb4f4",
    cloud="#bfa2f5",
    own="#4ccbb2",
    other="#98a1ad",
    predicted="#c9ced6",
    published="#d9bf4a",
    bad="#ff8a80",
    third="#f08ab8",
    fourth="#94d082",
)


def contrast(first: str, second: str) -> float:
    """Ratio of two colours' luminances, from 1 to 21 (WCAG 2.2, success criterion 1.4.3)."""
    high, low = sorted((_luminance(first), _luminance(second)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def css_variables(palette: Palette) -> str:
    """Declarations, one a colour."""
    return "".join(f"--{field.name}:{getattr(palette, field.name)};" for field in fields(palette))


def themed_svg(svg: str) -> str:
    """A drawing in LIGHT, its colours the page's variables."""
    return _replaced(svg, {getattr(LIGHT, field.name): f"var(--{field.name})" for field in fields(LIGHT)})


def dark_svg(svg: str) -> str:
    """A drawing in LIGHT, in DARK."""
    return _replaced(svg, {getattr(LIGHT, field.name): getattr(DARK, field.name) for field in fields(LIGHT)})


def _replaced(svg: str, by: dict[str, str]) -> str:
    return re.sub("|".join(by), lambda found: by[found[0]], svg)


def _luminance(colour: str) -> float:
    red, green, blue = (
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4
        for part in (int(colour[start : start + 2], 16) / 255 for start in (1, 3, 5))
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue
