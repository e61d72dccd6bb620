"""How far readings of one prediction go, and what noise led to."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from bench.end_to_end.changes import Noticed, Unrest, Watched
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


def test_what_was_learned_from_the_first_requests_is_told_apart() -> None:
    early = [Reading(0.0, 1, 1.0, None, 1.0), Reading(30.0, 1, 1.2, None, 1.0)]
    late = [Reading(70.0, 1, 1.2, None, 1.0), Reading(80.0, 1, 1.2, None, 1.0)]
    found = wander([*early, *late])
    assert found.learned_spread == 0.0
    assert found.spread > 0.05
    assert wander(early).learned_spread is None


def test_a_change_is_missed_when_noticing_or_deciding_takes_too_long() -> None:
    assert not Noticed("x", 3.0, 9.0, "").missed
    assert Noticed("x", 3.0, 11.0, "").missed
    assert Noticed("x", None, None, "").missed
    assert not Noticed("x", 3.0, None, "", decides=False).missed
    assert not Noticed("x", None, None, "", aim_s=None).missed


def test_news_of_a_node_that_got_faster_are_not_those_of_one_that_got_slower() -> None:
    data = {"old_whole_s": 0.2, "new_whole_s": 0.4}
    event = {
        "kind": "profile-changed",
        "node": "edge",
        "text": "edge computes m in 400 ms instead of 200 ms",
        "data": data,
    }
    assert Watched("profile-changed", "edge", 10.0, slower=True).is_it(event)
    assert not Watched("profile-changed", "edge", 10.0, slower=False).is_it(event)
    assert not Watched("profile-changed", "device", 10.0, slower=True).is_it(event)
    assert not Watched("link-changed", "edge", 10.0).is_it(event)
    told_in_words: dict[str, Any] = {
        "kind": "link-changed",
        "node": None,
        "text": "link device -> edge went down",
        "data": {},
    }
    assert Watched("link-changed", "device", None).is_it(told_in_words)


def test_a_document_of_an_interrupted_run_has_what_there_was() -> None:
    document = Document(seed=3, ended="interrupted")
    document.findings.rows.append(ROW)
    document.findings.failed.append(Failed("m", "free", 1.0, 2.0, "no plan"))
    document.findings.misjudged.append((0.5, ["cloud to device at 38.9 MB/s"]))
    document.noticed.append(Noticed("halved", 1.0, None, "said"))
    document.unrest = Unrest(1.0, 1, 0, {"profile-changed": 2})
    document.close()
    told = msgspec.json.decode(document.to_json())
    assert told["ended"] == "interrupted"
    assert told["rows"][0]["row"]["predicted_s"] == 1.0
    assert told["summary"]["failed"] == 1
    assert told["wander"] is None
    assert document.missed
    shown = list(document.shown())
    assert len(shown) > 5
    assert any("38.9 MB/s" in text for text in shown if isinstance(text, str))


def test_nothing_found_is_a_document_too() -> None:
    document = Document(seed=1)
    assert msgspec.json.decode(document.to_json())["summary"] is None
    assert list(document.shown()) == []
    assert not document.missed
