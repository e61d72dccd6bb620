"""The report's files: CSV that reads back, one page that needs nothing else, the commands that write and compare them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from lab.__main__ import main
from lab.reporting.csv_files import read_csv, write_csv
from lab.reporting.report import Findings, drawings, find, write_report
from lab.reporting.report_tables import report_tables
from lab.reporting.short import short_version
from lab.results import Results, read_results, write_results
from tests.lab.made_up_results import made_up_results


@pytest.fixture(scope="module")
def results() -> Results:
    return made_up_results(rounds=1)


@pytest.fixture(scope="module")
def findings(results: Results) -> Findings:
    return find(results)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, results: Results) -> Path:
    folder = tmp_path_factory.mktemp("made-up")
    write_results(folder / "results.json", results)
    write_report(folder, pictures=False)
    return folder


def test_results_read_back_as_they_were_written(results: Results, folder: Path) -> None:
    assert read_results(folder / "results.json") == read_results(folder / "results.json")
    assert read_results(folder / "results.json").cells == results.cells
    assert [path.name for path in folder.glob("*.new")] == []


def test_every_value_of_a_csv_file_reads_back(findings: Findings) -> None:
    for table in findings.files:
        rows = read_csv(write_csv(table))
        assert len(rows) == len(table.rows), table.name
        for row, values in zip(rows, table.rows, strict=True):
            for text, value in zip(row.values(), values, strict=True):
                read = None if text == "" and value is None else type(value)(text) if isinstance(value, float) else text
                assert read == (value if isinstance(value, float) or value is None else str(value))


def test_a_claim_can_be_followed_to_its_cells(findings: Findings) -> None:
    cells = {row["id"] for table in findings.files if table.name == "cells.csv" for row in read_csv(write_csv(table))}
    used = {
        cell
        for table in findings.files
        if table.name == "comparisons.csv"
        for row in read_csv(write_csv(table))
        for cell in row["cells"].split()
    }
    assert used
    assert used <= cells
    assert {claim.data for claim in findings.claims} <= {table.name for table in findings.files}


def test_the_page_needs_nothing_from_anywhere(folder: Path) -> None:
    page = (folder / "report.html").read_text()
    sources = re.findall(r'(?:src|href|url)\s*[=(]\s*["\']?([^"\')>\s]+)', page)
    outside = [one for one in sources if not one.startswith(("#", "data:")) and (folder / one).suffix != ".png"]
    assert [one for one in outside if not one.endswith(".svg")] == []
    assert "http" not in re.sub(r'xmlns(:\w+)?="[^"]+"', "", page)
    assert "<script" not in page


def test_what_a_scenario_says_is_text_on_the_page(folder: Path) -> None:
    page = (folder / "report.html").read_text()
    assert "Made-up processor &lt;&amp;&gt; 2.0 GHz" in page
    assert "no plan keeps the bound &lt;0.2&gt;" in page


def test_the_page_says_that_a_run_is_not_finished_and_every_verdict(folder: Path, findings: Findings) -> None:
    page = (folder / "report.html").read_text()
    assert "This run is not finished" in page
    assert all(f"</span> <span>{claim.sentence.replace(chr(39), '&#x27;')}" in page for claim in findings.claims)


def test_the_same_results_give_the_same_page(folder: Path) -> None:
    before = (folder / "report.html").read_bytes()
    write_report(folder, pictures=False)
    assert (folder / "report.html").read_bytes() == before


def test_the_short_version_is_made_of_the_same_claims_and_is_the_same_each_time(findings: Findings) -> None:
    results = findings.results
    texts = {
        short_version(results, findings.claims, drawings(results), report_tables(results, findings.wins), "evidence")
        for _ in range(2)
    }
    assert len(texts) == 1
    text = texts.pop()
    assert all(f"| **{claim.verdict}** | {claim.sentence} |" in text for claim in findings.claims)
    assert "modelled power × measured time" in text
    columns = [line.count("|") - line.count("\\|") for line in text.splitlines() if line.startswith("| **")]
    assert set(columns) == {7}


def test_the_report_is_drawn_again_by_its_command(folder: Path, tmp_path: Path) -> None:
    done = CliRunner().invoke(main, ["report", str(folder), "--no-pictures"])
    assert (done.exit_code, done.output.splitlines()[0]) == (0, str(folder / "report.html"))
    empty = CliRunner().invoke(main, ["report", str(tmp_path)])
    assert empty.exit_code == 2
    assert "there is no results.json" in empty.output


def test_two_runs_of_a_scenario_agree_and_one_that_is_slower_does_not(tmp_path: Path) -> None:
    made = {
        "first": made_up_results(1, complete=True),
        "second": made_up_results(2, complete=True),
        "slower": made_up_results(3, complete=True, slowness=lambda _cell: 1.5),
    }
    for name, run in made.items():
        run.cells = [cell for cell in run.cells if cell.max_noise in {0.0, 0.05} and cell.latency_weight == 1]
        (tmp_path / name).mkdir()
        write_results(tmp_path / name / "results.json", run)
    alike = CliRunner().invoke(main, ["compare", str(tmp_path / "first"), str(tmp_path / "first")])
    assert alike.exit_code == 0, alike.output
    assert "APART" not in alike.output
    told = CliRunner().invoke(main, ["compare", str(tmp_path / "first"), str(tmp_path / "slower")])
    assert told.exit_code == 1
    assert "APART: latency beside device only: yolo-seg, device" in told.output


def test_runs_of_different_scenarios_are_not_compared(tmp_path: Path) -> None:
    for name in ("one", "other"):
        run = made_up_results(rounds=1)
        run.digest = name
        (tmp_path / name).mkdir()
        write_results(tmp_path / name / "results.json", run)
    done = CliRunner().invoke(main, ["compare", str(tmp_path / "one"), str(tmp_path / "other")])
    assert done.exit_code == 2
    assert "different scenarios" in done.output
