"""An hour of figures, ten seconds apart, in bounded room."""

from __future__ import annotations

import pytest

from edgesplit_controller.dashboard.history import KEPT, MOST_EPOCHS, STEP_S, History

UNITS = {"watts": "W", "rate": "B/s"}


def test_an_hour_is_kept_and_what_was_not_told_is_missing() -> None:
    history = History()
    for number in range(KEPT + 10):
        figures: dict[str, float | None] = {"watts": float(number)} if number != KEPT else {}
        history.add(STEP_S * number, {"device": figures})
    document = history.document("device", UNITS, {"watts": "measured", "other": "measured"})
    assert (document.at_unix_s[0], document.at_unix_s[-1]) == (STEP_S * 10, STEP_S * (KEPT + 9))
    watts = document.series["watts"]
    assert (len(watts), watts[0], watts[-1], watts[-10]) == (KEPT, 10.0, KEPT + 9.0, None)
    assert (document.units, document.origin) == ({"watts": "W"}, {"watts": "measured"})


def test_a_figure_that_comes_later_has_no_past_and_its_kind_says_its_unit() -> None:
    history = History()
    history.add(0.0, {"device": {"watts": 1.0}})
    history.add(10.0, {"device": {"watts": 1.0, "rate:edge": 2.0}})
    document = history.document("device", UNITS, {})
    assert (document.series["rate:edge"], document.units["rate:edge"]) == ([None, 2.0], "B/s")


def test_nothing_is_kept_of_a_subject_that_nobody_sampled() -> None:
    document = History().document("device", UNITS, {})
    assert (document.at_unix_s, document.series, document.epochs) == ([], {}, ())


@pytest.mark.parametrize("rounds", [2, 5])
def test_who_is_gone_for_an_hour_is_forgotten_and_figures_too(rounds: int) -> None:
    history = History()
    for number in range(10):
        history.add(float(number), {f"node-{number}": {"watts": 1.0}, "stays": {"watts": 1.0, f"rate:{number}": 1.0}})
    for number in range(rounds * KEPT):
        history.add(10.0 + number, {"stays": {"watts": 2.0}})
    assert [f"node-{number}" in history for number in range(10)] == [False] * 10
    assert history.document("stays", UNITS, {}).series.keys() == {"watts"}


def test_epochs_are_noted_when_another_answers_and_are_bounded() -> None:
    history = History()
    for number, epoch in enumerate((1, 1, None, 2, 2)):
        history.answers("m", epoch, float(number))
    history.add(5.0, {"m": {}})
    rows = [(row.epoch, row.from_unix_s) for row in history.document("m", UNITS, {}).epochs]
    assert rows == [(1, 0.0), (None, 2.0), (2, 3.0)]
    for number in range(1000):
        history.answers("m", number, float(number))
    assert len(history.document("m", UNITS, {}).epochs) == MOST_EPOCHS
