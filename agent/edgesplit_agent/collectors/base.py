"""What a sensor is.

Owns: the protocols and the values sensors return. Its rule: a reading says where it comes from. Not here: any sensor.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from edgesplit.messages import Origin

__all__ = ["Power", "PowerCollector", "SensorUnavailable"]


class SensorUnavailable(Exception):
    """A sensor cannot be read on this machine; the message says why."""


@dataclass(frozen=True)
class Power:
    """Watts of a node.

    Attributes:
        compute_w: While computing, over idle where the sensor can tell. [W]
        transmit_w: While sending. [W]
        origin: `measured` where a sensor gave `compute_w`.
        sensor: Its name.
    """

    compute_w: float
    transmit_w: float
    origin: Origin
    sensor: str


class PowerCollector(Protocol):
    """Reads power, called every few seconds."""

    def read(self) -> Power:
        """Take a reading.

        Raises:
            SensorUnavailable: It cannot be read now.
        """
        ...
