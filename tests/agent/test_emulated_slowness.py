"""How long runs last on a node that plays a slower one."""

from __future__ import annotations

import random
import statistics
from types import SimpleNamespace
from typing import Any

import pytest

from edgesplit_agent.compute import emulated_slowness, runtime
from edgesplit_agent.compute.emulated_slowness import EACH_TIME, slowed
from edgesplit_agent.compute.recent_runs import CHANGED_RUNS, QUICKEST_OF, REMEMBERED, RecentRuns
from edgesplit_agent.compute.session_pool import RuntimeOptions

OWN_S, FACTOR = 0.010, 8.0


class Machine:
    """One whose work takes what it is told, in place of the machine's clocks."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now_s = self.busy_s = 0.0
        self.times = 0
        self.recent = RecentRuns()
        clocks = SimpleNamespace(perf_counter=lambda: self.now_s, thread_time=lambda: self.busy_s, sleep=self._sleep)
        for module in (emulated_slowness, runtime):
            monkeypatch.setattr(module, "time", clocks)

    def run(
        self,
        own_s: float,
        *,
        waited_s: float = 0.0,
        factor: float = FACTOR,
        threads: int = 1,
        in_a_row_s: float | None = None,
    ) -> Any:
        """Do it once: seconds by the wall clock and on that of profiles, for `pytest.approx` to compare.

        Args:
            own_s: That it takes.
            waited_s: For a core.
            factor: Emulated.
            threads: That it has.
            in_a_row_s: That it takes when it is repeated; None where it is not.
        """
        self.times = 0

        def work() -> None:
            self.times += 1
            seconds = own_s if in_a_row_s is None or self.times == 1 else in_a_row_s
            self.now_s += seconds + waited_s
            self.busy_s += seconds

        options = RuntimeOptions(threads=threads, slow_down=factor, alone=True)
        _, seconds, as_profiled_s = slowed(
            work, options, single_threaded=threads == 1, recent=self.recent, repeated=in_a_row_s is not None
        )
        return seconds, as_profiled_s

    def _sleep(self, seconds: float) -> None:
        self.now_s += seconds


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    """Whose work ran a while."""
    made = Machine(monkeypatch)
    for _ in range(REMEMBERED + 1):
        made.run(OWN_S)
    return made


def test_a_runs_own_deviation_counts_once(machine: Machine) -> None:
    assert machine.run(OWN_S)[1] == pytest.approx(FACTOR * OWN_S)
    assert machine.run(OWN_S + 0.005) == pytest.approx((FACTOR * OWN_S + 0.005, FACTOR * OWN_S + 0.005))
    assert machine.run(OWN_S)[1] == pytest.approx(FACTOR * OWN_S)


@pytest.mark.parametrize("change", [0.5, 0.9, 1.1, 2.0])
def test_a_lasting_change_shows_in_full_after_a_few_runs(machine: Machine, change: float) -> None:
    for _ in range(CHANGED_RUNS):
        assert machine.run(change * OWN_S)[1] == pytest.approx((FACTOR - 1 + change) * OWN_S)
    assert machine.run(change * OWN_S)[1] == pytest.approx(FACTOR * change * OWN_S)


def test_a_small_change_within_noise_shows_within_the_runs_that_are_remembered(machine: Machine) -> None:
    chance = random.Random(1)
    for _ in range(REMEMBERED):
        machine.run(OWN_S * chance.gauss(1.0, 0.09))
    for _ in range(REMEMBERED):
        machine.run(1.1 * OWN_S * chance.gauss(1.0, 0.09))
    assert machine.run(1.1 * OWN_S)[1] == pytest.approx(1.1 * FACTOR * OWN_S, rel=0.05)


def test_noise_of_the_machine_is_not_that_of_the_node_it_plays(machine: Machine) -> None:
    chance = random.Random(2)
    own = [OWN_S * chance.gauss(1.0, 0.09) for _ in range(400)]
    played = [machine.run(seconds)[1] / FACTOR for seconds in own]
    assert statistics.stdev(played) < 0.5 * statistics.stdev(own)
    assert statistics.mean(played) == pytest.approx(statistics.mean(own), rel=0.01)


def test_the_first_runs_are_multiplied_as_they_are_and_the_very_first_is_not_remembered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    machine = Machine(monkeypatch)
    assert machine.run(0.05)[1] == pytest.approx(FACTOR * 0.05)
    assert machine.run(OWN_S)[1] == pytest.approx(FACTOR * OWN_S)
    assert machine.run(2 * OWN_S)[1] == pytest.approx((FACTOR + 1) * OWN_S)


def test_waiting_for_a_core_is_neither_multiplied_nor_added_where_slowness_covers_it(machine: Machine) -> None:
    assert machine.run(OWN_S, waited_s=5 * OWN_S) == pytest.approx((FACTOR * OWN_S, FACTOR * OWN_S))
    assert machine.run(OWN_S, waited_s=9 * OWN_S) == pytest.approx((10 * OWN_S, FACTOR * OWN_S))


def test_what_is_not_slowed_takes_its_own_time_and_is_not_remembered(machine: Machine) -> None:
    assert machine.run(3 * OWN_S, waited_s=OWN_S, factor=1.0) == pytest.approx((4 * OWN_S, 3 * OWN_S))
    assert machine.run(OWN_S)[1] == pytest.approx(FACTOR * OWN_S)


def test_another_factor_holds_at_once(machine: Machine) -> None:
    assert machine.run(OWN_S, factor=2 * FACTOR)[1] == pytest.approx(2 * FACTOR * OWN_S)


def test_of_several_threads_the_wall_clock_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(monkeypatch)
    assert machine.run(OWN_S, waited_s=OWN_S, threads=2)[1] == pytest.approx(FACTOR * 2 * OWN_S)


COLD_S = OWN_S + 0.003


def test_what_a_pause_costs_is_not_multiplied(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(monkeypatch)
    for _ in range(5):
        lasts_s = COLD_S + (FACTOR - 1) * OWN_S
        assert machine.run(COLD_S, in_a_row_s=OWN_S) == pytest.approx((lasts_s, lasts_s))


def test_it_is_repeated_a_few_times_each_time_and_more_often_at_first(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(monkeypatch)
    runs = []
    for _ in range(7):
        machine.run(COLD_S, in_a_row_s=OWN_S, factor=20.0)
        runs.append(machine.times - 1)
    # Twelve are wanted, as many at a time as there is time for.
    assert runs[0] > EACH_TIME
    assert runs[-2:] == [EACH_TIME, EACH_TIME]


def test_a_spell_as_long_as_a_run_does_not_count_in_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(monkeypatch)
    machine.run(1.3 * OWN_S, in_a_row_s=1.3 * OWN_S, factor=20.0)
    machine.run(OWN_S, in_a_row_s=OWN_S, factor=20.0)
    assert machine.run(OWN_S, in_a_row_s=OWN_S, factor=20.0)[1] == pytest.approx(20 * OWN_S)


def test_what_is_profiled_with_full_caches_is_repeated_so(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(monkeypatch)
    filled: list[float] = []
    monkeypatch.setattr(emulated_slowness, "displace_caches", lambda: filled.append(machine.now_s))
    options = RuntimeOptions(threads=1, slow_down=FACTOR, alone=True)

    def work() -> None:
        machine.now_s += OWN_S
        machine.busy_s += OWN_S

    for _ in range(3):
        slowed(work, options, single_threaded=True, recent=machine.recent, repeated=True, displaced=True)
    assert machine.recent.count == len(filled) > 3


def test_it_is_repeated_only_where_the_slower_node_would_still_compute(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(monkeypatch)
    assert machine.run(OWN_S, in_a_row_s=OWN_S, factor=2.0)[1] == pytest.approx(2 * OWN_S)
    assert machine.times == 1
    assert machine.run(OWN_S, in_a_row_s=OWN_S, waited_s=6 * OWN_S)[1] == pytest.approx(FACTOR * OWN_S)
    assert machine.times == 1


@pytest.mark.parametrize(
    ("change", "after"), [(0.5, CHANGED_RUNS), (0.9, CHANGED_RUNS), (1.1, QUICKEST_OF), (2.0, CHANGED_RUNS)]
)
def test_a_lasting_change_of_repetitions_shows_in_full_after_a_few_or_where_it_might_be_a_spell_after_more(
    monkeypatch: pytest.MonkeyPatch, change: float, after: int
) -> None:
    machine = Machine(monkeypatch)
    machine.run(OWN_S, in_a_row_s=OWN_S)
    for _ in range(after):
        machine.run(change * OWN_S, in_a_row_s=change * OWN_S)
    assert machine.run(change * OWN_S, in_a_row_s=change * OWN_S)[1] == pytest.approx(FACTOR * change * OWN_S)


def test_slow_spells_of_this_machine_are_not_the_played_nodes(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(monkeypatch)
    chance = random.Random(3)
    played = []
    for number in range(200):
        disturbed = 1.2 if number % 40 >= 34 else 1.0  # six of forty
        own_s = disturbed * OWN_S * (1 + chance.expovariate(30.0))
        in_a_row_s = disturbed * OWN_S * (1 + chance.expovariate(30.0))
        played.append((machine.run(own_s, in_a_row_s=in_a_row_s)[1] - own_s) / (FACTOR - 1))
    assert max(played[10:]) <= 1.03 * min(played[10:])
    assert min(played) >= OWN_S
