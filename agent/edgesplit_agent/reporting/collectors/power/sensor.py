"""The interface of power sensors, and the power of a node as a value.

Owns: the protocol of sensors and the values around it. Its rule: every figure says where it comes from. Not here: any
sensor (`power_*.py`), the attribution of watts to computing (`reporting/collectors/power/meter.py`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from edgesplit.planning.origins import Origin

__all__ = ["SHORTEST_S", "Power", "PowerSensor", "SensorTraits", "close_sensor"]

SHORTEST_S = 0.2
"""Between readings of an energy counter; less is too near the steps in which counters move. [s]"""


@dataclass(frozen=True)
class SensorTraits:
    """What is known of a sensor besides its readings.

    Attributes:
        name: As in `[power] source`.
        origin: `measured`, or `modelled` for watts that are computed from something else.
        covers_sending: Its watts contain what sending draws (a whole machine's do, a processor's do not).
        lag_s: How long a change of the draw may take to show; 0: readings can be integrated. [s]
    """

    name: str
    origin: Origin = "measured"
    covers_sending: bool = False
    lag_s: float = 0.0


class PowerSensor(Protocol):
    """Reads what a machine or a part of it draws, about once a second.

    A sensor looks for its files when it is read and again after a failure, so one that appears late or comes back
    needs no restart.
    """

    @property
    def traits(self) -> SensorTraits:
        """What is known of it."""
        ...

    def read(self) -> float | None:
        """Watts now, or on average since the reading before; None while there is nothing to compare with. [W]

        Raises:
            SensorUnavailable: It cannot be read now.
        """
        ...


@dataclass(frozen=True)
class Power:
    """Watts of a node.

    Attributes:
        compute_w: While computing, over the idle draw where a sensor can tell; what plans are made with. [W]
        transmit_w: While sending; configured, for no sensor tells it apart. [W]
        origin: Where `compute_w` comes from.
        sensor: Its name, `constant` for none.
        idle_w: Drawn while nothing is computed, None until a sensor told. [W]
        idle_origin: Where `idle_w` comes from; None where there is none.
        drawn_w: The last reading, None without a sensor. [W]
        integrates: Computing is to wait for the reading that covers it.
        window_w: Mean over-idle draw per second of computing that ended since the reading before; None where it is too
            little to be seen in the reading, or readings are not integrated. [W]
    """

    compute_w: float
    transmit_w: float
    origin: Origin
    sensor: str
    idle_w: float | None = None
    idle_origin: Origin | None = None
    drawn_w: float | None = None
    integrates: bool = False
    window_w: float | None = None


def close_sensor(sensor: PowerSensor) -> None:
    """End what a sensor holds open, for the few that do."""
    close = getattr(sensor, "close", None)
    if close is not None:
        close()
