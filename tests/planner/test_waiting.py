"""Waiting for requests of others: held against a known formula, and against a simulation with the queues that agents have."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence

import numpy as np
import pytest

from edgesplit_controller.planner import evaluate
from edgesplit_controller.planner.studies.waiting import random_phases
from edgesplit_controller.planner.studies.waiting.loaded_latency import COVERED, expected_waiting
from edgesplit_controller.planner.studies.waiting.periodic_streams import (
    PeriodicStream,
    PieceOfWork,
    Resource,
    stream_of,
)
from edgesplit_controller.planner.studies.waiting.random_phases import DRAWS, drawn_waits
from edgesplit_controller.planner.studies.waiting.worst_case import worst_waits
from tests.planner.brute_force import all_assignments, random_problem
from tests.planner.queue_simulation import simulated_waits

CLOUD_S = 0.05


def chain(name: str, period_s: float, *stays: tuple[Resource, float, float]) -> PeriodicStream:
    """Pieces one after the other: where, for how long, and what it takes after that."""
    pieces: list[PieceOfWork] = []
    for resource, seconds, lag_s in stays:
        earlier = [place for place, piece in enumerate(pieces) if piece.resource == resource]
        before = (len(pieces) - 1,) if pieces else ()
        pieces.append(PieceOfWork(resource, seconds, lag_s, before, earlier[-1] if earlier else None))
    return PeriodicStream(name, period_s, tuple(pieces))


def camera(name: str, period_s: float = 1.0, cloud_s: float = CLOUD_S) -> PeriodicStream:
    """Its own node, the cloud, and back."""
    return chain(
        name,
        period_s,
        (name, 0.1, 0.0),
        ((name, "cloud"), 0.02, 0.01),
        ("cloud", cloud_s, 0.0),
        (("cloud", name), 0.01, 0.01),
        (name, 0.02, 0.0),
    )


def cameras(count: int, **options: float) -> list[PeriodicStream]:
    return [camera(f"cam{at}", **options) for at in range(count)]


def fleet(seed: int, utilisation: float) -> list[PeriodicStream]:
    """Streams over one or two of a few shared nodes, some with several pieces there; the fullest is used as much as is said."""
    r = random.Random(f"fleet {seed}")
    shared = [f"node{at}" for at in range(r.randint(1, 3))]
    drafts: list[PeriodicStream] = []
    for at in range(r.choice([2, 3, 5, 9])):
        name = f"cam{at}"
        stays: list[tuple[Resource, float, float]] = [(name, r.uniform(0.02, 0.2), 0.0)]
        here = name
        for node in r.sample(shared, min(len(shared), r.randint(1, 2))):
            stays.append(((here, node), r.uniform(0.005, 0.05), r.uniform(0.0, 0.03)))
            stays += [(node, r.uniform(0.005, 0.1), 0.0) for _ in range(r.randint(1, 3))]
            here = node
        stays += [((here, name), r.uniform(0.005, 0.05), 0.01), (name, 0.01, 0.0)]
        drafts.append(chain(name, r.choice([1.0, 1.0, 2.0, 1.3]), *stays))
    loads: dict[Resource, float] = {}
    for stream in drafts:
        for resource in stream.resources:
            loads[resource] = loads.get(resource, 0.0) + stream.load(resource)
    longer = max(loads.values()) / utilisation
    return [PeriodicStream(stream.name, stream.period_s * longer, stream.pieces) for stream in drafts]


def others_of(streams: Sequence[PeriodicStream], stream: PeriodicStream) -> list[PeriodicStream]:
    return [other for other in streams if other is not stream]


def simulated(streams: Sequence[PeriodicStream], draw: random.Random, *, slower: float = 0.0) -> list[list[float]]:
    """Waits of some requests of each stream, away from begin and end, at random phases.

    Args:
        streams: Whose requests.
        draw: Of phases, and of models.
        slower: Pauses between requests are longer than the period by up to this share. [1]
    """
    longest_s = max(stream.period_s for stream in streams)
    begins: list[list[float]] = []
    for stream in streams:
        at_s, moments = draw.random() * stream.period_s, list[float]()
        while at_s < 9 * longest_s:
            moments.append(at_s)
            at_s += stream.period_s * (1.0 + slower * draw.random())
        begins.append(moments)
    waits = simulated_waits(streams, begins, [draw.choice("ab") for _ in streams])
    return [
        [wait_s for wait_s, at_s in zip(mine, moments, strict=True) if 4 * longest_s <= at_s < 7 * longest_s]
        for mine, moments in zip(waits, begins, strict=True)
    ]


@pytest.mark.parametrize("seed", range(12))
def test_a_plan_brings_the_pieces_of_its_timeline(seed: int) -> None:
    problem = random_problem(seed, operators=4, model=("sum", "critical-path")[seed % 2], precisions=False)
    for assignment in list(all_assignments(problem))[:: max(1, seed)][:20]:
        evaluation = evaluate(problem, assignment)
        if not math.isfinite(evaluation.timeline_s):
            continue
        stream = stream_of("m", 2.0, problem, assignment, evaluation)
        assert (stream.period_s, stream.begin_s) == (0.5, problem.handling_s)
        assert stream.latency_s == pytest.approx(evaluation.timeline_s)
        assert sorted(stream.starts_s) == pytest.approx([entry.start_s for entry in evaluation.timeline])
        nodes = {entry.node or (entry.source, entry.target) for entry in evaluation.timeline}
        assert set(stream.resources) == nodes


def test_nobody_waits_where_nobody_else_promises_anything() -> None:
    waiting = expected_waiting(camera("cam"), [])
    assert (waiting.share, waiting.mean_s, waiting.covered_s, waiting.worst_s) == (0.0, 0.0, 0.0, 0.0)
    assert not waiting.places


def test_nobody_waits_for_those_who_go_elsewhere() -> None:
    elsewhere = chain("other", 0.2, ("other", 0.1, 0.0), (("other", "edge"), 0.05, 0.0), ("edge", 0.1, 0.0))
    waiting = expected_waiting(camera("cam"), [elsewhere])
    assert (waiting.share, waiting.covered_s, waiting.worst_s) == (0.0, 0.0, 0.0)


def test_beside_one_other_the_wait_is_what_is_left_of_its_piece() -> None:
    """A share of 0.05 of phases finds it there, with anything between nothing and all of it left."""
    waiting = expected_waiting(camera("cam"), [camera("other")])
    assert waiting.share == pytest.approx(0.05, abs=0.025)
    assert waiting.mean_s == pytest.approx(0.05 * CLOUD_S / 2, rel=0.5)
    assert 0.8 * CLOUD_S <= waiting.covered_s <= CLOUD_S
    assert waiting.worst_s == pytest.approx(CLOUD_S)
    assert waiting.places["cloud"].load == pytest.approx(0.05)
    assert list(waiting.places) == ["cloud"]


@pytest.mark.parametrize(("count", "piece_s"), [(3, 0.05), (10, 0.05), (10, 0.09), (40, 0.02)])
@pytest.mark.parametrize("pieces", [0.5, 1.5, 3.2])
def test_equal_streams_wait_as_the_formula_for_them_says(count: int, piece_s: float, pieces: float) -> None:
    """Virtual waiting time of n D/D/1 (J. W. Roberts, J. T. Virtamo, IEEE Trans. Communications 39, 1991)."""
    beyond_s = pieces * piece_s
    share = 0.0
    for many in range(math.floor(pieces) + 1, count + 1):
        window_s = many * piece_s - beyond_s
        share += (
            math.comb(count, many)
            * window_s**many
            * (1.0 - window_s) ** (count - many)
            * (1.0 - count * piece_s + beyond_s)
            / (1.0 - window_s)
        )
    own = chain("own", math.inf, ("cloud", 0.01, 0.0))
    others = [chain(f"other {at}", 1.0, ("cloud", piece_s, 0.0)) for at in range(count)]
    found = float((drawn_waits(own, others).delays_s > beyond_s).mean())
    assert found == pytest.approx(share, abs=4 * math.sqrt(max(share * (1 - share), 1 / DRAWS) / DRAWS))


@pytest.mark.parametrize("utilisation", [0.2, 0.5, 0.8])
@pytest.mark.parametrize("seed", range(4))
def test_what_is_said_to_cover_covers_and_the_worst_is_never_exceeded(seed: int, utilisation: float) -> None:
    streams = fleet(seed, utilisation)
    expected = [expected_waiting(stream, others_of(streams, stream)) for stream in streams]
    draw, within, count = random.Random(f"phases {seed}"), 0, 0
    for _ in range(25):
        for waiting, waits in zip(expected, simulated(streams, draw), strict=True):
            assert max(waits) <= waiting.worst_s + 1e-9
            # Requests of one draw find much the same: the first of each stands for them.
            within += waits[0] <= waiting.covered_s + 1e-9
            count += 1
    assert within / count >= COVERED - 3 * math.sqrt(COVERED * (1 - COVERED) / count)


@pytest.mark.parametrize("seed", range(4))
def test_requests_that_come_less_often_than_promised_wait_no_longer_than_the_worst(seed: int) -> None:
    streams = fleet(seed, 0.5)
    worst = worst_waits(streams)
    draw = random.Random(f"slower {seed}")
    for _ in range(10):
        for bound_s, waits in zip(worst, simulated(streams, draw, slower=0.5), strict=True):
            assert max(waits) <= bound_s + 1e-9


def test_the_worst_is_met_where_all_come_at_once() -> None:
    streams = cameras(4)
    begins = [[0.002 if at == 0 else 0.001] for at in range(4)]
    assert simulated_waits(streams, begins, ["m"] * 4)[0][0] == pytest.approx(3 * CLOUD_S, abs=0.002)
    assert worst_waits(streams)[0] == pytest.approx(3 * CLOUD_S)


@pytest.mark.parametrize("seed", range(30))
def test_more_of_others_never_waits_less(seed: int) -> None:
    """One more stream, draw by draw, and longer pieces of one, at the worst phases: at others, longer pieces come at other moments."""
    r = random.Random(f"more {seed}")
    own, *others = fleet(seed, 0.5)
    before = drawn_waits(own, others[:-1]).delays_s if others[:-1] else np.zeros(DRAWS)
    now = drawn_waits(own, others).delays_s
    assert (now >= before - 1e-9).all()
    assert worst_waits([own, *others])[0] >= worst_waits([own, *others[:-1]])[0] - 1e-9
    at = r.randrange(len(others))
    longer = PeriodicStream(
        others[at].name,
        others[at].period_s,
        tuple(
            PieceOfWork(piece.resource, piece.seconds * 1.2, piece.lag_s, piece.before, piece.behind)
            for piece in others[at].pieces
        ),
    )
    changed = [longer if place == at else other for place, other in enumerate(others)]
    assert worst_waits([own, *changed])[0] >= worst_waits([own, *others])[0] - 1e-9


def test_a_higher_rate_of_others_waits_more() -> None:
    waits = [
        expected_waiting(camera("cam"), [camera(f"other {at}", period_s=period_s) for at in range(4)])
        for period_s in (4.0, 2.0, 1.0, 0.5, 0.25)
    ]
    assert [waiting.mean_s for waiting in waits] == sorted(waiting.mean_s for waiting in waits)
    assert [waiting.covered_s for waiting in waits] == sorted(waiting.covered_s for waiting in waits)
    assert [waiting.worst_s for waiting in waits] == sorted(waiting.worst_s for waiting in waits)


def test_where_more_is_promised_than_there_is_time_no_wait_is_promised() -> None:
    waiting = expected_waiting(camera("cam"), [camera(f"other {at}") for at in range(25)])
    assert (waiting.covered_s, waiting.worst_s) == (math.inf, math.inf)


def test_periods_that_share_no_multiple_are_looked_back_on_as_far_as_counts() -> None:
    """Nearly full: a busy period may be longer than any period is."""
    others = [chain(f"other {at}", 1.0 + 0.173 * at, ("cloud", 0.19, 0.0)) for at in range(7)]
    own = chain("own", math.inf, ("cloud", 0.01, 0.0))
    waits = drawn_waits(own, others).delays_s
    draw = random.Random(3)
    found = [
        simulated_waits(
            [own, *others],
            [[40.0], *([draw.random() * o.period_s + n * o.period_s for n in range(45)] for o in others)],
            ["m"] * 8,
        )[0][0]
        for _ in range(60)
    ]
    assert float(np.mean(waits)) == pytest.approx(float(np.mean(found)), rel=0.5)


def test_requests_of_one_stream_that_overlap_wait_for_each_other() -> None:
    """The node is used twice by a request, and the second use meets the first one of the next request."""
    own = chain("own", 0.3, ("a", 0.1, 0.0), (("a", "b"), 0.01, 0.22), ("a", 0.1, 0.0))
    waiting = expected_waiting(own, [])
    assert waiting.covered_s == pytest.approx(0.07)
    (waits,) = simulated_waits([own], [[0.3 * at for at in range(20)]], ["m"])
    assert waits[10] <= waiting.covered_s + 1e-9
    assert max(waits) <= waiting.worst_s


def test_others_come_in_between_the_pieces_of_a_request() -> None:
    """While the first piece is computed, two requests of the other come: it is held up by more than one piece."""
    own = chain("own", 10.0, ("a", 0.15, 0.0), ("a", 0.15, 0.0))
    other = chain("other", 0.2, ("a", 0.1, 0.0))
    found = [
        simulated_waits([own, other], [[2.0], [phase * 0.2 / 200 + 0.2 * at for at in range(25)]], ["m", "n"])[0][0]
        for phase in range(200)
    ]
    waiting = expected_waiting(own, [other])
    assert max(found) > 0.11
    assert max(found) <= waiting.worst_s + 1e-9
    assert float(np.mean(found)) <= waiting.mean_s * 1.05
    assert float(np.quantile(found, COVERED)) <= waiting.covered_s + 1e-9


def test_who_was_held_up_comes_close_before_its_next_request() -> None:
    """A third one holds the other up elsewhere, so that two of its requests are there at once."""
    own = chain("own", 10.0, ("cloud", 0.01, 0.0))
    other = chain("other", 1.0, ("edge", 0.01, 0.0), ("cloud", 0.3, 0.0))
    third = chain("third", 10.0, ("edge", 0.8, 0.0))
    begins = [[1.012], [0.001, 1.001], [0.0]]
    ((wait_s,), *_) = simulated_waits([own, other, third], begins, ["m"] * 3)
    assert wait_s == pytest.approx(0.398)
    assert wait_s <= worst_waits([own, other, third])[0]
    assert worst_waits([own, other])[0] == pytest.approx(0.3)


def test_where_not_all_that_came_is_looked_at_no_wait_is_told_too_short(monkeypatch: pytest.MonkeyPatch) -> None:
    others = [chain(f"other {at}", 1.0 + 0.173 * at, ("cloud", 0.17, 0.0)) for at in range(7)]
    own = chain("own", math.inf, ("cloud", 0.01, 0.0))
    all_s = drawn_waits(own, others).delays_s
    for most in (14, 30, 60):
        monkeypatch.setattr(random_phases, "MOST_ARRIVALS", most)
        assert (drawn_waits(own, others).delays_s >= all_s - 1e-9).all()
