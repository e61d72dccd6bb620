"""Kernel trees as captured on machines, written below a folder of the test."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

Tree = Mapping[str, str | int]
"""Files and what they hold."""


class Clock:
    """Time that passes when told."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        """The time. [s]"""
        return self.now_s

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self.now_s += seconds


def write(folder: Path, files: Tree) -> Path:
    """Write files below a folder, newline at their end as the kernel has it."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{content}\n")
    return folder


INTEL_LAPTOP: Tree = {
    "class/powercap/intel-rapl/enabled": 1,
    "class/powercap/intel-rapl:0/name": "package-0",
    "class/powercap/intel-rapl:0/energy_uj": 10_000_000,
    "class/powercap/intel-rapl:0/max_energy_range_uj": 262_143_328_850,
    "class/powercap/intel-rapl:0:0/name": "core",
    "class/powercap/intel-rapl:0:0/energy_uj": 5_000_000,
    "class/powercap/intel-rapl:0:1/name": "uncore",
    "class/powercap/intel-rapl:0:1/energy_uj": 1_000_000,
    "class/powercap/intel-rapl:1/name": "psys",
    "class/powercap/intel-rapl:1/energy_uj": 90_000_000,
    "class/powercap/intel-rapl:1/max_energy_range_uj": 262_143_328_850,
    "class/powercap/intel-rapl-mmio:0/name": "package-0",
    "class/powercap/intel-rapl-mmio:0/energy_uj": 10_000_000,
}
AMD_SERVER: Tree = {
    "class/powercap/intel-rapl:0/name": "package-0",
    "class/powercap/intel-rapl:0/energy_uj": 65_000_000_000,
    "class/powercap/intel-rapl:0/max_energy_range_uj": 65_532_610_987,
    "class/powercap/intel-rapl:0:0/name": "core",
    "class/powercap/intel-rapl:0:0/energy_uj": 1,
    "class/powercap/intel-rapl:1/name": "package-1",
    "class/powercap/intel-rapl:1/energy_uj": 65_530_000_000,
    "class/powercap/intel-rapl:1/max_energy_range_uj": 65_532_610_987,
}
JETSON_ORIN_NANO: Tree = {
    "class/hwmon/hwmon0/name": "tj_thermal",
    "class/hwmon/hwmon1/name": "ina3221",
    "class/hwmon/hwmon1/in1_label": "VDD_IN",
    "class/hwmon/hwmon1/in1_input": 5000,
    "class/hwmon/hwmon1/curr1_input": 1000,
    "class/hwmon/hwmon1/in1_enable": 1,
    "class/hwmon/hwmon1/in2_label": "VDD_CPU_GPU_CV",
    "class/hwmon/hwmon1/in2_input": 5000,
    "class/hwmon/hwmon1/curr2_input": 300,
    "class/hwmon/hwmon1/in2_enable": 1,
    "class/hwmon/hwmon1/in3_label": "VDD_SOC",
    "class/hwmon/hwmon1/in3_input": 4960,
    "class/hwmon/hwmon1/curr3_input": 250,
    "class/hwmon/hwmon1/in3_enable": 1,
    "class/hwmon/hwmon1/in4_input": 5,
    "class/hwmon/hwmon1/curr4_input": 1550,
    "class/hwmon/hwmon1/in7_label": "sum of shunt voltages",
    "class/hwmon/hwmon1/in7_input": 12,
}
JETSON_XAVIER: Tree = {
    "bus/i2c/devices/1-0040/hwmon/hwmon3/name": "ina3221",
    "bus/i2c/devices/1-0040/hwmon/hwmon3/in1_label": "GPU",
    "bus/i2c/devices/1-0040/hwmon/hwmon3/in1_input": 19000,
    "bus/i2c/devices/1-0040/hwmon/hwmon3/curr1_input": 100,
    "bus/i2c/devices/1-0040/hwmon/hwmon3/in2_label": "CPU",
    "bus/i2c/devices/1-0040/hwmon/hwmon3/in2_input": 19000,
    "bus/i2c/devices/1-0040/hwmon/hwmon3/curr2_input": 200,
    "bus/i2c/devices/1-0040/hwmon/hwmon3/in3_label": "NC",
    "bus/i2c/devices/1-0040/hwmon/hwmon3/in3_input": 19000,
    "bus/i2c/devices/1-0040/hwmon/hwmon3/curr3_input": 900,
    "bus/i2c/devices/1-0041/hwmon/hwmon4/name": "ina3221",
    "bus/i2c/devices/1-0041/hwmon/hwmon4/in1_label": "SYS5V",
    "bus/i2c/devices/1-0041/hwmon/hwmon4/in1_input": 19000,
    "bus/i2c/devices/1-0041/hwmon/hwmon4/curr1_input": 50,
    "bus/i2c/devices/1-0041/hwmon/hwmon4/in2_label": "VDDQ",
    "bus/i2c/devices/1-0041/hwmon/hwmon4/in2_enable": 0,
    "bus/i2c/devices/1-0041/hwmon/hwmon4/in2_input": 19000,
    "bus/i2c/devices/1-0041/hwmon/hwmon4/curr2_input": 700,
}
JETSON_NANO_JETPACK_4: Tree = {
    "bus/i2c/drivers/ina3221x/6-0040/iio:device0/rail_name_0": "POM_5V_IN",
    "bus/i2c/drivers/ina3221x/6-0040/iio:device0/in_power0_input": 2345,
    "bus/i2c/drivers/ina3221x/6-0040/iio:device0/rail_name_1": "POM_5V_GPU",
    "bus/i2c/drivers/ina3221x/6-0040/iio:device0/in_power1_input": 121,
    "bus/i2c/drivers/ina3221x/6-0040/iio:device0/rail_name_2": "POM_5V_CPU",
    "bus/i2c/drivers/ina3221x/6-0040/iio:device0/in_power2_input": 405,
}
BOARD_WITH_INA219: Tree = {
    "class/hwmon/hwmon2/name": "ina219",
    "class/hwmon/hwmon2/in0_input": 3,
    "class/hwmon/hwmon2/in1_input": 5080,
    "class/hwmon/hwmon2/curr1_input": 620,
    "class/hwmon/hwmon2/power1_input": 3_140_000,
}
LAPTOP_BATTERY: Tree = {
    "class/power_supply/AC/type": "Mains",
    "class/power_supply/AC/online": 0,
    "class/power_supply/BAT0/type": "Battery",
    "class/power_supply/BAT0/present": 1,
    "class/power_supply/BAT0/status": "Discharging",
    "class/power_supply/BAT0/capacity": 50,
    "class/power_supply/BAT0/power_now": 7_500_000,
    "class/power_supply/BAT0/energy_now": 25_000_000,
    "class/power_supply/BAT0/energy_full": 50_000_000,
    "class/power_supply/hidpp_battery_0/type": "Battery",
    "class/power_supply/hidpp_battery_0/scope": "Device",
    "class/power_supply/hidpp_battery_0/status": "Discharging",
    "class/power_supply/hidpp_battery_0/capacity": 5,
}
CHARGE_BATTERY: Tree = {
    "class/power_supply/battery/type": "Battery",
    "class/power_supply/battery/status": "Discharging",
    "class/power_supply/battery/capacity": 80,
    "class/power_supply/battery/current_now": -500_000,
    "class/power_supply/battery/voltage_now": 3_800_000,
    "class/power_supply/battery/charge_now": 2_400_000,
    "class/power_supply/battery/charge_full": 3_000_000,
}
ACPI_METER: Tree = {"class/hwmon/hwmon5/name": "power_meter", "class/hwmon/hwmon5/power1_average": 182_000_000}
