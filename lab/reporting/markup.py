"""HTML parts: escaped text, tables that scroll by themselves and become cards on a phone, figures with their panels.

Owns: the elements. Its rule: whatever came from a scenario or a machine is escaped here, once. Not here: what the page says (`page.py`).
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from html import escape

from lab.reporting.figures.drawing import Drawing, Panel, panel_svg

__all__ = ["data_uri", "details", "figure", "section", "table", "text"]


def text(value: object) -> str:
    """Escaped, for element or attribute."""
    return escape(str(value), quote=True)


def data_uri(content: bytes, kind: str) -> str:
    """A link that holds what it links to."""
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"


def section(name: str, title: str, *parts: str) -> str:
    """With an anchor."""
    return f'<section id="{text(name)}"><h2>{text(title)}</h2>{"".join(parts)}</section>'


def details(summary: str, *parts: str) -> str:
    """Folded; print shows it open."""
    return f"<details><summary>{text(summary)}</summary>{''.join(parts)}</details>"


def table(label: str, head: Sequence[str], rows: Iterable[Sequence[str]], *, numbers_from: int = 1) -> str:
    """Of escaped text; columns from `numbers_from` on are set as numbers."""
    heads = "".join(
        f'<th scope="col"{_numeric(place, numbers_from)}>{text(name)}</th>' for place, name in enumerate(head)
    )
    body = "".join(
        "<tr>"
        + "".join(
            f'<th scope="row">{text(value)}</th>'
            if place == 0
            else f"<td{_numeric(place, numbers_from)}>{text(value)}</td>"
            for place, value in enumerate(row)
        )
        + "</tr>"
        for row in rows
    )
    return (
        f'<div class="scroll" role="region" tabindex="0" aria-label="{text(label)}"><table><thead><tr>{heads}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def figure(drawing: Drawing) -> str:
    """Panels beside or below each other as there is room, caption, the study's numbers."""
    panels = "".join(_panel(panel) for panel in drawing.panels)
    kind = "panels wide" if all(panel.wide for panel in drawing.panels) else f"panels of{drawing.columns}"
    beside = ""
    if len(drawing.published) > 1:
        head, *rows = drawing.published
        beside = table(f"Numbers beside {drawing.title}", head, rows)
    elif drawing.published:
        beside = f'<p class="faint">The study published: {text(drawing.published[0][-1])}.</p>'
    notes = "".join(f'<p class="missing">{text(note)}</p>' for note in drawing.notes)
    files = " ".join(f'<a href="{drawing.name}{end}">{end[1:]}</a>' for end in (".png", ".svg"))
    return (
        f'<figure id="{drawing.name}"><h3>{text(drawing.title)}</h3>'
        f'<div class="{kind}" role="img" aria-label="{text(drawing.alternative)}">{panels}</div>'
        f"<figcaption>{text(drawing.caption)} <span class=files>Figures: "
        f'<a href="#download-{drawing.data.removesuffix(".csv")}">{drawing.data}</a>; files beside this page: {files}</span>'
        f"</figcaption>{notes}{beside}</figure>"
    )


def _panel(panel: Panel) -> str:
    if not panel.wide:
        return f'<div class="panel"><p class="panel-title">{text(panel.title)}</p>{panel_svg(panel)}</div>'
    return (
        f'<div class="panel"><p class="panel-title">{text(panel.title)}</p>'
        f'<div class="on-narrow">{panel_svg(panel)}</div><div class="on-wide">{panel_svg(panel, wide=True)}</div></div>'
    )


def _numeric(place: int, numbers_from: int) -> str:
    return ' class="n"' if place >= numbers_from else ""
