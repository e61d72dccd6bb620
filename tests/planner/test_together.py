"""Many models and sources planned together: nothing is promised twice, and who differs by name alone shares a solve."""

from __future__ import annotations

import itertools

import msgspec
import pytest

from bench.many_sources import demands_of, loads_of
from edgesplit.planning.plan import Assignment, Solution
from edgesplit.planning.problem import Link, Node, Operator, Problem, Tensor
from edgesplit_controller.planner import evaluate, solve
from edgesplit_controller.planner.meaning.exact import exact_costs
from edgesplit_controller.planner.studies.shared_solves import SharedSolves
from edgesplit_controller.planner.studies.together import RateDemand, jain_index, plan_together


def two_units(source: str, *, shared: int = 2, load: float = 0.0) -> Problem:
    """A slow source and fast shared nodes: 20 ms there, 2 s here."""
    names = (source, *(f"node{number}" for number in range(shared)))
    times = {name: 1.0 if name == source else 0.01 for name in names}
    nothing = dict.fromkeys(names, 0.0)
    return Problem(
        model="m",
        source=source,
        nodes=tuple(
            Node(name=name, compute_power_w=1.0, transmit_power_w=1.0, load=0.0 if name == source else load)
            for name in names
        ),
        links=tuple(
            Link(source=a, target=b, bandwidth_bytes_per_s=1e8, latency_s=0.001)
            for a, b in itertools.permutations(names, 2)
        ),
        operators=(
            Operator(name="in", time_s=nothing, role="input"),
            Operator(name="a", time_s=times),
            Operator(name="b", time_s=times),
            Operator(name="out", time_s=nothing, role="output"),
        ),
        tensors=(
            Tensor(name="x", bytes=1e3, producer="in", consumers=("a",)),
            Tensor(name="h", bytes=1e3, producer="a", consumers=("b",)),
            Tensor(name="y", bytes=1e3, producer="b", consumers=("out",)),
        ),
    )


def cameras(count: int, rate_hz: float, **options: float) -> list[RateDemand]:
    return [RateDemand(f"cam{at}", two_units(f"cam{at}", **options), rate_hz) for at in range(count)]  # type: ignore[arg-type]


@pytest.mark.parametrize("utilisation", [0.4, 0.9])
def test_no_node_and_no_link_is_promised_beyond_its_time(utilisation: float) -> None:
    found = plan_together(demands_of(12, 2, 3, 7, utilisation), time_limit_s=20.0)
    loads = loads_of(found)
    assert max(loads.values()) <= 1.0 + 1e-6
    for subject, load in loads.items():
        assert found.loads[subject] == pytest.approx(load, abs=1e-6)
    for share in found.shares:
        assert (share.assignment is None) == bool(share.reason)
        if share.assignment is not None:
            evaluation = evaluate(share.demand.problem, share.assignment)
            assert not evaluation.violations
            assert share.latency_s == pytest.approx(evaluation.latency_s)
            assert share.slow_down >= 1.0 - 1e-6


def test_sources_that_differ_by_name_alone_share_their_solves() -> None:
    found = plan_together(cameras(30, 1.0))
    assert (found.kinds, found.solves) == (1, 1)
    assert {share.assignment.node_of["in"] for share in found.shares if share.assignment} == {
        f"cam{at}" for at in range(30)
    }
    assert found.fairness == pytest.approx(1.0)


def test_who_finds_a_node_full_is_planned_on_the_next() -> None:
    found = plan_together(cameras(8, 10.0))  # a request takes 0.02 of a node at 10 Hz: 0.2 of it, so five fill one
    homes = [share.assignment.node_of["a"] for share in found.shares if share.assignment is not None]
    assert len(homes) == 8
    assert max(homes.count("node0"), homes.count("node1")) <= 5


def test_who_has_no_room_is_told_what_could_be_had_and_the_others_keep_theirs() -> None:
    found = plan_together(cameras(12, 10.0))
    refused = [share for share in found.shares if share.assignment is None]
    assert len(refused) == 2
    assert all("10 requests/s" in share.reason and "cam" in share.reason for share in refused)
    assert max(loads_of(found).values()) <= 1.0 + 1e-6


def test_what_is_promised_beforehand_is_not_there() -> None:
    """Of each node half is left, two and a half demands: the fifth has a unit on each."""
    assert sum(share.assignment is not None for share in plan_together(cameras(12, 10.0, load=0.5)).shares) == 5


def test_jains_index_is_that_of_the_paper() -> None:
    assert jain_index([1.0, 1.0, 1.0]) == pytest.approx(1.0)
    assert jain_index([1.0, 0.0, 0.0, 0.0]) == pytest.approx(0.25)
    assert jain_index([1.0, 3.0]) == pytest.approx(16 / 20)
    assert jain_index([]) == 1.0


def test_an_equal_problem_is_not_solved_again() -> None:
    asked: list[Problem] = []

    def solved(problem: Problem) -> Solution:
        asked.append(problem)
        return solve(problem)

    solves = SharedSolves()
    first = solves.solve(two_units("cam1"), solved)
    second = solves.solve(msgspec.structs.replace(two_units("cam2"), model="other"), solved)
    assert (len(asked), solves.hits) == (1, 1)
    assert first.assignment is not None
    assert second.assignment is not None
    assert second.assignment.node_of["in"] == "cam2"
    assert second.evaluation == evaluate(two_units("cam2"), second.assignment)
    assert (second.status, second.score, second.ranges) == (first.status, first.score, first.ranges)
    # Another figure is another problem.
    solves.solve(two_units("cam3", load=0.1), solved)
    assert len(asked) == 2


def test_only_a_proven_answer_is_shared() -> None:
    asked: list[Problem] = []

    def cut_short(problem: Problem) -> Solution:
        asked.append(problem)
        solution = solve(problem)
        assert isinstance(solution.assignment, Assignment)
        return msgspec.structs.replace(solution, status="feasible")

    solves = SharedSolves()
    for source in ("cam1", "cam2"):
        solves.solve(two_units(source), cut_short)
    assert len(asked) == 2


def test_shares_are_those_of_exact_sums() -> None:
    problem = two_units("cam0")
    (share,) = plan_together([RateDemand("one", problem, 2.0)]).shares
    assert share.assignment is not None
    usage = exact_costs(problem, share.assignment).usage
    found = plan_together([RateDemand("one", problem, 2.0)]).loads
    for node, seconds in usage.compute_s.items():
        assert found[node] == pytest.approx(2.0 * float(seconds))
    for link, seconds in usage.occupied_s.items():
        assert found[link] == pytest.approx(2.0 * float(seconds))
