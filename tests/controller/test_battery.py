"""A battery floor: the limit that follows, when it is reason to plan again, plans under it."""

from __future__ import annotations

import math
import re

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgesplit.planning.battery_allowance import BatteryAllowance
from edgesplit.planning.plan import Evaluation
from edgesplit.planning.problem import Constraints, Link, Node, Objective, Operator, Problem, Tensor
from edgesplit_controller.configuration import Thresholds
from edgesplit_controller.deciding.battery_solving import fitted, lenient, solve_within
from edgesplit_controller.deciding.changes.battery_reason import battery_reason
from edgesplit_controller.planner import evaluate
from edgesplit_controller.stating.battery_limit import BatteryState, Demand, battery_allowance, keeps

HALF_FULL = BatteryState(0.5, 90_000.0, discharging=True)
"""25 of 50 Wh."""


def allowed(
    state: BatteryState | None, floor: float = 0.2, hours: float = 8.0, demand: Demand | None = None
) -> BatteryAllowance:
    return battery_allowance("device", floor, hours, state=state, demand=demand or Demand(1.0, "assumed"))


def test_what_is_above_the_floor_is_spread_over_the_horizon_and_the_requests_in_it() -> None:
    # 54 kJ above 20 % of 180 kJ, over 28,800 s at 2 requests a second.
    document = allowed(HALF_FULL, demand=Demand(2.0, "measured"))
    assert document.above_floor_j == pytest.approx(54_000.0)
    assert document.limit_j == pytest.approx(54_000.0 / 28_800.0 / 2.0)
    assert document.state == "limited"
    assert document.text == (
        "the battery of device is at 50%, 54 kJ above the floor of 20%: 938 mJ a request for 8 h at "
        "2 requests/s (measured)"
    )


def test_the_draw_at_rest_and_of_other_models_is_taken_off_first() -> None:
    state = BatteryState(0.5, 90_000.0, idle_w=0.5)
    document = allowed(state, demand=Demand(2.0, "configured", others_w=0.25))
    assert document.limit_j == pytest.approx((54_000.0 / 28_800.0 - 0.75) / 2.0)
    assert document.text.endswith("(configured), after 500 mW at rest (measured) and 250 mW for other models")
    assert allowed(BatteryState(0.5, 90_000.0, idle_w=3.0)).limit_j == 0.0


@pytest.mark.parametrize(
    ("state", "kind", "limit_j", "words"),
    [
        (None, "no-battery", None, "device reports no battery"),
        (BatteryState(0.5, 90_000.0, discharging=False), "on-mains", None, "on mains"),
        (BatteryState(0.1, 18_000.0, discharging=False), "on-mains", None, "on mains"),
        (BatteryState(0.2, 36_000.0), "below-floor", 0.0, "not above the floor of 20%"),
        (BatteryState(0.0, 0.0), "below-floor", 0.0, "is at 0%"),
        (BatteryState(0.5, None), "no-energy", None, r"set \[power\] battery_wh of device"),
        (BatteryState(0.1, None), "below-floor", 0.0, "not above the floor"),
        (BatteryState(0.1, 18_000.0, stale=True), "below-floor", 0.0, "was last at 10%"),
    ],
)
def test_what_is_not_known_limits_nothing_and_a_reached_floor_leaves_nothing(
    state: BatteryState | None, kind: str, limit_j: float | None, words: str
) -> None:
    document = allowed(state)
    assert (document.state, document.limit_j) == (kind, limit_j)
    assert re.search(words, document.text)


shares = st.floats(0.0, 1.0)
powers = st.floats(0.0, 50.0)


