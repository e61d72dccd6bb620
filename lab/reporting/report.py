"""A run's report: page, pictures and CSV files from its `results.json`.

Owns: which parts there are, and writing them. Its rule: the same results give the same files. Not here: any of the parts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lab.comparing.cell_goals import missing_goals
from lab.comparing.wins import Win, wins
from lab.reporting.analysis.claims import EvidenceClaim, claims
from lab.reporting.csv_files import CsvTable, csv_tables, write_csv
from lab.reporting.figures.courses import dynamics_drawing
from lab.reporting.figures.drawing import Drawing, save_drawing, save_pictures
from lab.reporting.figures.methods import methods_drawing
from lab.reporting.figures.noise_fits import noise_fit_drawing
from lab.reporting.figures.placements import components_drawing, operators_drawings
from lab.reporting.figures.predictions import prediction_drawings
from lab.reporting.figures.timelines import timeline_drawing
from lab.reporting.page import page
from lab.reporting.report_tables import report_tables
from lab.reporting.short import short_version
from lab.results import Results, read_results

__all__ = ["Findings", "drawings", "find", "write_report", "write_short"]


_SHORT_DPI = 96
"""Of pictures that are kept in a repository."""


@dataclass(frozen=True)
class Findings:
    """What follows from results, before it is drawn.

    Attributes:
        results: Themselves.
        wins: edgesplit beside each baseline.
        claims: With their verdicts.
        files: As CSV.
    """

    results: Results
    wins: tuple[Win, ...]
    claims: tuple[EvidenceClaim, ...]
    files: tuple[CsvTable, ...]


def find(results: Results) -> Findings:
    """Compute everything once."""
    found = wins(results)
    judged = claims(results, found)
    return Findings(results, tuple(found), tuple(judged), tuple(csv_tables(results, found, judged)))


def drawings(results: Results) -> list[Drawing]:
    """Of every model in turn: the study's nine as far as there are figures for them, then the course of time."""
    missing = [goals.text for goals in missing_goals(results)]
    found: list[Drawing | None] = []
    for name, model in results.models.items():
        found.append(noise_fit_drawing(name, model))
        found += prediction_drawings(name, results.cells, missing)
        found.append(methods_drawing(results, name))
        found += operators_drawings(name, results.cells)
        found.append(components_drawing(name, results.cells))
        found.append(timeline_drawing(name, results.cells))
        found.append(dynamics_drawing(name, results.dynamics))
    return [drawing for drawing in found if drawing is not None]


def write_report(folder: Path, *, pictures: bool = True) -> list[Path]:
    """Write `report.html`, pictures and CSV files beside `results.json`.

    Args:
        folder: That has `results.json`.
        pictures: PNG and SVG files too, which take most of the time.

    Returns:
        What was written, the page first.

    Raises:
        OSError: There is no `results.json`, or the folder cannot be written.
        msgspec.ValidationError: It is no results document.
    """
    found = find(read_results(folder / "results.json"))
    drawn = drawings(found.results)
    written = [_write(folder / "report.html", _page(found, drawn))]
    written += [_write(folder / file.name, write_csv(file)) for file in found.files]
    if pictures:
        for drawing in drawn:
            written += save_drawing(drawing, folder)
    return written


def write_short(folder: Path, path: Path) -> list[Path]:
    """Write the short version, with its pictures in a folder of the page's name beside it."""
    found = find(read_results(folder / "results.json"))
    drawn = drawings(found.results)
    pictures = path.parent / path.stem
    pictures.mkdir(parents=True, exist_ok=True)
    tables = report_tables(found.results, found.wins)
    written = [_write(path, short_version(found.results, found.claims, drawn, tables, path.stem))]
    for drawing in drawn:
        written += save_pictures(drawing, pictures, dpi=_SHORT_DPI)
    return written


def _page(found: Findings, drawn: Sequence[Drawing]) -> str:
    return page(found.results, found.claims, drawn, report_tables(found.results, found.wins), found.files)


def _write(path: Path, content: str) -> Path:
    path.write_text(content, encoding="utf-8")
    return path
