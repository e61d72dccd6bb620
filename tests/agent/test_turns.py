from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from edgesplit_agent.compute.fair_queue import BACKGROUND, Turns


def names(turns: Turns[str], cost_s: dict[str, float] | None = None) -> list[str]:
    """Take everything, each job costing what its share costs."""
    order: list[str] = []
    while (taken := turns.take()) is not None:
        job, share = taken
        order.append(job)
        turns.spent(share, (cost_s or {}).get(share or "", 1.0))
    return order


def test_an_older_request_of_a_model_goes_first_and_what_is_no_request_last() -> None:
    turns: Turns[str] = Turns()
    turns.put("profiling", BACKGROUND, 0)
    turns.put("newer", "a", 2)
    turns.put("older", "a", 1)
    assert names(turns) == ["older", "newer", "profiling"]
    assert not turns


def test_a_burst_of_one_model_does_not_hold_up_the_other() -> None:
    turns: Turns[str] = Turns()
    for number in range(20):
        turns.put(f"a{number}", "a", number)
    turns.put("b", "b", 20)
    assert names(turns).index("b") <= 1


def test_time_is_shared_not_the_number_of_jobs() -> None:
    turns: Turns[str] = Turns()
    for number in range(40):
        turns.put("slow", "slow", number)
        turns.put("fast", "fast", number)
    first = names(turns, {"slow": 4.0, "fast": 1.0})[:25]
    assert 17 <= first.count("fast") <= 23


def test_a_model_that_had_nothing_to_do_saves_nothing_up() -> None:
    turns: Turns[str] = Turns()
    turns.put("b", "b", 0)
    names(turns)
    for number in range(50):
        turns.put("a", "a", number)
    for _ in range(30):
        turns.take()
        turns.spent("a", 1.0)
    for number in range(20):
        turns.put("b", "b", 100 + number)
    assert 4 <= names(turns)[:10].count("b") <= 6


@given(st.lists(st.tuples(st.sampled_from(["a", "b", "c", None]), st.integers(0, 5)), max_size=40))
def test_every_job_is_taken_once_and_priorities_hold_within_a_share(jobs: list[tuple[str | None, int]]) -> None:
    turns: Turns[tuple[str | None, int, int]] = Turns()
    for number, (share, priority) in enumerate(jobs):
        turns.put((share, priority, number), share, priority)
    taken: list[tuple[str | None, int, int]] = []
    while (entry := turns.take()) is not None:
        taken.append(entry[0])
        turns.spent(entry[1], 0.5)
    assert sorted(taken, key=lambda job: job[2]) == [(s, p, n) for n, (s, p) in enumerate(jobs)]
    for share in ("a", "b", "c", None):
        own = [job[1:] for job in taken if job[0] == share]
        assert own == sorted(own)
    background = [job[0] is None for job in taken]
    assert background == sorted(background)
