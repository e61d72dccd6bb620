"""What a change of a link can do to a plan, and to one in its place."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import pytest

from edgesplit.planning.plan import Assignment
from edgesplit.planning.problem import Constraints, Link, Node, Objective, Operator, Problem, Tensor
from edgesplit.planning.problem_validation import validate
from edgesplit_controller.deciding.changes.declined import (
    AT_ONCE,
    CHANCE_EACH_S,
    CHANCES_AT_ONCE,
    ONE_EACH_S,
    DeclinedPlans,
)
from edgesplit_controller.deciding.changes.impact.link_impact import impact_of, notable
from edgesplit_controller.planner import evaluate

THERE, BACK = ("device", "edge"), ("edge", "device")


def problem(**changes: object) -> Problem:
    links = (
        Link(source="device", target="edge", bandwidth_bytes_per_s=1e6, latency_s=0.01),
        Link(source="edge", target="device", bandwidth_bytes_per_s=1e6, latency_s=0.01),
    )
    made = Problem(
        model="m",
        source="device",
        nodes=(
            Node(name="device", compute_power_w=3.0, transmit_power_w=2.0),
            Node(name="edge", compute_power_w=3.0, transmit_power_w=1.0),
        ),
        links=links,
        operators=(
            Operator(name="input", time_s={"device": 0.0, "edge": 0.0}, role="input"),
            Operator(name="op", time_s={"device": 1.0, "edge": 0.3}),
            Operator(name="output", time_s={"device": 0.0, "edge": 0.0}, role="output"),
        ),
        tensors=(
            Tensor(name="x", bytes=200_000.0, producer="input", consumers=("op",)),
            Tensor(name="y", bytes=20_000.0, producer="op", consumers=("output",)),
        ),
        objective=Objective(latency_weight=1.0),
    )
    made = msgspec.structs.replace(made, **changes)
    validate(made)
    return made


def at(node: str) -> Assignment:
    return Assignment({"input": "device", "op": node, "output": "device"})


@pytest.mark.parametrize("now", [(0.5e6, 0.01), (2e6, 0.01), (1e6, 0.05), (0.7e6, 0.002)])
def test_what_a_used_link_costs_a_plan_is_what_evaluating_it_again_says(now: tuple[float, float]) -> None:
    before = problem()
    impact = impact_of(before, at("edge"), evaluate(before, at("edge")), 0.0)
    changed = Link(source="device", target="edge", bandwidth_bytes_per_s=now[0], latency_s=now[1])
    after = problem(links=(changed, before.links[1]))
    old_s, new_s = (evaluate(one, at("edge")).latency_s for one in (before, after))
    share = impact.on_plan(THERE, (1e6, 0.01), now)
    if (now[0] - 1e6) * (now[1] - 0.01) <= 0:
        assert share == pytest.approx(abs(new_s / old_s - 1))
    else:
        assert share > abs(new_s / old_s - 1)  # what a lower latency gains does not hide what a lower rate costs


def test_no_better_link_gains_more_than_is_offered() -> None:
    before = problem()
    impact = impact_of(before, at("device"), evaluate(before, at("device")), 0.0)
    assert impact.sent == {}
    for now in ((1.3e6, 0.01), (2e6, 0.01), (1e9, 0.0)):
        changed = Link(source="device", target="edge", bandwidth_bytes_per_s=now[0], latency_s=now[1])
        after = problem(links=(changed, before.links[1]))
        gained_s = evaluate(before, at("edge")).latency_s - evaluate(after, at("edge")).latency_s
        assert impact.on_alternatives(THERE, (1e6, 0.01), now) >= gained_s / impact.plan_s - 1e-9
    assert impact.on_plan(THERE, (1e6, 0.01), (1e3, 1.0)) == 0.0
    assert impact.on_alternatives(THERE, (1e6, 0.01), (0.5e6, 0.02)) == 0.0


def test_a_link_too_slow_for_any_tensor_offers_nothing_by_getting_a_little_faster() -> None:
    before = problem()
    impact = impact_of(before, at("device"), evaluate(before, at("device")), 0.0)
    assert impact.on_alternatives(THERE, (1_000.0, 0.01), (10_000.0, 0.01)) == 0.0


def test_sending_counts_with_its_energy_and_with_its_share_of_the_devices_limit() -> None:
    frugal = problem(objective=Objective(latency_weight=0.0, energy_weight=1.0))
    evaluation = evaluate(frugal, at("edge"))
    impact = impact_of(frugal, at("edge"), evaluation, 0.0)
    assert impact.on_plan(THERE, (1e6, 0.01), (0.5e6, 0.01)) == pytest.approx(0.2 * 2.0 / evaluation.energy_j)
    limited = problem(constraints=Constraints(device_energy_limit_j=1.0))
    impact = impact_of(limited, at("edge"), evaluate(limited, at("edge")), 0.0)
    assert impact.on_plan(THERE, (1e6, 0.01), (0.5e6, 0.01)) == pytest.approx(max(0.4, 0.2 / impact.plan_s))


def test_delays_of_less_than_half_a_millisecond_are_none() -> None:
    before = problem()
    impact = replace(impact_of(before, at("edge"), evaluate(before, at("edge")), 0.0005), plan_s=0.001)
    assert impact.on_plan(THERE, (1e9, 1e-4), (0.8e9, 1e-4)) == 0.0
    assert impact.on_plan(THERE, (1e9, 1e-4), (1e9, 8e-4)) == pytest.approx(0.7)


@pytest.mark.parametrize(
    ("now", "scatter", "found"),
    [
        ((0.5e6, 0.01), 0.0, (True, False)),
        ((1.19e6, 0.01), 0.0, (False, False)),
        ((1.25e6, 0.01), 0.0, (True, False)),
        ((1.25e6, 0.01), 0.3, (False, False)),
        ((1e6, 0.013), 0.3, (False, True)),
        ((1e6, 0.0103), 0.0, (False, False)),
    ],
)
def test_a_change_is_one_beyond_the_links_own_scatter(
    now: tuple[float, float], scatter: float, found: tuple[bool, bool]
) -> None:
    assert notable((1e6, 0.01), now, 0.2, scatter, 0.0005) == found


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_declined_plans_are_counted_and_a_few_of_them_told() -> None:
    clock = Clock()
    declined = DeclinedPlans(clock, clock)
    told = 0
    for _ in range(3000):  # half a second each
        told += declined.add("m", "link a -> b: stays", answers=True, forced=False) is not None
        clock.now += 0.5
    assert AT_ONCE < told <= AT_ONCE + 1500 / ONE_EACH_S + 1
    assert declined.counts == {"m": 3000}
    assert declined.of("m").last_reason == "link a -> b: stays"
    assert declined.of("other").last_unix_s is None


def test_what_was_not_told_is_counted_in_what_is_told_next() -> None:
    clock = Clock()
    declined = DeclinedPlans(clock, clock)
    assert declined.add("m", "why", answers=False, forced=False) is None
    assert declined.add("m", "why", answers=True, forced=False) == "; 1 more were declined since the last that was told"
    assert declined.add("m", "why", answers=True, forced=False) == ""


def test_what_somebody_asked_for_is_always_answered() -> None:
    clock = Clock()
    declined = DeclinedPlans(clock, clock)
    assert all(declined.add("m", "goals were set", answers=True, forced=True) is not None for _ in range(100))


def test_chances_that_come_to_nothing_are_looked_at_in_a_row_and_then_now_and_then() -> None:
    clock = Clock()
    declined, tries = DeclinedPlans(clock, clock), list[float]()
    for _ in range(7200):
        if declined.may_try("m"):
            tries.append(clock.now)
            declined.tried("m", adopted=False)
        clock.now += 1
    assert tries[CHANCES_AT_ONCE - 1] - tries[0] < 10
    assert CHANCES_AT_ONCE < len(tries) <= CHANCES_AT_ONCE + 7200 / CHANCE_EACH_S + 1
    declined.tried("m", adopted=True)
    assert declined.may_try("m")


def test_of_a_rate_asked_for_a_link_counts_by_what_it_occupies() -> None:
    asking = problem(constraints=Constraints(min_rate_hz=4.0))
    before, now = (1e6, 0.01), (0.8e6, 0.01)
    free = impact_of(problem(), at("edge"), evaluate(problem(), at("edge")), 0.0).on_plan(THERE, before, now)
    held = impact_of(asking, at("edge"), evaluate(asking, at("edge")), 0.0)
    # 200 kB take 50 ms longer, of the 250 ms between two requests.
    assert held.on_plan(THERE, before, now) == pytest.approx(0.2)
    assert free < 0.2
    assert held.on_plan(THERE, before, (1e6, 0.02)) == pytest.approx(
        impact_of(problem(), at("edge"), evaluate(problem(), at("edge")), 0.0).on_plan(THERE, before, (1e6, 0.02))
    )