@given(shares, st.floats(1.0, 1e6), st.floats(0.0, 0.99), st.floats(0.1, 100.0), st.floats(1e-3, 1e3), powers, powers)
def test_spending_the_limit_on_every_request_ends_exactly_at_the_floor(
    fraction: float, full_j: float, floor: float, hours: float, per_s: float, idle_w: float, others_w: float
) -> None:
    state = BatteryState(fraction, fraction * full_j, idle_w=idle_w)
    document = allowed(state, floor, hours, Demand(per_s, "measured", others_w))
    assert document.limit_j is not None
    assert document.limit_j >= 0.0
    if document.limit_j > 0.0:
        drawn_j = (document.limit_j * per_s + idle_w + others_w) * hours * 3600.0
        assert (fraction * full_j - drawn_j) == pytest.approx(floor * full_j, rel=1e-6, abs=1e-6 * full_j)


@given(st.floats(0.3, 1.0), st.floats(0.3, 1.0), st.floats(0.1, 10.0), st.floats(0.1, 10.0))
def test_less_charge_or_more_requests_never_allow_more(a: float, b: float, rate: float, other: float) -> None:
    low, high = sorted((a, b))
    slow, fast = sorted((rate, other))
    poor = allowed(BatteryState(low, low * 180_000.0), demand=Demand(fast, "measured")).limit_j
    rich = allowed(BatteryState(high, high * 180_000.0), demand=Demand(slow, "measured")).limit_j
    assert poor is not None
    assert rich is not None
    assert poor <= rich * (1 + 1e-12)


# --- when to plan again ------------------------------------------------------------------------------------------------


def limit(limit_j: float | None, *, kept: bool = True) -> BatteryAllowance:
    return msgspec.structs.replace(allowed(HALF_FULL), limit_j=limit_j, kept=kept)


def reason(
    before: BatteryAllowance | None, now: BatteryAllowance | None, device_j: float, since_s: float = 1e3
) -> bool:
    found = battery_reason(before, now, device_j, thresholds=Thresholds(), since_s=since_s)
    return found is not None


def test_a_plan_that_breaks_the_limit_is_reason_at_once_and_once() -> None:
    assert reason(None, limit(1.0), 2.0, since_s=0.0)
    assert reason(limit(3.0), limit(1.0), 2.0, since_s=0.0)
    assert not reason(limit(3.0), limit(1.97), 2.0)  # within what batteries are known to
    assert not reason(limit(1.0), limit(0.9), 2.0)  # considered before
    assert reason(limit(1.0), limit(0.5), 2.0)
    assert not reason(limit(1.0, kept=False), limit(0.5), 2.0)  # nothing is more frugal


def test_a_limit_that_rose_is_reason_when_it_rose_notably_and_stood_a_while() -> None:
    assert reason(limit(1.0), limit(1.3), 0.9)
    assert not reason(limit(1.0), limit(1.3), 0.9, since_s=5.0)
    assert not reason(limit(1.0), limit(1.1), 0.9)
    assert not reason(limit(2.0), limit(1.0), 0.9)
    assert reason(limit(1.0), limit(None), 0.9)
    assert reason(limit(0.5, kept=False), limit(2.0), 1.5)
    assert not reason(limit(0.5, kept=False), limit(1.6), 1.5)  # nothing but what serves comes into reach
    assert not reason(limit(None), limit(None), 5.0)
    assert not reason(None, None, 5.0)


@given(st.lists(st.floats(0.95, 1.05), min_size=50, max_size=50), st.floats(0.1, 5.0))
def test_a_limit_that_only_wavers_causes_at_most_one_new_plan(noise: list[float], device_j: float) -> None:
    before: BatteryAllowance | None = None
    plans = 0
    for factor in noise:
        now = limit(1.0 * factor)
        if reason(before, now, device_j):
            plans += 1
            before = now
    assert plans <= 1


# --- plans under it --------------------------------------------------------------------------------------------------------


