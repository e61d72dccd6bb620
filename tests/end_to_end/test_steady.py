"""How far readings of one prediction go, and what noise led to."""

from __future__ import annotations

import msgspec
import pytest

from bench.end_to_end.changes import Noticed, Unrest
from bench.end_to_end.document import Document
from bench.end_to_end.plans.rows import Failed
from bench.end_to_end.steady import Reading, wander
from tests.end_to_end.test_summary import ROW


def reading(predicted_s: float, interval_s: tuple[float, float] | None = None, epoch: int = 1) -> Reading:
    return Reading(0.0, epoch, predicted_s, interval_s, 1.0)


def test_predictions_that_stay_within_two_percent_are_steady() -> None:
    found = wander([reading(1.0, (0.95, 1.05)), reading(1.02, (0.98, 1.06))])
    assert found.range == pytest.approx(0.02 / 1.01)
    assert found.widest == pytest.approx(0.1)
    assert not found.missed


@pytest.mark.parametrize(
    "readings",
    [
        [reading(1.0), reading(1.1)],
        [reading(1.0, (0.999, 1.001)), reading(1.02, (1.019, 1.021))],
        [reading(1.0), reading(1.0, epoch=2)],
    ],
    ids=["spread", "wider than its interval", "another plan"],
)
def test_a_prediction_that_wanders_is_missed(readings: list[Reading]) -> None:
    assert wander(readings).missed


def test_readings_of_another_plan_are_not_mixed_in() -> None:
    found = wander([reading(1.0), reading(1.0), reading(5.0, epoch=2)])
    assert (found.readings, found.spread, found.epochs) == (2, 0.0, 2)


def test_a_change_is_missed_when_noticing_or_deciding_takes_too_long() -> None:
    assert not Noticed("x", 3.0, 9.0, "").missed
    assert Noticed("x", 3.0, 11.0, "").missed
    assert Noticed("x", None, None, "").missed
    assert not Noticed("x", 3.0, None, "", decides=False).missed
    assert not Noticed("x", None, None, "", aim_s=None).missed


def test_a_document_of_an_interrupted_run_has_what_there_was() -> None:
    document = Document(seed=3, ended="interrupted")
    document.findings.rows.append(ROW)
    document.findings.failed.append(Failed("m", "free", 1.0, 2.0, "no plan"))
    document.noticed.append(Noticed("halved", 1.0, None, "said"))
    document.unrest = Unrest(1.0, 1, 0, {"profile-changed": 2})
    document.close()
    told = msgspec.json.decode(document.to_json())
    assert told["ended"] == "interrupted"
    assert told["rows"][0]["row"]["predicted_s"] == 1.0
    assert told["summary"]["failed"] == 1
    assert told["wander"] is None
    assert document.missed
    assert len(list(document.shown())) > 5


def test_nothing_found_is_a_document_too() -> None:
    document = Document(seed=1)
    assert msgspec.json.decode(document.to_json())["summary"] is None
    assert list(document.shown()) == []
    assert not document.missed
