"""Figures are drawn from whatever there is, and their colours can be told apart."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from xml.etree import ElementTree

import pytest

from lab.reporting.figures.drawing import panel_svg, save_drawing
from lab.reporting.figures.palette import DARK, LIGHT, Palette, contrast
from lab.reporting.report import drawings
from lab.results import Results
from tests.lab.made_up_results import made_up_results

STUDY = (
    "noise-fit", "prediction-yolo-seg-device", "prediction-yolo-seg-device-edge", "prediction-yolo-seg-device-edge-cloud",
    "methods", "operators-yolo-seg-device-edge", "operators-yolo-seg-device-edge-cloud", "components", "parallel",
)  # fmt: skip


@pytest.fixture(scope="module")
def results() -> Results:
    return made_up_results(rounds=1)


def test_all_nine_figures_of_the_study_and_the_course_of_time_are_drawn(results: Results) -> None:
    names = [drawing.name for drawing in drawings(results)]
    assert [name for name in STUDY if not any(one.startswith(name) for one in names)] == []
    assert names[-1] == "over-time-yolo-seg"
    assert len(names) == len(STUDY) + 1


def test_what_a_figure_lacks_is_said_below_it(results: Results) -> None:
    notes = [note for drawing in drawings(results) for note in drawing.notes]
    assert "Not measured: yolo-seg, device + edge, latency weight 1, energy weight 0, max noise 0.2." in notes


def test_a_run_with_nothing_measured_has_no_figures(results: Results) -> None:
    empty = made_up_results(rounds=1)
    empty.cells, empty.baselines, empty.dynamics = [], [], []
    empty.models["yolo-seg"].fits = []
    assert drawings(empty) == []


def test_a_panel_takes_its_colours_from_the_page(results: Results) -> None:
    for drawing in drawings(results):
        for panel in drawing.panels:
            svg = panel_svg(panel)
            assert "var(--ink)" in svg
            assert [field.name for field in fields(LIGHT) if getattr(LIGHT, field.name) in svg] == []
            ElementTree.fromstring(svg)  # our own


def test_pictures_are_written_in_light_and_dark_and_are_the_same_each_time(results: Results, tmp_path: Path) -> None:
    drawing = drawings(results)[0]
    written = save_drawing(drawing, tmp_path)
    assert sorted(path.name for path in written) == [
        f"{drawing.name}{end}" for end in ("-dark.png", "-dark.svg", ".png", ".svg")
    ]
    before = {path: path.read_bytes() for path in written}
    assert {path: path.read_bytes() for path in save_drawing(drawing, tmp_path)} == before
    assert DARK.ground in before[tmp_path / f"{drawing.name}-dark.svg"].decode()


@pytest.mark.parametrize("palette", [LIGHT, DARK], ids=["light", "dark"])
def test_text_and_marks_stand_out_from_their_ground(palette: Palette) -> None:
    grounds = {"ground", "panel", "rule"}
    low = {
        (field.name, ground): contrast(getattr(palette, field.name), getattr(palette, ground))
        for field in fields(palette)
        if field.name not in grounds
        for ground in ("ground", "panel")
    }
    assert {pair: ratio for pair, ratio in low.items() if ratio < 4.5} == {}
    assert len({getattr(palette, field.name) for field in fields(palette)}) == len(fields(palette))
