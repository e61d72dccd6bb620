"""How much a visit measures."""

from __future__ import annotations

import pytest

from lab.running.visiting.measuring import request_count
from lab.scenarios.scenario import GridSpec

GRID = GridSpec(requests=11, least_requests=5, seconds=4.0)


@pytest.mark.parametrize("predicted_s, count", [(0.01, 11), (0.5, 8), (1.0, 5), (3.0, 5), (4.5, 1), (60.0, 1)])
def test_slow_plans_are_asked_less_often(predicted_s: float, count: int) -> None:
    assert request_count(GRID, predicted_s) == count


def test_a_model_with_a_task_answers_all_its_inputs_unless_each_takes_for_ever() -> None:
    assert request_count(GRID, 0.5, every=12) == 12
    assert request_count(GRID, 60.0, every=12) == 1


def test_no_more_is_asked_than_was_asked_for() -> None:
    assert request_count(GridSpec(requests=3, least_requests=5, seconds=4.0), 0.1) == 3
