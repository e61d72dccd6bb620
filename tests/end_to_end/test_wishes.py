"""The list of plans: parts that are exactly the model, enough of them cut, an order that its seed gives."""

from __future__ import annotations

from fnmatch import fnmatchcase
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.end_to_end.plans.cuts import cheapest_cut, crossing_bytes, parts, patterns_for, placed
from bench.end_to_end.plans.wishes import AGAIN_EVERY, Wish, schedule, steady_wish, wishes
from edgesplit.planning.problem import Link, Node, Operator, Problem, Tensor

NAMES = ("device", "edge", "cloud")


def chain(count: int, narrow: int | None = None) -> Problem:
    """Units of two operators each in a row, equally slow, with one narrow tensor between them."""
    units = [f"unit{index:02d}" for index in range(count)]
    operators = [
        Operator(name=name, time_s=dict.fromkeys(NAMES, 0.1), members=(f"{name}/conv", f"{name}/relu"))
        for name in units
    ]
    ends = [
        Operator(name=role, time_s=dict.fromkeys(NAMES, 0.0), role=role, members=()) for role in ("input", "output")
    ]
    row = ["input", *units, "output"]
    tensors = [
        Tensor(name=f"t{index}", bytes=10.0 if index == narrow else 1000.0, producer=first, consumers=(second,))
        for index, (first, second) in enumerate(pairwise(row))
    ]
    return Problem(
        model="chain",
        source="device",
        nodes=tuple(Node(name=name, compute_power_w=1.0, transmit_power_w=1.0) for name in NAMES),
        links=tuple(Link(source=a, target=b, bandwidth_bytes_per_s=1e6, latency_s=0.0) for a in NAMES for b in NAMES),
        operators=(ends[0], *operators, ends[1]),
        tensors=tuple(tensors),
    )


def test_a_cut_is_where_the_least_bytes_cross_near_its_depth() -> None:
    problem = chain(20, narrow=11)
    assert crossing_bytes(problem)[11] == 10.0
    assert crossing_bytes(problem)[10] == 1000.0
    assert cheapest_cut(problem, 0.5, "device") == 11
    assert cheapest_cut(problem, 0.2, "device") == 4


def test_a_tensor_that_is_read_late_crosses_every_cut_in_between() -> None:
    problem = chain(4)
    late = Tensor(name="skip", bytes=7.0, producer="unit00", consumers=("unit03",))
    with_skip = Problem(
        model="chain",
        source="device",
        nodes=problem.nodes,
        links=problem.links,
        operators=problem.operators,
        tensors=(*problem.tensors, late),
    )
    assert crossing_bytes(with_skip) == [1000.0, 1007.0, 1007.0, 1007.0]


def test_parts_are_the_model_in_order_and_keep_units_whole() -> None:
    problem = chain(10)
    found = parts(problem, (0.3, 0.7), "device")
    assert [len(part) for part in found] == [6, 8, 6]
    assert [name for part in found for name in part] == [name for unit in placed(problem) for name in unit.listed]


def test_cuts_that_fall_together_leave_fewer_parts() -> None:
    assert len(parts(chain(2), (0.2, 0.8), "device")) == 2


@given(
    st.lists(st.text("ab/[0", min_size=1, max_size=5), min_size=1, max_size=30, unique=True),
    st.data(),
)
def test_patterns_select_what_is_wanted_and_nothing_else(names: list[str], data: st.DataObject) -> None:
    wanted = data.draw(st.sets(st.sampled_from(names)))
    found = patterns_for(sorted(wanted), names)
    chosen = {name for name in names for pattern in found if name == pattern or fnmatchcase(name, pattern)}
    assert chosen == wanted


def test_a_range_of_operators_needs_few_patterns() -> None:
    names = [name for unit in placed(chain(40)) for name in unit.listed]
    assert len(patterns_for(names[:40], names)) < 5


@pytest.mark.parametrize("models", [1, 2, 4, 5])
@pytest.mark.parametrize("plans", [4, 9, 24, 28, 48])
def test_a_third_of_the_plans_computes_on_two_nodes_for_certain(models: int, plans: int) -> None:
    wished = {f"m{index}": wishes(chain(20)) for index in range(models)}
    visits, _ = schedule(wished, plans, (1.0, 0.5), seed=3)
    first = [visit for visit in visits if not visit.again]
    assert len(first) == plans
    assert sum(len(visit.wish.nodes) > 1 for visit in first) >= plans / 3


def test_a_wish_that_cuts_pins_every_operator_once() -> None:
    problem = chain(20)
    names = [name for unit in placed(problem) for name in unit.listed]
    cut = [wish for wish in wishes(problem) if wish.pins]
    assert len(cut) >= 8
    for wish in cut:
        held = [
            name for _, patterns in wish.pins for pattern in patterns for name in names if fnmatchcase(name, pattern)
        ]
        assert sorted(held) == sorted(names)


def test_noise_codecs_energy_and_branches_are_all_asked_for() -> None:
    found = wishes(chain(20), (("near/*",), ("far/*",)))
    assert {wish.noise > 0 for wish in found if wish.pins} == {True, False}
    assert any(wish.energy == 1.0 for wish in found)
    assert any(len(wish.nodes) == 3 for wish in found)
    sides = [wish for wish in found if wish.label.startswith("branches")]
    assert sides[0].pins == (("edge", ("near/*",)), ("cloud", ("far/*",)))


def test_the_seed_gives_the_order_and_blocks_keep_their_rates() -> None:
    wished = {name: wishes(chain(20)) for name in ("a", "b", "c")}
    visits, spare = schedule(wished, 24, (1.0, 0.5), seed=7)
    assert schedule(wished, 24, (1.0, 0.5), seed=7) == (visits, spare)
    assert schedule(wished, 24, (1.0, 0.5), seed=8)[0] != visits
    rates = [visit.rates for visit in visits]
    assert rates == sorted(rates, reverse=True)
    models = [visit.model for visit in visits[:12]]
    assert models != sorted(models)
    assert len(spare) > 0
    assert not set(spare) & set(visits)


def test_some_plans_are_visited_again_after_others() -> None:
    wished = {"a": [Wish(str(index)) for index in range(20)]}
    visits, _ = schedule(wished, 20, (1.0,), seed=1)
    again = [visit.wish for visit in visits if visit.again]
    assert len(again) == 20 // AGAIN_EVERY
    places = [visit.wish for visit in visits]
    assert all(len(places) - 1 - places[::-1].index(wish) - places.index(wish) >= AGAIN_EVERY - 1 for wish in again)


def test_of_the_plan_that_is_looked_at_for_long_nothing_is_left_open() -> None:
    wish = steady_wish(chain(20))
    assert wish.nodes == ("device", "edge")
    assert wish.noise == 0.0
