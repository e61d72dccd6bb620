from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from edgesplit_agent.compute.fair_queue import BACKGROUND, FairQueue


def names(queue: FairQueue[str], cost_s: dict[str, float] | None = None) -> list[str]:
    """Take everything, each job costing what its share costs."""
    order: list[str] = []
    while (taken := queue.take()) is not None:
        job, share = taken
        order.append(job)
        queue.spent(share, (cost_s or {}).get(share or "", 1.0))
    return order


def test_an_older_request_of_a_model_goes_first_and_what_is_no_request_last() -> None:
    queue: FairQueue[str] = FairQueue()
    queue.put("profiling", BACKGROUND, 0)
    queue.put("newer", "a", 2)
    queue.put("older", "a", 1)
    assert names(queue) == ["older", "newer", "profiling"]
    assert not queue


def test_a_burst_of_one_model_does_not_hold_up_the_other() -> None:
    queue: FairQueue[str] = FairQueue()
    for number in range(20):
        queue.put(f"a{number}", "a", number)
    queue.put("b", "b", 20)
    assert names(queue).index("b") <= 1


def test_time_is_shared_not_the_number_of_jobs() -> None:
    queue: FairQueue[str] = FairQueue()
    for number in range(40):
        queue.put("slow", "slow", number)
        queue.put("fast", "fast", number)
    first = names(queue, {"slow": 4.0, "fast": 1.0})[:25]
    assert 17 <= first.count("fast") <= 23


def test_a_model_that_had_nothing_to_do_saves_nothing_up() -> None:
    queue: FairQueue[str] = FairQueue()
    queue.put("b", "b", 0)
    names(queue)
    for number in range(50):
        queue.put("a", "a", number)
    for _ in range(30):
        queue.take()
        queue.spent("a", 1.0)
    for number in range(20):
        queue.put("b", "b", 100 + number)
    assert 4 <= names(queue)[:10].count("b") <= 6


@given(st.lists(st.tuples(st.sampled_from(["a", "b", "c", None]), st.integers(0, 5)), max_size=40))
def test_every_job_is_taken_once_and_priorities_hold_within_a_share(jobs: list[tuple[str | None, int]]) -> None:
    queue: FairQueue[tuple[str | None, int, int]] = FairQueue()
    for number, (share, priority) in enumerate(jobs):
        queue.put((share, priority, number), share, priority)
    taken: list[tuple[str | None, int, int]] = []
    while (entry := queue.take()) is not None:
        taken.append(entry[0])
        queue.spent(entry[1], 0.5)
    assert sorted(taken, key=lambda job: job[2]) == [(s, p, n) for n, (s, p) in enumerate(jobs)]
    for share in ("a", "b", "c", None):
        own = [job[1:] for job in taken if job[0] == share]
        assert own == sorted(own)
    background = [job[0] is None for job in taken]
    assert background == sorted(background)
