"""Reaction and regret on series that are written down."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from lab.dynamics.outcome.observations import Heard
from lab.dynamics.outcome.reaction import lost, noticed, oracle_plans, reactions, regret_s
from lab.dynamics.script import Interval
from lab.play_results import EnergySample, OraclePlan, PlanCost, Reaction, TracedRequest
from lab.scenarios.scenario import GoalsChange, NodeDies, RateChange

FALL = RateChange(at_s=10, ends=("device", "cloud"), bytes_per_s=1e6)
SPANS = (Interval(0.0, 10.0, ()), Interval(10.0, 20.0, (FALL,)))
BEST = [OraclePlan(from_s=0.0, to_s=10.0, latency_s=0.5), OraclePlan(from_s=10.0, to_s=20.0, latency_s=1.0)]


def series(*parts: tuple[float, float, float, int]) -> list[TracedRequest]:
    """Requests one after another: from, to, latency, epoch."""
    found = []
    for from_s, to_s, latency_s, epoch in parts:
        at_s = from_s
        while at_s < to_s - 1e-9:
            found.append(TracedRequest(at_s=at_s, latency_s=latency_s, epoch=epoch))
            at_s += latency_s
    return found


def only(
    requests: Sequence[TracedRequest],
    *,
    events: Sequence[Heard] = (),
    moved: bool = True,
    weights: tuple[float, float] = (1.0, 0.0),
    energy: Sequence[EnergySample] = (),
    oracle: Sequence[OraclePlan] = BEST,
    spans: Sequence[Interval] = SPANS,
    plan_costs: Sequence[PlanCost] = (),
) -> Reaction:
    (found,) = reactions(
        spans,
        requests,
        events,
        oracle,
        (False, moved),
        weights=((1.0, 0.0), weights),
        energy=energy,
        plan_costs=plan_costs,
    )
    return found


def test_settled_is_the_first_answer_from_which_on_requests_are_near() -> None:
    """One of 2 s, then 1 s each: the first quick one is answered at 13."""
    requests = series((0, 10, 0.5, 1), (10, 12, 2.0, 1), (12, 20, 1.0, 2))
    assert only(requests).within_5_percent_s == pytest.approx(3.0)
    assert only(series((0, 10, 0.5, 1), (10, 20, 1.0, 1))).within_5_percent_s == pytest.approx(1.0)


def test_who_never_comes_near_has_no_figure() -> None:
    requests = series((0, 10, 0.5, 1), (10, 20, 1.06, 1))
    assert only(requests).within_5_percent_s is None
    assert only(series((0, 10, 0.5, 1), (10, 20, 1.04, 1))).within_5_percent_s is not None


def test_a_lucky_window_is_not_settled() -> None:
    latencies = [2.0, 0.5, 2.0, 0.5, 0.5, 2.0, 2.0, 2.0]
    requests = series((0, 10, 0.5, 1))
    at_s = 10.0
    for latency_s in latencies:
        requests.append(TracedRequest(at_s=at_s, latency_s=latency_s, epoch=1))
        at_s += latency_s
    assert only(requests).within_5_percent_s is None


def test_what_is_seen_too_late_to_last_is_not_settled() -> None:
    requests = series((0, 10, 0.5, 1), (10, 14, 2.0, 1), (14, 20, 1.0, 2))
    assert only(requests).within_5_percent_s is None


def test_quicker_than_the_oracle_is_settled() -> None:
    assert only(series((0, 10, 0.5, 1), (10, 20, 0.7, 2))).within_5_percent_s is not None


@pytest.mark.parametrize(
    ("weights", "joules", "settled"),
    [
        ((0.0, 1.0), 2.08, True),  # however slow it is
        ((0.0, 1.0), 2.12, False),  # however quick
        ((0.5, 0.5), 2.5, True),  # what it is hungrier by it is quicker by
        ((0.5, 0.5), 3.0, False),
        ((0.0, 1.0), None, False),  # nobody knows
    ],
)
def test_near_is_what_costs_as_much_by_the_goals(
    weights: tuple[float, float], joules: float | None, settled: bool
) -> None:
    """The oracle's take 1 s and 2 J; requests take 0.75 s from 10 on."""
    oracle = [BEST[0], OraclePlan(from_s=10.0, to_s=20.0, latency_s=1.0, joules=2.0)]
    requests = series((0, 10, 0.5, 1), (10, 20, 0.75, 2))
    energy = [EnergySample(at_s=at_s, joules=9.0) for at_s in (4.0, 8.0)]
    if joules is not None:
        energy += [EnergySample(at_s=at_s, joules=joules) for at_s in (16.0, 20.0)]
    found = only(requests, weights=weights, energy=energy, oracle=oracle)
    assert (found.within_5_percent_s is not None) == settled


