"""What serving cost over restarts of agents, and how much is asked of models."""

from __future__ import annotations

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from edgesplit.control.figure_messages import AskedSizes, Usage
from edgesplit.planning.origins import Origin
from edgesplit_controller.fleet.traffic import Traffic
from edgesplit_controller.fleet.usage_sums import MOST_RUNS, UsageSums


def usage(
    requests: int,
    energy_j: float = 0.0,
    *,
    since: float = 1.0,
    node: str = "device",
    model: str = "m",
    origin: Origin = "measured",
) -> Usage:
    return Usage(
        node=node,
        model=model,
        epoch=1,
        requests=requests,
        failed=0,
        compute_s=float(requests),
        transmit_s=0.0,
        energy_j=energy_j,
        energy_origin=origin,
        compute_energy_j=energy_j,
        compute_energy_origin=origin,
        counted_since_unix_s=since,
    )


def test_what_an_agent_counted_before_it_restarted_stays_in_the_sum() -> None:
    sums = UsageSums()
    assert sums.add(usage(3, 6.0)).requests == 3
    assert sums.add(usage(5, 10.0)).requests == 2
    assert sums.add(usage(1, 1.0, since=2.0, origin="configured")).requests == 1
    (total,) = sums.of("m", 1)
    assert (total.requests, total.energy_j, total.energy_origin) == (6, 11.0, "configured")
    sums.add(usage(0, 0.0, since=3.0, origin="modelled"))
    assert sums.of("m", 1)[0].compute_energy_origin == "configured"
    sums.forget("m")
    assert sums.of("m", 1) == ()


def test_a_message_delivered_again_adds_nothing_in_whatever_order() -> None:
    sums = UsageSums()
    for said in (usage(5), usage(7), usage(2, since=2.0), usage(5), usage(7), usage(2, since=2.0)):
        added = sums.add(said)
    assert added.requests == 0
    assert sums.of("m", 1)[0].requests == 9


def test_every_part_of_a_requests_cost_is_summed_over_restarts() -> None:
    sums = UsageSums()
    first = msgspec.structs.replace(usage(2), coding_s=0.25, waiting_s=0.5, handling_s=0.125)
    sums.add(first)
    sums.add(msgspec.structs.replace(usage(1, since=2.0), coding_s=0.5, waiting_s=1.0, handling_s=0.25))
    grown = sums.add(msgspec.structs.replace(first, requests=3, coding_s=0.75, waiting_s=0.5, handling_s=0.25))
    assert (grown.coding_s, grown.waiting_s, grown.handling_s) == (0.5, 0.0, 0.125)
    (total,) = sums.of("m", 1)
    assert (total.coding_s, total.waiting_s, total.handling_s) == (1.25, 1.5, 0.5)


def test_counters_of_an_agent_that_does_not_say_since_when_are_its_last_word() -> None:
    sums = UsageSums()
    for requests in (4, 9, 2):
        sums.add(usage(requests, since=0.0))
    assert sums.of("m", 1)[0].requests == 2


@given(st.lists(st.tuples(st.integers(1, 4), st.integers(0, 50)), max_size=30))
def test_what_messages_add_is_what_the_sum_grows_by(said: list[tuple[int, int]]) -> None:
    sums, added = UsageSums(), 0
    for since, requests in said:
        added += sums.add(usage(requests, since=float(since))).requests
    total = sum(entry.requests for entry in sums.of("m", 1))
    assert total == sum(max(r for s, r in said if s == since) for since in {s for s, _ in said})
    assert added == total


class Clock:
    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def test_a_rate_is_a_mean_over_the_window_and_the_last_one_stands_while_nothing_is_asked() -> None:
    clock = Clock()
    traffic = Traffic(clock)
    traffic.add(usage(50))
    assert traffic.requests_per_s("device", "m") is None
    for _ in range(20):
        clock.now_s += 1.0
        traffic.add(usage(4))
    assert traffic.requests_per_s("device", "m") == 4.0
    assert traffic.requests_per_s("edge", "m") is None
    clock.now_s += 20.0
    assert traffic.requests_per_s("device", "m") == 2.0
    clock.now_s += 250.0
    last = traffic.requests_per_s("device", "m")
    assert last is not None
    clock.now_s += 10_000.0
    assert traffic.requests_per_s("device", "m") == last
    traffic.add(usage(30))
    assert traffic.requests_per_s("device", "m") == 0.1  # of the last five minutes


def test_what_other_models_draw_counts_without_the_model_itself_and_ends_with_them() -> None:
    clock = Clock()
    traffic = Traffic(clock)
    for _ in range(21):
        for model, energy_j in (("m", 5.0), ("other", 2.0), ("third", 1.0)):
            traffic.add(usage(1, energy_j, model=model))
        clock.now_s += 1.0
    assert round(traffic.watts("device", without="m"), 2) == round(3.0 * 20 / 21, 2)
    clock.now_s += 400.0
    assert traffic.watts("device", without="m") == 0.0
    traffic.forget("m")
    assert traffic.requests_per_s("device", "m") is None


def test_sizes_that_were_asked_are_summed_over_plans_and_restarts() -> None:
    sums = UsageSums()

    def asked(**requests: int) -> tuple[AskedSizes, ...]:
        return tuple(AskedSizes(inputs={"x": (int(side[1:]),)}, requests=count) for side, count in requests.items())

    sums.add(msgspec.structs.replace(usage(2), sizes=asked(s8=1)))
    sums.add(msgspec.structs.replace(usage(3), sizes=asked(s8=2, s4=1), unplanned=2))
    grown = sums.add(msgspec.structs.replace(usage(5), sizes=asked(s8=2, s4=3), unplanned=2))
    sums.add(msgspec.structs.replace(usage(4, since=2.0), epoch=2, sizes=asked(s8=4)))
    sums.add(msgspec.structs.replace(usage(4, model="other"), sizes=asked(s7=4)))
    assert grown.unplanned == 0
    assert [(entry.inputs["x"], entry.requests) for entry in sums.asked("m")] == [((8,), 6), ((4,), 3)]


def test_however_many_runs_an_agent_claims_the_sum_is_theirs_and_memory_is_not() -> None:
    sums, peak = UsageSums(), 0
    for number in range(1, 1001):
        assert sums.add(usage(1, 2.0, since=float(number))).requests == 1
        (counts,) = sums._counts.values()
        peak = max(peak, len(counts))
    (total,) = sums.of("m", 1)
    assert (total.requests, total.energy_j) == (1000, 2000.0)
    assert peak <= MOST_RUNS + 1
    assert sums.add(usage(3, 6.0, since=1000.0)).requests == 2


def test_what_was_asked_lately_is_a_rate_of_seconds_and_nothing_once_nobody_asks() -> None:
    clock = Clock()
    traffic = Traffic(clock)
    assert traffic.lately_per_s("device", "m") == 0.0
    for _ in range(21):
        traffic.add(usage(3))
        clock.now_s += 1.0
    assert round(traffic.lately_per_s("device", "m"), 2) == 2.7  # of ten seconds, of which one has not been told
    clock.now_s += 60.0
    assert traffic.lately_per_s("device", "m") == 0.0
    assert traffic.requests_per_s("device", "m") is not None
