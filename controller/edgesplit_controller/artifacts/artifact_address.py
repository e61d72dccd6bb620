"""Where agents fetch models: the artifact server's address, kept true while the machine's addresses change.

Owns: the base URL in the controller's registration, and what is wrong with it. Its rule: read anew at each connection to
the broker and every few seconds after; a configured address is never replaced, only judged. Not here: how an address is
chosen (`edgesplit.daemon.advertised_address`), the server itself (`artifacts/artifact_server.py`).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence

import structlog

from edgesplit.daemon.advertised_address import (
    Advertised,
    Network,
    Offer,
    SystemNetwork,
    advertised,
    unreachable_for,
    unresolved,
)
from edgesplit.mqtt.broker_address import BrokerAddress
from edgesplit.wire.address import is_loopback, is_numeric
from edgesplit_controller.configuration import ArtifactsSection

__all__ = ["ArtifactAddress"]

READ_EVERY_S = 5.0
NAMES_EVERY_S = 300.0
NAMES_AGAIN_S = 15.0
"""While the configured name does not resolve."""
_LISTEN, _ADVERTISE = "[artifacts] listen", "[artifacts] advertise"


class ArtifactAddress:
    """The base URL that agents are told.

    Args:
        section: `[artifacts]`.
        broker: As configured.
        connected_to: The broker's numeric address on the present connection, or empty.
        nodes: Names and addresses of online nodes.
        moved: Told when the URL is another than before.
        warn: Told each new problem.
        network: This machine's.
    """

    def __init__(
        self,
        section: ArtifactsSection,
        *,
        broker: BrokerAddress,
        connected_to: Callable[[], str],
        nodes: Callable[[], Sequence[tuple[str, str]]],
        moved: Callable[[], None],
        warn: Callable[[str], None],
        network: Network | None = None,
    ) -> None:
        self._section = section
        self._broker = broker.host if is_numeric(broker.host) or is_loopback(broker.host) else ""
        self._connected_to = connected_to
        self._nodes = nodes
        self._moved = moved
        self._warn = warn
        self._network = network or SystemNetwork()
        self._bound = ""
        self._found = Advertised("", "")
        self._unresolved = ""
        self._warned: tuple[str, ...] = ()
        self._log = structlog.get_logger(part="controller")

    @property
    def base(self) -> str:
        """URL without a slash at its end."""
        return f"http://{self._found.address}"

    @property
    def problems(self) -> tuple[str, ...]:
        """Why agents may not reach it, one sentence each."""
        return self._warned

    def listening(self, bound: str) -> None:
        """Take the host:port that the server listens on."""
        self._bound = bound
        self.read()

    def read(self) -> None:
        """Find the address that holds now."""
        # Remembered, so that an address can be found by the same route while the broker is away.
        self._broker = self._connected_to() or self._broker
        offer = Offer(self._bound, self._section.advertise, _LISTEN, _ADVERTISE, "agents")
        before, self._found = self._found, advertised(offer, self._broker, self._network)
        if self._found.address != before.address:
            self._log.info("artifacts-offered", address=self._found.address, chosen=self._found.chosen)
        elsewhere = unreachable_for(self._found, offer, self._nodes(), self._network)
        problems = tuple(dict.fromkeys(filter(None, (self._found.problem, elsewhere, self._unresolved))))
        new = [problem for problem in problems if problem not in self._warned]
        self._warned = problems
        for problem in new:
            self._log.warning("artifacts-unreachable", text=problem)
            self._warn(problem)
        if before.address and self._found.address != before.address:
            self._moved()

    async def keep(self) -> None:
        """Read again and again, and look now and then whether a configured name resolves, for ever."""
        again_s = 0.0
        while True:
            if self._section.advertise and time.monotonic() >= again_s:
                # Resolving may take as long as a name server keeps silent.
                asked = (_ADVERTISE, self._section.advertise, self._network)
                self._unresolved = await asyncio.to_thread(unresolved, *asked)
                again_s = time.monotonic() + (NAMES_AGAIN_S if self._unresolved else NAMES_EVERY_S)
            self.read()
            await asyncio.sleep(READ_EVERY_S)
