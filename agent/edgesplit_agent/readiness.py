"""Readiness of the agent, as the service manager is told: started, waiting for the broker, serving, going down.

Owns: the sentences of `systemctl status`, and when a start counts as done. Its rule: a start never waits for a broker
that may be set up later; it is done once the node has registered, or after a moment of looking for a broker in vain. Not
here: the notification protocol (`edgesplit.daemon.service_notification`), what the agent does meanwhile (`daemon.py`).
"""

from __future__ import annotations

import asyncio

import structlog

from edgesplit.control.registration_messages import NodeStatus
from edgesplit.daemon.service_notification import BROKER_PATIENCE_S, Notifier

__all__ = ["Readiness"]


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
        self._log = structlog.get_logger(part="agent")
        self.registered = False
        """Whether the node has registered once."""
        self.stopping = False

    def connecting(self) -> None:
        """The first connection is being made."""
        self._notifier.status(f"connecting to the broker at {self._broker}")

    def connected(self, status: NodeStatus) -> None:
        """The node is registered."""
        self._log.info("broker-connected", broker=self._broker)
        if not self.registered:
            self.registered = True
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
        if not self.registered:
            self._notifier.ready(self._waiting())

    def _waiting(self) -> str:
        return f"waiting for the broker: {self._reason or f'no MQTT broker answers at {self._broker} yet'}"


def _serving(status: NodeStatus) -> str:
    return "; ".join((f"serving as {status.node} at {status.advertise}", *status.warnings))
