"""Controllers that stand by: who was heard waiting for this one's place.

Owns: when each was heard last. Its rule: pure; one that is not heard for a while is gone. Not here: waiting (`succession`), telling.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from edgesplit.mqtt.name_registration import RETRY_S

__all__ = ["Standbys"]

SILENT_S = 3 * RETRY_S
"""Who stands by asks again every `RETRY_S`. [s]"""
MOST = 16
"""That are remembered; anybody who may write to the broker could name many."""


@dataclass
class Standbys:
    """All of them.

    Args:
        clock: Monotonic. [s]
    """

    clock: Callable[[], float]
    _heard: dict[str, tuple[str, float]] = field(default_factory=dict[str, tuple[str, float]])

    @property
    def machines(self) -> tuple[str, ...]:
        """Where they run, in alphabetical order."""
        return tuple(sorted({machine for machine, _ in self._heard.values()}))

    def heard(self, instance: str, machine: str) -> bool:
        """One asked for the place; whether it was not known."""
        is_new = instance not in self._heard
        if is_new and len(self._heard) >= MOST:
            return False
        self._heard[instance] = machine, self.clock()
        return is_new

    def gone(self) -> tuple[str, ...]:
        """Machines of those that were silent for too long; each is told once."""
        silent = [instance for instance, (_, at_s) in self._heard.items() if self.clock() - at_s > SILENT_S]
        return tuple(self._heard.pop(instance)[0] for instance in silent)
