"""Address of the dashboard: under which browsers reach it, and the names that it is known by.

Owns: both, from where it listens and what the configuration says. Its rule: found anew when it is asked for, for machines move. Not
here: how an address is chosen (`edgesplit.daemon.advertised_address`), the server (`dashboard_server.py`).
"""

from __future__ import annotations

import socket
from collections.abc import Callable

from edgesplit.daemon.advertised_address import Network, Offer, SystemNetwork, advertised
from edgesplit.wire.address import host_of, is_loopback
from edgesplit_controller.configuration import DashboardSection

__all__ = ["DashboardAddress"]


class DashboardAddress:
    """Of one dashboard.

    Args:
        section: `[dashboard]`.
        broker: The broker's numeric address, or empty: towards it others are, too.
        tls: Whether it is reached over TLS.
        network: This machine's.
    """

    def __init__(
        self, section: DashboardSection, broker: Callable[[], str], *, tls: bool, network: Network | None = None
    ) -> None:
        self._section = section
        self._broker = broker
        self._scheme = "https" if tls else "http"
        self._network = network or SystemNetwork()
        self.bound = ""
        """host:port that is listened on; empty before."""

    @property
    def base(self) -> str:
        """Base URL, without a slash at its end."""
        return f"{self._scheme}://{self._advertised()}"

    @property
    def is_local(self) -> bool:
        """Whether it is reached on this machine alone."""
        return is_loopback(host_of(self.bound)) and not self._section.advertise

    @property
    def machine(self) -> str:
        """Name of this machine."""
        return socket.gethostname()

    def names(self) -> frozenset[str]:
        """Hosts by which it is known, in lower case, beside the addresses that connections come to."""
        configured = (self._section.advertise, self._section.listen)
        return frozenset(filter(None, (host_of(address).lower() for address in configured)))

    def _advertised(self) -> str:
        offer = Offer(
            self.bound, self._section.advertise, "[dashboard] listen", "[dashboard] advertise", "browsers", True
        )
        return advertised(offer, self._broker(), self._network).address
