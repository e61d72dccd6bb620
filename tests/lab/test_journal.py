"""What a stopped run finds again: whole lines of the same scenario, and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from lab.results import Cell, FailedStep, ModelFacts, PlanFacts, Setting
from lab.running.journal import Begin, CellDone, Journal, JournalForeign, ModelDone, StepFailed

SETTING = Setting(
    kernel="Linux", cpu="", cores=2, memory_bytes=1, python="3.11", packages={}, edgesplit_version="0", commit=""
)
BEGIN = Begin(digest="abc", command="python -m lab run mine", unix_s=1.0, setting=SETTING)
FACTS = ModelFacts(file_sha256="00", nbytes=1, operators=3, units=2)


def cell(name: str) -> Cell:
    return Cell(
        id=name,
        model="net",
        nodes=["device"],
        latency_weight=1.0,
        energy_weight=0.0,
        max_noise=0.0,
        at_unix_s=2.0,
        visit=1,
        round=1,
        plan=PlanFacts(
            status="optimal", predicted_s=0.1, predicted_j=1.0, predicted_noise=0.0, operators={}, components={}
        ),
        latencies_s=[0.1, 0.2],
    )


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "run" / "journal.jsonl"
    journal = Journal(path, "abc")
    assert journal.begin is None
    journal.start(BEGIN)
    journal.add(ModelDone(id="model:net", name="net", facts=FACTS))
    journal.add(CellDone(id="cell:1", cell=cell("cell:1"), seconds=3.0))
    return path


def test_what_was_finished_is_found_again(path: Path) -> None:
    journal = Journal(path, "abc")
    assert journal.begin == BEGIN
    assert journal.done == {"model:net", "cell:1"}
    assert not journal.torn
    first, second = journal.entries
    assert isinstance(first, ModelDone)
    assert isinstance(second, CellDone)
    assert second.cell.latencies_s == [0.1, 0.2]
    assert second.seconds == 3.0


def test_every_line_is_on_the_disk_when_it_is_added(path: Path) -> None:
    assert path.read_bytes().count(b"\n") == 3
    Journal(path, "abc").add(CellDone(id="cell:2", cell=cell("cell:2")))
    assert path.read_bytes().count(b"\n") == 4
    assert path.read_bytes().endswith(b"\n")


@pytest.mark.parametrize("cut", [1, 10, 200])
def test_a_torn_last_line_is_left_out_and_its_step_taken_again(path: Path, cut: int) -> None:
    whole = path.read_bytes()
    path.write_bytes(whole[:-cut])
    journal = Journal(path, "abc")
    assert journal.torn
    assert journal.done == {"model:net"}
    journal.add(CellDone(id="cell:1", cell=cell("cell:1"), seconds=3.0))
    assert path.read_bytes() == whole
    assert Journal(path, "abc").done == {"model:net", "cell:1"}


def test_a_journal_of_which_not_even_the_first_line_is_whole_is_a_new_one(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:20])
    journal = Journal(path, "abc")
    assert journal.begin is None
    assert path.read_bytes() == b""


def test_another_scenario_asks_for_a_fresh_start(path: Path) -> None:
    with pytest.raises(JournalForeign, match="is of another scenario, or of this one as it was"):
        Journal(path, "abd")


@pytest.mark.parametrize("line", [b"{}\n", b"no json\n", b'{"type":"luck"}\n', b"\xff\n"])
def test_a_whole_line_that_is_none_of_a_journals_is_not_passed_over(path: Path, line: bytes) -> None:
    path.write_bytes(path.read_bytes() + line)
    with pytest.raises(JournalForeign, match="has a line that is none of a journal's"):
        Journal(path, "abc")


def test_a_file_without_a_beginning_is_no_journal(path: Path) -> None:
    _, _, rest = path.read_bytes().partition(b"\n")
    path.write_bytes(rest)
    with pytest.raises(JournalForeign, match="does not begin as a journal does"):
        Journal(path, "abc")


def test_failed_steps_are_tried_again_and_forgotten_once_done(path: Path) -> None:
    journal = Journal(path, "abc")
    for reason in ("the link is down", "the node is gone"):
        journal.add(StepFailed(id="cell:2", failure=FailedStep(id="cell:2", reason=reason)))
    again = Journal(path, "abc")
    assert "cell:2" not in again.done
    assert [failure.reason for failure in again.failures] == ["the node is gone"]
    again.add(CellDone(id="cell:2", cell=cell("cell:2")))
    assert Journal(path, "abc").failures == []
