"""Sensors on captured kernel trees and fake libraries."""

from __future__ import annotations

import ctypes
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgesplit_agent.reporting.collectors.battery_level import BatteryCollector, BatteryLevel
from edgesplit_agent.reporting.collectors.power.acpi import AcpiPower
from edgesplit_agent.reporting.collectors.power.battery_discharge import BatteryPower
from edgesplit_agent.reporting.collectors.power.combined import SummedPower
from edgesplit_agent.reporting.collectors.power.load import LoadPower, processor_load
from edgesplit_agent.reporting.collectors.power.nvml import NvmlPower
from edgesplit_agent.reporting.collectors.power.rails import RailsPower
from edgesplit_agent.reporting.collectors.power.rapl import RaplPower
from edgesplit_agent.reporting.collectors.sensor_errors import SensorUnavailable
from tests.agent.collectors.trees import (
    ACPI_METER,
    AMD_SERVER,
    BOARD_WITH_INA219,
    CHARGE_BATTERY,
    INTEL_LAPTOP,
    JETSON_NANO_JETPACK_4,
    JETSON_ORIN_NANO,
    JETSON_XAVIER,
    LAPTOP_BATTERY,
    Clock,
    Tree,
    write,
)


def test_rapl_counts_the_package_once_whatever_parts_and_platform_domains_there_are(tmp_path: Path) -> None:
    clock = Clock()
    sensor = RaplPower(write(tmp_path, INTEL_LAPTOP), clock=clock)
    assert sensor.read() is None
    clock.advance(2.0)
    write(tmp_path, {"class/powercap/intel-rapl:0/energy_uj": 34_000_000})
    assert sensor.read() == pytest.approx(12.0)


def test_rapl_adds_up_packages_and_goes_around_with_their_counters(tmp_path: Path) -> None:
    clock = Clock()
    sensor = RaplPower(write(tmp_path, AMD_SERVER), clock=clock)
    sensor.read()
    clock.advance(1.0)
    write(
        tmp_path,
        {
            "class/powercap/intel-rapl:0/energy_uj": 65_100_000_000,
            "class/powercap/intel-rapl:1/energy_uj": 47_389_013,
        },
    )
    assert sensor.read() == pytest.approx(150.0)


def test_rapl_keeps_what_was_spent_when_it_is_read_again_too_soon(tmp_path: Path) -> None:
    clock = Clock()
    sensor = RaplPower(write(tmp_path, INTEL_LAPTOP), clock=clock)
    sensor.read()
    clock.advance(0.001)
    assert sensor.read() is None
    clock.advance(0.999)
    write(tmp_path, {"class/powercap/intel-rapl:0/energy_uj": 15_000_000})
    assert sensor.read() == pytest.approx(5.0)


def test_rapl_starts_over_after_it_could_not_be_read(tmp_path: Path) -> None:
    clock = Clock()
    sensor = RaplPower(write(tmp_path, INTEL_LAPTOP), clock=clock)
    sensor.read()
    counter = tmp_path / "class/powercap/intel-rapl:0/energy_uj"
    counter.unlink()
    with pytest.raises(SensorUnavailable, match="energy_uj cannot be read: No such file"):
        sensor.read()
    clock.advance(60.0)
    counter.write_text("99000000\n")
    assert sensor.read() is None
    clock.advance(1.0)
    counter.write_text("100000000\n")
    assert sensor.read() == pytest.approx(1.0)


@pytest.mark.parametrize("content", ["", "garbage\n", "1.5\n"])
def test_a_counter_that_holds_no_number_is_said(tmp_path: Path, content: str) -> None:
    write(tmp_path, INTEL_LAPTOP)
    (tmp_path / "class/powercap/intel-rapl:0/energy_uj").write_text(content)
    with pytest.raises(SensorUnavailable, match="holds no number"):
        RaplPower(tmp_path).read()