def costs(*latencies_s: float) -> list[PlanCost]:
    """Of the oracle's plan and epochs 1, 2, … in the second interval; 1 J for each second."""
    return [
        PlanCost(interval=1, epoch=epoch, latency_s=latency_s, joules=1 / latency_s)
        for epoch, latency_s in enumerate(latencies_s)
    ]


@pytest.mark.parametrize(
    ("latencies_s", "weights", "settled_s"),
    [
        ((1.0, 1.5, 1.04), (1.0, 0.0), 5.0),  # the first answer of epoch 2
        ((1.0, 1.5, 1.06), (1.0, 0.0), None),
        ((1.0, 1.0, 1.0), (1.0, 0.0), 2.0),  # the plan before is as good: the first answer
        ((1.0, 1.0, 1.5), (1.0, 0.0), None),  # what it ends with counts
        ((1.0, 1.5, 2.0), (0.0, 1.0), 2.0),  # slow, and less hungry
        ((1.0, 0.5, 0.7), (0.0, 1.0), None),
    ],
)
def test_by_plans_a_change_is_settled_when_only_plans_that_would_be_near_answer(
    latencies_s: tuple[float, ...], weights: tuple[float, float], settled_s: float | None
) -> None:
    """Requests take 2 s, then 1, whatever was modelled: another day's machine."""
    requests = series((0, 10, 0.5, 1), (10, 14, 2.0, 1), (14, 20, 1.0, 2))
    found = only(requests, weights=weights, plan_costs=costs(*latencies_s))
    assert found.plan_within_5_percent_s == (None if settled_s is None else pytest.approx(settled_s))


def test_a_plan_of_which_nothing_is_known_is_near_no_other() -> None:
    requests = series((0, 10, 0.5, 1), (10, 14, 2.0, 7), (14, 20, 1.0, 2))
    assert only(requests, plan_costs=costs(1.0, 1.0, 1.0)).plan_within_5_percent_s == pytest.approx(5.0)
    assert only(requests).plan_within_5_percent_s is None


def test_the_oracles_energy_is_that_of_the_plan_it_ends_with() -> None:
    requests = series((0, 10, 0.5, 1), (10, 14, 2.0, 1), (14, 20, 1.0, 2))
    energy = [EnergySample(at_s=at_s, joules=joules) for at_s, joules in ((4, 1.0), (8, 1.0), (12, 5.0), (18, 2.0))]
    assert [plan.joules for plan in oracle_plans(SPANS, requests, energy)] == [1.0, 2.0]
    assert [plan.joules for plan in oracle_plans(SPANS, requests)] == [None, None]


def test_too_few_requests_show_nothing() -> None:
    assert only(series((0, 10, 0.5, 1), (10, 20, 3.0, 1))).within_5_percent_s is None


def test_switched_is_when_another_epoch_answers() -> None:
    requests = series((0, 10, 0.5, 1), (10, 14, 2.0, 1), (14, 20, 1.0, 2))
    assert only(requests).switched_s == pytest.approx(5.0)


