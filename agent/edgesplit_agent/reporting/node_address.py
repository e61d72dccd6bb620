"""Advertised addresses of a node, kept true in its registration while the machine's addresses change.

Owns: the addresses in the node's registration and the warnings beside them. Its rule: read anew at each connection to
the broker, before anything is said over it, and every few seconds after; a configured address is never replaced, only
judged. Not here: how an address is chosen (`edgesplit.daemon.advertised_address`) and when
(`edgesplit.daemon.address_watch`), who connects where (`daemon.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol
from urllib.parse import urlsplit

import structlog

from edgesplit.control.registration_messages import NodeStatus
from edgesplit.daemon.address_watch import AddressWatch
from edgesplit.daemon.advertised_address import Advertised, Network, Offer, unreachable_for, unresolved
from edgesplit.mqtt.broker_address import BrokerAddress
from edgesplit.wire.address import host_of, is_loopback
from edgesplit_agent.configuration import DataSection, HttpSection

__all__ = ["Advertiser", "NodeRegistration"]


class NodeRegistration(Protocol):
    """What the advertiser needs of the control plane."""

    artifacts: str
    status: NodeStatus

    def online_nodes(self) -> Sequence[NodeStatus]:
        """Other nodes that can be a peer now."""
        ...

    def update_status(self, **changes: object) -> None:
        """Change the registration."""
        ...


class Advertiser:
    """Keeps the addresses and warnings of a node's registration.

    Args:
        data: `[data]`.
        http: `[http]`.
        broker: As configured.
        connected_to: The broker's numeric address on the present connection, or empty.
        registration: Where they are told.
        warnings: Others about how the node is set up, for as long as it runs.
        network: This machine's.
    """

    def __init__(
        self,
        data: DataSection,
        http: HttpSection,
        *,
        broker: BrokerAddress,
        connected_to: Callable[[], str],
        registration: NodeRegistration,
        warnings: Sequence[str] = (),
        network: Network | None = None,
    ) -> None:
        self._data = data
        self._http = http
        self._registration = registration
        self._warnings = tuple(warnings)
        self._watch = AddressWatch(broker, connected_to, network)
        self._bound_data = ""
        self._bound_http = ""
        self._log = structlog.get_logger(part="address")

    def listening(self, data: str, http: str) -> None:
        """Take the addresses that are listened on, host:port each; `http` is empty without an endpoint."""
        self._bound_data, self._bound_http = data, http
        self.read()

    def read(self) -> None:
        """Find the addresses that hold now and register them."""
        data = self._watch.found(self._data_offer())
        http = self._watch.found(self._http_offer()) if self._bound_http else Advertised("", "")
        before = self._registration.status
        if data.address != before.advertise:
            moved = {"before": before.advertise} if before.advertise else {}
            self._log.info("advertising", address=data.address, chosen=data.chosen, **moved)
        # Both say the same where there is no network at all.
        problems = dict.fromkeys(
            (*self._warnings, data.problem, http.problem, self._elsewhere(data), *self._watch.unresolved)
        )
        problems |= {self._models_problem(): None}
        warnings = tuple(filter(None, problems))
        for text in warnings:
            if text not in before.warnings:
                self._log.warning("set-up", text=text)
        self._registration.update_status(advertise=data.address, http=http.address, warnings=warnings)

    async def keep(self) -> None:
        """Read again and again, and look now and then whether names resolve, for ever."""
        await self._watch.keep(self.read, self._names, self._unresolved)

    def _data_offer(self) -> Offer:
        return Offer(self._bound_data, self._data.advertise, "[data] listen", "[data] advertise", "agents")

    def _http_offer(self) -> Offer:
        keys = ("[http] listen", "[http] advertise", "agents")
        return Offer(self._bound_http, self._http.advertise, *keys, local_by_choice=True)

    def _elsewhere(self, data: Advertised) -> str:
        others = [(status.node, status.advertise) for status in self._registration.online_nodes()]
        return unreachable_for(data, self._data_offer(), others, self._watch.network)

    def _models_problem(self) -> str:
        """What is wrong with where the controller offers models, by its spelling."""
        artifacts = self._registration.artifacts
        broker = self._watch.broker
        here = not broker or is_loopback(broker) or self._watch.network.is_own(broker)
        if not artifacts or here or not is_loopback(urlsplit(artifacts).hostname or ""):
            return ""
        return (
            f"the controller offers models at {artifacts}, a loopback that is not this machine's: on the controller's "
            "machine leave [artifacts] advertise empty, or name its address, and have [artifacts] listen on it"
        )

    def _names(self) -> tuple[tuple[str, str], ...]:
        """Configured addresses that may hold names: key or empty for the controller's, and address."""
        names = (
            ("[data] advertise", self._data.advertise),
            ("[http] advertise", self._http.advertise if self._bound_http else ""),
            ("", self._registration.artifacts),
        )
        return tuple((key, address) for key, address in names if address)

    def _unresolved(self, key: str, address: str) -> str:
        if key:
            return unresolved(key, address, self._watch.network)
        host = urlsplit(address).netloc
        host = host_of(host) or host
        if not unresolved("", f"{host}:0", self._watch.network):
            return ""
        return (
            f"the controller offers models at {address}, and {host} does not resolve on this machine: on the controller's "
            "machine leave [artifacts] advertise empty or correct it, or add the name to DNS or to /etc/hosts here"
        )
