"""Watts from the configuration.

Owns: the reading that never fails. Its rule: its origin is `configured`. Not here: measuring.
"""

from __future__ import annotations

from edgesplit_agent.collectors.base import Power

__all__ = ["ConstantPower"]


class ConstantPower:
    """The configured watts.

    Args:
        compute_w: [W]
        transmit_w: [W]
    """

    def __init__(self, compute_w: float, transmit_w: float) -> None:
        self._power = Power(compute_w, transmit_w, "configured", "constant")

    def read(self) -> Power:
        """The configured watts."""
        return self._power
