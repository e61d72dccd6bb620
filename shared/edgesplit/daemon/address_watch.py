"""Watch over a daemon's advertised addresses: found anew while the machine's addresses change, names looked up.

Owns: the broker's address as last seen, the rhythm, and names that do not resolve. Its rule: an address is found by the
route to the broker, also while that is away; resolving may take as long as a name server keeps silent, so it is done in
a thread. Not here: how an address is chosen (`advertised_address.py`), who is told (each daemon).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from edgesplit.daemon.advertised_address import Advertised, Network, Offer, SystemNetwork, advertised
from edgesplit.mqtt.broker_address import BrokerAddress
from edgesplit.wire.address import is_loopback, is_numeric

__all__ = ["AddressWatch"]

READ_EVERY_S = 5.0
"""A new address of the machine is advertised after so long at most, also where the broker's connection survives it."""
NAMES_EVERY_S = 300.0
NAMES_AGAIN_S = 15.0
"""While one does not resolve."""


class AddressWatch:
    """What a daemon knows of its surroundings.

    Args:
        broker: As configured.
        connected_to: The broker's numeric address on the present connection, or empty.
        network: This machine's.

    Attributes:
        unresolved: Sentences on names that did not resolve when they were looked up last.
    """

    def __init__(self, broker: BrokerAddress, connected_to: Callable[[], str], network: Network | None = None) -> None:
        self.network = network or SystemNetwork()
        self.unresolved: tuple[str, ...] = ()
        self._connected_to = connected_to
        self._broker = broker.host if is_numeric(broker.host) or is_loopback(broker.host) else ""

    @property
    def broker(self) -> str:
        """The broker's numeric address, remembered while it is away; empty while none is known."""
        self._broker = self._connected_to() or self._broker
        return self._broker

    def found(self, offer: Offer) -> Advertised:
        """The address that holds now."""
        return advertised(offer, self.broker, self.network)

    async def keep(
        self,
        read: Callable[[], None],
        names: Callable[[], tuple[tuple[str, str], ...]],
        look_up: Callable[[str, str], str],
    ) -> None:
        """Have addresses read again and again, and names looked up now and then, for ever.

        Args:
            read: Finds and tells what holds now.
            names: Keys with addresses that may hold names, as they are now.
            look_up: One sentence where the name in such an address does not resolve, else empty; called in a thread.
        """
        known: tuple[tuple[str, str], ...] = ()
        again_s = 0.0
        while True:
            read()
            asked = names()
            if asked != known or time.monotonic() >= again_s:
                self.unresolved = await asyncio.to_thread(_look_up, asked, look_up)
                known = asked
                again_s = time.monotonic() + (NAMES_AGAIN_S if self.unresolved else NAMES_EVERY_S)
                read()
            await asyncio.sleep(READ_EVERY_S)


def _look_up(names: tuple[tuple[str, str], ...], look_up: Callable[[str, str], str]) -> tuple[str, ...]:
    return tuple(filter(None, (look_up(key, address) for key, address in names)))
