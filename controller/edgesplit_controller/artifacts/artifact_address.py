"""Advertised address of the artifact server, kept true while the machine's addresses change.

Owns: the base URL in the controller's registration, and what is wrong with it. Its rule: read anew at each connection to
the broker and every few seconds after; a configured address is never replaced, only judged. Not here: how an address is
chosen (`edgesplit.daemon.advertised_address`) and when (`edgesplit.daemon.address_watch`), the server
itself (`artifacts/artifact_server.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import structlog

from edgesplit.daemon.address_watch import AddressWatch
from edgesplit.daemon.advertised_address import Advertised, Network, Offer, unreachable_for, unresolved
from edgesplit.mqtt.broker_address import BrokerAddress
from edgesplit.wire.address import host_of
from edgesplit_controller.configuration import ArtifactsSection

__all__ = ["ArtifactAddress"]

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
        secured: Whether the server speaks TLS.
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
        secured: bool = False,
    ) -> None:
        self._scheme = "https" if secured else "http"
        self._section = section
        self._watch = AddressWatch(broker, connected_to, network)
        self._nodes = nodes
        self._moved = moved
        self._warn = warn
        self._bound = ""
        self._found = Advertised("", "")
        self._warned: tuple[str, ...] = ()
        self._log = structlog.get_logger(part="controller")

    @property
    def base(self) -> str:
        """URL without a slash at its end."""
        return f"{self._scheme}://{self._found.address}"

    @property
    def host(self) -> str:
        """The host in it."""
        return host_of(self._found.address)

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
        offer = Offer(self._bound, self._section.advertise, _LISTEN, _ADVERTISE, "agents")
        before, self._found = self._found, self._watch.found(offer)
        if self._found.address != before.address:
            self._log.info("artifacts-offered", address=self._found.address, chosen=self._found.chosen)
        elsewhere = unreachable_for(self._found, offer, self._nodes(), self._watch.network)
        problems = tuple(dict.fromkeys(filter(None, (self._found.problem, elsewhere, *self._watch.unresolved))))
        new = [problem for problem in problems if problem not in self._warned]
        self._warned = problems
        for problem in new:
            self._log.warning("artifacts-unreachable", text=problem)
            self._warn(problem)
        if before.address and self._found.address != before.address:
            self._moved()

    async def keep(self) -> None:
        """Read again and again, and look now and then whether a configured name resolves, for ever."""
        names = ((_ADVERTISE, self._section.advertise),) if self._section.advertise else ()
        await self._watch.keep(
            self.read, lambda: names, lambda key, address: unresolved(key, address, self._watch.network)
        )
