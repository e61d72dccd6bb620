"""What computing draws, from what a machine draws: idle, attribution, energy, sensors that fail."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
from structlog.testing import capture_logs

from edgesplit.errors import InvalidConfiguration
from edgesplit_agent.compute.worker import Worker
from edgesplit_agent.configuration import PowerSection
from edgesplit_agent.reporting.collectors.busy_clock import Busy, BusyClock
from edgesplit_agent.reporting.collectors.power.meter import PowerMeter
from edgesplit_agent.reporting.collectors.power.selection import SENSORS, automatic_order, select_power
from edgesplit_agent.reporting.collectors.power.sensor import Power, PowerSensor, SensorTraits
from edgesplit_agent.reporting.collectors.sensor_errors import SensorUnavailable
from edgesplit_agent.reporting.usage import UsageBook
from tests.agent.collectors.trees import ACPI_METER, INTEL_LAPTOP, JETSON_ORIN_NANO, LAPTOP_BATTERY, Clock, Tree, write

CONFIGURED = Power(9.0, 2.0, "configured", "constant")


class Machine:
    """A machine that draws 20 W idle and 30 W more while computing, and its sensor, an energy counter."""

    def __init__(self, traits: SensorTraits, noise_w: float = 0.0) -> None:
        self.traits = traits
        self.clock = Clock()
        self.busy = BusyClock(self.clock)
        self.broken = ""
        self.energy_j = 0.0
        self.true_compute_j = 0.0
        self._noise_w = noise_w
        self._random = random.Random(7)
        self._before = (self.clock(), 0.0)
        self.meter = PowerMeter(self, CONFIGURED, busy=self.busy, clock=self.clock)

    def read(self) -> float | None:
        """Mean watts since the reading before."""
        if self.broken:
            raise SensorUnavailable(self.broken)
        (before_s, before_j), self._before = self._before, (self.clock(), self.energy_j)
        if self.clock() == before_s:
            return None
        return (self.energy_j - before_j) / (self.clock() - before_s) + self._random.gauss(0.0, self._noise_w)

    def rest(self, seconds: float, extra_w: float = 0.0) -> None:
        """Idle, with something else drawing or not."""
        self.energy_j += (20.0 + extra_w) * seconds
        self.clock.advance(seconds)

    def compute(self, seconds: float) -> None:
        """Compute in the compute thread."""

        def work() -> None:
            self.clock.advance(seconds)

        self.energy_j += 50.0 * seconds
        self.true_compute_j += 30.0 * seconds
        self.busy.time(work)

    def window(self, computing_s: float, sent_s: float = 0.0) -> Power:
        """One second, partly computing, then a reading."""
        self.compute(computing_s)
        self.rest(1.0 - computing_s)
        return self.meter.sample(sent_s)

    def learn_idle(self, seconds: int = 5) -> None:
        """Let the meter see the machine at rest."""
        self.meter.sample()
        for _ in range(seconds):
            self.rest(1.0)
            self.meter.sample()


COUNTER = SensorTraits("rapl")


def test_configured_watts_stand_until_idle_and_computing_were_seen() -> None:
    machine = Machine(COUNTER)
    machine.learn_idle()
    power = machine.meter.sample()
    assert (power.compute_w, power.origin, power.sensor) == (9.0, "configured", "constant")
    assert power.idle_w == pytest.approx(20.0)
    assert power.idle_origin == "measured"


@pytest.mark.parametrize("share", [1.0, 0.5, 0.1])
def test_watts_of_computing_are_those_over_idle_whatever_share_of_the_time_it_takes(share: float) -> None:
    machine = Machine(COUNTER, noise_w=0.5)
    machine.learn_idle()
    for _ in range(300):
        power = machine.window(share)
    assert power.compute_w == pytest.approx(30.0, rel=0.05)
    assert (power.origin, power.sensor, power.transmit_w) == ("measured", "rapl", 2.0)


def test_profiling_counts_as_computing_so_that_the_first_plan_has_measured_watts() -> None:
    machine = Machine(COUNTER)
    machine.learn_idle()
    for _ in range(3):
        power = machine.window(0.9)
    assert power.origin == "measured"
    assert power.compute_w == pytest.approx(30.0)


def test_energy_of_requests_is_what_the_counter_counted() -> None:
    machine = Machine(COUNTER, noise_w=0.5)
    book = UsageBook("n", machine.meter.sample())
    machine.learn_idle(60)
    for _ in range(5):
        book.set_power(machine.window(0.9))
    book.begin("m", 1)
    machine.true_compute_j = 0.0
    for _ in range(200):
        machine.compute(0.2)
        book.computed("m", 1, 0.2)
        book.completed("m", 1, 0.3)
        machine.rest(0.8)
        book.set_power(machine.meter.sample())
    (usage,) = book.take_changed()
    assert usage.compute_energy_j == pytest.approx(machine.true_compute_j, rel=0.03)
    assert usage.energy_origin == "measured"


def test_a_computation_over_several_readings_gets_all_of_its_energy() -> None:
    machine = Machine(COUNTER)
    book = UsageBook("n", machine.meter.sample())
    machine.learn_idle()
    for _ in range(5):
        book.set_power(machine.window(0.9))
    book.begin("m", 1)

    def long_work() -> None:
        for _ in range(3):
            machine.energy_j += 80.0  # 60 W over idle, twice the usual
            machine.clock.advance(1.0)
            book.set_power(machine.meter.sample())
        machine.energy_j += 0.5 * 80.0
        machine.clock.advance(0.5)

    machine.busy.time(long_work)
    book.computed("m", 1, 3.5)
    machine.rest(0.5)
    book.set_power(machine.meter.sample())
    (usage,) = book.take_changed()
    assert usage.compute_energy_j == pytest.approx(3.5 * 60.0)


def test_computing_before_a_reading_that_comes_too_soon_is_not_lost() -> None:
    machine = Machine(COUNTER)
    machine.learn_idle()
    for _ in range(3):
        machine.window(0.9)
    machine.compute(0.5)
    assert machine.meter.sample().window_w == pytest.approx(30.0)
    machine.busy.time(lambda: None)
    assert machine.meter.sample().window_w is None  # no time has passed
    assert machine.window(0.4).window_w == pytest.approx(30.0)


def test_two_models_share_the_energy_of_a_second_by_their_time() -> None:
    machine = Machine(COUNTER)
    book = UsageBook("n", machine.meter.sample())
    machine.learn_idle()
    for _ in range(5):
        book.set_power(machine.window(0.9))
    for model, seconds in (("a", 0.6), ("b", 0.2)):
        machine.compute(seconds)
        book.computed(model, 1, seconds)
    machine.rest(0.2)
    book.set_power(machine.meter.sample())
    energies = {usage.model: usage.compute_energy_j for usage in book.take_changed()}
    assert energies == {"a": pytest.approx(18.0), "b": pytest.approx(6.0)}


def test_a_sensor_that_dies_is_replaced_by_labelled_configured_watts_and_comes_back() -> None:
    machine = Machine(COUNTER)
    book = UsageBook("n", machine.meter.sample())
    machine.learn_idle()
    for _ in range(5):
        book.set_power(machine.window(0.9))
    machine.broken = "/sys/energy_uj cannot be read: Input/output error"
    with capture_logs() as logs:
        for _ in range(10):
            machine.compute(0.5)
            book.computed("m", 1, 0.5)
            machine.rest(0.5)
            power = machine.meter.sample()
            book.set_power(power)
    assert power == CONFIGURED
    (said,) = [entry for entry in logs if entry["event"] == "sensor-unreadable"]
    assert said["text"].endswith("Input/output error: configured watts are used until it can be read")
    (usage,) = book.take_changed()
    assert usage.energy_origin == "configured"
    machine.broken = ""
    with capture_logs() as logs:
        machine.window(0.5)
        power = machine.window(0.5)
    assert [entry["event"] for entry in logs] == ["sensor-back"]
    assert power.origin == "measured"
    assert power.window_w == pytest.approx(30.0)


def test_noise_never_makes_energy_negative_and_cancels_out() -> None:
    machine = Machine(COUNTER, noise_w=2.0)
    book = UsageBook("n", machine.meter.sample())
    machine.learn_idle()
    for _ in range(60):
        book.set_power(machine.window(0.9))
    for _ in range(60):
        machine.rest(1.0)
        book.set_power(machine.meter.sample())
    machine.true_compute_j, before_j = 0.0, 0.0
    for _ in range(600):
        book.computed("m", 1, 0.05)
        book.set_power(machine.window(0.05))
        (usage,) = book.take_changed()
        assert usage.compute_energy_j >= before_j
        before_j = usage.compute_energy_j
    assert before_j == pytest.approx(machine.true_compute_j, rel=0.4)


def test_what_a_whole_machine_draws_for_sending_is_not_put_on_computing() -> None:
    machine = Machine(SensorTraits("plug", covers_sending=True))
    machine.learn_idle()
    for _ in range(20):
        machine.energy_j += 2.0 * 0.4
        power = machine.window(0.5, sent_s=0.4)
    assert power.compute_w == pytest.approx(30.0)


def test_a_slow_sensor_is_believed_only_when_it_had_time_and_is_not_integrated() -> None:
    machine = Machine(SensorTraits("battery", covers_sending=True, lag_s=10.0))
    machine.meter.sample()
    for _ in range(14):
        machine.rest(1.0)
        machine.meter.sample()
    for _ in range(10):
        assert machine.window(0.8).origin == "configured"
    for _ in range(10):
        power = machine.window(0.8)
    assert power.compute_w == pytest.approx(30.0)
    assert (power.integrates, power.window_w) == (False, None)


def test_a_baseline_that_rises_is_followed() -> None:
    machine = Machine(COUNTER)
    machine.learn_idle()
    for _ in range(60):
        machine.rest(1.0, extra_w=7.0)
        power = machine.meter.sample()
    assert power.idle_w == pytest.approx(27.0)


def test_a_book_without_a_sensor_multiplies_and_says_where_each_part_comes_from() -> None:
    book = UsageBook("n", Power(2.0, 1.0, "measured", "battery"))
    book.begin("m", 1)
    book.computed("m", 1, 3.0)
    (usage,) = book.take_changed()
    assert (usage.energy_j, usage.energy_origin) == (6.0, "measured")
    book.set_power(Power(4.0, 1.0, "modelled", "load"))
    book.computed("m", 1, 1.0)
    book.sent("m", 1, 2.0)
    book.completed("m", 1, 0.5)
    book.failed("m", 1)
    (usage,) = book.take_changed()
    assert (usage.energy_j, usage.compute_energy_j, usage.transmit_energy_j) == (12.0, 10.0, 2.0)
    assert (usage.energy_origin, usage.compute_energy_origin) == ("configured", "modelled")
    assert (usage.requests, usage.failed, usage.latency_sum_s, usage.transmit_s) == (1, 1, 0.5, 2.0)
    assert book.take_sent_s() == 2.0
    assert book.take_sent_s() == 0.0
    assert book.take_changed() == []


def test_a_released_epoch_is_said_a_last_time_with_the_energy_still_waiting() -> None:
    book = UsageBook("n", Power(2.0, 1.0, "measured", "rapl", integrates=True))
    book.computed("m", 1, 1.0)
    book.completed("m", 1)
    book.forget("m", 1)
    assert [(usage.requests, usage.energy_j) for usage in book.take_changed()] == [(1, 2.0)]
    book.completed("m", 1)
    assert [usage.requests for usage in book.take_changed()] == [1]


def test_the_busy_clock_counts_what_still_runs_once() -> None:
    clock = Clock()
    busy = BusyClock(clock)
    seen: list[Busy] = []

    def work() -> None:
        clock.advance(2.0)
        seen.append(busy.take())
        clock.advance(1.0)

    busy.time(work)
    assert seen == [Busy(2.0, 2.0)]
    assert busy.take() == Busy(1.0, 0.0)
    with pytest.raises(ZeroDivisionError):
        busy.time(lambda: 1 // 0)
    assert busy.take() == Busy(0.0, 0.0)


async def test_a_timed_worker_counts_what_it_runs() -> None:
    clock = Clock()
    busy = BusyClock(clock)
    worker = Worker(busy.time)
    await worker.run(lambda: clock.advance(1.5), priority=0)
    assert busy.take().busy_s == 1.5
    await worker.close()


# --- which sensor ---------------------------------------------------------------------------------------------------


def test_auto_tries_what_is_set_up_then_what_is_near_the_computing_then_models() -> None:
    assert automatic_order(PowerSection(), graphics=False) == ("rails", "rapl", "acpi", "battery")
    everything = PowerSection(plug_topic="plug/power", idle_w=5.0, busy_w=20.0)
    assert automatic_order(everything, graphics=True) == (
        "plug",
        "rails",
        "rapl+nvml",
        "nvml",
        "rapl",
        "acpi",
        "battery",
        "load",
    )


@pytest.mark.parametrize(
    ("trees", "expected"),
    [
        ((JETSON_ORIN_NANO, INTEL_LAPTOP), "rails"),
        ((INTEL_LAPTOP, LAPTOP_BATTERY, ACPI_METER), "rapl"),
        ((LAPTOP_BATTERY, ACPI_METER), "acpi"),
        ((LAPTOP_BATTERY,), "battery"),
        ((), "constant"),
    ],
)
def test_auto_takes_the_first_that_can_be_read(tmp_path: Path, trees: tuple[Tree, ...], expected: str) -> None:
    for tree in trees:
        write(tmp_path, tree)
    assert select_power(PowerSection(sysfs=str(tmp_path))).sensor == expected


def test_auto_adds_the_graphics_processor_and_models_only_without_a_sensor(tmp_path: Path) -> None:
    class Graphics:
        traits = SensorTraits("nvml")

        def read(self) -> float | None:
            return 55.0

    def graphics(_section: PowerSection, _broker: object) -> PowerSensor:
        return Graphics()

    sensors = {**SENSORS, "nvml": replace(SENSORS["nvml"], build=graphics)}
    section = PowerSection(sysfs=str(write(tmp_path, INTEL_LAPTOP)))
    assert select_power(section, graphics=True, sensors=sensors).sensor == "rapl+nvml"
    nothing = PowerSection(sysfs=str(tmp_path / "none"), idle_w=5.0, busy_w=20.0)
    assert select_power(nothing, graphics=True, sensors=sensors).sensor == "nvml"
    assert select_power(nothing, sensors=sensors).sensor == "load"


def test_a_model_of_the_load_is_labelled_from_the_first_reading_on() -> None:
    power = select_power(PowerSection(source="load", idle_w=5.0, busy_w=21.0, compute_w=3.0), threads=10_000).sample()
    assert (power.origin, power.sensor, power.compute_w) == ("modelled", "load", 16.0)


def test_a_named_sensor_that_is_not_there_serves_configured_watts_until_it_comes(tmp_path: Path) -> None:
    meter = select_power(PowerSection(source="battery", sysfs=str(tmp_path), compute_w=3.0))
    assert meter.sample().origin == "configured"
    write(tmp_path, LAPTOP_BATTERY)
    assert meter.sample().drawn_w == 7.5


def test_a_sensor_nobody_knows_is_refused() -> None:
    with pytest.raises(InvalidConfiguration, match="use one of auto, constant, plug, rails, rapl"):
        select_power(PowerSection(source="thermometer"))
    constant = select_power(PowerSection(source="constant", compute_w=3.0, transmit_w=1.0))
    assert constant.sample() == Power(3.0, 1.0, "configured", "constant")


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"source": "plug"}, "plug_topic"),
        ({"source": "rapl+plug"}, "plug_topic"),
        ({"source": "load", "idle_w": 5.0, "busy_w": 5.0}, "busy_w"),
        ({"compute_w": float("inf")}, "compute_w"),
        ({"plug_broker": "http://x"}, "mqtt://"),
    ],
)
def test_sections_that_lack_what_a_sensor_needs_are_refused(keys: dict[str, str | float], said: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=said):
        msgspec.convert(keys, PowerSection)


def test_a_draw_at_rest_that_a_model_computed_is_said_to_be_one() -> None:
    machine = Machine(SensorTraits("load", origin="modelled"))
    assert machine.meter.sample().idle_origin is None
    machine.learn_idle()
    assert machine.meter.sample().idle_origin == "modelled"