def chain(device_energy_limit_j: float | None = None) -> Problem:
    """Two operators; the device is quick and costs 2 J each, the edge is slow, and sending costs 0.1 J."""
    nothing, second = {"device": 0.0, "edge": 0.0}, {"device": 1.0, "edge": 10.0}
    operators = (
        Operator(name="in", time_s=nothing, role="input"),
        Operator(name="a", time_s=second),
        Operator(name="b", time_s=second),
        Operator(name="out", time_s=nothing, role="output"),
    )
    tensors = tuple(
        Tensor(name=f"{first}-{second}", bytes=nbytes, producer=first, consumers=(second,))
        for first, second, nbytes in (("in", "a", 100.0), ("a", "b", 50.0), ("b", "out", 10.0))
    )
    return Problem(
        model="m",
        source="device",
        nodes=(
            Node(name="device", compute_power_w=2.0, transmit_power_w=0.1),
            Node(name="edge", compute_power_w=1.0, transmit_power_w=0.1),
        ),
        links=(
            Link(source="device", target="edge", bandwidth_bytes_per_s=100.0, latency_s=0.0),
            Link(source="edge", target="device", bandwidth_bytes_per_s=100.0, latency_s=0.0),
        ),
        operators=operators,
        tensors=tensors,
        objective=Objective(latency_weight=1.0, energy_weight=0.0),
        constraints=Constraints(device_energy_limit_j=device_energy_limit_j),
    )


def solved(problem: Problem, battery: BatteryAllowance | None) -> tuple[Evaluation, bool | None]:
    solution, _, asked = solve_within(problem, battery, hint=None, time_limit_s=10.0)
    assert solution.assignment is not None
    evaluation = evaluate(problem, solution.assignment)
    return evaluation, None if asked is None else asked.kept


def test_a_plan_keeps_what_the_battery_allows_and_is_as_frugal_as_can_be_where_none_does() -> None:
    free, none = solved(chain(), None)
    assert (free.device_energy_j, none) == (4.0, None)
    assert solved(chain(), limit(None))[0].device_energy_j == 4.0
    some, kept = solved(chain(), limit(3.0))
    assert kept
    assert some.device_energy_j == pytest.approx(2.05)
    least, kept = solved(chain(), limit(0.01))
    assert kept is False
    assert least.device_energy_j == pytest.approx(0.1)
    assert solved(chain(), limit(0.0))[0].device_energy_j == pytest.approx(0.1)


def test_of_a_named_limit_and_the_batterys_the_tighter_counts() -> None:
    assert solved(chain(2.5), limit(3.9))[0].device_energy_j == pytest.approx(2.05)
    assert solved(chain(3.9), limit(2.5))[0].device_energy_j == pytest.approx(2.05)
    impossible, _, _ = solve_within(chain(0.01), limit(3.0), hint=None, time_limit_s=10.0)
    assert impossible.assignment is None
    assert "0.01 J" in impossible.reason


def test_a_serving_plan_is_held_to_a_little_more_than_the_limit() -> None:
    _, limited, _ = solve_within(chain(), limit(3.0), hint=None, time_limit_s=10.0)
    assert limited.constraints.device_energy_limit_j == 3.0
    assert lenient(chain(), limited).constraints.device_energy_limit_j == pytest.approx(3.15)
    assert lenient(chain(), chain()) == chain()
    assert lenient(chain(2.0), chain(2.0)) == chain(2.0)
    assert keeps(limit(3.0), 3.1)
    assert not keeps(limit(3.0), 3.2)
    assert keeps(limit(None), math.inf)


def test_times_stated_anew_move_the_batterys_limit_but_no_named_one() -> None:
    found, _, _ = solve_within(chain(), limit(3.0), hint=None, time_limit_s=10.0)
    assert found.assignment is not None
    dearer = chain(2.0)
    evaluation = evaluate(dearer, found.assignment)
    assert evaluation.violations
    raised, anew = fitted(dearer, found.assignment, evaluation, None)
    assert (raised.constraints.device_energy_limit_j, anew.violations) == (evaluation.device_energy_j, ())
    same, _ = fitted(dearer, found.assignment, evaluation, 2.0)
    assert same.constraints.device_energy_limit_j == 2.0
