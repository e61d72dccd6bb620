"""The counters that a signer may use: above all it ever used, though its machine's clock may go back while it is off.

Owns: how far ahead counters are reserved. Its rule: a counter is used only once a bound above it is kept, so that the next run begins
above it whatever its clock says. Not here: where the bound is kept (the controller's store), signing (`edgesplit.trust.signing`).
"""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["CounterReserve"]

AHEAD_US = 600_000_000
"""Ten minutes of counters: the file is written as often while something is signed. [us]"""


class CounterReserve:
    """Reserves counters.

    Args:
        reserved: What was kept last: no counter above it was used.
        keep: Keeps a bound over restarts; whether it could is its own matter.
    """

    def __init__(self, reserved: int, keep: Callable[[int], None]) -> None:
        self.reserved = reserved
        self._keep = keep

    def cover(self, counter: int) -> None:
        """A counter is used next."""
        if counter > self.reserved:
            self.reserved = counter + AHEAD_US
            self._keep(self.reserved)