def test_a_counter_that_may_not_be_read_says_whom_to_let(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> str:
        raise PermissionError(13, "Permission denied")

    write(tmp_path, INTEL_LAPTOP)
    monkeypatch.setattr(Path, "read_text", refuse)  # the tests may run as root, who may read anything
    with pytest.raises(SensorUnavailable, match="let the agent's user read it"):
        RaplPower(tmp_path).read()


class FakeNvml:
    """NVIDIA's library with one processor that has, or has not, an energy counter."""

    def __init__(self, *, counter: bool = True) -> None:
        self.counter = counter
        self.energy_mj = 1_000_000
        self.power_mw = 45_000
        self.error = 0
        self.open = 0

    def nvmlInit_v2(self) -> int:  # noqa: N802  the library's name
        self.open += 1
        return self.error

    def nvmlShutdown(self) -> int:  # noqa: N802
        self.open -= 1
        return 0

    def nvmlDeviceGetHandleByIndex_v2(self, index: ctypes.c_uint, device: Any) -> int:  # noqa: N802
        ctypes.cast(device, ctypes.POINTER(ctypes.c_void_p)).contents.value = 4711
        return 0 if index.value == 0 else 2

    def nvmlDeviceGetTotalEnergyConsumption(self, device: ctypes.c_void_p, energy: Any) -> int:  # noqa: N802
        assert device.value == 4711
        ctypes.cast(energy, ctypes.POINTER(ctypes.c_ulonglong)).contents.value = self.energy_mj
        return self.error or (0 if self.counter else 3)

    def nvmlDeviceGetPowerUsage(self, _device: ctypes.c_void_p, power: Any) -> int:  # noqa: N802
        ctypes.cast(power, ctypes.POINTER(ctypes.c_uint)).contents.value = self.power_mw
        return self.error


def test_nvml_reads_the_energy_counter(tmp_path: Path) -> None:
    clock, library = Clock(), FakeNvml()
    sensor = NvmlPower(load=lambda: library, clock=clock)
    assert sensor.read() is None
    clock.advance(0.5)
    library.energy_mj += 35_000
    assert sensor.read() == pytest.approx(70.0)


def test_nvml_reads_the_power_of_processors_without_a_counter() -> None:
    assert NvmlPower(load=lambda: FakeNvml(counter=False)).read() == 45.0


def test_nvml_opens_anew_after_the_driver_was_lost() -> None:
    clock, library = Clock(), FakeNvml()
    sensor = NvmlPower(load=lambda: library, clock=clock)
    sensor.read()
    library.error = 15
    for _ in range(3):
        with pytest.raises(SensorUnavailable, match="error 15"):
            sensor.read()
        clock.advance(1.0)
    library.error, library.energy_mj = 0, 5
    assert sensor.read() is None
    clock.advance(1.0)
    library.energy_mj = 10_005
    assert sensor.read() == pytest.approx(10.0)


def test_nvml_without_library_or_processor_is_one_sentence() -> None:
    def missing() -> Any:
        raise OSError("libnvidia-ml.so.1: cannot open shared object file")

    with pytest.raises(SensorUnavailable, match="cannot be loaded"):
        NvmlPower(load=missing).read()
    with pytest.raises(SensorUnavailable, match="processor 3"):
        NvmlPower(3, load=FakeNvml).read()


def test_a_module_input_rail_counts_alone_and_named_rails_are_added_up(tmp_path: Path) -> None:
    write(tmp_path, JETSON_ORIN_NANO)
    assert RailsPower(tmp_path).read() == pytest.approx(5.0)
    assert RailsPower(tmp_path, ("VDD_CPU_GPU_CV", "VDD_SOC")).read() == pytest.approx(1.5 + 1.24)
    with pytest.raises(SensorUnavailable, match="no rail 'VDD_XYZ', only VDD_CPU_GPU_CV, VDD_IN, VDD_SOC"):
        RailsPower(tmp_path, ("VDD_XYZ",)).read()


def test_rails_of_several_monitors_are_added_up_without_unused_ones(tmp_path: Path) -> None:
    assert RailsPower(write(tmp_path, JETSON_XAVIER)).read() == pytest.approx(1.9 + 3.8 + 0.95)


def test_a_monitor_seen_on_two_paths_counts_once(tmp_path: Path) -> None:
    write(tmp_path, JETSON_XAVIER)
    (tmp_path / "class/hwmon").mkdir(parents=True)
    for bus, name in (("1-0040", "hwmon3"), ("1-0041", "hwmon4")):
        (tmp_path / "class/hwmon" / name).symlink_to(tmp_path / f"bus/i2c/devices/{bus}/hwmon/{name}")
    assert RailsPower(tmp_path).read() == pytest.approx(6.65)


def test_older_jetsons_and_boards_with_a_power_register(tmp_path: Path) -> None:
    assert RailsPower(write(tmp_path / "nano", JETSON_NANO_JETPACK_4)).read() == pytest.approx(2.345)
    assert RailsPower(write(tmp_path / "board", BOARD_WITH_INA219)).read() == pytest.approx(3.14)


def test_a_monitor_that_got_another_number_is_found_again(tmp_path: Path) -> None:
    sensor = RailsPower(write(tmp_path, BOARD_WITH_INA219))
    sensor.read()
    (tmp_path / "class/hwmon/hwmon2").rename(tmp_path / "class/hwmon/hwmon7")
    with pytest.raises(SensorUnavailable):
        sensor.read()
    assert sensor.read() == pytest.approx(3.14)


def test_an_acpi_power_meter(tmp_path: Path) -> None:
    assert AcpiPower(write(tmp_path, ACPI_METER)).read() == pytest.approx(182.0)


def test_a_battery_shows_the_draw_only_while_it_discharges(tmp_path: Path) -> None:
    sensor = BatteryPower(write(tmp_path, LAPTOP_BATTERY))
    assert sensor.read() == pytest.approx(7.5)
    write(tmp_path, {"class/power_supply/BAT0/status": "Charging"})
    with pytest.raises(SensorUnavailable, match="not discharging"):
        sensor.read()
    assert BatteryPower(write(tmp_path / "phone", CHARGE_BATTERY)).read() == pytest.approx(1.9)


def test_the_level_of_batteries(tmp_path: Path) -> None:
    laptop = BatteryCollector(write(tmp_path / "laptop", LAPTOP_BATTERY)).read()
    assert laptop == BatteryLevel(0.5, pytest.approx(25 * 3600.0), True)  # type: ignore[arg-type]
    phone = BatteryCollector(write(tmp_path / "phone", CHARGE_BATTERY)).read()
    assert phone == BatteryLevel(0.8, pytest.approx(2.4 * 3.8 * 3600.0), True)  # type: ignore[arg-type]
    gauge: Tree = {"class/power_supply/B/type": "Battery", "class/power_supply/B/capacity": 31}
    assert BatteryCollector(write(tmp_path / "gauge", gauge)).read() == BatteryLevel(0.31, None)
    assert BatteryCollector(tmp_path / "gauge", 10.0).read() == BatteryLevel(0.31, pytest.approx(0.31 * 36_000.0))  # type: ignore[arg-type]
    assert BatteryCollector(tmp_path / "none").read() is None


@pytest.mark.parametrize(
    ("states", "discharging"),
    [
        (("Discharging",), True),
        (("Charging",), False),
        (("Full",), False),
        (("Not charging", "Discharging"), True),
        (("Unknown",), None),
    ],
)
def test_a_battery_delivers_unless_it_says_that_it_hangs_on_mains(
    tmp_path: Path, states: tuple[str, ...], discharging: bool | None
) -> None:
    tree: dict[str, str | int] = {}
    for number, state in enumerate(states):
        folder = f"class/power_supply/BAT{number}"
        tree |= {f"{folder}/type": "Battery", f"{folder}/capacity": 40, f"{folder}/status": state}
    level = BatteryCollector(write(tmp_path, tree)).read()
    assert level is not None
    assert level.discharging is discharging


def test_no_tree_is_one_sentence_of_each_sensor(tmp_path: Path) -> None:
    for sensor in (RaplPower(tmp_path), RailsPower(tmp_path), AcpiPower(tmp_path), BatteryPower(tmp_path)):
        with pytest.raises(SensorUnavailable, match="holds no"):
            sensor.read()


@settings(max_examples=50, deadline=None)
@given(st.floats(0.0, 1.0))
def test_the_load_model_is_linear_between_idle_and_busy(load: float) -> None:
    sensor = LoadPower(20.0, 100.0, lambda: load)
    assert sensor.read() == pytest.approx(20.0 + 80.0 * load)
    assert sensor.traits.origin == "modelled"


def test_the_processor_load_is_a_share() -> None:
    read = processor_load()
    assert 0.0 <= read() <= 1.0


def test_a_sum_is_all_or_nothing_and_starts_over_together(tmp_path: Path) -> None:
    clock, library = Clock(), FakeNvml()
    sensor = SummedPower(
        [RaplPower(write(tmp_path, INTEL_LAPTOP), clock=clock), NvmlPower(load=lambda: library, clock=clock)]
    )
    assert sensor.traits.name == "rapl+nvml"
    assert sensor.read() is None
    counter = tmp_path / "class/powercap/intel-rapl:0/energy_uj"
    counter.unlink()
    with pytest.raises(SensorUnavailable):
        sensor.read()
    counter.write_text("0\n")
    assert sensor.read() is None
    clock.advance(1.0)
    counter.write_text("4000000\n")
    library.energy_mj += 6_000
    assert sensor.read() == pytest.approx(10.0)
