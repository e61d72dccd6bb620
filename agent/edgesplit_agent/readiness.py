"""Readiness of the agent, as the service manager is told: started, waiting for the broker, serving, going down.

Owns: the sentences of `systemctl status`, and when a start counts as done. Its rule: ready means serving, or able to; a start never waits for a
broker that may be set up later. It is done once what an earlier run was told is prepared, and then at once where that is something, else
with the registration, or after a moment of looking for a broker in vain. Not here: the notification protocol
(`edgesplit.daemon.service_notification`), what the agent does meanwhile (`daemon.py`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import structlog

from edgesplit.control.registration_messages import NodeStatus
from edgesplit.daemon.service_notification import BROKER_PATIENCE_S, Notifier

__all__ = ["Readiness"]

_SHOWN = 3
"""Models that a status line names."""


class Readiness:
    """Where an agent stands with its broker, as people see it.

    Args:
        notifier: Of the service manager.
        broker: host:port.
    """

    def __init__(self, notifier: Notifier, broker: str) -> None:
        self._notifier = notifier
        self._broker = broker
        self._reason = ""
        self._restoring = False
        self._alone: tuple[str, ...] = ()
        self._log = structlog.get_logger(part="agent")
        self.registered = False
        """Whether the node has registered once."""
        self.stopping = False

    @property
    def ready(self) -> bool:
        """Whether requests can be answered: by what an earlier run was told, or because the controller can say what to serve."""
        return not self.stopping and not self._restoring and (self.registered or bool(self._alone))

    @property
    def alone(self) -> tuple[str, ...]:
        """Models that are served by what an earlier run was told; none once the node has registered."""
        return () if self.registered or self.stopping else self._alone

    def connecting(self) -> None:
        """The first connection is being made."""
        self._notifier.status(f"connecting to the broker at {self._broker}")

    def restoring(self) -> None:
        """What an earlier run was told is being prepared."""
        self._restoring = True

    def restored(self, models: Sequence[str]) -> None:
        """It is prepared as far as it can be now.

        Args:
            models: Of which something is.
        """
        self._restoring, self._alone = False, tuple(models)
        if self.registered:
            self._notifier.ready()
        elif self._alone:
            self._notifier.ready(self._waiting())

    def connected(self, status: NodeStatus) -> None:
        """The node is registered."""
        self._log.info("broker-connected", broker=self._broker)
        if not self.registered:
            self.registered = True
            if not self._restoring:
                self._notifier.ready()
        self._notifier.status(_serving(status))

    def lost(self, reason: str) -> None:
        """There is no connection to the broker, and why; told at each new reason."""
        self._reason = reason
        if self.registered:
            self._log.warning("broker-lost", reason=reason)
            self._notifier.status(f"serving without a broker: {reason}")
        else:
            self._log.error("broker-unreachable", reason=reason)
            self._notifier.status(self._waiting())

    def name_taken(self, sentence: str) -> None:
        """Another agent serves under this node's name."""
        self._log.error("name-taken", reason=sentence)
        self._notifier.status(sentence)

    def ended(self) -> None:
        """The agent is going down on purpose."""
        self.registered, self.stopping = False, True
        self._notifier.stopping()

    async def start_without_broker(self) -> None:
        """Let the service manager go on where no broker is found; connecting goes on, too."""
        await asyncio.sleep(BROKER_PATIENCE_S)
        if not self.ready:
            self._notifier.ready("" if self.registered else self._waiting())

    def _waiting(self) -> str:
        reason = self._reason or f"no MQTT broker answers at {self._broker} yet"
        if not self._alone:
            return f"waiting for the broker: {reason}"
        more = len(self._alone) - _SHOWN
        models = ", ".join(self._alone[:_SHOWN]) + (f" and {more} more" if more > 0 else "")
        return f"serving {models} as told in an earlier run, without a broker: {reason}"


def _serving(status: NodeStatus) -> str:
    return "; ".join((f"serving as {status.node} at {status.advertise}", *status.warnings))
