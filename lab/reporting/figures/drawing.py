"""Panels and figures drawn with matplotlib: as SVG that follows the page's colours, and as files.

Owns: sizes, type, rendering. Its rule: a panel is drawn by one function onto axes it is given, so that the page can set panels beside or
below each other as its width allows, and a file can hold them all. No state of matplotlib's is kept: figures are made without
pyplot, settings hold within one drawing. Not here: what is drawn.
"""

from __future__ import annotations

import io
import re
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from lab.reporting.figures.palette import DARK, LIGHT, Palette, dark_svg, themed_svg

__all__ = ["Drawing", "Panel", "panel_svg", "save_drawing", "save_pictures"]

Draw = Callable[[Axes, Palette], None]

NARROW_IN = 4.55
"""328 points: what a phone of 360 pixels leaves. [inch]"""
WIDE_IN = 13.6
_DPI = 160


@dataclass(frozen=True)
class Panel:
    """One pair of axes.

    Attributes:
        title: Above it.
        draw: Onto the axes.
        height_in: In a column of NARROW_IN. [inch]
        wide: Needs the page's whole width where there is some, and is then drawn for it.
        legend_below: Its lines are named below it; in one picture of all panels, once.
    """

    title: str
    draw: Draw
    height_in: float = 3.1
    wide: bool = False
    legend_below: bool = False


@dataclass(frozen=True)
class Drawing:
    """A figure.

    Attributes:
        name: Of its files, and anchor.
        title: Heading.
        caption: What is shown, what is predicted, modelled or measured, and from which cells.
        alternative: What somebody who cannot see it should know.
        panels: In reading order.
        published: The study's numbers beside it, as rows of a small table with a heading.
        notes: What is missing, in sentences.
        data: Name of the CSV file with its figures.
        columns: That its panels are set in at most.
    """

    name: str
    title: str
    caption: str
    alternative: str
    panels: tuple[Panel, ...]
    published: tuple[tuple[str, ...], ...] = ()
    notes: tuple[str, ...] = ()
    data: str = "cells.csv"
    columns: int = 3


def panel_svg(panel: Panel, *, wide: bool = False) -> str:
    """An `svg` element in the page's colours, which takes the width it is given."""
    width_in = WIDE_IN if wide else NARROW_IN
    with rc_context(_settings(LIGHT)):
        figure = Figure(figsize=(width_in, panel.height_in * (1.15 if wide else 1)), layout="constrained")
        _draw(figure.add_subplot(), panel, LIGHT, titled=False)
        _legend_below(figure, [panel], columns=7 if wide else 3)
        svg = _svg(figure)
    return themed_svg(_element(svg, panel.title))


def save_drawing(drawing: Drawing, folder: Path) -> list[Path]:
    """All panels in one picture: NAME.svg and NAME-dark.svg, and as `save_pictures`."""
    with rc_context(_settings(LIGHT)):
        svg = _svg(_composed(drawing, LIGHT))
    paths = [folder / f"{drawing.name}.svg", folder / f"{drawing.name}-dark.svg"]
    paths[0].write_text(svg, encoding="utf-8")
    paths[1].write_text(dark_svg(svg), encoding="utf-8")
    return [*paths, *save_pictures(drawing, folder)]


def save_pictures(drawing: Drawing, folder: Path, *, dpi: int = _DPI) -> list[Path]:
    """All panels in NAME.png, and in NAME-dark.png for dark pages."""
    paths = []
    for palette, ending in ((LIGHT, ".png"), (DARK, "-dark.png")):
        with rc_context(_settings(palette)):
            path = folder / f"{drawing.name}{ending}"
            figure = _composed(drawing, palette)
            FigureCanvasAgg(figure)
            figure.savefig(path, dpi=dpi, facecolor=palette.ground, metadata={"Software": ""})
            paths.append(path)
    return paths


def _composed(drawing: Drawing, palette: Palette) -> Figure:
    """Small panels in rows, wide ones in rows of their own."""
    columns = min(sum(not panel.wide for panel in drawing.panels), drawing.columns) or 1
    rows: list[list[Panel]] = []
    for panel in drawing.panels:
        if panel.wide or not rows or rows[-1][0].wide or len(rows[-1]) == columns:
            rows.append([panel])
        else:
            rows[-1].append(panel)
    width_in = max(columns * NARROW_IN, 2 * NARROW_IN if any(panel.wide for panel in drawing.panels) else 0)
    heights = [max(panel.height_in for panel in row) + 0.35 for row in rows]
    figure = Figure(figsize=(width_in, sum(heights)), layout="constrained", facecolor=palette.ground)
    grid = figure.add_gridspec(len(rows), columns, height_ratios=heights)
    for number, row in enumerate(rows):
        for column, panel in enumerate(row):
            place = grid[number, :] if panel.wide else grid[number, column]
            _draw(figure.add_subplot(place), panel, palette, titled=True)
    _legend_below(figure, [panel for row in rows for panel in row], columns=5)
    return figure


def _legend_below(figure: Figure, panels: Sequence[Panel], *, columns: int) -> None:
    for axes, panel in zip(figure.axes, panels, strict=True):
        if panel.legend_below:
            handles, labels = axes.get_legend_handles_labels()
            figure.legend(handles, labels, loc="outside lower center", ncols=columns)
            return


def _draw(axes: Axes, panel: Panel, palette: Palette, *, titled: bool) -> None:
    panel.draw(axes, palette)
    if titled:
        axes.set_title(panel.title, loc="left", fontsize=11, fontweight="bold")
    axes.set_axisbelow(True)


def _svg(figure: Figure) -> str:
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None}, facecolor=LIGHT.ground)
    return buffer.getvalue()


def _element(svg: str, title: str) -> str:
    """The `svg` element alone, of no fixed size, hidden from screen readers: the figure has a text of its own."""
    start = svg.index("<svg")
    inner = svg[svg.index(">", start) + 1 :]
    box = re.search(r'viewBox="([^"]+)"', svg)
    assert box is not None
    inner = re.sub(r"<metadata>.*?</metadata>", "", inner, flags=re.DOTALL)
    mark = f"p{zlib.crc32((title + svg).encode()):x}"
    inner = re.sub(r'\bid="([^"]+)"', rf'id="{mark}-\1"', inner)
    inner = re.sub(r'(href="#|url\(#)', rf"\1{mark}-", inner)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" viewBox="{box[1]}" '
        f'aria-hidden="true" focusable="false">{inner}'
    )


def _settings(palette: Palette) -> dict[Any, Any]:
    return {
        "svg.fonttype": "none",
        "svg.hashsalt": "edgesplit",
        "font.family": ["DejaVu Sans"],
        "font.size": 10,
        "axes.edgecolor": palette.faint,
        "axes.facecolor": palette.ground,
        "axes.labelcolor": palette.ink,
        "axes.titlecolor": palette.ink,
        "axes.linewidth": 0.8,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "axes.grid.axis": "y",
        "axes.labelsize": 10,
        "grid.color": palette.rule,
        "grid.linewidth": 0.8,
        "figure.facecolor": palette.ground,
        "hatch.linewidth": 0.8,
        "legend.frameon": False,
        "legend.fontsize": 9,
        "legend.labelcolor": palette.ink,
        "legend.handlelength": 1.6,
        "lines.linewidth": 1.6,
        "text.color": palette.ink,
        "xtick.color": palette.faint,
        "ytick.color": palette.faint,
        "xtick.labelcolor": palette.ink,
        "ytick.labelcolor": palette.ink,
        "xtick.labelsize": 9,
        "ytick.labelsize": 9,
    }
