"""Rounds after the grid's: of which comparisons, and that a resumed run goes on with the same."""

from __future__ import annotations

from pathlib import Path

import pytest

from lab.results import ANSWERING_METHOD, Cell, ModelFacts, PlanFacts, Results, Setting
from lab.running.journal import Begin, CellDone, Journal, ModelDone
from lab.running.lab import JOURNAL, Lab
from lab.running.progress import RunProgress
from lab.running.visiting.cells import GoalsCell, Visit, visits
from lab.running.visiting.undecided import undecided_visits
from lab.scenarios.scenario_file import LoadedScenario, parse

TEXT = """\
[scenario]
name = "mine"
[[machine]]
name = "device"
[[machine]]
name = "edge"
[[model]]
name = "net"
demo = true
[grid]
configurations = [["device", "edge"]]
weights = [[1, 0], [0, 1]]
max_noise = [0.0, 0.1]
rounds = 2
[baselines]
methods = ["device", "edge", "dads"]
more_rounds = 2
"""

SPREAD = (0.998, 1.0, 1.002)
"""Of requests, and of rounds."""

SETTING = Setting(
    kernel="Linux", cpu="", cores=2, memory_bytes=1, python="3.11", packages={}, edgesplit_version="0", commit=""
)

Slowness = dict[tuple[str, str], tuple[float, ...]]
"""By goals and method, of each round; 1 where nothing is said."""

LATENCY = "net/device+edge/1:0/0.1"


@pytest.fixture
def loaded() -> LoadedScenario:
    return parse(TEXT, "mine.toml", Path())


def _cell(visit: Visit, slowness: Slowness) -> Cell:
    """Baselines take twice as long as edgesplit's plans, unless something else is said."""
    said = slowness.get((visit.comparison.id, visit.method))
    usual = 1.0 if visit.method == ANSWERING_METHOD else 2.0
    factor = usual if said is None else said[visit.round - 1]
    middle = factor * SPREAD[visit.round % 3]
    comparison: GoalsCell = visit.comparison
    return Cell(
        id=visit.id,
        model=comparison.model,
        nodes=list(comparison.nodes),
        latency_weight=comparison.weights[0],
        energy_weight=comparison.weights[1],
        max_noise=comparison.max_noise,
        at_unix_s=float(visit.round),
        visit=1,
        round=visit.round,
        method=visit.method,
        plan=PlanFacts(
            status="optimal", predicted_s=1.0, predicted_j=1.0, predicted_noise=0.0, operators={}, components={}
        ),
        latencies_s=[middle * spread for spread in SPREAD],
        energy_j=3 * middle,
    )


def _results(loaded: LoadedScenario, cells: list[Cell]) -> Results:
    return Results(
        scenario={},
        scenario_name="mine",
        digest="abc",
        command="",
        began_unix_s=0.0,
        setting=SETTING,
        cells=[cell for cell in cells if cell.method == ANSWERING_METHOD],
        baselines=[cell for cell in cells if cell.method != ANSWERING_METHOD],
    )


def _grid(loaded: LoadedScenario, slowness: Slowness) -> list[Cell]:
    return [_cell(visit, slowness) for number in (1, 2) for visit in visits(loaded.scenario, number)]


def test_what_is_decided_is_not_visited_again(loaded: LoadedScenario) -> None:
    assert undecided_visits(loaded.scenario, _results(loaded, _grid(loaded, {})), 3) == []
    slower: Slowness = {(LATENCY, "dads"): (0.8, 0.8)}
    assert undecided_visits(loaded.scenario, _results(loaded, _grid(loaded, slower)), 3) == []


def test_what_lies_on_both_sides_of_three_per_cent_is_visited_again_and_nothing_else(loaded: LoadedScenario) -> None:
    slowness: Slowness = {(LATENCY, "dads"): (0.93, 1.02)}
    found = undecided_visits(loaded.scenario, _results(loaded, _grid(loaded, slowness)), 3)
    assert [(visit.comparison.id, visit.method, visit.round) for visit in found] == [
        (LATENCY, ANSWERING_METHOD, 3),
        (LATENCY, "dads", 3),
    ]


def test_energy_decides_where_energy_is_what_goals_ask_for(loaded: LoadedScenario) -> None:
    energy = "net/device+edge/0:1/0"
    slowness: Slowness = {
        (energy, "edge"): (0.93, 1.02),
        (energy, "dads"): (0.93, 1.02),
        (energy, "device"): (3.0, 3.0),
    }
    found = undecided_visits(loaded.scenario, _results(loaded, _grid(loaded, slowness)), 3)
    assert found[0].method == ANSWERING_METHOD
    assert {visit.comparison.id for visit in found} == {energy}
    assert {visit.method for visit in found[1:]} == {"edge", "dads"}


def test_results_of_the_round_itself_change_nothing(loaded: LoadedScenario) -> None:
    cells = _grid(loaded, {(LATENCY, "dads"): (0.93, 1.02)})
    found = undecided_visits(loaded.scenario, _results(loaded, cells), 3)
    later = [_cell(visit, {(LATENCY, "dads"): (0.0, 0.0, 5.0)}) for visit in found]
    assert undecided_visits(loaded.scenario, _results(loaded, [*cells, *later]), 3) == found


def _journal(folder: Path, loaded: LoadedScenario, cells: list[Cell]) -> None:
    journal = Journal(folder / JOURNAL, loaded.digest)
    journal.start(Begin(digest=loaded.digest, command="", unix_s=1.0, setting=SETTING))
    journal.add(ModelDone(id="model:net", name="net", facts=ModelFacts(file_sha256="", nbytes=1, operators=3, units=2)))
    for cell in cells:
        journal.add(CellDone(id=cell.id, cell=cell, seconds=1.0))


def _left(folder: Path, loaded: LoadedScenario) -> list[str]:
    lab = Lab(loaded, folder, "python -m lab run mine", RunProgress())
    return [step.id for step in lab.steps if step.id not in lab.done]


def test_a_resumed_run_goes_on_with_the_round_of_what_is_undecided(loaded: LoadedScenario, tmp_path: Path) -> None:
    slowness: Slowness = {(LATENCY, "dads"): (0.93, 1.02, 0.93, 1.02)}
    cells = _grid(loaded, slowness)
    _journal(tmp_path, loaded, cells)
    third = undecided_visits(loaded.scenario, _results(loaded, cells), 3)
    assert _left(tmp_path, loaded) == [visit.id for visit in third]
    cells += [_cell(third[0], slowness)]
    (tmp_path / JOURNAL).unlink()
    _journal(tmp_path, loaded, cells)
    assert _left(tmp_path, loaded) == [visit.id for visit in third[1:]]


def test_rounds_end_where_as_many_were_made_as_are_asked_for(loaded: LoadedScenario, tmp_path: Path) -> None:
    slowness: Slowness = {(LATENCY, "dads"): (0.93, 1.02, 0.93, 1.02)}
    cells = _grid(loaded, slowness)
    for number in (3, 4):
        found = undecided_visits(loaded.scenario, _results(loaded, cells), number)
        assert found
        cells += [_cell(visit, slowness) for visit in found]
    _journal(tmp_path, loaded, cells)
    assert _left(tmp_path, loaded) == []


def test_a_run_that_is_not_through_its_own_rounds_has_no_more(loaded: LoadedScenario, tmp_path: Path) -> None:
    cells = _grid(loaded, {(LATENCY, "dads"): (0.93, 1.02)})
    _journal(tmp_path, loaded, cells[:-1])
    assert _left(tmp_path, loaded) == [cells[-1].id]
