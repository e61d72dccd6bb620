from __future__ import annotations

import pytest

from edgesplit.planning.plan import Assignment
from lab.dynamics.script import intervals, script_of
from lab.dynamics.strategies import Act, in_order, plan_changes, schedule
from lab.scenarios.scenario import STRATEGIES, GoalsChange, NodeDies, NodeReturns, RateChange

SPANS = intervals(
    script_of(
        [
            RateChange(at_s=10, ends=("device", "cloud"), bytes_per_s=1e6),
            NodeDies(at_s=20, node="cloud"),
            NodeReturns(at_s=30, node="cloud"),
        ],
        40.0,
    )
)
HERE, THERE = Assignment(node_of={"a": "device"}), Assignment(node_of={"a": "cloud"})
PLANS = (THERE, THERE, HERE, THERE)
CHANGES = [Act(10.0, "change", 1), Act(20.0, "change", 2), Act(30.0, "change", 3)]


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_the_world_changes_alike_for_all(strategy: str) -> None:
    acts = schedule(strategy, SPANS, PLANS, {})
    assert [act for act in acts if act.kind == "change"] == CHANGES
    assert [act.at_s for act in acts] == sorted(act.at_s for act in acts)


@pytest.mark.parametrize("strategy", [name for name in STRATEGIES if name not in {"oracle", "pause-resume"}])
def test_who_knows_nothing_does_nothing_else(strategy: str) -> None:
    assert list(schedule(strategy, SPANS, PLANS, {1: 2.0})) == CHANGES


def test_the_oracle_deploys_at_once_where_its_plan_is_another() -> None:
    acts = schedule("oracle", SPANS, PLANS, {})
    assert [act for act in acts if act.kind == "deploy"] == [Act(20.0, "deploy", 2), Act(30.0, "deploy", 3)]
    assert acts.index(CHANGES[1]) < acts.index(Act(20.0, "deploy", 2))


def test_pause_and_resume_waits_until_the_change_is_known() -> None:
    acts = schedule("pause-resume", SPANS, PLANS, {2: 1.5})
    assert [act for act in acts if act.kind == "replace"] == [Act(21.5, "replace", 2), Act(30.0, "replace", 3)]


def test_what_is_known_only_after_the_interval_changes_nothing() -> None:
    assert list(schedule("pause-resume", SPANS, (THERE, THERE, HERE, HERE), {2: 11.0})) == CHANGES


def test_a_fixed_plan_is_not_asked_for_goals() -> None:
    spans = intervals(script_of([GoalsChange(at_s=1, weights=(0.0, 1.0))], 3.0))
    kinds = {name: [act.kind for act in schedule(name, spans, (THERE, HERE), {})] for name in STRATEGIES}
    assert kinds["edgesplit"] == ["change", "goals"]
    assert kinds["oracle"] == ["change", "goals", "deploy"]
    assert kinds["pause-resume"] == ["change", "goals", "replace"]
    assert all(kinds[name] == ["change"] for name in STRATEGIES if name.startswith("static:"))


def test_a_plan_changes_with_precision_and_codecs_as_well() -> None:
    coded = Assignment(node_of={"a": "cloud"}, codecs={"x": "fp16"})
    assert plan_changes([THERE, THERE, coded, coded, HERE]) == (False, False, True, False, True)


def test_edgesplit_is_played_first_and_the_oracle_before_the_rest() -> None:
    assert in_order(["static:cloud", "pause-resume", "oracle", "edgesplit"]) == [
        "edgesplit",
        "oracle",
        "pause-resume",
        "static:cloud",
    ]


@pytest.mark.parametrize(
    ("strategy", "plans", "noticed", "sentence"),
    [
        ("guess", PLANS, {}, "there is no strategy guess"),
        ("oracle", (), {}, "needs the oracle's plans"),
        ("pause-resume", PLANS, {1: -1.0}, "before it is there"),
    ],
)
def test_what_cannot_be_played_is_said(
    strategy: str, plans: tuple[Assignment, ...], noticed: dict[int, float], sentence: str
) -> None:
    with pytest.raises(ValueError, match=sentence):
        schedule(strategy, SPANS, plans, noticed)
