"""A machine's addresses as a test wants them."""

from __future__ import annotations

from dataclasses import dataclass, field

__all__ = ["FakeNetwork"]


@dataclass
class FakeNetwork:
    """Routes and names that a test sets.

    Attributes:
        routes: Numeric address to the own one that talks to it; `default` stands for all others.
        networks: Own addresses on attached networks.
        names: What resolves, and to what.
    """

    routes: dict[str, str] = field(default_factory=dict[str, str])
    networks: tuple[str, ...] = ()
    names: dict[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]])

    def own_towards(self, host: str) -> str:
        """See edgesplit.daemon.advertised_address.Network."""
        return self.routes.get(host, self.routes.get("default", ""))

    def is_own(self, host: str) -> bool:
        """See edgesplit.daemon.advertised_address.Network."""
        return host in {*self.routes.values(), *self.networks}

    def attached(self) -> tuple[str, ...]:
        """See edgesplit.daemon.advertised_address.Network."""
        return self.networks

    def resolve(self, host: str) -> tuple[str, ...]:
        """See edgesplit.daemon.advertised_address.Network."""
        return self.names.get(host, ())
