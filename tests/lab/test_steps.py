"""Steps of a run: which, in which order, how long."""

from __future__ import annotations

from pathlib import Path

import pytest

from lab.running.progress import hours
from lab.running.steps import left_s, steps_of
from lab.running.visiting.cells import comparisons, methods_of, visits
from lab.scenarios.scenario import Scenario
from lab.scenarios.scenario_file import load, parse

TEXT = """\
[scenario]
name = "mine"
[[machine]]
name = "device"
[[machine]]
name = "edge"
[[model]]
name = "first"
demo = true
[[model]]
name = "second"
demo = true
max_noise = [0.5]
[grid]
configurations = [["device"], ["device", "edge"]]
weights = [[1, 0], [0, 1]]
max_noise = [0.0, 0.1]
rounds = 2
[baselines]
methods = ["device", "edge", "dads"]
weights = [[1, 0]]
max_noise = [0.1, 0.5]
[dynamics]
strategies = ["static:device", "edgesplit"]
"""


@pytest.fixture
def scenario() -> Scenario:
    return parse(TEXT, "mine.toml", Path()).scenario


def test_a_model_has_a_cell_for_every_configuration_weights_and_bound(scenario: Scenario) -> None:
    assert len(comparisons(scenario, "first")) == 2 * 2 * 2
    assert [entry.max_noise for entry in comparisons(scenario, "second")] == [0.5] * 4
    assert comparisons(scenario, "first")[0].id == "first/device/1:0/0"


def test_a_comparison_has_the_baselines_that_its_nodes_and_goals_allow(scenario: Scenario) -> None:
    found = {entry.id: methods_of(scenario, entry) for entry in comparisons(scenario, "first")}
    assert found["first/device/1:0/0.1"] == ("device",)
    assert found["first/device+edge/1:0/0.1"] == ("device", "edge", "dads")
    assert found["first/device+edge/1:0/0"] == ()
    assert found["first/device+edge/0:1/0.1"] == ()


def test_every_round_visits_every_cell_once_in_another_order(scenario: Scenario) -> None:
    first, second = visits(scenario, 1), visits(scenario, 2)
    assert len({visit.id for visit in first}) == len(first) == 8 + 4 + 2 * (1 + 3)
    assert [(visit.comparison, visit.method) for visit in first] != [
        (visit.comparison, visit.method) for visit in second
    ]
    assert {(visit.comparison, visit.method) for visit in first} == {
        (visit.comparison, visit.method) for visit in second
    }


def test_the_order_is_the_same_every_time(scenario: Scenario) -> None:
    assert steps_of(scenario) == steps_of(scenario)


def test_baselines_are_visited_right_behind_the_plan_they_are_compared_with(scenario: Scenario) -> None:
    current = None
    for visit in visits(scenario, 1):
        if visit.method == "edgesplit":
            current = visit.comparison
        assert visit.comparison == current


def test_models_come_first_and_dynamics_last(scenario: Scenario) -> None:
    kinds = [step.kind for step in steps_of(scenario)]
    assert kinds[:2] == ["model", "model"]
    assert kinds[-2:] == ["dynamics", "dynamics"]
    assert [step.subject for step in steps_of(scenario)[-2:]] == ["static:device", "edgesplit"]
    ids = [step.id for step in steps_of(scenario)]
    assert len(set(ids)) == len(ids)


def test_what_is_left_shrinks_with_what_is_done_and_learns_from_what_that_took(scenario: Scenario) -> None:
    steps = steps_of(scenario)
    whole = left_s(steps, (), {})
    cells = [step for step in steps if step.kind == "edgesplit"]
    done = {step.id for step in cells[:6]}
    assert left_s(steps, done, {}) == pytest.approx(whole - sum(step.seconds for step in cells[:6]))
    slow = left_s(steps, done, {"edgesplit": [100.0] * 6})
    assert slow == pytest.approx(left_s(steps, done, {}) + sum(100.0 - step.seconds for step in cells[6:]))
    assert left_s(steps, done, {"edgesplit": [100.0]}) == left_s(steps, done, {})
    assert left_s(steps, {step.id for step in steps}, {}) == 0.0


def test_the_shipped_ones_keep_to_their_time() -> None:
    smoke, study = (left_s(steps_of(load(name).scenario), (), {}) for name in ("smoke", "study"))
    assert smoke <= 5 * 60
    assert study <= 3 * 3600


@pytest.mark.parametrize("seconds, text", [(40, "40 s"), (200, "3 min"), (7500, "2 h 05 min")])
def test_times_are_said_as_people_say_them(seconds: float, text: str) -> None:
    assert hours(seconds) == text