def test_where_the_oracle_stays_who_stays_switched_at_once() -> None:
    stays = series((0, 10, 0.5, 1), (10, 20, 1.0, 1))
    assert only(stays).switched_s is None
    found = only(stays, moved=False)
    assert (found.switched_s, found.oracle_stays) == (0.0, True)
    moves = only(series((0, 10, 0.5, 1), (10, 20, 1.0, 2)), moved=False)
    assert moves.switched_s == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("event", "noticed_s"),
    [
        (Heard(at_s=12.5, kind="link-changed", text="", data={"from": "device", "to": "cloud"}), 2.5),
        (Heard(at_s=12.5, kind="link-changed", text="", data={"from": "edge", "to": "hub"}), None),
        (Heard(at_s=9.5, kind="link-changed", text="", data={"from": "device", "to": "cloud"}), None),
        (Heard(at_s=12.0, kind="planned", text=""), 2.0),
        (Heard(at_s=12.0, kind="profile-changed", text="", node="cloud"), None),
        (Heard(at_s=12.0, kind="epoch-retired", text=""), None),
    ],
)
def test_noticed_is_the_first_event_that_tells_of_it(event: Heard, noticed_s: float | None) -> None:
    requests = series((0, 10, 0.5, 1), (10, 20, 1.0, 1))
    found = only(requests, events=[event])
    assert found.noticed_s == (None if noticed_s is None else pytest.approx(noticed_s))
    assert noticed(SPANS, [event]) == ({} if noticed_s is None else {1: pytest.approx(noticed_s)})


def test_a_dead_node_is_told_of_by_its_name() -> None:
    spans = (SPANS[0], Interval(10.0, 20.0, (NodeDies(at_s=10, node="cloud"),)))
    requests = series((0, 20, 0.5, 1))
    other = Heard(at_s=11.0, kind="node-left", text="edge left", node="edge")
    itself = Heard(at_s=12.0, kind="fallback-engaged", text="cloud is lost", node="device")
    assert only(requests, events=[other], spans=spans).noticed_s is None
    assert (
        only(requests, events=[Heard(at_s=12.0, kind="node-left", text="", node="cloud")], spans=spans).noticed_s == 2
    )
    assert only(requests, events=[other, itself], spans=spans).noticed_s == pytest.approx(2.0)


def test_changes_of_one_moment_share_their_figures_and_keep_their_places() -> None:
    spans = (SPANS[0], Interval(10.0, 20.0, (FALL, GoalsChange(at_s=10, weights=(1.0, 0.0)))))
    found = reactions(spans, series((0, 20, 0.5, 1)), [], BEST, (False, True), weights=[(1.0, 0.0)] * 2)
    assert [entry.change for entry in found] == [0, 1]
    assert found[0].within_5_percent_s == found[1].within_5_percent_s


def test_the_oracle_is_what_its_requests_take_once_settled() -> None:
    requests = series((0, 10, 0.5, 1), (10, 14, 2.0, 1), (14, 20, 1.0, 2))
    assert oracle_plans(SPANS, requests) == BEST
    assert oracle_plans(SPANS, series((0, 10, 0.5, 1))) == BEST[:1]


def test_regret_counts_what_was_slower_and_not_what_was_quicker() -> None:
    requests = series((0, 10, 0.4, 1), (10, 20, 1.25, 2))
    assert regret_s(requests, BEST) == pytest.approx(8 * 0.25)


def test_regret_of_a_gap_is_how_long_nobody_was_answered() -> None:
    refused = [TracedRequest(at_s=at_s, failed=True) for at_s in (12.0, 12.5, 13.0)]
    requests = [*refused, TracedRequest(at_s=14.0, latency_s=1.0), TracedRequest(at_s=19.0, failed=True)]
    assert regret_s(requests, BEST) == pytest.approx(2.0 + 1.0)
    assert lost(requests) == 4


def test_two_slow_requests_right_after_a_quick_one_are_not_settled() -> None:
    requests = series((0, 10, 0.5, 1), (10, 11, 1.0, 1), (11, 13, 2.0, 1), (13, 15, 2.0, 1), (15, 20, 1.0, 2))
    assert only(requests).within_5_percent_s is None
    longer = (SPANS[0], Interval(10.0, 25.0, (FALL,)))
    assert only(
        series((0, 10, 0.5, 1), (10, 11, 1.0, 1), (11, 15, 2.0, 1), (15, 25, 1.0, 2)), spans=longer
    ) == Reaction(change=0, switched_s=6.0, within_5_percent_s=6.0)
